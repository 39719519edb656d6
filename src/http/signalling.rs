//! The door of seed 002's signalling: who may open a socket, and how it learns who asks.

use std::sync::Arc;

use poem::http::{StatusCode, header};
use poem::web::Data;
use poem::web::websocket::WebSocket;
use poem::{IntoResponse, Request, Response, handler};
use serde::Deserialize;

use super::error::Failure;
use super::{App, client};
use crate::xiaozhi::{Caller, Signalling};

/// What may stand in the address, since browsers cannot set headers of a socket.
#[derive(Default, Deserialize)]
struct Names {
    client_id: Option<String>,
    #[serde(rename = "device-id")]
    device_id: Option<String>,
    authorization: Option<String>,
}

/// A WebSocket for offers, answers and candidates.
#[handler]
pub(super) async fn open(request: &Request, socket: WebSocket, app: Data<&Arc<App>>) -> poem::Result<Response> {
    let app = app.0;
    let signalling =
        Arc::clone(app.signalling.as_ref().ok_or_else(|| Failure::from_poem(&poem::error::NotFoundError.into()))?);
    let trusted = &app.config.server.trusted_proxies;
    let address = client::address(request, trusted);
    let admission = signalling.admit(address).ok_or_else(|| {
        let msg = "too many signalling sockets: close some, or try again";
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, "busy", msg).retry_after(5)
    })?;
    let names: Names = request.params().unwrap_or_default();
    let said = |name: &str| request.headers().get(name)?.to_str().ok();
    let authorization = said(header::AUTHORIZATION.as_str()).or(names.authorization.as_deref()).unwrap_or_default();
    let caller = Caller {
        address,
        asked: client::asked(request, trusted, app.port()).await,
        host: said(header::HOST.as_str()).unwrap_or_default().to_owned(),
        token: authorization.strip_prefix("Bearer ").unwrap_or(authorization).to_owned(),
        ..Caller::new(names.client_id.as_deref().or(said("client-id")), said("device-id").or(names.device_id.as_deref()))
    };
    let serve = move |stream| signalling.serve(caller, stream, admission);
    Ok(socket.config(Signalling::socket_config()).on_upgrade(serve).into_response())
}

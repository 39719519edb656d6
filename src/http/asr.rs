//! The door of `/api/asr`, `FunASR`'s WebSocket. What happens then is `funasr`'s business.

use std::sync::Arc;

use poem::http::StatusCode;
use poem::web::Data;
use poem::web::websocket::WebSocket;
use poem::{IntoResponse, Request, Response, handler};

use super::{App, Failure, client};
use crate::funasr::{FunAsrSocket, NoPlace};

#[handler]
pub(super) fn asr(request: &Request, Data(app): Data<&Arc<App>>, socket: WebSocket) -> Result<Response, Failure> {
    let funasr = Arc::clone(&app.funasr);
    let address = client::address(request, &app.config.server.trusted_proxies);
    let place = funasr.admit(address).map_err(|why| {
        let code = match why {
            NoPlace::NoEars => "no_ears",
            NoPlace::Full => "busy",
        };
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, code, why.to_string()).retry_after(5)
    })?;
    let socket = socket.protocols(["binary"]).config(FunAsrSocket::config());
    Ok(socket.on_upgrade(async move |socket| funasr.serve(socket, place).await).into_response())
}

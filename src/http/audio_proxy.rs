//! `GET /audio_proxy`: who may come in. What happens then is `audio_proxy`'s business.

use std::sync::Arc;

use poem::http::{StatusCode, header};
use poem::web::Data;
use poem::web::websocket::WebSocket;
use poem::{IntoResponse, Request, Response, handler};
use serde::Deserialize;

use super::{App, Failure, client, ops};
use crate::audio_proxy::Proxy;
use crate::metrics;

#[handler]
pub(super) fn audio_proxy(
    request: &Request,
    Data(app): Data<&Arc<App>>,
    Data(proxy): Data<&Arc<Proxy>>,
    socket: WebSocket,
) -> Result<Response, Failure> {
    admit(request, app, proxy)?;
    let Some(place) = proxy.admit() else {
        metrics::rejected("L10");
        let msg = "the audio proxy has as many clients as it can take";
        return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "server_full", msg).retry_after(5));
    };
    let proxy = Arc::clone(proxy);
    let socket = socket.config(Proxy::socket_config());
    Ok(socket.on_upgrade(move |socket| proxy.serve(socket, place)).into_response())
}

/// What stands behind the `?`: browsers cannot set headers of a WebSocket.
#[derive(Deserialize)]
struct Asked {
    token: Option<String>,
}

/// This machine itself, or whoever has the token. `gate` keeps the pages of other sites out.
fn admit(request: &Request, app: &App, proxy: &Proxy) -> Result<(), Failure> {
    let server = &app.config.server;
    app.limits.offer(client::address(request, &server.trusted_proxies))?;
    if client::is_local(request, &server.trusted_proxies) {
        return Ok(());
    }
    let Some(token) = proxy.token().reveal() else {
        metrics::rejected("L10");
        let msg = "only this machine may use the audio proxy: set audio_proxy.token to open it to others";
        return Err(Failure::new(StatusCode::FORBIDDEN, "forbidden", msg));
    };
    let bearer = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let asked = request.params::<Asked>().ok().and_then(|asked| asked.token);
    if [bearer, asked.as_deref()].into_iter().flatten().any(|given| ops::same(token.as_bytes(), given.as_bytes())) {
        return Ok(());
    }
    metrics::rejected("L10");
    let msg = "the audio proxy needs audio_proxy.token, as a Bearer token or as ?token=";
    Err(Failure::new(StatusCode::UNAUTHORIZED, "unauthorized", msg))
}

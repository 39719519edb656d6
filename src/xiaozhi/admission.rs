//! Which devices come in, and with what they introduce themselves.

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use poem::web::Data;
use poem::web::websocket::{CloseCode, Message, WebSocket, WebSocketConfig, WebSocketStream};
use poem::{IntoResponse, Request, Response, handler};
use serde::Deserialize;
use tracing::info;

use super::device::{self, Caller};
use super::framing::Framing;
use super::{Gateway, MAX_ID_BYTES, token};
use crate::metrics;

/// Longest message (L9).
const MAX_MESSAGE_BYTES: usize = 64 << 10;

impl Gateway {
    /// Devices on the list need no token; without a token, nobody else comes in.
    pub(super) fn admits(&self, device: &str, client: &str, token: &str) -> bool {
        let auth = &self.config.auth;
        let is_known = || {
            let key = auth.key.reveal().unwrap_or_default();
            token::is_valid(token, key, client, device, token::now().as_secs())
        };
        !auth.enabled || self.is_listed(device) || is_known()
    }

    fn is_listed(&self, device: &str) -> bool {
        self.config.auth.allowed_devices.iter().any(|listed| listed.eq_ignore_ascii_case(device))
    }

    /// Where there is a list, it says who gets a token.
    pub(super) fn gives_token_to(&self, device: &str) -> bool {
        self.config.auth.allowed_devices.is_empty() || self.is_listed(device)
    }
}

/// A device's socket; to anything else, a sign of life.
#[handler]
pub(crate) async fn device_socket(
    request: &Request,
    socket: poem::Result<WebSocket>,
    Data(gateway): Data<&Arc<Gateway>>,
) -> Response {
    let Ok(socket) = socket else { return "Server is running\n".into_response() };
    let asked: Asked = request.params().unwrap_or_default();
    let said = |name: &str, asked: String| match request.headers().get(name).and_then(|value| value.to_str().ok()) {
        Some(value) => value.to_owned(),
        None => asked,
    };
    let device = said("device-id", asked.device_id);
    let client = said("client-id", asked.client_id);
    let authorization = said("authorization", asked.authorization);
    let token = authorization.strip_prefix("Bearer ").unwrap_or(&authorization);
    let refusal = if device.is_empty() || device.len() > MAX_ID_BYTES || client.len() > MAX_ID_BYTES {
        Some("端口正常，如需测试连接，请启动digital-human测试")
    } else if gateway.admits(&device, &client, token) {
        None
    } else {
        Some("认证失败")
    };
    let framing = match said("protocol-version", asked.protocol_version).parse() {
        _ if asked.from == "mqtt_gateway" => Framing::Gateway,
        version => Framing::of_version(version.unwrap_or(1)),
    };
    let gateway = Arc::clone(gateway);
    let limits = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES))
        .max_write_buffer_size(1 << 20);
    let serve = move |socket: WebSocketStream| async move {
        match refusal {
            Some(why) => refuse(socket, why).await,
            None => device::serve(gateway, socket, Caller { device, framing }).await,
        }
    };
    socket.config(limits).on_upgrade(serve).into_response()
}

async fn refuse(socket: WebSocketStream, why: &'static str) {
    metrics::rejected("xiaozhi_auth");
    info!(why, "device refused");
    let (mut out, mut messages) = socket.split();
    let _ = out.send(Message::text(why)).await;
    device::part(&mut out, &mut messages, Message::close_with(CloseCode::Policy, "")).await;
}

/// What may stand behind the `?`: browsers cannot set headers of a socket.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Asked {
    device_id: String,
    client_id: String,
    authorization: String,
    protocol_version: String,
    from: String,
}

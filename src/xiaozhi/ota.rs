//! `/xiaozhi/ota/`: where a device learns its server's address, its token and the time. Firmware is not served.

use std::sync::Arc;

use poem::http::uri::Scheme;
use poem::http::{HeaderMap, StatusCode, header};
use poem::web::{Data, Json};
use poem::{IntoResponse, Request, Response, handler};
use serde_json::{Value, json};

use super::{Gateway, token};

/// What a device asks when it starts.
#[handler]
pub(crate) fn ota_reply(request: &Request, Json(device_info): Json<Value>, Data(gateway): Data<&Arc<Gateway>>) -> Response {
    let word = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let device = word("device-id");
    if device.is_empty() || device.len() > super::MAX_ID_BYTES {
        let refused = json!({"error": "Device-Id is missing"});
        return Json(refused).with_status(StatusCode::BAD_REQUEST).into_response();
    }
    let client = word("client-id");
    let now = token::now();
    let token = match gateway.config.auth.key.reveal() {
        Some(key) if gateway.config.auth.enabled && gateway.gives_token_to(device) => {
            token::issue(key, client, device, now.as_secs())
        }
        _ => String::new(),
    };
    let version = device_info["application"]["version"].as_str().unwrap_or("0.0.0").chars().take(32).collect::<String>();
    Json(json!({
        "server_time": {"timestamp": now.as_millis() as u64, "timezone_offset": gateway.config.timezone_offset},
        // Its own version: there is nothing newer here.
        "firmware": {"version": version, "url": ""},
        "websocket": {"url": socket_url(gateway, request), "token": token},
    }))
    .into_response()
}

/// For a person who tries the address in a browser.
#[handler]
pub(crate) fn ota_status(request: &Request, Data(gateway): Data<&Arc<Gateway>>) -> String {
    format!("OTA接口运行正常，向设备发送的websocket地址是：{}\n", socket_url(gateway, request))
}

/// Under the name by which the device has found us, unless the configuration knows better.
fn socket_url(gateway: &Gateway, request: &Request) -> String {
    if !gateway.config.websocket_url.is_empty() {
        return gateway.config.websocket_url.clone();
    }
    let peer = request.remote_addr().as_socket_addr().map(|address| address.ip().to_canonical());
    let is_proxied = peer.is_some_and(|peer| gateway.trusted_proxies.contains(&peer));
    let forwarded = |name: &str| if is_proxied { first(request.headers(), name) } else { None };
    let host = forwarded("x-forwarded-host").or_else(|| first(request.headers(), header::HOST.as_str()));
    let is_secure = *request.scheme() == Scheme::HTTPS || forwarded("x-forwarded-proto") == Some("https");
    let scheme = if is_secure { "wss" } else { "ws" };
    format!("{scheme}://{}{}", host.unwrap_or("localhost:8010"), super::DEVICE_PATH)
}

fn first<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()?.split(',').next().map(str::trim)
}

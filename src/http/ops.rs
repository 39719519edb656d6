//! For operators and their machines: is it alive, does it take sessions, what are its figures.

use std::sync::Arc;

use poem::http::{StatusCode, header};
use poem::web::{Data, Json};
use poem::{IntoResponse, Request, Response, handler};
use serde_json::{Value, json};

use super::{App, Failure, client};

#[handler]
pub(super) fn healthz() -> Json<Value> {
    Json(json!({"ok": true}))
}

/// 503 while the server is stopping, and why; and what else somebody should look into. A full server is ready: it answers `/offer` with 503 by itself.
#[handler]
pub(super) fn readyz(Data(app): Data<&Arc<App>>) -> Response {
    let registry = &app.shared.registry;
    let (taken, max) = registry.occupancy();
    let mut reasons = Vec::new();
    if registry.is_draining() {
        reasons.push("shutting_down");
    }
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let broken: Vec<_> = app.catalogue.broken().into_iter().map(|(id, _)| id).collect();
    let warnings = Vec::from_iter(app.shared.minds.chat.warning());
    let body = json!({
        "ready": ready, "reasons": reasons, "warnings": warnings,
        "sessions": taken, "max": max, "broken_avatars": broken,
    });
    Json(body).with_status(status).into_response()
}

#[handler]
pub(super) fn metrics(request: &Request, Data(app): Data<&Arc<App>>) -> Result<Response, Failure> {
    require_admin(request, app)?;
    let text = app.metrics.render();
    Ok(text.with_header(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8").into_response())
}

/// This machine itself, or whoever has the token.
pub(super) fn require_admin(request: &Request, app: &App) -> Result<(), Failure> {
    let server = &app.config.server;
    if client::is_local(request, &server.trusted_proxies) {
        return Ok(());
    }
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
        .unwrap_or_default();
    match server.admin_token.reveal() {
        Some(token) if same(token.as_bytes(), given.as_bytes()) => Ok(()),
        Some(_) => {
            Err(Failure::new(StatusCode::UNAUTHORIZED, "unauthorized", "this needs the admin token as a Bearer token"))
        }
        None => {
            let msg = "only this machine may ask: set server.admin_token to ask from elsewhere";
            Err(Failure::new(StatusCode::FORBIDDEN, "forbidden", msg))
        }
    }
}

/// Equality whose time does not tell how much was right.
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

//! The page, embedded in the binary.

use poem::http::{StatusCode, header};
use poem::{IntoResponse, Request, Response, handler};
use rust_embed::RustEmbed;

use super::Failure;

#[derive(RustEmbed)]
#[folder = "web/"]
struct Web;

#[handler]
pub(super) fn file(request: &Request) -> Result<Response, Failure> {
    let path = request.uri().path().trim_start_matches('/');
    let path = if path.is_empty() { "index.html" } else { path };
    let missing = || Failure::new(StatusCode::NOT_FOUND, "not_found", "there is no such file");
    let file = Web::get(path).ok_or_else(missing)?;
    let etag: String = file.metadata.sha256_hash()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let etag = format!("\"{etag}\"");
    let known = request.headers().get(header::IF_NONE_MATCH).is_some_and(|tag| tag.as_bytes() == etag.as_bytes());
    let response = if known { StatusCode::NOT_MODIFIED.into_response() } else { file.data.into_owned().into_response() };
    Ok(response
        .with_content_type(content_type(path))
        .with_header(header::ETAG, etag)
        // A new version of the server is a new version of the page, at once.
        .with_header(header::CACHE_CONTROL, "no-cache")
        .into_response())
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("json") => "application/json",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

//! The page: the one embedded in the binary, or a folder of the operator's.

use std::path::Path;

use poem::endpoint::StaticFilesEndpoint;
use poem::http::{StatusCode, header};
use poem::{Endpoint, EndpointExt, IntoResponse, Request, Response, Route, get, handler};
use rust_embed::RustEmbed;

use super::Failure;

/// What of a folder is served: what pages are made of. Such folders also hold keys (`config.json`, `.env`) and programs.
const SERVED: &[&str] = &[
    "html", "css", "js", "mjs", "wasm", "svg", "png", "jpg", "jpeg", "webp", "gif", "ico", "woff2", "mp3", "wav", "mp4",
    "webm",
];

#[derive(RustEmbed)]
#[folder = "web/"]
struct Web;

/// `routes` and the page: that of `folder`, or ours if it names none.
pub(super) fn routes(routes: Route, folder: &Path) -> Route {
    if folder.as_os_str().is_empty() {
        let paths = ["/", "/index.html", "/favicon.svg", "/style.css", "/js/*rest", "/i18n/*rest"];
        return paths.into_iter().fold(routes, |routes, path| routes.at(path, get(file)));
    }
    let files = StaticFilesEndpoint::new(folder).index_file("index.html");
    let files = files.around(|files, request| async move {
        let path = Path::new(request.uri().path());
        let is_served = path == Path::new("/") || path.extension().is_some_and(|e| SERVED.iter().any(|served| e == *served));
        if !is_served {
            return Err(missing().into());
        }
        // What poem says of a fault may name the folder.
        files.call(request).await.map_err(|_| missing().into())
    });
    routes.nest("/", get(files))
}

fn missing() -> Failure {
    Failure::new(StatusCode::NOT_FOUND, "not_found", "there is no such file")
}

#[handler]
fn file(request: &Request) -> Result<Response, Failure> {
    let path = request.uri().path().trim_start_matches('/');
    let path = if path.is_empty() { "index.html" } else { path };
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

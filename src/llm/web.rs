//! How this module asks other servers: no redirect is followed, no body is read without a bound.

use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Response, Url};

/// To connect, of all that a provider may take (L19).
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A client for `url`. Redirects are not followed: a key must not leave for another host, and the right address can be
/// configured. The proxy of the environment is used for all but this machine.
pub(super) fn client(url: &Url, connect: Duration) -> reqwest::Result<Client> {
    let builder = Client::builder().redirect(reqwest::redirect::Policy::none()).connect_timeout(connect);
    if is_loopback(url) { builder.no_proxy().build() } else { builder.build() }
}

/// This machine itself.
pub(super) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether a body is a stream of events.
pub(super) fn is_event_stream(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream"))
}

/// The body as text, its first `limit` bytes; the rest is not read. True if that is all.
pub(super) async fn body(mut response: Response, limit: usize) -> reqwest::Result<(String, bool)> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = limit - bytes.len();
        bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            return Ok((String::from_utf8_lossy(&bytes).into_owned(), false));
        }
    }
    Ok((String::from_utf8_lossy(&bytes).into_owned(), true))
}

//! What every request passes: size and time of its body, its origin, its rate; and what every reply carries.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use poem::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use poem::{Body, Endpoint, IntoResponse, Request, Response};
use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::{Instrument, debug, info_span};
use uuid::Uuid;

use super::App;
use super::error::Failure;
use super::{avatar, whep};
use crate::metrics;
use crate::session::RECORDING_BYTES;

/// Bodies (L7): an offer, any other JSON, a recording with what is around it in its form.
const OFFER_BYTES: usize = 64 << 10;
const JSON_BYTES: usize = 32 << 10;
const FORM_BYTES: usize = RECORDING_BYTES + (16 << 10);
/// From the head of a request to the end of its body (L7).
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
const FORM_TIMEOUT: Duration = Duration::from_mins(1);
/// Recordings that are received and decoded at once: each may take 10 MiB, and 4 more as sound.
const FORMS: usize = 8;
/// Offers a second from everybody together (L3).
const OFFERS_PER_SECOND: u32 = 20;

/// The only route whose body is a form.
const FORM: &str = "/humanaudio";

/// Nothing is loaded from elsewhere, and nobody else frames us.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; \
     object-src 'none'; base-uri 'none'; frame-ancestors 'self'";

/// The rates of the server (L3, L4).
pub(super) struct Limits {
    offers_of_address: DefaultKeyedRateLimiter<IpAddr>,
    offers: governor::DefaultDirectRateLimiter,
    utterances: DefaultKeyedRateLimiter<Uuid>,
    recordings: DefaultKeyedRateLimiter<Uuid>,
    forms: Semaphore,
    calls: DefaultKeyedRateLimiter<Uuid>,
}

impl Limits {
    pub(super) fn new(offers_per_minute: u32) -> Self {
        let rate = |n: u32| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        let of_address = Quota::per_minute(rate(offers_per_minute)).allow_burst(rate(offers_per_minute.div_ceil(2)));
        Self {
            offers_of_address: RateLimiter::keyed(of_address),
            offers: RateLimiter::direct(Quota::per_second(rate(OFFERS_PER_SECOND)).allow_burst(rate(2 * OFFERS_PER_SECOND))),
            utterances: RateLimiter::keyed(Quota::per_second(rate(5)).allow_burst(rate(10))),
            recordings: RateLimiter::keyed(Quota::per_second(rate(1))),
            forms: Semaphore::new(FORMS),
            calls: RateLimiter::keyed(Quota::per_second(rate(20))),
        }
    }

    /// One more offer; from this machine itself as many as it likes.
    pub(super) fn offer(&self, address: Option<IpAddr>) -> Result<(), Failure> {
        if address.is_some_and(|ip| ip.is_loopback()) {
            return Ok(());
        }
        self.offers_of_address.retain_recent();
        let of_address = address.is_none_or(|ip| self.offers_of_address.check_key(&ip).is_ok());
        if of_address && self.offers.check().is_ok() {
            return Ok(());
        }
        metrics::rejected("L3");
        Err(too_many().retry_after(10))
    }

    /// One more thing to say in a session.
    pub(super) fn utterance(&self, session: Uuid) -> Result<(), Failure> {
        self.utterances.retain_recent();
        self.utterances.check_key(&session).map_err(|_| {
            metrics::rejected("L4");
            too_many()
        })
    }

    /// One more recording to say in a session.
    pub(super) fn recording(&self, session: Uuid) -> Result<(), Failure> {
        self.recordings.retain_recent();
        self.recordings.check_key(&session).map_err(|_| {
            metrics::rejected("L4");
            too_many()
        })
    }

    /// A place for one more recording, to be kept until it is answered.
    fn form(&self) -> Result<SemaphorePermit<'_>, Failure> {
        self.forms.try_acquire().map_err(|_| {
            metrics::rejected("L7");
            let msg = "too many recordings at once: try again";
            Failure::new(StatusCode::SERVICE_UNAVAILABLE, "busy", msg).retry_after(2)
        })
    }

    /// One more of the other calls on a session.
    pub(super) fn call(&self, session: Uuid) -> Result<(), Failure> {
        self.calls.retain_recent();
        self.calls.check_key(&session).map_err(|_| {
            metrics::rejected("L4");
            too_many()
        })
    }
}

fn too_many() -> Failure {
    Failure::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "too many requests: wait a moment").retry_after(1)
}

/// Passes a request on to `endpoint` and dresses its reply.
pub(super) async fn pass<E: Endpoint<Output = Response>>(
    endpoint: Arc<E>,
    app: Arc<App>,
    mut request: Request,
) -> poem::Result<Response> {
    let path = request.uri().path().to_owned();
    let id = request_id(request.headers());
    let allowed = allowed_origin(&request, &app.config.server.cors);
    let span = info_span!("request", id, method = %request.method(), path);
    let mut response = if request.method() == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        let handled = async {
            // A browser lets any page open a WebSocket to anywhere, and asks nobody (RFC 6455 §10.2).
            if request.headers().contains_key(header::UPGRADE) {
                check_socket(&request, &app)?;
            } else if allowed == Origin::Foreign && changes_state(request.method()) {
                return Err(foreign());
            }
            let _place = if path == FORM { Some(app.limits.form()?) } else { None };
            take_body(&mut request, &path).await?;
            endpoint.call(request).await.map_err(|error| Failure::from_poem(&error))
        };
        match handled.instrument(span.clone()).await {
            Ok(response) => response,
            Err(failure) => {
                let _entered = span.entered();
                debug!(code = failure.code, status = failure.status.as_u16(), "refused");
                failure.into_response_for(&path, &id)
            }
        }
    };
    dress(response.headers_mut(), &id, allowed);
    if !app.config.server.cors.is_empty() {
        // What is kept for one site is not what another one may read.
        response.headers_mut().insert(header::VARY, HeaderValue::from_static("Origin"));
    }
    if !app.config.server.page.as_os_str().is_empty() {
        // A page of the operator's may have scripts and styles within itself.
        response.headers_mut().remove(header::CONTENT_SECURITY_POLICY);
    }
    Ok(response)
}

fn foreign() -> Failure {
    let msg = "pages of other sites may not call this: add their origin to server.cors. If the page is our own, a proxy hides \
               its name: for nginx add proxy_set_header Host $http_host;";
    Failure::new(StatusCode::FORBIDDEN, "foreign_origin", msg)
}

/// A socket is no plain `GET`: with it a page of another site could do what our own can, and browsers let it. Our page may
/// open one on another port of ours.
fn check_socket(request: &Request, app: &App) -> Result<(), Failure> {
    match allowed_origin(request, &app.config.server.cors) {
        Origin::Foreign if !is_on_port(request.headers(), app.config.server.listen.port()) => {
            metrics::rejected("L9");
            Err(foreign())
        }
        _ => Ok(()),
    }
}

/// Whether the page came from the machine that it asks, at `port`.
fn is_on_port(headers: &HeaderMap, port: u16) -> bool {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok();
    let (Some(origin), Some(host)) = (text(header::ORIGIN), text(header::HOST)) else { return false };
    let site = origin.split_once("://").map_or("", |(_, site)| site);
    let name = host.rsplit_once(':').map_or(host, |(name, port)| if port.contains(']') { host } else { name });
    site == format!("{name}:{port}")
}

/// Reads the body within its bounds, so that no handler waits for it or is flooded by it.
async fn take_body(request: &mut Request, path: &str) -> Result<(), Failure> {
    if !changes_state(request.method()) {
        return Ok(());
    }
    // A film goes to the disk as it comes; its handler bounds it.
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if path == avatar::PATH && kind.starts_with("multipart/form-data") {
        return Ok(());
    }
    let (limit, patience) = match path {
        "/offer" | whep::PATH => (OFFER_BYTES, BODY_TIMEOUT),
        FORM => (FORM_BYTES, FORM_TIMEOUT),
        _ => (JSON_BYTES, BODY_TIMEOUT),
    };
    let body = request.take_body().into_bytes_limit(limit);
    let bytes = match tokio::time::timeout(patience, body).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(poem::error::ReadBodyError::PayloadTooLarge)) => {
            metrics::rejected("L7");
            let msg = format!("the body is longer than {} KiB", limit >> 10);
            return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", msg));
        }
        Ok(Err(_)) => return Err(Failure::new(StatusCode::BAD_REQUEST, "bad_request", "the body broke off")),
        Err(_) => {
            metrics::rejected("L7");
            let msg = format!("the body did not arrive within {} s", patience.as_secs());
            return Err(Failure::new(StatusCode::REQUEST_TIMEOUT, "timeout", msg));
        }
    };
    request.set_body(Body::from(bytes));
    if path == FORM || path.starts_with(whep::PATH) {
        return Ok(());
    }
    // LiveTalking does not look at the type; nor do we, for a foreign page needs more than a type to get here.
    request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(())
}

fn changes_state(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Where the page that asks was loaded from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    /// From us, or it is no page.
    Same,
    /// From a site that the configuration names.
    Listed(HeaderValue),
    /// From elsewhere.
    Foreign,
}

fn allowed_origin(request: &Request, listed: &[String]) -> Origin {
    let Some(value) = request.headers().get(header::ORIGIN) else { return Origin::Same };
    // What a browser says itself, and no page can (Fetch Metadata): it knows our name also where a proxy has replaced it.
    if request.headers().get("sec-fetch-site").is_some_and(|site| site == "same-origin") {
        return Origin::Same;
    }
    let Ok(origin) = value.to_str() else { return Origin::Foreign };
    let host = request.headers().get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    let forwarded = request.headers().get("x-forwarded-host").and_then(|h| h.to_str().ok());
    let site = origin.split_once("://").map_or("", |(_, site)| site);
    if !site.is_empty() && (site == host || Some(site) == forwarded) {
        return Origin::Same;
    }
    // Never with credentials: there are none that a browser would send by itself.
    if listed.iter().any(|site| site == origin) {
        Origin::Listed(value.clone())
    } else if listed.iter().any(|site| site == "*") {
        Origin::Listed(HeaderValue::from_static("*"))
    } else {
        Origin::Foreign
    }
}

fn dress(headers: &mut HeaderMap, id: &str, origin: Origin) {
    let mut set = |name: HeaderName, value: &'static str| headers.insert(name, HeaderValue::from_static(value));
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "no-referrer");
    set(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
    if let Origin::Listed(origin) = origin {
        set(header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PATCH, DELETE, OPTIONS");
        set(header::ACCESS_CONTROL_ALLOW_HEADERS, "Content-Type, Authorization, If-Match, X-Request-Id");
        set(header::ACCESS_CONTROL_EXPOSE_HEADERS, "Location, Link, ETag, Retry-After, X-Request-Id");
        set(header::ACCESS_CONTROL_MAX_AGE, "600");
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert("x-request-id", id);
    }
}

/// The caller's own, if it is harmless, or a new one.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get("x-request-id").and_then(|id| id.to_str().ok());
    let harmless = |id: &&str| (1..=64).contains(&id.len()) && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    given.filter(harmless).map_or_else(|| Uuid::new_v4().simple().to_string()[..12].to_owned(), str::to_owned)
}

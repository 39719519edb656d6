//! WHEP (draft-ietf-wish-whep): players that know nothing of us watch a session. They send an offer as it is, get the answer
//! as it is, and leave by deleting what `Location` names.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Instant;

use poem::http::{HeaderValue, StatusCode, header};
use poem::web::{Data, Path};
use poem::{IntoResponse, Request, Response, handler};
use serde::Deserialize;
use uuid::Uuid;

use super::{App, Failure, client, v1};
use crate::metrics;
use crate::rtc::Fragment;
use crate::session::Session;

/// Where players offer; each viewer is a path below.
pub(super) const PATH: &str = "/whep";

const SDP: &str = "application/sdp";
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// What may stand behind the path.
#[derive(Default, Deserialize)]
struct Wish {
    /// Whom to watch; absent: a new session.
    session: Option<String>,
    /// Who is to be seen in a new session.
    avatar: Option<String>,
}

/// An offer: 201 with the answer, and the viewer's own address in `Location`.
#[handler]
pub(super) async fn watch(request: &Request, body: String, app: Data<&Arc<App>>) -> poem::Result<Response> {
    let began = Instant::now();
    let watched = answer(request, &body, app.0).await;
    let result = watched.as_ref().map_or_else(|failure| failure.code, |_| "ok");
    metrics::offer(result, began.elapsed());
    Ok(watched?)
}

async fn answer(request: &Request, body: &str, app: &Arc<App>) -> Result<Response, Failure> {
    require_type(request, SDP)?;
    let Wish { session, avatar } = request.params().unwrap_or_default();
    let rejoined = session.map(|id| find(app, &id)).transpose()?;
    let (session, joined) = app.join(request, body, avatar.as_deref().unwrap_or_default(), rejoined).await?;
    let tag = tag(&joined.link.path_name().await);
    let mut response = joined.sdp.with_content_type(SDP).with_status(StatusCode::CREATED).into_response();
    let headers = response.headers_mut();
    let mut set = |name, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.append(name, value);
        }
    };
    set(header::LOCATION, &format!("{PATH}/{}/{}", session.id(), joined.viewer));
    set(header::ETAG, &tag);
    set(header::ACCESS_CONTROL_EXPOSE_HEADERS, "Location, Link, ETag");
    set(header::HeaderName::from_static("accept-patch"), FRAGMENT);
    for server in v1::ice_servers(app) {
        for url in &server.urls {
            let mut link = format!("<{url}>; rel=\"ice-server\"");
            if let (Some(username), Some(credential)) = (&server.username, &server.credential) {
                let _ = write!(link, "; username=\"{username}\"; credential=\"{credential}\"; credential-type=\"password\"");
            }
            set(header::LINK, &link);
        }
    }
    Ok(response)
}

/// More addresses of a viewer's (RFC 8840), or another path to it (RFC 9725 §4.3).
#[handler]
pub(super) async fn trickle(
    request: &Request,
    Path((session, viewer)): Path<(String, String)>,
    body: String,
    app: Data<&Arc<App>>,
) -> poem::Result<Response> {
    require_type(request, FRAGMENT)?;
    let session = find(app.0, &session)?;
    app.limits.call(session.id())?;
    let link = parse(&viewer).and_then(|viewer| session.link(viewer)).ok_or_else(unknown)?;
    let fragment = Fragment::parse(&body).map_err(Failure::from)?;
    let is_restart = link.is_restarted_by(&fragment).await;
    check_tag(request, &tag(&link.path_name().await), is_restart)?;
    if is_restart {
        let trusted = &app.config.server.trusted_proxies;
        app.limits.offer(client::address(request, trusted))?;
        let asked = client::asked(request, trusted, app.port()).await;
        let told = link.restart_by(&fragment, asked).await.map_err(Failure::from)?;
        let reply = told.text().with_content_type(FRAGMENT).with_header(header::ETAG, tag(&told.ufrag));
        return Ok(reply.into_response());
    }
    for candidate in &fragment.candidates {
        if !link.add_candidate(candidate).await {
            return Err(
                Failure::new(StatusCode::TOO_MANY_REQUESTS, "too_many_candidates", "64 candidates are enough").into()
            );
        }
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// What names a path in `ETag` and `If-Match`.
fn tag(path_name: &str) -> String {
    format!("\"{path_name}\"")
}

/// A fragment must be about the present path, whose tag is `current`. Who restarts says that any will do; of addresses alone we take
/// an absent condition for that, too, since players leave it out.
fn check_tag(request: &Request, current: &str, is_restart: bool) -> Result<(), Failure> {
    let condition = request.headers().get(header::IF_MATCH).and_then(|value| value.to_str().ok());
    match condition {
        Some(tags) if tags.split(',').any(|tag| tag.trim() == "*" || tag.trim() == current) => Ok(()),
        Some(_) => {
            let msg = "that was about an earlier path: If-Match names another than the present one";
            Err(Failure::new(StatusCode::PRECONDITION_FAILED, "stale_path", msg))
        }
        None if is_restart => {
            let msg = "new credentials restart ICE, which needs If-Match: * (RFC 9725)";
            Err(Failure::new(StatusCode::PRECONDITION_REQUIRED, "no_if_match", msg))
        }
        None => Ok(()),
    }
}

/// The viewer leaves.
#[handler]
pub(super) async fn leave(Path((session, viewer)): Path<(String, String)>, app: Data<&Arc<App>>) -> poem::Result<Response> {
    let session = find(app.0, &session)?;
    app.limits.call(session.id())?;
    match parse(&viewer) {
        Some(viewer) if session.leave(viewer) => Ok(StatusCode::OK.into_response()),
        _ => Err(unknown().into()),
    }
}

fn find(app: &App, id: &str) -> Result<Arc<Session>, Failure> {
    app.shared.find(id).ok_or_else(Failure::no_session)
}

fn parse(id: &str) -> Option<Uuid> {
    Some(id).filter(|id| id.len() <= 64)?.parse().ok()
}

fn unknown() -> Failure {
    Failure::new(StatusCode::NOT_FOUND, "unknown_viewer", "that viewer is not here")
}

fn require_type(request: &Request, wanted: &str) -> Result<(), Failure> {
    let essence = request.content_type().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(wanted) {
        return Ok(());
    }
    let msg = format!("Content-Type must be {wanted}");
    Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", msg))
}

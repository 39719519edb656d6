//! Our own routes. Errors are `{code, msg, request_id}` with an honest status.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use hmac::{Hmac, KeyInit, Mac};
use poem::Request;
use poem::http::StatusCode;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::{Binary, Json, Response};
use poem_openapi::{Object, OpenApi};
use sha1::Sha1;

use super::ops::require_admin;
use super::{App, Failure};
use crate::render::{Card, Character, Gesture};
use crate::session::{Session, State};
use crate::tts::Timbre;

/// How long a relay's credentials last: the page asks anew for each connection.
const TURN_TTL: Duration = Duration::from_mins(10);

pub(super) struct Api {
    pub(super) app: Arc<App>,
}

/// Somebody who can be seen.
#[derive(Object)]
struct AvatarEntry {
    /// For `/offer`.
    id: String,
    /// By language.
    name: std::collections::BTreeMap<String, String>,
    /// Pixels across.
    width: u32,
    /// Pixels down.
    height: u32,
    /// Whether it is seen when none is asked for.
    default: bool,
    /// SPDX identifier.
    licence: String,
    /// A small picture.
    thumbnail: String,
    /// The rest picture, to show before the stream is there.
    poster: String,
}

/// Somebody as whom an avatar can speak.
#[derive(Object)]
struct VoiceEntry {
    /// For `{"type":"voice"}`.
    id: String,
    /// For people.
    name: String,
    /// The language that it is made for (BCP 47).
    language: String,
}

/// A live conversation.
#[derive(Object)]
struct SessionEntry {
    /// Its id, which is the capability to use it.
    id: String,
    /// Who is seen.
    avatar: String,
    /// `idle`, `thinking` or `speaking`.
    state: String,
    /// How many watch.
    viewers: usize,
    /// How long it has lasted.
    age_s: u64,
}

/// `RTCIceServer`, as `RTCPeerConnection` takes it.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
pub(super) struct IceServer {
    /// Where it is.
    pub(super) urls: Vec<String>,
    /// For a relay.
    pub(super) username: Option<String>,
    /// For a relay.
    pub(super) credential: Option<String>,
}

/// A gesture.
#[derive(Object)]
struct ActionRequest {
    /// `nod`, `shake`, `smile`, `surprise`, `think`, `blink`, `tilt`, `bow`.
    name: String,
}

/// Done.
#[derive(Object)]
struct Ended {
    /// `true`.
    ok: bool,
}

#[OpenApi(prefix_path = "/v1")]
impl Api {
    /// Who can be seen.
    #[oai(path = "/avatars", method = "get")]
    async fn avatars(&self) -> Json<Vec<AvatarEntry>> {
        let catalogue = &self.app.catalogue;
        let entry = |card: Card<'_>| AvatarEntry {
            id: card.id.to_owned(),
            name: card.names.clone(),
            width: card.size.0,
            height: card.size.1,
            default: card.id == catalogue.default_id(),
            licence: card.licence.to_owned(),
            thumbnail: format!("/v1/avatars/{}/thumbnail", card.id),
            poster: format!("/v1/avatars/{}/poster", card.id),
        };
        Json(catalogue.usable().iter().filter_map(Character::card).map(entry).collect())
    }

    /// A small picture of an avatar (WebP or JPEG).
    #[oai(path = "/avatars/:id/thumbnail", method = "get")]
    async fn thumbnail(&self, id: Path<String>) -> poem::Result<Response<Binary<Vec<u8>>>> {
        self.picture(&id, |card: Card<'_>| card.thumbnail)
    }

    /// The rest picture of an avatar (WebP or JPEG).
    #[oai(path = "/avatars/:id/poster", method = "get")]
    async fn poster(&self, id: Path<String>) -> poem::Result<Response<Binary<Vec<u8>>>> {
        self.picture(&id, |card: Card<'_>| card.poster)
    }

    /// The voices to choose from; none where the configuration names a service on the network.
    #[oai(path = "/voices", method = "get")]
    async fn voices(&self) -> Json<Vec<VoiceEntry>> {
        let entry = |Timbre { id, name, language }| VoiceEntry { id, name, language: language.into() };
        Json(self.app.shared.minds.voice.timbres().into_iter().map(entry).collect())
    }

    /// STUN and TURN servers for the page, with credentials that last ten minutes.
    #[oai(path = "/ice-servers", method = "get")]
    async fn ice_servers(&self) -> Json<Vec<IceServer>> {
        Json(ice_servers(&self.app))
    }

    /// The live conversations. For this machine, or with the admin token.
    #[oai(path = "/sessions", method = "get")]
    async fn sessions(&self, request: &Request) -> poem::Result<Json<Vec<SessionEntry>>> {
        require_admin(request, &self.app)?;
        let state = |state| match state {
            State::Idle => "idle",
            State::Listening => "listening",
            State::Thinking => "thinking",
            State::Speaking => "speaking",
        };
        let all = self.app.shared.registry.all();
        let entries = all.iter().map(|session| SessionEntry {
            id: session.id().to_string(),
            avatar: session.avatar(),
            state: state(session.state()).into(),
            viewers: session.viewer_count(),
            age_s: session.created().elapsed().as_secs(),
        });
        Ok(Json(entries.collect()))
    }

    /// Have the avatar make a gesture, whatever else it does.
    #[oai(path = "/sessions/:id/action", method = "post")]
    async fn action(&self, id: Path<String>, body: Json<ActionRequest>) -> poem::Result<Json<Ended>> {
        let session = self.session(&id)?;
        self.app.limits.call(session.id())?;
        let unknown = || {
            let names = Gesture::ALL.map(Gesture::name).join(", ");
            Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "unknown_action", format!("there are {names}"))
        };
        session.act(Gesture::named(&body.name).ok_or_else(unknown)?).map_err(Failure::from)?;
        Ok(Json(Ended { ok: true }))
    }

    /// Leave a conversation (`viewer`), or end it for all. A conversation without viewers ends after five seconds.
    #[oai(path = "/sessions/:id", method = "delete")]
    async fn end(&self, id: Path<String>, viewer: Query<Option<String>>) -> poem::Result<Json<Ended>> {
        let session = self.session(&id)?;
        self.app.limits.call(session.id())?;
        match viewer.as_deref() {
            None => session.end("client"),
            Some(viewer) if viewer.parse().is_ok_and(|viewer| session.leave(viewer)) => {}
            Some(_) => {
                return Err(Failure::new(StatusCode::NOT_FOUND, "unknown_viewer", "that viewer is not here").into());
            }
        }
        Ok(Json(Ended { ok: true }))
    }
}

impl Api {
    fn session(&self, id: &str) -> Result<Arc<Session>, Failure> {
        self.app.shared.find(id).ok_or_else(Failure::no_session)
    }

    fn picture(&self, id: &str, of: for<'a> fn(Card<'a>) -> &'a [u8]) -> poem::Result<Response<Binary<Vec<u8>>>> {
        let character = self.app.catalogue.get(id).map_err(Failure::from)?;
        let card = character.card().ok_or_else(|| Failure::from(crate::render::CatalogueError::Unknown))?;
        let picture = of(card).to_vec();
        let kind = if picture.starts_with(&[0xFF, 0xD8]) { "image/jpeg" } else { "image/webp" };
        Ok(Response::new(Binary(picture)).header("content-type", kind).header("cache-control", "max-age=300"))
    }
}

/// STUN and TURN servers for those who connect, with credentials of their own.
pub(super) fn ice_servers(app: &App) -> Vec<IceServer> {
    let webrtc = &app.config.webrtc;
    let mut servers = Vec::new();
    if !webrtc.stun.is_empty() {
        servers.push(IceServer { urls: webrtc.stun.clone(), username: None, credential: None });
    }
    if !webrtc.turn.urls.is_empty() {
        let credentials = webrtc.turn.secret.reveal().map(turn_credentials);
        let (username, credential) = credentials.unzip();
        servers.push(IceServer { urls: webrtc.turn.urls.clone(), username, credential });
    }
    servers
}

#[expect(clippy::disallowed_methods, reason = "coturn compares this with its own wall clock")]
fn expiry() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (now + TURN_TTL).as_secs()
}

/// User name and password for coturn, good for ten minutes.
pub fn turn_credentials(secret: &str) -> (String, String) {
    credentials_until(secret, expiry())
}

/// What coturn's `use-auth-secret` accepts until `expiry` (draft-uberti-behave-turn-rest-00 §2.2).
fn credentials_until(secret: &str, expiry: u64) -> (String, String) {
    let username = format!("{expiry}:visavis");
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(username.as_bytes());
    let credential = base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes());
    (username, credential)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turn_credentials_are_what_coturn_computes() {
        // printf '1700000000:visavis' | openssl dgst -sha1 -hmac north -binary | base64
        let (username, credential) = credentials_until("north", 1_700_000_000);
        assert_eq!(username, "1700000000:visavis");
        assert_eq!(credential, "zv6NvzCru86tejALRlOQaWI5pJY=");
    }
}

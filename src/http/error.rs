//! How a fault looks on the wire: nowhere else is that decided (design §7).

use std::time::Duration;

use poem::http::{HeaderValue, StatusCode, header};
use poem::{IntoResponse, Response};
use serde_json::json;
use tracing::{debug, warn};

use crate::render::{CatalogueError, RepertoireError};
use crate::rtc::OfferError;
use crate::session::{ActionError, Busy, JoinError, NoSlot, TextError};
use crate::tts;

/// A request that was not done, and why.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) msg: String,
    pub(super) retry_after: Option<Duration>,
}

/// Routes of `LiveTalking`, whose clients read `{"code":-1,"msg"}` and not the status.
const LIVETALKING: &[&str] = &["/human", "/humanaudio", "/interrupt_talk", "/is_speaking", "/record", "/set_audiotype"];

/// A proxy that does not pass on the wish for a WebSocket is the usual reason for its lack.
const UPGRADE_REQUIRED: &str = "this is a WebSocket. If you asked for one, a proxy has not passed that on; for nginx add: \
     proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection \"upgrade\";";

impl Failure {
    pub(super) fn new(status: StatusCode, code: &'static str, msg: impl Into<String>) -> Self {
        Self { status, code, msg: msg.into(), retry_after: None }
    }

    pub(super) fn no_session() -> Self {
        Self::new(StatusCode::NOT_FOUND, "unknown_session", "session not found: it has ended, or the id is wrong")
    }

    pub(super) fn no_recording() -> Self {
        Self::new(StatusCode::NOT_FOUND, "unknown_recording", "there is no recording of that session")
    }

    pub(super) fn bad_type() -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_type", "type must be echo or chat")
    }

    pub(super) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(Duration::from_secs(seconds));
        self
    }

    /// Whatever poem itself refuses: unknown routes, wrong verbs, bodies that do not fit.
    pub(super) fn from_poem(error: &poem::Error) -> Self {
        if let Some(failure) = error.downcast_ref::<Self>() {
            return failure.clone();
        }
        if let Some(poem::error::WebSocketError::InvalidProtocol) = error.downcast_ref() {
            return Self::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", UPGRADE_REQUIRED);
        }
        let status = error.status();
        let code = match status {
            StatusCode::NOT_FOUND => "not_found",
            StatusCode::METHOD_NOT_ALLOWED => "method_not_allowed",
            StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported_media_type",
            StatusCode::PAYLOAD_TOO_LARGE => "too_large",
            s if s.is_client_error() => "bad_request",
            _ => "internal",
        };
        let msg = match status {
            StatusCode::NOT_FOUND => "there is no such route".to_owned(),
            StatusCode::METHOD_NOT_ALLOWED => "this route does not take that method".to_owned(),
            s if s.is_client_error() => error.to_string(),
            _ => "the request failed on the server".to_owned(),
        };
        Self { status, code, msg, retry_after: None }
    }

    pub(super) fn into_response_for(self, path: &str, request_id: &str) -> Response {
        let Self { status, code, msg, retry_after } = self;
        let (status, body) = match path {
            // LiveTalking's shape with an honest status: a socket that is refused must not look like one that is open.
            "/offer" | "/api/asr" => (status, json!({"code": -1, "error": code, "msg": msg, "request_id": request_id})),
            // A flood keeps its status: clients that flood read no body.
            _ if LIVETALKING.contains(&path) => {
                let status = if status == StatusCode::TOO_MANY_REQUESTS { status } else { StatusCode::OK };
                (status, json!({"code": -1, "error": code, "msg": msg}))
            }
            // LiveTalking's as well, for programs of operators: a lack of rights keeps its status, a task that is not there has a
            // number of its own.
            _ if path.starts_with("/api/") => {
                let number = if code == "unknown_task" { 404 } else { -1 };
                let kept =
                    [StatusCode::TOO_MANY_REQUESTS, StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status);
                (if kept { status } else { StatusCode::OK }, json!({"code": number, "error": code, "msg": msg}))
            }
            _ => (status, json!({"code": code, "msg": msg, "request_id": request_id})),
        };
        let mut response = poem::web::Json(body).with_status(status).into_response();
        if status == StatusCode::UPGRADE_REQUIRED {
            response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        }
        if let Some(after) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        response
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.msg)
    }
}

impl std::error::Error for Failure {}

impl From<Failure> for poem::Error {
    fn from(failure: Failure) -> Self {
        let status = failure.status;
        Self::new(failure, status)
    }
}

impl From<OfferError> for Failure {
    fn from(error: OfferError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error.code(), error.to_string())
    }
}

impl From<CatalogueError> for Failure {
    fn from(error: CatalogueError) -> Self {
        let status = match error {
            CatalogueError::Unknown => StatusCode::NOT_FOUND,
            CatalogueError::Broken { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            CatalogueError::None { .. } | CatalogueError::Unreadable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.code(), error.to_string())
    }
}

impl From<NoSlot> for Failure {
    fn from(error: NoSlot) -> Self {
        let code = match error {
            NoSlot::Full { .. } => "server_full",
            NoSlot::Draining => "shutting_down",
        };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, error.to_string()).retry_after(5)
    }
}

impl From<JoinError> for Failure {
    fn from(error: JoinError) -> Self {
        match error {
            JoinError::Full => Self::new(StatusCode::SERVICE_UNAVAILABLE, "session_full", error.to_string()).retry_after(5),
            // The stack's own words may quote the SDP; the log has them.
            JoinError::Rtc(_) => Self::new(StatusCode::BAD_REQUEST, "bad_sdp", "the offer could not be answered"),
        }
    }
}

impl From<TextError> for Failure {
    fn from(error: TextError) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, error.code(), error.to_string())
    }
}

impl From<RepertoireError> for Failure {
    /// What a client can mend is told; the rest may name files of the server's.
    fn from(error: RepertoireError) -> Self {
        use RepertoireError as E;
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        match error {
            E::Json(_) | E::TooMany | E::Number(_) | E::Gesture(_) | E::Path(_) => {
                Self::new(status, "bad_actions", error.to_string())
            }
            E::Films => Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", error.to_string()).retry_after(5),
            E::Film(..) | E::Unreadable(..) | E::Sound(..) => {
                warn!(%error, "an action cannot be shown");
                Self::new(status, "bad_actions", "an action cannot be shown: the server's log says why")
            }
        }
    }
}

impl From<ActionError> for Failure {
    fn from(error: ActionError) -> Self {
        match error {
            ActionError::Unknown => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "unknown_action", error.to_string()),
            ActionError::Busy(busy) => busy.into(),
        }
    }
}

impl From<tts::Error> for Failure {
    /// What a client can mend is told; the rest may name files of the server's.
    fn from(error: tts::Error) -> Self {
        match error {
            tts::Error::UnknownVoice(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "unknown_voice", error.to_string()),
            tts::Error::Setting { key: "speed", ref problem } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_voice", problem)
            }
            error => {
                debug!(%error, "a voice that was asked for cannot be had");
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_voice", "the voice does not take what tts asks of it")
            }
        }
    }
}

impl From<Busy> for Failure {
    fn from(error: Busy) -> Self {
        match error {
            Busy::Full => Self::new(StatusCode::TOO_MANY_REQUESTS, "busy", error.to_string()).retry_after(2),
            Busy::Ending => Self::no_session(),
        }
    }
}

//! `POST /humanaudio`, `LiveTalking`'s way to have an avatar speak a recording; ours also takes one as a question.

use std::sync::Arc;

use poem::http::StatusCode;
use poem_openapi::payload::Json;
use poem_openapi::types::Binary;
use poem_openapi::{Multipart, Object, OpenApi};
use serde_json::Value;

use super::{App, Failure};
use crate::session::{As, RecordingError};

pub(super) struct Api {
    pub(super) app: Arc<App>,
}

/// A recording.
#[derive(Multipart)]
struct Recording {
    /// Where.
    sessionid: String,
    /// The file: WAV, MP3, Ogg, FLAC, M4A, `WebM` and the like.
    file: Binary<Vec<u8>>,
    /// `echo`: the avatar speaks it, at most 120 s; `chat`: it answers what is said in it, at most 30 s. Absent: `echo`.
    r#type: Option<String>,
    /// Whether to cut what is being said first.
    interrupt: Option<bool>,
}

/// Taken.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct Taken {
    /// 0.
    code: i32,
    /// `ok`.
    msg: String,
    /// Of a question: its words.
    text: Option<String>,
}

#[OpenApi]
impl Api {
    /// Have the avatar speak a recording, or answer it.
    #[oai(path = "/humanaudio", method = "post")]
    async fn human_audio(&self, recording: Recording) -> poem::Result<Json<Taken>> {
        let Recording { sessionid, file, r#type, interrupt } = recording;
        let shared = &self.app.shared;
        let session = super::livetalking::session(shared, &Value::String(sessionid))?;
        self.app.limits.recording(session.id())?;
        let (file, interrupt) = (file.0.into(), interrupt.unwrap_or_default());
        let text = match kind(r#type.as_deref())? {
            As::Speech => session.play(file, interrupt).await.map(|()| None),
            As::Question => session.ask(shared.ears.as_ref(), file, interrupt).await.map(Some),
        };
        Ok(Json(Taken { code: 0, msg: "ok".into(), text: text.map_err(Failure::from)? }))
    }
}

fn kind(name: Option<&str>) -> Result<As, Failure> {
    match name.unwrap_or("echo") {
        "echo" => Ok(As::Speech),
        "chat" => Ok(As::Question),
        _ => Err(Failure::bad_type()),
    }
}

impl From<RecordingError> for Failure {
    fn from(error: RecordingError) -> Self {
        let status = match (error, error.code()) {
            (RecordingError::Busy(busy), _) => return busy.into(),
            (_, "too_large") => StatusCode::PAYLOAD_TOO_LARGE,
            (_, "unsupported_media_type") => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            (RecordingError::NoEars | RecordingError::Ears, _) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::new(status, error.code(), error.to_string())
    }
}

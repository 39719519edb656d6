//! `LiveTalking`'s `/record`: begins and ends a film of a session, and hands it out.

use std::path::Path;
use std::sync::Arc;

use poem::http::{HeaderValue, StatusCode, header};
use poem::web::{Data, Path as InPath, StaticFileRequest};
use poem::{IntoResponse, Request, Response, handler};
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use serde_json::Value;

use super::{App, Failure, livetalking};
use crate::record::{Error, Found};

pub(super) struct Api {
    pub(super) app: Arc<App>,
}

/// What to do about a film.
#[derive(Object)]
struct RecordRequest {
    /// Which session.
    sessionid: Value,
    /// `start_record` or `end_record`.
    r#type: String,
}

/// Begun, or ended.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct RecordReply {
    /// 0.
    code: i32,
    /// `ok`.
    msg: String,
    /// The film, once it has ended.
    data: Option<Recorded>,
}

/// A film.
#[derive(Object)]
struct Recorded {
    /// Where it is.
    url: String,
    /// How long it plays.
    seconds: f64,
}

#[OpenApi]
impl Api {
    /// Begin or end a film of the session. `end_record` answers once the file is whole.
    #[oai(path = "/record", method = "post")]
    async fn record(&self, body: Json<RecordRequest>) -> poem::Result<Json<RecordReply>> {
        let session = livetalking::session(&self.app.shared, &body.sessionid)?;
        self.app.limits.call(session.id())?;
        let recordings = &self.app.recordings;
        let data = match body.r#type.as_str() {
            "start_record" => {
                recordings.start(&session).await.map_err(Failure::from)?;
                None
            }
            "end_record" => {
                let length = recordings.end(session.id()).await.map_err(Failure::from)?;
                Some(Recorded { url: format!("/record/{}", session.id()), seconds: length.as_secs_f64() })
            }
            _ => {
                let msg = "type must be start_record or end_record";
                return Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_type", msg).into());
            }
        };
        Ok(Json(RecordReply { code: 0, msg: "ok".into(), data }))
    }
}

/// The newest film of a session, also when that is over. Its id is what opens it.
#[handler]
pub(super) async fn download(
    request: &Request,
    InPath(id): InPath<String>,
    file: StaticFileRequest,
    app: Data<&Arc<App>>,
) -> poem::Result<Response> {
    // The session of a number is the one that has it now; any other may be over.
    let number = id.parse::<u32>().ok().and_then(|_| app.shared.find(&id)).map(|session| session.id());
    let id = number.or_else(|| id.parse().ok()).ok_or_else(Failure::no_recording)?;
    let path = match app.recordings.find(id) {
        Found::At(path) => path,
        Found::Running => {
            let msg = "the session is still being recorded: send end_record first";
            return Err(Failure::new(StatusCode::CONFLICT, "recording", msg).into());
        }
        Found::Nowhere => return Err(Failure::no_recording().into()),
    };
    let mut response = open(file, &path)?.into_response();
    let name = HeaderValue::try_from(format!("attachment; filename=\"{id}.mp4\"")).expect("an id is digits and dashes");
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_DISPOSITION, name);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if request.method() == poem::http::Method::HEAD {
        response.set_body(());
    }
    Ok(response)
}

fn open(request: StaticFileRequest, path: &Path) -> poem::Result<impl IntoResponse + use<>> {
    use poem::error::StaticFileError;
    request.create_response(path, false, false).map_err(|error| match error {
        StaticFileError::NotFound => Failure::no_recording().into(),
        error => error.into(),
    })
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let (status, code) = match error {
            Error::Off => (StatusCode::FORBIDDEN, "recording_off"),
            Error::Running => (StatusCode::CONFLICT, "recording"),
            Error::Idle => (StatusCode::CONFLICT, "not_recording"),
            Error::Full => (StatusCode::INSUFFICIENT_STORAGE, "storage_full"),
            Error::File(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
            Error::Empty => (StatusCode::CONFLICT, "empty_recording"),
        };
        Self::new(status, code, error.to_string())
    }
}

//! `/api/avatar/*`, `LiveTalking`'s way to have an avatar made of a film. For this machine, or with the admin token.
//!
//! An upload goes to the disk as it comes, bounded in size and in silence; a path of the server's is taken only from inside the
//! folder of avatars.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use poem::http::{StatusCode, header};
use poem::web::{Data, Json, Multipart};
use poem::{Body, FromRequest, Request, RequestBody, handler};
use serde::Serialize;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::ops::require_admin;
use super::{App, Failure};
use crate::config::Config;
use crate::metrics;
use crate::render::{Catalogue, is_id};
use crate::studio::{FACE_SIDES, Hook, Order, Pads, Refused, Task, Tasks, is_allowed, uploads};

/// The only route here that takes a body.
pub(super) const PATH: &str = "/api/avatar/task";

/// Uploads at once (L7).
const UPLOADS: usize = 2;
/// The other fields of a form: their number and their length.
const FIELDS: usize = 32;
const FIELD_BYTES: u64 = 4 << 10;
/// How long an upload may be silent.
const SILENCE: Duration = Duration::from_secs(30);
const BLOCK: usize = 256 << 10;

/// What the routes share.
pub(super) struct Studio {
    tasks: Tasks,
    places: Semaphore,
}

impl Studio {
    /// `None` if its thread or its client could not be had: the log says why, and the rest of the server is not affected.
    pub(super) fn start(config: &Config, catalogue: &Arc<Catalogue>) -> Option<Self> {
        let hook = Hook::start(config.studio.notify_secret.clone());
        let hook = hook.inspect_err(|error| tracing::error!(%error, "no avatars can be made")).ok()?;
        let catalogue = Arc::clone(catalogue);
        let tasks = Tasks::start(&config.avatars.films, move |id| catalogue.add(id), move |task| hook.tell(task));
        let tasks = tasks.inspect_err(|error| tracing::error!(%error, "no avatars can be made")).ok()?;
        Some(Self { tasks, places: Semaphore::new(UPLOADS) })
    }
}

/// `LiveTalking`'s envelope.
#[derive(Serialize)]
pub(super) struct Reply<T> {
    code: i32,
    msg: &'static str,
    data: T,
}

#[derive(Serialize)]
pub(super) struct Created {
    task_id: String,
}

#[derive(Serialize)]
pub(super) struct All {
    tasks: Vec<Task>,
}

#[derive(Serialize)]
pub(super) struct Deleted {
    msg: &'static str,
}

fn ok<T>(data: T) -> Json<Reply<T>> {
    Json(Reply { code: 0, msg: "ok", data })
}

/// `POST /api/avatar/task`: JSON, or a form with the film in it.
#[handler]
pub(super) async fn create_task(
    request: &Request,
    body: Body,
    Data(app): Data<&Arc<App>>,
    Data(studio): Data<&Arc<Studio>>,
) -> Result<Json<Reply<Created>>, Failure> {
    require_admin(request, app)?;
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let Fields { texts, upload } = if kind.starts_with("multipart/form-data") {
        let _place = studio.places.try_acquire().map_err(|_| {
            metrics::rejected("L7");
            Failure::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many uploads at once: try again").retry_after(10)
        })?;
        Fields::of_form(request, body, app).await?
    } else {
        Fields::of_json(body).await?
    };
    let texts = &texts;
    let source = match &upload {
        Some(upload) => upload.0.clone(),
        None => inside(&app.config.avatars.films, text(texts, "video_path").unwrap_or_default()).await?,
    };
    let order = order(texts, app, source)?;
    let id = text(texts, "task_id").map_or_else(|| Uuid::new_v4().to_string(), str::to_owned);
    if !is_id(&id) {
        return Err(bad("task_id has up to 64 letters, digits, - and _"));
    }
    let notify_url = text(texts, "notifyurl").map(str::to_owned);
    if notify_url.as_ref().is_some_and(|url| !is_allowed(url)) {
        return Err(bad("notifyurl must be https, or http to this machine itself"));
    }
    let is_upload = upload.map(Upload::keep).is_some();
    studio.tasks.add(id.clone(), order, is_upload, notify_url)?;
    Ok(ok(Created { task_id: id }))
}

/// `GET /api/avatar/task/{id}`.
#[handler]
pub(super) fn read_task(
    request: &Request,
    Data(app): Data<&Arc<App>>,
    Data(studio): Data<&Arc<Studio>>,
    poem::web::Path(id): poem::web::Path<String>,
) -> Result<Json<Reply<Task>>, Failure> {
    require_admin(request, app)?;
    Ok(ok(studio.tasks.task(&id).ok_or(Refused::Unknown)?))
}

/// `GET /api/avatar/tasks`.
#[handler]
pub(super) fn list_tasks(
    request: &Request,
    Data(app): Data<&Arc<App>>,
    Data(studio): Data<&Arc<Studio>>,
) -> Result<Json<Reply<All>>, Failure> {
    require_admin(request, app)?;
    Ok(ok(All { tasks: studio.tasks.all() }))
}

/// `DELETE /api/avatar/task/{id}`.
#[handler]
pub(super) fn delete_task(
    request: &Request,
    Data(app): Data<&Arc<App>>,
    Data(studio): Data<&Arc<Studio>>,
    poem::web::Path(id): poem::web::Path<String>,
) -> Result<Json<Reply<Deleted>>, Failure> {
    require_admin(request, app)?;
    studio.tasks.delete(&id)?;
    Ok(ok(Deleted { msg: "Task deleted" }))
}

/// A file that is removed with this value.
struct Upload(PathBuf);

impl Upload {
    /// From here on somebody else removes it.
    fn keep(mut self) {
        self.0 = PathBuf::new();
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // What stays behind goes at the next start.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What a request says.
struct Fields {
    texts: BTreeMap<String, String>,
    upload: Option<Upload>,
}

impl Fields {
    /// Numbers and truths count as what they are written as: forms have nothing else.
    async fn of_json(body: Body) -> Result<Self, Failure> {
        let value: Value = body.into_json().await.map_err(|_| bad("the body is no JSON object"))?;
        let Value::Object(fields) = value else { return Err(bad("the body is no JSON object")) };
        let text = |value: Value| match value {
            Value::String(text) => Some(text),
            Value::Null => None,
            other => Some(other.to_string()),
        };
        let texts = fields.into_iter().filter_map(|(name, value)| Some((name, text(value)?))).collect();
        Ok(Self { texts, upload: None })
    }

    async fn of_form(request: &Request, body: Body, app: &App) -> Result<Self, Failure> {
        let broken = |_| bad("the form is damaged");
        let mut form =
            Multipart::from_request(request, &mut RequestBody::new(body)).await.map_err(|_| bad("the form is damaged"))?;
        let mut fields = Self { texts: BTreeMap::new(), upload: None };
        for _ in 0..FIELDS {
            let next = tokio::time::timeout(SILENCE, form.next_field()).await.map_err(|_| silent())?;
            let Some(field) = next.map_err(broken)? else { return Ok(fields) };
            let name = field.name().unwrap_or_default().to_owned();
            if name == "video_file" {
                fields.upload = Some(save(field.into_async_read(), app).await?);
            } else {
                let mut text = String::new();
                let mut field = Box::pin(field.into_async_read().take(FIELD_BYTES));
                match tokio::time::timeout(SILENCE, field.read_to_string(&mut text)).await {
                    Err(_) => return Err(silent()),
                    Ok(Err(_)) => return Err(bad("the form is damaged")),
                    Ok(Ok(_)) => fields.texts.insert(name, text),
                };
            }
        }
        Err(bad("the form has too many fields"))
    }
}

/// Writes an upload to the disk as it comes.
async fn save(from: impl AsyncRead + Send, app: &App) -> Result<Upload, Failure> {
    let disk = |error: std::io::Error| {
        tracing::warn!(%error, "an upload cannot be kept");
        Failure::new(StatusCode::INSUFFICIENT_STORAGE, "no_room", "the upload cannot be written: the server's log says why")
    };
    let dir = uploads(&app.config.avatars.films);
    tokio::fs::create_dir_all(&dir).await.map_err(disk)?;
    let upload = Upload(dir.join(Uuid::new_v4().simple().to_string()));
    let mut file = tokio::fs::File::create(&upload.0).await.map_err(disk)?;
    let limit = app.config.studio.max_upload_mb << 20;
    let mut from = Box::pin(from);
    let (mut block, mut length) = (vec![0; BLOCK], 0);
    loop {
        let read = tokio::time::timeout(SILENCE, from.read(&mut block)).await.map_err(|_| silent())?;
        let count = read.map_err(|_| Failure::new(StatusCode::BAD_REQUEST, "bad_request", "the upload broke off"))?;
        if count == 0 {
            break;
        }
        length += count as u64;
        if length > limit {
            metrics::rejected("L7");
            let msg = format!("the film is larger than studio.max_upload_mb, {} MiB", limit >> 20);
            return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", msg));
        }
        file.write_all(&block[..count]).await.map_err(disk)?;
    }
    file.flush().await.map_err(disk)?;
    Ok(upload)
}

fn order(texts: &BTreeMap<String, String>, app: &App, source: PathBuf) -> Result<Order, Failure> {
    match text(texts, "model").unwrap_or("wav2lip") {
        "wav2lip" => {}
        "musetalk" => {
            return Err(bad("musetalk avatars cannot be made yet: make a wav2lip one, or make it with LiveTalking"));
        }
        _ => return Err(bad("model must be wav2lip")),
    }
    let id = text(texts, "avatar_id").unwrap_or_default();
    if !is_id(id) {
        return Err(bad("avatar_id has up to 64 letters, digits, - and _, and begins with a letter or a digit"));
    }
    let face_side = text(texts, "img_size").map_or(Ok(256), str::parse);
    let face_side = face_side.ok().filter(|side| FACE_SIDES.contains(side));
    let face_side = face_side.ok_or_else(|| bad("img_size must be a number from 32 to 512"))?;
    let smooth = match text(texts, "nosmooth").unwrap_or("false").to_ascii_lowercase().as_str() {
        "true" | "1" | "on" | "yes" => false,
        "false" | "0" | "off" | "no" => true,
        _ => return Err(bad("nosmooth must be true or false")),
    };
    let pads = text(texts, "pads").map_or(Ok(Pads::default()), str::parse).map_err(|msg: String| bad(&msg))?;
    let (films, shipped) = (app.config.avatars.films.clone(), app.config.avatars.dir.clone());
    let models = app.config.models.dir.clone();
    // LiveTalking makes an avatar of the same name anew; one that was drawn as a pack stays.
    Ok(Order {
        source,
        id: id.to_owned(),
        avatars: films,
        shipped,
        models,
        face_side,
        pads,
        smooth,
        still: true,
        replace: true,
    })
}

fn text<'a>(texts: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    texts.get(name).map(|text| text.trim()).filter(|text| !text.is_empty())
}

/// The file that `path` names, if it lies in `dir`; whatever else there is, nobody learns.
async fn inside(dir: &Path, path: &str) -> Result<PathBuf, Failure> {
    if path.is_empty() {
        return Err(bad("send a film as video_file, or name one inside avatars.films as video_path"));
    }
    let whole = async {
        let dir = tokio::fs::canonicalize(dir).await.ok()?;
        let file = tokio::fs::canonicalize(dir.join(path)).await.ok()?;
        (file.starts_with(&dir) && tokio::fs::metadata(&file).await.ok()?.is_file()).then_some(file)
    };
    whole.await.ok_or_else(|| bad("video_path names no file inside avatars.films"))
}

fn bad(msg: &str) -> Failure {
    Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_task", msg)
}

fn silent() -> Failure {
    metrics::rejected("L7");
    let msg = format!("nothing of the upload came for {} s", SILENCE.as_secs());
    Failure::new(StatusCode::REQUEST_TIMEOUT, "timeout", msg)
}

impl From<Refused> for Failure {
    fn from(error: Refused) -> Self {
        match error {
            Refused::Busy => Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", error.to_string()).retry_after(60),
            Refused::Taken => Self::new(StatusCode::CONFLICT, "task_exists", error.to_string()),
            Refused::Unknown => Self::new(StatusCode::NOT_FOUND, "unknown_task", error.to_string()),
            Refused::Begun => Self::new(StatusCode::CONFLICT, "task_begun", error.to_string()),
        }
    }
}

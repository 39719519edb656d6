//! `/api/admin`: what `LiveTalking`'s admin page asks, in its words. For operators: a session's id is the key to it.

use std::sync::Arc;

use poem::web::{Data, Json};
use poem::{Request, handler};
use serde::Serialize;
use serde_json::{Value, json};

use super::ops::require_admin;
use super::{App, Failure};
use crate::config::{Config, Output};
use crate::record::Found;
use crate::session::{Session, State};

/// What its settings would be called if this were it. Secrets are not among them.
#[handler]
pub(super) fn settings(request: &Request, Data(app): Data<&Arc<App>>) -> Result<Json<Done>, Failure> {
    require_admin(request, app)?;
    let config = &app.config;
    let voice = Voice::of(config);
    let entries = json!({
        "fps": 25,
        "batch_size": 1,
        "model": MODEL,
        "avatar_id": app.catalogue.default_id(),
        "tts": voice.provider,
        "REF_FILE": voice.name,
        "REF_TEXT": voice.text,
        "TTS_SERVER": voice.server,
        "transport": transport(&app.config),
        "stun": config.webrtc.stun.first().map_or("", String::as_str),
        "max_session": config.server.max_sessions,
        "listenport": config.server.listen.port(),
        "customvideo_config": config.actions.list,
    });
    Ok(done(json!({"config": entries})))
}

/// The live sessions, oldest first.
#[handler]
pub(super) fn sessions(request: &Request, Data(app): Data<&Arc<App>>) -> Result<Json<Done>, Failure> {
    require_admin(request, app)?;
    let voice = Voice::of(&app.config);
    let entries: Vec<Value> = (app.shared.registry.all().iter())
        .map(|session| {
            let actions: Vec<Value> = session.actions().into_iter().map(|n| json!({"audiotype": n})).collect();
            json!({
                "sessionid": name(app, session),
                "speaking": session.state() == State::Speaking,
                "recording": matches!(app.recordings.find(session.id()), Found::Running),
                "model": MODEL,
                "avatar_id": session.avatar(),
                "REF_FILE": session.voice().unwrap_or_else(|| voice.name.clone()),
                "transport": transport(&app.config),
                "batch_size": 1,
                "customopt": actions,
            })
        })
        .collect();
    Ok(done(json!({"sessions": entries})))
}

/// What the other routes call it: a pushed one by its number.
fn name(app: &App, session: &Session) -> String {
    let number = app.shared.numbered.get().and_then(|numbered| numbered.number(session.id()));
    number.map_or_else(|| session.id().to_string(), |number| number.to_string())
}

/// Which of its engines this is: none of them.
const MODEL: &str = "visavis";

fn transport(config: &Config) -> &'static str {
    match config.push.to {
        Output::Off => "webrtc",
        Output::Whip => "rtcpush",
        Output::Rtmp => "rtmp",
        Output::Virtualcam => "virtualcam",
    }
}

/// LiveTalking's envelope.
#[derive(Serialize)]
pub(super) struct Done {
    code: i32,
    msg: &'static str,
    data: Value,
}

fn done(data: Value) -> Json<Done> {
    Json(Done { code: 0, msg: "ok", data })
}

/// The first voice of the configuration, as its section describes it.
struct Voice {
    provider: String,
    name: String,
    text: String,
    server: String,
}

impl Voice {
    fn of(config: &Config) -> Self {
        let provider = config.tts.provider.0.first().map(|provider| json!(provider)).unwrap_or_default();
        let provider = provider.as_str().unwrap_or_default().to_owned();
        let tree = serde_json::to_value(&config.tts).unwrap_or_default();
        let section = &tree[&provider];
        // The first of these keys that has a value: each service has its own.
        let of = |keys: &[&str]| {
            let texts = keys.iter().map(|key| match &section[key] {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                _ => String::new(),
            });
            texts.into_iter().find(|text| !text.is_empty()).unwrap_or_default()
        };
        let (name, text) = (of(&["voice", "reference_audio"]), of(&["reference_text"]));
        let server = of(&["url", "base_url"]);
        Self { provider, name, text, server }
    }
}

//! `LiveTalking`'s routes (reference/livetalking.md §2), with one envelope: `{"code":0|-1,"msg",…}`.

use std::sync::Arc;
use std::time::Instant;

use poem::Request;
use poem::http::StatusCode;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use serde_json::Value;

use super::{App, Failure};
use crate::metrics;
use crate::session::{ActionError, Session, Shared, State, check_text};
use crate::tts::Manner;

pub(super) struct Api {
    pub(super) app: Arc<App>,
}

/// A viewer's offer.
#[derive(Object)]
struct OfferRequest {
    /// The SDP, with or without candidates.
    sdp: String,
    /// `offer`.
    r#type: String,
    /// Who to see; the default avatar if absent.
    avatar: Option<String>,
    /// A live session to join, or to come back to after a reload or a lost network.
    sessionid: Option<Value>,
    /// Whose voice a new session has: a name, or a recording to imitate.
    #[oai(validator(max_length = 256))]
    refaudio: Option<String>,
    /// What is said in that recording.
    #[oai(validator(max_length = 1000))]
    reftext: Option<String>,
    /// What a new session can be asked to do: a list of `{"audiotype","imgpath","audiopath"}`, as it is or as a text.
    custom_config: Option<Value>,
}

/// The answer to an offer.
#[derive(Object)]
struct OfferReply {
    /// 0.
    code: i32,
    /// The answer, complete with candidates.
    sdp: String,
    /// `answer`.
    r#type: String,
    /// The session, for the other routes.
    sessionid: String,
    /// This viewer, for `DELETE /v1/sessions/{id}?viewer=`.
    viewer: String,
}

/// Something to say.
#[derive(Object)]
struct HumanRequest {
    /// Where.
    sessionid: Value,
    /// `echo`: say it; `chat`: answer it.
    r#type: String,
    /// What.
    text: String,
    /// Whether to cut what is being said first.
    #[oai(default)]
    interrupt: bool,
    /// How it is to be spoken; absent: as the session speaks.
    tts: Option<Tts>,
}

/// How one answer is spoken. What the configured voice has no word for is ignored.
#[derive(Object)]
struct Tts {
    /// Whose voice: a name that the service knows.
    #[oai(validator(max_length = 256))]
    voice: Option<String>,
    /// The same, or a recording to imitate.
    #[oai(validator(max_length = 256))]
    ref_file: Option<String>,
    /// What is said in that recording.
    #[oai(validator(max_length = 1000))]
    ref_text: Option<String>,
    /// As the service calls it.
    #[oai(validator(max_length = 32))]
    language: Option<String>,
    /// 0.25 to 4.
    speed: Option<f32>,
    /// How to speak, in words.
    #[oai(validator(max_length = 1000))]
    instructions: Option<String>,
    /// For vLLM-Omni.
    #[oai(validator(max_length = 32))]
    task_type: Option<String>,
}

impl Tts {
    /// Pages send what was not filled in as nothing.
    fn manner(self) -> Manner {
        let Self { voice, ref_file, ref_text, language, speed, instructions, task_type } = self;
        Manner {
            voice: filled(voice).or(filled(ref_file)),
            reference_text: filled(ref_text),
            language: filled(language),
            speed,
            instructions: filled(instructions),
            task_type: filled(task_type),
        }
    }
}

/// Which session.
#[derive(Object)]
struct SessionRequest {
    /// Its id.
    sessionid: Value,
}

/// What to do.
#[derive(Object)]
struct AudioTypeRequest {
    /// Where.
    sessionid: Value,
    /// From 2 on an action of that number; 0 and 1 end it.
    audiotype: Value,
}

/// Done.
#[derive(Object)]
struct Done {
    /// 0.
    code: i32,
    /// `ok`.
    msg: String,
}

/// A yes or no.
#[derive(Object)]
struct Answer {
    /// 0.
    code: i32,
    /// `ok`.
    msg: String,
    /// The answer.
    data: bool,
}

fn done() -> Json<Done> {
    Json(Done { code: 0, msg: "ok".into() })
}

#[OpenApi]
impl Api {
    /// Watch an avatar: WebRTC offer in, answer out.
    #[oai(path = "/offer", method = "post")]
    async fn offer(&self, request: &Request, body: Json<OfferRequest>) -> poem::Result<Json<OfferReply>> {
        let began = Instant::now();
        let answered = self.answer(request, body.0).await;
        let result = answered.as_ref().map_or_else(|failure| failure.code, |_| "ok");
        metrics::offer(result, began.elapsed());
        Ok(Json(answered?))
    }

    /// Say a text, or answer it.
    #[oai(path = "/human", method = "post")]
    async fn human(&self, body: Json<HumanRequest>) -> poem::Result<Json<Done>> {
        let HumanRequest { sessionid, r#type, text, interrupt, tts } = body.0;
        let session = self.session(&sessionid)?;
        self.app.limits.utterance(session.id())?;
        let chat = match r#type.as_str() {
            "chat" => true,
            "echo" => false,
            _ => return Err(Failure::bad_type().into()),
        };
        let text = check_text(&text).map_err(Failure::from)?;
        match tts.map(Tts::manner).filter(|manner| *manner != Manner::default()) {
            None => session.say(text, chat, interrupt).await,
            Some(manner) => {
                let voice = session.voice_in(manner).await.map_err(Failure::from)?;
                session.say_in(text, chat, interrupt, voice).await
            }
        }
        .map_err(Failure::from)?;
        Ok(done())
    }

    /// Be silent: cuts what is said, thought and queued.
    #[oai(path = "/interrupt_talk", method = "post")]
    async fn interrupt_talk(&self, body: Json<SessionRequest>) -> poem::Result<Json<Done>> {
        let session = self.session(&body.0.sessionid)?;
        self.app.limits.call(session.id())?;
        session.interrupt().await.map_err(Failure::from)?;
        Ok(done())
    }

    /// Have the avatar do something that was prepared for it: a custom action.
    #[oai(path = "/set_audiotype", method = "post")]
    async fn set_audiotype(&self, body: Json<AudioTypeRequest>) -> poem::Result<Json<Done>> {
        let AudioTypeRequest { sessionid, audiotype } = body.0;
        let session = self.session(&sessionid)?;
        self.app.limits.call(session.id())?;
        // Pages take it from a field, where it is a text.
        let number = audiotype.as_u64().or_else(|| audiotype.as_str()?.trim().parse().ok());
        let number = number.and_then(|number| u32::try_from(number).ok()).ok_or(ActionError::Unknown);
        session.perform(number.map_err(Failure::from)?).await.map_err(Failure::from)?;
        Ok(done())
    }

    /// Whether the avatar's voice is heard.
    #[oai(path = "/is_speaking", method = "post")]
    async fn is_speaking(&self, body: Json<SessionRequest>) -> poem::Result<Json<Answer>> {
        let session = self.session(&body.0.sessionid)?;
        self.app.limits.call(session.id())?;
        Ok(Json(Answer { code: 0, msg: "ok".into(), data: session.state() == State::Speaking }))
    }
}

impl Api {
    fn session(&self, id: &Value) -> Result<Arc<Session>, Failure> {
        session(&self.app.shared, id)
    }

    async fn answer(&self, request: &Request, body: OfferRequest) -> Result<OfferReply, Failure> {
        if body.r#type != "offer" {
            return Err(Failure::new(StatusCode::BAD_REQUEST, "bad_sdp", "type must be offer"));
        }
        let rejoined = match &body.sessionid {
            None | Some(Value::Null) => None,
            Some(id) => Some(self.session(id)?),
        };
        let avatar = body.avatar.as_deref().unwrap_or_default();
        let is_new = rejoined.is_none();
        let (session, joined) = self.app.join(request, &body.sdp, avatar, rejoined).await?;
        if is_new && let Err(failure) = self.furnish(&session, body).await {
            session.end("bad_request");
            return Err(failure);
        }
        Ok(OfferReply {
            code: 0,
            sdp: joined.sdp,
            r#type: "answer".into(),
            sessionid: session.id().to_string(),
            viewer: joined.viewer.to_string(),
        })
    }

    /// What an offer says of a new session beside who is seen.
    async fn furnish(&self, session: &Session, body: OfferRequest) -> Result<(), Failure> {
        if let Some(voice) = filled(body.refaudio) {
            session.speak_in(Manner { reference_text: filled(body.reftext), ..Manner::of(voice) }).await?;
        }
        let list = match body.custom_config {
            None | Some(Value::Null) => return Ok(()),
            Some(Value::String(text)) if text.trim().is_empty() => return Ok(()),
            Some(Value::String(text)) => text,
            Some(list) => list.to_string(),
        };
        let avatar = self.app.catalogue.get(&session.avatar())?;
        Ok(session.learn(&self.app.shared, list, &avatar).await?)
    }
}

fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.trim().is_empty())
}

/// The session of that id.
pub(super) fn session(shared: &Shared, id: &Value) -> Result<Arc<Session>, Failure> {
    let number = id.as_u64().map(|number| number.to_string());
    number.as_deref().or(id.as_str()).and_then(|id| shared.find(id)).ok_or_else(Failure::no_session)
}

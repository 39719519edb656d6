//! Janus' messages (its API over WebSocket, janus-protocol). Pure.
//!
//! Each request gets the same transaction back: an `ack` at once and an `event` later, in either order, or one `success`.
//! Ids are whole numbers up to 2⁵³.

use serde_json::{Map, Value, json};

/// The audiobridge, as `attach` names it.
pub(super) const AUDIOBRIDGE: &str = "janus.plugin.audiobridge";

/// What a request is about: a session of the server, and in it a handle of a plugin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) session: Option<u64>,
    pub(super) handle: Option<u64>,
}

impl Place {
    pub(super) fn session(id: u64) -> Self {
        Self { session: Some(id), handle: None }
    }

    pub(super) fn handle(session: u64, handle: u64) -> Self {
        Self { session: Some(session), handle: Some(handle) }
    }
}

/// What we ask for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Request {
    Info,
    Create,
    Claim,
    Attach,
    Keepalive,
    /// A request of the plugin that answers at once.
    Ask(Value),
    /// A request of the plugin that is acknowledged and answered by an event; with an offer perhaps.
    Tell {
        body: Value,
        offer: Option<String>,
    },
    Hangup,
    Detach,
    Destroy,
}

impl Request {
    /// As the server calls it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Create => "create",
            Self::Claim => "claim",
            Self::Attach => "attach",
            Self::Keepalive => "keepalive",
            Self::Ask(_) | Self::Tell { .. } => "message",
            Self::Hangup => "hangup",
            Self::Detach => "detach",
            Self::Destroy => "destroy",
        }
    }

    /// Whether `reply` is the last word on it.
    pub(super) fn settles(&self, reply: &Reply) -> bool {
        match self {
            Self::Tell { .. } => !matches!(reply, Reply::Ack),
            _ => true,
        }
    }

    /// One text frame.
    pub(super) fn frame(&self, transaction: &str, secret: Option<&str>, place: Place) -> String {
        let mut message = Map::new();
        let mut put = |key: &str, value: Value| drop(message.insert(key.to_owned(), value));
        put("janus", self.name().into());
        put("transaction", transaction.into());
        if let Some(secret) = secret {
            put("apisecret", secret.into());
        }
        if let Some(session) = place.session {
            put("session_id", session.into());
        }
        if let Some(handle) = place.handle {
            put("handle_id", handle.into());
        }
        match self {
            Self::Attach => put("plugin", AUDIOBRIDGE.into()),
            Self::Ask(body) => put("body", body.clone()),
            Self::Tell { body, offer } => {
                put("body", body.clone());
                if let Some(sdp) = offer {
                    put("jsep", json!({"type": "offer", "sdp": sdp}));
                }
            }
            _ => {}
        }
        Value::Object(message).to_string()
    }
}

/// Why the server or the plugin does not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {reason}")]
pub(super) struct Refusal {
    pub(super) code: u32,
    pub(super) reason: String,
}

impl Refusal {
    fn of(code: &Value, reason: &Value) -> Self {
        let code = code.as_u64().and_then(|code| u32::try_from(code).ok()).unwrap_or_default();
        // A server's words go into our log: a line at most.
        let reason = reason.as_str().unwrap_or_default();
        Self { code, reason: reason.chars().filter(|c| !c.is_control()).take(200).collect() }
    }
}

/// What comes back for a request.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reply {
    /// It was understood; if it is for a plugin, more follows.
    Ack,
    /// Done. The whole message.
    Success(Value),
    /// The plugin's word, and its answer to an offer.
    Plugin { data: Value, answer: Option<String> },
    /// No.
    Refused(Refusal),
}

/// What the server tells by itself.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Event {
    /// Media can flow.
    Up,
    /// Whether our sound reaches the server.
    Receiving(bool),
    /// Packets were lost: of those we sent (`uplink`) or of those it sent.
    SlowLink { uplink: bool, lost: u64 },
    /// The connection is over.
    Hangup(String),
    /// The handle is gone.
    Detached,
    /// The session is gone.
    Timeout,
    /// One more candidate of the other end.
    Candidate(String),
    /// The plugin tells of its room.
    Plugin(Value),
}

/// One text frame of the server.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Incoming {
    Reply {
        transaction: String,
        reply: Reply,
    },
    Event {
        sender: Option<u64>,
        event: Event,
    },
    /// An error that names no transaction: of a request that the server could not read.
    Fault(Refusal),
    /// A kind that we do not know, which is no error.
    Unknown,
    /// No JSON object with a `janus` in it.
    Garbled,
}

impl Incoming {
    pub(super) fn parse(text: &str) -> Self {
        let Ok(mut message) = serde_json::from_str::<Value>(text) else { return Self::Garbled };
        let Some(kind) = message["janus"].as_str().map(str::to_owned) else { return Self::Garbled };
        let transaction = message["transaction"].as_str().map(str::to_owned);
        // Whatever a server puts there: what is not an object has no data.
        let data = |message: &mut Value| message.pointer_mut("/plugindata/data").map(Value::take).unwrap_or_default();
        let plugin = |message: &mut Value| Reply::Plugin {
            data: data(message),
            answer: message["jsep"]["sdp"].as_str().map(str::to_owned),
        };
        let reply = match kind.as_str() {
            "ack" => Some(Reply::Ack),
            "success" if message["plugindata"].is_object() => Some(plugin(&mut message)),
            "success" | "server_info" | "pong" => Some(Reply::Success(message.clone())),
            "event" if transaction.is_some() => Some(plugin(&mut message)),
            "error" => {
                let refusal = Refusal::of(&message["error"]["code"], &message["error"]["reason"]);
                if transaction.is_none() {
                    return Self::Fault(refusal);
                }
                Some(Reply::Refused(refusal))
            }
            _ => None,
        };
        if let (Some(reply), Some(transaction)) = (reply, transaction) {
            return Self::Reply { transaction, reply };
        }
        let event = match kind.as_str() {
            "webrtcup" => Event::Up,
            "media" => Event::Receiving(message["receiving"].as_bool().unwrap_or(true)),
            "slowlink" => {
                let uplink = message["uplink"].as_bool().unwrap_or_default();
                Event::SlowLink { uplink, lost: message["lost"].as_u64().unwrap_or_default() }
            }
            "hangup" => Event::Hangup(Refusal::of(&Value::Null, &message["reason"]).reason),
            "detached" => Event::Detached,
            "timeout" => Event::Timeout,
            "trickle" => match message["candidate"]["candidate"].as_str() {
                Some(candidate) => Event::Candidate(candidate.to_owned()),
                None => return Self::Unknown,
            },
            "event" => Event::Plugin(data(&mut message)),
            _ => return Self::Unknown,
        };
        Self::Event { sender: message["sender"].as_u64(), event }
    }
}

impl Reply {
    /// The id of what was made.
    pub(super) fn id(&self) -> Option<u64> {
        if let Self::Success(message) = self { message["data"]["id"].as_u64() } else { None }
    }

    /// A refusal, also that of a plugin, which comes as a success.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal.clone()),
            Self::Plugin { data, .. } if data["error_code"].is_u64() => {
                Some(Refusal::of(&data["error_code"], &data["error"]))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_request_carries_its_transaction_its_secret_and_ids_to_the_last_digit() {
        let body = json!({"request": "configure"});
        let request = Request::Tell { body, offer: Some("v=0".into()) };
        let frame = request.frame("t1", Some("janusrocks"), Place::handle(9_007_199_254_740_991, 8_007_199_254_740_993));
        let message: Value = serde_json::from_str(&frame).unwrap();
        assert_eq!(
            message,
            json!({"janus": "message", "transaction": "t1", "apisecret": "janusrocks",
                   "session_id": 9_007_199_254_740_991_u64, "handle_id": 8_007_199_254_740_993_u64,
                   "body": {"request": "configure"}, "jsep": {"type": "offer", "sdp": "v=0"}})
        );
        assert!(frame.contains("9007199254740991"));
        assert!(!Request::Info.frame("t", None, Place::default()).contains("apisecret"));
    }

    #[test]
    fn only_a_plugins_event_settles_what_it_was_told_and_an_ack_alone_settles_the_rest() {
        let told = Request::Tell { body: json!({}), offer: None };
        let event = Reply::Plugin { data: json!({}), answer: None };
        assert!(!told.settles(&Reply::Ack) && told.settles(&event));
        assert!(Request::Keepalive.settles(&Reply::Ack));
    }

    #[test]
    fn ids_keep_all_their_digits() {
        let text = r#"{"janus":"success","transaction":"a","data":{"id":8007199254740991}}"#;
        let Incoming::Reply { reply, .. } = Incoming::parse(text) else { panic!("a reply") };
        assert_eq!(reply.id(), Some(8_007_199_254_740_991));
    }

    #[test]
    fn a_plugins_error_is_a_refusal_in_either_envelope() {
        for kind in ["success", "event"] {
            let text = format!(
                r#"{{"janus":"{kind}","transaction":"a","sender":1,"plugindata":{{"plugin":"x","data":{{"audiobridge":"event","error_code":489,"error":"Unauthorized (wrong pin)"}}}}}}"#
            );
            let Incoming::Reply { reply, .. } = Incoming::parse(&text) else { panic!("a reply") };
            assert_eq!(reply.refusal().unwrap().to_string(), "489: Unauthorized (wrong pin)");
        }
    }

    #[test]
    fn an_error_without_a_transaction_is_told_from_one_with() {
        let fault = r#"{"janus":"error","error":{"code":454,"reason":"Invalid JSON object"}}"#;
        assert!(matches!(Incoming::parse(fault), Incoming::Fault(refusal) if refusal.code == 454));
        let refused = r#"{"janus":"error","transaction":"x","error":{"code":403,"reason":"Unauthorized request"}}"#;
        assert!(matches!(Incoming::parse(refused), Incoming::Reply { reply: Reply::Refused(_), .. }));
    }

    #[test]
    fn what_the_server_tells_by_itself_is_known_or_ignored() {
        let event = |text: &str| match Incoming::parse(text) {
            Incoming::Event { sender, event } => Some((sender, event)),
            _ => None,
        };
        let hangup = event(r#"{"janus":"hangup","session_id":1,"sender":2,"reason":"ICE failed"}"#);
        assert_eq!(hangup, Some((Some(2), Event::Hangup("ICE failed".into()))));
        let media = event(r#"{"janus":"media","sender":2,"mid":"0","type":"audio","receiving":false}"#);
        assert_eq!(media, Some((Some(2), Event::Receiving(false))));
        assert_eq!(event(r#"{"janus":"timeout","session_id":1}"#), Some((None, Event::Timeout)));
        assert_eq!(Incoming::parse(r#"{"janus":"dance"}"#), Incoming::Unknown);
        assert_eq!(Incoming::parse("[]"), Incoming::Garbled);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,200}", kind in "ack|success|event|error|trickle|media|hangup", rest in ".{0,40}") {
            Incoming::parse(&text);
            Incoming::parse(&format!(r#"{{"janus":"{kind}","transaction":{rest}}}"#));
            Incoming::parse(&format!(r#"{{"janus":"{kind}","plugindata":[{}],"sender":-1}}"#, rest.len()));
        }
    }
}

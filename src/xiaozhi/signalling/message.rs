//! What a client says on the signalling socket, in all the shapes that clients have. Pure; reads hostile text.

use serde_json::{Value, json};

/// A message that asks for something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    /// It wants a connection.
    Offer {
        /// Untrusted.
        sdp: String,
        /// Who it says it is, if it does.
        device: Option<String>,
    },
    /// It answers an offer, which we never make.
    Answer,
    /// Where it can be reached.
    Candidate(String),
    /// That was all.
    LastCandidate,
    /// It wants the connection to end.
    Close,
    /// Are you there?
    Ping {
        /// To be sent back.
        timestamp: Option<Value>,
    },
}

/// A message that cannot be taken, as the client is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    #[error("无效的JSON格式")]
    Json,
    #[error("未支持的消息类型: {0}")]
    Type(String),
    #[error("offer 缺少 sdp")]
    NoSdp,
    #[error("ice_candidate 缺少 candidate")]
    NoCandidate,
}

/// Of an unknown type, this much is repeated.
const TYPE_CHARS: usize = 64;
/// A candidate may lie in an object in a JSON text in an object, and no deeper.
const DEPTH: usize = 4;

/// Reads one message.
pub(super) fn parse(text: &str) -> Result<Incoming, Unusable> {
    let message: Value = serde_json::from_str(text).map_err(|_| Unusable::Json)?;
    if !message.is_object() {
        return Err(Unusable::Json);
    }
    let kind = message["type"].as_str().unwrap_or_default().to_lowercase();
    let payload = message.get("payload").unwrap_or(&message);
    match kind.as_str() {
        "offer" | "sdp_offer" => {
            let device = ["client_id", "device-id", "device_id"].iter().find_map(|key| payload[key].as_str());
            let sdp = sdp(payload, DEPTH).ok_or(Unusable::NoSdp)?;
            Ok(Incoming::Offer { sdp, device: device.and_then(name) })
        }
        "answer" | "sdp_answer" => Ok(Incoming::Answer),
        "close" => Ok(Incoming::Close),
        "ping" => {
            let timestamp =
                [&message["timestamp"], &payload["timestamp"]].into_iter().find(|t| t.is_number() || t.is_string());
            Ok(Incoming::Ping { timestamp: timestamp.cloned() })
        }
        _ if kind.contains("candidate") => candidate(payload, DEPTH).ok_or(Unusable::NoCandidate),
        _ => Err(Unusable::Type(kind.chars().take(TYPE_CHARS).collect())),
    }
}

/// An id that a client may have: short, and fit for a header and a log.
pub(super) fn name(id: &str) -> Option<String> {
    let fit = (1..=128).contains(&id.len()) && id.chars().all(|c| c.is_ascii_graphic());
    fit.then(|| id.to_owned())
}

/// `{sdp}`, `{sdp: {sdp}}`, or the same as JSON text.
fn sdp(value: &Value, depth: usize) -> Option<String> {
    match value {
        Value::String(text) if text.trim_start().starts_with('{') => sdp(&inner(text, depth)?, depth - 1),
        Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
        Value::Object(object) if depth > 0 => sdp(object.get("sdp")?, depth - 1),
        _ => None,
    }
}

/// `{candidate}`, `{candidate: {candidate}}`, the same as JSON text, or the line itself; nothing is the end. `None`: no candidate.
fn candidate(value: &Value, depth: usize) -> Option<Incoming> {
    match value {
        Value::Null => Some(Incoming::LastCandidate),
        Value::String(text) => match text.trim() {
            "" | "null" | "end-of-candidates" | "a=end-of-candidates" => Some(Incoming::LastCandidate),
            text if text.starts_with(['{', '"']) => candidate(&inner(text, depth)?, depth - 1),
            text => Some(Incoming::Candidate(text.strip_prefix("a=").unwrap_or(text).to_owned())),
        },
        Value::Object(object) if depth > 0 => candidate(object.get("candidate")?, depth - 1),
        _ => None,
    }
}

fn inner(text: &str, depth: usize) -> Option<Value> {
    (depth > 0).then(|| serde_json::from_str(text).ok()).flatten()
}

/// The answer to an offer.
pub(super) fn answer(client_id: &str, sdp: &str) -> Value {
    json!({"type": "answer", "payload": {"type": "answer", "sdp": sdp}, "client_id": client_id})
}

/// What the client is told of a failure.
pub(super) fn error(message: &(impl ToString + ?Sized)) -> Value {
    json!({"type": "error", "message": message.to_string()})
}

/// The candidates of an answer's first line, each as a message of its own: some clients only look there. All lines share one
/// transport.
pub(super) fn candidates(sdp: &str) -> Vec<Value> {
    let section: Vec<&str> = sdp.lines().skip_while(|line| !line.starts_with("m=")).collect();
    let end = section.iter().skip(1).position(|line| line.starts_with("m=")).map_or(section.len(), |at| at + 1);
    let section = &section[..end];
    let mid = section.iter().find_map(|line| line.strip_prefix("a=mid:")).unwrap_or("0");
    let ours = section.iter().filter_map(|line| line.strip_prefix("a=")).filter(|line| line.starts_with("candidate:"));
    let message = |line: &str| {
        let payload = json!({"candidate": line, "sdpMid": mid, "sdpMLineIndex": 0});
        json!({"type": "ice_candidate", "payload": payload})
    };
    ours.map(message).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LINE: &str = "candidate:1 1 UDP 2113937151 192.168.1.1 56789 typ host";

    fn offered(text: &str) -> Option<(String, Option<String>)> {
        match parse(text).unwrap() {
            Incoming::Offer { sdp, device } => Some((sdp, device)),
            _ => None,
        }
    }

    #[test]
    fn an_offer_has_three_shapes_and_any_case() {
        for text in [
            r#"{"type":"offer","payload":{"type":"offer","sdp":"v=0"}}"#,
            r#"{"type":"OFFER","sdp":"v=0"}"#,
            r#"{"type":"Sdp_Offer","sdp":{"type":"offer","sdp":"v=0"}}"#,
            r#"{"type":"offer","payload":{"sdp":{"type":"offer","sdp":"v=0"}}}"#,
            r#"{"type":"offer","payload":"{\"type\":\"offer\",\"sdp\":\"v=0\"}"}"#,
        ] {
            assert_eq!(offered(text), Some(("v=0".to_owned(), None)), "{text}");
        }
        let named = r#"{"type":"offer","payload":{"sdp":"v=0","device-id":"aa:bb"}}"#;
        assert_eq!(offered(named).unwrap().1.as_deref(), Some("aa:bb"));
    }

    #[test]
    fn a_candidate_has_five_shapes_and_both_spellings() {
        let object = json!({"candidate": LINE, "sdpMid": "0", "sdpMLineIndex": 0, "usernameFragment": "x"});
        let payloads = [object.clone(), json!({"candidate": object}), json!(object.to_string()), json!(LINE)];
        for kind in ["ice_candidate", "ice-candidate", "candidate", "ICE_Candidate"] {
            for payload in &payloads {
                let text = json!({"type": kind, "payload": payload}).to_string();
                assert_eq!(parse(&text), Ok(Incoming::Candidate(LINE.into())), "{text}");
            }
            for nothing in [json!(null), json!(""), json!({"candidate": ""}), json!({"candidate": null})] {
                assert_eq!(parse(&json!({"type": kind, "payload": nothing}).to_string()), Ok(Incoming::LastCandidate));
            }
        }
        let flat = json!({"type": "candidate", "candidate": LINE, "sdpMid": "0"}).to_string();
        assert_eq!(parse(&flat), Ok(Incoming::Candidate(LINE.into())));
        let bare = json!({"type": "candidate", "payload": &LINE["candidate:".len()..]}).to_string();
        assert!(matches!(parse(&bare), Ok(Incoming::Candidate(line)) if line.starts_with("1 1 UDP")));
    }

    #[test]
    fn what_cannot_be_taken_is_told_in_the_words_of_the_original() {
        assert_eq!(parse("{").unwrap_err().to_string(), "无效的JSON格式");
        assert_eq!(parse("7").unwrap_err(), Unusable::Json);
        assert_eq!(parse(r#"{"type":"DANCE"}"#).unwrap_err().to_string(), "未支持的消息类型: dance");
        assert_eq!(parse(r#"{"type":"offer"}"#).unwrap_err(), Unusable::NoSdp);
        assert_eq!(parse(r#"{"type":"offer","payload":null}"#).unwrap_err(), Unusable::NoSdp);
        assert_eq!(parse(r#"{"type":"ice_candidate"}"#).unwrap_err(), Unusable::NoCandidate);
    }

    #[test]
    fn a_ping_brings_its_timestamp() {
        let ping = |text: &str| match parse(text) {
            Ok(Incoming::Ping { timestamp }) => timestamp,
            other => panic!("{other:?}"),
        };
        assert_eq!(ping(r#"{"type":"ping","timestamp":7}"#), Some(json!(7)));
        assert_eq!(ping(r#"{"type":"ping","payload":{"timestamp":8,"count":1}}"#), Some(json!(8)));
        assert_eq!(ping(r#"{"type":"ping"}"#), None);
    }

    #[test]
    fn our_candidates_are_those_of_the_first_line() {
        let sdp = "v=0\r\nm=audio 9 X 111\r\na=mid:a0\r\na=candidate:1 1 udp 5 192.0.2.1 8010 typ host\r\n\
                   a=end-of-candidates\r\nm=application 9 X\r\na=mid:1\r\na=candidate:2 1 udp 5 192.0.2.2 8010 typ host\r\n";
        let payload =
            json!({"candidate": "candidate:1 1 udp 5 192.0.2.1 8010 typ host", "sdpMid": "a0", "sdpMLineIndex": 0});
        assert_eq!(candidates(sdp), [json!({"type": "ice_candidate", "payload": payload})]);
        assert!(candidates("").is_empty());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>(), kind in "(offer|candidate|ping|x)") {
            let _ = parse(&text);
            let _ = parse(&json!({"type": kind, "payload": text}).to_string());
        }
    }
}

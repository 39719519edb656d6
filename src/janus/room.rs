//! A room of Janus' audiobridge: what we ask of it, and what we know of who is in it. Pure.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::config::Janus;

/// No such room.
pub(super) const NO_SUCH_ROOM: u32 = 485;
/// The room was made by somebody else in between.
pub(super) const ROOM_EXISTS: u32 = 486;
/// Somebody of that id is in the room.
pub(super) const ID_TAKEN: u32 = 490;

/// Samples a second of a room that we make: all that our pipeline has.
const SAMPLING_RATE: u32 = 16_000;

/// What somebody who joins sees of us.
pub(super) fn join(config: &Janus, id: Option<u64>) -> Value {
    let mut body = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(key.to_owned(), value);
        }
    };
    put("request", Some("join".into()));
    put("room", Some(config.room.into()));
    put("display", Some(config.display.as_str().into()));
    put("muted", Some(config.muted.into()));
    put("pin", config.pin.reveal().map(Value::from));
    put("id", id.map(Value::from));
    put("quality", config.quality.map(Value::from));
    put("bitrate", config.bitrate.map(Value::from));
    put("expected_loss", config.expected_loss.map(Value::from));
    put("prebuffer", config.prebuffer.map(Value::from));
    put("volume", config.volume.map(Value::from));
    Value::Object(body)
}

/// Comes with the offer.
pub(super) fn configure(config: &Janus) -> Value {
    json!({"request": "configure", "muted": config.muted})
}

pub(super) fn create(config: &Janus) -> Value {
    let mut body = json!({"request": "create", "room": config.room, "sampling_rate": SAMPLING_RATE, "permanent": false});
    for (key, secret) in [("secret", &config.room_secret), ("pin", &config.pin), ("admin_key", &config.admin_key)] {
        if let Some(secret) = secret.reveal() {
            body[key] = secret.into();
        }
    }
    body
}

/// Removes `id`, for which the room's secret is needed.
pub(super) fn kick(config: &Janus, id: u64) -> Option<Value> {
    let secret = config.room_secret.reveal()?;
    Some(json!({"request": "kick", "room": config.room, "secret": secret, "id": id}))
}

pub(super) fn leave() -> Value {
    json!({"request": "leave"})
}

/// What became of us in the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Somebody removed us.
    Kicked,
    /// The room is no more.
    Destroyed,
    /// Whether the others can hear us.
    Muted(bool),
    /// The last of the others has left.
    Alone,
    /// Somebody has come to us.
    Company,
}

/// Who is in the room, beside us.
#[derive(Debug)]
pub(super) struct Room {
    us: u64,
    others: BTreeSet<u64>,
    muted: bool,
    all_muted: bool,
}

impl Room {
    /// From the plugin's `joined`. `None` if it is no such thing.
    pub(super) fn joined(data: &Value, muted: bool) -> Option<Self> {
        let us = data["id"].as_u64().filter(|_| data["audiobridge"] == "joined")?;
        let mut room = Self { us, others: BTreeSet::new(), muted, all_muted: false };
        room.apply(data);
        Some(room)
    }

    /// Our number.
    pub(super) fn us(&self) -> u64 {
        self.us
    }

    /// How many there are beside us.
    pub(super) fn others(&self) -> usize {
        self.others.len()
    }

    /// Whether the others cannot hear us.
    pub(super) fn is_muted(&self) -> bool {
        self.muted || self.all_muted
    }

    /// Takes what the plugin tells; what it does not know it ignores.
    pub(super) fn apply(&mut self, data: &Value) -> Vec<Change> {
        let (company, muted) = (!self.others.is_empty(), self.is_muted());
        let mut changes = Vec::new();
        match data["audiobridge"].as_str() {
            Some("destroyed") => changes.push(Change::Destroyed),
            Some("joined" | "event") => {
                for participant in data["participants"].as_array().into_iter().flatten() {
                    match participant["id"].as_u64() {
                        Some(id) if id == self.us => self.muted = participant["muted"].as_bool().unwrap_or(self.muted),
                        Some(id) => drop(self.others.insert(id)),
                        None => {}
                    }
                }
                for key in ["leaving", "kicked", "kicked_all"] {
                    match data[key].as_u64() {
                        Some(id) if id == self.us && key != "leaving" => changes.push(Change::Kicked),
                        Some(id) => drop(self.others.remove(&id)),
                        None => {}
                    }
                }
                if let Some(all_muted) = data["muted"].as_bool() {
                    self.all_muted = all_muted;
                }
            }
            _ => {}
        }
        if self.is_muted() != muted {
            changes.push(Change::Muted(self.is_muted()));
        }
        match (company, self.others.is_empty()) {
            (true, true) => changes.push(Change::Alone),
            (false, false) => changes.push(Change::Company),
            _ => {}
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room() -> Room {
        let data = json!({"audiobridge": "joined", "room": 1234, "id": 7, "participants": [{"id": 8, "setup": true, "muted": false}]});
        Room::joined(&data, false).unwrap()
    }

    #[test]
    fn what_is_not_configured_is_not_sent_and_secrets_are() {
        let body = join(&Janus { pin: "1234".into(), quality: Some(4), ..Janus::default() }, None);
        let expected =
            json!({"request": "join", "room": 1234, "display": "Agent", "muted": false, "pin": "1234", "quality": 4});
        assert_eq!(body, expected);
        assert_eq!(join(&Janus::default(), Some(1 << 53))["id"], 1_u64 << 53);
        assert_eq!(kick(&Janus::default(), 7), None);
        let config = Janus { room_secret: "hush".into(), ..Janus::default() };
        assert_eq!(kick(&config, 7).unwrap()["secret"], "hush");
        assert_eq!(create(&config)["secret"], "hush");
        assert!(create(&config).get("pin").is_none());
    }

    #[test]
    fn those_who_come_and_go_are_counted_and_the_last_one_is_noticed() {
        let mut room = room();
        assert_eq!(room.others(), 1);
        let joined = |id: u64| json!({"audiobridge": "joined", "participants": [{"id": id}]});
        let leaving = |id: u64| json!({"audiobridge": "event", "leaving": id});
        assert_eq!(room.apply(&joined(9)), []);
        assert_eq!(room.apply(&leaving(8)), []);
        assert_eq!(room.apply(&leaving(9)), [Change::Alone]);
        assert_eq!(room.apply(&leaving(9)), []);
        assert_eq!(room.apply(&joined(10)), [Change::Company]);
    }

    #[test]
    fn what_happens_to_us_is_told_and_what_happens_to_others_is_not() {
        let mut room = room();
        let event = |key: &str, value: Value| json!({"audiobridge": "event", "room": 1234, key: value});
        assert_eq!(room.apply(&event("kicked", 8.into())), [Change::Alone]);
        assert_eq!(room.apply(&event("kicked", 7.into())), [Change::Kicked]);
        assert_eq!(room.apply(&event("kicked_all", 7.into())), [Change::Kicked]);
        assert_eq!(room.apply(&json!({"audiobridge": "destroyed", "room": 1234})), [Change::Destroyed]);
        assert_eq!(room.apply(&json!({"audiobridge": "talking", "id": 8})), []);
        assert_eq!(room.apply(&json!({"news": 1})), []);
    }

    #[test]
    fn silence_is_ours_or_the_rooms() {
        let mut room = room();
        let us = |muted: bool| json!({"audiobridge": "event", "participants": [{"id": 7, "muted": muted}]});
        let all = |muted: bool| json!({"audiobridge": "event", "muted": muted});
        assert_eq!(room.apply(&us(true)), [Change::Muted(true)]);
        assert_eq!(room.apply(&all(true)), []);
        assert_eq!(room.apply(&us(false)), []);
        assert_eq!(room.apply(&all(false)), [Change::Muted(false)]);
        assert!(!room.is_muted());
    }
}

//! `xiaozhi:`, the devices and the browser clients of seed 002.

use std::time::Duration;

use garde::Validate;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::values::{Secret, seconds};

/// `xiaozhi:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Xiaozhi {
    /// Whether anything of it is served.
    #[garde(skip)]
    pub enabled: bool,
    /// Which devices may come.
    #[garde(dive)]
    pub auth: Auth,
    /// The socket's address for devices that ask the OTA route; empty: the name by which they asked.
    #[garde(length(max = 256))]
    pub websocket_url: String,
    /// Minutes from UTC, for the clock of devices.
    #[garde(range(min = -720, max = 840))]
    pub timezone_offset: i32,
    /// How long a device may be silent until it is told good-bye.
    #[garde(skip)]
    #[serde(with = "seconds")]
    pub silence: Duration,
    /// What it is told then; empty: it is only closed.
    #[garde(length(max = 500))]
    pub farewell: String,
    /// Of browser clients.
    #[garde(dive)]
    pub webrtc: WebRtc,
}

impl Default for Xiaozhi {
    fn default() -> Self {
        Self {
            enabled: false,
            auth: Auth::default(),
            websocket_url: String::new(),
            timezone_offset: 480,
            silence: Duration::from_mins(2),
            farewell: "那我先休息了，有事再叫我。".into(),
            webrtc: WebRtc::default(),
        }
    }
}

/// `xiaozhi.auth:`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Whether a device needs a token.
    #[garde(custom(has_key(&self.key)))]
    pub enabled: bool,
    /// Signs the tokens.
    #[garde(skip)]
    pub key: Secret,
    /// Device ids that need no token. If there are some, only they are given tokens.
    #[garde(inner(length(min = 1, max = 128)))]
    pub allowed_devices: Vec<String>,
}

fn has_key(key: &Secret) -> impl FnOnce(&bool, &()) -> garde::Result + '_ {
    move |enabled, ()| {
        if !enabled || key.reveal().is_some() {
            return Ok(());
        }
        Err(garde::Error::new("needs xiaozhi.auth.key, which signs the tokens"))
    }
}

/// `xiaozhi.webrtc:`, the same keys as the original's `webrtc:`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct WebRtc {
    /// Whether there is a route, and a port.
    #[garde(skip)]
    pub enabled: bool,
    /// Path of the WebSocket.
    #[garde(custom(path))]
    pub signaling_path: String,
    /// TCP port of its own; 0: `server.listen` alone.
    #[garde(skip)]
    pub port: u16,
    /// Whether a device's sound goes over its WebRTC connection alone, while it has one.
    #[garde(skip)]
    pub replace_opus: bool,
    /// Who tells this server its address on the other side of a NAT.
    #[garde(dive, length(max = 8))]
    pub stun_servers: Vec<StunServer>,
    /// Accepted, and of no use to a server that can be reached.
    #[garde(dive, length(max = 8))]
    pub turn_servers: Vec<TurnServer>,
    /// How often a STUN server that does not answer is asked again.
    #[garde(range(max = 100))]
    pub max_retries: u32,
    /// Between two attempts.
    #[garde(custom(within_minutes))]
    #[serde(serialize_with = "crate::values::seconds::serialize", deserialize_with = "seconds_or_number")]
    pub retry_interval: Duration,
    /// From the answer to media.
    #[garde(custom(within_minutes))]
    #[serde(serialize_with = "crate::values::seconds::serialize", deserialize_with = "seconds_or_number")]
    pub connection_timeout: Duration,
}

impl Default for WebRtc {
    fn default() -> Self {
        Self {
            enabled: true,
            signaling_path: "/ws/signaling".into(),
            port: 0,
            replace_opus: true,
            stun_servers: Vec::new(),
            turn_servers: Vec::new(),
            max_retries: 3,
            retry_interval: Duration::from_secs(1),
            connection_timeout: Duration::from_secs(30),
        }
    }
}

/// One of `xiaozhi.webrtc.stun_servers`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct StunServer {
    /// `stun:host:port`.
    #[garde(custom(super::transport::stun_url))]
    pub urls: String,
}

/// One of `xiaozhi.webrtc.turn_servers`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct TurnServer {
    /// `turn:host:port`.
    #[garde(custom(super::transport::turn_url))]
    pub urls: String,
    /// Who we are to it.
    #[garde(length(max = 256))]
    #[serde(default)]
    pub username: String,
    /// Its password.
    #[garde(skip)]
    #[serde(default)]
    pub credential: Secret,
}

/// `30s`, or the original's `30`.
fn seconds_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Number(number) => crate::values::seconds::deserialize(Value::from(format!("{number}s"))),
        other => crate::values::seconds::deserialize(other),
    }
    .map_err(serde::de::Error::custom)
}

fn path(path: &str, (): &()) -> garde::Result {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.".contains(c);
    if path.len() > 1 && path.starts_with('/') && path.chars().all(plain) && !path.contains("//") {
        return Ok(());
    }
    Err(garde::Error::new("must be a path such as /ws/signaling"))
}

fn within_minutes(time: &Duration, (): &()) -> garde::Result {
    if (Duration::from_secs(1)..=Duration::from_mins(5)).contains(time) {
        return Ok(());
    }
    Err(garde::Error::new("must be 1s to 300s"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_section_of_the_original_is_taken_as_it_stands() {
        let theirs = "enabled: true\nwebrtc:\n  enabled: true\n  signaling_path: \"/ws/signaling\"\n  port: 8082\n  replace_opus: true\n  \
                      stun_servers:\n    - urls: \"stun:stun.example:3478\"\n  turn_servers:\n    - urls: \"turn:turn.example:3478\"\n      \
                      username: \"u\"\n      credential: \"p\"\n  max_retries: 3\n  retry_interval: 1\n  connection_timeout: 30\n";
        let webrtc = serde_saphyr::from_str::<Xiaozhi>(theirs).unwrap().webrtc;
        assert_eq!((webrtc.port, webrtc.connection_timeout), (8082, Duration::from_secs(30)));
        assert_eq!(webrtc.turn_servers[0].credential.reveal(), Some("p"));
        assert!(webrtc.validate().is_ok());
        assert!(serde_saphyr::from_str::<Xiaozhi>("webrtc:\n  retry_interval: soon\n").is_err());
        assert!(WebRtc { signaling_path: "ws".into(), ..WebRtc::default() }.validate().is_err());
    }
}

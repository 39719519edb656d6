//! `janus:`, the room of seed 000, and `relay:`, the WebSocket that came before it.

use std::collections::BTreeMap;

use garde::Validate;
use serde::{Deserialize, Serialize};

use super::Secret;

/// `janus:`
#[expect(clippy::struct_excessive_bools, reason = "each is a key of its own")]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Janus {
    /// Whether the room is joined.
    #[garde(skip)]
    pub enabled: bool,
    /// Where the server's WebSocket is. `JANUS_URL` of the environment, where the file leaves it as it is.
    #[garde(custom(websocket))]
    pub url: String,
    /// The server's `api_secret`; empty: `JANUS_API_SECRET` of the environment, or else `janusrocks`.
    #[garde(skip)]
    pub secret: Secret,
    /// Which room of its audiobridge.
    #[garde(range(max = MAX_ID))]
    pub room: u64,
    /// What joining the room takes.
    #[garde(skip)]
    pub pin: Secret,
    /// The room's secret: to remove our own ghost from it, and for a room that we make.
    #[garde(skip)]
    pub room_secret: Secret,
    /// Makes the room where there is none.
    #[garde(skip)]
    pub create: bool,
    /// The audiobridge's `admin_key`, if making rooms takes one.
    #[garde(skip)]
    pub admin_key: Secret,
    /// What the others see.
    #[garde(length(min = 1, max = 128))]
    pub display: String,
    /// Our number in the room; absent: one that the room picks.
    #[garde(inner(range(max = MAX_ID)))]
    pub id: Option<u64>,
    /// Joins without a voice.
    #[garde(skip)]
    pub muted: bool,
    /// How much care the room's encoder takes, 1 to 10; absent: its own choice, as with all that follows.
    #[garde(inner(range(min = 1, max = 10)))]
    pub quality: Option<u8>,
    /// Bits a second of what the room sends us.
    #[garde(inner(range(min = 500, max = 512_000)))]
    pub bitrate: Option<u32>,
    /// Percent of packets that its encoder expects to be lost.
    #[garde(inner(range(max = 20)))]
    pub expected_loss: Option<u8>,
    /// Packets of ours that it waits for before it mixes them.
    #[garde(inner(range(max = 50)))]
    pub prebuffer: Option<u8>,
    /// Percent of the loudness at which it mixes us.
    #[garde(inner(range(max = 500)))]
    pub volume: Option<u16>,
    /// Does not listen while the avatar speaks: for rooms with loudspeakers that somebody's microphone hears.
    #[garde(skip)]
    pub half_duplex: bool,
    /// Has a `MiniCPM` server (`audio_proxy.minicpm`) hear and answer, in place of ears, model and voice.
    #[garde(skip)]
    pub minicpm: bool,
    /// Comes back after somebody has removed us.
    #[garde(skip)]
    pub rejoin: bool,
    /// Who is seen by those who watch the session; empty: the default one.
    #[garde(length(max = 64))]
    pub avatar: String,
}

/// Ids are JSON numbers: whole ones end here.
const MAX_ID: u64 = 1 << 53;

const DEFAULT_URL: &str = "ws://127.0.0.1:8188";
/// What `janus.jcfg` suggests. A server without a secret ignores it.
const DEFAULT_SECRET: &str = "janusrocks";

impl Default for Janus {
    fn default() -> Self {
        Self {
            enabled: false,
            url: DEFAULT_URL.into(),
            secret: Secret::default(),
            room: 1234,
            pin: Secret::default(),
            room_secret: Secret::default(),
            create: true,
            admin_key: Secret::default(),
            display: "Agent".into(),
            id: None,
            muted: false,
            quality: None,
            bitrate: None,
            expected_loss: None,
            prebuffer: None,
            volume: None,
            half_duplex: false,
            minicpm: false,
            rejoin: true,
            avatar: String::new(),
        }
    }
}

impl Janus {
    /// What the file does not say, from the environment, by the names that seed 000 reads.
    #[must_use]
    pub fn with_environment(mut self, environment: &BTreeMap<String, String>) -> Self {
        let named = |name: &str| environment.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
        if self.url == DEFAULT_URL
            && let Some(url) = named("JANUS_URL")
        {
            url.clone_into(&mut self.url);
        }
        if self.secret.reveal().is_none()
            && let Some(secret) = named("JANUS_API_SECRET")
        {
            self.secret = secret.into();
        }
        self
    }

    /// What is sent as `apisecret`.
    pub fn api_secret(&self) -> &str {
        self.secret.reveal().unwrap_or(DEFAULT_SECRET)
    }
}

/// `relay:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Relay {
    /// Whether it is connected.
    #[garde(skip)]
    pub enabled: bool,
    /// Where it is. `WS_URL` of the environment, where the file leaves it as it is.
    #[garde(custom(websocket))]
    pub url: String,
    /// Samples a second of its sound, both ways.
    #[garde(custom(rate))]
    pub rate_hz: u32,
    /// Seconds between two signs of life.
    #[garde(range(min = 1, max = 600))]
    pub heartbeat_s: u32,
    /// How often a lost connection is tried again before it is given up; 0: for ever.
    #[garde(range(max = 1_000_000))]
    pub tries: u32,
    /// Seconds without a word after which a session of the relay is over.
    #[garde(range(min = 5, max = 86_400))]
    pub idle_s: u32,
    /// Who is seen by those who watch a session; empty: the default one.
    #[garde(length(max = 64))]
    pub avatar: String,
}

const DEFAULT_RELAY: &str = "ws://127.0.0.1:8000/ws/proxy";

impl Default for Relay {
    fn default() -> Self {
        Self {
            enabled: false,
            url: DEFAULT_RELAY.into(),
            rate_hz: 16_000,
            heartbeat_s: 30,
            tries: 15,
            idle_s: 120,
            avatar: String::new(),
        }
    }
}

impl Relay {
    /// What the file does not say, from the environment.
    #[must_use]
    pub fn with_environment(mut self, environment: &BTreeMap<String, String>) -> Self {
        if self.url == DEFAULT_RELAY
            && let Some(url) = environment.get("WS_URL").filter(|url| !url.trim().is_empty())
        {
            url.trim().clone_into(&mut self.url);
        }
        self
    }
}

fn websocket(url: &str, (): &()) -> garde::Result {
    let host = url.strip_prefix("ws://").or_else(|| url.strip_prefix("wss://"));
    if host.is_some_and(|host| !host.is_empty()) {
        return Ok(());
    }
    Err(garde::Error::new("must begin with ws:// or wss:// and a host"))
}

fn rate(rate_hz: &u32, (): &()) -> garde::Result {
    if matches!(rate_hz, 8_000 | 16_000) {
        return Ok(());
    }
    Err(garde::Error::new("must be 8000 or 16000"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_says_what_the_file_does_not() {
        let environment: BTreeMap<String, String> =
            [("JANUS_URL", "ws://seed:8188"), ("JANUS_API_SECRET", "hush\n"), ("WS_URL", "ws://seed/ws/call")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into();
        let janus = Janus::default().with_environment(&environment);
        assert_eq!((janus.url.as_str(), janus.secret.reveal()), ("ws://seed:8188", Some("hush")));
        assert_eq!(Relay::default().with_environment(&environment).url, "ws://seed/ws/call");
        let own = Janus { url: "ws://file:1".into(), secret: "file".into(), ..Janus::default() };
        let janus = own.with_environment(&environment);
        assert_eq!((janus.url.as_str(), janus.secret.reveal()), ("ws://file:1", Some("file")));
        let none = Janus::default().with_environment(&BTreeMap::new());
        assert_eq!(none.api_secret(), "janusrocks", "as the seed has it");
    }

    #[test]
    fn an_address_that_is_no_websocket_is_refused() {
        let report = Janus { url: "http://host".into(), ..Janus::default() }.validate().unwrap_err().to_string();
        assert!(report.contains("url") && report.contains("ws://"), "{report}");
    }
}

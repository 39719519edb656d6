//! `xiaozhi:`, the devices and the browser clients of seed 002.

use std::time::Duration;

use garde::Validate;
use serde::{Deserialize, Serialize};

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
    pub webrtc: XiaozhiWebRtc,
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
            webrtc: XiaozhiWebRtc::default(),
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

/// `xiaozhi.webrtc:`, named as in their own configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct XiaozhiWebRtc {
    /// Whether a device's WebRTC connection takes the place of the Opus of its socket.
    #[garde(skip)]
    pub replace_opus: bool,
}

impl Default for XiaozhiWebRtc {
    fn default() -> Self {
        Self { replace_opus: true }
    }
}

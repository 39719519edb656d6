//! `webrtc:`, how media travels.

use std::net::IpAddr;

use garde::Validate;
use serde::{Deserialize, Serialize};

use super::Secret;

/// `webrtc:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct WebRtc {
    /// Addresses under which viewers reach this machine and that it cannot know itself.
    #[garde(length(max = 8))]
    pub advertise: Vec<IpAddr>,
    /// Whether media may come by TCP, too, on the port of HTTP.
    #[garde(skip)]
    pub tcp: bool,
    /// STUN servers for the page, `stun:host:port`.
    #[garde(inner(custom(stun_url)))]
    pub stun: Vec<String>,
    /// The relay for the page.
    #[garde(dive)]
    pub turn: Turn,
    /// Bounds of the video encoders.
    #[garde(custom(ordered))]
    pub bitrate: BitrateBounds,
}

impl Default for WebRtc {
    fn default() -> Self {
        Self { advertise: Vec::new(), tcp: true, stun: Vec::new(), turn: Turn::default(), bitrate: BitrateBounds::default() }
    }
}

/// `webrtc.turn:`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Turn {
    /// `turn:host:port?transport=udp`.
    #[garde(inner(custom(turn_url)))]
    pub urls: Vec<String>,
    /// coturn's `static-auth-secret`: the page gets credentials that last ten minutes.
    #[garde(skip)]
    pub secret: Secret,
}

/// `webrtc.bitrate:`
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BitrateBounds {
    /// However poor the network.
    pub min: BitRate,
    /// Until the network has been measured.
    pub start: BitRate,
    /// However good the network.
    pub max: BitRate,
}

impl Default for BitrateBounds {
    fn default() -> Self {
        Self { min: BitRate(200_000), start: BitRate(800_000), max: BitRate(2_000_000) }
    }
}

/// Bits a second, written `800k` or `2M`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub struct BitRate(pub u32);

impl Serialize for BitRate {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = match self.0 {
            n if n % 1_000_000 == 0 => format!("{}M", n / 1_000_000),
            n if n % 1_000 == 0 => format!("{}k", n / 1_000),
            n => n.to_string(),
        };
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for BitRate {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (number, factor) = match text.strip_suffix(['k', 'K']) {
            Some(number) => (number, 1_000),
            None => text.strip_suffix('M').map_or((text.as_str(), 1), |number| (number, 1_000_000)),
        };
        let bits = number.parse::<u32>().ok().and_then(|n| n.checked_mul(factor));
        match bits {
            Some(bits @ 30_000..=50_000_000) => Ok(Self(bits)),
            _ => Err(serde::de::Error::custom(format!("\"{text}\" is not a bitrate from 30k to 50M, such as 800k or 2M"))),
        }
    }
}

pub(super) fn stun_url(url: &str, (): &()) -> garde::Result {
    if url.starts_with("stun:") || url.starts_with("stuns:") {
        return Ok(());
    }
    Err(garde::Error::new("must start with stun: or stuns:"))
}

pub(super) fn turn_url(url: &str, (): &()) -> garde::Result {
    if url.starts_with("turn:") || url.starts_with("turns:") {
        return Ok(());
    }
    Err(garde::Error::new("must start with turn: or turns:"))
}

fn ordered(bounds: &BitrateBounds, (): &()) -> garde::Result {
    if bounds.min <= bounds.start && bounds.start <= bounds.max {
        return Ok(());
    }
    Err(garde::Error::new("min, start and max must rise in this order"))
}

//! `push:`, sessions that are sent to another server or to a virtual camera.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Secret;

/// Where numbered sessions go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Output {
    /// There are none.
    #[default]
    #[serde(rename = "none")]
    Off,
    /// To a WebRTC server (RFC 9725).
    Whip,
    /// To an RTMP server.
    Rtmp,
    /// To a camera of this machine that other programs film with.
    Virtualcam,
}

/// `push:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Push {
    /// Where to.
    pub to: Output,
    /// Of session 0; of session 1 with a 1 behind it, and so on. It may hold a key, so it is never shown.
    pub url: Secret,
    /// WHIP: who we are.
    pub token: Secret,
    /// WHIP: how many sessions there may be.
    pub sessions: u32,
    /// Who is seen; empty: the default one.
    pub avatar: String,
    /// How long a session other than 0 lasts in which nothing is said.
    #[serde(with = "crate::values::seconds")]
    pub idle: Duration,
    /// The virtual camera.
    pub device: PathBuf,
    /// A program that plays the virtual camera's sound, and its arguments: 16 kHz mono, signed 16 bit, on its standard input.
    pub player: Vec<String>,
}

impl Default for Push {
    fn default() -> Self {
        Self {
            to: Output::Off,
            url: Secret::default(),
            token: Secret::default(),
            sessions: 1,
            avatar: String::new(),
            idle: Duration::from_mins(10),
            device: PathBuf::from("/dev/video0"),
            player: Vec::new(),
        }
    }
}

/// Most sessions that are pushed.
const MAX_SESSIONS: u32 = 100;

pub(super) fn complete(push: &Push, (): &()) -> garde::Result {
    let schemes: &[&str] = match push.to {
        Output::Off | Output::Virtualcam => &[],
        Output::Whip => &["http://", "https://"],
        Output::Rtmp => &["rtmp://", "rtmps://"],
    };
    let url = push.url.reveal().unwrap_or_default();
    let fits = |scheme: &&str| url.strip_prefix(*scheme).is_some_and(|host| !host.is_empty());
    if !schemes.is_empty() && !schemes.iter().any(fits) {
        return Err(garde::Error::new(format!("url must begin with {} and a host", schemes.join(" or "))));
    }
    if !(1..=MAX_SESSIONS).contains(&push.sessions) {
        return Err(garde::Error::new(format!("sessions must be 1 to {MAX_SESSIONS}")));
    }
    if push.avatar.len() > 64 {
        return Err(garde::Error::new("avatar is longer than 64 letters"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_cannot_be_pushed_to_is_refused() {
        let push = |to, url: &str| Push { to, url: url.into(), ..Push::default() };
        assert!(complete(&Push::default(), &()).is_ok());
        assert!(complete(&push(Output::Whip, "https://host/whip"), &()).is_ok());
        assert!(complete(&push(Output::Rtmp, "rtmp://host/live/key"), &()).is_ok());
        for (to, url) in
            [(Output::Whip, "rtmp://host"), (Output::Whip, ""), (Output::Rtmp, "http://host"), (Output::Rtmp, "rtmp://")]
        {
            assert!(complete(&push(to, url), &()).is_err(), "{to:?} {url}");
        }
    }
}

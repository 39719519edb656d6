//! The configuration. Each part of the server defines its own section, `load` finds what is written.
//!
//! A mistake is an error that names the line, the column and the keys that are allowed; nothing has been bound or loaded
//! by then. `visavis.example.yaml` is the manual, held to the truth by a test.

mod actions;
mod audio_proxy;
mod avatars;
mod janus;
mod livetalking;
mod load;
mod push;
mod record;
mod server;
mod studio;
mod tls;
mod transport;

mod xiaozhi;

use garde::Validate;
use serde::{Deserialize, Serialize};

use crate::{asr, llm, tts};

pub use actions::Actions;
pub use audio_proxy::{AudioProxy, Backend, WhenBusy};
pub use avatars::{Avatars, Models};
pub use janus::{Janus, Relay};
pub use load::{DEFAULT_FILE, Error, LLM_CONFIG, SEED_FILE, environment};
pub use push::{Output, Push};
pub use record::Record;
pub use server::Server;
pub use studio::Studio;
pub use tls::{Tls, TlsMode};
pub use transport::{BitRate, BitrateBounds, Turn, WebRtc};
pub use xiaozhi::{Auth, WebRtc as XiaozhiWebRtc, Xiaozhi};

pub use crate::values::Secret;

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// HTTP and admission.
    #[garde(dive)]
    pub server: Server,
    /// HTTPS.
    #[garde(dive)]
    pub tls: Tls,
    /// Media transport.
    #[garde(dive)]
    pub webrtc: WebRtc,
    /// Who can be seen.
    #[garde(dive)]
    pub avatars: Avatars,
    /// Films in the place of the face.
    #[garde(dive)]
    pub actions: Actions,
    /// Avatars that are made while the server runs.
    #[garde(dive)]
    pub studio: Studio,
    /// Where fetched model files lie.
    #[garde(dive)]
    pub models: Models,
    /// Who listens.
    #[garde(dive)]
    pub asr: asr::Config,
    /// Who answers.
    #[garde(dive)]
    pub llm: llm::Config,
    /// Who speaks.
    #[garde(skip)]
    pub tts: tts::Config,
    /// Films of sessions.
    #[garde(dive)]
    pub record: Record,
    /// Sessions that are sent to another server.
    #[garde(custom(push::complete))]
    pub push: Push,
    /// xiaozhi's devices.
    #[garde(dive)]
    pub xiaozhi: Xiaozhi,
    /// The audio proxy.
    #[garde(dive)]
    pub audio_proxy: AudioProxy,
    /// The Janus room.
    #[garde(dive)]
    pub janus: Janus,
    /// The relay of seed 000's older client.
    #[garde(dive)]
    pub relay: Relay,
}

impl Config {
    /// As YAML, secrets hidden.
    pub fn show(&self) -> String {
        serde_saphyr::to_string(self).unwrap_or_else(|error| error.to_string())
    }
}

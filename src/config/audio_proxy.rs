//! `audio_proxy:`, the WebSocket of seed 003.

use std::time::Duration;

use garde::Validate;
use serde::{Deserialize, Serialize};

use crate::minicpm;
use crate::values::{Secret, seconds};

/// Who answers a client of the audio proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// Ears, language model and voice of this server.
    #[default]
    Own,
    /// A MiniCPM-o 2.6 server.
    MiniCpm,
}

/// What becomes of a client that finds every MiniCPM server taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenBusy {
    /// It is told so, and its connection is closed.
    #[default]
    Refuse,
    /// It waits in line, and is told its place.
    Queue,
}

/// `audio_proxy:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct AudioProxy {
    /// Whether it is served.
    #[garde(skip)]
    pub enabled: bool,
    /// Who answers.
    #[garde(skip)]
    pub backend: Backend,
    /// What becomes of a client for whom no MiniCPM server is free.
    #[garde(skip)]
    pub when_busy: WhenBusy,
    /// Opens the route to others than this machine.
    #[garde(skip)]
    pub token: Secret,
    /// Clients at once, those that wait in line among them.
    #[garde(range(min = 1, max = 1_000))]
    pub max_clients: usize,
    /// Seconds of sound that are gathered before any of them is sent to a MiniCPM server.
    #[garde(range(min = 0.2, max = 5.0))]
    #[serde(alias = "chunkDuration")]
    pub chunk_duration: f64,
    /// Speech that cuts an answer of a MiniCPM server short, in milliseconds; 0: none does.
    #[garde(range(max = 10_000))]
    pub barge_in_ms: u32,
    /// How far ahead of its time the sound of a MiniCPM server is sent, in milliseconds.
    #[garde(range(max = 60_000))]
    pub lead_ms: u32,
    /// A client is shown out when no sound has gone either way for so long.
    #[garde(skip)]
    #[serde(with = "seconds")]
    pub idle_timeout: Duration,
    /// Longest stay.
    #[garde(skip)]
    #[serde(with = "seconds")]
    pub max_duration: Duration,
    /// The servers.
    #[garde(dive)]
    pub minicpm: minicpm::Config,
}

impl Default for AudioProxy {
    fn default() -> Self {
        Self {
            enabled: false,
            backend: Backend::default(),
            when_busy: WhenBusy::default(),
            token: Secret::default(),
            max_clients: 8,
            chunk_duration: 1.0,
            barge_in_ms: 500,
            lead_ms: 300,
            idle_timeout: Duration::from_secs(30),
            max_duration: Duration::from_hours(1),
            minicpm: minicpm::Config::default(),
        }
    }
}

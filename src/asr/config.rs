//! The `asr:` section.

use std::time::Duration;

use garde::Validate;
use serde::{Deserialize, Serialize};

use crate::values::{Secret, seconds};

/// Who listens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// Embedded: Whisper base, English, Mandarin and others.
    #[default]
    Whisper,
    /// `OpenAI`'s transcriptions, or a server that speaks the same.
    OpenAi,
    /// A `FunASR` runtime.
    FunAsr,
    /// A `WhisperLive` server.
    WhisperLive,
    /// The server of whisper.cpp.
    WhisperCpp,
    /// The local services of seed 000.
    Services,
    /// Nobody: typing only.
    Off,
}

/// What people speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// Either, found out for each utterance.
    #[default]
    Auto,
    /// English.
    En,
    /// Mandarin.
    Zh,
}

impl Language {
    /// Its code, if it is known beforehand.
    pub fn code(self) -> Option<&'static str> {
        match self {
            Self::Auto => None,
            Self::En => Some("en"),
            Self::Zh => Some("zh"),
        }
    }
}

/// `asr:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Who listens.
    #[garde(skip)]
    pub provider: Provider,
    /// What people speak.
    #[garde(skip)]
    pub language: Language,
    /// Silence that ends an utterance, in milliseconds.
    #[garde(range(min = 100, max = 2_000))]
    pub stop_ms: u32,
    /// Speech that cuts the avatar short, in milliseconds; what is shorter is taken for a cough.
    #[garde(range(min = 100, max = 10_000))]
    pub barge_in_ms: u32,
    /// Longest wait for a transcript of a service.
    #[garde(skip)]
    #[serde(with = "seconds")]
    pub timeout: Duration,
    /// The embedded ears.
    #[garde(dive)]
    pub whisper: Whisper,
    /// `OpenAI`.
    #[garde(dive)]
    pub openai: OpenAi,
    /// `FunASR`.
    #[garde(dive)]
    pub funasr: FunAsr,
    /// `WhisperLive`.
    #[garde(dive)]
    pub whisperlive: WhisperLive,
    /// whisper.cpp.
    #[garde(dive)]
    pub whispercpp: WhisperCpp,
    /// Seed 000's.
    #[garde(dive)]
    pub services: Services,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            provider: Provider::default(),
            language: Language::default(),
            stop_ms: 250,
            barge_in_ms: 500,
            timeout: Duration::from_secs(10),
            whisper: Whisper::default(),
            openai: OpenAi::default(),
            funasr: FunAsr::default(),
            whisperlive: WhisperLive::default(),
            whispercpp: WhisperCpp::default(),
            services: Services::default(),
        }
    }
}

/// `asr.whisper:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Whisper {
    /// Threads of one recognition, at most: one, and one for each core that is idle when it begins.
    #[garde(range(min = 1, max = 16))]
    pub threads: u8,
    /// Recognitions at once.
    #[garde(range(min = 1, max = 16))]
    pub at_once: u8,
}

impl Default for Whisper {
    fn default() -> Self {
        Self { threads: 2, at_once: 2 }
    }
}

/// `asr.openai:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct OpenAi {
    /// Up to and with `/v1`.
    #[garde(length(max = 2_048))]
    pub base_url: String,
    /// Its key.
    #[garde(skip)]
    pub api_key: Secret,
    /// Which model.
    #[garde(length(min = 1, max = 256))]
    pub model: String,
}

impl Default for OpenAi {
    fn default() -> Self {
        Self {
            base_url: "https://api.openai.com/v1".into(),
            api_key: Secret::default(),
            model: "gpt-4o-mini-transcribe".into(),
        }
    }
}

/// `asr.funasr:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct FunAsr {
    /// `ws://` or `wss://`.
    #[garde(length(max = 2_048))]
    pub url: String,
    /// Sent as a bearer token, if there is one.
    #[garde(skip)]
    pub api_key: Secret,
}

impl Default for FunAsr {
    fn default() -> Self {
        Self { url: "ws://127.0.0.1:10095".into(), api_key: Secret::default() }
    }
}

/// `asr.whisperlive:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct WhisperLive {
    /// `ws://` or `wss://`.
    #[garde(length(max = 2_048))]
    pub url: String,
    /// Which model it loads.
    #[garde(length(min = 1, max = 256))]
    pub model: String,
}

impl Default for WhisperLive {
    fn default() -> Self {
        Self { url: "ws://127.0.0.1:9090".into(), model: "small".into() }
    }
}

/// `asr.whispercpp:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct WhisperCpp {
    /// Of the server, without `/inference`.
    #[garde(length(max = 2_048))]
    pub base_url: String,
}

impl Default for WhisperCpp {
    fn default() -> Self {
        Self { base_url: "http://127.0.0.1:8080".into() }
    }
}

/// `asr.services:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Services {
    /// Up to and with `/api/v1`.
    #[garde(length(max = 2_048))]
    pub base_url: String,
}

impl Default for Services {
    fn default() -> Self {
        Self { base_url: "http://127.0.0.1:8000/api/v1".into() }
    }
}

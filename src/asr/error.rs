//! Why an utterance was not written down.

use std::path::PathBuf;
use std::time::Duration;

/// Why an utterance was not written down.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The models in `models_dir` are missing or damaged.
    #[error(transparent)]
    Model(#[from] crate::models::Error),
    /// A model file is there and whole, but the engine does not take it.
    #[error("loading {path}")]
    Load {
        /// The file.
        path: PathBuf,
        /// What the engine said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The ears did not load when the server started; its log says why.
    #[error("the ears are not there: the server's log says why")]
    Absent,
    /// The model ran and failed.
    #[error("running whisper")]
    Run(#[source] whisper_rs::WhisperError),
    /// Recognition panicked; the utterance is lost, the ears go on.
    #[error("recognition of an utterance panicked")]
    Panicked,
    /// A key of the configuration does not fit.
    #[error("{key}: {problem}")]
    Setting {
        /// Which.
        key: &'static str,
        /// Why.
        problem: String,
    },
    /// Nobody answers at the address.
    #[error("{provider} cannot be reached")]
    Unreachable {
        /// Who.
        provider: &'static str,
    },
    /// It took too long.
    #[error("{provider} did not answer within {after:?}")]
    Timeout {
        /// Who.
        provider: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// The key is wrong, or lacks a right.
    #[error("{provider} refuses the key (HTTP {status}): see {key}")]
    Unauthorized {
        /// Who.
        provider: &'static str,
        /// 401 or 403.
        status: u16,
        /// Where the key stands.
        key: &'static str,
    },
    /// Too many requests, or all places taken.
    #[error("{provider} is busy")]
    Busy {
        /// Who.
        provider: &'static str,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// Any other refusal.
    #[error("{provider} refused the utterance (HTTP {status})")]
    Refused {
        /// Who.
        provider: &'static str,
        /// Its status.
        status: u16,
    },
    /// The connection ended, or the service said that it failed, before the transcript was whole.
    #[error("{provider} broke off: {what}")]
    Broken {
        /// Who.
        provider: &'static str,
        /// What happened.
        what: &'static str,
    },
    /// The answer is not what the protocol says.
    #[error("{provider} answered {what}")]
    Garbled {
        /// Who.
        provider: &'static str,
        /// What came instead.
        what: &'static str,
    },
}

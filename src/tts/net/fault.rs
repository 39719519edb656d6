//! What a voice on the network can fail at. What people type is in none of it: a service may repeat it in its answer, so
//! only numbers and short names are kept.

use std::time::Duration;

use crate::cause::cause;
use crate::media::{Mp3Error, ResampleError};

/// Longest name of an error that is kept from a service's answer.
const LONGEST_CODE: usize = 64;

/// Why there is no sound, or no more of it.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Nobody answers at that address, or the certificate is no good.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// Too slow.
    #[error("no {what} within {} ms", after.as_millis())]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// How long.
        after: Duration,
    },
    /// The service refused with an HTTP status.
    #[error("refused with status {status}{}", code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default())]
    Status {
        /// The HTTP status.
        status: u16,
        /// The service's own name of the error, if it gave one.
        code: Option<String>,
        /// When to come back, if it said so.
        retry_after: Option<Duration>,
    },
    /// The service refused in its own protocol.
    #[error("refused ({0})")]
    Refused(String),
    /// What came is not sound.
    #[error("the answer is {0}, not sound")]
    NotSound(String),
    /// What came breaks the protocol.
    #[error("garbled answer: {0}")]
    Garbled(&'static str),
    /// The connection ended in the middle.
    #[error("the connection broke off")]
    Cut,
    /// The service says that all is well and sent no sound.
    #[error("the answer has no sound in it")]
    Silent,
    /// Nobody speaks this long: the service does not end.
    #[error("the answer is longer than {} s", .0.as_secs())]
    TooLong(Duration),
    /// The sound could not be decoded.
    #[error(transparent)]
    Mp3(#[from] Mp3Error),
    /// The sound could not be brought to 16 kHz.
    #[error(transparent)]
    Resample(#[from] ResampleError),
}

impl Fault {
    /// A refusal, by the name that the service gave it.
    pub(in crate::tts) fn refused(code: &str) -> Self {
        Self::Refused(short(code).unwrap_or_else(|| "without a reason".into()))
    }

    /// Whether the same clause may succeed at another try.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Status { status, .. } => matches!(status, 408 | 409 | 425 | 429 | 500..=599),
            Self::Refused(_) => false,
            _ => true,
        }
    }

    /// Whether nothing but a change of the configuration helps: a wrong key, a wrong address.
    pub fn is_lasting(&self) -> bool {
        matches!(self, Self::Status { status: 300..=399 | 401..=404, .. })
    }

    /// When the service wants to be asked again.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// One word, for the metric.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Timeout { .. } => "timeout",
            Self::Status { status: 401 | 403, .. } => "unauthorized",
            Self::Status { status: 429, .. } => "rate_limited",
            Self::Status { .. } => "status",
            Self::Refused(_) => "refused",
            Self::NotSound(_) | Self::Garbled(_) | Self::Mp3(_) | Self::Resample(_) => "garbled",
            Self::Cut => "cut",
            Self::Silent => "silent",
            Self::TooLong(_) => "too_long",
        }
    }
}

impl From<reqwest::Error> for Fault {
    fn from(error: reqwest::Error) -> Self {
        if error.is_connect() || error.is_builder() {
            return Self::Connect(cause(&error.without_url()));
        }
        Self::Cut
    }
}

/// `code` if it is a name and not a sentence, which might repeat what was to be said.
pub(super) fn short(code: &str) -> Option<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
    (!code.is_empty() && code.len() <= LONGEST_CODE && code.chars().all(is_name)).then(|| code.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_are_kept_from_what_a_service_says() {
        assert_eq!(Fault::refused("AuthFailure.SignatureFailure").to_string(), "refused (AuthFailure.SignatureFailure)");
        assert_eq!(Fault::refused("cannot say: my secret diary").to_string(), "refused (without a reason)");
    }

    #[test]
    fn a_wrong_key_is_not_tried_again_and_a_crowd_is() {
        let status = |status| Fault::Status { status, code: None, retry_after: None };
        assert!(!status(401).is_retryable() && status(401).is_lasting());
        assert!(status(429).is_retryable() && status(503).is_retryable() && !status(429).is_lasting());
        assert!(!status(400).is_retryable() && !status(400).is_lasting());
    }
}

//! Why there is no answer, in words that a person can act on.

use std::time::Duration;

/// Why there is no answer, or no more of it. What the provider wrote is not in it: that may quote the conversation, or name
/// the account. Its own short codes are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault}{detail}")]
pub struct Error {
    /// What kind of failure.
    pub fault: Fault,
    /// ` (401 invalid_api_key)`, or nothing.
    detail: String,
    /// What the provider asks to wait before the next try.
    pub(super) retry_after: Option<Duration>,
    /// Another try may succeed.
    pub(super) retryable: bool,
}

/// The kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// There is no key to ask with.
    #[error("the language model has no key: set {variable} in the server's environment")]
    NoKey {
        /// Where it is looked for.
        variable: &'static str,
    },
    /// The provider does not take the key.
    #[error("the language model's provider refuses the key: check it on the server")]
    Unauthorized,
    /// There is nothing at that address, or no such model.
    #[error("the provider has no such model or address: check model and base_url on the server")]
    NotFound,
    /// Too many requests, or no credit.
    #[error("the language model's provider takes no more requests for now: wait a moment, or check the account's limits")]
    RateLimited,
    /// It does not want to answer this.
    #[error("the language model's provider refuses this request")]
    Refused,
    /// It cannot be reached, or is broken.
    #[error("the language model cannot be reached: try again in a moment")]
    Unavailable,
    /// It takes too long.
    #[error("the language model did not answer in time: try again")]
    TimedOut,
    /// The answer broke off, or is none.
    #[error("the language model's answer broke off: try again")]
    Broken,
}

impl Fault {
    /// The stable name that clients may match.
    pub fn code(self) -> &'static str {
        match self {
            Self::NoKey { .. } => "llm_no_key",
            Self::Unauthorized => "llm_unauthorized",
            Self::NotFound => "llm_not_found",
            Self::RateLimited => "llm_rate_limited",
            Self::Refused => "llm_refused",
            Self::Unavailable => "llm_unavailable",
            Self::TimedOut => "llm_timeout",
            Self::Broken => "llm_failed",
        }
    }
}

impl Error {
    /// The stable name that clients may match.
    pub fn code(&self) -> &'static str {
        self.fault.code()
    }

    pub(super) fn new(fault: Fault) -> Self {
        Self { fault, detail: String::new(), retry_after: None, retryable: false }
    }

    /// With words of ours, or a code of the provider's, cut down to what cannot hold a sentence.
    pub(super) fn because(mut self, detail: &str) -> Self {
        let plain = |c: &char| c.is_ascii_alphanumeric() || " _-.".contains(*c);
        let detail: String = detail.chars().take(64).filter(plain).collect();
        if !detail.is_empty() {
            self.detail = format!(" ({detail})");
        }
        self
    }

    pub(super) fn retryable(mut self, after: Option<Duration>) -> Self {
        self.retryable = true;
        self.retry_after = after;
        self
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::new(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_cannot_put_sentences_into_what_viewers_read() {
        let error = Error::new(Fault::Refused).because("400 <b>\"you said: hello\"</b>\n\u{202e}");
        assert_eq!(error.to_string(), "the language model's provider refuses this request (400 byou said hellob)");
        assert!(Error::new(Fault::Refused).because(&"x".repeat(10_000)).to_string().len() < 150);
    }
}

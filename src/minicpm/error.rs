//! What can go wrong between us and the server.

/// Characters of what the server says about a fault that are passed on.
const LONGEST_REPORT: usize = 200;

/// A fault, in words for whoever talks to the server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nobody takes the connection, or nobody answers on it.
    #[error("the model server does not answer: is it running?")]
    Unreachable,
    /// It answered with another status than success.
    #[error("the model server refused (HTTP {0})")]
    Refused(u16),
    /// It is answering somebody else, or still the question before.
    #[error("the model server is busy")]
    Busy,
    /// It holds another conversation now.
    #[error("another client has taken the model server over")]
    Taken,
    /// The connection for the microphone is lost and does not come back.
    #[error("the connection to the model server is lost")]
    Lost,
    /// The server has ended the conversation.
    #[error("the model server has closed the conversation")]
    Closed,
    /// An answer ended in its midst.
    #[error("the answer broke off")]
    BrokenOff,
    /// It says so itself. Its words may repeat what was said: not for logs.
    #[error("the model server reports: {0}")]
    Reported(String),
    /// What it sends is not its protocol.
    #[error("the model server sends what is not understood")]
    Garbled,
}

impl Error {
    /// What the server said, cut to a line.
    pub(super) fn reported(said: &str) -> Self {
        Self::Reported(said.chars().filter(|c| !c.is_control()).take(LONGEST_REPORT).collect())
    }

    /// One word, for logs and figures.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Refused(_) => "refused",
            Self::Busy => "busy",
            Self::Taken => "taken",
            Self::Lost => "lost",
            Self::Closed => "closed",
            Self::BrokenOff => "broken_off",
            Self::Reported(_) => "reported",
            Self::Garbled => "garbled",
        }
    }
}

//! Who answers a client: a session of ours, or a MiniCPM server.

use std::time::Duration;

use poem::web::websocket::CloseCode;

use super::own::Own;
use crate::asr::CutIn;
use crate::minicpm::{Conversation, Error, Event};

/// What a back end says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Some words of an answer.
    Text(String),
    /// The sound that says them, 16 kHz mono, at most a second.
    Sound(Vec<i16>),
    /// What waits of the answer is not to be heard any more.
    Cut,
    /// Something went wrong, and the conversation goes on.
    Trouble(String),
    /// It does not go on.
    Over(String, CloseCode),
}

/// A conversation with whoever answers. Dropping it ends the conversation.
pub(super) enum Backend {
    Own(Own),
    MiniCpm(Model),
}

impl Backend {
    /// Hears the client. True if it cuts in on what it hears: what waits is not to be sent. A session of ours notices that
    /// by itself, and says [`Said::Cut`].
    pub(super) fn hear(&mut self, samples: &[i16], is_playing: bool) -> bool {
        match self {
            Self::Own(own) => {
                own.hear(samples);
                false
            }
            Self::MiniCpm(model) => model.hear(samples, is_playing),
        }
    }

    /// What it says next.
    pub(super) async fn next(&mut self) -> Said {
        match self {
            Self::Own(own) => own.next().await,
            Self::MiniCpm(model) => model.next().await,
        }
    }
}

/// A MiniCPM server.
pub(super) struct Model {
    conversation: Conversation,
    cut_in: CutIn,
}

impl Model {
    pub(super) fn new(conversation: Conversation, barge_in: Duration) -> Self {
        Self { conversation, cut_in: CutIn::new(barge_in) }
    }

    fn hear(&mut self, samples: &[i16], is_playing: bool) -> bool {
        self.conversation.hear(samples);
        let spoken = self.cut_in.push(samples, is_playing);
        if let Some(spoken) = spoken {
            self.conversation.interrupt(spoken);
        }
        spoken.is_some()
    }

    async fn next(&mut self) -> Said {
        loop {
            match self.conversation.event().await {
                Some(Event::Text(text)) => return Said::Text(text),
                Some(Event::Sound(sound)) => return Said::Sound(sound),
                Some(Event::TurnEnded) => {}
                Some(Event::Trouble(error)) => return Said::Trouble(error.to_string()),
                Some(Event::Over(error)) => return Said::Over(error.to_string(), close_code(&error)),
                // It could not be told any more why.
                None => return Said::Over(Error::Lost.to_string(), CloseCode::Error),
            }
        }
    }
}

/// A client that comes back in a while may find the server free; one that meets a broken server will not.
fn close_code(error: &Error) -> CloseCode {
    if matches!(error, Error::Taken | Error::Busy) { CloseCode::Again } else { CloseCode::Error }
}

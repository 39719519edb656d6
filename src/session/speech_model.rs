//! A session whose ears, mind and voice are one model on another machine.
//!
//! In: a microphone's samples, and what the model says. Out: the samples to the model, each of its answers as one of the
//! session's, with captions and lips. Runs on its caller's task. Who speaks over an answer cuts it, here and there.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::{Busy, Event, Session, Spoken, State};
use crate::asr::CutIn;
use crate::minicpm::{self, Conversation};

/// Pieces of an answer that may wait for the player, which holds 2 s itself. Full: the model waits.
const SPOKEN_QUEUE: usize = 8;

/// Why such a conversation is over.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The model's side ended it.
    #[error(transparent)]
    Model(#[from] minicpm::Error),
    /// The session takes no more answers.
    #[error(transparent)]
    Session(#[from] Busy),
}

impl Session {
    /// Has `conversation` take part in place of ears, model and voice, until `microphone` is closed or one side ends.
    /// `microphone` brings 16 kHz mono; speech of `barge_in` over an answer cuts it.
    pub async fn converse(
        self: &Arc<Self>,
        mut conversation: Conversation,
        mut microphone: mpsc::Receiver<Vec<i16>>,
        barge_in: Duration,
    ) -> Result<(), RelayError> {
        let mut cut_in = CutIn::new(barge_in);
        let mut answer: Option<mpsc::Sender<Spoken>> = None;
        let mut next: Option<Spoken> = None;
        loop {
            let step = tokio::select! {
                biased;
                samples = microphone.recv() => Step::Heard(samples),
                open = room(answer.as_ref()), if next.is_some() => Step::Room(open),
                event = conversation.event(), if next.is_none() => Step::Said(event),
            };
            match step {
                Step::Heard(None) | Step::Said(None) => return Ok(()),
                Step::Heard(Some(samples)) => {
                    conversation.hear(&samples);
                    let is_heard = answer.is_some() || self.state() == State::Speaking;
                    if let Some(spoken) = cut_in.push(&samples, is_heard) {
                        (answer, next) = (None, None);
                        conversation.interrupt(spoken);
                        self.interrupt().await?;
                    }
                }
                Step::Room(true) => {
                    if let (Some(answer), Some(spoken)) = (&answer, next.take()) {
                        // There is room, and nobody else sends.
                        let _ = answer.try_send(spoken);
                    }
                }
                // Somebody else has cut it: a button, a command.
                Step::Room(false) => {
                    (answer, next) = (None, None);
                    conversation.interrupt(Duration::ZERO);
                }
                Step::Said(Some(event)) => match event {
                    minicpm::Event::Text(text) => next = Some(Spoken::Text(text)),
                    minicpm::Event::Sound(sound) => next = Some(Spoken::Sound(sound)),
                    minicpm::Event::TurnEnded => answer = None,
                    minicpm::Event::Trouble(error) => {
                        self.notify(Event::error("model_failed", error.to_string()), None);
                    }
                    minicpm::Event::Over(error) => return Err(error.into()),
                },
            }
            if next.is_some() && answer.is_none() {
                let (sender, pieces) = mpsc::channel(SPOKEN_QUEUE);
                self.relay(pieces, false).await?;
                answer = Some(sender);
            }
        }
    }
}

/// What happens next.
enum Step {
    Heard(Option<Vec<i16>>),
    /// Whether the answer goes on, now that there is room for more of it.
    Room(bool),
    Said(Option<minicpm::Event>),
}

/// Waits for room for one more piece of the answer; false if it was cut.
async fn room(answer: Option<&mpsc::Sender<Spoken>>) -> bool {
    match answer {
        Some(answer) => answer.reserve().await.is_ok(),
        None => std::future::pending().await,
    }
}

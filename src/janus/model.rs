//! A room that is heard and answered by a MiniCPM server in place of ears, model and voice.
//!
//! In: what is heard in the room. Out: the session's answers. One task, beside the seat's: it waits for a free server, and comes
//! back to it when a conversation breaks.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::warn;

use crate::minicpm::{Conversation, Place};
use crate::rtc::MICROPHONE_QUEUE;
use crate::session::{RelayError, Session, Shared};

/// As seed 000 calls itself.
const UID: &str = "proxy_client_001";
/// Sound that is gathered before any of it is sent, as seed 000 gathers it.
const CHUNK: Duration = Duration::from_secs(1);
/// Speech over an answer that cuts it, where no ears are configured that say so.
const BARGE_IN_MS: u32 = 500;
/// Before a conversation that broke is begun anew.
const PAUSE: Duration = Duration::from_secs(3);

/// Has the servers of `shared` hear `frames` and answer in `session`, until it is over.
pub(super) async fn answer(shared: Arc<Shared>, session: Arc<Session>, mut frames: mpsc::Receiver<Vec<i16>>) {
    let barge_in = shared.ears.as_ref().map_or(BARGE_IN_MS, |ears| ears.config.barge_in_ms);
    loop {
        let Some(place) = place(&shared, &mut frames).await else { return };
        let conversation = Conversation::start(place, UID.into(), CHUNK, &shared.tracker);
        let (heard, microphone) = mpsc::channel(MICROPHONE_QUEUE);
        let talk = session.converse(conversation, microphone, Duration::from_millis(barge_in.into()));
        tokio::pin!(talk);
        let over = loop {
            tokio::select! {
                over = &mut talk => break over,
                frame = frames.recv() => {
                    let Some(frame) = frame else { return };
                    // What is full is heard late enough as it is.
                    let _ = heard.try_send(frame);
                }
            }
        };
        match over {
            Err(RelayError::Session(_)) => return,
            Err(RelayError::Model(error)) => warn!(%error, "the MiniCPM server is gone: asking again"),
            Ok(()) => {}
        }
        tokio::select! {
            () = sleep(PAUSE) => {}
            () = deaf(&mut frames) => return,
        }
    }
}

/// A server that is free; what is said in the meantime is answered by nobody. `None` if the seat is gone.
async fn place(shared: &Shared, frames: &mut mpsc::Receiver<Vec<i16>>) -> Option<Place> {
    let mut line = shared.speech_models.queue();
    loop {
        tokio::select! {
            step = line.advance() => if let Ok(place) = step {
                return Some(place);
            },
            () = deaf(frames) => return None,
        }
    }
}

/// Hears and forgets, until there is nothing more to hear.
async fn deaf(frames: &mut mpsc::Receiver<Vec<i16>>) {
    while frames.recv().await.is_some() {}
}

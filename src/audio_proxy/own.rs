//! The back end of our own: a session with ears, mind, voice and a face that nobody looks at.
//!
//! In: the client's samples, at any pace. Out: captions as their clauses begin to be heard, and the sound of answers. One task,
//! which brings the samples to the ear as a microphone would, silence where the client sends none.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use poem::web::websocket::CloseCode;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::backend::Said;
use crate::media::{AUDIO_PTIME, AUDIO_RATE_HZ, AudioFrame, SAMPLES_PER_FRAME, TurnId};
use crate::metrics;
use crate::session::{Event, Guest, NoGuest, Shared, TurnEvent};
use crate::track::MediaSink;

/// Samples of a client that may wait for the ear, 5 s (L10). Full: the oldest are dropped and counted.
const EAR_QUEUE: usize = 5 * AUDIO_RATE_HZ as usize;
/// Things said that may wait for the client, of at most 100 ms of sound each. Full: the newest is dropped and counted.
const SAID_QUEUE: usize = 64;
/// Frames that the ear is given at once: clients may send faster than real time, and its own queue holds a second.
const FRAMES_PER_TICK: usize = 5;
/// A client that has sent nothing for so long is silent.
const QUIET: Duration = Duration::from_millis(300);
/// Samples of one message, 100 ms.
const PIECE: usize = 1_600;

/// A session for one client. Dropping it leaves the session, which ends.
pub(super) struct Own {
    waiting: Arc<Mutex<VecDeque<i16>>>,
    said: mpsc::Receiver<Said>,
    _leave: DropGuard,
}

impl Own {
    /// Starts a session, or says why that is not possible.
    pub(super) fn start(shared: &Arc<Shared>) -> Result<Self, Said> {
        if shared.ears.is_none() {
            let msg = "nobody listens: the server has no ears (asr.provider is off)";
            return Err(Said::Over(msg.into(), CloseCode::Error));
        }
        let guest = Guest::open(shared, "", "audio_proxy").map_err(|error| {
            // Somebody else may leave; what is broken stays so.
            let code = if let NoGuest::Slot(_) = error { CloseCode::Again } else { CloseCode::Error };
            Said::Over(error.to_string(), code)
        })?;
        let (sender, said) = mpsc::channel(SAID_QUEUE);
        guest.receive(Arc::new(Sink { said: sender.clone(), piece: Mutex::default() }));
        let leave = CancellationToken::new();
        let waiting = Arc::default();
        let task = Mouthpiece { guest, waiting: Arc::clone(&waiting), said: sender };
        spawn(&shared.tracker, task, leave.clone());
        Ok(Self { waiting, said, _leave: leave.drop_guard() })
    }

    pub(super) fn hear(&self, samples: &[i16]) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.extend(samples);
        let over = waiting.len().saturating_sub(EAR_QUEUE);
        waiting.drain(..over);
        drop(waiting);
        (0..over.div_ceil(SAMPLES_PER_FRAME)).for_each(|_| metrics::frame_dropped("microphone", "slow_ears"));
    }

    pub(super) async fn next(&mut self) -> Said {
        match self.said.recv().await {
            Some(said) => said,
            // The sink lives as long as its session, so its end was told before.
            None => std::future::pending().await,
        }
    }
}

fn spawn(tracker: &TaskTracker, task: Mouthpiece, leave: CancellationToken) {
    tracker.spawn(async move {
        let session = Arc::clone(task.guest.session());
        tokio::select! {
            () = leave.cancelled() => {}
            () = task.run() => {}
        }
        // Nobody comes back to it.
        session.end("client");
    });
}

/// The client, as the session knows it.
struct Mouthpiece {
    guest: Guest,
    waiting: Arc<Mutex<VecDeque<i16>>>,
    said: mpsc::Sender<Said>,
}

impl Mouthpiece {
    async fn run(mut self) {
        let mut ticks = interval(AUDIO_PTIME);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = Instant::now();
        loop {
            let said = tokio::select! {
                biased;
                event = self.guest.event() => match event {
                    Some(event) => said_by(event),
                    None => return,
                },
                now = ticks.tick() => {
                    self.speak(now, &mut last);
                    None
                }
            };
            let Some(said) = said else { continue };
            let over = matches!(said, Said::Over(..));
            put(&self.said, said);
            if over {
                return;
            }
        }
    }

    fn speak(&self, now: Instant, last: &mut Instant) {
        let frames = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let quiet = now - *last >= QUIET;
            if waiting.len() >= SAMPLES_PER_FRAME {
                *last = now;
            } else if quiet {
                // The last word may end within a frame.
                waiting.resize(SAMPLES_PER_FRAME, 0);
            }
            let whole = (waiting.len() / SAMPLES_PER_FRAME).min(FRAMES_PER_TICK) * SAMPLES_PER_FRAME;
            waiting.drain(..whole).collect::<Vec<_>>()
        };
        frames.as_chunks().0.iter().for_each(|frame| self.guest.hear(AudioFrame(*frame)));
    }
}

/// What a client is told of an event.
fn said_by(event: Event) -> Option<Said> {
    match event {
        Event::Caption { text, resumed: false, .. } => Some(Said::Text(text)),
        Event::Turn { event: TurnEvent::Interrupted, .. } => Some(Said::Cut),
        Event::Error { msg, .. } => Some(Said::Trouble(msg)),
        Event::Bye { reason: "end_call" | "client" } => {
            Some(Said::Over("the conversation is over".into(), CloseCode::Normal))
        }
        Event::Bye { .. } => Some(Said::Over("the server ends the conversation".into(), CloseCode::Away)),
        _ => None,
    }
}

fn put(said: &mpsc::Sender<Said>, what: Said) {
    if let Err(mpsc::error::TrySendError::Full(_)) = said.try_send(what) {
        metrics::frame_dropped("audio", "slow_client");
    }
}

/// Gathers the sound of answers.
struct Sink {
    said: mpsc::Sender<Said>,
    /// Held for a copy.
    piece: Mutex<Vec<i16>>,
}

impl MediaSink for Sink {
    fn hear(&self, sound: &AudioFrame, turn: Option<TurnId>) {
        let mut piece = self.piece.lock().unwrap_or_else(PoisonError::into_inner);
        if turn.is_some() {
            piece.extend(sound.0);
        }
        if piece.len() >= PIECE || (turn.is_none() && !piece.is_empty()) {
            put(&self.said, Said::Sound(std::mem::take(&mut *piece)));
        }
    }

    fn is_closed(&self) -> bool {
        self.said.is_closed()
    }
}

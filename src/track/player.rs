//! `HumanPlayer`: the two tracks of one session and their render worker (seed 004).

use std::io;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Sender, TrySendError, bounded};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::encode::{self, Bitrate, ENCODE_QUEUE, EncodeError, Sinks};
use super::playout::{Lead, Playout, State};
use super::{MediaSink, Played};
use crate::media::TurnId;
use crate::render::{self, Action, Change, CurrentTurn, Gesture, Item, LipSync, SLICE_QUEUE, Watched, Worker};

/// Speech ahead of rendering: 2 s of 20 ms frames. Full means that the voice is faster than real time, as it should
/// be; it waits, and through it the language model.
const SPEECH_QUEUE: usize = 100;

/// Changes of the face that may wait for the next slice, 40 ms: what is more is refused.
const CHANGE_QUEUE: usize = 4;

/// How often a voice that waits looks for room: one frame.
const SPEECH_POLL: Duration = Duration::from_millis(20);

/// Whether frames leave at their time or as soon as they are rendered (seed 004's `_throttle_playback`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Throttle {
    /// 25 pictures and 50 packets of sound a second.
    #[default]
    RealTime,
    /// As fast as they come: for files and pushes.
    Off,
}

/// What a player starts with.
pub struct Setup {
    /// Names the threads: the first characters of the session's id.
    pub name: String,
    /// Who is seen.
    pub face: Box<dyn LipSync>,
    /// When frames leave.
    pub throttle: Throttle,
    /// The bounds of the encoders.
    pub bitrate: Bitrate,
}

/// Why a player ended.
#[derive(Debug)]
pub enum Ended {
    /// It was stopped, or its speech was closed and played.
    Finished,
    /// The render or the encode thread panicked.
    Panicked,
    /// The encoder gave up.
    Encoder(EncodeError),
}

/// One session's media: speech goes in, encoded frames come out at the sinks.
pub struct HumanPlayer {
    speech: Sender<(TurnId, Item)>,
    changes: Sender<Change>,
    current: CurrentTurn,
    sinks: Sinks,
    watched: Watched,
    lead: Lead,
    stop: CancellationToken,
}

impl HumanPlayer {
    /// Starts the threads and the playout task. `played` is told what is heard, when it is heard. The returned future
    /// joins the threads and says why they ended.
    pub fn start(
        setup: Setup,
        played: mpsc::Sender<Played>,
    ) -> io::Result<(Self, impl Future<Output = Ended> + Send + 'static)> {
        let (speech, speech_rx) = bounded(SPEECH_QUEUE);
        let (changes, changes_rx) = bounded(CHANGE_QUEUE);
        let (slices_tx, slices) = bounded(SLICE_QUEUE);
        let (raw, raw_rx) = bounded(ENCODE_QUEUE);
        let current = CurrentTurn::default();
        let sinks = Sinks::default();
        let watched = Watched::default();
        let lead = Lead::default();
        let stop = CancellationToken::new();

        let waits = setup.throttle == Throttle::Off;
        let worker = Worker::new(setup.face, changes_rx, speech_rx.clone(), current.clone(), watched.clone(), waits);
        let rendering = render::spawn(&setup.name, worker, slices_tx)?;
        let encoding = {
            let (sinks, watched) = (Arc::clone(&sinks), watched.clone());
            let name = format!("encode-{}", setup.name);
            std::thread::Builder::new().name(name).spawn(move || encode::run(&raw_rx, &sinks, &watched, setup.bitrate))?
        };
        let playout = Playout {
            slices,
            speech: speech_rx,
            raw,
            played,
            current: current.clone(),
            throttle: setup.throttle,
            lead: lead.clone(),
            stop: stop.clone(),
            state: State::default(),
        };
        let playing = tokio::spawn(playout.run());
        let ended = async move {
            let playing = playing.await;
            let threads = tokio::task::spawn_blocking(move || join(rendering, encoding)).await;
            match (playing, threads) {
                (Ok(()), Ok(ended)) => ended,
                _ => Ended::Panicked,
            }
        };
        Ok((Self { speech, changes, current, sinks, watched, lead, stop }, ended))
    }

    /// Queues `item` of `turn`, waiting while 2 s of speech are ahead. False once the player has ended.
    pub async fn say(&self, turn: TurnId, item: Item) -> bool {
        let mut next = (turn, item);
        loop {
            match self.speech.try_send(next) {
                Ok(()) => return true,
                Err(TrySendError::Disconnected(_)) => return false,
                Err(TrySendError::Full(back)) => next = back,
            }
            tokio::time::sleep(SPEECH_POLL).await;
        }
    }

    /// Drops everything of the turns before `turn`: what is queued, rendered and about to be played.
    pub fn interrupt(&self, turn: TurnId) {
        self.current.advance_to(turn);
    }

    /// Shows another face from the next slice on. False if too much is waiting to be shown.
    pub fn show(&self, face: Box<dyn LipSync>) -> bool {
        self.changes.try_send(Change::Face(face)).is_ok()
    }

    /// Has the face do something from the next slice on. False if too much is waiting to be shown.
    pub fn gesture(&self, gesture: Gesture) -> bool {
        self.changes.try_send(Change::Gesture(gesture)).is_ok()
    }

    /// Shows `action` in the place of the face until it is over or `turn` is interrupted. False as of [`Self::show`].
    pub fn act(&self, action: Arc<Action>, turn: TurnId) -> bool {
        self.changes.try_send(Change::Act(action, turn)).is_ok()
    }

    /// Ends an action. False as of [`Self::show`].
    pub fn rest(&self) -> bool {
        self.changes.try_send(Change::Rest).is_ok()
    }

    /// Shows `film` in the place of the face whenever nothing is heard. False as of [`Self::show`].
    pub fn idle(&self, film: Option<Arc<Action>>) -> bool {
        self.changes.try_send(Change::Idle(film)).is_ok()
    }

    /// Sends frames to `sink`, too.
    pub fn add_sink(&self, sink: Arc<dyn MediaSink>) {
        // The encode thread says so, too, a picture later; this is the picture.
        if sink.watches() {
            self.watched.set(true);
        }
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner).push(sink);
    }

    /// Has the first `frames` of 20 ms of each answer leave at once and the rest as far ahead of its time, from the next answer
    /// on. For sound alone that the receiver buffers: pictures would leave in a burst, too.
    pub fn run_ahead(&self, frames: u64) {
        self.lead.set(frames);
    }

    /// Ends at once, whatever is queued.
    pub fn stop(&self) {
        self.stop.cancel();
    }
}

fn join(rendering: JoinHandle<Result<(), ()>>, encoding: JoinHandle<Result<(), EncodeError>>) -> Ended {
    match (rendering.join(), encoding.join()) {
        (Ok(Ok(())), Ok(Ok(()))) => Ended::Finished,
        (_, Ok(Err(error))) => Ended::Encoder(error),
        _ => Ended::Panicked,
    }
}

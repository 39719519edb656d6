//! Our place in a session, while rooms come and go.
//!
//! In: what is heard in a room. Out: the session's sound, to the room that there is. One task, which holds the guest: the
//! conversation goes on when the connection to the room is made anew.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::model;
use crate::config::Janus;
use crate::media::{AudioFrame, TurnId};
use crate::rtc::MICROPHONE_QUEUE;
use crate::session::{Event, Guest, NoGuest, Session, Shared, State};
use crate::track::{Encoded, MediaSink};

/// Sinks that wait to be added: a room is left before the next one is entered.
const SINK_QUEUE: usize = 4;
/// How long our own words may still be in a room after they were said: buffers, the mixer, the room itself.
const ECHO: Duration = Duration::from_millis(500);

/// Dropping it leaves the session.
pub(super) struct Seat {
    session: Arc<Session>,
    ears: mpsc::Sender<AudioFrame>,
    sinks: mpsc::Sender<Arc<dyn MediaSink>>,
    over: CancellationToken,
    levels: Arc<Levels>,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

impl Seat {
    /// A seat in a new session, with the manners of `config`.
    pub(super) fn take(shared: &Arc<Shared>, config: &Janus) -> Result<Self, NoGuest> {
        let guest = Guest::open(shared, &config.avatar, "janus")?;
        let session = Arc::clone(guest.session());
        let (ears, frames) = mpsc::channel(MICROPHONE_QUEUE);
        let (sinks, added) = mpsc::channel(SINK_QUEUE);
        let levels = Arc::<Levels>::default();
        let over = CancellationToken::new();
        guest.receive(Arc::new(Meter { levels: Arc::clone(&levels), over: over.clone() }));
        let mut tasks = Vec::new();
        let model = config.minicpm.then(|| {
            let (model, heard) = mpsc::channel(MICROPHONE_QUEUE);
            tasks.push(model::answer(Arc::clone(shared), Arc::clone(&session), heard));
            model
        });
        let mut tasks: Vec<_> = tasks.into_iter().map(|task| AbortOnDropHandle::new(tokio::spawn(task))).collect();
        let sitting = sit(guest, model, frames, added, Arc::clone(&levels), config.half_duplex, over.clone());
        tasks.push(AbortOnDropHandle::new(tokio::spawn(sitting)));
        Ok(Self { session, ears, sinks, over, levels, _tasks: tasks })
    }

    /// Where the sound of a room goes.
    pub(super) fn ears(&self) -> mpsc::Sender<AudioFrame> {
        self.ears.clone()
    }

    /// Sends the session's sound to `sink` until it is closed.
    pub(super) async fn receive(&self, sink: Arc<dyn MediaSink>) {
        let _ = self.sinks.send(sink).await;
    }

    /// Whether the session has ended.
    pub(super) fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// Waits for the end of the session.
    pub(super) async fn over(&self) {
        self.over.cancelled().await;
    }

    /// Cuts what is said to nobody: if no page watches, either.
    pub(super) async fn hush(&self) {
        if self.session.viewer_count() <= 1 && self.session.state() != State::Idle {
            // A session that is ending is silent, too.
            let _ = self.session.interrupt().await;
        }
    }

    /// How loud it was since the last time, heard and said, mean and loudest 20 ms, 0 to 1.
    pub(super) fn levels(&self) -> [Level; 2] {
        [&self.levels.heard, &self.levels.said].map(|level| std::mem::take(&mut *lock(level)))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.over.cancel();
    }
}

/// Takes part. What is heard goes to `model` if there is one, else to the session's ears.
async fn sit(
    mut guest: Guest,
    model: Option<mpsc::Sender<Vec<i16>>>,
    mut frames: mpsc::Receiver<AudioFrame>,
    mut sinks: mpsc::Receiver<Arc<dyn MediaSink>>,
    levels: Arc<Levels>,
    half_duplex: bool,
    over: CancellationToken,
) {
    let mut deaf_until: Option<Instant> = None;
    let mut speaking = false;
    loop {
        tokio::select! {
            biased;
            event = guest.event() => match event {
                // The end proper follows a moment later, but not while frames keep coming.
                None | Some(Event::Bye { .. }) => return over.cancel(),
                Some(Event::State { state }) => {
                    if std::mem::replace(&mut speaking, state == State::Speaking) && !speaking {
                        deaf_until = Some(Instant::now() + ECHO);
                    }
                }
                Some(_) => {}
            },
            Some(sink) = sinks.recv() => guest.receive(sink),
            Some(frame) = frames.recv() => {
                lock(&levels.heard).add(&frame);
                let deaf = half_duplex && (speaking || deaf_until.is_some_and(|until| Instant::now() < until));
                // The ears count samples: silence is not nothing.
                let frame = if deaf { AudioFrame::SILENCE } else { frame };
                match &model {
                    Some(model) => drop(model.try_send(frame.0.to_vec())),
                    None => guest.hear(frame),
                }
            }
        }
    }
}

/// How loud it was.
#[derive(Debug, Default)]
pub(super) struct Level {
    squares: f64,
    frames: u32,
    loudest: f32,
}

impl Level {
    fn add(&mut self, frame: &AudioFrame) {
        let rms = frame.rms();
        self.squares += f64::from(rms).powi(2);
        self.frames += 1;
        self.loudest = self.loudest.max(rms);
    }

    /// Over all of it, in decibels below full scale; -96 is silence.
    pub(super) fn mean_dbfs(&self) -> f64 {
        decibels((self.squares / f64::from(self.frames.max(1))).sqrt())
    }

    /// Of its loudest 20 ms.
    pub(super) fn peak_dbfs(&self) -> f64 {
        decibels(f64::from(self.loudest))
    }
}

fn decibels(rms: f64) -> f64 {
    (20.0 * rms.log10()).max(-96.0).round()
}

#[derive(Debug, Default)]
struct Levels {
    heard: Mutex<Level>,
    said: Mutex<Level>,
}

/// Measures what is said, once, whichever room it goes to.
struct Meter {
    levels: Arc<Levels>,
    over: CancellationToken,
}

impl MediaSink for Meter {
    fn push(&self, _frame: &Encoded) {}

    fn hear(&self, sound: &AudioFrame, _turn: Option<TurnId>) {
        lock(&self.levels.said).add(sound);
    }

    fn is_closed(&self) -> bool {
        self.over.is_cancelled()
    }
}

fn lock(level: &Mutex<Level>) -> MutexGuard<'_, Level> {
    level.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::SAMPLES_PER_FRAME;

    #[test]
    fn levels_are_below_full_scale_and_silence_has_one() {
        let mut level = Level::default();
        assert_eq!((level.mean_dbfs(), level.peak_dbfs()), (-96.0, -96.0));
        level.add(&AudioFrame([16_384; SAMPLES_PER_FRAME]));
        level.add(&AudioFrame::SILENCE);
        assert_eq!((level.mean_dbfs(), level.peak_dbfs()), (-9.0, -6.0));
    }
}

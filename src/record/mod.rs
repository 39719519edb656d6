//! Films of sessions on the server's disk (`/record`).
//!
//! In: a session. Out: an MP4 file that grows by a fragment a second, and is found again after a restart. One blocking
//! thread a film writes it; a task waits for its end, which is asked for, or the session's, or a bound (L20). A film is no
//! viewer: it keeps no session alive.

mod disk;
mod film;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, info, info_span, warn};
use uuid::Uuid;

use crate::config::Record;
use crate::metrics;
use crate::session::{Event, Session};
use crate::track::{MediaSink, SoundAs, Tape};

use disk::Reels;
pub use film::Cut;
use film::{Bounds, Film};

/// How long a film may take to have its first picture: a keyframe is there within 200 ms, on a busy machine later.
const ROLLING: Duration = Duration::from_secs(3);

/// Why a film does not begin or end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `record.enabled` is false.
    #[error("this server does not record")]
    Off,
    /// One film of a session at a time.
    #[error("this session is being recorded already")]
    Running,
    /// There is none to end.
    #[error("this session is not being recorded")]
    Idle,
    /// `record.store_mib` or `record.keep_free_mib`.
    #[error("there is no room for recordings on the server")]
    Full,
    /// The file could not be made.
    #[error("the recording could not be written")]
    File(#[source] io::Error),
    /// No picture came.
    #[error("the session has no pictures to record")]
    Empty,
}

/// All films of a server.
pub struct Recordings {
    config: Record,
    tracker: TaskTracker,
    /// Held for a look-up or a change.
    shelf: Mutex<Shelf>,
}

#[derive(Default)]
struct Shelf {
    reels: HashMap<Uuid, Reels>,
    running: HashMap<Uuid, Running>,
}

#[derive(Clone)]
struct Running {
    tape: Arc<Tape>,
    /// How long the film has become, once it has ended.
    ended: watch::Receiver<Option<Duration>>,
}

/// Where a film is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Here.
    At(PathBuf),
    /// It is still being made.
    Running,
    /// There is none.
    Nowhere,
}

impl Recordings {
    /// Those that lie in the folder already, and those to come. Their tasks are counted by `tracker`.
    pub fn open(config: Record, tracker: TaskTracker) -> Arc<Self> {
        let reels = disk::scan(&config.dir);
        Arc::new(Self { config, tracker, shelf: Mutex::new(Shelf { reels, running: HashMap::new() }) })
    }

    /// Begins a film of `session`. Returns once its first picture is written.
    pub async fn start(self: &Arc<Self>, session: &Arc<Session>) -> Result<(), Error> {
        // Whoever asks may hang up at any point of it.
        let starting = self.tracker.spawn(Arc::clone(self).roll(Arc::clone(session)));
        starting.await.unwrap_or(Err(Error::Empty))
    }

    async fn roll(self: Arc<Self>, session: Arc<Session>) -> Result<(), Error> {
        if !self.config.enabled {
            return Err(Error::Off);
        }
        let id = session.id();
        let (tape, frames) = Tape::new(SoundAs::Opus, "slow_disk");
        let tape = Arc::new(tape);
        let (ended_tx, ended) = watch::channel(None);
        let take = self.shelf().begin(id, Running { tape: Arc::clone(&tape), ended })?;
        let (path, bounds) = match self.claim(id, take).await {
            Ok(claimed) => claimed,
            Err(error) => {
                self.shelf().running.remove(&id);
                return Err(error);
            }
        };
        let (rolling_tx, mut rolling) = watch::channel(false);
        let writing = {
            let path = path.clone();
            tokio::task::spawn_blocking(move || film::write(&path, &frames, &bounds, &rolling_tx))
        };
        session.receive(Arc::clone(&tape) as Arc<dyn MediaSink>);
        let recordings = Arc::clone(&self);
        let span = info_span!("record", session = &id.simple().to_string()[..8]);
        let minding = async move {
            info!("recording");
            metrics::recordings(1.0);
            tokio::pin!(writing);
            let written = tokio::select! {
                biased;
                written = &mut writing => written,
                () = session.over() => {
                    tape.close();
                    writing.await
                }
            };
            tape.close();
            // A thread that panicked has left what it had written.
            let film = written.unwrap_or(Film { length: Duration::ZERO, cut: None });
            metrics::recordings(-1.0);
            recordings.shelve(&session, &path, &film).await;
            let _ = ended_tx.send(Some(film.length));
        };
        self.tracker.spawn(minding.instrument(span));
        let rolls = timeout(ROLLING, rolling.wait_for(|rolling| *rolling)).await.is_ok_and(|rolling| rolling.is_ok());
        if rolls { Ok(()) } else { self.end(id).await.map(drop) }
    }

    /// Ends the film of a session and waits until it is whole. How long it plays.
    pub async fn end(&self, id: Uuid) -> Result<Duration, Error> {
        let running = self.shelf().running.get(&id).cloned();
        let Some(Running { tape, mut ended }) = running else { return Err(Error::Idle) };
        tape.close();
        let length = ended.wait_for(Option::is_some).await.ok().and_then(|length| *length).unwrap_or_default();
        if length.is_zero() { Err(Error::Empty) } else { Ok(length) }
    }

    /// The newest film of a session, alive or not.
    pub fn find(&self, id: Uuid) -> Found {
        let shelf = self.shelf();
        if shelf.running.contains_key(&id) {
            return Found::Running;
        }
        shelf.reels.get(&id).and_then(|reels| reels.newest.clone()).map_or(Found::Nowhere, Found::At)
    }

    /// A file of its own, and how large it may become.
    async fn claim(&self, id: Uuid, take: u32) -> Result<(PathBuf, Bounds), Error> {
        let config = self.config.clone();
        let claiming = tokio::task::spawn_blocking(move || {
            let bounds = Bounds::new(&config, disk::stored(&config.dir));
            let path = disk::claim(&config.dir, id, take).map_err(Error::File)?;
            let full = bounds.bytes == 0 || disk::free(&path).is_some_and(|free| free < bounds.free_bytes);
            if full {
                metrics::rejected("L20");
                let _ = std::fs::remove_file(&path);
                return Err(Error::Full);
            }
            Ok((path, bounds))
        });
        let claimed = claiming.await.map_err(|error| Error::File(io::Error::other(error)))?;
        claimed.inspect_err(|error| warn!(%error, cause = std::error::Error::source(error), "no recording"))
    }

    /// Puts a film that has ended where it is found.
    async fn shelve(&self, session: &Session, path: &Path, film: &Film) {
        let empty = film.length.is_zero();
        if empty {
            let _ = tokio::fs::remove_file(path).await;
        }
        let seconds = film.length.as_secs_f64();
        match &film.cut {
            None => info!(seconds, "recorded"),
            Some(cut) => {
                metrics::rejected("L20");
                warn!(seconds, %cut, cause = std::error::Error::source(cut), "the recording was cut");
                session.tell(Event::error("recording_stopped", cut.to_string()));
            }
        }
        let mut shelf = self.shelf();
        shelf.running.remove(&session.id());
        if !empty && let Some(reels) = shelf.reels.get_mut(&session.id()) {
            reels.newest = Some(path.to_owned());
        }
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    /// A place for one more film of a session: which one it is.
    fn begin(&mut self, id: Uuid, running: Running) -> Result<u32, Error> {
        if self.running.contains_key(&id) {
            return Err(Error::Running);
        }
        self.running.insert(id, running);
        let reels = self.reels.entry(id).or_default();
        reels.takes += 1;
        Ok(reels.takes)
    }
}

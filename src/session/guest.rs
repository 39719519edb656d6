//! Somebody in a session who is no viewer of a page: a device, a socket, a room.
//!
//! In: its microphone's frames. Out: the session's events; its sound and pictures go to the sinks that the guest adds. It
//! counts as a viewer does: a session with a guest goes on.

use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, watch};
use tracing::{Instrument, info, info_span};

use super::ear::{Ear, Mic};
use super::viewer::{JoinError, Seat};
use super::{BYE, Event, NoSlot, Notice, Session, Shared, short};
use crate::media::AudioFrame;
use crate::metrics;
use crate::render::CatalogueError;
use crate::rtc::MICROPHONE_QUEUE;
use crate::track::MediaSink;

/// Dropping it leaves the session.
pub struct Guest {
    session: Arc<Session>,
    kind: &'static str,
    microphone: mpsc::Sender<AudioFrame>,
    mic: watch::Sender<Mic>,
    notices: broadcast::Receiver<Notice>,
    _seat: Seat,
}

impl Session {
    /// A new session that shows `avatar`; empty: the default one. It ends unless somebody comes.
    pub fn open(shared: &Arc<Shared>, avatar: &str) -> Result<Arc<Self>, NoGuest> {
        let avatar = shared.catalogue.get(avatar)?;
        let slot = shared.registry.reserve().inspect_err(|_| metrics::rejected("L1"))?;
        Ok(Self::start(shared, slot, &avatar)?)
    }

    /// Lets a guest in; `kind` names it in the log. It has an ear if the server has.
    pub fn welcome(self: &Arc<Self>, shared: &Arc<Shared>, kind: &'static str) -> Result<Guest, JoinError> {
        let seat = Seat::take(self)?;
        let (microphone, frames) = mpsc::channel(MICROPHONE_QUEUE);
        let mic = watch::Sender::default();
        let span = info_span!("guest", session = short(self.id), kind);
        if let Some(ears) = shared.ears.clone() {
            let ear = Ear::new(Arc::clone(self), ears);
            shared.tracker.spawn(ear.listen(frames, mic.subscribe(), Arc::default()).instrument(span.clone()));
        }
        span.in_scope(|| info!("guest came"));
        Ok(Guest { session: Arc::clone(self), kind, microphone, mic, notices: self.subscribe(), _seat: seat })
    }
}

/// Why a guest has no session.
#[derive(Debug, thiserror::Error)]
pub enum NoGuest {
    /// All are taken.
    #[error(transparent)]
    Slot(#[from] NoSlot),
    /// Nobody to be seen.
    #[error(transparent)]
    Avatar(#[from] CatalogueError),
    /// It is full.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// No thread.
    #[error("starting a session: {0}")]
    Start(#[from] std::io::Error),
}

impl Guest {
    /// The first in a new session ([`Session::open`]). `kind` names it in the log.
    pub fn open(shared: &Arc<Shared>, avatar: &str, kind: &'static str) -> Result<Self, NoGuest> {
        Ok(Session::open(shared, avatar)?.welcome(shared, kind)?)
    }

    /// Where it is.
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// 20 ms from its microphone, 16 kHz. If a second of them waits, it is lost and counted.
    pub fn hear(&self, frame: AudioFrame) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.microphone.try_send(frame) {
            metrics::frame_dropped("microphone", "slow_ears");
        }
    }

    /// Turns its microphone on or off, or holds a key.
    pub fn listen(&self, mic: Mic) {
        self.mic.send_replace(mic);
    }

    /// Sends the session's sound, and its pictures if the sink wants some, to `sink` until it is closed.
    pub fn receive(&self, sink: Arc<dyn MediaSink>) {
        self.session.player.add_sink(sink);
    }

    /// Has the first `frames` of 20 ms of each answer come at once, and the rest as far ahead of its time: for a device that
    /// buffers. Not while somebody watches.
    pub fn run_ahead(&self, frames: u64) {
        self.session.player.run_ahead(frames);
    }

    /// What happens next in the session, for everybody; `None` once it is over. A guest that is slow misses some and is told
    /// the state.
    pub async fn event(&mut self) -> Option<Event> {
        loop {
            let notice = tokio::select! {
                biased;
                notice = self.notices.recv() => notice,
                () = over(&self.session) => return None,
            };
            match notice {
                Ok(Notice::Event(event, _)) => return Some(event),
                Ok(Notice::Written(..)) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => return Some(Event::State { state: self.session.state() }),
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        info!(session = short(self.session.id), kind = self.kind, "guest gone");
    }
}

/// Its end, and the time that a good-bye takes.
async fn over(session: &Session) {
    session.stop.cancelled().await;
    tokio::time::sleep(BYE).await;
}

//! Sessions that are sent to another server, or to a virtual camera: LiveTalking's `rtcpush`, `rtmp` and `virtualcam`.
//!
//! They have numbers in place of ids. Session 0 begins with the server and is begun anew when it ends; the others begin when
//! somebody asks for their number, and end when nothing has been said in them for a while. Each is a guest's, so it lives
//! without viewers. A task a session keeps the connection to the other server, and tries again for ever; what is said
//! meanwhile goes on.

mod camera;
mod rtmp;
mod whip;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, info, info_span, warn};
use uuid::Uuid;

use crate::backoff::Backoff;
use crate::config::{self, Output};
use crate::metrics;
use crate::session::{Event, Guest, NoGuest, Numbered, Session, Shared, State};

/// A connection that held for so long was made well: the next try comes soon again.
const HELD: Duration = Duration::from_secs(20);
/// How long a new session 0 waits after the end of the one before it.
const AGAIN: Duration = Duration::from_secs(1);
/// Longer than any server runs.
const EVER: Duration = Duration::from_secs(u32::MAX as u64);

/// Why nothing is sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("WHIP: {0}")]
    Whip(#[from] whip::Error),
    #[error("RTMP: {0}")]
    Rtmp(#[from] rtmp::Error),
    #[error("virtual camera: {0}")]
    Camera(#[from] camera::Error),
}

impl Failure {
    /// Whether a person has to do something about it.
    fn needs_somebody(&self) -> bool {
        match self {
            Self::Whip(error) => error.needs_somebody(),
            Self::Rtmp(_) => false,
            Self::Camera(_) => true,
        }
    }

    /// How long the other side asks us to wait.
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Whip(error) => error.retry_after(),
            Self::Rtmp(_) | Self::Camera(_) => None,
        }
    }
}

/// All of them.
pub(crate) struct Pushes {
    shared: Arc<Shared>,
    config: config::Push,
    stop: CancellationToken,
    tasks: TaskTracker,
    /// By number. Held for a look-up or the start of a session.
    sessions: Mutex<HashMap<u32, Arc<Session>>>,
}

/// Sends sessions where `config` says until `stop`; their tasks are counted by `tasks`.
pub(crate) fn start(shared: &Arc<Shared>, config: config::Push, stop: CancellationToken, tasks: &TaskTracker) {
    let pushes =
        Arc::new(Pushes { shared: Arc::clone(shared), config, stop, tasks: tasks.clone(), sessions: Mutex::default() });
    if shared.numbered.set(Arc::new(Numbers(Arc::clone(&pushes)))).is_ok() {
        tasks.spawn(pushes.keep_first());
    }
}

/// Sessions by their number.
struct Numbers(Arc<Pushes>);

impl Numbered for Numbers {
    fn session(&self, number: u32) -> Option<Arc<Session>> {
        self.0.session(number).inspect_err(|error| warn!(number, %error, "no session to push")).ok().flatten()
    }

    fn number(&self, session: Uuid) -> Option<u32> {
        self.0.sessions().iter().find_map(|(number, pushed)| (pushed.id() == session).then_some(*number))
    }
}

impl Pushes {
    fn sessions(&self) -> MutexGuard<'_, HashMap<u32, Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session of that number, which begins if it is not there. `None` if there is no such number, or we stop.
    fn session(self: &Arc<Self>, number: u32) -> Result<Option<Arc<Session>>, NoGuest> {
        let numbers = if self.config.to == Output::Whip { self.config.sessions } else { 1 };
        if number >= numbers || self.stop.is_cancelled() {
            return Ok(None);
        }
        let mut sessions = self.sessions();
        if let Some(session) = sessions.get(&number).filter(|session| !session.is_over()) {
            return Ok(Some(Arc::clone(session)));
        }
        let guest = Guest::open(&self.shared, &self.config.avatar, "push")?;
        let session = Arc::clone(guest.session());
        sessions.insert(number, Arc::clone(&session));
        let span = info_span!("push", number, to = ?self.config.to);
        self.tasks.spawn(Arc::clone(self).send(guest, number).instrument(span));
        Ok(Some(session))
    }

    /// Session 0 is always there.
    async fn keep_first(self: Arc<Self>) {
        let mut backoff = Backoff::default();
        loop {
            let wait = match self.session(0) {
                Ok(Some(session)) => {
                    tokio::select! {
                        biased;
                        () = self.stop.cancelled() => return,
                        () = session.over() => {}
                    }
                    backoff.reset();
                    AGAIN
                }
                Ok(None) => return,
                Err(error) => {
                    warn!(%error, "session 0 cannot begin");
                    backoff.next(true)
                }
            };
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = sleep(wait) => {}
            }
        }
    }

    /// Sends a session until it or we end.
    async fn send(self: Arc<Self>, guest: Guest, number: u32) {
        let session = Arc::clone(guest.session());
        let over = self.stop.child_token();
        let sitting = tokio::spawn(sit(guest, (number > 0).then_some(self.config.idle), over.clone()));
        let mut backoff = Backoff::default();
        loop {
            let began = Instant::now();
            let sent = self.visit(&session, number, &over).await;
            if began.elapsed() > HELD {
                backoff.reset();
            }
            let (patient, asked) = match &sent {
                Ok(Ended::Stopped) => break,
                Ok(Ended::Broke(why)) => {
                    metrics::push_failed(why);
                    (false, None)
                }
                Err(error) => {
                    metrics::push_failed("refused");
                    warn!(%error, "not sent");
                    (error.needs_somebody(), error.retry_after())
                }
            };
            let wait = backoff.next(patient).max(asked.unwrap_or_default());
            info!(wait_ms = wait.as_millis(), "trying again");
            tokio::select! {
                biased;
                () = over.cancelled() => break,
                () = sleep(wait) => {}
            }
        }
        let mut sessions = self.sessions();
        if sessions.get(&number).is_some_and(|current| Arc::ptr_eq(current, &session)) {
            sessions.remove(&number);
        }
        drop(sessions);
        // The guest leaves, and with it the session unless somebody watches.
        sitting.abort();
    }

    /// From a connection to its end.
    async fn visit(&self, session: &Arc<Session>, number: u32, over: &CancellationToken) -> Result<Ended, Failure> {
        let ended = match self.config.to {
            Output::Off => Ended::Stopped,
            Output::Whip => whip::send(&self.shared, session, &self.config, number, over).await?,
            Output::Rtmp => rtmp::send(session, &self.config, over).await?,
            Output::Virtualcam => camera::send(session, &self.config, over).await?,
        };
        Ok(ended)
    }
}

/// How a connection ended.
pub(crate) enum Ended {
    /// We or the session are over.
    Stopped,
    /// It broke, for this reason.
    Broke(&'static str),
}

/// Holds the place of a session's guest. `over` is cancelled when the session ends, or once nothing was said for `idle`.
async fn sit(mut guest: Guest, idle: Option<Duration>, over: CancellationToken) {
    let quiet = idle.unwrap_or(EVER);
    let mut silent = true;
    loop {
        tokio::select! {
            event = guest.event() => match event {
                None | Some(Event::Bye { .. }) => break,
                Some(Event::State { state }) => silent = state == State::Idle,
                Some(_) => {}
            },
            () = sleep(quiet), if silent => {
                info!("nothing was said for a while: the session ends");
                break;
            }
        }
    }
    over.cancel();
}

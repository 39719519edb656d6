//! One conversation between an avatar and its viewers.
//!
//! In: utterances, interruptions, viewers. Out: notices to the viewers, media through the player. A session is a player
//! (threads), a conversation (task) and a task per viewer; it ends as a whole, and nothing of it outlives it.

mod actions;
mod audience;
#[cfg(test)]
mod bad_days;
mod chat;
mod conversation;
mod ear;
mod event;
mod fallback;
mod guest;
mod recording;
mod registry;
mod speaker;
mod speech_model;
mod text;
mod tools;
mod turn;
mod viewer;
mod voice;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, info, info_span, warn};
use uuid::Uuid;

use crate::llm::{History, Role, Tool};
use crate::metrics;
use crate::minicpm;
use crate::render::{Catalogue, Character, Gesture, Repertoire, Repertoires};
use crate::rtc;
use crate::track::{Bitrate, Ended, HumanPlayer, MediaSink, Setup, Throttle};
use crate::tts::TextToSpeech;

use audience::Viewers;
use conversation::{Command, Conversation, Saying, Words};
use voice::Voice;

pub use actions::ActionError;
pub use ear::{Ears, Mic};
pub use event::{As, CaptionWord, Event, Line, PROTOCOL_VERSION, Request, State, TurnEvent};
pub use guest::{Guest, NoGuest};
pub use recording::{RECORDING_BYTES, RecordingError};
pub use registry::{NoSlot, SessionRegistry, Slot};
pub use speaker::Speaker;
pub use speech_model::RelayError;
pub use text::{MAX_CHARS, TextError, check as check_text};
pub use turn::{Chat, Minds, Spoken, TurnError, Utterance, run as run_turn};
pub use viewer::{JoinError, Joined, Link, Terms};

/// Commands that may wait: the conversation takes them at once, so a full queue means that it is ending.
const COMMAND_QUEUE: usize = 16;
/// Notices that a viewer's task may be behind; it then misses some and is told so.
const NOTICE_QUEUE: usize = 64;
/// Marks that may wait for the conversation.
const PLAYED_QUEUE: usize = 64;
/// How long a session waits for its viewer to come back from a reload. One that was not heard of has been waited for already.
const LINGER: Duration = Duration::from_secs(5);
/// What a good-bye needs to reach the viewers before their connections are closed: a packet's way, and tasks that are behind.
const BYE: Duration = Duration::from_millis(150);
/// Longest id that is looked at, in bytes.
const MAX_ID: usize = 64;
/// Lines of the conversation that are kept for those who join.
const KEPT_LINES: usize = 100;

/// Which viewer said something, and the how manieth of its utterances it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    viewer: Uuid,
    utterance: u32,
}

/// What a session's viewers are told.
#[derive(Clone, Debug)]
pub(crate) enum Notice {
    /// An event for all of them, and whose utterance it belongs to.
    Event(Event, Option<Origin>),
    /// A part of an answer as it was written, for whoever asked.
    Written(String, Origin),
}

/// Why a session could not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Busy {
    /// Twenty utterances wait already.
    #[error("too many utterances are waiting: interrupt, or wait until some have been said")]
    Full,
    /// It is ending.
    #[error("the session is ending")]
    Ending,
}

/// Sessions that are known by a number: those that are pushed to another server.
pub trait Numbered: Send + Sync {
    /// The session of that number, which may begin by being asked for.
    fn session(&self, number: u32) -> Option<Arc<Session>>;

    /// The number of a session, if it has one.
    fn number(&self, session: Uuid) -> Option<u32>;
}

/// What all sessions of a server share.
pub struct Shared {
    /// Who is here.
    pub registry: Arc<SessionRegistry>,
    /// Model and voice.
    pub minds: Minds,
    /// Who listens to microphones; `None` where only typing is wanted.
    pub ears: Option<Ears>,
    /// What a model is told of a conversation.
    pub history: History,
    /// Who can be seen.
    pub catalogue: Arc<Catalogue>,
    /// What they can be asked to do.
    pub repertoires: Repertoires,
    /// The socket and its addresses.
    pub rtc: rtc::Settings,
    /// The bounds of the encoders.
    pub bitrate: Bitrate,
    /// Models that hear and speak by themselves, on machines of their own.
    pub speech_models: Arc<minicpm::Pool>,
    /// Who has sessions with numbers, if anybody has.
    pub numbered: OnceLock<Arc<dyn Numbered>>,
    /// The tasks of all sessions: empty when all are over.
    pub tracker: TaskTracker,
    /// Cancelled when the server ends what goes on: sessions are told by their own, this is for all that is none.
    pub stop: CancellationToken,
}

impl Shared {
    /// The session of that id, or of that number. Untrusted.
    pub fn find(&self, id: &str) -> Option<Arc<Session>> {
        if let Ok(number) = id.parse() {
            return self.numbered.get()?.session(number);
        }
        Some(id).filter(|id| id.len() <= MAX_ID)?.parse().ok().and_then(|id| self.registry.get(id))
    }
}

/// One conversation.
pub struct Session {
    id: Uuid,
    created: Instant,
    player: Arc<HumanPlayer>,
    commands: mpsc::Sender<Command>,
    notices: broadcast::Sender<Notice>,
    stop: CancellationToken,
    viewers: watch::Sender<Viewers>,
    /// Held for a look-up or a change.
    inner: Mutex<Inner>,
}

struct Inner {
    avatar: String,
    voice: Voice,
    /// `None` until it is known.
    repertoire: Option<Repertoire>,
    state: State,
    lines: VecDeque<Line>,
    links: HashMap<Uuid, Link>,
    /// What a model may use beside what is configured.
    tools: Vec<Arc<dyn Tool>>,
    reason: Option<&'static str>,
}

impl Session {
    /// Starts a session in `slot` that shows `avatar`.
    pub fn start(shared: &Arc<Shared>, slot: Slot, avatar: &Character) -> std::io::Result<Arc<Self>> {
        let id = slot.id();
        let name = short(id);
        let span = info_span!("session", id = name);
        let _entered = span.enter();
        let (played_tx, played) = mpsc::channel(PLAYED_QUEUE);
        let setup =
            Setup { name: name.clone(), face: avatar.face(seed(id)), throttle: Throttle::RealTime, bitrate: shared.bitrate };
        let (player, ended) = HumanPlayer::start(setup, played_tx)?;
        let (commands, commands_rx) = mpsc::channel(COMMAND_QUEUE);
        let minds = shared.minds.clone();
        #[cfg(feature = "testing")]
        let minds = crate::testing::minds_for(avatar, minds);
        let session = Arc::new(Self {
            id,
            created: Instant::now(),
            player: Arc::new(player),
            commands,
            notices: broadcast::Sender::new(NOTICE_QUEUE),
            stop: CancellationToken::new(),
            viewers: watch::Sender::default(),
            inner: Mutex::new(Inner {
                avatar: avatar.id().to_owned(),
                voice: Voice::new(Arc::clone(&minds.voice)),
                repertoire: None,
                state: State::default(),
                lines: VecDeque::new(),
                links: HashMap::new(),
                tools: Vec::new(),
                reason: None,
            }),
        });
        shared.registry.insert(Arc::clone(&session));
        metrics::session_created();
        info!(avatar = avatar.id(), "session created");
        let conversation =
            Conversation::new(Arc::clone(&session), minds, shared.history.clone(), Arc::clone(&shared.catalogue));
        shared.tracker.spawn(conversation.run(commands_rx, played).instrument(span.clone()));
        let learned = Arc::clone(&session).learn_own(Arc::clone(shared), avatar.size());
        shared.tracker.spawn(learned.instrument(span.clone()));
        shared.tracker.spawn(Arc::clone(&session).live(ended, slot).instrument(span.clone()));
        Ok(session)
    }

    /// Says `text` literally, or answers it, after what is being said or instead of it.
    pub async fn say(&self, text: String, chat: bool, interrupt: bool) -> Result<(), Busy> {
        self.say_for(text, chat, interrupt, None).await
    }

    /// The same, in the voice of [`Session::voice_in`].
    pub async fn say_in(&self, text: String, chat: bool, interrupt: bool, voice: Arc<dyn TextToSpeech>) -> Result<(), Busy> {
        let words = if chat { Words::Chat(text) } else { Words::Echo(text) };
        self.put(words, interrupt, None, Some(voice)).await
    }

    /// Plays an answer that another machine makes, as it comes; the end of the channel is the end of the answer. Whoever sends
    /// finds the channel closed once the answer is cut.
    pub async fn relay(&self, answer: mpsc::Receiver<Spoken>, interrupt: bool) -> Result<(), Busy> {
        self.put(Words::Relayed(answer), interrupt, None, None).await
    }

    async fn say_for(&self, text: String, chat: bool, interrupt: bool, origin: Option<Origin>) -> Result<(), Busy> {
        let words = if chat { Words::Chat(text) } else { Words::Echo(text) };
        self.put(words, interrupt, origin, None).await
    }

    async fn put(
        &self,
        words: Words,
        interrupt: bool,
        origin: Option<Origin>,
        voice: Option<Arc<dyn TextToSpeech>>,
    ) -> Result<(), Busy> {
        let (accepted, answer) = oneshot::channel();
        let saying = Saying { words, interrupt, origin, voice, accepted };
        self.commands.send(Command::Say(saying)).await.map_err(|_| Busy::Ending)?;
        match answer.await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Busy::Full),
            Err(_) => Err(Busy::Ending),
        }
    }

    /// Cuts what is being said or thought, and what waits. Returns once that is done.
    pub async fn interrupt(&self) -> Result<(), Busy> {
        let (done, answer) = oneshot::channel();
        self.commands.send(Command::Interrupt { done }).await.map_err(|_| Busy::Ending)?;
        answer.await.map_err(|_| Busy::Ending)
    }

    /// Shows another avatar from the next picture on.
    pub fn show(&self, avatar: &Character) -> Result<(), Busy> {
        if !self.player.show(avatar.face(seed(self.id))) {
            return Err(Busy::Full);
        }
        avatar.id().clone_into(&mut self.lock().avatar);
        self.notify(Event::Avatar { id: avatar.id().to_owned() }, None);
        Ok(())
    }

    /// Has the avatar make a gesture, whatever else it does.
    pub fn act(&self, gesture: Gesture) -> Result<(), Busy> {
        if self.player.gesture(gesture) { Ok(()) } else { Err(Busy::Full) }
    }

    /// What a model may use from the next answer on, beside what is configured.
    pub fn set_tools(&self, tools: Vec<Arc<dyn Tool>>) {
        self.lock().tools = tools;
    }

    fn tools(&self) -> Vec<Arc<dyn Tool>> {
        self.lock().tools.clone()
    }

    /// Ends it for everybody, for the reason that the metrics will show.
    pub fn end(&self, reason: &'static str) {
        self.lock().reason.get_or_insert(reason);
        self.stop.cancel();
    }

    /// Its id, which is also the capability to use it.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// When it began.
    pub fn created(&self) -> Instant {
        self.created
    }

    /// Who is seen.
    pub fn avatar(&self) -> String {
        self.lock().avatar.clone()
    }

    /// What the avatar is doing.
    pub fn state(&self) -> State {
        self.lock().state
    }

    /// How many have a place in it.
    pub fn viewer_count(&self) -> usize {
        self.viewers.borrow().seats
    }

    /// What its events are, from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    /// The latest lines of the conversation.
    pub fn history(&self) -> Vec<Line> {
        self.lock().lines.iter().cloned().collect()
    }

    /// Sends its sound and pictures to `sink`, too. A sink is no viewer: it keeps no session alive.
    pub fn receive(&self, sink: Arc<dyn MediaSink>) {
        self.player.add_sink(sink);
    }

    /// Tells everybody.
    pub fn tell(&self, event: Event) {
        self.notify(event, None);
    }

    /// Whether it is ending.
    pub fn is_over(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Waits for its end.
    pub async fn over(&self) {
        self.stop.cancelled().await;
    }

    fn notify(&self, event: Event, origin: Option<Origin>) {
        // No subscriber is no error: a session may have no viewer for a moment.
        let _ = self.notices.send(Notice::Event(event, origin));
    }

    fn notify_written(&self, text: String, origin: Origin) {
        let _ = self.notices.send(Notice::Written(text, origin));
    }

    fn set_state(&self, state: State, origin: Option<Origin>) {
        let before = std::mem::replace(&mut self.lock().state, state);
        if before != state || origin.is_some() {
            self.notify(Event::State { state }, origin);
        }
    }

    fn remember(&self, role: Role, text: &str) {
        if text.is_empty() {
            return;
        }
        let mut inner = self.lock();
        if inner.lines.len() == KEPT_LINES {
            inner.lines.pop_front();
        }
        inner.lines.push_back(Line { role, text: text.to_owned() });
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the end, whatever brings it, and takes everything down.
    async fn live(self: Arc<Self>, ended: impl Future<Output = Ended>, slot: Slot) {
        tokio::pin!(ended);
        let mut viewers = self.viewers.subscribe();
        let over = tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            over = &mut ended => Some(over),
            () = audience::deserted(&mut viewers, LINGER) => {
                self.lock().reason.get_or_insert("client");
                None
            }
        };
        let reason = self.lock().reason;
        let reason = match &over {
            Some(Ended::Panicked) => {
                metrics::render_panic();
                "internal"
            }
            Some(Ended::Encoder(error)) => {
                warn!(%error, "the encoder failed");
                "internal"
            }
            Some(Ended::Finished) | None => reason.unwrap_or("ended"),
        };
        if reason == "internal" {
            self.notify(Event::error("internal", "the session failed on the server: start a new one"), None);
        }
        self.stop.cancel();
        if self.viewer_count() > 0 {
            self.notify(Event::Bye { reason }, None);
            tokio::time::sleep(BYE).await;
        }
        self.player.stop();
        let viewers: Vec<Uuid> = self.lock().links.keys().copied().collect();
        for viewer in viewers {
            self.leave(viewer);
        }
        if over.is_none() {
            ended.await;
        }
        drop(slot);
        metrics::session_closed(reason);
        info!(reason, seconds = self.created.elapsed().as_secs(), "session closed");
    }
}

/// What of an id may appear in logs and thread names: the whole is a capability.
fn short(id: Uuid) -> String {
    id.simple().to_string()[..8].to_owned()
}

/// Each session's idle life is its own.
fn seed(id: Uuid) -> u64 {
    id.as_u64_pair().0
}

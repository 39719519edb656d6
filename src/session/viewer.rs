//! One viewer of a session: its peer connection, its data channels, its leaving.
//!
//! In: the peer's events and the session's notices. Out: requests to the session, messages to the viewer. One task each.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio::task::JoinHandle;
use tracing::{Instrument, info, info_span};
use uuid::Uuid;

use super::chat::Chat;
use super::ear::{Ear, Ears, Mic};
use super::event::{As, Event, PROTOCOL_VERSION, Request};
use super::recording::{Coming, RecordingError};
use super::{Busy, Notice, Session, Shared, check_text, short};
use crate::media::AudioFrame;
use crate::render::{Catalogue, Gesture};
use crate::rtc::{self, Fragment, Offer, Peer};
use crate::tts::Manner;

/// Viewers of one session: each is sent every packet.
const MAX_VIEWERS: usize = 32;
/// Events of a peer that may wait for its task; the peer's channels wait when it is full.
const PEER_EVENTS: usize = 32;
/// Lines of conversation in the greeting, at most.
const HELLO_LINES: usize = 20;
/// Bytes of the greeting: a quarter of what a data channel carries in one message (RFC 8841 §6.1's default, 64 KiB).
/// Older lines give way.
const HELLO_BYTES: usize = 16 << 10;

/// Our channel (design §7).
const VISAVIS: &str = "visavis";
/// Seed 001's channel.
const CHAT: &str = "chat";

/// A viewer that has been answered.
pub struct Joined {
    /// To be told when it leaves.
    pub viewer: Uuid,
    /// The answer to its offer.
    pub sdp: String,
    /// What else can be done with it.
    pub link: Link,
}

/// How a viewer joins that a gateway brings.
#[derive(Default)]
pub struct Terms {
    /// What its peer may do.
    pub limits: rtc::Limits,
    /// Who is told what its peer tells; the channels are then all the gateway's, but for `visavis`.
    pub events: Option<mpsc::Sender<rtc::Event>>,
}

/// What others than its own task may do with a viewer.
#[derive(Clone)]
pub struct Link {
    peer: Arc<Peer>,
    mic: watch::Sender<Mic>,
    over: Arc<Notify>,
}

impl Link {
    /// Sends `text` on the data channel `label`, if it is there and is read.
    pub async fn send(&self, label: &str, text: &str) {
        self.peer.send(label, text).await;
    }

    /// Checks one more address of the viewer's. False once there are too many.
    pub async fn add_candidate(&self, candidate: &str) -> bool {
        self.peer.add_candidate(candidate).await
    }

    /// Takes another path to the viewer, as `fragment` wants it. What the viewer is to be told.
    pub async fn restart_by(&self, fragment: &Fragment, asked: Option<SocketAddr>) -> Result<Fragment, JoinError> {
        Ok(self.peer.restart_by(fragment, asked).await?)
    }

    /// Whether `fragment` wants another path, and is not about the present one.
    pub async fn is_restarted_by(&self, fragment: &Fragment) -> bool {
        self.peer.is_restarted_by(fragment).await
    }

    /// What names the present path: another one after each restart.
    pub async fn path_name(&self) -> String {
        self.peer.path_name().await
    }

    /// The next 20 ms of a microphone that does not come by RTP. Dropped and counted if the ears are behind.
    pub fn hear(&self, frame: &AudioFrame) {
        self.peer.hear(frame);
    }

    /// What the microphone is doing.
    pub fn listen(&self, mic: Mic) {
        self.mic.send_replace(mic);
    }

    /// All has been said: what is under way is an utterance now, and the microphone stays open.
    pub fn finish(&self) {
        self.over.notify_one();
    }
}

/// Why a viewer cannot join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// It has 32 already.
    #[error("this session has as many viewers as it can take")]
    Full,
    /// The offer could not be answered.
    #[error(transparent)]
    Rtc(#[from] rtc::Error),
}

impl Session {
    /// Adds a viewer. `asked` is the address that its request went to.
    pub async fn join(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        catalogue: &Arc<Catalogue>,
        offer: Offer,
        asked: Option<SocketAddr>,
        terms: Terms,
    ) -> Result<Joined, JoinError> {
        let seat = Seat::take(self)?;
        let (events_tx, events) = mpsc::channel(PEER_EVENTS);
        let (frames_tx, frames) = mpsc::channel(rtc::MICROPHONE_QUEUE);
        let (peer, sdp) = Peer::answer(&shared.rtc, offer, asked, terms.limits, events_tx, frames_tx).await?;
        let id = Uuid::new_v4();
        let peer = Arc::new(peer);
        let (mic, over) = (watch::Sender::default(), Arc::new(Notify::new()));
        let link = Link { peer: Arc::clone(&peer), mic: mic.clone(), over: Arc::clone(&over) };
        self.lock().links.insert(id, link.clone());
        let span = info_span!("viewer", session = short(self.id), id = short(id));
        if let Some(ears) = shared.ears.clone() {
            let ear = Ear::new(Arc::clone(self), ears);
            shared.tracker.spawn(ear.listen(frames, mic.subscribe(), over).instrument(span.clone()));
        }
        let viewer = Viewer {
            id,
            mic,
            session: Arc::clone(self),
            catalogue: Arc::clone(catalogue),
            peer,
            ears: shared.ears.clone(),
            coming: None,
            heard: None,
            chat: None,
            gateway: terms.events,
            seat,
        };
        shared.tracker.spawn(viewer.watch(events).instrument(span));
        Ok(Joined { viewer: id, sdp, link })
    }

    /// The same viewer on another path, if `offer` is another of a viewer that is here.
    pub async fn rejoin(&self, offer: &Offer, asked: Option<SocketAddr>) -> Option<Result<Joined, JoinError>> {
        let (viewer, link) =
            self.lock().links.iter().find(|(_, link)| link.peer.is_of(offer)).map(|(id, link)| (*id, link.clone()))?;
        let answered = link.peer.restart(offer.clone(), asked).await;
        Some(answered.map(|sdp| Joined { viewer, sdp, link }).map_err(JoinError::from))
    }

    /// What can be done with a viewer, while it is here.
    pub fn link(&self, viewer: Uuid) -> Option<Link> {
        self.lock().links.get(&viewer).cloned()
    }

    /// A viewer says good-bye. False if it is not here.
    pub fn leave(&self, viewer: Uuid) -> bool {
        let link = self.lock().links.remove(&viewer);
        link.inspect(|link| link.peer.close()).is_some()
    }
}

/// A viewer's place, counted while it is held.
pub(super) struct Seat {
    session: Arc<Session>,
    away: bool,
}

impl Seat {
    pub(super) fn take(session: &Arc<Session>) -> Result<Self, JoinError> {
        let taken = session.viewers.send_if_modified(|viewers| {
            let free = viewers.seats < MAX_VIEWERS;
            viewers.seats += usize::from(free);
            free
        });
        if taken { Ok(Self { session: Arc::clone(session), away: false }) } else { Err(JoinError::Full) }
    }

    /// Whether its viewer is not heard of.
    fn set_away(&mut self, away: bool) {
        if std::mem::replace(&mut self.away, away) != away {
            self.session.viewers.send_modify(|viewers| if away { viewers.away += 1 } else { viewers.away -= 1 });
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.session.viewers.send_modify(|viewers| {
            viewers.seats -= 1;
            viewers.away -= usize::from(self.away);
        });
    }
}

struct Viewer {
    id: Uuid,
    session: Arc<Session>,
    catalogue: Arc<Catalogue>,
    peer: Arc<Peer>,
    mic: watch::Sender<Mic>,
    /// For recordings.
    ears: Option<Ears>,
    /// The recording that is arriving.
    coming: Option<Coming>,
    /// The one that is being decoded or heard.
    heard: Option<JoinHandle<()>>,
    /// Seed 001's channel, once it is open.
    chat: Option<Chat>,
    /// Who brought it.
    gateway: Option<mpsc::Sender<rtc::Event>>,
    seat: Seat,
}

impl Viewer {
    async fn watch(mut self, mut events: mpsc::Receiver<rtc::Event>) {
        let mut notices = self.session.subscribe();
        loop {
            tokio::select! {
                biased;
                event = events.recv() => match event {
                    None => break,
                    Some(rtc::Event::Closed(closed)) => {
                        info!(?closed, "viewer gone");
                        if closed == rtc::Closed::Left {
                            // Its good-bye was heard just now: it may be loading the page again.
                            self.seat.set_away(false);
                        }
                        self.pass_on(&rtc::Event::Closed(closed)).await;
                        break;
                    }
                    Some(event) => self.peer_event(event).await,
                },
                notice = notices.recv() => match notice {
                    Ok(notice) => self.notice(notice).await,
                    // It missed some: what it shows may be stale, so it is told the state again.
                    Err(broadcast::error::RecvError::Lagged(_)) => {
                        self.tell(&Event::State { state: self.session.state() }).await;
                    }
                    Err(broadcast::error::RecvError::Closed) => break,
                },
            }
        }
        self.session.leave(self.id);
        // Seed 001's page knows nothing of sessions: it never comes back to one, so nobody speaks on for it.
        if self.chat.is_some() && self.session.viewer_count() == 1 {
            self.session.end("client");
        }
    }

    /// Tells the gateway. True if the event is its own.
    async fn pass_on(&self, event: &rtc::Event) -> bool {
        let Some(gateway) = &self.gateway else { return false };
        let label = match event {
            rtc::Event::ChannelOpen(label)
            | rtc::Event::Message { label, .. }
            | rtc::Event::Binary { label, .. }
            | rtc::Event::BadMessage { label, .. } => Some(label),
            rtc::Event::Connected | rtc::Event::Away(_) | rtc::Event::Closed(_) => None,
        };
        if label.is_some_and(|label| label == VISAVIS) {
            return false;
        }
        // A gateway that has left has closed the peer, too.
        let _ = gateway.send(event.clone()).await;
        label.is_some()
    }

    async fn peer_event(&mut self, event: rtc::Event) {
        if self.pass_on(&event).await {
            return;
        }
        match event {
            rtc::Event::Connected => {
                info!("viewer connected");
                self.session.player.add_sink(self.peer.sink());
            }
            rtc::Event::Away(away) => {
                info!(away, "viewer's network");
                self.seat.set_away(away);
            }
            rtc::Event::ChannelOpen(label) if label == VISAVIS => self.tell(&self.hello()).await,
            rtc::Event::Message { label, text } if label == VISAVIS => {
                if let Err(event) = self.request(&text).await {
                    self.tell(&event).await;
                }
            }
            rtc::Event::Binary { label, bytes } if label == VISAVIS => self.piece(&bytes).await,
            rtc::Event::Binary { label, .. } if label == CHAT => self.refuse("messages are text, not binary").await,
            rtc::Event::ChannelOpen(label) if label == CHAT => self.chat = Some(Chat::new(self.id)),
            rtc::Event::Message { label, text } if label == CHAT => self.ask(&text).await,
            rtc::Event::BadMessage { label, code } => {
                let message = match code {
                    "rate_limited" => "too many messages: at most 20 a second",
                    "message_too_large" => "the message is longer than 16 KiB",
                    _ => "the message is not UTF-8",
                };
                if label == VISAVIS {
                    self.tell(&Event::error(code, message)).await;
                } else {
                    self.refuse(message).await;
                }
            }
            _ => {}
        }
    }

    fn hello(&self) -> Event {
        let all = self.session.history();
        let mut history = all[all.len().saturating_sub(HELLO_LINES)..].to_vec();
        loop {
            let hello = Event::Hello {
                version: PROTOCOL_VERSION,
                session: self.session.id().to_string(),
                viewer: self.id.to_string(),
                avatar: self.session.avatar(),
                voice: self.session.voice(),
                state: self.session.state(),
                history: history.clone(),
            };
            if history.is_empty() || hello.to_json().len() <= HELLO_BYTES {
                return hello;
            }
            history.remove(0);
        }
    }

    async fn request(&mut self, text: &str) -> Result<(), Event> {
        let request: Request = serde_json::from_str(text).map_err(|_| {
            Event::error(
                "bad_message",
                "not a message of this channel: {\"type\":\"chat\"|\"echo\"|\"interrupt\"|\"mic\"|\"avatar\"|\"voice\"|\"action\"|\"audio\",…}",
            )
        })?;
        let busy = |busy: Busy| Event::error("busy", busy.to_string());
        match request {
            Request::Chat { text, interrupt } => self.say(&text, true, interrupt).await,
            Request::Echo { text, interrupt } => self.say(&text, false, interrupt).await,
            Request::Mic { on, hold } => {
                self.mic.send_replace(Mic { on, hold });
                Ok(())
            }
            Request::Interrupt => self.session.interrupt().await.map_err(busy),
            Request::Avatar { id } => {
                let avatar = self.catalogue.get(&id).map_err(|e| Event::error(e.code(), e.to_string()))?;
                self.session.show(&avatar).map_err(busy)
            }
            Request::Voice { id } => {
                let unknown = |_| Event::error("unknown_voice", "there is no voice of that id: GET /v1/voices lists them");
                self.session.speak_in(Manner::of(id)).await.map_err(unknown)
            }
            Request::Action { name } => {
                let gesture = Gesture::named(&name)
                    .ok_or_else(|| Event::error("unknown_action", "the avatars have no gesture of that name"))?;
                self.session.act(gesture).map_err(busy)
            }
            Request::Audio { bytes, r#as, interrupt } => {
                self.coming = None;
                if self.heard.as_ref().is_some_and(|task| !task.is_finished()) {
                    return Err(not_recorded(RecordingError::Another));
                }
                let interrupt = interrupt.unwrap_or(r#as == As::Question);
                self.coming = Some(Coming::new(bytes, r#as, interrupt).map_err(not_recorded)?);
                Ok(())
            }
        }
    }

    /// The next piece of a recording.
    async fn piece(&mut self, piece: &[u8]) {
        let Some(coming) = &mut self.coming else {
            let msg = "no recording was announced: {\"type\":\"audio\",\"bytes\":…} comes first";
            return self.tell(&Event::error("binary_message", msg)).await;
        };
        if !coming.push(piece) {
            return;
        }
        let Some(came) = self.coming.take() else { return };
        let (session, peer, ears) = (Arc::clone(&self.session), Arc::clone(&self.peer), self.ears.clone());
        // The viewer's task does not wait for ears.
        self.heard = Some(tokio::spawn(async move {
            if let Err(error) = take(&session, ears.as_ref(), came).await {
                peer.send(VISAVIS, &not_recorded(error).to_json()).await;
            }
        }));
    }

    async fn say(&self, text: &str, chat: bool, interrupt: bool) -> Result<(), Event> {
        let text = check_text(text).map_err(|e| Event::error(e.code(), e.to_string()))?;
        self.session.say(text, chat, interrupt).await.map_err(|e| Event::error("busy", e.to_string()))
    }

    /// Seed 001: plain text up, one answer each, in order.
    async fn ask(&mut self, text: &str) {
        let Some(chat) = &mut self.chat else { return };
        let said = match check_text(text) {
            // The original ignores blank messages.
            Err(super::TextError::Empty) => return,
            Err(error) => {
                chat.ask();
                Err(error.to_string())
            }
            Ok(text) => self.session.say_for(text, true, false, Some(chat.ask())).await.map_err(|e| e.to_string()),
        };
        if let Err(error) = said {
            let told = chat.refused(&error);
            self.tell_chat(&told).await;
        }
    }

    /// Seed 001: what came is no utterance that can be answered.
    async fn refuse(&mut self, why: &str) {
        if let Some(chat) = &mut self.chat {
            chat.ask();
            let told = chat.refused(why);
            self.tell_chat(&told).await;
        }
    }

    async fn notice(&mut self, notice: Notice) {
        if let Notice::Event(event, _) = &notice {
            self.tell(event).await;
        }
        if let Some(chat) = &mut self.chat {
            let told = chat.notice(&notice);
            self.tell_chat(&told).await;
        }
    }

    async fn tell(&self, event: &Event) {
        self.peer.send(VISAVIS, &event.to_json()).await;
    }

    async fn tell_chat(&self, messages: &[serde_json::Value]) {
        for message in messages {
            self.peer.send(CHAT, &message.to_string()).await;
        }
    }
}

async fn take(session: &Session, ears: Option<&Ears>, came: Coming) -> Result<(), RecordingError> {
    let (r#as, interrupt) = (came.r#as, came.interrupt);
    let file: Bytes = came.file();
    match r#as {
        As::Speech => session.play(file, interrupt).await,
        As::Question => session.ask(ears, file, interrupt).await.map(|_| ()),
    }
}

fn not_recorded(error: RecordingError) -> Event {
    Event::error(error.code(), error.to_string())
}

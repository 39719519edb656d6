//! One signalling socket: messages in, messages out, at most one call at a time.
//!
//! One task a socket; offers are answered beside it, so that a ping never waits for one.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use poem::web::websocket::{CloseCode, Message, WebSocketStream};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval_at, sleep_until, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info};

use super::call::{Call, NoCall};
use super::limits::Manners;
use super::message::{self, Incoming};
use super::{Caller, MESSAGE_BYTES, Signalling};
use crate::metrics;
use crate::places::Place;
use crate::rtc::Offer;
use crate::session::Session;
use crate::xiaozhi::token;

/// Messages of a session that wait for the socket. Full: the message is lost and counted.
const OUTBOX_QUEUE: usize = 64;
/// Candidates that may come before the answer to their offer (L9).
const EARLY_CANDIDATES: usize = 64;
/// We ask whether it is there, and how long nothing may come (L9).
const PING: Duration = Duration::from_secs(20);
const IDLE: Duration = Duration::from_mins(1);
/// A client that takes nothing for this long is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// A client has this long to read why it is sent away.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// An offer that can be answered.
struct Asked {
    offer: Offer,
    /// Whose it is said to be.
    device: Option<String>,
}

/// What is left to do on a socket.
enum Next {
    GoOn,
    Close(CloseCode, &'static str),
}

pub(super) struct Socket {
    hub: Arc<Signalling>,
    caller: Arc<Caller>,
    stream: WebSocketStream,
    manners: Manners,
    outbox: mpsc::Sender<Value>,
    /// The offer that is being answered.
    answering: Option<AbortOnDropHandle<Result<(Call, String), NoCall>>>,
    /// What is to be answered after it, in its place.
    waiting: Option<Asked>,
    /// The one that is being answered is not wanted any more.
    unwanted: bool,
    call: Option<Call>,
    /// The session of the call before, for the next one.
    session: Option<Arc<Session>>,
    /// Candidates that came before their answer.
    early: Vec<String>,
    _place: Place,
}

impl Socket {
    /// Speaks until the client leaves or must.
    pub(super) async fn run(hub: Arc<Signalling>, caller: Caller, stream: WebSocketStream, place: Place) {
        let (outbox, mut outgoing) = mpsc::channel(OUTBOX_QUEUE);
        let mut socket = Self {
            hub,
            caller: Arc::new(caller),
            stream,
            manners: Manners::new(),
            outbox,
            answering: None,
            waiting: None,
            unwanted: false,
            call: None,
            session: None,
            early: Vec::new(),
            _place: place,
        };
        info!("signalling socket open");
        let left = socket.speak(&mut outgoing).await;
        if let Some((code, why)) = left {
            debug!(why, "signalling socket closed by us");
            let _ = timeout(CLOSE_TIMEOUT, socket.close(code, why)).await;
        }
        // An answer in the making is awaited beside, so that its session is not left behind.
        if let Some(answering) = socket.answering.take() {
            tokio::spawn(async move {
                if let Ok(Ok((call, _))) = answering.await {
                    call.forsake();
                }
            });
        }
        if let Some(call) = &socket.call {
            call.forsake();
        }
        info!("signalling socket gone");
    }

    /// What it still sends is read, or the kernel would drop the connection and our last words with it.
    async fn close(&mut self, code: CloseCode, why: &str) {
        if self.stream.send(Message::Close(Some((code, why.to_owned())))).await.is_ok() {
            while let Some(Ok(_)) = self.stream.next().await {}
        }
    }

    /// Why we close it; `None`: it is gone.
    async fn speak(&mut self, outgoing: &mut mpsc::Receiver<Value>) -> Option<(CloseCode, &'static str)> {
        let server_info = json!({"container_ip": self.caller.host, "timestamp": token::now().as_secs()});
        let hello = json!({
            "type": "connected",
            "client_id": self.caller.client_id,
            "session_id": self.caller.session_id,
            "server_info": server_info,
        });
        self.send(&hello).await?;
        let mut ping = interval_at(Instant::now() + PING, PING);
        let mut heard = Instant::now();
        loop {
            let next = tokio::select! {
                biased;
                message = self.stream.next() => {
                    heard = Instant::now();
                    match message {
                        Some(Ok(Message::Text(text))) => self.text(&text).await?,
                        // The original passes binary messages over.
                        Some(Ok(Message::Binary(_))) => self.count(),
                        Some(Ok(Message::Close(_))) | None => return None,
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => Next::GoOn,
                        Some(Err(_)) => Next::Close(CloseCode::Protocol, "malformed, or far too large"),
                    }
                }
                answered = answered(&mut self.answering) => {
                    self.answering = None;
                    self.answered(answered).await?;
                    Next::GoOn
                }
                Some(message) = outgoing.recv() => {
                    self.send(&message).await?;
                    Next::GoOn
                }
                _ = ping.tick() => {
                    self.pass(Message::Ping(Vec::new())).await?;
                    Next::GoOn
                }
                () = sleep_until(heard + IDLE) => return None,
            };
            if let Next::Close(code, why) = next {
                return Some((code, why));
            }
        }
    }

    fn count(&mut self) -> Next {
        self.manners.message();
        self.verdict()
    }

    fn verdict(&self) -> Next {
        if self.manners.are_over() { Next::Close(CloseCode::Policy, "too many messages") } else { Next::GoOn }
    }

    async fn text(&mut self, text: &str) -> Option<Next> {
        if text.len() > MESSAGE_BYTES {
            metrics::rejected("L9");
            return Some(Next::Close(CloseCode::Size, "message too large"));
        }
        if !self.manners.message() {
            self.send(&message::error("消息过于频繁")).await?;
            return Some(self.verdict());
        }
        match message::parse(text) {
            Ok(Incoming::Ping { timestamp }) => {
                let timestamp = timestamp.unwrap_or_else(|| token::now().as_secs().into());
                self.send(&json!({"type": "pong", "timestamp": timestamp})).await?;
            }
            Ok(Incoming::Offer { sdp, device }) => self.offer(&sdp, device).await?,
            Ok(Incoming::Candidate(candidate)) => self.candidate(candidate).await,
            Ok(Incoming::LastCandidate) => {}
            Ok(Incoming::Close) => {
                self.hang_up();
                self.send(&json!({"type": "closed"})).await?;
            }
            Ok(Incoming::Answer) => {
                self.manners.bad();
                self.send(&message::error("服务器不发起重新协商，无需 answer")).await?;
            }
            Err(unusable) => {
                self.manners.bad();
                self.send(&message::error(&unusable)).await?;
            }
        }
        Some(self.verdict())
    }

    /// A new offer takes the place of the call before it; one that cannot be read leaves it alone.
    async fn offer(&mut self, sdp: &str, device: Option<String>) -> Option<()> {
        let offer = match Offer::parse_voice(sdp) {
            Ok(_) if !self.hub.limits.offer(self.caller.address) => Err(NoCall::TooMany),
            parsed => parsed.map_err(NoCall::from),
        };
        match offer {
            Err(error) => {
                metrics::offer(error.code(), Duration::ZERO);
                self.manners.bad();
                self.send(&message::error(&error)).await
            }
            Ok(offer) => {
                self.hang_up();
                let asked = Asked { offer, device: self.caller.device.clone().or(device) };
                if self.answering.is_some() {
                    self.waiting = Some(asked);
                } else {
                    self.begin(asked);
                }
                Some(())
            }
        }
    }

    fn begin(&mut self, Asked { offer, device }: Asked) {
        self.unwanted = false;
        let (hub, caller, outbox) = (Arc::clone(&self.hub), Arc::clone(&self.caller), self.outbox.clone());
        let kept = self.session.take();
        let answering = async move { Call::answer(&hub, &caller, offer, device, kept, outbox).await };
        self.answering = Some(AbortOnDropHandle::new(tokio::spawn(answering)));
    }

    async fn answered(&mut self, answered: Result<(Call, String), NoCall>) -> Option<()> {
        let (call, sdp) = match answered {
            Ok(answered) => answered,
            Err(error) => {
                self.early.clear();
                self.send(&message::error(&error)).await?;
                if let Some(asked) = self.waiting.take() {
                    self.begin(asked);
                }
                return Some(());
            }
        };
        if self.unwanted || self.waiting.is_some() {
            call.hang_up();
            self.session = Some(call.session);
            if let Some(asked) = self.waiting.take() {
                self.begin(asked);
            }
            return Some(());
        }
        for candidate in std::mem::take(&mut self.early) {
            self.check(&call, &candidate).await;
        }
        self.call = Some(call);
        let client_id = self.caller.client_id.clone();
        let hello = json!({"client_id": client_id, "timestamp": token::now().as_secs()});
        self.send(&json!({"type": "connected", "payload": hello})).await?;
        self.send(&message::answer(&client_id, &sdp)).await?;
        for candidate in message::candidates(&sdp) {
            self.send(&candidate).await?;
        }
        Some(())
    }

    async fn candidate(&mut self, candidate: String) {
        if let Some(call) = self.call.take() {
            self.check(&call, &candidate).await;
            self.call = Some(call);
        } else if self.early.len() < EARLY_CANDIDATES {
            self.early.push(candidate);
        } else {
            self.manners.strike();
        }
    }

    async fn check(&mut self, call: &Call, candidate: &str) {
        if !call.link.add_candidate(candidate).await {
            self.manners.strike();
        }
    }

    /// Ends the call, or the one that is about to be. Its session is kept for the next.
    fn hang_up(&mut self) {
        if self.answering.is_some() || self.call.is_some() {
            self.early.clear();
        }
        self.waiting = None;
        self.unwanted = self.answering.is_some();
        if let Some(call) = self.call.take() {
            call.hang_up();
            self.session = Some(call.session);
        }
    }

    async fn send(&mut self, message: &Value) -> Option<()> {
        self.pass(Message::Text(message.to_string())).await
    }

    /// `None` if the client is gone, or takes nothing.
    async fn pass(&mut self, message: Message) -> Option<()> {
        timeout(SEND_TIMEOUT, self.stream.send(message)).await.ok()?.ok()
    }
}

/// The answer that is being made; for ever if there is none.
async fn answered(
    answering: &mut Option<AbortOnDropHandle<Result<(Call, String), NoCall>>>,
) -> Result<(Call, String), NoCall> {
    match answering {
        Some(answering) => answering.await.unwrap_or(Err(NoCall::Internal)),
        None => std::future::pending().await,
    }
}

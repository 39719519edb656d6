//! One WebRTC connection that the signalling has made: what it sends, and what it is told.
//!
//! In: an offer; the peer's events and the session's. Out: the answer; utterances to the ears, xiaozhi's JSON to the
//! signalling socket and the data channel. A task each while it lasts.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{broadcast, mpsc};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, error, warn};
use uuid::Uuid;

use super::control::{Control, Recorder};
use super::{Caller, Signalling, message};
use crate::metrics;
use crate::rtc::{self, Closed, Limits, Offer};
use crate::session::{Event, JoinError, Link, NoGuest, Notice, Session, Shared, Terms};
use crate::xiaozhi::Devices;
use crate::xiaozhi::devices::Attached;
use crate::xiaozhi::messages::Messages;

/// Events of a peer that may wait for its call; the viewer's task waits.
const CALL_EVENTS: usize = 32;
/// The older clients send sound in pieces of 20 ms, 50 a second, and now and then two at once.
const MESSAGES_PER_SECOND: u32 = 60;
/// 60 ms at 48 kHz are 5760 bytes, and as JSON numbers four times as many.
const MESSAGE_BYTES: usize = 64 << 10;
/// Recorded sound that stops coming has ended, also without a command.
const RECORDING_ENDS: Duration = Duration::from_secs(1);

/// A connection that was answered. Dropping it changes nothing: [`Call::hang_up`].
pub(super) struct Call {
    pub(super) session: Arc<Session>,
    pub(super) link: Link,
    viewer: Uuid,
    /// The session was made for this client.
    own: bool,
}

/// Why there is no call, as the client is told.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoCall {
    #[error("无效的 SDP: {0}")]
    Offer(#[from] rtc::OfferError),
    #[error("无效的 SDP")]
    Stack,
    #[error("请求过于频繁，请稍后再试")]
    TooMany,
    #[error("服务器繁忙，请稍后再试")]
    Busy,
    #[error("会话数已达上限，请稍后再试")]
    Full,
    #[error("服务器内部错误")]
    Internal,
}

impl NoCall {
    /// As `/metrics` counts it.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Offer(_) | Self::Stack => "bad_sdp",
            Self::TooMany => "rate_limited",
            Self::Busy => "busy",
            Self::Full => "server_full",
            Self::Internal => "internal",
        }
    }
}

impl Call {
    /// Answers `offer`: in the session of the device that it names, in `kept`, or in a new one.
    pub(super) async fn answer(
        hub: &Arc<Signalling>,
        caller: &Caller,
        offer: Offer,
        device: Option<String>,
        kept: Option<Arc<Session>>,
        outbox: mpsc::Sender<Value>,
    ) -> Result<(Self, String), NoCall> {
        let began = Instant::now();
        let answered = Self::negotiate(hub, caller, offer, device, kept, outbox).await;
        metrics::offer(answered.as_ref().map_or_else(NoCall::code, |_| "ok"), began.elapsed());
        answered
    }

    async fn negotiate(
        hub: &Arc<Signalling>,
        caller: &Caller,
        offer: Offer,
        device: Option<String>,
        kept: Option<Arc<Session>>,
        outbox: mpsc::Sender<Value>,
    ) -> Result<(Self, String), NoCall> {
        let _place = hub.waiting.try_acquire().map_err(|_| {
            metrics::rejected("L2");
            NoCall::Busy
        })?;
        let _negotiating = hub.negotiating.acquire().await.map_err(|_| NoCall::Busy)?;
        let shared = &hub.gateway.shared;
        // A session is not for everybody who knows the name of a device.
        let device = device.filter(|device| hub.gateway.admits(device, &caller.client_id, &caller.token));
        let lives = |session: &Arc<Session>| shared.registry.get(session.id()).is_some();
        let found = device.as_deref().and_then(|device| hub.gateway.devices.find(device));
        let (session, own) = match found.filter(lives) {
            Some(session) => (session, false),
            None => (kept.filter(lives).map_or_else(|| start(shared), Ok)?, true),
        };
        let (events_tx, events) = mpsc::channel(CALL_EVENTS);
        let limits = Limits {
            connect: hub.gateway.config.webrtc.connection_timeout,
            messages_per_second: MESSAGES_PER_SECOND,
            message_bytes: MESSAGE_BYTES,
        };
        let notices = session.subscribe();
        let terms = Terms { limits, events: Some(events_tx) };
        let joined = session.join(shared, &shared.catalogue, offer, caller.asked, terms).await;
        let joined = joined.map_err(|error| {
            if own && session.viewer_count() == 0 {
                session.end("bad_sdp");
            }
            match error {
                JoinError::Full => NoCall::Full,
                JoinError::Rtc(error) => {
                    let error: String = error.to_string().chars().take(120).collect();
                    warn!(error, "offer not answered");
                    NoCall::Stack
                }
            }
        })?;
        let line = Line {
            devices: Arc::clone(&hub.gateway.devices),
            session: Arc::clone(&session),
            viewer: joined.viewer,
            link: joined.link.clone(),
            device,
            messages: Messages::new(caller.session_id.clone()),
            outbox,
            labels: Vec::new(),
            recorder: Recorder::default(),
            recording_ends: None,
            attached: None,
        };
        shared.tracker.spawn(line.run(events, notices));
        Ok((Self { session, link: joined.link, viewer: joined.viewer, own }, joined.sdp))
    }

    /// Ends the connection. The session stays for a moment, for the next offer.
    pub(super) fn hang_up(&self) {
        self.session.leave(self.viewer);
    }

    /// The client has gone, and with it whoever could come back to a session of its own.
    pub(super) fn forsake(&self) {
        let alone = self.session.viewer_count() <= 1;
        self.hang_up();
        if self.own && alone {
            self.session.end("client");
        }
    }
}

/// A session with the default avatar.
fn start(shared: &Arc<Shared>) -> Result<Arc<Session>, NoCall> {
    Session::open(shared, "").map_err(|error| match error {
        NoGuest::Slot(_) => NoCall::Full,
        error => {
            error!(%error, "no session for a client");
            NoCall::Internal
        }
    })
}

/// What flows beside a call's media.
struct Line {
    devices: Arc<Devices>,
    session: Arc<Session>,
    viewer: Uuid,
    link: Link,
    /// Whose connection it is, if it may be one's.
    device: Option<String>,
    messages: Messages,
    outbox: mpsc::Sender<Value>,
    /// Its open data channels.
    labels: Vec<String>,
    recorder: Recorder,
    recording_ends: Option<Instant>,
    /// While media can flow.
    attached: Option<Attached>,
}

impl Line {
    async fn run(mut self, mut events: mpsc::Receiver<rtc::Event>, mut notices: broadcast::Receiver<Notice>) {
        loop {
            let ends = self.recording_ends;
            tokio::select! {
                biased;
                event = events.recv() => match event {
                    Some(rtc::Event::Closed(closed)) => return self.closed(closed),
                    Some(event) => self.event(event).await,
                    None => return,
                },
                () = sleep_until(ends.unwrap_or_else(Instant::now)), if ends.is_some() => self.finish(),
                notice = notices.recv() => match notice {
                    Ok(Notice::Event(event, _)) => self.notice(&event).await,
                    Ok(Notice::Written(..)) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return,
                },
            }
        }
    }

    fn closed(&self, closed: Closed) {
        let why = match closed {
            Closed::Timeout => "WebRTC 连接超时",
            Closed::Lost => "WebRTC 连接已断开",
            Closed::Left | Closed::Ended => return,
        };
        let _ = self.outbox.try_send(message::error(why));
    }

    async fn event(&mut self, event: rtc::Event) {
        match event {
            rtc::Event::Connected => {
                let device = self.device.as_deref();
                self.attached = device.and_then(|device| self.devices.attach(device, &self.session, self.viewer));
            }
            rtc::Event::ChannelOpen(label) => self.labels.push(label),
            rtc::Event::Message { text, .. } => match self.recorder.message(&text) {
                Control::Stop => self.finish(),
                Control::Sound(frames) => {
                    self.recording_ends = Some(Instant::now() + RECORDING_ENDS);
                    frames.iter().for_each(|frame| self.link.hear(frame));
                }
                Control::Other => debug!("a message that means nothing to us"),
            },
            rtc::Event::BadMessage { label, code } => {
                let why = if code == "rate_limited" { "消息过于频繁" } else { "消息过长或不是 UTF-8" };
                self.link.send(&label, &message::error(why).to_string()).await;
            }
            rtc::Event::Binary { .. } | rtc::Event::Away(_) | rtc::Event::Closed(_) => {}
        }
    }

    /// What has been said is all.
    fn finish(&mut self) {
        self.recording_ends = None;
        self.link.finish();
    }

    async fn notice(&mut self, event: &Event) {
        let mut messages = self.messages.event(event);
        match event {
            Event::Error { msg, .. } => messages.push(message::error(msg)),
            Event::Bye { .. } => messages.push(json!({"type": "closed"})),
            _ => {}
        }
        // Where the device's main socket lives, it is told there.
        let session = self.session.id();
        if self.device.as_deref().is_some_and(|device| self.devices.has_socket(device, session)) {
            return;
        }
        for message in messages {
            for label in &self.labels {
                self.link.send(label, &message.to_string()).await;
            }
            if self.outbox.try_send(message).is_err() && !self.outbox.is_closed() {
                metrics::frame_dropped("message", "slow_viewer");
            }
        }
    }
}

//! One device's socket, `/xiaozhi/v1/`: its microphone and buttons in, our voice, words and faces out.
//!
//! In: its messages, and what happens in its session. Out: JSON and Opus. One task a device. The session is its own, unless
//! its WebRTC connection has brought one.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use poem::web::websocket::{CloseCode, Message, WebSocketStream};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info, warn};
use uuid::Uuid;

use super::Gateway;
use super::devices::Registration;
use super::framing::Framing;
use super::mcp::{Mcp, REQUEST_QUEUE};
use super::messages::Messages;
use super::voice::{PACKET_MS, Packet, RATE_HZ, VOICE_QUEUE, Voice};
use crate::codec::OpusDecoder;
use crate::media::{AUDIO_PTIME, AudioFrame, SAMPLES_PER_FRAME, TurnId};
use crate::metrics;
use crate::session::{Event, Guest, Link, Mic, State, TurnEvent, check_text};

/// In the log.
const KIND: &str = "xiaozhi";
/// From the upgrade to the hello: firmware waits as long for ours.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Packets that leave at once when an answer begins; the device plays them while the next ones travel.
const BURST: u32 = 5;
/// From the last packet to `tts` stop: what the device has not played yet, and two packets' time to spare.
const DRAIN: Duration = Duration::from_millis((PACKET_MS * (BURST + 2)) as u64);
/// A device that does not read for this long is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// For the other side's part of closing a socket.
const PARTING: Duration = Duration::from_secs(1);
/// After the farewell at the latest.
const FAREWELL_TIMEOUT: Duration = Duration::from_mins(1);
/// Messages a second, each way of counting: 60 ms packets are 17.
const MESSAGES_PER_SECOND: u32 = 100;

/// Who calls.
#[derive(Clone, Debug, Default)]
pub(super) struct Caller {
    /// Usually its MAC address.
    pub(super) device: String,
    /// Which packing its header asks for.
    pub(super) framing: Framing,
}

/// Why a socket is closed by us.
enum End {
    /// The device is gone, or does not read.
    Gone,
    /// The conversation is over.
    Over,
    /// It broke a rule.
    Refused(CloseCode, &'static str),
}

/// Serves `socket` until either side has enough.
pub(super) async fn serve(gateway: Arc<Gateway>, socket: WebSocketStream, caller: Caller) {
    let (out, mut messages) = socket.split();
    let mut out = Out { sink: out };
    let end = match hello(&mut out, &mut messages).await {
        Ok(hello) => match Device::start(&gateway, &caller, &hello) {
            Ok(device) => device.run(&mut out, &mut messages, &hello).await,
            Err(why) => {
                let alert = json!({"type": "alert", "status": "error", "message": why, "emotion": "sad"});
                let _ = out.json(&alert).await;
                End::Refused(CloseCode::Again, "no session is free")
            }
        },
        Err(end) => end,
    };
    let close = match end {
        End::Gone => return,
        End::Over => Message::close_with(CloseCode::Normal, ""),
        End::Refused(code, why) => {
            metrics::rejected("L9");
            info!(why, "device refused");
            Message::close_with(code, why)
        }
    };
    part(&mut out.sink, &mut messages, close).await;
}

/// Says why we go, and waits a moment for the other side's good-bye: without it, it would not be told.
pub(super) async fn part<S, M>(out: &mut S, messages: &mut M, close: Message)
where
    S: futures_util::Sink<Message> + Unpin,
    M: futures_util::Stream<Item = std::io::Result<Message>> + Unpin,
{
    let parting = async {
        if out.send(close).await.is_ok() {
            while let Some(Ok(_)) = messages.next().await {}
        }
    };
    let _ = timeout(PARTING, parting).await;
}

/// Waits for the first message that means something.
async fn hello(out: &mut Out, messages: &mut SplitStream<WebSocketStream>) -> Result<Value, End> {
    let found = timeout(HELLO_TIMEOUT, async {
        loop {
            match messages.next().await {
                Some(Ok(Message::Text(text))) => match serde_json::from_str::<Value>(&text) {
                    Ok(message) if message["type"] == "hello" => return Ok(message),
                    Ok(message) if message.is_object() => debug!("a message before the hello"),
                    // Old clients find out in this way whether anybody is there.
                    _ => out.text(text).await?,
                },
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(End::Gone),
                Some(Ok(_)) => {}
            }
        }
    });
    found.await.unwrap_or(Err(End::Refused(CloseCode::Policy, "no hello within 10 s")))
}

/// The way to the device.
struct Out {
    sink: SplitSink<WebSocketStream, Message>,
}

impl Out {
    async fn json(&mut self, message: &Value) -> Result<(), End> {
        self.text(message.to_string()).await
    }

    async fn text(&mut self, text: String) -> Result<(), End> {
        self.send(Message::Text(text)).await
    }

    async fn send(&mut self, message: Message) -> Result<(), End> {
        match timeout(SEND_TIMEOUT, self.sink.send(message)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(End::Gone),
        }
    }
}

/// A device in its session.
struct Device {
    guest: Guest,
    messages: Messages,
    framing: Framing,
    decoder: OpusDecoder,
    /// Of its microphone, less than a frame.
    samples: Vec<i16>,
    voice: Arc<Voice>,
    packets: mpsc::Receiver<Packet>,
    sent: u32,
    /// The newest answer of which there were packets, and the newest that was cut.
    newest: TurnId,
    cut: TurnId,
    /// The end of an answer that the device has not played to its end yet.
    stopping: Option<(Instant, Value)>,
    mcp: Arc<Mcp>,
    requests: mpsc::Receiver<Value>,
    _registration: Registration,
    viewers: watch::Receiver<Vec<Uuid>>,
    replaces: bool,
    /// When something last happened.
    active: Instant,
    patience: Duration,
    farewell: String,
    /// It was told good-bye.
    leaving: bool,
}

impl Device {
    fn start(gateway: &Arc<Gateway>, caller: &Caller, hello: &Value) -> Result<Self, String> {
        let shared = &gateway.shared;
        if hello["audio_params"]["format"].as_str().is_some_and(|format| format != "opus") {
            return Err("audio_params.format: only opus".into());
        }
        let guest = match gateway.devices.find(&caller.device) {
            Some(session) => session.welcome(shared, KIND).map_err(|error| error.to_string())?,
            None => Guest::open(shared, "", KIND).map_err(|error| error.to_string())?,
        };
        let session = Arc::clone(guest.session());
        // Its microphone is open while it says so.
        guest.listen(Mic { on: false, hold: false });
        let (packets_tx, packets) = mpsc::channel(VOICE_QUEUE);
        let voice = Arc::new(Voice::new(packets_tx));
        guest.receive(Arc::clone(&voice) as _);
        let registration = gateway.devices.register(&caller.device, &session);
        let (requests_tx, requests) = mpsc::channel(REQUEST_QUEUE);
        let framing = match (caller.framing, hello["version"].as_u64()) {
            (Framing::Bare, Some(version)) => Framing::of_version(version),
            (framing, _) => framing,
        };
        info!(device = caller.device, "device in its session");
        Ok(Self {
            messages: Messages::new(session.id().to_string()),
            guest,
            framing,
            decoder: OpusDecoder::open().map_err(|error| error.to_string())?,
            samples: Vec::new(),
            voice,
            packets,
            sent: 0,
            newest: TurnId(0),
            cut: TurnId(0),
            stopping: None,
            mcp: Mcp::new(requests_tx),
            requests,
            viewers: registration.viewers(),
            _registration: registration,
            replaces: gateway.config.webrtc.replace_opus,
            active: Instant::now(),
            patience: gateway.config.silence,
            farewell: gateway.config.farewell.clone(),
            leaving: false,
        })
    }

    async fn run(mut self, out: &mut Out, messages: &mut SplitStream<WebSocketStream>, hello: &Value) -> End {
        let end = match self.live(out, messages, hello).await {
            Ok(()) => End::Over,
            Err(end) => end,
        };
        // A device does not come back to a session; whoever else watches may go on.
        if self.guest.session().viewer_count() == 1 {
            self.guest.session().end("client");
        }
        end
    }

    async fn live(&mut self, out: &mut Out, messages: &mut SplitStream<WebSocketStream>, hello: &Value) -> Result<(), End> {
        let session_id = self.guest.session().id().to_string();
        let audio = json!({"format": "opus", "sample_rate": RATE_HZ, "channels": 1, "frame_duration": PACKET_MS});
        out.json(&json!({
            "type": "hello", "version": 1, "transport": "websocket", "session_id": session_id, "audio_params": audio,
        }))
        .await?;
        let _asking = (hello["features"]["mcp"] == true).then(|| self.ask_for_tools());
        let rate = governor::Quota::per_second(std::num::NonZeroU32::new(MESSAGES_PER_SECOND).expect("above zero"));
        let rate = governor::RateLimiter::direct(rate);
        self.choose_way();
        loop {
            let stop_at = self.stopping.as_ref().map(|(at, _)| *at);
            let bored_at = self.active + if self.leaving { FAREWELL_TIMEOUT } else { self.patience };
            tokio::select! {
                biased;
                message = messages.next() => {
                    if rate.check().is_err() {
                        return Err(End::Refused(CloseCode::Policy, "more than 100 messages a second"));
                    }
                    match message {
                        Some(Ok(Message::Text(text))) => self.text(text, out).await?,
                        Some(Ok(Message::Binary(sound))) => self.sound(&sound),
                        Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(End::Gone),
                        Some(Ok(_)) => {}
                    }
                }
                event = self.guest.event() => match event {
                    Some(event) => self.event(&event, out).await?,
                    None => return Ok(()),
                },
                Some(packet) = self.packets.recv() => self.packet(packet, out).await?,
                Some(payload) = self.requests.recv() => {
                    out.json(&json!({"type": "mcp", "session_id": session_id, "payload": payload})).await?;
                }
                Ok(()) = self.viewers.changed() => self.choose_way(),
                () = sleep_until(stop_at.unwrap_or(bored_at)), if stop_at.is_some() => {
                    self.stop(out).await?;
                    if self.leaving {
                        return Ok(());
                    }
                }
                () = sleep_until(bored_at) => {
                    if self.leaving || self.farewell.is_empty() {
                        return Ok(());
                    }
                    info!("nothing was said for a while: good-bye");
                    self.leaving = true;
                    self.active = Instant::now();
                    let _ = self.guest.session().say(self.farewell.clone(), false, false).await;
                }
            }
        }
    }

    /// The model may use what the device can do.
    fn ask_for_tools(&self) -> AbortOnDropHandle<()> {
        let (mcp, session) = (Arc::clone(&self.mcp), Arc::clone(self.guest.session()));
        AbortOnDropHandle::new(tokio::spawn(async move {
            match mcp.tools().await {
                Ok(tools) => {
                    info!(tools = tools.len(), "the device told its tools");
                    session.set_tools(tools);
                }
                Err(why) => warn!(why, "the device cannot be asked for its tools"),
            }
        }))
    }

    /// By which way the device hears: its own WebRTC connection may take the place of this socket's Opus.
    fn choose_way(&mut self) {
        let elsewhere = self.replaces && !self.viewers.borrow_and_update().is_empty();
        self.voice.turn(!elsewhere);
        // A burst is for a device alone: who watches wants each picture in its time.
        let alone = !elsewhere && self.guest.session().viewer_count() == 1;
        let frames = u64::from(BURST * PACKET_MS) / AUDIO_PTIME.as_millis() as u64;
        self.guest.run_ahead(if alone { frames } else { 0 });
    }

    async fn text(&mut self, text: String, out: &mut Out) -> Result<(), End> {
        let Ok(message) = serde_json::from_str::<Value>(&text) else { return out.text(text).await };
        if !message.is_object() {
            return out.text(text).await;
        }
        let kind = message["type"].as_str().unwrap_or_default();
        match (kind, message["state"].as_str().unwrap_or_default()) {
            ("listen", "start") => self.listen(message["mode"].as_str().unwrap_or("auto")),
            ("listen", "stop") => {
                self.guest.listen(Mic { on: false, hold: true });
                // Its microphone may be the one of its WebRTC connection.
                let session = self.guest.session();
                let links = self.viewers.borrow().iter().filter_map(|viewer| session.link(*viewer)).collect::<Vec<_>>();
                links.iter().for_each(Link::finish);
            }
            ("listen", "detect") => self.detect(message["text"].as_str().unwrap_or_default(), out).await?,
            ("abort", _) => self.abort(out).await?,
            ("mcp", _) => self.mcp.reply(message["payload"].clone()),
            ("ping", _) => out.json(&json!({"type": "pong"})).await?,
            ("server", _) => {
                let refused = json!({"type": "server", "status": "error", "message": "not served: see docs/xiaozhi.md"});
                out.json(&refused).await?;
            }
            // A second hello changes nothing; what the others are for, nobody asks any more.
            ("hello" | "iot" | "goodbye", _) => {}
            _ => debug!("a message of a kind that is not known"),
        }
        Ok(())
    }

    fn listen(&mut self, mode: &str) {
        self.active = Instant::now();
        self.samples.clear();
        self.guest.listen(Mic { on: true, hold: mode == "manual" });
    }

    /// A wake word, or what was typed.
    async fn detect(&mut self, text: &str, out: &mut Out) -> Result<(), End> {
        self.active = Instant::now();
        let said = match check_text(text) {
            Ok(text) => self.guest.session().say(text, true, true).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match said {
            Ok(()) => Ok(()),
            Err(why) => out.json(&json!({"type": "alert", "status": "error", "message": why, "emotion": "sad"})).await,
        }
    }

    async fn abort(&mut self, out: &mut Out) -> Result<(), End> {
        self.active = Instant::now();
        if !self.messages.is_answering() {
            // All of it has been sent, and not all of it heard.
            return self.stop(out).await;
        }
        // The session tells everybody, us too: that is when the stop goes out.
        let _ = self.guest.session().interrupt().await;
        Ok(())
    }

    fn sound(&mut self, message: &[u8]) {
        let Some(packet) = self.framing.unpack(message) else { return debug!("no sound in a binary message") };
        let Ok(samples) = self.decoder.decode(packet) else { return debug!("an Opus packet that does not decode") };
        self.samples.extend(samples);
        let whole = self.samples.len() / SAMPLES_PER_FRAME * SAMPLES_PER_FRAME;
        for frame in self.samples[..whole].as_chunks().0 {
            self.guest.hear(AudioFrame(*frame));
        }
        self.samples.drain(..whole);
    }

    async fn event(&mut self, event: &Event, out: &mut Out) -> Result<(), End> {
        // Rest is not life.
        if !matches!(event, Event::State { state: State::Idle }) {
            self.active = Instant::now();
        }
        if let Event::Transcript { text, .. } = event {
            // Anything but our own good-bye: somebody is there after all.
            self.leaving &= *text == self.farewell;
            if self.leaving {
                return Ok(());
            }
        }
        if let Event::Turn { id, event: TurnEvent::Interrupted, .. } = event {
            self.cut = self.newest.max(TurnId(*id));
        }
        if let Event::Error { code, msg } = event {
            debug!(code, "told to the device");
            let alert = json!({"type": "alert", "status": code, "message": msg, "emotion": "sad"});
            out.json(&alert).await?;
        }
        let ends = matches!(event, Event::Turn { event: TurnEvent::Ended | TurnEvent::Failed, .. });
        for message in self.messages.event(event) {
            if ends {
                self.stopping = Some((Instant::now() + DRAIN, message));
                continue;
            }
            // The next answer has begun before the last one was played to its end.
            self.stop(out).await?;
            out.json(&message).await?;
        }
        Ok(())
    }

    /// Tells the end of the last answer, if that waits.
    async fn stop(&mut self, out: &mut Out) -> Result<(), End> {
        match self.stopping.take() {
            Some((_, message)) => out.json(&message).await,
            None => Ok(()),
        }
    }

    async fn packet(&mut self, packet: Packet, out: &mut Out) -> Result<(), End> {
        self.newest = self.newest.max(packet.turn);
        if packet.turn <= self.cut {
            return Ok(());
        }
        if let Some((at, _)) = &mut self.stopping {
            *at = Instant::now() + DRAIN;
        }
        let message = self.framing.pack(&packet.opus, self.sent);
        self.sent = self.sent.wrapping_add(1);
        out.send(Message::Binary(message)).await
    }
}

//! One viewer's peer connection.
//!
//! In: an [`Offer`], encoded frames, text for its data channels. Out: the answer and [`Event`]s. A task per peer sends
//! packets; the WebRTC stack runs another. Whatever ends it, it gives back its share of the socket.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use governor::{Quota, RateLimiter};
use rtc::interceptor::{Registry, Slot as ChainSlot};
use rtc::peer_connection::configuration::interceptor_registry::{configure_nack, configure_rtcp_reports};
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::rtp_transceiver::rtp_sender::{RTCRtpCodecParameters, RtpCodecKind};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::debug;
use webrtc::data_channel::{DataChannel, DataChannelEvent};
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_remote::TrackRemote;
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceCandidateInit, RTCIceGatheringState,
    RTCPeerConnectionState, RTCSessionDescription, SettingEngineBuilder,
};

use super::estimate::{self, Estimate};
use super::feedback::{self, KeyframeRequests};
use super::fragment::Fragment;
use super::life::{Lease, Life};
use super::microphone::{Arrived, Floor};
use super::reports::{self, OneClock};
use super::sdp::Identity;
use super::socket::{SharedSocketRuntime, Slot};
use super::streams::{Streams, codec_of, opus_codec, video_codec};
use super::{Error, Offer, UdpMux, candidates, microphone, sdp};
use crate::codec::VideoCodec;
use crate::media::AudioFrame;
use crate::metrics;
use crate::track::{Bitrate, Encoded, MediaSink};

/// Encoded frames that wait for a peer's packets to leave: 640 ms of both kinds. Full: the frame is dropped, and
/// pictures resume with a keyframe.
pub(super) const SEND_QUEUE: usize = 48;
/// Gathering only binds a loopback socket; more than this is a fault.
pub(super) const GATHER_TIMEOUT: Duration = Duration::from_secs(5);
/// Time between ICE checks. The crate's 200 ms make a set-up of 210 ms; 20 ms make one of 30.
pub(super) const ICE_CHECK: Duration = Duration::from_millis(20);
/// Data channels of one viewer (L15).
const MAX_CHANNELS: usize = 4;
/// Of binary messages as many more at once: a recording of 1 MiB in pieces of 16 KiB, and some to spare.
const BINARY_BURST: u32 = 80;
/// Candidates of one peer that come after its offer (L9).
const MAX_TRICKLED: usize = 64;
/// Bytes that wait for a viewer that does not read (L15).
const CHANNEL_BUFFER_BYTES: usize = 1 << 20;

/// What all peers of a server share.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The socket.
    pub mux: Arc<UdpMux>,
    /// Addresses that viewers can reach and this machine cannot know.
    pub advertise: Vec<IpAddr>,
    /// Whether media may come by TCP, on the port of the same number.
    pub tcp: bool,
    /// The bounds of the bandwidth estimate.
    pub bitrate: Bitrate,
}

impl Settings {
    /// `answer` with our own candidates. `asked` is the address that the viewer's request went to.
    fn reachable(&self, answer: &str, asked: Option<SocketAddr>) -> String {
        let own = self.mux.local_addr();
        let hosts = candidates::hosts(&self.advertise, asked.map(|asked| asked.ip()), own.ip());
        let tcp = if self.tcp { candidates::tcp(&hosts, asked, own.port()) } else { vec![] };
        candidates::rewrite(answer, &hosts, own.port(), self.mux.reflexive(), &tcp)
    }
}

/// What one peer may do.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the answer to media (L12).
    pub connect: Duration,
    /// Text messages a second (L15).
    pub messages_per_second: u32,
    /// The longest message, in bytes (L15).
    pub message_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connect: Duration::from_secs(15), messages_per_second: 20, message_bytes: 16 << 10 }
    }
}

/// Why a peer is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// It never connected.
    Timeout,
    /// It said good-bye.
    Left,
    /// It was not heard of for 30 s.
    Lost,
    /// We ended it.
    Ended,
}

/// What a peer tells its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Media can flow.
    Connected,
    /// It has not been heard of for 5 s (true), or is here again (false).
    Away(bool),
    /// A data channel is open.
    ChannelOpen(String),
    /// A text message on the channel of that label.
    Message {
        /// Which channel.
        label: String,
        /// Untrusted.
        text: String,
    },
    /// A binary message on the channel of that label.
    Binary {
        /// Which channel.
        label: String,
        /// Untrusted.
        bytes: Bytes,
    },
    /// A message that cannot be taken, and why.
    BadMessage {
        /// Which channel.
        label: String,
        /// `message_too_large`, `not_utf8`, `rate_limited`.
        code: &'static str,
    },
    /// Nothing follows.
    Closed(Closed),
}

pub(super) type Channels = Arc<Mutex<HashMap<String, Arc<dyn DataChannel>>>>;

/// One viewer.
pub struct Peer {
    settings: Settings,
    slot: Arc<Slot>,
    sink: Arc<Viewer>,
    connection: Arc<dyn PeerConnection>,
    channels: Channels,
    trickled: AtomicUsize,
    floor: Arc<Floor>,
    stop: CancellationToken,
    /// Whose connection it is.
    identity: Identity,
    /// Held while another offer is answered: one at a time.
    current: tokio::sync::Mutex<Current>,
}

/// What holds until ICE begins anew.
struct Current {
    offer: Offer,
    /// What names our side of ICE.
    ufrag: String,
}

impl Peer {
    /// Answers `offer`. `asked` is the address that the viewer's request went to; `ears` get what its microphone hears.
    pub async fn answer(
        settings: &Settings,
        offer: Offer,
        asked: Option<SocketAddr>,
        limits: Limits,
        events: mpsc::Sender<Event>,
        ears: mpsc::Sender<AudioFrame>,
    ) -> Result<(Self, String), Error> {
        let mux = &settings.mux;
        let slot = UdpMux::open();
        let lease = Lease { mux: Arc::clone(mux), slot: Arc::clone(&slot) };
        let wants_keyframe = Arc::new(AtomicBool::new(true));
        let (gathered_tx, mut gathered) = watch::channel(false);
        let (state_tx, state) = watch::channel(RTCPeerConnectionState::New);
        let channels = Channels::default();

        let mut engine = MediaEngine::default();
        register_codecs(&mut engine, &offer)?;
        let registry = configure_rtcp_reports(configure_nack(Registry::new(), &mut engine));
        let (registry, estimate) = estimate::configure(registry, &mut engine, settings.bitrate)?;
        let requests = KeyframeRequests::new(Arc::clone(&wants_keyframe));
        let streams = Streams::new(&offer);
        let registry = registry
            .with(ChainSlot::from(feedback::SLOT), requests)
            .with(ChainSlot::from(reports::SLOT), OneClock::new(streams.origins()));
        let setting = SettingEngineBuilder::default()
            .with_include_loopback_candidate(true)
            .with_ice_connection_attempts(Some(ICE_CHECK), Some(checks_within(limits.connect)))
            .with_multicast_dns_mode(rtc::ice::mdns::MulticastDnsMode::Disabled)
            .build();
        let floor = Arc::new(Floor::new(ears));
        let handler = Handler {
            gathered: gathered_tx,
            state: state_tx,
            channels: Arc::clone(&channels),
            events: events.clone(),
            limits,
            floor: Arc::clone(&floor),
            arrived: Arc::default(),
        };
        let connection: Arc<dyn PeerConnection> = Arc::new(
            PeerConnectionBuilder::new()
                .with_media_engine(engine)
                .with_interceptor_registry(registry)
                .with_setting_engine(setting)
                .with_runtime(Arc::new(SharedSocketRuntime { mux: Arc::clone(mux), slot: Arc::clone(&slot) }))
                .with_handler(Arc::new(handler))
                .with_udp_addrs(vec!["127.0.0.1:0".to_owned()])
                .with_data_channel_send_buffer_limit(CHANNEL_BUFFER_BYTES)
                .build()
                .await?,
        );
        let negotiated = negotiate(&connection, &offer, &streams, &mut gathered).await;
        let sdp = match negotiated {
            Ok(sdp) => sdp,
            Err(error) => {
                let _ = connection.close().await;
                return Err(error);
            }
        };
        let ours = Fragment::of_answer(&sdp).ufrag;
        mux.name(&slot, &ours);
        let sdp = settings.reachable(&sdp, asked);

        let (queue, frames) = mpsc::channel(SEND_QUEUE);
        let codec = offer.video_codec();
        let sink = Arc::new(Viewer::new(codec, queue, wants_keyframe, estimate));
        let stop = CancellationToken::new();
        let life = Life {
            connection: Arc::clone(&connection),
            streams,
            state,
            frames,
            stop: stop.clone(),
            lease,
            events,
            patience: limits.connect,
            connected: metrics::viewers,
        };
        tokio::spawn(life.run());
        let peer = Self {
            settings: settings.clone(),
            slot,
            sink,
            connection,
            channels,
            trickled: AtomicUsize::new(0),
            floor,
            stop,
            identity: offer.identity(),
            current: tokio::sync::Mutex::new(Current { offer, ufrag: ours }),
        };
        Ok((peer, sdp))
    }

    /// Whether `offer` comes from the very connection that this peer is the other end of.
    pub fn is_of(&self, offer: &Offer) -> bool {
        self.identity == offer.identity()
    }

    /// Takes another path to the same peer, on which everything goes on: `offer` has new credentials (RFC 8445 §9). The answer.
    pub async fn restart(&self, offer: Offer, asked: Option<SocketAddr>) -> Result<String, Error> {
        let mut current = self.current.lock().await;
        if !offer.asks_for_the_same_as(&current.offer) {
            return Err(Error::OtherMedia);
        }
        let description = RTCSessionDescription::offer(offer.sdp.clone())?;
        self.connection.set_remote_description(description).await?;
        let answer = self.connection.create_answer(None).await?;
        let sdp = answer.sdp.clone();
        self.connection.set_local_description(answer).await?;
        let ufrag = Fragment::of_answer(&sdp).ufrag;
        self.settings.mux.name(&self.slot, &ufrag);
        self.trickled.store(0, Ordering::Relaxed);
        *current = Current { offer, ufrag };
        metrics::ice_restart();
        Ok(self.settings.reachable(&sdp, asked))
    }

    /// The same for one who tells nothing but how to reach it. What we tell in turn.
    pub async fn restart_by(&self, fragment: &Fragment, asked: Option<SocketAddr>) -> Result<Fragment, Error> {
        let offer = self.current.lock().await.offer.restarted(fragment);
        Ok(Fragment::of_answer(&self.restart(offer, asked).await?))
    }

    /// Whether `fragment` wants ICE to begin anew: its credentials are not those that hold.
    pub async fn is_restarted_by(&self, fragment: &Fragment) -> bool {
        !fragment.password.is_empty() && fragment.ufrag != self.current.lock().await.offer.ufrag()
    }

    /// What names the present path: another one after each restart.
    pub async fn path_name(&self) -> String {
        self.current.lock().await.ufrag.clone()
    }

    /// The next 20 ms of a microphone that does not come by RTP.
    pub fn hear(&self, frame: &AudioFrame) {
        self.floor.hear(frame);
    }

    /// Checks one more address of the viewer's: `foundation 1 udp …`, with or without `candidate:` before it. One that cannot
    /// be checked is passed over. False once there are too many.
    pub async fn add_candidate(&self, candidate: &str) -> bool {
        let candidate = candidate.trim();
        let candidate = candidate.strip_prefix("candidate:").unwrap_or(candidate);
        if !sdp::is_usable_candidate(candidate) {
            return true;
        }
        if self.trickled.fetch_add(1, Ordering::Relaxed) >= MAX_TRICKLED {
            return false;
        }
        let candidate = RTCIceCandidateInit { candidate: candidate.to_owned(), ..RTCIceCandidateInit::default() };
        if let Err(error) = self.connection.add_ice_candidate(candidate).await {
            debug!(%error, "a candidate that cannot be checked");
        }
        true
    }

    /// Where this viewer's frames go. To be used once it is connected.
    pub fn sink(&self) -> Arc<dyn MediaSink> {
        Arc::clone(&self.sink) as Arc<dyn MediaSink>
    }

    /// Sends `text` on the channel `label`. A channel that is not there or whose reader is too slow loses it.
    pub async fn send(&self, label: &str, text: &str) {
        let channel = lock(&self.channels).get(label).cloned();
        if let Some(channel) = channel
            && channel.try_send_text(text).await.is_err()
        {
            metrics::frame_dropped("message", "slow_viewer");
        }
    }

    /// Ends it; [`Event::Closed`] follows.
    pub fn close(&self) {
        self.stop.cancel();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The answer, as the stack wrote it.
async fn negotiate(
    connection: &Arc<dyn PeerConnection>,
    offer: &Offer,
    streams: &Streams,
    gathered: &mut watch::Receiver<bool>,
) -> Result<String, Error> {
    for outgoing in streams.all() {
        connection.add_track(Arc::clone(&outgoing.track) as Arc<dyn TrackLocal>).await?;
    }
    connection.set_remote_description(RTCSessionDescription::offer(offer.sdp.clone())?).await?;
    let answer = connection.create_answer(None).await?;
    connection.set_local_description(answer).await?;
    match timeout(GATHER_TIMEOUT, gathered.wait_for(|done| *done)).await {
        Ok(Ok(_)) => {}
        _ => return Err(Error::Slow),
    }
    Ok(connection.local_description().await.ok_or(Error::Slow)?.sdp)
}

/// Opus and the one video codec that this viewer gets, under the offer's own numbers: the answer then holds nothing
/// that we would not send.
pub(super) fn register_codecs(engine: &mut MediaEngine, offer: &Offer) -> Result<(), Error> {
    let audio = RTCRtpCodecParameters { rtp_codec: opus_codec(), payload_type: offer.opus };
    engine.register_codec(audio, RtpCodecKind::Audio)?;
    if let Some(line) = &offer.video {
        let payload_type = line.payload_type;
        let video = RTCRtpCodecParameters { rtp_codec: video_codec(line), payload_type };
        engine.register_codec(video, RtpCodecKind::Video)?;
        if let Some(rtx) = line.rtx {
            let rtp_codec = codec_of("video/rtx", 90_000, 0, &format!("apt={payload_type}"), vec![]);
            engine.register_codec(RTCRtpCodecParameters { rtp_codec, payload_type: rtx }, RtpCodecKind::Video)?;
        }
    }
    Ok(())
}

/// Hears from the WebRTC stack, on its driver task: only notes and spawns.
pub(super) struct Handler {
    pub(super) gathered: watch::Sender<bool>,
    pub(super) state: watch::Sender<RTCPeerConnectionState>,
    pub(super) channels: Channels,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) limits: Limits,
    pub(super) floor: Arc<Floor>,
    pub(super) arrived: Arc<Arrived>,
}

#[async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.gathered.send_replace(true);
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        self.state.send_replace(state);
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        if track.kind().await != RtpCodecKind::Audio {
            return;
        }
        tokio::spawn(microphone::read(track, Arc::clone(&self.floor), Arc::clone(&self.arrived)));
    }

    async fn on_data_channel(&self, channel: Arc<dyn DataChannel>) {
        tokio::spawn(read_channel(channel, Arc::clone(&self.channels), self.events.clone(), self.limits));
    }
}

/// Reads one data channel until it or its peer closes.
async fn read_channel(channel: Arc<dyn DataChannel>, channels: Channels, events: mpsc::Sender<Event>, limits: Limits) {
    let Ok(label) = channel.label().await else { return };
    if lock(&channels).len() >= MAX_CHANNELS {
        metrics::rejected("L15");
        let _ = channel.close().await;
        return;
    }
    lock(&channels).insert(label.clone(), Arc::clone(&channel));
    let number = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
    let quota = Quota::per_second(number(limits.messages_per_second));
    let (texts, binaries) = (RateLimiter::direct(quota), RateLimiter::direct(quota.allow_burst(number(BINARY_BURST))));
    while let Some(event) = channel.poll().await {
        let event = match event {
            DataChannelEvent::OnOpen => Event::ChannelOpen(label.clone()),
            DataChannelEvent::OnMessage(message) => {
                let limit = if message.is_string { &texts } else { &binaries };
                let label = label.clone();
                let taken = if limit.check().is_err() {
                    Err("rate_limited")
                } else if message.data.len() > limits.message_bytes {
                    Err("message_too_large")
                } else if message.is_string {
                    let text = String::from_utf8(message.data.to_vec());
                    text.map(|text| Event::Message { label: label.clone(), text }).map_err(|_| "not_utf8")
                } else {
                    Ok(Event::Binary { label: label.clone(), bytes: message.data.freeze() })
                };
                match taken {
                    Ok(event) => event,
                    Err(code) => {
                        metrics::rejected("L15");
                        Event::BadMessage { label, code }
                    }
                }
            }
            DataChannelEvent::OnClose => break,
            _ => continue,
        };
        if events.send(event).await.is_err() {
            break;
        }
    }
    lock(&channels).remove(&label);
}

/// The sink of one viewer: a queue that never blocks the encoder.
pub(super) struct Viewer {
    codec: Option<VideoCodec>,
    queue: mpsc::Sender<Encoded>,
    wants_keyframe: Arc<AtomicBool>,
    /// Pictures are useless to it until the next keyframe.
    awaits_keyframe: AtomicBool,
    estimate: Estimate,
}

impl Viewer {
    pub(super) fn new(
        codec: Option<VideoCodec>,
        queue: mpsc::Sender<Encoded>,
        wants_keyframe: Arc<AtomicBool>,
        estimate: Estimate,
    ) -> Self {
        Self { codec, queue, wants_keyframe, awaits_keyframe: AtomicBool::new(true), estimate }
    }
}

impl MediaSink for Viewer {
    fn video_codec(&self) -> Option<VideoCodec> {
        self.codec
    }

    fn wants_keyframe(&self) -> bool {
        self.wants_keyframe.load(Ordering::Relaxed)
    }

    fn bitrate_bps(&self) -> Option<u32> {
        self.estimate.bits_per_second()
    }

    fn push(&self, frame: &Encoded) {
        if let Encoded::Video { keyframe, .. } = frame {
            if *keyframe {
                self.wants_keyframe.store(false, Ordering::Relaxed);
                self.awaits_keyframe.store(false, Ordering::Relaxed);
                metrics::keyframe();
            } else if self.awaits_keyframe.load(Ordering::Relaxed) {
                return;
            }
        }
        if self.queue.try_send(frame.clone()).is_err() && !self.queue.is_closed() {
            let kind = if matches!(frame, Encoded::Video { .. }) { "video" } else { "audio" };
            metrics::frame_dropped(kind, "slow_viewer");
            if kind == "video" {
                self.wants_keyframe.store(true, Ordering::Relaxed);
                self.awaits_keyframe.store(true, Ordering::Relaxed);
            }
        }
    }

    fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }
}

fn lock(channels: &Channels) -> MutexGuard<'_, HashMap<String, Arc<dyn DataChannel>>> {
    channels.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Checks of one pair before it is given up: it has until the connection must be up.
pub(super) fn checks_within(patience: Duration) -> u16 {
    (patience.as_millis() / ICE_CHECK.as_millis()).try_into().unwrap_or(u16::MAX)
}

/// Letters and digits, as ICE credentials must be (RFC 8839 §5.4).
pub(super) fn random_text(len: usize) -> String {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    (0..len).map(|_| char::from(ALPHABET[rand::random_range(0..ALPHABET.len())])).collect()
}

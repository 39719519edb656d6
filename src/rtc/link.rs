//! What every connection of ours is made of, whoever offers it: its share of the socket, the WebRTC stack's part, its streams.
//!
//! In: what it is to carry. Out: our description, and then its [`Life`].

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use rtc::interceptor::{Registry, Slot as ChainSlot};
use rtc::peer_connection::configuration::interceptor_registry::{configure_nack, configure_rtcp_reports};
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::rtp_transceiver::rtp_sender::{RTCRtpCodecParameters, RtpCodecKind};
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use webrtc::data_channel::DataChannel;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_remote::TrackRemote;
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState, RTCPeerConnectionState,
    RTCSessionDescription, SettingEngineBuilder,
};

use super::channels::Channels;
use super::estimate::{self, Estimate};
use super::feedback::{self, KeyframeRequests};
use super::life::{Lease, Life};
use super::microphone::{self, Arrived, Floor};
use super::peer::{Event, Limits};
use super::reports::{self, OneClock};
use super::socket::{SharedSocketRuntime, Slot};
use super::streams::{Outgoing, Streams, codec_of, opus_codec, video_codec};
use super::{Error, Offer, UdpMux};
use crate::media::AudioFrame;
use crate::track::{Bitrate, Encoded};

/// Encoded frames that wait for a peer's packets to leave: 640 ms of both kinds. Full: the frame is dropped, and
/// pictures resume with a keyframe.
const SEND_QUEUE: usize = 48;
/// Gathering only binds a loopback socket; more than this is a fault.
const GATHER_TIMEOUT: Duration = Duration::from_secs(5);
/// Time between ICE checks. The crate's 200 ms make a set-up of 210 ms; 20 ms make one of 30.
const ICE_CHECK: Duration = Duration::from_millis(20);
/// Bytes that wait for a viewer that does not read (L15).
const CHANNEL_BUFFER_BYTES: usize = 1 << 20;

/// What a connection carries, and how the stack treats it.
pub(super) struct Media {
    engine: MediaEngine,
    registry: Registry,
    streams: Streams,
}

impl Media {
    /// Sound both ways, as packets of the number `opus`. No audio-level extension: a mixer would take a level that is not
    /// written for silence.
    pub(super) fn sound(opus: u8) -> Result<Self, Error> {
        let mut engine = MediaEngine::default();
        let codec = RTCRtpCodecParameters { rtp_codec: opus_codec(), payload_type: opus };
        engine.register_codec(codec, RtpCodecKind::Audio)?;
        let streams = Streams { audio: Outgoing::sound(opus), video: None };
        Ok(Self { engine, registry: configure_rtcp_reports(Registry::new()), streams })
    }

    /// What `offer` names: what is lost is sent again, a lost picture sets `wants_keyframe`, and the network's bandwidth is
    /// estimated.
    pub(super) fn of(offer: &Offer, bitrate: Bitrate, wants_keyframe: &Arc<AtomicBool>) -> Result<(Self, Estimate), Error> {
        let mut engine = MediaEngine::default();
        register_codecs(&mut engine, offer)?;
        let registry = configure_rtcp_reports(configure_nack(Registry::new(), &mut engine));
        let (registry, estimate) = estimate::configure(registry, &mut engine, bitrate)?;
        let requests = KeyframeRequests::new(Arc::clone(wants_keyframe));
        let registry = registry.with(ChainSlot::from(feedback::SLOT), requests);
        Ok((Self { engine, registry, streams: Streams::new(offer) }, estimate))
    }
}

/// What names our side of ICE and proves it.
pub(super) struct Credentials {
    pub(super) ufrag: String,
    pub(super) password: String,
}

impl Credentials {
    pub(super) fn random() -> Self {
        Self { ufrag: random_text(8), password: random_text(24) }
    }
}

/// A connection that is not described yet.
pub(super) struct Link {
    pub(super) connection: Arc<dyn PeerConnection>,
    pub(super) channels: Channels,
    pub(super) floor: Arc<Floor>,
    pub(super) arrived: Arc<Arrived>,
    streams: Streams,
    lease: Lease,
    gathered: watch::Receiver<bool>,
    state: watch::Receiver<RTCPeerConnectionState>,
    events: mpsc::Sender<Event>,
    limits: Limits,
}

impl Link {
    /// With `credentials` where we offer; the stack chooses its own for an answer. `ears` get what is heard.
    pub(super) async fn open(
        mux: &Arc<UdpMux>,
        credentials: Option<&Credentials>,
        media: Media,
        limits: Limits,
        events: mpsc::Sender<Event>,
        ears: mpsc::Sender<AudioFrame>,
    ) -> Result<Self, Error> {
        let slot = credentials.map_or_else(UdpMux::open, |credentials| mux.open_caller(&credentials.ufrag));
        let lease = Lease { mux: Arc::clone(mux), slot: Arc::clone(&slot) };
        let (gathered_tx, gathered) = watch::channel(false);
        let (state_tx, state) = watch::channel(RTCPeerConnectionState::New);
        let channels = Channels::default();
        let (floor, arrived) = (Arc::new(Floor::new(ears)), Arc::<Arrived>::default());
        let setting = SettingEngineBuilder::default()
            .with_include_loopback_candidate(true)
            .with_ice_connection_attempts(Some(ICE_CHECK), Some(checks_within(limits.connect)))
            .with_multicast_dns_mode(rtc::ice::mdns::MulticastDnsMode::Disabled);
        let setting = match credentials {
            Some(Credentials { ufrag, password }) => setting.with_ice_credentials(ufrag.clone(), password.clone()),
            None => setting,
        };
        let handler = Handler {
            gathered: gathered_tx,
            state: state_tx,
            channels: channels.clone(),
            events: events.clone(),
            limits,
            floor: Arc::clone(&floor),
            arrived: Arc::clone(&arrived),
        };
        let Media { engine, registry, streams } = media;
        let clock = OneClock::new(streams.origins());
        let connection: Arc<dyn PeerConnection> = Arc::new(
            PeerConnectionBuilder::new()
                .with_media_engine(engine)
                .with_interceptor_registry(registry.with(ChainSlot::from(reports::SLOT), clock))
                .with_setting_engine(setting.build())
                .with_runtime(Arc::new(SharedSocketRuntime { mux: Arc::clone(mux), slot }))
                .with_handler(Arc::new(handler))
                .with_udp_addrs(vec!["127.0.0.1:0".to_owned()])
                .with_data_channel_send_buffer_limit(CHANNEL_BUFFER_BYTES)
                .build()
                .await?,
        );
        Ok(Self { connection, channels, floor, arrived, streams, lease, gathered, state, events, limits })
    }

    /// Its share of the socket.
    pub(super) fn slot(&self) -> &Arc<Slot> {
        &self.lease.slot
    }

    /// Our offer: a line for each stream.
    pub(super) async fn offer(&mut self, direction: RTCRtpTransceiverDirection) -> Result<String, Error> {
        let offer = self.describe_offer(direction).await;
        self.or_close(offer).await
    }

    /// Our answer to `offer`.
    pub(super) async fn answer(&mut self, offer: &str) -> Result<String, Error> {
        let answer = self.describe_answer(offer).await;
        self.or_close(answer).await
    }

    async fn describe_offer(&mut self, direction: RTCRtpTransceiverDirection) -> Result<String, Error> {
        for outgoing in self.streams.all() {
            let line = RTCRtpTransceiverInit { direction, streams: Vec::new(), send_encodings: Vec::new() };
            let track = Arc::clone(&outgoing.track) as Arc<dyn TrackLocal>;
            self.connection.add_transceiver_from_track(track, Some(line)).await?;
        }
        let offer = self.connection.create_offer(None).await?;
        self.described(offer).await
    }

    async fn describe_answer(&mut self, offer: &str) -> Result<String, Error> {
        for outgoing in self.streams.all() {
            self.connection.add_track(Arc::clone(&outgoing.track) as Arc<dyn TrackLocal>).await?;
        }
        self.connection.set_remote_description(RTCSessionDescription::offer(offer.to_owned())?).await?;
        let answer = self.connection.create_answer(None).await?;
        self.described(answer).await
    }

    /// Our side with its candidates, as the stack wrote it.
    async fn described(&mut self, ours: RTCSessionDescription) -> Result<String, Error> {
        self.connection.set_local_description(ours).await?;
        match timeout(GATHER_TIMEOUT, self.gathered.wait_for(|done| *done)).await {
            Ok(Ok(_)) => {}
            _ => return Err(Error::Slow),
        }
        Ok(self.connection.local_description().await.ok_or(Error::Slow)?.sdp)
    }

    async fn or_close(&self, described: Result<String, Error>) -> Result<String, Error> {
        if described.is_err() {
            let _ = self.connection.close().await;
        }
        described
    }

    /// Begins its life, which `connected` counts: where its frames go, and what ends it.
    pub(super) fn live(self, connected: fn(f64)) -> (mpsc::Sender<Encoded>, CancellationToken) {
        let (queue, frames) = mpsc::channel(SEND_QUEUE);
        let stop = CancellationToken::new();
        let life = Life {
            connection: self.connection,
            streams: self.streams,
            state: self.state,
            frames,
            stop: stop.clone(),
            lease: self.lease,
            events: self.events,
            patience: self.limits.connect,
            connected,
        };
        tokio::spawn(life.run());
        (queue, stop)
    }
}

/// Opus and the one video codec that this viewer gets, under the offer's own numbers: the answer then holds nothing
/// that we would not send.
fn register_codecs(engine: &mut MediaEngine, offer: &Offer) -> Result<(), Error> {
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
struct Handler {
    gathered: watch::Sender<bool>,
    state: watch::Sender<RTCPeerConnectionState>,
    channels: Channels,
    events: mpsc::Sender<Event>,
    limits: Limits,
    floor: Arc<Floor>,
    arrived: Arc<Arrived>,
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
        tokio::spawn(self.channels.clone().read(channel, self.events.clone(), self.limits));
    }
}

/// Checks of one pair before it is given up: it has until the connection must be up.
fn checks_within(patience: Duration) -> u16 {
    (patience.as_millis() / ICE_CHECK.as_millis()).try_into().unwrap_or(u16::MAX)
}

/// Letters and digits, as ICE credentials must be (RFC 8839 §5.4).
fn random_text(len: usize) -> String {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    (0..len).map(|_| char::from(ALPHABET[rand::random_range(0..ALPHABET.len())])).collect()
}

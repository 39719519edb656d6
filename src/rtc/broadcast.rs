//! A connection by which we send to another server, sound and pictures, and hear nothing (WHIP).
//!
//! In: the other server's answer, encoded frames. Out: an offer of two lines that only send, and [`Event`]s. A task per
//! broadcast sends packets; the WebRTC stack runs another.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rtc::interceptor::{Registry, Slot as ChainSlot};
use rtc::peer_connection::configuration::interceptor_registry::{configure_nack, configure_rtcp_reports};
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, RTCPeerConnectionState, RTCSessionDescription, SettingEngineBuilder,
};

use super::feedback::{self, KeyframeRequests};
use super::life::{Lease, Life};
use super::microphone::Floor;
use super::peer::{
    Channels, GATHER_TIMEOUT, Handler, ICE_CHECK, Limits, SEND_QUEUE, Viewer, checks_within, random_text, register_codecs,
};
use super::reflexive::{self, StunServers};
use super::reports::{self, OneClock};
use super::sdp::VideoLine;
use super::socket::SharedSocketRuntime;
use super::streams::Streams;
use super::{Error, Event, Offer, Settings, UdpMux, candidates, estimate};
use crate::codec::VideoCodec;
use crate::metrics;
use crate::track::MediaSink;

/// Our numbers of the codecs, Chromium's.
const OPUS: u8 = 111;
const H264: u8 = 102;
const H264_RTX: u8 = 103;
/// Constrained baseline, level 3.1: what our encoder makes and every server takes.
const H264_PARAMETERS: &str = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f";
/// How a STUN server of the other side is asked: media does not wait for it.
const STUN_RETRIES: u32 = 2;
const STUN_PATIENCE: Duration = Duration::from_millis(500);

/// One broadcast. Dropping it hangs up.
pub struct Broadcast {
    connection: Arc<dyn PeerConnection>,
    sink: Arc<Viewer>,
    mux: Arc<UdpMux>,
    /// Of our ICE, for what is sent after the offer.
    credentials: (String, String),
    stop: CancellationToken,
}

impl Broadcast {
    /// An offer. `events` are [`Event::Connected`] and [`Event::Closed`], also where no answer ever comes.
    pub async fn offer(settings: &Settings, events: mpsc::Sender<Event>) -> Result<(Self, String), Error> {
        let mux = &settings.mux;
        let (ufrag, password) = (random_text(8), random_text(24));
        let slot = mux.open_caller(&ufrag);
        let lease = Lease { mux: Arc::clone(mux), slot: Arc::clone(&slot) };
        let wants_keyframe = Arc::new(AtomicBool::new(true));
        let (gathered_tx, mut gathered) = watch::channel(false);
        let (state_tx, state) = watch::channel(RTCPeerConnectionState::New);
        let limits = Limits::default();

        let h264 =
            VideoLine { codec: VideoCodec::H264, payload_type: H264, rtx: Some(H264_RTX), fmtp: H264_PARAMETERS.to_owned() };
        let wish = Offer { sdp: String::new(), opus: OPUS, video: Some(h264) };
        let mut engine = MediaEngine::default();
        register_codecs(&mut engine, &wish)?;
        let registry = configure_rtcp_reports(configure_nack(Registry::new(), &mut engine));
        let (registry, estimate) = estimate::configure(registry, &mut engine, settings.bitrate)?;
        let streams = Streams::new(&wish);
        let registry = registry
            .with(ChainSlot::from(feedback::SLOT), KeyframeRequests::new(Arc::clone(&wants_keyframe)))
            .with(ChainSlot::from(reports::SLOT), OneClock::new(streams.origins()));
        let setting = SettingEngineBuilder::default()
            .with_include_loopback_candidate(true)
            .with_ice_connection_attempts(Some(ICE_CHECK), Some(checks_within(limits.connect)))
            .with_multicast_dns_mode(rtc::ice::mdns::MulticastDnsMode::Disabled)
            .with_ice_credentials(ufrag.clone(), password.clone())
            .build();
        // Nothing is heard: both lines only send.
        let (unheard, _) = mpsc::channel(1);
        let handler = Handler {
            gathered: gathered_tx,
            state: state_tx,
            channels: Channels::default(),
            events: events.clone(),
            limits,
            floor: Arc::new(Floor::new(unheard)),
            arrived: Arc::default(),
        };
        let connection: Arc<dyn PeerConnection> = Arc::new(
            PeerConnectionBuilder::new()
                .with_media_engine(engine)
                .with_interceptor_registry(registry)
                .with_setting_engine(setting)
                .with_runtime(Arc::new(SharedSocketRuntime { mux: Arc::clone(mux), slot }))
                .with_handler(Arc::new(handler))
                .with_udp_addrs(vec!["127.0.0.1:0".to_owned()])
                .build()
                .await?,
        );
        let sdp = match describe(&connection, &streams, &mut gathered).await {
            Ok(sdp) => sdp,
            Err(error) => {
                let _ = connection.close().await;
                return Err(error);
            }
        };
        let hosts = candidates::hosts(&settings.advertise, None, mux.local_addr().ip());
        let sdp = candidates::rewrite(&sdp, &hosts, mux.local_addr().port(), mux.reflexive(), &[]);

        let (queue, frames) = mpsc::channel(SEND_QUEUE);
        let sink = Arc::new(Viewer::new(Some(VideoCodec::H264), queue, wants_keyframe, estimate));
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
            connected: metrics::broadcasts,
        };
        tokio::spawn(life.run());
        Ok((Self { connection, sink, mux: Arc::clone(mux), credentials: (ufrag, password), stop }, sdp))
    }

    /// Takes the answer to the offer.
    pub async fn accept(&self, answer: String) -> Result<(), Error> {
        Ok(self.connection.set_remote_description(RTCSessionDescription::answer(answer)?).await?)
    }

    /// Asks STUN servers, `stun:host:port`, for our address; a fragment that tells it to the other side (RFC 8840 §4.4).
    /// `None` if the offer had it already, or nobody answers.
    pub async fn reflexive(&self, urls: Vec<String>) -> Option<String> {
        if self.mux.reflexive().is_some() || urls.is_empty() {
            return None;
        }
        let servers = StunServers { urls, retries: STUN_RETRIES, patience: STUN_PATIENCE };
        let address = reflexive::find(&self.mux, &servers).await?;
        let (ufrag, password) = &self.credentials;
        let candidate = candidates::seen_line(0, address);
        Some(format!(
            "a=ice-ufrag:{ufrag}\r\na=ice-pwd:{password}\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n{candidate}a=end-of-candidates\r\n"
        ))
    }

    /// Where our frames go. To be used once it is connected.
    pub fn sink(&self) -> Arc<dyn MediaSink> {
        Arc::clone(&self.sink) as Arc<dyn MediaSink>
    }
}

impl Drop for Broadcast {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The offer, as the stack wrote it.
async fn describe(
    connection: &Arc<dyn PeerConnection>,
    streams: &Streams,
    gathered: &mut watch::Receiver<bool>,
) -> Result<String, Error> {
    for outgoing in streams.all() {
        let only_sends = RTCRtpTransceiverInit {
            direction: RTCRtpTransceiverDirection::Sendonly,
            streams: Vec::new(),
            send_encodings: Vec::new(),
        };
        let track = Arc::clone(&outgoing.track) as Arc<dyn TrackLocal>;
        connection.add_transceiver_from_track(track, Some(only_sends)).await?;
    }
    connection.set_local_description(connection.create_offer(None).await?).await?;
    match timeout(GATHER_TIMEOUT, gathered.wait_for(|done| *done)).await {
        Ok(Ok(_)) => {}
        _ => return Err(Error::Slow),
    }
    Ok(connection.local_description().await.ok_or(Error::Slow)?.sdp)
}

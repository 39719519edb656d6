//! A viewer without eyes, for `visavis bench`: connects as a browser would, tells what arrived when, and may talk.
//!
//! In: a server's address. Out: [`Arrival`]s, each stamped where its packet was read. Nothing is decoded here; a task per
//! track reads packets.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use rtc::interceptor::Registry;
use rtc::peer_connection::configuration::interceptor_registry::register_default_interceptors;
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::rtp::Packet;
use rtc::rtp_transceiver::rtp_sender::{RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RtpCodecKind};
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use serde_json::{Value, json};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{interval, timeout};
use webrtc::data_channel::{DataChannel, DataChannelEvent};
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState, RTCPeerConnectionState,
    RTCSessionDescription, SettingEngineBuilder,
};

use super::rtp::Stream;
use super::streams::{local_track, opus_codec};
use crate::codec::{OpusEncoder, VideoCodec};
use crate::media::{AUDIO_PTIME, AUDIO_RATE_HZ, AudioFrame, MediaTime, SAMPLES_PER_FRAME};

/// Arrivals that may wait to be counted: 13 s of both tracks. Full: the newest is lost.
const ARRIVALS: usize = 1_024;
/// From the offer to media: an overloaded server is slow to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Time between ICE checks, as browsers space theirs.
const ICE_CHECK: Duration = Duration::from_millis(20);

/// Opus, as we number it.
const OPUS: u8 = 111;

/// One thing that a viewer received.
#[derive(Clone, Debug)]
pub enum Arrival {
    /// The last packet of a picture.
    Picture {
        /// When.
        at: Instant,
        /// Its stamp, 90 kHz.
        stamp: u32,
        /// Decodable without any earlier picture.
        keyframe: bool,
        /// Whether all of its packets came.
        whole: bool,
        /// What its packets carried.
        bytes: usize,
        /// Packets that were missing since the last picture.
        lost: u64,
    },
    /// An Opus packet.
    Sound {
        /// When.
        at: Instant,
        /// Its stamp, 48 kHz.
        stamp: u32,
        /// As sent.
        packet: Bytes,
    },
    /// A message on the `visavis` channel.
    Text {
        /// When.
        at: Instant,
        /// What.
        text: String,
    },
}

/// What a viewer wants.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// Pictures, and how they are coded.
    pub video: Option<VideoCodec>,
    /// Whether it has a microphone.
    pub microphone: bool,
}

/// When the loud part of what was said began and ended.
#[derive(Clone, Copy, Debug)]
pub struct Spoken {
    /// The first loud frame was sent.
    pub began: Instant,
    /// The last loud frame was sent.
    pub ended: Instant,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The WebRTC stack refused.
    #[error("webrtc: {0}")]
    Stack(#[from] webrtc::error::Error),
    /// The server cannot be reached.
    #[error("offer: {0}")]
    Http(#[from] reqwest::Error),
    /// The microphone's encoder.
    #[error("opus: {0}")]
    Opus(#[from] crate::codec::Error),
    /// The server does not want us.
    #[error("the offer was refused: {0}")]
    Refused(String),
    /// It took longer than a viewer would wait.
    #[error("not connected within {} s", CONNECT_TIMEOUT.as_secs())]
    Slow,
}

/// A connected viewer.
pub struct Receiver {
    connection: Arc<dyn PeerConnection>,
    arrivals: mpsc::Receiver<Arrival>,
    microphone: Option<mpsc::Sender<Utterance>>,
    session: String,
    posted: Instant,
    connected: Instant,
}

impl Receiver {
    /// Offers what `wish` says at `url`/offer and waits until media can flow.
    pub async fn connect(http: &reqwest::Client, url: &str, wish: Wish) -> Result<Self, ReceiveError> {
        Self::join(http, url, wish, json!({})).await
    }

    /// The same with more in the offer: `{"sessionid": …}` or `{"avatar": …}`.
    pub async fn join(http: &reqwest::Client, url: &str, wish: Wish, offer: Value) -> Result<Self, ReceiveError> {
        timeout(CONNECT_TIMEOUT, Self::negotiate(http, url, wish, offer)).await.map_err(|_| ReceiveError::Slow)?
    }

    async fn negotiate(http: &reqwest::Client, url: &str, wish: Wish, mut offer: Value) -> Result<Self, ReceiveError> {
        let mut engine = MediaEngine::default();
        register_codecs(&mut engine, wish.video)?;
        let registry = register_default_interceptors(Registry::new(), &mut engine)?;
        let setting = SettingEngineBuilder::default()
            .with_include_loopback_candidate(true)
            .with_ice_connection_attempts(Some(ICE_CHECK), Some(500))
            .build();
        let (arrivals_tx, arrivals) = mpsc::channel(ARRIVALS);
        let (gathered_tx, mut gathered) = watch::channel(false);
        let (state_tx, mut state) = watch::channel(RTCPeerConnectionState::New);
        let handler = Handler { video: wish.video, arrivals: arrivals_tx.clone(), gathered: gathered_tx, state: state_tx };
        let connection: Arc<dyn PeerConnection> = Arc::new(
            PeerConnectionBuilder::new()
                .with_media_engine(engine)
                .with_interceptor_registry(registry)
                .with_setting_engine(setting)
                .with_handler(Arc::new(handler))
                .with_udp_addrs(vec!["127.0.0.1:0".to_owned()])
                .build()
                .await?,
        );
        let microphone = if wish.microphone { Some(Microphone::plug_in(&connection).await?) } else { None };
        let audio = microphone.is_none().then_some(RtpCodecKind::Audio);
        for kind in audio.into_iter().chain(wish.video.map(|_| RtpCodecKind::Video)) {
            let direction = RTCRtpTransceiverDirection::Recvonly;
            let init = RTCRtpTransceiverInit { direction, ..RTCRtpTransceiverInit::default() };
            connection.add_transceiver_from_kind(kind, Some(init)).await?;
        }
        tokio::spawn(read_channel(connection.create_data_channel("visavis", None).await?, arrivals_tx));
        connection.set_local_description(connection.create_offer(None).await?).await?;
        gathered.wait_for(|done| *done).await.map_err(|_| ReceiveError::Slow)?;
        let sdp = connection.local_description().await.ok_or(ReceiveError::Slow)?.sdp;

        let posted = Instant::now();
        (offer["sdp"], offer["type"]) = (sdp.into(), "offer".into());
        let reply = http.post(format!("{url}/offer")).json(&offer).send().await?.json::<Value>().await?;
        let Some(answer) = reply["sdp"].as_str() else { return Err(ReceiveError::Refused(reply["msg"].to_string())) };
        connection.set_remote_description(RTCSessionDescription::answer(answer.to_owned())?).await?;
        let connected = state.wait_for(|state| *state == RTCPeerConnectionState::Connected).await;
        connected.map_err(|_| ReceiveError::Slow)?;
        let session = reply["sessionid"].as_str().unwrap_or_default().to_owned();
        let microphone = microphone.map(Microphone::switch_on).transpose()?;
        Ok(Self { connection, arrivals, microphone, session, posted, connected: Instant::now() })
    }

    /// What arrives next; `None` once the connection is gone.
    pub async fn next(&mut self) -> Option<Arrival> {
        self.arrivals.recv().await
    }

    /// Forgets what has arrived so far.
    pub fn drain(&mut self) {
        while self.arrivals.try_recv().is_ok() {}
    }

    /// Says `frames` into the microphone, at their pace. `None` if there is none, nothing in them is as loud as `loud_rms`,
    /// or the connection is gone.
    pub async fn speak(&self, frames: Vec<AudioFrame>, loud_rms: f32) -> Option<Spoken> {
        let (spoken, said) = oneshot::channel();
        self.microphone.as_ref()?.send(Utterance { frames, loud_rms, spoken }).await.ok()?;
        said.await.ok()
    }

    /// Says good-bye.
    pub async fn close(self) {
        let _ = self.connection.close().await;
    }

    /// The session's id, for the server's other routes. Empty if it has none.
    pub fn session(&self) -> &str {
        &self.session
    }

    /// When the offer was sent.
    pub fn posted(&self) -> Instant {
        self.posted
    }

    /// When media could flow.
    pub fn connected(&self) -> Instant {
        self.connected
    }
}

/// Opus and `video` only, so that the server has no choice.
fn register_codecs(engine: &mut MediaEngine, video: Option<VideoCodec>) -> Result<(), webrtc::error::Error> {
    let opus = RTCRtpCodecParameters { rtp_codec: opus_codec(), payload_type: OPUS };
    engine.register_codec(opus, RtpCodecKind::Audio)?;
    let Some(codec) = video else { return Ok(()) };
    let feedback = |typ: &str, parameter: &str| RTCPFeedback { typ: typ.into(), parameter: parameter.into() };
    let fmtp = match codec {
        VideoCodec::H264 => "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
        VideoCodec::Vp8 => "",
    };
    let video = RTCRtpCodec {
        mime_type: codec.mime().into(),
        clock_rate: 90_000,
        channels: 0,
        sdp_fmtp_line: fmtp.into(),
        rtcp_feedback: vec![feedback("nack", ""), feedback("nack", "pli")],
    };
    engine.register_codec(RTCRtpCodecParameters { rtp_codec: video, payload_type: 96 }, RtpCodecKind::Video)
}

/// What is to be said.
struct Utterance {
    frames: Vec<AudioFrame>,
    loud_rms: f32,
    spoken: oneshot::Sender<Spoken>,
}

/// An open microphone: a packet every 20 ms, silent while nothing is said.
struct Microphone {
    track: Arc<TrackLocalStaticRTP>,
    stream: Stream,
}

impl Microphone {
    async fn plug_in(connection: &Arc<dyn PeerConnection>) -> Result<Self, webrtc::error::Error> {
        let ssrc = rand::random();
        let track = local_track(RtpCodecKind::Audio, opus_codec(), ssrc, None);
        connection.add_track(Arc::clone(&track) as Arc<dyn TrackLocal>).await?;
        Ok(Self { track, stream: Stream::opus(ssrc, OPUS) })
    }

    /// It is off once the sender is dropped.
    fn switch_on(self) -> Result<mpsc::Sender<Utterance>, ReceiveError> {
        let opus = OpusEncoder::open()?;
        let (said, utterances) = mpsc::channel(1);
        tokio::spawn(self.send(opus, utterances));
        Ok(said)
    }

    async fn send(mut self, mut opus: OpusEncoder, mut utterances: mpsc::Receiver<Utterance>) {
        let mut pace = interval(AUDIO_PTIME);
        let mut sent = 0;
        let mut send = async |frame: &AudioFrame| {
            pace.tick().await;
            let pts = MediaTime { ticks: sent * SAMPLES_PER_FRAME as u64, rate_hz: AUDIO_RATE_HZ };
            sent += 1;
            let Ok(packet) = opus.encode(frame) else { return };
            for packet in self.stream.packets(&packet, pts) {
                let _ = self.track.write_rtp(packet).await;
            }
        };
        loop {
            let Utterance { frames, loud_rms, spoken } = match utterances.try_recv() {
                Ok(utterance) => utterance,
                Err(TryRecvError::Empty) => {
                    send(&AudioFrame::SILENCE).await;
                    continue;
                }
                Err(TryRecvError::Disconnected) => return,
            };
            let mut loud: Option<Spoken> = None;
            for frame in &frames {
                send(frame).await;
                if frame.rms() > loud_rms {
                    let ended = Instant::now();
                    loud = Some(Spoken { began: loud.map_or(ended, |loud| loud.began), ended });
                }
            }
            if let Some(loud) = loud {
                let _ = spoken.send(loud);
            }
        }
    }
}

struct Handler {
    video: Option<VideoCodec>,
    arrivals: mpsc::Sender<Arrival>,
    gathered: watch::Sender<bool>,
    state: watch::Sender<RTCPeerConnectionState>,
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
        tokio::spawn(read_track(track, self.video, self.arrivals.clone()));
    }
}

async fn read_track(track: Arc<dyn TrackRemote>, codec: Option<VideoCodec>, arrivals: mpsc::Sender<Arrival>) {
    let video = track.kind().await == RtpCodecKind::Video;
    let mut pictures = codec.filter(|_| video).map(Pictures::new);
    while let Some(event) = track.poll().await {
        let TrackRemoteEvent::OnRtpPacket(packet) = event else { continue };
        let at = Instant::now();
        let arrival = match &mut pictures {
            Some(pictures) => pictures.push(&packet, at),
            None => Some(Arrival::Sound { at, stamp: packet.header.timestamp, packet: packet.payload }),
        };
        if let Some(arrival) = arrival {
            let _ = arrivals.try_send(arrival);
        }
    }
}

async fn read_channel(channel: Arc<dyn DataChannel>, arrivals: mpsc::Sender<Arrival>) {
    while let Some(event) = channel.poll().await {
        if let DataChannelEvent::OnMessage(message) = event
            && let Ok(text) = String::from_utf8(message.data.to_vec())
        {
            let _ = arrivals.try_send(Arrival::Text { at: Instant::now(), text });
        }
    }
}

/// Puts packets together to pictures. A packet that comes out of order counts as lost until it comes.
struct Pictures {
    codec: VideoCodec,
    last: Option<u16>,
    keyframe: bool,
    whole: bool,
    bytes: usize,
    lost: u64,
}

impl Pictures {
    fn new(codec: VideoCodec) -> Self {
        Self { codec, last: None, keyframe: false, whole: true, bytes: 0, lost: 0 }
    }

    fn push(&mut self, packet: &Packet, at: Instant) -> Option<Arrival> {
        let sequence = packet.header.sequence_number;
        let missing = self.last.map_or(0, |last| sequence.wrapping_sub(last).wrapping_sub(1));
        if missing >= 1 << 15 {
            // Resent or overtaken: it is no longer missing, but its picture was late.
            self.lost = self.lost.saturating_sub(1);
            return None;
        }
        self.last = Some(sequence);
        self.lost += u64::from(missing);
        self.whole &= missing == 0;
        self.bytes += packet.payload.len();
        self.keyframe |= begins_keyframe(self.codec, &packet.payload);
        if !packet.header.marker {
            return None;
        }
        let Self { keyframe, whole, bytes, lost, .. } = *self;
        (self.keyframe, self.whole, self.bytes, self.lost) = (false, true, 0, 0);
        Some(Arrival::Picture { at, stamp: packet.header.timestamp, keyframe, whole, bytes, lost })
    }
}

/// Whether this payload holds the start of a picture that needs no other: VP8 (RFC 7741 §4.2, 4.3), H.264 (RFC 6184 §5).
fn begins_keyframe(codec: VideoCodec, payload: &[u8]) -> bool {
    let byte = |at: usize| payload.get(at).copied().unwrap_or_default();
    match codec {
        VideoCodec::Vp8 => {
            let starts = byte(0) & 0x1f == 0x10;
            let mut head = 1;
            if byte(0) & 0x80 != 0 {
                let extension = byte(1);
                head = 2;
                if extension & 0x80 != 0 {
                    head += if byte(head) & 0x80 == 0 { 1 } else { 2 };
                }
                head += usize::from(extension & 0x40 != 0) + usize::from(extension & 0x30 != 0);
            }
            starts && payload.len() > head && byte(head) & 1 == 0
        }
        VideoCodec::H264 => match byte(0) & 0x1f {
            // A STAP-A that opens with the sequence parameters, or the first fragment of an IDR slice.
            24 => byte(3) & 0x1f == 7,
            28 => byte(1) & 0x9f == 0x85,
            unit => matches!(unit, 5 | 7),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(sequence: u16, marker: bool, payload: &'static [u8]) -> Packet {
        let mut packet = Packet { payload: Bytes::from_static(payload), ..Packet::default() };
        (packet.header.sequence_number, packet.header.marker) = (sequence, marker);
        packet
    }

    /// Whole, keyframe, lost of what `packets` end with.
    fn last(packets: &[Packet]) -> Option<(bool, bool, u64)> {
        let mut pictures = Pictures::new(VideoCodec::Vp8);
        let arrivals = packets.iter().map(|p| pictures.push(p, Instant::now()));
        arrivals.last().flatten().map(|arrival| match arrival {
            Arrival::Picture { whole, keyframe, lost, .. } => (whole, keyframe, lost),
            _ => unreachable!("pictures make pictures"),
        })
    }

    #[test]
    fn a_picture_is_complete_with_its_marker() {
        assert_eq!(last(&[packet(7, false, &[0x10, 0])]), None);
        assert_eq!(last(&[packet(7, false, &[0x10, 0]), packet(8, true, &[0, 1])]), Some((true, true, 0)));
    }

    #[test]
    fn a_gap_is_lost_and_its_picture_is_not_whole_across_the_wrap() {
        let gap = [packet(65_534, true, &[0x10, 1]), packet(0, false, &[0x10, 1]), packet(1, true, &[0, 0])];
        assert_eq!(last(&gap), Some((false, false, 1)));
    }

    #[test]
    fn a_resent_packet_is_not_lost() {
        let resent =
            [packet(1, true, &[0x10, 1]), packet(3, false, &[0, 0]), packet(2, false, &[0x10, 1]), packet(4, true, &[0, 0])];
        assert_eq!(last(&resent), Some((false, false, 0)));
    }

    #[test]
    fn keyframes_are_told_behind_every_descriptor() {
        let vp8 = |payload: &[u8]| begins_keyframe(VideoCodec::Vp8, payload);
        assert!(vp8(&[0x10, 0x50]) && !vp8(&[0x10, 0x51]) && !vp8(&[0x00, 0x50]));
        assert!(vp8(&[0x90, 0x80, 0x81, 0x02, 0x50]) && vp8(&[0x90, 0x80, 0x01, 0x50]));
        let h264 = |payload: &[u8]| begins_keyframe(VideoCodec::H264, payload);
        assert!(h264(&[0x65]) && h264(&[0x78, 0, 9, 0x67]) && h264(&[0x7c, 0x85]) && !h264(&[0x7c, 0x05]) && !h264(&[0x41]));
    }
}

//! A connection by which we send to another server, sound and pictures, and hear nothing (WHIP).
//!
//! In: the other server's answer, encoded frames. Out: an offer of two lines that only send, and [`Event`]s. A task per
//! broadcast sends packets; the WebRTC stack runs another.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rtc::rtp_transceiver::RTCRtpTransceiverDirection;
use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;
use webrtc::peer_connection::{PeerConnection, RTCSessionDescription};

use super::link::{Credentials, Link, Media};
use super::reflexive::{self, StunServers};
use super::sdp::VideoLine;
use super::viewer::Viewer;
use super::{Error, Event, Limits, Offer, Settings, UdpMux, candidates};
use crate::codec::VideoCodec;
use crate::metrics;
use crate::track::MediaSink;

/// Our numbers of the codecs, which are OBS': servers that do not read an offer's (xiu) take no others.
const OPUS: u8 = 111;
const H264: u8 = 96;
const H264_RTX: u8 = 97;
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
    credentials: Credentials,
    _stop: DropGuard,
}

impl Broadcast {
    /// An offer. `events` are [`Event::Connected`] and [`Event::Closed`], also where no answer ever comes.
    pub async fn offer(settings: &Settings, events: mpsc::Sender<Event>) -> Result<(Self, String), Error> {
        let credentials = Credentials::random();
        let h264 =
            VideoLine { codec: VideoCodec::H264, payload_type: H264, rtx: Some(H264_RTX), fmtp: H264_PARAMETERS.to_owned() };
        let wish = Offer { sdp: String::new(), opus: OPUS, video: Some(h264) };
        let wants_keyframe = Arc::new(AtomicBool::new(true));
        let (media, estimate) = Media::of(&wish, settings.bitrate, &wants_keyframe)?;
        // Nothing is heard: both lines only send.
        let (unheard, _) = mpsc::channel(1);
        let mut link = Link::open(&settings.mux, Some(&credentials), media, Limits::default(), events, unheard).await?;
        let sdp = link.offer(RTCRtpTransceiverDirection::Sendonly).await?;

        let connection = Arc::clone(&link.connection);
        let (queue, stop) = link.live(metrics::broadcasts);
        let sink = Arc::new(Viewer::new(Some(VideoCodec::H264), queue, wants_keyframe, estimate));
        let mux = Arc::clone(&settings.mux);
        Ok((Self { connection, sink, mux, credentials, _stop: stop.drop_guard() }, settings.offered(&sdp)))
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
        let Credentials { ufrag, password } = &self.credentials;
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

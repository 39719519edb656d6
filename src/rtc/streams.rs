//! What we send: a stream of sound and one of pictures, and the codecs as SDP names them.

use std::sync::Arc;

use rtc::media_stream::MediaStreamTrack;
use rtc::rtp_transceiver::rtp_sender::{
    RTCPFeedback, RTCRtpCodec, RTCRtpCodingParameters, RTCRtpEncodingParameters, RTCRtpRtxParameters, RtpCodecKind,
};
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;

use super::Offer;
use super::reports::Origin;
use super::rtp::Stream;
use super::sdp::VideoLine;

pub(super) struct Outgoing {
    pub(super) track: Arc<TrackLocalStaticRTP>,
    pub(super) stream: Stream,
}

impl Outgoing {
    /// Our sound, as packets of `payload_type`.
    pub(super) fn sound(payload_type: u8) -> Self {
        let ssrc = rand::random();
        let track = local_track(RtpCodecKind::Audio, opus_codec(), ssrc, None);
        Self { track, stream: Stream::opus(ssrc, payload_type) }
    }
}

pub(super) struct Streams {
    pub(super) audio: Outgoing,
    pub(super) video: Option<Outgoing>,
}

impl Streams {
    pub(super) fn new(offer: &Offer) -> Self {
        let audio = Outgoing::sound(offer.opus);
        let video = offer.video.as_ref().map(|line| {
            let (ssrc, rtx) = (rand::random(), line.rtx.map(|_| rand::random()));
            let track = local_track(RtpCodecKind::Video, video_codec(line), ssrc, rtx);
            Outgoing { track, stream: Stream::video(line.codec, ssrc, line.payload_type) }
        });
        Self { audio, video }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Outgoing> {
        std::iter::once(&self.audio).chain(&self.video)
    }

    pub(super) fn origins(&self) -> impl Iterator<Item = Origin> {
        self.all().map(|outgoing| outgoing.stream.origin())
    }
}

pub(super) fn opus_codec() -> RTCRtpCodec {
    codec_of("audio/opus", 48_000, 2, "minptime=10;useinbandfec=1", vec![])
}

pub(super) fn video_codec(line: &VideoLine) -> RTCRtpCodec {
    let feedback = |typ: &str, parameter: &str| RTCPFeedback { typ: typ.into(), parameter: parameter.into() };
    let feedback = vec![feedback("ccm", "fir"), feedback("nack", ""), feedback("nack", "pli")];
    codec_of(line.codec.mime(), 90_000, 0, &line.fmtp, feedback)
}

pub(super) fn codec_of(
    mime: &str,
    clock_rate: u32,
    channels: u16,
    fmtp: &str,
    rtcp_feedback: Vec<RTCPFeedback>,
) -> RTCRtpCodec {
    RTCRtpCodec { mime_type: mime.into(), clock_rate, channels, sdp_fmtp_line: fmtp.into(), rtcp_feedback }
}

/// Both tracks share the stream id `visavis`, so that a browser plays them in step.
pub(super) fn local_track(kind: RtpCodecKind, codec: RTCRtpCodec, ssrc: u32, rtx: Option<u32>) -> Arc<TrackLocalStaticRTP> {
    let rtx = rtx.map(|ssrc| RTCRtpRtxParameters { ssrc });
    let coding = RTCRtpCodingParameters { ssrc: Some(ssrc), rtx, ..RTCRtpCodingParameters::default() };
    let encoding = RTCRtpEncodingParameters { rtp_coding_parameters: coding, codec, ..RTCRtpEncodingParameters::default() };
    let name = format!("visavis-{kind}");
    Arc::new(TrackLocalStaticRTP::new(MediaStreamTrack::new("visavis".into(), name.clone(), name, kind, vec![encoding])))
}

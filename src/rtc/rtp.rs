//! Encoded frames to RTP packets. Stamps come from the frame's own counter, never from a clock (docs/design/time.md).

use bytes::Bytes;
use rtc::rtp;
use rtc::rtp::codec::h264::H264Payloader;
use rtc::rtp::codec::vp8::Vp8Payloader;
use rtc::rtp::packetizer::Payloader;

use super::reports::Origin;
use crate::codec::VideoCodec;
use crate::media::MediaTime;

/// Payload bytes in a packet: fits every path's MTU with SRTP, extensions and a tunnel's overhead.
const MTU: usize = 1_180;

/// Opus' RTP clock, whatever the input rate (RFC 7587 §4.1).
const OPUS_CLOCK_HZ: u64 = 48_000;

/// One RTP stream: numbers its packets and offsets its stamps from a random start (RFC 3550 §5.1).
pub(super) struct Stream {
    ssrc: u32,
    payload_type: u8,
    sequence: u16,
    start: u32,
    clock_hz: u64,
    payloader: Option<Box<dyn Payloader>>,
}

impl Stream {
    pub(super) fn opus(ssrc: u32, payload_type: u8) -> Self {
        Self::new(ssrc, payload_type, OPUS_CLOCK_HZ, None)
    }

    pub(super) fn video(codec: VideoCodec, ssrc: u32, payload_type: u8) -> Self {
        let payloader: Box<dyn Payloader> = match codec {
            VideoCodec::H264 => Box::new(H264Payloader::default()),
            VideoCodec::Vp8 => {
                let mut payloader = Vp8Payloader::default();
                payloader.enable_picture_id = true;
                Box::new(payloader)
            }
        };
        Self::new(ssrc, payload_type, 90_000, Some(payloader))
    }

    fn new(ssrc: u32, payload_type: u8, clock_hz: u64, payloader: Option<Box<dyn Payloader>>) -> Self {
        Self { ssrc, payload_type, sequence: rand::random(), start: rand::random(), clock_hz, payloader }
    }

    /// How its stamps count.
    pub(super) fn origin(&self) -> Origin {
        Origin { ssrc: self.ssrc, start: self.start, clock_hz: self.clock_hz as u32 }
    }

    /// The packets of one frame; the last one is marked.
    pub(super) fn packets(&mut self, frame: &Bytes, pts: MediaTime) -> Vec<rtp::Packet> {
        let payloads = match &mut self.payloader {
            // A frame that does not parse as its codec's is our encoder's bug; it is not sent.
            Some(payloader) => payloader.payload(MTU, frame).unwrap_or_default(),
            None => vec![frame.clone()],
        };
        let ticks = pts.ticks * self.clock_hz / u64::from(pts.rate_hz);
        let timestamp = self.start.wrapping_add(ticks as u32);
        let last = payloads.len().saturating_sub(1);
        let video = self.payloader.is_some();
        payloads
            .into_iter()
            .enumerate()
            .map(|(n, payload)| {
                let header = rtp::Header {
                    version: 2,
                    marker: video && n == last,
                    payload_type: self.payload_type,
                    sequence_number: self.sequence,
                    timestamp,
                    ssrc: self.ssrc,
                    ..rtp::Header::default()
                };
                self.sequence = self.sequence.wrapping_add(1);
                rtp::Packet { header, payload }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opus_stamps_step_by_960_and_packets_are_numbered() {
        let mut stream = Stream::opus(1, 111);
        let frame = Bytes::from_static(b"opus");
        let stamp =
            |s: &mut Stream, n: u64| s.packets(&frame, MediaTime { ticks: n * 320, rate_hz: 16_000 }).remove(0).header;
        let (first, second) = (stamp(&mut stream, 0), stamp(&mut stream, 1));
        assert_eq!(second.timestamp.wrapping_sub(first.timestamp), 960);
        assert_eq!(second.sequence_number.wrapping_sub(first.sequence_number), 1);
    }

    #[test]
    fn a_picture_of_many_packets_has_one_stamp_and_one_mark() {
        let mut stream = Stream::video(VideoCodec::Vp8, 1, 96);
        let packets = stream.packets(&Bytes::from(vec![7; 5_000]), MediaTime { ticks: 3_600, rate_hz: 90_000 });
        assert!(packets.len() >= 5);
        assert!(packets.iter().all(|p| p.header.timestamp == packets[0].header.timestamp));
        assert_eq!(packets.iter().filter(|p| p.header.marker).count(), 1);
        assert!(packets.last().unwrap().header.marker);
    }

    #[test]
    fn every_h264_picture_becomes_packets() {
        let mut encoder = crate::codec::open(VideoCodec::H264, 512, 512, 800_000).unwrap();
        let mut stream = Stream::video(VideoCodec::H264, 1, 96);
        for n in 0..20_u64 {
            let mut frame = crate::media::VideoFrame::black(512, 512);
            for (i, p) in frame.planes_mut()[0].iter_mut().enumerate() {
                *p = ((i * 7) as u64 + n * 5 + (i as u64 / 512) * n) as u8;
            }
            let picture = encoder.encode(&frame, false).unwrap();
            let packets = stream.packets(&picture.data, MediaTime { ticks: n * 3_600, rate_hz: 90_000 });
            let sent: usize = packets.iter().map(|p| p.payload.len()).sum();
            assert!(
                !packets.is_empty() && sent * 10 > picture.data.len() * 9,
                "picture {n}: {sent} of {}",
                picture.data.len()
            );
        }
    }
}

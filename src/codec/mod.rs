//! Raw to encoded, and nothing else: no clock, no queue, no network.
//!
//! In: `AudioFrame`, `VideoFrame`. Out: the bytes of one Opus packet or one coded picture. Runs on the encode thread.

mod aac;
mod ffmpeg;
mod h264;
mod opus;
mod vp8;

use bytes::Bytes;

use crate::media::VideoFrame;

pub use aac::{AacEncoder, AacPacket};
pub use opus::{OpusDecoder, OpusEncoder};

/// The video codecs that every browser must decode (RFC 7742 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VideoCodec {
    /// Constrained baseline, packetization-mode 1.
    H264,
    /// The default: needs no profile matching.
    Vp8,
}

impl VideoCodec {
    /// As SDP and the metrics spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::H264 => "H264",
            Self::Vp8 => "VP8",
        }
    }
}

/// One coded picture.
#[derive(Clone, Debug)]
pub struct CodedPicture {
    /// Annex B for H.264, one frame for VP8.
    pub data: Bytes,
    /// Decodable without any earlier picture.
    pub keyframe: bool,
}

/// One picture in, one coded picture out. Software today; hardware encoders fit the same shape.
pub trait VideoEncoder: Send {
    /// Codes `frame`. `keyframe` asks for a picture that can be decoded on its own.
    fn encode(&mut self, frame: &VideoFrame, keyframe: bool) -> Result<CodedPicture, Error>;

    /// Aims for `bits_per_second` from the next picture on, which may therefore be a keyframe.
    fn set_bitrate(&mut self, bits_per_second: u32) -> Result<(), Error>;

    /// Width and height of the pictures it takes.
    fn size(&self) -> (u32, u32);
}

/// Opens the encoder for `codec`.
pub fn open(codec: VideoCodec, width: u32, height: u32, bits_per_second: u32) -> Result<Box<dyn VideoEncoder>, Error> {
    Ok(match codec {
        VideoCodec::H264 => Box::new(h264::open(width, height, bits_per_second)?),
        VideoCodec::Vp8 => Box::new(vp8::open(width, height, bits_per_second)?),
    })
}

/// What an encoder can fail at. Each ends the session that owns it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The `FFmpeg` that this binary is linked with lacks the encoder.
    #[error("this machine's ffmpeg has no encoder {0}")]
    NoEncoder(&'static str),
    /// `FFmpeg` refused.
    #[error("{encoder}: {source}")]
    Ffmpeg {
        /// Which encoder.
        encoder: &'static str,
        /// What it said.
        #[source]
        source: ffmpeg_next::Error,
    },
    /// libopus refused.
    #[error("opus: {0}")]
    Opus(#[from] ::opus::Error),
    /// The sound could not be brought to the encoder's rate.
    #[error(transparent)]
    Resample(#[from] crate::media::ResampleError),
    /// The encoder swallowed a picture: it was not set up for zero delay.
    #[error("{0} returned no picture")]
    NoPicture(&'static str),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture that moves with `n`, so that every coded picture differs.
    fn picture(n: u8) -> VideoFrame {
        let mut frame = VideoFrame::black(64, 48);
        let [y, ..] = frame.planes_mut();
        for (i, p) in y.iter_mut().enumerate() {
            *p = ((i % 64) as u8).wrapping_mul(3).wrapping_add(n);
        }
        frame
    }

    #[test]
    fn the_first_picture_is_a_keyframe_and_a_later_one_is_when_asked() {
        for codec in [VideoCodec::H264, VideoCodec::Vp8] {
            let mut encoder = open(codec, 64, 48, 300_000).unwrap();
            let keys: Vec<bool> = (0..6).map(|n| encoder.encode(&picture(n), n == 4).unwrap().keyframe).collect();
            assert_eq!(keys, [true, false, false, false, true, false], "{codec:?}");
        }
    }

    #[test]
    fn every_picture_in_is_one_picture_out_across_a_change_of_bitrate() {
        for codec in [VideoCodec::H264, VideoCodec::Vp8] {
            let mut encoder = open(codec, 64, 48, 800_000).unwrap();
            for n in 0..10 {
                if n == 5 {
                    encoder.set_bitrate(200_000).unwrap();
                }
                assert!(!encoder.encode(&picture(n), false).unwrap().data.is_empty(), "{codec:?} picture {n}");
            }
        }
    }
}

//! Decodes an MP3 stream as it comes.
//!
//! In: bytes cut at any place. Out: mono 16-bit samples at the stream's own rate, frame by frame (24 ms at 24 kHz), so
//! that the first sound is there with the first frame. Runs on whichever thread calls it; a frame takes some 20 µs.

use ffmpeg_next::codec::{self, decoder};
use ffmpeg_next::util::error::EAGAIN;
use ffmpeg_next::util::format::sample::{Sample, Type};
use ffmpeg_next::util::frame::Audio;
use ffmpeg_next::{Error, Packet};

/// Bytes without a frame after which this is no MP3: several times the largest frame, 1441 bytes.
const LONGEST_SEARCH: usize = 16 << 10;

/// Why there is no sound.
#[derive(Debug, thiserror::Error)]
pub enum Mp3Error {
    /// Nothing in these bytes looks like MP3.
    #[error("no MP3 frame in {LONGEST_SEARCH} bytes")]
    NotMp3,
    /// The `FFmpeg` that this binary is linked with cannot decode MP3, or refused.
    #[error("decoding MP3: {0}")]
    Ffmpeg(#[from] Error),
}

/// A stream of MPEG audio layer III.
pub struct Mp3Decoder {
    decoder: decoder::Audio,
    /// Bytes of the frame that is not complete yet.
    rest: Vec<u8>,
    /// Bytes passed over since the last frame.
    skipped: usize,
    /// Bytes of an ID3 tag that are still to come.
    tag: usize,
    begun: bool,
}

impl Mp3Decoder {
    /// Ready for the first byte.
    pub fn open() -> Result<Self, Mp3Error> {
        let codec = decoder::find(codec::Id::MP3).ok_or(Error::DecoderNotFound)?;
        let decoder = codec::Context::new_with_codec(codec).decoder().open_as(codec)?.audio()?;
        Ok(Self { decoder, rest: Vec::new(), skipped: 0, tag: 0, begun: false })
    }

    /// Takes the next bytes, gives the sample rate and the samples of the frames that are complete.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<(u32, Vec<i16>)>, Mp3Error> {
        let skipped = self.tag.min(bytes.len());
        self.tag -= skipped;
        self.rest.extend_from_slice(&bytes[skipped..]);
        let mut sound = Vec::new();
        let mut at = 0;
        while let Some(head) = self.rest.get(at..at + 10) {
            if let Some(len) = id3_len(head) {
                let present = len.min(self.rest.len() - at);
                self.tag = len - present;
                at += present;
            } else if let Some(len) = frame_len(head) {
                let Some(frame) = self.rest.get(at..at + len) else { break };
                // The first frame may hold a table of contents in place of sound.
                let table = !self.begun && [b"Xing", b"Info"].iter().any(|name| frame.windows(4).any(|w| w == *name));
                self.begun = true;
                if !table {
                    self.decoder.send_packet(&Packet::copy(frame))?;
                    sound.extend(self.decoded()?);
                }
                at += len;
                self.skipped = 0;
            } else {
                at += 1;
                self.skipped += 1;
                if self.skipped > LONGEST_SEARCH {
                    return Err(Mp3Error::NotMp3);
                }
            }
        }
        self.rest.drain(..at);
        Ok(sound)
    }

    fn decoded(&mut self) -> Result<Vec<(u32, Vec<i16>)>, Mp3Error> {
        let mut sound = Vec::new();
        let mut frame = Audio::empty();
        loop {
            match self.decoder.receive_frame(&mut frame) {
                Ok(()) => sound.push((frame.rate(), mono(&frame))),
                Err(Error::Other { errno: EAGAIN } | Error::Eof) => return Ok(sound),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The mean of all channels.
fn mono(frame: &Audio) -> Vec<i16> {
    let channels = usize::from(frame.channels()).max(1);
    let scaled = |sum: f32| (sum / channels as f32 * 32_767.0).round().clamp(-32_768.0, 32_767.0) as i16;
    match frame.format() {
        Sample::F32(Type::Planar) => {
            (0..frame.samples()).map(|i| scaled((0..channels).map(|c| frame.plane::<f32>(c)[i]).sum())).collect()
        }
        Sample::I16(Type::Planar) => {
            let sample = |c: usize, i: usize| f32::from(frame.plane::<i16>(c)[i]) / 32_767.0;
            (0..frame.samples()).map(|i| scaled((0..channels).map(|c| sample(c, i)).sum())).collect()
        }
        _ => Vec::new(),
    }
}

/// Length of the `ID3v2` tag that begins with `head` (10 bytes), with its header (id3.org, ID3v2.4.0 §3.1).
fn id3_len(head: &[u8]) -> Option<usize> {
    let size = head[6..10].iter().try_fold(0, |size, b| (b & 0x80 == 0).then_some(size << 7 | usize::from(*b)));
    head.starts_with(b"ID3").then_some(size? + 10)
}

/// Length in bytes of the layer III frame whose header is `head` (ISO 11172-3 §2.4.1.3, ISO 13818-3 §2.4.2.3).
fn frame_len(head: &[u8]) -> Option<usize> {
    const KBIT_MPEG1: [usize; 14] = [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320];
    const KBIT_MPEG2: [usize; 14] = [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];
    let is_layer_3 = head[0] == 0xff && head[1] & 0xe6 == 0xe2;
    let (mpeg1, halvings) = match head[1] >> 3 & 3 {
        3 => (true, 0),
        2 => (false, 1),
        0 => (false, 2),
        _ => return None,
    };
    let rate_hz = [44_100, 48_000, 32_000].get(usize::from(head[2] >> 2 & 3))? >> halvings;
    let kbit = *if mpeg1 { KBIT_MPEG1 } else { KBIT_MPEG2 }.get(usize::from(head[2] >> 4).checked_sub(1)?)?;
    let padding = usize::from(head[2] >> 1 & 1);
    is_layer_3.then_some(if mpeg1 { 144 } else { 72 } * kbit * 1_000 / rate_hz + padding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frames_of_the_common_voices_have_their_known_lengths() {
        // MPEG-2, 24 kHz, 48 kbit/s: what Edge sends. MPEG-1, 44.1 kHz, 128 kbit/s, without and with padding.
        assert_eq!(frame_len(&[0xff, 0xf3, 0x64, 0xc4]), Some(144));
        assert_eq!(frame_len(&[0xff, 0xfb, 0x90, 0x64]), Some(417));
        assert_eq!(frame_len(&[0xff, 0xfb, 0x92, 0x64]), Some(418));
        assert_eq!(frame_len(&[0xff, 0xff, 0xff, 0xff]), None);
    }

    #[test]
    fn bytes_that_are_no_mp3_are_refused() {
        let mut decoder = Mp3Decoder::open().unwrap();
        let text = b"<html><body>Bad Gateway</body></html>".repeat(1_000);
        assert!(matches!(decoder.push(&text), Err(Mp3Error::NotMp3)));
        assert!(!decoder.begun);
    }

    #[test]
    fn a_tag_before_the_sound_is_passed_over_wherever_it_is_cut() {
        let mut decoder = Mp3Decoder::open().unwrap();
        let mut tag = b"ID3\x04\x00\x00\x00\x01\x00\x00".to_vec();
        tag.extend(std::iter::repeat_n(0xff, 16_384));
        let sound: usize = tag.chunks(7).map(|bytes| decoder.push(bytes).unwrap().len()).sum();
        assert_eq!((sound, decoder.begun), (0, false));
    }
}

//! AAC, the sound of RTMP: 44.1 kHz in stereo, which every service takes.

use bytes::Bytes;
use ffmpeg_next::util::channel_layout::ChannelLayout;
use ffmpeg_next::util::format::sample::{Sample, Type};
use ffmpeg_next::{Packet, Rational, codec, encoder, frame};

use super::Error;
use crate::media::{AUDIO_RATE_HZ, AudioFrame, Resampler};

const RATE_HZ: u32 = 44_100;
/// Twice what a voice needs: it is small beside the picture.
const BITS_PER_SECOND: usize = 96_000;
const NAME: &str = "aac";

/// One AAC frame, 23 ms.
#[derive(Clone, Debug)]
pub struct AacPacket {
    /// Without ADTS header.
    pub data: Bytes,
    /// Samples at 44.1 kHz since the first; the first packet comes before it, by the encoder's delay.
    pub pts: i64,
}

/// 20 ms in, none, one or two packets out.
pub struct AacEncoder {
    encoder: encoder::audio::Encoder,
    resampler: Resampler,
    waiting: Vec<i16>,
    fed: i64,
}

impl AacEncoder {
    /// Opens `FFmpeg`'s own encoder.
    pub fn open() -> Result<Self, Error> {
        let failed = |source| Error::Ffmpeg { encoder: NAME, source };
        let found = encoder::find_by_name(NAME).ok_or(Error::NoEncoder(NAME))?;
        let mut audio = codec::context::Context::new_with_codec(found).encoder().audio().map_err(failed)?;
        audio.set_rate(RATE_HZ as i32);
        audio.set_format(Sample::F32(Type::Planar));
        audio.set_channel_layout(ChannelLayout::STEREO);
        audio.set_bit_rate(BITS_PER_SECOND);
        audio.set_time_base(Rational(1, RATE_HZ as i32));
        // FLV wants what a decoder must know once, before the first packet.
        audio.set_flags(codec::Flags::GLOBAL_HEADER);
        let encoder = audio.open().map_err(failed)?;
        let resampler = Resampler::new(AUDIO_RATE_HZ, RATE_HZ)?;
        Ok(Self { encoder, resampler, waiting: Vec::new(), fed: 0 })
    }

    /// What a muxer must know of it.
    pub fn parameters(&self) -> codec::Parameters {
        codec::Parameters::from(&self.encoder)
    }

    /// Samples a second of its packets' stamps.
    pub fn rate_hz(&self) -> u32 {
        RATE_HZ
    }

    /// Takes the next 20 ms.
    pub fn encode(&mut self, sound: &AudioFrame) -> Result<Vec<AacPacket>, Error> {
        self.waiting.extend(self.resampler.push(&sound.0));
        let length = self.encoder.frame_size() as usize;
        let mut packets = Vec::new();
        while self.waiting.len() >= length {
            let samples: Vec<f32> = self.waiting.drain(..length).map(|sample| f32::from(sample) / 32_768.0).collect();
            let mut input = frame::Audio::new(Sample::F32(Type::Planar), length, ChannelLayout::STEREO);
            input.set_rate(RATE_HZ);
            for channel in 0..2 {
                input.plane_mut::<f32>(channel).copy_from_slice(&samples);
            }
            input.set_pts(Some(self.fed));
            self.fed += length as i64;
            let failed = |source| Error::Ffmpeg { encoder: NAME, source };
            self.encoder.send_frame(&input).map_err(failed)?;
            let mut packet = Packet::empty();
            while self.encoder.receive_packet(&mut packet).is_ok() {
                let data = Bytes::copy_from_slice(packet.data().unwrap_or_default());
                packets.push(AacPacket { data, pts: packet.pts().unwrap_or_default() });
            }
        }
        Ok(packets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_sound_is_a_second_of_packets_with_rising_stamps() {
        let mut encoder = AacEncoder::open().unwrap();
        let packets: Vec<_> = (0..50).flat_map(|_| encoder.encode(&AudioFrame::SILENCE).unwrap()).collect();
        let lasts = packets.len() as i64 * 1_024;
        assert!((40_000..=44_100).contains(&lasts), "{} packets", packets.len());
        assert!(packets.windows(2).all(|pair| pair[1].pts - pair[0].pts == 1_024));
        assert!(packets[0].pts <= 0);
    }
}

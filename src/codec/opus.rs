//! Opus, 20 ms a packet. The RTP clock is 48 kHz whatever goes in (RFC 7587 §4.1); the encoder takes our 16 kHz.

use bytes::Bytes;

use super::Error;
use crate::media::{AUDIO_RATE_HZ, AudioFrame};

/// Wideband speech is transparent at 24 kbit/s (RFC 7587 §3.1.1).
const BITS_PER_SECOND: i32 = 24_000;

/// Of 10. The default cost 9 % of a speaking session; from 5 on speech at this rate gains nothing that is heard.
const COMPLEXITY: i32 = 5;

/// One speaker's encoder.
pub struct OpusEncoder {
    encoder: ::opus::Encoder,
}

impl OpusEncoder {
    /// Mono speech with in-band error correction, for 10 % of loss.
    pub fn open() -> Result<Self, Error> {
        Self::at(AUDIO_RATE_HZ)
    }

    /// The same for samples at another of Opus's rates.
    pub fn at(rate_hz: u32) -> Result<Self, Error> {
        let mut encoder = ::opus::Encoder::new(rate_hz, ::opus::Channels::Mono, ::opus::Application::Voip)?;
        encoder.set_bitrate(::opus::Bitrate::Bits(BITS_PER_SECOND))?;
        encoder.set_complexity(COMPLEXITY)?;
        encoder.set_inband_fec(true)?;
        encoder.set_packet_loss_perc(10)?;
        Ok(Self { encoder })
    }

    /// One frame in, one packet out.
    pub fn encode(&mut self, frame: &AudioFrame) -> Result<Bytes, Error> {
        self.encode_samples(&frame.0)
    }

    /// 2.5, 5, 10, 20, 40 or 60 ms of samples in, one packet out.
    pub fn encode_samples(&mut self, samples: &[i16]) -> Result<Bytes, Error> {
        // 1275 bytes is the largest frame Opus makes (RFC 6716 §3.4).
        let mut packet = [0; 1275];
        let len = self.encoder.encode(samples, &mut packet)?;
        Ok(Bytes::copy_from_slice(&packet[..len]))
    }
}

/// The longest that one packet may hold: 120 ms (RFC 6716 §3.2.5).
const MAX_PACKET_SAMPLES: usize = AUDIO_RATE_HZ as usize * 120 / 1_000;

/// One speaker's decoder: whatever rate and channels were coded, it gives 16 kHz mono.
pub struct OpusDecoder {
    decoder: ::opus::Decoder,
}

impl OpusDecoder {
    /// For a stream from its start.
    pub fn open() -> Result<Self, Error> {
        Ok(Self { decoder: ::opus::Decoder::new(AUDIO_RATE_HZ, ::opus::Channels::Mono)? })
    }

    /// The samples of one packet.
    pub fn decode(&mut self, packet: &[u8]) -> Result<Vec<i16>, Error> {
        let mut samples = vec![0; MAX_PACKET_SAMPLES];
        let len = self.decoder.decode(packet, &mut samples, false)?;
        samples.truncate(len);
        Ok(samples)
    }

    /// `samples` (a multiple of 40, 2.5 ms) in the place of a lost packet: its in-band copy if `next`, the packet after
    /// it, carries one, else a guess that fades out.
    pub fn conceal(&mut self, samples: usize, next: Option<&[u8]>) -> Result<Vec<i16>, Error> {
        let mut out = vec![0; samples.min(MAX_PACKET_SAMPLES)];
        let len = self.decoder.decode(next.unwrap_or_default(), &mut out, next.is_some())?;
        out.truncate(len);
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::SAMPLES_PER_FRAME;

    /// 440 Hz at half scale, frame `n` of it.
    fn tone(n: usize) -> AudioFrame {
        AudioFrame(std::array::from_fn(|i| {
            let t = (n * SAMPLES_PER_FRAME + i) as f32 / AUDIO_RATE_HZ as f32;
            ((t * 440.0 * std::f32::consts::TAU).sin() * 16_000.0) as i16
        }))
    }

    fn rms(samples: &[i16]) -> f32 {
        (samples.iter().map(|s| f32::from(*s).powi(2)).sum::<f32>() / samples.len() as f32).sqrt()
    }

    #[test]
    fn a_tone_comes_back_at_its_level_and_length() {
        let (mut encoder, mut decoder) = (OpusEncoder::open().unwrap(), OpusDecoder::open().unwrap());
        let heard: Vec<i16> = (0..50).flat_map(|n| decoder.decode(&encoder.encode(&tone(n)).unwrap()).unwrap()).collect();
        assert_eq!(heard.len(), 50 * SAMPLES_PER_FRAME);
        assert!((rms(&heard[3_200..]) / rms(&tone(0).0) - 1.0).abs() < 0.2);
    }

    #[test]
    fn stereo_at_48_khz_is_mixed_to_16_khz_mono() {
        let mut encoder = ::opus::Encoder::new(48_000, ::opus::Channels::Stereo, ::opus::Application::Audio).unwrap();
        let mut decoder = OpusDecoder::open().unwrap();
        let mut heard = Vec::new();
        for n in 0..50 {
            let both: Vec<i16> = (0..960)
                .flat_map(|i| {
                    let t = (n * 960 + i) as f32 / 48_000.0;
                    [((t * 440.0 * std::f32::consts::TAU).sin() * 16_000.0) as i16; 2]
                })
                .collect();
            heard.extend(decoder.decode(&encoder.encode_vec(&both, 1_275).unwrap()).unwrap());
        }
        assert_eq!(heard.len(), 16_000);
        assert!((rms(&heard[3_200..]) / 11_300.0 - 1.0).abs() < 0.2);
    }

    #[test]
    fn a_lost_packet_is_guessed_and_garbage_is_an_error() {
        let (mut encoder, mut decoder) = (OpusEncoder::open().unwrap(), OpusDecoder::open().unwrap());
        let packets: Vec<Bytes> = (0..20).map(|n| encoder.encode(&tone(n)).unwrap()).collect();
        packets[..10].iter().for_each(|p| drop(decoder.decode(p).unwrap()));
        let guess = decoder.conceal(SAMPLES_PER_FRAME, Some(&packets[11])).unwrap();
        assert_eq!(guess.len(), SAMPLES_PER_FRAME);
        assert!(rms(&guess) > 3_000.0, "a tone does not stop within 20 ms");
        assert_eq!(decoder.conceal(SAMPLES_PER_FRAME, None).unwrap().len(), SAMPLES_PER_FRAME);
        assert!(decoder.decode(&[0xff; 3]).is_err());
    }
}

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
        let mut encoder = ::opus::Encoder::new(AUDIO_RATE_HZ, ::opus::Channels::Mono, ::opus::Application::Voip)?;
        encoder.set_bitrate(::opus::Bitrate::Bits(BITS_PER_SECOND))?;
        encoder.set_complexity(COMPLEXITY)?;
        encoder.set_inband_fec(true)?;
        encoder.set_packet_loss_perc(10)?;
        Ok(Self { encoder })
    }

    /// One frame in, one packet out.
    pub fn encode(&mut self, frame: &AudioFrame) -> Result<Bytes, Error> {
        // 1275 bytes is the largest frame Opus makes (RFC 6716 §3.4).
        let mut packet = [0; 1275];
        let len = self.encoder.encode(&frame.0, &mut packet)?;
        Ok(Bytes::copy_from_slice(&packet[..len]))
    }
}

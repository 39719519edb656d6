//! 20 ms of mono sound at the pipeline's one rate.

/// The pipeline's sample rate: what `LiveTalking` and seed 004 use, and enough for speech.
pub const AUDIO_RATE_HZ: u32 = 16_000;

/// Samples in one 20 ms frame at [`AUDIO_RATE_HZ`].
pub const SAMPLES_PER_FRAME: usize = 320;

/// 20 ms of 16 kHz mono sound, signed 16-bit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AudioFrame(pub [i16; SAMPLES_PER_FRAME]);

impl AudioFrame {
    /// 20 ms of nothing.
    pub const SILENCE: Self = Self([0; SAMPLES_PER_FRAME]);

    /// Root mean square of the samples, 0 to 1.
    pub fn rms(&self) -> f32 {
        let sum: f32 = self.0.iter().map(|&s| (f32::from(s) / 32_768.0).powi(2)).sum();
        (sum / SAMPLES_PER_FRAME as f32).sqrt()
    }

    /// The same frame falling to silence over its 20 ms, so that cutting a voice makes no click.
    #[must_use]
    pub fn faded_out(&self) -> Self {
        let mut out = *self;
        for (i, s) in out.0.iter_mut().enumerate() {
            let left = (SAMPLES_PER_FRAME - 1 - i) as i32;
            *s = (i32::from(*s) * left / SAMPLES_PER_FRAME as i32) as i16;
        }
        out
    }
}

impl std::fmt::Debug for AudioFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AudioFrame(rms {:.3})", self.rms())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fade_ends_in_silence_and_starts_at_full_level() {
        let loud = AudioFrame([10_000; SAMPLES_PER_FRAME]);
        let faded = loud.faded_out();
        assert!(faded.0[0] > 9_900);
        assert_eq!(faded.0[SAMPLES_PER_FRAME - 1], 0);
        assert!(faded.0.windows(2).all(|w| w[1] <= w[0]));
    }
}

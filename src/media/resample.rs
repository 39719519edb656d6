//! Changes the sample rate of a mono stream, piece by piece.
//!
//! In: samples at one rate, in pieces of any length. Out: 16-bit samples at the other, the same for
//! any cutting of the input. Runs on whichever thread calls it; it holds a few hundred samples.

use ffmpeg_next::util::channel_layout::ChannelLayout;
use ffmpeg_next::util::format::sample::{Sample, Type};
use ffmpeg_next::util::frame::Audio;
use ffmpeg_next::{Dictionary, software::resampling::Context};

/// The resampling library refused the two rates, or ran out of memory.
#[derive(Debug, thiserror::Error)]
#[error("resampling {in_hz} Hz to {out_hz} Hz")]
pub struct ResampleError {
    in_hz: u32,
    out_hz: u32,
    #[source]
    source: ffmpeg_next::Error,
}

/// Taps of the filter at the lower rate, twice the library's own 32: the band is flat to 0.95 of
/// its width and what lies above comes through under -50 dB, which keeps sibilants from folding.
const FILTER_SIZE: &str = "64";

/// A band-limited, stateful change of sample rate (`libswresample`).
pub struct Resampler {
    swr: Context,
    in_hz: u32,
    out_hz: u32,
    pushed: u64,
    pulled: u64,
}

impl Resampler {
    /// From `in_hz` to `out_hz`, both mono.
    pub fn new(in_hz: u32, out_hz: u32) -> Result<Self, ResampleError> {
        let mut options = Dictionary::new();
        options.set("filter_size", FILTER_SIZE);
        options.set("cutoff", "0.95");
        options.set("exact_rational", "1");
        let mono = ChannelLayout::MONO;
        let swr =
            Context::get_with(Sample::F32(Type::Packed), mono, in_hz, Sample::F32(Type::Packed), mono, out_hz, options)
                .map_err(|source| ResampleError { in_hz, out_hz, source })?;
        Ok(Self { swr, in_hz, out_hz, pushed: 0, pulled: 0 })
    }

    /// Takes the next 16-bit samples, gives what is ready.
    pub fn push(&mut self, samples: &[i16]) -> Vec<i16> {
        let scaled: Vec<f32> = samples.iter().map(|&s| f32::from(s) / 32_768.0).collect();
        self.push_f32(&scaled)
    }

    /// Takes the next samples, full scale ±1, gives what is ready. Louder ones are clipped.
    pub fn push_f32(&mut self, samples: &[f32]) -> Vec<i16> {
        if samples.is_empty() {
            return Vec::new();
        }
        let mut input = Audio::new(Sample::F32(Type::Packed), samples.len(), ChannelLayout::MONO);
        input.set_rate(self.in_hz);
        input.plane_mut::<f32>(0)[..samples.len()].copy_from_slice(samples);
        self.pushed += samples.len() as u64;
        let mut output = self.room_for(samples.len());
        self.swr.run(&input, &mut output).expect("formats are fixed at construction and the output has room");
        self.take(&output, u64::MAX)
    }

    /// The rest of the stream. All pieces together are `pushed × out_hz / in_hz` samples, rounded up.
    pub fn finish(mut self) -> Vec<i16> {
        let total = (self.pushed * u64::from(self.out_hz)).div_ceil(u64::from(self.in_hz));
        let mut rest = Vec::new();
        while self.pulled < total {
            let mut output = self.room_for(0);
            if self.swr.flush(&mut output).is_err() || output.samples() == 0 {
                break;
            }
            let left = total - self.pulled;
            rest.extend(self.take(&output, left));
        }
        rest.extend(std::iter::repeat_n(0, (total - self.pulled) as usize));
        rest
    }

    /// An output frame that holds all that `more` new input samples can release.
    fn room_for(&self, more: usize) -> Audio {
        let held = self.swr.delay().map_or(0, |d| d.output.max(0) as usize);
        let room = more * self.out_hz as usize / self.in_hz as usize + held + 64;
        let mut frame = Audio::new(Sample::F32(Type::Packed), room, ChannelLayout::MONO);
        frame.set_rate(self.out_hz);
        frame
    }

    fn take(&mut self, output: &Audio, at_most: u64) -> Vec<i16> {
        if output.samples() == 0 {
            return Vec::new();
        }
        let plane = output.plane::<f32>(0);
        let n = plane.len().min(usize::try_from(at_most).unwrap_or(usize::MAX));
        self.pulled += n as u64;
        plane[..n].iter().map(|&s| (s * 32_767.0).round().clamp(-32_768.0, 32_767.0) as i16).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::f32::consts::TAU;

    use proptest::prelude::*;

    use super::*;

    fn sine(hz: f32, rate_hz: u32, len: usize) -> Vec<f32> {
        (0..len).map(|i| 0.5 * (TAU * hz * i as f32 / rate_hz as f32).sin()).collect()
    }

    fn in_chunks(input: &[f32], in_hz: u32, out_hz: u32, sizes: &[usize]) -> Vec<i16> {
        let mut resampler = Resampler::new(in_hz, out_hz).unwrap();
        let mut out = Vec::new();
        let mut rest = input;
        for &size in sizes.iter().cycle() {
            let (head, tail) = rest.split_at(size.min(rest.len()));
            out.extend(resampler.push_f32(head));
            rest = tail;
            if rest.is_empty() {
                break;
            }
        }
        out.extend(resampler.finish());
        out
    }

    /// Power of `x` at `hz` and of all the rest, by projection on sine and cosine.
    fn tone_and_rest(x: &[i16], hz: f32, rate_hz: u32) -> (f32, f32) {
        let n = x.len() as f32;
        let angle = |i: usize| TAU * hz * i as f32 / rate_hz as f32;
        let part = |f: fn(f32) -> f32| 2.0 / n * x.iter().enumerate().map(|(i, &s)| f32::from(s) * f(angle(i))).sum::<f32>();
        let (a, b) = (part(f32::sin), part(f32::cos));
        let rest = x.iter().enumerate().map(|(i, &s)| (f32::from(s) - a * angle(i).sin() - b * angle(i).cos()).powi(2));
        (f32::midpoint(a * a, b * b), rest.sum::<f32>() / n)
    }

    #[test]
    fn a_sine_keeps_its_level_and_gains_no_company_at_chunk_boundaries() {
        for hz in [200.0, 1_000.0, 5_000.0] {
            let out = in_chunks(&sine(hz, 24_000, 48_000), 24_000, 16_000, &[137, 480, 1]);
            // The ends, where the tone is switched on and off, are not the boundary in question.
            let (tone, rest) = tone_and_rest(&out[1_600..30_400], hz, 16_000);
            let level_db = 10.0 * (tone / (0.125 * 32_767.0_f32.powi(2))).log10();
            let spurious_db = 10.0 * (rest / tone).log10();
            assert!(level_db.abs() < 0.1, "{hz} Hz: level {level_db} dB");
            assert!(spurious_db < -50.0, "{hz} Hz: spurious {spurious_db} dB");
        }
    }

    #[test]
    fn what_is_above_the_new_band_does_not_fold_into_it() {
        let out = in_chunks(&sine(10_000.0, 24_000, 24_000), 24_000, 16_000, &[480]);
        assert!(out[800..15_200].iter().all(|s| s.abs() < 60), "{:?}", out.iter().map(|s| s.abs()).max());
    }

    #[test]
    fn nothing_in_is_nothing_out() {
        assert!(Resampler::new(24_000, 16_000).unwrap().finish().is_empty());
    }

    #[test]
    fn sixteen_bit_samples_pass_unchanged_at_the_same_rate() {
        let input: Vec<i16> = (0..500).map(|i| (i * 61 % 20_000) as i16 - 10_000).collect();
        let mut resampler = Resampler::new(16_000, 16_000).unwrap();
        let mut out = resampler.push(&input);
        out.extend(resampler.finish());
        assert!(out.iter().zip(&input).all(|(a, b)| (a - b).abs() <= 1));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn any_chunking_gives_the_same_samples_of_the_right_number(
            len in 1_usize..6_000,
            rates in prop::sample::select(vec![(24_000, 16_000), (48_000, 16_000), (16_000, 24_000), (44_100, 16_000), (16_000, 48_000)]),
            sizes in prop::collection::vec(1_usize..1_500, 1..8),
        ) {
            let (in_hz, out_hz) = rates;
            let input = sine(440.0, in_hz, len);
            let whole = in_chunks(&input, in_hz, out_hz, &[usize::MAX]);
            prop_assert_eq!(whole.len() as u64, (len as u64 * u64::from(out_hz)).div_ceil(u64::from(in_hz)));
            prop_assert_eq!(in_chunks(&input, in_hz, out_hz, &sizes), whole);
        }
    }
}

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

/// Taps on either side of a sample: 32 holds the passband flat to 90 % of the lower band and the
/// images under -60 dB; the library's own 16 lets sibilants fold at 16 kHz.
const FILTER_SIZE: &str = "64";

/// A band-limited, stateful change of sample rate (FFmpeg's `libswresample`).
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
        let swr = Context::get_with(
            Sample::F32(Type::Packed),
            mono,
            in_hz,
            Sample::F32(Type::Packed),
            mono,
            out_hz,
            options,
        )
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
        self.swr
            .run(&input, &mut output)
            .expect("formats are fixed at construction and the output has room");
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

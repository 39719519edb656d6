//! From the network's frames to a waveform.
//!
//! In: [`Frames`], 80 a second. Out: f32 at 24 kHz, 300 samples a frame. The spectrum of a frame is
//! a pulse train at the pitch, filtered and turned by the network, plus shaped noise, plus a part
//! whose phase the network gives; one inverse transform and overlap-add make it sound.
//! Follows `hibari/dsp.py` of hibari-tts 0.2.1 (Apache-2.0).

use std::f32::consts::PI;
use std::sync::Arc;

use realfft::num_complex::Complex32;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};

use super::model::{BINS, Frames};
use crate::tts::timing::RATE_HZ;

/// Points of the transform: 50 ms.
const N_FFT: usize = 1_200;

/// Samples from frame to frame: 12.5 ms, a quarter of the transform.
const HOP: usize = 300;

/// Pitch below which a frame has no pulses, in Hz.
const VOICED_HZ: f32 = 40.0;

/// Highest harmonic of the pulse train, in Hz.
const TOP_HARMONIC_HZ: f32 = 11_000.0;

/// Log magnitudes above this are the network's mistakes: e⁷ is far over full scale.
const LOUDEST: f32 = 7.0;

/// Plans and windows; shared by all runs.
pub(super) struct Synthesis {
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
    /// Periodic Hann.
    window: Vec<f32>,
}

impl Synthesis {
    pub(super) fn new() -> Self {
        let mut planner = RealFftPlanner::new();
        let window = (0..N_FFT).map(|i| 0.5 - 0.5 * (2.0 * PI * i as f32 / N_FFT as f32).cos()).collect();
        Self { forward: planner.plan_fft_forward(N_FFT), inverse: planner.plan_fft_inverse(N_FFT), window }
    }

    /// The waveform of a clause, full scale ±1.
    pub(super) fn wave(&self, frames: &Frames) -> Vec<f32> {
        let count = frames.f0_hz.len();
        let excitation = pulses(&frames.f0_hz);
        let mut noise = Noise::default();
        let mut out = vec![0.0_f32; (count + N_FFT / HOP - 1) * HOP];
        let mut weight = vec![0.0_f32; out.len()];
        let mut time = self.forward.make_input_vec();
        let mut spectrum = self.forward.make_output_vec();
        let mut scratch = vec![Complex32::default(); self.forward.get_scratch_len().max(self.inverse.get_scratch_len())];

        for frame in 0..count {
            // A unit cosine peaks at half the window's sum, hence the scale: exp(lh) is then a harmonic's magnitude.
            let start = (frame * HOP) as isize - (N_FFT / 2) as isize;
            for (i, sample) in time.iter_mut().enumerate() {
                *sample = mirrored(&excitation, start + i as isize) * self.window[i] * (4.0 / N_FFT as f32);
            }
            self.forward.process_with_scratch(&mut time, &mut spectrum, &mut scratch).expect("buffers are the plan's own");
            for (bin, s) in spectrum.iter_mut().enumerate() {
                let at = bin * count + frame;
                let turned = Complex32::from_polar(level(frames.harmonic[at]), PI * frames.harmonic_phase[at].tanh());
                let free = Complex32::from_polar(level(frames.free[at]), frames.free_phase[at]);
                *s = *s * turned + noise.next() * level(frames.noise[at]) + free;
            }
            // The two bins without a phase.
            spectrum[0].im = 0.0;
            spectrum[BINS - 1].im = 0.0;
            self.inverse
                .process_with_scratch(&mut spectrum, &mut time, &mut scratch)
                .expect("buffers are the plan's own, and the real bins are real");
            let at = frame * HOP;
            for (i, &sample) in time.iter().enumerate() {
                out[at + i] += sample * self.window[i] / N_FFT as f32;
                weight[at + i] += self.window[i] * self.window[i];
            }
        }
        for (sample, weight) in out.iter_mut().zip(weight) {
            *sample /= weight.max(1e-11);
        }
        out.drain(..N_FFT / 2);
        out.truncate(count * HOP);
        out
    }
}

fn level(log: f32) -> f32 {
    log.min(LOUDEST).exp()
}

/// `x[i]`, reflected at either end without repeating the edge.
fn mirrored(x: &[f32], i: isize) -> f32 {
    let last = x.len() as isize - 1;
    let i = if i < 0 { -i } else { i };
    let i = if i > last { 2 * last - i } else { i };
    x[i.clamp(0, last) as usize]
}

/// A train of pulses at the pitch: every harmonic under 11 kHz at unit amplitude, in closed form
/// `Σ cos(h·t) = sin((H+½)t) / (2 sin(t/2)) − ½`. Zero where unvoiced.
fn pulses(f0_hz: &[f32]) -> Vec<f32> {
    let mut out = Vec::with_capacity(f0_hz.len() * HOP);
    let mut phase = 0.0_f64;
    let last = f0_hz.len().saturating_sub(1);
    for frame in 0..f0_hz.len() {
        let here = f0_hz[frame];
        let before = f0_hz[frame.saturating_sub(1)];
        let after = f0_hz[(frame + 1).min(last)];
        for i in 0..HOP {
            // The frame's own pitch holds at its middle, and is a straight line to its neighbours'.
            let x = (i as f32 + 0.5) / HOP as f32 - 0.5;
            let pitch = if x < 0.0 { here + (here - before) * x } else { here + (after - here) * x };
            let pitch_or_floor = pitch.max(VOICED_HZ);
            phase = (phase + f64::from(pitch_or_floor) / f64::from(RATE_HZ)).fract();
            if pitch <= VOICED_HZ {
                out.push(0.0);
                continue;
            }
            let t = (phase * std::f64::consts::TAU) as f32;
            let harmonics = (TOP_HARMONIC_HZ / pitch_or_floor).floor() + 0.5;
            let base = 2.0 * (t * 0.5).sin();
            let sum = if base.abs() <= 2e-3 { harmonics } else { (harmonics * t).sin() / base };
            out.push(sum - 0.5);
        }
    }
    out
}

/// White noise, the same for every clause, so that the same text gives the same sound.
struct Noise(u64);

impl Default for Noise {
    fn default() -> Self {
        Self(0x9E37_79B9_7F4A_7C15)
    }
}

impl Noise {
    /// A complex number whose parts are near Gaussian with variance 1: each the sum of four 8-bit
    /// uniforms, which the ear cannot tell from the real thing.
    fn next(&mut self) -> Complex32 {
        // Xorshift64*, Vigna 2016.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bytes = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes();
        let part = |b: &[u8]| {
            let sum: i32 = b.iter().map(|&b| i32::from(b)).sum();
            // Four uniforms over 0..=255: mean 510, deviation 147.8.
            (sum - 510) as f32 / 147.8
        };
        Complex32::new(part(&bytes[..4]), part(&bytes[4..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pulses_repeat_at_the_pitch_and_stop_when_unvoiced() {
        let train = pulses(&[100.0; 8]);
        let peaks: Vec<usize> = (1..train.len() - 1)
            .filter(|&i| train[i] > 50.0 && train[i] >= train[i - 1] && train[i] > train[i + 1])
            .collect();
        assert!(peaks.windows(2).all(|w| (239..=241).contains(&(w[1] - w[0]))), "{peaks:?}");
        assert!(pulses(&[0.0; 4]).iter().all(|&s| s == 0.0));
    }

    #[test]
    fn noise_is_white_enough_and_of_unit_variance() {
        let mut noise = Noise::default();
        let draws: Vec<Complex32> = (0..50_000).map(|_| noise.next()).collect();
        let mean = draws.iter().sum::<Complex32>() / draws.len() as f32;
        let power = draws.iter().map(Complex32::norm_sqr).sum::<f32>() / draws.len() as f32;
        assert!(mean.norm() < 0.02, "{mean}");
        assert!((power - 2.0).abs() < 0.05, "{power}");
    }

    #[test]
    fn a_spectrum_of_nothing_is_silence_of_the_right_length() {
        let silent = vec![-80.0; BINS * 6];
        let frames = Frames {
            harmonic: silent.clone(),
            harmonic_phase: vec![0.0; BINS * 6],
            noise: silent.clone(),
            free: silent,
            free_phase: vec![0.0; BINS * 6],
            f0_hz: vec![200.0; 6],
            durations: vec![3],
        };
        let wave = Synthesis::new().wave(&frames);
        assert_eq!(wave.len(), 6 * HOP);
        assert!(wave.iter().all(|s| s.abs() < 1e-6));
    }
}

//! What the ear hears: 40 log-mel bands every 10 ms.
//!
//! In: 20 ms of sound. Out: two frames of bands, of the 25 ms that end where each ends, so that nothing is waited for. Does what
//! `scripts/viseme/mel.py` does, by which the network was trained; a test compares the two.

use std::f64::consts::PI;
use std::sync::Arc;

use realfft::num_complex::Complex32;
use realfft::{RealFftPlanner, RealToComplex};

use crate::media::{AUDIO_RATE_HZ, AudioFrame, SAMPLES_PER_FRAME};

/// Bands of a frame.
pub(super) const BANDS: usize = 40;

/// 10 ms, half an [`AudioFrame`].
const HOP: usize = SAMPLES_PER_FRAME / 2;

/// 25 ms.
const WINDOW: usize = 400;

/// Points of the transform; the window is filled up with zeros.
const N_FFT: usize = 512;

/// Where the lowest band begins and the highest ends, in Hz.
const RANGE_HZ: (f64, f64) = (60.0, 7_600.0);

/// Power below this is silence: about -70 dB of full scale.
const FLOOR: f32 = 1e-3;

/// The bands of one listener; remembers the 15 ms before.
pub(super) struct Mel {
    fft: Arc<dyn RealToComplex<f32>>,
    /// Periodic Hann.
    window: Vec<f32>,
    /// Of each band: its first bin, and what it takes of that and the next ones.
    bands: Vec<(usize, Vec<f32>)>,
    /// The last samples, full scale ±1.
    past: [f32; WINDOW - HOP],
    time: Vec<f32>,
    spectrum: Vec<Complex32>,
    scratch: Vec<Complex32>,
}

impl Mel {
    pub(super) fn new() -> Self {
        let fft = RealFftPlanner::new().plan_fft_forward(N_FFT);
        let window = (0..WINDOW).map(|i| (0.5 - 0.5 * (2.0 * PI * i as f64 / WINDOW as f64).cos()) as f32).collect();
        let (time, spectrum, scratch) = (fft.make_input_vec(), fft.make_output_vec(), fft.make_scratch_vec());
        Self { fft, window, bands: bands(), past: [0.0; WINDOW - HOP], time, spectrum, scratch }
    }

    /// Before the next sound there was silence.
    pub(super) fn forget(&mut self) {
        self.past.fill(0.0);
    }

    /// The two frames of 20 ms more.
    pub(super) fn push(&mut self, sound: &AudioFrame) -> [[f32; BANDS]; 2] {
        let (first, second) = sound.0.split_at(HOP);
        [self.frame(first), self.frame(second)]
    }

    fn frame(&mut self, hop: &[i16]) -> [f32; BANDS] {
        self.time.fill(0.0);
        self.time[..WINDOW - HOP].copy_from_slice(&self.past);
        for (sample, heard) in self.time[WINDOW - HOP..WINDOW].iter_mut().zip(hop) {
            *sample = f32::from(*heard) / 32_768.0;
        }
        self.past.copy_from_slice(&self.time[HOP..WINDOW]);
        for (sample, window) in self.time.iter_mut().zip(&self.window) {
            *sample *= window;
        }
        self.fft
            .process_with_scratch(&mut self.time, &mut self.spectrum, &mut self.scratch)
            .expect("buffers are the plan's own");
        std::array::from_fn(|band| {
            let (first, shares) = &self.bands[band];
            let power: f32 = self.spectrum[*first..].iter().zip(shares).map(|(bin, share)| bin.norm_sqr() * share).sum();
            (power + FLOOR).ln()
        })
    }
}

/// Triangles of peak 1 whose edges are as far apart on the mel scale, 2595 log10(1 + f/700).
fn bands() -> Vec<(usize, Vec<f32>)> {
    let mel = |hz: f64| 2_595.0 * (1.0 + hz / 700.0).log10();
    let (from, to) = (mel(RANGE_HZ.0), mel(RANGE_HZ.1));
    let edge = |n: usize| {
        let mel = from + (to - from) * n as f64 / (BANDS + 1) as f64;
        700.0 * (10_f64.powf(mel / 2_595.0) - 1.0)
    };
    let triangle = |band: usize| {
        let (low, peak, high) = (edge(band), edge(band + 1), edge(band + 2));
        let hz = |bin: usize| bin as f64 * f64::from(AUDIO_RATE_HZ) / N_FFT as f64;
        let share = |bin: usize| ((hz(bin) - low) / (peak - low)).min((high - hz(bin)) / (high - peak));
        let first = (0..=N_FFT / 2).find(|bin| hz(*bin) > low).expect("every band begins below half the rate");
        (first, (first..=N_FFT / 2).map(share).take_while(|share| *share > 0.0).map(|share| share as f32).collect())
    };
    (0..BANDS).map(triangle).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames 3, 9 and 19 as `python scripts/viseme/mel.py` prints them.
    const GOLDEN: [[f32; BANDS]; 3] = [
        [
            -1.5686, -2.8753, -3.6011, -2.9443, -2.6810, -1.3113, -1.8631, -3.2646, -2.5356, -0.4037, 1.7385, 3.7405,
            5.1026, 5.7961, 5.9625, 5.4045, 3.8225, 1.3701, 0.9633, 1.1101, 0.2100, 0.1009, 0.0940, -0.0020, 0.2175,
            -1.2851, -0.4823, 0.6974, 0.3661, 0.5658, 0.7940, -0.1162, 0.7084, 1.0521, 0.8814, 0.5638, 0.4131, 0.7027,
            0.9412, 1.0579,
        ],
        [
            -1.2600, -1.1672, -1.7220, -1.5968, -0.0837, -1.1695, -2.0078, -2.6819, -2.1916, -0.5314, -0.9311, -1.0106,
            -0.9734, -0.8934, -0.7082, -0.6498, -0.6516, -0.5951, -0.9362, -0.2147, 0.2392, -0.4068, -0.4468, -0.5053,
            1.7440, 5.1182, 6.4642, 5.7477, 2.5123, 0.3722, -0.7175, 0.4708, 0.3937, 1.1396, 0.9558, 0.5580, 0.5277, 1.0834,
            1.1201, 0.1859,
        ],
        [
            -0.3186, -0.5208, -3.4852, -3.9362, -1.0375, 0.3407, -0.8324, -0.5939, -0.5855, -0.6854, -0.7756, 0.2318,
            -0.0807, -0.8799, 0.9191, -0.1183, -0.2568, -1.6858, -0.8090, 0.2483, -0.7998, -0.3505, -0.1987, 0.4177,
            -0.0612, 0.7184, -0.7852, -0.1249, 0.4590, 0.2213, 0.3557, 0.4662, 0.5197, 0.4641, 0.6222, 1.1573, 5.5846,
            6.7619, 4.0160, 0.6262,
        ],
    ];

    #[test]
    fn bands_are_those_that_the_network_was_trained_with() {
        let pcm: Vec<i16> = (0..20 * HOP as i64)
            .map(|n| {
                let phase = 2.0 * PI * ((200 + n) * n) as f64 / f64::from(AUDIO_RATE_HZ);
                (8_000.0 * phase.sin()) as i16 + (n * n * 31 % 4_001 - 2_000) as i16
            })
            .collect();
        let mut mel = Mel::new();
        let frames: Vec<_> = pcm.as_chunks().0.iter().flat_map(|samples| mel.push(&AudioFrame(*samples))).collect();
        assert_eq!(frames.len(), 20);
        for (golden, frame) in GOLDEN.iter().zip([3, 9, 19]) {
            for (band, (python, ours)) in golden.iter().zip(frames[frame]).enumerate() {
                assert!((python - ours).abs() < 1e-3, "frame {frame}, band {band}: {ours} instead of {python}");
            }
        }
    }
}

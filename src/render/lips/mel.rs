//! What the network hears: 80 mel bands in 16 columns, 12.5 ms apart.
//!
//! In: sound around a picture. Out: the columns from its first sample on. Wav2Lip's own recipe (`audio.py` and `hparams.py` of
//! Rudrabha/Wav2Lip) in double precision; a test compares it with librosa's values. Runs on render threads.

use std::f64::consts::PI;
use std::sync::Arc;

use realfft::num_complex::Complex64;
use realfft::{RealFftPlanner, RealToComplex};

/// Bands of a column.
pub(super) const BANDS: usize = 80;

/// Columns of a window: 200 ms.
pub(super) const COLUMNS: usize = 16;

/// From column to column: 12.5 ms at 16 kHz.
const HOP: usize = 200;

/// Points of the transform, and length of its window: 50 ms.
const N_FFT: usize = 800;

/// What is looked at before the first sample of a picture: half a transform, and one sample for the pre-emphasis.
pub(super) const PAST: usize = N_FFT / 2 + 1;

/// What is looked at from the first sample of a picture on: 212.5 ms.
pub(super) const FUTURE: usize = (COLUMNS - 1) * HOP + N_FFT / 2;

const RATE_HZ: f64 = 16_000.0;

/// Where the lowest band begins and the highest ends, in Hz.
const RANGE_HZ: (f64, f64) = (55.0, 7_600.0);

/// How much of the sample before is taken from each.
const PRE_EMPHASIS: f64 = 0.97;

/// What digital silence becomes, in every band.
pub(super) const SILENCE: f32 = -4.0;

/// A window of `[BANDS][COLUMNS]` numbers from -4 to 4, band by band.
pub(super) type Window = Vec<f32>;

/// Transforms; one a face.
pub(super) struct Mel {
    fft: Arc<dyn RealToComplex<f64>>,
    /// Periodic Hann.
    hann: Vec<f64>,
    /// Of each band: its first bin, and what it takes of that and the next ones.
    bands: Vec<(usize, Vec<f64>)>,
    time: Vec<f64>,
    spectrum: Vec<Complex64>,
    scratch: Vec<Complex64>,
}

impl Mel {
    pub(super) fn new() -> Self {
        let fft = RealFftPlanner::new().plan_fft_forward(N_FFT);
        let hann = (0..N_FFT).map(|n| 0.5 - 0.5 * (2.0 * PI * n as f64 / N_FFT as f64).cos()).collect();
        let (time, spectrum, scratch) = (fft.make_input_vec(), fft.make_output_vec(), fft.make_scratch_vec());
        Self { fft, hann, bands: bands(), time, spectrum, scratch }
    }

    /// `sound` has [`PAST`] samples before the picture's first, and [`FUTURE`] from there on.
    pub(super) fn window(&mut self, sound: &[i16]) -> Window {
        let mut window = vec![0.0; BANDS * COLUMNS];
        for column in 0..COLUMNS {
            let heard = &sound[column * HOP..][..=N_FFT];
            for (band, value) in self.column(heard).into_iter().enumerate() {
                window[band * COLUMNS + column] = value;
            }
        }
        window
    }

    /// `heard`: a sample, then the [`N_FFT`] around the column's middle.
    fn column(&mut self, heard: &[i16]) -> [f32; BANDS] {
        for ((point, hann), pair) in self.time.iter_mut().zip(&self.hann).zip(heard.windows(2)) {
            *point = hann * (f64::from(pair[1]) - PRE_EMPHASIS * f64::from(pair[0])) / 32_768.0;
        }
        self.fft
            .process_with_scratch(&mut self.time, &mut self.spectrum, &mut self.scratch)
            .expect("buffers are the plan's own");
        std::array::from_fn(|band| {
            let (first, shares) = &self.bands[band];
            let level: f64 = self.spectrum[*first..].iter().zip(shares).map(|(bin, share)| bin.norm() * share).sum();
            let decibels = 20.0 * level.max(1e-5).log10() - 20.0;
            (8.0 * (decibels + 100.0) / 100.0 - 4.0).clamp(-4.0, 4.0) as f32
        })
    }
}

/// Slaney's triangles: equal area, edges equally far apart on his scale.
fn bands() -> Vec<(usize, Vec<f64>)> {
    let (from, to) = (mel(RANGE_HZ.0), mel(RANGE_HZ.1));
    let edge = |n: usize| hertz(from + (to - from) * n as f64 / (BANDS + 1) as f64);
    let band = |n: usize| {
        let (low, middle, high) = (edge(n), edge(n + 1), edge(n + 2));
        let share = |bin: usize| {
            let hz = bin as f64 * RATE_HZ / N_FFT as f64;
            ((hz - low) / (middle - low)).min((high - hz) / (high - middle)).max(0.0) * 2.0 / (high - low)
        };
        let bins = 0..=N_FFT / 2;
        let first = bins.clone().find(|bin| share(*bin) > 0.0).unwrap_or_default();
        (first, bins.skip(first).map(share).take_while(|share| *share > 0.0).collect())
    };
    (0..BANDS).map(band).collect()
}

/// Linear to 1 kHz, logarithmic above (Slaney's Auditory Toolbox).
fn mel(hz: f64) -> f64 {
    if hz < 1_000.0 { hz * 3.0 / 200.0 } else { 15.0 + (hz / 1_000.0).ln() * 27.0 / 6.4_f64.ln() }
}

fn hertz(mel: f64) -> f64 {
    if mel < 15.0 { mel * 200.0 / 3.0 } else { 1_000.0 * ((mel - 15.0) * 6.4_f64.ln() / 27.0).exp() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `scripts/wav2lip/mel.py`.
    const GOLDEN: &[u8] = include_bytes!("../../../tests/corpus/wav2lip/mel.bin");

    /// Sound with silence before and after, and librosa's columns, `[BANDS][columns]`.
    fn golden() -> (Vec<i16>, usize, Vec<f32>) {
        let word = |at: usize| u32::from_le_bytes(GOLDEN[at..at + 4].try_into().unwrap()) as usize;
        let (samples, columns) = (word(0), word(4));
        let (pcm, values) = GOLDEN[8..].split_at(2 * samples);
        let mut sound = vec![0; PAST];
        sound.extend(pcm.as_chunks().0.iter().map(|&b| i16::from_le_bytes(b)));
        sound.extend([0; FUTURE + HOP]);
        (sound, columns, values.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect())
    }

    #[test]
    fn every_column_is_what_librosa_says_to_a_thousandth() {
        let (sound, columns, wanted) = golden();
        assert_eq!(wanted.len(), BANDS * columns);
        let mut mel = Mel::new();
        let mut worst = 0.0_f32;
        for column in 0..columns {
            let heard = &sound[column * HOP..];
            let found = mel.column(&heard[..=N_FFT]);
            for (band, value) in found.into_iter().enumerate() {
                worst = worst.max((value - wanted[band * columns + column]).abs());
            }
        }
        assert!(worst < 1e-3, "{worst}");
    }

    #[test]
    fn a_window_is_sixteen_columns_from_the_first_sample_on() {
        let (sound, columns, wanted) = golden();
        // The tenth column begins at sample 2000.
        let found = Mel::new().window(&sound[10 * HOP..][..PAST + FUTURE]);
        let expected = (0..BANDS).flat_map(|band| wanted[band * columns + 10..][..COLUMNS].to_vec());
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-3));
    }

    #[test]
    fn silence_is_the_lowest_value_everywhere() {
        assert!(Mel::new().window(&[0; PAST + FUTURE]).iter().all(|value| *value == SILENCE));
    }
}

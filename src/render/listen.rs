//! What a mouth does for sound of which nobody said what is said in it: a small network hears the visemes.
//!
//! In: 20 ms of sound. Out: the viseme of the 20 ms that ended 80 ms before. Lives in the face, on the session's render thread.
//! `scripts/viseme` trains the network, `models/viseme/README.md` says what it is worth.

use bytemuck::cast_slice;

use super::mel::{BANDS, Mel};
use super::visemes::{VISEMES, Viseme};
use crate::media::{AudioFrame, SAMPLES_PER_FRAME};

/// Frames of 20 ms between what is heard and what is judged: a sound is known by what follows it, and closed lips by how they
/// part. More would be heard still later by a face whose voice is no faster than it is heard.
pub(super) const LATER: usize = 4;

/// Width of the layers.
const DENSE: usize = 80;
const GRU: usize = 96;

/// The weights: f32, little-endian, [`Network::new`] reads them in order.
static WEIGHTS: &Aligned<[u8]> = &Aligned(*include_bytes!("../../models/viseme/viseme.f32"));

#[repr(align(4))]
struct Aligned<T: ?Sized>(T);

/// Hears what one voice says.
pub(super) struct Ear {
    mel: Mel,
    network: Network,
    /// What the two recurrent layers remember.
    memory: [[f32; GRU]; 2],
    /// Where the sound goes on, in samples since the session began.
    next: u64,
    /// Frames heard in one go.
    heard: usize,
}

impl Ear {
    pub(super) fn new() -> Self {
        Self { mel: Mel::new(), network: Network::new(), memory: [[0.0; GRU]; 2], next: 0, heard: 0 }
    }

    /// Hears the sound that begins at sample `start`, and says from which sample on, for 20 ms, what is seen. `None` while
    /// less than [`LATER`] frames came before in one go.
    pub(super) fn hear(&mut self, start: u64, sound: &AudioFrame) -> Option<(u64, Viseme)> {
        if start != self.next {
            self.mel.forget();
            (self.memory, self.heard) = ([[0.0; GRU]; 2], 0);
        }
        self.next = start + SAMPLES_PER_FRAME as u64;
        self.heard += 1;
        let likely = self.network.step(&self.mel.push(sound), &mut self.memory);
        let best = (0..VISEMES).max_by(|a, b| likely[*a].total_cmp(&likely[*b])).expect("there are visemes");
        (self.heard > LATER).then(|| (start - (LATER * SAMPLES_PER_FRAME) as u64, Viseme::ALL[best]))
    }
}

/// Two mel frames → dense → two gated recurrent layers → visemes. 0.23 million multiplications a picture.
struct Network {
    dense: Layer,
    recurrent: [Recurrent; 2],
    out: Layer,
}

/// `weights` are f32 `[inputs, outputs]`, row-major.
struct Layer {
    weights: &'static [f32],
    bias: &'static [f32],
}

/// A GRU (Cho et al. 2014, with the reset gate behind the product): gates in the order update, reset, new.
struct Recurrent {
    input: Layer,
    memory: Layer,
}

impl Network {
    fn new() -> Self {
        let mut rest: &[f32] = cast_slice(&WEIGHTS.0);
        let mut layer = |inputs: usize, outputs: usize| {
            let (weights, after) = rest.split_at(inputs * outputs);
            let (bias, after) = after.split_at(outputs);
            rest = after;
            Layer { weights, bias }
        };
        let dense = layer(2 * BANDS, DENSE);
        let recurrent = [DENSE, GRU].map(|inputs| Recurrent { input: layer(inputs, 3 * GRU), memory: layer(GRU, 3 * GRU) });
        Self { dense, recurrent, out: layer(GRU, VISEMES) }
    }

    /// How likely each viseme is; they add up to 1.
    fn step(&self, mel: &[[f32; BANDS]; 2], memory: &mut [[f32; GRU]; 2]) -> [f32; VISEMES] {
        let mut dense: [f32; DENSE] = self.dense.apply(mel.as_flattened());
        dense.iter_mut().for_each(|v| *v = v.max(0.0));
        let [first, second] = memory;
        self.recurrent[0].step(&dense, first);
        self.recurrent[1].step(first, second);
        let scores: [f32; VISEMES] = self.out.apply(second);
        let highest = scores.iter().copied().fold(f32::MIN, f32::max);
        let shares = scores.map(|score| (score - highest).exp());
        let total: f32 = shares.iter().sum();
        shares.map(|share| share / total)
    }
}

impl Layer {
    /// Row by row, so that the compiler adds four or eight outputs at once.
    fn apply<const OUTPUTS: usize>(&self, input: &[f32]) -> [f32; OUTPUTS] {
        let mut sums = [0.0; OUTPUTS];
        sums.copy_from_slice(self.bias);
        for (x, row) in input.iter().zip(self.weights.as_chunks::<OUTPUTS>().0) {
            for (sum, weight) in sums.iter_mut().zip(row) {
                *sum += x * weight;
            }
        }
        sums
    }
}

impl Recurrent {
    fn step(&self, input: &[f32], memory: &mut [f32; GRU]) {
        let came: [f32; 3 * GRU] = self.input.apply(input);
        let kept: [f32; 3 * GRU] = self.memory.apply(memory);
        for (n, value) in memory.iter_mut().enumerate() {
            let update = sigmoid(came[n] + kept[n]);
            let reset = sigmoid(came[GRU + n] + kept[GRU + n]);
            let new = (came[2 * GRU + n] + reset * kept[2 * GRU + n]).tanh();
            *value = (1.0 - update) * new + update * *value;
        }
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 20 ms of a hum, each with a level of its own.
    fn hum(n: usize) -> AudioFrame {
        AudioFrame(std::array::from_fn(|i| ((i % 107) as i16 - 53) * (n % 7) as i16 * 20))
    }

    #[test]
    fn the_file_is_the_network_and_nothing_else() {
        let layer = |inputs: usize, outputs: usize| (inputs + 1) * outputs;
        let recurrent = |inputs: usize| layer(inputs, 3 * GRU) + layer(GRU, 3 * GRU);
        let weights = layer(2 * BANDS, DENSE) + recurrent(DENSE) + recurrent(GRU) + layer(GRU, VISEMES);
        assert_eq!(WEIGHTS.0.len(), weights * size_of::<f32>());
    }

    #[test]
    fn the_ear_hears_what_it_hears_in_python() {
        let clips: [(&[u8], &str); 2] = [
            (
                include_bytes!("../../tests/corpus/speech/english.pcm"),
                include_str!("../../tests/corpus/speech/english.heard"),
            ),
            (
                include_bytes!("../../tests/corpus/speech/mandarin.pcm"),
                include_str!("../../tests/corpus/speech/mandarin.heard"),
            ),
        ];
        for (pcm, python) in clips {
            let samples: Vec<i16> = pcm.as_chunks().0.iter().map(|bytes| i16::from_le_bytes(*bytes)).collect();
            let frames = samples.as_chunks().0.iter().map(|samples| AudioFrame(*samples));
            let mut ear = Ear::new();
            let judged = frames.zip((0..).step_by(SAMPLES_PER_FRAME)).filter_map(|(frame, start)| ear.hear(start, &frame));
            let ours: Vec<String> = judged.map(|(_, viseme)| format!("{viseme:?}")).collect();
            let same = ours.iter().zip(python.split_whitespace()).filter(|(ours, python)| ours == python).count();
            // Two that are equally likely may be told apart by the last bit.
            assert!(ours.len() > 100 && same + 1 >= ours.len(), "{same} of {}", ours.len());
        }
    }

    #[test]
    fn a_frame_is_judged_when_80_ms_more_have_been_heard() {
        let mut ear = Ear::new();
        let judged: Vec<_> = (0..7).map(|n| ear.hear(16_000 + n * 320, &hum(n as usize)).map(|(start, _)| start)).collect();
        assert_eq!(judged, [None, None, None, None, Some(16_000), Some(16_320), Some(16_640)]);
    }

    #[test]
    fn after_a_gap_nothing_is_remembered() {
        let judged = |ear: &mut Ear| (0..9).map(|n| ear.hear(n * 320, &hum(n as usize)).map(|j| j.1)).collect::<Vec<_>>();
        let (mut new, mut used) = (Ear::new(), Ear::new());
        used.hear(64_000, &hum(5));
        assert_eq!(judged(&mut used), judged(&mut new));
        assert_eq!(used.memory, new.memory);
    }
}

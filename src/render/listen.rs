//! What a mouth does for sound of which nobody said what is said in it: a small network hears the visemes.
//!
//! In: 20 ms of sound. Out: the viseme of the 20 ms that ended 80 ms before. Lives in the face, on the session's render thread.
//! `scripts/viseme` trains the network, `models/viseme/README.md` says what it is worth.

use bytemuck::cast_slice;

use super::mel::{BANDS, Mel};
use super::visemes::{VISEMES, Viseme};
use crate::media::{AudioFrame, SAMPLES_PER_FRAME};

/// Frames of 20 ms between what is heard and what is judged: a sound is known by what follows it, and closed lips by how they
/// part. Without, the network would be right as often as a coin at p, b and m.
pub(super) const LATER: usize = 4;

/// Closed lips this likely are closed, whatever is likelier: the eye forgives a closure too many sooner than one missed.
const CLOSED: f32 = 0.35;

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
        (self.heard > LATER).then(|| (start - (LATER * SAMPLES_PER_FRAME) as u64, decided(&likely)))
    }
}

fn decided(likely: &[f32; VISEMES]) -> Viseme {
    if likely[Viseme::PP as usize] > CLOSED {
        return Viseme::PP;
    }
    let best = (0..VISEMES).max_by(|a, b| likely[*a].total_cmp(&likely[*b])).expect("there are visemes");
    Viseme::ALL[best]
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
        let recurrent =
            [DENSE, GRU].map(|inputs| Recurrent { input: layer(inputs, 3 * GRU), memory: layer(GRU, 3 * GRU) });
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

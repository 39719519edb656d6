//! `visavis models convert`: a user's `wav2lip.pth` or `ultralight.pth` becomes an ONNX file, without Python.
//!
//! In: the named tensors of a checkpoint. Out: the network they belong to, written down. A checkpoint names its weights but
//! not how they are joined: that is a plan, told by those names. Blocking.

mod plan;
mod ultralight;
mod wav2lip;

use std::path::{Path, PathBuf};

use self::plan::Plan;
use super::checkpoint;
use super::graph::Graph;

/// Why a checkpoint is not converted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not read.
    #[error(transparent)]
    Checkpoint(#[from] checkpoint::Error),
    /// A network of another plan.
    #[error("{path} is not a network of a plan that is known: {what}", path = path.display())]
    Plan {
        /// Which.
        path: PathBuf,
        /// What is missing or does not fit.
        what: String,
    },
    /// The file cannot be written.
    #[error("{path}: {source}", path = path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Converted {
    /// The file.
    pub path: PathBuf,
    /// Pixels of a face across and down.
    pub side: u64,
    /// Numbers that it was trained to.
    pub parameters: usize,
}

/// Whose plan a network follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of the film in whose folder it lies.
    Ultralight,
    /// Of all other films.
    Wav2Lip,
}

impl Kind {
    /// By the name of a weight that only this one has.
    fn of(name: &str) -> Option<Self> {
        match name {
            _ if name.starts_with("face_encoder_blocks.") => Some(Self::Wav2Lip),
            _ if name.starts_with("audio_model.") => Some(Self::Ultralight),
            _ => None,
        }
    }
}

/// Writes the network in `from` to an ONNX file, which `to` names. What is there is replaced when all is done, not before.
pub fn convert(from: &Path, to: impl FnOnce(Kind) -> PathBuf) -> Result<Converted, Error> {
    let tensors = checkpoint::read(from)?;
    // Training on several cards leaves a prefix.
    let tensors = tensors.into_iter().map(|(name, tensor)| (name.replace("module.", ""), tensor)).collect();
    let plan = Plan { tensors, graph: Graph::default(), parameters: 0 };
    let wrong = |what| Error::Plan { path: from.to_owned(), what };
    let name = plan.tensors.keys().next().cloned().unwrap_or_default();
    let kind = plan.tensors.keys().find_map(|name| Kind::of(name));
    let kind = kind.ok_or_else(|| wrong(format!("its weights are called {name} and the like")))?;
    let written = if kind == Kind::Wav2Lip { plan.wav2lip() } else { plan.ultralight() };
    let Written { bytes, side, parameters } = written.map_err(wrong)?;
    let path = to(kind);
    let part = path.with_extension("onnx.part");
    let done = std::fs::write(&part, bytes).and_then(|()| std::fs::rename(&part, &path));
    done.map_err(|source| Error::Write { path: path.clone(), source })?;
    Ok(Converted { path, side, parameters })
}

/// A network as an ONNX file.
struct Written {
    bytes: Vec<u8>,
    side: u64,
    parameters: usize,
}

#[cfg(test)]
mod tests {
    use ort::value::Tensor as Input;
    use tempfile::tempdir;

    use super::*;
    use crate::onnx::{self, Device, Options};

    const ROOT: &str = env!("CARGO_MANIFEST_DIR");

    fn corpus(file: &str) -> PathBuf {
        Path::new(ROOT).join("tests/corpus").join(file)
    }

    /// Two faces as `scripts/wav2lip/checkpoint.py` and `scripts/ultralight/checkpoint.py` put them in: exact in f32.
    fn faces(side: usize) -> Vec<f32> {
        let face = |n: usize, c: usize| {
            (0..side * side).map(move |at| ((at % side * 3 + at / side * 5 + c * 11 + n * 17) % 64) as f32 / 64.0)
        };
        (0..12).flat_map(|at| face(at / 6, at % 6)).collect()
    }

    fn mels() -> Vec<f32> {
        let mel = |n: usize| (0..80 * 16).map(move |at| ((at / 16 * 7 + at % 16 * 13 + n * 5) % 32) as f32 / 4.0 - 4.0);
        (0..2).flat_map(mel).collect()
    }

    /// Rows of `HuBERT`, each 32 x 32.
    fn rows(count: usize) -> Vec<f32> {
        let value = |n: usize, at: usize| (at / 1_024 * 7 + at / 32 % 32 * 13 + at % 32 * 3 + n * 5) % 32;
        (0..2).flat_map(|n| (0..count * 1_024).map(move |at| value(n, at) as f32 / 16.0 - 1.0)).collect()
    }

    /// Converts, runs what it was made to on what is heard and seen, and compares with every `step`th number that
    /// the scripts found. The side of its faces.
    fn compare(from: &str, golden: &str, step: usize, heard: (&str, [usize; 4], Vec<f32>), seen: &str) -> u64 {
        let dir = tempdir().unwrap();
        let to = dir.path().join("made.onnx");
        let converted = convert(&corpus(from), |_| to.clone()).unwrap();
        let side = converted.side as usize;
        let runtime = onnx::runtime(&Path::new(ROOT).join("models/onnxruntime/libonnxruntime.so")).unwrap();
        let options = Options { threads: 1, device: Device::Cpu, same_shapes: true };
        let mut session = onnx::session(&runtime, &std::fs::read(&to).unwrap(), options).unwrap();
        let (name, shape, sound) = heard;
        let inputs = ort::inputs![
            name => Input::from_array((shape, sound)).unwrap(),
            seen => Input::from_array(([2, 6, side, side], faces(side))).unwrap(),
        ];
        let outputs = session.run(inputs).unwrap();
        let (_, made) = outputs[0].try_extract_tensor::<f32>().unwrap();
        assert_eq!(made.len(), 2 * 3 * side * side);
        let golden = std::fs::read(corpus(golden)).unwrap();
        let golden: Vec<f32> = golden.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
        assert_eq!(golden.len(), made.len().div_ceil(step));
        let worst = made.iter().step_by(step).zip(&golden).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-3, "{from}: {worst}");
        converted.side
    }

    #[test]
    fn both_formats_of_a_checkpoint_become_the_network_that_says_what_the_original_says() {
        for file in ["wav2lip/tiny.pth", "wav2lip/tiny-old.pth"] {
            let side = compare(file, "wav2lip/tiny.bin", 31, ("mel", [2, 1, 80, 16], mels()), "image");
            assert_eq!(side, 96);
        }
    }

    #[test]
    fn attention_is_converted_and_doubles_the_face() {
        let side = compare("wav2lip/attention.pth", "wav2lip/attention.bin", 31, ("mel", [2, 1, 80, 16], mels()), "image");
        assert_eq!(side, 48);
    }

    #[test]
    fn a_network_of_ultralight_says_what_the_original_says() {
        let side = compare("ultralight/tiny.pth", "ultralight/tiny.bin", 53, ("audio", [2, 16, 32, 32], rows(16)), "input");
        assert_eq!(side, 160);
    }

    #[test]
    fn what_is_no_checkpoint_or_cut_off_leaves_no_file() {
        let dir = tempdir().unwrap();
        let whole = std::fs::read(corpus("wav2lip/tiny-old.pth")).unwrap();
        let (from, to) = (dir.path().join("x.pth"), dir.path().join("x.onnx"));
        for bytes in [&b"no checkpoint"[..], &whole[..whole.len() - 40], &whole[..300], b""] {
            std::fs::write(&from, bytes).unwrap();
            assert!(convert(&from, |_| to.clone()).is_err());
        }
        let error = convert(&corpus("wav2lip/talker.onnx"), |_| to.clone()).unwrap_err().to_string();
        assert!(error.contains("is not a checkpoint"), "{error}");
        // A checkpoint whose names are another network's.
        let mut other = whole.clone();
        let name = b"face_encoder_blocks";
        while let Some(at) = other.windows(name.len()).position(|window| window == name) {
            other[at] = b'F';
        }
        std::fs::write(&from, other).unwrap();
        let error = convert(&from, |_| to.clone()).unwrap_err().to_string();
        assert!(error.contains("x.pth is not a network of a plan that is known"), "{error}");
        assert!(!to.exists());
    }
}

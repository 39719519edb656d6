//! `visavis models convert`: a user's `wav2lip.pth` becomes an ONNX file, without Python.
//!
//! In: the named tensors of a checkpoint. Out: the network they belong to, written down. A checkpoint names its weights but
//! not how they are joined; that is Wav2Lip's plan, in the sizes of the first release (faces of 96) and of those after it
//! (192, 256, 384 by the same plan). How many layers there are, and how large a face is, the weights tell. Blocking.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::checkpoint::{self, Tensor};
use super::graph::{Convolution, Edge, Graph};

/// What a layer's batch normalisation adds to a variance (PyTorch's default).
const EPSILON: f32 = 1e-5;

/// Steps of the sound's encoder, down and across; layers that are not named step by one and add what came in.
const SOUND_STEPS: [(usize, [u64; 2]); 5] = [(0, [1, 1]), (3, [3, 1]), (6, [3, 3]), (9, [3, 2]), (11, [1, 1])];

/// The sound's encoder ends with these two, which have no rim.
const SOUND_END: [usize; 2] = [11, 12];

/// Why a checkpoint is not converted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not read.
    #[error(transparent)]
    Checkpoint(#[from] checkpoint::Error),
    /// A network of another plan.
    #[error("{path} is not a Wav2Lip network of a plan that is known: {what}", path = path.display())]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Converted {
    /// Pixels of a face across and down.
    pub side: u64,
    /// Numbers that it was trained to.
    pub parameters: usize,
}

/// Writes the network in `from` to `to`, an ONNX file. What is at `to` is replaced when all is done, not before.
pub fn convert(from: &Path, to: &Path) -> Result<Converted, Error> {
    let tensors = checkpoint::read(from)?;
    // Training on several cards leaves a prefix.
    let tensors = tensors.into_iter().map(|(name, tensor)| (name.replace("module.", ""), tensor)).collect();
    let plan = Plan { tensors, graph: Graph::default(), parameters: 0 };
    let (bytes, converted) = plan.write().map_err(|what| Error::Plan { path: from.to_owned(), what })?;
    let failed = |source| Error::Write { path: to.to_owned(), source };
    let part = to.with_extension("onnx.part");
    std::fs::write(&part, bytes).and_then(|()| std::fs::rename(&part, to)).map_err(failed)?;
    Ok(converted)
}

struct Plan {
    tensors: BTreeMap<String, Tensor>,
    graph: Graph,
    parameters: usize,
}

/// A layer as the plan says it: how it steps, its rim, whether it grows the picture.
#[derive(Clone, Copy)]
struct Layer {
    step: [u64; 2],
    rim: u64,
    backwards: Option<u64>,
}

impl Layer {
    const PLAIN: Self = Self { step: [1, 1], rim: 1, backwards: None };
    const NO_RIM: Self = Self { rim: 0, ..Self::PLAIN };
    const HALVES: Self = Self { step: [2, 2], ..Self::PLAIN };
    const DOUBLES: Self = Self { step: [2, 2], rim: 1, backwards: Some(1) };
    const UNFOLDS: Self = Self { step: [1, 1], rim: 0, backwards: Some(0) };
}

impl Plan {
    fn write(mut self) -> Result<(Vec<u8>, Converted), String> {
        let encoders = self.count("face_encoder_blocks");
        let decoders = self.count("face_decoder_blocks");
        if encoders < 3 || encoders != decoders {
            return Err(format!("it has {encoders} blocks that look and {decoders} that draw"));
        }
        // Each block between the first and the last halves the face; the last looks at all that is left.
        let last = self.kernel(&format!("face_encoder_blocks.{}.0", encoders - 1))?[0];
        let side = last << (encoders - 2);
        let mel = self.graph.input("mel", &[1, 80, 16]);
        let image = self.graph.input("image", &[6, side, side]);
        let looks = self.look(image, encoders)?;
        let heard = self.listen(mel)?;
        let drawn = self.draw(heard, looks)?;
        let made = self.paint(&drawn)?;
        self.graph.output(&made, &[3, side, side]);
        Ok((self.graph.finish(), Converted { side, parameters: self.parameters }))
    }

    /// What each block sees of the face, the finest first.
    fn look(&mut self, image: Edge, blocks: usize) -> Result<Vec<Edge>, String> {
        let (mut edge, mut seen) = (image, Vec::with_capacity(blocks));
        for block in 0..blocks {
            let name = format!("face_encoder_blocks.{block}");
            for layer in 0..self.count(&name) {
                let name = format!("{name}.{layer}");
                edge = match (block, layer) {
                    (0, 0) => {
                        let rim = self.kernel(&name)?[0] / 2;
                        self.layer(&name, &edge, Layer { rim, ..Layer::PLAIN })?
                    }
                    (last, _) if last + 1 == blocks => self.layer(&name, &edge, Layer::NO_RIM)?,
                    (_, 0) => self.layer(&name, &edge, Layer::HALVES)?,
                    _ => self.residual(&name, &edge)?,
                };
            }
            seen.push(edge.clone());
        }
        Ok(seen)
    }

    fn listen(&mut self, mel: Edge) -> Result<Edge, String> {
        let mut edge = mel;
        for layer in 0..self.count("audio_encoder") {
            let name = format!("audio_encoder.{layer}");
            let step = SOUND_STEPS.iter().find(|(at, _)| *at == layer).map(|(_, step)| *step);
            edge = match step {
                _ if SOUND_END.contains(&layer) => self.layer(&name, &edge, Layer::NO_RIM)?,
                Some(step) => self.layer(&name, &edge, Layer { step, ..Layer::PLAIN })?,
                None => self.residual(&name, &edge)?,
            };
        }
        Ok(edge)
    }

    /// From what was heard back to a face, with what was seen at each size beside it.
    fn draw(&mut self, heard: Edge, mut seen: Vec<Edge>) -> Result<Edge, String> {
        let mut edge = heard;
        for block in 0..seen.len() {
            let name = format!("face_decoder_blocks.{block}");
            for layer in 0..self.count(&name) {
                let name = format!("{name}.{layer}");
                edge = match (block, layer) {
                    (0, _) => self.layer(&name, &edge, Layer::NO_RIM)?,
                    (1, 0) => self.layer(&name, &edge, Layer::UNFOLDS)?,
                    (_, 0) => self.layer(&name, &edge, Layer::DOUBLES)?,
                    _ => self.residual(&name, &edge)?,
                };
            }
            let beside = seen.pop().ok_or("it draws more than it sees")?;
            edge = self.graph.join(&edge, &beside);
        }
        Ok(edge)
    }

    fn paint(&mut self, drawn: &str) -> Result<Edge, String> {
        let edge = self.layer("output_block.0", drawn, Layer::PLAIN)?;
        let (weight, bias) = (self.take("output_block.1.weight")?, self.take("output_block.1.bias")?);
        let edge = self.convolution(&edge, &weight, &bias.values, Layer::NO_RIM)?;
        Ok(self.graph.sigmoid(&edge))
    }

    /// A convolution, what batch normalisation makes of it, and no negative numbers.
    fn layer(&mut self, name: &str, edge: &str, layer: Layer) -> Result<Edge, String> {
        let edge = self.normalised(name, edge, layer)?;
        Ok(self.graph.relu(&edge))
    }

    /// The same, with what came in added before negative numbers are cut.
    fn residual(&mut self, name: &str, edge: &str) -> Result<Edge, String> {
        let out = self.normalised(name, edge, Layer::PLAIN)?;
        let sum = self.graph.add(&out, edge);
        Ok(self.graph.relu(&sum))
    }

    /// Batch normalisation is a factor and an offset for each channel: both go into the convolution.
    fn normalised(&mut self, name: &str, edge: &str, layer: Layer) -> Result<Edge, String> {
        let mut part = |which: &str| self.take(&format!("{name}.conv_block.{which}"));
        let (mut weight, bias) = (part("0.weight")?, part("0.bias")?.values);
        let [gain, offset, mean, variance] =
            [part("1.weight")?, part("1.bias")?, part("1.running_mean")?, part("1.running_var")?]
                .map(|tensor| tensor.values);
        let channels = *weight.shape.get(usize::from(layer.backwards.is_some())).ok_or("a weight has no channels")?;
        if [&bias, &gain, &offset, &mean, &variance].iter().any(|values| values.len() != channels) {
            return Err(format!("the sizes of {name} do not fit one another"));
        }
        let factor: Vec<f32> =
            gain.iter().zip(&variance).map(|(gain, variance)| gain / (variance + EPSILON).sqrt()).collect();
        let bias: Vec<f32> = (0..channels).map(|c| (bias[c] - mean[c]) * factor[c] + offset[c]).collect();
        let field: usize = weight.shape.iter().skip(2).product();
        for (at, value) in weight.values.iter_mut().enumerate() {
            // Forwards the channels that come out are first, backwards second.
            let channel = if layer.backwards.is_some() { at / field % channels } else { at / field / weight.shape[1] };
            *value *= factor[channel];
        }
        self.convolution(edge, &weight, &bias, layer)
    }

    fn convolution(&mut self, edge: &str, weight: &Tensor, bias: &[f32], layer: Layer) -> Result<Edge, String> {
        let &[_, _, down, across] = &weight.shape[..] else { return Err("a weight is no convolution's".into()) };
        self.parameters += weight.values.len() + bias.len();
        let of = Convolution {
            kernel: [down as u64, across as u64],
            step: layer.step,
            rim: layer.rim,
            backwards: layer.backwards,
        };
        let weight = self.graph.weights(&weight.shape, &weight.values);
        let bias = self.graph.weights(&[bias.len()], bias);
        Ok(self.graph.convolution([edge, &weight, &bias], of))
    }

    /// How many parts `name` has: its children are counted from 0.
    fn count(&self, name: &str) -> usize {
        let has = |n: &usize| {
            let prefix = format!("{name}.{n}.");
            self.tensors.range(prefix.clone()..).next().is_some_and(|(name, _)| name.starts_with(&prefix))
        };
        (0..self.tensors.len()).take_while(has).count()
    }

    fn kernel(&self, name: &str) -> Result<[u64; 2], String> {
        let name = format!("{name}.conv_block.0.weight");
        match self.tensors.get(&name).map(|tensor| &tensor.shape[..]) {
            Some(&[_, _, down, across]) if (1..=16).contains(&down) => Ok([down as u64, across as u64]),
            _ => Err(format!("there is no {name}")),
        }
    }

    fn take(&mut self, name: &str) -> Result<Tensor, String> {
        self.tensors.remove(name).ok_or_else(|| format!("there is no {name}"))
    }
}

#[cfg(test)]
mod tests {
    use ort::value::Tensor as Input;

    use super::*;
    use crate::models::fetch::tests::TempDir;
    use crate::onnx::{self, Device, Options};

    const ROOT: &str = env!("CARGO_MANIFEST_DIR");

    fn corpus(file: &str) -> PathBuf {
        Path::new(ROOT).join("tests/corpus/wav2lip").join(file)
    }

    /// What `scripts/wav2lip/checkpoint.py` puts in: exact in f32.
    fn inputs(side: usize) -> (Vec<f32>, Vec<f32>) {
        let mut image = Vec::new();
        let mut mel = Vec::new();
        for n in 0..2 {
            for c in 0..6 {
                image.extend(
                    (0..side * side).map(|at| ((at % side * 3 + at / side * 5 + c * 11 + n * 17) % 64) as f32 / 64.0),
                );
            }
            mel.extend((0..80 * 16).map(|at| ((at / 16 * 7 + at % 16 * 13 + n * 5) % 32) as f32 / 4.0 - 4.0));
        }
        (mel, image)
    }

    fn run(path: &Path, side: usize) -> Vec<f32> {
        let runtime = onnx::runtime(&Path::new(ROOT).join("models/onnxruntime/libonnxruntime.so")).unwrap();
        let options = Options { threads: 1, device: Device::Cpu, same_shapes: true };
        let mut session = onnx::session(&runtime, &std::fs::read(path).unwrap(), options).unwrap();
        let (mel, image) = inputs(side);
        let inputs = ort::inputs![
            "mel" => Input::from_array(([2, 1, 80, 16], mel)).unwrap(),
            "image" => Input::from_array(([2, 6, side, side], image)).unwrap(),
        ];
        let outputs = session.run(inputs).unwrap();
        let (_, made) = outputs[0].try_extract_tensor::<f32>().unwrap();
        made.to_vec()
    }

    #[test]
    fn both_formats_of_a_checkpoint_become_the_network_that_says_what_the_original_says() {
        let dir = TempDir::new("convert");
        let golden = std::fs::read(corpus("tiny.bin")).unwrap();
        let golden: Vec<f32> = golden.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
        for file in ["tiny.pth", "tiny-old.pth"] {
            let to = dir.0.join("tiny.onnx");
            let converted = convert(&corpus(file), &to).unwrap();
            assert_eq!(converted.side, 96);
            let made = run(&to, 96);
            assert_eq!(made.len(), 2 * 3 * 96 * 96);
            let worst = made.iter().step_by(31).zip(&golden).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-3, "{file}: {worst}");
        }
    }

    #[test]
    fn what_is_no_checkpoint_or_cut_off_leaves_no_file() {
        let dir = TempDir::new("convert-none");
        let whole = std::fs::read(corpus("tiny-old.pth")).unwrap();
        let (from, to) = (dir.0.join("x.pth"), dir.0.join("x.onnx"));
        for bytes in [&b"no checkpoint"[..], &whole[..whole.len() - 40], &whole[..300], b""] {
            std::fs::write(&from, bytes).unwrap();
            assert!(convert(&from, &to).is_err());
        }
        let error = convert(&corpus("talker.onnx"), &to).unwrap_err().to_string();
        assert!(error.contains("is not a checkpoint"), "{error}");
        assert!(!to.exists());
    }
}

//! Wav2Lip's plan, in the sizes of the first release (faces of 96) and of those after it: 192, 256, 384 by the same plan, and 384
//! with attention. How many layers there are, and how large a face is, the weights tell.

use super::Written;
use super::plan::{Layer, Plan};
use crate::models::graph::{AttentionWeight, Edge};

/// Steps of the sound's encoder, down and across. Of the other layers, those that keep their channels add what came in.
const SOUND_STEPS: [(usize, [u64; 2]); 3] = [(3, [3, 1]), (6, [3, 3]), (9, [3, 2])];

/// How what is drawn is weighted by what is seen, if it is: one convolution for all sizes.
const ATTENTION: &str = "sam.sa.conv1.weight";

const DOUBLES: Layer = Layer { step: [2, 2], backwards: Some(1), ..Layer::PLAIN };
const UNFOLDS: Layer = Layer { backwards: Some(0), ..Layer::NO_RIM };

impl Plan {
    /// The network as an ONNX file.
    pub(super) fn wav2lip(mut self) -> Result<Written, String> {
        let encoders = self.count("face_encoder_blocks");
        let decoders = self.count("face_decoder_blocks");
        if encoders < 3 || encoders != decoders {
            return Err(format!("it has {encoders} blocks that look and {decoders} that draw"));
        }
        // Each block between the first and the last halves the face; the last looks at all that is left.
        let last = self.kernel(&format!("face_encoder_blocks.{}.0", encoders - 1))?[0];
        let attends = self.tensors.contains_key(ATTENTION);
        // With attention the last one leaves more than a point of twice as large a face: what was heard is spread over it.
        let side = last << (encoders - 2 + usize::from(attends));
        let mel = self.graph.input("mel", &[1, 80, 16]);
        let image = self.graph.input("image", &[6, side, side]);
        let looks = self.look(image, encoders)?;
        let heard = self.listen(mel)?;
        let drawn = self.draw(heard, looks)?;
        let made = self.paint(&drawn)?;
        self.graph.output(&made, &[3, side, side]);
        Ok(Written { bytes: self.graph.finish(), side, parameters: self.parameters })
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
        let layers = self.count("audio_encoder");
        for layer in 0..layers {
            let name = format!("audio_encoder.{layer}");
            let step = SOUND_STEPS.iter().find(|(at, _)| *at == layer).map(|(_, step)| *step);
            let &[outside, inside, ..] = self.shape(&format!("{name}.conv_block.0.weight"))? else {
                return Err(format!("{name} is no convolution"));
            };
            edge = match step {
                // The last two have no rim.
                _ if layer + 2 >= layers => self.layer(&name, &edge, Layer::NO_RIM)?,
                Some(step) => self.layer(&name, &edge, Layer { step, ..Layer::PLAIN })?,
                None if inside != outside => self.layer(&name, &edge, Layer::PLAIN)?,
                None => self.residual(&name, &edge)?,
            };
        }
        Ok(edge)
    }

    /// From what was heard back to a face, with what was seen at each size beside it.
    fn draw(&mut self, heard: Edge, mut seen: Vec<Edge>) -> Result<Edge, String> {
        let mut edge = heard;
        let attention = self.attention()?;
        for block in 0..seen.len() {
            let name = format!("face_decoder_blocks.{block}");
            for layer in 0..self.count(&name) {
                let name = format!("{name}.{layer}");
                edge = match (block, layer) {
                    (0, _) => self.layer(&name, &edge, Layer::NO_RIM)?,
                    (1, 0) => self.layer(&name, &edge, UNFOLDS)?,
                    (_, 0) => self.layer(&name, &edge, DOUBLES)?,
                    _ => self.residual(&name, &edge)?,
                };
            }
            let beside = seen.pop().ok_or("it draws more than it sees")?;
            if let Some(weight) = &attention {
                let attended = self.graph.attend(&edge, &beside, weight);
                edge = attended;
            }
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

    fn attention(&mut self) -> Result<Option<AttentionWeight>, String> {
        let Some(weight) = self.tensors.remove(ATTENTION) else { return Ok(None) };
        let &[1, 2, side, across] = &weight.shape[..] else { return Err(format!("{ATTENTION} has another shape")) };
        if side != across || side % 2 == 0 {
            return Err(format!("{ATTENTION} has another shape"));
        }
        self.parameters += weight.values.len();
        let edge = self.graph.weights(&weight.shape, &weight.values);
        Ok(Some(AttentionWeight { edge, side: side as u64 }))
    }

    /// A convolution, what batch normalisation makes of it, and no negative numbers.
    fn layer(&mut self, name: &str, edge: &str, layer: Layer) -> Result<Edge, String> {
        let edge = self.block(name, edge, layer)?;
        Ok(self.graph.relu(&edge))
    }

    /// The same, with what came in added before negative numbers are cut.
    fn residual(&mut self, name: &str, edge: &str) -> Result<Edge, String> {
        let out = self.block(name, edge, Layer::PLAIN)?;
        let sum = self.graph.add(&out, edge);
        Ok(self.graph.relu(&sum))
    }

    fn block(&mut self, name: &str, edge: &str, layer: Layer) -> Result<Edge, String> {
        self.normalised(&format!("{name}.conv_block.0"), &format!("{name}.conv_block.1"), edge, layer)
    }

    fn kernel(&self, name: &str) -> Result<[u64; 2], String> {
        let name = format!("{name}.conv_block.0.weight");
        match self.tensors.get(&name).map(|tensor| &tensor.shape[..]) {
            Some(&[_, _, down, across]) if (1..=16).contains(&down) => Ok([down as u64, across as u64]),
            _ => Err(format!("there is no {name}")),
        }
    }
}

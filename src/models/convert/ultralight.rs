//! Ultralight-Digital-Human's plan in its mode `hubert`: a U-Net of separable convolutions, into the middle of which goes what is
//! heard. Sizes are the weights'.

use super::Written;
use super::plan::{Layer, Plan};
use crate::models::graph::Edge;

/// Pixels of a face across and down: weights do not tell it.
const SIDE: u64 = 160;

/// Sizes at which it sees, and draws.
const BLOCKS: usize = 4;

impl Plan {
    /// The network as an ONNX file.
    pub(super) fn ultralight(mut self) -> Result<Written, String> {
        let rows = self.shape("audio_model.conv1.conv.0.weight")?.get(1).copied().unwrap_or_default();
        let heard = self.shape("audio_model.conv3.weight")?;
        // By wenet, this one keeps its channels and steps otherwise.
        if heard.first() == heard.get(1) {
            return Err("it hears through wenet: only those that were trained with hubert are known".into());
        }
        if !matches!(rows, 16 | 32) {
            return Err(format!("it hears {rows} rows of HuBERT, not 16 or 32"));
        }
        let image = self.graph.input("input", &[6, SIDE, SIDE]);
        let audio = self.graph.input("audio", &[rows as u64, 32, 32]);
        let heard = self.hear(&audio)?;
        let mut seen = vec![self.inverted("inc.inconv.0", &image, Layer::PLAIN)?];
        for block in 1..=BLOCKS {
            let edge = self.double(&format!("down{block}.maxpool_conv.0"), &seen[block - 1], Layer::HALVES)?;
            seen.push(edge);
        }
        let deepest = seen.pop().ok_or("it sees nothing")?;
        let mut edge = self.graph.join(&deepest, &heard);
        for block in 0..2 {
            edge = self.double(&format!("fuse_conv.{block}"), &edge, Layer::PLAIN)?;
        }
        for block in 1..=BLOCKS {
            let beside = seen.pop().ok_or("it draws more than it sees")?;
            edge = self.graph.doubled(&edge);
            edge = self.graph.join(&edge, &beside);
            edge = self.double(&format!("up{block}.conv"), &edge, Layer::PLAIN)?;
        }
        let (weight, bias) = (self.take("outc.conv.weight")?, self.take("outc.conv.bias")?);
        edge = self.convolution(&edge, &weight, &bias.values, Layer::NO_RIM)?;
        edge = self.graph.sigmoid(&edge);
        self.graph.output(&edge, &[3, SIDE, SIDE]);
        Ok(Written { bytes: self.graph.finish(), side: SIDE, parameters: self.parameters })
    }

    /// From rows of 1024 numbers, each as 32 x 32, to as many points as the face has at its smallest.
    fn hear(&mut self, audio: &str) -> Result<Edge, String> {
        let name = |part: &str| format!("audio_model.{part}");
        let mut edge = self.inverted(&name("conv1"), audio, Layer::PLAIN)?;
        edge = self.inverted(&name("conv2"), &edge, Layer::PLAIN)?;
        edge = self.normalised(&name("conv3"), &name("bn3"), &edge, Layer::HALVES)?;
        edge = self.graph.relu(&edge);
        edge = self.added(&name("conv4"), &edge)?;
        edge = self.normalised(&name("conv5"), &name("bn5"), &edge, Layer { rim: 3, ..Layer::HALVES })?;
        edge = self.graph.relu(&edge);
        edge = self.added(&name("conv6"), &edge)?;
        self.added(&name("conv7"), &edge)
    }

    /// Two blocks, the second of which adds what came into it.
    fn double(&mut self, name: &str, edge: &str, layer: Layer) -> Result<Edge, String> {
        let edge = self.inverted(&format!("{name}.double_conv.0"), edge, layer)?;
        self.added(&format!("{name}.double_conv.1"), &edge)
    }

    fn added(&mut self, name: &str, edge: &str) -> Result<Edge, String> {
        let out = self.inverted(name, edge, Layer::PLAIN)?;
        Ok(self.graph.add(edge, &out))
    }

    /// More channels, each looked at by itself as `layer` says, and fewer channels again.
    fn inverted(&mut self, name: &str, edge: &str, layer: Layer) -> Result<Edge, String> {
        let part = |n: usize| format!("{name}.conv.{n}");
        let groups = self.shape(&format!("{}.weight", part(3)))?.first().copied().unwrap_or(1) as u64;
        let mut edge = self.normalised(&part(0), &part(1), edge, Layer::NO_RIM)?;
        edge = self.graph.relu(&edge);
        edge = self.normalised(&part(3), &part(4), &edge, Layer { groups, ..layer })?;
        edge = self.graph.relu(&edge);
        self.normalised(&part(6), &part(7), &edge, Layer::NO_RIM)
    }
}

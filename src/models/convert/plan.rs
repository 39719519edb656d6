//! What plans have in common: weights by name, and the layers that are written of them.

use std::collections::BTreeMap;

use crate::models::checkpoint::Tensor;
use crate::models::graph::{Convolution, Edge, Graph};

/// What a layer's batch normalisation adds to a variance (PyTorch's default).
const EPSILON: f32 = 1e-5;

/// The weights of a checkpoint, and the network that they become.
pub(super) struct Plan {
    pub(super) tensors: BTreeMap<String, Tensor>,
    pub(super) graph: Graph,
    pub(super) parameters: usize,
}

/// A layer as the plan says it: how it steps, its rim, whether it grows the picture, how many parts its channels are in.
#[derive(Clone, Copy)]
pub(super) struct Layer {
    pub(super) step: [u64; 2],
    pub(super) rim: u64,
    pub(super) backwards: Option<u64>,
    pub(super) groups: u64,
}

impl Layer {
    pub(super) const PLAIN: Self = Self { step: [1, 1], rim: 1, backwards: None, groups: 1 };
    pub(super) const NO_RIM: Self = Self { rim: 0, ..Self::PLAIN };
    pub(super) const HALVES: Self = Self { step: [2, 2], ..Self::PLAIN };
}

impl Plan {
    /// The convolution `name`, and the batch normalisation `norm` of what comes out. That is a factor and an offset for each
    /// channel: both go into the convolution.
    pub(super) fn normalised(&mut self, name: &str, norm: &str, edge: &str, layer: Layer) -> Result<Edge, String> {
        let mut weight = self.take(&format!("{name}.weight"))?;
        let part = |which: &str| {
            self.tensors.remove(&format!("{norm}.{which}")).ok_or_else(|| format!("there is no {norm}.{which}"))
        };
        let [gain, offset, mean, variance] = ["weight", "bias", "running_mean", "running_var"].map(part);
        let [gain, offset, mean, variance] = [gain?, offset?, mean?, variance?].map(|tensor| tensor.values);
        let channels = *weight.shape.get(usize::from(layer.backwards.is_some())).ok_or("a weight has no channels")?;
        let bias = self.tensors.remove(&format!("{name}.bias")).map_or_else(|| vec![0.0; channels], |bias| bias.values);
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

    pub(super) fn convolution(&mut self, edge: &str, weight: &Tensor, bias: &[f32], layer: Layer) -> Result<Edge, String> {
        let &[_, _, down, across] = &weight.shape[..] else { return Err("a weight is no convolution's".into()) };
        self.parameters += weight.values.len() + bias.len();
        let of = Convolution {
            kernel: [down as u64, across as u64],
            step: layer.step,
            rim: layer.rim,
            backwards: layer.backwards,
            groups: layer.groups,
        };
        let weight = self.graph.weights(&weight.shape, &weight.values);
        let bias = self.graph.weights(&[bias.len()], bias);
        Ok(self.graph.convolution([edge, &weight, &bias], of))
    }

    /// How many parts `name` has: its children are counted from 0.
    pub(super) fn count(&self, name: &str) -> usize {
        let has = |n: &usize| {
            let prefix = format!("{name}.{n}.");
            self.tensors.range(prefix.clone()..).next().is_some_and(|(name, _)| name.starts_with(&prefix))
        };
        (0..self.tensors.len()).take_while(has).count()
    }

    /// The sizes of a weight.
    pub(super) fn shape(&self, name: &str) -> Result<&[usize], String> {
        self.tensors.get(name).map(|tensor| &tensor.shape[..]).ok_or_else(|| format!("there is no {name}"))
    }

    pub(super) fn take(&mut self, name: &str) -> Result<Tensor, String> {
        self.tensors.remove(name).ok_or_else(|| format!("there is no {name}"))
    }
}

//! The acoustic model: phoneme ids in, spectrum and durations out.
//!
//! In: ids of one clause. Out: [`Frames`]. Called from blocking threads, several at once: a loaded
//! model is immutable and shared, each run has its own buffers.

use std::path::Path;
use std::sync::Arc;

use rten::{Model, NodeId, Value};

use super::threads::Threads;
use crate::tts::Error;

/// Frequency bins of a frame: 1200-point transform at 24 kHz, 20 Hz apart.
pub(super) const BINS: usize = 601;

/// Where the graph computes its durations; not one of its declared outputs.
const DURATIONS_NODE: &str = "/Clip_output_0";

/// What the network says of a clause. Spectra are f32 `[BINS, frames]`, row-major.
pub(super) struct Frames {
    /// Log magnitude of the harmonics.
    pub harmonic: Vec<f32>,
    /// Phase that the harmonics are turned by, before `π·tanh`.
    pub harmonic_phase: Vec<f32>,
    /// Log magnitude of the noise.
    pub noise: Vec<f32>,
    /// Log magnitude of the part with a phase of its own.
    pub free: Vec<f32>,
    /// That phase, in radians.
    pub free_phase: Vec<f32>,
    /// Fundamental frequency of each frame in Hz; below 40 is unvoiced.
    pub f0_hz: Vec<f32>,
    /// Length of each token in units of 25 ms, both pads included.
    pub durations: Vec<u32>,
}

/// `hibari.onnx`, loaded.
pub(super) struct AcousticModel {
    model: Model,
    inputs: [NodeId; 2],
    outputs: [NodeId; 7],
    threads: Arc<Threads>,
}

impl AcousticModel {
    /// Loads the graph at `path`; its operators run on `threads`.
    pub(super) fn load(path: &Path, threads: Arc<Threads>) -> Result<Self, Error> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Load { path: path.into(), source };
        let model = Model::load_file(path).map_err(|e| failed(Box::new(e)))?;
        let node = |name: &str| model.node_id(name).map_err(|e| failed(Box::new(e)));
        let inputs = [node("ids")?, node("speed")?];
        let outputs =
            [node("lh")?, node("theta")?, node("ln")?, node("lr")?, node("phi")?, node("f0")?, node(DURATIONS_NODE)?];
        Ok(Self { model, inputs, outputs, threads })
    }

    /// Runs the network on `ids` (with a pad at either end); a `speed` of 1 is its natural pace.
    pub(super) fn run(&self, ids: &[i32], speed: f32) -> Result<Frames, Error> {
        let ids = Value::from_shape(&[1, ids.len()], ids.to_vec()).expect("the shape is the vector's own");
        let speed = Value::from_shape(&[1], vec![speed]).expect("one element");
        let inputs = vec![(self.inputs[0], ids.into()), (self.inputs[1], speed.into())];
        let [lh, theta, ln, lr, phi, f0, durations] = self
            .threads
            .with(|options| self.model.run_n(inputs, self.outputs, Some(options)))
            .map_err(|e| failed(Box::new(e)))?;
        Ok(Frames {
            harmonic: floats(lh)?,
            harmonic_phase: floats(theta)?,
            noise: floats(ln)?,
            free: floats(lr)?,
            free_phase: floats(phi)?,
            f0_hz: floats(f0)?,
            durations: floats(durations)?.iter().map(|&d| d.round().max(0.0) as u32).collect(),
        })
    }
}

/// The elements of an output, whatever its shape: batch is always one.
fn floats(value: Value) -> Result<Vec<f32>, Error> {
    let tensor = value.into_tensor::<f32>().ok_or_else(|| failed("an output is not of f32".into()))?;
    Ok(tensor.into_data())
}

fn failed(source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::Run { model: "hibari", source }
}

//! What Ultralight's networks hear: `HuBERT` (large, 16 kHz), a row of 1024 numbers each 20 ms.
//!
//! In: a second of sound, brought to mean 0 and variance 1 as its feature extractor does it. Out: its last layer. The graph is
//! the operator's, an ONNX file; all films share one, on a thread of its own.

use std::path::Path;
use std::sync::Arc;

use ort::session::Session;
use ort::value::Tensor;

use super::graph::open;
use super::network::{Error, NetworkFile};
use crate::onnx::{self, Patience, Shared};

/// Samples that it hears at once: 1.04 s, as many as LiveTalking tells it at a time. It hears the whole of it in every row.
pub(super) const SAMPLES: usize = 52 * ROW;

/// From row to row: 20 ms.
pub(super) const ROW: usize = 320;

/// Rows of [`SAMPLES`]; each looks at 25 ms, so the last 20 ms have none.
const ROWS: usize = 51;

/// Numbers of a row.
pub(super) const WIDTH: usize = 1_024;

/// Rows of it that a network is told are these, one after the other.
pub(super) type Rows = Vec<f32>;

/// The graph, loaded.
pub struct Hubert {
    shared: Shared<Arc<Vec<i16>>, Rows>,
}

impl Hubert {
    /// Loads the graph and runs it once. Blocking: seconds, since it has 1.3 GB.
    pub fn load(file: &NetworkFile) -> Result<Self, Error> {
        let path = &file.hubert;
        if !path.exists() {
            let remedy = "export hubert-large-ls960-ft to ONNX, and name the file in avatars.hubert";
            return Err(Error::Missing { path: path.clone(), remedy });
        }
        let (session, shapes) = open(path, file, true)?;
        let shape = |what| Error::Shape { path: path.clone(), what };
        let batch = match &shapes[..] {
            [(_, shape)] => match shape[..] {
                [batch, length] if length <= 0 || length == SAMPLES as i64 => Some(batch),
                _ => None,
            },
            _ => None,
        };
        let batch = batch.ok_or_else(|| shape(format!("its inputs are {shapes:?}, not one, f32 [B, samples]")))?;
        let one_by_one = batch > 0;
        let mut graph = Graph { session, input: shapes[0].0.clone(), one_by_one };
        graph.run(&[Arc::new(vec![0; SAMPLES])]).map_err(|error| shape(error.to_string()))?;
        let run = move |sounds: &[Arc<Vec<i16>>]| graph.run(sounds);
        // Whoever asks has a time of its own.
        let shared = Shared::start("hubert", Patience::Forever, run).map_err(|error| failed(path, error))?;
        Ok(Self { shared })
    }

    /// What is heard in each of `sounds`, which have [`SAMPLES`] each; `None` where its run failed.
    pub(super) fn hear(&self, sounds: &[Arc<Vec<i16>>]) -> Vec<Option<Rows>> {
        let asked: Vec<_> = sounds.iter().map(|sound| self.shared.ask(Arc::clone(sound))).collect();
        asked.iter().map(onnx::Answer::wait).collect()
    }
}

fn failed(path: &Path, error: std::io::Error) -> Error {
    Error::Load { path: path.to_owned(), source: error.into() }
}

struct Graph {
    session: Session,
    input: String,
    /// Exported for one sound at a time.
    one_by_one: bool,
}

impl Graph {
    fn run(&mut self, sounds: &[Arc<Vec<i16>>]) -> Result<Vec<Rows>, onnx::Error> {
        let together = if self.one_by_one { 1 } else { sounds.len().max(1) };
        let mut heard = Vec::with_capacity(sounds.len());
        for part in sounds.chunks(together) {
            let samples: Vec<f32> = part.iter().flat_map(|sound| normal(sound)).collect();
            let input = Tensor::from_array(([part.len(), SAMPLES], samples))?;
            let outputs = self.session.run(ort::inputs![self.input.as_str() => input])?;
            let (shape, rows) = outputs[0].try_extract_tensor::<f32>()?;
            let wanted = [part.len(), ROWS, WIDTH].map(|size| size as i64);
            if shape[..] != wanted {
                return Err(format!("for {SAMPLES} samples it says {:?}, not {wanted:?}", &shape[..]).into());
            }
            heard.extend(rows.chunks_exact(ROWS * WIDTH).map(<[f32]>::to_vec));
        }
        Ok(heard)
    }
}

/// The sound with mean 0 and variance 1.
fn normal(sound: &[i16]) -> impl Iterator<Item = f32> {
    let samples = || sound.iter().map(|sample| f64::from(*sample) / 32_768.0);
    let count = sound.len().max(1) as f64;
    let mean = samples().sum::<f64>() / count;
    let variance = samples().map(|sample| (sample - mean).powi(2)).sum::<f64>() / count;
    let factor = 1.0 / (variance + 1e-7).sqrt();
    samples().map(move |sample| ((sample - mean) * factor) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_is_brought_to_mean_0_and_variance_1_and_silence_stays_silent() {
        let sound: Vec<i16> = (0..1_000).map(|n| if n % 2 == 0 { 5_000 } else { -3_000 }).collect();
        let found: Vec<f32> = normal(&sound).collect();
        assert!((found[0] - 1.0).abs() < 1e-4 && (found[1] + 1.0).abs() < 1e-4, "{found:?}");
        assert!(normal(&[0; 100]).all(|sample| sample == 0.0));
    }
}

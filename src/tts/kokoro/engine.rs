//! The network, in ONNX Runtime: phoneme ids in, sound and durations out.
//!
//! In: ids of one run, and the style of a voice. Out: the wave at 24 kHz and how long each id takes.
//! Called from blocking threads, one run at a time: a session of the runtime is not shared.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use ort::session::Session;
use ort::value::Tensor;

use crate::onnx::{self, Device, Options};
use crate::tts::Error;

/// Where the graph computes its durations; not one of its declared outputs.
const DURATIONS: &str = "/encoder/Clip_output_0";

/// How the graph declares the input `speed`: a name, f32, one dimension of length one.
const SPEED_OF_ONE: &[u8] = b"\x0a\x05speed\x12\x0a\x0a\x08\x08\x01\x12\x04\x0a\x02\x08\x01";

/// The same with a dimension of any length: the graph divides durations by it, so it may differ
/// from id to id.
const SPEED_OF_EACH: &[u8] = b"\x0a\x05speed\x12\x0a\x0a\x08\x08\x01\x12\x04\x0a\x02\x12\x00";

/// What the pad after the last phoneme is hurried by. It is silence that nobody hears, 0.3 s of it,
/// and the network takes as long over it as over speech. The pad before the first must not be: the
/// first sounds would be lost.
const END_SPEED: f32 = 4.0;

/// What the network says of a run.
pub(super) struct Sound {
    /// 24 kHz.
    pub wave: Vec<f32>,
    /// Length of each id in units of 25 ms, both pads included.
    pub durations: Vec<u32>,
}

/// `kokoro.onnx`, loaded.
pub(super) struct Engine {
    /// A run needs the session for itself.
    session: Mutex<Session>,
}

impl Engine {
    /// Loads the runtime from `library` and the graph from `model`. About a second.
    pub(super) fn load(library: &Path, model: &Path) -> Result<Self, Error> {
        let failed = |path: &Path, source| Error::Load { path: path.into(), source };
        let runtime = onnx::runtime(library).map_err(|e| failed(library, e))?;
        let graph = std::fs::read(model).map_err(|e| failed(model, e.into()))?;
        let graph = open(graph).ok_or_else(|| failed(model, "it is not the graph that models.lock names".into()))?;
        // Every clause has another length: memory that is kept for one does not fit the next.
        let options = Options { threads: onnx::half_the_cores(), device: Device::Cpu, same_shapes: false };
        let session = onnx::session(&runtime, &graph, options).map_err(|e| failed(model, e.into()))?;
        Ok(Self { session: Mutex::new(session) })
    }

    /// Runs the network on `ids` (with a pad at either end); `style` has 256 numbers; a `speed` of 1 is its natural pace.
    pub(super) fn run(&self, ids: &[i32], style: &[f32], speed: f32) -> Result<Sound, Error> {
        let mut speed = vec![speed; ids.len()];
        if let Some(end) = speed.last_mut() {
            *end *= END_SPEED;
        }
        let ids: Vec<i64> = ids.iter().map(|&id| id.into()).collect();
        let run = || -> ort::Result<Sound> {
            let inputs = ort::inputs![
                "tokens" => Tensor::from_array(([1, ids.len()], ids))?,
                "style" => Tensor::from_array(([1, style.len()], style.to_vec()))?,
                "speed" => Tensor::from_array(([speed.len()], speed))?,
            ];
            let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
            let outputs = session.run(inputs)?;
            let (_, wave) = outputs["audio"].try_extract_tensor::<f32>()?;
            let (_, durations) = outputs[DURATIONS].try_extract_tensor::<f32>()?;
            let durations = durations.iter().map(|&d| d.round().max(0.0) as u32).collect();
            Ok(Sound { wave: wave.to_vec(), durations })
        };
        run().map_err(|e| Error::Run { model: "kokoro", source: e.into() })
    }
}

/// The graph with durations among its outputs, and a speed for each id. A message of protobuf that
/// is followed by another is both merged, so what is added to the graph is just put behind it.
fn open(mut graph: Vec<u8>) -> Option<Vec<u8>> {
    let speed = graph.windows(SPEED_OF_ONE.len()).rposition(|bytes| bytes == SPEED_OF_ONE)?;
    graph[speed..speed + SPEED_OF_EACH.len()].copy_from_slice(SPEED_OF_EACH);
    // ValueInfoProto: name, and a type, tensor of f32 without a shape.
    let mut info = field(1, DURATIONS.as_bytes());
    info.extend(field(2, &field(1, &[0x08, 0x01])));
    // ModelProto.graph is field 7, GraphProto.output field 12.
    graph.extend(field(7, &field(12, &info)));
    Some(graph)
}

/// A field of protobuf that holds bytes, at most 127 of them.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2, bytes.len() as u8];
    out.extend_from_slice(bytes);
    out
}

//! ONNX Runtime: one library a process, loaded by its path when the first network needs it, and networks that many share.
//!
//! In: a graph and how to run it. Out: a session of the runtime; [`Shared`] runs one for many on a thread of its own.

mod shared;

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use serde::{Deserialize, Serialize};

pub use shared::{Answer, Patience, Shared};

/// What can go wrong: a library or a graph that does not fit.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// What computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// An NVIDIA card: the library is one that was built for CUDA.
    Cuda,
}

/// How a graph is run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Threads of one run.
    pub threads: usize,
    /// What computes.
    pub device: Device,
    /// Whether every run has inputs of the same shape: memory is then planned once.
    pub same_shapes: bool,
}

/// The runtime in `library`. It allows one environment a process, so whoever comes first makes it.
pub fn runtime(library: &Path) -> Result<Environment, Error> {
    static RUNTIME: Mutex<Option<Environment>> = Mutex::new(None);
    let mut runtime = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = &*runtime {
        return Ok(runtime.clone());
    }
    Ok(runtime.insert(ort::init_from(library)?.build()?).clone())
}

/// A session that runs `graph`, the bytes of a model file.
pub fn session(runtime: &Environment, graph: &[u8], options: Options) -> Result<Session, ort::Error> {
    let mut builder = Session::builder(runtime)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(options.threads)?
        // Threads that spin while they wait take the core from those that encode.
        .with_intra_op_spinning(false)?
        .with_memory_pattern(options.same_shapes)?;
    if options.device == Device::Cuda {
        builder = builder.with_execution_providers([ort::ep::CUDA::default().build().error_on_failure()])?;
    }
    builder.commit_from_memory(graph)
}

/// Half the cores, at most four: encoders need the rest, and on two busy cores two threads are
/// slower than one.
pub fn half_the_cores() -> usize {
    (std::thread::available_parallelism().map_or(1, usize::from) / 2).clamp(1, 4)
}

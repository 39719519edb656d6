//! A network that moves lips: the sound around a picture and its face go in, the face that says it comes out.
//!
//! Two kinds are known, `wav2lip` and `ultralight`. Whatever it is, all sessions that look at it share one, on a thread of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::paste::Mask;
use crate::models;
use crate::onnx::{self, Answer, Device, Patience, Shared};

/// Nobody waits longer than this for an answer. Sound is known 440 ms before its picture is due, of which a network's window
/// takes 212 and more (`render::worker`): so a face that is asked ahead never has to wait.
const LIVE: Duration = Duration::from_millis(160);

/// What is wrong with a network.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not there, and neither is a checkpoint beside it.
    #[error("needs the network {path}, which is not there: {remedy} (docs/avatars.md)", path = path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
        /// What to do.
        remedy: &'static str,
    },
    /// A checkpoint lies in its place and is none that is known.
    #[error(transparent)]
    Convert(#[from] models::ConvertError),
    /// The library or the graph cannot be loaded.
    #[error("{path}: {source}", path = path.display())]
    Load {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: onnx::Error,
    },
    /// A graph of something else.
    #[error("{path} is not the network that belongs there: {what}", path = path.display())]
    Shape {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// What it hears by cannot be used.
    #[error(transparent)]
    Ear(#[from] Arc<Error>),
}

/// Which networks, and how they are run.
#[derive(Clone, Debug)]
pub struct NetworkFile {
    /// ONNX Runtime.
    pub library: PathBuf,
    /// Wav2Lip's graph.
    pub graph: PathBuf,
    /// The graph by which Ultralight's networks hear.
    pub hubert: PathBuf,
    /// What computes.
    pub device: Device,
    /// Threads of a run; 0: half the cores, at most four.
    pub threads: usize,
    /// Whether pictures have a time at which they are due.
    pub live: bool,
}

/// What is asked of a network: one picture.
pub(super) struct Question {
    /// What is heard around it and around those that are asked with it, as [`Reach`] says.
    pub(super) sound: Arc<Vec<i16>>,
    /// Which of them it is.
    pub(super) n: usize,
    /// `side` × `side`, red, green, blue.
    pub(super) face: Arc<Vec<u8>>,
}

/// What sound a network looks at, in samples.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach {
    /// Before the first sample of the first picture.
    pub(super) past: usize,
    /// From the first sample of the last picture on.
    pub(super) future: usize,
    /// How many pictures are asked at once, about one stretch of sound.
    pub(super) together: usize,
}

/// A network, loaded.
pub struct Network {
    shared: Shared<Question, Vec<u8>>,
    side: u32,
    reach: Reach,
    mask: &'static Mask,
}

impl Network {
    /// `run` answers questions; `name` is that of its thread and of the metrics.
    pub(super) fn start(
        name: &'static str,
        live: bool,
        side: u32,
        reach: Reach,
        mask: &'static Mask,
        run: impl FnMut(&[Question]) -> Result<Vec<Vec<u8>>, onnx::Error> + Send + 'static,
    ) -> std::io::Result<Self> {
        let patience = if live { Patience::For(LIVE) } else { Patience::Forever };
        Ok(Self { shared: Shared::start(name, patience, run)?, side, reach, mask })
    }

    /// Pixels of a face across and down.
    pub fn side(&self) -> u32 {
        self.side
    }

    pub(super) fn reach(&self) -> Reach {
        self.reach
    }

    /// What of a face that it made belongs into the picture.
    pub(super) fn mask(&self) -> &'static Mask {
        self.mask
    }

    /// The face that says it, as pixels like those that went in.
    pub(super) fn ask(&self, question: Question) -> Answer<Vec<u8>> {
        self.shared.ask(question)
    }
}

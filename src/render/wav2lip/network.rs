//! The network itself: a window of mel and a face go in, the face that says it comes out.
//!
//! Any ONNX graph of Wav2Lip's shapes will do; which of its inputs is which is told by their shapes. All sessions share one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ort::session::Session;
use ort::value::{Tensor, ValueType};

use super::mel::{BANDS, COLUMNS, Window};
use crate::models;
use crate::onnx::{self, Answer, Device, Options, Patience, Shared};

/// Nobody waits longer than this for an answer. Sound is known 440 ms before its picture is due, of which the window takes
/// 212 (`render::worker`): so a face that is asked ahead never has to wait.
const LIVE: Duration = Duration::from_millis(160);

/// Sides of faces that any known network has.
const SIDES: std::ops::RangeInclusive<u32> = 64..=512;

/// What is wrong with a network.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not there, and neither is a checkpoint beside it.
    #[error(
        "needs the network {path}, which is not there: put wav2lip.pth beside it, or run `visavis models convert` (docs/avatars.md)",
        path = path.display()
    )]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
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
    #[error("{path} is not a network of Wav2Lip's shapes: {what}", path = path.display())]
    Shape {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// Which network, and how it is run.
#[derive(Clone, Debug)]
pub struct NetworkFile {
    /// ONNX Runtime.
    pub library: PathBuf,
    /// The graph.
    pub graph: PathBuf,
    /// What computes.
    pub device: Device,
    /// Threads of a run; 0: half the cores, at most four.
    pub threads: usize,
    /// Whether pictures have a time at which they are due.
    pub live: bool,
}

/// What is asked of the network.
pub(in crate::render) struct Heard {
    /// `[80][16]`, -4 to 4.
    pub(in crate::render) window: Window,
    /// `side` × `side`, red, green, blue.
    pub(in crate::render) face: Arc<Vec<u8>>,
}

/// The network, loaded.
pub struct Network {
    shared: Shared<Heard, Vec<u8>>,
    side: u32,
}

impl Network {
    /// Loads the graph and runs it once. Where there is none but a checkpoint of its name (`wav2lip.pth`), it is made from that.
    /// Blocking: about a second.
    pub fn load(file: &NetworkFile) -> Result<Self, Error> {
        let path = &file.graph;
        let failed = |path: &Path, source| Error::Load { path: path.to_owned(), source };
        if !path.exists() {
            let checkpoint = path.with_extension("pth");
            if !checkpoint.exists() {
                return Err(Error::Missing { path: path.clone() });
            }
            let made = models::convert(&checkpoint, path)?;
            tracing::info!(from = %checkpoint.display(), to = %path.display(), side = made.side, "a checkpoint was converted");
        }
        let runtime = onnx::runtime(&file.library).map_err(|e| failed(&file.library, e))?;
        let graph = std::fs::read(path).map_err(|e| failed(path, e.into()))?;
        let threads = if file.threads == 0 { onnx::half_the_cores() } else { file.threads };
        let options = Options { threads, device: file.device, same_shapes: true };
        let session = onnx::session(&runtime, &graph, options).map_err(|e| failed(path, e.into()))?;
        let mut graph = Graph::of(session).map_err(|what| Error::Shape { path: path.clone(), what })?;
        let side = graph.side;
        let silence =
            || Heard { window: vec![-4.0; BANDS * COLUMNS], face: Arc::new(vec![128; (side * side * 3) as usize]) };
        let made = graph.run(&[silence()]).map_err(|e| failed(path, e))?;
        if made.iter().any(|face| face.len() != (side * side * 3) as usize) {
            return Err(Error::Shape { path: path.clone(), what: "the face that comes out has another size".into() });
        }
        let patience = if file.live { Patience::For(LIVE) } else { Patience::Forever };
        let run = move |heard: &[Heard]| graph.run(heard);
        let shared = Shared::start("wav2lip", patience, run).map_err(|e| failed(path, e.into()))?;
        Ok(Self { shared, side })
    }

    /// Pixels of a face across and down.
    pub fn side(&self) -> u32 {
        self.side
    }

    /// The face that says it, as pixels like those that went in.
    pub(in crate::render) fn ask(&self, heard: Heard) -> Answer<Vec<u8>> {
        self.shared.ask(heard)
    }
}

/// A session of the runtime and the names of its ends.
struct Graph {
    session: Session,
    mel: String,
    image: String,
    output: String,
    side: u32,
    /// How many faces a run must have; `None`: as many as one likes.
    batch: Option<usize>,
}

impl Graph {
    fn of(session: Session) -> Result<Self, String> {
        let shapes: Vec<(String, Vec<i64>)> = session
            .inputs()
            .iter()
            .map(|input| match input.dtype() {
                ValueType::Tensor { shape, .. } => (input.name().to_owned(), shape.to_vec()),
                _ => (input.name().to_owned(), Vec::new()),
            })
            .collect();
        let find = |fits: fn(&[i64]) -> bool| shapes.iter().find(|(_, shape)| fits(shape));
        let mel = find(|shape| matches!(shape, [_, 1 | -1, 80, 16]));
        let image = find(|shape| matches!(shape, [_, 6, _, _]));
        let (Some((mel, _)), Some((image, shape)), [_, _]) = (mel, image, &shapes[..]) else {
            return Err(format!("its inputs are {shapes:?}, not [B, 1, 80, 16] and [B, 6, H, W]"));
        };
        let side = u32::try_from(shape[2]).ok().filter(|side| SIDES.contains(side) && shape[2] == shape[3]);
        let side = side.ok_or_else(|| format!("faces of {}x{} are not what it should have", shape[3], shape[2]))?;
        let (mel, image, batch) = (mel.clone(), image.clone(), usize::try_from(shape[0]).ok().filter(|n| *n > 0));
        let output = session.outputs().first().ok_or("it has no output")?.name().to_owned();
        Ok(Self { session, mel, image, output, side, batch })
    }

    /// As many faces as were asked for, in their order.
    fn run(&mut self, heard: &[Heard]) -> Result<Vec<Vec<u8>>, onnx::Error> {
        let mut faces = Vec::with_capacity(heard.len());
        for part in heard.chunks(self.batch.unwrap_or(heard.len())) {
            faces.extend(self.run_together(part)?);
        }
        Ok(faces)
    }

    fn run_together(&mut self, heard: &[Heard]) -> Result<Vec<Vec<u8>>, onnx::Error> {
        // A graph of a fixed number of faces gets the last one more than once.
        let count = self.batch.unwrap_or(heard.len());
        let all = || (0..count).map(|n| &heard[n.min(heard.len() - 1)]);
        let (side, plane) = (self.side as usize, (self.side * self.side) as usize);
        let mel: Vec<f32> = all().flat_map(|heard| heard.window.iter().copied()).collect();
        let mut image = vec![0.0_f32; count * 6 * plane];
        for (heard, planes) in all().zip(image.chunks_exact_mut(6 * plane)) {
            fill(planes, &heard.face, side);
        }
        let inputs = ort::inputs![
            self.mel.as_str() => Tensor::from_array(([count, 1, BANDS, COLUMNS], mel))?,
            self.image.as_str() => Tensor::from_array(([count, 6, side, side], image))?,
        ];
        let outputs = self.session.run(inputs)?;
        let (_, made) = outputs[self.output.as_str()].try_extract_tensor::<f32>()?;
        if made.len() != count * 3 * plane {
            return Err(format!("{} numbers came out where {} belong", made.len(), count * 3 * plane).into());
        }
        Ok(made.chunks_exact(3 * plane).take(heard.len()).map(|planes| pixels(planes, plane)).collect())
    }
}

/// `[6][side][side]`, 0 to 1: the face as blue, green, red with its lower half black, then the whole face.
fn fill(planes: &mut [f32], face: &[u8], side: usize) {
    let plane = side * side;
    for (at, pixel) in face.as_chunks::<3>().0.iter().enumerate() {
        for (channel, value) in pixel.iter().rev().enumerate() {
            let value = f32::from(*value) / 255.0;
            planes[channel * plane + at] = if at < side / 2 * side { value } else { 0.0 };
            planes[(channel + 3) * plane + at] = value;
        }
    }
}

/// Red, green, blue of `[3][side][side]` in blue, green, red.
fn pixels(planes: &[f32], plane: usize) -> Vec<u8> {
    // Cut, not rounded, as the original does it.
    let value = |channel: usize, at: usize| (planes[channel * plane + at] * 255.0) as u8;
    (0..plane).flat_map(|at| [value(2, at), value(1, at), value(0, at)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_sees_blue_green_red_without_the_lower_half_and_then_the_whole_face() {
        let mut planes = vec![9.0; 6 * 4];
        fill(&mut planes, &[51, 102, 153, 0, 0, 0, 255, 0, 51, 0, 255, 0], 2);
        let tenth = |planes: &[f32]| planes.iter().map(|v| (v * 10.0).round() as u8).collect::<Vec<_>>();
        assert_eq!(tenth(&planes[..12]), [6, 0, 0, 0, 4, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(tenth(&planes[12..]), [6, 0, 2, 0, 4, 0, 0, 10, 2, 0, 10, 0]);
        assert_eq!(pixels(&planes[12..], 4), [51, 102, 153, 0, 0, 0, 255, 0, 51, 0, 255, 0]);
    }
}

//! A network's graph with two inputs, what is heard and the face, and the face that says it as its output.
//!
//! Which input is which is told by their shapes, whatever they are called. A network's own thread owns it.

use std::path::{Path, PathBuf};

use ort::session::Session;
use ort::value::{Tensor, TensorElementType, ValueType};

use super::network::{Error, NetworkFile};
use crate::onnx::{self, Options};

/// Sides of faces that any known network has.
const SIDES: std::ops::RangeInclusive<u32> = 64..=512;

/// What a network hears of one picture: three sizes.
pub(super) type Heard = [usize; 3];

/// Writes a face, red, green and blue, into six planes of 0 to 1.
pub(super) type Fill = fn(&mut [f32], &[u8], usize);

/// A session of the runtime and the names of its ends.
pub(super) struct Graph {
    session: Session,
    sound: String,
    image: String,
    output: String,
    heard: Heard,
    side: u32,
    /// How many faces a run must have; `None`: as many as one likes.
    batch: Option<usize>,
}

/// The inputs of a graph: names and shapes.
pub(super) type Inputs = Vec<(String, Vec<i64>)>;

/// The bytes of the file at `path` as a session, and the shapes of its inputs by name; empty: no tensor of f32.
pub(super) fn open(path: &Path, file: &NetworkFile, same_shapes: bool) -> Result<(Session, Inputs), Error> {
    let failed = |path: &Path, source| Error::Load { path: path.to_owned(), source };
    let runtime = onnx::runtime(&file.library).map_err(|e| failed(&file.library, e))?;
    let graph = std::fs::read(path).map_err(|e| failed(path, e.into()))?;
    let threads = if file.threads == 0 { onnx::half_the_cores() } else { file.threads };
    let options = Options { threads, device: file.device, same_shapes };
    let session = onnx::session(&runtime, &graph, options).map_err(|e| failed(path, e.into()))?;
    let shapes = session.inputs().iter().map(|input| match input.dtype() {
        ValueType::Tensor { ty: TensorElementType::Float32, shape, .. } => (input.name().to_owned(), shape.to_vec()),
        _ => (input.name().to_owned(), Vec::new()),
    });
    let shapes = shapes.collect();
    Ok((session, shapes))
}

impl Graph {
    /// The graph at `path`. `hears` says what a picture's sound looks like, if the shape is that of one; `wanted` names it.
    pub(super) fn load(
        path: &Path,
        file: &NetworkFile,
        hears: fn(&[i64]) -> Option<Heard>,
        wanted: &'static str,
    ) -> Result<Self, Error> {
        let (session, shapes) = open(path, file, true)?;
        Self::of(session, &shapes, hears, wanted).map_err(|what| Error::Shape { path: PathBuf::from(path), what })
    }

    fn of(
        session: Session,
        shapes: &[(String, Vec<i64>)],
        hears: fn(&[i64]) -> Option<Heard>,
        wanted: &str,
    ) -> Result<Self, String> {
        let sound = shapes.iter().find_map(|(name, shape)| Some((name.clone(), hears(shape)?)));
        let image = shapes.iter().find(|(_, shape)| matches!(shape[..], [_, 6, _, _]));
        let (Some((sound, heard)), Some((image, shape)), [_, _]) = (sound, image, shapes) else {
            return Err(format!("its inputs are {shapes:?}, not f32 {wanted} and [B, 6, H, W]"));
        };
        let side = u32::try_from(shape[2]).ok().filter(|side| SIDES.contains(side) && shape[2] == shape[3]);
        let side = side.ok_or_else(|| format!("faces of {}x{} are not what it should have", shape[3], shape[2]))?;
        let (image, batch) = (image.clone(), usize::try_from(shape[0]).ok().filter(|n| *n > 0));
        let output = session.outputs().first().ok_or("it has no output")?.name().to_owned();
        Ok(Self { session, sound, image, output, heard, side, batch })
    }

    /// Pixels of a face across and down.
    pub(super) fn side(&self) -> u32 {
        self.side
    }

    /// What it hears of one picture.
    pub(super) fn heard(&self) -> Heard {
        self.heard
    }

    /// Runs it once on nothing, so that what is wrong is known at once.
    pub(super) fn try_out(&mut self, silence: f32, fill: Fill) -> Result<(), onnx::Error> {
        let (heard, face) = (vec![silence; self.heard.iter().product()], vec![128; (self.side * self.side * 3) as usize]);
        self.run(&[(heard, &face)], fill).map(drop)
    }

    /// As many faces as were asked for, in their order; each question is what is heard, and the face.
    pub(super) fn run(&mut self, asked: &[(Vec<f32>, &[u8])], fill: Fill) -> Result<Vec<Vec<u8>>, onnx::Error> {
        let mut faces = Vec::with_capacity(asked.len());
        for part in asked.chunks(self.batch.unwrap_or(asked.len()).max(1)) {
            faces.extend(self.run_together(part, fill)?);
        }
        Ok(faces)
    }

    fn run_together(&mut self, asked: &[(Vec<f32>, &[u8])], fill: Fill) -> Result<Vec<Vec<u8>>, onnx::Error> {
        // A graph of a fixed number of faces gets the last one more than once.
        let count = self.batch.unwrap_or(asked.len());
        let all = || (0..count).map(|n| &asked[n.min(asked.len() - 1)]);
        let (side, plane) = (self.side as usize, (self.side * self.side) as usize);
        let sound: Vec<f32> = all().flat_map(|(sound, _)| sound.iter().copied()).collect();
        let mut image = vec![0.0_f32; count * 6 * plane];
        for ((_, face), planes) in all().zip(image.chunks_exact_mut(6 * plane)) {
            fill(planes, face, side);
        }
        let [a, b, c] = self.heard;
        let inputs = ort::inputs![
            self.sound.as_str() => Tensor::from_array(([count, a, b, c], sound))?,
            self.image.as_str() => Tensor::from_array(([count, 6, side, side], image))?,
        ];
        let outputs = self.session.run(inputs)?;
        let (_, made) = outputs[self.output.as_str()].try_extract_tensor::<f32>()?;
        if made.len() != count * 3 * plane {
            return Err(format!("{} numbers came out where {} belong", made.len(), count * 3 * plane).into());
        }
        Ok(made.chunks_exact(3 * plane).take(asked.len()).map(|planes| pixels(planes, plane)).collect())
    }
}

/// `[3][side][side]`, 0 to 1: the face as blue, green and red; nothing where it `is_black` at x, y.
pub(super) fn planes(planes: &mut [f32], face: &[u8], side: usize, is_black: impl Fn(usize, usize) -> bool) {
    for (at, pixel) in face.as_chunks::<3>().0.iter().enumerate() {
        let black = is_black(at % side, at / side);
        for (channel, value) in pixel.iter().rev().enumerate() {
            planes[channel * side * side + at] = if black { 0.0 } else { f32::from(*value) / 255.0 };
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
    fn pixels_become_planes_of_blue_green_red_and_come_back() {
        let face = [51, 102, 153, 0, 0, 0, 255, 0, 51, 0, 255, 0];
        let mut found = vec![9.0; 12];
        planes(&mut found, &face, 2, |_, _| false);
        let tenth = |planes: &[f32]| planes.iter().map(|v| (v * 10.0).round() as u8).collect::<Vec<_>>();
        assert_eq!(tenth(&found), [6, 0, 2, 0, 4, 0, 0, 10, 2, 0, 10, 0]);
        assert_eq!(pixels(&found, 4), face);
    }
}

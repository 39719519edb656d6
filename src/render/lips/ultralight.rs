//! Ultralight-Digital-Human: a network that was trained for one person, and hears through `HuBERT`.
//!
//! In: 16 or 32 rows of `HuBERT` around the picture, and the square around nose, mouth and chin, 160 × 160, as it is and with all
//! but its rim black. Out: that square. Every film has one of its own, `ultralight.onnx` or `ultralight.pth` in its folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::graph::{Fill, Graph, planes};
use super::hubert::{Hubert, ROW, SAMPLES, WIDTH};
use super::network::{Error, Network, NetworkFile, Question, Reach};
use super::paste::Mask;
use crate::models;

/// Pixels of a face across and down.
pub(in crate::render) const SIDE: u32 = 160;

/// Pixels of the faces that lie in the folder, of which a rim on all sides is not the network's.
pub(in crate::render) const CROP: u32 = 168;

/// From which pixel on and up to which it is black, across and down; the rest both show.
const BLACK: ((usize, usize), (usize, usize)) = ((5, 155), (5, 150));

/// All but the rim is made. Below the black, the rim is wide enough to tell the colours.
const MASK: Mask = Mask { sides: 0.1, top: (0.04, 0.16), bottom: 0.1, known: ((0.06, 0.94), (0.95, 1.0)) };

const FILL: Fill = |six, face, side| {
    let (whole, masked) = six.split_at_mut(3 * side * side);
    let ((left, right), (top, bottom)) = BLACK;
    planes(whole, face, side, |_, _| false);
    planes(masked, face, side, |x, y| (left..right).contains(&x) && (top..bottom).contains(&y));
};

/// The last of 16 rows ends 165 ms after the picture's first sample, that of 32 rows 325. `HuBERT` hears better with a little
/// more than that. Four pictures share a run of it, as long as sound is known so far ahead (`render::worker`).
fn reach(rows: usize) -> Reach {
    let (future, together) = if rows == 16 { (10 * ROW, 4) } else { (17 * ROW, 1) };
    Reach { past: SAMPLES - future - (together - 1) * 2 * ROW, future, together }
}

impl Network {
    /// Where the network of the film in `dir` lies, if it has one of its own.
    pub fn of_film(dir: &Path) -> Option<PathBuf> {
        let graph = dir.join("ultralight.onnx");
        (graph.exists() || graph.with_extension("pth").exists()).then_some(graph)
    }

    /// The network at `path`; where there is none but a checkpoint, it is made from that. Blocking.
    pub fn ultralight(path: &Path, file: &NetworkFile, hubert: Arc<Hubert>) -> Result<Self, Error> {
        if !path.exists() {
            let checkpoint = path.with_extension("pth");
            models::convert(&checkpoint, |_| path.to_owned())?;
            tracing::info!(from = %checkpoint.display(), to = %path.display(), "a checkpoint was converted");
        }
        let hears = |shape: &[i64]| match *shape {
            [_, rows @ (16 | 32), 32, 32] => Some([rows as usize, 32, 32]),
            _ => None,
        };
        let mut graph = Graph::load(path, file, hears, "[B, 16 or 32, 32, 32] of HuBERT")?;
        let shape = |what: &str| Error::Shape { path: path.to_owned(), what: what.into() };
        if graph.side() != SIDE {
            return Err(shape("its faces are not 160x160"));
        }
        let failed = |source| Error::Load { path: path.to_owned(), source };
        graph.try_out(0.0, FILL).map_err(failed)?;
        let [rows, ..] = graph.heard();
        let reach = reach(rows);
        let run = move |asked: &[Question]| {
            // Pictures that were asked together share their sound.
            let mut sounds: Vec<Arc<Vec<i16>>> = asked.iter().map(|one| Arc::clone(&one.sound)).collect();
            sounds.dedup_by(|a, b| Arc::ptr_eq(a, b));
            let heard = hubert.hear(&sounds);
            let of = |one: &Question| {
                let at = sounds.iter().position(|sound| Arc::ptr_eq(sound, &one.sound))?;
                around(heard[at].as_ref()?, reach.past / ROW + 2 * one.n, rows)
            };
            let told = asked.iter().map(|one| Some((of(one)?, &one.face[..]))).collect::<Option<Vec<_>>>();
            graph.run(&told.ok_or("HuBERT did not say what is heard")?, FILL)
        };
        Self::start("ultralight", file.live, SIDE, reach, &MASK, run).map_err(|e| failed(e.into()))
    }
}

/// So many `rows` around the one in the `middle`, half of them before it.
fn around(heard: &[f32], middle: usize, rows: usize) -> Option<Vec<f32>> {
    Some(heard.get((middle - rows / 2) * WIDTH..(middle + rows / 2) * WIDTH)?.to_vec())
}

/// What a network of 16 or 32 rows hears of one picture fits into what `HuBERT` says.
const _: () = assert!(WIDTH == 32 * 32 && SAMPLES.is_multiple_of(ROW));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_sees_the_whole_face_and_then_its_rim() {
        let side = SIDE as usize;
        let mut six = vec![9.0; 6 * side * side];
        FILL(&mut six, &vec![255; 3 * side * side], side);
        let bytes: Vec<u8> = six.iter().map(|value| (value * 255.0) as u8).collect();
        assert!(bytes[..3 * side * side].iter().all(|value| *value == 255));
        let masked = |x: usize, y: usize| bytes[(3 * side + y) * side + x];
        // OpenCV's rectangle of 150 x 145 from 5, 5 on.
        assert_eq!([(4, 80), (5, 80), (154, 80), (155, 80)].map(|(x, y)| masked(x, y)), [255, 0, 0, 255]);
        assert_eq!([(80, 4), (80, 5), (80, 149), (80, 150)].map(|(x, y)| masked(x, y)), [255, 0, 0, 255]);
    }

    #[test]
    fn the_rows_of_every_picture_that_is_asked_together_are_there() {
        let heard: Vec<f32> = (0..51 * WIDTH).map(|at| (at / WIDTH) as f32).collect();
        for rows in [16, 32] {
            let reach = reach(rows);
            assert_eq!(reach.past % ROW, 0);
            for n in 0..reach.together {
                let middle = reach.past / ROW + 2 * n;
                let found = around(&heard, middle, rows).unwrap();
                assert_eq!((found.len(), found[0] as usize), (rows * WIDTH, middle - rows / 2));
            }
        }
    }
}

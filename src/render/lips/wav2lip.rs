//! Wav2Lip: a window of mel and a face without its lower half go in, the face that says it comes out.
//!
//! Any ONNX graph of its shapes will do. One for all films that have no network of their own.

use super::graph::{Fill, Graph, planes};
use super::mel::{BANDS, COLUMNS, FUTURE, Mel, PAST, SILENCE};
use super::network::{Error, Network, NetworkFile, Question, Reach};
use super::paste::Mask;
use crate::models;

/// One picture at a time: its window is all that it hears.
const REACH: Reach = Reach { past: PAST, future: FUTURE, together: 1 };

/// The network makes what lies below the half; the bottom is the chin, which must move. Cheeks and eyes are what both show.
const MASK: Mask = Mask { sides: 0.12, top: (0.42, 0.58), bottom: 0.06, known: ((0.15, 0.85), (0.2, 0.45)) };

const FILL: Fill = |six, face, side| {
    let (masked, whole) = six.split_at_mut(3 * side * side);
    planes(masked, face, side, |_, y| y >= side / 2);
    planes(whole, face, side, |_, _| false);
};

impl Network {
    /// The network that is named. Where there is none but a checkpoint of its name (`wav2lip.pth`), it is made from that.
    /// Blocking: about a second.
    pub fn wav2lip(file: &NetworkFile) -> Result<Self, Error> {
        let path = &file.graph;
        if !path.exists() {
            let checkpoint = path.with_extension("pth");
            if !checkpoint.exists() {
                let remedy = "put wav2lip.pth beside it, or run `visavis models convert`";
                return Err(Error::Missing { path: path.clone(), remedy });
            }
            let made = models::convert(&checkpoint, |_| path.clone())?;
            tracing::info!(from = %checkpoint.display(), to = %path.display(), side = made.side, "a checkpoint was converted");
        }
        let hears = |shape: &[i64]| matches!(shape, [_, 1 | -1, 80, 16]).then_some([1, BANDS, COLUMNS]);
        let mut graph = Graph::load(path, file, hears, "[B, 1, 80, 16]")?;
        let failed = |source| Error::Load { path: path.clone(), source };
        graph.try_out(SILENCE, FILL).map_err(failed)?;
        let side = graph.side();
        let mut mel = Mel::new();
        let run = move |asked: &[Question]| {
            let heard: Vec<_> = asked.iter().map(|one| (mel.window(&one.sound), &one.face[..])).collect();
            graph.run(&heard, FILL)
        };
        Self::start("wav2lip", file.live, side, REACH, &MASK, run).map_err(|e| failed(e.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_sees_the_face_without_its_lower_half_and_then_the_whole_face() {
        let mut six = vec![9.0; 6 * 4];
        FILL(&mut six, &[255; 12], 2);
        assert_eq!(six[..12], [1.0, 1.0, 0.0, 0.0].repeat(3));
        assert_eq!(six[12..], [1.0; 12]);
    }
}

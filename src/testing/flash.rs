//! A face that is white while there is sound and black while there is none, so that what leaves the server tells how far
//! its picture and its sound are apart.

use std::sync::Arc;
use std::time::Duration;

use crate::media::{AudioFrame, Phoneme, VideoFrame};
use crate::render::{Gesture, LipSync};

/// Sound louder than this is seen.
const THRESHOLD_RMS: f32 = 0.02;

/// What a picture of this face costs, in milliseconds; unset: nothing. So slow a machine is made by tests.
const COST: &str = "TESTING_PICTURE_MS";

/// White or black.
pub struct Flash {
    cost: Duration,
    white: Arc<VideoFrame>,
    black: Arc<VideoFrame>,
}

impl Flash {
    /// Its id in the catalogue.
    pub const ID: &str = "testing-flash";

    /// Pixels across, and down.
    pub const SIDE: u32 = 128;
}

impl Default for Flash {
    fn default() -> Self {
        let mut white = VideoFrame::black(Self::SIDE, Self::SIDE);
        white.planes_mut()[0].fill(235);
        let cost = std::env::var(COST).ok().and_then(|ms| ms.parse().ok()).unwrap_or_default();
        let cost = Duration::from_millis(cost);
        Self { cost, white: Arc::new(white), black: Arc::new(VideoFrame::black(Self::SIDE, Self::SIDE)) }
    }
}

impl LipSync for Flash {
    fn cue(&mut self, _: u64, _: &[Phoneme]) {}

    fn hear(&mut self, _: u64, _: &AudioFrame) {}

    fn cut(&mut self, _: u64) {}

    fn pass(&mut self, _: u64, _: &[AudioFrame; 2]) {}

    fn gesture(&mut self, _: u64, _: Gesture) {}

    fn picture(&mut self, _: u64, sound: &[AudioFrame; 2]) -> Arc<VideoFrame> {
        // What is spent sleeping is not taken from the browser that the test looks through.
        std::thread::sleep(self.cost);
        let loud = sound.iter().any(|frame| frame.rms() > THRESHOLD_RMS);
        Arc::clone(if loud { &self.white } else { &self.black })
    }
}

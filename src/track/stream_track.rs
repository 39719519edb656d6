//! `PlayerStreamTrack`: a paced queue of frames of one kind, stamped from a counter as they leave (seed 004).

use std::collections::VecDeque;

use crate::media::{AUDIO_RATE_HZ, AudioFrame, MediaTime, SAMPLES_PER_FRAME, VIDEO_CLOCK_HZ, VideoFrame};

/// Frames of sound that may wait: 500 ms.
const AUDIO_QUEUE: usize = 25;
/// Pictures that may wait: 120 ms.
const VIDEO_QUEUE: usize = 3;

/// A frame and its presentation time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamped<F> {
    /// The frame.
    pub frame: F,
    /// Counted from the session's anchor, in the kind's own clock.
    pub pts: MediaTime,
}

/// A queue of frames of one kind. When full the oldest is dropped and counted: a late frame is worth less than a new one.
#[derive(Debug)]
pub struct PlayerStreamTrack<F> {
    queue: VecDeque<F>,
    capacity: usize,
    rate_hz: u32,
    /// Clock ticks in the 20 ms between two ticks of the pacer.
    clock_per_tick: u64,
    dropped: u64,
}

impl PlayerStreamTrack<AudioFrame> {
    /// 20 ms frames at 16 kHz: +320/16000 each.
    pub fn audio() -> Self {
        Self::new(AUDIO_QUEUE, AUDIO_RATE_HZ, SAMPLES_PER_FRAME as u64)
    }
}

impl PlayerStreamTrack<std::sync::Arc<VideoFrame>> {
    /// 40 ms pictures on the 90 kHz clock: +3600/90000 each.
    pub fn video() -> Self {
        Self::new(VIDEO_QUEUE, VIDEO_CLOCK_HZ, u64::from(VIDEO_CLOCK_HZ) / 50)
    }
}

impl<F> PlayerStreamTrack<F> {
    fn new(capacity: usize, rate_hz: u32, clock_per_tick: u64) -> Self {
        Self { queue: VecDeque::with_capacity(capacity), capacity, rate_hz, clock_per_tick, dropped: 0 }
    }

    /// Appends a frame.
    pub fn push(&mut self, frame: F) {
        if self.queue.len() == self.capacity {
            self.queue.pop_front();
            self.dropped += 1;
        }
        self.queue.push_back(frame);
    }

    /// The next frame, stamped for the pacer's `tick`.
    pub fn pop(&mut self, tick: u64) -> Option<Stamped<F>> {
        let frame = self.queue.pop_front()?;
        Some(Stamped { frame, pts: MediaTime { ticks: tick * self.clock_per_tick, rate_hz: self.rate_hz } })
    }

    /// Whether nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Forgets what is queued.
    pub fn clear(&mut self) {
        self.queue.clear();
    }

    /// Frames dropped because the queue was full.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn stamps_step_by_320_and_by_3600_and_start_at_zero() {
        let mut audio = PlayerStreamTrack::audio();
        let mut video = PlayerStreamTrack::video();
        let picture = Arc::new(VideoFrame::black(2, 2));
        let (mut sound, mut pictures) = (Vec::new(), Vec::new());
        for tick in 0..6 {
            audio.push(AudioFrame::SILENCE);
            sound.push(audio.pop(tick).unwrap().pts.ticks);
            if tick % 2 == 0 {
                video.push(picture.clone());
                pictures.push(video.pop(tick).unwrap().pts.ticks);
            }
        }
        assert_eq!(sound, [0, 320, 640, 960, 1_280, 1_600]);
        assert_eq!(pictures, [0, 3_600, 7_200]);
    }

    #[test]
    fn a_full_queue_drops_the_oldest_and_counts_it() {
        let mut audio = PlayerStreamTrack::audio();
        for n in 0..=AUDIO_QUEUE {
            audio.push(AudioFrame([n as i16; SAMPLES_PER_FRAME]));
        }
        assert_eq!(audio.dropped(), 1);
        assert_eq!(audio.pop(0).unwrap().frame.0[0], 1);
    }
}

//! Whether somebody means to cut in on what they hear.
//!
//! In: a microphone's samples, and whether something is being played. Out: yes, once there was speech enough. Pure; for
//! conversations with a model that listens by itself, where no ears of ours write anything down.

use std::time::Duration;

use super::{Endpoint, Event};
use crate::media::{AudioFrame, SAMPLES_PER_FRAME};

/// Silence after which speech is another utterance.
const STOP_MS: u32 = 250;

/// Counts the speech that is heard while something is played.
pub struct CutIn {
    endpoint: Endpoint,
    /// Speech that is meant; zero: nothing ever is.
    meant: Duration,
    rest: Vec<i16>,
    /// Of the present utterance: all of it, and what of it was heard over something else.
    spoken: Duration,
    over: Duration,
}

impl CutIn {
    /// `meant` of speech cuts in; never, if that is zero.
    pub fn new(meant: Duration) -> Self {
        let endpoint = Endpoint::new(STOP_MS);
        Self { endpoint, meant, rest: Vec::new(), spoken: Duration::ZERO, over: Duration::ZERO }
    }

    /// Hears the next samples, 16 kHz. True if what is `playing` has to stop.
    pub fn push(&mut self, samples: &[i16], playing: bool) -> bool {
        if self.meant.is_zero() {
            return false;
        }
        self.rest.extend_from_slice(samples);
        let whole = self.rest.len() / SAMPLES_PER_FRAME * SAMPLES_PER_FRAME;
        let frames: Vec<AudioFrame> = self.rest[..whole].as_chunks().0.iter().map(|frame| AudioFrame(*frame)).collect();
        self.rest.drain(..whole);
        let mut cuts = false;
        for event in frames.iter().flat_map(|frame| self.endpoint.push(frame)).collect::<Vec<_>>() {
            cuts |= self.notice(&event, playing);
        }
        cuts
    }

    fn notice(&mut self, event: &Event, playing: bool) -> bool {
        match event {
            Event::SpeechFor(spoken) => {
                let more = spoken.saturating_sub(std::mem::replace(&mut self.spoken, *spoken));
                self.over = if playing { self.over + more } else { Duration::ZERO };
            }
            Event::SpeechStarted | Event::Utterance(_) | Event::Discarded => {
                (self.spoken, self.over) = (Duration::ZERO, Duration::ZERO);
            }
            Event::Pause(_) | Event::WentOn => {}
        }
        let cuts = self.over >= self.meant;
        if cuts {
            self.over = Duration::ZERO;
        }
        cuts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_speech_over_something_that_plays_counts() {
        let mut cut_in = CutIn::new(Duration::from_millis(500));
        let mut speak = |ms: u64, playing: bool| cut_in.notice(&Event::SpeechFor(Duration::from_millis(ms)), playing);
        assert!(!speak(400, false));
        assert!(!speak(800, false), "nothing plays");
        assert!(!speak(1_200, true), "400 ms of it");
        assert!(speak(1_300, true));
        assert!(!speak(1_400, true), "it was told");
        assert!(!cut_in.notice(&Event::Discarded, true));
        assert!(!cut_in.notice(&Event::SpeechFor(Duration::from_millis(400)), true), "another utterance");
    }

    #[test]
    fn no_length_of_speech_means_never() {
        let mut cut_in = CutIn::new(Duration::ZERO);
        assert!(!cut_in.push(&[9_000; 32_000], true));
    }
}

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

    /// Hears the next samples, 16 kHz. If what is `playing` has to stop, for how long they have spoken.
    pub fn push(&mut self, samples: &[i16], playing: bool) -> Option<Duration> {
        if self.meant.is_zero() {
            return None;
        }
        self.rest.extend_from_slice(samples);
        let whole = self.rest.len() / SAMPLES_PER_FRAME * SAMPLES_PER_FRAME;
        let frames: Vec<AudioFrame> = self.rest[..whole].as_chunks().0.iter().map(|frame| AudioFrame(*frame)).collect();
        self.rest.drain(..whole);
        let mut cuts = None;
        for event in frames.iter().flat_map(|frame| self.endpoint.push(frame)).collect::<Vec<_>>() {
            cuts = self.notice(&event, playing).or(cuts);
        }
        cuts
    }

    fn notice(&mut self, event: &Event, playing: bool) -> Option<Duration> {
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
        if self.over < self.meant {
            return None;
        }
        self.over = Duration::ZERO;
        Some(self.spoken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_speech_over_something_that_plays_counts() {
        let mut cut_in = CutIn::new(Duration::from_millis(500));
        let ms = Duration::from_millis;
        let mut speak = |spoken: u64, playing: bool| cut_in.notice(&Event::SpeechFor(ms(spoken)), playing);
        assert_eq!(speak(400, false), None);
        assert_eq!(speak(800, false), None, "nothing plays");
        assert_eq!(speak(1_200, true), None, "400 ms of it");
        assert_eq!(speak(1_300, true), Some(ms(1_300)));
        assert_eq!(speak(1_400, true), None, "it was told");
        assert_eq!(cut_in.notice(&Event::Discarded, true), None);
        assert_eq!(cut_in.notice(&Event::SpeechFor(ms(400)), true), None, "another utterance");
    }

    #[test]
    fn no_length_of_speech_means_never() {
        let mut cut_in = CutIn::new(Duration::ZERO);
        assert_eq!(cut_in.push(&vec![9_000; 32_000], true), None);
    }
}

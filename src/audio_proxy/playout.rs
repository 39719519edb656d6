//! When a client is sent what. Pure: it is told the time.
//!
//! A model makes speech faster than it is spoken. If all of it were sent as it comes, nobody could take it back when the
//! person cuts in: it goes out as it is heard, a little ahead.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::backend::Said;
use crate::media::AUDIO_RATE_HZ;

/// Samples that may wait, 30 s. Full: the back end waits.
const PLAYOUT_QUEUE: usize = 30 * AUDIO_RATE_HZ as usize;
/// Texts and errors that may wait.
const WORDS_QUEUE: usize = 1_000;

/// What waits to be sent to a client.
pub(super) struct Playout {
    waiting: VecDeque<Said>,
    samples: usize,
    /// When all that was sent has been heard, if it is played as it comes.
    heard: Instant,
    lead: Duration,
}

impl Playout {
    pub(super) fn new(lead: Duration, now: Instant) -> Self {
        Self { waiting: VecDeque::new(), samples: 0, heard: now, lead }
    }

    pub(super) fn push(&mut self, said: Said) {
        self.samples += length(&said);
        self.waiting.push_back(said);
    }

    pub(super) fn is_full(&self) -> bool {
        self.samples >= PLAYOUT_QUEUE || self.waiting.len() >= WORDS_QUEUE
    }

    /// When the next thing is to be sent; `None` if nothing waits. Words go out with the sound that says them.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let next = self.waiting.front()?;
        let sounds = matches!(next, Said::Text(_) | Said::Sound(_));
        Some(if sounds { self.heard.checked_sub(self.lead).unwrap_or(now).max(now) } else { now })
    }

    pub(super) fn pop(&mut self, now: Instant) -> Option<Said> {
        let said = self.waiting.pop_front()?;
        let samples = length(&said);
        self.samples -= samples;
        if samples > 0 {
            self.heard = self.heard.max(now) + Duration::from_secs_f64(samples as f64 / f64::from(AUDIO_RATE_HZ));
        }
        Some(said)
    }

    /// Forgets what was to be heard.
    pub(super) fn cut(&mut self, now: Instant) {
        self.waiting.retain(|said| matches!(said, Said::Trouble(_)));
        self.samples = 0;
        self.heard = self.heard.min(now);
    }

    /// Whether the client hears something, or is about to.
    pub(super) fn is_playing(&self, now: Instant) -> bool {
        self.heard > now || self.samples > 0
    }
}

fn length(said: &Said) -> usize {
    if let Said::Sound(sound) = said { sound.len() } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENTH: Duration = Duration::from_millis(100);

    #[test]
    fn sound_goes_out_as_it_is_heard_and_words_with_it() {
        let began = Instant::now();
        let mut playout = Playout::new(3 * TENTH, began);
        for n in 0..10 {
            playout.push(Said::Text(n.to_string()));
            playout.push(Said::Sound(vec![0; 1_600]));
        }
        let mut sent = Vec::new();
        let mut now = began;
        while let Some(due) = playout.due(now) {
            now = due;
            if let Some(Said::Sound(_)) = playout.pop(now) {
                sent.push((now - began).as_millis());
            }
        }
        assert_eq!(sent, [0, 0, 0, 0, 100, 200, 300, 400, 500, 600]);
        assert!(playout.is_playing(began + 9 * TENTH) && !playout.is_playing(began + 10 * TENTH));
    }

    #[test]
    fn what_was_cut_is_neither_sent_nor_playing() {
        let now = Instant::now();
        let mut playout = Playout::new(3 * TENTH, now);
        playout.push(Said::Sound(vec![0; 32_000]));
        playout.pop(now);
        playout.push(Said::Sound(vec![0; 1_600]));
        playout.push(Said::Trouble("no".into()));
        assert_eq!(playout.due(now), Some(now + 17 * TENTH));
        playout.cut(now);
        assert!(!playout.is_playing(now));
        assert_eq!((playout.due(now), playout.pop(now)), (Some(now), Some(Said::Trouble("no".into()))));
        assert_eq!(playout.pop(now), None);
    }

    #[test]
    fn it_is_full_after_half_a_minute() {
        let now = Instant::now();
        let mut playout = Playout::new(TENTH, now);
        (0..299).for_each(|_| playout.push(Said::Sound(vec![0; 1_600])));
        assert!(!playout.is_full());
        playout.push(Said::Sound(vec![0; 1_600]));
        assert!(playout.is_full());
    }
}

//! What of a session's sound is known: what was played last, and what will be.

use std::collections::VecDeque;

use crate::media::AudioFrame;

/// Samples above this level are speech, about -50 dB: what is below moves no mouth.
const LOUD: u16 = 100;

/// Most samples ahead of what was forgotten: ten times what the render thread tells.
const MOST: usize = 10 * 16_000;

/// Sound from a sample on; what was never told is silence.
pub(super) struct Sound {
    /// Samples that are kept before the first that anybody asks for.
    past: usize,
    start: u64,
    samples: VecDeque<i16>,
}

impl Sound {
    /// Nothing was told; `past` samples are kept before the first that anybody asks for.
    pub(super) fn new(past: usize) -> Self {
        Self { past, start: 0, samples: VecDeque::new() }
    }

    /// The first sample that nobody has told.
    pub(super) fn until(&self) -> u64 {
        self.start + self.samples.len() as u64
    }

    /// What is played from sample `at` on.
    pub(super) fn tell(&mut self, at: u64, frame: &AudioFrame) {
        let Some(from) = at.checked_sub(self.start).map(|from| from as usize).filter(|from| *from <= MOST) else { return };
        self.silence_until(at + frame.0.len() as u64);
        self.samples.range_mut(from..from + frame.0.len()).zip(frame.0).for_each(|(old, new)| *old = new);
    }

    /// Nothing follows until sample `at`.
    pub(super) fn silence_until(&mut self, at: u64) {
        let len = (at.saturating_sub(self.start) as usize).min(2 * MOST);
        if len > self.samples.len() {
            self.samples.resize(len, 0);
        }
    }

    /// What was to be played from sample `at` on is not.
    pub(super) fn cut(&mut self, at: u64) {
        self.samples.truncate(at.saturating_sub(self.start) as usize);
    }

    /// Nobody asks any more for a window that begins before sample `at`.
    pub(super) fn forget_before(&mut self, at: u64) {
        let start = at.saturating_sub(self.past as u64);
        let gone = start.saturating_sub(self.start) as usize;
        self.samples.drain(..gone.min(self.samples.len()));
        self.start = self.start.max(start);
    }

    /// `past` samples before sample `at` and `future` from there on.
    pub(super) fn around(&self, at: u64, past: usize, future: usize) -> Vec<i16> {
        // Both shifted by `past`, since a session's first window begins before its first sample.
        let sample = |n: usize| {
            let index = (at + n as u64).checked_sub(self.start + past as u64)?;
            self.samples.get(index as usize).copied()
        };
        (0..past + future).map(|n| sample(n).unwrap_or(0)).collect()
    }
}

/// Whether there is speech in it.
pub(super) fn is_loud(sound: &[i16]) -> bool {
    sound.iter().any(|sample| sample.unsigned_abs() > LOUD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::SAMPLES_PER_FRAME;

    const PAST: usize = 401;

    fn around(sound: &Sound, at: u64) -> Vec<i16> {
        sound.around(at, PAST, 3_400)
    }

    fn frame(level: i16) -> AudioFrame {
        AudioFrame([level; SAMPLES_PER_FRAME])
    }

    #[test]
    fn a_window_is_what_was_told_with_silence_around() {
        let mut sound = Sound::new(PAST);
        sound.tell(320, &frame(7));
        let around = around(&sound, 0);
        assert_eq!(around.iter().position(|s| *s == 7), Some(PAST + 320));
        assert_eq!(around.iter().filter(|s| **s == 7).count(), 320);
        assert_eq!(sound.until(), 640);
    }

    #[test]
    fn what_is_forgotten_or_cut_is_silence_and_the_rest_stays_where_it_was() {
        let mut sound = Sound::new(PAST);
        (0..10).for_each(|n| sound.tell(n * 320, &frame(n as i16 + 1)));
        let before = around(&sound, 1_280);
        sound.forget_before(1_280);
        assert_eq!(around(&sound, 1_280), before);
        sound.cut(1_600);
        let after = around(&sound, 1_280);
        assert_eq!((after[PAST + 319], after[PAST + 320]), (5, 0));
        sound.tell(1_600, &frame(99));
        assert_eq!(around(&sound, 1_280)[PAST + 320], 99);
    }

    #[test]
    fn sound_for_a_time_long_gone_or_far_ahead_is_left_out() {
        let mut sound = Sound::new(PAST);
        sound.forget_before(100_000);
        sound.tell(0, &frame(1));
        sound.tell(u64::MAX / 2, &frame(1));
        assert!(!is_loud(&around(&sound, 100_000)) && sound.until() < 200_000);
    }
}

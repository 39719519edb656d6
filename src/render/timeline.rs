//! What the mouth does when: cued phonemes become weights of mouth poses at any sample.
//!
//! In: clauses with their phonemes, some seconds ahead, or visemes as they are heard. Out: weights of the visemes at a sample, and where the stress lies.
//! Each sound rises before it is heard and decays after, overlapping its neighbours (Cohen and Massaro 1993: dominance);
//! closed lips override all that. No state but the list of what is still to be said; the render thread owns it.

use std::collections::VecDeque;

use super::visemes::{Sound, Symbol, VISEMES, Viseme};
use crate::media::{AUDIO_RATE_HZ, Phoneme};

/// Sounds kept at most: five minutes of fast speech. What does not fit is not lip-synced.
const MAX_SOUNDS: usize = 6_000;

/// A gap shorter than this is spoken through; in a longer one the mouth rests.
const PAUSE_MS: f32 = 120.0;

/// Without stress marks, vowels are unstressed up to the first length and stressed from the second.
const LONG_MS: (f32, f32) = (80.0, 140.0);

/// The longest last sound before punctuation.
const LAST_MS: f32 = 130.0;

/// How long vowels and most consonants rise before their first sample, and decay after their last.
const RISE_MS: f32 = 80.0;
const FALL_MS: f32 = 90.0;

/// Rounded lips begin this much earlier (anticipatory rounding, 100–200 ms in speech).
const ROUND_RISE_MS: f32 = 120.0;

/// Closed lips stay closed for as long: one picture is 40 ms, so that at every phase one shows them.
const CLOSED_MS: (f32, f32) = (44.0, 90.0);

/// Lips take as long to meet and to part.
const CLOSING_MS: f32 = 60.0;

/// Sounds influence the picture this long before and after; older ones are dropped.
const REACH_MS: f32 = 200.0;

/// A nod of emphasis lasts as long on each side of its vowel's middle.
const EMPHASIS_MS: f32 = 260.0;

/// What the mouth does at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Mouth {
    /// Share of each [`Viseme`]; they add up to 1.
    pub(super) shares: [f32; VISEMES],
    /// How far each is taken, 0 to 1.
    pub(super) sizes: [f32; VISEMES],
}

/// What is being said, around now and to come.
#[derive(Default)]
pub(super) struct Timeline {
    sounds: VecDeque<Cued>,
    /// Where sentences end, in order.
    ends: VecDeque<u64>,
}

/// One viseme of one phoneme, in samples since the session began.
#[derive(Clone, Copy, Debug)]
struct Cued {
    start: u64,
    end: u64,
    viseme: Viseme,
    size: f32,
    hold: f32,
    /// 1 on the vowel of a stressed syllable.
    stress: f32,
}

impl Timeline {
    /// A clause begins at sample `start`.
    pub(super) fn cue(&mut self, start: u64, phonemes: &[Phoneme]) {
        let mut stress = None::<(u64, f32)>;
        let mut importance = 0.0;
        // Some voices do not say where the stress is; then the long vowels have it.
        let marked = phonemes.iter().any(|p| matches!(Symbol::of(p.symbol), Symbol::Stress(_)));
        for p in phonemes {
            let (from, to) =
                (start.saturating_add(p.start.into()), start.saturating_add(u64::from(p.start) + u64::from(p.len)));
            match Symbol::of(p.symbol) {
                Symbol::Stress(level) => {
                    stress = Some((stress.map_or(from, |(at, _)| at), level));
                }
                Symbol::Longer => {
                    if let Some(last) = self.sounds.back_mut() {
                        last.end = last.end.max(to);
                    }
                }
                Symbol::Pause => {
                    (stress, importance) = (None, 0.0);
                    self.pause(from, to, p.symbol);
                }
                Symbol::Sound(sound) => {
                    let from = stress.map_or(from, |(at, _)| at);
                    importance = stress.take().map_or(importance, |(_, level)| level);
                    if !marked {
                        importance = stress_of_length(from, to);
                    }
                    self.say(from, to, sound, importance);
                    if sound.vowel {
                        importance = 0.0;
                    }
                }
            }
        }
    }

    /// `viseme` is heard from `start` to `end`, right after what was heard before.
    pub(super) fn hear(&mut self, start: u64, end: u64, viseme: Viseme) {
        let Some(sound) = viseme.heard() else { return };
        // What goes on is one sound, which is the bigger the longer it is.
        let goes_on = self.sounds.pop_back_if(|last| last.viseme == viseme && last.end == start);
        let start = goes_on.map_or(start, |last| last.start);
        self.say(start, end, sound, stress_of_length(start, end));
    }

    /// Forgets what was to be said from `at` on; what is being said ends there.
    pub(super) fn cut(&mut self, at: u64) {
        self.sounds.retain(|s| s.start < at);
        self.ends.retain(|end| *end < at);
        self.sounds.iter_mut().for_each(|s| s.end = s.end.min(at));
    }

    /// Drops what can no longer be seen at sample `at`.
    pub(super) fn forget_before(&mut self, at: u64) {
        let gone = |end: u64| end.saturating_add(samples(REACH_MS.max(EMPHASIS_MS))) < at;
        while self.sounds.front().is_some_and(|s| gone(s.end)) {
            self.sounds.pop_front();
        }
        // One is kept: the blink after a sentence starts when it is already past.
        while self.ends.get(1).is_some_and(|end| *end <= at) {
            self.ends.pop_front();
        }
    }

    /// The last end of a sentence at or before `at`.
    pub(super) fn sentence_end(&self, at: u64) -> Option<u64> {
        self.ends.iter().rev().find(|end| **end <= at).copied()
    }

    /// How much the moment at `at` is stressed, 0 to 1; swells and fades over a quarter of a second.
    pub(super) fn emphasis(&self, at: u64) -> f32 {
        let reach = samples(EMPHASIS_MS);
        let swell = |s: &Cued| {
            let middle = u64::midpoint(s.start, s.end);
            let away = ms(middle.abs_diff(at)) / EMPHASIS_MS;
            s.stress * (0.5 + 0.5 * (away.min(1.0) * std::f32::consts::PI).cos())
        };
        self.near(at.saturating_sub(reach), at + reach).map(swell).fold(0.0, f32::max)
    }

    /// The mouth at sample `at`.
    pub(super) fn mouth(&self, at: u64) -> Mouth {
        let mut sums = [0.0_f32; VISEMES];
        let mut sizes = [0.0_f32; VISEMES];
        let (mut lips, mut teeth) = (0.0_f32, 0.0_f32);
        let reach = samples(REACH_MS);
        for s in self.near(at.saturating_sub(reach), at + reach) {
            match s.viseme {
                Viseme::PP => lips = lips.max(s.closure(at)),
                Viseme::FF => teeth = teeth.max(s.closure(at)),
                _ => {
                    let dominance = s.dominance(at);
                    sums[s.viseme as usize] += dominance;
                    sizes[s.viseme as usize] += dominance * s.size;
                }
            }
        }
        let total: f32 = sums.iter().sum::<f32>().max(1.0);
        let free = 1.0 - (lips + (1.0 - lips) * teeth);
        let mut mouth = Mouth::default();
        for v in 0..VISEMES {
            mouth.shares[v] = sums[v] / total * free;
            mouth.sizes[v] = if sums[v] > 0.0 { sizes[v] / sums[v] } else { 0.0 };
        }
        mouth.shares[Viseme::PP as usize] = lips;
        mouth.shares[Viseme::FF as usize] = (1.0 - lips) * teeth;
        mouth.sizes[Viseme::PP as usize] = 1.0;
        mouth.sizes[Viseme::FF as usize] = 1.0;
        let rest = 1.0 - mouth.shares.iter().sum::<f32>();
        mouth.shares[Viseme::Sil as usize] += rest.max(0.0);
        mouth
    }

    fn say(&mut self, start: u64, end: u64, sound: Sound, importance: f32) {
        let length = ms(end - start);
        let (size, stress) = if sound.vowel {
            // A vowel of 50 ms is hardly opened, one of 120 ms or more fully.
            let by_length = 0.65 + 0.35 * ((length - 50.0) / 70.0).clamp(0.0, 1.0);
            (sound.size * by_length * (0.78 + 0.22 * importance), importance)
        } else {
            (sound.size, 0.0)
        };
        let mut push = |start, end, viseme, stress| {
            if self.sounds.len() < MAX_SOUNDS {
                self.sounds.push_back(Cued { start, end, viseme, size, hold: sound.hold, stress });
            }
        };
        if sound.from == sound.to {
            push(start, end, sound.from, stress);
        } else {
            // The first part of a diphthong is the longer one.
            let turn = start + (end - start) / 20 * 11;
            push(start, turn, sound.from, stress);
            push(turn, end, sound.to, 0.0);
        }
    }

    fn pause(&mut self, start: u64, end: u64, symbol: char) {
        // Voices give the silence at a clause's end to its last sound: 13 units of 25 ms in which nothing is heard.
        if symbol != ' '
            && let Some(last) = self.sounds.back_mut().filter(|last| ms(last.end - last.start) > LAST_MS)
        {
            last.end = last.start + samples(LAST_MS);
        }
        if matches!(symbol, '.' | '!' | '?' | '…' | '。' | '！' | '？') && self.ends.len() < MAX_SOUNDS {
            self.ends.push_back(start);
        }
        if ms(end - start) > PAUSE_MS && self.sounds.len() < MAX_SOUNDS {
            self.sounds.push_back(Cued { start, end, viseme: Viseme::Sil, size: 0.0, hold: 1.5, stress: 0.0 });
        }
    }

    fn near(&self, from: u64, to: u64) -> impl Iterator<Item = &Cued> {
        self.sounds.iter().skip_while(move |s| s.end < from).take_while(move |s| s.start <= to)
    }
}

impl Cued {
    /// How strongly it asks for its shape at `at`.
    fn dominance(&self, at: u64) -> f32 {
        let rise = match self.viseme {
            Viseme::Ou | Viseme::Oh | Viseme::CH | Viseme::RR => ROUND_RISE_MS,
            // A pause waits for the last sound.
            Viseme::Sil => 20.0,
            _ => RISE_MS,
        };
        // Full strength is reached a little inside, so that short sounds still yield to long ones.
        let inside = (ms(self.end - self.start) * 0.4).min(if self.viseme == Viseme::Sil { RISE_MS } else { 40.0 });
        self.hold * self.ramp(at, (rise, inside), (inside, FALL_MS))
    }

    /// How closed the lips are at `at`: all the way for at least one picture.
    fn closure(&self, at: u64) -> f32 {
        let length = ms(self.end - self.start).clamp(CLOSED_MS.0, CLOSED_MS.1);
        let middle = self.start + (self.end - self.start).min(samples(CLOSED_MS.1)) / 2;
        let half = samples(length / 2.0);
        let held = Self { start: middle.saturating_sub(half), end: middle.saturating_add(half), ..*self };
        held.ramp(at, (CLOSING_MS, 0.0), (0.0, CLOSING_MS))
    }

    /// 0 to 1 from `rise.0` ms before the start until `rise.1` after it, and back around the end.
    fn ramp(&self, at: u64, rise: (f32, f32), fall: (f32, f32)) -> f32 {
        let since_start = (at as i64 - self.start as i64) as f32 / SAMPLES_PER_MS;
        let until_end = (self.end as i64 - at as i64) as f32 / SAMPLES_PER_MS;
        smooth((since_start + rise.0) / (rise.0 + rise.1)) * smooth((until_end + fall.1) / (fall.0 + fall.1))
    }
}

/// How stressed a vowel is, as far as its length tells, 0 to 1.
fn stress_of_length(start: u64, end: u64) -> f32 {
    ((ms(end - start) - LONG_MS.0) / (LONG_MS.1 - LONG_MS.0)).clamp(0.0, 1.0)
}

const SAMPLES_PER_MS: f32 = AUDIO_RATE_HZ as f32 / 1_000.0;

fn samples(ms: f32) -> u64 {
    (ms * SAMPLES_PER_MS) as u64
}

fn ms(samples: u64) -> f32 {
    samples as f32 / SAMPLES_PER_MS
}

fn smooth(t: f32) -> f32 {
    let t = t.clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PICTURE: u64 = 640;

    /// Phonemes of so many milliseconds each.
    fn said(spoken: &[(char, u32)]) -> Timeline {
        let mut start = 0;
        let phonemes: Vec<_> = spoken
            .iter()
            .map(|&(symbol, ms)| {
                let p = Phoneme { symbol, start, len: ms * 16 };
                start += p.len;
                p
            })
            .collect();
        let mut timeline = Timeline::default();
        timeline.cue(16_000, &phonemes);
        timeline
    }

    fn share(timeline: &Timeline, at: u64, viseme: Viseme) -> f32 {
        timeline.mouth(at).shares[viseme as usize]
    }

    #[test]
    fn lips_close_in_some_picture_for_every_bilabial_at_every_phase() {
        for bilabial in ['p', 'b', 'm'] {
            for ms in [25, 40, 60, 100] {
                let timeline = said(&[('ɑ', 90), (bilabial, ms), ('O', 90), ('s', 70)]);
                for phase in 0..PICTURE {
                    let pictures = (0..60).map(|n| share(&timeline, 14_000 + phase + n * PICTURE, Viseme::PP));
                    assert!(pictures.fold(0.0, f32::max) >= 0.95, "{bilabial} of {ms} ms at phase {phase}");
                }
            }
        }
    }

    #[test]
    fn teeth_touch_the_lip_for_f_and_v() {
        let timeline = said(&[('O', 80), ('v', 50), ('ə', 50)]);
        assert!((16_000..20_000).map(|at| share(&timeline, at, Viseme::FF)).fold(0.0, f32::max) >= 0.95);
    }

    #[test]
    fn shares_add_up_to_one_and_never_jump() {
        let timeline = said(&[
            (' ', 50),
            ('h', 40),
            ('ə', 60),
            ('l', 50),
            ('ˈ', 50),
            ('O', 140),
            (',', 200),
            ('s', 80),
            ('ˈ', 30),
            ('A', 90),
            ('ʃ', 70),
            ('W', 120),
            ('t', 50),
            ('.', 300),
        ]);
        let mut before = timeline.mouth(10_000);
        for at in (10_160..45_000).step_by(160) {
            let now = timeline.mouth(at);
            assert!((now.shares.iter().sum::<f32>() - 1.0).abs() < 1e-4, "{at}: {now:?}");
            assert!(now.shares.iter().chain(&now.sizes).all(|v| (0.0..=1.0 + 1e-4).contains(v)), "{at}: {now:?}");
            for v in 0..VISEMES {
                // 10 ms; a whole change takes at least 40.
                assert!((now.shares[v] - before.shares[v]).abs() < 0.3, "viseme {v} jumps at {at}");
            }
            before = now;
        }
    }

    #[test]
    fn the_mouth_rests_in_pauses_and_opens_before_the_sound() {
        let timeline = said(&[('ɑ', 120), (',', 480), ('ɑ', 200)]);
        assert!(share(&timeline, 16_000 + 16 * 400, Viseme::Sil) > 0.95);
        assert!(share(&timeline, 16_000 - 16 * 30, Viseme::Aa) > 0.1);
        assert!(share(&timeline, 16_000 + 16 * 60, Viseme::Aa) > 0.9);
    }

    #[test]
    fn lips_round_earlier_than_they_spread() {
        let (round, wide) = (said(&[('u', 100)]), said(&[('i', 100)]));
        let before = 16_000 - 16 * 60;
        assert!(share(&round, before, Viseme::Ou) > share(&wide, before, Viseme::Ih) + 0.1);
    }

    #[test]
    fn after_a_cut_the_mouth_is_shut_within_200_ms() {
        let mut timeline = said(&[('ɑ', 3_000)]);
        timeline.cut(32_000);
        assert!(share(&timeline, 32_000 - 800, Viseme::Aa) > 0.9);
        assert!(share(&timeline, 32_000 + 3_200, Viseme::Sil) > 0.99);
    }

    #[test]
    fn a_cut_leaves_nothing_of_what_was_cued_later() {
        let mut timeline = said(&[('ɑ', 100)]);
        timeline.cue(64_000, &[Phoneme { symbol: 'ɑ', start: 0, len: 1_600 }]);
        timeline.cut(40_000);
        assert!(share(&timeline, 64_800, Viseme::Sil) > 0.99);
    }

    #[test]
    fn stress_swells_on_the_stressed_vowel() {
        let timeline = said(&[('ə', 100), ('b', 60), ('ˈ', 40), ('W', 120), ('t', 50)]);
        assert!(timeline.emphasis(16_000 + 16 * 220) > 0.8);
        assert!(timeline.emphasis(16_000 + 16 * 900) < 0.01);
    }

    #[test]
    fn without_stress_marks_long_vowels_are_stressed() {
        let timeline = said(&[('ə', 60), ('b', 60), ('W', 160), ('t', 50)]);
        assert!(timeline.emphasis(16_000 + 16 * 170) > 0.7);
    }

    #[test]
    fn what_is_past_is_forgotten_and_what_is_cued_is_bounded() {
        let mut timeline = said(&[('ɑ', 100)]);
        timeline.forget_before(160_000);
        assert!(timeline.sounds.is_empty());
        let endless = vec![Phoneme { symbol: 'A', start: 0, len: 16 }; 10_000];
        timeline.cue(u64::MAX - 5, &endless);
        assert!(timeline.sounds.len() <= MAX_SOUNDS + 1);
        timeline.mouth(0);
    }

    #[test]
    fn a_stressed_long_vowel_opens_wider_than_a_short_weak_one() {
        let size = |timeline: Timeline| timeline.mouth(16_800).sizes[Viseme::Aa as usize];
        assert!(size(said(&[('ˈ', 20), ('ɑ', 130)])) > size(said(&[('ɑ', 60)])) + 0.2);
    }
}

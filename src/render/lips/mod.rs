//! The face of a filmed person whose lips a network moves.
//!
//! In: a [`Film`], and sound ahead of its picture. Out: the film's pictures, with a mouth that was made while there is speech.
//! What the network is asked for a picture, it is asked as soon as the sound is known, so that the answer is there when the
//! picture is due; one that is late is replaced by the one before. Lives on the session's render thread.

mod graph;
mod hubert;
mod mel;
mod network;
mod paste;
mod sound;
pub(super) mod ultralight;
mod wav2lip;

use std::collections::VecDeque;
use std::sync::Arc;

pub use self::hubert::Hubert;
use self::network::Question;
pub use self::network::{Error as NetworkError, Network, NetworkFile};
use self::paste::Paste;
use self::sound::{Sound, is_loud};
use super::clip::InUse;
use super::film::Film;
use super::{Gesture, LipSync};
use crate::media::{AudioFrame, Phoneme, SAMPLES_PER_FRAME, VideoFrame};
use crate::onnx::Answer;

/// One picture in samples.
const PICTURE: u64 = 2 * SAMPLES_PER_FRAME as u64;

/// Samples before a picture in which somebody may speak: what is heard there still shows.
const BEFORE: usize = 401;

/// Pictures over which a made mouth takes the place of the filmed one. Networks hear 200 ms ahead and more, so this is over
/// before the first sound.
const RISE: f32 = 3.0;

/// Pictures over which it gives way again.
const FALL: f32 = 5.0;

/// Pictures of silence after which the filmed mouth comes back, 400 ms: between two clauses the mouth stays the network's.
const BRIDGE: u32 = 10;

/// A mouth that comes later than its picture is shown as long as it is not later than 400 ms: on a machine that is too slow the mouth
/// moves less often and a little late.
const LATEST: u64 = 10 * PICTURE;

/// The face of one session.
pub struct FilmFace {
    film: Arc<Film>,
    sound: Sound,
    /// Mouths on their way, in order: the sample of their picture, the picture's number.
    asked: VecDeque<(u64, Answer<Vec<u8>>)>,
    /// Mouths that were not there when their picture was shown.
    late: VecDeque<(u64, Answer<Vec<u8>>)>,
    /// The sample of the picture that is asked for next.
    next: u64,
    /// The sample of the picture that is shown next.
    due: u64,
    /// Pictures since there was speech, up to `next`.
    silent: u32,
    /// Whether anybody sees the pictures: nothing is asked for nobody.
    seen: bool,
    /// The mouth that was shown last, and how much of it.
    shown: Vec<u8>,
    strength: f32,
    paste: Paste,
    /// The sample of the film's first picture.
    origin: u64,
    /// Somebody looks, or may at any time.
    _in_use: [InUse; 2],
}

impl FilmFace {
    /// A face of somebody who is silent.
    pub fn new(film: Arc<Film>) -> Self {
        Self::starting(film, 0)
    }

    /// The same, of a film that begins with sample `at`.
    pub(super) fn starting(film: Arc<Film>, at: u64) -> Self {
        let mut sound = Sound::new(film.network().reach().past);
        sound.forget_before(at);
        Self {
            sound,
            _in_use: film.in_use(),
            film,
            asked: VecDeque::new(),
            late: VecDeque::new(),
            next: at,
            due: at,
            silent: BRIDGE,
            seen: false,
            shown: Vec::new(),
            strength: 0.0,
            paste: Paste::default(),
            origin: at,
        }
    }

    /// Which of the film's pictures is shown at sample `at`.
    fn number(&self, at: u64) -> u64 {
        at.saturating_sub(self.origin) / PICTURE
    }

    #[cfg(test)]
    pub(super) fn nothing_is_asked(&self) -> bool {
        self.asked.is_empty()
    }

    /// Samples from the first one of the pictures that are asked at once to the last that is looked at.
    fn ahead(&self) -> u64 {
        let reach = self.film.network().reach();
        reach.future as u64 + (reach.together as u64 - 1) * PICTURE
    }

    /// Asks for all pictures whose sound is known.
    fn ask_ahead(&mut self) {
        while self.seen && self.next + self.ahead() <= self.sound.until() {
            self.ask(self.film.network().reach().together);
        }
    }

    /// Asks for the next pictures, as many as that, except those in which nobody speaks.
    fn ask(&mut self, count: usize) {
        let reach = self.film.network().reach();
        let sound = Arc::new(self.sound.around(self.next, reach.past, self.ahead() as usize));
        for n in 0..count {
            let at = self.next;
            self.next += PICTURE;
            let heard = &sound[reach.past - BEFORE + n * PICTURE as usize..][..BEFORE + reach.future];
            self.silent = if is_loud(heard) { 0 } else { (self.silent + 1).min(BRIDGE) };
            if self.silent >= BRIDGE || self.film.place(self.number(at)).is_none() {
                continue;
            }
            let face = Arc::new(self.film.face(self.number(at)));
            let question = Question { sound: Arc::clone(&sound), n, face };
            self.asked.push_back((at, self.film.network().ask(question)));
        }
    }

    /// Whether the network's mouth belongs into the picture of sample `at`; if so, it is the newest that there is, if one `waits`
    /// for it the right one.
    fn mouth(&mut self, at: u64, waits: bool) -> bool {
        if self.next <= at {
            // The sound came no sooner than it is heard.
            self.next = at;
            self.ask(1);
        }
        while self.asked.front().is_some_and(|(asked, _)| *asked < at) {
            self.asked.pop_front();
        }
        let Some((_, answer)) = self.asked.pop_front_if(|(asked, _)| *asked == at) else { return false };
        if let Some(made) = if waits { answer.wait() } else { answer.look() } {
            self.shown = made;
            self.late.clear();
            return true;
        }
        self.late.push_back((at, answer));
        self.late.retain(|(asked, _)| asked + LATEST > at);
        let newest = (0..self.late.len()).rev().find_map(|n| Some((n, self.late[n].1.look()?)));
        if let Some((n, made)) = newest {
            self.shown = made;
            self.late.drain(..=n);
        }
        true
    }

    /// The picture of sample `at`, for whose mouth one `waits`, or not.
    pub(super) fn show(&mut self, at: u64, waits: bool) -> Arc<VideoFrame> {
        self.seen = true;
        let number = self.number(at);
        let speaks = self.mouth(at, waits);
        self.due = at + PICTURE;
        let step = if speaks && !self.shown.is_empty() { 1.0 / RISE } else { -1.0 / FALL };
        self.strength = (self.strength + step).clamp(0.0, 1.0);
        self.sound.forget_before(self.next.min(at + PICTURE));
        let picture = self.film.picture(number);
        let (Some(place), true) = (self.film.place(number), self.strength > 0.0) else { return picture };
        let mut picture = Arc::unwrap_or_clone(picture);
        let (face, side) = (self.film.face(number), self.film.network().side() as usize);
        let mask = self.film.network().mask();
        self.paste.lay(&mut picture, place, [&self.shown, &face], side, mask, self.strength);
        Arc::new(picture)
    }
}

impl LipSync for FilmFace {
    fn cue(&mut self, _start: u64, _phonemes: &[Phoneme]) {}

    fn hear(&mut self, _start: u64, _sound: &AudioFrame) {}

    fn listen(&mut self, start: u64, sound: &AudioFrame) {
        if start < self.sound.until() {
            // Told anew: what was asked with the old sound is worth nothing, and what follows is not known yet.
            self.sound.cut(start);
            let ahead = self.ahead();
            self.asked.retain(|(at, _)| at + ahead <= start);
            let first = start.saturating_sub(ahead).next_multiple_of(PICTURE);
            self.next = self.next.min(first.max(self.due));
        }
        self.sound.tell(start, sound);
        self.ask_ahead();
    }

    fn fall_silent(&mut self, at: u64) {
        self.sound.silence_until(at + self.ahead() + u64::from(BRIDGE) * PICTURE);
        self.ask_ahead();
    }

    fn cut(&mut self, at: u64) {
        self.sound.cut(at);
        self.asked.clear();
        self.late.clear();
        (self.next, self.due) = (at, at);
    }

    fn pass(&mut self, at: u64, _sound: &[AudioFrame; 2]) {
        self.seen = false;
        self.asked.clear();
        self.late.clear();
        (self.next, self.due) = (at + PICTURE, at + PICTURE);
        self.strength = 0.0;
        self.sound.forget_before(at);
    }

    /// A film does what was filmed.
    fn gesture(&mut self, _at: u64, _gesture: Gesture) {}

    fn picture(&mut self, at: u64, _sound: &[AudioFrame; 2]) -> Arc<VideoFrame> {
        self.show(at, true)
    }

    /// What takes time is the network.
    fn quick_picture(&mut self, at: u64, _sound: &[AudioFrame; 2]) -> Option<Arc<VideoFrame>> {
        Some(self.show(at, false))
    }
}

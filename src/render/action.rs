//! Films that are shown in the place of the face: `LiveTalking`'s custom actions, and the idle life that it has as a film.
//!
//! In: what was begun, and at each step whether the voice is between two clauses. Out: the film's next picture, and its sound
//! if it has one, for which the voice waits. No clock: a step is 40 ms. The render worker owns it.

use std::sync::Arc;

use super::clip::{Clip, mirrored};
use crate::media::{AudioFrame, SAMPLES_PER_FRAME, TurnId, VideoFrame};

/// A film, with its sound if it has one. Sessions share it.
#[derive(Debug)]
pub struct Action {
    film: Clip,
    /// Whole pictures of it: two frames each.
    sound: Vec<[AudioFrame; 2]>,
}

impl Action {
    /// `sound` is 16 kHz mono; empty: the film is shown once while whatever is said goes on.
    pub fn new(film: Clip, sound: &[i16]) -> Self {
        let mut samples = sound.to_vec();
        let of_picture = 2 * SAMPLES_PER_FRAME;
        samples.resize(samples.len().next_multiple_of(of_picture), 0);
        let frames = samples.as_chunks().0.as_chunks::<2>().0;
        Self { film, sound: frames.iter().map(|pair| pair.map(AudioFrame)).collect() }
    }
}

/// What is shown in the place of the face.
#[derive(Default)]
pub(super) struct Stage {
    /// Shown while nothing is heard.
    idle: Option<Arc<Action>>,
    /// Pictures of it since something was heard.
    idled: u64,
    acting: Option<Acting>,
}

/// An action that was begun, or that waits for the end of a clause.
struct Acting {
    action: Arc<Action>,
    turn: TurnId,
    shown: u64,
}

/// One picture of a film.
pub(super) struct Shown {
    film: Arc<Action>,
    n: u64,
}

impl Shown {
    pub(super) fn picture(&self) -> Arc<VideoFrame> {
        let film = &self.film.film;
        film.frame(mirrored(self.n, film.len()))
    }
}

/// What an action does with the next 40 ms.
pub(super) struct Act {
    pub(super) shown: Shown,
    /// In the place of the voice, which waits.
    pub(super) sound: Option<(TurnId, [AudioFrame; 2])>,
    /// These are the first, and the last, of its sound.
    pub(super) begins: bool,
    pub(super) ends: bool,
}

impl Stage {
    /// `None`: the face lives by itself.
    pub(super) fn set_idle(&mut self, idle: Option<Arc<Action>>) {
        (self.idle, self.idled) = (idle, 0);
    }

    /// From the next picture on. What interrupts `turn` ends it. True if the voice waited for the one before.
    pub(super) fn begin(&mut self, action: Arc<Action>, turn: TurnId) -> bool {
        self.acting.replace(Acting { action, turn, shown: 0 }).is_some_and(|acting| acting.is_heard())
    }

    /// Ends what is going on, if it `is_over`. True if the voice waited for it.
    pub(super) fn end(&mut self, is_over: impl Fn(TurnId) -> bool) -> bool {
        self.acting.take_if(|acting| is_over(acting.turn)).is_some_and(|acting| acting.is_heard())
    }

    /// Whether something has sound and has not begun: it does between two clauses.
    pub(super) fn waits(&self) -> bool {
        self.acting.as_ref().is_some_and(Acting::waits)
    }

    /// The next 40 ms of what is going on.
    pub(super) fn step(&mut self, between_clauses: bool) -> Option<Act> {
        let acting = self.acting.as_mut().filter(|acting| between_clauses || !acting.waits())?;
        let n = acting.shown;
        acting.shown += 1;
        let sound = &acting.action.sound;
        let pictures = if sound.is_empty() { acting.action.film.len() } else { sound.len() };
        let act = Act {
            shown: Shown { film: Arc::clone(&acting.action), n },
            sound: sound.get(n as usize).map(|sound| (acting.turn, *sound)),
            begins: n == 0 && !sound.is_empty(),
            ends: acting.shown >= pictures as u64 && !sound.is_empty(),
        };
        if acting.shown >= pictures as u64 {
            self.acting = None;
        }
        Some(act)
    }

    /// The next picture of the idle life, if that is a film; it begins anew after something was `heard`.
    pub(super) fn idle(&mut self, heard: bool) -> Option<Shown> {
        let n = self.idled;
        self.idled = if heard { 0 } else { n + 1 };
        self.idle.as_ref().filter(|_| !heard).map(|film| Shown { film: Arc::clone(film), n })
    }
}

impl Acting {
    fn waits(&self) -> bool {
        self.shown == 0 && !self.action.sound.is_empty()
    }

    fn is_heard(&self) -> bool {
        self.shown > 0 && !self.action.sound.is_empty()
    }
}

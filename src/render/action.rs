//! Films that are shown in the place of the face: `LiveTalking`'s custom actions, and the idle life that it has as a film.
//!
//! In: what was begun, what will be heard, and at each step whether the voice is between two clauses. Out: the film's next
//! picture, and its sound if it has one, for which the voice waits. The lips of a film that tells where the face is follow
//! the voice. No clock: a step is 40 ms. The render worker owns it.

use std::sync::Arc;

use super::LipSync;
use super::clip::{Clip, InUse, mirrored};
use super::film::Film;
use super::lips::FilmFace;
use crate::media::{AudioFrame, SAMPLES_PER_FRAME, TurnId, VideoFrame};

/// The pictures of an action.
#[derive(Debug)]
pub enum Footage {
    /// Plain ones.
    Pictures(Clip),
    /// With a face of which one knows where it is.
    Film(Arc<Film>),
}

/// A film, with its sound if it has one. Sessions share it.
#[derive(Debug)]
pub struct Action {
    footage: Footage,
    /// Whole pictures of it: two frames each.
    sound: Vec<[AudioFrame; 2]>,
}

impl Action {
    /// `sound` is 16 kHz mono; empty: the film is shown once while whatever is said goes on.
    pub fn new(footage: Footage, sound: &[i16]) -> Self {
        let mut samples = sound.to_vec();
        let of_picture = 2 * SAMPLES_PER_FRAME;
        samples.resize(samples.len().next_multiple_of(of_picture), 0);
        let frames = samples.as_chunks().0.as_chunks::<2>().0;
        Self { footage, sound: frames.iter().map(|pair| pair.map(AudioFrame)).collect() }
    }

    /// How many pictures it goes on.
    fn pictures(&self) -> u64 {
        match (&self.footage, self.sound.len()) {
            (Footage::Pictures(clip), 0) => clip.len() as u64,
            (Footage::Film(film), 0) => film.pictures(),
            (_, pictures) => pictures as u64,
        }
    }

    /// The `n`th picture as it was filmed.
    fn picture(&self, n: u64) -> Arc<VideoFrame> {
        match &self.footage {
            Footage::Pictures(clip) => clip.frame(mirrored(n, clip.len())),
            Footage::Film(film) => film.picture(n),
        }
    }

    /// As long as these live, its pictures stay in the spool.
    fn in_use(&self) -> Vec<InUse> {
        match &self.footage {
            Footage::Pictures(clip) => vec![clip.in_use()],
            Footage::Film(film) => film.in_use().into(),
        }
    }

    /// Its face, if the voice moves its lips: not where it has a sound of its own, to which it was filmed. The film begins with
    /// sample `at`.
    fn face(&self, at: u64) -> Option<FilmFace> {
        match &self.footage {
            Footage::Film(film) if self.sound.is_empty() => Some(FilmFace::starting(Arc::clone(film), at)),
            _ => None,
        }
    }
}

/// What is shown in the place of the face.
#[derive(Default)]
pub(super) struct Stage {
    /// Shown while nothing is heard; one whose lips follow the voice also while something is.
    idle: Option<Played>,
    acting: Option<Acting>,
}

/// A film that runs.
struct Played {
    action: Arc<Action>,
    face: Option<FilmFace>,
    /// Pictures of it that were shown.
    shown: u64,
    _in_use: Vec<InUse>,
}

/// An action that was begun, or that waits for the end of a clause.
struct Acting {
    played: Played,
    turn: TurnId,
}

/// What is shown of a film in the next 40 ms.
pub(super) struct Shown {
    pub(super) film: Arc<Action>,
    n: u64,
    acted: bool,
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
    /// From sample `at` on. `None`: the face lives by itself. Its face, which knows of no voice yet.
    pub(super) fn set_idle(&mut self, idle: Option<Arc<Action>>, at: u64) -> Option<&mut FilmFace> {
        self.idle = idle.map(|action| Played::new(action, at));
        self.idle.as_mut()?.face.as_mut()
    }

    /// With the picture of sample `at`, or later. What interrupts `turn` ends it. Its face, which knows of no voice yet.
    pub(super) fn begin(&mut self, action: Arc<Action>, turn: TurnId, at: u64) -> Option<&mut FilmFace> {
        let acting = Acting { played: Played::new(action, at), turn };
        self.acting.insert(acting).played.face.as_mut()
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
        self.acting.take_if(|acting| acting.played.is_over());
        let acting = self.acting.as_mut().filter(|acting| between_clauses || !acting.waits())?;
        let n = acting.played.shown;
        acting.played.shown += 1;
        let action = &acting.played.action;
        let is_heard = !action.sound.is_empty();
        Some(Act {
            shown: Shown { film: Arc::clone(action), n, acted: true },
            sound: action.sound.get(n as usize).map(|sound| (acting.turn, *sound)),
            begins: n == 0 && is_heard,
            ends: acting.played.is_over() && is_heard,
        })
    }

    /// The next picture of the idle life, if that is a film. Plain pictures give way while something is `heard`, and begin anew.
    pub(super) fn idle(&mut self, heard: bool) -> Option<Shown> {
        let idle = self.idle.as_mut()?;
        let n = idle.shown;
        let gives_way = heard && idle.face.is_none();
        idle.shown = if gives_way { 0 } else { n + 1 };
        (!gives_way).then(|| Shown { film: Arc::clone(&idle.action), n, acted: false })
    }

    /// Every face there is, so that it is told what will be heard.
    pub(super) fn faces(&mut self) -> impl Iterator<Item = &mut FilmFace> {
        let acting = self.acting.as_mut().map(|acting| &mut acting.played);
        [self.idle.as_mut(), acting].into_iter().flatten().filter_map(|played| played.face.as_mut())
    }

    /// The picture of sample `at`, for whose mouth one `waits`, or not; nobody sees the other film.
    pub(super) fn picture(&mut self, shown: &Shown, at: u64, sound: &[AudioFrame; 2], waits: bool) -> Arc<VideoFrame> {
        let acting = self.acting.as_mut().map(|acting| &mut acting.played);
        let (seen, other) = if shown.acted { (acting, self.idle.as_mut()) } else { (self.idle.as_mut(), acting) };
        if let Some(face) = other.and_then(|played| played.face.as_mut()) {
            face.pass(at, sound);
        }
        match seen.and_then(|played| played.face.as_mut()) {
            Some(face) => face.show(at, waits),
            None => shown.film.picture(shown.n),
        }
    }

    /// Nobody sees any film at sample `at`.
    pub(super) fn pass(&mut self, at: u64, sound: &[AudioFrame; 2]) {
        self.faces().for_each(|face| face.pass(at, sound));
    }
}

impl Played {
    fn new(action: Arc<Action>, at: u64) -> Self {
        Self { face: action.face(at), _in_use: action.in_use(), action, shown: 0 }
    }

    fn is_over(&self) -> bool {
        self.shown >= self.action.pictures()
    }
}

impl Acting {
    fn waits(&self) -> bool {
        self.played.shown == 0 && !self.played.action.sound.is_empty()
    }

    fn is_heard(&self) -> bool {
        self.played.shown > 0 && !self.played.is_over() && !self.played.action.sound.is_empty()
    }
}

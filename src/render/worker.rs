//! One step of rendering: two frames of sound become one slice. No clock, no sleep.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_channel::Receiver;

use super::action::{Act, Action, Shown, Stage};
use super::fade::Fade;
use super::listen::LATER;
use super::{Gesture, Item, LipSync};
use crate::media::{AudioFrame, AvSlice, Mark, SAMPLES_PER_FRAME, TurnId, VideoFrame};
use crate::metrics;

/// The number of the answer that may be heard. Whoever meets work with a smaller number drops it.
#[derive(Clone, Debug, Default)]
pub struct CurrentTurn(Arc<AtomicU64>);

impl CurrentTurn {
    /// Makes everything older than `turn` stale.
    pub fn advance_to(&self, turn: TurnId) {
        self.0.fetch_max(turn.0, Ordering::AcqRel);
    }

    /// Whether `turn` was interrupted.
    pub fn is_stale(&self, turn: TurnId) -> bool {
        turn.0 < self.0.load(Ordering::Acquire)
    }
}

/// Whether anybody sees the pictures. Where nobody does, none is drawn: who only listens costs a third.
#[derive(Clone, Debug, Default)]
pub struct Watched(Arc<AtomicBool>);

impl Watched {
    /// From the next slice on.
    pub fn set(&self, watched: bool) {
        self.0.store(watched, Ordering::Release);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// How far ahead of its picture sound is told to the face, in frames of 20 ms: the ear judges 80 ms later, lips round 120 ms
/// before a sound, the mouth is shown 80 ms early, and a picture takes 40. A network that makes mouths hears 212 ms ahead and
/// has the rest for its work. A voice that is no faster than it is heard gives less, and has a mouth that follows it.
const AHEAD: usize = 22;

/// What is asked of the face besides speech.
pub enum Change {
    /// To give way to another one.
    Face(Box<dyn LipSync>),
    /// To do something.
    Gesture(Gesture),
    /// To give way to a film, until that is over or the turn interrupted.
    Act(Arc<Action>, TurnId),
    /// To have its place back.
    Rest,
    /// To give way to a film whenever nothing is heard.
    Idle(Option<Arc<Action>>),
}

/// Owns the face of one session.
pub struct Worker {
    face: Box<dyn LipSync>,
    stage: Stage,
    fade: Fade,
    changes: Receiver<Change>,
    speech: Receiver<(TurnId, Item)>,
    current: CurrentTurn,
    watched: Watched,
    /// The latest picture: shown again while nobody looks.
    latest: Option<Arc<VideoFrame>>,
    /// Offline there is no idle life to fill waits with: the next sample is waited for.
    waits_for_speech: bool,
    at: u64,
    speaking: Option<TurnId>,
    /// What is told to the face but not yet played, in order. Nothing follows an end: the next answer's time is not known.
    ahead: VecDeque<Ahead>,
    /// Whether the voice told the phonemes of the clause that was fetched last, and its answer goes on.
    cued: bool,
}

struct Ahead {
    turn: TurnId,
    item: Item,
    cued: bool,
}

impl Worker {
    /// `changes` are made between two slices.
    pub fn new(
        face: Box<dyn LipSync>,
        changes: Receiver<Change>,
        speech: Receiver<(TurnId, Item)>,
        current: CurrentTurn,
        watched: Watched,
        waits_for_speech: bool,
    ) -> Self {
        let ahead = VecDeque::new();
        Self {
            face,
            stage: Stage::default(),
            fade: Fade::default(),
            changes,
            speech,
            current,
            watched,
            latest: None,
            waits_for_speech,
            at: 0,
            speaking: None,
            ahead,
            cued: false,
        }
    }

    /// The next 40 ms; `None` when no more speech can come. Where there is no time to draw, the latest picture is shown for longer;
    /// offline there always is.
    pub fn step(&mut self, draws: bool) -> Option<AvSlice> {
        while let Ok(change) = self.changes.try_recv() {
            match change {
                Change::Face(face) => {
                    self.face = face;
                    self.latest = None;
                    self.fade.end();
                    self.tell_again();
                }
                Change::Gesture(gesture) => self.face.gesture(self.at, gesture),
                Change::Idle(film) => {
                    let face = self.stage.set_idle(film, self.at);
                    face.into_iter().for_each(|face| tell_all(face, self.at, &self.ahead));
                }
                Change::Act(action, turn) => {
                    if self.stage.end(|_| true) {
                        self.tell_again();
                    }
                    let face = self.stage.begin(action, turn, self.at);
                    face.into_iter().for_each(|face| tell_all(face, self.at, &self.ahead));
                }
                Change::Rest => {
                    if self.stage.end(|_| true) {
                        self.tell_again();
                    }
                }
            }
        }
        if self.stage.end(|turn| self.current.is_stale(turn)) {
            self.tell_again();
        }
        let stale = |turn: TurnId| self.current.is_stale(turn);
        if self.speaking.is_some_and(stale) || self.ahead.iter().any(|next| stale(next.turn)) {
            self.speaking = self.speaking.filter(|turn| !stale(*turn));
            self.ahead.retain(|next| !self.current.is_stale(next.turn));
            self.cut();
            self.tell_again();
        }
        let mut marks = Vec::new();
        let between_clauses = self.stage.waits() && self.is_between_clauses();
        let act = self.stage.step(between_clauses);
        let (turn, audio) = match &act {
            Some(Act { sound: Some((turn, sound)), begins, .. }) => {
                if *begins {
                    self.cut();
                }
                (Some(*turn), *sound)
            }
            _ => self.voice(&mut marks)?,
        };
        let is_heard = self.speaking.is_some() || audio != [AudioFrame::SILENCE; 2];
        let idle = self.stage.idle(is_heard);
        let ends = act.as_ref().is_some_and(|act| act.ends);
        let shown = act.map(|act| act.shown).or(idle);
        let video = self.picture(&audio, shown.as_ref(), draws || self.waits_for_speech);
        self.at += 2 * SAMPLES_PER_FRAME as u64;
        if ends {
            self.tell_again();
        }
        Some(AvSlice { turn, video, audio, marks })
    }

    /// The voice's next 40 ms, and whose they are; `None` when no more can come.
    fn voice(&mut self, marks: &mut Vec<(TurnId, Mark)>) -> Option<(Option<TurnId>, [AudioFrame; 2])> {
        let mut audio = [AudioFrame::SILENCE; 2];
        let mut turn = self.speaking;
        for (half, frame) in audio.iter_mut().enumerate() {
            let at = self.at + (half * SAMPLES_PER_FRAME) as u64;
            match self.next_frame(at, marks) {
                Next::Frame(id, sound) => (turn, *frame) = (Some(id), sound),
                Next::Closed if half == 0 && marks.is_empty() => return None,
                Next::Nothing | Next::Closed => {}
            }
        }
        Some((turn, audio))
    }

    /// `film` is what is shown in the place of the face.
    fn picture(&mut self, sound: &[AudioFrame; 2], film: Option<&Shown>, draws: bool) -> Arc<VideoFrame> {
        if let (Some(latest), false) = (&self.latest, self.watched.get()) {
            self.face.pass(self.at, sound);
            self.stage.pass(self.at, sound);
            self.fade.end();
            return Arc::clone(latest);
        }
        let picture = if let Some(film) = film {
            self.face.pass(self.at, sound);
            self.stage.picture(film, self.at, sound, draws)
        } else {
            self.stage.pass(self.at, sound);
            match &self.latest {
                Some(latest) if !draws => {
                    let Some(picture) = self.face.quick_picture(self.at, sound) else {
                        metrics::picture_skipped();
                        return Arc::clone(latest);
                    };
                    picture
                }
                _ => self.face.picture(self.at, sound),
            }
        };
        let picture = self.fade.show(film.map(|film| &film.film), self.latest.as_ref(), picture);
        Arc::clone(self.latest.insert(picture))
    }

    /// What was told is not heard.
    fn cut(&mut self) {
        self.face.cut(self.at);
        self.stage.faces().for_each(|face| face.cut(self.at));
    }

    fn is_between_clauses(&mut self) -> bool {
        self.look_ahead(self.at);
        !matches!(self.ahead.front(), Some(Ahead { item: Item::Audio(_), .. }))
    }

    fn next_frame(&mut self, at: u64, marks: &mut Vec<(TurnId, Mark)>) -> Next {
        loop {
            let open = self.look_ahead(at);
            let Some(Ahead { turn, item, .. }) = self.ahead.pop_front() else {
                return if open { Next::Nothing } else { Next::Closed };
            };
            if self.current.is_stale(turn) {
                continue;
            }
            if self.speaking != Some(turn) && !matches!(item, Item::Written(_) | Item::End) {
                self.speaking = Some(turn);
                marks.push((turn, Mark::TurnStarted));
            }
            match item {
                Item::Clause { text, words, .. } => marks.push((turn, Mark::Clause { text, words })),
                Item::Written(text) => marks.push((turn, Mark::Written(text))),
                Item::Audio(frame) => return Next::Frame(turn, frame),
                Item::End => {
                    self.speaking = None;
                    marks.push((turn, Mark::TurnEnded));
                }
            }
        }
    }

    /// Fetches what is played from sample `at` on and tells the face. False if no more can come.
    fn look_ahead(&mut self, at: u64) -> bool {
        let mut frames = self.ahead.iter().filter(|next| matches!(next.item, Item::Audio(_))).count();
        while frames < AHEAD && !self.ahead.back().is_some_and(|last| matches!(last.item, Item::End)) {
            let received = if self.waits_for_speech {
                self.speech.recv().map_err(|_| false)
            } else {
                self.speech.try_recv().map_err(|e| e.is_empty())
            };
            let (turn, item) = match received {
                Ok(received) => received,
                Err(open) => return open,
            };
            if self.current.is_stale(turn) {
                continue;
            }
            if let Item::Clause { phonemes, .. } = &item {
                self.cued = !phonemes.is_empty();
            }
            let next = Ahead { turn, item, cued: self.cued };
            let told = at + (frames * SAMPLES_PER_FRAME) as u64;
            tell(&mut *self.face, told, &next);
            self.stage.faces().for_each(|face| tell(face, told, &next));
            frames += usize::from(matches!(next.item, Item::Audio(_)));
            // Sound before the next answer's first clause is nobody's who tells.
            self.cued &= !matches!(next.item, Item::End);
            self.ahead.push_back(next);
        }
        true
    }

    /// Tells every face what it does not know, or what is played sooner than it was told.
    fn tell_again(&mut self) {
        tell_all(&mut *self.face, self.at, &self.ahead);
        self.stage.faces().for_each(|face| tell_all(face, self.at, &self.ahead));
    }
}

/// Tells `face` what is played from sample `at` on.
fn tell_all(face: &mut dyn LipSync, mut at: u64, ahead: &VecDeque<Ahead>) {
    for next in ahead {
        tell(face, at, next);
        if matches!(next.item, Item::Audio(_)) {
            at += SAMPLES_PER_FRAME as u64;
        }
    }
}

fn tell(face: &mut dyn LipSync, at: u64, next: &Ahead) {
    match &next.item {
        Item::Audio(frame) => face.listen(at, frame),
        Item::End => face.fall_silent(at),
        Item::Clause { .. } | Item::Written(_) => {}
    }
    match &next.item {
        Item::Clause { phonemes, .. } => face.cue(at, phonemes),
        Item::Audio(frame) if !next.cued => face.hear(at, frame),
        // The last sounds, too, are judged by what follows.
        Item::End if !next.cued => {
            (0..LATER).for_each(|n| face.hear(at + (n * SAMPLES_PER_FRAME) as u64, &AudioFrame::SILENCE));
        }
        Item::Written(_) | Item::Audio(_) | Item::End => {}
    }
}

enum Next {
    Frame(TurnId, AudioFrame),
    Nothing,
    Closed,
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::{Sender, bounded};
    use tempfile::tempdir;

    use super::*;
    use crate::media::{Phoneme, VideoFrame};
    use crate::render::{Clip, Footage, Spool};

    /// Notes what it was told.
    #[derive(Default)]
    struct Notes {
        cues: Vec<u64>,
        heard: Vec<u64>,
        cuts: Vec<u64>,
        drawn: Vec<u64>,
        passed: Vec<u64>,
        gestures: Vec<u64>,
    }
    struct Face(Arc<std::sync::Mutex<Notes>>);
    impl LipSync for Face {
        fn cue(&mut self, start: u64, _: &[Phoneme]) {
            self.0.lock().unwrap().cues.push(start);
        }
        fn hear(&mut self, start: u64, _: &AudioFrame) {
            self.0.lock().unwrap().heard.push(start);
        }
        fn cut(&mut self, at: u64) {
            self.0.lock().unwrap().cuts.push(at);
        }
        fn pass(&mut self, at: u64, _: &[AudioFrame; 2]) {
            self.0.lock().unwrap().passed.push(at);
        }
        fn gesture(&mut self, at: u64, _: Gesture) {
            self.0.lock().unwrap().gestures.push(at);
        }
        fn picture(&mut self, at: u64, _: &[AudioFrame; 2]) -> Arc<VideoFrame> {
            self.0.lock().unwrap().drawn.push(at);
            Arc::new(VideoFrame::black(2, 2))
        }
    }

    type Bench = (Worker, Sender<(TurnId, Item)>, CurrentTurn, Arc<std::sync::Mutex<Notes>>);

    fn worker() -> Bench {
        let (speech_tx, speech) = bounded(100);
        let notes = Arc::default();
        let current = CurrentTurn::default();
        let (_, changes) = bounded(1);
        let worker =
            Worker::new(Box::new(Face(Arc::clone(&notes))), changes, speech, current.clone(), Watched::default(), false);
        (worker, speech_tx, current, notes)
    }

    fn clause(text: &str) -> Item {
        Item::Clause { text: text.into(), words: vec![], phonemes: vec![] }
    }

    #[test]
    fn nothing_is_drawn_after_the_first_picture_until_somebody_looks() {
        let (mut worker, _speech, _, notes) = worker();
        let watched = worker.watched.clone();
        let pictures: Vec<_> = (0..4)
            .map(|n| {
                watched.set(n == 2);
                worker.step(true).unwrap().video
            })
            .collect();
        assert_eq!(notes.lock().unwrap().drawn, [0, 2 * 640]);
        assert_eq!(notes.lock().unwrap().passed, [640, 3 * 640]);
        assert!(Arc::ptr_eq(&pictures[0], &pictures[1]) && Arc::ptr_eq(&pictures[2], &pictures[3]));
    }

    #[test]
    fn without_speech_there_is_idle_life_and_silence() {
        let (mut worker, _speech, ..) = worker();
        let slice = worker.step(true).unwrap();
        assert_eq!((slice.turn, slice.audio), (None, [AudioFrame::SILENCE; 2]));
    }

    #[test]
    fn a_clause_is_cued_at_the_sample_where_its_sound_starts() {
        let (mut worker, speech, _, notes) = worker();
        worker.step(true);
        speech.send((TurnId(1), clause("hi"))).unwrap();
        speech.send((TurnId(1), Item::Audio(AudioFrame([5; SAMPLES_PER_FRAME])))).unwrap();
        let slice = worker.step(true).unwrap();
        assert_eq!(notes.lock().unwrap().cues, [640]);
        assert_eq!(slice.turn, Some(TurnId(1)));
        assert_eq!(slice.audio[0].0[0], 5);
        assert_eq!(slice.marks[0], (TurnId(1), Mark::TurnStarted));
    }

    #[test]
    fn speech_without_phonemes_is_heard_ahead_and_no_other() {
        let (mut worker, speech, _, notes) = worker();
        speech.send((TurnId(1), clause("untold"))).unwrap();
        for _ in 0..26 {
            speech.send((TurnId(1), Item::Audio(AudioFrame([5; SAMPLES_PER_FRAME])))).unwrap();
        }
        worker.step(true);
        // One more than is ahead: the second half of the picture was fetched when the first was played.
        let ahead: Vec<u64> = (0..=AHEAD as u64).map(|n| n * 320).collect();
        assert_eq!(notes.lock().unwrap().heard, ahead);
        let phonemes = vec![Phoneme { symbol: 'a', start: 0, len: 640 }];
        speech.send((TurnId(1), Item::Clause { text: "told".into(), words: vec![], phonemes })).unwrap();
        speech.send((TurnId(1), Item::Audio(AudioFrame([5; SAMPLES_PER_FRAME])))).unwrap();
        for _ in 0..14 {
            worker.step(true);
        }
        assert_eq!(notes.lock().unwrap().heard.last(), Some(&(25 * 320)));
        assert_eq!(notes.lock().unwrap().cues, [0, 26 * 320]);
    }

    #[test]
    fn the_silence_after_the_last_sound_is_heard_too() {
        let (mut worker, speech, _, notes) = worker();
        speech.send((TurnId(1), Item::Audio(AudioFrame([5; SAMPLES_PER_FRAME])))).unwrap();
        speech.send((TurnId(1), Item::End)).unwrap();
        worker.step(true);
        assert_eq!(notes.lock().unwrap().heard, [0, 320, 640, 960, 1_280]);
    }

    #[test]
    fn what_follows_an_interrupted_turn_is_told_again_when_it_is_played_sooner() {
        let (mut worker, speech, current, notes) = worker();
        for (turn, frames) in [(TurnId(1), 6), (TurnId(2), 4)] {
            speech.send((turn, clause("short"))).unwrap();
            for _ in 0..frames {
                speech.send((turn, Item::Audio(AudioFrame([9; SAMPLES_PER_FRAME])))).unwrap();
            }
        }
        worker.step(true);
        assert_eq!(notes.lock().unwrap().cues, [0, 6 * 320]);
        current.advance_to(TurnId(2));
        assert_eq!(worker.step(true).unwrap().turn, Some(TurnId(2)));
        assert_eq!(notes.lock().unwrap().cuts, [640]);
        assert_eq!(notes.lock().unwrap().cues, [0, 6 * 320, 640]);
        assert_eq!(notes.lock().unwrap().heard[10..14], [640, 960, 1_280, 1_600]);
    }

    #[test]
    fn an_interrupted_turn_is_dropped_and_the_mouth_is_told() {
        let (mut worker, speech, current, notes) = worker();
        speech.send((TurnId(1), clause("long"))).unwrap();
        for _ in 0..50 {
            speech.send((TurnId(1), Item::Audio(AudioFrame([9; SAMPLES_PER_FRAME])))).unwrap();
        }
        worker.step(true);
        current.advance_to(TurnId(2));
        let slice = worker.step(true).unwrap();
        assert_eq!((slice.turn, slice.audio), (None, [AudioFrame::SILENCE; 2]));
        assert_eq!(notes.lock().unwrap().cuts, [640]);
        assert!(speech.is_empty(), "nothing of the old turn is left");
    }

    #[test]
    fn the_end_comes_after_the_last_sound_and_then_idle_life_goes_on() {
        let (mut worker, speech, ..) = worker();
        speech.send((TurnId(1), Item::Audio(AudioFrame([9; SAMPLES_PER_FRAME])))).unwrap();
        speech.send((TurnId(1), Item::End)).unwrap();
        let marks = worker.step(true).unwrap().marks;
        assert_eq!(marks.last(), Some(&(TurnId(1), Mark::TurnEnded)));
        assert_eq!(worker.step(true).unwrap().turn, None);
    }

    #[test]
    fn a_gesture_begins_with_the_next_picture() {
        let (mut worker, _speech, _, notes) = worker();
        let (changes, changes_rx) = bounded(2);
        worker.changes = changes_rx;
        worker.step(true);
        changes.send(Change::Gesture(Gesture::Nod)).unwrap();
        changes.send(Change::Face(Box::new(Face(Arc::clone(&notes))))).unwrap();
        worker.step(true);
        assert_eq!(notes.lock().unwrap().gestures, [640]);
    }

    /// A film of two pictures, white and black, with a sound of so many pictures.
    fn film(pictures_of_sound: usize) -> Arc<Action> {
        film_of(&[255, 0], pictures_of_sound)
    }

    fn film_of(levels: &[u8], pictures_of_sound: usize) -> Arc<Action> {
        let dir = tempdir().unwrap();
        for (n, &level) in levels.iter().enumerate() {
            let picture = image::RgbImage::from_pixel(2, 2, image::Rgb([level; 3]));
            picture.save(dir.path().join(format!("{n}.png"))).unwrap();
        }
        let clip = Clip::open(dir.path(), &Spool::new(&std::env::temp_dir(), 1 << 20), None).unwrap();
        // Pictures are decoded when they are first shown, and the folder is about to go.
        (0..levels.len()).for_each(|n| drop(clip.frame(n)));
        Arc::new(Action::new(Footage::Pictures(clip), &vec![7; 640 * pictures_of_sound]))
    }

    fn luma(slice: &AvSlice) -> u8 {
        slice.video.planes()[0][0]
    }

    fn voice(turn: TurnId, frames: usize) -> impl Iterator<Item = (TurnId, Item)> {
        let sound = std::iter::repeat_n(AudioFrame([9; SAMPLES_PER_FRAME]), frames);
        std::iter::once(clause("said")).chain(sound.map(Item::Audio)).map(move |item| (turn, item))
    }

    /// A worker, somebody who looks, and who asks it for changes.
    fn watched() -> (Bench, Sender<Change>) {
        let (mut worker, speech, current, notes) = worker();
        let (changes, changes_rx) = bounded(1);
        worker.changes = changes_rx;
        worker.watched.set(true);
        ((worker, speech, current, notes), changes)
    }

    #[test]
    fn a_film_without_sound_is_shown_once_while_the_voice_goes_on() {
        let ((mut worker, speech, _, notes), changes) = watched();
        changes.send(Change::Act(film(0), TurnId(0))).unwrap();
        voice(TurnId(1), 8).for_each(|item| speech.send(item).unwrap());
        let slices: Vec<_> = (0..4).map(|_| worker.step(true).unwrap()).collect();
        assert_eq!(slices.iter().map(luma).collect::<Vec<_>>(), [235, 16, 16, 16]);
        assert!(slices.iter().all(|slice| slice.audio[1].0[0] == 9 && slice.turn == Some(TurnId(1))));
        let notes = notes.lock().unwrap();
        assert_eq!((&notes.passed[..], &notes.drawn[..]), (&[0, 640][..], &[1_280, 1_920][..]));
    }

    #[test]
    fn a_film_with_sound_waits_for_the_end_of_a_clause_and_the_next_clause_for_it() {
        let ((mut worker, speech, _, notes), changes) = watched();
        voice(TurnId(1), 4).chain(voice(TurnId(1), 4)).for_each(|item| speech.send(item).unwrap());
        let mut heard = vec![worker.step(true).unwrap()];
        changes.send(Change::Act(film(3), TurnId(0))).unwrap();
        heard.extend((0..6).map(|_| worker.step(true).unwrap()));
        let sounds: Vec<i16> = heard.iter().map(|slice| slice.audio[0].0[0]).collect();
        assert_eq!(sounds, [9, 9, 7, 7, 7, 9, 9]);
        assert_eq!(
            heard[2..5].iter().map(luma).collect::<Vec<_>>(),
            [52, 16, 16],
            "there and back, and the first over what was there"
        );
        assert!(heard[2..5].iter().all(|slice| slice.turn == Some(TurnId(0))));
        // The second clause was told ahead, and is told again for when it is heard.
        assert_eq!(notes.lock().unwrap().cues, [0, 4 * 320, 10 * 320]);
    }

    #[test]
    fn what_interrupts_ends_a_film() {
        let ((mut worker, _speech, current, _), changes) = watched();
        changes.send(Change::Act(film(9), TurnId(0))).unwrap();
        assert_eq!(worker.step(true).unwrap().audio[0].0[0], 7);
        current.advance_to(TurnId(1));
        let slice = worker.step(true).unwrap();
        assert_eq!((slice.turn, slice.audio[0].0[0]), (None, 0));
        (0..4).for_each(|_| drop(worker.step(true)));
        assert_eq!(luma(&worker.step(true).unwrap()), 16, "the face is back");
    }

    #[test]
    fn between_the_face_and_a_film_the_picture_before_fades_out_both_ways() {
        let ((mut worker, _speech, ..), changes) = watched();
        assert_eq!(luma(&worker.step(true).unwrap()), 16);
        changes.send(Change::Act(film_of(&[255; 8], 0), TurnId(0))).unwrap();
        let levels: Vec<u8> = (0..15).map(|_| luma(&worker.step(true).unwrap())).collect();
        let near = |found: &[u8], wanted: &[u8]| found.iter().zip(wanted).all(|(a, b)| a.abs_diff(*b) <= 2);
        // In sixths of the way from black, 16, to white, 235, and back.
        assert!(near(&levels[..8], &[52, 89, 125, 162, 198, 235, 235, 235]), "{levels:?}");
        assert!(near(&levels[8..], &[198, 162, 125, 89, 52, 16, 16]), "{levels:?}");
    }

    #[test]
    fn what_nobody_saw_does_not_fade() {
        let ((mut worker, _speech, ..), changes) = watched();
        worker.step(true);
        changes.send(Change::Act(film_of(&[255; 8], 0), TurnId(0))).unwrap();
        worker.step(true);
        worker.watched.set(false);
        worker.step(true);
        worker.watched.set(true);
        assert_eq!(luma(&worker.step(true).unwrap()), 235);
    }

    #[test]
    fn an_idle_film_is_shown_while_nothing_is_heard_and_begins_anew() {
        let ((mut worker, speech, _, notes), changes) = watched();
        changes.send(Change::Idle(Some(film(0)))).unwrap();
        let mut shown: Vec<u8> = (0..2).map(|_| luma(&worker.step(true).unwrap())).collect();
        voice(TurnId(1), 2).chain([(TurnId(1), Item::End)]).for_each(|item| speech.send(item).unwrap());
        shown.extend((0..2).map(|_| luma(&worker.step(true).unwrap())));
        assert_eq!(shown, [235, 16, 16, 52]);
        assert_eq!(notes.lock().unwrap().drawn, [1_280], "the face has its place back while it speaks");
    }

    #[test]
    fn what_was_written_is_marked_and_begins_no_turn() {
        let (mut worker, speech, ..) = worker();
        let written = |text: &str| Item::Written(text.into());
        for item in [written("🎉"), written("hi"), clause("hi"), Item::Audio(AudioFrame([5; SAMPLES_PER_FRAME]))] {
            speech.send((TurnId(1), item)).unwrap();
        }
        let marks: Vec<Mark> = worker.step(true).unwrap().marks.into_iter().map(|(_, mark)| mark).collect();
        let written = |text: &str| Mark::Written(text.into());
        assert_eq!(marks[..3], [written("🎉"), written("hi"), Mark::TurnStarted]);
    }

    #[test]
    fn closed_speech_ends_rendering() {
        let (mut worker, speech, ..) = worker();
        drop(speech);
        assert!(worker.step(true).is_none());
    }
}

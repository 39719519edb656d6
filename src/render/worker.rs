//! One step of rendering: two frames of sound become one slice. No clock, no sleep.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::Receiver;

use super::{Item, LipSync};
use crate::media::{AudioFrame, AvSlice, Mark, SAMPLES_PER_FRAME, TurnId};

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

/// Owns the face of one session.
pub struct Worker {
    face: Box<dyn LipSync>,
    faces: Receiver<Box<dyn LipSync>>,
    speech: Receiver<(TurnId, Item)>,
    current: CurrentTurn,
    /// Offline there is no idle life to fill waits with: the next sample is waited for.
    waits_for_speech: bool,
    at: u64,
    speaking: Option<TurnId>,
}

impl Worker {
    /// `faces` replaces the face between two slices.
    pub fn new(
        face: Box<dyn LipSync>,
        faces: Receiver<Box<dyn LipSync>>,
        speech: Receiver<(TurnId, Item)>,
        current: CurrentTurn,
        waits_for_speech: bool,
    ) -> Self {
        Self { face, faces, speech, current, waits_for_speech, at: 0, speaking: None }
    }

    /// The next 40 ms; `None` when no more speech can come.
    pub fn step(&mut self) -> Option<AvSlice> {
        if let Ok(face) = self.faces.try_recv() {
            self.face = face;
        }
        if self.speaking.is_some_and(|turn| self.current.is_stale(turn)) {
            self.face.cut(self.at);
            self.speaking = None;
        }
        let mut audio = [AudioFrame::SILENCE; 2];
        let mut marks = Vec::new();
        let mut turn = self.speaking;
        for (half, frame) in audio.iter_mut().enumerate() {
            let at = self.at + (half * SAMPLES_PER_FRAME) as u64;
            match self.next_frame(at, &mut marks) {
                Next::Frame(id, sound) => (turn, *frame) = (Some(id), sound),
                Next::Closed if half == 0 && marks.is_empty() => return None,
                Next::Nothing | Next::Closed => {}
            }
        }
        let video = self.face.picture(self.at, &audio);
        self.at += 2 * SAMPLES_PER_FRAME as u64;
        Some(AvSlice { turn, video, audio, marks })
    }

    fn next_frame(&mut self, at: u64, marks: &mut Vec<(TurnId, Mark)>) -> Next {
        loop {
            let received = if self.waits_for_speech {
                self.speech.recv().map_err(|_| Next::Closed)
            } else {
                self.speech.try_recv().map_err(|e| if e.is_empty() { Next::Nothing } else { Next::Closed })
            };
            let (turn, item) = match received {
                Ok(received) => received,
                Err(nothing) => return nothing,
            };
            if self.current.is_stale(turn) {
                continue;
            }
            if self.speaking != Some(turn) && !matches!(item, Item::End) {
                self.speaking = Some(turn);
                marks.push((turn, Mark::TurnStarted));
            }
            match item {
                Item::Clause { text, words, phonemes } => {
                    self.face.cue(at, &phonemes);
                    marks.push((turn, Mark::Clause { text, words }));
                }
                Item::Audio(frame) => return Next::Frame(turn, frame),
                Item::End => {
                    self.speaking = None;
                    marks.push((turn, Mark::TurnEnded));
                }
            }
        }
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

    use super::*;
    use crate::media::{Phoneme, VideoFrame};

    /// Notes what it was told.
    #[derive(Default)]
    struct Notes {
        cues: Vec<u64>,
        cuts: Vec<u64>,
    }
    struct Face(Arc<std::sync::Mutex<Notes>>);
    impl LipSync for Face {
        fn cue(&mut self, start: u64, _: &[Phoneme]) {
            self.0.lock().unwrap().cues.push(start);
        }
        fn cut(&mut self, at: u64) {
            self.0.lock().unwrap().cuts.push(at);
        }
        fn picture(&mut self, _: u64, _: &[AudioFrame; 2]) -> Arc<VideoFrame> {
            Arc::new(VideoFrame::black(2, 2))
        }
    }

    type Bench = (Worker, Sender<(TurnId, Item)>, CurrentTurn, Arc<std::sync::Mutex<Notes>>);

    fn worker() -> Bench {
        let (speech_tx, speech) = bounded(100);
        let notes = Arc::default();
        let current = CurrentTurn::default();
        let (_, faces) = bounded(1);
        let worker = Worker::new(Box::new(Face(Arc::clone(&notes))), faces, speech, current.clone(), false);
        (worker, speech_tx, current, notes)
    }

    fn clause(text: &str) -> Item {
        Item::Clause { text: text.into(), words: vec![], phonemes: vec![] }
    }

    #[test]
    fn without_speech_there_is_idle_life_and_silence() {
        let (mut worker, _speech, ..) = worker();
        let slice = worker.step().unwrap();
        assert_eq!((slice.turn, slice.audio), (None, [AudioFrame::SILENCE; 2]));
    }

    #[test]
    fn a_clause_is_cued_at_the_sample_where_its_sound_starts() {
        let (mut worker, speech, _, notes) = worker();
        worker.step();
        speech.send((TurnId(1), clause("hi"))).unwrap();
        speech.send((TurnId(1), Item::Audio(AudioFrame([5; SAMPLES_PER_FRAME])))).unwrap();
        let slice = worker.step().unwrap();
        assert_eq!(notes.lock().unwrap().cues, [640]);
        assert_eq!(slice.turn, Some(TurnId(1)));
        assert_eq!(slice.audio[0].0[0], 5);
        assert_eq!(slice.marks[0], (TurnId(1), Mark::TurnStarted));
    }

    #[test]
    fn an_interrupted_turn_is_dropped_and_the_mouth_is_told() {
        let (mut worker, speech, current, notes) = worker();
        speech.send((TurnId(1), clause("long"))).unwrap();
        for _ in 0..50 {
            speech.send((TurnId(1), Item::Audio(AudioFrame([9; SAMPLES_PER_FRAME])))).unwrap();
        }
        worker.step();
        current.advance_to(TurnId(2));
        let slice = worker.step().unwrap();
        assert_eq!((slice.turn, slice.audio), (None, [AudioFrame::SILENCE; 2]));
        assert_eq!(notes.lock().unwrap().cuts, [640]);
        assert!(speech.is_empty(), "nothing of the old turn is left");
    }

    #[test]
    fn the_end_comes_after_the_last_sound_and_then_idle_life_goes_on() {
        let (mut worker, speech, ..) = worker();
        speech.send((TurnId(1), Item::Audio(AudioFrame([9; SAMPLES_PER_FRAME])))).unwrap();
        speech.send((TurnId(1), Item::End)).unwrap();
        let marks = worker.step().unwrap().marks;
        assert_eq!(marks.last(), Some(&(TurnId(1), Mark::TurnEnded)));
        assert_eq!(worker.step().unwrap().turn, None);
    }

    #[test]
    fn closed_speech_ends_rendering() {
        let (mut worker, speech, ..) = worker();
        drop(speech);
        assert!(worker.step().is_none());
    }
}

//! Speech in, pictures with their sound out, on one thread per session.
//!
//! In: `(TurnId, Item)` from `session::turn`. Out: `AvSlice`, 40 ms each. There is no clock here: a full slice queue is
//! what slows the render thread down.

mod action;
mod avatar;
mod catalogue;
mod clip;
mod composite;
mod face;
mod fade;
mod film;
mod films;
mod gesture;
mod idle;
mod layer;
mod lips;
mod listen;
mod mel;
mod morph;
mod pixel;
mod repertoire;
mod sway;
mod thread;
mod timeline;
mod triangle;
mod visemes;
mod warp;
mod worker;

use std::sync::Arc;

use crate::media::{AudioFrame, Phoneme, VideoFrame, Word};

pub use action::{Action, Footage};
pub use avatar::{Avatar, Error as AvatarError, Fault as AvatarFault};
pub use catalogue::{Card, Catalogue, Character, Error as CatalogueError, Wardrobe, is_id};
pub use clip::{Clip, Error as ClipError, FaceBox, Spool, mirrored};
pub use face::Face;
pub use film::{Error as FilmError, Film, Fit};
pub use films::Films;
pub use gesture::Gesture;
pub use lips::{FilmFace, Hubert, Network, NetworkError, NetworkFile};
pub use repertoire::{Entry, Repertoire, RepertoireError, Repertoires};
pub use thread::{SLICE_QUEUE, spawn};
pub use worker::{Change, CurrentTurn, Watched, Worker};

/// What an answer is made of, in the order in which it is said.
#[derive(Clone, Debug)]
pub enum Item {
    /// A clause begins with the next sample.
    Clause {
        /// As written.
        text: String,
        /// When its words are heard, from its first sample.
        words: Vec<Word>,
        /// When its phonemes are heard, from its first sample.
        phonemes: Vec<Phoneme>,
    },
    /// The answer's own text, to the letter, that the next sample begins to say; also what cannot be said.
    Written(String),
    /// The next 20 ms.
    Audio(AudioFrame),
    /// The answer is complete.
    End,
}

/// Turns what is said into pictures. Lives on one render thread; has no clock: time is the sample count it is given.
pub trait LipSync: Send {
    /// A clause begins: its first sample is played at sample `start` (16 kHz, since the session began).
    fn cue(&mut self, start: u64, phonemes: &[Phoneme]);

    /// Speech of which nobody tells the phonemes: what is played for 20 ms from sample `start`, some 400 ms before it
    /// is if it is there by then.
    fn hear(&mut self, start: u64, sound: &AudioFrame);

    /// All that is played, whether or not its phonemes are told: for faces that go by the sound alone.
    fn listen(&mut self, _start: u64, _sound: &AudioFrame) {}

    /// An answer is complete: from sample `at` on there is silence, unless more is told.
    fn fall_silent(&mut self, _at: u64) {}

    /// The answer was interrupted: forget everything cued at or after sample `at`; the mouth eases shut from there.
    fn cut(&mut self, at: u64);

    /// In the place of `picture` where nobody looks: 40 ms pass.
    fn pass(&mut self, at: u64, sound: &[AudioFrame; 2]);

    /// Begins `gesture` with the picture of sample `at`, over whatever else the face does.
    fn gesture(&mut self, at: u64, gesture: Gesture);

    /// The picture shown from sample `at` for 40 ms (640 samples), and the sound heard meanwhile.
    fn picture(&mut self, at: u64, sound: &[AudioFrame; 2]) -> Arc<VideoFrame>;

    /// The same where there is no time: one that costs none, or `None` for the one before.
    fn quick_picture(&mut self, at: u64, sound: &[AudioFrame; 2]) -> Option<Arc<VideoFrame>> {
        self.pass(at, sound);
        None
    }
}

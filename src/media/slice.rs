//! The unit that crosses from rendering to playout: a picture and its sound, inseparable.

use std::sync::Arc;

use super::{AudioFrame, VideoFrame, Word};

/// Numbers the answers of one session. Work that carries an older number than the current one is stale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TurnId(pub u64);

/// Something that happens at a point in the sound; it becomes an event when that point is *played*.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The first sample of an answer.
    TurnStarted,
    /// The first sample of a clause: its text, and when its words are heard.
    Clause {
        /// As written.
        text: String,
        /// Samples are counted from here.
        words: Vec<Word>,
    },
    /// As much of the answer as was written up to the next of these: heard from here on, or nobody can say it.
    Written(String),
    /// The last sample of an answer has been rendered.
    TurnEnded,
}

/// 40 ms of synchronised media: one picture and the two audio frames it was rendered from.
#[derive(Clone, Debug)]
pub struct AvSlice {
    /// The answer that this sound belongs to; `None` while idle.
    pub turn: Option<TurnId>,
    /// Shown from the first sample of `audio` on.
    pub video: Arc<VideoFrame>,
    /// 2 × 20 ms.
    pub audio: [AudioFrame; 2],
    /// What begins or ends within these 40 ms, in order, each with the turn it belongs to.
    pub marks: Vec<(TurnId, Mark)>,
}

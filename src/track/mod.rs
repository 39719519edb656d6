//! From slices to paced, stamped, encoded frames.
//!
//! In: `AvSlice`s from the render thread. Out: `Encoded` frames to every [`MediaSink`]. The playout task paces,
//! the encode thread encodes; one anchor stamps both tracks.

mod encode;
mod pacer;
mod player;
mod playout;
mod record;
mod rtmp;
mod sink;
mod stream_track;
mod tape;

pub use encode::{Bitrate, EncodeError};
pub use pacer::{Due, Pacer};
pub use player::{Ended, HumanPlayer, Setup, Throttle};
pub use playout::Played;
pub use record::{Layout, Mp4Error, Mp4Writer};
pub use rtmp::{RtmpError, RtmpWriter, Waker};
pub use sink::{Encoded, MediaSink};
pub use stream_track::{PlayerStreamTrack, Stamped};
pub use tape::{SoundAs, Tape, Taped};

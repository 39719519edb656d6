//! Where paced, encoded frames go: a viewer, a file, a test's probe.

use std::sync::Arc;

use bytes::Bytes;

use crate::codec::VideoCodec;
use crate::media::{AudioFrame, MediaTime, TurnId, VideoFrame};

/// One encoded frame and its presentation time.
#[derive(Clone, Debug)]
pub enum Encoded {
    /// An Opus packet, 20 ms.
    Audio {
        /// The packet.
        data: Bytes,
        /// In the 16 kHz clock.
        pts: MediaTime,
    },
    /// A coded picture, 40 ms.
    Video {
        /// What coded it.
        codec: VideoCodec,
        /// The picture.
        data: Bytes,
        /// Decodable without any earlier picture.
        keyframe: bool,
        /// In the 90 kHz clock.
        pts: MediaTime,
        /// Width and height.
        size: (u32, u32),
    },
}

impl Encoded {
    /// The same frame with a stamp that counts from `origin`; `None` if it is older.
    pub(super) fn since(&self, origin: MediaTime) -> Option<Self> {
        let mut frame = self.clone();
        let (Self::Audio { pts, .. } | Self::Video { pts, .. }) = &mut frame;
        let before = origin.ticks * u64::from(pts.rate_hz) / u64::from(origin.rate_hz);
        pts.ticks = pts.ticks.checked_sub(before)?;
        Some(frame)
    }
}

/// Takes encoded frames. Called from the encode thread: no method blocks.
pub trait MediaSink: Send + Sync {
    /// The codec it wants pictures in; `None`, as it comes, for sound alone. Fixed for the sink's life.
    fn video_codec(&self) -> Option<VideoCodec> {
        None
    }

    /// Whether the next picture must be a keyframe. Stays true until one is pushed.
    fn wants_keyframe(&self) -> bool {
        false
    }

    /// The bitrate that its network bears, if it knows.
    fn bitrate_bps(&self) -> Option<u32> {
        None
    }

    /// Takes a frame. A sink that is too slow drops it and asks for a keyframe later.
    fn push(&self, _frame: &Encoded) {}

    /// Whether it wants pictures, coded or not.
    fn watches(&self) -> bool {
        self.video_codec().is_some()
    }

    /// Takes a picture as it was before it was coded.
    fn see(&self, _picture: &Arc<VideoFrame>) {}

    /// Takes 20 ms of sound as they were before they were coded, and the answer that they belong to: for those who send
    /// another codec, or none.
    fn hear(&self, _sound: &AudioFrame, _turn: Option<TurnId>) {}

    /// No more frames are wanted: the sink may be forgotten.
    fn is_closed(&self) -> bool;
}

//! Where a viewer's frames wait for its packets to leave.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;

use super::estimate::Estimate;
use crate::codec::VideoCodec;
use crate::metrics;
use crate::track::{Encoded, MediaSink};

/// The sink of one viewer: a queue that never blocks the encoder.
pub(super) struct Viewer {
    codec: Option<VideoCodec>,
    queue: mpsc::Sender<Encoded>,
    wants_keyframe: Arc<AtomicBool>,
    /// Pictures are useless to it until the next keyframe.
    awaits_keyframe: AtomicBool,
    estimate: Estimate,
}

impl Viewer {
    pub(super) fn new(
        codec: Option<VideoCodec>,
        queue: mpsc::Sender<Encoded>,
        wants_keyframe: Arc<AtomicBool>,
        estimate: Estimate,
    ) -> Self {
        Self { codec, queue, wants_keyframe, awaits_keyframe: AtomicBool::new(true), estimate }
    }
}

impl MediaSink for Viewer {
    fn video_codec(&self) -> Option<VideoCodec> {
        self.codec
    }

    fn wants_keyframe(&self) -> bool {
        self.wants_keyframe.load(Ordering::Relaxed)
    }

    fn bitrate_bps(&self) -> Option<u32> {
        self.estimate.bits_per_second()
    }

    fn push(&self, frame: &Encoded) {
        if let Encoded::Video { keyframe, .. } = frame {
            if *keyframe {
                self.wants_keyframe.store(false, Ordering::Relaxed);
                self.awaits_keyframe.store(false, Ordering::Relaxed);
                metrics::keyframe();
            } else if self.awaits_keyframe.load(Ordering::Relaxed) {
                return;
            }
        }
        if self.queue.try_send(frame.clone()).is_err() && !self.queue.is_closed() {
            let kind = if matches!(frame, Encoded::Video { .. }) { "video" } else { "audio" };
            metrics::frame_dropped(kind, "slow_viewer");
            if kind == "video" {
                self.wants_keyframe.store(true, Ordering::Relaxed);
                self.awaits_keyframe.store(true, Ordering::Relaxed);
            }
        }
    }

    fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }
}

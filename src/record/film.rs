//! One film: from a tape to a file.
//!
//! In: the tape's frames. Out: a fragmented MP4 file that plays up to its last second whatever happens to us, and why it
//! ended. Blocks: it runs on a blocking thread.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam_channel::Receiver;
use tokio::sync::watch;

use super::disk;
use crate::config::Record;
use crate::metrics;
use crate::track::{Encoded, Layout, Mp4Error, Mp4Writer, Taped};

/// Frames between two looks at the disk: a second, which is at most a few MiB.
const LOOK_EVERY: u64 = 75;

/// What one film may take.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    pub(super) duration: Duration,
    /// Of the file, in bytes.
    pub(super) bytes: u64,
    /// Left to all others, in bytes.
    pub(super) free_bytes: u64,
}

impl Bounds {
    /// For a store that holds `stored` bytes already.
    pub(super) fn new(config: &Record, stored: u64) -> Self {
        let rest = (config.store_mib << 20).saturating_sub(stored);
        Self { duration: config.max_duration, bytes: rest.min(config.max_mib << 20), free_bytes: config.keep_free_mib << 20 }
    }
}

/// Why a film ended before anybody asked for it.
#[derive(Debug, thiserror::Error)]
pub enum Cut {
    /// `record.max_duration`.
    #[error("the recording has its longest length")]
    Length,
    /// `record.max_mib`, or `record.store_mib` with the films that there are.
    #[error("the recording has its largest size, or the store is full")]
    Size,
    /// `record.keep_free_mib`.
    #[error("the disk is nearly full")]
    Disk,
    /// It cannot be written.
    #[error("the recording could not be written")]
    Failed(#[source] Mp4Error),
}

/// What became of a film.
#[derive(Debug)]
pub(super) struct Film {
    /// How long it plays; nothing at all was filmed if this is zero.
    pub(super) length: Duration,
    pub(super) cut: Option<Cut>,
}

/// Writes `frames` to `path` until they end or a bound is met. `rolling` turns true with the first picture.
pub(super) fn write(path: &Path, frames: &Receiver<Taped>, bounds: &Bounds, rolling: &watch::Sender<bool>) -> Film {
    let mut state = State { path: path.to_owned(), writer: None, length: Duration::ZERO, bytes: 0, frames: 0 };
    for taped in frames {
        let Taped::Coded(frame) = taped else { continue };
        if let Err(cut) = state.take(&frame, bounds) {
            return state.finish(Some(cut));
        }
        rolling.send_if_modified(|rolling| !std::mem::replace(rolling, true));
    }
    state.finish(None)
}

struct State {
    path: PathBuf,
    writer: Option<Mp4Writer>,
    length: Duration,
    bytes: u64,
    frames: u64,
}

impl State {
    fn take(&mut self, frame: &Encoded, bounds: &Bounds) -> Result<(), Cut> {
        let writer = match (&mut self.writer, frame) {
            (Some(writer), _) => writer,
            (none, Encoded::Video { data, size: (width, height), .. }) => {
                let writer = Mp4Writer::create(&self.path, Layout::Fragments, data, *width, *height);
                none.insert(writer.map_err(Cut::Failed)?)
            }
            // A tape begins with a picture.
            (None, Encoded::Audio { .. }) => return Ok(()),
        };
        writer.write(frame).map_err(Cut::Failed)?;
        let (Encoded::Audio { data, pts } | Encoded::Video { data, pts, .. }) = frame;
        self.bytes += data.len() as u64;
        self.length = self.length.max(pts.since_anchor());
        self.frames += 1;
        metrics::recorded(data.len());
        if self.length >= bounds.duration {
            return Err(Cut::Length);
        }
        if self.bytes >= bounds.bytes {
            return Err(Cut::Size);
        }
        if self.frames.is_multiple_of(LOOK_EVERY) && disk::free(&self.path).is_some_and(|free| free < bounds.free_bytes) {
            return Err(Cut::Disk);
        }
        Ok(())
    }

    fn finish(self, cut: Option<Cut>) -> Film {
        match self.writer.map(Mp4Writer::finish) {
            None => Film { length: Duration::ZERO, cut },
            Some(Ok(length)) => Film { length, cut },
            // What was written still plays.
            Some(Err(error)) => Film { length: self.length, cut: cut.or(Some(Cut::Failed(error))) },
        }
    }
}

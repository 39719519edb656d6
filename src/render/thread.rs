//! The render thread: `render-<session>`. It owns the face, which is neither cheap nor `Sync`, and is paced by nothing
//! but the fullness of the slice queue.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{Builder, JoinHandle};

use crossbeam_channel::Sender;

use super::Worker;
use crate::media::AvSlice;

/// Slices rendered ahead of playout: 3 × 40 ms. An interruption has to discard them, so it is only as deep as the
/// scheduling hiccups of a busy machine (docs/design/time.md).
pub const SLICE_QUEUE: usize = 3;

/// Renders until speech is closed or playout drops its end. The result is `Err` if rendering panicked.
pub fn spawn(session: &str, mut worker: Worker, slices: Sender<AvSlice>) -> io::Result<JoinHandle<Result<(), ()>>> {
    Builder::new().name(format!("render-{session}")).spawn(move || {
        let rendering = AssertUnwindSafe(|| {
            while let Some(slice) = worker.step() {
                if slices.send(slice).is_err() {
                    break;
                }
            }
        });
        catch_unwind(rendering).map_err(|_| ())
    })
}

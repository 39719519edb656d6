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
            let mut pace = Pace::default();
            loop {
                let ready = slices.len();
                let draws = pace.draws(ready);
                let Some(slice) = worker.step(draws) else { break };
                if draws {
                    pace.drawn(ready, slices.len());
                }
                if slices.send(slice).is_err() {
                    break;
                }
            }
        });
        catch_unwind(rendering).map_err(|_| ())
    })
}

/// Whether there is time for a picture. A voice that waits for pictures is chopped to pieces, while a picture that is shown for
/// longer is hardly noticed: so where drawing is too slow, pictures are left out and the voice goes on.
#[derive(Default)]
struct Pace {
    /// The last picture took so long that playout took a slice meanwhile, which it does each 40 ms.
    slow: bool,
}

impl Pace {
    /// With so many slices `ready`. Few of them alone mean nothing: an interruption takes them all.
    fn draws(&self, ready: usize) -> bool {
        !self.slow || ready >= SLICE_QUEUE - 1
    }

    fn drawn(&mut self, before: usize, after: usize) {
        self.slow = after < before || before == 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pictures drawn and slices missing in 100 s of playout, if a picture costs `cost_ms`.
    fn play(cost_ms: u64) -> (u64, u64) {
        let (mut pace, mut ready, mut now, mut taken) = (Pace::default(), SLICE_QUEUE, 0, 0);
        let (mut drawn, mut missing) = (0, 0);
        while now < 100_000 {
            let before = ready;
            let draws = pace.draws(ready);
            if draws {
                now += cost_ms;
                drawn += 1;
            } else if ready == SLICE_QUEUE {
                now = (now / 40 + 1) * 40;
            }
            while taken < now / 40 {
                taken += 1;
                missing += u64::from(ready == 0);
                ready = ready.saturating_sub(1);
            }
            if draws {
                pace.drawn(before, ready);
            }
            if ready == SLICE_QUEUE {
                // The queue is full: playout takes one first.
                now = (now / 40 + 1) * 40;
                taken += 1;
                ready -= 1;
            }
            ready += 1;
        }
        (drawn, missing)
    }

    #[test]
    fn what_is_quick_draws_all_and_what_is_slow_as_much_as_there_is_time_for() {
        assert_eq!(play(10).0, 2_500);
        for cost_ms in [45, 55, 66, 75] {
            let (drawn, missing) = play(cost_ms);
            assert!(drawn >= 100_000 / cost_ms * 6 / 10, "{drawn} pictures of {cost_ms} ms");
            assert!(missing <= 3, "{missing} slices late at {cost_ms} ms");
        }
    }

    #[test]
    fn slices_that_an_interruption_took_cost_no_picture() {
        let mut pace = Pace::default();
        pace.drawn(3, 3);
        assert!(pace.draws(0));
    }
}

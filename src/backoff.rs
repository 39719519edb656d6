//! How long to wait before another server is tried again.

use std::time::Duration;

/// The first wait.
const FIRST: Duration = Duration::from_millis(500);
/// The longest while the server is away: we are back this long after the server is back.
const LONGEST: Duration = Duration::from_secs(8);
/// The longest where a person has to change something first: a secret, a pin, a room.
const PATIENT: Duration = Duration::from_mins(1);

/// Waits that double and differ, so that many clients do not come back at once.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next wait. `patient`: it will not get better by itself.
    pub(crate) fn next(&mut self, patient: bool) -> Duration {
        let longest = if patient { PATIENT } else { LONGEST };
        let wait = FIRST.saturating_mul(1 << self.failures.min(16)).min(longest);
        self.failures += 1;
        wait.mul_f64(rand::random_range(0.5..=1.0))
    }

    /// All is well.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_bound_and_begin_anew() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..20).map(|_| backoff.next(false)).collect();
        assert!(waits[0] <= FIRST && waits[0] >= FIRST / 2);
        assert!(waits.iter().all(|wait| *wait <= LONGEST));
        assert!(waits[10] >= LONGEST / 2);
        assert!((0..20).map(|_| backoff.next(true)).all(|wait| wait >= PATIENT / 2 && wait <= PATIENT));
        backoff.reset();
        assert!(backoff.next(true) <= FIRST);
    }
}

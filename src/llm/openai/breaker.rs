//! Spares people the wait for a provider that is down: after a few failures it is not asked for a while. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::llm::Fault;

/// This many failures within this long (L19) …
const FAILURES: usize = 5;
const WITHIN: Duration = Duration::from_secs(30);
/// … and nothing is asked for this long. Then the next question tries.
const PAUSE: Duration = Duration::from_secs(15);

/// Of one provider, over all conversations.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: VecDeque<Instant>,
    paused_until: Option<Instant>,
    /// Of the latest failure, if no answer has begun since.
    fault: Option<Fault>,
}

impl Breaker {
    pub(super) fn is_open(&self, now: Instant) -> bool {
        self.paused_until.is_some_and(|until| now < until)
    }

    /// What is wrong with the provider, if the latest question came to nothing.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// A question came to nothing because of the provider's state, or of ours with it, and not because of the question.
    pub(super) fn failed(&mut self, now: Instant, fault: Fault) {
        self.fault = Some(fault);
        self.failures.push_back(now);
        while self.failures.len() > FAILURES || self.failures.front().is_some_and(|first| now - *first > WITHIN) {
            self.failures.pop_front();
        }
        if self.failures.len() == FAILURES {
            self.paused_until = Some(now + PAUSE);
        }
    }

    /// An answer began.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_failures_in_half_a_minute_pause_it_until_a_try_succeeds() {
        let began = Instant::now();
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        let mut breaker = Breaker::default();
        (0..4).for_each(|n| breaker.failed(at(n), Fault::Unavailable));
        assert!(!breaker.is_open(at(4)));
        breaker.failed(at(4), Fault::Unavailable);
        assert!(breaker.is_open(at(4)) && breaker.is_open(at(18)));
        assert!(!breaker.is_open(at(19)), "the next question tries");
        breaker.failed(at(20), Fault::Unavailable);
        assert!(breaker.is_open(at(21)), "one more failure is enough");
        assert_eq!(breaker.fault(), Some(Fault::Unavailable));
        breaker.succeeded();
        assert_eq!(breaker.fault(), None);
        breaker.failed(at(22), Fault::Unavailable);
        assert!(!breaker.is_open(at(22)));
    }

    #[test]
    fn rare_failures_pause_nothing() {
        let began = Instant::now();
        let mut breaker = Breaker::default();
        for n in 0..20 {
            let now = began + Duration::from_secs(8 * n);
            breaker.failed(now, Fault::Unavailable);
            assert!(!breaker.is_open(now));
        }
    }
}

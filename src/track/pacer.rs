//! When the next 20 ms of media are due: an absolute schedule that neither drifts nor bursts. Pure; `now` is an argument.

use std::time::Duration;

use tokio::time::Instant;

use crate::media::AUDIO_PTIME;

/// How late a tick may be before its time is given up: one picture. Less than that is caught up, which a jitter
/// buffer never notices; more would arrive as a burst.
const TOLERANCE: Duration = Duration::from_millis(40);

/// What [`Pacer::poll`] finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Play tick `n` now; its stamp is `n` × 20 ms.
    Now(u64),
    /// Nothing yet: ask again at this instant.
    At(Instant),
}

/// Tick `n` is due at the anchor + `n` × 20 ms, for the whole session. Even ticks are pictures, every tick is sound.
#[derive(Debug, Default)]
pub struct Pacer {
    anchor: Option<Instant>,
    tick: u64,
    skipped: u64,
    /// Ticks that were played before their time since the last [`Pacer::rest`].
    ahead: u64,
}

impl Pacer {
    /// The next tick, if it is due. The first call sets the anchor.
    pub fn poll(&mut self, now: Instant) -> Due {
        let anchor = *self.anchor.get_or_insert(now);
        let deadline = anchor + period(self.tick);
        if now < deadline {
            return Due::At(deadline);
        }
        let late = now - deadline;
        if late > TOLERANCE {
            // Two ticks make a picture: skipping pairs keeps pictures on even ticks.
            let missed = (late.as_nanos() / (2 * AUDIO_PTIME).as_nanos()) as u64 * 2;
            self.tick += missed;
            self.skipped += missed;
        }
        let tick = self.tick;
        self.tick += 1;
        Due::Now(tick)
    }

    /// The next tick at once, whatever the time: for outputs that are not watched live.
    pub fn advance(&mut self) -> u64 {
        let tick = self.tick;
        self.tick += 1;
        tick
    }

    /// The next tick before its time; those that follow are as far from it as ever.
    pub fn hurry(&mut self, now: Instant) -> u64 {
        self.anchor = Some(self.anchor.unwrap_or(now) - AUDIO_PTIME);
        self.ahead += 1;
        self.advance()
    }

    /// Ticks that were hurried since the last rest.
    pub fn ahead(&self) -> u64 {
        self.ahead
    }

    /// Whoever listens has heard all: what is hurried from here on is ahead of that.
    pub fn rest(&mut self) {
        self.ahead = 0;
    }

    /// Ticks given up to stalls so far.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }
}

fn period(ticks: u64) -> Duration {
    Duration::from_nanos(AUDIO_PTIME.as_nanos() as u64 * ticks)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600 * 50;

    /// Steps to the next due tick with a wake-up that is `late`, as an operating system's timers are.
    fn step(pacer: &mut Pacer, now: &mut Instant, late: Duration) -> u64 {
        loop {
            match pacer.poll(*now) {
                Due::Now(tick) => return tick,
                Due::At(at) => *now = at + late,
            }
        }
    }

    #[test]
    fn four_hours_of_late_wake_ups_neither_drift_nor_skip() {
        let start = Instant::now();
        let (mut pacer, mut now) = (Pacer::default(), start);
        for tick in 0..4 * HOUR {
            let late = Duration::from_micros(tick * 7_919 % 7_000);
            assert_eq!(step(&mut pacer, &mut now, late), tick);
            let due = start + period(tick);
            assert!(now >= due && now - due < Duration::from_millis(8), "tick {tick}");
        }
        assert_eq!(pacer.skipped(), 0);
    }

    #[test]
    fn a_two_second_stall_skips_time_instead_of_bursting() {
        let (mut pacer, mut now) = (Pacer::default(), Instant::now());
        for _ in 0..10 {
            step(&mut pacer, &mut now, Duration::ZERO);
        }
        now += Duration::from_secs(2);
        let mut burst = 0;
        while let Due::Now(tick) = pacer.poll(now) {
            assert!(tick >= 100 + 8, "tick {tick} belongs to the time before the stall");
            burst += 1;
        }
        assert!(burst <= 3, "{burst} ticks at once");
        assert!(pacer.skipped() >= 96);
    }

    #[test]
    fn a_stall_keeps_pictures_on_even_ticks() {
        for stall_ms in 50..130 {
            let (mut pacer, mut now) = (Pacer::default(), Instant::now());
            let before = step(&mut pacer, &mut now, Duration::ZERO);
            now += Duration::from_millis(stall_ms);
            let after = step(&mut pacer, &mut now, Duration::ZERO);
            assert_eq!((after - before) % 2, 1, "after {stall_ms} ms");
        }
    }

    #[test]
    fn thirty_milliseconds_late_is_caught_up_without_a_loss() {
        let (mut pacer, mut now) = (Pacer::default(), Instant::now());
        step(&mut pacer, &mut now, Duration::ZERO);
        now += Duration::from_millis(50);
        assert_eq!(pacer.poll(now), Due::Now(1));
        assert_eq!(pacer.poll(now), Due::Now(2));
        assert_eq!(pacer.skipped(), 0);
    }
}

//! Media time: a count of ticks at a stated rate. Never wall time, never `Instant`.

use std::time::Duration;

/// Audio per packet, 20 ms: Opus' default and the `ptime` browsers offer (RFC 7587 §6.1).
/// Two of these make one 25 fps picture.
pub const AUDIO_PTIME: Duration = Duration::from_millis(20);

/// One picture, 40 ms: 25 a second.
pub const VIDEO_PTIME: Duration = Duration::from_millis(40);

/// The RTP clock of every video codec (RFC 3551 §5).
pub const VIDEO_CLOCK_HZ: u32 = 90_000;

/// A stamp: `ticks` of a clock that runs at `rate_hz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaTime {
    /// Ticks since the session's anchor.
    pub ticks: u64,
    /// Ticks a second.
    pub rate_hz: u32,
}

impl MediaTime {
    /// As a duration since the session's anchor, exact to the nanosecond.
    pub fn since_anchor(self) -> Duration {
        let nanos = u128::from(self.ticks) * 1_000_000_000 / u128::from(self.rate_hz);
        Duration::from_nanos(nanos as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tenth_picture_and_its_sound_share_one_instant() {
        let picture = MediaTime { ticks: 10 * 3_600, rate_hz: VIDEO_CLOCK_HZ };
        let sound = MediaTime { ticks: 20 * 320, rate_hz: 16_000 };
        assert_eq!(picture.since_anchor(), sound.since_anchor());
        assert_eq!(picture.since_anchor(), 10 * VIDEO_PTIME);
    }
}

//! Sender reports that tell when a frame is *due*, not when its encoder was done with it (RFC 3550 §6.4.1).
//!
//! A receiver plays two streams in step by their reports. The stack's own say that a stamp belongs to the moment its
//! packet was written; a picture is written some 10 ms after its sound, so it would be shown that much late. Both stamps
//! count from one anchor (`docs/design/time.md`), so one clock serves both: the earliest that any packet was written for
//! its stamp.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rtc::interceptor::{Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::rtcp::sender_report::SenderReport;
use rtc::sansio::Protocol;
use rtc::shared::error::Error;

/// Where in the chain it stands: between what makes the reports (11 000) and the wire.
pub(super) const SLOT: usize = 10_900;

/// How one stream counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) ssrc: u32,
    /// The stamp of media time 0.
    pub(super) start: u32,
    pub(super) clock_hz: u32,
}

/// Corrects outbound sender reports; passes everything on.
pub(super) struct OneClock {
    streams: Vec<Counted>,
    /// When media time 0 was due.
    zero: Option<Instant>,
    inbound: VecDeque<TaggedPacket>,
    outbound: VecDeque<TaggedPacket>,
}

struct Counted {
    origin: Origin,
    /// Units since media time 0 of the newest packet; does not wrap.
    units: u64,
}

impl OneClock {
    pub(super) fn new(origins: impl IntoIterator<Item = Origin>) -> Self {
        let streams = origins.into_iter().map(|origin| Counted { origin, units: 0 }).collect();
        Self { streams, zero: None, inbound: VecDeque::new(), outbound: VecDeque::new() }
    }

    fn note(&mut self, ssrc: u32, timestamp: u32, now: Instant) {
        let Some(stream) = self.streams.iter_mut().find(|s| s.origin.ssrc == ssrc) else { return };
        // A stamp is less than 2³¹ away from the one before it, whatever was skipped.
        let step = timestamp.wrapping_sub(stream.origin.start).wrapping_sub(stream.units as u32) as i32;
        stream.units = stream.units.saturating_add_signed(i64::from(step));
        let at =
            Duration::from_nanos((u128::from(stream.units) * 1_000_000_000 / u128::from(stream.origin.clock_hz)) as u64);
        let zero = now.checked_sub(at);
        self.zero = self.zero.into_iter().chain(zero).min();
    }

    /// The stamp of what is due `now`.
    fn stamp(&self, ssrc: u32, now: Instant) -> Option<u32> {
        let origin = self.streams.iter().find(|s| s.origin.ssrc == ssrc)?.origin;
        let since = now.saturating_duration_since(self.zero?);
        let units = since.as_nanos() * u128::from(origin.clock_hz) / 1_000_000_000;
        Some(origin.start.wrapping_add(units as u32))
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for OneClock {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, message: TaggedPacket) -> Result<(), Error> {
        self.inbound.push_back(message);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.inbound.pop_front()
    }

    fn handle_write(&mut self, mut message: TaggedPacket) -> Result<(), Error> {
        let now = message.now;
        match &mut message.message.packet {
            Packet::Rtp(packet) => self.note(packet.header.ssrc, packet.header.timestamp, now),
            Packet::Rtcp(packets) => {
                for packet in packets {
                    if let Some(report) = packet.as_any().downcast_ref::<SenderReport>()
                        && let Some(rtp_time) = self.stamp(report.ssrc, now)
                    {
                        *packet = Box::new(SenderReport { rtp_time, ..report.clone() });
                    }
                }
            }
            _ => {}
        }
        self.outbound.push_back(message);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.outbound.pop_front()
    }
}

impl Interceptor for OneClock {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: Origin = Origin { ssrc: 1, start: u32::MAX - 5_000, clock_hz: 48_000 };
    const PICTURE: Origin = Origin { ssrc: 2, start: 77, clock_hz: 90_000 };

    /// Both streams' reports at one instant, as media time in milliseconds.
    fn reported_ms(clock: &OneClock, now: Instant) -> [f64; 2] {
        [SOUND, PICTURE].map(|origin| {
            let stamp = clock.stamp(origin.ssrc, now).unwrap();
            f64::from(stamp.wrapping_sub(origin.start)) * 1_000.0 / f64::from(origin.clock_hz)
        })
    }

    #[test]
    fn a_slow_encoder_does_not_move_the_pictures_against_the_sound() {
        let mut clock = OneClock::new([SOUND, PICTURE]);
        let began = Instant::now();
        let ms = Duration::from_millis;
        for n in 0..500_u32 {
            let due = began + ms(20) * n;
            clock.note(SOUND.ssrc, SOUND.start.wrapping_add(n * 960), due + ms(1) + ms(u64::from(n % 5)));
            if n % 2 == 0 {
                clock.note(PICTURE.ssrc, PICTURE.start + n * 1_800, due + ms(17));
            }
        }
        let [sound, picture] = reported_ms(&clock, began + ms(10_000));
        assert!((sound - picture).abs() < 0.1, "{sound} ms of sound, {picture} ms of pictures");
        assert!((sound - 9_999.0).abs() < 0.1, "{sound} ms are due after 10 s, of which 1 ms is the fastest encoder's");
    }

    #[test]
    fn stamps_that_wrap_and_time_that_is_skipped_keep_the_clock() {
        let mut clock = OneClock::new([PICTURE]);
        let began = Instant::now();
        // 60 hours, in steps of one: the stamp wraps four times.
        for hour in 0..60_u64 {
            let stamp = PICTURE.start.wrapping_add((hour * 3_600 * 90_000) as u32);
            clock.note(PICTURE.ssrc, stamp, began + Duration::from_hours(hour));
        }
        let stamp = clock.stamp(PICTURE.ssrc, began + Duration::from_hours(60)).unwrap();
        assert_eq!(stamp, PICTURE.start.wrapping_add((60_u64 * 3_600 * 90_000) as u32));
    }

    #[test]
    fn a_stream_of_somebody_else_has_no_report_of_ours() {
        let mut clock = OneClock::new([SOUND]);
        clock.note(9, 1, Instant::now());
        assert_eq!(clock.stamp(9, Instant::now()), None);
        assert_eq!(clock.stamp(SOUND.ssrc, Instant::now()), None, "nothing was sent yet");
    }
}

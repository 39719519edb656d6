//! Statistics of arrivals. Pure.

use std::time::Instant;

/// What one viewer received in a window of time.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    /// Instant and stamp (90 kHz) of each picture.
    pub pictures: Vec<(Instant, u32)>,
    /// Instant and stamp (48 kHz) of each Opus packet.
    pub sounds: Vec<(Instant, u32)>,
    pub lost_packets: u64,
    pub bytes: usize,
}

/// The nearest-rank percentile, to a tenth; NaN of nothing.
pub(super) fn percentile(values: &[f64], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (percent / 100.0 * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank - 1).map_or(f64::NAN, |value| rounded(*value))
}

/// To a tenth.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// From each arrival to the next.
pub(super) fn gaps_ms(arrivals: &[(Instant, u32)]) -> impl Iterator<Item = f64> {
    arrivals.windows(2).map(|pair| pair[1].0.duration_since(pair[0].0).as_secs_f64() * 1e3)
}

/// How far each gap is from what the stamps say, which is what a jitter buffer has to absorb.
pub(super) fn jitters_ms(arrivals: &[(Instant, u32)], clock_hz: u32) -> impl Iterator<Item = f64> {
    let stamped_ms = move |pair: &[(Instant, u32)]| f64::from(pair[1].1.wrapping_sub(pair[0].1)) * 1e3 / f64::from(clock_hz);
    gaps_ms(arrivals).zip(arrivals.windows(2).map(stamped_ms)).map(|(gap, stamped)| (gap - stamped).abs())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn arrivals(of: &[(u64, u32)]) -> Vec<(Instant, u32)> {
        let began = Instant::now();
        of.iter().map(|(ms, stamp)| (began + Duration::from_millis(*ms), *stamp)).collect()
    }

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!([50.0, 95.0, 99.0, 100.0].map(|p| percentile(&values, p) as u32), [50, 95, 99, 100]);
        assert_eq!(percentile(&[7.0], 50.0) as u32, 7);
        assert!(percentile(&[], 50.0).is_nan());
    }

    #[test]
    fn a_late_packet_is_a_long_gap_and_then_a_short_one() {
        let late = arrivals(&[(0, 0), (25, 960), (40, 1_920)]);
        assert_eq!(gaps_ms(&late).map(rounded).collect::<Vec<_>>(), [25.0, 15.0]);
        assert_eq!(jitters_ms(&late, 48_000).map(rounded).collect::<Vec<_>>(), [5.0, 5.0]);
    }

    #[test]
    fn jitter_survives_the_wrap_of_the_stamps() {
        let wrapped = arrivals(&[(0, u32::MAX - 959), (20, 0)]);
        assert_eq!(jitters_ms(&wrapped, 48_000).map(rounded).collect::<Vec<_>>(), [0.0]);
    }
}

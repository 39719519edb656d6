//! Where a film that plays to and fro should begin and end.
//!
//! Players of such folders, ours and LiveTalking's, run to the last picture and then backwards, so the picture never jumps; what
//! is seen at either end is a movement that turns round. It is least seen where nothing moves.
//!
//! In: how much moves with each picture. Out: the first and the last picture to keep. Pure.

/// How much of the film may be given up at either end, as a part of it and in pictures.
const GIVEN_UP: f32 = 0.2;
const MOST_GIVEN_UP: usize = 75;

/// Fewer pictures than this are kept whole: two seconds.
const SHORT: usize = 50;

/// The first and the last picture, and how much moves at the livelier of the two. `motion[n]` is what moves around picture n.
pub(super) fn ends(motion: &[f32]) -> (usize, usize, f32) {
    let last = motion.len().saturating_sub(1);
    let reach = if motion.len() < SHORT { 0 } else { ((motion.len() as f32 * GIVEN_UP) as usize).min(MOST_GIVEN_UP) };
    let quietest = |range: std::ops::RangeInclusive<usize>, fallback: usize| {
        range.min_by(|a, b| motion[*a].total_cmp(&motion[*b])).unwrap_or(fallback)
    };
    if motion.is_empty() {
        return (0, 0, 0.0);
    }
    let (first, last) = (quietest(0..=reach, 0), quietest(last - reach..=last, last));
    (first, last, motion[first].max(motion[last]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_film_begins_and_ends_where_it_is_still() {
        let mut motion = vec![1.0; 100];
        (motion[7], motion[91], motion[50]) = (0.1, 0.2, 0.0);
        assert_eq!(ends(&motion), (7, 91, 0.2));
    }

    #[test]
    fn a_short_film_is_kept_whole() {
        assert_eq!(ends(&[1.0, 0.0, 1.0]), (0, 2, 1.0));
        assert_eq!(ends(&[0.0]), (0, 0, 0.0));
        assert_eq!(ends(&[]), (0, 0, 0.0));
    }
}

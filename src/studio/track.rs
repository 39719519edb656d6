//! The face through a film: its box for each picture, and what is wrong with it.
//!
//! In: the face of each picture, or none. Out: boxes that do not tremble, and figures. Pure.

use super::face::{Face, distance};

/// Pictures to either side that a box's place is the mean of, weighted by nearness: 0.16 s, for a head moves.
const PLACE_REACH: usize = 4;
/// The same for its size, which changes slowly.
const SIZE_REACH: usize = 12;

/// Above the brows: the mesh reaches up to the hair, and the networks for lips were trained with boxes that begin in the
/// middle of the forehead. Part of the face's height.
const FOREHEAD: f32 = 0.1;

/// Eyes are shut when their opening is below this part of their usual one.
const SHUT: f32 = 0.55;

/// Lips are apart when the gap between them is above this part of the mouth's width.
const APART: f32 = 0.12;

/// Points of the mesh: eyes (upper lid, lower lid, corners), mouth (upper lip, lower lip, corners), cheeks, nose.
const EYES: [[usize; 4]; 2] = [[159, 145, 33, 133], [386, 374, 263, 362]];
const MOUTH: [usize; 4] = [13, 14, 78, 308];
const CHEEKS: [usize; 2] = [234, 454];
const NOSE: usize = 1;

/// Left, top, right, bottom in whole pixels; right and bottom are outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Box {
    pub(super) left: u32,
    pub(super) top: u32,
    pub(super) right: u32,
    pub(super) bottom: u32,
}

/// Pixels that are added around a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pads {
    /// Above.
    pub top: i32,
    /// Below.
    pub bottom: i32,
    /// On the left of the picture.
    pub left: i32,
    /// On its right.
    pub right: i32,
}

impl Default for Pads {
    /// LiveTalking's: ten pixels more chin.
    fn default() -> Self {
        Self { top: 0, bottom: 10, left: 0, right: 0 }
    }
}

impl std::str::FromStr for Pads {
    type Err = String;

    /// `top bottom left right`, as LiveTalking writes them.
    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Result<Vec<i32>, _> = text.split_whitespace().map(str::parse).collect();
        match numbers.as_deref() {
            Ok(&[top, bottom, left, right]) if [top, bottom, left, right].iter().all(|n| n.abs() <= 1_000) => {
                Ok(Self { top, bottom, left, right })
            }
            _ => Err("pads are four whole numbers of pixels: top bottom left right".into()),
        }
    }
}

/// A box between pixels: middle x and y, width and height.
type Loose = [f32; 4];

fn loose(face: &Face) -> Loose {
    let [left, top, right, bottom] = face.extent();
    let top = top + FOREHEAD * (bottom - top);
    [f32::midpoint(left, right), f32::midpoint(top, bottom), right - left, bottom - top]
}

/// The face of each picture, those that were not found taken from their neighbours; `None` if there is no face at all.
pub(super) fn filled(faces: &[Option<Face>]) -> Option<Vec<Face>> {
    let known: Vec<usize> = (0..faces.len()).filter(|n| faces[*n].is_some()).collect();
    known.first()?;
    let face = |n: usize| faces[n].as_ref().expect("it is one of the known");
    let fill = |n: usize| {
        let after = known.partition_point(|k| *k < n);
        let (before, after) = (known[after.saturating_sub(1).min(known.len() - 1)], known[after.min(known.len() - 1)]);
        if after <= n || before >= n {
            return face(if after <= n { after } else { before }).clone();
        }
        let t = (n - before) as f32 / (after - before) as f32;
        let pairs = face(before).points.iter().zip(&face(after).points);
        Face { points: pairs.map(|(a, b)| std::array::from_fn(|k| a[k] + (b[k] - a[k]) * t)).collect() }
    };
    Some((0..faces.len()).map(fill).collect())
}

/// The box of each picture, inside of it, and how much the boxes trembled before they were smoothed, in pixels.
pub(super) fn boxes(faces: &[Face], (width, height): (u32, u32), pads: Pads, smooth: bool) -> (Vec<Box>, f32) {
    let raw: Vec<Loose> = faces.iter().map(loose).collect();
    let (place, size) = if smooth { (PLACE_REACH, SIZE_REACH) } else { (0, 0) };
    let (places, sizes) = (smoothed(&raw, place), smoothed(&raw, size));
    let tremble = smoothed(&raw, PLACE_REACH);
    let off: f32 = raw.iter().zip(&tremble).map(|(a, b)| distance([a[0], a[1]], [b[0], b[1]]).powi(2)).sum();
    let boxes = places.iter().zip(&sizes).map(|(p, s)| {
        let edge = |middle: f32, half: f32, pad: i32, side: u32| {
            (middle + half + pad as f32).round().clamp(0.0, side as f32) as u32
        };
        let (left, right) = (edge(p[0], -s[2] / 2.0, -pads.left, width), edge(p[0], s[2] / 2.0, pads.right, width));
        let (top, bottom) = (edge(p[1], -s[3] / 2.0, -pads.top, height), edge(p[1], s[3] / 2.0, pads.bottom, height));
        // Never empty: who reads it divides by its sides.
        let (left, top) = (left.min(width - 2), top.min(height - 2));
        Box { left, top, right: right.max(left + 2), bottom: bottom.max(top + 2) }
    });
    (boxes.collect(), (off / raw.len() as f32).sqrt())
}

/// Each value's mean with its neighbours, weighted as a triangle; at the ends over those that are there.
fn smoothed(values: &[Loose], reach: usize) -> Vec<Loose> {
    let mean = |n: usize| {
        // As many on either side: a head that moves evenly is not held back at the ends.
        let reach = reach.min(n).min(values.len() - 1 - n);
        let mut sum = [0.0; 4];
        let mut weights = 0.0;
        for (k, value) in values.iter().enumerate().take(n + reach + 1).skip(n - reach) {
            let weight = (reach + 1 - n.abs_diff(k)) as f32;
            weights += weight;
            (0..4).for_each(|c| sum[c] += weight * value[c]);
        }
        sum.map(|s| s / weights)
    };
    (0..values.len()).map(mean).collect()
}

/// How often both eyes shut.
pub(super) fn blinks(faces: &[Face]) -> usize {
    let open: Vec<f32> = faces.iter().map(eyes_open).collect();
    let usual = median(open.clone());
    let shut = |n: usize| open[n] < SHUT * usual;
    (1..open.len()).filter(|n| shut(*n) && !shut(n - 1)).count()
}

/// How far the eyes are open: height by width, of both.
pub(super) fn eyes_open(face: &Face) -> f32 {
    EYES.iter().map(|points| opening(face, *points)).sum::<f32>() / 2.0
}

/// The part of the pictures in which the lips are apart.
pub(super) fn talking(faces: &[Face]) -> f32 {
    faces.iter().filter(|face| lips_apart(face) > APART).count() as f32 / faces.len() as f32
}

/// The gap between the lips, as part of the mouth's width.
pub(super) fn lips_apart(face: &Face) -> f32 {
    opening(face, MOUTH)
}

fn opening(face: &Face, [upper, lower, one, other]: [usize; 4]) -> f32 {
    distance(face.at(upper), face.at(lower)) / distance(face.at(one), face.at(other)).max(1.0)
}

/// How far the head is turned to a side: 0 looks into the camera, 1 shows its profile.
pub(super) fn turned(face: &Face) -> f32 {
    let [one, other] = CHEEKS.map(|point| distance(face.at(NOSE), face.at(point)));
    ((one - other) / (one + other).max(1.0)).abs()
}

/// Mean way of the face's points from one picture to another, in parts of the distance between the eyes.
pub(super) fn motion(from: &Face, to: &Face) -> f32 {
    let way: f32 = (0..from.points.len()).map(|n| distance(from.at(n), to.at(n))).sum();
    way / from.points.len() as f32 / from.eye_distance().max(1.0)
}

/// The middle one of the values, of which there is at least one.
pub(super) fn median(mut values: Vec<f32>) -> f32 {
    values.sort_by(f32::total_cmp);
    values[values.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::studio::face::POINTS;

    /// A face of 100 × 100 whose middle is at `x`, `y`.
    fn face(x: f32, y: f32) -> Face {
        let place = |n: usize| [x - 50.0 + (n % 11) as f32 * 10.0, y - 50.0 + (n / 11 % 11) as f32 * 10.0, 0.0];
        Face { points: (0..POINTS).map(place).collect() }
    }

    #[test]
    fn a_face_that_was_missed_is_between_those_that_were_found() {
        let faces = [None, Some(face(100.0, 100.0)), None, None, Some(face(130.0, 100.0)), None];
        let filled = filled(&faces).unwrap();
        let xs: Vec<f32> = filled.iter().map(|f| (f.extent()[0] + 50.0).round()).collect();
        assert_eq!(xs, [100.0, 100.0, 110.0, 120.0, 130.0, 130.0]);
        assert!(super::filled(&[None, None]).is_none());
    }

    #[test]
    fn boxes_follow_a_head_that_moves_and_do_not_tremble() {
        let way = |n: usize| 200.0 + 3.0 * n as f32;
        let faces: Vec<Face> = (0..40).map(|n| face(way(n) + if n % 2 == 0 { 4.0 } else { -4.0 }, 200.0)).collect();
        let pads = Pads { top: 0, bottom: 0, left: 0, right: 0 };
        let (boxes, tremble) = boxes(&faces, (640, 480), pads, true);
        for (n, b) in boxes.iter().enumerate().take(32).skip(8) {
            let middle = (b.left + b.right) as f32 / 2.0;
            assert!((middle - way(n)).abs() <= 1.0, "{n}: {middle}");
        }
        assert!((3.0..5.0).contains(&tremble), "{tremble}");
    }

    #[test]
    fn a_box_never_leaves_the_picture_and_is_never_empty() {
        let (boxes, _) = boxes(&[face(-40.0, 20.0), face(900.0, -300.0)], (320, 240), Pads::default(), false);
        for b in boxes {
            assert!(b.left < b.right && b.right <= 320 && b.top < b.bottom && b.bottom <= 240, "{b:?}");
        }
    }

    #[test]
    fn pads_are_read_as_livetalking_writes_them() {
        assert_eq!("0 10 0 0".parse::<Pads>(), Ok(Pads::default()));
        assert!("0 10 0".parse::<Pads>().is_err() && "a b c d".parse::<Pads>().is_err());
        assert!("0 2147483647 0 0".parse::<Pads>().is_err());
    }
}

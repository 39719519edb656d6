//! Puts a face that was made into the picture it was made for, so that nobody sees where it begins.
//!
//! Only what speaks is replaced, as the network's [`Mask`] says, fading out towards all sides. The colours are moved to those of
//! the picture, by what both show of the face. Runs on render threads.

use crate::media::VideoFrame;
use crate::render::clip::{FaceBox, chroma, luma};

/// What of a face that was made belongs into the picture, in parts of the box from its upper left.
pub(super) struct Mask {
    /// How far it fades out to the left and the right.
    pub(super) sides: f32,
    /// From where to where it fades in.
    pub(super) top: (f32, f32),
    /// How far it fades out below.
    pub(super) bottom: f32,
    /// The part of the face whose colours both know, across and down.
    pub(super) known: ((f32, f32), (f32, f32)),
}

/// How far colours are moved at most, of 255: a network that is further off is wrong, not tinted.
const FURTHEST: f32 = 24.0;

/// What a picture adds to the mean of the shift: colours must not flicker.
const PACE: f32 = 0.2;

/// The pastes of one face, which remember how its colours differ.
#[derive(Default)]
pub(super) struct Paste {
    shift: Option<[f32; 3]>,
}

impl Paste {
    /// Lays `made` over `picture` at `place`; `face` is what it was made from. Both have `side` × `side` pixels of red, green and
    /// blue. `strength` is from 0, nothing, to 1.
    pub(super) fn lay(
        &mut self,
        picture: &mut VideoFrame,
        place: FaceBox,
        [made, face]: [&[u8]; 2],
        side: usize,
        mask: &Mask,
        strength: f32,
    ) {
        let shift = self.follow(shift(made, face, side, mask.known));
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let made = made.as_chunks::<3>().0;
        let [y, u, v] = picture.planes_mut();
        for (row, colours) in Rows::new(made, side, place, (width, height), 1, mask) {
            let line = &mut y[row * width..][..width];
            for (x, share, colour) in colours {
                let level = luma(moved(colour, shift));
                line[x] = mix(line[x], level, share * strength);
            }
        }
        let half = width / 2;
        for (row, colours) in Rows::new(made, side, place, (width, height), 2, mask) {
            for (x, share, colour) in colours {
                let levels = chroma(moved(colour, shift).map(|c| c * 4));
                for (plane, level) in [&mut *u, &mut *v].into_iter().zip(levels) {
                    let at = row * half + x;
                    plane[at] = mix(plane[at], level, share * strength);
                }
            }
        }
    }

    fn follow(&mut self, now: [f32; 3]) -> [f32; 3] {
        let mean = self.shift.map_or(now, |mean| std::array::from_fn(|c| mean[c] + (now[c] - mean[c]) * PACE));
        *self.shift.insert(mean)
    }
}

/// What has to be added to the colours of `made` to be those of `face`, where both show the same.
fn shift(made: &[u8], face: &[u8], side: usize, known: ((f32, f32), (f32, f32))) -> [f32; 3] {
    let part = |share: f32| (share * side as f32) as usize;
    let ((left, right), (top, bottom)) = known;
    let mut sums = [0_i64; 3];
    let mut count = 0_i64;
    for row in part(top)..part(bottom) {
        let line = (row * side + part(left)) * 3..(row * side + part(right)) * 3;
        for (made, face) in made[line.clone()].as_chunks::<3>().0.iter().zip(face[line].as_chunks::<3>().0) {
            (0..3).for_each(|c| sums[c] += i64::from(face[c]) - i64::from(made[c]));
            count += 1;
        }
    }
    sums.map(|sum| (sum as f32 / count.max(1) as f32).clamp(-FURTHEST, FURTHEST))
}

fn moved(colour: [f32; 3], shift: [f32; 3]) -> [i32; 3] {
    std::array::from_fn(|c| (colour[c] + shift[c]).round().clamp(0.0, 255.0) as i32)
}

fn mix(old: u8, new: u8, share: f32) -> u8 {
    (f32::from(old) + (f32::from(new) - f32::from(old)) * share).round() as u8
}

impl Mask {
    /// The share of the face at `x` of the box, whatever the row.
    fn across(&self, x: f32) -> f32 {
        smooth(x / self.sides) * smooth((1.0 - x) / self.sides)
    }

    /// The same at `y`, whatever the column.
    fn down(&self, y: f32) -> f32 {
        let (from, to) = self.top;
        smooth((y - from) / (to - from)) * smooth((1.0 - y) / self.bottom)
    }
}

/// 0 to 1 without corners.
fn smooth(t: f32) -> f32 {
    let t = t.clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// A point between two pixels: the first, the second, and the part of the second.
type Between = (usize, usize, f32);

/// The rows of a plane that the face touches, each with its columns; a plane has one value for `step` × `step` pixels.
struct Rows<'a> {
    made: &'a [[u8; 3]],
    side: usize,
    columns: Vec<(usize, f32, Between)>,
    left: std::vec::IntoIter<(usize, f32, Between)>,
}

impl<'a> Rows<'a> {
    fn new(
        made: &'a [[u8; 3]],
        side: usize,
        place: FaceBox,
        (width, height): (usize, usize),
        step: usize,
        mask: &Mask,
    ) -> Self {
        let columns = touched((place.x0, place.x1), width, step, side, |x| mask.across(x));
        let rows = touched((place.y0, place.y1), height, step, side, |y| mask.down(y));
        Self { made, side, columns, left: rows.into_iter() }
    }
}

/// Which columns (or rows) of a plane lie in the box and have a share, and where in the face each looks.
fn touched(
    (from, to): (i32, i32),
    pixels: usize,
    step: usize,
    side: usize,
    share: impl Fn(f32) -> f32,
) -> Vec<(usize, f32, Between)> {
    let place = |n: usize| {
        let part = ((n * step) as f32 + step as f32 / 2.0 - from as f32) / (to - from) as f32;
        let at = (part * side as f32 - 0.5).clamp(0.0, (side - 1) as f32);
        let first = at as usize;
        (n, share(part), (first, (first + 1).min(side - 1), at.fract()))
    };
    let first = from.max(0) as usize / step;
    let last = (to.max(0) as usize).min(pixels).div_ceil(step).min(pixels / step);
    (first..last).map(place).filter(|(_, share, _)| *share > 0.0).collect()
}

impl Iterator for Rows<'_> {
    /// A row of the plane, and for each column touched: which, its share, its colour.
    type Item = (usize, Vec<(usize, f32, [f32; 3])>);

    fn next(&mut self) -> Option<Self::Item> {
        let (row, down, (above, below, part)) = self.left.next()?;
        let (above, below) = (&self.made[above * self.side..][..self.side], &self.made[below * self.side..][..self.side]);
        let line = |x: usize| -> [f32; 3] { std::array::from_fn(|c| between(above[x][c].into(), below[x][c].into(), part)) };
        let colour = |(x, across, (left, right, part)): &(usize, f32, Between)| {
            let (left, right) = (line(*left), line(*right));
            (*x, across * down, std::array::from_fn(|c| between(left[c], right[c], *part)))
        };
        Some((row, self.columns.iter().map(colour).collect()))
    }
}

fn between(a: f32, b: f32, part: f32) -> f32 {
    a + (b - a) * part
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDE: usize = 32;

    const MASK: Mask = Mask { sides: 0.12, top: (0.42, 0.58), bottom: 0.06, known: ((0.15, 0.85), (0.2, 0.45)) };

    fn grey(level: u8) -> Vec<u8> {
        vec![level; SIDE * SIDE * 3]
    }

    fn picture() -> VideoFrame {
        let mut picture = VideoFrame::black(64, 64);
        picture.planes_mut()[0].fill(luma([100; 3]));
        picture
    }

    fn level(picture: &VideoFrame, x: usize, y: usize) -> u8 {
        picture.planes()[0][y * 64 + x]
    }

    const BOX: FaceBox = FaceBox { x0: 10, y0: 10, x1: 50, y1: 50 };

    #[test]
    fn a_face_that_was_given_back_as_it_was_changes_nothing() {
        let mut changed = picture();
        Paste::default().lay(&mut changed, BOX, [&grey(100), &grey(100)], SIDE, &MASK, 1.0);
        assert!(changed == picture());
    }

    #[test]
    fn a_tint_of_the_network_is_taken_out() {
        let mut changed = picture();
        let made: Vec<u8> = grey(100).chunks(3).flat_map(|_| [112, 100, 90]).collect();
        Paste::default().lay(&mut changed, BOX, [&made, &grey(100)], SIDE, &MASK, 1.0);
        let worst = changed.planes().concat().iter().zip(picture().planes().concat()).map(|(a, b)| a.abs_diff(b)).max();
        assert!(worst <= Some(1), "{worst:?}");
    }

    /// Bright below the half, where the mouth is.
    fn open_mouth() -> Vec<u8> {
        (0..SIDE * SIDE).flat_map(|at| [if at / SIDE >= SIDE / 2 { 200 } else { 100 }; 3]).collect()
    }

    #[test]
    fn the_mouth_is_replaced_and_fades_out_without_a_step_at_the_box() {
        let mut changed = picture();
        Paste::default().lay(&mut changed, BOX, [&open_mouth(), &grey(100)], SIDE, &MASK, 1.0);
        let (before, mouth) = (luma([100; 3]), luma([200; 3]));
        assert_eq!((level(&changed, 30, 40), level(&changed, 30, 20)), (mouth, before));
        for x in 8..52 {
            assert!(level(&changed, x, 40).abs_diff(level(&changed, x + 1, 40)) < 35, "a step at {x}");
        }
        for (x, y) in [(9, 40), (50, 40), (30, 9), (30, 50)] {
            assert_eq!(level(&changed, x, y), before, "outside the box at {x} {y}");
        }
    }

    #[test]
    fn half_strength_is_half_the_change() {
        let mut changed = picture();
        Paste::default().lay(&mut changed, BOX, [&open_mouth(), &grey(100)], SIDE, &MASK, 0.5);
        assert!(level(&changed, 30, 40).abs_diff(luma([150; 3])) <= 1);
    }

    #[test]
    fn a_box_that_juts_out_or_lies_outside_is_cut_at_the_edge() {
        for place in [(-20, -20, 20, 20), (50, 50, 90, 90), (-50, 0, -10, 40), (100, 100, 140, 140), (0, 0, 1, 1)] {
            let (x0, y0, x1, y1) = place;
            Paste::default().lay(&mut picture(), FaceBox { x0, y0, x1, y1 }, [&open_mouth(), &grey(100)], SIDE, &MASK, 1.0);
        }
    }
}

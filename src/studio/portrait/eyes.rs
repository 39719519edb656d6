//! The eyes and brows of a portrait in their poses: lids that close, eyes that look elsewhere, brows that rise. Pure.

use image::RgbImage;

use super::bend::{Bend, colour};
use crate::studio::face::{Face, distance};

/// Points of the mesh along the upper and the lower lid, from the outer corner to the inner one, of the face's right and left eye.
const UPPER: [[usize; 9]; 2] = [[33, 246, 161, 160, 159, 158, 157, 173, 133], [263, 466, 388, 387, 386, 385, 384, 398, 362]];
const LOWER: [[usize; 9]; 2] = [[33, 7, 163, 144, 145, 153, 154, 155, 133], [263, 249, 390, 373, 374, 380, 381, 382, 362]];
/// The middle of each brow.
const BROWS: [usize; 2] = [105, 334];

/// How far each movement goes, 0 to 1 (looking: -1 to 1, right and down in the picture).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Look {
    pub(super) blink: f32,
    pub(super) squint: f32,
    pub(super) right: f32,
    pub(super) down: f32,
}

struct Eye {
    middle: [f32; 2],
    along: [f32; 2],
    down: [f32; 2],
    half_width: f32,
    /// How far below the middle each lid lies, at nine places from one end to the other.
    upper: [f32; 9],
    lower: [f32; 9],
    lid: [f32; 3],
}

/// Both eyes, measured once.
pub(super) struct Eyes {
    both: [Eye; 2],
    brows: [[f32; 2]; 2],
    distance: f32,
}

impl Eyes {
    pub(super) fn of(face: &Face, picture: &RgbImage) -> Self {
        let eye = |n: usize| {
            let (one, other) = (face.at(UPPER[n][0]), face.at(UPPER[n][8]));
            let width = distance(one, other).max(4.0);
            let along = [(other[0] - one[0]) / width, (other[1] - one[1]) / width];
            // Down is down for both, though they run towards each other.
            let sign = if along[0] >= 0.0 { 1.0 } else { -1.0 };
            let down = [-along[1] * sign, along[0] * sign];
            let middle = [f32::midpoint(one[0], other[0]), f32::midpoint(one[1], other[1])];
            let below = |point: usize| {
                let [x, y] = face.at(point);
                (x - middle[0]) * down[0] + (y - middle[1]) * down[1]
            };
            let (upper, lower) = (UPPER[n].map(below), LOWER[n].map(below));
            let half_width = width / 2.0;
            let above = upper[4] - 0.25 * half_width;
            let lid = colour(picture, [middle[0] + down[0] * above, middle[1] + down[1] * above], 1);
            Eye { middle, along, down, half_width, upper, lower, lid }
        };
        Self { both: [eye(0), eye(1)], brows: BROWS.map(|brow| face.at(brow)), distance: face.eye_distance() }
    }

    /// Left, top, right, bottom of what lids move.
    pub(super) fn bounds(&self) -> [f32; 4] {
        let [one, other] = [self.both[0].middle, self.both[1].middle];
        let (left, right) = (one[0].min(other[0]), one[0].max(other[0]));
        let (top, bottom) = (one[1].min(other[1]), one[1].max(other[1]));
        let d = self.distance;
        [left - 0.38 * d, top - 0.30 * d, right + 0.38 * d, bottom + 0.26 * d]
    }

    /// The same of the brows.
    pub(super) fn brow_bounds(&self) -> [f32; 4] {
        let [left, _, right, _] = self.bounds();
        let brow = self.brows[0][1].min(self.brows[1][1]);
        let eye = self.both[0].middle[1].max(self.both[1].middle[1]);
        [left, brow - 0.42 * self.distance, right, eye - 0.06 * self.distance]
    }

    pub(super) fn posed(&self, look: Look) -> Looking<'_> {
        Looking { eyes: self, look }
    }

    /// Brows raised by `up`, -1 to 1.
    pub(super) fn brows(&self, up: f32) -> Brows<'_> {
        Brows { eyes: self, up }
    }

    /// The eye that is nearer.
    fn near(&self, x: f32, y: f32) -> &Eye {
        let away = |eye: &Eye| distance(eye.middle, [x, y]);
        if away(&self.both[0]) <= away(&self.both[1]) { &self.both[0] } else { &self.both[1] }
    }
}

impl Eye {
    /// Along the eye in half widths, and down from its middle in pixels.
    fn local(&self, x: f32, y: f32) -> [f32; 2] {
        let d = [x - self.middle[0], y - self.middle[1]];
        [(d[0] * self.along[0] + d[1] * self.along[1]) / self.half_width, d[0] * self.down[0] + d[1] * self.down[1]]
    }

    fn lids(&self, across: f32) -> (f32, f32) {
        let place = ((across + 1.0) * 4.0).clamp(0.0, 8.0);
        let n = (place as usize).min(7);
        let at = |lid: &[f32; 9]| lid[n] + (lid[n + 1] - lid[n]) * (place - n as f32);
        let (upper, lower) = (at(&self.upper), at(&self.lower));
        (upper, lower.max(upper))
    }
}

/// Eyes in a pose.
pub(super) struct Looking<'a> {
    eyes: &'a Eyes,
    look: Look,
}

impl Bend for Looking<'_> {
    /// The lid and all above it, what is below, the ball of the eye.
    fn sheets(&self) -> usize {
        3
    }

    fn holds(&self, sheet: usize, x: f32, y: f32) -> bool {
        let eye = self.eyes.near(x, y);
        let [across, down] = eye.local(x, y);
        let (upper, lower) = eye.lids(across);
        let ball = across.abs() < 1.0 && down > upper && down < lower;
        match sheet {
            0 => !ball && down <= f32::midpoint(upper, lower),
            1 => !ball && down > f32::midpoint(upper, lower),
            _ => ball,
        }
    }

    fn shift(&self, sheet: usize, x: f32, y: f32) -> [f32; 2] {
        let (eye, look) = (self.eyes.near(x, y), self.look);
        let [across, down] = eye.local(x, y);
        let (upper, lower) = eye.lids(across);
        let gap = lower - upper;
        let side = (1.0 - (across.abs() - 1.0).max(0.0) * 2.0).clamp(0.0, 1.0);
        match sheet {
            0 => {
                // The lid's skin is folded away above the eye: what comes down is drawn out of there.
                let reach = 0.9 * eye.half_width;
                let fade = (1.0 - (upper - down).max(0.0) / reach).clamp(0.0, 1.0);
                let way = gap * (1.12 * look.blink + 0.25 * look.squint + 0.35 * look.down.max(0.0)) * fade * fade * side;
                [way * eye.down[0], way * eye.down[1]]
            }
            1 => {
                let reach = 0.7 * eye.half_width;
                let fade = (1.0 - (down - lower).max(0.0) / reach).clamp(0.0, 1.0);
                let way = -gap * (0.06 * look.blink + 0.22 * look.squint) * fade * fade * side;
                [way * eye.down[0], way * eye.down[1]]
            }
            _ => {
                let inside = (1.0 - across * across).max(0.0).powi(2);
                let way = 0.28 * eye.half_width * inside;
                // Nothing at the lids: what would come from behind them is not in the portrait.
                let height = (2.0 * (down - f32::midpoint(upper, lower)) / gap.max(1.0)).clamp(-1.0, 1.0);
                [way * look.right, 0.5 * way * look.down * (1.0 - height * height)]
            }
        }
    }

    /// Between lids that have not met: the ball, which does not move with them; at its corners, skin.
    fn behind(&self, x: f32, y: f32) -> [f32; 3] {
        self.eyes.near(x, y).lid.map(|v| v * 0.8)
    }
}

/// Brows in a pose.
pub(super) struct Brows<'a> {
    eyes: &'a Eyes,
    up: f32,
}

impl Bend for Brows<'_> {
    fn sheets(&self) -> usize {
        1
    }

    fn holds(&self, _: usize, _: f32, _: f32) -> bool {
        true
    }

    fn shift(&self, _: usize, x: f32, y: f32) -> [f32; 2] {
        let unit = self.eyes.distance;
        let near = |brow: &[f32; 2]| (-(distance(*brow, [x, y]) / (0.22 * unit)).powi(2)).exp();
        let near = self.eyes.brows.iter().map(near).fold(0.0, f32::max);
        [0.0, -0.07 * unit * self.up * near]
    }

    fn behind(&self, x: f32, y: f32) -> [f32; 3] {
        self.eyes.near(x, y).lid
    }
}

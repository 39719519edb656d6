//! The mouth of a portrait in its poses: lips part along the line between them, the jaw goes down, and behind them is what a
//! portrait with shut lips does not show: a dark mouth, and teeth. Pure.

use image::RgbImage;

use super::bend::{Bend, colour};
use crate::studio::face::{Face, distance};
use crate::studio::quality::SMILE;
use crate::studio::track::lips_apart;

/// Points of the mesh along the inner edges of the lips, from the face's right corner to its left one, and of the outer edges.
const INNER_UP: [usize; 11] = [78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308];
const INNER_LOW: [usize; 11] = [78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308];
const OUTER_UP: usize = 0;
const OUTER_LOW: usize = 17;
const CORNERS: [usize; 2] = [61, 291];
const CHIN: usize = 152;
const CHEEKS: [usize; 2] = [50, 280];
const LIPS: [usize; 4] = [37, 267, 84, 314];

/// How far each movement goes, 0 to 1.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shape {
    /// Opens the jaw.
    pub(super) jaw: f32,
    /// Rounds the lips.
    pub(super) round: f32,
    /// Draws the corners apart.
    pub(super) spread: f32,
    /// Presses the lips together.
    pub(super) press: f32,
    /// Lifts the upper lip off the teeth.
    pub(super) lift: f32,
    /// Lifts the corners.
    pub(super) smile: f32,
    /// Shows the tongue behind the teeth.
    pub(super) tongue: f32,
}

/// What of a face a mouth needs, measured once.
pub(super) struct Mouth {
    middle: [f32; 2],
    /// Along the mouth, and down from it.
    along: [f32; 2],
    down: [f32; 2],
    half_width: f32,
    /// Of the line between the lips, at eleven places from corner to corner: how far below the middle it lies.
    line: [f32; 11],
    /// Distance between the eyes: what all else is measured in.
    eyes: f32,
    chin: f32,
    upper: f32,
    lower: f32,
    skin: [f32; 3],
    lip: [f32; 3],
    /// The portrait smiles with its teeth: they stay with the upper lip, and none are painted.
    teeth: bool,
}

impl Mouth {
    pub(super) fn of(face: &Face, picture: &RgbImage) -> Self {
        let (right, left) = (face.at(CORNERS[0]), face.at(CORNERS[1]));
        let width = distance(right, left).max(4.0);
        let along = [(left[0] - right[0]) / width, (left[1] - right[1]) / width];
        let mut it = Self {
            middle: [f32::midpoint(right[0], left[0]), f32::midpoint(right[1], left[1])],
            along,
            down: [-along[1], along[0]],
            half_width: width / 2.0,
            line: [0.0; 11],
            eyes: face.eye_distance(),
            chin: 0.0,
            upper: 0.0,
            lower: 0.0,
            skin: [0.0; 3],
            lip: [0.0; 3],
            teeth: lips_apart(face) > SMILE,
        };
        let between = |n: usize| {
            let (up, low) = (face.at(INNER_UP[n]), face.at(INNER_LOW[n]));
            if it.teeth {
                it.local(low)[1]
            } else {
                it.local([f32::midpoint(up[0], low[0]), f32::midpoint(up[1], low[1])])[1]
            }
        };
        it.line = std::array::from_fn(between);
        it.chin = (it.local(face.at(CHIN))[1] - it.line[5]).max(0.2 * it.eyes);
        it.upper = (it.line[5] - it.local(face.at(OUTER_UP))[1]).max(0.02 * it.eyes);
        it.lower = (it.local(face.at(OUTER_LOW))[1] - it.line[5]).max(0.02 * it.eyes);
        let mean = |points: &[usize]| {
            let sum = points
                .iter()
                .map(|p| colour(picture, face.at(*p), 2))
                .fold([0.0; 3], |s, c| [s[0] + c[0], s[1] + c[1], s[2] + c[2]]);
            sum.map(|s| s / points.len() as f32)
        };
        (it.skin, it.lip) = (mean(&CHEEKS), mean(&LIPS));
        it
    }

    /// Left, top, right, bottom of what a moving mouth moves. `above` is as far as it may reach up.
    pub(super) fn bounds(&self, above: f32) -> [f32; 4] {
        let ([x, y], half) = (self.middle, 2.3 * self.half_width);
        [x - half, (y - 0.42 * self.eyes).max(above), x + half, y + self.line[5] + self.chin + 0.6 * self.eyes]
    }

    pub(super) fn posed(&self, shape: Shape) -> Posed<'_> {
        Posed { mouth: self, shape }
    }

    /// Along the mouth from its middle, and down.
    fn local(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        let d = [x - self.middle[0], y - self.middle[1]];
        [d[0] * self.along[0] + d[1] * self.along[1], d[0] * self.down[0] + d[1] * self.down[1]]
    }

    /// How far below the middle the line between the lips lies; beyond the corners it runs on level.
    fn line_at(&self, along: f32) -> f32 {
        let place = ((along / self.half_width + 1.0) * 5.0).clamp(0.0, 10.0);
        let n = (place as usize).min(9);
        self.line[n] + (self.line[n + 1] - self.line[n]) * (place - n as f32)
    }
}

/// A mouth in a pose.
pub(super) struct Posed<'a> {
    mouth: &'a Mouth,
    shape: Shape,
}

impl Posed<'_> {
    /// How far the lips part at a place along the mouth: nothing at the corners.
    fn parting(&self, along: f32) -> f32 {
        let x = along / self.mouth.half_width;
        (1.0 - x * x).max(0.0).powf(0.75)
    }
}

impl Bend for Posed<'_> {
    fn sheets(&self) -> usize {
        2
    }

    fn holds(&self, sheet: usize, x: f32, y: f32) -> bool {
        let [along, down] = self.mouth.local([x, y]);
        (down < self.mouth.line_at(along)) == (sheet == 0)
    }

    fn shift(&self, sheet: usize, x: f32, y: f32) -> [f32; 2] {
        let (m, s) = (self.mouth, self.shape);
        let [along, down] = m.local([x, y]);
        let across = along / m.half_width;
        let below = down - m.line_at(along);
        let parting = self.parting(along);
        // Around the mouth as a whole.
        let near = (-1.3 * ((across / 1.9).powi(2) + (below / (1.5 * m.half_width)).powi(2))).exp();
        let corners = (-3.0 * (across.abs() - 1.0).powi(2)).exp() * (-(below / (0.24 * m.eyes)).powi(2)).exp();
        let mut right = along * near * (0.13 * s.spread - 0.36 * s.round);
        let mut lower = -corners * m.eyes * (0.02 * s.spread + 0.07 * s.smile);
        right += across.signum() * corners * across.abs().min(1.0) * 0.05 * m.eyes * s.smile;
        if sheet == 0 {
            // Thins towards the nose.
            let fade = (-(below.min(0.0) / (0.22 * m.eyes)).powi(2)).exp();
            lower -= parting * fade * m.eyes * (0.02 * s.jaw + 0.02 * s.round + 0.045 * s.lift);
            lower += parting * hump(-below / m.upper) * 0.55 * m.upper * s.press;
        } else {
            let t = (below / (0.45 * m.chin)).clamp(0.0, 1.0);
            let wide = (-(across.abs() / 1.9).powi(4)).exp();
            let under = ((below - m.chin) / (0.5 * m.eyes)).clamp(0.0, 1.0);
            let jaw = (parting * (1.0 - t) + t) * wide * (1.0 - under * under * (3.0 - 2.0 * under));
            lower += jaw * 0.24 * m.eyes * s.jaw + parting * (1.0 - t) * 0.03 * m.eyes * s.round;
            lower -= parting * hump(below / m.lower) * 0.5 * m.lower * s.press;
        }
        [right * m.along[0] + lower * m.down[0], right * m.along[1] + lower * m.down[1]]
    }

    /// The inside of the mouth: dark, with the upper teeth where they are, which is fast to the skull, and the lower ones,
    /// which go with the jaw.
    fn behind(&self, x: f32, y: f32) -> [f32; 3] {
        let (m, s) = (self.mouth, self.shape);
        let [along, down] = m.local([x, y]);
        let across = (along / m.half_width / (1.0 - 0.3 * s.round)).clamp(-1.0, 1.0);
        let below = down - m.line_at(along);
        let light = m.skin.iter().sum::<f32>() / 3.0;
        let dark = 0.35 + 0.5 * (1.0 - across * across);
        let mut colour: [f32; 3] = std::array::from_fn(|k| (0.30 * m.lip[k] + [14.0, 2.0, 2.0][k]) * dark);
        let mut lay =
            |over: [f32; 3], part: f32| (0..3).for_each(|k| colour[k] += (over[k] - colour[k]) * part.clamp(0.0, 1.0));
        let soft = |distance: f32| (0.5 + distance / 1.6).clamp(0.0, 1.0);
        let teeth: [f32; 3] = std::array::from_fn(|k| (0.85 * light + 0.40 * m.skin[k]).min(236.0));
        let shade = (1.0 - 0.45 * across.abs().powi(2)) * (0.72 + 0.28 * (below / (0.08 * m.eyes)).clamp(0.0, 1.0));
        let tongue = [0.62 * m.lip[0] + 25.0, 0.42 * m.lip[1], 0.45 * m.lip[2]];
        let floor = 0.24 * m.eyes * s.jaw;
        let hill = floor * (0.62 - 0.35 * s.tongue) + 0.10 * m.eyes * across * across;
        lay(tongue.map(|v| v * (0.55 + 0.25 * s.tongue)), soft(below - hill) * (1.0 - across.powi(4)));
        let edge = floor - 0.035 * m.eyes * (1.0 - 0.8 * across * across);
        lay(teeth.map(|v| v * 0.62 * shade), soft(below - edge) * soft(0.72 - across.abs()) * 0.8);
        if m.teeth {
            return colour;
        }
        let tips = 0.055 * m.eyes * (1.0 - 0.55 * across * across);
        lay(teeth.map(|v| v * shade), soft(tips - below) * soft((0.86 - across.abs()) * m.half_width / 3.0));
        colour
    }
}

/// Nothing at the line and far away, most at the lip's outer edge.
fn hump(v: f32) -> f32 {
    if v <= 0.0 { 0.0 } else { v * (1.0 - v).exp() }
}

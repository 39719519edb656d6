//! A part of a face, bent: where each point of the resting skin goes, and the picture after it has gone there. Pure.
//!
//! In: the resting picture and a [`Bend`]. Out: a patch as `docs/design/avatar-pack.md` describes: its picture and its flow.

use image::{Rgb, RgbImage, Rgba, RgbaImage};

use crate::studio::face::sample_inside;

/// Pixels between two nodes of the flow.
pub(super) const CELL: u32 = 4;

/// Steps of the packed flow in a pixel.
const FLOW_STEPS: f32 = 4.0;

/// Width of the border where nothing moves, in pixels: patches fade into the head there.
const BORDER_PX: f32 = 10.0;

/// Rounds of the search for the point that went to a place; bends change slowly from pixel to pixel.
const ROUNDS: usize = 12;

/// How near a found point must come to its place, in pixels.
const NEAR_PX: f32 = 0.35;

/// Samples along a pixel's side: edges of lips are seen.
const FINE: u32 = 2;

/// Left, top, right, bottom in even pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Area {
    pub(super) x0: u32,
    pub(super) y0: u32,
    pub(super) x1: u32,
    pub(super) y1: u32,
}

impl Area {
    /// The box of these corners, its sides multiples of the flow's cell, inside a square picture of `side`.
    pub(super) fn around(left: f32, top: f32, right: f32, bottom: f32, side: u32) -> Self {
        let low = |v: f32| (v.max(0.0) as u32 / CELL * CELL).min(side - 8 * CELL);
        let high = |v: f32, low: u32| ((v.max(0.0) as u32).div_ceil(CELL) * CELL).clamp(low + 8 * CELL, side);
        let (x0, y0) = (low(left), low(top));
        Self { x0, y0, x1: high(right, x0), y1: high(bottom, y0) }
    }

    /// 1 inside, 0 at the border.
    fn hold(self, x: f32, y: f32) -> f32 {
        let edge = (x - self.x0 as f32).min(self.x1 as f32 - x).min(y - self.y0 as f32).min(self.y1 as f32 - y);
        let t = (edge / BORDER_PX).clamp(0.0, 1.0);
        t * t * (3.0 - 2.0 * t)
    }
}

/// What moves, and how. A face has sheets that part: the skin above the gap between the lips, and that below.
pub(super) trait Bend {
    /// Sheets, in the order in which they cover each other: the first that has a point there is seen.
    fn sheets(&self) -> usize;

    /// Whether a point of the resting face belongs to the sheet.
    fn holds(&self, sheet: usize, x: f32, y: f32) -> bool;

    /// By how many pixels a point of the sheet goes right and down. Also told beyond the sheet's own border, for the search.
    fn shift(&self, sheet: usize, x: f32, y: f32) -> [f32; 2];

    /// What is seen at a place where no skin is.
    fn behind(&self, x: f32, y: f32) -> [f32; 3];
}

/// The part of the picture in `area`, bent.
pub(super) fn picture(rest: &RgbImage, area: Area, bend: &dyn Bend) -> RgbaImage {
    RgbaImage::from_fn(area.x1 - area.x0, area.y1 - area.y0, |x, y| {
        let mut sum = [0.0; 3];
        for n in 0..FINE * FINE {
            let part = |k: u32| (k as f32 + 0.5) / FINE as f32;
            let at = [(area.x0 + x) as f32 + part(n % FINE), (area.y0 + y) as f32 + part(n / FINE)];
            let colour = seen(rest, area, bend, at);
            (0..3).for_each(|k| sum[k] += colour[k] / (FINE * FINE) as f32);
        }
        let [r, g, b] = sum.map(|v| v.round().clamp(0.0, 255.0) as u8);
        Rgba([r, g, b, 255])
    })
}

fn seen(rest: &RgbImage, area: Area, bend: &dyn Bend, at: [f32; 2]) -> [f32; 3] {
    for sheet in 0..bend.sheets() {
        let mut from = at;
        let mut off = f32::MAX;
        for _ in 0..ROUNDS {
            let hold = area.hold(from[0], from[1]);
            let [dx, dy] = bend.shift(sheet, from[0], from[1]).map(|v| v * hold);
            let step = [at[0] - from[0] - dx, at[1] - from[1] - dy];
            off = step[0].hypot(step[1]);
            // Half the way: where skin is drawn together, a whole step would swing.
            from = [from[0] + 0.7 * step[0], from[1] + 0.7 * step[1]];
        }
        if off < NEAR_PX && bend.holds(sheet, from[0], from[1]) {
            return sample_inside(rest, from[0] - 0.5, from[1] - 0.5);
        }
    }
    bend.behind(at[0], at[1])
}

/// Where the skin under each node goes, as packed.
pub(super) fn flow(area: Area, bend: &dyn Bend) -> Vec<u8> {
    let mut bytes = Vec::new();
    for y in (area.y0..=area.y1).step_by(CELL as usize) {
        for x in (area.x0..=area.x1).step_by(CELL as usize) {
            let (x, y) = (x as f32, y as f32);
            let sheet = (0..bend.sheets()).find(|sheet| bend.holds(*sheet, x, y));
            let shift = sheet.map_or([0.0; 2], |sheet| bend.shift(sheet, x, y));
            let hold = area.hold(x, y);
            bytes.extend(shift.map(|v| (v * hold * FLOW_STEPS).round().clamp(-127.0, 127.0) as i8 as u8));
        }
    }
    bytes
}

/// The mean colour around a place.
pub(super) fn colour(picture: &RgbImage, [x, y]: [f32; 2], reach: i32) -> [f32; 3] {
    let mut sum = [0.0; 3];
    let mut count = 0.0;
    for dy in -reach..=reach {
        for dx in -reach..=reach {
            let place = |v: f32, d: i32| u32::try_from(v as i32 + d).ok();
            let pixel = place(x, dx).zip(place(y, dy)).and_then(|(x, y)| picture.get_pixel_checked(x, y));
            if let Some(Rgb(c)) = pixel {
                count += 1.0;
                (0..3).for_each(|k| sum[k] += f32::from(c[k]));
            }
        }
    }
    sum.map(|s| s / f32::max(count, 1.0))
}

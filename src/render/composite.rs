//! Puts the layers together: background and body breathe, the face is painted into the head, the head is turned over
//! them, the collar comes last.
//!
//! In: a [`Rig`]. Out: a [`VideoFrame`]. One thread, no clock; the head's planes are kept and only the parts of the face that
//! changed are painted again.

use std::sync::Arc;

use super::avatar::{Avatar, BROWS, EYES, MOUTH};
use super::layer::{Layer, Plane, mix, over};
use super::morph::Morph;
use super::pixel::{Lanes, Rect, gather, spread};
use super::sway::{Attitude, BLOCK, Cover};
use super::warp::Block;
use crate::media::VideoFrame;

/// How far breath lifts the shoulders, as a share of the picture's height: 1.6 px of 512.
const BREATH_LIFT: f32 = 1.6 / 512.0;

/// The head's share of that lift.
const HEAD_LIFT: f32 = 0.6;

/// Where the eyes' luma differs from rest by so many levels, the brows' own change no longer counts.
const LID_LEVELS: i32 = 40;

/// All that can move in a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rig {
    /// Weights of [`MOUTH`]; they add up to 1.
    pub(super) mouth: [f32; MOUTH.len()],
    /// Weights of [`EYES`]; they add up to 1.
    pub(super) eyes: [f32; EYES.len()],
    /// Weights of [`BROWS`]; they add up to 1.
    pub(super) brows: [f32; BROWS.len()],
    pub(super) head: Attitude,
    /// 0 exhaled to 1 inhaled: lifts the shoulders.
    pub(super) breath: f32,
}

/// Paints one session's pictures.
pub(super) struct Compositor {
    avatar: Arc<Avatar>,
    mouth: Morph,
    eyes: Morph,
    brows: Morph,
    /// Where eyes and brows share pixels: their changes are added up there.
    shared: Rect,
    /// The eyes with that sum.
    eyes_and_brows: Vec<Lanes>,
    /// The head layer with the current face, not yet turned.
    head: Layer,
    moved: Vec<[f32; 2]>,
    sources: Vec<[f32; 2]>,
    collar: Rect,
    /// Share of the breath's lift in each row.
    rise: Vec<f32>,
}

impl Compositor {
    pub(super) fn new(avatar: Arc<Avatar>) -> Self {
        let height = avatar.height() as usize;
        let nodes = avatar.grid.cols() * avatar.grid.rows();
        let collar = bounds(&avatar.front.alpha);
        Self {
            mouth: Morph::new(&avatar.mouth),
            eyes: Morph::new(&avatar.eyes),
            brows: Morph::new(&avatar.brows),
            shared: avatar.eyes.area.intersection(avatar.brows.area),
            eyes_and_brows: avatar.eyes.poses[0].image.clone(),
            head: avatar.head.clone(),
            moved: vec![[0.0; 2]; nodes],
            sources: vec![[0.0; 2]; nodes],
            collar,
            rise: (0..height).map(|y| rise(y, collar, height)).collect(),
            avatar,
        }
    }

    /// The picture of this rig.
    pub(super) fn paint(&mut self, rig: &Rig) -> VideoFrame {
        self.paint_face(rig);
        let mut picture = self.avatar.back.clone();
        let breath_px = rig.breath * BREATH_LIFT * self.avatar.height() as f32;
        self.breathe(&mut picture, breath_px);
        self.turn_head(&mut picture, Attitude { lift_px: rig.head.lift_px + breath_px * HEAD_LIFT, ..rig.head });
        self.put_collar(&mut picture, breath_px);
        picture
    }

    fn paint_face(&mut self, rig: &Rig) {
        if self.mouth.paint(&self.avatar.mouth, &rig.mouth) {
            self.head.put(self.avatar.mouth.area, &self.mouth.pixels);
        }
        let eyes = self.eyes.paint(&self.avatar.eyes, &rig.eyes);
        let brows = self.brows.paint(&self.avatar.brows, &rig.brows);
        if eyes || brows {
            self.add_brows_to_eyes();
            self.head.put(self.avatar.brows.area, &self.brows.pixels);
            self.head.put(self.avatar.eyes.area, &self.eyes_and_brows);
        }
    }

    /// Where both groups have pixels: what the eyes show, plus what the brows change.
    fn add_brows_to_eyes(&mut self) {
        self.eyes_and_brows.copy_from_slice(&self.eyes.pixels);
        let Avatar { brows, eyes, .. } = &*self.avatar;
        let count = self.shared.width();
        let start = |area: Rect, y: usize| (y - area.y0) * area.width() + self.shared.x0 - area.x0;
        for y in self.shared.y0..self.shared.y1 {
            let from = start(brows.area, y);
            let rows = self.brows.pixels[from..from + count].iter().zip(&brows.poses[0].image[from..from + count]);
            let eyes = &mut self.eyes_and_brows[start(eyes.area, y)..][..count];
            for (pixel, (brow, rest)) in eyes.iter_mut().zip(rows).filter(|(_, (brow, rest))| brow != rest) {
                let (eye, brow, rest) = (gather(*pixel), gather(*brow), gather(*rest));
                // A lid that covers this pixel is not what the brows changed.
                let open = LID_LEVELS - i32::from(eye[0].abs_diff(rest[0])).min(LID_LEVELS);
                *pixel = spread(std::array::from_fn(|c| {
                    let change = i32::from(brow[c]) - i32::from(rest[c]);
                    (i32::from(eye[c]) + change * open / LID_LEVELS).clamp(0, 255) as u8
                }));
            }
        }
    }

    /// Background and body, stretched upwards by the breath.
    fn breathe(&self, picture: &mut VideoFrame, breath_px: f32) {
        let width = self.avatar.width() as usize;
        for (k, (to, from)) in picture.planes_mut().into_iter().zip(self.avatar.back.planes()).enumerate() {
            let (width, scale) = if k == 0 { (width, 1) } else { (width / 2, 2) };
            for (y, row) in to.chunks_exact_mut(width).enumerate() {
                let rise = self.rise[y * scale];
                // Where nothing breathes, the picture began as the background.
                if rise > 0.0 {
                    let (top, bottom, part) = lifted(from, width, y, breath_px * rise / scale as f32);
                    for (out, (a, b)) in row.iter_mut().zip(top.iter().zip(bottom)) {
                        *out = mix(*a, *b, part);
                    }
                }
            }
        }
    }

    fn turn_head(&mut self, picture: &mut VideoFrame, at: Attitude) {
        let grid = &self.avatar.grid;
        grid.sources(at, &mut self.moved, &mut self.sources);
        let Rect { x0, y0, x1, y1 } = grid.reach();
        let Layer { luma, alpha, chroma: [u, v], half_alpha } = &self.head;
        let [y_out, u_out, v_out] = picture.planes_mut();
        let (mut luma_out, mut chroma_out) = ([y_out], [u_out, v_out]);
        // A block of chroma is as large as four of luma.
        for (i, j) in (y0..y1).step_by(2).flat_map(|j| (x0..x1).step_by(2).map(move |i| (i, j))) {
            let corners = self.corners(i, j, 2);
            let cover = grid.cover(&corners);
            let block = Block { at: [i / 2 * BLOCK, j / 2 * BLOCK], corners: corners.map(|c| c.map(|v| v / 2.0)) };
            match cover {
                Cover::Nothing => continue,
                Cover::Some => block.lay([u, v, half_alpha], &mut chroma_out),
                Cover::Everything => block.copy([u, v], &mut chroma_out),
            }
            for (i, j) in [(i, j), (i + 1, j), (i, j + 1), (i + 1, j + 1)] {
                let block = Block { at: [i * BLOCK, j * BLOCK], corners: self.corners(i, j, 1) };
                match if cover == Cover::Some { grid.cover(&block.corners) } else { cover } {
                    Cover::Nothing => {}
                    Cover::Some => block.lay([luma, alpha], &mut luma_out),
                    Cover::Everything => block.copy([luma], &mut luma_out),
                }
            }
        }
    }

    /// Where the corners of the square of `blocks × blocks` blocks read whose first is `i`, `j`.
    fn corners(&self, i: usize, j: usize, blocks: usize) -> [[f32; 2]; 4] {
        [(i, j), (i + blocks, j), (i, j + blocks), (i + blocks, j + blocks)]
            .map(|(i, j)| self.sources[j * self.avatar.grid.cols() + i])
    }

    /// The collar, over the neck.
    fn put_collar(&self, picture: &mut VideoFrame, breath_px: f32) {
        let Layer { luma, alpha, chroma: [u, v], half_alpha } = &self.avatar.front;
        let planes = [(luma, alpha, 1), (u, half_alpha, 2), (v, half_alpha, 2)];
        for (out, (color, alpha, scale)) in picture.planes_mut().into_iter().zip(planes) {
            let columns = self.collar.x0 / scale..self.collar.x1.div_ceil(scale);
            for y in self.collar.y0 / scale..self.collar.y1.div_ceil(scale) {
                let lift_px = breath_px * self.rise[y * scale] / scale as f32;
                let out = &mut out[y * color.width..][columns.clone()];
                let (top, bottom, part) = lifted(&color.bytes, color.width, y, lift_px);
                let (alpha_top, alpha_bottom, _) = lifted(&alpha.bytes, color.width, y, lift_px);
                let colors = top[columns.clone()].iter().zip(&bottom[columns.clone()]);
                let alphas = alpha_top[columns.clone()].iter().zip(&alpha_bottom[columns.clone()]);
                for (out, ((a, b), (alpha_a, alpha_b))) in out.iter_mut().zip(colors.zip(alphas)) {
                    *out = over(mix(*a, *b, part), mix(*alpha_a, *alpha_b, part), *out);
                }
            }
        }
    }
}

/// The two rows between which row `y` of a plane lies when lifted by `lift_px`, and how many 256ths the second counts; beyond
/// the picture its edge repeats.
fn lifted(plane: &[u8], width: usize, y: usize, lift_px: f32) -> (&[u8], &[u8], u16) {
    let last = plane.len() / width - 1;
    let from = (y as f32 + lift_px).clamp(0.0, last as f32);
    let top = from as usize;
    let part = ((from - top as f32) * 256.0) as u16;
    let row = |y: usize| &plane[y.min(last) * width..][..width];
    (row(top), row(top + 1), part)
}

/// The smallest rectangle that holds all that is there.
fn bounds(alpha: &Plane) -> Rect {
    let width = alpha.width;
    let mut it = Rect { x0: width, y0: alpha.height, x1: 0, y1: 0 };
    for (n, _) in alpha.bytes.iter().enumerate().filter(|(_, alpha)| **alpha > 0) {
        let (x, y) = (n % width, n / width);
        it = Rect { x0: it.x0.min(x), y0: it.y0.min(y), x1: it.x1.max(x + 1), y1: it.y1.max(y + 1) };
    }
    Rect { x0: it.x0.min(it.x1), y0: it.y0.min(it.y1), ..it }
}

/// The share of the breath's lift in a row: none above the shoulders, all of it at the collar and below.
fn rise(y: usize, collar: Rect, height: usize) -> f32 {
    let collar_top = if collar.area() > 0 { collar.y0 } else { height * 3 / 4 } as f32;
    let from = collar_top - height as f32 / 10.0;
    let t = ((y as f32 - from) / (collar_top - from)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::avatar::synthetic;

    fn rig() -> Rig {
        let rest = |n: usize| move |k: usize| if k == n { 1.0 } else { 0.0 };
        Rig {
            mouth: std::array::from_fn(rest(0)),
            eyes: std::array::from_fn(rest(0)),
            brows: std::array::from_fn(rest(0)),
            head: Attitude::default(),
            breath: 0.0,
        }
    }

    /// Luma of the pixels for which `inside` holds.
    fn luma(picture: &VideoFrame, inside: impl Fn(usize, usize) -> bool) -> Vec<u8> {
        let width = picture.width() as usize;
        picture.planes()[0].iter().enumerate().filter(|(n, _)| inside(n % width, n / width)).map(|(_, y)| *y).collect()
    }

    #[test]
    fn an_open_mouth_changes_the_mouth_and_nothing_else() {
        let avatar = synthetic::avatar("open");
        let mut compositor = Compositor::new(avatar.clone());
        let silent = compositor.paint(&rig());
        let mut open = rig();
        (open.mouth[0], open.mouth[10]) = (0.3, 0.7);
        let open = compositor.paint(&open);
        let area = avatar.mouth.area;
        let mouth = |x: usize, y: usize| (area.x0..area.x1).contains(&x) && (area.y0..area.y1).contains(&y);
        assert_ne!(luma(&silent, mouth), luma(&open, mouth));
        assert_eq!(luma(&silent, |x, y| !mouth(x, y)), luma(&open, |x, y| !mouth(x, y)));
    }

    #[test]
    fn a_picture_does_not_depend_on_the_one_before() {
        let avatar = synthetic::avatar("history");
        let mut compositor = Compositor::new(avatar.clone());
        let mut lively = rig();
        (lively.mouth[0], lively.mouth[13], lively.eyes[0], lively.eyes[2], lively.brows[0], lively.brows[1]) =
            (0.5, 0.5, 0.2, 0.8, 0.4, 0.6);
        lively.head = Attitude { yaw: 0.08, pitch: -0.03, roll: 0.05, lift_px: 0.7 };
        lively.breath = 0.6;
        compositor.paint(&lively);
        assert!(compositor.paint(&rig()) == Compositor::new(avatar).paint(&rig()));
    }

    #[test]
    fn impossible_attitudes_do_not_panic() {
        let mut compositor = Compositor::new(synthetic::avatar("wild"));
        for v in [f32::NAN, f32::INFINITY, 1e30, 3.0] {
            compositor.paint(&Rig { head: Attitude { yaw: v, pitch: v, roll: v, lift_px: v }, breath: v, ..rig() });
        }
    }
}

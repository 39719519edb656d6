//! Puts the layers together: background and body breathe, the face is painted into the head, the head is turned over
//! them, the collar comes last; then RGB becomes I420.
//!
//! In: a [`Rig`]. Out: a [`VideoFrame`]. One thread, no clock; the buffers (2.6 MiB at 512 × 512) are reused and only what
//! changed is painted again.

use std::ops::Range;
use std::sync::Arc;

use yuv::{BufferStoreMut, YuvConversionMode, YuvPlanarImageMut, YuvRange, YuvStandardMatrix, rgba_to_yuv420};

use super::avatar::{Avatar, BROWS, EYES, MOUTH, Patch};
use super::morph::Morph;
use super::pixel::{Lanes, Rect, Rgba, gather, mix_rows, over, sample_two, spread};
use super::sway::{Attitude, BLOCK, Cover};
use crate::media::VideoFrame;

/// How far breath lifts the shoulders, as a share of the picture's height: 1.6 px of 512.
const BREATH_LIFT: f32 = 1.6 / 512.0;

/// The head's share of that lift.
const HEAD_LIFT: f32 = 0.6;

/// The head leaves its resting place by less than this part of the picture's width: 5° of yaw and roll make 24 px of 512.
const SWAY_ROOM: usize = 12;

/// Where the eyes differ from rest by so many grey levels, the brows' own change no longer counts.
const LID_LEVELS: i32 = 48;

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
    /// The head layer with the current face, not yet turned.
    head: Vec<Lanes>,
    /// The picture.
    frame: Vec<Rgba>,
    moved: Vec<[f32; 2]>,
    sources: Vec<[f32; 2]>,
    /// One row of the collar as the breath has it.
    row: Vec<Rgba>,
    collar: Rect,
    /// Columns that the head may ever cover.
    wiped: Range<usize>,
    /// Share of the breath's lift in each row.
    rise: Vec<f32>,
}

impl Compositor {
    pub(super) fn new(avatar: Arc<Avatar>) -> Self {
        let (w, h) = (avatar.width() as usize, avatar.height() as usize);
        let nodes = avatar.grid.cols() * avatar.grid.rows();
        let collar = bounds(&avatar.front, w, |p| p[3] > 0);
        let hair = bounds(&avatar.head, w, |p| p >> 48 > 0);
        let room = w / SWAY_ROOM;
        Self {
            mouth: Morph::new(&avatar.mouth),
            eyes: Morph::new(&avatar.eyes),
            brows: Morph::new(&avatar.brows),
            shared: avatar.eyes.area.intersection(avatar.brows.area),
            head: avatar.head.clone(),
            frame: avatar.back.clone(),
            moved: vec![[0.0; 2]; nodes],
            sources: vec![[0.0; 2]; nodes],
            row: vec![[0; 4]; w],
            collar,
            wiped: (hair.x0.saturating_sub(room) / BLOCK * BLOCK)..(hair.x1 + room).next_multiple_of(BLOCK).min(w),
            rise: (0..h).map(|y| rise(y, collar, h)).collect(),
            avatar,
        }
    }

    /// The picture of this rig.
    pub(super) fn paint(&mut self, rig: &Rig) -> VideoFrame {
        self.paint_face(rig);
        let breath_px = rig.breath * BREATH_LIFT * self.avatar.height() as f32;
        self.breathe(breath_px);
        self.turn_head(Attitude { lift_px: rig.head.lift_px + breath_px * HEAD_LIFT, ..rig.head });
        self.put_collar(breath_px);
        self.converted()
    }

    fn paint_face(&mut self, rig: &Rig) {
        let avatar = &*self.avatar;
        let width = avatar.width() as usize;
        if self.mouth.paint(&avatar.mouth, &rig.mouth) {
            paste(&mut self.head, width, &avatar.mouth, &self.mouth.pixels);
        }
        let eyes = self.eyes.paint(&avatar.eyes, &rig.eyes);
        let brows = self.brows.paint(&avatar.brows, &rig.brows);
        if eyes || brows {
            paste(&mut self.head, width, &avatar.brows, &self.brows.pixels);
            paste(&mut self.head, width, &avatar.eyes, &self.eyes.pixels);
            self.add_brows_to_eyes();
        }
    }

    /// Where both groups have pixels: what the eyes show, plus what the brows change.
    fn add_brows_to_eyes(&mut self) {
        let avatar = &*self.avatar;
        let (width, brows) = (avatar.width() as usize, &avatar.brows);
        for y in self.shared.y0..self.shared.y1 {
            let from = (y - brows.area.y0) * brows.area.width() + self.shared.x0 - brows.area.x0;
            let count = self.shared.width();
            let rows = self.brows.pixels[from..from + count].iter().zip(&brows.poses[0].image[from..from + count]);
            for (pixel, (brow, rest)) in self.head[y * width + self.shared.x0..][..count].iter_mut().zip(rows) {
                let (eye, brow, rest) = (gather(*pixel), gather(*brow), gather(*rest));
                *pixel = spread(std::array::from_fn(|c| {
                    let change = i32::from(brow[c]) - i32::from(rest[c]);
                    // A lid that covers this pixel is not what the brows changed.
                    let moved = i32::from(eye[c].abs_diff(rest[c])).min(LID_LEVELS);
                    (i32::from(eye[c]) + change * (LID_LEVELS - moved) / LID_LEVELS).clamp(0, 255) as u8
                }));
            }
        }
    }

    /// Background and body, stretched upwards by the breath.
    fn breathe(&mut self, breath_px: f32) {
        let width = self.avatar.width() as usize;
        for (y, out) in self.frame.chunks_exact_mut(width).enumerate() {
            // Where nothing breathes, only what the head left has to be wiped.
            let columns = if self.rise[y] > 0.0 { 0..width } else { self.wiped.clone() };
            lifted(out, &self.avatar.back, width, y, breath_px * self.rise[y], columns);
        }
    }

    fn turn_head(&mut self, at: Attitude) {
        let grid = &self.avatar.grid;
        grid.sources(at, &mut self.moved, &mut self.sources);
        let (w, h) = (self.avatar.width() as usize, self.avatar.height() as usize);
        for (j, band) in self.frame.chunks_mut(w * BLOCK).enumerate() {
            for i in self.wiped.start / BLOCK..self.wiped.end.div_ceil(BLOCK) {
                let corners =
                    [(i, j), (i + 1, j), (i, j + 1), (i + 1, j + 1)].map(|(i, j)| self.sources[j * grid.cols() + i]);
                let low = [0, 1].map(|k| corners.iter().fold(f32::MAX, |m, c| m.min(c[k])));
                let high = [0, 1].map(|k| corners.iter().fold(f32::MIN, |m, c| m.max(c[k])));
                match grid.cover(low, high) {
                    Cover::Nothing => {}
                    cover => turn_block(band, w, i, &self.head, h, corners, cover),
                }
            }
        }
    }

    /// The collar, over the neck.
    fn put_collar(&mut self, breath_px: f32) {
        let width = self.avatar.width() as usize;
        let columns = self.collar.x0..self.collar.x1;
        for y in self.collar.y0..self.collar.y1 {
            let row = &mut self.row[..];
            lifted(row, &self.avatar.front, width, y, breath_px * self.rise[y], columns.clone());
            for (out, top) in self.frame[y * width..][columns.clone()].iter_mut().zip(&row[columns.clone()]) {
                *out = over(spread(*top), *out);
            }
        }
    }

    fn converted(&self) -> VideoFrame {
        let (width, height) = (self.avatar.width(), self.avatar.height());
        let mut picture = VideoFrame::black(width, height);
        let [y, u, v] = picture.planes_mut();
        let mut planes = YuvPlanarImageMut {
            y_plane: BufferStoreMut::Borrowed(y),
            y_stride: width,
            u_plane: BufferStoreMut::Borrowed(u),
            u_stride: width / 2,
            v_plane: BufferStoreMut::Borrowed(v),
            v_stride: width / 2,
            width,
            height,
        };
        let (range, matrix) = (YuvRange::Limited, YuvStandardMatrix::Bt601);
        rgba_to_yuv420(&mut planes, self.frame.as_flattened(), width * 4, range, matrix, YuvConversionMode::Balanced)
            .expect("planes and frame have the avatar's size");
        picture
    }
}

/// Part of a row as it looks when lifted by `lift_px`; beyond the picture its edge repeats.
fn lifted(out: &mut [Rgba], layer: &[Rgba], width: usize, y: usize, lift_px: f32, columns: Range<usize>) {
    let last = layer.len() / width - 1;
    let from = (y as f32 + lift_px).clamp(0.0, last as f32);
    let (top, part) = (from as usize, ((from - from.floor()) * 256.0) as u16);
    let row = |y: usize| &layer[y.min(last) * width..][columns.clone()];
    if part == 0 {
        out[columns.clone()].copy_from_slice(row(top));
    } else {
        mix_rows(&mut out[columns.clone()], row(top), row(top + 1), part);
    }
}

fn turn_block(band: &mut [Rgba], w: usize, i: usize, head: &[Lanes], h: usize, corners: [[f32; 2]; 4], cover: Cover) {
    // In 1/65536 texels from the first texel's centre; steps between two pixels.
    let fixed = |v: f32| (v * 65_536.0) as i32;
    let columns = (i * BLOCK)..((i + 1) * BLOCK).min(w);
    for (row, out) in band.chunks_exact_mut(w).enumerate() {
        let t = (row as f32 + 0.5) / BLOCK as f32;
        let side = |a: [f32; 2], b: [f32; 2]| [a[0] + (b[0] - a[0]) * t - 0.5, a[1] + (b[1] - a[1]) * t - 0.5];
        let (left, right) = (side(corners[0], corners[2]), side(corners[1], corners[3]));
        let step = [0, 1].map(|k| fixed((right[k] - left[k]) / BLOCK as f32));
        // Pixels go by twos, one texel apart: sway's gradient is below 0.1, so each is off by less than 1/20 pixel.
        let mut at = [fixed(left[0]) + step[0] - 32_768, fixed(left[1]) + step[1]];
        for out in out[columns.clone()].chunks_exact_mut(2) {
            if let Some(two) = sample_two(head, w, h, at[0] >> 8, at[1] >> 8) {
                if cover == Cover::Everything {
                    out.copy_from_slice(&two.map(gather));
                } else {
                    out.copy_from_slice(&[over(two[0], out[0]), over(two[1], out[1])]);
                }
            }
            at = [at[0].wrapping_add(2 * step[0]), at[1].wrapping_add(2 * step[1])];
        }
    }
}

/// Copies a patch's pixels into the head layer.
fn paste(head: &mut [Lanes], width: usize, patch: &Patch, pixels: &[Lanes]) {
    let area = patch.area;
    for (y, row) in (area.y0..area.y1).zip(pixels.chunks_exact(area.width())) {
        head[y * width + area.x0..y * width + area.x1].copy_from_slice(row);
    }
}

/// The smallest rectangle that holds all that is `there`.
fn bounds<P: Copy>(layer: &[P], width: usize, there: impl Fn(P) -> bool) -> Rect {
    let mut it = Rect { x0: width, y0: layer.len() / width, x1: 0, y1: 0 };
    for (n, _) in layer.iter().enumerate().filter(|(_, p)| there(**p)) {
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

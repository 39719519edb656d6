//! Bends planes: what turns the head. Eight neighbouring pixels are read at a time, from places that lie almost as far apart.
//!
//! In: planes and a [`Block`]. Out: its pixels, in a picture's planes. Sway's gradient is below 0.1, so eight
//! sources lie within nine or ten neighbouring texels: those are loaded in one piece and each is weighted by how near it is,
//! which the compiler turns into vector instructions that every x86-64 and ARM has.

use std::ops::Range;

use super::layer::{Plane, over};
use super::sway::BLOCK;

/// Pixels that are read together: as many as 16-bit lanes fit a vector.
const SPAN: usize = BLOCK;

/// A square of [`BLOCK`] pixels at `at`, and where its corners read (left and right above, left and right below), both in
/// pixels of the planes; between the corners all is linear.
pub(super) struct Block {
    pub(super) at: [usize; 2],
    pub(super) corners: [[f32; 2]; 4],
}

/// Where a span reads, in 1/65536 texels from the first texel's centre; `step` is how much more or less than one texel
/// lies between two neighbours.
#[derive(Clone, Copy, Debug)]
struct Span {
    at: [i32; 2],
    step: [i32; 2],
}

/// Where one axis of a span reads: its first texel and, per pixel, how far behind that it lies, in 1/256 texels up to 512.
struct Axis {
    first: usize,
    behind: [u16; SPAN],
    /// None lies more than one texel behind.
    near: bool,
}

impl Block {
    /// Replaces what is in the planes `to` with what the block reads in `from`.
    pub(super) fn copy<const P: usize>(&self, from: [&Plane; P], to: &mut [&mut [u8]; P]) {
        self.each(from, |row, spans| {
            for (to, span) in to.iter_mut().zip(spans) {
                let to = &mut to[row.clone()];
                match to.as_mut_array() {
                    Some(to) => *to = *span,
                    None => to.copy_from_slice(&span[..to.len()]),
                }
            }
        });
    }

    /// Lays what the block reads over what is in the planes `to`; the last of `from` is the alpha of all others.
    pub(super) fn lay<const P: usize>(&self, from: [&Plane; P], to: &mut [&mut [u8]]) {
        self.each(from, |row, spans| {
            for (to, span) in to.iter_mut().zip(spans) {
                for ((to, top), alpha) in to[row.clone()].iter_mut().zip(span).zip(&spans[P - 1]) {
                    *to = over(*top, *alpha, *to);
                }
            }
        });
    }

    /// Calls `put` for each row of the block: the range of a plane where it lies, and what it reads.
    #[inline]
    fn each<const P: usize>(&self, from: [&Plane; P], mut put: impl FnMut(Range<usize>, &[[u8; SPAN]; P])) {
        let (width, height) = (from[0].width, from[0].height);
        let ([x, y], [a, b, c, d]) = (self.at, self.corners);
        let count = SPAN.min(width.saturating_sub(x));
        let fixed = |v: f32| (v * 65_536.0) as i32;
        let side = BLOCK as f32;
        // Of the first row, at the centres of its pixels, and how both change from row to row.
        let (mut span, mut down) = (Span { at: [0; 2], step: [0; 2] }, Span { at: [0; 2], step: [0; 2] });
        for k in 0..2 {
            let across = (b[k] - a[k]) / side;
            let bend = (d[k] - c[k] - b[k] + a[k]) / (side * side);
            let fall = (c[k] - a[k]) / side;
            let first = a[k] + f32::midpoint(across, fall) + bend / 4.0 - 0.5;
            (span.at[k], down.at[k]) = (fixed(first), fixed(fall + bend / 2.0));
            (span.step[k], down.step[k]) = (fixed(across + bend / 2.0 - if k == 0 { 1.0 } else { 0.0 }), fixed(bend));
        }
        for y in y..height.min(y + BLOCK) {
            put(y * width + x..y * width + x + count, &read(from, span));
            for k in 0..2 {
                span.at[k] = span.at[k].wrapping_add(down.at[k]);
                span.step[k] = span.step[k].wrapping_add(down.step[k]);
            }
        }
    }
}

/// A span of each plane, all of one size and no smaller than 16 by 16. Outside the planes it is made of what is at their edge.
#[expect(clippy::inline_always, reason = "the innermost loop of every picture; a call costs a third of it")]
#[inline(always)]
fn read<const P: usize>(planes: [&Plane; P], span: Span) -> [[u8; SPAN]; P] {
    let x = axis(span.at[0], span.step[0], planes[0].width - SPAN - 2);
    let y = axis(span.at[1], span.step[1], planes[0].height - 3);
    if x.near && y.near { blended::<P, 2>(planes, &x, &y) } else { blended::<P, 3>(planes, &x, &y) }
}

#[expect(clippy::inline_always, reason = "the innermost loop of every picture; a call costs a third of it")]
#[inline(always)]
fn axis(at: i32, step: i32, last: usize) -> Axis {
    let end = at.wrapping_add(step.wrapping_mul(SPAN as i32 - 1));
    let first = (at.min(end) >> 16).max(0).min(last as i32);
    // 1/2048 texels fit 16 bits, and eight steps of them add up to an error that nobody sees.
    let (start, step) = ((at.wrapping_sub(first << 16) >> 5) as i16, (step >> 5) as i16);
    let mut behind = [0; SPAN];
    for (n, behind) in behind.iter_mut().enumerate() {
        *behind = (start.wrapping_add(step.wrapping_mul(n as i16)) >> 3).clamp(0, 512) as u16;
    }
    let farthest = (at.max(end).wrapping_sub(first << 16)) >> 16;
    Axis { first: first as usize, behind, near: farthest < 1 }
}

/// Each pixel from `T` texels across and down, which suffices where no pixel lies more than `T - 1` behind the first.
#[expect(clippy::inline_always, reason = "the innermost loop of every picture; a call costs a third of it")]
#[inline(always)]
fn blended<const P: usize, const T: usize>(planes: [&Plane; P], x: &Axis, y: &Axis) -> [[u8; SPAN]; P] {
    let (across, down) = (weights::<T>(&x.behind), weights::<T>(&y.behind));
    let width = planes[0].width;
    let mut out = [[0; SPAN]; P];
    for (out, plane) in out.iter_mut().zip(planes) {
        let mut sum = [128_u16; SPAN];
        for (row, down) in down.iter().enumerate() {
            let Some(texels) = plane.bytes.get((y.first + row) * width + x.first..).and_then(|t| t.first_chunk::<10>())
            else {
                continue;
            };
            let mut line = [128_u16; SPAN];
            for (k, across) in across.iter().enumerate() {
                for n in 0..SPAN {
                    line[n] += u16::from(texels[n + k]) * across[n];
                }
            }
            for n in 0..SPAN {
                sum[n] += (line[n] >> 8) * down[n];
            }
        }
        for n in 0..SPAN {
            out[n] = (sum[n] >> 8) as u8;
        }
    }
    out
}

/// How much each of `T` texels counts, in 1/256: the nearer the more, and nothing from one texel away. They add up to 256.
#[expect(clippy::inline_always, reason = "the innermost loop of every picture; a call costs a third of it")]
#[inline(always)]
fn weights<const T: usize>(behind: &[u16; SPAN]) -> [[u16; SPAN]; T] {
    let mut out = [[0; SPAN]; T];
    for n in 0..SPAN {
        if T == 2 {
            let behind = behind[n].min(256);
            (out[0][n], out[1][n]) = (256 - behind, behind);
        } else {
            let (first, third) = (256_u16.saturating_sub(behind[n]), behind[n].saturating_sub(256));
            (out[0][n], out[1][n], out[2][n]) = (first, 256 - first - third, third);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDE: usize = 16;

    /// A slope: 8 levels a column and 4 a row.
    fn slope() -> Plane {
        let bytes = (0..SIDE * SIDE).map(|n| (n % SIDE * 8 + n / SIDE * 4) as u8).collect();
        Plane { width: SIDE, height: SIDE, bytes }
    }

    #[test]
    fn a_slope_is_read_between_its_texels_however_the_span_leans() {
        for (x, y) in [(0.0, 0.0), (0.06, 0.0), (-0.06, 0.03), (0.01, -0.09)] {
            for start in [[2.0, 3.0], [3.97, 4.5], [4.5, 6.03]] {
                let fixed = |v: f32| (v * 65_536.0) as i32;
                let [read] = read([&slope()], Span { at: start.map(fixed), step: [fixed(x), fixed(y)] });
                for (n, level) in read.iter().enumerate() {
                    let n = n as f32;
                    let expected = (start[0] + n * (1.0 + x)) * 8.0 + (start[1] + n * y) * 4.0;
                    assert!((f32::from(*level) - expected).abs() <= 1.2, "{level} for {expected}");
                }
            }
        }
    }

    #[test]
    fn spans_outside_stay_on_the_edge() {
        let plane = Plane { width: SIDE, height: SIDE, bytes: vec![9; SIDE * SIDE] };
        for at in [[-500_000, -500_000], [5_000_000, 3], [i32::MIN, i32::MAX]] {
            for step in [0, i32::MIN, i32::MAX] {
                assert_eq!(read([&plane], Span { at, step: [step; 2] }), [[9; SPAN]]);
            }
        }
    }
}

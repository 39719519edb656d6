//! Paints a part of the face between its poses: every active picture is bent to the same mixed shape, then blended.
//!
//! In: a [`Patch`] and the weights of its poses. Out: the patch's pixels. A point of the resting skin goes where the
//! weighted flows send it; each picture is read where its own flow has that same point, so lips meet lips (a plain
//! cross-fade shows two pairs: 7.8 grey levels from a true render against 4.1). Where lips part, the pictures that show the
//! inside of the mouth count and those that only have stretched lip to offer do not.

use super::avatar::{FLOW_STEPS, Patch, Pose, Tile};
use super::pixel::{Lanes, gather, sample, sample_two, settle, spread};
use super::triangle::{FixedPlane, Triangle};

/// Weights are quantised to this many parts, so that they fit bytes and an unchanged face is recognised.
const PARTS: u16 = 256;

/// How much more a picture that shows the inside of the mouth counts there.
const INSIDE_GAIN: f32 = 24.0;

/// Lips closer than the first show nothing of the inside, farther apart than the second all of it, in pixels: teeth seen
/// through less than a pixel would be a row of dots.
const INSIDE_OPENING_PX: (f32, f32) = (0.8, 2.5);

/// Pictures that are mixed at most; the weights that come in have fewer.
const MAX_ACTIVE: usize = 6;

/// Units of [`Morph::moved`] in a pixel: [`PARTS`] × the flow's quarters.
const MOVED_STEPS: f32 = PARTS as f32 * FLOW_STEPS;

/// Overlap of neighbouring triangles, in pixels: that of whole tiles hides the cracks between tiles of different fineness,
/// that of single cells those that rounding leaves.
const TILE_OVERLAP_PX: f32 = 0.4;
const CELL_OVERLAP_PX: f32 = 0.05;

/// Stretch or shear below which two neighbouring pixels are read as one, in 1/256 texels a pixel.
const GENTLE: f32 = 24.0;

/// The current pixels of one patch.
pub(super) struct Morph {
    /// As large as the patch's area.
    pub(super) pixels: Vec<Lanes>,
    /// Of each pose, in [`PARTS`]; empty until the first painting.
    parts: Vec<u16>,
    /// Per node, where the mixed flow sends the resting skin. Fits: 256 parts of at most 127 quarters.
    moved: Vec<[i16; 2]>,
}

/// A pose that counts in this picture, or in one tile of it.
#[derive(Clone, Copy)]
struct Active<'a> {
    pose: &'a Pose,
    parts: u16,
}

/// What of a triangle's corners is needed: node and resting position, in pixels of the patch.
type Corner = (usize, [f32; 2]);

impl Morph {
    pub(super) fn new(patch: &Patch) -> Self {
        Self { pixels: patch.poses[0].image.clone(), parts: Vec::new(), moved: vec![[0; 2]; patch.cols * patch.rows] }
    }

    /// Paints the patch with these weights (they add up to 1); false if it already looks so.
    pub(super) fn paint(&mut self, patch: &Patch, weights: &[f32]) -> bool {
        let parts = quantised(weights);
        if parts == self.parts {
            return false;
        }
        self.parts = parts;
        let rest = &patch.poses[0];
        let mut all = [Active { pose: rest, parts: 0 }; MAX_ACTIVE];
        let mut count = 0;
        for (pose, &parts) in patch.poses.iter().zip(&self.parts).filter(|(_, parts)| **parts > 0).take(MAX_ACTIVE) {
            all[count] = Active { pose, parts };
            count += 1;
        }
        let all = &all[..count];
        self.pixels.copy_from_slice(&rest.image);
        self.move_nodes(all);
        // From the bottom up: a dropping chin covers the neck, not the other way round.
        for tile in (0..rest.tiles.len()).rev() {
            // Poses that look as at rest here are read once, together.
            let mut active = [Active { pose: rest, parts: 0 }; MAX_ACTIVE];
            let (mut count, mut work) = (0, Tile::Still);
            for a in all {
                let kind = a.pose.tiles[tile];
                if kind == Tile::Still {
                    active[0].parts += a.parts;
                } else {
                    count += 1;
                    active[count.min(MAX_ACTIVE - 1)] = *a;
                }
                work = work.max(kind);
            }
            let active = &active[usize::from(active[0].parts == 0)..(count + 1).min(MAX_ACTIVE)];
            let span = patch.span(tile);
            match active.len() {
                0 | 1 if work == Tile::Still => {}
                1 => self.tile::<1>(patch, active, span, work),
                2 => self.tile::<2>(patch, active, span, work),
                3 => self.tile::<3>(patch, active, span, work),
                4 => self.tile::<4>(patch, active, span, work),
                5 => self.tile::<5>(patch, active, span, work),
                _ => self.tile::<MAX_ACTIVE>(patch, active, span, work),
            }
        }
        true
    }

    /// `N` is the number of pictures, known to the compiler so that it unrolls the loops over them.
    fn tile<const N: usize>(&mut self, patch: &Patch, active: &[Active], [i0, i1, j0, j1]: [usize; 4], work: Tile) {
        let Some(active) = active.first_chunk::<N>() else { return };
        match work {
            Tile::Still => {}
            Tile::Flat => self.blend(patch, active, [i0, i1, j0, j1]),
            Tile::Smooth => self.smooth(patch, active, [i0, i1, j0, j1]),
            Tile::Fine | Tile::Torn => self.cells(patch, active, [i0, i1, j0, j1], work == Tile::Torn),
        }
    }

    fn cells<const N: usize>(&mut self, patch: &Patch, active: &[Active; N], [i0, i1, j0, j1]: [usize; 4], torn: bool) {
        for j in (j0..j1).rev() {
            for i in i0..i1 {
                let gain = if torn { self.gain(patch, i, j) } else { 0.0 };
                self.cell(patch, active, [i, i + 1, j, j + 1], gain);
            }
        }
    }

    /// What is inside the mouth comes from the pictures that show it: the more, the wider this cell is open.
    fn gain(&self, patch: &Patch, i: usize, j: usize) -> f32 {
        let dy = |i: usize, j: usize| f32::from(self.moved[j * patch.cols + i][1]);
        let opening = (dy(i, j + 1) - dy(i, j)).max(dy(i + 1, j + 1) - dy(i + 1, j)) / MOVED_STEPS;
        let (from, to) = INSIDE_OPENING_PX;
        INSIDE_GAIN * ((opening - from) / (to - from)).clamp(0.0, 1.0)
    }

    fn move_nodes(&mut self, active: &[Active]) {
        self.moved.fill([0; 2]);
        for Active { pose, parts } in active {
            let parts = *parts as i16;
            for (moved, flow) in self.moved.as_flattened_mut().iter_mut().zip(pose.flow.as_flattened()) {
                *moved += i16::from(*flow) * parts;
            }
        }
    }

    /// Nothing moves: colours are mixed in place.
    fn blend<const N: usize>(&mut self, patch: &Patch, active: &[Active; N], [i0, i1, j0, j1]: [usize; 4]) {
        let width = patch.area.width();
        for y in j0 * patch.cell..j1 * patch.cell {
            let row = y * width + i0 * patch.cell..y * width + i1 * patch.cell;
            let from = active.map(|a| &a.pose.image[row.clone()]);
            for (x, pixel) in self.pixels[row].iter_mut().enumerate() {
                let mut sum = 0;
                for (a, from) in active.iter().zip(from) {
                    sum += from[x] * Lanes::from(a.parts);
                }
                *pixel = settle(sum);
            }
        }
    }

    /// The two triangles between four nodes.
    fn halves(&self, patch: &Patch, [i0, i1, j0, j1]: [usize; 4]) -> [[Corner; 3]; 2] {
        let corner = |i: usize, j: usize| (j * patch.cols + i, <[f32; 2]>::from(patch.place(i, j)));
        let (a, b, c, d) = (corner(i0, j0), corner(i1, j0), corner(i0, j1), corner(i1, j1));
        // Cut along the diagonal whose ends move alike, so that a lip's edge is not cut across.
        let apart = |p: Corner, q: Corner| self.moved[p.0][1].abs_diff(self.moved[q.0][1]);
        if apart(b, c) <= apart(a, d) { [[a, b, c], [d, c, b]] } else { [[a, b, d], [a, d, c]] }
    }

    /// Where three nodes are now.
    fn triangle(&self, corners: [Corner; 3]) -> Option<Triangle> {
        Triangle::new(corners.map(|(node, at)| {
            let moved = self.moved[node];
            [at[0] + f32::from(moved[0]) / MOVED_STEPS, at[1] + f32::from(moved[1]) / MOVED_STEPS]
        }))
    }

    /// A whole tile: large triangles, painted span by span.
    fn smooth<const N: usize>(&mut self, patch: &Patch, active: &[Active; N], nodes: [usize; 4]) {
        let (width, height) = (patch.area.width(), patch.area.height());
        for corners in self.halves(patch, nodes) {
            let Some(triangle) = self.triangle(corners) else { continue };
            let mut texels = [[FixedPlane::default(); 2]; N];
            // Skin that is hardly stretched is read by twos, one texel apart, off by less than 1/20 pixel.
            let mut gentle = true;
            for (texel, Active { pose, .. }) in texels.iter_mut().zip(active) {
                let [x, y] = seen(pose, corners).map(|values| triangle.plane(values));
                gentle &= (x.dx - 256.0).abs() < GENTLE && y.dx.abs() < GENTLE;
                *texel = [x.in_fixed_point(), y.in_fixed_point()];
            }
            let edges = triangle.edges(TILE_OVERLAP_PX);
            let columns = triangle.pixels(0, TILE_OVERLAP_PX, width);
            let (y0, y1) = triangle.pixels(1, TILE_OVERLAP_PX, height);
            for y in y0..y1 {
                let (from, to) = Triangle::row(&edges, y, columns);
                let Some(row) = self.pixels.get_mut(y * width + from..y * width + to) else { continue };
                let mut at = [[0; 2]; N];
                for (at, axes) in at.iter_mut().zip(&texels) {
                    *at = [axes[0].at(from, y), axes[1].at(from, y)];
                }
                let forward = |at: &mut [[i32; 2]; N], pixels: i32| {
                    for (at, axes) in at.iter_mut().zip(&texels) {
                        at[0] = at[0].wrapping_add(axes[0].dx.wrapping_mul(pixels));
                        at[1] = at[1].wrapping_add(axes[1].dx.wrapping_mul(pixels));
                    }
                };
                let mut done = 0;
                while gentle && done + 2 <= row.len() {
                    let Some(two) = mixed_two(active, &rounded(&at), width, height) else { break };
                    row[done..done + 2].copy_from_slice(&two);
                    forward(&mut at, 2);
                    done += 2;
                }
                for pixel in &mut row[done..] {
                    *pixel = mixed(active, &rounded(&at), width, height);
                    forward(&mut at, 1);
                }
            }
        }
    }

    /// A single cell: triangles of a pixel or two, each of whose pixels is looked for by itself.
    fn cell<const N: usize>(&mut self, patch: &Patch, active: &[Active; N], nodes: [usize; 4], gain: f32) {
        let (width, height) = (patch.area.width(), patch.area.height());
        for corners in self.halves(patch, nodes) {
            let Some(triangle) = self.triangle(corners) else { continue };
            let (x0, x1) = triangle.pixels(0, CELL_OVERLAP_PX, width);
            let (y0, y1) = triangle.pixels(1, CELL_OVERLAP_PX, height);
            let first = triangle.first();
            let slack = [first, triangle.second, triangle.third].map(|c| -c.slack(CELL_OVERLAP_PX));
            let mut texels = [[[0.0; 3]; 2]; N];
            for (texel, Active { pose, .. }) in texels.iter_mut().zip(active) {
                *texel = seen(pose, corners);
            }
            for y in y0..y1 {
                for x in x0..x1 {
                    let (cx, cy) = (x as f32 + 0.5, y as f32 + 0.5);
                    let (u, v, w) = (first.at(cx, cy), triangle.second.at(cx, cy), triangle.third.at(cx, cy));
                    if u < slack[0] || v < slack[1] || w < slack[2] {
                        continue;
                    }
                    let mut at = [[0; 2]; N];
                    for (at, [tx, ty]) in at.iter_mut().zip(&texels) {
                        at[0] = (tx[0] * u + tx[1] * v + tx[2] * w) as i32;
                        at[1] = (ty[0] * u + ty[1] * v + ty[2] * w) as i32;
                    }
                    self.pixels[y * width + x] = if gain > 0.0 {
                        mixed_by_inside(active, &at, width, height, gain)
                    } else {
                        mixed(active, &at, width, height)
                    };
                }
            }
        }
    }
}

/// Where a picture shows three nodes, per axis: in 1/256 texels from the first texel's centre.
#[inline]
fn seen(pose: &Pose, corners: [Corner; 3]) -> [[f32; 3]; 2] {
    let mut out = [[0.0; 3]; 2];
    for (c, (node, at)) in corners.into_iter().enumerate() {
        let flow = pose.flow[node];
        out[0][c] = (at[0] - 0.5) * 256.0 + f32::from(flow[0]) * (256.0 / FLOW_STEPS);
        out[1][c] = (at[1] - 0.5) * 256.0 + f32::from(flow[1]) * (256.0 / FLOW_STEPS);
    }
    out
}

/// All pictures by their weights; `at` is where each is read, in 1/256 texels.
#[expect(clippy::inline_always, reason = "the innermost loop of every picture; a call costs a third of it")]
#[inline(always)]
fn mixed<const N: usize>(active: &[Active; N], at: &[[i32; 2]; N], width: usize, height: usize) -> Lanes {
    let mut sum = 0;
    for (a, [x, y]) in active.iter().zip(at) {
        sum += sample(&a.pose.image, width, height, *x, *y) * Lanes::from(a.parts);
    }
    settle(sum)
}

/// [`mixed`] for two neighbours that are read one texel apart.
#[expect(clippy::inline_always, reason = "the innermost loop of every picture; a call costs a third of it")]
#[inline(always)]
fn mixed_two<const N: usize>(active: &[Active; N], at: &[[i32; 2]; N], width: usize, height: usize) -> Option<[Lanes; 2]> {
    let mut sums = [0; 2];
    for (a, [x, y]) in active.iter().zip(at) {
        let two = sample_two(&a.pose.image, width, height, *x, *y)?;
        sums = [sums[0] + two[0] * Lanes::from(a.parts), sums[1] + two[1] * Lanes::from(a.parts)];
    }
    Some(sums.map(settle))
}

/// 1/65536 to 1/256 texels.
#[inline]
fn rounded<const N: usize>(at: &[[i32; 2]; N]) -> [[i32; 2]; N] {
    let mut out = *at;
    out.as_flattened_mut().iter_mut().for_each(|v| *v >>= 8);
    out
}

/// Each picture counts by its weight, and far more where it shows the inside of the mouth.
#[inline]
fn mixed_by_inside<const N: usize>(
    active: &[Active; N],
    at: &[[i32; 2]; N],
    width: usize,
    height: usize,
    gain: f32,
) -> Lanes {
    let (mut sum, mut total) = ([0.0_f32; 4], 0.0);
    for (a, [x, y]) in active.iter().zip(at) {
        let column = (((x + 128) >> 8).max(0) as usize).min(width - 1);
        let row = (((y + 128) >> 8).max(0) as usize).min(height - 1);
        let inside = f32::from(a.pose.inside[row * width + column]) / 255.0;
        let weight = f32::from(a.parts) * (1.0 + gain * inside);
        let color = gather(sample(&a.pose.image, width, height, *x, *y));
        for k in 0..4 {
            sum[k] += f32::from(color[k]) * weight;
        }
        total += weight;
    }
    let mut mean = [0; 4];
    for k in 0..4 {
        mean[k] = (sum[k] / total + 0.5) as u8;
    }
    spread(mean)
}

/// Whole parts that add up to [`PARTS`]; what rounding leaves over goes to the heaviest.
fn quantised(weights: &[f32]) -> Vec<u16> {
    let mut parts: Vec<u16> = weights.iter().map(|w| (w.clamp(0.0, 1.0) * f32::from(PARTS)) as u16).collect();
    let left = i32::from(PARTS) - parts.iter().map(|p| i32::from(*p)).sum::<i32>();
    if let Some((heaviest, _)) = weights.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)) {
        parts[heaviest] = (i32::from(parts[heaviest]) + left).clamp(0, i32::from(PARTS)) as u16;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::avatar::{MOUTH, synthetic};

    fn weights(pairs: &[(usize, f32)]) -> [f32; MOUTH.len()] {
        std::array::from_fn(|k| pairs.iter().find(|(of, _)| *of == k).map_or(0.0, |(_, w)| *w))
    }

    #[test]
    fn a_pose_alone_looks_like_its_own_picture() {
        let avatar = synthetic::avatar("alone");
        let mut morph = Morph::new(&avatar.mouth);
        assert!(morph.paint(&avatar.mouth, &weights(&[(10, 1.0)])));
        let pairs = morph.pixels.iter().zip(&avatar.mouth.poses[10].image);
        let off = pairs.filter(|(a, b)| gather(**a).iter().zip(gather(**b)).any(|(a, b)| a.abs_diff(b) > 8)).count();
        // Where the flow folds at its border a few pixels are covered.
        assert!(off * 100 < morph.pixels.len(), "{off} of {} pixels", morph.pixels.len());
    }

    #[test]
    fn the_same_weights_are_not_painted_twice() {
        let avatar = synthetic::avatar("twice");
        let mut morph = Morph::new(&avatar.mouth);
        let half = weights(&[(0, 0.5), (11, 0.5)]);
        assert!(morph.paint(&avatar.mouth, &half));
        assert!(!morph.paint(&avatar.mouth, &half));
    }

    #[test]
    fn parts_always_add_up() {
        for n in 1..20 {
            let parts = quantised(&vec![1.0 / n as f32; n]);
            assert_eq!(parts.iter().sum::<u16>(), PARTS);
        }
        assert_eq!(quantised(&[f32::NAN, 1.0]).iter().sum::<u16>(), PARTS);
    }
}

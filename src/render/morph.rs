//! Paints a part of the face between its poses: every active picture is bent to the same mixed shape, then blended.
//!
//! In: a [`Patch`] and the weights of its poses. Out: the patch's pixels. A point of the resting skin goes where the
//! weighted flows send it; each picture is read where its own flow has that same point, so lips meet lips (a plain
//! cross-fade shows two pairs: 7.8 grey levels from a true render against 4.1). Where lips part, the pictures that show the
//! inside of the mouth count and those that only have stretched lip to offer do not.

use super::avatar::{FLOW_STEPS, Patch, Pose, Tile};
use super::pixel::{Lanes, gather, sample, sample_two, settle, spread};

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

/// Overlap of neighbouring triangles, in pixels: hides the cracks between tiles of different fineness.
const OVERLAP_PX: f32 = 0.3;

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

/// A plane over the picture: its value at the origin and its slopes.
#[derive(Clone, Copy, Default)]
struct Plane {
    base: f32,
    dx: f32,
    dy: f32,
}

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
            Tile::Smooth => self.quad(patch, active, [i0, i1, j0, j1], mixed),
            Tile::Fine => self.cells(patch, active, [i0, i1, j0, j1], mixed),
            Tile::Torn => self.torn(patch, active, [i0, i1, j0, j1]),
        }
    }

    fn cells<const N: usize>(
        &mut self,
        patch: &Patch,
        active: &[Active; N],
        [i0, i1, j0, j1]: [usize; 4],
        mix: impl Mix<N>,
    ) {
        for j in (j0..j1).rev() {
            for i in i0..i1 {
                self.quad(patch, active, [i, i + 1, j, j + 1], mix);
            }
        }
    }

    /// As [`Self::cells`], but what is inside the mouth comes from the pictures that show it: the more, the wider it is open.
    fn torn<const N: usize>(&mut self, patch: &Patch, active: &[Active; N], [i0, i1, j0, j1]: [usize; 4]) {
        for j in (j0..j1).rev() {
            for i in i0..i1 {
                let dy = |i: usize, j: usize| f32::from(self.moved[j * patch.cols + i][1]);
                let opening = (dy(i, j + 1) - dy(i, j)).max(dy(i + 1, j + 1) - dy(i + 1, j)) / MOVED_STEPS;
                let gain = INSIDE_GAIN
                    * ((opening - INSIDE_OPENING_PX.0) / (INSIDE_OPENING_PX.1 - INSIDE_OPENING_PX.0)).clamp(0.0, 1.0);
                let mix = move |active: &[Active; N], at: &[[i32; 2]; N], width, height| {
                    mixed_by_inside(active, at, width, height, gain)
                };
                self.quad(patch, active, [i, i + 1, j, j + 1], mix);
            }
        }
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

    /// Two triangles between four nodes.
    fn quad<const N: usize>(&mut self, patch: &Patch, active: &[Active; N], [i0, i1, j0, j1]: [usize; 4], mix: impl Mix<N>) {
        let by_twos = i1 - i0 > 1;
        let corner = |i: usize, j: usize| (j * patch.cols + i, <[f32; 2]>::from(patch.place(i, j)));
        let (a, b, c, d) = (corner(i0, j0), corner(i1, j0), corner(i0, j1), corner(i1, j1));
        // Cut along the diagonal whose ends move alike, so that a lip's edge is not cut across.
        let apart = |p: Corner, q: Corner| self.moved[p.0][1].abs_diff(self.moved[q.0][1]);
        if apart(b, c) <= apart(a, d) {
            self.triangle(patch, active, [a, b, c], mix, by_twos);
            self.triangle(patch, active, [d, c, b], mix, by_twos);
        } else {
            self.triangle(patch, active, [a, b, d], mix, by_twos);
            self.triangle(patch, active, [a, d, c], mix, by_twos);
        }
    }

    fn triangle<const N: usize>(
        &mut self,
        patch: &Patch,
        active: &[Active; N],
        corners: [Corner; 3],
        mix: impl Mix<N>,
        by_twos: bool,
    ) {
        let to = corners.map(|(node, at)| {
            let moved = self.moved[node];
            [at[0] + f32::from(moved[0]) / MOVED_STEPS, at[1] + f32::from(moved[1]) / MOVED_STEPS]
        });
        let (e1, e2) = (minus(to[1], to[0]), minus(to[2], to[0]));
        let area = e1[0] * e2[1] - e2[0] * e1[1];
        // Folded under, or too thin to hold a pixel's centre.
        if area <= 0.02 {
            return;
        }
        let (width, height) = (patch.area.width(), patch.area.height());
        // Barycentric coordinates of the corners, as functions of the pixel's centre.
        let u = Plane { base: 0.0, dx: e2[1] / area, dy: -e2[0] / area }.through(to[0], 0.0);
        let v = Plane { base: 0.0, dx: -e1[1] / area, dy: e1[0] / area }.through(to[0], 0.0);
        let w = Plane { base: 1.0 - u.base - v.base, dx: -u.dx - v.dx, dy: -u.dy - v.dy };
        // Plain loops: closures of array methods stay calls here, a tenth of the picture's time.
        let mut texels = [[Plane::default(); 2]; N];
        for (texel, Active { pose, .. }) in texels.iter_mut().zip(active) {
            let flows = [pose.flow[corners[0].0], pose.flow[corners[1].0], pose.flow[corners[2].0]];
            for k in 0..2 {
                // In 1/256 texels from the first texel's centre.
                let from = |c: usize| (corners[c].1[k] + f32::from(flows[c][k]) / FLOW_STEPS - 0.5) * 256.0;
                let (f0, f1, f2) = (from(0), from(1) - from(0), from(2) - from(0));
                texel[k] = Plane { base: 0.0, dx: f1 * u.dx + f2 * v.dx, dy: f1 * u.dy + f2 * v.dy }.through(to[0], f0);
            }
        }
        // Skin that is hardly stretched is read by twos, one texel apart, off by less than 1/20 pixel.
        let unit = |t: [Plane; 2]| (t[0].dx - 256.0).abs() < GENTLE && t[1].dx.abs() < GENTLE;
        let gentle = by_twos && texels.into_iter().all(unit);
        let low = to[0][1].min(to[1][1]).min(to[2][1]);
        let high = to[0][1].max(to[1][1]).max(to[2][1]);
        let left = to[0][0].min(to[1][0]).min(to[2][0]) - OVERLAP_PX;
        let right = to[0][0].max(to[1][0]).max(to[2][0]) + OVERLAP_PX;
        for y in first_pixel(low - OVERLAP_PX)..first_pixel(high + OVERLAP_PX).min(height) {
            let centre = y as f32 + 0.5;
            let (mut from, mut to) = (left, right);
            for side in [u, v, w] {
                (from, to) = side.clip(centre, from, to);
            }
            let (from, to) = (first_pixel(from), first_pixel(to).min(width));
            if from >= to {
                continue;
            }
            let start = from as f32 + 0.5;
            let (mut at, mut step) = ([[0; 2]; N], [[0; 2]; N]);
            for n in 0..N {
                for k in 0..2 {
                    at[n][k] = texels[n][k].at(start, centre) as i32;
                    step[n][k] = texels[n][k].dx as i32;
                }
            }
            let forward = |at: &mut [[i32; 2]; N], pixels: i32| {
                for (at, step) in at.iter_mut().zip(step) {
                    *at =
                        [at[0].wrapping_add(step[0].wrapping_mul(pixels)), at[1].wrapping_add(step[1].wrapping_mul(pixels))];
                }
            };
            let row = &mut self.pixels[y * width + from..y * width + to];
            let mut done = 0;
            while gentle && done + 2 <= row.len() {
                let Some(two) = mixed_two(active, &at, width, height) else { break };
                row[done..done + 2].copy_from_slice(&two);
                forward(&mut at, 2);
                done += 2;
            }
            for pixel in &mut row[done..] {
                *pixel = mix(active, &at, width, height);
                forward(&mut at, 1);
            }
        }
    }
}

/// How a pixel is mixed: the pictures, where each is read, and their size.
trait Mix<const N: usize>: Fn(&[Active; N], &[[i32; 2]; N], usize, usize) -> Lanes + Copy {}

impl<const N: usize, F: Fn(&[Active; N], &[[i32; 2]; N], usize, usize) -> Lanes + Copy> Mix<N> for F {}

impl Plane {
    /// The same slopes, with `value` at `point`.
    fn through(self, point: [f32; 2], value: f32) -> Self {
        Self { base: value - self.dx * point[0] - self.dy * point[1], ..self }
    }

    fn at(self, x: f32, y: f32) -> f32 {
        self.base + self.dx * x + self.dy * y
    }

    /// The part of a row within `from..to` where this barycentric coordinate is not negative, give or take the overlap.
    fn clip(self, y: f32, from: f32, to: f32) -> (f32, f32) {
        // Of a thin triangle no more than half its height: far outside it, its slopes lead anywhere.
        let slack = (OVERLAP_PX * (self.dx.abs() + self.dy.abs())).min(0.5);
        let rest = self.base + self.dy * y + slack;
        if self.dx > 1e-6 {
            (from.max(-rest / self.dx), to)
        } else if self.dx < -1e-6 {
            (from, to.min(-rest / self.dx))
        } else if rest < 0.0 {
            (from, from)
        } else {
            (from, to)
        }
    }
}

/// The first pixel whose centre is at or after `v`.
fn first_pixel(v: f32) -> usize {
    (v + 0.5).max(0.0) as usize
}

#[inline]
fn mixed<const N: usize>(active: &[Active; N], at: &[[i32; 2]; N], width: usize, height: usize) -> Lanes {
    settle(
        active.iter().zip(at).map(|(a, [x, y])| sample(&a.pose.image, width, height, *x, *y) * Lanes::from(a.parts)).sum(),
    )
}

/// [`mixed`] for two neighbours that are read one texel apart.
#[inline]
fn mixed_two<const N: usize>(active: &[Active; N], at: &[[i32; 2]; N], width: usize, height: usize) -> Option<[Lanes; 2]> {
    let mut sums = [0; 2];
    for (a, [x, y]) in active.iter().zip(at) {
        let two = sample_two(&a.pose.image, width, height, *x, *y)?;
        sums = [sums[0] + two[0] * Lanes::from(a.parts), sums[1] + two[1] * Lanes::from(a.parts)];
    }
    Some(sums.map(settle))
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

fn minus(a: [f32; 2], b: [f32; 2]) -> [f32; 2] {
    [a[0] - b[0], a[1] - b[1]]
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

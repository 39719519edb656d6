//! Paints a part of the face between its poses: every active picture is bent to the same mixed shape, then blended.
//!
//! In: a [`Patch`] and the weights of its poses. Out: the patch's pixels. A point of the resting skin goes where the
//! weighted flows send it; each picture is read where its own flow has that same point, so lips meet lips (a plain
//! cross-fade shows two pairs: 7.8 grey levels from a true render against 4.1). Where lips part, the pictures that show the
//! inside of the mouth count and those that only have stretched lip to offer do not.

use super::avatar::{FLOW_STEPS, Patch, Pose, Tile};
use super::pixel::{Lanes, Rgba, gather, sample, settle, spread};

/// Weights are quantised to this many parts, so that they fit bytes and an unchanged face is recognised.
const PARTS: u16 = 256;

/// How much more a picture that shows the inside of the mouth counts there.
const INSIDE_GAIN: f32 = 24.0;

/// Pictures that are mixed at most; the weights that come in have fewer.
const MAX_ACTIVE: usize = 8;

/// Units of [`Morph::moved`] in a pixel: [`PARTS`] × the flow's quarters.
const MOVED_STEPS: f32 = PARTS as f32 * FLOW_STEPS;

/// Overlap of neighbouring triangles, in pixels: hides the cracks between tiles of different fineness.
const OVERLAP_PX: f32 = 0.2;

/// The current pixels of one patch.
pub(super) struct Morph {
    /// As large as the patch's area.
    pub(super) pixels: Vec<Rgba>,
    /// Of each pose, in [`PARTS`]; empty until the first painting.
    parts: Vec<u16>,
    /// Per node, where the mixed flow sends the resting skin. Fits: 256 parts of at most 127 quarters.
    moved: Vec<[i16; 2]>,
}

/// A pose that counts in this picture.
#[derive(Clone, Copy)]
struct Active<'a> {
    pose: &'a Pose,
    parts: u16,
}

/// Positions as a function of the picture's pixel: `base + x * dx + y * dy`.
#[derive(Clone, Copy, Default)]
struct Affine {
    base: [f32; 2],
    dx: [f32; 2],
    dy: [f32; 2],
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
        let rest = Active { pose: &patch.poses[0], parts: 0 };
        let mut active = [rest; MAX_ACTIVE];
        let mut count = 0;
        for (pose, &parts) in patch.poses.iter().zip(&self.parts).filter(|(_, parts)| **parts > 0).take(MAX_ACTIVE) {
            active[count] = Active { pose, parts };
            count += 1;
        }
        let active = &active[..count];
        self.pixels.copy_from_slice(&rest.pose.image);
        self.move_nodes(active);
        // From the bottom up: a dropping chin covers the neck, not the other way round.
        for (n, tile) in patch.tiles.iter().enumerate().rev() {
            let span = patch.span(n % patch.tile_cols, n / patch.tile_cols);
            match tile {
                Tile::Still => {}
                Tile::Flat => self.blend(patch, active, span),
                Tile::Smooth => self.quad(patch, active, span, false),
                Tile::Fine => {
                    for j in (span[2]..span[3]).rev() {
                        for i in span[0]..span[1] {
                            self.quad(patch, active, [i, i + 1, j, j + 1], true);
                        }
                    }
                }
            }
        }
        true
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
    fn blend(&mut self, patch: &Patch, active: &[Active], [i0, i1, j0, j1]: [usize; 4]) {
        let width = patch.area.width();
        for y in j0 * patch.cell..j1 * patch.cell {
            for at in y * width + i0 * patch.cell..y * width + i1 * patch.cell {
                let sum: Lanes = active.iter().map(|a| spread(a.pose.image[at]) * Lanes::from(a.parts)).sum();
                self.pixels[at] = gather(settle(sum));
            }
        }
    }

    /// Two triangles between four nodes.
    fn quad(&mut self, patch: &Patch, active: &[Active], [i0, i1, j0, j1]: [usize; 4], fine: bool) {
        let corner = |i: usize, j: usize| (j * patch.cols + i, [(i * patch.cell) as f32, (j * patch.cell) as f32]);
        let (a, b, c, d) = (corner(i0, j0), corner(i1, j0), corner(i0, j1), corner(i1, j1));
        self.triangle(patch, active, [a, b, c], fine);
        self.triangle(patch, active, [d, c, b], fine);
    }

    fn triangle(&mut self, patch: &Patch, active: &[Active], corners: [(usize, [f32; 2]); 3], fine: bool) {
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
        let range = |k: usize, limit: usize| {
            let (low, high) = (to[0][k].min(to[1][k]).min(to[2][k]), to[0][k].max(to[1][k]).max(to[2][k]));
            // Pixels whose centres lie within.
            let first = (low - 0.5 - OVERLAP_PX).ceil().max(0.0) as usize;
            first..((high - 0.5 + OVERLAP_PX).floor() + 1.0).clamp(0.0, limit as f32) as usize
        };
        let (xs, ys) = (range(0, width), range(1, height));
        if xs.is_empty() || ys.is_empty() {
            return;
        }
        // Barycentric coordinates of corners 1 and 2, as functions of the pixel's centre.
        let inverse = 1.0 / area;
        let across = Affine {
            base: [0.0; 2],
            dx: [e2[1] * inverse, -e1[1] * inverse],
            dy: [-e2[0] * inverse, e1[0] * inverse],
        }
        .through(to[0], [0.0; 2]);
        let mut texels = [Affine::default(); MAX_ACTIVE];
        for (texel, Active { pose, .. }) in texels.iter_mut().zip(active) {
            let from = corners.map(|(node, at)| {
                let flow = pose.flow[node];
                // In 1/256 texels from the first texel's centre.
                std::array::from_fn(|k| (at[k] + f32::from(flow[k]) / FLOW_STEPS - 0.5) * 256.0)
            });
            let (f1, f2) = (minus(from[1], from[0]), minus(from[2], from[0]));
            *texel = Affine {
                base: [0.0; 2],
                dx: std::array::from_fn(|k| f1[k] * across.dx[0] + f2[k] * across.dx[1]),
                dy: std::array::from_fn(|k| f1[k] * across.dy[0] + f2[k] * across.dy[1]),
            }
            .through(to[0], from[0]);
        }
        // The overlap as barycentric slack: a coordinate's gradient is one over the triangle's height there.
        let slack = |k: usize| -OVERLAP_PX * (across.dx[k].abs() + across.dy[k].abs());
        let slack = [slack(0), slack(1), -OVERLAP_PX * ((across.dx[0] + across.dx[1]).abs() + (across.dy[0] + across.dy[1]).abs())];
        for y in ys {
            for x in xs.clone() {
                let at = [x as f32 + 0.5, y as f32 + 0.5];
                let [u, v] = across.at(at);
                if u < slack[0] || v < slack[1] || 1.0 - u - v < slack[2] {
                    continue;
                }
                let texels = texels.iter().zip(active).map(|(t, a)| (t.at(at).map(|v| v as i32), *a));
                let mixed = if fine { mixed_by_inside(texels, width, height) } else { mixed(texels, width, height) };
                self.pixels[y * width + x] = gather(mixed);
            }
        }
    }
}

impl Affine {
    /// The same slopes, with `value` at `point`.
    fn through(self, point: [f32; 2], value: [f32; 2]) -> Self {
        let base = std::array::from_fn(|k| value[k] - self.dx[k] * point[0] - self.dy[k] * point[1]);
        Self { base, ..self }
    }

    #[inline]
    fn at(&self, p: [f32; 2]) -> [f32; 2] {
        std::array::from_fn(|k| self.base[k] + self.dx[k] * p[0] + self.dy[k] * p[1])
    }
}

#[inline]
fn mixed<'a>(texels: impl Iterator<Item = ([i32; 2], Active<'a>)>, width: usize, height: usize) -> Lanes {
    settle(texels.map(|([x, y], a)| sample(&a.pose.image, width, height, x, y) * Lanes::from(a.parts)).sum())
}

/// Each picture counts by its weight, and far more where it shows the inside of the mouth.
#[inline]
fn mixed_by_inside<'a>(texels: impl Iterator<Item = ([i32; 2], Active<'a>)>, width: usize, height: usize) -> Lanes {
    let (mut sum, mut total) = ([0.0_f32; 4], 0.0);
    for ([x, y], a) in texels {
        let column = (((x + 128) >> 8).max(0) as usize).min(width - 1);
        let row = (((y + 128) >> 8).max(0) as usize).min(height - 1);
        let inside = f32::from(a.pose.inside[row * width + column]) / 255.0;
        let weight = f32::from(a.parts) * (1.0 + INSIDE_GAIN * inside);
        let color = gather(sample(&a.pose.image, width, height, x, y));
        sum = std::array::from_fn(|k| sum[k] + f32::from(color[k]) * weight);
        total += weight;
    }
    spread(sum.map(|v| (v / total + 0.5) as u8))
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

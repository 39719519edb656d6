//! How the head turns: a grid of 3-D points on the head's surface, turned about the neck and projected, says for each
//! point of the picture where in the resting head layer it comes from.
//!
//! In: angles. Out: source positions at the corners of 8 px blocks. Pure; the render thread calls it once a picture.
//! A flat layer moved this way differs from a true 3-D render at 5° of yaw by 3.6 grey levels (9.9 if it does not move).

use super::pixel::{Rect, Rgba};

/// Side of the squares in which the warp is linear, in pixels: the pack's grid has a node each 10.7 px at 512.
pub(super) const BLOCK: usize = 8;

/// The head leaves its resting place by less than this part of the picture's width: 5° of yaw and roll make 24 px of 512.
const SWAY_ROOM: usize = 12;

/// Rounds of the fixed-point search for the source of a point. Sway's gradient is below 0.1, so each round adds a digit;
/// the first is to know the node's own displacement.
const ROUNDS: usize = 2;

/// How the head is held. Radians; positive yaw turns the face to the picture's right, pitch down, roll to its left shoulder.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Attitude {
    pub(super) yaw: f32,
    pub(super) pitch: f32,
    pub(super) roll: f32,
    /// The whole head moves up by this many pixels.
    pub(super) lift_px: f32,
}

/// Head space to pixels.
pub(super) struct Camera {
    matrix: [[f32; 4]; 4],
    width: f32,
    height: f32,
}

/// A point at height y turns by `smoothstep((y - base_y) / span)` of the head's rotation about `pivot`.
pub(super) struct Neck {
    pub(super) pivot: [f32; 3],
    pub(super) base_y: f32,
    pub(super) span: f32,
}

/// The head's surface, one node at each corner of a [`BLOCK`].
pub(super) struct HeadGrid {
    camera: Camera,
    neck: Neck,
    cols: usize,
    rows: usize,
    points: Vec<[f32; 3]>,
    /// Each point's share of the turn, 0 at the base of the neck.
    shares: Vec<f32>,
    /// Where the resting points are seen.
    rest_px: Vec<[f32; 2]>,
    /// Per block of the head layer: is anything there, and is it all opaque?
    blocks: Vec<Cover>,
    /// Blocks that the head may ever cover; all sides are even.
    reach: Rect,
}

/// What the head layer has within a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cover {
    Nothing,
    Some,
    Everything,
}

impl Camera {
    pub(super) fn new(matrix: [[f32; 4]; 4], width: usize, height: usize) -> Self {
        Self { matrix, width: width as f32, height: height as f32 }
    }

    fn pixel(&self, p: [f32; 3]) -> [f32; 2] {
        let row = |r: usize| {
            let m = &self.matrix[r];
            m[0] * p[0] + m[1] * p[1] + m[2] * p[2] + m[3]
        };
        let w = row(3);
        [(row(0) / w * 0.5 + 0.5) * self.width, (0.5 - row(1) / w * 0.5) * self.height]
    }
}

impl Neck {
    fn share(&self, y: f32) -> f32 {
        let k = ((y - self.base_y) / self.span).clamp(0.0, 1.0);
        k * k * (3.0 - 2.0 * k)
    }
}

impl HeadGrid {
    /// `points` are `cols` wide and span the frame of `width` pixels; `head` is the layer that will be warped.
    /// `None` if they do not form a surface in front of the camera.
    pub(super) fn new(
        points: &[[f32; 3]],
        cols: usize,
        camera: Camera,
        neck: Neck,
        head: &[Rgba],
        width: usize,
    ) -> Option<Self> {
        let height = head.len() / width;
        // An even number of blocks: chroma's are as large as four of luma's.
        let blocks = |side: usize| side.div_ceil(2 * BLOCK) * 2;
        let (grid_cols, grid_rows) = (blocks(width) + 1, blocks(height) + 1);
        let mut fine = Vec::with_capacity(grid_cols * grid_rows);
        for j in 0..grid_rows {
            for i in 0..grid_cols {
                let x = (i * BLOCK) as f32 / width as f32 * (cols - 1) as f32;
                let y = (j * BLOCK) as f32 / height as f32 * (points.len() / cols - 1) as f32;
                fine.push(smooth_point(points, cols, x, y));
            }
        }
        let rest_px: Vec<_> = fine.iter().map(|&p| camera.pixel(p)).collect();
        // Twice the frame's size away is no longer a head in the picture, and infinity is never one.
        let far = 2.0 * width.max(height) as f32;
        if !rest_px.as_flattened().iter().all(|v| v.abs() <= far) {
            return None;
        }
        let shares = fine.iter().map(|p| neck.share(p[1])).collect();
        let blocks = cover(head, width, grid_cols - 1, grid_rows - 1);
        let reach = reach(&blocks, grid_cols - 1, (width / SWAY_ROOM).div_ceil(BLOCK));
        Some(Self { camera, neck, cols: grid_cols, rows: grid_rows, points: fine, shares, rest_px, blocks, reach })
    }

    /// Nodes in a row.
    pub(super) fn cols(&self) -> usize {
        self.cols
    }

    /// Nodes in a column.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// The blocks that the head may ever cover: all sides are even.
    pub(super) fn reach(&self) -> Rect {
        self.reach
    }

    /// What the head layer has between four positions (pixels), and around them as far as reading chroma reaches.
    pub(super) fn cover(&self, corners: &[[f32; 2]; 4]) -> Cover {
        const MARGIN_PX: f32 = 2.0;
        let [a, b, c, d] = corners;
        // From the first to the last block along an axis.
        let blocks = |k: usize, count: usize| {
            let (low, high) = (a[k].min(b[k]).min(c[k]).min(d[k]), a[k].max(b[k]).max(c[k]).max(d[k]));
            let block = |v: f32| ((v / BLOCK as f32) as usize).min(count - 1);
            block(low - MARGIN_PX)..=block(high + MARGIN_PX)
        };
        let (columns, rows) = (blocks(0, self.cols - 1), blocks(1, self.rows - 1));
        let mut found: Option<Cover> = None;
        for row in rows {
            for cover in &self.blocks[row * (self.cols - 1)..][columns.clone()] {
                match found {
                    Some(f) if f != *cover => return Cover::Some,
                    _ => found = Some(*cover),
                }
            }
        }
        found.unwrap_or(Cover::Nothing)
    }

    /// For each node at the corners of the blocks in reach, where in the resting layer the picture of the turned head takes
    /// its pixels from. `moved` is scratch; both have a place for each node.
    pub(super) fn sources(&self, at: Attitude, moved: &mut [[f32; 2]], out: &mut [[f32; 2]]) {
        let turn = rotation(at);
        let Rect { x0, y0, x1, y1 } = self.reach;
        for j in y0..=y1 {
            let row = j * self.cols + x0..=j * self.cols + x1;
            for (n, moved) in row.clone().zip(&mut moved[row]) {
                let (p, share) = (self.points[n], self.shares[n]);
                let px = self.camera.pixel(self.turned(&turn, p, share));
                *moved = [px[0] - self.rest_px[n][0], px[1] - self.rest_px[n][1] - at.lift_px];
            }
        }
        for j in y0..=y1 {
            for i in x0..=x1 {
                let here = [(i * BLOCK) as f32, (j * BLOCK) as f32];
                let mut d = moved[j * self.cols + i];
                for _ in 1..ROUNDS {
                    d = self.between(moved, [here[0] - d[0], here[1] - d[1]]);
                }
                out[j * self.cols + i] = [here[0] - d[0], here[1] - d[1]];
            }
        }
    }

    fn turned(&self, turn: &[[f32; 3]; 3], p: [f32; 3], share: f32) -> [f32; 3] {
        let pivot = self.neck.pivot;
        let d = [p[0] - pivot[0], p[1] - pivot[1], p[2] - pivot[2]];
        std::array::from_fn(|k| {
            let q = turn[k][0] * d[0] + turn[k][1] * d[1] + turn[k][2] * d[2];
            p[k] + (q - d[k]) * share
        })
    }

    /// The field, known in reach, between its nodes.
    fn between(&self, field: &[[f32; 2]], at: [f32; 2]) -> [f32; 2] {
        let Rect { x0, y0, x1, y1 } = self.reach;
        let x = (at[0] / BLOCK as f32).clamp(x0 as f32, x1 as f32 - 0.001);
        let y = (at[1] / BLOCK as f32).clamp(y0 as f32, y1 as f32 - 0.001);
        let (i, j) = (x as usize, y as usize);
        let (fx, fy) = (x - i as f32, y - j as f32);
        let top = &field[j * self.cols + i..][..2];
        let bottom = &field[(j + 1) * self.cols + i..][..2];
        let mut out = [0.0; 2];
        for k in 0..2 {
            let a = top[0][k] + (top[1][k] - top[0][k]) * fx;
            let b = bottom[0][k] + (bottom[1][k] - bottom[0][k]) * fx;
            out[k] = a + (b - a) * fy;
        }
        out
    }
}

/// Yaw about y, then pitch about x, then roll about z, applied from the right.
fn rotation(at: Attitude) -> [[f32; 3]; 3] {
    let (sy, cy) = at.yaw.sin_cos();
    let (sp, cp) = at.pitch.sin_cos();
    let (sr, cr) = at.roll.sin_cos();
    let yaw = [[cy, 0.0, sy], [0.0, 1.0, 0.0], [-sy, 0.0, cy]];
    let pitch = [[1.0, 0.0, 0.0], [0.0, cp, -sp], [0.0, sp, cp]];
    let roll = [[cr, -sr, 0.0], [sr, cr, 0.0], [0.0, 0.0, 1.0]];
    product(&product(&yaw, &pitch), &roll)
}

fn product(a: &[[f32; 3]; 3], b: &[[f32; 3]; 3]) -> [[f32; 3]; 3] {
    std::array::from_fn(|r| std::array::from_fn(|c| (0..3).map(|k| a[r][k] * b[k][c]).sum()))
}

/// Catmull-Rom between the pack's nodes, so that the warp has no visible creases at them.
fn smooth_point(points: &[[f32; 3]], cols: usize, x: f32, y: f32) -> [f32; 3] {
    let rows = points.len() / cols;
    let (x, y) = (x.min((cols - 1) as f32), y.min((rows - 1) as f32));
    let (i, j) = ((x as usize).min(cols - 2), (y as usize).min(rows - 2));
    let (wx, wy) = (catmull_rom(x - i as f32), catmull_rom(y - j as f32));
    let mut out = [0.0; 3];
    for (b, wy) in wy.iter().enumerate() {
        let row = (j + b).saturating_sub(1).min(rows - 1);
        for (a, wx) in wx.iter().enumerate() {
            let p = points[row * cols + (i + a).saturating_sub(1).min(cols - 1)];
            out = std::array::from_fn(|k| out[k] + p[k] * wx * wy);
        }
    }
    out
}

fn catmull_rom(t: f32) -> [f32; 4] {
    let (t2, t3) = (t * t, t * t * t);
    [0.5 * (-t + 2.0 * t2 - t3), 0.5 * (2.0 - 5.0 * t2 + 3.0 * t3), 0.5 * (t + 4.0 * t2 - 3.0 * t3), 0.5 * (t3 - t2)]
}

fn cover(head: &[Rgba], width: usize, cols: usize, rows: usize) -> Vec<Cover> {
    let height = head.len() / width;
    let mut out = Vec::with_capacity(cols * rows);
    for j in 0..rows {
        for i in 0..cols {
            let (mut low, mut high) = (255, 0);
            for y in j * BLOCK..((j + 1) * BLOCK).min(height) {
                for p in &head[y * width + (i * BLOCK).min(width)..y * width + ((i + 1) * BLOCK).min(width)] {
                    (low, high) = (low.min(p[3]), high.max(p[3]));
                }
            }
            out.push(match (low, high) {
                (_, 0) => Cover::Nothing,
                (255, _) => Cover::Everything,
                _ => Cover::Some,
            });
        }
    }
    out
}

/// The blocks where anything is, and `room` more to each side; rounded outwards to even sides. All if there is nothing.
fn reach(blocks: &[Cover], cols: usize, room: usize) -> Rect {
    let all = Rect { x0: 0, y0: 0, x1: cols, y1: blocks.len() / cols };
    let there = blocks.iter().enumerate().filter(|(_, cover)| **cover != Cover::Nothing);
    let bounds = there.map(|(n, _)| [n % cols, n / cols, n % cols + 1, n / cols + 1]);
    let Some([x0, y0, x1, y1]) = bounds.reduce(|a, b| [a[0].min(b[0]), a[1].min(b[1]), a[2].max(b[2]), a[3].max(b[3])])
    else {
        return all;
    };
    let low = |v: usize| v.saturating_sub(room) / 2 * 2;
    Rect { x0: low(x0), y0: low(y0), x1: (x1 + room).next_multiple_of(2), y1: (y1 + room).next_multiple_of(2) }
        .intersection(all)
}

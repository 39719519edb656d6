//! A part of the face (mouth, eyes, brows) in all its poses, prepared for [`crate::render::morph`].
//!
//! In: the pose's picture and flow as packed. Out: pictures that join the resting head without a seam, a mask of what is
//! seen inside the mouth, and tiles sorted by how much work they need. Runs once, at load.

use crate::render::pixel::{Lanes, Rect, Rgba, gather, spread, yuva};

/// Steps of the packed flow in a pixel.
pub(in crate::render) const FLOW_STEPS: f32 = 4.0;

/// Width of the border over which a patch fades into the head, in pixels (`docs/design/avatar-pack.md`).
const FEATHER_PX: f32 = 8.0;

/// Grey levels by which a patch may differ from the resting head from noise and compression alone, as the mean over
/// `2 × NOISE_RADIUS + 1` pixels: below the first the head's own pixels are kept, above the second the patch's. Without it,
/// cheeks shimmer while the mouth speaks, and every pixel has to be painted for it.
const NOISE_LEVELS: (f32, f32) = (3.0, 7.0);
const NOISE_RADIUS: usize = 3;

/// Shading changes as far from moving skin as this, in pixels; what changes farther away is noise.
const SHADING_PX: usize = 16;

/// Side of a tile in pixels.
const TILE_PX: usize = 8;

/// A tile whose inner nodes are this close to where its corners put them is drawn as two triangles (pixels): two steps
/// of the packed flow, which nobody sees on skin.
const SMOOTH_PX: f32 = 0.5;

/// Flow that changes by more than this from one node to the next tears the skin: lips that part (pixels a pixel).
const TEAR: f32 = 0.6;

/// How often its resting size a cell of flow must grow before what it shows is the inside of the mouth: from, to.
const INSIDE_GROWTH: (f32, f32) = (2.0, 3.5);

/// A tile that differs from rest by no more grey levels than this anywhere and moves by no more steps of flow is plain
/// skin that hardly moves: fading it shows no double edges, so it need not be bent.
const PLAIN_LEVELS: u8 = 10;
const PLAIN_STEPS: u8 = 3;

/// Two nodes, one above the other, that go apart by more than this belong to two lips (pixels).
const PARTING_PX: f32 = 3.0;

/// How far the nodes of the two lips lie from the line between them, in cells.
const LIP_EDGE: f32 = 0.15;

/// What a pose does to a tile, the most laborious last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::render) enum Tile {
    /// Nothing: it looks as at rest.
    Still,
    /// Colours change, nothing moves.
    Flat,
    /// Moves as one piece: two triangles.
    Smooth,
    /// Moves node by node.
    Fine,
    /// Opens: the inside of the mouth is seen.
    Torn,
}

/// One pose.
pub(in crate::render) struct Pose {
    /// The size of the patch's area; once finished, [`crate::render::pixel::Yuva`].
    pub(in crate::render) image: Vec<Lanes>,
    /// Per node, where the skin of the rest face goes: dx dy in 1/4 px.
    pub(in crate::render) flow: Vec<[i8; 2]>,
    /// Per pixel of `image`, 255 where it shows what the rest face hides: teeth, tongue, the white of a wider eye.
    pub(in crate::render) inside: Vec<u8>,
    /// In rows, [`Patch::tile_cols`] a row.
    pub(in crate::render) tiles: Vec<Tile>,
}

/// A part of the face; its first pose is the rest face.
pub(in crate::render) struct Patch {
    /// Where it lies in the frame.
    pub(in crate::render) area: Rect,
    /// Pixels between two nodes.
    pub(in crate::render) cell: usize,
    /// Nodes in a row.
    pub(in crate::render) cols: usize,
    /// Nodes in a column.
    pub(in crate::render) rows: usize,
    pub(in crate::render) poses: Vec<Pose>,
    /// Per node, how far below its place in the grid it lies, in pixels: the nodes along the lips lie on the lips' edges,
    /// or else parting lips would show the grid's steps.
    pub(in crate::render) shifts: Vec<f32>,
    /// Cells along a tile's side.
    pub(in crate::render) tile_cells: usize,
    /// Tiles in a row; those at the right and bottom may be cut.
    pub(in crate::render) tile_cols: usize,
}

impl Patch {
    /// A patch with the rest pose alone, cut from `head`.
    pub(super) fn new(area: Rect, cell: usize, head: &[Rgba], head_width: usize) -> Self {
        let (cols, rows) = (area.width() / cell + 1, area.height() / cell + 1);
        let pixels = (area.y0..area.y1).map(|y| &head[y * head_width + area.x0..y * head_width + area.x1]);
        let image: Vec<Lanes> = pixels.flatten().map(|p| spread(*p)).collect();
        let tile_cells = (TILE_PX / cell).max(1);
        let (tile_cols, tile_rows) = ((cols - 1).div_ceil(tile_cells), (rows - 1).div_ceil(tile_cells));
        let tiles = vec![Tile::Still; tile_cols * tile_rows];
        let rest = Pose { inside: vec![0; image.len()], image, flow: vec![[0; 2]; cols * rows], tiles };
        Self { area, cell, cols, rows, poses: vec![rest], shifts: vec![0.0; cols * rows], tile_cells, tile_cols }
    }

    /// Nodes of the flow.
    pub(super) fn nodes(&self) -> usize {
        self.cols * self.rows
    }

    /// The next pose; `flow` holds two bytes a node.
    pub(super) fn add(&mut self, image: &[Rgba], flow: &[u8]) {
        let flow: Vec<[i8; 2]> = flow.as_chunks().0.iter().map(|&[dx, dy]| [dx as i8, dy as i8]).collect();
        let image = self.joined(image, &flow);
        self.poses.push(Pose { image, flow, inside: Vec::new(), tiles: Vec::new() });
    }

    /// Sorts the tiles; call when all poses are in. `lips` if the part can open along a line.
    pub(super) fn finished(mut self, lips: bool) -> Self {
        if lips {
            self.shift_to_lips();
        }
        for n in 1..self.poses.len() {
            let (image, flow) = (&self.poses[n].image, &self.poses[n].flow);
            let inside = self.inside(flow);
            let tiles = (0..self.poses[0].tiles.len()).map(|tile| self.tile(image, flow, self.span(tile))).collect();
            (self.poses[n].inside, self.poses[n].tiles) = (inside, tiles);
        }
        // Seams and tiles are judged in red, green and blue; what is painted is what encoders want.
        for pixel in self.poses.iter_mut().flat_map(|pose| &mut pose.image) {
            *pixel = spread(yuva(gather(*pixel)));
        }
        self
    }

    /// Finds between which rows each column's lips part, smooths that line, and moves the nodes beside it onto it.
    fn shift_to_lips(&mut self) {
        let parting = |i: usize, j: usize| {
            let dy = |flow: &[[i8; 2]], j: usize| f32::from(flow[j * self.cols + i][1]);
            self.poses.iter().map(|p| dy(&p.flow, j + 1) - dy(&p.flow, j)).fold(0.0, f32::max) / FLOW_STEPS
        };
        let line: Vec<Option<usize>> = (0..self.cols)
            .map(|i| {
                (0..self.rows - 1)
                    .max_by(|a, b| parting(i, *a).total_cmp(&parting(i, *b)))
                    .filter(|j| parting(i, *j) > PARTING_PX)
            })
            .collect();
        for (i, row) in line.iter().enumerate() {
            let Some(row) = *row else { continue };
            let near = i.saturating_sub(3)..(i + 4).min(self.cols);
            let rows = near.filter_map(|k| line[k]).filter(|other| other.abs_diff(row) <= 2);
            let (sum, count) = rows.fold((0, 0), |(sum, count), other| (sum + other, count + 1));
            // Halfway between two rows, as far as is known; the mean over seven columns knows better.
            let edge = (sum as f32 / count as f32 - row as f32).clamp(-0.6, 0.6) + 0.5;
            let cell = self.cell as f32;
            self.shifts[row * self.cols + i] = (edge - LIP_EDGE) * cell;
            self.shifts[(row + 1) * self.cols + i] = (edge + LIP_EDGE - 1.0) * cell;
        }
    }

    /// Nodes of a tile: first and last column and row.
    pub(in crate::render) fn span(&self, tile: usize) -> [usize; 4] {
        let (n, i, j) = (self.tile_cells, tile % self.tile_cols, tile / self.tile_cols);
        [i * n, ((i + 1) * n).min(self.cols - 1), j * n, ((j + 1) * n).min(self.rows - 1)]
    }

    /// Where a node lies at rest, in pixels of the area.
    pub(in crate::render) fn place(&self, i: usize, j: usize) -> (f32, f32) {
        ((i * self.cell) as f32, (j * self.cell) as f32 + self.shifts[j * self.cols + i])
    }

    /// The pose's picture with the head's own pixels where it only differs by noise, and towards the border.
    fn joined(&self, image: &[Rgba], flow: &[[i8; 2]]) -> Vec<Lanes> {
        let (w, h) = (self.area.width(), self.area.height());
        let rest: Vec<Rgba> = self.poses[0].image.iter().map(|p| gather(*p)).collect();
        let mut change = vec![0.0; w * h];
        for c in 0..4 {
            let signed: Vec<f32> = image.iter().zip(&rest).map(|(a, b)| f32::from(a[c]) - f32::from(b[c])).collect();
            for (change, mean) in change.iter_mut().zip(blurred(&signed, w, NOISE_RADIUS)) {
                *change = mean.abs().max(*change);
            }
        }
        let near = self.near_motion(flow);
        let join = |(i, p): (usize, &Rgba)| {
            let (x, y) = (i % w, i / w);
            let border = x.min(w - 1 - x).min(y.min(h - 1 - y)) as f32;
            let k = smoothstep(NOISE_LEVELS.0, NOISE_LEVELS.1, change[i]) * near[i] * smoothstep(0.0, FEATHER_PX, border);
            spread(std::array::from_fn(|c| {
                let (from, to) = (f32::from(rest[i][c]), f32::from(p[c]));
                (from + (to - from) * k).round() as u8
            }))
        };
        image.iter().enumerate().map(join).collect()
    }

    /// Per pixel, 1 close to skin that moves and 0 far from it.
    fn near_motion(&self, flow: &[[i8; 2]]) -> Vec<f32> {
        let (w, h) = (self.area.width(), self.area.height());
        let mut near = vec![0.0; w * h];
        for (n, _) in flow.iter().enumerate().filter(|(_, f)| f[0].abs().max(f[1].abs()) > 1) {
            let (x, y) = (n % self.cols * self.cell, n / self.cols * self.cell);
            for row in near.chunks_exact_mut(w).take(y + SHADING_PX).skip(y.saturating_sub(SHADING_PX)) {
                row[x.saturating_sub(SHADING_PX)..(x + SHADING_PX).min(w)].fill(1.0);
            }
        }
        blurred(&near, w, SHADING_PX / 4)
    }

    /// Where a pose shows what the rest face hides, from how much each cell grows.
    fn inside(&self, flow: &[[i8; 2]]) -> Vec<u8> {
        let (w, h) = (self.area.width(), self.area.height());
        let mut mask = vec![0.0_f32; w * h];
        let node = |i: usize, j: usize| {
            let (x, y) = self.place(i, j);
            let f = flow[j * self.cols + i];
            [x + f32::from(f[0]) / FLOW_STEPS, y + f32::from(f[1]) / FLOW_STEPS]
        };
        for j in 0..self.rows - 1 {
            for i in 0..self.cols - 1 {
                let (a, b, c, d) = (node(i, j), node(i + 1, j), node(i, j + 1), node(i + 1, j + 1));
                let shown = self.shown(flow, i, j);
                if shown > 0.0 {
                    let (x0, x1) = (a[0].min(c[0]).max(0.0) as usize, b[0].max(d[0]).clamp(0.0, w as f32) as usize);
                    let (y0, y1) = (a[1].min(b[1]).max(0.0) as usize, c[1].max(d[1]).clamp(0.0, h as f32) as usize);
                    for row in mask.chunks_exact_mut(w).take(y1).skip(y0) {
                        row[x0.min(x1)..x1].iter_mut().for_each(|m| *m = m.max(shown));
                    }
                }
            }
        }
        blurred(&mask, w, 1).iter().map(|m| (m * 255.0) as u8).collect()
    }

    /// How much of what a cell shows is hidden at rest, 0 to 1. Down only counts: lips part up and down, and cheeks that
    /// widen show nothing new.
    fn shown(&self, flow: &[[i8; 2]], i: usize, j: usize) -> f32 {
        let dy = |i: usize, j: usize| f32::from(flow[j * self.cols + i][1]);
        let parted = (dy(i, j + 1) - dy(i, j) + dy(i + 1, j + 1) - dy(i + 1, j)) / 2.0;
        smoothstep(INSIDE_GROWTH.0, INSIDE_GROWTH.1, 1.0 + parted / FLOW_STEPS / self.cell as f32)
    }

    fn tile(&self, image: &[Lanes], flow: &[[i8; 2]], span: [usize; 4]) -> Tile {
        let [i0, i1, j0, j1] = span;
        if (j0..j1).any(|j| (i0..i1).any(|i| self.shown(flow, i, j) > 0.0)) {
            return Tile::Torn;
        }
        let (w, rest) = (self.area.width(), &self.poses[0].image);
        let pixels = (j0 * self.cell..j1 * self.cell).flat_map(|y| y * w + i0 * self.cell..y * w + i1 * self.cell);
        let difference =
            |at: usize| gather(image[at]).iter().zip(gather(rest[at])).map(|(a, b)| a.abs_diff(b)).fold(0, u8::max);
        let changed = pixels.map(difference).fold(0, u8::max);
        let rows = (j0..=j1).map(|j| &flow[j * self.cols + i0..=j * self.cols + i1]);
        let moved = rows.flatten().map(|f| f[0].unsigned_abs().max(f[1].unsigned_abs())).fold(0, u8::max);
        match (changed, moved) {
            (0, 0) => Tile::Still,
            (_, 0) | (..=PLAIN_LEVELS, ..=PLAIN_STEPS) => Tile::Flat,
            _ if self.moves_smoothly(flow, span) => Tile::Smooth,
            _ => Tile::Fine,
        }
    }

    /// Whether two triangles between the tile's corners say where its inner nodes go.
    fn moves_smoothly(&self, flow: &[[i8; 2]], [i0, i1, j0, j1]: [usize; 4]) -> bool {
        let at = |i: usize, j: usize| flow[j * self.cols + i].map(|v| f32::from(v) / FLOW_STEPS);
        let (a, b, c, d) = (at(i0, j0), at(i1, j0), at(i0, j1), at(i1, j1));
        let steep =
            |p: [f32; 2], q: [f32; 2], cells: usize| (0..2).any(|k| (p[k] - q[k]).abs() > TEAR * (cells * self.cell) as f32);
        if steep(a, b, i1 - i0) || steep(c, d, i1 - i0) || steep(a, c, j1 - j0) || steep(b, d, j1 - j0) {
            return false;
        }
        (j0..=j1).all(|j| {
            (i0..=i1).all(|i| {
                let (x, y) = ((i - i0) as f32 / (i1 - i0) as f32, (j - j0) as f32 / (j1 - j0) as f32);
                let f = at(i, j);
                (0..2).all(|k| {
                    let (top, bottom) = (a[k] + (b[k] - a[k]) * x, c[k] + (d[k] - c[k]) * x);
                    (f[k] - (top + (bottom - top) * y)).abs() <= SMOOTH_PX
                })
            })
        })
    }
}

/// Mean over a square of `2 × radius + 1` pixels; the border repeats.
fn blurred(v: &[f32], width: usize, radius: usize) -> Vec<f32> {
    let height = v.len() / width;
    let n = (2 * radius + 1) as f32;
    let pass = |v: &[f32], step: usize, len: usize, index: &dyn Fn(usize) -> usize| -> Vec<f32> {
        (0..v.len())
            .map(|p| {
                let at = index(p);
                let base = p - at * step;
                (0..=2 * radius).map(|k| v[base + (at + k).saturating_sub(radius).min(len - 1) * step]).sum::<f32>() / n
            })
            .collect()
    };
    let rows = pass(v, 1, width, &|p| p % width);
    pass(&rows, width, height, &|p| p / width)
}

fn smoothstep(from: f32, to: f32, v: f32) -> f32 {
    let t = ((v - from) / (to - from)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

//! `manifest.json`: what a pack says about itself, checked before anything else is believed. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Fault;
use crate::render::pixel::Rect;

/// The one layout that is read.
pub(super) const VERSION: u32 = 1;

/// Longest side of a picture, in pixels: 4096 × 4096 RGBA is 64 MiB, more than any encoder of ours is asked for.
pub(super) const MAX_SIDE: u32 = 4_096;

/// Shortest side: a face with 8 px feathers needs some room.
const MIN_SIDE: u32 = 64;

/// Most nodes along a side of the head grid.
const MAX_GRID: usize = 513;

#[derive(Debug, Deserialize)]
pub(super) struct Manifest {
    pub(super) id: String,
    pub(super) name: BTreeMap<String, String>,
    pub(super) licence: String,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) voice: String,
    pub(super) grid: Grid,
    pub(super) camera: Camera,
    pub(super) neck: Neck,
    groups: BTreeMap<String, Area>,
    poses: BTreeMap<String, PoseEntry>,
    files: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Grid {
    pub(super) cols: usize,
    pub(super) rows: usize,
}

#[derive(Debug, Deserialize)]
pub(super) struct Camera {
    pub(super) matrix: [[f32; 4]; 4],
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Neck {
    pub(super) pivot: [f32; 3],
    pub(super) base_y: f32,
    pub(super) span: f32,
}

#[derive(Clone, Debug, Deserialize)]
struct Area {
    #[serde(rename = "box")]
    corners: [i64; 4],
    flow_cell: usize,
}

#[derive(Debug, Deserialize)]
struct PoseEntry {
    group: String,
}

impl Manifest {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        // The version first: a newer pack may have other keys.
        let Version { version } = serde_json::from_slice(bytes).map_err(Fault::Manifest)?;
        if version != VERSION {
            return Err(Fault::Version(version));
        }
        let it: Self = serde_json::from_slice(bytes).map_err(Fault::Manifest)?;
        it.check()?;
        Ok(it)
    }

    /// The checksum of a file, lower-case hexadecimal.
    pub(super) fn checksum(&self, file: &str) -> Option<&str> {
        self.files.get(file).map(String::as_str)
    }

    /// Where the group lies and how many pixels its flow nodes are apart.
    pub(super) fn group(&self, name: &'static str) -> Result<(Rect, usize), Fault> {
        let area = self.groups.get(name).ok_or(Fault::GroupMissing(name))?;
        let [x0, y0, x1, y1] = area.corners;
        let inside = 0 <= x0 && x0 < x1 && x1 <= i64::from(self.width) && 0 <= y0 && y0 < y1 && y1 <= i64::from(self.height);
        // Smaller than its own feather, a box shows nothing.
        let room = inside && x1 - x0 >= 16 && y1 - y0 >= 16;
        // Chroma is subsampled by two.
        let even = area.corners.iter().all(|side| side % 2 == 0);
        let rect = Rect { x0: x0.max(0) as usize, y0: y0.max(0) as usize, x1: x1.max(0) as usize, y1: y1.max(0) as usize };
        let cell = area.flow_cell;
        if !room
            || !even
            || cell == 0
            || cell > 64
            || !rect.width().is_multiple_of(cell)
            || !rect.height().is_multiple_of(cell)
        {
            return Err(Fault::Box(name));
        }
        Ok((rect, cell))
    }

    /// Whether the pack has this pose in this group.
    pub(super) fn has_pose(&self, pose: &str, group: &str) -> bool {
        self.poses.get(pose).is_some_and(|entry| entry.group == group)
    }

    fn check(&self) -> Result<(), Fault> {
        let side = MIN_SIDE..=MAX_SIDE;
        let (w, h) = (self.width, self.height);
        if !side.contains(&w) || !side.contains(&h) || !w.is_multiple_of(2) || !h.is_multiple_of(2) {
            return Err(Fault::Frame { width: w, height: h });
        }
        if !(2..=MAX_GRID).contains(&self.grid.cols) || !(2..=MAX_GRID).contains(&self.grid.rows) {
            return Err(Fault::Grid);
        }
        let finite = self.camera.matrix.as_flattened().iter().chain(&self.neck.pivot).all(|v| v.is_finite());
        if !finite || !self.neck.base_y.is_finite() || !self.neck.span.is_finite() || self.neck.span <= 0.0 {
            return Err(Fault::Neck);
        }
        Ok(())
    }
}

//! An avatar pack in memory: layers, head grid, poses. Loaded once, blocking, at start-up; every session shares it.
//!
//! In: a folder as `docs/design/avatar-pack.md` describes. Out: an [`Avatar`], or an [`Error`] that names the file.
//! Nothing in a pack is believed before it is checked: a hostile one costs an error, not a panic.

mod error;
mod folder;
mod manifest;
mod patch;
#[cfg(test)]
pub(in crate::render) mod synthetic;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

pub use error::{Error, Fault};
pub(super) use patch::{FLOW_STEPS, Patch, Pose, Tile};

use self::folder::Folder;
use super::layer::Layer;
use super::pixel::{Rgba, spread, yuva};
use super::sway::{Camera, HeadGrid, Neck};
use crate::media::VideoFrame;

/// The mouth's poses, in the order of the weights that [`super::composite::Rig`] carries; the first is the rest face.
pub(super) const MOUTH: [&str; 20] = [
    "sil",
    "PP",
    "FF",
    "TH",
    "DD",
    "kk",
    "CH",
    "SS",
    "nn",
    "RR",
    "aa",
    "E",
    "ih",
    "oh",
    "ou",
    "aa_half",
    "E_half",
    "oh_half",
    "smile",
    "smile_open",
];

/// The eyes' poses; the first is the rest face.
pub(super) const EYES: [&str; 10] =
    ["rest", "blink_25", "blink_50", "blink_75", "blink_100", "gaze_l", "gaze_r", "gaze_u", "gaze_d", "squint"];

/// The brows' poses; the first is the rest face.
pub(super) const BROWS: [&str; 3] = ["rest", "brow_up", "brow_down"];

/// A character that can be painted. About 9 MiB at 512 × 512.
pub struct Avatar {
    id: String,
    names: BTreeMap<String, String>,
    licence: String,
    voice: String,
    width: u32,
    height: u32,
    thumbnail: Vec<u8>,
    poster: Vec<u8>,
    pub(super) back: VideoFrame,
    pub(super) head: Layer,
    pub(super) front: Layer,
    pub(super) grid: HeadGrid,
    pub(super) mouth: Patch,
    pub(super) eyes: Patch,
    pub(super) brows: Patch,
}

impl Avatar {
    /// Reads and checks the pack in `dir`. Blocking: half a second of decoding.
    pub fn load(dir: &Path) -> Result<Self, Error> {
        let folder = Folder::new(dir);
        let manifest = folder.manifest()?;
        let (w, h) = (manifest.width as usize, manifest.height as usize);
        let head = folder.picture(&manifest, "head.webp", (w, h))?;
        let group = |name, poses| load_group(&folder, &manifest, &head, name, poses);
        let (mouth, eyes, brows) = (group("mouth", &MOUTH)?, group("eyes", &EYES)?, group("brows", &BROWS)?);
        if mouth.area.intersection(eyes.area).area() + mouth.area.intersection(brows.area).area() > 0 {
            return Err(folder.blame("manifest.json")(Fault::Box("mouth")));
        }
        let points = folder.checked(&manifest, "grid.bin")?;
        let camera = Camera::new(manifest.camera.matrix, w, h);
        let neck = Neck { pivot: manifest.neck.pivot, base_y: manifest.neck.base_y, span: manifest.neck.span };
        let points = nodes(&points, manifest.grid.cols * manifest.grid.rows).map_err(folder.blame("grid.bin"))?;
        let grid = HeadGrid::new(&points, manifest.grid.cols, camera, neck, &head, w)
            .ok_or(Fault::Grid)
            .map_err(folder.blame("grid.bin"))?;
        let mut back = folder.picture(&manifest, "back.webp", (w, h))?;
        for pixel in &mut back {
            pixel[3] = 255;
        }
        Ok(Self {
            thumbnail: folder.checked(&manifest, "thumb.webp")?,
            poster: folder.checked(&manifest, "poster.webp")?,
            front: layer(&folder.picture(&manifest, "front.webp", (w, h))?, w),
            id: manifest.id,
            names: manifest.name,
            licence: manifest.licence,
            voice: manifest.voice,
            width: manifest.width,
            height: manifest.height,
            back: layer(&back, w).into_picture(),
            head: layer(&head, w),
            grid,
            mouth,
            eyes,
            brows,
        })
    }

    /// What requests and the configuration call it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What people call it, by language (`en`, `zh`).
    pub fn names(&self) -> &BTreeMap<String, String> {
        &self.names
    }

    /// SPDX identifier of the pictures' licence.
    pub fn licence(&self) -> &str {
        &self.licence
    }

    /// The voice that suits it.
    pub fn voice(&self) -> &str {
        &self.voice
    }

    /// Pixels across; even.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Pixels down; even.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// 128 × 128 for a picker, WebP.
    pub fn thumbnail(&self) -> &[u8] {
        &self.thumbnail
    }

    /// The whole rest picture, WebP: shown until the stream is there.
    pub fn poster(&self) -> &[u8] {
        &self.poster
    }
}

impl std::fmt::Debug for Avatar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Avatar({:?}, {}x{})", self.id, self.width, self.height)
    }
}

fn load_group(
    folder: &Folder,
    manifest: &manifest::Manifest,
    head: &[Rgba],
    group: &'static str,
    poses: &[&'static str],
) -> Result<Patch, Error> {
    let in_manifest = |fault| folder.blame("manifest.json")(fault);
    let (area, cell) = manifest.group(group).map_err(in_manifest)?;
    let mut patch = Patch::new(area, cell, head, manifest.width as usize);
    for &name in &poses[1..] {
        if !manifest.has_pose(name, group) {
            return Err(in_manifest(Fault::PoseMissing(name)));
        }
        let image = folder.picture(manifest, &format!("{name}.webp"), (area.width(), area.height()))?;
        let file = format!("{name}.flow");
        let flow = folder.checked(manifest, &file)?;
        let size = |bytes| (bytes, 1);
        if flow.len() != patch.nodes() * 2 {
            return Err(folder.blame(&file)(Fault::Size { found: size(flow.len()), expected: size(patch.nodes() * 2) }));
        }
        patch.add(&image, &flow);
    }
    Ok(patch.finished(group == "mouth"))
}

fn layer(pixels: &[Rgba], width: usize) -> Layer {
    let pixels: Vec<_> = pixels.iter().map(|p| spread(yuva(*p))).collect();
    Layer::new(&pixels, width)
}

/// f32 little endian triples.
fn nodes(bytes: &[u8], count: usize) -> Result<Vec<[f32; 3]>, Fault> {
    if bytes.len() != count * 12 {
        return Err(Fault::Size { found: (bytes.len(), 1), expected: (count * 12, 1) });
    }
    let values: Vec<f32> = bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
    if values.iter().all(|v| v.is_finite()) { Ok(values.as_chunks().0.to_vec()) } else { Err(Fault::Grid) }
}

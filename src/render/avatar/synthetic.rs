//! A small pack made in code, for tests: a flat face of 96 × 96 whose mouth can open.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::Cursor;
use std::path::PathBuf;
use std::sync::Arc;

use image::{ImageFormat, RgbaImage};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Avatar, BROWS, EYES, Error, MOUTH};

const SIDE: u32 = 96;
const GROUPS: [(&str, [u32; 4], &[&str]); 3] =
    [("mouth", [24, 52, 72, 88], &MOUTH), ("eyes", [24, 24, 72, 44], &EYES), ("brows", [20, 12, 76, 32], &BROWS)];
const CELL: u32 = 4;

/// A pack that a test may spoil before it is loaded.
pub(in crate::render) struct Pack {
    pub(in crate::render) files: BTreeMap<String, Vec<u8>>,
    pub(in crate::render) manifest: Value,
    dir: PathBuf,
}

/// An avatar that loads.
pub(in crate::render) fn avatar(test: &str) -> Arc<Avatar> {
    Arc::new(Pack::new(test).load().expect("the unspoilt pack is valid"))
}

impl Pack {
    /// `test` names its folder.
    pub(in crate::render) fn new(test: &str) -> Self {
        let mut files = BTreeMap::new();
        let face =
            |x: u32, y: u32| if (12..84).contains(&x) && (4..92).contains(&y) { [200, 160, 140, 255] } else { [0; 4] };
        files.insert("back.webp".into(), picture([0, 0, SIDE, SIDE], |x, y| [x as u8, y as u8, 90, 255]));
        files.insert("head.webp".into(), picture([0, 0, SIDE, SIDE], face));
        files.insert(
            "front.webp".into(),
            picture([0, 0, SIDE, SIDE], |_, y| if y >= 90 { [10, 90, 90, 255] } else { [0; 4] }),
        );
        files.insert("thumb.webp".into(), picture([0, 0, 16, 16], face));
        files.insert("poster.webp".into(), picture([0, 0, SIDE, SIDE], face));
        files.insert("grid.bin".into(), grid());
        let mut poses = serde_json::Map::new();
        for (group, area, names) in GROUPS {
            for (n, name) in names.iter().enumerate().skip(1) {
                let shade = 30 + 7 * n as u8;
                let image = |x: u32, y: u32| if middle(area, x, y) { [shade, 20, 20, 255] } else { face(x, y) };
                files.insert(format!("{name}.webp"), picture(area, image));
                files.insert(format!("{name}.flow"), flow(area));
                poses.insert((*name).to_owned(), json!({ "group": group }));
            }
        }
        let groups: BTreeMap<_, _> = GROUPS.map(|(name, area, _)| (name, json!({ "box": area, "flow_cell": CELL }))).into();
        let manifest = json!({
            "version": 1, "id": "test", "name": {"en": "Test"}, "licence": "CC0-1.0", "width": SIDE, "height": SIDE, "voice": "heart",
            "grid": {"cols": 13, "rows": 13},
            "camera": {"matrix": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]},
            "neck": {"pivot": [0.0, -1.0, 0.0], "base_y": -0.9, "span": 0.5},
            "groups": groups, "poses": poses, "files": {},
        });
        let dir = std::env::temp_dir().join(format!("visavis-avatar-{}-{test}", std::process::id()));
        Self { files, manifest, dir }
    }

    /// Writes the files with their right checksums and loads the folder.
    pub(in crate::render) fn load(&mut self) -> Result<Avatar, Error> {
        for (name, bytes) in &self.files {
            let sum = Sha256::digest(bytes).iter().fold(String::new(), |mut hex, byte| {
                write!(hex, "{byte:02x}").expect("a string takes all");
                hex
            });
            self.manifest["files"][name] = json!(sum);
        }
        self.load_as_it_is()
    }

    /// Writes the files and loads the folder, whatever the manifest says.
    pub(in crate::render) fn load_as_it_is(&self) -> Result<Avatar, Error> {
        std::fs::create_dir_all(&self.dir).expect("the temporary folder can be written");
        for (name, bytes) in &self.files {
            std::fs::write(self.dir.join(name), bytes).expect("the temporary folder can be written");
        }
        std::fs::write(self.dir.join("manifest.json"), self.manifest.to_string())
            .expect("the temporary folder can be written");
        Avatar::load(&self.dir)
    }
}

impl Drop for Pack {
    fn drop(&mut self) {
        // What is left behind in the temporary folder harms nobody.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// A picture of the area, lossless.
pub(in crate::render) fn picture([x0, y0, x1, y1]: [u32; 4], pixel: impl Fn(u32, u32) -> [u8; 4]) -> Vec<u8> {
    let image = RgbaImage::from_fn(x1 - x0, y1 - y0, |x, y| image::Rgba(pixel(x0 + x, y0 + y)));
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::WebP).expect("memory takes all");
    bytes.into_inner()
}

fn middle([x0, y0, x1, y1]: [u32; 4], x: u32, y: u32) -> bool {
    (x0 + 10..x1 - 10).contains(&x) && (y0 + 8..y1 - 8).contains(&y)
}

/// The inner nodes of the lower half go down by 2 px.
fn flow([x0, y0, x1, y1]: [u32; 4]) -> Vec<u8> {
    let (cols, rows) = ((x1 - x0) / CELL + 1, (y1 - y0) / CELL + 1);
    let inner = |i, j| (2..cols - 2).contains(&i) && (rows / 2..rows - 1).contains(&j);
    (0..rows).flat_map(|j| (0..cols).flat_map(move |i| [0, if inner(i, j) { 8 } else { 0 }])).collect()
}

/// A plane that fills the frame.
fn grid() -> Vec<u8> {
    let node = |n: u32| n as f32 / 6.0 - 1.0;
    (0..13).flat_map(|j| (0..13).flat_map(move |i| [node(i), -node(j), 0.0])).flat_map(f32::to_le_bytes).collect()
}

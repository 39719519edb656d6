//! A photograph as a pack of our own rig (`docs/design/avatar-pack.md`): head that sways, lips, lids, eyes and brows that move.
//!
//! In: a photograph and the face in it. Out: the pack's files. The head is not cut out: the whole picture is its layer, and the
//! grid moves what is the head as if it were solid, what is around less and less, and what is far away not at all. Poses are the
//! photograph itself, bent; only what shut lips hide is painted. Blocking, a few seconds.

mod bend;
mod eyes;
mod mouth;

use std::collections::BTreeMap;
use std::io::Cursor;

use image::imageops::{self, FilterType};
use image::{ImageFormat, RgbImage, Rgba, RgbaImage};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use self::bend::{Area, Bend, CELL};
use self::eyes::{Eyes, Look};
use self::mouth::{Mouth, Shape};
use super::Error;
use super::face::{Face, Finder, distance, sample_inside};

/// Side of the picture, in pixels: that of the avatars that are shipped.
const SIDE: u32 = 512;

/// The picture is so many times as high as the face, and the face's middle lies so far above its middle, in faces.
const ZOOM: f32 = 2.5;
const RAISED: f32 = 0.12;

/// Nodes along a side of the head's grid: one each 8 pixels.
const NODES: usize = 65;

/// The head moves as one up to so many half faces from its middle, and nothing does from there on: to the sides and up, down.
const SOLID: (f32, f32) = (1.3, 1.1);
const STILL: (f32, f32) = (2.2, 2.0);

/// The head's layer is opaque up to there, and gone from there on.
const LAYER: (f32, f32) = (2.2, 2.6);

/// What each pose of the mouth is made of.
const MOUTHS: [(&str, Shape); 19] = {
    const fn shape(jaw: f32, round: f32, spread: f32) -> Shape {
        Shape { jaw, round, spread, press: 0.0, lift: 0.0, smile: 0.0, tongue: 0.0 }
    }
    const fn tongue(of: Shape) -> Shape {
        Shape { tongue: 1.0, ..of }
    }
    [
        ("PP", Shape { press: 1.0, ..shape(0.0, 0.0, 0.0) }),
        ("FF", Shape { lift: 1.0, press: 0.35, ..shape(0.12, 0.0, 0.1) }),
        ("TH", tongue(shape(0.28, 0.0, 0.2))),
        ("DD", tongue(shape(0.22, 0.0, 0.25))),
        ("kk", shape(0.30, 0.0, 0.1)),
        ("CH", Shape { lift: 0.4, ..shape(0.20, 0.45, 0.0) }),
        ("SS", Shape { lift: 0.3, ..shape(0.14, 0.0, 0.45) }),
        ("nn", tongue(shape(0.20, 0.0, 0.2))),
        ("RR", shape(0.28, 0.4, 0.0)),
        ("aa", shape(0.85, 0.0, 0.15)),
        ("E", shape(0.50, 0.0, 0.5)),
        ("ih", shape(0.28, 0.0, 0.6)),
        ("oh", shape(0.55, 0.6, 0.0)),
        ("ou", shape(0.24, 1.0, 0.0)),
        ("aa_half", shape(0.42, 0.0, 0.08)),
        ("E_half", shape(0.25, 0.0, 0.25)),
        ("oh_half", shape(0.28, 0.3, 0.0)),
        ("smile", Shape { smile: 1.0, ..shape(0.0, 0.0, 0.6) }),
        ("smile_open", Shape { smile: 1.0, lift: 0.6, ..shape(0.25, 0.0, 0.7) }),
    ]
};

/// The same of the eyes; `gaze_l` is the character's left, the picture's right.
const EYES: [(&str, Look); 9] = {
    const fn look(blink: f32, squint: f32, right: f32, down: f32) -> Look {
        Look { blink, squint, right, down }
    }
    [
        ("blink_25", look(0.25, 0.0, 0.0, 0.0)),
        ("blink_50", look(0.5, 0.0, 0.0, 0.0)),
        ("blink_75", look(0.75, 0.0, 0.0, 0.0)),
        ("blink_100", look(1.0, 0.0, 0.0, 0.0)),
        ("gaze_l", look(0.0, 0.0, 1.0, 0.0)),
        ("gaze_r", look(0.0, 0.0, -1.0, 0.0)),
        ("gaze_u", look(0.0, 0.0, 0.0, -1.0)),
        ("gaze_d", look(0.0, 0.0, 0.0, 1.0)),
        ("squint", look(0.0, 1.0, 0.0, 0.0)),
    ]
};

const BROWS: [(&str, f32); 2] = [("brow_up", 1.0), ("brow_down", -0.7)];

/// A pack's files by name, but for `manifest.json`, which is made of them.
pub(super) struct Pack {
    files: BTreeMap<String, Vec<u8>>,
    manifest: Value,
}

impl Pack {
    /// Of the face in `photograph`; `told` hears from 0 to 1 how far it is.
    pub(super) fn of(
        id: &str,
        photograph: &RgbImage,
        face: &Face,
        finder: &Finder,
        told: &mut dyn FnMut(f32),
    ) -> Result<Self, Error> {
        let picture = framed(photograph, face);
        // Its points once more, where they will be used.
        let face = finder.find(&picture, None).ok_or(Error::NoFace)?;
        let (mouth, eyes) = (Mouth::of(&face, &picture), Eyes::of(&face, &picture));
        let area = |[left, top, right, bottom]: [f32; 4]| Area::around(left, top, right, bottom, SIDE);
        let (eye_area, brow_area) = (area(eyes.bounds()), area(eyes.brow_bounds()));
        let mouth_area = area(mouth.bounds(eye_area.y1.max(brow_area.y1) as f32));
        let mut pack = Self { files: BTreeMap::new(), manifest: manifest(id, &face) };
        let poses = (MOUTHS.len() + EYES.len() + BROWS.len()) as f32;
        let mut done = 0.0;
        let mut tick = || {
            done += 1.0;
            told(done / poses);
        };
        for (name, shape) in MOUTHS {
            pack.pose("mouth", name, &picture, mouth_area, &mouth.posed(shape))?;
            tick();
        }
        for (name, look) in EYES {
            pack.pose("eyes", name, &picture, eye_area, &eyes.posed(look))?;
            tick();
        }
        for (name, up) in BROWS {
            pack.pose("brows", name, &picture, brow_area, &eyes.brows(up))?;
            tick();
        }
        pack.layers(&picture, &face)?;
        Ok(pack)
    }

    /// All files, the manifest with their sums among them.
    pub(super) fn files(mut self) -> BTreeMap<String, Vec<u8>> {
        let sum = |bytes: &[u8]| Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let sums: Map<String, Value> = self.files.iter().map(|(name, bytes)| (name.clone(), json!(sum(bytes)))).collect();
        self.manifest["files"] = Value::Object(sums);
        let manifest = serde_json::to_vec_pretty(&self.manifest).expect("a manifest is plain data");
        self.files.insert("manifest.json".into(), manifest);
        self.files
    }

    fn pose(&mut self, group: &str, name: &str, picture: &RgbImage, area: Area, bend: &dyn Bend) -> Result<(), Error> {
        self.files.insert(format!("{name}.webp"), webp(&bend::picture(picture, area, bend))?);
        self.files.insert(format!("{name}.flow"), bend::flow(area, bend));
        self.manifest["groups"][group] = json!({"box": [area.x0, area.y0, area.x1, area.y1], "flow_cell": CELL});
        self.manifest["poses"][name] = json!({"group": group});
        Ok(())
    }

    fn layers(&mut self, picture: &RgbImage, face: &Face) -> Result<(), Error> {
        let solid = |alpha: &dyn Fn(f32, f32) -> f32| {
            RgbaImage::from_fn(SIDE, SIDE, |x, y| {
                let [r, g, b] = picture.get_pixel(x, y).0;
                Rgba([r, g, b, (alpha(x as f32, y as f32) * 255.0).round() as u8])
            })
        };
        let whole = solid(&|_, _| 1.0);
        let head = Head::of(face);
        self.files.insert("head.webp".into(), webp(&solid(&|x, y| 1.0 - smoothstep(LAYER.0, LAYER.1, head.reach(x, y))))?);
        self.files.insert("front.webp".into(), webp(&RgbaImage::new(SIDE, SIDE))?);
        self.files.insert("back.webp".into(), webp(&whole)?);
        self.files.insert("poster.webp".into(), webp(&whole)?);
        self.files.insert("thumb.webp".into(), webp(&imageops::thumbnail(&whole, 128, 128))?);
        self.files.insert("grid.bin".into(), head.grid(face).as_flattened().iter().flat_map(|v| v.to_le_bytes()).collect());
        Ok(())
    }
}

/// The part of the photograph that is shown, with the face where it belongs; edges go on where the photograph ends.
fn framed(photograph: &RgbImage, face: &Face) -> RgbImage {
    let [left, top, right, bottom] = face.extent();
    let (width, height) = (photograph.width() as f32, photograph.height() as f32);
    let face_height = bottom - top;
    // Rather a larger face than a border that is not in the photograph.
    let side = (ZOOM * face_height).min(width).min(height).max(1.4 * face_height);
    let within =
        |start: f32, length: f32| if side <= length { start.clamp(0.0, length - side) } else { (length - side) / 2.0 };
    let x0 = within((left + right - side) / 2.0, width);
    let y0 = within((top + bottom - side) / 2.0 + RAISED * face_height, height);
    // Smaller first, if it is much too large: a pixel is then the mean of those that it stands for.
    let scale = side / SIDE as f32;
    if scale > 1.5 && side <= width.min(height) {
        let part = imageops::crop_imm(photograph, x0 as u32, y0 as u32, side as u32, side as u32).to_image();
        return imageops::resize(&part, SIDE, SIDE, FilterType::CatmullRom);
    }
    RgbImage::from_fn(SIDE, SIDE, |x, y| {
        let at = |k: u32, start: f32| start + (k as f32 + 0.5) * scale - 0.5;
        image::Rgb(sample_inside(photograph, at(x, x0), at(y, y0)).map(|v| v.round().clamp(0.0, 255.0) as u8))
    })
}

/// Where the head is, and how much of its movement each point makes.
struct Head {
    middle: [f32; 2],
    half: [f32; 2],
    /// About which it turns, in head space.
    pivot: [f32; 3],
}

impl Head {
    fn of(face: &Face) -> Self {
        let [left, top, right, bottom] = face.extent();
        let (width, height) = (right - left, bottom - top);
        let middle = [f32::midpoint(left, right), f32::midpoint(top, bottom)];
        // The top of the neck: behind the chin.
        let pivot = [middle[0] - SIDE as f32 / 2.0, SIDE as f32 / 2.0 - (bottom + 0.05 * height), -0.45 * width];
        Self { middle, half: [width / 2.0, height / 2.0], pivot }
    }

    /// Distance from the face's middle, in half faces.
    fn reach(&self, x: f32, y: f32) -> f32 {
        ((x - self.middle[0]) / self.half[0]).hypot((y - self.middle[1]) / self.half[1])
    }

    /// How much of the head's movement a point makes.
    fn share(&self, x: f32, y: f32) -> f32 {
        let down = ((y - self.middle[1]) / self.half[1]).clamp(0.0, 1.0);
        let (solid, still) = (SOLID.0 + (SOLID.1 - SOLID.0) * down, STILL.0 + (STILL.1 - STILL.0) * down);
        1.0 - smoothstep(solid, still, self.reach(x, y))
    }

    /// A point for each node. The camera has no perspective, so a point that is drawn towards the pivot moves as much less.
    fn grid(&self, face: &Face) -> Vec<[f32; 3]> {
        let step = SIDE as f32 / (NODES - 1) as f32;
        let node = |n: usize| {
            let (x, y) = ((n % NODES) as f32 * step, (n / NODES) as f32 * step);
            let half = SIDE as f32 / 2.0;
            let point = [x - half, half - y, -depth(face, x, y)];
            let share = self.share(x, y);
            std::array::from_fn(|k| self.pivot[k] + (point[k] - self.pivot[k]) * share)
        };
        (0..NODES * NODES).map(node).collect()
    }
}

/// How far back the face is at a place: the mean of its points, weighted by nearness.
fn depth(face: &Face, x: f32, y: f32) -> f32 {
    let weights = (0..face.points.len()).map(|n| (1.0 / (distance(face.at(n), [x, y]).powi(4) + 40.0), face.points[n][2]));
    let (sum, total) = weights.fold((0.0, 0.0), |(sum, total), (weight, z)| (sum + weight * z, total + weight));
    sum / total
}

fn manifest(id: &str, face: &Face) -> Value {
    let pivot = Head::of(face).pivot;
    let unit = 2.0 / f64::from(SIDE);
    json!({
        "version": 1, "id": id, "name": {"en": id, "zh": id}, "licence": "LicenseRef-own-photograph",
        "width": SIDE, "height": SIDE, "voice": "", "grid": {"cols": NODES, "rows": NODES},
        "camera": {"matrix": [[unit, 0, 0, 0], [0, unit, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]},
        // All of it turns as much: the grid's own points say how much that is.
        "neck": {"pivot": pivot, "base_y": -1_000_000.0, "span": 1.0},
        "groups": {}, "poses": {}, "files": {},
    })
}

fn webp(picture: &RgbaImage) -> Result<Vec<u8>, Error> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::WebP).map_err(|_| Error::Damaged)?;
    Ok(bytes.into_inner())
}

fn smoothstep(from: f32, to: f32, v: f32) -> f32 {
    let t = ((v - from) / (to - from)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Avatar;
    use crate::studio::face::tests::{finder, poster};

    #[test]
    fn a_portrait_becomes_a_pack_that_loads() {
        let (finder, picture) = (finder(), poster("theo"));
        let face = finder.find(&picture, None).unwrap();
        let mut told = Vec::new();
        let files = Pack::of("anna", &picture, &face, &finder, &mut |done| told.push(done)).unwrap().files();
        assert!(told.is_sorted() && told.last() == Some(&1.0));
        let size: usize = files.values().map(Vec::len).sum();
        assert!(size < 4 << 20, "{size} bytes");
        let dir = std::env::temp_dir().join(format!("visavis-portrait-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        files.iter().for_each(|(name, bytes)| std::fs::write(dir.join(name), bytes).unwrap());
        let avatar = Avatar::load(&dir);
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(avatar.unwrap().id(), "anna");
    }

    #[test]
    fn an_open_jaw_takes_the_lower_lip_down_and_leaves_the_upper_one() {
        let (finder, picture) = (finder(), poster("theo"));
        let face = finder.find(&picture, None).unwrap();
        let mouth = Mouth::of(&face, &picture);
        let open = mouth.posed(Shape { jaw: 1.0, ..Shape::default() });
        let [x, y] = face.at(13);
        let ([_, upper], [_, lower]) = (open.shift(0, x, y - 2.0), open.shift(1, x, y + 2.0));
        assert!(upper.abs() < 4.0 && lower > 10.0, "{upper} {lower}");
        // At the corners both go the same way, or else the cheek would tear.
        let [x, y] = face.at(61);
        let (upper, lower) = (open.shift(0, x - 2.0, y), open.shift(1, x - 2.0, y));
        assert!((upper[1] - lower[1]).abs() < 1.0, "{upper:?} {lower:?}");
    }

    #[test]
    fn the_head_moves_as_one_and_the_background_stays() {
        let (finder, picture) = (finder(), poster("theo"));
        let head = Head::of(&finder.find(&picture, None).unwrap());
        assert!(head.share(head.middle[0], head.middle[1]) > 0.99);
        assert!(head.share(4.0, 4.0) < 0.01 && head.share(508.0, 508.0) < 0.01);
    }
}

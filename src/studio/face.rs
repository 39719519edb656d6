//! Finds a face in a picture, and 468 points on it.
//!
//! In: pictures. Out: a [`Face`] with its points in the picture's pixels, or none. The networks are `MediaPipe`'s (Apache-2.0),
//! and so are the steps between them (graph `face_landmark_front_cpu`): a detector says roughly where and how tilted the face
//! is; the mesh network looks at that square, turned upright. In a film the square comes from the last picture's points, and
//! the detector rests. Blocking: 10 to 30 ms a picture.

use std::path::Path;

use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

use super::Error;
use super::network::Network;

/// Points of the mesh.
pub(super) const POINTS: usize = 468;

/// Side of the picture that each network looks at.
const DETECTOR_SIDE: u32 = 128;
const MESH_SIDE: u32 = 192;

/// Detections below this are none (the graph's `min_score_thresh`), points below the other are not believed.
const SURE_OF_BOX: f32 = 0.5;
const SURE_OF_MESH: f32 = 0.5;

/// The square that the mesh network looks at is so much larger than the detected box, and than the last points' extent.
const SQUARE: f32 = 1.5;

/// Corners of the eyes, of the face's right and left.
const EYE_CORNERS: [usize; 2] = [33, 263];

/// A face.
#[derive(Clone, Debug)]
pub(super) struct Face {
    /// x and y in pixels of the picture, z in the same unit, smaller is nearer.
    pub(super) points: Vec<[f32; 3]>,
}

/// Both networks.
pub(super) struct Finder {
    detector: Network,
    mesh: Network,
    anchors: Vec<[f32; 2]>,
}

/// A square to look at: its middle, its side, its tilt in radians.
#[derive(Clone, Copy, Debug)]
struct Square {
    middle: [f32; 2],
    side: f32,
    tilt: f32,
}

/// What the detector found.
#[derive(Clone, Copy, Debug)]
struct Detection {
    score: f32,
    middle: [f32; 2],
    size: [f32; 2],
    eyes: [[f32; 2]; 2],
}

impl Face {
    /// Left, top, right, bottom of the points.
    pub(super) fn extent(&self) -> [f32; 4] {
        self.points.iter().fold([f32::MAX, f32::MAX, f32::MIN, f32::MIN], |e, p| {
            [e[0].min(p[0]), e[1].min(p[1]), e[2].max(p[0]), e[3].max(p[1])]
        })
    }

    /// A point in the plane of the picture.
    pub(super) fn at(&self, point: usize) -> [f32; 2] {
        [self.points[point][0], self.points[point][1]]
    }

    /// Distance of the outer corners of the eyes, in pixels.
    pub(super) fn eye_distance(&self) -> f32 {
        distance(self.at(EYE_CORNERS[0]), self.at(EYE_CORNERS[1]))
    }

    fn square(&self) -> Square {
        let [left, top, right, bottom] = self.extent();
        let tilt = tilt([self.at(EYE_CORNERS[0]), self.at(EYE_CORNERS[1])]);
        Square {
            middle: [f32::midpoint(left, right), f32::midpoint(top, bottom)],
            side: SQUARE * (right - left).max(bottom - top),
            tilt,
        }
    }
}

impl Finder {
    /// Loads both networks from the directory of models.
    pub(super) fn load(models: &Path) -> Result<Self, Error> {
        let network = |file: &str, side: u32, outputs: [usize; 2]| {
            let path = models.join("face").join(file);
            let bytes = std::fs::read(&path).map_err(|source| Error::Io { doing: "reading", path: path.clone(), source })?;
            let network =
                Network::parse(&bytes).map_err(|error| Error::Network { path: path.clone(), what: error.to_string() })?;
            if network.input() != (side as usize, side as usize, 3) || network.output_values() != outputs {
                return Err(Error::Network { path, what: "it is another network".into() });
            }
            Ok(network)
        };
        Ok(Self {
            detector: network("face_detection_short_range.tflite", DETECTOR_SIDE, [896 * 16, 896])?,
            mesh: network("face_landmark.tflite", MESH_SIDE, [POINTS * 3, 1])?,
            anchors: anchors(),
        })
    }

    /// The largest face of a picture; where the last one was is looked at first.
    pub(super) fn find(&self, picture: &RgbImage, last: Option<&Face>) -> Option<Face> {
        let followed = last.and_then(|face| self.points(picture, face.square()));
        followed.or_else(|| self.points(picture, self.detect(picture)?.square()))
    }

    /// Looks at the whole picture; if nothing is seen there, at squares of it, for the detector sees no small faces.
    fn detect(&self, picture: &RgbImage) -> Option<Detection> {
        let (width, height) = picture.dimensions();
        let whole = self.detect_in(picture, [0, 0, width, height]);
        if whole.is_some() {
            return whole;
        }
        let side = width.min(height);
        [side, side * 2 / 3].into_iter().find_map(|side| {
            let places = |length: u32| [0, (length - side) / 2, length - side];
            let squares = places(height).into_iter().flat_map(|y| places(width).map(|x| [x, y, side, side]));
            squares.filter_map(|part| self.detect_in(picture, part)).max_by(|a, b| a.score.total_cmp(&b.score))
        })
    }

    /// The largest face in a part of the picture: left, top, width, height.
    fn detect_in(&self, picture: &RgbImage, [x0, y0, width, height]: [u32; 4]) -> Option<Detection> {
        let scale = width.max(height) as f32 / DETECTOR_SIDE as f32;
        let part = imageops::crop_imm(picture, x0, y0, width, height).to_image();
        let side = |length: u32| ((length as f32 / scale).round() as u32).clamp(1, DETECTOR_SIDE);
        let small = imageops::resize(&part, side(width), side(height), FilterType::Triangle);
        let mut square = RgbImage::new(DETECTOR_SIDE, DETECTOR_SIDE);
        imageops::replace(&mut square, &small, 0, 0);
        let outputs = self.detector.run(square.as_raw().iter().map(|v| f32::from(*v) / 127.5 - 1.0).collect());
        let (boxes, scores) = (&outputs[0], &outputs[1]);
        let place = |n: usize, value: usize| -> [f32; 2] {
            let anchor = self.anchors[n];
            let pixel = |k: usize| boxes[n * 16 + value + k] + anchor[k] * DETECTOR_SIDE as f32;
            [pixel(0) * scale + x0 as f32, pixel(1) * scale + y0 as f32]
        };
        let detections = scores.iter().enumerate().filter_map(|(n, score)| {
            let score = sigmoid(*score);
            let size = [boxes[n * 16 + 2] * scale, boxes[n * 16 + 3] * scale];
            let real = score > SURE_OF_BOX && size[0] > 0.0 && size[1] > 0.0;
            real.then(|| Detection { score, middle: place(n, 0), size, eyes: [place(n, 4), place(n, 6)] })
        });
        // Of two people the nearer one is meant; of the many boxes around one face the surest is the best.
        let found: Vec<Detection> = detections.collect();
        let largest = found.iter().max_by(|a, b| a.size[0].total_cmp(&b.size[0]))?;
        let same = |d: &&Detection| distance(d.middle, largest.middle) < largest.size[0] / 2.0;
        found.iter().filter(same).max_by(|a, b| a.score.total_cmp(&b.score)).copied()
    }

    /// The points of the face in `square`, if there is one.
    fn points(&self, picture: &RgbImage, square: Square) -> Option<Face> {
        // A square that small or that far out shows nothing.
        let reach = 4.0 * (picture.width() + picture.height()) as f32;
        let finite = square.middle.iter().chain([&square.side, &square.tilt]).all(|v| v.is_finite() && v.abs() < reach);
        if !finite || square.side < 8.0 {
            return None;
        }
        let outputs = self.mesh.run(square.cut(picture));
        if sigmoid(outputs[1][0]) < SURE_OF_MESH {
            return None;
        }
        let unit = square.side / MESH_SIDE as f32;
        let points = outputs[0].as_chunks::<3>().0.iter().map(|&[x, y, z]| {
            let [px, py] = square.place(x, y);
            [px, py, z * unit]
        });
        let face = Face { points: points.collect() };
        face.points.as_flattened().iter().all(|v| v.is_finite()).then_some(face)
    }
}

impl Detection {
    fn square(self) -> Square {
        Square { middle: self.middle, side: SQUARE * self.size[0].max(self.size[1]), tilt: tilt(self.eyes) }
    }
}

impl Square {
    /// Where a place of the network's picture lies in ours.
    fn place(self, x: f32, y: f32) -> [f32; 2] {
        let unit = self.side / MESH_SIDE as f32;
        let (sin, cos) = self.tilt.sin_cos();
        let (x, y) = ((x - MESH_SIDE as f32 / 2.0) * unit, (y - MESH_SIDE as f32 / 2.0) * unit);
        [self.middle[0] + cos * x - sin * y, self.middle[1] + sin * x + cos * y]
    }

    /// The square, upright, as the network wants it: 0 to 1, black outside of the picture.
    fn cut(self, picture: &RgbImage) -> Vec<f32> {
        let mut values = Vec::with_capacity((MESH_SIDE * MESH_SIDE * 3) as usize);
        for y in 0..MESH_SIDE {
            for x in 0..MESH_SIDE {
                let at = self.place(x as f32 + 0.5, y as f32 + 0.5);
                values.extend(sample(picture, at[0] - 0.5, at[1] - 0.5).map(|v| v / 255.0));
            }
        }
        values
    }
}

/// The colour between four pixels, black outside.
pub(super) fn sample(picture: &RgbImage, x: f32, y: f32) -> [f32; 3] {
    let (x0, y0) = (x.floor(), y.floor());
    let (fx, fy) = (x - x0, y - y0);
    let pixel = |dx: i64, dy: i64| {
        let place = |v: f32, d: i64| u32::try_from(v as i64 + d).ok();
        let found = place(x0, dx).zip(place(y0, dy)).and_then(|(x, y)| picture.get_pixel_checked(x, y));
        found.map_or([0.0; 3], |Rgb(c)| c.map(f32::from))
    };
    let (a, b, c, d) = (pixel(0, 0), pixel(1, 0), pixel(0, 1), pixel(1, 1));
    std::array::from_fn(|k| (a[k] * (1.0 - fx) + b[k] * fx) * (1.0 - fy) + (c[k] * (1.0 - fx) + d[k] * fx) * fy)
}

/// The colour between four pixels; those at the edges go on outside.
pub(super) fn sample_inside(picture: &RgbImage, x: f32, y: f32) -> [f32; 3] {
    let last = |side: u32| (side - 1) as f32;
    sample(picture, x.clamp(0.0, last(picture.width()) - 0.001), y.clamp(0.0, last(picture.height()) - 0.001))
}

/// Where the detector's 896 guesses begin, in parts of the picture: two a cell of 16 × 16, then six a cell of 8 × 8.
fn anchors() -> Vec<[f32; 2]> {
    let grid = |side: u16, count: usize| {
        let place = move |n: u16| (f32::from(n) + 0.5) / f32::from(side);
        let cells = (0..side).flat_map(move |y| (0..side).map(move |x| [place(x), place(y)]));
        cells.flat_map(move |cell| std::iter::repeat_n(cell, count))
    };
    grid(16, 2).chain(grid(8, 6)).collect()
}

fn sigmoid(v: f32) -> f32 {
    1.0 / (1.0 + (-v).exp())
}

pub(super) fn distance(a: [f32; 2], b: [f32; 2]) -> f32 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}

fn tilt([right, left]: [[f32; 2]; 2]) -> f32 {
    (left[1] - right[1]).atan2(left[0] - right[0])
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::Value;

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR"))
    }

    pub(in crate::studio) fn finder() -> Finder {
        Finder::load(&root().join("models")).unwrap()
    }

    pub(in crate::studio) fn poster(avatar: &str) -> RgbImage {
        image::open(root().join("assets/avatars").join(avatar).join("poster.webp")).unwrap().into_rgb8()
    }

    #[test]
    fn our_own_avatars_are_found_where_the_reference_finds_them() {
        let golden = std::fs::read(root().join("tests/corpus/face/golden.json")).unwrap();
        let golden: Value = serde_json::from_slice(&golden).unwrap();
        let finder = finder();
        for avatar in ["mira", "theo"] {
            let face = finder.find(&poster(avatar), None).unwrap();
            let expected = golden["faces"][avatar]["every_9th_point"].as_array().unwrap();
            for (n, place) in expected.iter().enumerate() {
                let place = [0, 1].map(|k| place[k].as_f64().unwrap() as f32);
                let off = distance(face.at(9 * n), place);
                assert!(off < 3.0, "{avatar}: point {} is {off} px off", 9 * n);
            }
        }
    }

    #[test]
    fn a_small_face_in_a_wide_picture_is_found() {
        let small = imageops::resize(&poster("mira"), 200, 200, FilterType::Triangle);
        let mut wide = RgbImage::from_pixel(1280, 720, Rgb([90, 100, 110]));
        imageops::replace(&mut wide, &small, 900, 300);
        let face = finder().find(&wide, None).unwrap();
        let [left, top, right, bottom] = face.extent();
        assert!(left > 900.0 && top > 300.0 && right < 1100.0 && bottom < 500.0, "{:?}", face.extent());
    }

    #[test]
    fn there_is_no_face_where_there_is_none() {
        assert!(finder().find(&RgbImage::from_fn(320, 240, |x, y| Rgb([x as u8, y as u8, 90])), None).is_none());
    }

    #[test]
    fn a_face_is_followed_from_one_picture_to_the_next() {
        let (finder, picture) = (finder(), poster("theo"));
        let first = finder.find(&picture, None).unwrap();
        let mut moved = RgbImage::new(512, 512);
        imageops::replace(&mut moved, &picture, 12, -6);
        let next = finder.find(&moved, Some(&first)).unwrap();
        let step = [next.at(1)[0] - first.at(1)[0], next.at(1)[1] - first.at(1)[1]];
        assert!(distance(step, [12.0, -6.0]) < 3.0, "{step:?}");
    }
}

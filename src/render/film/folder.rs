//! What lies in an avatar's folder as LiveTalking's tools left it: pictures, boxes, notes. Read as data, at start-up.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;

use super::Error;
use crate::models::pickle::{self, Value};
use crate::render::clip::FaceBox;
use crate::render::lips::Network;
use crate::render::lips::ultralight::{CROP, SIDE};

/// Most bytes of a file of boxes: an hour of them is 3 MB.
const MAX_FILE: u64 = 64 << 20;

/// Furthest that a box may lie from the picture's corner, in pixels.
const FURTHEST: i64 = 16_384;

/// Whose tools made the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Boxes are top, bottom, left, right; faces lie beside them.
    Wav2Lip,
    /// Boxes are left, top, right, bottom.
    MuseTalk,
    /// The same; a network of its own lies in the folder.
    Ultralight,
}

/// What `avatar.json` may say of a film; all of it is optional, and so is the file.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Notes {
    /// By language.
    pub(super) name: BTreeMap<String, String>,
    pub(super) licence: String,
    /// Pictures a second that were filmed.
    pub(super) fps: Option<u32>,
}

impl Kind {
    /// `None`: no film at all.
    pub(super) fn of(dir: &Path) -> Option<Self> {
        let has = |name: &str| dir.join(name).exists();
        match () {
            () if !dir.join("full_imgs").is_dir() => None,
            () if Network::of_film(dir).is_some() => Some(Self::Ultralight),
            () if has("latents.pt") || has("mask_coords.pkl") => Some(Self::MuseTalk),
            () => Some(Self::Wav2Lip),
        }
    }

    /// The places of the faces in `coords.pkl`, one for each picture; `None` where no face was found.
    pub(super) fn boxes(self, dir: &Path) -> Result<Vec<Option<FaceBox>>, Error> {
        let path = dir.join("coords.pkl");
        let bytes = bytes(&path)?;
        let (value, _) = pickle::read(&bytes).map_err(|source| Error::Pickle { path: path.clone(), source })?;
        let sides = value.items().unwrap_or_default().iter().map(|value| self.sides(value)).collect::<Option<Vec<_>>>();
        let sides = sides.filter(|sides| !sides.is_empty());
        let sides = sides.ok_or(Error::Boxes { path, what: "holds no list of boxes".into() })?;
        Ok(sides.into_iter().map(place).map(|place| place.map(|place| self.made(place))).collect())
    }

    /// What of the face in `place` a network of this kind makes.
    fn made(self, place: FaceBox) -> FaceBox {
        if self != Self::Ultralight {
            return place;
        }
        let rim =
            |from: i32, to: i32| ((f64::from(to - from) * f64::from(CROP - SIDE) / 2.0 / f64::from(CROP)).round()) as i32;
        let (x, y) = (rim(place.x0, place.x1), rim(place.y0, place.y1));
        FaceBox { x0: place.x0 + x, y0: place.y0 + y, x1: place.x1 - x, y1: place.y1 - y }
    }

    /// Left, top, right, bottom.
    fn sides(self, value: &Value) -> Option<[i64; 4]> {
        let sides = value.items()?.iter().map(whole).collect::<Option<Vec<i64>>>()?;
        let &[a, b, c, d] = &sides[..] else { return None };
        Some(if self == Self::Wav2Lip { [c, a, d, b] } else { [a, b, c, d] })
    }
}

/// `None`: a box that is none, as tools write it for a picture without a face.
fn place(sides: [i64; 4]) -> Option<FaceBox> {
    let [x0, y0, x1, y1] = sides;
    let sane = x0 < x1 && y0 < y1 && sides.iter().all(|side| side.abs() <= FURTHEST);
    sane.then_some(FaceBox { x0: x0 as i32, y0: y0 as i32, x1: x1 as i32, y1: y1 as i32 })
}

/// Boxes are whole numbers, and now and then numbers with a point.
fn whole(value: &Value) -> Option<i64> {
    if let Value::Float(number) = value { number.is_finite().then(|| number.round() as i64) } else { value.int() }
}

impl Notes {
    pub(super) fn read(dir: &Path) -> Result<Self, Error> {
        let path = dir.join("avatar.json");
        if !path.exists() {
            return Ok(Self::default());
        }
        let notes: Self =
            serde_json::from_slice(&bytes(&path)?).map_err(|e| Error::Notes { path: path.clone(), what: e.to_string() })?;
        match notes.fps {
            Some(0 | 241..) => Err(Error::Notes { path, what: "fps is from 1 to 240".into() }),
            _ => Ok(notes),
        }
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>, Error> {
    let unreadable = |source| Error::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

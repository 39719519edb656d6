//! A filmed person: the folder that LiveTalking's tools make of a video, and the network that moves the lips.
//!
//! In: a folder. Out: a [`Film`], or an [`Error`] that names the file. Nothing in it is believed, nothing of it is run. Loaded at
//! start-up, blocking; sessions share it.

mod folder;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::DynamicImage;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;

use self::folder::{Kind, Notes};
use super::clip::{self, Clip, FaceBox, InUse, Spool, mirrored, resampled};
use super::lips::ultralight::{CROP, SIDE};
use super::lips::{Network, NetworkError};
use crate::media::VideoFrame;
use crate::models::pickle;

/// Pictures a second of a film that says nothing else: what LiveTalking plays.
const USUAL_HZ: u32 = 25;

/// Pixels of a thumbnail across and down.
const THUMBNAIL: u32 = 128;

/// Of posters and thumbnails, to 100.
const JPEG_QUALITY: u8 = 85;

/// Why a folder is no film that can be shown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its pictures.
    #[error(transparent)]
    Clip(#[from] clip::Error),
    /// A file cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A pickle that is not read.
    #[error("{path} {source}", path = path.display())]
    Pickle {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: pickle::Error,
    },
    /// Boxes that do not belong to the pictures.
    #[error("{path} {what}", path = path.display())]
    Boxes {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// `avatar.json`.
    #[error("{path}: {what}", path = path.display())]
    Notes {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Lips need a network.
    #[error(transparent)]
    Network(#[from] Arc<NetworkError>),
}

/// As which size a film is shown.
#[derive(Clone, Copy, Debug)]
pub enum Fit {
    /// As it was filmed, unless a side has more pixels than that.
    Within(u32),
    /// Pixels across and down, even. What juts out is cut off on both sides.
    Fill((u32, u32)),
}

impl Fit {
    /// The size as which pictures of `filmed` pixels are shown, if it is another; by how much they are scaled, and how many pixels
    /// are then cut off on the left and at the top.
    fn of(self, filmed: (u32, u32)) -> (Option<(u32, u32)>, f64, (i32, i32)) {
        let [across, down] = [filmed.0, filmed.1].map(f64::from);
        match self {
            Self::Within(side) => {
                let scale = f64::from(side) / across.max(down);
                let smaller = |side: f64| (side * scale) as u32 & !1;
                ((scale < 1.0).then(|| (smaller(across), smaller(down))), scale.min(1.0), (0, 0))
            }
            Self::Fill((width, height)) => {
                let scale = (f64::from(width) / across).max(f64::from(height) / down);
                let off = |filmed: f64, shown: u32| ((filmed * scale - f64::from(shown)) / 2.0) as i32;
                (Some((width, height)), scale, (off(across, width), off(down, height)))
            }
        }
    }
}

/// A filmed person. Sessions share it.
pub struct Film {
    id: String,
    names: BTreeMap<String, String>,
    licence: String,
    pictures: Clip,
    faces: Clip,
    places: Vec<Option<FaceBox>>,
    hz: u32,
    network: Arc<Network>,
    thumbnail: Vec<u8>,
    poster: Vec<u8>,
}

impl Film {
    /// Whether `dir` is laid out as a film; with boxes or without.
    pub fn is_film(dir: &Path) -> bool {
        Kind::of(dir).is_some()
    }

    /// Reads the folder `dir`, of a film that is called `id`. Pictures are looked at, not decoded.
    pub fn load(id: &str, dir: &Path, spool: &Arc<Spool>, network: Arc<Network>, fit: Fit) -> Result<Self, Error> {
        let kind = Kind::of(dir).unwrap_or(Kind::Wav2Lip);
        let notes = Notes::read(dir)?;
        let full = dir.join("full_imgs");
        let places = kind.boxes(dir)?;
        let poster = image(&full)?;
        let (fit, scale, off) = fit.of((poster.width(), poster.height()));
        let pictures = Clip::open(&full, spool, fit)?;
        if places.len() != pictures.len() {
            let what = format!("holds {} boxes for {} pictures", places.len(), pictures.len());
            return Err(Error::Boxes { path: dir.join("coords.pkl"), what });
        }
        let Some(place) = places.iter().flatten().next() else {
            return Err(Error::Boxes { path: dir.join("coords.pkl"), what: "holds no box with a face in it".into() });
        };
        let thumbnail = jpeg(&head(&poster, *place).resize_exact(THUMBNAIL, THUMBNAIL, FilterType::Triangle));
        let faces = faces(dir, kind, &places, spool, network.side())?;
        let names = if notes.name.is_empty() { BTreeMap::from([("en".to_owned(), id.to_owned())]) } else { notes.name };
        Ok(Self {
            id: id.to_owned(),
            names,
            licence: notes.licence,
            poster: jpeg(&fit.map_or_else(|| poster.clone(), |(w, h)| poster.resize_to_fill(w, h, FilterType::Triangle))),
            pictures,
            faces,
            places: places.into_iter().map(|place| place.map(|place| place.shown(scale, off))).collect(),
            hz: notes.fps.unwrap_or(USUAL_HZ),
            network,
            thumbnail,
        })
    }

    /// What requests and the configuration call it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What people call it, by language.
    pub fn names(&self) -> &BTreeMap<String, String> {
        &self.names
    }

    /// SPDX identifier of the pictures' licence; empty: nobody said.
    pub fn licence(&self) -> &str {
        &self.licence
    }

    /// Pixels across and down; even.
    pub fn size(&self) -> (u32, u32) {
        self.pictures.size()
    }

    /// 128 × 128 for a picker, JPEG.
    pub fn thumbnail(&self) -> &[u8] {
        &self.thumbnail
    }

    /// The first picture, JPEG.
    pub fn poster(&self) -> &[u8] {
        &self.poster
    }

    pub(super) fn network(&self) -> &Network {
        &self.network
    }

    /// As long as this lives, its pictures stay in the spool.
    pub(super) fn in_use(&self) -> [InUse; 2] {
        [self.pictures.in_use(), self.faces.in_use()]
    }

    /// How many pictures are shown until its end.
    pub(super) fn pictures(&self) -> u64 {
        (self.pictures.len() as u64 * u64::from(USUAL_HZ)).div_ceil(u64::from(self.hz))
    }

    /// The `n`th picture that is shown.
    pub(super) fn picture(&self, n: u64) -> Arc<VideoFrame> {
        self.pictures.frame(self.index(n))
    }

    /// Its face as the network sees it, red, green and blue.
    pub(super) fn face(&self, n: u64) -> Vec<u8> {
        self.faces.bytes(self.index(n))
    }

    /// Where in it the face is; `None`: none was found.
    pub(super) fn place(&self, n: u64) -> Option<FaceBox> {
        self.places[self.index(n)]
    }

    fn index(&self, n: u64) -> usize {
        mirrored(resampled(n, self.hz), self.pictures.len())
    }
}

impl std::fmt::Debug for Film {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Film({:?}, {} pictures)", self.id, self.pictures.len())
    }
}

/// The faces that lie in the folder, if they are what the network wants; else they are cut out of the pictures.
fn faces(dir: &Path, kind: Kind, places: &[Option<FaceBox>], spool: &Arc<Spool>, side: u32) -> Result<Clip, Error> {
    let ready = dir.join("face_imgs");
    if kind != Kind::MuseTalk && ready.is_dir() {
        let rim = ((CROP - SIDE) / 2) as i32;
        let inner = FaceBox { x0: rim, y0: rim, x1: CROP as i32 - rim, y1: CROP as i32 - rim };
        let (faces, wanted) = if kind == Kind::Ultralight {
            (Clip::faces(&ready, spool, side, vec![Some(inner); places.len()].into())?, CROP)
        } else {
            (Clip::crops(&ready, spool, side)?, side)
        };
        if faces.filmed() == (wanted, wanted) && faces.len() == places.len() {
            return Ok(faces);
        }
    }
    Ok(Clip::faces(&dir.join("full_imgs"), spool, side, places.into())?)
}

fn image(dir: &Path) -> Result<DynamicImage, Error> {
    Ok(clip::first(dir)?)
}

/// The head: the face and as much around it.
fn head(picture: &DynamicImage, place: FaceBox) -> DynamicImage {
    let side = (place.x1 - place.x0).max(place.y1 - place.y0) as u32 * 3 / 2;
    let side = side.clamp(1, picture.width().min(picture.height()));
    let from = |middle: i32, whole: u32| (middle / 2 - side as i32 / 2).clamp(0, (whole - side) as i32) as u32;
    let (x, y) = (from(place.x0 + place.x1, picture.width()), from(place.y0 + place.y1, picture.height()));
    picture.crop_imm(x, y, side, side)
}

fn jpeg(picture: &DynamicImage) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let rgb = DynamicImage::ImageRgb8(picture.to_rgb8());
    rgb.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY)).expect("memory takes what is written");
    bytes.into_inner()
}

//! Makes avatars of films and photographs.
//!
//! In: a file, and who it is to be. Out: a folder that our engine and LiveTalking's play (`docs/avatars.md`), and a [`Report`]
//! on how well it will look. A film is read twice: first to find the face in each picture and where to begin and to end,
//! then to write what is kept, so that memory does not grow with it. Blocking, minutes long: on a thread of its own.

mod face;
mod film;
mod folder;
mod hook;
mod network;
mod portrait;
mod quality;
mod seam;
mod tasks;
mod track;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use image::imageops;
use image::{DynamicImage, GrayImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};

pub use self::hook::{Hook, is_allowed};
pub use self::quality::{Report, Warning};
pub use self::tasks::{Refused, Status, Task, Tasks, uploads};
pub use self::track::Pads;

use self::face::{Face, Finder};
use self::film::{Film, RATE_HZ};
use self::folder::{Folder, Place};
use self::portrait::Pack;
use crate::models;
use crate::render;

/// The model of `models.lock` that finds faces.
pub const MODEL: &str = "face";

/// Longest side of a picture, in pixels: what encoders of ours take.
const MOST_PIXELS_A_SIDE: u32 = 4_096;

/// Most of a film that is taken: a minute of 1080p is 3 GB on disk.
const MOST_SECONDS: u32 = 120;

/// Sides that a face may be cut out with: the networks there are want 96, 192, 256 or 384.
pub const FACE_SIDES: std::ops::RangeInclusive<u32> = 32..=512;

/// Side of the picture by which it is judged how much moves.
const THUMBNAIL: u32 = 32;

/// What the whole picture's change counts beside the face's movement.
const PICTURE_WEIGHT: f32 = 2.0;

/// What is to be made.
#[derive(Clone, Debug)]
pub struct Order {
    /// The film or photograph.
    pub source: PathBuf,
    /// The avatar's id.
    pub id: String,
    /// Where it will lie; made if it is not there.
    pub avatars: PathBuf,
    /// Where others lie, whose ids are taken.
    pub shipped: PathBuf,
    /// Where models lie.
    pub models: PathBuf,
    /// Side of the cut-out faces, in pixels: what the network for lips wants.
    pub face_side: u32,
    /// Added around the face.
    pub pads: Pads,
    /// Whether boxes are kept from trembling.
    pub smooth: bool,
    /// Whether a photograph becomes a film of one picture and not a rig.
    pub still: bool,
    /// Whether an avatar that was made like this before may be replaced.
    pub replace: bool,
}

/// Why there is no avatar.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or written.
    #[error("{doing} {path}: {source}", path = path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The networks that find faces are not there or not whole.
    #[error(transparent)]
    Models(#[from] models::Error),
    /// A file of `models/face` is not what it should be.
    #[error("{path}: {what}", path = path.display())]
    Network {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The id could leave the folder, or could not be part of an address.
    #[error("an avatar's id has up to 64 letters of a to z, digits, - and _, and begins with a letter or a digit")]
    Id,
    /// The side of the cut-out face.
    #[error("the faces' side is from 32 to 512 pixels; wav2lip networks want 96, 192, 256 or 384")]
    FaceSide,
    /// There is one already.
    #[error("there is an avatar \"{id}\" already{}", if *replaceable { ": --replace makes it anew" } else { "" })]
    Exists {
        /// Which.
        id: String,
        /// Whether it was made by us or LiveTalking, not drawn.
        replaceable: bool,
    },
    /// The file is neither.
    #[error("this is neither a film nor a photograph of a known kind")]
    NoFilm,
    /// The file has too many faults.
    #[error("the film is damaged")]
    Damaged,
    /// The picture is too small or too large.
    #[error("the picture is {width}x{height}: from 64 to {MOST_PIXELS_A_SIDE} pixels a side can be used")]
    Size {
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
    },
    /// Nobody is to be seen.
    #[error("there is no face to be found: it should look into the camera and be a fifth of the picture high")]
    NoFace,
    /// Somebody asked to stop.
    #[error("stopped")]
    Stopped,
}

/// Makes what `order` says. `progress` hears from 0 to 1 how far it is; `stop` ends it within a picture.
pub fn make(order: &Order, progress: &mut dyn FnMut(f32), stop: &AtomicBool) -> Result<Report, Error> {
    if !render::is_id(&order.id) {
        return Err(Error::Id);
    }
    if !FACE_SIDES.contains(&order.face_side) {
        return Err(Error::FaceSide);
    }
    models::verify_model(&order.models, MODEL)?;
    let finder = Finder::load(&order.models)?;
    let place = Place::claim(&order.avatars, &order.shipped, &order.id, order.replace)?;
    match photograph(&order.source)? {
        Some(picture) => of_photograph(order, &picture, &finder, place, progress),
        None => of_film(order, &finder, Folder::begin(place, order.face_side)?, progress, stop),
    }
}

/// The picture, if the file is one; turned as the camera was held.
fn photograph(path: &Path) -> Result<Option<RgbImage>, Error> {
    let io = |source| Error::Io { doing: "reading", path: path.into(), source };
    let mut reader = ImageReader::open(path).map_err(io)?.with_guessed_format().map_err(io)?;
    if !matches!(reader.format(), Some(ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP)) {
        return Ok(None);
    }
    // Phones take larger ones; they are made smaller below.
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(4 * MOST_PIXELS_A_SIDE), Some(4 * MOST_PIXELS_A_SIDE));
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|_| Error::NoFilm)?;
    let orientation = decoder.orientation().map_err(|_| Error::NoFilm)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(|_| Error::Damaged)?;
    picture.apply_orientation(orientation);
    let (width, height) = (picture.width(), picture.height());
    if width.min(height) < 64 {
        return Err(Error::Size { width, height });
    }
    let largest = MOST_OF_PHOTOGRAPH;
    Ok(Some(if width.max(height) > largest { picture.thumbnail(largest, largest) } else { picture }.into_rgb8()))
}

/// Longest side of a photograph that is shown, in pixels: full HD. Larger ones are made smaller.
const MOST_OF_PHOTOGRAPH: u32 = 1_920;

fn of_photograph(
    order: &Order,
    picture: &RgbImage,
    finder: &Finder,
    place: Place,
    progress: &mut dyn FnMut(f32),
) -> Result<Report, Error> {
    let face = finder.find(picture, None).ok_or(Error::NoFace)?;
    let (boxes, _) = track::boxes(std::slice::from_ref(&face), picture.dimensions(), order.pads, order.smooth);
    let report = quality::of_photograph(picture.dimensions(), &face, boxes[0]);
    if order.still {
        let mut folder = Folder::begin(place, order.face_side)?;
        folder.push(picture, boxes[0])?;
        folder.finish(&report)?;
    } else {
        let pack = Pack::of(&order.id, picture, &face, finder, progress)?;
        pack.files().iter().try_for_each(|(name, bytes)| place.write(name, bytes))?;
        place.finish(&report)?;
    }
    Ok(report)
}

fn of_film(
    order: &Order,
    finder: &Finder,
    mut folder: Folder,
    progress: &mut dyn FnMut(f32),
    stop: &AtomicBool,
) -> Result<Report, Error> {
    let seen = Seen::of(&order.source, finder, &mut |done| progress(done / 2.0), stop)?;
    let faces = track::filled(&seen.faces).ok_or(Error::NoFace)?;
    let (boxes, tremble) = track::boxes(&faces, seen.size, order.pads, order.smooth);
    let (first, last, seam) = seam::ends(&motion(&faces, &seen.thumbnails));
    let mut film = Film::open(&order.source)?;
    for (n, face) in boxes.iter().enumerate().take(last + 1) {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Stopped);
        }
        // The film was longer when it was read the first time: somebody writes to it.
        let picture = film.picture()?.filter(|p| p.dimensions() == seen.size).ok_or(Error::Damaged)?;
        if n >= first {
            folder.push(&picture, *face)?;
        }
        progress(0.5 + 0.5 * (n + 1) as f32 / (last + 1) as f32);
    }
    let kept = first..=last;
    let report = quality::of_film(&quality::Film {
        size: seen.size,
        found: &seen.faces[kept.clone()],
        faces: &faces[kept.clone()],
        boxes: &boxes[kept],
        tremble,
        seam,
        cut: seen.cut,
    });
    folder.finish(&report)?;
    Ok(report)
}

/// What is kept of the first look at a film.
struct Seen {
    size: (u32, u32),
    faces: Vec<Option<Face>>,
    thumbnails: Vec<GrayImage>,
    /// The film is longer than what is taken of it.
    cut: bool,
}

impl Seen {
    fn of(path: &Path, finder: &Finder, progress: &mut dyn FnMut(f32), stop: &AtomicBool) -> Result<Self, Error> {
        let mut film = Film::open(path)?;
        let most = u64::from(MOST_SECONDS * RATE_HZ);
        let expected = film.pictures().map_or(most, |n| n.clamp(1, most));
        let mut seen = Self { size: (0, 0), faces: Vec::new(), thumbnails: Vec::new(), cut: false };
        while let Some(picture) = film.picture()? {
            if stop.load(Ordering::Relaxed) {
                return Err(Error::Stopped);
            }
            if seen.faces.is_empty() {
                seen.size = picture.dimensions();
            } else if seen.size != picture.dimensions() {
                return Err(Error::Damaged);
            }
            if seen.faces.len() as u64 == most {
                seen.cut = true;
                break;
            }
            let last = seen.faces.last().and_then(Option::as_ref);
            seen.faces.push(finder.find(&picture, last));
            seen.thumbnails.push(imageops::grayscale(&imageops::thumbnail(&picture, THUMBNAIL, THUMBNAIL)));
            progress((seen.faces.len() as f32 / expected as f32).min(1.0));
        }
        if seen.faces.is_empty() { Err(Error::NoFilm) } else { Ok(seen) }
    }
}

/// How much moves around each picture: the face, in distances between the eyes, and everything else.
fn motion(faces: &[Face], thumbnails: &[GrayImage]) -> Vec<f32> {
    let last = faces.len() - 1;
    let around = |n: usize| {
        let (before, after) = (n.saturating_sub(1), (n + 1).min(last));
        let pairs = thumbnails[before].as_raw().iter().zip(thumbnails[after].as_raw());
        let change: u32 = pairs.map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
        let change = change as f32 / 255.0 / (THUMBNAIL * THUMBNAIL) as f32;
        let steps = (after - before).max(1) as f32;
        (track::motion(&faces[before], &faces[after]) + PICTURE_WEIGHT * change) / steps
    };
    (0..faces.len()).map(around).collect()
}

//! A film as a folder of pictures: what LiveTalking's avatars and actions are made of.
//!
//! In: a folder. Out: picture `n`, for any session and in any order. A picture is decoded when it is first asked for, and
//! from then on a thread decodes the others ahead, until all lie in the [`Spool`]. Asked for on render threads.

mod folder;
mod i420;
mod spool;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use image::DynamicImage;
use image::imageops::FilterType;

pub(super) use self::i420::{chroma, luma};
pub(super) use self::spool::InUse;
pub use self::spool::Spool;
use self::spool::{Kept, Slot};
use crate::media::VideoFrame;

/// Pictures a second that are shown.
const SHOWN_HZ: u64 = 25;

/// Why a folder is no film.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A folder or a file cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No picture is in it.
    #[error("{path} has no pictures: they are called 00000000.png and so on", path = path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
    },
    /// More than anybody needs.
    #[error("{path} has more than {limit} pictures", path = path.display())]
    TooMany {
        /// The folder.
        path: PathBuf,
        /// How many may be.
        limit: usize,
    },
    /// A file is no picture.
    #[error("{path} is not a picture: {source}", path = path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: image::ImageError,
    },
    /// Nothing that can be shown.
    #[error("{path} is {width}x{height}: from 2 to 4096 pixels a side can be shown", path = path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
    },
    /// Pictures of one film have one size.
    #[error("{path} is {found:?}, the first picture is {expected:?}", path = path.display())]
    Differs {
        /// The file.
        path: PathBuf,
        /// Pixels across and down.
        found: (u32, u32),
        /// The same.
        expected: (u32, u32),
    },
}

/// What a picture is kept as.
#[derive(Clone, Copy, Debug)]
enum Layout {
    /// Planes, to be shown.
    I420,
    /// Three bytes a pixel, for a network.
    Rgb,
}

/// Where a face is in a picture, in pixels; the right and bottom sides are outside. It may jut out of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaceBox {
    /// Left.
    pub x0: i32,
    /// Top.
    pub y0: i32,
    /// Right.
    pub x1: i32,
    /// Bottom.
    pub y1: i32,
}

/// The pictures of a folder; sessions share it.
#[derive(Debug)]
pub struct Clip {
    reel: Arc<Reel>,
    ahead: Mutex<Option<Ahead>>,
}

impl Clip {
    /// The film in `dir`. Reads the head of every picture and decodes none. With `fit`, pictures of another size are
    /// scaled to fill that one, and what juts out is cut off; its sides are even. Blocking.
    pub fn open(dir: &Path, spool: &Arc<Spool>, fit: Option<(u32, u32)>) -> Result<Self, Error> {
        Self::of(dir, spool, Layout::I420, None, |(width, height)| fit.unwrap_or((width & !1, height & !1)))
    }

    /// Pictures that are not shown but looked at, as red, green and blue, all of them `side` × `side`.
    pub(super) fn crops(dir: &Path, spool: &Arc<Spool>, side: u32) -> Result<Self, Error> {
        Self::of(dir, spool, Layout::Rgb, None, |_| (side, side))
    }

    /// The same, of the pictures in `dir` of which each has its face in one of `places`.
    pub(super) fn faces(dir: &Path, spool: &Arc<Spool>, side: u32, places: Arc<[Option<FaceBox>]>) -> Result<Self, Error> {
        Self::of(dir, spool, Layout::Rgb, Some(places), |_| (side, side))
    }

    fn of(
        dir: &Path,
        spool: &Arc<Spool>,
        layout: Layout,
        places: Option<Arc<[Option<FaceBox>]>>,
        size: impl FnOnce((u32, u32)) -> (u32, u32),
    ) -> Result<Self, Error> {
        let files = folder::pictures(dir)?;
        let expected = folder::size(&files[0])?;
        for path in &files[1..] {
            let found = folder::size(path)?;
            if found != expected {
                return Err(Error::Differs { path: path.clone(), found, expected });
            }
        }
        let (size, filmed) = (size(expected), expected);
        let (spool, slot) = (Arc::clone(spool), Arc::default());
        let (faulty, crowded) = (AtomicBool::new(false), AtomicBool::new(false));
        let reel = Reel { files, size, filmed, layout, places, spool, slot, faulty, crowded };
        Ok(Self { reel: Arc::new(reel), ahead: Mutex::default() })
    }

    /// How many pictures there are, at least one.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.reel.files.len()
    }

    /// Pixels across and down.
    pub fn size(&self) -> (u32, u32) {
        self.reel.size
    }

    /// Pixels of the files across and down.
    pub(super) fn filmed(&self) -> (u32, u32) {
        self.reel.filmed
    }

    /// Picture `n`, which is less than [`Self::len`]. One that is damaged is the one before it.
    pub fn frame(&self, n: usize) -> Arc<VideoFrame> {
        let (width, height) = self.reel.size;
        Arc::new(VideoFrame::from_planes(width, height, self.bytes(n)))
    }

    /// The bytes of picture `n` as they are kept.
    pub(super) fn bytes(&self, n: usize) -> Vec<u8> {
        let kept = self.reel.kept();
        if let Some(kept) = &kept {
            let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
            if !ahead.as_ref().is_some_and(|ahead| Arc::ptr_eq(&ahead.kept, kept)) {
                *ahead = Some(Ahead::start(&self.reel, kept));
            }
        }
        self.reel.bytes(n, kept.as_deref())
    }

    /// As long as this lives, its pictures give way to nobody.
    pub(super) fn in_use(&self) -> InUse {
        InUse::new(&self.reel.slot, &self.reel.spool)
    }
}

/// Which of `len` pictures the `n`th of a film is that runs to its end, back to its beginning, and so on; both ends are
/// shown twice, as LiveTalking does it.
pub fn mirrored(n: u64, len: usize) -> usize {
    let (turn, rest) = (n / len as u64, (n % len as u64) as usize);
    if turn.is_multiple_of(2) { rest } else { len - 1 - rest }
}

/// Which picture of a film of `source_hz` pictures a second is shown as the `n`th of ours, before any mirroring.
pub(super) fn resampled(n: u64, source_hz: u32) -> u64 {
    n * u64::from(source_hz) / SHOWN_HZ
}

/// The first picture of `dir`, whole.
pub(super) fn first(dir: &Path) -> Result<DynamicImage, Error> {
    folder::decode(&folder::pictures(dir)?[0])
}

impl FaceBox {
    /// Where it is in a picture of `scale` times the size of which so many pixels are cut off on the left and at the top.
    pub(super) fn shown(self, scale: f64, (left, top): (i32, i32)) -> Self {
        let side = |side: i32| (f64::from(side) * scale).round() as i32;
        Self { x0: side(self.x0) - left, y0: side(self.y0) - top, x1: side(self.x1) - left, y1: side(self.y1) - top }
    }

    /// What of `image` is in it.
    fn cut(self, image: &DynamicImage) -> DynamicImage {
        let inside = |side: i32, whole: u32| side.clamp(0, whole as i32) as u32;
        let (x, y) = (inside(self.x0, image.width() - 1), inside(self.y0, image.height() - 1));
        let (right, bottom) = (inside(self.x1, image.width()), inside(self.y1, image.height()));
        image.crop_imm(x, y, right.saturating_sub(x).max(1), bottom.saturating_sub(y).max(1))
    }
}

impl Layout {
    fn bytes(self, (width, height): (u32, u32)) -> usize {
        let pixels = (width * height) as usize;
        match self {
            Self::I420 => pixels * 3 / 2,
            Self::Rgb => pixels * 3,
        }
    }

    fn keep(self, image: DynamicImage, (width, height): (u32, u32)) -> Vec<u8> {
        let whole = (image.width(), image.height());
        // One pixel more is an odd side, which is not scaled but cut.
        let image = match self {
            Self::I420 if (whole.0 & !1, whole.1 & !1) == (width, height) => image,
            Self::Rgb if whole == (width, height) => image,
            Self::I420 => image.resize_to_fill(width, height, FilterType::Triangle),
            Self::Rgb => image.resize_exact(width, height, FilterType::Triangle),
        };
        let rgb = image.into_rgb8();
        match self {
            Self::I420 => i420::planes(&rgb, rgb.width() as usize, width as usize, height as usize),
            Self::Rgb => rgb.into_raw(),
        }
    }

    fn blank(self, size: (u32, u32)) -> Vec<u8> {
        match self {
            Self::I420 => VideoFrame::black(size.0, size.1).into_planes(),
            Self::Rgb => vec![0; self.bytes(size)],
        }
    }
}

#[derive(Debug)]
struct Reel {
    files: Vec<PathBuf>,
    size: (u32, u32),
    /// Of the files.
    filmed: (u32, u32),
    layout: Layout,
    /// What of each picture is kept; `None`: all of it.
    places: Option<Arc<[Option<FaceBox>]>>,
    spool: Arc<Spool>,
    /// Room is taken when a picture is asked for; where there is none, each is decoded whenever it is asked for.
    slot: Arc<Slot>,
    /// Whether a damaged picture has been reported.
    faulty: AtomicBool,
    /// Whether a want of room has been reported.
    crowded: AtomicBool,
}

impl Reel {
    fn bytes(&self, n: usize, kept: Option<&Kept>) -> Vec<u8> {
        if let Some(bytes) = kept.and_then(|kept| kept.take(n)) {
            return bytes;
        }
        let place = self.places.as_ref().and_then(|places| *places.get(n)?);
        let cut = |image: DynamicImage| if let Some(place) = place { place.cut(&image) } else { image };
        let decoded = folder::decode(&self.files[n]).map(|image| self.layout.keep(cut(image), self.size));
        let bytes = decoded.unwrap_or_else(|error| {
            if !self.faulty.swap(true, Ordering::Relaxed) {
                tracing::warn!(%error, "a damaged picture: the one before it is shown in its place");
            }
            if n == 0 { self.layout.blank(self.size) } else { self.bytes(n - 1, kept) }
        });
        if let Some(kept) = kept {
            kept.put(n, &bytes);
        }
        bytes
    }

    fn kept(&self) -> Option<Arc<Kept>> {
        if let Some(kept) = self.slot.kept() {
            return Some(kept);
        }
        let room = self.spool.keep(&self.slot, self.files.len(), self.layout.bytes(self.size));
        if !matches!(room, Ok(Some(_))) && !self.crowded.swap(true, Ordering::Relaxed) {
            let (error, dir) = (room.as_ref().err(), self.files[0].parent());
            tracing::warn!(?error, ?dir, "no room in the spool: each picture is decoded whenever it is shown");
        }
        room.ok().flatten()
    }
}

/// The thread that decodes ahead; it ends when all is decoded or has to give way, or with the clip.
#[derive(Debug)]
struct Ahead {
    kept: Arc<Kept>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ahead {
    fn start(reel: &Arc<Reel>, kept: &Arc<Kept>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let decode = {
            let (reel, kept, stop) = (Arc::clone(reel), Arc::clone(kept), Arc::clone(&stop));
            move || {
                let going = |_: &usize| !stop.load(Ordering::Acquire) && !kept.is_gone();
                let missing = |n: &usize| !kept.has(*n);
                (0..reel.files.len()).take_while(going).filter(missing).for_each(|n| drop(reel.bytes(n, Some(&kept))));
            }
        };
        let thread = Builder::new().name("clip".into()).spawn(decode).ok();
        Self { kept: Arc::clone(kept), stop, thread }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage};
    use tempfile::{TempDir, tempdir};

    use super::*;

    fn grey(dir: &TempDir, name: &str, level: u8, (width, height): (u32, u32)) {
        RgbImage::from_pixel(width, height, Rgb([level; 3])).save(dir.path().join(name)).unwrap();
    }

    fn spool() -> Arc<Spool> {
        Spool::new(&std::env::temp_dir(), 1 << 20)
    }

    fn luma_of(clip: &Clip, n: usize) -> u8 {
        clip.frame(n).planes()[0][0]
    }

    #[test]
    fn pictures_come_in_the_order_of_their_numbers_whatever_their_kind() {
        let dir = tempdir().unwrap();
        for (name, level) in [("10.png", 255), ("9.jpg", 128), ("00000001.PNG", 0), ("cover.png", 77)] {
            grey(&dir, name, level, (6, 4));
        }
        let clip = Clip::open(dir.path(), &spool(), None).unwrap();
        assert_eq!((clip.len(), clip.size()), (3, (6, 4)));
        assert_eq!([0, 1, 2].map(|n| luma_of(&clip, n)), [16, 126, 235]);
    }

    #[test]
    fn a_second_look_is_the_same_with_room_and_without() {
        let dir = tempdir().unwrap();
        (0..4_u8).for_each(|n| grey(&dir, &format!("{n}.png"), n * 60, (4, 4)));
        for spool in [spool(), Spool::new(&std::env::temp_dir(), 0)] {
            let clip = Clip::open(dir.path(), &spool, None).unwrap();
            let look = || [3, 0, 1, 2].map(|n| luma_of(&clip, n));
            assert_eq!(look(), look());
        }
    }

    #[test]
    fn a_film_that_nobody_looks_at_gives_way_and_is_the_same_when_it_comes_back() {
        let dirs = [tempdir().unwrap(), tempdir().unwrap()];
        dirs.iter().for_each(|dir| (0..4_u8).for_each(|n| grey(dir, &format!("{n}.png"), n * 60, (4, 4))));
        // Room for one: four pictures of 24 bytes.
        let spool = Spool::new(&std::env::temp_dir(), 100);
        let [first, second] = dirs.each_ref().map(|dir| Clip::open(dir.path(), &spool, None).unwrap());
        let look = |clip: &Clip| [3, 0, 1, 2].map(|n| luma_of(clip, n));
        let levels = look(&first);
        assert!(first.reel.slot.kept().is_some());
        let seen = second.in_use();
        assert_eq!(look(&second), levels);
        assert!(first.reel.slot.kept().is_none() && second.reel.slot.kept().is_some());
        assert_eq!(look(&first), levels, "decoded each time, since the other is seen");
        assert!(first.reel.slot.kept().is_none());
        drop(seen);
        assert_eq!(look(&first), levels);
        assert!(first.reel.slot.kept().is_some() && second.reel.slot.kept().is_none());
    }

    #[test]
    fn an_odd_side_loses_a_pixel_and_another_size_is_scaled() {
        let dir = tempdir().unwrap();
        grey(&dir, "0.png", 200, (7, 5));
        assert_eq!(Clip::open(dir.path(), &spool(), None).unwrap().frame(0).height(), 4);
        let clip = Clip::open(dir.path(), &spool(), Some((20, 10))).unwrap();
        assert_eq!((clip.frame(0).width(), clip.frame(0).planes()[0].len()), (20, 200));
    }

    #[test]
    fn a_damaged_picture_is_the_one_before_it() {
        let dir = tempdir().unwrap();
        (0..3_u8).for_each(|n| grey(&dir, &format!("{n}.png"), 255 - n * 100, (32, 32)));
        let whole = std::fs::read(dir.path().join("1.png")).unwrap();
        std::fs::write(dir.path().join("1.png"), &whole[..whole.len() - 30]).unwrap();
        let clip = Clip::open(dir.path(), &spool(), None).unwrap();
        assert_eq!(luma_of(&clip, 1), luma_of(&clip, 0));
        assert_ne!(luma_of(&clip, 2), luma_of(&clip, 0));
    }

    #[test]
    fn what_is_no_film_is_refused_by_name() {
        let dir = tempdir().unwrap();
        assert!(matches!(Clip::open(dir.path(), &spool(), None), Err(Error::Empty { .. })));
        grey(&dir, "0.png", 0, (4, 4));
        grey(&dir, "1.png", 0, (4, 6));
        assert!(matches!(Clip::open(dir.path(), &spool(), None), Err(Error::Differs { .. })));
        std::fs::write(dir.path().join("1.png"), "no picture").unwrap();
        let error = Clip::open(dir.path(), &spool(), None).unwrap_err().to_string();
        assert!(error.contains("1.png"), "{error}");
        assert!(matches!(Clip::open(&dir.path().join("gone"), &spool(), None), Err(Error::Folder { .. })));
    }

    #[test]
    fn a_film_runs_there_and_back_and_keeps_its_pace() {
        assert_eq!((0..9).map(|n| mirrored(n, 3)).collect::<Vec<_>>(), [0, 1, 2, 2, 1, 0, 0, 1, 2]);
        assert_eq!(mirrored(u64::MAX, 1), 0);
        assert_eq!((0..5).map(|n| resampled(n, 50)).collect::<Vec<_>>(), [0, 2, 4, 6, 8]);
        assert_eq!(resampled(25 * 3_600, 30), 30 * 3_600);
    }
}

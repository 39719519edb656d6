//! Writes an avatar as LiveTalking's wav2lip folder: whole pictures, faces cut out of them, and where those lie.
//!
//! In: pictures with their boxes, one by one (or, for a rig, the files of its pack). Out: `full_imgs/%08d.png`, `face_imgs/%08d.png`, `coords.pkl`, `report.json`. It
//! grows beside its place under a name that no avatar can have, and is moved there when it is whole. Blocking.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use image::codecs::png::{CompressionType, FilterType as PngFilter, PngEncoder};
use image::imageops::{self, FilterType};
use image::{ExtendedColorType, ImageEncoder, RgbImage};

use super::track::Box;
use super::{Error, Report};

/// What tells a folder of LiveTalking's from any other that bears the name.
const COORDS: &str = "coords.pkl";
/// Only avatars that were made here have one.
const REPORT: &str = "report.json";

/// Where an avatar will lie; what is not finished is removed when this is dropped.
pub(super) struct Place {
    whole: PathBuf,
    part: PathBuf,
}

impl Place {
    /// The place of avatar `id` in `dir`. With `replace`, one there that was made like this gives way when this one is finished;
    /// one of that id in `shipped` never does.
    pub(super) fn claim(dir: &Path, shipped: &Path, id: &str, replace: bool) -> Result<Self, Error> {
        let whole = dir.join(id);
        if dir != shipped && shipped.join(id).exists() {
            return Err(Error::Exists { id: id.to_owned(), replaceable: false });
        }
        let theirs = whole.join(COORDS).exists() && !whole.join("manifest.json").exists();
        let replaceable = theirs || whole.join(REPORT).exists();
        if whole.exists() && !(replace && replaceable) {
            return Err(Error::Exists { id: id.to_owned(), replaceable });
        }
        let part = dir.join(format!(".{id}.part"));
        remove(&part)?;
        create(&part)?;
        Ok(Self { whole, part })
    }

    /// Writes one file of it.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.part.join(name);
        fs::write(&path, bytes).map_err(|source| Error::Io { doing: "writing", path, source })
    }

    /// Moves it to where it is found.
    pub(super) fn finish(self, report: &Report) -> Result<(), Error> {
        self.write(REPORT, &serde_json::to_vec_pretty(report).expect("a report is plain data"))?;
        if self.whole.exists() {
            remove(&self.whole)?;
        }
        let path = self.whole.clone();
        fs::rename(&self.part, &self.whole).map_err(|source| Error::Io { doing: "moving into place", path, source })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // It is gone if it was finished; what cannot be removed is overwritten next time.
        let _ = fs::remove_dir_all(&self.part);
    }
}

/// A folder that is being written.
pub(super) struct Folder {
    place: Place,
    boxes: Vec<Box>,
    face_side: u32,
}

impl Folder {
    /// Begins one whose faces are cut out `face_side` pixels a side.
    pub(super) fn begin(place: Place, face_side: u32) -> Result<Self, Error> {
        ["full_imgs", "face_imgs"].iter().try_for_each(|folder| create(&place.part.join(folder)))?;
        Ok(Self { place, boxes: Vec::new(), face_side })
    }

    /// Appends a picture whose face is in `face`.
    pub(super) fn push(&mut self, picture: &RgbImage, face: Box) -> Result<(), Error> {
        let (width, height) = (face.right - face.left, face.bottom - face.top);
        let cut = imageops::crop_imm(picture, face.left, face.top, width, height).to_image();
        let cut = imageops::resize(&cut, self.face_side, self.face_side, FilterType::Triangle);
        let number = self.boxes.len();
        self.place.write(&format!("full_imgs/{number:08}.png"), &png(picture)?)?;
        self.place.write(&format!("face_imgs/{number:08}.png"), &png(&cut)?)?;
        self.boxes.push(face);
        Ok(())
    }

    /// Ends the folder and moves it to its place.
    pub(super) fn finish(self, report: &Report) -> Result<(), Error> {
        self.place.write(COORDS, &pickled(&self.boxes))?;
        self.place.finish(report)
    }
}

fn create(dir: &Path) -> Result<(), Error> {
    fs::create_dir_all(dir).map_err(|source| Error::Io { doing: "creating", path: dir.into(), source })
}

fn remove(dir: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(dir) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(Error::Io { doing: "removing", path: dir.into(), source })
        }
        _ => Ok(()),
    }
}

fn png(picture: &RgbImage) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    // Quick: a minute of film is 1500 of them, and slower ones are a tenth smaller.
    let encoder = PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, PngFilter::Sub);
    let (width, height) = picture.dimensions();
    encoder.write_image(picture.as_raw(), width, height, ExtendedColorType::Rgb8).map_err(|_| Error::Damaged)?;
    Ok(bytes)
}

/// A Python pickle, protocol 2: a list of tuples `(y1, y2, x1, x2)` of plain whole numbers.
fn pickled(boxes: &[Box]) -> Vec<u8> {
    // PROTO 2, EMPTY_LIST, MARK.
    let mut bytes = vec![0x80, 2, b']', b'('];
    for b in boxes {
        bytes.push(b'(');
        for number in [b.top, b.bottom, b.left, b.right] {
            // BININT: four bytes; sides of pictures are far below its limit.
            bytes.push(b'J');
            bytes.extend((number as i32).to_le_bytes());
        }
        bytes.push(b't');
    }
    // APPENDS, STOP.
    bytes.extend(b"e.");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_are_written_as_python_writes_them() {
        let one = Box { left: 3, top: 1, right: 4, bottom: 2 };
        // pickletools.dis: PROTO 2, ], (, (, BININT 1 2 3 4, t, e, .
        let expected = b"\x80\x02](" as &[u8];
        let tuple = b"(J\x01\0\0\0J\x02\0\0\0J\x03\0\0\0J\x04\0\0\0t";
        assert_eq!(pickled(&[one]), [expected, tuple, b"e."].concat());
    }
}

//! Writes an avatar as LiveTalking's wav2lip folder: whole pictures, faces cut out of them, and where those lie.
//!
//! In: pictures with their boxes, one by one. Out: `full_imgs/%08d.png`, `face_imgs/%08d.png`, `coords.pkl`, `report.json`. It
//! grows beside its place under a name that no avatar can have, and is moved there when it is whole. Blocking.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use image::codecs::png::{CompressionType, FilterType as PngFilter, PngEncoder};
use image::imageops::{self, FilterType};
use image::{ExtendedColorType, ImageEncoder, RgbImage};

use super::track::Box;
use super::{Error, Report};

/// What tells a folder of this kind from any other that bears the name.
const COORDS: &str = "coords.pkl";

/// A folder that is being written; what is not finished is removed when it is dropped.
pub(super) struct Folder {
    place: PathBuf,
    part: PathBuf,
    boxes: Vec<Box>,
    face_side: u32,
}

impl Folder {
    /// Begins the folder of avatar `id` in `dir`. With `replace`, another folder of this kind and name gives way at the end.
    pub(super) fn create(dir: &Path, id: &str, face_side: u32, replace: bool) -> Result<Self, Error> {
        let place = dir.join(id);
        let ours = place.join(COORDS).exists() && !place.join("manifest.json").exists();
        if place.exists() && !(replace && ours) {
            return Err(Error::Exists { id: id.to_owned(), replaceable: ours });
        }
        let part = dir.join(format!(".{id}.part"));
        remove(&part)?;
        for folder in ["full_imgs", "face_imgs"] {
            let path = part.join(folder);
            fs::create_dir_all(&path).map_err(|source| Error::Io { doing: "creating", path, source })?;
        }
        Ok(Self { place, part, boxes: Vec::new(), face_side })
    }

    /// Appends a picture whose face is in `face`.
    pub(super) fn push(&mut self, picture: &RgbImage, face: Box) -> Result<(), Error> {
        let (width, height) = (face.right - face.left, face.bottom - face.top);
        let cut = imageops::crop_imm(picture, face.left, face.top, width, height).to_image();
        let cut = imageops::resize(&cut, self.face_side, self.face_side, FilterType::Triangle);
        let name = format!("{:08}.png", self.boxes.len());
        write_png(&self.part.join("full_imgs").join(&name), picture)?;
        write_png(&self.part.join("face_imgs").join(&name), &cut)?;
        self.boxes.push(face);
        Ok(())
    }

    /// Ends the folder and moves it to its place.
    pub(super) fn finish(self, report: &Report) -> Result<(), Error> {
        write(&self.part.join(COORDS), &pickled(&self.boxes))?;
        let report = serde_json::to_vec_pretty(report).expect("a report is plain data");
        write(&self.part.join("report.json"), &report)?;
        if self.place.exists() {
            remove(&self.place)?;
        }
        fs::rename(&self.part, &self.place).map_err(|source| Error::Io {
            doing: "moving into place",
            path: self.place.clone(),
            source,
        })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // It is gone if it was finished; what cannot be removed is overwritten next time.
        let _ = fs::remove_dir_all(&self.part);
    }
}

fn remove(dir: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(dir) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(Error::Io { doing: "removing", path: dir.into(), source })
        }
        _ => Ok(()),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    fs::write(path, bytes).map_err(|source| Error::Io { doing: "writing", path: path.into(), source })
}

fn write_png(path: &Path, picture: &RgbImage) -> Result<(), Error> {
    let mut bytes = Vec::new();
    // Quick: a minute of film is 1500 of them, and slower ones are a tenth smaller.
    let encoder = PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, PngFilter::Sub);
    let (width, height) = picture.dimensions();
    encoder.write_image(picture.as_raw(), width, height, ExtendedColorType::Rgb8).map_err(|error| Error::Io {
        doing: "writing",
        path: path.into(),
        source: io::Error::other(error),
    })?;
    write(path, &bytes)
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

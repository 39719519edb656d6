//! Reads the files of one pack: bounded, checked against the manifest's sums, decoded. Blocking; runs at start-up.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use image::{ImageFormat, ImageReader, Limits};
use sha2::{Digest, Sha256};

use super::manifest::{MAX_SIDE, Manifest};
use super::{Error, Fault};
use crate::render::pixel::{Rgba, premultiply};

/// Most bytes of one file: a pack is 4 MB in all, and a lossless frame of 4096 × 4096 still fits.
const MAX_FILE: u64 = 64 << 20;

/// A pack's folder and what to call it in errors.
pub(super) struct Folder {
    path: PathBuf,
    name: String,
}

impl Folder {
    pub(super) fn new(path: &Path) -> Self {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Self { path: path.to_owned(), name }
    }

    /// Says where a fault was found.
    pub(super) fn blame<'a>(&'a self, file: &'a str) -> impl FnOnce(Fault) -> Error + 'a {
        move |fault| Error { avatar: self.name.clone(), file: file.to_owned(), fault }
    }

    pub(super) fn manifest(&self) -> Result<Manifest, Error> {
        const FILE: &str = "manifest.json";
        self.bytes(FILE).and_then(|bytes| Manifest::parse(&bytes)).map_err(self.blame(FILE))
    }

    /// A file that the manifest vouches for.
    pub(super) fn checked(&self, manifest: &Manifest, file: &str) -> Result<Vec<u8>, Error> {
        let read = || {
            let sum = manifest.checksum(file).ok_or(Fault::Unlisted)?;
            let bytes = self.bytes(file)?;
            let mut digits = sum
                .as_bytes()
                .chunks(2)
                .map(|pair| std::str::from_utf8(pair).ok().and_then(|p| u8::from_str_radix(p, 16).ok()));
            let same = sum.len() == 64 && Sha256::digest(&bytes).iter().all(|byte| digits.next() == Some(Some(*byte)));
            if same { Ok(bytes) } else { Err(Fault::Checksum) }
        };
        read().map_err(self.blame(file))
    }

    /// A picture of exactly this size, premultiplied.
    pub(super) fn picture(&self, manifest: &Manifest, file: &str, size: (usize, usize)) -> Result<Vec<Rgba>, Error> {
        let bytes = self.checked(manifest, file)?;
        decode(&bytes, size).map_err(self.blame(file))
    }

    fn bytes(&self, file: &str) -> Result<Vec<u8>, Fault> {
        let mut bytes = Vec::new();
        let file = File::open(self.path.join(file)).map_err(Fault::Read)?;
        file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(Fault::Read)?;
        if bytes.len() as u64 > MAX_FILE { Err(Fault::TooLarge { limit_bytes: MAX_FILE }) } else { Ok(bytes) }
    }
}

fn decode(bytes: &[u8], size: (usize, usize)) -> Result<Vec<Rgba>, Fault> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), ImageFormat::WebP);
    reader.limits(limits.clone());
    let (w, h) = reader.into_dimensions().map_err(Fault::Picture)?;
    let found = (w as usize, h as usize);
    if found != size {
        return Err(Fault::Size { found, expected: size });
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), ImageFormat::WebP);
    reader.limits(limits);
    let image = reader.decode().map_err(Fault::Picture)?.into_rgba8();
    Ok(image.pixels().map(|p| premultiply(p.0)).collect())
}

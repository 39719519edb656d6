//! A folder of pictures whose names are numbers, as LiveTalking's avatars and actions have them. Blocking.

use std::io;
use std::path::{Path, PathBuf};

use image::{DynamicImage, ImageReader, Limits};

use super::Error;

/// Longest side, in pixels: what an encoder takes.
const MAX_SIDE: u32 = 4_096;

/// Most pictures of a folder: over an hour.
const MAX_PICTURES: usize = 100_000;

/// The pictures of `dir` in the order of their numbers: PNG and JPEG, other files do not count.
pub(super) fn pictures(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let unreadable = |source: io::Error| Error::Folder { path: dir.to_owned(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        found.extend(number(&path).map(|number| (number, path)));
        if found.len() > MAX_PICTURES {
            return Err(Error::TooMany { path: dir.to_owned(), limit: MAX_PICTURES });
        }
    }
    if found.is_empty() {
        return Err(Error::Empty { path: dir.to_owned() });
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

fn number(path: &Path) -> Option<u64> {
    let extension = path.extension()?.to_str()?.to_ascii_lowercase();
    matches!(extension.as_str(), "png" | "jpg" | "jpeg").then(|| path.file_stem()?.to_str()?.parse().ok()).flatten()
}

/// Pixels across and down, read from the file's head.
pub(super) fn size(path: &Path) -> Result<(u32, u32), Error> {
    let (width, height) =
        reader(path)?.into_dimensions().map_err(|source| Error::Picture { path: path.to_owned(), source })?;
    if width < 2 || height < 2 || width > MAX_SIDE || height > MAX_SIDE {
        return Err(Error::Size { path: path.to_owned(), width, height });
    }
    Ok((width, height))
}

/// The whole picture.
pub(super) fn decode(path: &Path) -> Result<DynamicImage, Error> {
    reader(path)?.decode().map_err(|source| Error::Picture { path: path.to_owned(), source })
}

fn reader(path: &Path) -> Result<ImageReader<io::BufReader<std::fs::File>>, Error> {
    let unreadable = |source: io::Error| Error::Folder { path: path.to_owned(), source };
    // By what is in it: tools name JPEGs .png.
    let mut reader = ImageReader::open(path).map_err(unreadable)?.with_guessed_format().map_err(unreadable)?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    reader.limits(limits);
    Ok(reader)
}

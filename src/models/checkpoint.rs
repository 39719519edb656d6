//! PyTorch's checkpoints (`.pth`, `.pt`), read as data: the named tensors in a file, whichever of the two formats it has.
//!
//! In: a file. Out: tensors as f32. Nothing in the file is run (`super::pickle`); a file that lies about sizes costs an error.
//! Blocking.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

use half::{bf16, f16};

use super::pickle::{self, Value};

/// Largest file: Wav2Lip's with all the notes of its training have 436 MB.
const MAX_FILE: u64 = 4 << 30;

/// Largest pickle in a file: names and shapes.
const MAX_PICKLE: u64 = 64 << 20;

/// What a file of the format before PyTorch 1.6 begins with: a pickle of ten bytes' number.
const OLD_FORMAT: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";

/// Why a file is no checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Its pickle is not read.
    #[error("{path} {source}", path = path.display())]
    Pickle {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: pickle::Error,
    },
    /// It is something else.
    #[error("{path} is not a checkpoint of PyTorch: {what}", path = path.display())]
    Format {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// Numbers with a shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Sizes, the slowest first.
    pub shape: Vec<usize>,
    /// All of them, the last size's side by side.
    pub values: Vec<f32>,
}

/// The named tensors in `path`: those of its `state_dict`, or all of them.
pub fn read(path: &Path) -> Result<BTreeMap<String, Tensor>, Error> {
    let unreadable = |source| Error::Read { path: path.to_owned(), source };
    let wrong = |what: &str| Error::Format { path: path.to_owned(), what: what.into() };
    let mut file = File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.len() > MAX_FILE {
        return Err(wrong("it is larger than 4 GiB"));
    }
    let mut head = [0; OLD_FORMAT.len()];
    let is_old = file.read_exact(&mut head).is_ok() && head == OLD_FORMAT;
    file.rewind().map_err(unreadable)?;
    let parts = if is_old { old(file) } else { zipped(file) };
    let (root, storages) = parts.map_err(|fault| match fault {
        Fault::Pickle(source) => Error::Pickle { path: path.to_owned(), source },
        Fault::Other(what) => Error::Format { path: path.to_owned(), what },
    })?;
    let Value::Dict(entries) = root.get("state_dict").or(root.get("model")).unwrap_or(&root) else {
        return Err(wrong("it holds no dictionary"));
    };
    let named = |(name, value): &(Value, Value)| Some((name.text()?.to_owned(), value.clone()));
    let mut tensors = BTreeMap::new();
    for (name, value) in entries.iter().filter_map(named) {
        if let Value::Built(function, parts) = &value
            && function.starts_with("torch._utils._rebuild_tensor")
        {
            let tensor = tensor(parts, &storages).ok_or_else(|| wrong(&format!("tensor {name} makes no sense")))?;
            tensors.insert(name, tensor);
        }
    }
    if tensors.is_empty() { Err(wrong("it holds no tensors")) } else { Ok(tensors) }
}

enum Fault {
    Pickle(pickle::Error),
    Other(String),
}

impl From<pickle::Error> for Fault {
    fn from(error: pickle::Error) -> Self {
        Self::Pickle(error)
    }
}

fn other(error: impl std::fmt::Display) -> Fault {
    Fault::Other(error.to_string())
}

/// Bytes by the key that tensors name.
type Storages = BTreeMap<String, Vec<u8>>;

/// A zip archive: `data.pkl`, and a file for each storage under `data/`.
fn zipped(file: File) -> Result<(Value, Storages), Fault> {
    let mut archive = zip::ZipArchive::new(file).map_err(other)?;
    let names: Vec<String> = archive.file_names().filter_map(|name| Some(name.ok()?.into_owned())).collect();
    let main = names.iter().find(|name| name.ends_with("/data.pkl")).ok_or_else(|| other("there is no data.pkl in it"))?;
    let folder = main.trim_end_matches("data.pkl");
    let pickle = member(&mut archive, main, MAX_PICKLE)?;
    let (root, _) = pickle::read(&pickle)?;
    let data = format!("{folder}data/");
    let mut storages = Storages::new();
    let mut left = MAX_FILE;
    for name in names.iter().filter(|name| name.starts_with(&data)) {
        let bytes = member(&mut archive, name, left)?;
        left -= bytes.len() as u64;
        storages.insert(name[data.len()..].to_owned(), bytes);
    }
    Ok((root, storages))
}

fn member(archive: &mut zip::ZipArchive<File>, name: &str, limit: u64) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    let read = archive.by_name(name).map_err(other)?.take(limit + 1).read_to_end(&mut bytes).map_err(other)?;
    if read as u64 > limit { Err(other(format!("{name} is too large"))) } else { Ok(bytes) }
}

/// Five pickles (a magic number, a version, the machine, the checkpoint, the keys of storages), then each storage: its length
/// in eight bytes, and its numbers.
fn old(mut file: File) -> Result<(Value, Storages), Fault> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(other)?;
    let mut rest = &bytes[..];
    let mut next = || -> Result<Value, Fault> {
        let (value, length) = pickle::read(rest)?;
        rest = &rest[length..];
        Ok(value)
    };
    let [_, _, _, root, keys] = [next()?, next()?, next()?, next()?, next()?];
    let mut kinds = BTreeMap::new();
    kinds_in(&root, &mut kinds);
    let mut storages = Storages::new();
    for key in keys.items().unwrap_or_default() {
        let key = key.text().ok_or_else(|| other("a storage has no name"))?;
        let (count, numbers) = rest.split_at_checked(8).ok_or_else(|| other("it is cut off"))?;
        let count = u64::from_le_bytes(count.try_into().expect("eight bytes were split off"));
        let width = kinds.get(key).copied().unwrap_or(4);
        let length = usize::try_from(count).ok().and_then(|count| count.checked_mul(width));
        let (storage, after) =
            length.and_then(|length| numbers.split_at_checked(length)).ok_or_else(|| other("it is cut off"))?;
        storages.insert(key.to_owned(), storage.to_vec());
        rest = after;
    }
    Ok((root, storages))
}

/// Bytes of a number of each storage that is named anywhere in `value`.
fn kinds_in(value: &Value, kinds: &mut BTreeMap<String, usize>) {
    match value {
        Value::Persistent(id) => {
            if let Some((kind, key)) = storage(id) {
                kinds.insert(key.to_owned(), kind.width());
            }
        }
        Value::List(items) => items.iter().for_each(|item| kinds_in(item, kinds)),
        Value::Tuple(items) | Value::Built(_, items) => items.iter().for_each(|item| kinds_in(item, kinds)),
        Value::Dict(pairs) => pairs.iter().for_each(|(_, value)| kinds_in(value, kinds)),
        _ => {}
    }
}

/// What a storage's numbers are.
#[derive(Clone, Copy)]
enum Kind {
    Float,
    Half,
    BFloat16,
    Double,
    /// Whole numbers of so many bytes: counters, which nothing here computes with.
    Whole(usize),
}

impl Kind {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "torch.FloatStorage" => Self::Float,
            "torch.HalfStorage" => Self::Half,
            "torch.BFloat16Storage" => Self::BFloat16,
            "torch.DoubleStorage" => Self::Double,
            "torch.LongStorage" => Self::Whole(8),
            "torch.IntStorage" => Self::Whole(4),
            "torch.ShortStorage" => Self::Whole(2),
            "torch.ByteStorage" | "torch.CharStorage" | "torch.BoolStorage" => Self::Whole(1),
            _ => return None,
        })
    }

    fn width(self) -> usize {
        match self {
            Self::Float => 4,
            Self::Half | Self::BFloat16 => 2,
            Self::Double => 8,
            Self::Whole(width) => width,
        }
    }

    fn number(self, bytes: &[u8]) -> Option<f32> {
        Some(match self {
            Self::Float => f32::from_le_bytes(bytes.try_into().ok()?),
            Self::Half => f16::from_le_bytes(bytes.try_into().ok()?).to_f32(),
            Self::BFloat16 => bf16::from_le_bytes(bytes.try_into().ok()?).to_f32(),
            Self::Double => f64::from_le_bytes(bytes.try_into().ok()?) as f32,
            Self::Whole(_) => bytes.iter().rev().fold(0_i64, |sum, byte| sum << 8 | i64::from(*byte)) as f32,
        })
    }
}

/// `('storage', type, key, place, count)`, with a note of views behind it in the old format.
fn storage(id: &Value) -> Option<(Kind, &str)> {
    let [_, Value::Global(kind), key, ..] = id.items()? else { return None };
    Some((Kind::of(kind)?, key.text()?))
}

/// `(storage, offset, size, stride, …)`.
fn tensor(parts: &[Value], storages: &Storages) -> Option<Tensor> {
    let [Value::Persistent(id), offset, size, stride, ..] = parts else { return None };
    let (kind, key) = storage(id)?;
    let bytes = storages.get(key)?;
    let whole = |value: &Value| usize::try_from(value.int()?).ok();
    let offset = whole(offset)?;
    let shape = size.items()?.iter().map(whole).collect::<Option<Vec<_>>>()?;
    let stride = stride.items()?.iter().map(whole).collect::<Option<Vec<_>>>()?;
    let count = shape.iter().try_fold(1_usize, |count, side| count.checked_mul(*side))?;
    // A tensor may be shorter than its storage, and none of ours is longer: strides of zero could ask for terabytes.
    if shape.len() != stride.len() || count > bytes.len() / kind.width() {
        return None;
    }
    let mut values = Vec::with_capacity(count);
    let mut index = vec![0_usize; shape.len()];
    for _ in 0..count {
        let place = index.iter().zip(&stride).try_fold(offset, |at, (i, step)| at.checked_add(i.checked_mul(*step)?))?;
        let from = place.checked_mul(kind.width())?;
        values.push(kind.number(bytes.get(from..from.checked_add(kind.width())?)?)?);
        for (i, side) in index.iter_mut().zip(&shape).rev() {
            *i += 1;
            if *i < *side {
                break;
            }
            *i = 0;
        }
    }
    Some(Tensor { shape, values })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tempfile::tempdir;

    use super::*;

    const NEW: &[u8] = include_bytes!("../../tests/corpus/wav2lip/tiny.pth");
    const OLD: &[u8] = include_bytes!("../../tests/corpus/wav2lip/tiny-old.pth");

    #[test]
    fn both_formats_hold_the_same_tensors() {
        let dir = tempdir().unwrap();
        let [new, old] = [NEW, OLD].map(|bytes| {
            let path = dir.path().join("x.pth");
            std::fs::write(&path, bytes).unwrap();
            read(&path).unwrap()
        });
        assert!(new.len() > 200 && new.len() == old.len());
        assert!(new.iter().all(|(name, tensor)| old[&format!("module.{name}")] == *tensor));
        assert_eq!(new["face_encoder_blocks.0.0.conv_block.0.weight"].shape, [4, 6, 7, 7]);
        assert_eq!(new["face_encoder_blocks.0.0.conv_block.1.num_batches_tracked"].values, [7.0]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_damage_to_a_checkpoint_panics(at: usize, bytes in prop::collection::vec(any::<u8>(), 1..9), old: bool) {
            let dir = tempdir().unwrap();
            let mut whole = if old { OLD } else { NEW }.to_vec();
            // Names and shapes are in the first 40 000 bytes.
            let at = at % 40_000;
            whole[at..at + bytes.len()].copy_from_slice(&bytes);
            let path = dir.path().join("x.pth");
            std::fs::write(&path, whole).unwrap();
            let _ = read(&path);
        }
    }
}

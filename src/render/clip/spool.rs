//! Where decoded pictures wait: one file a clip, without a name, so that nothing is left behind whatever ends the process.
//!
//! A picture is decoded once and then read as it is, at the speed of a copy: the system's page cache keeps what is
//! looked at, shared by all sessions, and gives it up when memory is needed for something else. Blocking.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A folder for spools, and how much may lie there.
#[derive(Debug)]
pub struct Spool {
    dir: PathBuf,
    free_bytes: AtomicU64,
}

impl Spool {
    /// At most `limit_bytes` of decoded pictures in `dir`, which is made when it is needed.
    pub fn new(dir: &Path, limit_bytes: u64) -> Arc<Self> {
        Arc::new(Self { dir: dir.to_owned(), free_bytes: AtomicU64::new(limit_bytes) })
    }

    /// Room for `count` pictures of `size` bytes; `None` if there is not that much left.
    pub(super) fn reserve(self: &Arc<Self>, count: usize, size: usize) -> io::Result<Option<Kept>> {
        let bytes = count as u64 * size as u64;
        let taken = self.free_bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, |free| free.checked_sub(bytes));
        if taken.is_err() {
            return Ok(None);
        }
        let room = Room { spool: Arc::clone(self), bytes };
        let file = nameless(&self.dir)?;
        let done = (0..count).map(|_| AtomicBool::new(false)).collect();
        Ok(Some(Kept { file, size, done, _room: room }))
    }
}

/// A file in `dir` that is gone with its last handle.
fn nameless(dir: &Path) -> io::Result<File> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    std::fs::create_dir_all(dir)?;
    let path = dir.join(format!("visavis-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    // What an earlier process of this number left, if it was killed between the two lines.
    let _ = std::fs::remove_file(&path);
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// Gives its bytes back when it is dropped.
#[derive(Debug)]
struct Room {
    spool: Arc<Spool>,
    bytes: u64,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.spool.free_bytes.fetch_add(self.bytes, Ordering::AcqRel);
    }
}

/// Pictures of one size, each there once it was put.
#[derive(Debug)]
pub(super) struct Kept {
    file: File,
    size: usize,
    done: Vec<AtomicBool>,
    _room: Room,
}

impl Kept {
    /// Picture `n`, if it was put.
    pub(super) fn take(&self, n: usize) -> Option<Vec<u8>> {
        if !self.has(n) {
            return None;
        }
        let mut bytes = vec![0; self.size];
        self.file.read_exact_at(&mut bytes, self.place(n)).ok()?;
        Some(bytes)
    }

    /// Keeps picture `n`. A full disk is no fault: the picture is then decoded each time.
    pub(super) fn put(&self, n: usize, bytes: &[u8]) {
        if bytes.len() == self.size && self.file.write_all_at(bytes, self.place(n)).is_ok() {
            self.done[n].store(true, Ordering::Release);
        }
    }

    pub(super) fn has(&self, n: usize) -> bool {
        self.done[n].load(Ordering::Acquire)
    }

    fn place(&self, n: usize) -> u64 {
        n as u64 * self.size as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_is_there_and_the_rest_is_not() {
        let spool = Spool::new(&std::env::temp_dir(), 100);
        let kept = spool.reserve(3, 4).unwrap().unwrap();
        kept.put(1, &[1, 2, 3, 4]);
        assert_eq!((kept.take(0), kept.take(1)), (None, Some(vec![1, 2, 3, 4])));
    }

    #[test]
    fn room_is_bounded_and_comes_back_with_the_clip_that_had_it() {
        let spool = Spool::new(&std::env::temp_dir(), 100);
        let kept = spool.reserve(20, 4).unwrap();
        assert!(kept.is_some() && spool.reserve(6, 4).unwrap().is_none());
        drop(kept);
        assert!(spool.reserve(25, 4).unwrap().is_some());
    }
}

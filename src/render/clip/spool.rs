//! Where decoded pictures wait: one file a clip, without a name, so that nothing is left behind whatever ends the process.
//!
//! A picture is decoded once and then read as it is, at the speed of a copy: the system's page cache keeps what is
//! looked at, shared by all sessions, and gives it up when memory is needed for something else. When there is no room left, the
//! clips that nobody looks at give way, the longest unseen first. Blocking.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A folder for spools, and how much may lie there.
#[derive(Debug)]
pub struct Spool {
    dir: PathBuf,
    free_bytes: AtomicU64,
    /// Of clips that had room. Locked while room is given, so that two do not make the same room.
    slots: Mutex<Vec<Weak<Slot>>>,
    /// Counts whenever somebody looks at a clip or away from it.
    clock: AtomicU64,
}

impl Spool {
    /// At most `limit_bytes` of decoded pictures in `dir`, which is made when it is needed.
    pub fn new(dir: &Path, limit_bytes: u64) -> Arc<Self> {
        let (free_bytes, slots, clock) = (AtomicU64::new(limit_bytes), Mutex::default(), AtomicU64::new(0));
        Arc::new(Self { dir: dir.to_owned(), free_bytes, slots, clock })
    }

    /// Room for `count` pictures of `size` bytes in `slot`, unless it has that; `None` if there is none, whoever gives way.
    pub(super) fn keep(self: &Arc<Self>, slot: &Arc<Slot>, count: usize, size: usize) -> io::Result<Option<Arc<Kept>>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = slot.kept() {
            return Ok(Some(kept));
        }
        let Some(room) = self.room(&slots, count as u64 * size as u64) else { return Ok(None) };
        let done = (0..count).map(|_| AtomicBool::new(false)).collect();
        let kept = Arc::new(Kept { file: nameless(&self.dir)?, size, done, gone: AtomicBool::new(false) });
        *slot.held.lock().unwrap_or_else(PoisonError::into_inner) = Some((Arc::clone(&kept), room));
        slots.retain(|other| other.strong_count() > 0 && !other.ptr_eq(&Arc::downgrade(slot)));
        slots.push(Arc::downgrade(slot));
        Ok(Some(kept))
    }

    /// So many bytes, of what is free and of what has to give way for them.
    fn room(self: &Arc<Self>, slots: &[Weak<Slot>], bytes: u64) -> Option<Room> {
        let mut unseen: Vec<_> = slots.iter().filter_map(Weak::upgrade).filter(|slot| slot.is_unseen()).collect();
        unseen.sort_by_key(|slot| std::cmp::Reverse(slot.seen.load(Ordering::Acquire)));
        let to_win: u64 = unseen.iter().map(|slot| slot.bytes()).sum();
        if self.free_bytes.load(Ordering::Acquire).saturating_add(to_win) < bytes {
            return None;
        }
        loop {
            let taken = self.free_bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, |free| free.checked_sub(bytes));
            if taken.is_ok() {
                return Some(Room { spool: Arc::clone(self), bytes });
            }
            unseen.pop()?.give_way();
        }
    }

    /// The next number of the clock.
    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::AcqRel)
    }
}

/// A clip's place in a spool: its pictures, while they have room.
#[derive(Debug, Default)]
pub(super) struct Slot {
    held: Mutex<Option<(Arc<Kept>, Room)>>,
    users: AtomicUsize,
    /// When somebody looked at it last, by the spool's clock.
    seen: AtomicU64,
}

impl Slot {
    /// Its pictures, if they have room.
    pub(super) fn kept(&self) -> Option<Arc<Kept>> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().map(|(kept, _)| Arc::clone(kept))
    }

    fn is_unseen(&self) -> bool {
        self.users.load(Ordering::Acquire) == 0
    }

    fn bytes(&self) -> u64 {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(0, |(_, room)| room.bytes)
    }

    fn give_way(&self) {
        if let Some((kept, _room)) = self.held.lock().unwrap_or_else(PoisonError::into_inner).take() {
            kept.gone.store(true, Ordering::Release);
        }
    }
}

/// Somebody looks at a clip: as long as this lives, its pictures stay where they are.
#[derive(Debug)]
pub(in crate::render) struct InUse {
    slot: Arc<Slot>,
    spool: Arc<Spool>,
}

impl InUse {
    pub(super) fn new(slot: &Arc<Slot>, spool: &Arc<Spool>) -> Self {
        slot.users.fetch_add(1, Ordering::AcqRel);
        Self { slot: Arc::clone(slot), spool: Arc::clone(spool) }
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.slot.seen.store(self.spool.tick(), Ordering::Release);
        self.slot.users.fetch_sub(1, Ordering::AcqRel);
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
    /// Others have its room.
    gone: AtomicBool,
}

impl Kept {
    /// Whether it had to give way: nothing more belongs into it.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

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

    fn slot() -> Arc<Slot> {
        Arc::default()
    }

    #[test]
    fn what_was_put_is_there_and_the_rest_is_not() {
        let spool = Spool::new(&std::env::temp_dir(), 100);
        let kept = spool.keep(&slot(), 3, 4).unwrap().unwrap();
        kept.put(1, &[1, 2, 3, 4]);
        assert_eq!((kept.take(0), kept.take(1)), (None, Some(vec![1, 2, 3, 4])));
    }

    #[test]
    fn room_is_bounded_and_comes_back_with_the_clip_that_had_it() {
        let spool = Spool::new(&std::env::temp_dir(), 100);
        let first = slot();
        let seen = InUse::new(&first, &spool);
        let kept = spool.keep(&first, 20, 4).unwrap();
        assert!(kept.is_some() && spool.keep(&slot(), 6, 4).unwrap().is_none());
        drop((first, seen));
        assert!(spool.keep(&slot(), 25, 4).unwrap().is_some());
    }

    #[test]
    fn who_was_not_seen_for_longest_gives_way_and_who_is_seen_does_not() {
        let spool = Spool::new(&std::env::temp_dir(), 100);
        let slots = [slot(), slot(), slot()];
        let mut seen: Vec<_> = slots.iter().map(|slot| InUse::new(slot, &spool)).collect();
        let kept: Vec<_> = slots.iter().map(|slot| spool.keep(slot, 1, 30).unwrap().unwrap()).collect();
        kept[0].put(0, &[7; 30]);
        // The second goes first, then the first; the third stays.
        drop(seen.remove(1));
        drop(seen.remove(0));
        assert!(spool.keep(&slot(), 1, 71).unwrap().is_none(), "more than would be won");
        assert!(kept.iter().all(|kept| !kept.is_gone()), "and nobody gave way for nothing");
        let fourth = slot();
        assert!(spool.keep(&fourth, 1, 30).unwrap().is_some());
        assert_eq!(kept.iter().map(|kept| kept.is_gone()).collect::<Vec<_>>(), [false, true, false]);
        assert_eq!(slots[0].kept().unwrap().take(0), Some(vec![7; 30]));
        let _seen = InUse::new(&fourth, &spool);
        assert!(spool.keep(&slots[1], 1, 40).unwrap().is_some(), "it comes back when it is looked at");
        assert!(kept[0].is_gone() && !kept[2].is_gone() && slots[0].kept().is_none());
    }
}

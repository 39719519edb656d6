//! Who is here: the sessions by id, and the slots that bound their number (limit L1).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use super::Session;
use crate::metrics;

/// The server's sessions.
pub struct SessionRegistry {
    max_sessions: usize,
    /// Held for a look-up or an insertion.
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    reserved: usize,
    draining: bool,
    sessions: HashMap<Uuid, Arc<Session>>,
}

/// Why there is no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSlot {
    /// All are taken.
    #[error("Maximum session limit reached ({taken}/{max})")]
    Full {
        /// Sessions that hold a slot.
        taken: usize,
        /// `server.max_sessions`.
        max: usize,
    },
    /// The server is about to stop.
    #[error("the server is shutting down")]
    Draining,
}

/// One session's place. Given back when dropped, so on every path out.
pub struct Slot {
    registry: Arc<SessionRegistry>,
    id: Uuid,
}

impl SessionRegistry {
    /// Room for `max_sessions`.
    pub fn new(max_sessions: usize) -> Arc<Self> {
        Arc::new(Self { max_sessions, inner: Mutex::default() })
    }

    /// Takes a slot for a session that is about to be made.
    pub fn reserve(self: &Arc<Self>) -> Result<Slot, NoSlot> {
        let mut inner = self.lock();
        if inner.draining {
            return Err(NoSlot::Draining);
        }
        if inner.reserved >= self.max_sessions {
            return Err(NoSlot::Full { taken: inner.reserved, max: self.max_sessions });
        }
        inner.reserved += 1;
        metrics::sessions(inner.reserved);
        Ok(Slot { registry: Arc::clone(self), id: Uuid::new_v4() })
    }

    /// The session of that id.
    pub fn get(&self, id: Uuid) -> Option<Arc<Session>> {
        self.lock().sessions.get(&id).cloned()
    }

    /// All sessions, oldest first.
    pub fn all(&self) -> Vec<Arc<Session>> {
        let mut all: Vec<_> = self.lock().sessions.values().cloned().collect();
        all.sort_by_key(|session| session.created());
        all
    }

    /// Slots that are taken, and how many there are.
    pub fn occupancy(&self) -> (usize, usize) {
        (self.lock().reserved, self.max_sessions)
    }

    /// Refuses new sessions from now on.
    pub fn drain(&self) {
        self.lock().draining = true;
    }

    /// Whether new sessions are refused.
    pub fn is_draining(&self) -> bool {
        self.lock().draining
    }

    pub(super) fn insert(&self, session: Arc<Session>) {
        self.lock().sessions.insert(session.id(), session);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// The id of the session that this slot is for.
    pub fn id(&self) -> Uuid {
        self.id
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut inner = self.registry.lock();
        inner.reserved -= 1;
        metrics::sessions(inner.reserved);
        // The last handle of a session may be this one, and its drop may want the registry.
        let session = inner.sessions.remove(&self.id);
        drop(inner);
        drop(session);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fifty_at_once_get_four_slots() {
        let registry = SessionRegistry::new(4);
        let slots: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..50).map(|_| scope.spawn(|| registry.reserve().ok())).collect();
            threads.into_iter().filter_map(|t| t.join().unwrap()).collect()
        });
        assert_eq!(slots.len(), 4);
        assert!(matches!(registry.reserve(), Err(NoSlot::Full { taken: 4, max: 4 })));
        drop(slots);
        assert_eq!(registry.occupancy(), (0, 4));
    }

    #[test]
    fn a_draining_server_takes_nobody() {
        let registry = SessionRegistry::new(4);
        registry.drain();
        assert_eq!(registry.reserve().err(), Some(NoSlot::Draining));
    }
}

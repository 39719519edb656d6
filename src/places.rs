//! Places for connections: so many in all, so many of one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many there are, and who has them.
pub struct Places {
    all: usize,
    of_address: usize,
    /// Held for a look-up or a change.
    taken: Mutex<HashMap<Option<IpAddr>, usize>>,
}

impl Places {
    /// `all`, of which one address may have `of_address`.
    pub fn new(all: usize, of_address: usize) -> Arc<Self> {
        Arc::new(Self { all, of_address, taken: Mutex::default() })
    }

    /// One for `address`, or, if `None`, for somebody who may have all.
    pub fn take(self: &Arc<Self>, address: Option<IpAddr>) -> Option<Place> {
        let mut taken = self.taken();
        let own = taken.get(&address).copied().unwrap_or_default();
        if taken.values().sum::<usize>() >= self.all || (address.is_some() && own >= self.of_address) {
            return None;
        }
        taken.insert(address, own + 1);
        Some(Place { places: Arc::clone(self), address })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<Option<IpAddr>, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of them; given back when dropped.
pub struct Place {
    places: Arc<Places>,
    address: Option<IpAddr>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        if let Some(own) = taken.get_mut(&self.address) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_more_than_are_his_and_each_is_given_back() {
        let places = Places::new(10, 4);
        let one = Some("192.0.2.1".parse().unwrap());
        let held: Vec<_> = std::iter::from_fn(|| places.take(one)).collect();
        assert_eq!(held.len(), 4);
        let more: Vec<_> = std::iter::from_fn(|| places.take(None)).collect();
        assert_eq!(more.len(), 6);
        assert!(places.take(Some("192.0.2.2".parse().unwrap())).is_none());
        drop((held, more));
        assert!(places.taken().is_empty());
    }
}

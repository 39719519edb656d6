//! Which session belongs to which device, so that its main socket and its WebRTC connection meet in one conversation,
//! whichever comes first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use uuid::Uuid;

use crate::session::Session;

/// The devices that are here, by device id.
#[derive(Default)]
pub struct Devices {
    /// Held for a look-up or a change.
    inner: Mutex<HashMap<String, Device>>,
}

struct Device {
    session: Arc<Session>,
    /// Its main sockets: for a moment there may be two, when one that is lost comes again.
    sockets: usize,
    /// The viewers of its session that are its own WebRTC connections, once media can flow.
    viewers: watch::Sender<Vec<Uuid>>,
}

/// A part of a device that is here; dropping it takes it out.
struct Part {
    devices: Arc<Devices>,
    device: String,
    viewers: watch::Sender<Vec<Uuid>>,
}

/// A main socket.
pub(super) struct Registration(Part);

/// A WebRTC connection.
pub(super) struct Attached {
    part: Part,
    viewer: Uuid,
}

impl Devices {
    /// The session of a device that is here.
    pub(super) fn find(&self, device: &str) -> Option<Arc<Session>> {
        self.lock().get(device).map(|device| Arc::clone(&device.session))
    }

    /// Whether a main socket of `device` lives in `session`.
    pub(super) fn has_socket(&self, device: &str, session: Uuid) -> bool {
        self.lock().get(device).is_some_and(|device| device.sockets > 0 && device.session.id() == session)
    }

    /// A main socket of `device` speaks with `session`, which is the device's from now on.
    pub(super) fn register(self: &Arc<Self>, device: &str, session: &Arc<Session>) -> Registration {
        let mut inner = self.lock();
        let entry = inner.entry(device.to_owned()).or_insert_with(|| Device::of(session));
        if entry.session.id() != session.id() {
            *entry = Device::of(session);
        }
        entry.sockets += 1;
        Registration(self.part(device, &entry.viewers))
    }

    /// `viewer` of `session` is a WebRTC connection of `device`. `None` if the device speaks with another session.
    pub(super) fn attach(self: &Arc<Self>, device: &str, session: &Arc<Session>, viewer: Uuid) -> Option<Attached> {
        let mut inner = self.lock();
        let entry = inner.entry(device.to_owned()).or_insert_with(|| Device::of(session));
        if entry.session.id() != session.id() {
            return None;
        }
        entry.viewers.send_modify(|viewers| viewers.push(viewer));
        Some(Attached { part: self.part(device, &entry.viewers), viewer })
    }

    fn part(self: &Arc<Self>, device: &str, viewers: &watch::Sender<Vec<Uuid>>) -> Part {
        Part { devices: Arc::clone(self), device: device.to_owned(), viewers: viewers.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Device>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Device {
    fn of(session: &Arc<Session>) -> Self {
        Self { session: Arc::clone(session), sockets: 0, viewers: watch::Sender::default() }
    }
}

impl Part {
    /// Changes the device's entry, unless another session has taken its place, and takes it out if nothing of it is left.
    fn leave(&self, change: impl FnOnce(&mut Device)) {
        let mut inner = self.devices.lock();
        let Some(device) = inner.get_mut(&self.device).filter(|device| device.viewers.same_channel(&self.viewers)) else {
            return;
        };
        change(device);
        if device.sockets == 0 && device.viewers.borrow().is_empty() {
            inner.remove(&self.device);
        }
    }
}

impl Registration {
    /// Who of the session's viewers are this device's WebRTC connections: with `replace_opus`, its sound goes there while
    /// there is one.
    pub(super) fn viewers(&self) -> watch::Receiver<Vec<Uuid>> {
        self.0.viewers.subscribe()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.0.leave(|device| device.sockets -= 1);
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.part.leave(|device| device.viewers.send_modify(|viewers| viewers.retain(|viewer| *viewer != self.viewer)));
    }
}

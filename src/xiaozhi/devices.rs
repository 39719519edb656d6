//! Which session belongs to which device, so that its WebRTC connection finds the conversation of its main socket.
//!
//! The main socket registers; the signalling finds the session, joins it as a viewer, and notes that it did.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use uuid::Uuid;

use crate::session::Session;

/// The devices whose main socket lives, by device id.
#[derive(Default)]
pub struct Devices {
    /// Held for a look-up or a change.
    inner: Mutex<HashMap<String, Device>>,
}

struct Device {
    session: Arc<Session>,
    /// The viewers of its session that are this device's own WebRTC connections, once media can flow.
    viewers: watch::Sender<Vec<Uuid>>,
}

/// A main socket's entry; dropping it takes it out.
pub(super) struct Registration {
    devices: Arc<Devices>,
    device: String,
    viewers: watch::Receiver<Vec<Uuid>>,
}

impl Devices {
    /// The main socket of `device` speaks with `session`. A later socket of the same device takes its place.
    pub(super) fn register(self: &Arc<Self>, device: &str, session: &Arc<Session>) -> Registration {
        let (viewers, receiver) = watch::channel(Vec::new());
        self.lock().insert(device.to_owned(), Device { session: Arc::clone(session), viewers });
        Registration { devices: Arc::clone(self), device: device.to_owned(), viewers: receiver }
    }

    /// The session of a device whose main socket lives.
    pub(super) fn find(&self, device: &str) -> Option<Arc<Session>> {
        self.lock().get(device).map(|device| Arc::clone(&device.session))
    }

    /// `viewer` is the device's own WebRTC connection, until what is returned is dropped. `None` if its main socket is gone.
    pub(super) fn attach(&self, device: &str, viewer: Uuid) -> Option<Attached> {
        let viewers = self.lock().get(device)?.viewers.clone();
        viewers.send_modify(|viewers| viewers.push(viewer));
        Some(Attached { viewers, viewer })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Device>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registration {
    /// Who of the session's viewers are this device's WebRTC connections: with `replace_opus`, its sound goes there while
    /// there is one.
    pub(super) fn viewers(&self) -> watch::Receiver<Vec<Uuid>> {
        self.viewers.clone()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut devices = self.devices.lock();
        // Not the entry of a later socket.
        let ours = |device: &Device| device.viewers.subscribe().same_channel(&self.viewers);
        if devices.get(&self.device).is_some_and(ours) {
            devices.remove(&self.device);
        }
    }
}

/// A device's WebRTC connection, noted while it is held.
pub(super) struct Attached {
    viewers: watch::Sender<Vec<Uuid>>,
    viewer: Uuid,
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.viewers.send_modify(|viewers| viewers.retain(|viewer| *viewer != self.viewer));
    }
}

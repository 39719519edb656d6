//! `/audio_proxy`: sound in, sound and text out, over one WebSocket (seed 003).
//!
//! In: binary messages of 16 kHz mono PCM, cut anywhere. Out: `{"type":"text","content"}` and, behind each text, binary
//! messages of the sound that says it. Two tasks a client: one listens to it and to the back end, one writes to it. The back
//! end is a session of our own, or a MiniCPM server that the client has for itself.

mod backend;
mod client;
mod intake;
mod own;
mod playout;

use std::sync::Arc;

use poem::web::websocket::{WebSocketConfig, WebSocketStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::{AudioProxy, Secret};
use crate::metrics;
use crate::session::Shared;

/// Largest message of a client (L10). The connection of whoever sends far more is cut before it is read.
const LARGEST_MESSAGE: usize = 64 << 10;
const UNREADABLE_MESSAGE: usize = 2 * LARGEST_MESSAGE;

/// The proxy of a server.
pub struct Proxy {
    config: AudioProxy,
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
}

/// A client's place, counted while it is held.
pub struct Place {
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        metrics::proxy_clients(-1.0);
    }
}

impl Proxy {
    /// As `config` says.
    pub fn new(config: AudioProxy, shared: Arc<Shared>) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(config.max_clients));
        Arc::new(Self { config, shared, places })
    }

    /// What opens the route to others than this machine.
    pub fn token(&self) -> &Secret {
        &self.config.token
    }

    /// How its sockets are set up.
    pub fn socket_config() -> WebSocketConfig {
        WebSocketConfig::default().max_message_size(Some(UNREADABLE_MESSAGE)).max_frame_size(Some(UNREADABLE_MESSAGE))
    }

    /// A place for one more client, if there is one.
    pub fn admit(&self) -> Option<Place> {
        let permit = Arc::clone(&self.places).try_acquire_owned().ok()?;
        metrics::proxy_clients(1.0);
        Some(Place { _permit: permit })
    }

    /// Serves one client until either side ends.
    pub async fn serve(self: Arc<Self>, socket: WebSocketStream, place: Place) {
        client::serve(&self, socket).await;
        drop(place);
    }
}

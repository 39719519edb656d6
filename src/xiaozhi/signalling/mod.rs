//! Seed 002's WebRTC signalling: a WebSocket over which a browser or a device offers, and is answered (reference §3.1).
//!
//! In: sockets that HTTP has upgraded. Out: viewers of sessions, and what happens there, as JSON.

mod call;
mod control;
mod limits;
mod message;
mod socket;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use poem::web::websocket::{WebSocketConfig, WebSocketStream};
use tokio::sync::Semaphore;
use tracing::{Instrument, info_span};
use uuid::Uuid;

use crate::places::Place;
use crate::xiaozhi::Gateway;

use limits::Limits;
use socket::Socket;

/// Negotiations at once, and those that may wait (L2).
const NEGOTIATIONS: usize = 4;
const NEGOTIATIONS_WAITING: usize = 16;
/// Longest message, in bytes (L9). Up to four times as long is read all the same, so that its sender can be told.
const MESSAGE_BYTES: usize = 64 << 10;
const READ_BYTES: usize = 4 * MESSAGE_BYTES;
/// What may wait for a client that does not read, in bytes (L9).
const WRITE_BYTES: usize = 1 << 20;

/// The signalling of a server.
pub struct Signalling {
    gateway: Arc<Gateway>,
    limits: Arc<Limits>,
    negotiating: Semaphore,
    waiting: Semaphore,
}

/// Who opens a socket. The headers are untrusted.
pub struct Caller {
    /// Where it comes from; `None` if a proxy hides it.
    pub address: Option<IpAddr>,
    /// The address that it asked for.
    pub asked: Option<SocketAddr>,
    /// The same, as it wrote it.
    pub host: String,
    /// What it calls itself; a new name if that is nothing that could be one.
    pub client_id: String,
    /// The device that it says it is.
    pub device: Option<String>,
    /// What the OTA route gave that device.
    pub token: String,
    /// Of this socket, in each of its messages.
    pub session_id: String,
}

impl Caller {
    /// One who says of itself nothing but what `client_id` and `device` are.
    pub fn new(client_id: Option<&str>, device: Option<&str>) -> Self {
        Self {
            address: None,
            asked: None,
            host: String::new(),
            client_id: client_id.and_then(message::name).unwrap_or_else(|| Uuid::new_v4().to_string()),
            device: device.and_then(message::name),
            token: String::new(),
            session_id: Uuid::new_v4().to_string(),
        }
    }
}

/// A place among the sockets; one that is not used is given back.
pub struct Admission(Place);

impl Signalling {
    /// Beside the devices.
    pub fn new(gateway: Arc<Gateway>, offers_per_minute: u32) -> Arc<Self> {
        Arc::new(Self {
            gateway,
            limits: Limits::new(offers_per_minute),
            negotiating: Semaphore::new(NEGOTIATIONS),
            waiting: Semaphore::new(NEGOTIATIONS + NEGOTIATIONS_WAITING),
        })
    }

    /// What a socket's frames may be.
    pub fn socket_config() -> WebSocketConfig {
        WebSocketConfig::default()
            .max_message_size(Some(READ_BYTES))
            .max_frame_size(Some(READ_BYTES))
            .write_buffer_size(0)
            .max_write_buffer_size(WRITE_BYTES)
    }

    /// Lets a socket from `address` in, if there is room.
    pub fn admit(&self, address: Option<IpAddr>) -> Option<Admission> {
        self.limits.socket(address).map(Admission)
    }

    /// Speaks with a client until it is gone.
    pub async fn serve(self: Arc<Self>, caller: Caller, stream: WebSocketStream, admission: Admission) {
        let name = caller.session_id[..8].to_owned();
        Socket::run(self, caller, stream, admission.0).instrument(info_span!("signalling", id = name)).await;
    }
}

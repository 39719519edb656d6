//! The xiaozhi family (seed 002): its devices' protocol, and the WebRTC signalling of its browser clients.

mod admission;
mod device;
mod devices;
mod framing;
mod mcp;
mod messages;
mod ota;
mod signalling;
mod token;
mod voice;

use std::net::IpAddr;
use std::sync::Arc;

use crate::config;
use crate::session::Shared;

pub(crate) use admission::device_socket;
pub use devices::Devices;
pub(crate) use ota::{ota_reply, ota_status};
pub use signalling::{Admission, Caller, Signalling};

/// Where devices connect.
pub const DEVICE_PATH: &str = "/xiaozhi/v1/";
/// Where they ask for that address.
pub const OTA_PATH: &str = "/xiaozhi/ota/";

/// Longest name of a device or a client.
const MAX_ID_BYTES: usize = 128;

/// What the family's routes share.
pub struct Gateway {
    /// Sessions and what they are made of.
    pub shared: Arc<Shared>,
    /// `xiaozhi:`
    pub config: config::Xiaozhi,
    /// Whose `X-Forwarded-…` is believed.
    pub trusted_proxies: Vec<IpAddr>,
    /// Whose main socket lives.
    pub devices: Arc<Devices>,
}

impl Gateway {
    /// Over a running server's parts.
    pub fn new(shared: Arc<Shared>, config: config::Xiaozhi, trusted_proxies: Vec<IpAddr>) -> Arc<Self> {
        Arc::new(Self { shared, config, trusted_proxies, devices: Arc::default() })
    }
}

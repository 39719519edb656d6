//! The xiaozhi family (seed 002): its devices' protocol, and the WebRTC signalling of its browser clients.

mod devices;
mod messages;

pub use devices::Devices;

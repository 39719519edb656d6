//! Rooms of other servers in which the avatar takes part (seed 000): a Janus audiobridge over WebRTC, and the relay that came
//! before it, over a WebSocket. Each presence is a guest of a session of ours, so it is heard, answered, interrupted and
//! watched as everybody else.

mod client;
mod device;
mod figures;
mod model;
mod protocol;
mod relay;
mod room;
mod seat;
mod signalling;

pub(crate) use client::run;
pub(crate) use relay::run as run_relay;

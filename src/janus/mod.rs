//! Rooms of other servers in which the avatar takes part (seed 000): a Janus audiobridge over WebRTC, and the relay that came
//! before it, over a WebSocket. Each presence is a guest of a session of ours, so it is heard, answered, interrupted and
//! watched as everybody else.

mod backoff;
mod client;
mod figures;
mod protocol;
mod room;
mod seat;
mod signalling;

pub(crate) use client::run;

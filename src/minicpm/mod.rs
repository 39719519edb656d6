//! A conversation with a MiniCPM-o 2.6 server, speech to speech: no ears, no language model and no voice of ours take part.
//!
//! In: a microphone's samples, 16 kHz mono, as they come. Out: [`Event`]s, the answers' texts and sound. One task a
//! conversation, which ends when its [`Conversation`] is dropped and says good-bye to the server. A server bears a single
//! conversation, and whoever begins another takes it over: a [`Pool`] hands each server to one at a time.
//!
//! The protocol is that of the server's own page (`web_demos/minicpm-o_2.6`): sound goes up a WebSocket in slices of 200 ms,
//! and each answer comes down the body of one POST, as server-sent events (docs/audio-proxy.md).

mod config;
mod conversation;
mod error;
mod events;
mod microphone;
mod pool;
mod reply;
mod server;
mod slicer;
mod upload;

pub use config::{AudioPrompt, Config};
pub use conversation::{Conversation, Event};
pub use error::Error;
pub use pool::{Place, Pool, Queued};

//! What all voices on the network share: requests, sockets, and turning what comes back into 16 kHz samples.
//!
//! A client makes one attempt: it asks, and hands on sound as it comes. Time limits, further attempts and the length of
//! what it may say are the chain's (`tts::chain`).

mod body;
mod fault;
mod generate;
pub(super) mod gradio;
mod http;
mod pcm;
mod socket;
mod sound;
mod ssml;
mod trim;
mod wav;
mod words;

pub use fault::Fault;
pub(super) use generate::{Out, generate};
pub(super) use http::{Http, audio_file, file_part};
pub(super) use socket::{Incoming, Socket, event};
pub(super) use sound::{Encoding, SoundDecoder};
pub(super) use ssml::ssml;
pub(super) use trim::Trim;
pub(super) use words::WordTimes;

/// Seconds since 1970, for signatures and tokens that name the time.
pub(super) fn unix_seconds() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "a signed request names the wall time")]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

/// 32 hexadecimal digits that no other request has.
pub(super) fn request_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

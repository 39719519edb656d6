//! Visavis: a self-hosted digital-human streaming server.
//!
//! Modules in the order in which data flows; ARCHITECTURE.md draws the path.

pub mod media;

pub mod asr;
pub mod llm;
pub mod minicpm;
pub mod sentence;
pub mod speakable;
pub mod tts;

pub mod codec;
pub mod render;
pub mod rtc;
pub mod studio;
pub mod track;

pub mod session;

pub mod audio_proxy;
pub mod funasr;
pub mod janus;
pub mod push;
pub mod record;
pub mod xiaozhi;

pub mod http;
pub mod offline;
pub mod server;

mod ask;
mod backoff;
pub mod bench;
pub mod cause;
pub mod cli;
pub mod config;
pub mod metrics;
pub mod models;
pub mod onnx;
pub mod places;
pub mod values;

#[cfg(feature = "testing")]
pub mod testing;

//! Visavis: a self-hosted digital-human streaming server.
//!
//! Modules in the order in which data flows; ARCHITECTURE.md draws the path.

pub mod media;

pub mod codec;
pub mod metrics;
pub mod render;
pub mod rtc;
pub mod track;

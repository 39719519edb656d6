//! The only module that names the WebRTC crate: one UDP socket for all sessions, TCP for those who have nothing else, and a
//! `Peer` for each viewer.

mod broadcast;
mod call;
mod candidates;
mod channels;
mod estimate;
mod feedback;
mod flight;
mod fragment;
mod life;
mod link;
mod microphone;
mod path;
mod peer;
mod receiver;
mod reflexive;
mod relay;
mod reports;
mod rtp;
mod sdp;
mod socket;
mod streams;
mod stun;
mod tcp;
mod viewer;

pub use broadcast::Broadcast;
pub use call::{Call, Sound};
pub use fragment::Fragment;
pub use microphone::MICROPHONE_QUEUE;
pub use peer::{Closed, Event, Limits, Peer, Settings};
pub use receiver::{Arrival, ReceiveError, Receiver, Spoken, Wish};
pub use reflexive::{StunServers, keep_reflexive};
pub use relay::{RelayFault, try_relay};
pub use sdp::{Offer, OfferError};
pub use socket::UdpMux;
pub use tcp::{carry, is_media};

use crate::codec::VideoCodec;

/// What went wrong between a valid offer and its answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The WebRTC stack refused the offer or could not start.
    #[error("webrtc: {0}")]
    Stack(#[from] webrtc::error::Error),
    /// It did not gather its candidates in time.
    #[error("the answer was not ready in time")]
    Slow,
    /// Another path was asked for, and other media with it.
    #[error("a connection that is restarted keeps its media lines")]
    OtherMedia,
}

impl VideoCodec {
    fn mime(self) -> &'static str {
        match self {
            Self::H264 => "video/H264",
            Self::Vp8 => "video/VP8",
        }
    }
}

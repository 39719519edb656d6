//! What the network bears: Google's congestion control over the receiver's transport-wide feedback, read by the encoder.
//!
//! The crate's helper would add a packet pacer as well; a 40 ms picture is about five packets, and a keyframe that waits
//! for a pacer is a first picture that comes late, so packets leave as they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use rtc::interceptor::{
    BandwidthEstimator, CongestionControlBuilder, EstimatorStats, Gcc, PacketReport, Registry, Slot, TwccSenderBuilder,
};
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::rtp_transceiver::rtp_sender::{RTCPFeedback, RTCRtpHeaderExtensionCapability, RtpCodecKind};

use crate::track::Bitrate;

/// The header extension that numbers every packet of a transport (draft-holmer-rmcat-transport-wide-cc-extensions-01).
const TRANSPORT_CC: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";

/// Bits a second; 0 until the receiver has reported once.
#[derive(Clone, Debug, Default)]
pub(super) struct Estimate(Arc<AtomicU32>);

impl Estimate {
    pub(super) fn bits_per_second(&self) -> Option<u32> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            bits => Some(bits),
        }
    }
}

/// Adds the estimator to the chain and its extension to what is negotiated.
pub(super) fn configure(
    registry: Registry,
    engine: &mut MediaEngine,
    bitrate: Bitrate,
) -> Result<(Registry, Estimate), webrtc::error::Error> {
    for kind in [RtpCodecKind::Video, RtpCodecKind::Audio] {
        engine.register_feedback(RTCPFeedback { typ: "transport-cc".into(), parameter: String::new() }, kind);
        engine.register_header_extension(RTCRtpHeaderExtensionCapability { uri: TRANSPORT_CC.into() }, kind, None)?;
    }
    let estimate = Estimate::default();
    let gcc = Gcc::new(f64::from(bitrate.start), f64::from(bitrate.min), f64::from(bitrate.max));
    let reporting = Reporting { gcc, estimate: estimate.clone() };
    let registry = registry
        .with(Slot::CongestionControl, CongestionControlBuilder::new(reporting).build())
        .with(Slot::TwccSender, TwccSenderBuilder::new().build());
    Ok((registry, estimate))
}

struct Reporting {
    gcc: Gcc,
    estimate: Estimate,
}

impl Reporting {
    fn publish(&self) {
        self.estimate.0.store(self.gcc.target_bitrate() as u32, Ordering::Relaxed);
    }
}

impl BandwidthEstimator for Reporting {
    fn on_reports(&mut self, now: Instant, reports: &[PacketReport]) {
        self.gcc.on_reports(now, reports);
        self.publish();
    }

    fn target_bitrate(&self) -> f64 {
        self.gcc.target_bitrate()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.gcc.handle_timeout(now);
        if self.estimate.bits_per_second().is_some() {
            self.publish();
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.gcc.poll_timeout()
    }

    fn stats(&self) -> EstimatorStats {
        self.gcc.stats()
    }
}

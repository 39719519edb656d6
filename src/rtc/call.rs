//! A connection that we ask for, where [`super::Peer`] answers one: our voice and our ears in another server's room.
//!
//! In: the other server's answer, encoded sound. Out: an offer of one audio line, what is heard in the room, and [`Event`]s.
//! A task per call sends packets; the WebRTC stack runs another.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rtc::peer_connection::transport::RTCIceCandidateInit;
use rtc::rtp_transceiver::RTCRtpTransceiverDirection;
use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;
use webrtc::peer_connection::{PeerConnection, RTCSessionDescription};

use super::link::{Credentials, Link, Media};
use super::microphone::Arrived;
use super::{Error, Event, Limits, Settings};
use crate::media::AudioFrame;
use crate::metrics;
use crate::track::{Encoded, MediaSink};

/// Opus, as we number it.
const OPUS: u8 = 111;

/// What has passed so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sound {
    /// Packets that were heard.
    pub received: u64,
    /// Packets that should have been.
    pub lost: u64,
    /// Times that nothing came for longer than 120 ms.
    pub gaps: u64,
    /// Packets of ours.
    pub sent: u64,
}

impl Sound {
    /// What has passed since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            received: self.received.saturating_sub(before.received),
            lost: self.lost.saturating_sub(before.lost),
            gaps: self.gaps.saturating_sub(before.gaps),
            sent: self.sent.saturating_sub(before.sent),
        }
    }
}

/// One call. Dropping it hangs up.
pub struct Call {
    connection: Arc<dyn PeerConnection>,
    line: Arc<Line>,
    arrived: Arc<Arrived>,
    _stop: DropGuard,
}

impl Call {
    /// An offer. `ears` get what is heard; `events` are [`Event::Connected`] and [`Event::Closed`], also where no answer ever
    /// comes.
    pub async fn offer(
        settings: &Settings,
        events: mpsc::Sender<Event>,
        ears: mpsc::Sender<AudioFrame>,
    ) -> Result<(Self, String), Error> {
        let credentials = Credentials::random();
        let media = Media::sound(OPUS)?;
        let mut link = Link::open(&settings.mux, Some(&credentials), media, Limits::default(), events, ears).await?;
        let sdp = link.offer(RTCRtpTransceiverDirection::Sendrecv).await?;

        let (connection, arrived) = (Arc::clone(&link.connection), Arc::clone(&link.arrived));
        let (queue, stop) = link.live(metrics::calls);
        let line = Arc::new(Line { queue, sent: AtomicU64::new(0) });
        Ok((Self { connection, line, arrived, _stop: stop.drop_guard() }, settings.offered(&sdp)))
    }

    /// Takes the answer to the offer.
    pub async fn accept(&self, answer: &str) -> Result<(), Error> {
        let answer = RTCSessionDescription::answer(without_formats(answer))?;
        Ok(self.connection.set_remote_description(answer).await?)
    }

    /// Takes a candidate that comes after the answer, as `a=` would have it. One that makes no sense is ignored.
    pub async fn candidate(&self, candidate: &str) {
        let candidate = RTCIceCandidateInit {
            candidate: candidate.to_owned(),
            sdp_mid: None,
            sdp_mline_index: Some(0),
            ..RTCIceCandidateInit::default()
        };
        let _ = self.connection.add_ice_candidate(candidate).await;
    }

    /// Where our sound goes. To be used once it is connected.
    pub fn sink(&self) -> Arc<dyn MediaSink> {
        Arc::clone(&self.line) as Arc<dyn MediaSink>
    }

    /// What has passed so far.
    pub fn sound(&self) -> Sound {
        Sound {
            received: self.arrived.packets.load(Ordering::Relaxed),
            lost: self.arrived.lost.load(Ordering::Relaxed),
            gaps: self.arrived.gaps.load(Ordering::Relaxed),
            sent: self.line.sent.load(Ordering::Relaxed),
        }
    }
}

/// The answer without its `a=fmtp` lines: what they say of Opus is advice to an encoder, ours makes what every decoder takes,
/// and some mixers garble them (Janus begins one with a stray `0`).
fn without_formats(answer: &str) -> String {
    answer.lines().filter(|line| !line.starts_with("a=fmtp:")).map(|line| format!("{line}\r\n")).collect()
}

/// The sink of a call: a queue that never blocks the encoder.
struct Line {
    queue: mpsc::Sender<Encoded>,
    sent: AtomicU64,
}

impl MediaSink for Line {
    fn push(&self, frame: &Encoded) {
        match self.queue.try_send(frame.clone()) {
            Ok(()) => drop(self.sent.fetch_add(1, Ordering::Relaxed)),
            Err(mpsc::error::TrySendError::Full(_)) => metrics::frame_dropped("audio", "slow_call"),
            Err(mpsc::error::TrySendError::Closed(_)) => {}
        }
    }

    fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::*;
    use crate::codec::OpusEncoder;
    use crate::media::{AUDIO_PTIME, AUDIO_RATE_HZ, MediaTime, SAMPLES_PER_FRAME};
    use tokio::time::timeout;

    use crate::rtc::{Closed, Offer, Peer, UdpMux};
    use crate::track::Bitrate;

    fn settings() -> Settings {
        let mux = UdpMux::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        Settings { mux, advertise: vec![], tcp: true, bitrate: Bitrate { min: 200_000, start: 800_000, max: 2_000_000 } }
    }

    fn tone(n: u64) -> AudioFrame {
        AudioFrame(std::array::from_fn(|i| {
            let t = (n as usize * SAMPLES_PER_FRAME + i) as f32 / AUDIO_RATE_HZ as f32;
            ((t * 440.0 * std::f32::consts::TAU).sin() * 16_000.0) as i16
        }))
    }

    async fn play(sink: Arc<dyn MediaSink>) {
        let mut encoder = OpusEncoder::open().unwrap();
        for n in 0..50 {
            let pts = MediaTime { ticks: n * SAMPLES_PER_FRAME as u64, rate_hz: AUDIO_RATE_HZ };
            sink.push(&Encoded::Audio { data: encoder.encode(&tone(n)).unwrap(), pts });
            tokio::time::sleep(AUDIO_PTIME).await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn both_ends_hear_each_other_and_a_hang_up_reaches_the_other_end() {
        let (ours, theirs) = (settings(), settings());
        let ((calling, mut called), (answering, mut answered)) = (mpsc::channel(8), mpsc::channel(8));
        let ((our_ears, mut we_hear), (their_ears, mut they_hear)) = (mpsc::channel(100), mpsc::channel(100));
        let (call, offer) = Call::offer(&ours, calling, our_ears).await.unwrap();
        assert!(!offer.contains("audio-level") && offer.matches("m=").count() == 1, "{offer}");
        let offer = Offer { sdp: offer, opus: OPUS, video: None };
        let (peer, answer) = Peer::answer(&theirs, offer, None, Limits::default(), answering, their_ears).await.unwrap();
        // As Janus writes it.
        let answer = answer.replace("a=fmtp:111 ", "a=fmtp:111 0 maxplaybackrate=16000; stereo=0; ");
        call.accept(&answer).await.unwrap();
        assert_eq!(called.recv().await, Some(Event::Connected));
        assert_eq!(answered.recv().await, Some(Event::Connected));
        tokio::join!(play(call.sink()), play(peer.sink()));
        for heard in [&mut we_hear, &mut they_hear] {
            let mut loud = 0;
            while let Ok(frame) = heard.try_recv() {
                loud += usize::from(frame.rms() > 0.2);
            }
            assert!(loud >= 40, "{loud} loud frames of 50");
        }
        let sound = call.sound();
        assert!(sound.sent == 50 && sound.received >= 45 && sound.lost == 0, "{sound:?}");
        drop(call);
        assert_eq!(called.recv().await, Some(Event::Closed(Closed::Ended)));
        let gone = timeout(Duration::from_secs(5), answered.recv()).await.unwrap();
        assert_eq!(gone, Some(Event::Closed(Closed::Left)));
    }
}

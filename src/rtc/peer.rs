//! One viewer's peer connection.
//!
//! In: an [`Offer`], encoded frames, text for its data channels. Out: the answer and [`Event`]s. A task per peer sends
//! packets; the WebRTC stack runs another. Whatever ends it, it gives back its share of the socket.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::debug;
use webrtc::peer_connection::{PeerConnection, RTCIceCandidateInit, RTCSessionDescription};

use super::channels::Channels;
use super::fragment::Fragment;
use super::link::{Link, Media};
use super::microphone::Floor;
use super::sdp::Identity;
use super::socket::Slot;
use super::viewer::Viewer;
use super::{Error, Offer, UdpMux, candidates, sdp};
use crate::media::AudioFrame;
use crate::metrics;
use crate::track::{Bitrate, MediaSink};

/// Candidates of one peer that come after its offer (L9).
const MAX_TRICKLED: usize = 64;
/// What all peers of a server share.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The socket.
    pub mux: Arc<UdpMux>,
    /// Addresses that viewers can reach and this machine cannot know.
    pub advertise: Vec<IpAddr>,
    /// Whether media may come by TCP, on the port of the same number.
    pub tcp: bool,
    /// The bounds of the bandwidth estimate.
    pub bitrate: Bitrate,
}

impl Settings {
    /// `offer` with our own candidates.
    pub(super) fn offered(&self, offer: &str) -> String {
        let own = self.mux.local_addr();
        let hosts = candidates::hosts(&self.advertise, None, own.ip());
        candidates::rewrite(offer, &hosts, own.port(), self.mux.reflexive(), &[])
    }

    /// `answer` with our own candidates. `asked` is the address that the viewer's request went to.
    fn reachable(&self, answer: &str, asked: Option<SocketAddr>) -> String {
        let own = self.mux.local_addr();
        let hosts = candidates::hosts(&self.advertise, asked.map(|asked| asked.ip()), own.ip());
        let tcp = if self.tcp { candidates::tcp(&hosts, asked, own.port()) } else { vec![] };
        candidates::rewrite(answer, &hosts, own.port(), self.mux.reflexive(), &tcp)
    }
}

/// What one peer may do.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the answer to media (L12).
    pub connect: Duration,
    /// Text messages a second (L15).
    pub messages_per_second: u32,
    /// The longest message, in bytes (L15).
    pub message_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connect: Duration::from_secs(15), messages_per_second: 20, message_bytes: 16 << 10 }
    }
}

/// Why a peer is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// It never connected.
    Timeout,
    /// It said good-bye.
    Left,
    /// It was not heard of for 30 s.
    Lost,
    /// We ended it.
    Ended,
}

/// What a peer tells its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Media can flow.
    Connected,
    /// It has not been heard of for 5 s (true), or is here again (false).
    Away(bool),
    /// A data channel is open.
    ChannelOpen(String),
    /// A text message on the channel of that label.
    Message {
        /// Which channel.
        label: String,
        /// Untrusted.
        text: String,
    },
    /// A binary message on the channel of that label.
    Binary {
        /// Which channel.
        label: String,
        /// Untrusted.
        bytes: Bytes,
    },
    /// A message that cannot be taken, and why.
    BadMessage {
        /// Which channel.
        label: String,
        /// `message_too_large`, `not_utf8`, `rate_limited`.
        code: &'static str,
    },
    /// Nothing follows.
    Closed(Closed),
}

/// One viewer.
pub struct Peer {
    settings: Settings,
    slot: Arc<Slot>,
    sink: Arc<Viewer>,
    connection: Arc<dyn PeerConnection>,
    channels: Channels,
    trickled: AtomicUsize,
    floor: Arc<Floor>,
    stop: CancellationToken,
    /// Whose connection it is.
    identity: Identity,
    /// Held while another offer is answered: one at a time.
    current: tokio::sync::Mutex<Current>,
}

/// What holds until ICE begins anew.
struct Current {
    offer: Offer,
    /// What names our side of ICE.
    ufrag: String,
}

impl Peer {
    /// Answers `offer`. `asked` is the address that the viewer's request went to; `ears` get what its microphone hears.
    pub async fn answer(
        settings: &Settings,
        offer: Offer,
        asked: Option<SocketAddr>,
        limits: Limits,
        events: mpsc::Sender<Event>,
        ears: mpsc::Sender<AudioFrame>,
    ) -> Result<(Self, String), Error> {
        let wants_keyframe = Arc::new(AtomicBool::new(true));
        let (media, estimate) = Media::of(&offer, settings.bitrate, &wants_keyframe)?;
        let mut link = Link::open(&settings.mux, None, media, limits, events, ears).await?;
        let sdp = link.answer(&offer.sdp).await?;
        let ours = Fragment::of_answer(&sdp).ufrag;
        settings.mux.name(link.slot(), &ours);

        let (slot, connection) = (Arc::clone(link.slot()), Arc::clone(&link.connection));
        let (channels, floor) = (link.channels.clone(), Arc::clone(&link.floor));
        let (queue, stop) = link.live(metrics::viewers);
        let sink = Arc::new(Viewer::new(offer.video_codec(), queue, wants_keyframe, estimate));
        let peer = Self {
            settings: settings.clone(),
            slot,
            sink,
            connection,
            channels,
            trickled: AtomicUsize::new(0),
            floor,
            stop,
            identity: offer.identity(),
            current: tokio::sync::Mutex::new(Current { offer, ufrag: ours }),
        };
        Ok((peer, settings.reachable(&sdp, asked)))
    }

    /// Whether `offer` comes from the very connection that this peer is the other end of.
    pub fn is_of(&self, offer: &Offer) -> bool {
        self.identity == offer.identity()
    }

    /// Takes another path to the same peer, on which everything goes on: `offer` has new credentials (RFC 8445 §9). The answer.
    pub async fn restart(&self, offer: Offer, asked: Option<SocketAddr>) -> Result<String, Error> {
        let mut current = self.current.lock().await;
        if !offer.asks_for_the_same_as(&current.offer) {
            return Err(Error::OtherMedia);
        }
        let description = RTCSessionDescription::offer(offer.sdp.clone())?;
        self.connection.set_remote_description(description).await?;
        let answer = self.connection.create_answer(None).await?;
        let sdp = answer.sdp.clone();
        self.connection.set_local_description(answer).await?;
        let ufrag = Fragment::of_answer(&sdp).ufrag;
        self.settings.mux.name(&self.slot, &ufrag);
        self.trickled.store(0, Ordering::Relaxed);
        *current = Current { offer, ufrag };
        metrics::ice_restart();
        Ok(self.settings.reachable(&sdp, asked))
    }

    /// The same for one who tells nothing but how to reach it. What we tell in turn.
    pub async fn restart_by(&self, fragment: &Fragment, asked: Option<SocketAddr>) -> Result<Fragment, Error> {
        let offer = self.current.lock().await.offer.restarted(fragment);
        Ok(Fragment::of_answer(&self.restart(offer, asked).await?))
    }

    /// Whether `fragment` wants ICE to begin anew: its credentials are not those that hold.
    pub async fn is_restarted_by(&self, fragment: &Fragment) -> bool {
        !fragment.password.is_empty() && fragment.ufrag != self.current.lock().await.offer.ufrag()
    }

    /// What names the present path: another one after each restart.
    pub async fn path_name(&self) -> String {
        self.current.lock().await.ufrag.clone()
    }

    /// The next 20 ms of a microphone that does not come by RTP.
    pub fn hear(&self, frame: &AudioFrame) {
        self.floor.hear(frame);
    }

    /// Checks one more address of the viewer's: `foundation 1 udp …`, with or without `candidate:` before it. One that cannot
    /// be checked is passed over. False once there are too many.
    pub async fn add_candidate(&self, candidate: &str) -> bool {
        let candidate = candidate.trim();
        let candidate = candidate.strip_prefix("candidate:").unwrap_or(candidate);
        if !sdp::is_usable_candidate(candidate) {
            return true;
        }
        if self.trickled.fetch_add(1, Ordering::Relaxed) >= MAX_TRICKLED {
            return false;
        }
        let candidate = RTCIceCandidateInit { candidate: candidate.to_owned(), ..RTCIceCandidateInit::default() };
        if let Err(error) = self.connection.add_ice_candidate(candidate).await {
            debug!(%error, "a candidate that cannot be checked");
        }
        true
    }

    /// Where this viewer's frames go. To be used once it is connected.
    pub fn sink(&self) -> Arc<dyn MediaSink> {
        Arc::clone(&self.sink) as Arc<dyn MediaSink>
    }

    /// Sends `text` on the channel `label`. A channel that is not there or whose reader is too slow loses it.
    pub async fn send(&self, label: &str, text: &str) {
        self.channels.send(label, text).await;
    }

    /// Ends it; [`Event::Closed`] follows.
    pub fn close(&self) {
        self.stop.cancel();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

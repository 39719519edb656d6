//! One connection's life: from its answer to media, to its end, and what it gives back then.
//!
//! In: encoded frames, the stack's state. Out: packets, and [`Event`]s. One task a connection.

use std::sync::Arc;
use std::time::Duration;

use rtc::peer_connection::transport::RTCDtlsTransportState;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::peer_connection::{PeerConnection, RTCPeerConnectionState};

use super::UdpMux;
use super::peer::{Closed, Event};
use super::socket::Slot;
use super::streams::Streams;
use crate::track::Encoded;

/// The stack reads an alert within a few milliseconds.
const SHUT_POLL: Duration = Duration::from_millis(10);
const SHUT_CHECKS: usize = 5;

/// The task that carries a connection from its answer to its end.
pub(super) struct Life {
    pub(super) connection: Arc<dyn PeerConnection>,
    pub(super) streams: Streams,
    pub(super) state: watch::Receiver<RTCPeerConnectionState>,
    pub(super) frames: mpsc::Receiver<Encoded>,
    pub(super) stop: CancellationToken,
    pub(super) lease: Lease,
    pub(super) events: mpsc::Sender<Event>,
    /// From the answer to media.
    pub(super) patience: Duration,
    /// The gauge that counts it while it is connected.
    pub(super) connected: fn(f64),
}

impl Life {
    pub(super) async fn run(mut self) {
        let closed = match self.connect().await {
            Ok(()) => {
                self.lease.slot.set_connected();
                let _ = self.events.send(Event::Connected).await;
                (self.connected)(1.0);
                let closed = self.stream().await;
                (self.connected)(-1.0);
                closed
            }
            Err(closed) => closed,
        };
        let _ = self.connection.close().await;
        drop(self.lease);
        let _ = self.events.send(Event::Closed(closed)).await;
    }

    async fn connect(&mut self) -> Result<(), Closed> {
        let connected = self.state.wait_for(|state| {
            matches!(
                state,
                RTCPeerConnectionState::Connected | RTCPeerConnectionState::Failed | RTCPeerConnectionState::Closed
            )
        });
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Closed::Ended),
            state = timeout(self.patience, connected) => match state {
                Ok(Ok(state)) if *state == RTCPeerConnectionState::Connected => Ok(()),
                Ok(Ok(state)) if *state == RTCPeerConnectionState::Closed => Err(Closed::Left),
                _ => Err(Closed::Timeout),
            },
        }
    }

    async fn stream(&mut self) -> Closed {
        let slot = Arc::clone(&self.lease.slot);
        let mut away = false;
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Closed::Ended,
                () = slot.alert() => if self.is_shut().await { return Closed::Left },
                changed = self.state.changed() => {
                    let state = *self.state.borrow();
                    match state {
                        _ if changed.is_err() => return Closed::Left,
                        RTCPeerConnectionState::Closed => return Closed::Left,
                        RTCPeerConnectionState::Failed => return Closed::Lost,
                        // It may come back: the stack fails it after 30 s.
                        RTCPeerConnectionState::Disconnected => self.tell_away(&mut away, true).await,
                        RTCPeerConnectionState::Connected => self.tell_away(&mut away, false).await,
                        _ => {}
                    }
                },
                frame = self.frames.recv() => match frame {
                    Some(frame) => if self.send(&frame).await.is_err() { return Closed::Left },
                    None => return Closed::Ended,
                },
            }
        }
    }

    async fn tell_away(&self, before: &mut bool, away: bool) {
        if std::mem::replace(before, away) != away {
            let _ = self.events.send(Event::Away(away)).await;
        }
    }

    /// Whether the viewer has shut the connection: an alert alone could be forged.
    async fn is_shut(&self) -> bool {
        for _ in 0..SHUT_CHECKS {
            tokio::time::sleep(SHUT_POLL).await;
            for sender in self.connection.get_senders().await {
                if let Ok(Some(transport)) = sender.transport().await
                    && transport.state().await.is_ok_and(|state| state == RTCDtlsTransportState::Closed)
                {
                    return true;
                }
            }
        }
        false
    }

    async fn send(&mut self, frame: &Encoded) -> Result<(), webrtc::error::Error> {
        let (outgoing, data, pts) = match frame {
            Encoded::Audio { data, pts } => (Some(&mut self.streams.audio), data, *pts),
            Encoded::Video { data, pts, .. } => (self.streams.video.as_mut(), data, *pts),
        };
        if let Some(outgoing) = outgoing {
            for packet in outgoing.stream.packets(data, pts) {
                outgoing.track.write_rtp(packet).await?;
            }
        }
        Ok(())
    }
}

/// Gives the share of the socket back, on every path out.
pub(super) struct Lease {
    pub(super) mux: Arc<UdpMux>,
    pub(super) slot: Arc<Slot>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.mux.close(&self.slot);
    }
}

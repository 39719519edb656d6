//! The transport of seed 000 before WebRTC: a relay's WebSocket that carries the sound of many devices.
//!
//! In: binary messages of a device's id (16 bytes) and its sound (16-bit mono). Out: the same with the avatar's voice, and
//! texts as JSON. One session of ours per device; they live on while the relay is away. One task for the socket, one a device.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::device::{self, Device, Id};
use crate::config::Relay;
use crate::metrics;
use crate::session::Shared;

/// Messages that wait for the socket: about three seconds of one device's voice. Full, as while the relay is away: the newest is
/// lost and counted.
const RELAY_QUEUE: usize = 64;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the socket is asked for a sign of life, and how long it may take.
const PING: Duration = Duration::from_mins(1);
const PONG: Duration = Duration::from_secs(10);
/// The largest message: two seconds of sound, and some to spare.
const MAX_MESSAGE_BYTES: usize = 128 << 10;
/// Waits between two tries: 3 s, twice as long each time, a minute at most.
const FIRST_WAIT: Duration = Duration::from_secs(3);
const LONGEST_WAIT: Duration = Duration::from_mins(1);

type WebSocket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Serves the relay's devices until `stop`.
pub(crate) async fn run(shared: Arc<Shared>, config: Relay, stop: CancellationToken) {
    let (out, mut outgoing) = mpsc::channel(RELAY_QUEUE);
    let mut relay = Desk { shared, config, out, devices: HashMap::new() };
    let mut tries: u32 = 0;
    while relay.config.tries == 0 || tries <= relay.config.tries {
        let serving = async {
            let options =
                WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE_BYTES)).max_frame_size(Some(MAX_MESSAGE_BYTES));
            let connecting = connect_async_with_config(relay.config.url.as_str(), Some(options), true);
            match timeout(CONNECT_TIMEOUT, connecting).await {
                Ok(Ok((socket, _))) => {
                    tries = 0;
                    info!("connected with the relay");
                    relay.serve(socket, &mut outgoing, &stop).await;
                }
                Ok(Err(error)) => debug!(%error, "no relay"),
                Err(_) => debug!("no relay: it does not answer"),
            }
        };
        serving.await;
        tries += 1;
        let wait = wait(tries);
        metrics::relay_reconnect();
        warn!(tries, wait_s = wait.as_secs(), "the relay is away");
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = sleep(wait) => {}
        }
        // What was said to nobody is not said later.
        while outgoing.try_recv().is_ok() {}
    }
    error!(tries = relay.config.tries, "the relay does not come back: given up");
}

/// Before the `n`th try, from 1 on.
fn wait(n: u32) -> Duration {
    FIRST_WAIT.saturating_mul(1 << (n - 1).min(16)).min(LONGEST_WAIT)
}

struct Desk {
    shared: Arc<Shared>,
    config: Relay,
    out: mpsc::Sender<Message>,
    devices: HashMap<Id, Device>,
}

impl Desk {
    async fn serve(&mut self, mut socket: WebSocket, outgoing: &mut mpsc::Receiver<Message>, stop: &CancellationToken) {
        let hello = json!({"client_type": "ai_backend", "timestamp": now(), "version": "1.0"});
        if socket.send(Message::text(hello.to_string())).await.is_err() {
            return;
        }
        let mut heartbeat = interval(Duration::from_secs(self.config.heartbeat_s.into()));
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        heartbeat.reset();
        let mut ping = interval(PING);
        ping.reset();
        let silence = sleep(PING + PONG);
        tokio::pin!(silence);
        loop {
            let message = tokio::select! {
                biased;
                () = stop.cancelled() => {
                    let _ = timeout(PONG, socket.close(None)).await;
                    return;
                }
                () = &mut silence => return debug!("the relay gives no sign of life"),
                message = socket.next() => {
                    let Some(Ok(message)) = message else { return };
                    silence.as_mut().reset(tokio::time::Instant::now() + PING + PONG);
                    match message {
                        Message::Binary(bytes) => self.sound(&bytes),
                        Message::Text(text) => self.text(&text).await,
                        Message::Close(_) => return,
                        _ => {}
                    }
                    continue;
                }
                Some(message) = outgoing.recv() => message,
                _ = heartbeat.tick() => {
                    let beat = json!({"type": "heartbeat", "timestamp": now(), "client_type": "ai_backend"});
                    Message::text(beat.to_string())
                }
                _ = ping.tick() => Message::Ping(Bytes::new()),
            };
            if socket.send(message).await.is_err() {
                return;
            }
        }
    }

    /// A device says something.
    fn sound(&mut self, bytes: &Bytes) {
        let Some((id, _)) = bytes.split_first_chunk() else { return metrics::rejected("L17") };
        let pcm = bytes.slice(id.len()..);
        self.devices.retain(|_, device| !device.is_gone());
        if !self.devices.contains_key(id) {
            match device::open(&self.shared, &self.config, *id, self.out.clone()) {
                Ok(device) => drop(self.devices.insert(*id, device)),
                Err(error) => return warn!(%error, "no session for a device of the relay"),
            }
        }
        if let Some(device) = self.devices.get(id) {
            device.hear(pcm);
        }
    }

    /// The relay's own words: only one of them concerns us.
    async fn text(&self, text: &str) {
        let Ok(message) = serde_json::from_str::<Value>(text) else { return };
        if message["type"] != "cancel_processing" {
            return;
        }
        let id = message["session_id"].as_str().and_then(device::id_of);
        if let Some(device) = id.and_then(|id| self.devices.get(&id)) {
            device.cancel().await;
        }
    }
}

/// Seconds of the epoch.
#[expect(clippy::disallowed_methods, reason = "the relay compares it with its own wall clock")]
fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_three_seconds_to_a_minute() {
        let waits: Vec<u64> = (1..=7).map(|n| wait(n).as_secs()).collect();
        assert_eq!(waits, [3, 6, 12, 24, 48, 60, 60]);
    }
}

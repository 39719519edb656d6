//! The data channels that a viewer opened.
//!
//! In: what it sends. Out: [`Event`]s, within the limits of [`Limits`]. A task per channel.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use governor::{Quota, RateLimiter};
use tokio::sync::mpsc;
use webrtc::data_channel::{DataChannel, DataChannelEvent};

use super::peer::{Event, Limits};
use crate::metrics;

/// Data channels of one viewer (L15).
const MAX_CHANNELS: usize = 4;
/// Of binary messages as many more at once: a recording of 1 MiB in pieces of 16 KiB, and some to spare.
const BINARY_BURST: u32 = 80;

/// Those of one viewer that are open, by label.
#[derive(Clone, Default)]
pub(super) struct Channels(Arc<Mutex<HashMap<String, Arc<dyn DataChannel>>>>);

impl Channels {
    /// Reads `channel` until it or its peer closes.
    pub(super) async fn read(self, channel: Arc<dyn DataChannel>, events: mpsc::Sender<Event>, limits: Limits) {
        let Ok(label) = channel.label().await else { return };
        if !self.admit(&label, &channel) {
            metrics::rejected("L15");
            let _ = channel.close().await;
            return;
        }
        let number = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(number(limits.messages_per_second));
        let (texts, binaries) = (RateLimiter::direct(quota), RateLimiter::direct(quota.allow_burst(number(BINARY_BURST))));
        while let Some(event) = channel.poll().await {
            let event = match event {
                DataChannelEvent::OnOpen => Event::ChannelOpen(label.clone()),
                DataChannelEvent::OnMessage(message) => {
                    let limit = if message.is_string { &texts } else { &binaries };
                    let label = label.clone();
                    let taken = if limit.check().is_err() {
                        Err("rate_limited")
                    } else if message.data.len() > limits.message_bytes {
                        Err("message_too_large")
                    } else if message.is_string {
                        let text = String::from_utf8(message.data.to_vec());
                        text.map(|text| Event::Message { label: label.clone(), text }).map_err(|_| "not_utf8")
                    } else {
                        Ok(Event::Binary { label: label.clone(), bytes: message.data.freeze() })
                    };
                    match taken {
                        Ok(event) => event,
                        Err(code) => {
                            metrics::rejected("L15");
                            Event::BadMessage { label, code }
                        }
                    }
                }
                DataChannelEvent::OnClose => break,
                _ => continue,
            };
            if events.send(event).await.is_err() {
                break;
            }
        }
        self.open().remove(&label);
    }

    /// Sends `text` on the channel `label`. A channel that is not there or whose reader is too slow loses it.
    pub(super) async fn send(&self, label: &str, text: &str) {
        let channel = self.open().get(label).cloned();
        if let Some(channel) = channel
            && channel.try_send_text(text).await.is_err()
        {
            metrics::frame_dropped("message", "slow_viewer");
        }
    }

    fn admit(&self, label: &str, channel: &Arc<dyn DataChannel>) -> bool {
        let mut open = self.open();
        let room = open.len() < MAX_CHANNELS;
        if room {
            open.insert(label.to_owned(), Arc::clone(channel));
        }
        room
    }

    fn open(&self) -> MutexGuard<'_, HashMap<String, Arc<dyn DataChannel>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

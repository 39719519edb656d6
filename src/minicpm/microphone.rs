//! What the outside says, until it is sent. Never waits: who speaks is not held up by a connection that is.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::media::{AUDIO_RATE_HZ, SAMPLES_PER_FRAME};
use crate::metrics;

/// Samples that may wait, 5 s (L10). Full: the oldest are dropped and counted, since an answer to them would come too late.
const UPLOAD_QUEUE: usize = 5 * AUDIO_RATE_HZ as usize;

/// Sound that waits to be sent.
#[derive(Default)]
pub(super) struct Microphone {
    /// Held for a copy.
    samples: Mutex<VecDeque<i16>>,
    came: Notify,
}

impl Microphone {
    /// Takes the next samples, 16 kHz.
    pub(super) fn push(&self, samples: &[i16]) {
        let mut waiting = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.extend(samples);
        let over = waiting.len().saturating_sub(UPLOAD_QUEUE);
        waiting.drain(..over);
        drop(waiting);
        if over > 0 {
            metrics::upload_dropped(over.div_ceil(SAMPLES_PER_FRAME) as u64);
        }
        self.came.notify_one();
    }

    /// What has come since the last time, at least one sample.
    pub(super) async fn take(&self) -> Vec<i16> {
        loop {
            let samples: Vec<i16> = self.samples.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect();
            if !samples.is_empty() {
                return samples;
            }
            self.came.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn five_seconds_wait_at_most_and_the_newest_are_kept() {
        let microphone = Microphone::default();
        microphone.push(&vec![1; UPLOAD_QUEUE]);
        microphone.push(&[2; 100]);
        let waiting = microphone.take().await;
        assert_eq!(waiting.len(), UPLOAD_QUEUE);
        assert_eq!(waiting[UPLOAD_QUEUE - 100..], [2; 100]);
    }
}

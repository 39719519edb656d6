//! When which sound goes to the server. Pure: it is told the time.
//!
//! The server expects 200 ms at a time, of a microphone that never pauses. The outside sends pieces of any length and may
//! fall silent by sending nothing. So sound is gathered, cut, filled up, and followed by the silence that was meant.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::media::AUDIO_RATE_HZ;

/// Samples of a slice, 200 ms: the server's window of a second is its last five.
pub(super) const SLICE: usize = 3_200;
/// Nothing for so long means that the outside has paused: what is there goes out.
const QUIET: Duration = Duration::from_millis(300);
/// Silence after that, one slice each 200 ms: the second in which the server finds that nobody speaks any more.
const SILENT_SLICES: u32 = 5;
const SLICE_TIME: Duration = Duration::from_millis(200);

/// Slices that are kept after they were sent, 3 s.
const KEPT: usize = 15;
/// What is sent again begins so much before the speech that was noticed: a first consonant is quiet.
const PRE_ROLL: Duration = Duration::from_millis(300);

/// Cuts sound into slices.
pub(super) struct Slicer {
    /// Samples that are gathered before any of them goes out.
    chunk: usize,
    gathered: Vec<i16>,
    /// When the next thing happens if the outside sends nothing.
    next: Option<Instant>,
    /// Slices of silence still to be sent.
    silent: u32,
    /// What was sent last.
    sent: VecDeque<Vec<i16>>,
}

impl Slicer {
    /// `chunk` is gathered before it goes out; less than a slice is a slice.
    pub(super) fn new(chunk: Duration) -> Self {
        let chunk = (chunk.as_secs_f64() * f64::from(AUDIO_RATE_HZ)) as usize;
        Self { chunk: chunk.max(SLICE), gathered: Vec::new(), next: None, silent: 0, sent: VecDeque::new() }
    }

    /// Takes what has come, and gives the slices that are due with it.
    pub(super) fn push(&mut self, samples: &[i16], now: Instant) -> Vec<Vec<i16>> {
        if samples.is_empty() {
            return Vec::new();
        }
        self.gathered.extend_from_slice(samples);
        (self.next, self.silent) = (Some(now + QUIET), SILENT_SLICES);
        if self.gathered.len() < self.chunk {
            return Vec::new();
        }
        let whole = self.gathered.len() / SLICE * SLICE;
        self.gathered.drain(..whole).as_slice().chunks(SLICE).map(<[i16]>::to_vec).collect()
    }

    /// When [`Self::pause`] has something to give.
    pub(super) fn due(&self) -> Option<Instant> {
        self.next
    }

    /// What goes out because nothing has come: the rest, filled up, or silence.
    pub(super) fn pause(&mut self, now: Instant) -> Vec<Vec<i16>> {
        if self.next.is_none_or(|next| now < next) {
            return Vec::new();
        }
        if self.gathered.is_empty() {
            self.silent -= 1;
            self.next = (self.silent > 0).then(|| now + SLICE_TIME);
            return vec![vec![0; SLICE]];
        }
        self.next = Some(now + SLICE_TIME);
        self.rest()
    }

    /// Something to send at once: the rest, filled up, or a slice of silence.
    pub(super) fn anything(&mut self) -> Vec<Vec<i16>> {
        if self.gathered.is_empty() { vec![vec![0; SLICE]] } else { self.rest() }
    }

    /// A slice is with the server, as far as we know.
    pub(super) fn sent(&mut self, slice: Vec<i16>) {
        if self.sent.len() == KEPT {
            self.sent.pop_front();
        }
        self.sent.push_back(slice);
    }

    /// What was sent of the last `spoken`: a server that was answering meanwhile has not listened.
    pub(super) fn again(&self, spoken: Duration) -> Vec<Vec<i16>> {
        if spoken.is_zero() {
            return Vec::new();
        }
        let samples = ((spoken + PRE_ROLL).as_secs_f64() * f64::from(AUDIO_RATE_HZ)) as usize;
        let slices = samples.saturating_sub(self.gathered.len()).div_ceil(SLICE);
        self.sent.iter().skip(self.sent.len().saturating_sub(slices)).cloned().collect()
    }

    /// All that is left, filled up: the outside is gone.
    pub(super) fn rest(&mut self) -> Vec<Vec<i16>> {
        let filled = self.gathered.len().div_ceil(SLICE) * SLICE;
        self.gathered.resize(filled, 0);
        std::mem::take(&mut self.gathered).chunks(SLICE).map(<[i16]>::to_vec).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn nothing_goes_out_before_a_second_is_there_and_then_all_of_it() {
        let (mut slicer, now) = (Slicer::new(SECOND), Instant::now());
        for _ in 0..49 {
            assert!(slicer.push(&[1; 320], now).is_empty());
        }
        let slices = slicer.push(&[1; 320], now);
        assert_eq!((slices.len(), slices.concat()), (5, vec![1; 16_000]));
    }

    #[test]
    fn a_pause_brings_the_rest_and_a_second_of_silence_and_then_nothing() {
        let (mut slicer, began) = (Slicer::new(SECOND), Instant::now());
        slicer.push(&[1; 4_000], began);
        assert!(slicer.pause(began + Duration::from_millis(299)).is_empty());
        let mut slices = Vec::new();
        for n in 0..40 {
            slices.extend(slicer.pause(began + QUIET + n * Duration::from_millis(50)));
        }
        assert_eq!(slices.len(), 2 + 5);
        assert_eq!(slices[1], [vec![1; 800], vec![0; 2_400]].concat());
        assert!(slices[2..].iter().all(|slice| *slice == [0; SLICE]));
        assert_eq!(slicer.due(), None);
    }

    #[test]
    fn what_a_server_did_not_listen_to_can_be_sent_again() {
        let (mut slicer, now) = (Slicer::new(SECOND), Instant::now());
        for n in 0..4 {
            slicer.push(&vec![n; 16_000], now).into_iter().for_each(|slice| slicer.sent(slice));
        }
        slicer.push(&[9; 4_000], now);
        assert!(slicer.again(Duration::ZERO).is_empty());
        // 0.8 s are 12 800 samples, of which 4 000 have not gone yet.
        assert_eq!(slicer.again(Duration::from_millis(500)), vec![vec![3; SLICE]; 3]);
        assert_eq!(slicer.again(10 * SECOND).len(), KEPT);
    }

    proptest! {
        #[test]
        fn any_cutting_gives_the_same_slices_and_loses_nothing(
            sizes in prop::collection::vec(0_usize..20_000, 1..20),
            chunk_ms in 1_u64..3_000,
        ) {
            let (mut slicer, now) = (Slicer::new(Duration::from_millis(chunk_ms)), Instant::now());
            let sound: Vec<i16> = (0..sizes.iter().sum()).map(|n| n as i16).collect();
            let mut slices = Vec::new();
            let mut rest = sound.as_slice();
            for size in sizes {
                let (head, tail) = rest.split_at(size);
                slices.extend(slicer.push(head, now));
                rest = tail;
            }
            slices.extend(slicer.rest());
            prop_assert!(slices.iter().all(|slice| slice.len() == SLICE));
            let sent = slices.concat();
            prop_assert_eq!(&sent[..sound.len()], &sound[..]);
            prop_assert!(sent.len() - sound.len() < SLICE && sent[sound.len()..].iter().all(|s| *s == 0));
        }
    }
}

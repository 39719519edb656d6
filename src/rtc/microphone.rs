//! A viewer's microphone: RTP packets of Opus become an unbroken line of 20 ms frames.
//!
//! In: packets as the network delivers them. Out: [`AudioFrame`]s to the session's ears. One task a microphone.
//! What comes late is put in order, what is lost is concealed, what a sender leaves out is silence: the ears count samples,
//! so a gap that is left out would be speech that never ends.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rtc::rtp::Packet;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};

use crate::codec::{self, OpusDecoder};
use crate::media::{AUDIO_PTIME, AUDIO_RATE_HZ, AudioFrame, SAMPLES_PER_FRAME};
use crate::metrics;

/// Frames that may wait for the ears: 1 s. Full: the newest frame is dropped and counted, since ears that are this far
/// behind hear nothing useful.
pub const MICROPHONE_QUEUE: usize = 50;

/// Packets that are kept while an earlier one is missing: 80 ms of the usual 20 ms ones. Speech is not played, so the
/// only price of waiting is the answer's delay.
const MAX_WAITING: usize = 4;

/// The longest gap that is filled at once: what a sender leaves out beyond it has been silence for long enough.
const MAX_GAP: usize = AUDIO_RATE_HZ as usize;

/// A sender that pauses longer than this sends nothing at all: silence is filled in at its pace, for longer than any
/// pause that ends an utterance (`asr.stop_ms`).
const PAUSE: Duration = Duration::from_millis(120);
const MAX_PAUSE: usize = AUDIO_RATE_HZ as usize * 22 / 10;

/// The RTP clock of Opus (RFC 7587 §4.1), in units a sample of ours.
const UNITS_PER_SAMPLE: u32 = 48_000 / AUDIO_RATE_HZ;

/// A microphone that has sent nothing for this long gives way to another of the same viewer.
const GIVES_WAY: Duration = Duration::from_secs(1);

/// Which of a viewer's microphones is heard: the one that sends. Most viewers have one.
pub(super) struct Floor {
    ears: mpsc::Sender<AudioFrame>,
    /// Who has it, and since when it has sent nothing.
    taken: Mutex<Option<(Voice, Instant)>>,
}

/// What may be heard of a viewer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Voice {
    /// A track; where it lies in memory is who it is.
    Track(usize),
    /// Frames that do not come by RTP.
    Frames,
}

impl Floor {
    pub(super) fn new(ears: mpsc::Sender<AudioFrame>) -> Self {
        Self { ears, taken: Mutex::default() }
    }

    /// The next frame of a microphone that does not come by RTP: it is heard before any that does.
    pub(super) fn hear(&self, frame: &AudioFrame) {
        self.take(Voice::Frames, Instant::now());
        self.pass(frame);
    }

    /// Something came from `voice`. False if another one is heard.
    fn take(&self, voice: Voice, now: Instant) -> bool {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let gives_way = |(holder, last)| holder == voice || now - last >= GIVES_WAY;
        let free = voice == Voice::Frames || taken.is_none_or(gives_way);
        if free {
            *taken = Some((voice, now));
        }
        free
    }

    /// To the ears. False if they are gone.
    fn pass(&self, frame: &AudioFrame) -> bool {
        match self.ears.try_send(*frame) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                metrics::frame_dropped("microphone", "slow_ears");
                true
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }
}

/// Packets of a microphone.
#[derive(Debug, Default)]
pub(super) struct Arrived {
    pub(super) packets: AtomicU64,
    /// Those that were waited for in vain.
    pub(super) lost: AtomicU64,
    /// Times that nothing came for [`PAUSE`].
    pub(super) gaps: AtomicU64,
}

/// Reads `track` until it or the ears are gone.
pub(super) async fn read(track: Arc<dyn TrackRemote>, floor: Arc<Floor>, arrived: Arc<Arrived>) {
    let voice = Voice::Track(Arc::as_ptr(&track).addr());
    let Ok(mut microphone) = Microphone::open() else { return };
    let mut pause: Option<Instant> = None;
    loop {
        let event = match pause {
            Some(at) => timeout_at(at, track.poll()).await,
            None => Ok(track.poll().await),
        };
        let frames = match event {
            Ok(Some(TrackRemoteEvent::OnRtpPacket(_))) if !floor.take(voice, Instant::now()) => continue,
            Ok(Some(TrackRemoteEvent::OnRtpPacket(packet))) => {
                pause = Some(Instant::now() + PAUSE);
                let frames = microphone.push(&packet);
                arrived.packets.fetch_add(1, Ordering::Relaxed);
                arrived.lost.store(microphone.lost, Ordering::Relaxed);
                frames
            }
            Ok(Some(_)) => continue,
            Ok(None) => return,
            Err(_) => {
                arrived.gaps.fetch_add(u64::from(microphone.paused == 0), Ordering::Relaxed);
                let frames = microphone.pause();
                pause = (!frames.is_empty()).then(|| Instant::now() + AUDIO_PTIME);
                frames
            }
        };
        for frame in frames {
            if !floor.pass(&frame) {
                return;
            }
        }
    }
}

/// Order and content of what was said; pure.
struct Microphone {
    decoder: OpusDecoder,
    /// By sequence number, which does not wrap here.
    waiting: BTreeMap<u64, (u32, Bytes)>,
    /// The next sequence number to decode, and the stamp that it should have.
    next: Option<(u64, u32)>,
    newest: u64,
    /// Packets that never came.
    lost: u64,
    /// Samples of silence since the last packet that were not waited for.
    paused: usize,
    /// Samples of the last packet: what a lost one will have held.
    packet_samples: usize,
    /// Less than a frame.
    rest: Vec<i16>,
}

impl Microphone {
    fn open() -> Result<Self, codec::Error> {
        Ok(Self {
            decoder: OpusDecoder::open()?,
            waiting: BTreeMap::new(),
            next: None,
            newest: 0,
            lost: 0,
            paused: 0,
            packet_samples: SAMPLES_PER_FRAME,
            rest: Vec::new(),
        })
    }

    /// Takes a packet, gives the frames that are complete now.
    fn push(&mut self, packet: &Packet) -> Vec<AudioFrame> {
        if packet.payload.is_empty() {
            return Vec::new();
        }
        let sequence = self.unwrapped(packet.header.sequence_number);
        let (next, _) = *self.next.get_or_insert((sequence, packet.header.timestamp));
        if sequence >= next {
            self.newest = self.newest.max(sequence);
            self.waiting.insert(sequence, (packet.header.timestamp, packet.payload.clone()));
        }
        self.frames(MAX_WAITING)
    }

    /// The frames that are complete, if no packet is hoped for any more once `patience` later ones are there.
    fn frames(&mut self, patience: usize) -> Vec<AudioFrame> {
        let mut samples = std::mem::take(&mut self.rest);
        while let Some(more) = self.decode_next(patience) {
            samples.extend(more);
        }
        let frames = samples.chunks_exact(SAMPLES_PER_FRAME);
        self.rest = frames.remainder().to_vec();
        frames.map(|frame| AudioFrame(frame.try_into().expect("chunks have a frame's length"))).collect()
    }

    /// Nothing has come for a while: what waited, else a frame of silence; nothing once there has been enough of it.
    fn pause(&mut self) -> Vec<AudioFrame> {
        let late = self.frames(1);
        if !late.is_empty() {
            return late;
        }
        self.paused += SAMPLES_PER_FRAME;
        if self.paused <= MAX_PAUSE { vec![AudioFrame::SILENCE] } else { Vec::new() }
    }

    /// What a sender left out between two stamps, as far as it is worth filling and has not been filled by pauses.
    fn left_out(&mut self, due: u32, stamp: u32) -> Vec<i16> {
        let missing = stamp.wrapping_sub(due);
        // A stamp that goes back, or the first of another source.
        let missing = if missing > u32::MAX / 2 { 0 } else { missing / UNITS_PER_SAMPLE };
        vec![0; (missing as usize).min(MAX_GAP).saturating_sub(std::mem::take(&mut self.paused))]
    }

    fn unwrapped(&self, sequence: u16) -> u64 {
        let step = sequence.wrapping_sub(self.newest as u16) as i16;
        if self.next.is_none() { u64::from(sequence) + (1 << 16) } else { self.newest.saturating_add_signed(step.into()) }
    }

    /// The samples of the next packet, or in its place; `None` while there is still hope for it.
    fn decode_next(&mut self, patience: usize) -> Option<Vec<i16>> {
        let (next, due) = self.next?;
        if let Some((stamp, payload)) = self.waiting.remove(&next) {
            let mut samples = self.left_out(due, stamp);
            // Garbage is as good as lost.
            let spoken = self.decoder.decode(&payload).unwrap_or_else(|_| self.concealed(None));
            self.packet_samples = spoken.len().max(SAMPLES_PER_FRAME / 8);
            self.next = Some((next + 1, after(stamp, spoken.len())));
            samples.extend(spoken);
            return Some(samples);
        }
        if self.waiting.len() < patience {
            return None;
        }
        let (&first, (stamp, payload)) = self.waiting.first_key_value()?;
        let stamp = *stamp;
        self.lost += first - next;
        if first == next + 1 {
            let payload = payload.clone();
            let guess = self.concealed(Some(&payload));
            self.next = Some((first, after(due, guess.len())));
            return Some(guess);
        }
        // Many are gone: the stamp of the first that is there says how long it was.
        let gap = self.left_out(due, stamp);
        self.next = Some((first, stamp));
        Some(gap)
    }

    fn concealed(&mut self, next: Option<&[u8]>) -> Vec<i16> {
        let samples = self.packet_samples;
        self.decoder.conceal(samples, next).unwrap_or_else(|_| vec![0; samples])
    }
}

/// The stamp of what follows `samples` of ours.
fn after(stamp: u32, samples: usize) -> u32 {
    stamp.wrapping_add(samples as u32 * UNITS_PER_SAMPLE)
}

#[cfg(test)]
mod bad_days;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::OpusEncoder;

    /// Packet `n` of a sine of 440 Hz.
    fn packets(count: u16) -> Vec<Packet> {
        let mut encoder = OpusEncoder::open().unwrap();
        (0..count)
            .map(|n| {
                let frame = AudioFrame(std::array::from_fn(|i| {
                    let t = (usize::from(n) * SAMPLES_PER_FRAME + i) as f32 / AUDIO_RATE_HZ as f32;
                    ((t * 440.0 * std::f32::consts::TAU).sin() * 16_000.0) as i16
                }));
                let mut packet = Packet { payload: encoder.encode(&frame).unwrap(), ..Packet::default() };
                packet.header.sequence_number = n.wrapping_add(65_530);
                packet.header.timestamp = u32::from(n).wrapping_mul(960).wrapping_add(u32::MAX - 5_000);
                packet
            })
            .collect()
    }

    fn heard(packets: &[Packet]) -> Vec<AudioFrame> {
        let mut microphone = Microphone::open().unwrap();
        packets.iter().flat_map(|packet| microphone.push(packet)).collect()
    }

    #[tokio::test]
    async fn of_two_microphones_the_one_that_sends_is_heard() {
        let floor = Floor::new(mpsc::channel(1).0);
        let begun = Instant::now();
        let (first, second) = (Voice::Track(1), Voice::Track(2));
        assert!(floor.take(first, begun));
        assert!(!floor.take(second, begun + GIVES_WAY / 2));
        assert!(floor.take(first, begun + GIVES_WAY / 2));
        assert!(!floor.take(second, begun + GIVES_WAY));
        assert!(floor.take(second, begun + GIVES_WAY * 3 / 2), "the first has been silent for long enough");
        assert!(!floor.take(first, begun + GIVES_WAY * 2));
        assert!(floor.take(Voice::Frames, begun + GIVES_WAY * 2), "frames are heard before tracks");
        assert!(!floor.take(second, begun + GIVES_WAY * 2));
    }

    #[test]
    fn in_order_every_packet_is_a_frame_also_where_numbers_wrap() {
        assert_eq!(heard(&packets(50)).len(), 50);
    }

    #[test]
    fn packets_that_overtake_each_other_are_heard_in_order() {
        let in_order = packets(50);
        let mut mixed = in_order.clone();
        mixed.swap(10, 12);
        mixed.swap(30, 31);
        mixed.insert(20, mixed[18].clone());
        assert!(heard(&mixed) == heard(&in_order));
    }

    #[test]
    fn one_loss_is_concealed_and_many_are_a_gap_of_their_length() {
        let mut lossy = packets(60);
        lossy.remove(20);
        let one = heard(&lossy);
        assert_eq!(one.len(), 60);
        assert!(one.iter().all(|frame| frame.rms() > 0.1 || frame == &one[0]), "the tone goes on");
        lossy.drain(30..45);
        let many = heard(&lossy);
        assert_eq!(many.len(), 60);
        assert!(many.iter().filter(|frame| frame.rms() < 0.01).count() >= 14);
    }

    #[test]
    fn what_a_sender_leaves_out_is_silence_but_not_for_ever() {
        let mut pausing = packets(40);
        for (n, packet) in pausing.iter_mut().enumerate().skip(20) {
            packet.header.sequence_number = (n as u16).wrapping_add(65_530);
            packet.header.timestamp = packet.header.timestamp.wrapping_add(10 * 960);
        }
        assert_eq!(heard(&pausing).len(), 50);
        for packet in pausing.iter_mut().skip(20) {
            packet.header.timestamp = packet.header.timestamp.wrapping_add(48_000 * 3_600);
        }
        assert_eq!(heard(&pausing).len(), 40 + 50);
    }

    #[test]
    fn hostile_packets_neither_panic_nor_pile_up() {
        let mut microphone = Microphone::open().unwrap();
        let mut frames = 0;
        for n in 0..5_000_u32 {
            let payload = Bytes::from(vec![(n * 7) as u8; (n % 90) as usize]);
            let mut packet = Packet { payload, ..Packet::default() };
            packet.header.sequence_number = (n.wrapping_mul(2_654_435_761) >> 16) as u16;
            packet.header.timestamp = n.wrapping_mul(2_654_435_761);
            frames += microphone.push(&packet).len();
        }
        assert!(microphone.waiting.len() <= MAX_WAITING);
        assert!(frames < 5_000 * (MAX_GAP / SAMPLES_PER_FRAME + 6));
    }
}

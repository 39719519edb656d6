//! A session's voice as a device wants it: Opus packets of 60 ms at 24 kHz, of answers only.
//!
//! In: 20 ms of sound at 16 kHz, on the encode thread. Out: packets to the device's socket, each with its answer's number.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc;
use tracing::warn;

use crate::codec::OpusEncoder;
use crate::media::{AUDIO_RATE_HZ, AudioFrame, Resampler, TurnId};
use crate::metrics;
use crate::track::MediaSink;

/// What the hello promises: a device's own rate, so that it need not resample.
pub(super) const RATE_HZ: u32 = 24_000;
/// Of one packet.
pub(super) const PACKET_MS: u32 = 60;
const PACKET_SAMPLES: usize = (RATE_HZ * PACKET_MS / 1_000) as usize;

/// Packets that may wait for the socket: 2.4 s, as many as firmware keeps. Full: the newest is lost and counted.
pub(super) const VOICE_QUEUE: usize = 40;

/// One packet of an answer.
pub(super) struct Packet {
    /// The player's number of the answer.
    pub(super) turn: TurnId,
    pub(super) opus: Bytes,
}

/// The sink of one device.
pub(super) struct Voice {
    packets: mpsc::Sender<Packet>,
    /// Off while the device hears the session by WebRTC.
    on: AtomicBool,
    /// Held for one frame.
    answer: Mutex<Option<Answer>>,
}

/// The answer that is being packed.
struct Answer {
    turn: TurnId,
    resampler: Resampler,
    encoder: OpusEncoder,
    samples: Vec<i16>,
}

impl Voice {
    pub(super) fn new(packets: mpsc::Sender<Packet>) -> Self {
        Self { packets, on: AtomicBool::new(true), answer: Mutex::default() }
    }

    pub(super) fn turn(&self, on: bool) {
        self.on.store(on, Ordering::Relaxed);
    }

    fn send(&self, turn: TurnId, opus: Bytes) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.packets.try_send(Packet { turn, opus }) {
            metrics::frame_dropped("audio", "slow_device");
        }
    }
}

impl Answer {
    fn open(turn: TurnId) -> Option<Self> {
        let opened = Resampler::new(AUDIO_RATE_HZ, RATE_HZ).ok().zip(OpusEncoder::at(RATE_HZ).ok());
        if opened.is_none() {
            warn!("no voice for a device: the resampler or Opus does not open");
        }
        let (resampler, encoder) = opened?;
        Some(Self { turn, resampler, encoder, samples: Vec::with_capacity(2 * PACKET_SAMPLES) })
    }

    /// The next packet, if this fills it.
    fn push(&mut self, sound: &AudioFrame) -> Option<Bytes> {
        self.samples.extend(self.resampler.push(&sound.0));
        let packet = self.encoder.encode_samples(self.samples.get(..PACKET_SAMPLES)?).ok();
        self.samples.drain(..PACKET_SAMPLES);
        packet
    }

    /// What is left, filled up with silence.
    fn finish(self) -> Vec<Bytes> {
        let Self { resampler, mut samples, mut encoder, .. } = self;
        samples.extend(resampler.finish());
        samples.resize(samples.len().next_multiple_of(PACKET_SAMPLES), 0);
        samples.chunks(PACKET_SAMPLES).filter_map(|packet| encoder.encode_samples(packet).ok()).collect()
    }
}

impl MediaSink for Voice {
    fn hear(&self, sound: &AudioFrame, turn: Option<TurnId>) {
        let turn = turn.filter(|_| self.on.load(Ordering::Relaxed));
        let mut answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(over) = answer.take_if(|answer| Some(answer.turn) != turn) {
            let turn = over.turn;
            over.finish().into_iter().for_each(|opus| self.send(turn, opus));
        }
        let Some(turn) = turn else { return };
        if answer.is_none() {
            *answer = Answer::open(turn);
        }
        if let Some(opus) = answer.as_mut().and_then(|answer| answer.push(sound)) {
            self.send(turn, opus);
        }
    }

    fn is_closed(&self) -> bool {
        self.packets.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_becomes_whole_packets_of_60_ms_at_24_khz() {
        let (packets, mut sent) = mpsc::channel(VOICE_QUEUE);
        let voice = Voice::new(packets);
        let tone = |n: usize| {
            let t = |i: usize| (n * 320 + i) as f32 / 16_000.0;
            AudioFrame(std::array::from_fn(|i| ((t(i) * 1_000.0 * std::f32::consts::TAU).sin() * 16_000.0) as i16))
        };
        voice.hear(&AudioFrame::SILENCE, None);
        (0..50).for_each(|n| voice.hear(&tone(n), Some(TurnId(3))));
        voice.hear(&AudioFrame::SILENCE, None);
        let mut decoder = opus::Decoder::new(RATE_HZ, opus::Channels::Mono).unwrap();
        let mut heard = Vec::new();
        while let Ok(packet) = sent.try_recv() {
            assert_eq!(packet.turn, TurnId(3));
            let mut samples = vec![0; 4 * PACKET_SAMPLES];
            let len = decoder.decode(&packet.opus, &mut samples, false).unwrap();
            assert_eq!(len, PACKET_SAMPLES);
            heard.extend_from_slice(&samples[..len]);
        }
        assert_eq!(heard.len(), 17 * PACKET_SAMPLES, "a second is 16 packets and two thirds of one");
        let (middle, seconds) = (&heard[2_400..21_600], 0.8);
        let rises = middle.windows(2).filter(|pair| pair[0] < 0 && pair[1] >= 0).count();
        assert!((rises as f64 / seconds - 1_000.0).abs() < 5.0, "{rises} periods in {seconds} s");
    }

    #[test]
    fn a_device_that_hears_us_elsewhere_gets_nothing() {
        let (packets, mut sent) = mpsc::channel(VOICE_QUEUE);
        let voice = Voice::new(packets);
        voice.turn(false);
        (0..9).for_each(|_| voice.hear(&AudioFrame::SILENCE, Some(TurnId(1))));
        assert!(sent.try_recv().is_err());
    }
}

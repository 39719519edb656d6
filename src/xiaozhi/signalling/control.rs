//! The data channel of older clients: recorded sound as JSON, and the command that ends it (reference §3.3).
//!
//! In: text messages. Out: 20 ms frames for the same ears that hear the microphone.

use serde::Deserialize;

use crate::codec::OpusDecoder;
use crate::media::{AUDIO_RATE_HZ, AudioFrame, Resampler, SAMPLES_PER_FRAME};

/// What a message is.
pub(super) enum Control {
    /// The person has said all.
    Stop,
    /// The next of what they say.
    Sound(Vec<AudioFrame>),
    /// Nothing of ours.
    Other,
}

/// The message, as far as anybody knows it.
#[derive(Deserialize)]
struct Message {
    command: Option<String>,
    /// Bytes of 16-bit samples, low byte first, or one packet of Opus.
    data: Option<Vec<u8>>,
    #[serde(rename = "sampleRate")]
    sample_rate: Option<u32>,
    format: Option<String>,
}

/// The first bytes of what an Opus recorder sends (RFC 7845 §5.1); no sound is in it.
const OPUS_HEAD: &[u8] = b"OpusHead";
/// Rates that microphones have.
const RATES: std::ops::RangeInclusive<u32> = 8_000..=48_000;

/// Puts sound together that comes in messages.
#[derive(Default)]
pub(super) struct Recorder {
    opus: Option<OpusDecoder>,
    /// A header has said that Opus follows.
    is_opus: bool,
    resampler: Option<(u32, Resampler)>,
    /// Half a sample.
    odd: Option<u8>,
    /// Less than a frame.
    rest: Vec<i16>,
}

impl Recorder {
    /// What `text` brings.
    pub(super) fn message(&mut self, text: &str) -> Control {
        let Ok(message) = serde_json::from_str::<Message>(text) else { return Control::Other };
        if matches!(message.command.as_deref(), Some("stop" | "stop_recording")) {
            *self = Self::default();
            return Control::Stop;
        }
        let Some(data) = message.data else { return Control::Other };
        if data.starts_with(OPUS_HEAD) {
            self.is_opus = true;
            return Control::Sound(Vec::new());
        }
        let is_opus = message.format.map_or(self.is_opus, |format| format.eq_ignore_ascii_case("opus"));
        let samples = if is_opus { self.unpacked(&data) } else { self.resampled(&data, message.sample_rate) };
        self.rest.extend(samples.unwrap_or_default());
        let frames = self.rest.chunks_exact(SAMPLES_PER_FRAME);
        let rest = frames.remainder().to_vec();
        let frames = frames.map(|frame| AudioFrame(frame.try_into().expect("chunks have a frame's length"))).collect();
        self.rest = rest;
        Control::Sound(frames)
    }

    /// A packet of Opus. Garbage is as good as lost.
    fn unpacked(&mut self, packet: &[u8]) -> Option<Vec<i16>> {
        if self.opus.is_none() {
            self.opus = Some(OpusDecoder::open().ok()?);
        }
        self.opus.as_mut()?.decode(packet).ok()
    }

    fn resampled(&mut self, bytes: &[u8], rate_hz: Option<u32>) -> Option<Vec<i16>> {
        let rate_hz = rate_hz.unwrap_or(AUDIO_RATE_HZ);
        if !RATES.contains(&rate_hz) {
            return None;
        }
        let bytes: Vec<u8> = self.odd.take().into_iter().chain(bytes.iter().copied()).collect();
        let (pairs, odd) = bytes.as_chunks();
        self.odd = odd.first().copied();
        let samples: Vec<i16> = pairs.iter().map(|pair| i16::from_le_bytes(*pair)).collect();
        if rate_hz == AUDIO_RATE_HZ {
            return Some(samples);
        }
        if self.resampler.as_ref().is_none_or(|(rate, _)| *rate != rate_hz) {
            self.resampler = Some((rate_hz, Resampler::new(rate_hz, AUDIO_RATE_HZ).ok()?));
        }
        self.resampler.as_mut().map(|(_, resampler)| resampler.push(&samples))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::codec::OpusEncoder;

    /// 440 Hz for one second at `rate` Hz.
    fn tone(rate: usize) -> Vec<i16> {
        (0..rate).map(|n| ((n as f32 / rate as f32 * 440.0 * std::f32::consts::TAU).sin() * 16_000.0) as i16).collect()
    }

    fn bytes(samples: &[i16]) -> Vec<u8> {
        samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
    }

    fn heard(recorder: &mut Recorder, message: &serde_json::Value) -> Vec<AudioFrame> {
        match recorder.message(&message.to_string()) {
            Control::Sound(frames) => frames,
            _ => panic!("no sound"),
        }
    }

    #[test]
    fn samples_of_any_rate_in_pieces_of_any_length_are_heard_whole() {
        for rate in [8_000, 16_000, 48_000] {
            let mut recorder = Recorder::default();
            let sound = bytes(&tone(rate));
            let pieces = sound.chunks(1_001).map(|data| json!({"id": "a", "data": data, "sampleRate": rate}));
            let frames: Vec<AudioFrame> = pieces.flat_map(|piece| heard(&mut recorder, &piece)).collect();
            assert!((46..=50).contains(&frames.len()), "{rate} Hz: {} frames", frames.len());
            assert!(frames[5..].iter().all(|frame| (frame.rms() - 0.345).abs() < 0.05), "{rate} Hz");
        }
    }

    #[test]
    fn opus_is_known_by_its_format_or_its_header() {
        let mut encoder = OpusEncoder::open().unwrap();
        let packets: Vec<Vec<u8>> = tone(16_000)
            .chunks_exact(SAMPLES_PER_FRAME)
            .map(|frame| encoder.encode(&AudioFrame(frame.try_into().unwrap())).unwrap().to_vec())
            .collect();
        let mut named = Recorder::default();
        let frames: Vec<_> =
            packets.iter().flat_map(|data| heard(&mut named, &json!({"id": 1, "data": data, "format": "opus"}))).collect();
        assert_eq!(frames.len(), 50);
        let mut headed = Recorder::default();
        assert!(heard(&mut headed, &json!({"data": b"OpusHead\x01\x01"})).is_empty());
        let again: Vec<_> = packets.iter().flat_map(|data| heard(&mut headed, &json!({"id": 1, "data": data}))).collect();
        assert!(again == frames);
    }

    #[test]
    fn a_command_stops_and_anything_else_is_passed_over() {
        let mut recorder = Recorder::default();
        assert!(matches!(recorder.message(r#"{"command":"stop"}"#), Control::Stop));
        assert!(matches!(recorder.message(r#"{"command":"stop_recording"}"#), Control::Stop));
        for other in ["", "7", "{}", r#"{"command":"dance"}"#, r#"{"data":[256]}"#, r#"{"data":"x"}"#] {
            assert!(matches!(recorder.message(other), Control::Other), "{other}");
        }
        assert!(heard(&mut recorder, &json!({"data": [1, 2, 3], "sampleRate": 4_000_000_000_u32})).is_empty());
        assert!(heard(&mut recorder, &json!({"data": vec![255; 40], "format": "opus"})).is_empty());
    }
}

//! One answer as its body comes: events in, what a person is to hear and read out.
//!
//! The first item of each body is not the answer but what the person said themselves, under the text "assistant:\n". The last
//! one has the text `"\n<end>"` and no sound. In between are some words and the half second of sound that says them.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::Value;

use super::Error;
use super::conversation::Event;
use super::events::{Events, Found};
use crate::media::{AUDIO_RATE_HZ, Resampler, read_wav};

/// What marks the end of an answer, in its text.
const END: &str = "<end>";
/// Samples that are resampled in one go, so that the runtime is not held up: 100 ms at 24 kHz.
const STEP: usize = 2_400;

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    choices: Vec<Choice>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    text: Option<String>,
    audio: Option<String>,
}

/// What has come of an answer.
#[derive(Default)]
pub(super) struct Reply {
    events: Events,
    /// The person's own speech has come, and is gone.
    begun: bool,
    /// Something of the answer itself has come.
    said: bool,
    ended: bool,
    resampler: Option<(u32, Resampler)>,
}

impl Reply {
    /// What is complete with `bytes`. The sound goes on from the last piece without a seam, whatever its rate.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<Result<Event, Error>> {
        let found = self.events.push(bytes);
        found.into_iter().flat_map(|found| self.take(found)).collect()
    }

    /// The rest, once the body is over.
    pub(super) fn finish(&mut self) -> Vec<Result<Event, Error>> {
        let mut rest = self.events.finish().map(|found| self.take(found)).unwrap_or_default();
        rest.extend(self.drain().map(Ok));
        rest
    }

    /// Whether anything of an answer has come.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether any of it was to be heard or read.
    pub(super) fn has_said(&self) -> bool {
        self.said
    }

    /// Whether the answer said that it is complete.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    fn take(&mut self, found: Found) -> Vec<Result<Event, Error>> {
        let Found::Data(data) = found else {
            // Only a person's own speech is that long.
            return if std::mem::replace(&mut self.begun, true) { vec![Err(Error::Garbled)] } else { vec![] };
        };
        let Ok(Message { choices, error }) = serde_json::from_slice(&data) else { return vec![Err(Error::Garbled)] };
        if let Some(error) = error {
            let said = error.as_str().map_or_else(|| error.to_string(), str::to_owned);
            return vec![Err(Error::reported(&said))];
        }
        choices.into_iter().flat_map(|choice| self.choice(choice)).collect()
    }

    fn choice(&mut self, Choice { text, audio }: Choice) -> Vec<Result<Event, Error>> {
        let mut out = Vec::new();
        if !std::mem::replace(&mut self.begun, true) {
            return out;
        }
        let mut text = text.unwrap_or_default();
        if text.contains(END) {
            self.ended = true;
            text = text.replace(END, "");
            text.truncate(text.trim_end().len());
        }
        if !text.is_empty() {
            out.push(Ok(Event::Text(text)));
        }
        if let Some(audio) = audio.filter(|audio| !audio.is_empty()) {
            let wav = BASE64_STANDARD.decode(audio).ok();
            match wav.as_deref().and_then(read_wav) {
                Some((rate_hz, samples)) => self.sound(rate_hz, &samples, &mut out),
                None => out.push(Err(Error::Garbled)),
            }
        }
        self.said |= out.iter().any(Result::is_ok);
        out
    }

    fn sound(&mut self, rate_hz: u32, samples: &[i16], out: &mut Vec<Result<Event, Error>>) {
        if self.resampler.as_ref().is_some_and(|(before, _)| *before != rate_hz) {
            out.extend(self.drain().map(Ok));
        }
        if self.resampler.is_none() {
            let Ok(resampler) = Resampler::new(rate_hz, AUDIO_RATE_HZ) else { return out.push(Err(Error::Garbled)) };
            self.resampler = Some((rate_hz, resampler));
        }
        let Some((_, resampler)) = &mut self.resampler else { return };
        let pieces = samples.chunks(STEP).map(|piece| resampler.push(piece)).filter(|piece| !piece.is_empty());
        out.extend(pieces.map(|piece| Ok(Event::Sound(piece))));
    }

    /// What the resampler still holds.
    fn drain(&mut self) -> Option<Event> {
        let rest = self.resampler.take()?.1.finish();
        (!rest.is_empty()).then_some(Event::Sound(rest))
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use serde_json::json;

    use super::*;

    /// A WAV file at another rate than ours.
    fn wav(rate_hz: u32, samples: &[i16]) -> String {
        let mut file = crate::media::write_wav(samples);
        file[24..28].copy_from_slice(&rate_hz.to_le_bytes());
        file[28..32].copy_from_slice(&(rate_hz * 2).to_le_bytes());
        BASE64_STANDARD.encode(file)
    }

    fn event(text: &str, audio: Option<&String>) -> String {
        let choice = json!({"role": "assistant", "audio": audio, "text": text, "finish_reason": "processing"});
        format!("data: {}\n\n", json!({"id": "u", "response_id": 1, "choices": [choice]}))
    }

    fn all(reply: &mut Reply, body: &str) -> Vec<Result<Event, Error>> {
        let mut out: Vec<_> = body.as_bytes().chunks(700).flat_map(|bytes| reply.push(bytes)).collect();
        out.extend(reply.finish());
        out
    }

    fn sound(events: &[Result<Event, Error>]) -> Vec<i16> {
        let sound = |event: &Result<Event, Error>| if let Ok(Event::Sound(s)) = event { s.clone() } else { vec![] };
        events.iter().flat_map(sound).collect()
    }

    #[test]
    fn neither_the_person_nor_the_end_mark_is_heard_or_read() {
        let mut reply = Reply::default();
        let body = ["event: message\n".to_owned(), event("assistant:\n", Some(&wav(16_000, &vec![900; 16_000])))].concat()
            + &event("Hi", Some(&wav(24_000, &vec![500; 12_800])))
            + &event(" you.<end>", None)
            + &event("\n<end>", None);
        let out = all(&mut reply, &body);
        let texts: Vec<_> =
            out.iter().filter_map(|e| if let Ok(Event::Text(t)) = e { Some(t.as_str()) } else { None }).collect();
        assert_eq!(texts, ["Hi", " you."]);
        assert_eq!(out[0], Ok(Event::Text("Hi".into())), "words come before their sound");
        assert_eq!(sound(&out).len(), (12_800_usize * 2).div_ceil(3));
        assert!(reply.has_ended() && reply.has_said());
    }

    #[test]
    fn twenty_pieces_of_a_sine_are_one_sine() {
        let tone: Vec<i16> =
            (0..20 * 12_800).map(|n| (8_000.0 * (TAU * 1_000.0 * f64::from(n) / 24_000.0).sin()) as i16).collect();
        let pieces: String = tone.chunks(12_800).map(|piece| event("x", Some(&wav(24_000, piece)))).collect();
        let mut reply = Reply::default();
        let heard = sound(&all(&mut reply, &(event("assistant:\n", None) + &pieces)));
        assert_eq!(heard.len(), (20 * 12_800 * 2_usize).div_ceil(3));
        // A seam would be a jump: a sine of 1 kHz never bends by more than its second difference.
        let most = 8_000.0 * (TAU / 16.0).powi(2) * 1.1;
        let bend = |w: &[i16]| (f64::from(w[0]) - 2.0 * f64::from(w[1]) + f64::from(w[2])).abs();
        assert!(heard[100..heard.len() - 100].windows(3).all(|w| bend(w) < most));
    }

    #[test]
    fn what_the_server_reports_is_an_error_with_its_words() {
        let mut reply = Reply::default();
        assert_eq!(all(&mut reply, "data:{\"error\":\"no\\nmemory\"}\n\n"), [Err(Error::Reported("nomemory".into()))]);
        assert_eq!(all(&mut reply, "data: nonsense\n\n"), [Err(Error::Garbled)]);
        assert!(!reply.has_begun());
    }
}

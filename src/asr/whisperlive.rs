//! A `WhisperLive` server, by its WebSocket: the list of segments so far, again and again, until it no longer changes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::socket::{Place, Receiver, Sender, transcripts};
use super::{Config, Error, Language, SpeechToText, Transcript, text};
use crate::values::Secret;

/// Samples of one message, as its own clients send them: 256 ms.
const STRIDE: usize = 4_096;
/// The server transcribes nothing shorter than 1 s: silence behind the utterance, so that its end is heard.
const TRAILING_SILENCE: usize = 16_000;
/// What ends the sound.
const END: &[u8] = b"END_OF_AUDIO";

/// A `WhisperLive` server.
pub struct WhisperLive {
    place: Place,
    model: String,
    language: Language,
    timeout: Duration,
}

impl WhisperLive {
    /// From `asr.whisperlive`.
    pub fn new(config: &Config) -> Result<Self, Error> {
        let url = &config.whisperlive.url;
        let place = Place::new("whisperlive", "asr.whisperlive.url", url, "asr.whisperlive.url")?;
        Ok(Self { place, model: config.whisperlive.model.clone(), language: config.language, timeout: config.timeout })
    }
}

impl SpeechToText for WhisperLive {
    fn transcribe(&self, utterance: Arc<[i16]>) -> BoxStream<'static, Result<Transcript, Error>> {
        let (place, language) = (self.place.clone(), self.language.code());
        let hello = json!({
            "uid": uuid::Uuid::new_v4().to_string(), "language": language, "task": "transcribe", "model": self.model,
            "use_vad": false, "send_last_n_segments": 10, "no_speech_thresh": 0.45, "clip_audio": false,
            "same_output_threshold": 2,
        });
        transcripts(place.provider, self.timeout, move |partials| async move {
            let (mut sender, mut receiver) = place.connect(None, &Secret::default()).await?;
            sender.json(&hello).await?;
            ready(&mut receiver).await?;
            send(&mut sender, &utterance).await?;
            let heard = hear(&mut receiver, &partials, language).await?;
            // It has said all: that the place is free again concerns only the server.
            let _ = sender.binary(END).await;
            Ok(heard)
        })
    }
}

/// Waits until the model is loaded and there is a place.
async fn ready(from: &mut Receiver) -> Result<(), Error> {
    let provider = "whisperlive";
    loop {
        let message = from.json().await?;
        match (message["status"].as_str(), message["message"].as_str()) {
            (Some("WAIT"), _) => {
                let minutes = message["message"].as_f64().filter(|minutes| (0.0..=1_440.0).contains(minutes));
                let retry_after = minutes.map(|minutes| Duration::from_secs_f64(minutes * 60.0));
                return Err(Error::Busy { provider, retry_after });
            }
            (Some("ERROR"), _) => return Err(Error::Broken { provider, what: "it says that it failed" }),
            (Some("WARNING"), _) => {}
            (_, Some("SERVER_READY")) => return Ok(()),
            _ => return Err(Error::Garbled { provider, what: "something else than SERVER_READY" }),
        }
    }
}

async fn send(to: &mut Sender, utterance: &[i16]) -> Result<(), Error> {
    let sound: Vec<i16> = utterance.iter().copied().chain(std::iter::repeat_n(0, TRAILING_SILENCE)).collect();
    for stride in sound.chunks(STRIDE) {
        let floats = stride.iter().flat_map(|&sample| (f32::from(sample) / 32_768.0).to_le_bytes());
        to.binary(floats.collect::<Bytes>()).await?;
    }
    Ok(())
}

/// Reads until the text has come twice or all of it is marked as completed.
async fn hear(
    from: &mut Receiver,
    partials: &mpsc::Sender<Transcript>,
    mut language: Option<&'static str>,
) -> Result<Transcript, Error> {
    let provider = "whisperlive";
    let mut last = String::new();
    loop {
        let message = from.json().await?;
        if let Some(code) = message["language"].as_str() {
            language = language.or(text::code(code));
        }
        if message["message"] == "DISCONNECT" || message["status"] == "ERROR" {
            return Err(Error::Broken { provider, what: "it says that it failed" });
        }
        let Some(segments) = message["segments"].as_array() else { continue };
        let mut said = String::new();
        for segment in segments {
            let Some(words) = segment["text"].as_str() else {
                return Err(Error::Garbled { provider, what: "a segment without a text" });
            };
            text::append(&mut said, words);
        }
        let is_complete = !segments.is_empty() && segments.iter().all(|segment| segment["completed"] == Value::Bool(true));
        if !said.is_empty() && (is_complete || said == last) {
            return Ok(text::transcript(&said, language));
        }
        let _ = partials.try_send(Transcript { is_final: false, ..text::transcript(&said, language) });
        last = said;
    }
}

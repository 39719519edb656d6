//! A `FunASR` runtime, by its WebSocket in the mode `2pass`: increments while the sound goes up, then each sentence again,
//! better.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::socket::{Place, Receiver, Sender, transcripts};
use super::{Config, Error, Language, SpeechToText, Transcript, text};
use crate::media::AUDIO_RATE_HZ;
use crate::values::Secret;

/// Samples of one message: 60 ms, what `chunk_size[1]` and `chunk_interval` below make.
const STRIDE: usize = 960;
/// Servers before 2026 do not say which sentence is the last: it is the one that nothing follows for so long.
const SETTLED: Duration = Duration::from_millis(300);

/// Text of one utterance, in bytes: 30 s have less than 2 KiB.
const LONGEST_TEXT: usize = 8 << 10;

/// A `FunASR` runtime.
pub struct FunAsr {
    place: Place,
    api_key: Secret,
    language: Language,
    timeout: Duration,
}

impl FunAsr {
    /// From `asr.funasr`.
    pub fn new(config: &Config) -> Result<Self, Error> {
        let place = Place::new("funasr", "asr.funasr.url", &config.funasr.url, "asr.funasr.api_key")?;
        Ok(Self { place, api_key: config.funasr.api_key.clone(), language: config.language, timeout: config.timeout })
    }
}

impl SpeechToText for FunAsr {
    fn transcribe(&self, utterance: Arc<[i16]>) -> BoxStream<'static, Result<Transcript, Error>> {
        let (place, api_key, language) = (self.place.clone(), self.api_key.clone(), self.language.code());
        transcripts(place.provider, self.timeout, move |partials| async move {
            let (sender, receiver) = place.connect(Some("binary"), &api_key).await?;
            let (finished, told) = tokio::sync::oneshot::channel();
            let send = async {
                send(sender, &utterance).await?;
                let _ = finished.send(());
                Ok::<_, Error>(())
            };
            let hear = hear(receiver, told, &partials, language);
            tokio::pin!(send, hear);
            // What the service says of a refusal is worth more than that the connection broke under our sound.
            let sent = tokio::select! {
                biased;
                heard = &mut hear => return heard,
                sent = &mut send => sent,
            };
            hear.await.map_err(|error| sent.err().unwrap_or(error))
        })
    }
}

async fn send(mut to: Sender, utterance: &[i16]) -> Result<(), Error> {
    to.json(&json!({
        "mode": "2pass", "chunk_size": [5, 10, 5], "chunk_interval": 10, "encoder_chunk_look_back": 4,
        "decoder_chunk_look_back": 0, "wav_name": "visavis", "wav_format": "pcm", "audio_fs": AUDIO_RATE_HZ,
        "is_speaking": true, "hotwords": "", "itn": true,
    }))
    .await?;
    for stride in utterance.chunks(STRIDE) {
        to.binary(stride.iter().flat_map(|sample| sample.to_le_bytes()).collect::<Bytes>()).await?;
    }
    to.json(&json!({"is_speaking": false, "is_end": true})).await
}

/// What has been recognised so far.
#[derive(Default)]
struct Heard {
    /// Sentences that were recognised twice.
    sentences: String,
    /// Increments since the last of them.
    increments: String,
}

impl Heard {
    fn transcript(&self, language: Option<&'static str>, is_final: bool) -> Transcript {
        Transcript { is_final, ..text::transcript(&format!("{}{}", self.sentences, self.increments), language) }
    }
}

async fn hear(
    mut from: Receiver,
    mut told: tokio::sync::oneshot::Receiver<()>,
    partials: &mpsc::Sender<Transcript>,
    language: Option<&'static str>,
) -> Result<Transcript, Error> {
    let provider = "funasr";
    let mut heard = Heard::default();
    let mut all_sent = false;
    let mut has_sentence = false;
    loop {
        let message = if all_sent && has_sentence {
            match tokio::time::timeout(SETTLED, from.json()).await {
                Ok(message) => message?,
                Err(_) => return Ok(heard.transcript(language, true)),
            }
        } else {
            tokio::select! {
                message = from.json() => message?,
                _ = &mut told, if !all_sent => {
                    // A sentence that came before the end says nothing about the last one.
                    (all_sent, has_sentence) = (true, false);
                    continue;
                }
            }
        };
        if message.get("error").is_some_and(|error| !error.is_null()) {
            return Err(Error::Broken { provider, what: "it says that it failed" });
        }
        let said = message["text"].as_str().unwrap_or_default();
        match message["mode"].as_str() {
            Some("2pass-online" | "online") => heard.increments.push_str(said),
            Some("2pass-offline" | "offline") => {
                text::append(&mut heard.sentences, said);
                heard.increments.clear();
                has_sentence = true;
            }
            // The acknowledgement of the end has the mode that was asked for.
            Some("2pass") if message["is_end"] == Value::Bool(true) => {}
            _ => return Err(Error::Garbled { provider, what: "a message without a mode" }),
        }
        if heard.sentences.len() + heard.increments.len() > LONGEST_TEXT {
            return Err(Error::Garbled { provider, what: "more than 8 KiB" });
        }
        if message["is_end"] == Value::Bool(true) || (all_sent && has_sentence && message["is_final"] == Value::Bool(true)) {
            return Ok(heard.transcript(language, true));
        }
        // Nobody looks at partials who does not take them.
        let _ = partials.try_send(heard.transcript(language, false));
    }
}

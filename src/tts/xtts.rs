//! An XTTS streaming server: `POST /clone_speaker` once, then `POST /tts_stream` for each clause; bare samples at 24 kHz.

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::multipart::Form;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::config;
use super::net::{Encoding, Fault, Http, Out, audio_file, file_part};
use super::remote::Service;
use super::{Error, Timeouts, required};

/// What XTTS version 2 makes.
const RATE_HZ: u32 = 24_000;

pub(super) struct Xtts {
    http: Http,
    recording: Bytes,
    language: String,
    /// What the server made of the recording: numbers that it wants back with every clause. It keeps none itself, so they
    /// hold for as long as its model does.
    speaker: OnceCell<Value>,
}

impl Xtts {
    pub(super) fn new(config: &config::Xtts, timeouts: &Timeouts) -> Result<Self, Error> {
        Ok(Self {
            http: Http::new("tts.xtts.url", &config.url, timeouts)?,
            recording: audio_file("tts.xtts.reference_audio", &config.reference_audio)?,
            language: required("tts.xtts.language", Some(&config.language))?.to_owned(),
            speaker: OnceCell::new(),
        })
    }

    async fn clone_speaker(&self) -> Result<Value, Fault> {
        let form = Form::new().part("wav_file", file_part(&self.recording));
        let speaker = Http::json(self.http.post(self.http.url("clone_speaker")).multipart(form)).await?;
        let is_speaker = speaker["gpt_cond_latent"].is_array() && speaker["speaker_embedding"].is_array();
        if is_speaker { Ok(speaker) } else { Err(Fault::Garbled("a speaker without its numbers")) }
    }
}

#[async_trait]
impl Service for Xtts {
    async fn say(&self, clause: &str, out: &Out) -> Result<(), Fault> {
        let speaker = self.speaker.get_or_try_init(|| self.clone_speaker()).await?;
        let body = json!({
            "text": clause,
            "language": self.language,
            "gpt_cond_latent": speaker["gpt_cond_latent"],
            "speaker_embedding": speaker["speaker_embedding"],
            "stream_chunk_size": "20",
            "add_wav_header": false,
        });
        let request = self.http.post(self.http.url("tts_stream")).json(&body);
        Http::play(request, Encoding::Pcm { rate_hz: RATE_HZ }, out).await
    }
}

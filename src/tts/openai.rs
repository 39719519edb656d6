//! `OpenAI`'s `POST /audio/speech`, and the servers that speak it too (speaches, Kokoro, vLLM-Omni).
//!
//! A clause goes out as JSON; sound comes back as it is made, in the format that was asked for.

use async_trait::async_trait;
use serde_json::json;

use super::config::{self, Format};
use super::net::{Encoding, Fault, Http, Out};
use super::remote::Service;
use super::{Error, Timeouts, speed};

/// Rate of bare samples, unless the answer's content type says otherwise ("Text to speech" guide).
const PCM_RATE_HZ: u32 = 24_000;

pub(super) struct OpenAi {
    http: Http,
    config: config::OpenAi,
}

impl OpenAi {
    pub(super) fn new(config: &config::OpenAi, timeouts: &Timeouts) -> Result<Self, Error> {
        speed("tts.openai.speed", config.speed)?;
        Ok(Self { http: Http::new("tts.openai.base_url", &config.base_url, timeouts)?, config: config.clone() })
    }
}

#[async_trait]
impl Service for OpenAi {
    async fn say(&self, clause: &str, out: &Out) -> Result<(), Fault> {
        let config = &self.config;
        let (format, encoding) = match config.format {
            Format::Pcm => ("pcm", Encoding::Pcm { rate_hz: PCM_RATE_HZ }),
            Format::Wav => ("wav", Encoding::Wav),
            Format::Mp3 => ("mp3", Encoding::Mp3),
        };
        let mut body = json!({
            "model": config.model,
            "voice": config.voice,
            "input": clause,
            "response_format": format,
            "speed": config.speed,
        });
        // Servers that do not know a key may refuse it.
        for (key, value) in
            [("instructions", &config.instructions), ("language", &config.language), ("task_type", &config.task_type)]
        {
            if !value.is_empty() {
                body[key] = value.clone().into();
            }
        }
        let mut request = self.http.post(self.http.url("audio/speech")).json(&body);
        if let Some(key) = config.api_key.reveal() {
            request = request.bearer_auth(key);
        }
        Http::play(request, encoding, out).await
    }
}

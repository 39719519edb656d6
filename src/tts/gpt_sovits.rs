//! A GPT-SoVITS server, `api_v2.py`: `POST /tts`. We ask for WAV, whose header tells the rate of whichever model is loaded
//! (32 or 48 kHz) and which loses nothing; in its "ogg" each piece would be a file of its own.

use async_trait::async_trait;
use serde_json::json;

use super::config;
use super::net::{Encoding, Fault, Http, Out};
use super::remote::Service;
use super::{Error, Timeouts, required, speed};

pub(super) struct GptSovits {
    http: Http,
    config: config::GptSovits,
}

impl GptSovits {
    pub(super) fn new(config: &config::GptSovits, timeouts: &Timeouts) -> Result<Self, Error> {
        speed("tts.gpt_sovits.speed", config.speed)?;
        required("tts.gpt_sovits.reference_audio", Some(&config.reference_audio))?;
        Ok(Self { http: Http::new("tts.gpt_sovits.url", &config.url, timeouts)?, config: config.clone() })
    }
}

#[async_trait]
impl Service for GptSovits {
    async fn say(&self, clause: &str, out: &Out) -> Result<(), Fault> {
        let config = &self.config;
        let body = json!({
            "text": clause,
            "text_lang": config.language,
            "ref_audio_path": config.reference_audio,
            "prompt_text": config.reference_text,
            "prompt_lang": config.reference_language,
            "speed_factor": config.speed,
            "media_type": "wav",
            "streaming_mode": true,
        });
        Http::play(self.http.post(self.http.url("tts")).json(&body), Encoding::Wav, out).await
    }
}

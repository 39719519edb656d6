//! A Fish Speech server: `POST /v1/tts`, WAV as it is made.

use async_trait::async_trait;
use serde_json::json;

use super::config;
use super::net::{Encoding, Fault, Http, Out};
use super::remote::Service;
use super::{Error, Timeouts};

pub(super) struct Fish {
    http: Http,
    config: config::Fish,
}

impl Fish {
    pub(super) fn new(config: &config::Fish, timeouts: &Timeouts) -> Result<Self, Error> {
        Ok(Self { http: Http::new("tts.fish.url", &config.url, timeouts)?, config: config.clone() })
    }
}

#[async_trait]
impl Service for Fish {
    async fn say(&self, clause: &str, out: &Out) -> Result<(), Fault> {
        let mut body = json!({"text": clause, "format": "wav", "streaming": true, "use_memory_cache": "on"});
        if !self.config.voice.is_empty() {
            body["reference_id"] = self.config.voice.clone().into();
        }
        let mut request = self.http.post(self.http.url("v1/tts")).json(&body);
        if let Some(key) = self.config.api_key.reveal() {
            request = request.bearer_auth(key);
        }
        Http::play(request, Encoding::Wav, out).await
    }
}

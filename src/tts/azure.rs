//! Azure's Speech service over REST: SSML out, bare samples at our own rate back. REST tells no times of words.

use async_trait::async_trait;

use super::config;
use super::net::{Encoding, Fault, Http, Out, ssml};
use super::remote::Service;
use super::{Error, Timeouts, required, speed};
use crate::media::AUDIO_RATE_HZ;

pub(super) struct Azure {
    http: Http,
    config: config::Azure,
    key: String,
}

impl Azure {
    pub(super) fn new(config: &config::Azure, timeouts: &Timeouts) -> Result<Self, Error> {
        speed("tts.azure.speed", config.speed)?;
        let key = required("tts.azure.api_key", config.api_key.reveal())?.to_owned();
        let url = match config.url.as_str() {
            "" => format!("https://{}.tts.speech.microsoft.com", required("tts.azure.region", Some(&config.region))?),
            url => url.to_owned(),
        };
        Ok(Self { http: Http::new("tts.azure.url", &url, timeouts)?, config: config.clone(), key })
    }
}

#[async_trait]
impl Service for Azure {
    async fn say(&self, clause: &str, out: &Out) -> Result<(), Fault> {
        // "en-US-AvaNeural": the language is in the voice's name.
        let language = self.config.voice.splitn(3, '-').take(2).collect::<Vec<_>>().join("-");
        let rate = format!("rate='{:+.0}%'", (self.config.speed - 1.0) * 100.0);
        let request = self
            .http
            .post(self.http.url("cognitiveservices/v1"))
            .header("Ocp-Apim-Subscription-Key", &self.key)
            .header("Content-Type", "application/ssml+xml")
            .header("X-Microsoft-OutputFormat", "raw-16khz-16bit-mono-pcm")
            .body(ssml(&language, &self.config.voice, &rate, clause));
        Http::play(request, Encoding::Pcm { rate_hz: AUDIO_RATE_HZ }, out).await
    }
}

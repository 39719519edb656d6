//! A `CosyVoice` server, its `FastAPI` runtime: a form out, bare samples back. It sends no status once it has begun, and
//! nowhere says at which rate its model speaks: 24 kHz from version 2 on, 22.05 kHz before.

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::multipart::Form;

use super::config;
use super::net::{Encoding, Fault, Http, Out, audio_file, file_part};
use super::remote::Service;
use super::{Error, Timeouts};

pub(super) struct CosyVoice {
    http: Http,
    config: config::CosyVoice,
    /// None if the model knows the voice by name.
    recording: Option<Bytes>,
}

impl CosyVoice {
    pub(super) fn new(config: &config::CosyVoice, timeouts: &Timeouts) -> Result<Self, Error> {
        if !(8_000..=48_000).contains(&config.rate_hz) {
            let problem = format!("{} is not a rate from 8000 to 48000", config.rate_hz);
            return Err(Error::Setting { key: "tts.cosyvoice.rate_hz", problem });
        }
        let imitates = config.voice.is_empty();
        let load = || audio_file("tts.cosyvoice.reference_audio", &config.reference_audio);
        let recording = imitates.then(load).transpose()?;
        Ok(Self { http: Http::new("tts.cosyvoice.url", &config.url, timeouts)?, config: config.clone(), recording })
    }
}

#[async_trait]
impl Service for CosyVoice {
    async fn say(&self, clause: &str, out: &Out) -> Result<(), Fault> {
        let form = Form::new().text("tts_text", clause.to_owned());
        let (path, form) = match &self.recording {
            None => ("inference_sft", form.text("spk_id", self.config.voice.clone())),
            Some(recording) if self.config.reference_text.is_empty() => {
                ("inference_cross_lingual", form.part("prompt_wav", file_part(recording)))
            }
            Some(recording) => {
                let form = form.text("prompt_text", self.config.reference_text.clone());
                ("inference_zero_shot", form.part("prompt_wav", file_part(recording)))
            }
        };
        let request = self.http.post(self.http.url(path)).multipart(form);
        Http::play(request, Encoding::Pcm { rate_hz: self.config.rate_hz }, out).await
    }
}

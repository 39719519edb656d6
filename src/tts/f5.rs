//! The page of F5-TTS (`f5-tts_infer-gradio`): its function `basic_tts`. A clause comes as one file, once all of it is made.

use async_trait::async_trait;

use super::config;
use super::net::gradio::Gradio;
use super::net::{Fault, Http, Out, audio_file};
use super::remote::Service;
use super::{Error, Timeouts, speed};

pub(super) struct F5 {
    page: Gradio,
    config: config::F5,
}

impl F5 {
    pub(super) fn new(config: &config::F5, timeouts: &Timeouts) -> Result<Self, Error> {
        speed("tts.f5.speed", config.speed)?;
        let http = Http::new("tts.f5.url", &config.url, timeouts)?;
        let recording = audio_file("tts.f5.reference_audio", &config.reference_audio)?;
        Ok(Self { page: Gradio::new(http, "basic_tts", recording), config: config.clone() })
    }
}

#[async_trait]
impl Service for F5 {
    async fn say(&self, clause: &str, out: &Out) -> Result<(), Fault> {
        let values = [
            ("gen_text_input", clause.into()),
            ("ref_text_input", self.config.reference_text.clone().into()),
            ("speed_slider", self.config.speed.into()),
        ];
        self.page.play("ref_audio_input", &values, out).await
    }
}

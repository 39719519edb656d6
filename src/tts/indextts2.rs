//! The page of `IndexTTS2` (`webui.py`): its function `gen_single`. A clause comes as one file, once all of it is made.

use async_trait::async_trait;

use super::config;
use super::net::gradio::Gradio;
use super::net::{Fault, Http, Out, audio_file};
use super::remote::Service;
use super::{Error, Timeouts};

pub(super) struct IndexTts2 {
    page: Gradio,
}

impl IndexTts2 {
    pub(super) fn new(config: &config::IndexTts2, timeouts: &Timeouts) -> Result<Self, Error> {
        let http = Http::new("tts.indextts2.url", &config.url, timeouts)?;
        let recording = audio_file("tts.indextts2.reference_audio", &config.reference_audio)?;
        Ok(Self { page: Gradio::new(http, "gen_single", recording) })
    }
}

#[async_trait]
impl Service for IndexTts2 {
    async fn say(&self, clause: &str, out: &Out) -> Result<(), Fault> {
        self.page.play("prompt", &[("text", clause.into())], out).await
    }
}

//! The server of whisper.cpp: `POST /inference`.

use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt};

use super::http::{self, Service};
use super::{Config, Error, Language, SpeechToText, Transcript, text};

/// A whisper.cpp server.
pub struct WhisperCpp {
    service: Arc<Service>,
    language: Language,
}

impl WhisperCpp {
    /// From `asr.whispercpp`.
    pub fn new(config: &Config) -> Result<Self, Error> {
        let base = ("asr.whispercpp.base_url", config.whispercpp.base_url.as_str());
        let service = Service::new("whispercpp", base, "inference", "asr.whispercpp.base_url", config.timeout)?;
        Ok(Self { service: Arc::new(service), language: config.language })
    }
}

impl SpeechToText for WhisperCpp {
    fn transcribe(&self, utterance: Arc<[i16]>) -> BoxStream<'static, Result<Transcript, Error>> {
        let (service, language) = (Arc::clone(&self.service), self.language.code());
        let heard = async move {
            let form = || {
                http::form(&utterance)
                    .text("temperature", "0.0")
                    .text("temperature_inc", "0.2")
                    .text("response_format", "json")
                    .text("language", language.unwrap_or("auto"))
            };
            Ok(text::transcript(&service.text(|| service.post().multipart(form())).await?, language))
        };
        stream::once(heard).boxed()
    }
}

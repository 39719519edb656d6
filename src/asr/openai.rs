//! `OpenAI`'s transcriptions, and whoever speaks the same (speaches, `LocalAI`, vLLM): `POST /v1/audio/transcriptions`.

use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt};

use super::http::{self, Service};
use super::{Config, Error, Language, SpeechToText, Transcript, text};
use crate::values::Secret;

/// A server that speaks `OpenAI`'s protocol.
pub struct OpenAi {
    service: Arc<Service>,
    api_key: Secret,
    model: String,
    language: Language,
}

impl OpenAi {
    /// From `asr.openai`.
    pub fn new(config: &Config) -> Result<Self, Error> {
        let openai = &config.openai;
        let base = ("asr.openai.base_url", openai.base_url.as_str());
        let service = Service::new("openai", base, "audio/transcriptions", "asr.openai.api_key", config.timeout)?;
        Ok(Self {
            service: Arc::new(service),
            api_key: openai.api_key.clone(),
            model: openai.model.clone(),
            language: config.language,
        })
    }
}

impl SpeechToText for OpenAi {
    fn transcribe(&self, utterance: Arc<[i16]>) -> BoxStream<'static, Result<Transcript, Error>> {
        let (service, language) = (Arc::clone(&self.service), self.language.code());
        let (api_key, model) = (self.api_key.clone(), self.model.clone());
        let request = move |service: &Service| {
            let mut form = http::form(&utterance).text("model", model.clone()).text("response_format", "json");
            if let Some(code) = language {
                form = form.text("language", code);
            }
            let request = service.post().multipart(form);
            match api_key.reveal() {
                Some(key) => request.bearer_auth(key),
                None => request,
            }
        };
        stream::once(async move { Ok(text::transcript(&service.text(|| request(&service)).await?, language)) }).boxed()
    }
}

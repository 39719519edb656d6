//! The local services of seed 000: `POST /speech-to-text`.

use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt};

use super::http::{self, Service};
use super::{Config, Error, Language, SpeechToText, Transcript, text};

/// Seed 000's speech recognition.
pub struct Services {
    service: Arc<Service>,
    language: Language,
}

impl Services {
    /// From `asr.services`.
    pub fn new(config: &Config) -> Result<Self, Error> {
        let base = ("asr.services.base_url", config.services.base_url.as_str());
        let service = Service::new("services", base, "speech-to-text", "asr.services.base_url", config.timeout)?;
        Ok(Self { service: Arc::new(service), language: config.language })
    }
}

impl SpeechToText for Services {
    fn transcribe(&self, utterance: Arc<[i16]>) -> BoxStream<'static, Result<Transcript, Error>> {
        // They know no "auto": Mandarin is what they take for granted.
        let (service, language) = (Arc::clone(&self.service), self.language.code());
        let heard = async move {
            let form = || http::form(&utterance).text("language", language.unwrap_or("zh"));
            let answer = service.json(|| service.post().multipart(form())).await?;
            let text = answer["data"]["transcription"].as_str().filter(|_| answer["code"] == 0);
            let garbled = Error::Garbled { provider: "services", what: "JSON without data.transcription" };
            Ok(text::transcript(text.ok_or(garbled)?, language))
        };
        stream::once(heard).boxed()
    }
}

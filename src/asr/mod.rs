//! Ears: sound in, what was said out.
//!
//! [`Endpoint`] finds the utterances in a microphone's frames, pure and synchronous, on whichever task receives them. A
//! [`SpeechToText`] writes down one utterance; the embedded one runs on blocking threads, the others are async requests.

use std::path::Path;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

mod config;
mod cut_in;
mod endpoint;
mod error;
mod funasr;
mod http;
mod openai;
mod services;
mod socket;
mod text;
mod whisper;
mod whispercpp;
mod whisperlive;

pub use config::{Config, Language, Provider};
pub use cut_in::CutIn;
pub use endpoint::{Endpoint, Event};
pub use error::Error;
pub use funasr::FunAsr;
pub use openai::OpenAi;
pub use services::Services;
pub(crate) use text::append;
pub use whisper::Whisper;
pub use whispercpp::WhisperCpp;
pub use whisperlive::WhisperLive;

/// What was said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transcript {
    /// The words: personal, so never logged. Empty if nothing was said.
    pub text: String,
    /// `en`, `zh`, or another code of ISO 639-1, where the engine knows.
    pub language: Option<String>,
    /// Whether more of the same utterance follows.
    pub is_final: bool,
}

/// Writes down utterances.
pub trait SpeechToText: Send + Sync {
    /// Hears one utterance: 16 kHz mono, at most 30 s. Any number of partial transcripts, each of which replaces the last,
    /// then one that is final; or an error, which ends the stream. Dropping the stream cancels the work.
    fn transcribe(&self, utterance: Arc<[i16]>) -> BoxStream<'static, Result<Transcript, Error>>;

    /// The same for what may turn out not to be all of an utterance. Nothing comes where that would cost somebody something.
    fn guess(&self, _said: Arc<[i16]>) -> BoxStream<'static, Result<Transcript, Error>> {
        stream::empty().boxed()
    }
}

/// Builds the ears that `config` names, or none. The embedded ones load from `models_dir` and warm up, which blocks for a
/// second: call it from a blocking thread.
pub fn build(config: &Config, models_dir: &Path) -> Result<Option<Arc<dyn SpeechToText>>, Error> {
    Ok(match config.provider {
        Provider::Off => None,
        Provider::Whisper => Some(Arc::new(Whisper::load(config, models_dir)?)),
        Provider::OpenAi => Some(Arc::new(OpenAi::new(config)?)),
        Provider::WhisperCpp => Some(Arc::new(WhisperCpp::new(config)?)),
        Provider::FunAsr => Some(Arc::new(FunAsr::new(config)?)),
        Provider::WhisperLive => Some(Arc::new(WhisperLive::new(config)?)),
        Provider::Services => Some(Arc::new(Services::new(config)?)),
    })
}

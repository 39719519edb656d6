//! Voices: a clause of text becomes sound, with the times of its phonemes and words.
//!
//! In: one clause, as the splitter cut it and `speakable` cleaned it. Out: a stream of [`Speech`]
//! pieces. Inference runs on blocking threads; the stream is polled on the async runtime.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::media::Speech;
use auto::Auto;

mod auto;
mod embedded;
mod hibari;
mod kokoro;
mod mandarin;
mod timing;

pub use hibari::Hibari;
pub use kokoro::{Config as KokoroConfig, Kokoro, voices};

/// Turns a clause into speech.
pub trait TextToSpeech: Send + Sync {
    /// Speaks `clause`. Pieces come in order; dropping the stream cancels the work. A clause with
    /// nothing to say (punctuation, emoji) is an empty stream.
    fn speak(&self, clause: String) -> BoxStream<'static, Result<Speech, Error>>;
}

/// Why a voice did not speak.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The models in `models_dir` are missing or damaged.
    #[error(transparent)]
    Model(#[from] crate::models::Error),
    /// No voice of that name is installed.
    #[error("tts.kokoro.voice \"{name}\" is none of {}", known.join(", "))]
    NoVoice {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// A model file is there and whole, but the engine does not take it.
    #[error("loading {path}")]
    Load {
        /// The file.
        path: PathBuf,
        /// What the engine said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The model ran and failed.
    #[error("running {model}")]
    Run {
        /// Which model.
        model: &'static str,
        /// What the engine said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Synthesis panicked; the clause is lost, the voice goes on.
    #[error("synthesis of a clause panicked")]
    Panicked,
    /// The sound could not be brought to 16 kHz.
    #[error(transparent)]
    Resample(#[from] crate::media::ResampleError),
}

impl Error {
    /// Whether the same clause may succeed at another try or by another voice of a chain.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Run { .. } | Self::Panicked)
    }
}

/// Which voice speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// The embedded voices, by the language of each clause: Kokoro where it has Chinese characters, else hibari.
    #[default]
    Auto,
    /// English, embedded, 7.9 MB, about 50 ms a sentence.
    Hibari,
    /// Mandarin and English, embedded, 130 MB, about half a second of a core for a second of speech.
    Kokoro,
}

/// The `tts:` section.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Which voice speaks.
    pub provider: Provider,
    /// What `kokoro` is told, by itself and under `auto`.
    pub kokoro: kokoro::Config,
}

impl Config {
    /// Names of the models in `models.lock` that its voice runs.
    pub fn models(&self) -> Vec<String> {
        let chinese = self.provider != Provider::Hibari;
        let names = ["hibari"].into_iter().chain(kokoro::MODELS.into_iter().filter(|_| chinese));
        names.map(str::to_owned).collect()
    }
}

/// Loads the voice that `config` names from the files under `models_dir` and warms it up.
/// Takes some hundred milliseconds: call it from a blocking thread.
pub fn build(config: &Config, models_dir: &Path) -> Result<Arc<dyn TextToSpeech>, Error> {
    let english = Hibari::load(models_dir)?;
    Ok(match config.provider {
        Provider::Auto => Arc::new(Auto::new(english, models_dir.into(), config.kokoro.clone())),
        Provider::Hibari => Arc::new(english),
        Provider::Kokoro => Arc::new(Kokoro::load(models_dir, &config.kokoro, &english)?),
    })
}

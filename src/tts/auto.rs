//! Picks a voice for each clause by its language: Chinese characters are Kokoro's, all else is hibari's.
//!
//! In: a clause. Out: what the chosen voice says. Kokoro takes a second and 400 MB to load, so it is
//! loaded when the first Chinese clause comes: who speaks English does not pay for it.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use tokio::sync::OnceCell;
use tracing::warn;

use super::mandarin::is_han;
use super::{Error, Hibari, Kokoro, TextToSpeech, kokoro};
use crate::media::Speech;

/// Both embedded voices.
pub(super) struct Auto {
    english: Arc<Hibari>,
    chinese: Arc<Chinese>,
}

/// Kokoro, as soon as it is needed.
struct Chinese {
    models_dir: PathBuf,
    config: kokoro::Config,
    /// A failure is not kept: files may be fetched while the server runs.
    voice: OnceCell<Kokoro>,
}

impl Auto {
    pub(super) fn new(english: Hibari, models_dir: PathBuf, config: kokoro::Config) -> Self {
        if !kokoro::is_installed(&models_dir) {
            warn!("no voice for Chinese is installed: run `visavis models fetch`, or set tts.provider to hibari");
        }
        Self { english: Arc::new(english), chinese: Arc::new(Chinese { models_dir, config, voice: OnceCell::new() }) }
    }
}

impl TextToSpeech for Auto {
    fn speak(&self, clause: String) -> BoxStream<'static, Result<Speech, Error>> {
        if !clause.chars().any(is_han) {
            return self.english.speak(clause);
        }
        let (chinese, english) = (self.chinese.clone(), self.english.clone());
        let speech = async move {
            let load = || async {
                let (dir, config) = (chinese.models_dir.clone(), chinese.config.clone());
                let load = tokio::task::spawn_blocking(move || Kokoro::load(&dir, &config, &english));
                load.await.map_err(|_| Error::Panicked)?
            };
            Ok::<_, Error>(chinese.voice.get_or_try_init(load).await?.speak(clause))
        };
        stream::once(speech).try_flatten().boxed()
    }
}

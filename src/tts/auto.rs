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
use super::{Error, Hibari, Kokoro, Manner, TextToSpeech, Timbre, kokoro};
use crate::media::Speech;

/// What English is spoken by unless somebody else is asked for.
const HIBARI: &str = "hibari";

/// Both embedded voices.
#[derive(Clone)]
pub(super) struct Auto {
    english: Arc<Hibari>,
    chinese: Arc<Chinese>,
    /// Who of Kokoro's speaks English; absent: hibari does.
    english_as: Option<String>,
    /// Who speaks Chinese; absent: the one of the configuration.
    chinese_as: Option<String>,
    /// 1 is each voice's own.
    speed: f32,
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
        let chinese = Arc::new(Chinese { models_dir, config, voice: OnceCell::new() });
        Self { english: Arc::new(english), chinese, english_as: None, chinese_as: None, speed: 1.0 }
    }
}

impl TextToSpeech for Auto {
    fn speak(&self, clause: String) -> BoxStream<'static, Result<Speech, Error>> {
        let is_chinese = clause.chars().any(is_han);
        if !is_chinese && self.english_as.is_none() {
            return self.english.at_speed(self.speed).speak(clause);
        }
        let timbre = if is_chinese { self.chinese_as.clone() } else { self.english_as.clone() };
        let (chinese, english, speed) = (self.chinese.clone(), self.english.clone(), self.speed);
        let speech = async move {
            let load = || async {
                let (dir, config) = (chinese.models_dir.clone(), chinese.config.clone());
                let load = tokio::task::spawn_blocking(move || Kokoro::load(&dir, &config, &english));
                load.await.map_err(|_| Error::Panicked)?
            };
            let voice = chinese.voice.get_or_try_init(load).await?.at_speed(speed);
            Ok::<_, Error>(match timbre {
                Some(timbre) => voice.named(&timbre).speak(clause),
                None => voice.speak(clause),
            })
        };
        stream::once(speech).try_flatten().boxed()
    }

    fn timbres(&self) -> Vec<Timbre> {
        let hibari = Timbre { id: HIBARI.into(), name: "Hibari".into(), language: "en-US" };
        std::iter::once(hibari).chain(kokoro::timbres(&self.chinese.models_dir)).collect()
    }

    /// The language that the voice is made for is spoken by it, the other one as before.
    fn in_manner(&self, manner: &Manner) -> Result<Arc<dyn TextToSpeech>, Error> {
        let mut chosen = Self { speed: manner.speed(self.speed)?, ..self.clone() };
        if let Some(name) = &manner.voice {
            let timbre = self.timbres().into_iter().find(|timbre| timbre.id == *name);
            let unknown = || Error::UnknownVoice(format!("there is no voice \"{name}\": GET /v1/voices lists them"));
            let timbre = timbre.ok_or_else(unknown)?;
            match timbre.language {
                "zh-CN" => chosen.chinese_as = Some(timbre.id),
                _ => chosen.english_as = Some(timbre.id).filter(|id| id != HIBARI),
            }
        }
        Ok(Arc::new(chosen))
    }
}

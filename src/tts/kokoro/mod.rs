//! The embedded voices that speak Mandarin, and English as well: Kokoro-82M.
//!
//! In: a clause. Out: [`Speech`] with the time of every phoneme and word. One network speaks for all
//! voices; a voice is a table of styles, a row for each length of text. Runs on a blocking thread,
//! one run at a time. `models/README.md` describes the files, `docs/design/voices.md` the figures.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::embedded::{self, Voice as _};
use super::mandarin::Mandarin;
use super::timing::{self, SpokenWord};
use super::{Error, Hibari, Manner, TextToSpeech, Timbre};
use crate::media::Speech;
use crate::models;
use engine::Engine;

mod engine;

/// What it runs, as `models.lock` calls it; unknown English words and the vocabulary are hibari's.
pub(super) const MODELS: [&str; 4] = ["onnxruntime", "kokoro", "kokoro-voices", "pypinyin"];

/// Numbers that describe a voice at one length.
const STYLE: usize = 256;

/// Brings the voices, -26 to -22 dBFS on their own, to about -20 dBFS as the English one.
const GAIN: f32 = 1.6;

/// The `tts.kokoro:` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whose voice, by the name of its file under `models/kokoro-voices`.
    pub voice: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { voice: "zf_xiaobei".into() }
    }
}

/// One voice of Kokoro.
#[derive(Clone)]
pub struct Kokoro {
    voice: Arc<Voice>,
    turns: Arc<Semaphore>,
    /// 1 is its own.
    speed: f32,
}

impl Kokoro {
    /// Loads the runtime, the network and one voice from below `models_dir`, and speaks once,
    /// silently, to warm it up; English is pronounced as `english` does. Blocks for one to two seconds.
    pub fn load(models_dir: &Path, config: &Config, english: &Hibari) -> Result<Self, Error> {
        for model in MODELS {
            models::verify_model(models_dir, model)?;
        }
        let network = Network {
            mandarin: Mandarin::load(&models_dir.join("pypinyin"), english.phonemizer())?,
            styles: Mutex::default(),
            models_dir: models_dir.into(),
            ids: embedded::vocabulary(&models_dir.join("hibari/vocab.json"))?,
            engine: Engine::load(&models_dir.join("onnxruntime/libonnxruntime.so"), &models_dir.join("kokoro/kokoro.onnx"))?,
        };
        let voice = Voice { network: Arc::new(network), timbre: config.voice.clone() };
        voice.say(&voice.words("好。"), 1.0)?;
        // A run has the network for itself, so a second one would only hold a thread.
        Ok(Self { voice: Arc::new(voice), turns: Arc::new(Semaphore::new(1)), speed: 1.0 })
    }

    /// The same network, speaking as one of [`voices`]. Its styles are read when it first speaks.
    pub(super) fn named(&self, timbre: &str) -> Self {
        let voice = Voice { network: Arc::clone(&self.voice.network), timbre: timbre.to_owned() };
        Self { voice: Arc::new(voice), ..self.clone() }
    }

    /// The same voice at another speed.
    pub(super) fn at_speed(&self, speed: f32) -> Self {
        Self { speed, ..self.clone() }
    }

    /// Speaks `clause` on this thread, all of it.
    pub fn blocking_speak(&self, clause: &str) -> Result<Vec<Speech>, Error> {
        embedded::blocking_speak(&*self.voice, clause)
    }
}

impl TextToSpeech for Kokoro {
    fn speak(&self, clause: String) -> BoxStream<'static, Result<Speech, Error>> {
        embedded::speak(self.voice.clone(), self.turns.clone(), &clause, self.speed)
    }

    fn timbres(&self) -> Vec<Timbre> {
        timbres(&self.voice.network.models_dir)
    }

    fn in_manner(&self, manner: &Manner) -> Result<Arc<dyn TextToSpeech>, Error> {
        let mut voice = self.at_speed(manner.speed(self.speed)?);
        if let Some(name) = &manner.voice {
            if !self.timbres().iter().any(|timbre| timbre.id == *name) {
                return Err(Error::UnknownVoice(format!("there is no voice \"{name}\": GET /v1/voices lists them")));
            }
            voice = voice.named(name);
        }
        Ok(Arc::new(voice))
    }
}

/// As whom it can speak: the voices that are installed.
pub(super) fn timbres(models_dir: &Path) -> Vec<Timbre> {
    let timbre = |id: String| {
        let language = language(&id);
        let name = id.split_once('_').map_or(id.as_str(), |(_, name)| name);
        let name = name[..1].to_uppercase() + &name[1..];
        Timbre { id, name, language }
    };
    voices(models_dir).into_iter().filter(|id| id.is_ascii() && id.len() > 3).map(timbre).collect()
}

/// What the first letter of a voice's name stands for.
fn language(id: &str) -> &'static str {
    match id.as_bytes().first() {
        Some(b'z') => "zh-CN",
        Some(b'b') => "en-GB",
        _ => "en-US",
    }
}

/// Whether its network and a voice are there; whether they are whole is seen when they are loaded.
pub(super) fn is_installed(models_dir: &Path) -> bool {
    models_dir.join("kokoro/kokoro.onnx").exists() && !voices(models_dir).is_empty()
}

/// Names of the voices under `models_dir`, sorted: two letters for language and sex, then a name.
pub fn voices(models_dir: &Path) -> Vec<String> {
    let files = std::fs::read_dir(models_dir.join("kokoro-voices")).into_iter().flatten().flatten();
    let name = |file: std::fs::DirEntry| Some(file.file_name().to_str()?.strip_suffix(".bin")?.to_owned());
    let mut names: Vec<String> = files.filter_map(name).collect();
    names.sort();
    names
}

/// The styles of the voice called `name`, row after row.
fn styles(models_dir: &Path, name: &str) -> Result<Vec<f32>, Error> {
    let known = voices(models_dir);
    if !known.iter().any(|voice| voice == name) {
        return Err(Error::NoVoice { name: name.into(), known });
    }
    let path = models_dir.join("kokoro-voices").join(name).with_extension("bin");
    let bytes = std::fs::read(&path).map_err(|e| Error::Load { path, source: e.into() })?;
    Ok(bytes.as_chunks().0.iter().map(|&four| f32::from_le_bytes(four)).collect())
}

/// The models of all voices.
struct Network {
    mandarin: Mandarin,
    engine: Engine,
    models_dir: PathBuf,
    /// f32 `[510, 256]` of each voice that has spoken, half a megabyte each. Held for a look.
    styles: Mutex<HashMap<String, Arc<[f32]>>>,
    ids: HashMap<char, i32>,
}

impl Network {
    fn styles_of(&self, timbre: &str) -> Result<Arc<[f32]>, Error> {
        let kept = || self.styles.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(styles) = kept().get(timbre) {
            return Ok(Arc::clone(styles));
        }
        let read: Arc<[f32]> = styles(&self.models_dir, timbre)?.into();
        Ok(Arc::clone(kept().entry(timbre.to_owned()).or_insert(read)))
    }
}

/// One of those that speak through it.
struct Voice {
    network: Arc<Network>,
    timbre: String,
}

impl embedded::Voice for Voice {
    /// About 12 s of speech. The network takes 510, but a listener waits for all of a run.
    const LONGEST_RUN: usize = 200;

    fn words(&self, text: &str) -> Vec<SpokenWord> {
        self.network.mandarin.words(text)
    }

    fn say(&self, words: &[SpokenWord], speed: f32) -> Result<Option<Speech>, Error> {
        let network = &*self.network;
        let Some((tokens, ids)) = embedded::tokens(words, &network.ids, Self::LONGEST_RUN) else { return Ok(None) };
        let styles = network.styles_of(&self.timbre)?;
        let style = styles.chunks_exact(STYLE).nth(tokens.len()).expect("a voice has 510 rows, by its hash");
        let sound = network.engine.run(&ids, style, speed)?;
        Ok(Some(timing::speech(words, &tokens, &sound.durations, &sound.wave, GAIN)?))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::LazyLock;

    use super::*;

    fn models() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("models")
    }

    /// One voice for all tests: loading takes longer than speaking.
    static VOICE: LazyLock<Kokoro> = LazyLock::new(|| {
        Hibari::load(&models())
            .and_then(|english| Kokoro::load(&models(), &Config::default(), &english))
            .unwrap_or_else(|e| panic!("these tests need the voice: {e}"))
    });

    fn say(clause: &str) -> Speech {
        VOICE.blocking_speak(clause).unwrap().pop().expect("one piece")
    }

    #[test]
    fn words_join_to_the_clause_and_lie_within_the_sound_in_order() {
        for clause in ["你好，世界！", "我有2个 iPhone，价格是￥5999。"] {
            let speech = say(clause);
            assert_eq!(speech.words.iter().map(|w| w.text.as_str()).collect::<String>(), clause);
            assert!(speech.words.windows(2).all(|w| w[0].start + w[0].len <= w[1].start), "{:?}", speech.words);
            assert!(speech.phonemes.windows(2).all(|p| p[0].start + p[0].len == p[1].start), "{:?}", speech.phonemes);
            let last = speech.phonemes.last().unwrap();
            assert!((last.start + last.len) as usize <= speech.pcm.len());
        }
    }

    #[test]
    fn tones_and_aspiration_are_no_phonemes_of_their_own() {
        let speech = say("他听天气。");
        assert!(speech.phonemes.iter().all(|p| !"→↗↓↘ʰ".contains(p.symbol)));
    }

    #[test]
    fn vowels_are_loud_where_their_times_say() {
        let speech = say("爸爸怕他，他不怕爸爸。");
        let loudness = |p: &crate::media::Phoneme| {
            let sound = &speech.pcm[p.start as usize..(p.start + p.len) as usize];
            (sound.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / sound.len().max(1) as f64).sqrt()
        };
        let mean = |symbols: &str| {
            let all: Vec<f64> = speech.phonemes.iter().filter(|p| symbols.contains(p.symbol)).map(loudness).collect();
            all.iter().sum::<f64>() / all.len() as f64
        };
        assert!(mean("a") > 1.5 * mean("pt"), "{} {}", mean("a"), mean("pt"));
    }

    #[test]
    fn sound_is_clean_and_begins_fifty_milliseconds_in() {
        let speech = say("今天天气很好。");
        let peak = speech.pcm.iter().map(|s| s.unsigned_abs()).max().unwrap();
        assert!((6_000..32_000).contains(&peak), "{peak}");
        let first = speech.pcm.iter().position(|s| s.unsigned_abs() > peak / 100).unwrap();
        assert!((16 * 40..16 * 110).contains(&first), "{first}");
    }

    #[test]
    fn nothing_to_say_is_no_speech() {
        for clause in ["", "   ", "🙂🎉", "……", "！？"] {
            assert!(VOICE.blocking_speak(clause).unwrap().is_empty(), "{clause:?}");
        }
    }

    #[test]
    fn a_man_speaks_lower_than_a_woman() {
        let pitch = |timbre: &str| {
            let pcm = VOICE.named(timbre).blocking_speak("今天天气很好。").unwrap().remove(0).pcm;
            let likeness = |lag: usize| pcm.iter().zip(&pcm[lag..]).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
            // 60 to 400 Hz.
            let lag = (40..267).max_by(|a, b| likeness(*a).total_cmp(&likeness(*b))).unwrap();
            16_000 / lag
        };
        let (woman, man) = (pitch("zf_xiaobei"), pitch("zm_yunjian"));
        assert!(man * 5 < woman * 4, "{man} Hz and {woman} Hz");
    }

    #[test]
    fn who_speaks_can_be_chosen_among_those_that_are_installed() {
        let timbres = VOICE.timbres();
        let yunxi = timbres.iter().find(|timbre| timbre.id == "zm_yunxi").unwrap();
        assert_eq!((yunxi.name.as_str(), yunxi.language), ("Yunxi", "zh-CN"));
        let named = |name: &str| VOICE.in_manner(&Manner::of(name.into()));
        assert!(named("zm_yunxi").is_ok() && named("../zm_yunxi").is_err());
    }

    #[test]
    fn every_voice_is_listed_and_an_unknown_one_names_them() {
        let names = voices(&models());
        assert_eq!(names.iter().filter(|name| name.starts_with('z')).count(), 8);
        let error = styles(&models(), "nobody").unwrap_err().to_string();
        assert!(error.contains("nobody") && error.contains("zf_xiaobei"), "{error}");
    }
}

//! The embedded English voice: text to sound in pure Rust.
//!
//! In: a clause. Out: [`Speech`], one piece for all but the longest clauses, with the time of every
//! phoneme and word. Models are loaded once and shared by all sessions; a piece is spoken on a
//! blocking thread, at most [`AT_ONCE`] of them at a time. Behaviour follows hibari-tts 0.2.1
//! (Apache-2.0), whose weights it runs; `models/README.md` describes them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use futures_util::stream::BoxStream;
use tokio::sync::Semaphore;

use super::embedded::{self, Voice as _};
use super::timing::{self, SpokenWord};
use super::{Error, Manner, TextToSpeech};
use crate::media::Speech;
use model::AcousticModel;
pub(super) use phonemes::Phonemizer;
use synthesis::Synthesis;
use threads::Threads;
use unknown::UnknownWords;

mod link;
mod model;
mod numbers;
mod numeric;
mod phonemes;
mod synthesis;
mod tables;
mod threads;
mod unknown;
mod written;

/// Pieces spoken at once over all sessions (limit L17): a piece takes one core for 30–60 ms, and
/// encoders need the rest. Those that wait are served in order.
const AT_ONCE: usize = 2;

/// The voice's natural level is -24 dBFS with peaks of 0.3 to 0.45; this brings it to -20, where
/// other voices and callers are, and leaves the peaks 3 dB of room.
const GAIN: f32 = 1.6;

/// The English voice "heart".
#[derive(Clone)]
pub struct Hibari {
    voice: Arc<Voice>,
    turns: Arc<Semaphore>,
    /// 1 is its own.
    speed: f32,
}

impl Hibari {
    /// Loads the voice from `models_dir/hibari` and speaks once, silently, to warm it up.
    /// Blocks for some hundred milliseconds.
    pub fn load(models_dir: &Path) -> Result<Self, Error> {
        crate::models::verify_model(models_dir, "hibari")?;
        let voice = Voice::load(&models_dir.join("hibari"))?;
        voice.say(&voice.words("Warm up."), 1.0)?;
        Ok(Self { voice: Arc::new(voice), turns: Arc::new(Semaphore::new(AT_ONCE)), speed: 1.0 })
    }

    /// Speaks `clause` on this thread, all of it.
    pub fn blocking_speak(&self, clause: &str) -> Result<Vec<Speech>, Error> {
        embedded::blocking_speak(&*self.voice, clause)
    }

    /// The same voice at another speed.
    pub(super) fn at_speed(&self, speed: f32) -> Self {
        Self { speed, ..self.clone() }
    }

    /// How it pronounces English, for another voice to share.
    pub(super) fn phonemizer(&self) -> Arc<Phonemizer> {
        self.voice.phonemizer.clone()
    }
}

impl TextToSpeech for Hibari {
    fn speak(&self, clause: String) -> BoxStream<'static, Result<Speech, Error>> {
        embedded::speak(self.voice.clone(), self.turns.clone(), &clause, self.speed)
    }

    fn in_manner(&self, manner: &Manner) -> Result<Arc<dyn TextToSpeech>, Error> {
        match &manner.voice {
            Some(name) if name != "hibari" => Err(Error::UnknownVoice(format!("there is no voice \"{name}\", only hibari"))),
            _ => Ok(Arc::new(self.at_speed(manner.speed(self.speed)?))),
        }
    }
}

/// The models of the voice.
struct Voice {
    phonemizer: Arc<Phonemizer>,
    model: AcousticModel,
    synthesis: Synthesis,
    ids: HashMap<char, i32>,
}

impl Voice {
    fn load(dir: &Path) -> Result<Self, Error> {
        let threads = Arc::new(Threads::default());
        Ok(Self {
            phonemizer: Arc::new(Phonemizer::new(UnknownWords::load(dir, threads.clone())?)),
            model: AcousticModel::load(&dir.join("hibari.onnx"), threads)?,
            synthesis: Synthesis::new(),
            ids: embedded::vocabulary(&dir.join("vocab.json"))?,
        })
    }
}

impl embedded::Voice for Voice {
    /// What hibari-tts allows, 25 s of speech.
    const LONGEST_RUN: usize = 400;

    fn words(&self, text: &str) -> Vec<SpokenWord> {
        self.phonemizer.words(text)
    }

    fn say(&self, words: &[SpokenWord], speed: f32) -> Result<Option<Speech>, Error> {
        let Some((tokens, ids)) = embedded::tokens(words, &self.ids, Self::LONGEST_RUN) else { return Ok(None) };
        let frames = self.model.run(&ids, speed)?;
        let wave = self.synthesis.wave(&frames);
        Ok(Some(timing::speech(words, &tokens, &frames.durations, &wave, GAIN)?))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use futures_util::StreamExt;
    use proptest::prelude::*;

    use super::*;

    /// One voice for all tests: loading takes longer than speaking.
    static VOICE: LazyLock<Hibari> = LazyLock::new(|| {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
        Hibari::load(&models).unwrap_or_else(|e| panic!("these tests need the voice: {e}"))
    });

    fn say(clause: &str) -> Vec<Speech> {
        VOICE.blocking_speak(clause).unwrap()
    }

    fn phonemes(clause: &str) -> String {
        VOICE.voice.phonemizer.words(clause).into_iter().map(|w| w.phonemes).collect()
    }

    #[tokio::test]
    async fn twice_the_speed_is_about_half_as_long() {
        let manner = Manner { speed: Some(2.0), ..Manner::default() };
        let fast = VOICE.in_manner(&manner).unwrap();
        let spoken: Vec<_> = fast.speak("The quick brown fox jumps over the lazy dog.".into()).collect().await;
        let fast = spoken[0].as_ref().unwrap().pcm.len() as f32;
        let slow = say("The quick brown fox jumps over the lazy dog.")[0].pcm.len() as f32;
        assert!((0.4..0.7).contains(&(fast / slow)), "{fast} of {slow} samples");
        assert!(VOICE.in_manner(&Manner::of("nobody".into())).is_err());
    }

    #[test]
    fn words_join_to_the_clause_and_lie_within_the_sound_in_order() {
        for clause in ["Hello, \"dear\" world! ", "  It costs $5 (or so) — 12.5% of 1,000, e.g. 🙂 now.", "Well,"] {
            let [speech] = &say(clause)[..] else { panic!("one piece") };
            assert_eq!(speech.words.iter().map(|w| w.text.as_str()).collect::<String>(), clause);
            assert!(speech.words.windows(2).all(|w| w[0].start + w[0].len <= w[1].start), "{:?}", speech.words);
            let last = speech.words.last().unwrap();
            assert!((last.start + last.len) as usize <= speech.pcm.len());
        }
    }

    #[test]
    fn phonemes_fill_the_time_from_first_to_last_without_gap() {
        let [speech] = &say("The quick brown fox jumps, then it rests.")[..] else { panic!("one piece") };
        assert!(speech.phonemes.windows(2).all(|p| p[0].start + p[0].len == p[1].start));
        assert!(speech.phonemes.iter().all(|p| !matches!(p.symbol, 'ˈ' | 'ˌ')));
        let last = speech.phonemes.last().unwrap();
        assert!(last.symbol == '.' && (last.start + last.len) as usize <= speech.pcm.len());
    }

    #[test]
    fn sound_is_clean_and_begins_fifty_milliseconds_in() {
        let [speech] = &say("Please tell me which language you would like to speak.")[..] else { panic!("one piece") };
        let peak = speech.pcm.iter().map(|s| s.unsigned_abs()).max().unwrap();
        assert!((6_000..32_000).contains(&peak), "{peak}");
        let mean = speech.pcm.iter().map(|&s| f64::from(s)).sum::<f64>() / speech.pcm.len() as f64;
        assert!(mean.abs() < 20.0, "{mean}");
        let first = speech.pcm.iter().position(|s| s.unsigned_abs() > peak / 100).unwrap();
        assert!((16 * 40..16 * 80).contains(&first), "{first}");
        assert_eq!(speech.pcm.last(), Some(&0));
    }

    #[test]
    fn the_same_clause_is_the_same_sound() {
        assert_eq!(say("Again and again."), say("Again and again."));
    }

    #[test]
    fn nothing_to_say_is_no_speech() {
        for clause in ["", "   ", "🙂🎉", "...", "你好", "!?"] {
            assert!(say(clause).is_empty(), "{clause:?}");
        }
    }

    #[test]
    fn words_without_an_entry_are_spoken_and_letters_are_named() {
        assert_eq!(phonemes("Lukasz"), "lˈukæsz");
        assert_eq!(phonemes("Visavis"), "vˌizəvˈi");
        assert_eq!(phonemes("A12"), "ˈA twˈɛlv");
        assert!(phonemes("He came at 9 a.m.").ends_with("ˌAˈɛm."));
    }

    #[test]
    fn text_of_any_length_is_spoken_in_pieces_that_the_model_takes() {
        let long = "seventy seven thousand seven hundred and seventy seven, ".repeat(20);
        let pieces = say(&long);
        assert!(pieces.len() > 2);
        let joined: String = pieces.iter().flat_map(|p| &p.words).map(|w| w.text.as_str()).collect();
        assert_eq!(joined, long);
        assert!(!say(&"x".repeat(1_000)).is_empty());
    }

    #[tokio::test]
    async fn a_stream_speaks_off_the_runtime_and_may_be_dropped() {
        let mut stream = VOICE.speak("One moment, please. ".repeat(60));
        assert!(stream.next().await.unwrap().is_ok());
        drop(stream);
        let rest: Vec<_> = VOICE.speak("Done.".into()).collect().await;
        assert_eq!(rest.len(), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn any_text_has_phonemes_of_its_own_words(clause in "[ -~]{0,50}|\\PC{0,30}|([a-zA-Z0-9$€.,:'’/@#%&()\\-]{1,9} ){1,8}") {
            let words = VOICE.voice.phonemizer.words(&clause);
            prop_assert_eq!(words.iter().map(|w| w.text.as_str()).collect::<String>(), clause);
            prop_assert!(words.iter().all(|w| !w.phonemes.contains('❓')));
        }
    }
}

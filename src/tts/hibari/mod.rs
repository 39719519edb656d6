//! The embedded English voice: text to sound in pure Rust.
//!
//! In: a clause. Out: [`Speech`], one piece for all but the longest clauses, with the time of every
//! phoneme and word. Models are loaded once and shared by all sessions; a piece is spoken on a
//! blocking thread, at most [`AT_ONCE`] of them at a time. Behaviour follows hibari-tts 0.2.1
//! (Apache-2.0), whose weights it runs; `models/README.md` describes them.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::Semaphore;

use super::{Error, TextToSpeech};
use crate::media::Speech;
use model::AcousticModel;
use phonemes::{Phonemizer, SpokenWord};
use synthesis::Synthesis;
use threads::Threads;
use timing::Token;
use unknown::UnknownWords;

mod link;
mod model;
mod numbers;
mod numeric;
mod phonemes;
mod synthesis;
mod tables;
mod threads;
mod timing;
mod unknown;
mod written;

/// Pieces spoken at once over all sessions (limit L17): a piece takes one core for 30–60 ms, and
/// encoders need the rest. Those that wait are served in order.
const AT_ONCE: usize = 2;

/// Longest text that is looked up in one go, in bytes; longer is cut at spaces.
const LONGEST_TEXT: usize = 400;

/// Most phonemes of one run: what hibari-tts allows, 25 s of speech.
const LONGEST_RUN: usize = 400;

/// The English voice "heart".
pub struct Hibari {
    voice: Arc<Voice>,
    turns: Arc<Semaphore>,
}

impl Hibari {
    /// Loads the voice from `models_dir/hibari` and speaks once, silently, to warm it up.
    /// Blocks for some hundred milliseconds.
    pub fn load(models_dir: &Path) -> Result<Self, Error> {
        crate::models::verify_model(models_dir, "hibari")?;
        let voice = Voice::load(&models_dir.join("hibari"))?;
        voice.say(&voice.phonemizer.words("Warm up."))?;
        Ok(Self { voice: Arc::new(voice), turns: Arc::new(Semaphore::new(AT_ONCE)) })
    }

    /// Speaks `clause` on this thread, all of it.
    pub fn blocking_speak(&self, clause: &str) -> Result<Vec<Speech>, Error> {
        let mut out = Vec::new();
        for text in chunks(clause) {
            for words in self.voice.runs(text) {
                out.extend(self.voice.say(&words)?);
            }
        }
        Ok(out)
    }
}

impl TextToSpeech for Hibari {
    fn speak(&self, clause: String) -> BoxStream<'static, Result<Speech, Error>> {
        let turns = self.turns.clone();
        let work = Work {
            voice: self.voice.clone(),
            texts: chunks(&clause).into_iter().map(str::to_owned).collect(),
            runs: VecDeque::new(),
        };
        stream::try_unfold(work, move |mut work| {
            let turns = turns.clone();
            async move {
                while !work.is_done() {
                    let turn = turns.clone().acquire_owned().await.expect("the semaphore is never closed");
                    // The permit goes with the work: a listener that leaves does not free the core early.
                    let step = tokio::task::spawn_blocking(move || {
                        let _turn = turn;
                        work.step().map(|speech| (speech, work))
                    });
                    let (speech, rest) = step.await.map_err(|_| Error::Panicked)??;
                    work = rest;
                    if let Some(speech) = speech {
                        return Ok(Some((speech, work)));
                    }
                }
                Ok(None)
            }
        })
        .boxed()
    }
}

/// What is left of a clause.
struct Work {
    voice: Arc<Voice>,
    texts: VecDeque<String>,
    runs: VecDeque<Vec<SpokenWord>>,
}

impl Work {
    fn is_done(&self) -> bool {
        self.texts.is_empty() && self.runs.is_empty()
    }

    /// Speaks the next run; `None` if it has no sound.
    fn step(&mut self) -> Result<Option<Speech>, Error> {
        if self.runs.is_empty()
            && let Some(text) = self.texts.pop_front()
        {
            self.runs = self.voice.runs(&text).into();
        }
        match self.runs.pop_front() {
            Some(words) => self.voice.say(&words),
            None => Ok(None),
        }
    }
}

/// The models of the voice; every method takes `&self` and may run on several threads at once.
struct Voice {
    phonemizer: Phonemizer,
    model: AcousticModel,
    synthesis: Synthesis,
    /// Token of each phoneme that the model knows.
    ids: HashMap<char, i32>,
}

impl Voice {
    fn load(dir: &Path) -> Result<Self, Error> {
        let threads = Arc::new(Threads::default());
        let vocabulary = dir.join("vocab.json");
        let ids = std::fs::read(&vocabulary)
            .map_err(Box::<dyn std::error::Error + Send + Sync>::from)
            .and_then(|bytes| serde_json::from_slice(&bytes).map_err(Into::into))
            .map_err(|source| Error::Load { path: vocabulary, source })?;
        Ok(Self {
            phonemizer: Phonemizer::new(UnknownWords::load(dir, threads.clone())?),
            model: AcousticModel::load(&dir.join("hibari.onnx"), threads)?,
            synthesis: Synthesis::new(),
            ids,
        })
    }

    /// The words of `text`, cut into runs that the model takes: at a pause if the second half of a
    /// run has one, else between words.
    fn runs(&self, text: &str) -> Vec<Vec<SpokenWord>> {
        let mut runs = Vec::new();
        let mut run: Vec<SpokenWord> = Vec::new();
        for word in self.phonemizer.words(text) {
            let length = |words: &[SpokenWord]| words.iter().map(|w| w.phonemes.chars().count()).sum::<usize>();
            if !run.is_empty() && length(&run) + word.phonemes.chars().count() > LONGEST_RUN {
                let pause = run.iter().rposition(|w| w.phonemes.trim_end().ends_with(is_punctuation));
                let cut = pause.map(|p| p + 1).filter(|&p| length(&run[..p]) > LONGEST_RUN / 2).unwrap_or(run.len());
                let rest = run.split_off(cut);
                runs.push(std::mem::replace(&mut run, rest));
            }
            run.push(word);
        }
        runs.push(run);
        runs
    }

    /// Speaks one run; `None` if there is nothing to hear.
    fn say(&self, words: &[SpokenWord]) -> Result<Option<Speech>, Error> {
        let mut tokens = Vec::new();
        let mut ids = vec![0];
        for (index, word) in words.iter().enumerate() {
            for symbol in word.phonemes.chars() {
                // A lone word of 400 phonemes is noise: what the model cannot take is dropped.
                if let Some(&id) = self.ids.get(&symbol)
                    && tokens.len() < LONGEST_RUN
                {
                    tokens.push(Token { symbol, word: index });
                    ids.push(id);
                }
            }
        }
        while tokens.last().is_some_and(|t| t.symbol == ' ') {
            tokens.pop();
            ids.pop();
        }
        if !tokens.iter().any(|t| t.symbol.is_alphabetic()) {
            return Ok(None);
        }
        ids.push(0);
        let frames = self.model.run(&ids)?;
        let wave = self.synthesis.wave(&frames);
        Ok(Some(timing::speech(words, &tokens, &frames.durations, &wave)?))
    }
}

/// Whether a phoneme symbol is a mark of punctuation: heard as a pause or not at all.
fn is_punctuation(symbol: char) -> bool {
    matches!(symbol, ';' | ':' | ',' | '.' | '!' | '?' | '—' | '…' | '"' | '(' | ')' | '“' | '”')
}

/// `clause` in pieces of at most [`LONGEST_TEXT`] bytes, cut after spaces where there are any.
fn chunks(clause: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = clause;
    while rest.len() > LONGEST_TEXT {
        let limit = rest.floor_char_boundary(LONGEST_TEXT);
        let cut = rest[..limit]
            .rfind(char::is_whitespace)
            .map_or(limit, |at| at + rest[at..].chars().next().map_or(1, char::len_utf8));
        let (head, tail) = rest.split_at(cut);
        out.push(head);
        rest = tail;
    }
    if !rest.is_empty() {
        out.push(rest);
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

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

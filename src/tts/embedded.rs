//! What the embedded voices share: a clause is cut into runs that the network takes, and each run is
//! spoken on a blocking thread.
//!
//! In: a clause and a [`Voice`]. Out: a stream of [`Speech`], a piece for each run.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::Semaphore;

use super::Error;
use super::timing::{SpokenWord, Token, is_punctuation};
use crate::media::Speech;

/// Longest text that is looked up in one go, in bytes; longer is cut at spaces.
const LONGEST_TEXT: usize = 400;

/// The models of a voice; every method takes `&self` and may run on several threads at once.
pub(super) trait Voice: Send + Sync + 'static {
    /// Most phonemes of one run.
    const LONGEST_RUN: usize;

    /// The words of `text` with their phonemes, joining to it.
    fn words(&self, text: &str) -> Vec<SpokenWord>;

    /// Speaks one run; `None` if there is nothing to hear. A `speed` of 1 is the voice's own.
    fn say(&self, words: &[SpokenWord], speed: f32) -> Result<Option<Speech>, Error>;
}

/// Token of each phoneme that Kokoro and hibari know, from `vocab.json` at `path`.
pub(super) fn vocabulary(path: &Path) -> Result<HashMap<char, i32>, Error> {
    std::fs::read(path)
        .map_err(Box::<dyn std::error::Error + Send + Sync>::from)
        .and_then(|bytes| serde_json::from_slice(&bytes).map_err(Into::into))
        .map_err(|source| Error::Load { path: path.into(), source })
}

/// Speaks `clause` on this thread, all of it.
pub(super) fn blocking_speak<V: Voice>(voice: &V, clause: &str) -> Result<Vec<Speech>, Error> {
    let mut out = Vec::new();
    for text in chunks(clause) {
        for words in runs(voice, text) {
            out.extend(voice.say(&words, 1.0)?);
        }
    }
    Ok(out)
}

/// Speaks `clause` on blocking threads, each run when one of `turns` is free.
pub(super) fn speak<V: Voice>(
    voice: Arc<V>,
    turns: Arc<Semaphore>,
    clause: &str,
    speed: f32,
) -> BoxStream<'static, Result<Speech, Error>> {
    let texts = chunks(clause).into_iter().map(str::to_owned).collect();
    let work = Work { voice, texts, runs: VecDeque::new(), speed };
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

/// What is left of a clause.
struct Work<V> {
    voice: Arc<V>,
    texts: VecDeque<String>,
    runs: VecDeque<Vec<SpokenWord>>,
    speed: f32,
}

impl<V: Voice> Work<V> {
    fn is_done(&self) -> bool {
        self.texts.is_empty() && self.runs.is_empty()
    }

    /// Speaks the next run; `None` if it has no sound.
    fn step(&mut self) -> Result<Option<Speech>, Error> {
        if self.runs.is_empty()
            && let Some(text) = self.texts.pop_front()
        {
            self.runs = runs(&*self.voice, &text).into();
        }
        match self.runs.pop_front() {
            Some(words) => self.voice.say(&words, self.speed),
            None => Ok(None),
        }
    }
}

/// The words of `text`, cut into runs that the model takes: at a pause if the second half of a
/// run has one, else between words.
fn runs<V: Voice>(voice: &V, text: &str) -> Vec<Vec<SpokenWord>> {
    let mut runs = Vec::new();
    let mut run: Vec<SpokenWord> = Vec::new();
    for word in voice.words(text) {
        let length = |words: &[SpokenWord]| words.iter().map(|w| w.phonemes.chars().count()).sum::<usize>();
        if !run.is_empty() && length(&run) + word.phonemes.chars().count() > V::LONGEST_RUN {
            let pause = run.iter().rposition(|w| w.phonemes.trim_end().ends_with(is_punctuation));
            let cut = pause.map(|p| p + 1).filter(|&p| length(&run[..p]) > V::LONGEST_RUN / 2).unwrap_or(run.len());
            let rest = run.split_off(cut);
            runs.push(std::mem::replace(&mut run, rest));
        }
        run.push(word);
    }
    runs.push(run);
    runs
}

/// The tokens of one run, at most `longest`, and their ids with a pad at either end; `None` if there
/// is nothing to hear. What the vocabulary lacks is left out.
pub(super) fn tokens(
    words: &[SpokenWord],
    vocabulary: &HashMap<char, i32>,
    longest: usize,
) -> Option<(Vec<Token>, Vec<i32>)> {
    let mut tokens = Vec::new();
    let mut ids = vec![0];
    for (index, word) in words.iter().enumerate() {
        for symbol in word.phonemes.chars() {
            // A lone word of 400 phonemes is noise: what the model cannot take is dropped.
            if let Some(&id) = vocabulary.get(&symbol)
                && tokens.len() < longest
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
    ids.push(0);
    tokens.iter().any(|t| t.symbol.is_alphabetic()).then_some((tokens, ids))
}

/// `clause` in pieces of at most [`LONGEST_TEXT`] bytes, cut after spaces where there are any.
fn chunks(clause: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = clause;
    while rest.len() > LONGEST_TEXT {
        let limit = rest.floor_char_boundary(LONGEST_TEXT);
        let cut = rest[..limit].rfind(is_gap).map_or(limit, |at| at + rest[at..].chars().next().map_or(1, char::len_utf8));
        let (head, tail) = rest.split_at(cut);
        out.push(head);
        rest = tail;
    }
    if !rest.is_empty() {
        out.push(rest);
    }
    out
}

/// Where a text may be cut: after a space, or a mark of Chinese.
fn is_gap(c: char) -> bool {
    c.is_whitespace() || matches!(c, '，' | '。' | '、' | '；' | '：' | '！' | '？')
}

//! Text to phonemes.
//!
//! In: a clause. Out: its written words, each with the phonemes that say it. Lexicon, tagging and
//! stress are `misaki-rs`'; unknown words are `oov.onnx`'s. Runs on the blocking thread of the clause.

use misaki_rs::{G2P, Language};

use super::unknown::UnknownWords;
use super::written;
use crate::tts::timing::{SpokenWord, is_punctuation};

/// American English.
pub(in crate::tts) struct Phonemizer {
    g2p: G2P,
}

impl Phonemizer {
    pub(super) fn new(unknown: UnknownWords) -> Self {
        let mut g2p = G2P::with_fallback(Language::EnglishUS, Some(Box::new(unknown)));
        g2p.unk = String::new();
        Self { g2p }
    }

    /// The words of `clause` in order, joining to it.
    pub(in crate::tts) fn words(&self, clause: &str) -> Vec<SpokenWord> {
        let written = written::words(clause);
        let mut text = String::new();
        let mut ends = Vec::with_capacity(written.len());
        for word in &written {
            if !text.is_empty() && !word.spoken.is_empty() {
                text.push(' ');
            }
            text.push_str(&word.spoken);
            ends.push(text.len());
        }
        let mut words: Vec<SpokenWord> =
            written.into_iter().map(|w| SpokenWord { text: w.text, phonemes: String::new() }).collect();
        if text.is_empty() {
            return words;
        }
        // Its only error is the fallback's, which has none.
        let tokens = self.g2p.g2p(&text).map(|(_, tokens)| tokens).unwrap_or_default();
        let mut at = 0;
        let mut word = 0;
        for token in tokens {
            // The token belongs to the word in which it starts.
            while word + 1 < words.len() && at >= ends[word] {
                word += 1;
            }
            let sounds = match token.phonemes.as_deref().unwrap_or_default() {
                // The letter in "A12", which the lexicon takes for the article.
                "ɐ" if token.text == "A" && words[word].text.trim() != "A" => "ˈA",
                sounds => sounds,
            };
            let phonemes = &mut words[word].phonemes;
            phonemes.push_str(sounds);
            if !token.whitespace.is_empty() {
                phonemes.push(' ');
            }
            at += token.text.len() + token.whitespace.len();
        }
        end_with_the_mark_of(&text, &mut words);
        words
    }
}

/// Sees to it that a clause which ends a sentence is said so: the full stop of "9 a.m." went into
/// the word, and intonation and rest hang on it.
fn end_with_the_mark_of(text: &str, words: &mut [SpokenWord]) {
    let Some(mark) = text.chars().next_back().filter(|c| ".!?".contains(*c)) else { return };
    if let Some(last) = words.iter_mut().rev().find(|w| !w.phonemes.trim().is_empty())
        && !last.phonemes.trim_end().ends_with(is_punctuation)
    {
        last.phonemes.truncate(last.phonemes.trim_end().len());
        last.phonemes.push(mark);
    }
}

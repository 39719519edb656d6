//! Text to phonemes.
//!
//! In: a clause. Out: its written words, each with the phonemes that say it. Lexicon, tagging and
//! stress are `misaki-rs`'; unknown words are `oov.onnx`'s. Runs on the blocking thread of the clause.

use misaki_rs::{G2P, Language};

use super::unknown::UnknownWords;
use super::written;

/// A written word with its sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SpokenWord {
    /// As written, with the space that follows.
    pub text: String,
    /// Phonemes, stress marks, punctuation and spaces; the words' strings join to the clause's.
    pub phonemes: String,
}

/// American English.
pub(super) struct Phonemizer {
    g2p: G2P,
}

impl Phonemizer {
    pub(super) fn new(unknown: UnknownWords) -> Self {
        let mut g2p = G2P::with_fallback(Language::EnglishUS, Some(Box::new(unknown)));
        g2p.unk = String::new();
        Self { g2p }
    }

    /// The words of `clause` in order, joining to it.
    pub(super) fn words(&self, clause: &str) -> Vec<SpokenWord> {
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
            let phonemes = &mut words[word].phonemes;
            phonemes.push_str(token.phonemes.as_deref().unwrap_or_default());
            if !token.whitespace.is_empty() {
                phonemes.push(' ');
            }
            at += token.text.len() + token.whitespace.len();
        }
        words
    }
}

//! Times of words that a service tells beside the sound, laid over the clause as it is written.

use std::collections::VecDeque;

use crate::media::Word;

/// The words of one clause. What a service calls a word has no punctuation; ours join to the clause's text.
pub(in crate::tts) struct WordTimes {
    /// What of the clause has not been met yet.
    rest: String,
    /// Told, but not handed on: starts counted from the clause's first sample.
    told: VecDeque<Word>,
}

impl WordTimes {
    pub(in crate::tts) fn new(clause: &str) -> Self {
        Self { rest: clause.to_owned(), told: VecDeque::new() }
    }

    /// The service says `word` from `start` for `len` samples. One that the clause does not have is passed over.
    pub(in crate::tts) fn tell(&mut self, word: &str, start: u32, len: u32) {
        let Some(at) = self.rest.find(word).filter(|_| !word.is_empty()) else { return };
        let mut end = at + word.len();
        // With it go the punctuation and the space behind it, up to where the next word or its bracket begins.
        let mut spaced = false;
        for c in self.rest[end..].chars() {
            if c.is_alphanumeric() || (spaced && !c.is_whitespace()) {
                break;
            }
            spaced |= c.is_whitespace();
            end += c.len_utf8();
        }
        let text = self.rest.drain(..end).collect();
        self.told.push_back(Word { text, start, len });
    }

    /// Whether any word waits to be handed on.
    pub(in crate::tts) fn is_told(&self) -> bool {
        !self.told.is_empty()
    }

    /// All words told so far, if one of them begins before `end`; starts become relative to `origin`.
    pub(in crate::tts) fn due(&mut self, origin: u32, end: u32) -> Vec<Word> {
        if self.told.front().is_none_or(|word| word.start >= end) {
            return Vec::new();
        }
        self.take(origin)
    }

    /// The words that are left, and with the last one what of the clause was never told.
    pub(in crate::tts) fn finish(mut self, origin: u32) -> Vec<Word> {
        if let Some(last) = self.told.back_mut() {
            last.text.push_str(&self.rest);
        } else if !self.rest.is_empty() {
            self.told.push_back(Word { text: std::mem::take(&mut self.rest), start: origin, len: 0 });
        }
        self.take(origin)
    }

    fn take(&mut self, origin: u32) -> Vec<Word> {
        let relative = |word: Word| Word { start: word.start.saturating_sub(origin), ..word };
        self.told.drain(..).map(relative).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(words: &[Word]) -> Vec<&str> {
        words.iter().map(|w| w.text.as_str()).collect()
    }

    #[test]
    fn words_join_to_the_clause_with_its_punctuation() {
        let mut times = WordTimes::new("\"Hello, dear\" (world)! 5 €.");
        for (n, word) in ["Hello", "dear", "unwritten", "world", "5"].iter().enumerate() {
            times.tell(word, n as u32 * 100, 90);
        }
        let mut words = times.due(0, 1);
        words.extend(times.finish(1_000));
        assert_eq!(texts(&words), ["\"Hello, ", "dear\" ", "(world)! ", "5 ", "€."]);
    }

    #[test]
    fn words_without_spaces_between_them_are_found() {
        let mut times = WordTimes::new("你好，世界。");
        times.tell("你好", 10, 5);
        times.tell("世界", 50, 5);
        assert!(times.due(0, 10).is_empty());
        let words = times.due(20, 25);
        assert_eq!(texts(&words), ["你好，", "世界。"]);
        assert_eq!([words[0].start, words[1].start], [0, 30]);
        assert!(times.finish(80).is_empty());
    }
}

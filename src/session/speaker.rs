//! Brings one answer to the player, and can hold it and go on with the word at which it was cut.
//!
//! In: items as the answer makes them. Out: the same to the player, under the answer's present number. What has been given
//! to the player and not been heard to its end is kept: the clause that is heard, and at most 2 s beyond it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinHandle;

use crate::media::{Phoneme, SAMPLES_PER_FRAME, TurnId, Word};
use crate::render::Item;
use crate::track::HumanPlayer;

/// The voice of one answer.
pub struct Speaker {
    player: Arc<HumanPlayer>,
    /// The number under which the player knows the answer. Whoever has it may speak.
    turn: Arc<tokio::sync::Mutex<TurnId>>,
    kept: Mutex<Kept>,
}

/// What may have to be said again.
#[derive(Debug, Default)]
struct Kept {
    items: VecDeque<Item>,
    /// Whether the first clause of `items` has begun to be heard.
    begun: bool,
}

/// The answer waits for this to be given back.
pub(super) struct Hold(JoinHandle<OwnedMutexGuard<TurnId>>);

impl Speaker {
    /// For an answer that the player knows as `turn`.
    pub fn new(player: Arc<HumanPlayer>, turn: TurnId) -> Self {
        Self { player, turn: Arc::new(tokio::sync::Mutex::new(turn)), kept: Mutex::default() }
    }

    /// Queues `item`, waiting while the answer is held or 2 s of speech are ahead.
    pub(super) async fn say(&self, item: Item) {
        let turn = self.turn.lock().await;
        self.kept().items.push_back(item.clone());
        self.player.say(*turn, item).await;
    }

    /// The next clause has begun to be heard: nothing before it will be said again.
    pub(super) fn clause_begun(&self) {
        self.kept().next_clause();
    }

    /// A text has been shown: it will not be shown again.
    pub(super) fn text_shown(&self) {
        self.kept().forget_text();
    }

    /// Lets nothing more through until [`Speaker::resume`]. What the player has is the caller's to cut.
    pub(super) fn hold(&self) -> Hold {
        Hold(tokio::spawn(Arc::clone(&self.turn).lock_owned()))
    }

    /// Goes on as `turn` where the answer was held, from the beginning of the word that was heard `samples` after the
    /// beginning of its clause.
    pub(super) async fn resume(&self, hold: Hold, turn: TurnId, samples: u32) {
        let Ok(mut number) = hold.0.await else { return };
        *number = turn;
        let rest = {
            let mut kept = self.kept();
            kept.items = kept.rest(samples);
            kept.begun = false;
            kept.items.clone()
        };
        for item in rest {
            self.player.say(turn, item).await;
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn next_clause(&mut self) {
        if self.begun {
            self.items.pop_front();
        }
        while self.items.front().is_some_and(|item| !matches!(item, Item::Clause { .. })) {
            self.items.pop_front();
        }
        self.begun = true;
    }

    fn forget_text(&mut self) {
        if let Some(first) = self.items.iter().position(|item| matches!(item, Item::Written(_))) {
            self.items.remove(first);
        }
    }

    /// What is left to say of the first clause after `samples` of it, and all that follows.
    fn rest(&self, samples: u32) -> VecDeque<Item> {
        let mut items = self.items.clone();
        let Some(Item::Clause { words, phonemes, .. }) = items.front() else { return items };
        if !self.begun {
            return items;
        }
        // Without words it goes on where it was.
        let from = words.iter().map(|word| word.start).rfind(|start| *start <= samples).unwrap_or(samples);
        let frames = from as usize / SAMPLES_PER_FRAME;
        let from = (frames * SAMPLES_PER_FRAME) as u32;
        let words: Vec<Word> = words
            .iter()
            .filter(|word| word.start >= from)
            .map(|word| Word { start: word.start - from, ..word.clone() })
            .collect();
        let text = words.iter().map(|word| word.text.as_str()).collect();
        let phonemes = phonemes.iter().filter_map(|phoneme| later(*phoneme, from)).collect();
        items[0] = Item::Clause { text, words, phonemes };
        for _ in 0..frames {
            // A clause whose sound is over has nothing left to skip.
            if matches!(items.get(1), Some(Item::Audio(_))) {
                items.remove(1);
            }
        }
        items
    }
}

/// What is left of `phoneme` after `from`, counted from there.
fn later(phoneme: Phoneme, from: u32) -> Option<Phoneme> {
    let end = (phoneme.start + phoneme.len).checked_sub(from).filter(|end| *end > 0)?;
    let start = phoneme.start.saturating_sub(from);
    Some(Phoneme { start, len: end - start, ..phoneme })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::AudioFrame;

    fn word(text: &str, start: u32) -> Word {
        Word { text: text.into(), start, len: 1_000 }
    }

    /// "One two three." with a word every 100 ms and 15 frames numbered by their first sample.
    fn clause() -> Vec<Item> {
        let words = vec![word("One ", 0), word("two ", 1_600), word("three.", 3_300)];
        let phonemes = (0..3).map(|n| Phoneme { symbol: 'a', start: n * 1_600, len: 1_600 }).collect();
        let sound = (0..15).map(|n| Item::Audio(AudioFrame([n; SAMPLES_PER_FRAME])));
        std::iter::once(Item::Clause { text: "One two three.".into(), words, phonemes }).chain(sound).collect()
    }

    fn kept() -> Kept {
        let items = clause().into_iter().chain(clause()).chain([Item::End]).collect();
        Kept { items, begun: false }
    }

    #[test]
    fn an_answer_that_was_not_heard_yet_is_said_whole() {
        assert_eq!(kept().rest(0).len(), 33);
    }

    #[test]
    fn the_word_that_was_cut_is_said_again_with_its_sound_and_mouth() {
        let mut kept = kept();
        kept.next_clause();
        let rest = kept.rest(2_500);
        let Item::Clause { text, words, phonemes } = &rest[0] else { panic!("a clause comes first") };
        assert_eq!(text, "two three.");
        assert_eq!(words.iter().map(|w| w.start).collect::<Vec<_>>(), [0, 1_700]);
        assert_eq!(phonemes.iter().map(|p| (p.start, p.len)).collect::<Vec<_>>(), [(0, 1_600), (1_600, 1_600)]);
        assert!(matches!(&rest[1], Item::Audio(frame) if frame.0[0] == 5));
        assert_eq!(rest.len(), 1 + 10 + 16 + 1, "the second clause and the end follow");
    }

    #[test]
    fn a_clause_that_has_begun_ends_what_is_kept_of_the_one_before() {
        let mut kept = kept();
        kept.next_clause();
        kept.next_clause();
        assert_eq!(kept.items.len(), 17);
        assert!(matches!(&kept.items[0], Item::Clause { .. }));
    }

    #[test]
    fn a_text_that_was_shown_is_not_shown_again() {
        let texts = |kept: &Kept| -> Vec<String> {
            let text = |item| if let Item::Written(text) = item { Some(text) } else { None };
            kept.rest(0).into_iter().filter_map(text).collect()
        };
        let written = |text: &str| std::iter::once(Item::Written(text.into()));
        let items =
            written("One two three.").chain(clause()).chain(written("🎉")).chain(written("Four.")).chain([Item::End]);
        let mut kept = Kept { items: items.collect(), begun: false };
        kept.forget_text();
        kept.next_clause();
        assert_eq!(texts(&kept), ["🎉", "Four."]);
        kept.forget_text();
        assert_eq!(texts(&kept), ["Four."]);
    }

    #[test]
    fn a_voice_that_tells_no_words_goes_on_where_it_was() {
        let mut kept = Kept {
            items: [Item::Clause { text: "Hm.".into(), words: vec![], phonemes: vec![] }]
                .into_iter()
                .chain((0..10).map(|n| Item::Audio(AudioFrame([n; SAMPLES_PER_FRAME]))))
                .collect(),
            begun: false,
        };
        kept.next_clause();
        assert_eq!(kept.rest(5 * 320 + 10).len(), 6);
        assert_eq!(kept.rest(1_000_000).len(), 1);
    }
}

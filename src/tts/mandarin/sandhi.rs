//! Tones in context: what a syllable's tone becomes beside others.
//!
//! In: the syllables between two pauses, each with its character and its word. Out: the same with
//! the tones that are spoken: third before third, 一 and 不, and neutral tones. Pure.

use super::syllable::{Syllable, Tone};

/// One character of a phrase.
#[derive(Clone, Debug)]
pub(super) struct Char {
    pub hanzi: char,
    pub syllable: Syllable,
    /// Index of its word in the phrase.
    pub word: usize,
    /// Part of a number of several characters: 一 keeps its tone, but in 一百.
    pub digit: bool,
    /// Whether its word, of three characters, is two and one: 展览|馆.
    pub two_and_one: bool,
}

/// Characters of numbers, beside which 一 is a number too.
const NUMERALS: &str = "零〇一二两三四五六七八九十百千万亿第几";

/// After 一 these make it an ordinal: 一月, 一号, 一楼.
const ORDINALS: &str = "月号楼";

/// Spoken tones of one phrase.
pub(super) fn apply(phrase: &mut [Char]) {
    bu(phrase);
    yi(phrase);
    third(phrase);
}

fn bu(phrase: &mut [Char]) {
    for i in 0..phrase.len() {
        if phrase[i].hanzi != '不' {
            continue;
        }
        // 好不好, 差不多, 看不懂.
        let word = phrase[i].word;
        let inside = i > 0 && phrase[i - 1].word == word && phrase.iter().filter(|c| c.word == word).count() == 3;
        let inside = inside && phrase.get(i + 1).is_some_and(|next| next.word == word);
        let repeats = i > 0 && phrase.get(i + 1).is_some_and(|next| next.hanzi == phrase[i - 1].hanzi);
        let before_falling = phrase.get(i + 1).is_some_and(|next| next.syllable.tone == Tone::Falling);
        phrase[i].syllable.tone = match (repeats || inside, before_falling) {
            (true, _) => Tone::Neutral,
            (_, true) => Tone::Rising,
            _ => Tone::Falling,
        };
    }
}

fn yi(phrase: &mut [Char]) {
    for i in 0..phrase.len() {
        if phrase[i].hanzi != '一' {
            continue;
        }
        phrase[i].syllable.tone = Tone::High;
        let before = i.checked_sub(1).map(|b| &phrase[b]);
        let Some(next) = phrase.get(i + 1) else { continue };
        let ends_word = next.word != phrase[i].word && before.is_some_and(|b| b.word == phrase[i].word);
        let numeral = |c: char| NUMERALS.contains(c);
        // 一百 is a number and yet spoken like 一天; 十一个 is not.
        let counts = matches!(next.hanzi, '百' | '千' | '万' | '亿');
        if (phrase[i].digit && !counts)
            || before.is_some_and(|b| numeral(b.hanzi) && b.hanzi != '几')
            || (numeral(next.hanzi) && !counts && next.hanzi != '几')
            || ORDINALS.contains(next.hanzi)
            || (next.hanzi == '日' && before.is_some_and(|b| b.hanzi == '月'))
            || ends_word
        {
            continue;
        }
        let repeats = before.is_some_and(|b| b.hanzi == next.hanzi);
        // 个 is neutral, and a falling tone underneath.
        let falling = next.syllable.tone == Tone::Falling || next.hanzi == '个';
        phrase[i].syllable.tone = match (repeats, falling) {
            (true, _) => Tone::Neutral,
            (_, true) => Tone::Rising,
            _ => Tone::Falling,
        };
    }
}

/// A third tone rises before another. Within a word from its inner boundary outwards, between words
/// where one of them has a single syllable: 我|很|好 is said low, rising, low.
fn third(phrase: &mut [Char]) {
    let mut end = phrase.len();
    while end > 0 {
        let start = phrase[..end].iter().rposition(|c| c.word != phrase[end - 1].word).map_or(0, |at| at + 1);
        if end - start == 3 && phrase[start].two_and_one {
            rise(phrase, start);
            rise(phrase, start + 1);
        } else {
            (start..end.saturating_sub(1)).rev().for_each(|i| rise(phrase, i));
        }
        end = start;
    }
    for i in (0..phrase.len().saturating_sub(1)).rev() {
        let length = |word| phrase.iter().filter(|c| c.word == word).count();
        let (this, next) = (phrase[i].word, phrase[i + 1].word);
        if this != next && (length(this) == 1 || length(next) == 1) {
            rise(phrase, i);
        }
    }
}

/// Makes the third tone at `i` rise if the next is a third one too.
fn rise(phrase: &mut [Char], i: usize) {
    if phrase[i].syllable.tone == Tone::Low && phrase[i + 1].syllable.tone == Tone::Low {
        phrase[i].syllable.tone = Tone::Rising;
    }
}

//! How each character of a word is read.
//!
//! In: a word and its neighbours. Out: a syllable for each character. Looked up in our own table,
//! then in the phrases of `pypinyin` (MIT), then character by character; what only the neighbours
//! decide (地, 得, 还, 行, 只 …) is decided last.

use std::collections::HashMap;
use std::path::Path;

use pinyin::ToPinyin;

use super::is_han;
use super::syllable::{Syllable, Tone};
use super::tables::{CHARACTERS, FULL_ER, NEUTRAL, REPEATED, STRESSED_ZI, WORDS};
use crate::tts::Error;

/// The dictionary, loaded.
pub(super) struct Readings {
    /// Words of several characters; a reading for each.
    phrases: HashMap<String, Vec<Syllable>>,
    /// Longest of them, in characters.
    longest: usize,
    characters: HashMap<char, &'static str>,
}

impl Readings {
    /// Reads `phrases_dict.json` in `dir`.
    pub(super) fn load(dir: &Path) -> Result<Self, Error> {
        let path = dir.join("phrases_dict.json");
        let read: HashMap<String, Vec<Vec<String>>> = std::fs::read(&path)
            .map_err(Box::<dyn std::error::Error + Send + Sync>::from)
            .and_then(|bytes| serde_json::from_slice(&bytes).map_err(Into::into))
            .map_err(|source| Error::Load { path, source })?;
        let mut phrases: HashMap<String, Vec<Syllable>> = read
            .into_iter()
            .map(|(word, readings)| {
                (word, readings.iter().filter_map(|r| r.first()).map(|r| Syllable::of_marks(r)).collect())
            })
            .collect();
        for (word, reading) in WORDS {
            phrases.insert((*word).into(), reading.split(' ').map(Syllable::of_number).collect());
        }
        phrases.retain(|word, reading| word.chars().count() == reading.len());
        let longest = phrases.keys().map(|word| word.chars().count()).max().unwrap_or(0);
        Ok(Self { phrases, longest, characters: CHARACTERS.iter().copied().collect() })
    }

    /// The syllables of `words[index]`, one for each of its characters.
    pub(super) fn of(&self, words: &[&str], index: usize) -> Vec<Syllable> {
        let chars: Vec<char> = words[index].chars().collect();
        let mut out: Vec<Syllable> = Vec::with_capacity(chars.len());
        while out.len() < chars.len() {
            let rest = &chars[out.len()..];
            let known = (2..=rest.len().min(self.longest))
                .rev()
                .find_map(|len| self.phrases.get(&rest[..len].iter().collect::<String>()));
            match known {
                Some(phrase) => out.extend(phrase.iter().cloned()),
                None => out.push(self.character(rest[0])),
            }
        }
        by_neighbours(words, index, &chars, &mut out);
        neutral(words, index, &chars, &mut out);
        out
    }

    fn character(&self, c: char) -> Syllable {
        let reading = self.characters.get(&c).copied();
        let reading = reading.or_else(|| c.to_pinyin().map(pinyin::Pinyin::with_tone_num_end));
        Syllable::of_number(reading.unwrap_or_default())
    }
}

/// Readings that hang on the words beside.
fn by_neighbours(words: &[&str], index: usize, chars: &[char], out: &mut [Syllable]) {
    let before = index.checked_sub(1).map_or("", |i| words[i]);
    let after = words.get(index + 1).copied().unwrap_or_default();
    let counted =
        |word: &str| word.chars().next_back().is_some_and(|c| "一二两三四五六七八九十百千几每这那哪数半第".contains(c));
    let reading = match chars {
        ['地']
            if before.chars().count() > 1 && after.starts_with(is_han) && !after.starts_with(['上', '下', '里', '面']) =>
        {
            "de5"
        }
        ['得'] if after.starts_with(is_han) && (before.is_empty() || is_subject(before)) => "dei3",
        ['还'] if after.starts_with(['给', '钱', '书', '款', '清', '债', '我', '他', '她', '你']) => "huan2",
        ['行'] if counted(before) => "hang2",
        ['只'] if counted(before) => "zhi1",
        ['了'] if before.ends_with('不') && index > 1 => "liao3",
        ['长'] if after.starts_with(['得', '大', '高', '胖', '出', '满']) => "zhang3",
        ['重'] if after.starts_with(['做', '写', '来', '启', '装', '置', '发', '试', '说', '读']) => "chong2",
        ['为'] if after.starts_with(['准', '主', '例', '止']) => "wei2",
        ['干'] if after.starts_with(['净', '燥', '杯', '涉', '扰', '旱']) => "gan1",
        ['种'] if after.starts_with(['树', '花', '菜', '地', '田', '草', '了']) => "zhong4",
        ['背'] if after.starts_with(['着', '包']) => "bei1",
        ['数'] if after.starts_with(['一', '到', '不']) => "shu3",
        ['倒'] if after.starts_with(['水', '茶', '是', '车', '计']) => "dao4",
        ['转'] if after.starts_with(['圈']) => "zhuan4",
        ['调'] if after.starts_with(['整', '节', '试', '低', '高', '大', '小']) => "tiao2",
        _ => return,
    };
    out[0] = Syllable::of_number(reading);
}

/// Whether 得 after this word is "must": 我得走了.
fn is_subject(word: &str) -> bool {
    matches!(
        word,
        "我" | "你" | "您" | "他" | "她" | "它" | "咱" | "还" | "就" | "总" | "都" | "也" | "可" | "又" | "必" | "非"
    ) || word.ends_with('们')
        || word.ends_with("今天")
        || word.ends_with("明天")
}

/// Syllables that lose their tone.
fn neutral(words: &[&str], index: usize, chars: &[char], out: &mut [Syllable]) {
    let last = chars.len() - 1;
    let pair = |i: usize| -> String { chars[i..=i + 1].iter().collect() };
    for i in 0..last {
        if NEUTRAL.contains(&pair(i).as_str()) {
            out[i + 1].tone = Tone::Neutral;
        }
    }
    match chars {
        [a, b] | [a, b, _] if a == b && REPEATED.contains(*a) => out[1].tone = Tone::Neutral,
        [.., '们' | '个'] if last > 0 => out[last].tone = Tone::Neutral,
        [.., '子'] if last > 0 => {
            let stressed = STRESSED_ZI.contains(&pair(last - 1).as_str());
            out[last].tone = if stressed { Tone::Low } else { Tone::Neutral };
        }
        ['个'] if index > 0 && words[index - 1].ends_with(is_han) => out[0].tone = Tone::Neutral,
        _ => {}
    }
}

/// Whether the 儿 that ends `word` only curls the tongue of the syllable before it.
pub(super) fn is_curled(word: &[char]) -> bool {
    let word: String = word.iter().collect();
    word.chars().count() > 1 && word.ends_with('儿') && !FULL_ER.iter().any(|full| word.ends_with(full))
}

//! How Mandarin is pronounced: a clause becomes phonemes that Kokoro's voices know.
//!
//! In: a clause, with Chinese characters, numbers and English words in it. Out: its words, each with
//! its phonemes. Numbers are written out (`written`), `jieba` finds the words, `reading` looks them
//! up, `sandhi` bends the tones, `syllable` spells them in IPA; English is `misaki-rs`' as for the
//! English voice. Runs on the blocking thread of the clause, well below a millisecond.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use jieba_rs::Jieba;

use super::Error;
use super::hibari::Phonemizer;
use super::timing::{SpokenWord, is_punctuation};
use reading::Readings;
use sandhi::Char;
use syllable::Tone;

mod reading;
mod sandhi;
mod syllable;
mod tables;
mod written;

/// Whether `c` is a Chinese character.
pub(super) fn is_han(c: char) -> bool {
    matches!(c, '〇' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{323af}')
}

/// The dictionaries, loaded.
pub(super) struct Mandarin {
    jieba: Jieba,
    readings: Readings,
    english: Arc<Phonemizer>,
}

impl Mandarin {
    /// Loads the readings in `dir`; English words are `english`'s.
    pub(super) fn load(dir: &Path, english: Arc<Phonemizer>) -> Result<Self, Error> {
        let mut jieba = Jieba::new();
        for word in tables::JOINED {
            jieba.add_word(word, None, None);
        }
        Ok(Self { jieba, readings: Readings::load(dir)?, english })
    }

    /// The words of `clause` in order, joining to it.
    pub(super) fn words(&self, clause: &str) -> Vec<SpokenWord> {
        let mut out = Sentence { mandarin: self, words: Vec::new(), phrase: Vec::new(), numbers: HashSet::new() };
        for piece in written::pieces(clause) {
            if piece.number {
                out.han(&piece.spoken, Some(piece.text));
            } else {
                out.plain(&piece.text, &piece.spoken);
            }
        }
        out.end_phrase();
        out.words
    }
}

/// A sentence that grows from its pieces.
struct Sentence<'a> {
    mandarin: &'a Mandarin,
    words: Vec<SpokenWord>,
    /// Chinese since the last pause, as words; each with the index of the written word it belongs to
    /// and whether it is part of a number.
    phrase: Vec<(String, usize, bool)>,
    /// Indices of the written words that are numbers.
    numbers: HashSet<usize>,
}

impl Sentence<'_> {
    /// What has no numbers: `spoken` has the characters of `text`, of normal width.
    fn plain(&mut self, text: &str, spoken: &str) {
        let (text, spoken): (Vec<char>, Vec<char>) = (text.chars().collect(), spoken.chars().collect());
        let mut at = 0;
        while at < spoken.len() {
            let rest = &spoken[at..];
            let len = match rest[0] {
                c if is_han(c) => rest.iter().take_while(|c| is_han(**c)).count(),
                c if c.is_alphabetic() => latin(rest),
                _ => 1,
            };
            let (said, shown): (String, String) = (rest[..len].iter().collect(), text[at..at + len].iter().collect());
            match rest[0] {
                c if is_han(c) => self.han(&said, None),
                c if c.is_alphabetic() => self.english(&said, &shown),
                c => self.mark(c, &shown),
            }
            at += len;
        }
    }

    /// Chinese characters; `written` is what stands for all of them if they are a number.
    fn han(&mut self, spoken: &str, written: Option<String>) {
        let number = written.is_some();
        if let Some(text) = written {
            self.numbers.insert(self.words.len());
            self.words.push(SpokenWord { text, phonemes: String::new() });
        }
        // Without guessing at words that no dictionary has: it takes 地说 for one.
        // 个人 is a word, but not in "1个人".
        let counted = !number
            && spoken.starts_with('个')
            && self.phrase.last().is_some_and(|(_, owner, _)| self.numbers.contains(owner));
        let (measure, rest) = spoken.split_at(if counted { '个'.len_utf8() } else { 0 });
        let words = self.mandarin.jieba.cut(rest, false).into_iter().map(|word| word.word);
        for word in Some(measure).filter(|measure| !measure.is_empty()).into_iter().chain(words) {
            if !number {
                self.words.push(SpokenWord { text: word.into(), phonemes: String::new() });
            }
            self.phrase.push((word.into(), self.words.len() - 1, number && spoken.chars().nth(1).is_some()));
        }
    }

    /// English words.
    fn english(&mut self, said: &str, shown: &str) {
        self.end_phrase();
        self.space();
        let mut shown = shown.chars();
        for word in self.mandarin.english.words(said) {
            let text = shown.by_ref().take(word.text.chars().count()).collect();
            self.words.push(SpokenWord { text, phonemes: word.phonemes });
        }
    }

    /// Everything else: what makes a pause, and what is not heard.
    fn mark(&mut self, c: char, shown: &str) {
        let sign = match c {
            '，' | '、' | ',' | '（' | '(' | '）' | ')' => ',',
            '。' | '.' => '.',
            '！' | '!' => '!',
            '？' | '?' => '?',
            '；' | ';' => ';',
            '：' | ':' => ':',
            '…' | '—' => c,
            _ => ' ',
        };
        if sign != ' ' {
            self.end_phrase();
        }
        match self.words.last_mut() {
            Some(last) => last.text.push_str(shown),
            None => self.words.push(SpokenWord { text: shown.into(), phonemes: String::new() }),
        }
        let Some(said) = self.words.iter_mut().rev().find(|word| !word.phonemes.is_empty()) else { return };
        if sign != ' ' && !said.phonemes.trim_end().ends_with(is_punctuation) {
            said.phonemes.truncate(said.phonemes.trim_end().len());
            said.phonemes.push(sign);
            said.phonemes.push(' ');
        }
    }

    /// Parts what follows from what was said before.
    fn space(&mut self) {
        if let Some(said) = self.words.iter_mut().rev().find(|word| !word.phonemes.is_empty())
            && !said.phonemes.ends_with(' ')
        {
            said.phonemes.push(' ');
        }
    }

    /// Gives the Chinese words since the last pause their phonemes.
    fn end_phrase(&mut self) {
        let phrase = std::mem::take(&mut self.phrase);
        if phrase.is_empty() {
            return;
        }
        self.space();
        let names: Vec<&str> = phrase.iter().map(|(word, ..)| word.as_str()).collect();
        let mut chars: Vec<Char> = Vec::new();
        for (index, (word, _, digit)) in phrase.iter().enumerate() {
            let hanzi: Vec<char> = word.chars().collect();
            let two_and_one = self.is_two_and_one(&hanzi);
            let syllables = self.mandarin.readings.of(&names, index);
            chars.extend(hanzi.into_iter().zip(syllables).map(|(hanzi, syllable)| Char {
                hanzi,
                syllable,
                word: index,
                digit: *digit,
                two_and_one,
            }));
        }
        sandhi::apply(&mut chars);
        for (index, (word, owner, _)) in phrase.iter().enumerate() {
            let hanzi: Vec<char> = word.chars().collect();
            let curled = reading::is_curled(&hanzi);
            let said = &mut self.words[*owner].phonemes;
            let count = hanzi.len();
            for (nth, c) in chars.iter().filter(|c| c.word == index).enumerate() {
                let mut syllable = c.syllable.clone();
                if curled && nth + 1 == count {
                    // No syllable of its own, but its sound follows the n that speakers drop: without
                    // the n the voices say something else (点儿 was heard as 底而).
                    syllable.tone = Tone::Neutral;
                }
                said.push_str(&syllable.ipa().unwrap_or_default());
            }
            if index + 1 < phrase.len() {
                said.push(' ');
            }
        }
    }

    fn is_two_and_one(&self, word: &[char]) -> bool {
        let [a, b, c] = word else { return false };
        let known = |pair: [&char; 2]| self.mandarin.jieba.has_word(&pair.into_iter().collect::<String>());
        known([a, b]) && !known([b, c])
    }
}

/// Length of the English that `text` begins with: words, and what joins them.
fn latin(text: &[char]) -> usize {
    let joins = |c: char| matches!(c, ' ' | '\'' | '’' | '.' | '-' | '_' | '&' | '+' | '#' | '@' | '/');
    let is_letter = |c: char| c.is_alphanumeric() && !is_han(c);
    let run = text.iter().take_while(|&&c| is_letter(c) || joins(c)).count();
    text[..run].iter().rposition(|&c| is_letter(c) || c == '+' || c == '#').map_or(1, |last| last + 1)
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::syllable::Syllable;
    use super::*;
    use crate::tts::Hibari;

    static MANDARIN: LazyLock<Mandarin> = LazyLock::new(|| {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
        let english = Hibari::load(&models).unwrap_or_else(|e| panic!("these tests need the voice: {e}"));
        Mandarin::load(&models.join("pypinyin"), english.phonemizer()).unwrap()
    });

    fn said(clause: &str) -> String {
        MANDARIN.words(clause).into_iter().map(|w| w.phonemes).collect::<String>().split(' ').collect()
    }

    /// Phonemes of pinyin with marks between: `ni2 hao3 ,`.
    fn spelled(pinyin: &str) -> String {
        pinyin.split(' ').map(|p| Syllable::of_number(p).ipa().unwrap_or_else(|| p.into())).collect()
    }

    /// The expected tones are those that are spoken, after sandhi.
    #[test]
    fn sentences_are_read_as_people_read_them() {
        let wrong: Vec<String> = SENTENCES
            .iter()
            .filter(|(text, pinyin)| said(text) != spelled(pinyin))
            .map(|(text, pinyin)| format!("{text}\n  {}\n  {}", said(text), spelled(pinyin)))
            .collect();
        assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), SENTENCES.len(), wrong.join("\n"));
    }

    #[rustfmt::skip]
    const SENTENCES: &[(&str, &str)] = &[
        // Third tones.
        ("你好，", "ni2 hao3 ,"),
        ("我很好。", "wo3 hen2 hao3 ."),
        ("展览馆", "zhan2 lan2 guan3"),
        ("纸老虎", "zhi3 lao2 hu3"),
        ("可以给我一点水吗？", "ke2 yi3 gei2 wo3 yi4 dian2 shui3 ma5 ?"),
        // 一 and 不.
        ("一天，一年，一起，一个，一样，", "yi4 tian1 , yi4 nian2 , yi4 qi3 , yi2 ge5 , yi2 yang4 ,"),
        ("第一，统一，一月一号，", "di4 yi1 , tong3 yi1 , yi1 yue4 yi1 hao4 ,"),
        ("看一看", "kan4 yi5 kan4"),
        ("不是，不好，不来，", "bu2 shi4 , bu4 hao3 , bu4 lai2 ,"),
        ("是不是", "shi4 bu5 shi4"),
        // Neutral tones and 儿.
        ("谢谢你们，朋友们！", "xie4 xie5 ni3 men5 , peng2 you5 men5 !"),
        ("妈妈爱孩子", "ma1 ma5 ai4 hai2 zi5"),
        ("电子邮件", "dian4 zi3 you2 jian4"),
        ("东西很便宜", "dong1 xi5 hen3 pian2 yi5"),
        ("他女儿很好", "ta1 nü3 er2 hen2 hao3"),
        ("这个、那个。", "zhe4 ge5 , na4 ge5 ."),
        // Readings by the word.
        ("银行行长", "yin2 hang2 hang2 zhang3"),
        ("我觉得这个很重要", "wo3 jue2 de5 zhe4 ge5 hen3 zhong4 yao4"),
        ("重新开始", "chong2 xin1 kai1 shi3"),
        ("他长大了", "ta1 zhang3 da4 le5"),
        ("长城很长", "chang2 cheng2 hen3 chang2"),
        ("首都北京都很大", "shou3 du1 bei3 jing1 dou1 hen3 da4"),
        ("音乐很快乐", "yin1 yue4 hen3 kuai4 le4"),
        ("睡觉", "shui4 jiao4"),
        ("我了解了", "wo3 liao2 jie3 le5"),
        ("还有时间，还钱。", "hai2 you3 shi2 jian1 , huan2 qian2 ."),
        ("高兴地说", "gao1 xing4 de5 shuo1"),
        ("土地很大", "tu3 di4 hen3 da4"),
        ("跑得快", "pao3 de5 kuai4"),
        ("我得走了", "wo3 dei2 zou3 le5"),
        ("看着我", "kan4 zhe5 wo3"),
        ("别着急", "bie2 zhao2 ji2"),
        ("为什么因为", "wei4 shen2 me5 yin1 wei4"),
        ("作为", "zuo4 wei2"),
        ("一只猫只吃鱼", "yi4 zhi1 mao1 zhi3 chi1 yu2"),
        ("两行代码", "liang3 hang2 dai4 ma3"),
        ("中国人和音乐", "zhong1 guo2 ren2 he2 yin1 yue4"),
        ("会计会说话", "kuai4 ji4 hui4 shuo1 hua4"),
        ("参加", "can1 jia1"),
        ("数字人数一数", "shu4 zi4 ren2 shu3 yi5 shu3"),
        // Numbers.
        ("现在是12:30", "xian4 zai4 shi4 shi2 er4 dian3 san1 shi2 fen1"),
        ("2026年11月21日", "er4 ling2 er4 liu4 nian2 shi2 yi1 yue4 er4 shi2 yi1 ri4"),
        ("12.5%", "bai3 fen1 zhi1 shi2 er4 dian2 wu3"),
        ("1个人", "yi2 ge5 ren2"),
        ("100元", "yi4 bai3 yuan2"),
        ("36℃", "san1 shi2 liu4 she4 shi4 du4"),
        // Marks.
        ("“好”，他说：《红楼梦》……", "hao3 , ta1 shuo1 : hong2 lou2 meng4 …"),
        ("（你好）", "ni2 hao3 ,"),
        // More that went wrong once.
        ("小姐你好", "xiao3 jie5 ni2 hao3"),
        ("老板想你", "lao2 ban3 xiang2 ni3"),
        ("她便宜地买了一件衣服", "ta1 pian2 yi5 de5 mai3 le5 yi2 jian4 yi1 fu5"),
        ("差不多，舍不得。", "cha4 bu5 duo1 , she3 bu5 de5 ."),
        ("十一点一刻", "shi2 yi1 dian3 yi2 ke4"),
        ("处理数据", "chu2 li3 shu4 ju4"),
        ("教授教我们", "jiao4 shou4 jiao1 wo3 men5"),
        ("量一量", "liang2 yi5 liang2"),
        ("把声音调大一点", "ba3 sheng1 yin1 tiao2 da4 yi4 dian3"),
        ("让我们数一数", "rang4 wo3 men5 shu3 yi5 shu3"),
        ("2个人，第2个。", "liang3 ge5 ren2 , di4 er4 ge5 ."),
    ];

    #[test]
    fn english_among_chinese_is_said_in_english() {
        assert_eq!(said("我用GPU。"), format!("{}ʤˌipˌijˈu.", spelled("wo3 yong4")));
        let words = MANDARIN.words("打开 Wi-Fi，然后 hello world 吧");
        assert!(words.iter().any(|w| w.phonemes.contains("həlˈO")), "{words:?}");
    }

    #[test]
    fn a_curled_tongue_is_no_syllable_of_its_own() {
        assert_eq!(said("一点儿"), "i↘tjɛ↓nɚ");
        assert_eq!(said("花儿"), "xwa→ɚ");
    }

    proptest! {
        #[test]
        fn words_join_to_the_clause(clause in "[ -~]{0,30}|\\PC{0,30}|([一-龥]{1,4}|[0-9.,:%-]{1,6}|[a-z ]{1,5}|[，。！？“”（）]){0,9}") {
            let words = MANDARIN.words(&clause);
            prop_assert_eq!(words.into_iter().map(|w| w.text).collect::<String>(), clause);
        }
    }
}

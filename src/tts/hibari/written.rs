//! Written words as they are spoken.
//!
//! In: a clause. Out: for each written word, the words to say: numbers, money, dates, units, links,
//! short forms and signs spelled out. A word is said in view of its neighbours, and what is said
//! stays with the written word, so that captions keep time. Pure. The readings follow
//! `hibari/g2p/normalize.py` of hibari-tts 0.2.1 (Apache-2.0).

use super::numeric;
use super::tables::{COUNTED, DOTTED, PLAIN, RANKED, SIGNS, TITLES, find};
use super::{link, numbers};

/// A written word and how it is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// As in the clause, with the space that follows; all of them join to the clause.
    pub text: String,
    /// What to say: words of letters, and punctuation where it is a pause. Empty: nothing.
    pub spoken: String,
}

/// The words of `clause` and what to say for each.
pub(super) fn words(clause: &str) -> Vec<Written> {
    let texts = split(clause);
    let words: Vec<Word<'_>> = texts.iter().map(|text| Word::parse(text)).collect();
    let spoken: Vec<String> = (0..words.len()).map(|at| Near { words: &words, at }.spoken()).collect();
    texts.iter().zip(spoken).map(|(&text, spoken)| Written { text: text.into(), spoken }).collect()
}

/// A written word taken apart: `("Hello,` is `("`, `Hello` and `,`.
pub(super) struct Word<'a> {
    open: &'a str,
    pub(super) core: &'a str,
    close: &'a str,
}

impl<'a> Word<'a> {
    fn parse(text: &'a str) -> Self {
        let text = text.trim();
        let opens = |c: char| "([{<\"'“‘«*_~`¿¡—–…,;:!?)]}>”’»".contains(c);
        let closes = |c: char| ")]}>\"'”’»*_~`.,;:!?…—–，。！？；：、".contains(c);
        // What stands for something keeps its place: `<5`, `~20`, `'80s`, `*`.
        let rest = text.trim_start_matches(opens);
        let mut open = &text[..text.len() - rest.len()];
        if let Some(sign) = open.chars().next_back()
            && "<>~".contains(sign)
            && rest.starts_with(|c: char| c.is_ascii_digit() || c == '$')
        {
            open = &open[..open.len() - sign.len_utf8()];
        }
        let rest = &text[open.len()..];
        let core = rest.trim_end_matches(closes);
        if core.is_empty() {
            return Self { open: "", core: "", close: text };
        }
        Self { open, core, close: &rest[core.len()..] }
    }

    /// Whether a full stop follows at once: it may be the word's own.
    pub(super) fn is_dotted(&self) -> bool {
        self.close.starts_with('.')
    }

    fn is_capitalised(&self) -> bool {
        self.core.starts_with(char::is_uppercase)
    }
}

/// A word among its neighbours.
#[derive(Clone, Copy)]
pub(super) struct Near<'a> {
    words: &'a [Word<'a>],
    at: usize,
}

impl<'a> Near<'a> {
    pub(super) fn word(self) -> &'a Word<'a> {
        &self.words[self.at]
    }

    /// The core of the word before, if no pause divides them.
    pub(super) fn before(self) -> Option<&'a str> {
        let word = &self.words[self.at.checked_sub(1)?];
        (word.close.is_empty() || word.close == ".").then_some(word.core)
    }

    /// The core of the word after, if no pause divides them.
    pub(super) fn after(self) -> Option<&'a str> {
        let word = self.words.get(self.at + 1)?;
        (matches!(self.word().close, "" | ".") && word.open.is_empty()).then_some(word.core)
    }

    fn is_last(self) -> bool {
        self.at + 1 == self.words.len()
    }

    fn next_is_capitalised(self) -> bool {
        self.words.get(self.at + 1).is_some_and(Word::is_capitalised)
    }

    fn spoken(self) -> String {
        let word = self.word();
        if word.core.is_empty() {
            return self.lone_mark();
        }
        let mut close = word.close;
        let mut out = String::new();
        if word.open.contains(['(', '[', '{']) {
            out.push('(');
        }
        match self.short_form() {
            Some(words) => {
                out.push_str(&words);
                if !self.is_last() {
                    close = close.strip_prefix('.').unwrap_or(close);
                }
            }
            None => out.push_str(&self.core()),
        }
        out.push_str(&marks(close));
        out
    }

    /// A word without letters or digits: a dash between numbers is "to", else a pause.
    fn lone_mark(self) -> String {
        let mark = self.word().close;
        let numeric = |core: Option<&str>| core.is_some_and(|c| c.starts_with(|c: char| c.is_ascii_digit()));
        let after = self.words.get(self.at + 1).map(|w| w.core);
        match mark {
            "-" | "–" | "—" if numeric(self.before()) && numeric(after) => "to".into(),
            "-" | "–" | "--" => "—".into(),
            "<" => "less than".into(),
            ">" => "greater than".into(),
            "~" => "about".into(),
            _ => marks(mark),
        }
    }

    /// Titles, abbreviations and Roman numerals.
    fn short_form(self) -> Option<String> {
        let Word { core, .. } = *self.word();
        let dotted = self.word().is_dotted();
        if let Some(words) = find(PLAIN, core) {
            return Some(words.into());
        }
        let name_follows = self.next_is_capitalised() && matches!(self.word().close, "" | ".");
        if name_follows && let Some(title) = find(TITLES, core) {
            return Some(title.into());
        }
        if dotted {
            let digit_follows = self.after().is_some_and(|a| a.starts_with(|c: char| c.is_ascii_digit()));
            match core {
                "No" | "no" | "Nos" | "nos" if digit_follows => return Some("number".into()),
                _ => {}
            }
            if let Some(month) = super::tables::month(core)
                && core.len() <= 4
            {
                return Some(super::tables::MONTHS[month].into());
            }
            if let Some(words) = find(DOTTED, core).or_else(|| find(TITLES, core)) {
                return Some(words.into());
            }
        }
        let before = self.before()?;
        let value = roman(core)?;
        if COUNTED.contains(&before) {
            Some(numbers::cardinal(value))
        } else if RANKED.contains(&before) && core != "I" {
            Some(format!("the {}", numbers::ordinal(value)))
        } else {
            None
        }
    }

    fn core(self) -> String {
        let core = self.word().core;
        if let Some(spelled) = link::spelled(core) {
            return spelled;
        }
        // A dash or dots inside: two words and a pause.
        for mark in ["—", "…", "...", "--", "–"] {
            if let Some((left, right)) = core.split_once(mark)
                && !(mark == "–" && numeric::is_range(core))
            {
                let pause = if mark.starts_with(['…', '.']) { "… " } else { "—" };
                let say = |part: &str| words(part).into_iter().map(|w| w.spoken).collect::<String>();
                return format!("{}{pause}{}", say(left), say(right));
            }
        }
        if let Some(spoken) = numeric::spoken(self) {
            return spoken;
        }
        letters(core)
    }
}

/// A word of letters, signs and perhaps digits that no rule reads as a number.
pub(super) fn letters(core: &str) -> String {
    let mut out = String::new();
    let mut chars = core.chars().peekable();
    let mut previous = ' ';
    while let Some(c) = chars.next() {
        let next = chars.peek().copied().unwrap_or(' ');
        if let Some(words) = find_sign(c) {
            // `R&D`, `A/B`: signs are words of their own.
            out.push(' ');
            out.push_str(words);
            out.push(' ');
        } else if c.is_ascii_digit() {
            let mut run = String::from(c);
            while let Some(d) = chars.next_if(char::is_ascii_digit) {
                run.push(d);
            }
            out.push(' ');
            out.push_str(&numbers::label(&run));
            out.push(' ');
            previous = ' ';
            continue;
        } else if matches!(c, '-' | '.' | ',') && (previous.is_ascii_digit() || next.is_ascii_digit() || previous == ' ') {
            out.push(' ');
        } else if c == '.' && previous.is_lowercase() && next.is_uppercase() {
            // A space forgotten after a sentence.
            out.push_str(". ");
        } else if matches!(c, '’' | '‘' | 'ʼ') {
            out.push('\'');
        } else if c.is_alphabetic() && !is_east_asian(c) || matches!(c, '\'' | '-' | '.' | '\u{300}'..='\u{36f}') {
            out.push(c);
        } else if !out.ends_with(' ') {
            out.push(' ');
        }
        previous = c;
    }
    spell_singles(&out)
}

/// Joins words with single spaces; a lone letter beside others is the letter's name.
fn spell_singles(words: &str) -> String {
    let words: Vec<&str> = words.split_whitespace().collect();
    let alone = words.len() == 1;
    let mut out = String::new();
    for word in words {
        if !out.is_empty() {
            out.push(' ');
        }
        if !alone && word.len() == 1 {
            out.push_str(&word.to_uppercase());
        } else {
            out.push_str(word);
        }
    }
    out
}

fn find_sign(c: char) -> Option<&'static str> {
    SIGNS.iter().find(|(sign, _)| *sign == c).map(|&(_, words)| words)
}

/// The pauses that closing punctuation asks for: one of each run, in the model's alphabet.
fn marks(close: &str) -> String {
    let mut out = String::new();
    if close.starts_with("...") {
        out.push('…');
    }
    for c in close.chars() {
        let mark = match c {
            '.' | '。' => '.',
            ',' | '，' | '、' => ',',
            '!' | '！' => '!',
            '?' | '？' => '?',
            ';' | '；' => ';',
            ':' | '：' => ':',
            '—' | '–' => '—',
            '…' => '…',
            ')' | ']' | '}' => ')',
            _ => continue,
        };
        let full = |c: char| ".!?…".contains(c);
        if !out.ends_with(|last| last == mark || (full(last) && full(mark))) {
            out.push(mark);
        }
    }
    out
}

/// Chinese, Japanese and Korean: another voice's to say.
fn is_east_asian(c: char) -> bool {
    matches!(c, '\u{1100}'..='\u{11ff}' | '\u{2e80}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}' | '\u{ff00}'..='\u{ffef}' | '\u{20000}'..='\u{3ffff}')
}

/// The value of a Roman numeral up to 89, which kings and chapters stay below.
fn roman(s: &str) -> Option<u64> {
    let value = |c| match c {
        'I' => Some(1),
        'V' => Some(5),
        'X' => Some(10),
        'L' => Some(50),
        _ => None,
    };
    let values: Vec<u64> = s.chars().map(value).collect::<Option<_>>()?;
    let total = values.iter().enumerate().fold(0_i64, |sum, (i, &v)| {
        let before_larger = values.get(i + 1).is_some_and(|&next| next > v);
        sum + if before_larger { -(v as i64) } else { v as i64 }
    });
    u64::try_from(total).ok().filter(|&n| n > 0 && n < 90)
}

/// Words with the whitespace that follows them; leading whitespace goes with the first.
fn split(clause: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut start = 0;
    let mut state = (false, false);
    for (at, c) in clause.char_indices() {
        let (in_word, in_gap) = state;
        let gap = c.is_whitespace();
        if in_word && in_gap && !gap {
            out.push(&clause[start..at]);
            start = at;
        }
        state = (in_word || !gap, gap);
    }
    if start < clause.len() {
        out.push(&clause[start..]);
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spoken(clause: &str) -> String {
        let said: Vec<String> = words(clause).into_iter().map(|w| w.spoken).filter(|s| !s.is_empty()).collect();
        said.join(" ")
    }

    #[test]
    fn money_names_its_unit_after_the_amount() {
        assert_eq!(spoken("It is $5 now."), "It is five dollars now.");
        assert_eq!(spoken("$1,250.75"), "one thousand two hundred fifty dollars and seventy five cents");
        assert_eq!(spoken("$5 million in cash"), "five million dollars in cash");
        assert_eq!(spoken("£1.01, €0.50"), "one pound and one penny, fifty cents");
        assert_eq!(spoken("a $3.5bn deal"), "a three point five billion dollars deal");
    }

    #[test]
    fn dates_and_times_are_read_aloud() {
        assert_eq!(spoken("on March 3, 2024."), "on March third, twenty twenty four.");
        assert_eq!(spoken("4 July 1976"), "the fourth of July nineteen seventy six");
        assert_eq!(spoken("2024-03-15"), "March fifteenth, twenty twenty four");
        assert_eq!(spoken("12/25/2023"), "December twenty fifth, twenty twenty three");
        assert_eq!(spoken("at 10:30 a.m. or 6:00."), "at ten thirty A.M. or six o'clock.");
        assert_eq!(spoken("7pm, 5:05"), "seven P.M., five oh five");
        assert_eq!(spoken("6:00 p.m. sharp"), "six P.M. sharp");
        assert_eq!(spoken("the 1990s and the '80s"), "the nineteen nineties and the eighties");
    }

    #[test]
    fn units_agree_with_their_number() {
        assert_eq!(spoken("1 kg, 5 kg, 3.5GHz"), "one kilogram, five kilograms, three point five gigahertz");
        assert_eq!(spoken("-5°C or 12.5%"), "minus five degrees Celsius or twelve point five percent");
        assert_eq!(spoken("1500 m at 100 km/h"), "one thousand five hundred meters at one hundred kilometers per hour");
    }

    #[test]
    fn names_with_numbers_are_taken_apart() {
        assert_eq!(spoken("GPT-4 on H.264 at 1080p"), "GPT four on H two sixty four at ten eighty P");
        assert_eq!(spoken("COVID-19, A12, HTML5"), "COVID nineteen, A twelve, HTML five");
        assert_eq!(spoken("512x512"), "five hundred twelve by five hundred twelve");
        assert_eq!(spoken("v2.0.1"), "version two point zero point one");
    }

    #[test]
    fn short_forms_are_said_in_full() {
        assert_eq!(spoken("Dr. Lee vs. Mr. Oz, etc."), "Doctor Lee versus Mister Oz, etc.");
        assert_eq!(spoken("Main St. near St. Paul"), "Main Street near Saint Paul");
        assert_eq!(spoken("No. 5, e.g. this"), "number five, for example this");
        assert_eq!(spoken("Henry VIII, Chapter IV"), "Henry the eighth, Chapter four");
    }

    #[test]
    fn ranges_fractions_and_scores_keep_their_sense() {
        assert_eq!(spoken("pages 10-15, or 3 – 5"), "pages ten to fifteen, or three to five");
        assert_eq!(spoken("1/2, 3/4, 7/10"), "one half, three quarters, seven out of ten");
        assert_eq!(spoken("16:9 and 24/7"), "sixteen to nine and twenty four seven");
        assert_eq!(spoken("555-1234"), "five five five, one two three four");
    }

    #[test]
    fn links_are_spelled_and_signs_named() {
        assert_eq!(spoken("https://www.example.com/docs"), "example dot com slash docs");
        assert_eq!(spoken("john.doe@test.org, main.rs"), "john dot doe at test dot org, main dot RS");
        assert_eq!(spoken("C++ & R&D"), "C plus plus and R and D");
        assert_eq!(spoken("1 + 1 = 2"), "one plus one equals two");
    }

    #[test]
    fn marks_and_emoji_are_pauses_or_nothing() {
        assert_eq!(spoken("Wow!!! 🙂 *yes*"), "Wow! yes");
        assert_eq!(spoken("well...maybe — or \"not\""), "well… maybe — or not");
        assert_eq!(spoken("🎉 …"), "…");
        assert_eq!(spoken("你好 world"), "world");
    }

    proptest! {
        #[test]
        fn words_join_to_the_clause_and_say_no_digit(clause in "[ -~àé“”’—…½¥€0-9.,:/-]{0,60}") {
            let words = words(&clause);
            prop_assert_eq!(words.iter().map(|w| w.text.as_str()).collect::<String>(), clause);
            for word in words {
                prop_assert!(!word.spoken.contains(|c: char| c.is_ascii_digit()), "{:?}", word);
            }
        }
    }
}

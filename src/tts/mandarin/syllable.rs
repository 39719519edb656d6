//! From pinyin to the phonemes that Kokoro was taught. Pure tables.
//!
//! In: a syllable without its tone (`zhuang`) and the tone. Out: IPA as `misaki` 0.9.4 spells it, the
//! tone's arrow right after the vowel: `ꭧwa→ŋ`. The values are those of misaki's transcription
//! tables (Apache-2.0, after pinyin-to-ipa, MIT), which Kokoro's voices were trained on.

/// A Mandarin tone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    High,
    Rising,
    Low,
    Falling,
    Neutral,
}

impl Tone {
    /// Of its number: 1 to 4, everything else is neutral.
    pub(super) fn of(number: u8) -> Self {
        match number {
            1 => Self::High,
            2 => Self::Rising,
            3 => Self::Low,
            4 => Self::Falling,
            _ => Self::Neutral,
        }
    }

    fn arrow(self) -> &'static str {
        match self {
            Self::High => "→",
            Self::Rising => "↗",
            Self::Low => "↓",
            Self::Falling => "↘",
            Self::Neutral => "",
        }
    }
}

/// A syllable, its tone apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Syllable {
    /// Lower case, without a tone; `ü` as such.
    pub pinyin: String,
    pub tone: Tone,
}

impl Syllable {
    /// Reads `zhong1` or `lü4`; without a digit the tone is neutral.
    pub(super) fn of_number(pinyin: &str) -> Self {
        let plain = pinyin.trim_end_matches(|c: char| c.is_ascii_digit());
        let tone = pinyin[plain.len()..].parse().map_or(Tone::Neutral, Tone::of);
        Self { pinyin: plain.into(), tone }
    }

    /// Reads `zhōng` or `lǜ`.
    pub(super) fn of_marks(pinyin: &str) -> Self {
        const MARKED: [(&str, char); 7] = [
            ("āáǎà", 'a'),
            ("ēéěè", 'e'),
            ("īíǐì", 'i'),
            ("ōóǒò", 'o'),
            ("ūúǔù", 'u'),
            ("ǖǘǚǜ", 'ü'),
            ("\u{144}\u{148}\u{1f9}", 'n'),
        ];
        let mut tone = Tone::Neutral;
        let plain = pinyin.chars().map(|c| {
            let marked = MARKED.iter().find_map(|(marks, plain)| Some((marks.chars().position(|m| m == c)?, *plain)));
            marked.map_or(c, |(nth, plain)| {
                // "ń ň ǹ" have no first tone.
                tone = Tone::of(nth as u8 + if plain == 'n' { 2 } else { 1 });
                plain
            })
        });
        let pinyin = plain.collect();
        Self { pinyin, tone }
    }

    /// Its phonemes; `None` if it is no syllable of Mandarin.
    pub(super) fn ipa(&self) -> Option<String> {
        let (initial, last) = split(&self.pinyin);
        let written = final_of(initial, last)?;
        let tone = self.tone.arrow();
        Some(format!("{}{}", initial_of(initial)?, written.replace('0', tone)))
    }
}

/// Initial and final as they are written; `y` and `w` belong to the final.
fn split(pinyin: &str) -> (&str, &str) {
    let len = match pinyin.as_bytes() {
        _ if pinyin == "ng" => 0,
        [b'z' | b'c' | b's', b'h', ..] => 2,
        [first, _, ..] if b"bpmfdtnlgkhjqxrzcs".contains(first) => 1,
        _ => 0,
    };
    pinyin.split_at(len)
}

fn initial_of(initial: &str) -> Option<&'static str> {
    Some(match initial {
        "" => "",
        "b" => "p",
        "p" => "pʰ",
        "m" => "m",
        "f" => "f",
        "d" => "t",
        "t" => "tʰ",
        "n" => "n",
        "l" => "l",
        "g" => "k",
        "k" => "kʰ",
        "h" => "x",
        "j" => "ʨ",
        "q" => "ʨʰ",
        "x" => "ɕ",
        "zh" => "ꭧ",
        "ch" => "ꭧʰ",
        "sh" => "ʂ",
        "r" => "ɻ",
        "z" => "ʦ",
        "c" => "ʦʰ",
        "s" => "s",
        _ => return None,
    })
}

/// Phonemes of a final, `0` where the tone goes.
fn final_of(initial: &str, last: &str) -> Option<&'static str> {
    let palatal = matches!(initial, "j" | "q" | "x");
    Some(match (initial, last) {
        ("zh" | "ch" | "sh" | "r" | "z" | "c" | "s", "i") => "ɨ0",
        ("", "o") => "ɔ0",
        ("", "m") => "m0",
        ("", "n") => "n0",
        ("", "ng") => "ŋ0",
        (_, "a") => "a0",
        (_, "ai") => "ai0",
        (_, "an") => "a0n",
        (_, "ang") => "a0ŋ",
        (_, "ao") => "au0",
        (_, "e") => "ɤ0",
        (_, "ei") => "ei0",
        (_, "en") => "ə0n",
        (_, "eng") => "ə0ŋ",
        (_, "er") => "ɚ0",
        (_, "ê") => "ɛ0",
        (_, "i" | "yi") => "i0",
        (_, "ia" | "ya") => "ja0",
        (_, "ian" | "yan") => "jɛ0n",
        (_, "iang" | "yang") => "ja0ŋ",
        (_, "iao" | "yao") => "jau0",
        (_, "ie" | "ye") => "je0",
        (_, "in" | "yin") => "i0n",
        (_, "iu" | "iou" | "you") => "jou0",
        (_, "ing" | "ying") => "i0ŋ",
        (_, "iong" | "yong") => "jʊ0ŋ",
        (_, "io" | "yo") => "jɔ0",
        (_, "ong") => "ʊ0ŋ",
        (_, "ou") => "ou0",
        (_, "u") if palatal => "y0",
        (_, "u" | "wu") => "u0",
        (_, "ui" | "uei" | "wei") => "wei0",
        (_, "ua" | "wa") => "wa0",
        (_, "uai" | "wai") => "wai0",
        (_, "uan") if palatal => "ɥɛ0n",
        (_, "uan" | "wan") => "wa0n",
        (_, "un") if palatal => "y0n",
        (_, "un" | "uen" | "wen") => "wə0n",
        (_, "uang" | "wang") => "wa0ŋ",
        (_, "ueng" | "weng") => "wə0ŋ",
        (_, "uo" | "o" | "wo") => "wo0",
        (_, "ü" | "v" | "yu") => "y0",
        (_, "ue" | "üe" | "ve" | "yue") => "ɥe0",
        (_, "üan" | "yuan") => "ɥɛ0n",
        (_, "ün" | "yun") => "y0n",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_a_tone_are_read() {
        assert_eq!(Syllable::of_marks("lǜ"), Syllable::of_number("lü4"));
        assert_eq!(Syllable::of_marks("de"), Syllable::of_number("de"));
        assert_eq!(Syllable::of_marks("ń").tone, Tone::Rising);
    }

    #[test]
    fn spelling_rules_lead_to_the_same_sounds() {
        let ipa = |pinyin: &str| Syllable::of_number(pinyin).ipa().unwrap();
        for (pinyin, phonemes) in [
            ("zhuang1", "ꭧwa→ŋ"),
            ("xu2", "ɕy↗"),
            ("shu4", "ʂu↘"),
            ("juan3", "ʨɥɛ↓n"),
            ("chuan2", "ꭧʰwa↗n"),
            ("yuan4", "ɥɛ↘n"),
            ("liu4", "ljou↘"),
            ("you3", "jou↓"),
            ("gui4", "kwei↘"),
            ("si4", "sɨ↘"),
            ("ri4", "ɻɨ↘"),
            ("bo1", "pwo→"),
            ("er4", "ɚ↘"),
            ("ma", "ma"),
            ("lüe4", "lɥe↘"),
            ("xiong2", "ɕjʊ↗ŋ"),
            ("n2", "n↗"),
            ("ng4", "ŋ↘"),
        ] {
            assert_eq!(ipa(pinyin), phonemes, "{pinyin}");
        }
        assert_eq!(Syllable::of_number("xyz1").ipa(), None);
    }
}

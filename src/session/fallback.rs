//! The line that is said when no answer can be made: recorded, so that it needs neither model nor voice. One in each language
//! that we speak.

use crate::media::Speech;

/// A recorded line.
pub(super) struct Line {
    /// What is said in it.
    pub(super) text: &'static str,
    /// Our own voice, 16 kHz mono, as `visavis say "$TEXT" -o FILE` writes it.
    wav: &'static [u8],
}

const ENGLISH: Line = Line {
    text: "Sorry, I cannot answer right now. Please try again in a moment.",
    wav: include_bytes!("../../assets/fallback/en.wav"),
};
const MANDARIN: Line = Line {
    text: "抱歉，我现在无法回答，请稍后再试。",
    wav: include_bytes!("../../assets/fallback/zh.wav"),
};

/// What comes before the samples in a file that `visavis say` writes.
const HEADER_BYTES: usize = 44;

impl Line {
    /// In the language of `asked`.
    pub(super) fn for_language_of(asked: &str) -> Self {
        if asked.chars().any(is_han) { MANDARIN } else { ENGLISH }
    }

    /// The line as a piece of speech; the face listens to it.
    pub(super) fn speech(&self) -> Speech {
        let pcm = self.wav[HEADER_BYTES..].as_chunks().0.iter().map(|bytes| i16::from_le_bytes(*bytes)).collect();
        Speech { pcm, ..Speech::default() }
    }
}

/// Chinese characters in everyday use: CJK Unified Ideographs.
fn is_han(c: char) -> bool {
    ('\u{4e00}'..='\u{9fff}').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorded_lines_are_a_few_seconds_of_speech_at_our_rate() {
        for line in [ENGLISH, MANDARIN] {
            assert_eq!((&line.wav[..4], &line.wav[8..16]), (b"RIFF".as_slice(), b"WAVEfmt ".as_slice()));
            assert_eq!(line.wav[22..28], [1, 0, 0x80, 0x3e, 0, 0], "one channel, 16000 Hz");
            let pcm = line.speech().pcm;
            assert!((16_000..96_000).contains(&pcm.len()), "{} samples", pcm.len());
            let peak = pcm.iter().map(|sample| sample.unsigned_abs()).max().unwrap();
            assert!(peak > 3_000, "{peak}");
        }
    }

    #[test]
    fn who_asks_in_chinese_hears_it_in_chinese() {
        assert_eq!(Line::for_language_of("GPU 是什么？").text, MANDARIN.text);
        assert_eq!(Line::for_language_of("How are you?").text, ENGLISH.text);
        assert_eq!(Line::for_language_of("").text, ENGLISH.text);
    }
}

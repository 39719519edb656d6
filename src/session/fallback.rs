//! The line that is said when no answer can be made: recorded, so that it needs neither model nor voice.

use crate::media::Speech;

/// What is said in it.
pub(super) const TEXT: &str = "Sorry, I cannot answer right now. Please try again in a moment.";

/// Our own voice, 16 kHz mono: `visavis say "$TEXT" -o assets/fallback/en.wav`.
const WAV: &[u8] = include_bytes!("../../assets/fallback/en.wav");
/// What comes before the samples in a file that `visavis say` writes.
const HEADER_BYTES: usize = 44;

/// The line as a piece of speech; the mouth follows its loudness.
pub(super) fn speech() -> Speech {
    let pcm = WAV[HEADER_BYTES..].as_chunks().0.iter().map(|bytes| i16::from_le_bytes(*bytes)).collect();
    Speech { pcm, ..Speech::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorded_line_is_a_few_seconds_of_speech_at_our_rate() {
        assert_eq!((&WAV[..4], &WAV[8..16]), (b"RIFF".as_slice(), b"WAVEfmt ".as_slice()));
        assert_eq!(WAV[22..28], [1, 0, 0x80, 0x3e, 0, 0], "one channel, 16000 Hz");
        let pcm = speech().pcm;
        assert!((16_000..96_000).contains(&pcm.len()), "{} samples", pcm.len());
        let peak = pcm.iter().map(|sample| sample.unsigned_abs()).max().unwrap();
        assert!(peak > 3_000, "{peak}");
    }
}

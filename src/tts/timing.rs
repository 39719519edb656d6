//! From a waveform and durations to a piece of speech: pauses trimmed, times told.
//!
//! In: the words of a clause, the durations of their phonemes, the sound at 24 kHz. Out: [`Speech`]
//! at 16 kHz. Pure but for the resampler's state. Kokoro and hibari, which learned from it, share it.

use crate::media::{AUDIO_RATE_HZ, Phoneme, ResampleError, Resampler, Speech, Word};

/// Rate of the sound that comes in.
pub(super) const RATE_HZ: u32 = 24_000;

/// Samples that one unit of duration stands for: 25 ms.
pub(super) const SAMPLES_PER_UNIT: usize = 600;

/// The sound runs two units (50 ms) ahead of the durations: correlating the 200–1200 Hz envelope
/// with the phonemes' sonority peaks there for each of eight sentences of hibari, and within 5 ms
/// of there for each of twelve of Kokoro in Mandarin.
const AHEAD: usize = 2 * SAMPLES_PER_UNIT;

/// Silence before the first sound, 50 ms: the mouth opens before it is heard.
const LEAD: usize = RATE_HZ as usize / 20;

/// What counts as sound: 46 dB below the clause's peak.
const AUDIBLE: f32 = 0.005;

/// Fade at a cut, 5 ms.
const FADE: usize = RATE_HZ as usize / 200;

/// A written word with its sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SpokenWord {
    /// As written, with the space or the marks that follow: the words of a clause join to it.
    pub text: String,
    /// Phonemes, stress marks, tones, punctuation and spaces; the words' strings join to the clause's.
    pub phonemes: String,
}

/// One token of the model's input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    /// As in the phoneme string.
    pub symbol: char,
    /// Which of the clause's words it belongs to.
    pub word: usize,
}

/// Where a token sounds, in samples at 24 kHz.
struct Span {
    token: Token,
    start: usize,
    end: usize,
}

/// Builds the speech of `words`; `durations` are units of 25 ms, for `tokens` and a pad at either end.
/// `gain` brings the voice to the level of the others.
pub(super) fn speech(
    words: &[SpokenWord],
    tokens: &[Token],
    durations: &[u32],
    wave: &[f32],
    gain: f32,
) -> Result<Speech, ResampleError> {
    let (first_sound, last_sound) = audible(wave);
    let spans = spans(tokens, durations, first_sound, last_sound);

    // Cut at multiples of three samples: at 16 kHz they are multiples of two, and times stay exact.
    let from = first_sound.saturating_sub(LEAD) / 3 * 3;
    let to = from + (last_sound + pause_after(tokens) - from).div_ceil(3) * 3;
    let mut cut: Vec<f32> = wave[from..to.min(wave.len())].iter().map(|s| s * gain).collect();
    let fade = FADE.min(cut.len());
    let faded = cut.len() - fade;
    for (i, sample) in cut[faded..].iter_mut().enumerate() {
        *sample *= 1.0 - (i + 1) as f32 / fade as f32;
    }
    cut.resize(to - from, 0.0);

    let mut resampler = Resampler::new(RATE_HZ, AUDIO_RATE_HZ)?;
    let mut pcm = resampler.push_f32(&cut);
    pcm.extend(resampler.finish());

    let at_16k = |sample: usize| (sample.clamp(from, to) - from) as u64 * u64::from(AUDIO_RATE_HZ) / u64::from(RATE_HZ);
    let phonemes = spans
        .iter()
        .map(|s| {
            let start = at_16k(s.start) as u32;
            Phoneme { symbol: s.token.symbol, start, len: at_16k(s.end) as u32 - start }
        })
        .collect::<Vec<_>>();
    let words = timed_words(words, &spans, &phonemes);
    Ok(Speech { pcm, phonemes, words })
}

/// The phonemes of a clause in order of time. Stress marks give their time to the phoneme they stand
/// before, tones and aspiration to the one they stand after; the first and last sounds reach to where sound begins and ends.
fn spans(tokens: &[Token], durations: &[u32], first_sound: usize, last_sound: usize) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::with_capacity(tokens.len());
    let mut at = durations.first().map_or(0, |&pad| pad as usize * SAMPLES_PER_UNIT);
    let mut stress_from = None;
    for (&token, &units) in tokens.iter().zip(durations.iter().skip(1)) {
        let start = at;
        at += units as usize * SAMPLES_PER_UNIT;
        if matches!(token.symbol, 'ˈ' | 'ˌ') {
            stress_from.get_or_insert(start);
            continue;
        }
        if is_after_mark(token.symbol) {
            if let Some(before) = spans.last_mut() {
                before.end = at.saturating_sub(AHEAD);
            }
            continue;
        }
        let start = stress_from.take().unwrap_or(start);
        spans.push(Span { token, start: start.saturating_sub(AHEAD), end: at.saturating_sub(AHEAD) });
    }
    if let Some(first) = spans.iter_mut().find(|s| is_sound(s.token.symbol)) {
        first.start = first.start.min(first_sound);
    }
    if let Some(last) = spans.iter().rposition(|s| is_sound(s.token.symbol)) {
        let end = last_sound.clamp(spans[last].start, spans[last].end);
        spans[last].end = end;
        if let Some(after) = spans.get_mut(last + 1) {
            after.start = end;
        }
    }
    spans
}

fn timed_words(words: &[SpokenWord], spans: &[Span], phonemes: &[Phoneme]) -> Vec<Word> {
    let mut out = Vec::with_capacity(words.len());
    let mut heard_until = 0;
    for (index, word) in words.iter().enumerate() {
        let mut sounds =
            spans.iter().zip(phonemes).filter(|(s, _)| s.token.word == index && is_sound(s.token.symbol)).map(|(_, p)| p);
        let first = sounds.next();
        let last = sounds.next_back().or(first);
        // A word without sound, a lone dash, takes no time after the word before it.
        let start = first.map_or(heard_until, |p| p.start);
        heard_until = last.map_or(heard_until, |p| p.start + p.len);
        out.push(Word { text: word.text.clone(), start, len: heard_until - start });
    }
    out
}

/// Whether a token is heard: all but pauses.
fn is_sound(symbol: char) -> bool {
    symbol != ' ' && !is_punctuation(symbol)
}

/// Whether a token says how the phoneme before it sounds: a tone, or aspiration.
fn is_after_mark(symbol: char) -> bool {
    matches!(symbol, '→' | '↗' | '↓' | '↘' | 'ʰ')
}

/// Whether a phoneme symbol is a mark of punctuation: heard as a pause or not at all.
pub(super) fn is_punctuation(symbol: char) -> bool {
    matches!(symbol, ';' | ':' | ',' | '.' | '!' | '?' | '—' | '…' | '"' | '(' | ')' | '“' | '”')
}

/// First and last audible sample; the whole wave if there is none.
fn audible(wave: &[f32]) -> (usize, usize) {
    let peak = wave.iter().fold(0.0_f32, |peak, s| peak.max(s.abs()));
    let threshold = (peak * AUDIBLE).max(1e-5);
    let first = wave.iter().position(|s| s.abs() > threshold).unwrap_or(0);
    let last = wave.iter().rposition(|s| s.abs() > threshold).unwrap_or(wave.len().saturating_sub(1));
    (first, last)
}

/// Silence after a clause, in samples: what its last punctuation asks for.
fn pause_after(tokens: &[Token]) -> usize {
    let mark = tokens.iter().rev().map(|t| t.symbol).take_while(|&c| !is_sound(c)).find(|c| ".!?…;:—,".contains(*c));
    let ms = match mark {
        Some('.' | '!' | '?' | '…') => 250,
        Some(';' | ':' | '—') => 160,
        Some(_) => 100,
        // Cut in mid-phrase: no pause but the gap that words have.
        None => 40,
    };
    RATE_HZ as usize * ms / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(clause: &[(&str, &str)], durations: &[u32]) -> Speech {
        let words: Vec<SpokenWord> =
            clause.iter().map(|&(text, phonemes)| SpokenWord { text: text.into(), phonemes: phonemes.into() }).collect();
        let tokens: Vec<Token> = words
            .iter()
            .enumerate()
            .flat_map(|(word, w)| w.phonemes.chars().map(move |symbol| Token { symbol, word }))
            .collect();
        let len = durations.iter().sum::<u32>() as usize * SAMPLES_PER_UNIT;
        // Sound where the durations, less the network's lead, have phonemes.
        let voiced_from = durations[0] as usize * SAMPLES_PER_UNIT - AHEAD;
        let tail: u32 = durations[durations.len() - 2..].iter().sum();
        let voiced_to = len - tail as usize * SAMPLES_PER_UNIT - AHEAD;
        let wave: Vec<f32> = (0..len)
            .map(|i| if (voiced_from..voiced_to).contains(&i) { (i as f32 * 0.1).sin() * 0.5 } else { 0.0 })
            .collect();
        speech(&words, &tokens, durations, &wave, 1.6).unwrap()
    }

    #[test]
    fn fifty_milliseconds_of_silence_come_before_the_first_sound() {
        let s = say(&[("Oh. ", "ˈO.")], &[14, 2, 6, 10, 6]);
        assert!((790..=810).contains(&s.phonemes[0].start), "{:?}", s.phonemes);
        assert!(s.pcm[..780].iter().all(|&x| x.abs() < 50));
    }

    #[test]
    fn a_stress_mark_gives_its_time_to_the_phoneme_after_it() {
        let s = say(&[("Oh.", "ˈO.")], &[14, 2, 6, 10, 6]);
        assert_eq!(s.phonemes[0].symbol, 'O');
        assert!((8 * 400 - 8..=8 * 400).contains(&s.phonemes[0].len));
    }

    #[test]
    fn a_tone_gives_its_time_to_the_phoneme_before_it() {
        let s = say(&[("妈。", "ma→.")], &[14, 2, 4, 3, 10, 6]);
        assert_eq!(s.phonemes.iter().map(|p| p.symbol).collect::<String>(), "ma.");
        assert!((7 * 400 - 8..=7 * 400).contains(&s.phonemes[1].len), "{:?}", s.phonemes);
    }

    #[test]
    fn a_full_stop_rests_longer_than_a_comma() {
        let stop = say(&[("Oh.", "ˈO.")], &[14, 2, 6, 10, 6]);
        let comma = say(&[("Oh,", "ˈO,")], &[14, 2, 6, 10, 6]);
        assert_eq!(stop.pcm.len() - comma.pcm.len(), 16_000 * 150 / 1_000);
    }

    #[test]
    fn a_word_without_sound_takes_no_time() {
        let s = say(&[("Oh ", "O "), ("🙂 ", ""), ("oh", "O.")], &[14, 6, 2, 6, 10, 6]);
        assert_eq!(s.words.iter().map(|w| w.text.as_str()).collect::<String>(), "Oh 🙂 oh");
        assert_eq!(s.words[1].len, 0);
        assert!(s.words[2].start >= s.words[0].start + s.words[0].len);
    }
}

//! Whisper's decoding: sound in, tokens out. Greedy, without time stamps.
//!
//! Runs on a blocking thread for 0.6 s and more; between two tokens it looks whether it has been cancelled.

use tokio_util::sync::CancellationToken;
use whisper_rs::{FullParams, SamplingStrategy, WhisperContext, WhisperError, WhisperState, get_lang_id};

use super::Language;

/// Steps of 20 ms that the encoder always hears. Below it the model, trained on 30 s, misses the end and repeats itself:
/// 6 of 60 sentences at 384, none at 512 (docs/design/ears.md).
const SHORTEST_CONTEXT: usize = 512;
/// What it hears behind the end of longer utterances: 600 ms.
const CONTEXT_MARGIN: usize = 30;
/// All it can hear: 30 s.
const LONGEST_CONTEXT: usize = 1_500;
/// Samples of one step.
const STEP: usize = 320;
/// Tokens that a second of speech may have: six rare characters a second have fewer than three each.
const TOKENS_PER_SECOND: usize = 16;
const FEWEST_TOKENS: usize = 12;
/// Said before an utterance in Mandarin, so that it is written in simplified characters with punctuation.
const MANDARIN_PROMPT: &str = "以下是普通话的句子。";
/// Mean log probability below which the text is a guess at noise.
const LOWEST_CERTAINTY: f32 = -1.3;
/// The same where the model itself doubts that there is speech, and how much it must doubt. Of silence it writes "you" at
/// -0.7 with a doubt of 0.92, of noise and hum below -1.2 with 0.8; of clear speech -0.4 at worst with 0.15 at most.
const DOUBTED_CERTAINTY: f32 = -0.5;
const DOUBT: f32 = 0.6;

/// What the model heard.
pub(super) struct Decoded {
    pub tokens: Vec<i32>,
    pub language: &'static str,
    /// How likely there was no speech, 0 to 1.
    no_speech: f32,
    /// Mean natural logarithm of the tokens' probabilities.
    certainty: f32,
}

impl Decoded {
    /// Whether somebody spoke, as far as the model can tell.
    pub(super) fn is_speech(&self) -> bool {
        self.certainty > LOWEST_CERTAINTY && !(self.no_speech > DOUBT && self.certainty < DOUBTED_CERTAINTY)
    }
}

/// The model's special tokens, and which are never chosen.
pub(super) struct Decoder {
    end: i32,
    start: i32,
    no_speech: i32,
    /// Behind the language: transcribe, no time stamps.
    task: [i32; 2],
    /// English and Mandarin.
    languages: [(&'static str, i32); 2],
    mandarin_prompt: Vec<i32>,
    /// For each token whether it may be chosen: no marks of music and noise, no special ones but the end.
    allowed: Vec<bool>,
}

impl Decoder {
    pub(super) fn new(model: &WhisperContext) -> Result<Self, WhisperError> {
        let language = |code: &'static str| (code, model.token_lang(get_lang_id(code).expect("whisper knows en and zh")));
        let end = model.token_eot();
        let is_word = |token: i32| token < end && model.token_to_bytes(token).is_ok_and(|bytes| !is_noise(bytes));
        let mut mandarin_prompt = vec![model.token_prev()];
        mandarin_prompt.extend(model.tokenize(MANDARIN_PROMPT, 64)?);
        Ok(Self {
            end,
            start: model.token_sot(),
            no_speech: model.token_nosp(),
            task: [model.token_transcribe(), model.token_not()],
            languages: [language("en"), language("zh")],
            mandarin_prompt,
            allowed: (0..model.n_vocab()).map(|token| token == end || is_word(token)).collect(),
        })
    }

    /// Decodes `samples`, 16 kHz and full scale ±1, on so many threads. What was decoded when `cancelled` fired is given back unfinished.
    pub(super) fn decode(
        &self,
        state: &mut WhisperState,
        samples: &[f32],
        language: Language,
        threads: usize,
        cancelled: &CancellationToken,
    ) -> Result<Decoded, WhisperError> {
        hear(state, samples, threads)?;
        state.encode(0, threads)?;
        state.decode(&[self.start], 0, threads)?;
        let logits = state.get_logits()?;
        let no_speech = log_probability(logits, self.no_speech).exp();
        let likeliest = self.languages.into_iter().max_by(|a, b| logits[a.1 as usize].total_cmp(&logits[b.1 as usize]));
        let wanted = self.languages.into_iter().find(|(code, _)| language.code() == Some(code));
        let (language, language_token) = wanted.or(likeliest).expect("there are two languages");
        let mut past = 1;
        let mut first = vec![language_token, self.task[0]];
        if language == "zh" {
            first = [&self.mandarin_prompt[..], &[self.start], &first].concat();
            past = 0;
        }
        state.decode(&first, past, threads)?;
        past += first.len();
        let most = FEWEST_TOKENS + samples.len() * TOKENS_PER_SECOND / 16_000;
        let mut decoded = Decoded { tokens: Vec::new(), language, no_speech, certainty: 0.0 };
        let mut next = self.task[1];
        let mut sum = 0.0;
        while decoded.tokens.len() < most && !cancelled.is_cancelled() {
            state.decode(&[next], past, threads)?;
            past += 1;
            let logits = state.get_logits()?;
            // An utterance that the ears took for speech has at least one word.
            let may_end = !decoded.tokens.is_empty();
            next = self.best(logits, may_end);
            sum += log_probability(logits, next);
            decoded.certainty = sum / (decoded.tokens.len() + 1) as f32;
            if next == self.end {
                break;
            }
            decoded.tokens.push(next);
            if let Some(len) = before_repetition(&decoded.tokens) {
                decoded.tokens.truncate(len);
                break;
            }
        }
        Ok(decoded)
    }

    fn best(&self, logits: &[f32], may_end: bool) -> i32 {
        let may = |token: usize| self.allowed[token] && (may_end || token as i32 != self.end);
        let best = (0..logits.len().min(self.allowed.len()))
            .filter(|&token| may(token))
            .max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
        best.map_or(self.end, |token| token as i32)
    }
}

/// Computes the spectrum and tells the encoder how much of it to hear, which only the engine's own loop can do: it is
/// started and stopped before its first step.
#[expect(unsafe_code, reason = "whisper-rs has no safe callback before the encoder")]
fn hear(state: &mut WhisperState, samples: &[f32], threads: usize) -> Result<(), WhisperError> {
    let steps = samples.len().div_ceil(STEP) + CONTEXT_MARGIN;
    let mut parameters = FullParams::new(SamplingStrategy::Greedy { best_of: 1 });
    parameters.set_n_threads(threads as i32);
    parameters.set_language(Some("en"));
    parameters.set_no_context(true);
    parameters.set_audio_ctx(steps.clamp(SHORTEST_CONTEXT, LONGEST_CONTEXT) as i32);
    // SAFETY: the callback touches none of its arguments.
    unsafe { parameters.set_start_encoder_callback(Some(stop)) };
    state.full(parameters, samples)
}

#[expect(unsafe_code, reason = "the type of a C callback")]
unsafe extern "C" fn stop(
    _: *mut whisper_rs::WhisperSysContext,
    _: *mut whisper_rs::WhisperSysState,
    _: *mut std::ffi::c_void,
) -> bool {
    false
}

/// Whether a token writes sounds instead of words: brackets of `[Music]`, notes, asterisks.
fn is_noise(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    text.chars().any(|c| "()[]{}<>♪♩♫♬*#_~|^（）【】".contains(c))
}

fn log_probability(logits: &[f32], token: i32) -> f32 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = logits.iter().map(|logit| (logit - most).exp()).sum();
    logits[token as usize] - most - sum.ln()
}

/// How many tokens there are before the last ones begin to say the same again: four or more tokens twice, fewer five times.
fn before_repetition(tokens: &[i32]) -> Option<usize> {
    (1..=tokens.len() / 2).find_map(|period| {
        let times = if period >= 4 { 2 } else { 5 };
        let tail = tokens.len().checked_sub(period * times)?;
        let repeats = tokens[tail..].windows(period + 1).all(|window| window[0] == window[period]);
        repeats.then_some(tail + period)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_again_and_again_is_kept_once() {
        assert_eq!(before_repetition(&[9, 1, 2, 3, 4, 1, 2, 3, 4]), Some(5));
        assert_eq!(before_repetition(&[9, 7, 7, 7, 7, 7]), Some(2));
        assert_eq!(before_repetition(&[7, 7, 7]), None, "no, no, no");
        assert_eq!(before_repetition(&[1, 2, 3, 4, 1, 2, 3]), None);
        assert_eq!(before_repetition(&[]), None);
    }
}

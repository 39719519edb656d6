//! Texts that nobody writes, and some that everybody does: through clauses and what can be said of them to each embedded voice.

use std::path::Path;
use std::sync::Arc;

use futures_util::StreamExt;
use visavis::media::Speech;
use visavis::sentence::SentenceSplitter;
use visavis::speakable::Speakable;
use visavis::tts::{self, TextToSpeech};

fn voice(provider: &str) -> Arc<dyn TextToSpeech> {
    let config: tts::Config = serde_saphyr::from_str(&format!("provider: {provider}")).expect("it is valid");
    tts::build(&config, &Path::new(env!("CARGO_MANIFEST_DIR")).join("models")).expect("`visavis models fetch`")
}

/// The clauses of `text`, which comes as a model writes it, three characters at a time.
fn clauses(text: &str) -> Vec<String> {
    let mut splitter = SentenceSplitter::new();
    let letters: Vec<char> = text.chars().collect();
    let deltas = letters.chunks(3).map(|piece| piece.iter().collect::<String>());
    let mut clauses: Vec<String> = deltas.flat_map(|delta| splitter.push(&delta)).collect();
    clauses.extend(splitter.flush());
    clauses
}

/// Seconds of speech of `clause`, and the words that were told with it.
async fn said(voice: &dyn TextToSpeech, clause: &str) -> (f64, String) {
    let (mut samples, mut words) = (0, String::new());
    let mut speech = voice.speak(clause.to_owned());
    while let Some(piece) = speech.next().await {
        let Speech { pcm, words: told, .. } = piece.unwrap_or_else(|error| panic!("{clause}: {error}"));
        assert!(told.iter().all(|word| word.start as usize <= pcm.len()), "{clause}: {told:?} of {}", pcm.len());
        samples += pcm.len();
        words.extend(told.into_iter().map(|word| word.text));
    }
    (samples as f64 / 16_000.0, words)
}

#[tokio::test(flavor = "multi_thread")]
async fn emoji_and_words_of_two_languages_are_said_as_far_as_each_voice_can() {
    for provider in ["hibari", "kokoro", "auto"] {
        let voice = voice(provider);
        for text in [
            "👩‍👩‍👧 🎉",
            "Hello 👋🏽, world 🎉!",
            "我用iPhone15Pro拍的vlog。",
            "这个app很cool吧？😀",
            "Let's 加油 together.",
            "Z͑ͫ̓ͪ̂a͗͌l͚g͔o \u{202e}reversed\u{202c} naïve ﷽ ½ ①",
        ] {
            let mut speakable = Speakable::default();
            for clause in clauses(text) {
                let (seconds, words) = said(&*voice, &speakable.clause(&clause)).await;
                eprintln!("{provider} | {clause} | {seconds:.2} | {words}");
            }
        }
    }
}

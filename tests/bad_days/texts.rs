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

/// A text, and the seconds of its speech that the English voice and both together may take.
type Case = (&'static str, std::ops::Range<f64>, std::ops::Range<f64>);

#[tokio::test(flavor = "multi_thread")]
async fn emoji_and_words_of_two_languages_are_said_as_far_as_each_voice_can() {
    let cases: [Case; 6] = [
        ("👩‍👩‍👧 🎉", 0.0..0.01, 0.0..0.01),
        ("Hello 👋🏽, world 🎉!", 0.6..2.0, 0.6..2.0),
        // The English voice says what is English.
        ("我用iPhone15Pro拍的vlog。", 0.8..3.0, 1.6..5.0),
        ("这个app很cool吧？😀", 0.3..1.5, 0.8..3.0),
        ("Let's 加油 together.", 0.6..2.0, 1.0..3.0),
        ("Z͑ͫ̓ͪ̂a͗͌l͚g͔o \u{202e}reversed\u{202c} naïve ﷽ ½ ①", 1.0..4.0, 1.0..4.0),
    ];
    for (provider, is_auto) in [("hibari", false), ("auto", true)] {
        let voice = voice(provider);
        for (text, english, both) in &cases {
            let (mut speakable, mut seconds, mut told) = (Speakable::default(), 0.0, String::new());
            for clause in clauses(text) {
                let (more, words) = said(&*voice, &speakable.clause(&clause)).await;
                seconds += more;
                told.push_str(&words);
            }
            let expected = if is_auto { both } else { english };
            assert!(expected.contains(&seconds), "{provider}: {text}: {seconds} s");
            // Captions have the letters of both languages, whichever are said.
            let letters = |text: &str| text.chars().filter(|c| c.is_alphabetic()).collect::<String>();
            assert_eq!(letters(&told), if seconds > 0.0 { letters(text) } else { String::new() }, "{provider}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_kilobytes_of_anything_are_said_in_clauses_that_lose_nothing() {
    let voice = voice("hibari");
    for unit in [
        "The quick brown fox jumps over the lazy dog. ",
        "今天天气很好，我们一起去公园散步吧。",
        "ha",
        "哈",
        "👩‍👩‍👧",
        "iPhone手机",
    ] {
        let text = unit.repeat(10_240 / unit.len());
        let clauses = clauses(&text);
        assert_eq!(clauses.concat(), text);
        assert!(clauses.iter().all(|clause| clause.chars().count() <= 400), "{unit}");
        let mut speakable = Speakable::default();
        let spoken: Vec<String> = clauses.iter().map(|clause| speakable.clause(clause)).collect();
        let is_said = |text: &str| text.chars().any(char::is_alphanumeric);
        assert_eq!(spoken.iter().any(|clause| is_said(clause)), is_said(unit), "{unit}");
        // The first one, which is heard soon, and one that somebody may have to wait for.
        let is_short = |clause: &&String| clause.chars().count() < 60;
        for clause in spoken.first().into_iter().chain(spoken.iter().skip(1).find(is_short)).filter(is_short) {
            let (seconds, _) = said(&*voice, clause).await;
            let is_english = clause.chars().any(|c| c.is_ascii_alphanumeric());
            assert_eq!(seconds > 0.2, is_english, "{clause}: {seconds} s");
        }
    }
}

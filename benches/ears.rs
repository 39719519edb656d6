//! The ears: what a frame of endpointing costs, how long an utterance takes to be written down, and how many words are
//! wrong. `cargo bench --bench ears`.
//!
//! English is spoken by the embedded voice. For another language set `VISAVIS_EARS` to a folder of `NAME.wav` with
//! `NAME.txt` beside each: errors are then counted by characters, too.

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use visavis::asr::{Config, Endpoint, Whisper};
use visavis::media::{AudioFrame, DecodeLimits, SAMPLES_PER_FRAME, decode};
use visavis::tts::Hibari;

/// Sentences that nothing was tuned with.
const HELD_OUT: &[&str] = &[
    "The library closes early on Sundays, so come before noon.",
    "Do you have this jacket in a smaller size?",
    "My grandfather used to fix radios in his garage.",
    "How far is it from the airport to the hotel?",
    "She opened the window because the room was too warm.",
    "Please send me the report before the end of the week.",
    "What would you recommend for dinner?",
    "The river was higher than anybody could remember.",
    "I think we should start again from the beginning.",
    "Can you speak a little louder?",
    "Most of the apples fell from the tree during the storm.",
    "He plays the piano every evening after work.",
    "Is there a pharmacy near here?",
    "The teacher wrote a long sentence on the board.",
    "Let me know when you are ready.",
    "Our neighbours have two dogs and a very old cat.",
    "When does the next bus leave?",
    "They painted the kitchen yellow and the bedroom green.",
    "I forgot to bring my glasses.",
    "Nobody believed the story until they saw the photograph.",
];

fn whisper() -> Whisper {
    Whisper::load(&Config::default(), &models()).expect("`visavis models fetch` first")
}

fn models() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models")
}

fn say(voice: &Hibari, text: &str) -> Vec<i16> {
    voice.blocking_speak(text).expect("speaks").into_iter().flat_map(|speech| speech.pcm).collect()
}

fn endpointing(c: &mut Criterion) {
    let mut endpoint = Endpoint::new(250);
    let frame = AudioFrame([100; SAMPLES_PER_FRAME]);
    c.bench_function("ears/a frame of 20 ms", |b| b.iter(|| endpoint.push(black_box(&frame))));
}

fn latency(c: &mut Criterion) {
    let voice = Hibari::load(&models()).expect("`visavis models fetch` first");
    let ears = whisper();
    let mut group = c.benchmark_group("ears");
    group.sample_size(10);
    for (name, text) in [
        ("question, 2.1 s", "What is the capital of Australia?"),
        ("sentence, 5.2 s", "Real time streaming needs low latency, so every part of the pipeline must be fast."),
    ] {
        let sound = say(&voice, text);
        group.bench_function(name, |b| b.iter(|| ears.blocking_transcribe(black_box(&sound)).expect("hears")));
    }
    group.finish();
}

fn accuracy(_: &mut Criterion) {
    let voice = Hibari::load(&models()).expect("`visavis models fetch` first");
    let ears = whisper();
    let mut words = Errors::default();
    for text in HELD_OUT {
        let heard = ears.blocking_transcribe(&say(&voice, text)).expect("hears").text;
        words.count(&tokens(text, false), &tokens(&heard, false));
    }
    words.print("English, words");
    let Ok(folder) = std::env::var("VISAVIS_EARS") else { return };
    let mut characters = Errors::default();
    let mut files: Vec<_> =
        std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    for wav in files.iter().filter(|path| path.extension().is_some_and(|e| e == "wav")) {
        let text = std::fs::read_to_string(wav.with_extension("txt")).expect("a text beside each sound");
        let sound = decode(std::fs::read(wav).expect("a file"), DecodeLimits::default()).expect("a recording");
        let heard = ears.blocking_transcribe(&sound).expect("hears").text;
        characters.count(&tokens(&text, true), &tokens(&heard, true));
    }
    characters.print("the folder, characters");
}

/// Words or characters, without punctuation and case.
fn tokens(text: &str, by_character: bool) -> Vec<String> {
    let kept = |c: char| if c.is_alphanumeric() || c == '\'' { c.to_ascii_lowercase() } else { ' ' };
    let bare: String = text.chars().map(kept).collect();
    if by_character {
        return bare.chars().filter(|c| *c != ' ').map(String::from).collect();
    }
    bare.split_whitespace().map(str::to_owned).collect()
}

#[derive(Default)]
struct Errors {
    wrong: usize,
    of: usize,
}

impl Errors {
    /// Adds the edit distance of the two.
    fn count(&mut self, said: &[String], heard: &[String]) {
        let mut row: Vec<usize> = (0..=heard.len()).collect();
        for (i, word) in said.iter().enumerate() {
            let mut above_left = std::mem::replace(&mut row[0], i + 1);
            for (j, other) in heard.iter().enumerate() {
                let replaced = above_left + usize::from(word != other);
                above_left = row[j + 1];
                row[j + 1] = replaced.min(above_left + 1).min(row[j] + 1);
            }
        }
        self.wrong += row[heard.len()];
        self.of += said.len();
    }

    #[expect(clippy::print_stdout, reason = "a bench prints its figures")]
    fn print(&self, what: &str) {
        println!("ears/{what}: {} of {} wrong, {:.1} %", self.wrong, self.of, self.wrong as f64 * 100.0 / self.of as f64);
    }
}

criterion_group!(benches, endpointing, latency, accuracy);
criterion_main!(benches);

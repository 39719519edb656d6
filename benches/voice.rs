//! The embedded voices: a clause in, sound out. First sound has 100 ms in English and 1.2 s in Mandarin, on busy cores.

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use visavis::sentence::SentenceSplitter;
use visavis::speakable::speakable;
use visavis::tts::{Hibari, Kokoro, KokoroConfig};

fn clause_to_speech(c: &mut Criterion) {
    let voice = Hibari::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("models")).expect("`visavis models fetch` first");
    let mut group = c.benchmark_group("voice");
    group.sample_size(20);
    for (name, clause) in [
        ("first clause, 0.8 s", "Of course, "),
        ("question, 1.6 s", "How can I help you today?"),
        ("sentence, 5.2 s", "Real time streaming needs low latency, so every part of the pipeline must be fast."),
        ("numbers, 9.9 s", "On March 3, 2024 it cost $1,250.75, or 12.5% of the 10:30 a.m. price."),
    ] {
        group.bench_function(name, |b| b.iter(|| voice.blocking_speak(black_box(clause)).expect("speaks")));
    }
}

fn mandarin_to_speech(c: &mut Criterion) {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let english = Hibari::load(&models).expect("`visavis models fetch` first");
    let voice = Kokoro::load(&models, &KokoroConfig::default(), &english).expect("`visavis models fetch` first");
    let mut group = c.benchmark_group("mandarin");
    group.sample_size(10);
    for (name, clause) in
        [("first clause", "你好，"), ("first clause of four", "当然可以，"), ("sentence", "今天天气很好，我们去公园吧。")]
    {
        group.bench_function(name, |b| b.iter(|| voice.blocking_speak(black_box(clause)).expect("speaks")));
    }
}

fn text_to_clauses(c: &mut Criterion) {
    let text =
        "Of course, that is easy. **First**, open [the page](https://example.com), then wait 3.5 s! 好的，我们开始吧。\n"
            .repeat(20);
    let deltas: Vec<String> = text.chars().collect::<Vec<_>>().chunks(4).map(|c| c.iter().collect()).collect();
    c.bench_function("text/answer of 2 kB in deltas of four characters", |b| {
        b.iter(|| {
            let mut splitter = SentenceSplitter::new();
            let mut clauses: Vec<String> = deltas.iter().flat_map(|d| splitter.push(d)).collect();
            clauses.extend(splitter.flush());
            clauses.iter().map(|clause| speakable(clause).len()).sum::<usize>()
        });
    });
}

criterion_group!(benches, clause_to_speech, mandarin_to_speech, text_to_clauses);
criterion_main!(benches);

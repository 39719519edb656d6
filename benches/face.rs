//! What a picture costs: a face at rest, one that speaks, and one that has to listen. Compare with the 40 ms that a picture lasts; the goal is 2.
//!
//! `cargo bench --bench face` (needs `assets/avatars/mira`).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use visavis::media::{AudioFrame, Phoneme};
use visavis::render::{Avatar, Face, LipSync};

/// One picture in samples.
const PICTURE: u64 = 640;

/// "People often ask me about the weather", as hibari times it: symbol and 25 ms units.
const SENTENCE: &[(char, u32)] = &[
    ('p', 2),
    ('ˈ', 2),
    ('i', 3),
    ('p', 2),
    ('ᵊ', 2),
    ('l', 2),
    (' ', 3),
    ('ˈ', 3),
    ('ɔ', 3),
    ('f', 3),
    ('ᵊ', 2),
    ('n', 2),
    (' ', 3),
    ('ˈ', 4),
    ('æ', 3),
    ('s', 2),
    ('k', 2),
    (' ', 2),
    ('m', 1),
    ('ˌ', 1),
    ('i', 2),
    (' ', 2),
    ('ə', 2),
    ('b', 2),
    ('ˈ', 2),
    ('W', 2),
    ('t', 1),
    (' ', 1),
    ('ð', 1),
    ('ə', 1),
    (' ', 2),
    ('w', 1),
    ('ˈ', 2),
    ('ɛ', 2),
    ('ð', 2),
    ('ə', 3),
    ('ɹ', 3),
    ('.', 3),
];

fn face(c: &mut Criterion) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/avatars/mira");
    let avatar = Arc::new(Avatar::load(&dir).expect("assets/avatars/mira is a valid pack"));
    let mut group = c.benchmark_group("face, of 40 ms");
    group.measurement_time(Duration::from_secs(8));

    let (mut face, mut at) = (Face::new(avatar.clone(), 1), 0);
    group.bench_function("idle", |b| {
        b.iter(|| {
            at += PICTURE;
            face.picture(at, &[AudioFrame::SILENCE; 2])
        });
    });

    let (mut face, mut at, mut said_until) = (Face::new(avatar.clone(), 1), 0, 0);
    let sound = [AudioFrame(std::array::from_fn(|n| if n % 40 < 20 { 3_000 } else { -3_000 })); 2];
    group.bench_function("speaking", |b| {
        b.iter(|| {
            if said_until <= at + 8_000 {
                let phonemes = sentence();
                face.cue(said_until, &phonemes);
                said_until += phonemes.last().map_or(0, |p| u64::from(p.start + p.len));
            }
            at += PICTURE;
            face.picture(at, &sound)
        });
    });

    let (mut face, mut at) = (Face::new(avatar, 1), 0);
    group.bench_function("listening", |b| {
        b.iter(|| {
            for (half, sound) in (0..).zip(&sound) {
                face.hear(at + 5_120 + half * PICTURE / 2, sound);
            }
            at += PICTURE;
            face.picture(at, &sound)
        });
    });
    group.finish();
}

fn sentence() -> Vec<Phoneme> {
    let mut start = 0;
    let phoneme = |&(symbol, units): &(char, u32)| {
        let len = units * 400;
        start += len;
        Phoneme { symbol, start: start - len, len }
    };
    SENTENCE.iter().map(phoneme).collect()
}

criterion_group!(benches, face);
criterion_main!(benches);

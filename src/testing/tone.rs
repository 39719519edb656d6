//! A voice that beeps once a word: 200 ms of 440 Hz, 280 ms of silence, on the picture grid.

use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt};

use crate::media::{AUDIO_RATE_HZ, Speech, Word};
use crate::tts::{Error, Manner, TextToSpeech};

const BEEP: u32 = AUDIO_RATE_HZ / 5;
const WORD: u32 = AUDIO_RATE_HZ * 12 / 25;

/// One beep a word.
pub struct Tone;

impl TextToSpeech for Tone {
    fn speak(&self, clause: String) -> BoxStream<'static, Result<Speech, Error>> {
        let mut speech = Speech::default();
        for (n, text) in clause.split_inclusive(' ').enumerate() {
            let start = n as u32 * WORD;
            speech.words.push(Word { text: text.to_owned(), start, len: BEEP });
            let sample = |i: u32| {
                let phase = i as f32 * 440.0 * std::f32::consts::TAU / AUDIO_RATE_HZ as f32;
                if i < BEEP { (phase.sin() * 16_000.0) as i16 } else { 0 }
            };
            speech.pcm.extend((0..WORD).map(sample));
        }
        if speech.pcm.is_empty() {
            return stream::empty().boxed();
        }
        stream::once(async { Ok(speech) }).boxed()
    }

    fn in_manner(&self, _manner: &Manner) -> Result<Arc<dyn TextToSpeech>, Error> {
        Ok(Arc::new(Self))
    }
}

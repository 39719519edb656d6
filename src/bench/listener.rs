//! Who listens to one answer after the other, and notes when its voice, its lips and its captions come.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use tokio::time::{timeout, timeout_at};

use crate::rtc::{Arrival, Receiver};

/// Loudness of 20 ms that is voice and not the codec's noise: -41 dB.
pub(super) const VOICED_RMS: f32 = 0.009;
/// An answer is over after this much silence: longer than any pause in it.
const SILENCE: Duration = Duration::from_millis(1_500);
/// Longer than any answer takes to begin, or to end.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the picture and the caption that belong to the first voice are waited for.
const COMPANIONS: Duration = Duration::from_millis(300);

/// A viewer whose sound is decoded.
pub(super) struct Listener {
    pub(super) receiver: Receiver,
    ear: opus::Decoder,
    watches: bool,
    /// Instant and stamp (48 kHz) of every Opus packet so far.
    pub(super) sounds: Vec<(Instant, u32)>,
}

/// How an answer began.
#[derive(Clone, Copy)]
pub(super) struct FirstWords {
    /// The first packet with voice in it came.
    pub(super) voice: Instant,
    /// The picture after it. The mouth moves in that picture for certain; it may have moved in the one before, which the
    /// server sends with the same sound.
    pub(super) lips: Option<Instant>,
    /// When the first word is heard, as its caption says.
    pub(super) caption: Option<Instant>,
}

enum Heard {
    Voice(Instant),
    Quiet,
    Picture(Instant),
    Caption(Instant),
}

impl Listener {
    /// `watches`: pictures are waited for.
    pub(super) fn new(receiver: Receiver, watches: bool) -> anyhow::Result<Self> {
        Ok(Self { receiver, ear: opus::Decoder::new(48_000, opus::Channels::Mono)?, watches, sounds: Vec::new() })
    }

    /// Waits until an answer is over, and on to some point of the server's 40 ms.
    pub(super) async fn until_silent(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        while self.until(Instant::now() + SILENCE).await?.is_some() {
            ensure!(began.elapsed() < PATIENCE, "the voice does not end");
        }
        self.until(Instant::now() + any_phase()).await?;
        Ok(())
    }

    /// Listens until then. The result is when voice was last heard.
    pub(super) async fn until(&mut self, until: Instant) -> anyhow::Result<Option<Instant>> {
        let mut last = None;
        loop {
            match timeout_at(until.into(), self.next()).await {
                Err(_) => return Ok(last),
                Ok(Ok(Heard::Voice(at))) if at <= until => last = Some(at),
                Ok(heard) => _ = heard?,
            }
        }
    }

    /// Waits for an answer to begin.
    pub(super) async fn first_words(&mut self) -> anyhow::Result<FirstWords> {
        let voice = async {
            let mut caption = None;
            loop {
                match self.next().await? {
                    Heard::Voice(voice) => return anyhow::Ok((voice, caption)),
                    Heard::Caption(at) => caption = caption.or(Some(at)),
                    Heard::Picture(_) | Heard::Quiet => {}
                }
            }
        };
        let (voice, caption) = timeout(PATIENCE, voice).await.context("no voice")??;
        let mut words = FirstWords { voice, lips: None, caption };
        while words.caption.is_none() || (self.watches && words.lips.is_none()) {
            match timeout_at((voice + COMPANIONS).into(), self.next()).await {
                Err(_) => break,
                Ok(heard) => match heard? {
                    Heard::Picture(at) => words.lips = words.lips.or(Some(at)),
                    Heard::Caption(at) => words.caption = words.caption.or(Some(at)),
                    Heard::Voice(_) | Heard::Quiet => {}
                },
            }
        }
        Ok(words)
    }

    async fn next(&mut self) -> anyhow::Result<Heard> {
        loop {
            return Ok(match self.receiver.next().await {
                None => bail!("the server hung up"),
                Some(Arrival::Sound { at, stamp, packet }) => {
                    self.sounds.push((at, stamp));
                    if is_voiced(&mut self.ear, &packet)? { Heard::Voice(at) } else { Heard::Quiet }
                }
                Some(Arrival::Picture { at, .. }) => Heard::Picture(at),
                Some(Arrival::Text { at, text }) => match first_word_ms(&text) {
                    Some(ms) => Heard::Caption(at + Duration::from_millis(ms)),
                    None => continue,
                },
            });
        }
    }
}

/// When the first word of this message is heard, if it is a caption.
fn first_word_ms(message: &str) -> Option<u64> {
    let message: Value = serde_json::from_str(message).ok()?;
    let is_caption = message["type"] == "caption";
    is_caption.then(|| message["words"][0]["t_ms"].as_u64()).flatten()
}

fn is_voiced(ear: &mut opus::Decoder, packet: &[u8]) -> anyhow::Result<bool> {
    // 120 ms is the longest packet (RFC 6716 §2.1.4).
    let mut pcm = [0_i16; 5_760];
    let len = ear.decode(packet, &mut pcm, false)?;
    let energy: f32 = pcm[..len].iter().map(|&sample| (f32::from(sample) / 32_768.0).powi(2)).sum();
    Ok((energy / len.max(1) as f32).sqrt() > VOICED_RMS)
}

/// Anywhere within a picture.
pub(super) fn any_phase() -> Duration {
    Duration::from_millis(rand::random_range(0..40))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caption_tells_when_its_first_word_is_heard() {
        let caption = r#"{"type":"caption","turn":1,"text":"hi","words":[{"w":"hi","t_ms":60,"d_ms":90}]}"#;
        assert_eq!(first_word_ms(caption), Some(60));
        assert_eq!(first_word_ms(r#"{"type":"state","state":"idle"}"#), None);
    }
}

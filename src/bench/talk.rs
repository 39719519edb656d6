//! A spoken conversation from the place of who talks: from the end of a question to the answer's voice and lips, from a typed
//! question to them, from talking into an answer to silence.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures_util::future::try_join_all;
use serde_json::json;

use super::figures::{jitters_ms, percentile};
use super::listener::{Listener, VOICED_RMS, any_phase};
use super::{Bench, load, ms_between};
use crate::media::{AUDIO_RATE_HZ, AudioFrame, DecodeLimits, SAMPLES_PER_FRAME, decode};

/// An answer is talked into once it has been heard for so long.
const INTO_THE_ANSWER: Duration = Duration::from_secs(1);
/// How much of the answer to a typed question is listened to.
const OF_AN_ANSWER: Duration = Duration::from_secs(5);
/// A packet of sound that is later than this comes too late for a browser to play it.
const TOO_LATE_MS: f64 = 200.0;
/// The longest question.
const QUESTION_S: usize = 20;
/// Ticks of Opus' clock in one packet.
const PACKET_TICKS: u32 = 960;

/// What one conversation took.
#[derive(Default)]
struct Took {
    speech_to_voice: Vec<f64>,
    speech_to_lips: Vec<f64>,
    text_to_voice: Vec<f64>,
    text_to_lips: Vec<f64>,
    speech_to_silence: Vec<f64>,
    caption_off: Vec<f64>,
    packets: u64,
    lost: u64,
    late: u64,
}

impl Bench {
    /// `times` spoken questions, if there is one, each talked into with another, and a typed one, in every session at once.
    pub(super) async fn talk(&self, times: usize) -> anyhow::Result<()> {
        let question = self.options.question.as_deref().map(frames).transpose()?;
        let mut viewers = Vec::new();
        self.connect(&mut viewers, self.options.sessions).await?;
        let before = self.usage();
        let talking = viewers.into_iter().map(|viewer| self.converse(viewer.receiver, question.as_deref(), times));
        let began = Instant::now();
        let took = try_join_all(talking).await?;
        let (span_s, after) = (began.elapsed().as_secs_f64(), self.usage());

        let all = |of: fn(&Took) -> &Vec<f64>| took.iter().flat_map(of).copied().collect::<Vec<f64>>();
        let sum = |of: fn(&Took) -> u64| took.iter().map(of).sum::<u64>();
        let mut measured = json!({
            "measure": "talk",
            "sessions": self.options.sessions,
            "times": times,
            "seconds": span_s.round(),
            "sound_packets": sum(|took| took.packets),
            "sound_packets_lost": sum(|took| took.lost),
            "sound_packets_late": sum(|took| took.late),
            "load_1m": load(),
        });
        for (name, values) in [
            ("speech_end_to_voice", all(|took| &took.speech_to_voice)),
            ("speech_end_to_lips", all(|took| &took.speech_to_lips)),
            ("typed_to_voice", all(|took| &took.text_to_voice)),
            ("typed_to_lips", all(|took| &took.text_to_lips)),
            ("talked_into_to_silence", all(|took| &took.speech_to_silence)),
            ("caption_off", all(|took| &took.caption_off)),
        ] {
            for p in [50, 95] {
                measured[format!("{name}_p{p}_ms")] = json!(percentile(&values, f64::from(p)));
            }
        }
        if self.options.pid.is_some() {
            let minutes = span_s / 60.0 * self.options.sessions as f64;
            measured["cpu_s_per_minute_of_a_session"] =
                json!(((after.cpu_s - before.cpu_s) / minutes * 100.0).round() / 100.0);
            measured["rss_mib_before"] = json!(before.rss_mib.round());
            measured["rss_mib_after"] = json!(after.rss_mib.round());
        }
        self.report(&measured)
    }

    async fn converse(
        &self,
        receiver: crate::rtc::Receiver,
        question: Option<&[AudioFrame]>,
        times: usize,
    ) -> anyhow::Result<Took> {
        let mut listener = Listener::new(receiver, self.options.codec.is_some())?;
        let mut took = Took::default();
        for _ in 0..times {
            if let Some(question) = question {
                self.speak(&mut listener, question, &mut took).await?;
            }
            self.type_in(&mut listener, &mut took).await?;
        }
        took.packets = listener.sounds.len() as u64;
        took.late = jitters_ms(&listener.sounds, 48_000).filter(|jitter| *jitter > TOO_LATE_MS).count() as u64;
        let steps = listener.sounds.windows(2).map(|pair| pair[1].1.wrapping_sub(pair[0].1) / PACKET_TICKS);
        took.lost = steps.map(|step| u64::from(step.saturating_sub(1))).sum();
        listener.receiver.close().await;
        Ok(took)
    }

    async fn speak(&self, listener: &mut Listener, question: &[AudioFrame], took: &mut Took) -> anyhow::Result<()> {
        listener.until_silent().await?;
        let spoken = listener.receiver.speak(question.to_vec(), VOICED_RMS).await.context("the question is silent")?;
        took.note(listener.first_words().await?, spoken.ended);

        listener.until(Instant::now() + INTO_THE_ANSWER + any_phase()).await?;
        let spoken = listener.receiver.speak(question.to_vec(), VOICED_RMS).await.context("the question is silent")?;
        let last = listener.until(spoken.ended).await?;
        took.speech_to_silence.push(last.map_or(0.0, |last| ms_between(spoken.began, last)));
        took.note(listener.first_words().await?, spoken.ended);
        self.hush(listener).await?;
        Ok(())
    }

    async fn type_in(&self, listener: &mut Listener, took: &mut Took) -> anyhow::Result<()> {
        listener.until_silent().await?;
        let asked =
            json!({"sessionid": listener.receiver.session(), "type": "chat", "text": "What is the weather like today?"});
        let posted = self.post("human", asked).await?;
        let words = listener.first_words().await?;
        took.text_to_voice.push(ms_between(posted, words.voice));
        took.text_to_lips.extend(words.lips.map(|lips| ms_between(posted, lips)));
        listener.until(Instant::now() + OF_AN_ANSWER).await?;
        self.hush(listener).await?;
        Ok(())
    }

    async fn hush(&self, listener: &Listener) -> anyhow::Result<Instant> {
        self.post("interrupt_talk", json!({"sessionid": listener.receiver.session()})).await
    }
}

impl Took {
    fn note(&mut self, words: super::listener::FirstWords, ended: Instant) {
        self.speech_to_voice.push(ms_between(ended, words.voice));
        self.speech_to_lips.extend(words.lips.map(|lips| ms_between(ended, lips)));
        let off = |caption: Instant| ms_between(caption, words.voice).max(ms_between(words.voice, caption));
        self.caption_off.extend(words.caption.map(off));
    }
}

/// A recording, cut into frames.
fn frames(path: &Path) -> anyhow::Result<Vec<AudioFrame>> {
    let limits = DecodeLimits { samples: QUESTION_S * AUDIO_RATE_HZ as usize, ..DecodeLimits::default() };
    let pcm = decode(std::fs::read(path).with_context(|| path.display().to_string())?, limits)?;
    ensure!(!pcm.is_empty(), "{}: no sound", path.display());
    let frame = |samples: &[i16]| {
        let mut frame = AudioFrame::SILENCE;
        frame.0[..samples.len()].copy_from_slice(samples);
        frame
    };
    Ok(pcm.chunks(SAMPLES_PER_FRAME).map(frame).collect())
}

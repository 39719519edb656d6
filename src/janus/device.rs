//! One device behind the relay: its sound at an even pace, its answers in the pieces that it takes.
//!
//! In: its sound, in pieces of any length. Out: messages for the relay's socket. One task, which holds the guest.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument, info_span};
use uuid::Uuid;

use crate::config::Relay;
use crate::media::{AUDIO_PTIME, AUDIO_RATE_HZ, AudioFrame, Resampler, SAMPLES_PER_FRAME, TurnId};
use crate::metrics;
use crate::session::{Event, Guest, NoGuest, Session, Shared, State};
use crate::track::{Encoded, MediaSink};

/// Messages of a device that wait for its task. Full: the newest is lost and counted.
const SOUND_QUEUE: usize = 32;
/// Frames of answers that wait for a device's task: 1 s. Full: the newest is lost and counted.
const ANSWER_QUEUE: usize = 50;
/// Sound of a device that waits to be heard: a minute, as somebody may send a whole recording at once. More: the oldest is lost.
const LONGEST_WAITING: usize = 60 * AUDIO_RATE_HZ as usize;
/// Silence after a device has stopped sending, so that what it said has an end (`asr.stop_ms` is 2 s at most).
const SILENCE: u32 = 110;
/// Bytes of sound in one message.
const PIECE: usize = 4_096;
/// Between two of them, at least.
const PACE: Duration = Duration::from_millis(50);

/// What it says while an answer is being made.
const WORKING: &str = "正在处理音频...";
const NOT_HEARD: &str = "抱歉，无法识别您的语音。";
const NOT_ANSWERED: &str = "抱歉，无法获取AI回复。";
const FAILED: &str = "处理请求时发生错误。";

/// A device, as the relay numbers it.
pub(super) type Id = [u8; 16];

/// From 32 hexadecimal digits, with or without dashes.
pub(super) fn id_of(text: &str) -> Option<Id> {
    Uuid::try_parse(text).ok().map(Uuid::into_bytes)
}

/// A device and its session. Dropping it leaves the session.
pub(super) struct Device {
    session: Arc<Session>,
    sound: mpsc::Sender<Bytes>,
    _task: AbortOnDropHandle<()>,
}

/// A session for the device `id`.
pub(super) fn open(shared: &Arc<Shared>, config: &Relay, id: Id, out: mpsc::Sender<Message>) -> Result<Device, NoGuest> {
    let guest = Guest::open(shared, &config.avatar, "relay")?;
    let session = Arc::clone(guest.session());
    let (sound, heard) = mpsc::channel(SOUND_QUEUE);
    let (answers, answer) = mpsc::channel(ANSWER_QUEUE);
    guest.receive(Arc::new(Answers(answers)));
    let line = Line { id, out, rate_hz: config.rate_hz, down: None, piece: BytesMut::new(), sent: None };
    let idle = Duration::from_secs(config.idle_s.into());
    let span = info_span!("relay", session = %session.id().simple().to_string().split_at(8).0);
    let task = tokio::spawn(talk(guest, heard, answer, line, idle).instrument(span));
    Ok(Device { session, sound, _task: AbortOnDropHandle::new(task) })
}

impl Device {
    /// It says this.
    pub(super) fn hear(&self, pcm: Bytes) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.sound.try_send(pcm) {
            metrics::frame_dropped("microphone", "slow_ears");
        }
    }

    /// It does not want to hear more.
    pub(super) async fn cancel(&self) {
        // A session that is ending is silent, too.
        let _ = self.session.interrupt().await;
    }

    /// Its session is over.
    pub(super) fn is_gone(&self) -> bool {
        self.sound.is_closed()
    }
}

async fn talk(
    mut guest: Guest,
    mut heard: mpsc::Receiver<Bytes>,
    mut answer: mpsc::Receiver<Option<AudioFrame>>,
    mut line: Line,
    idle: Duration,
) {
    let Ok(mut up) = Resampler::new(line.rate_hz, AUDIO_RATE_HZ) else { return };
    let mut waiting: VecDeque<i16> = VecDeque::new();
    let mut silence = SILENCE;
    let mut latest = Instant::now();
    let mut pace = interval(AUDIO_PTIME);
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        tokio::select! {
            biased;
            event = guest.event() => match event {
                // The end proper follows a moment later, but not while there is a pace.
                None | Some(Event::Bye { .. }) => return,
                Some(event) => line.tell(event),
            },
            Some(frame) = answer.recv() => line.say(frame.as_ref()),
            pcm = heard.recv() => {
                let Some(pcm) = pcm else { return };
                latest = Instant::now();
                let samples: Vec<i16> = pcm.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
                waiting.extend(up.push(&samples));
                waiting.drain(..waiting.len().saturating_sub(LONGEST_WAITING));
            }
            _ = pace.tick() => {
                let mut frame = AudioFrame::SILENCE;
                if waiting.len() >= SAMPLES_PER_FRAME {
                    silence = 0;
                    frame.0.iter_mut().zip(waiting.drain(..SAMPLES_PER_FRAME)).for_each(|(to, from)| *to = from);
                } else {
                    silence += 1;
                }
                if silence <= SILENCE {
                    guest.hear(frame);
                }
                if latest.elapsed() > idle && guest.session().state() == State::Idle {
                    return;
                }
            }
        }
    }
}

/// What goes back to a device.
struct Line {
    id: Id,
    out: mpsc::Sender<Message>,
    rate_hz: u32,
    /// Of the answer that is being said.
    down: Option<Resampler>,
    piece: BytesMut,
    sent: Option<Instant>,
}

impl Line {
    /// The next frame of an answer; `None` where there is none.
    fn say(&mut self, frame: Option<&AudioFrame>) {
        let samples = match (frame, self.down.take()) {
            (None, None) => return,
            (None, Some(down)) => down.finish(),
            (Some(frame), down) => {
                let down = down.map_or_else(|| Resampler::new(AUDIO_RATE_HZ, self.rate_hz), Ok);
                let Ok(mut down) = down else { return };
                let samples = down.push(&frame.0);
                self.down = Some(down);
                samples
            }
        };
        samples.iter().for_each(|sample| self.piece.put_i16_le(*sample));
        let over = self.down.is_none();
        while self.piece.len() >= PIECE || (over && !self.piece.is_empty()) {
            // What comes at the pace of speech fills a piece in 128 ms (256 at 8 kHz): only a stall brings two at once.
            if self.sent.is_some_and(|sent| sent.elapsed() < PACE) && !over {
                return;
            }
            let piece = self.piece.split_to(self.piece.len().min(PIECE));
            self.sent = Some(Instant::now());
            self.send(Message::binary([&self.id[..], &piece[..]].concat()));
        }
    }

    fn tell(&mut self, event: Event) {
        let content = match event {
            Event::State { state: State::Thinking } => WORKING.to_owned(),
            Event::Caption { text, .. } => text,
            Event::Error { code, .. } if code == "asr_failed" => NOT_HEARD.to_owned(),
            Event::Error { code, .. } if code.starts_with("llm_") => NOT_ANSWERED.to_owned(),
            Event::Error { .. } => FAILED.to_owned(),
            _ => return,
        };
        let id = Uuid::from_bytes(self.id).simple().to_string();
        self.send(Message::text(json!({"type": "text", "session_id": id, "content": content}).to_string()));
    }

    fn send(&self, message: Message) {
        if self.out.try_send(message).is_err() {
            metrics::frame_dropped("relay", "relay_away");
        }
    }
}

/// Takes what belongs to answers, and the first frame after each.
struct Answers(mpsc::Sender<Option<AudioFrame>>);

impl MediaSink for Answers {
    fn push(&self, _frame: &Encoded) {}

    fn hear(&self, sound: &AudioFrame, turn: Option<TurnId>) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.0.try_send(turn.map(|_| *sound)) {
            metrics::frame_dropped("audio", "slow_relay");
        }
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(rate_hz: u32) -> (Line, mpsc::Receiver<Message>) {
        let (out, sent) = mpsc::channel(100);
        (Line { id: [7; 16], out, rate_hz, down: None, piece: BytesMut::new(), sent: None }, sent)
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_goes_out_in_pieces_of_its_size_and_loses_nothing() {
        for (rate_hz, bytes) in [(16_000, 50 * 640), (8_000, 50 * 320)] {
            let (mut line, mut sent) = line(rate_hz);
            for _ in 0..50 {
                line.say(Some(&AudioFrame([5_000; SAMPLES_PER_FRAME])));
                tokio::time::advance(AUDIO_PTIME).await;
            }
            line.say(None);
            line.say(None);
            let mut pieces = Vec::new();
            while let Ok(Message::Binary(piece)) = sent.try_recv() {
                assert_eq!(piece[..16], [7; 16]);
                pieces.push(piece.len() - 16);
            }
            assert_eq!(pieces.iter().sum::<usize>(), bytes);
            assert!(pieces[..pieces.len() - 1].iter().all(|len| *len == PIECE), "{pieces:?}");
        }
    }

    #[tokio::test]
    async fn texts_carry_the_devices_number_in_hexadecimal() {
        let (mut line, mut sent) = line(16_000);
        line.tell(Event::State { state: State::Thinking });
        let Some(Message::Text(text)) = sent.recv().await else { panic!("a text") };
        let expected = json!({"type": "text", "session_id": "07".repeat(16), "content": WORKING});
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), expected);
        assert_eq!(id_of(&"07".repeat(16)), Some([7; 16]));
        assert_eq!(id_of("07070707-0707-0707-0707-070707070707"), Some([7; 16]));
        assert_eq!(id_of("7"), None);
    }
}

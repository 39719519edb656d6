//! `/api/asr`: `FunASR`'s WebSocket, for pages and programs that write down what a microphone hears.
//!
//! In: a JSON that says how, then sound, then `{"is_speaking":false}`. Out: a JSON for each text. One task a client; our ears do
//! the hearing, on threads of their own. What is said and written is in no log.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesOrdered, SplitSink};
use futures_util::{FutureExt, SinkExt, StreamExt};
use poem::web::websocket::{CloseCode, Message, WebSocketConfig, WebSocketStream};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};

use crate::asr::{self, Endpoint, Transcript};
use crate::media::{AUDIO_RATE_HZ, AudioFrame, Resampler, SAMPLES_PER_FRAME};
use crate::metrics;
use crate::places::{Place, Places};
use crate::session::{Ears, Shared};

/// Clients at once (L9), and of one address: each may keep a pair of ears busy. This machine itself may have all.
const CLIENTS: usize = 16;
const CLIENTS_OF_ADDRESS: usize = 4;
/// Largest message (L9).
const LARGEST_MESSAGE: usize = 128 << 10;
/// Utterances that are written down or wait for it. Full: the client is not read from.
const UTTERANCES: usize = 3;
/// A client that says nothing for so long is gone.
const IDLE: Duration = Duration::from_mins(1);
/// What a message may take on its way out.
const SEND: Duration = Duration::from_secs(10);

/// Who may come.
pub struct FunAsrSocket {
    shared: Arc<Shared>,
    places: Arc<Places>,
}

/// A client's place.
pub struct Admission {
    ears: Ears,
    _place: Place,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPlace {
    /// The configuration has `asr.provider: off`.
    #[error("this server does not listen: asr.provider is off")]
    NoEars,
    /// All are taken.
    #[error("too many listen already: try again")]
    Full,
}

impl FunAsrSocket {
    /// Over the ears of a running server.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, places: Places::new(CLIENTS, CLIENTS_OF_ADDRESS) }
    }

    /// How its sockets are set up.
    pub fn config() -> WebSocketConfig {
        WebSocketConfig::default().max_message_size(Some(LARGEST_MESSAGE)).max_frame_size(Some(LARGEST_MESSAGE))
    }

    /// A place for one more client, which comes from `address`.
    pub fn admit(&self, address: Option<IpAddr>) -> Result<Admission, NoPlace> {
        let ears = self.shared.ears.clone().ok_or(NoPlace::NoEars)?;
        let place = self.places.take(address.filter(|ip| !ip.is_loopback())).ok_or_else(|| {
            metrics::rejected("L9");
            NoPlace::Full
        })?;
        Ok(Admission { ears, _place: place })
    }

    /// Serves one client until either side ends.
    pub async fn serve(&self, socket: WebSocketStream, admission: Admission) {
        let stop = self.shared.stop.clone();
        let (sink, mut stream) = socket.split();
        let mut client = Client { sink, ears: admission.ears.clone(), talk: None, writing: FuturesOrdered::new() };
        let mut quiet_until = Instant::now() + IDLE;
        loop {
            // What comes after the end is the next talk's, which has to wait for it.
            let is_over = client.talk.as_ref().is_some_and(|talk| talk.is_over);
            let has_room = client.writing.len() < UTTERANCES && !is_over;
            let step = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(written) = client.writing.next() => client.written(written).await,
                came = timeout_at(quiet_until, stream.next()), if has_room => {
                    quiet_until = Instant::now() + IDLE;
                    match came {
                        Ok(Some(Ok(Message::Text(text)))) => client.told(&text).await,
                        Ok(Some(Ok(Message::Binary(sound)))) => {
                            client.heard(&sound);
                            Ok(())
                        }
                        Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => Ok(()),
                        Ok(Some(Ok(Message::Close(_)) | Err(_)) | None) | Err(_) => break,
                    }
                }
            };
            if step.is_err() {
                break;
            }
        }
        let _ = client.sink.send(Message::Close(Some((CloseCode::Normal, String::new())))).await;
    }
}

/// The client is gone, or takes nothing.
struct Gone;

/// What was written of one utterance.
struct Written {
    text: Result<String, asr::Error>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Of an utterance that may go on.
    Guess,
    /// Of a whole one.
    Utterance,
    /// Nothing of this talk follows.
    Last,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// All of it, at the end.
    Offline,
    /// What is new, as it comes.
    Online,
    /// The same, and each sentence again once it is complete.
    TwoPass,
}

/// What a client says in text. Other keys do not count.
#[derive(Deserialize)]
struct Said {
    mode: Option<String>,
    wav_name: Option<String>,
    audio_fs: Option<u32>,
    is_speaking: Option<bool>,
    #[serde(default)]
    is_end: bool,
}

/// From `is_speaking: true` to `false`.
struct Talk {
    mode: Mode,
    name: String,
    endpoint: Endpoint,
    resampler: Option<Resampler>,
    /// A byte that is half a sample, and samples that are less than a frame.
    half: Option<u8>,
    samples: VecDeque<i16>,
    /// What was written of the utterance before it was whole, and of all those before it.
    guessed: String,
    all: String,
    /// All has been said, and what is left is being written down.
    is_over: bool,
    /// The client wants to be told so.
    is_end: bool,
}

struct Client {
    sink: SplitSink<WebSocketStream, Message>,
    ears: Ears,
    talk: Option<Talk>,
    writing: FuturesOrdered<BoxFuture<'static, Written>>,
}

impl Client {
    async fn told(&mut self, text: &str) -> Result<(), Gone> {
        let Ok(said) = serde_json::from_str::<Said>(text) else {
            return self
                .send(&json!({"error": "not a message of FunASR's: {\"mode\":\"2pass\",\"is_speaking\":true,…}"}))
                .await;
        };
        if said.is_speaking == Some(false) {
            self.finish(said.is_end);
            return Ok(());
        }
        if self.talk.is_some() && said.mode.is_none() {
            return Ok(());
        }
        let talk = match Talk::new(&said, &self.ears) {
            Ok(talk) => talk,
            Err(problem) => return self.send(&json!({"error": problem})).await,
        };
        // What was begun before was given up.
        self.writing = FuturesOrdered::new();
        self.talk = Some(talk);
        Ok(())
    }

    /// Sound before the first text is nobody's.
    fn heard(&mut self, sound: &[u8]) {
        let Some(talk) = &mut self.talk else { return };
        for event in talk.push(sound) {
            self.notice(event);
        }
    }

    /// All has been said: what is under way is written down, and then the end is told.
    fn finish(&mut self, is_end: bool) {
        let Some(talk) = &mut self.talk else { return };
        (talk.is_over, talk.is_end) = (true, is_end);
        for event in talk.finish() {
            self.notice(event);
        }
        self.writing.push_back(async { Written { text: Ok(String::new()), kind: Kind::Last } }.boxed());
    }

    fn notice(&mut self, event: asr::Event) {
        let Some(talk) = &self.talk else { return };
        match event {
            asr::Event::Utterance(samples) => self.write(samples, Kind::Utterance),
            asr::Event::Pause(samples) if talk.mode != Mode::Offline && self.writing.is_empty() => {
                self.write(samples, Kind::Guess);
            }
            _ => {}
        }
    }

    fn write(&mut self, samples: Vec<i16>, kind: Kind) {
        let ears = self.ears.clone();
        let written = async move {
            let mut transcripts =
                if kind == Kind::Guess { ears.guess(samples.into()) } else { ears.transcribe(samples.into()) };
            let mut text = Ok(String::new());
            while let Some(transcript) = transcripts.next().await {
                match transcript {
                    Ok(Transcript { text: now, is_final: true, .. }) => text = Ok(now),
                    Ok(_) => {}
                    Err(error) => text = Err(error),
                }
            }
            Written { text, kind }
        };
        self.writing.push_back(written.boxed());
    }

    async fn written(&mut self, Written { text, kind }: Written) -> Result<(), Gone> {
        let Some(talk) = &mut self.talk else { return Ok(()) };
        let text = text.unwrap_or_else(|error| {
            warn!(%error, "a client's utterance was not understood");
            metrics::asr_failed();
            String::new()
        });
        let replies = talk.replies(&text, kind);
        if kind == Kind::Last {
            self.talk = None;
        }
        for reply in replies {
            self.send(&reply).await?;
        }
        Ok(())
    }

    async fn send(&mut self, reply: &Value) -> Result<(), Gone> {
        let sent = tokio::time::timeout(SEND, self.sink.send(Message::Text(reply.to_string()))).await;
        if let Ok(Ok(())) = sent {
            return Ok(());
        }
        debug!("a client of /api/asr is gone");
        Err(Gone)
    }
}

impl Talk {
    fn new(said: &Said, ears: &Ears) -> Result<Self, &'static str> {
        let mode = match said.mode.as_deref() {
            Some("offline") => Mode::Offline,
            Some("online") => Mode::Online,
            Some("2pass") | None => Mode::TwoPass,
            Some(_) => return Err("mode is offline, online or 2pass"),
        };
        let resampler = match said.audio_fs.unwrap_or(AUDIO_RATE_HZ) {
            AUDIO_RATE_HZ => None,
            rate @ 8_000..=48_000 => Some(Resampler::new(rate, AUDIO_RATE_HZ).map_err(|_| "audio_fs cannot be used")?),
            _ => return Err("audio_fs is from 8000 to 48000"),
        };
        let mut endpoint = Endpoint::new(ears.config.stop_ms);
        if mode == Mode::Offline {
            // All of it is somebody's words, however it sounds; it is cut where it is longer than ears take at once.
            endpoint.open();
        }
        let name = said.wav_name.clone().unwrap_or_default().chars().take(256).collect();
        let (half, samples) = (None, VecDeque::new());
        let (guessed, all) = (String::new(), String::new());
        Ok(Self { mode, name, endpoint, resampler, half, samples, guessed, all, is_over: false, is_end: false })
    }

    /// 16-bit samples, little endian, cut anywhere.
    fn push(&mut self, sound: &[u8]) -> Vec<asr::Event> {
        let bytes: Vec<u8> = self.half.take().into_iter().chain(sound.iter().copied()).collect();
        let (pairs, rest) = bytes.as_chunks::<2>();
        self.half = rest.first().copied();
        let samples: Vec<i16> = pairs.iter().map(|pair| i16::from_le_bytes(*pair)).collect();
        match &mut self.resampler {
            Some(resampler) => self.samples.extend(resampler.push(&samples)),
            None => self.samples.extend(samples),
        }
        let mut events = Vec::new();
        while self.samples.len() >= SAMPLES_PER_FRAME {
            events.extend(self.frame());
        }
        events
    }

    /// The next 20 ms, filled up with silence.
    fn frame(&mut self) -> Vec<asr::Event> {
        let mut frame = AudioFrame::SILENCE;
        let len = self.samples.len().min(SAMPLES_PER_FRAME);
        frame.0.iter_mut().zip(self.samples.drain(..len)).for_each(|(to, from)| *to = from);
        self.endpoint.push(&frame)
    }

    fn finish(&mut self) -> Vec<asr::Event> {
        let mut events = if self.samples.is_empty() { Vec::new() } else { self.frame() };
        events.extend(self.endpoint.finish());
        events
    }

    /// What the client is told of a text.
    fn replies(&mut self, text: &str, kind: Kind) -> Vec<Value> {
        let reply = |mode: &str, text: &str, is_final: bool| json!({"mode": mode, "text": text, "wav_name": self.name, "is_final": is_final, "timestamp": null});
        let (partly, wholly) = match self.mode {
            Mode::Offline => ("offline", "offline"),
            Mode::Online => ("online", "online"),
            Mode::TwoPass => ("2pass-online", "2pass-offline"),
        };
        match kind {
            Kind::Guess => {
                // Clients put it behind what they have: what was guessed otherwise is told once it is whole.
                let more = text.strip_prefix(self.guessed.as_str()).unwrap_or_default().to_owned();
                if more.is_empty() {
                    return Vec::new();
                }
                let told = reply(partly, &more, false);
                self.guessed.push_str(&more);
                vec![told]
            }
            Kind::Utterance => {
                let guessed = std::mem::take(&mut self.guessed);
                let told = match self.mode {
                    Mode::Offline => {
                        asr::append(&mut self.all, text);
                        return Vec::new();
                    }
                    Mode::Online => reply(wholly, text.strip_prefix(guessed.as_str()).unwrap_or(text), false),
                    Mode::TwoPass => reply(wholly, text, false),
                };
                if text.is_empty() { Vec::new() } else { vec![told] }
            }
            Kind::Last => {
                let mut last = reply(wholly, &self.all, true);
                if self.is_end {
                    last["is_end"] = true.into();
                }
                vec![last]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;

    fn talk(mode: &str) -> Talk {
        let ears = Ears { recogniser: watch::channel(None).1, config: asr::Config::default() };
        let said = serde_json::from_value(json!({"mode": mode, "wav_name": "h5", "is_speaking": true})).unwrap();
        Talk::new(&said, &ears).unwrap()
    }

    /// What a client shows: increments are put behind, whole sentences replace them.
    fn shown(talk: &mut Talk, texts: &[(&str, Kind)]) -> String {
        let (mut whole, mut now) = (String::new(), String::new());
        for (text, kind) in texts {
            for reply in talk.replies(text, *kind) {
                let text = reply["text"].as_str().unwrap();
                if reply["mode"].as_str().unwrap().ends_with("offline") {
                    whole.push_str(text);
                    now = String::new();
                } else {
                    now.push_str(text);
                }
            }
        }
        whole + &now
    }

    #[test]
    fn each_mode_ends_with_the_same_words() {
        let said = [
            ("你好", Kind::Guess),
            ("你好吗", Kind::Guess),
            ("你好吗？", Kind::Utterance),
            ("嗯", Kind::Guess),
            ("恩，很好。", Kind::Utterance),
            ("", Kind::Last),
        ];
        assert_eq!(shown(&mut talk("2pass"), &said), "你好吗？恩，很好。");
        // Offline nobody guesses.
        let whole: Vec<_> = said.into_iter().filter(|(_, kind)| *kind != Kind::Guess).collect();
        assert_eq!(shown(&mut talk("offline"), &whole), "你好吗？恩，很好。");
        assert_eq!(shown(&mut talk("online"), &said[..3]), "你好吗？");
    }

    #[test]
    fn the_last_reply_says_so_and_only_that() {
        let mut talk = talk("2pass");
        let replies: Vec<Value> =
            [("Hi.", Kind::Utterance), ("", Kind::Last)].iter().flat_map(|(text, kind)| talk.replies(text, *kind)).collect();
        assert_eq!(replies[0]["is_final"], false);
        assert_eq!((&replies[1]["is_final"], &replies[1]["mode"]), (&json!(true), &json!("2pass-offline")));
        assert_eq!(replies[1]["wav_name"], "h5");
    }

    #[test]
    fn sound_that_is_cut_anywhere_is_whole() {
        let mut talk = talk("offline");
        let bytes: Vec<u8> = (0..3_200_i16).flat_map(i16::to_le_bytes).collect();
        for piece in bytes.chunks(333) {
            talk.push(piece);
        }
        assert_eq!((talk.half, talk.samples.len()), (None, 0));
        talk.push(&bytes[..201]);
        assert_eq!((talk.half, talk.samples.len()), (Some(bytes[200]), 100));
    }
}

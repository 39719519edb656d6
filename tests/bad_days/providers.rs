//! Sixteen ways to fail (reliability.md §1.5) for each kind of provider and of connection. After each the connection is
//! closed, and the next request is answered.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::StreamExt;
use tokio::net::TcpSocket;
use tokio::time::Instant;
use visavis::asr::{self, SpeechToText};
use visavis::llm::{self, ChatModel, Delta, Message, Prompt};
use visavis::tts::{self, TextToSpeech};

use super::faulty::{self, Act, Faulty, Then};

/// Who is asked, and over what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A language model: events over HTTP.
    Model,
    /// A voice: a WAV file over HTTP.
    Voice,
    /// A voice over a `WebSocket`: Doubao.
    VoiceSocket,
    /// Ears: JSON over HTTP.
    Ears,
    /// Ears over a `WebSocket`: `FunASR`.
    EarsSocket,
}

use Kind::{Ears, EarsSocket, Model, Voice, VoiceSocket};

const KINDS: [Kind; 5] = [Model, Voice, VoiceSocket, Ears, EarsSocket];

/// A way to fail, and what each kind then says of it: a part of its error, nothing where all is well nevertheless, and no
/// entry where it cannot happen.
struct Row {
    way: Way,
    says: [Option<&'static str>; 5],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Refuse,
    HangAfterAccept,
    HangWithin,
    AByteNowAndThen,
    ResetWithin,
    Status(&'static str),
    HtmlForJson,
    NoUtf8,
    HalfAnEvent,
    ALineWithoutEnd,
    AnAnswerWithoutEnd,
    GzipBomb,
    Redirect,
    WrongRate,
    BadSamples,
    ExpiredCertificate,
}

#[rustfmt::skip]
fn rows() -> Vec<Row> {
    use Way::*;
    let row = |way, [model, voice, voice_socket, ears, ears_socket]: [&'static str; 5]| {
        let says = [model, voice, voice_socket, ears, ears_socket].map(|says| (says != "-").then_some(says));
        Row { way, says }
    };
    vec![
        row(Refuse, ["llm_unavailable", "cannot connect", "cannot connect", "cannot be reached", "cannot be reached"]),
        row(HangAfterAccept, ["llm_timeout", "no sound within", "no connection within", "did not answer within", "did not answer within"]),
        row(HangWithin, ["llm_timeout", "no more sound within", "no more sound within", "did not answer within", "did not answer within"]),
        row(AByteNowAndThen, ["llm_timeout", "within", "no sound within", "did not answer within", "did not answer within"]),
        row(ResetWithin, ["llm_failed", "broke off", "broke off", "broke off", "broke off"]),
        row(Status("401 Unauthorized"), ["llm_unauthorized", "status 401", "status 401", "refuses the key", "refuses the key"]),
        row(Status("429 Too Many Requests"), ["llm_rate_limited", "status 429", "status 429", "is busy", "is busy"]),
        row(Status("500 Internal Server Error"), ["llm_unavailable", "status 500", "status 500", "HTTP 500", "HTTP 500"]),
        row(Status("503 Service Unavailable"), ["llm_unavailable", "status 503", "status 503", "HTTP 503", "HTTP 503"]),
        row(HtmlForJson, ["llm_failed", "text/html", "status 200", "no JSON", "HTTP 200"]),
        row(NoUtf8, ["llm_failed", "refused", "a broken WebSocket frame", "no JSON", "a broken WebSocket frame"]),
        row(HalfAnEvent, ["llm_failed", "broke off", "broke off", "broke off", "broke off"]),
        row(ALineWithoutEnd, ["llm_failed", "a WAV without sound", "a broken WebSocket frame", "more than 64 KiB", "a broken WebSocket frame"]),
        row(AnAnswerWithoutEnd, ["llm_failed", "longer than 120 s", "longer than 120 s", "more than 64 KiB", "more than 8 KiB"]),
        row(GzipBomb, ["llm_failed", "compressed (gzip)", "a broken WebSocket frame", "no JSON", "a broken WebSocket frame"]),
        row(Redirect, ["llm_not_found", "status 307", "status 307", "HTTP 307", "HTTP 307"]),
        row(WrongRate, ["-", "", "-", "-", "-"]),
        row(BadSamples, ["-", "", "", "-", "-"]),
        row(ExpiredCertificate, ["llm_unavailable", "certificate expired", "certificate expired", "cannot be reached", "cannot be reached"]),
    ]
}

/// Half a second of a tone, 16-bit.
fn tone(rate_hz: u32) -> Vec<i16> {
    (0..rate_hz / 2)
        .map(|n| ((f64::from(n) / f64::from(rate_hz) * 440.0 * std::f64::consts::TAU).sin() * 9_000.0) as i16)
        .collect()
}

fn bytes(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

/// The head of a WAV file whose length is not known.
fn wav_head(format: u16, bits: u16, rate_hz: u32) -> Vec<u8> {
    let step = bits / 8;
    let mut head = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0".to_vec();
    head.extend([format, 1].iter().flat_map(|n| n.to_le_bytes()));
    head.extend([rate_hz, rate_hz * u32::from(step)].iter().flat_map(|n| n.to_le_bytes()));
    head.extend([step, bits].iter().flat_map(|n| n.to_le_bytes()));
    [head.as_slice(), b"data\xff\xff\xff\xff"].concat()
}

/// A frame as servers send it, of `len` bytes, which are `payload`'s or more.
fn frame_of(first: u8, len: usize, payload: &[u8]) -> Vec<u8> {
    let mut head = vec![first];
    match len {
        0..126 => head.push(len as u8),
        126..65_536 => head.extend([&[126][..], &(len as u16).to_be_bytes()].concat()),
        _ => head.extend([&[127][..], &(len as u64).to_be_bytes()].concat()),
    }
    [head.as_slice(), payload].concat()
}

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
/// "Compressed", which nobody agreed on.
const RESERVED: u8 = 0x40;

/// Doubao's message of sound.
fn doubao(sequence: i32, sound: &[u8]) -> Vec<u8> {
    let head = [0x11, 0xb1, 0, 0];
    let message = [&head[..], &sequence.to_be_bytes(), &(sound.len() as u32).to_be_bytes(), sound].concat();
    frame_of(BINARY, message.len(), &message)
}

fn funasr(text: &str) -> Vec<u8> {
    frame_of(TEXT, text.len(), text.as_bytes())
}

const PARTIAL: &str = r#"{"mode":"2pass-online","text":"hello ","wav_name":"visavis","is_final":false}"#;
const SENTENCE: &str = r#"{"mode":"2pass-offline","text":"hello","wav_name":"visavis","is_end":true,"is_final":true}"#;
const CHUNK: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"Hello. \"}}]}\n\n";

impl Kind {
    fn is_socket(self) -> bool {
        matches!(self, VoiceSocket | EarsSocket)
    }

    /// How an answer begins that has no length.
    fn head(self, more: &str) -> Vec<u8> {
        let kind = match self {
            Model => "text/event-stream",
            Voice => "audio/wav",
            Ears => "application/json",
            VoiceSocket | EarsSocket => return Vec::new(),
        };
        format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: {kind}\r\n{more}\r\n").into_bytes()
    }

    /// The first part of a good answer.
    fn beginning(self) -> Vec<u8> {
        let sound = bytes(&tone(16_000));
        match self {
            Model => CHUNK.into(),
            Voice => [wav_head(1, 16, 16_000), sound].concat(),
            VoiceSocket => doubao(1, &sound),
            Ears => b"{\"text\":".to_vec(),
            EarsSocket => funasr(PARTIAL),
        }
    }

    fn rest(self) -> Vec<u8> {
        match self {
            Model => b"data: [DONE]\n\n".to_vec(),
            Voice => vec![],
            VoiceSocket => doubao(-2, &[]),
            Ears => b"\"hello\"}".to_vec(),
            EarsSocket => funasr(SENTENCE),
        }
    }

    pub(crate) fn good(self) -> Act {
        self.act([self.beginning(), self.rest()].concat(), Then::Close)
    }

    /// An answer that succeeds so far.
    pub(crate) fn act(self, body: Vec<u8>, then: Then) -> Act {
        Act { upgrades: self.is_socket(), bytes: [self.head(""), body].concat(), then }
    }

    /// What it does to fail in that `way`; `elsewhere` is where it would send us.
    pub(crate) fn fails(self, way: Way, elsewhere: &str) -> Act {
        let instead = |head: &str, body: &str| {
            let length = body.len();
            let bytes =
                format!("HTTP/1.1 {head}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes();
            Act { upgrades: false, bytes, then: Then::Close }
        };
        let begun = |then| self.act(self.beginning(), then);
        match way {
            Way::Refuse | Way::ExpiredCertificate => self.good(),
            Way::HangAfterAccept => Act { upgrades: false, bytes: vec![], then: Then::Hang },
            Way::HangWithin => begun(Then::Hang),
            Way::AByteNowAndThen => self.act(vec![], Then::Drip([self.beginning(), self.rest()].concat())),
            Way::ResetWithin => begun(Then::Reset),
            Way::Status(line) => instead(&format!("{line}\r\nRetry-After: 1"), r#"{"error":{"code":"no"}}"#),
            Way::HtmlForJson => instead("200 OK\r\nContent-Type: text/html", "<html>Bad Gateway</html>"),
            Way::NoUtf8 => match self {
                Model => self.act([CHUNK.as_bytes(), b"data: \xff\xfe\n\n"].concat(), Then::Hang),
                // What would be JSON instead of sound.
                Voice => {
                    let head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n\r\n";
                    Act {
                        upgrades: false,
                        bytes: [head.as_slice(), b"{\"error\": \"\xff\xfe\"}"].concat(),
                        then: Then::Close,
                    }
                }
                Ears => self.act(b"{\"text\": \"\xff\xfe\"}".to_vec(), Then::Close),
                VoiceSocket | EarsSocket => self.act(frame_of(TEXT, 3, b"\xff\xfe{"), Then::Hang),
            },
            Way::HalfAnEvent => match self {
                Model => self.act([CHUNK.as_bytes(), b"data: {\"cho"].concat(), Then::Close),
                Voice | Ears => {
                    let bytes = [self.head("Content-Length: 100000\r\n"), self.beginning()].concat();
                    Act { upgrades: false, bytes, then: Then::Close }
                }
                VoiceSocket | EarsSocket => self.act(frame_of(TEXT, 200, b"{\"mode\":"), Then::Close),
            },
            Way::ALineWithoutEnd => {
                let body = match self {
                    Model => b"data: ".to_vec(),
                    Voice => b"RIFF\xff\xff\xff\xffWAVELIST\xff\xff\xff\x7f".to_vec(),
                    Ears => b"{\"text\": \"".to_vec(),
                    VoiceSocket => frame_of(BINARY, 100 << 20, &[]),
                    EarsSocket => frame_of(TEXT, 100 << 20, &[]),
                };
                self.act(body, Then::Repeat(vec![b'x'; 1 << 14]))
            }
            Way::AnAnswerWithoutEnd => {
                let more = match self {
                    Model => CHUNK.repeat(100).into(),
                    Voice => bytes(&tone(16_000)),
                    VoiceSocket => doubao(2, &bytes(&tone(16_000))),
                    Ears => b" ".repeat(1 << 14),
                    EarsSocket => funasr(PARTIAL).repeat(100),
                };
                self.act(if self == Ears { vec![] } else { self.beginning() }, Then::Repeat(more))
            }
            Way::GzipBomb => {
                let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
                gzip.write_all(&vec![0; 20 << 20]).expect("a vector takes all");
                let bomb = gzip.finish().expect("a vector takes all");
                if self.is_socket() {
                    return self.act(frame_of(BINARY | RESERVED, bomb.len(), &bomb), Then::Hang);
                }
                Act { upgrades: false, bytes: [self.head("Content-Encoding: gzip\r\n"), bomb].concat(), then: Then::Close }
            }
            Way::Redirect => instead(&format!("307 Temporary Redirect\r\nLocation: {elsewhere}"), "{}"),
            Way::WrongRate => self.act([wav_head(1, 16, 8_000), bytes(&tone(8_000))].concat(), Then::Close),
            Way::BadSamples => {
                if self == VoiceSocket {
                    // Every piece ends within a sample.
                    let sound = bytes(&tone(16_000));
                    let pieces: Vec<u8> = sound.chunks(999).flat_map(|piece| doubao(1, piece)).collect();
                    self.act([pieces, doubao(-2, &[0x55])].concat(), Then::Close)
                } else {
                    let good = tone(16_000);
                    let floats = good.iter().enumerate().map(|(n, s)| match n % 100 {
                        0 => f32::NAN,
                        1 => f32::INFINITY,
                        _ => f32::from(*s) / 32_768.0,
                    });
                    let sound: Vec<u8> = floats.flat_map(f32::to_le_bytes).chain([0x55, 0x55, 0x55]).collect();
                    self.act([wav_head(3, 32, 16_000), sound].concat(), Then::Close)
                }
            }
        }
    }

    /// A client of whoever is at `host`, which waits little.
    fn client(self, host: &str, tls: bool) -> Client {
        let (http, ws) = if tls { ("https", "wss") } else { ("http", "ws") };
        let patience = Duration::from_secs(1);
        match self {
            Model => {
                let mut config = llm::Config { provider: llm::Provider::OpenAi, ..llm::Config::default() };
                let timeouts = &mut config.timeouts;
                (timeouts.connect, timeouts.first_token, timeouts.idle) = (patience, patience, patience);
                timeouts.total = 3 * patience;
                config.openai.base_url = format!("{http}://{host}/v1");
                config.openai.api_key = "sk-test".into();
                Client::Model(llm::build(&config).expect("it is valid"))
            }
            Voice | VoiceSocket => {
                let service = match self {
                    Voice => format!("provider: openai\nopenai: {{base_url: {http}://{host}/v1, format: wav}}"),
                    _ => format!("provider: doubao\ndoubao: {{url: {ws}://{host}/tts, app_id: \"42\", access_token: key}}"),
                };
                let timeouts = "timeouts: {connect: 1s, first_sound: 1500ms, stall: 1s, total: 3s}";
                let config: tts::Config = serde_saphyr::from_str(&format!("{timeouts}\n{service}")).expect("it is valid");
                Client::Voice(tts::build(&config, Path::new("models")).expect("it is valid"))
            }
            Ears | EarsSocket => {
                let mut config = asr::Config { timeout: patience, ..asr::Config::default() };
                config.openai.base_url = format!("{http}://{host}/v1");
                config.funasr.url = format!("{ws}://{host}");
                config.provider = if self == Ears { asr::Provider::OpenAi } else { asr::Provider::FunAsr };
                let ears = asr::build(&config, Path::new("models")).expect("it is valid");
                Client::Ears(ears.expect("there are some"))
            }
        }
    }
}

enum Client {
    Model(Arc<dyn ChatModel>),
    Voice(Arc<dyn TextToSpeech>),
    Ears(Arc<dyn SpeechToText>),
}

impl Client {
    /// What came, in letters or samples, and how it ended.
    async fn ask(&self) -> (usize, Option<String>) {
        let (mut came, mut error) = (0, None);
        match self {
            Self::Model(model) => {
                let mut reply = model.reply(Prompt { messages: vec![Message::User("Well?".into())], ..Prompt::default() });
                while let Some(delta) = reply.next().await {
                    match delta {
                        Ok(Delta::Text(text)) => came += text.len(),
                        Ok(Delta::Call(_)) => panic!("nobody offered a tool"),
                        Err(failed) => error = Some(format!("{}: {failed}", failed.code())),
                    }
                }
            }
            Self::Voice(voice) => {
                let mut speech = voice.speak("Hello there.".into());
                while let Some(piece) = speech.next().await {
                    match piece {
                        Ok(piece) => came += piece.pcm.len(),
                        Err(failed) => error = Some(failed.to_string()),
                    }
                }
            }
            Self::Ears(ears) => {
                let mut transcripts = ears.transcribe(tone(16_000).into());
                while let Some(transcript) = transcripts.next().await {
                    match transcript {
                        Ok(transcript) => came = transcript.text.len(),
                        Err(failed) => error = Some(failed.to_string()),
                    }
                }
            }
        }
        (came, error)
    }
}

/// One kind of provider fails in one way, once, and is asked again when it is well.
async fn one(kind: Kind, way: Way, says: &str) {
    let what = format!("{kind:?}, {way:?}");
    let elsewhere = Faulty::start(kind.good()).await;
    let act = kind.fails(way, &format!("http://{}/v1", elsewhere.address));
    let standin = Faulty::start(act).await;
    // A place that is taken, and where nobody listens yet.
    let nobody = TcpSocket::new_v4().expect("there are sockets");
    nobody.bind("127.0.0.1:0".parse().expect("an address")).expect("loopback has a port");
    let address = match way {
        Way::ExpiredCertificate => faulty::expired().await,
        Way::Refuse => nobody.local_addr().expect("it is bound"),
        _ => standin.address,
    };
    let client = kind.client(&address.to_string(), way == Way::ExpiredCertificate);
    let began = Instant::now();
    let (came, error) = client.ask().await;
    // Three attempts of a voice with a second and two between them; all else is shorter.
    assert!(began.elapsed() < Duration::from_secs(9), "{what}: {:?}", began.elapsed());
    if says.is_empty() {
        assert_eq!(error, None, "{what}");
        assert!(came.abs_diff(8_000) <= 2, "{what}: {came}");
    } else {
        let error = error.unwrap_or_else(|| panic!("{what}: no error"));
        assert!(error.contains(says), "{what}: {error}");
        assert!(!error.contains("sk-test") && !error.contains("Hello"), "{what}: {error}");
    }
    assert!(standin.has_open(0, Duration::from_secs(1)).await, "{what}: the connection is still open");
    assert_eq!(elsewhere.asked(), 0, "{what}: we were led elsewhere");
    // 120 s of sound are 3.8 MB; the rest is what lies in buffers.
    assert!(standin.longest() < 16 << 20, "{what}: {} bytes were taken", standin.longest());
    let _restarted = match way {
        Way::ExpiredCertificate => return,
        Way::Refuse => Faulty::listen(nobody.listen(8).expect("the place is ours"), kind.good()),
        _ => {
            standin.will(kind.good());
            standin
        }
    };
    let (came, error) = client.ask().await;
    assert!(came > 0 && error.is_none(), "after {what}: {error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_fail_is_named_in_time_is_closed_and_the_next_request_is_answered() {
    // Those that send as much as they can are tried when the others are done, since those are given little time.
    let is_heavy = |row: &Row| matches!(row.way, Way::ALineWithoutEnd | Way::AnAnswerWithoutEnd | Way::GzipBomb);
    let (heavy, light): (Vec<Row>, Vec<Row>) = rows().into_iter().partition(is_heavy);
    let (mut tried, mut wrong) = (0, Vec::new());
    for rows in [light, heavy] {
        let cases = rows.iter().flat_map(|row| KINDS.into_iter().zip(row.says).map(|(kind, says)| (kind, row.way, says)));
        let cases = cases.filter_map(|(kind, way, says)| says.map(|says| tokio::spawn(one(kind, way, says))));
        for case in cases.collect::<Vec<_>>() {
            wrong.extend(case.await.err().map(|error| error.to_string()));
            tried += 1;
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!(tried, 19 * 5 - 4 - 3);
}

//! Edge's "read aloud": SSML out over a WebSocket, MP3 at 24 kHz and the times of words back. It needs no key, only a
//! token that is made of the time of day; when our clock is wrong, the service's own `Date` corrects it.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio_tungstenite::tungstenite::http::Uri;

use super::config;
use super::net::{Encoding, Fault, Incoming, Out, Socket, SoundDecoder, Trim, WordTimes, request_id, ssml, unix_seconds};
use super::remote::Service;
use super::{Error, Timeouts, required, speed};

/// What the browser says of itself; not a secret, and the same for everybody.
const CLIENT_TOKEN: &str = "6A5AA1D4EAFF4E9FB37E23D68491D6F4";
const CLIENT_VERSION: &str = "1-143.0.3650.75";
const ORIGIN: &str = "chrome-extension://jdiccldimpdaibmpdkjnbmckianbfold";
const USER_AGENT: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
                          Chrome/143.0.0.0 Safari/537.36 Edg/143.0.0.0";

/// From 1601, where Windows counts from, to 1970, in seconds.
const WINDOWS_EPOCH: i64 = 11_644_473_600;
/// A token holds for five minutes.
const TOKEN_SECONDS: i64 = 300;
/// Offsets and durations come in units of 100 ns: 625 to a sample at 16 kHz.
const TICKS_PER_SAMPLE: u64 = 625;
/// Sound that waits for the first word's time, 300 ms: the service tells words before their sound, but need not.
const HELD_FOR_WORDS: usize = 4_800;

const SPEECH_CONFIG: &str = concat!(
    r#"{"context":{"synthesis":{"audio":{"metadataoptions":{"sentenceBoundaryEnabled":"false","#,
    r#""wordBoundaryEnabled":"true"},"outputFormat":"audio-24khz-48kbitrate-mono-mp3"}}}}"#
);

pub(super) struct Edge {
    config: config::Edge,
    /// As SSML names the voice.
    voice: String,
    timeouts: Timeouts,
    /// What the service's clock is ahead of ours, in seconds.
    skew: Arc<AtomicI64>,
}

impl Edge {
    pub(super) fn new(config: &config::Edge, timeouts: &Timeouts) -> Result<Self, Error> {
        speed("tts.edge.speed", config.speed)?;
        let setting = |key, problem: String| Error::Setting { key, problem };
        config.url.parse::<Uri>().map_err(|error| setting("tts.edge.url", error.to_string()))?;
        let short = required("tts.edge.voice", Some(&config.voice))?;
        let voice = long_name(short)
            .ok_or_else(|| setting("tts.edge.voice", format!("\"{short}\" is not like zh-CN-XiaoyiNeural")))?;
        Ok(Self { config: config.clone(), voice, timeouts: *timeouts, skew: Arc::default() })
    }

    /// Connects; a token that is refused is made again once by the service's own clock.
    async fn connect(&self) -> Result<Socket, Fault> {
        let mut date = None;
        match self.connect_at(unix_seconds() + self.skew.load(Ordering::Relaxed), &mut date).await {
            Err(Fault::Status { status: 403, .. }) if date.is_some() => {
                let now = date.unwrap_or_default();
                self.skew.store(now - unix_seconds(), Ordering::Relaxed);
                self.connect_at(now, &mut None).await
            }
            connected => connected,
        }
    }

    async fn connect_at(&self, now: i64, date: &mut Option<i64>) -> Result<Socket, Fault> {
        let url = format!(
            "{}?TrustedClientToken={CLIENT_TOKEN}&ConnectionId={}&Sec-MS-GEC={}&Sec-MS-GEC-Version={CLIENT_VERSION}",
            self.config.url,
            request_id(),
            token(now)
        );
        let headers = [
            ("origin", ORIGIN.to_owned()),
            ("user-agent", USER_AGENT.to_owned()),
            ("pragma", "no-cache".to_owned()),
            ("cache-control", "no-cache".to_owned()),
            ("accept-encoding", "gzip, deflate, br, zstd".to_owned()),
            ("accept-language", "en-US,en;q=0.9".to_owned()),
            ("cookie", format!("muid={};", request_id().to_uppercase())),
        ];
        Socket::connect(&url, &headers, self.timeouts.connect.0, date).await
    }

    async fn ask(&self, socket: &mut Socket, clause: &str) -> Result<(), Fault> {
        let time = javascript_date(unix_seconds());
        let config = format!(
            "X-Timestamp:{time}\r\nContent-Type:application/json; charset=utf-8\r\nPath:speech.config\r\n\r\n{SPEECH_CONFIG}\r\n"
        );
        socket.send_text(config).await?;
        let prosody = format!("pitch='+0Hz' rate='{:+.0}%' volume='+0%'", (self.config.speed - 1.0) * 100.0);
        let said = ssml("en-US", &self.voice, &prosody, clause);
        // The Z behind a date that names its zone is the browser's, and expected.
        let head =
            format!("X-RequestId:{}\r\nContent-Type:application/ssml+xml\r\nX-Timestamp:{time}Z\r\nPath:ssml", request_id());
        socket.send_text(format!("{head}\r\n\r\n{said}")).await
    }
}

#[async_trait]
impl Service for Edge {
    async fn say(&self, clause: &str, out: &Out) -> Result<(), Fault> {
        let mut socket = self.connect().await?;
        self.ask(&mut socket, clause).await?;
        let mut answer = Answer::new(clause)?;
        loop {
            match socket.next().await? {
                Incoming::Binary(message) => {
                    if let Some(mp3) = sound(&message)? {
                        answer.sound(&mp3, out).await?;
                    }
                }
                Incoming::Text(message) => {
                    let (head, body) = message.split_once("\r\n\r\n").ok_or(Fault::Garbled("a message without a head"))?;
                    match header(head, "Path") {
                        Some("audio.metadata") => answer.metadata(body)?,
                        Some("turn.end") => return answer.end(out).await,
                        _ => {}
                    }
                }
            }
        }
    }
}

/// What has come of one answer.
struct Answer {
    decoder: SoundDecoder,
    trim: Trim,
    words: WordTimes,
    /// Sound that waits for the first word; `None` once it is on its way.
    held: Option<Vec<i16>>,
    /// Whether the clause went out without times; words that come later are too late.
    is_untimed: bool,
    /// Samples handed on.
    played: u32,
}

impl Answer {
    fn new(clause: &str) -> Result<Self, Fault> {
        Ok(Self {
            decoder: SoundDecoder::new(Encoding::Mp3)?,
            trim: Trim::default(),
            words: WordTimes::new(clause),
            held: Some(Vec::new()),
            is_untimed: false,
            played: 0,
        })
    }

    fn metadata(&mut self, body: &str) -> Result<(), Fault> {
        let value: Value = serde_json::from_str(body).map_err(|_| Fault::Garbled("metadata that is no JSON"))?;
        for item in value["Metadata"].as_array().into_iter().flatten().filter(|item| item["Type"] == "WordBoundary") {
            let data = &item["Data"];
            let samples = |key: &str| (data[key].as_u64().unwrap_or_default() / TICKS_PER_SAMPLE) as u32;
            let word = unescaped(data["text"]["Text"].as_str().unwrap_or_default());
            self.words.tell(&word, samples("Offset"), samples("Duration"));
        }
        Ok(())
    }

    async fn sound(&mut self, mp3: &[u8], out: &Out) -> Result<(), Fault> {
        let pcm = self.decoder.push(mp3)?;
        let pcm = self.trim.push(&pcm);
        self.hand_on(pcm, false, out).await;
        Ok(())
    }

    async fn hand_on(&mut self, pcm: Vec<i16>, is_last: bool, out: &Out) {
        let mut pcm = pcm;
        if let Some(held) = &mut self.held {
            held.append(&mut pcm);
            if !(self.words.is_told() || is_last || held.len() >= HELD_FOR_WORDS) {
                return;
            }
            self.is_untimed = !self.words.is_told() && !held.is_empty();
            pcm = self.held.take().unwrap_or_default();
        }
        let end = self.played + pcm.len() as u32;
        let dropped = self.trim.dropped() as u32;
        let words = self.words.due(self.played + dropped, end + dropped);
        self.played = end;
        out.timed(pcm, if self.is_untimed { Vec::new() } else { words }).await;
    }

    async fn end(mut self, out: &Out) -> Result<(), Fault> {
        let rest = std::mem::replace(&mut self.decoder, SoundDecoder::new(Encoding::Mp3)?).finish()?;
        let mut rest = self.trim.push(&rest);
        let dropped = self.trim.dropped() as u32;
        rest.extend(std::mem::take(&mut self.trim).finish());
        if rest.is_empty() && self.played == 0 && self.held.as_ref().is_none_or(Vec::is_empty) {
            return Err(Fault::Silent);
        }
        self.hand_on(rest, true, out).await;
        if !self.is_untimed {
            let words = self.words.finish(self.played + dropped);
            out.timed(Vec::new(), words).await;
        }
        Ok(())
    }
}

/// The MP3 in a binary message; `None` for the one without any that ends the sound.
fn sound(message: &Bytes) -> Result<Option<Bytes>, Fault> {
    let head_len = message.first_chunk().map(|len| usize::from(u16::from_be_bytes(*len)));
    let head = head_len.and_then(|len| message.get(2..2 + len)).ok_or(Fault::Garbled("a message that is too short"))?;
    let head = std::str::from_utf8(head).map_err(|_| Fault::Garbled("a head that is no text"))?;
    let body = message.slice(2 + head.len()..);
    match (header(head, "Path"), header(head, "Content-Type")) {
        (Some("audio"), Some("audio/mpeg")) => Ok(Some(body)),
        (Some("audio"), None) if body.is_empty() => Ok(None),
        _ => Err(Fault::Garbled("sound of another kind")),
    }
}

/// The value of `name` in lines of `name:value`.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let pairs = head.lines().filter_map(|line| line.split_once(':'));
    pairs.filter(|(key, _)| key.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
}

/// Words come escaped as they went out.
fn unescaped(text: &str) -> String {
    let pairs = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&#39;", "'"), ("&amp;", "&")];
    pairs.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// `Sec-MS-GEC`: the SHA-256, in capitals, of the time in units of 100 ns, rounded down to five minutes, and the token.
fn token(unix_seconds: i64) -> String {
    let seconds = unix_seconds + WINDOWS_EPOCH;
    let ticks = (seconds - seconds.rem_euclid(TOKEN_SECONDS)) * 10_000_000;
    let digest = Sha256::digest(format!("{ticks}{CLIENT_TOKEN}"));
    digest.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02X}");
        hex
    })
}

/// `Microsoft Server Speech Text to Speech Voice (zh-CN, XiaoyiNeural)` for `zh-CN-XiaoyiNeural`.
fn long_name(short: &str) -> Option<String> {
    let (locale, name) = short.rsplit_once('-')?;
    let is_plain = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    (is_plain(locale) && locale.contains('-') && is_plain(name))
        .then(|| format!("Microsoft Server Speech Text to Speech Voice ({locale}, {name})"))
}

/// As JavaScript writes a date: `Tue Nov 14 2023 22:13:20 GMT+0000 (Coordinated Universal Time)`.
fn javascript_date(unix_seconds: i64) -> String {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(unix_seconds.max(0) as u64);
    // `Tue, 14 Nov 2023 22:13:20 GMT`, of fixed width (RFC 9110 §5.6.7).
    let http = httpdate::fmt_http_date(time);
    let (day, date, month) = (&http[0..3], &http[5..7], &http[8..11]);
    format!("{day} {month} {date} {} {} GMT+0000 (Coordinated Universal Time)", &http[12..16], &http[17..25])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_those_of_the_browser() {
        let of_november = "42301B335578FEFDAE2637DED1ABD614505D432559EC08032B82048483726AFF";
        assert_eq!(token(1_700_000_000), of_november);
        assert_eq!(token(1_700_000_099), of_november);
        assert_eq!(token(1_735_689_600), "B0EDD22C7C09868E2F24C10264A8A3EB877773A7B6040B68AFA4FBCBABEA0238");
    }

    #[test]
    fn dates_are_written_as_javascript_does() {
        let date = "Tue Nov 14 2023 22:13:20 GMT+0000 (Coordinated Universal Time)";
        assert_eq!(javascript_date(1_700_000_000), date);
    }

    #[test]
    fn a_short_name_becomes_a_long_one_and_markup_does_not() {
        fn split(mut s: String) -> String {
            s.split_off(s.find('(').unwrap())
        }
        assert_eq!(long_name("zh-CN-XiaoyiNeural").map(split).as_deref(), Some("(zh-CN, XiaoyiNeural)"));
        assert_eq!(long_name("zh-CN-liaoning-XiaobeiNeural").map(split).as_deref(), Some("(zh-CN-liaoning, XiaobeiNeural)"));
        assert_eq!(long_name("Xiaoyi"), None);
        assert_eq!(long_name("zh-CN-'/><x>"), None);
    }

    #[test]
    fn sound_without_its_kind_breaks_the_protocol() {
        let message =
            |head: &str, body: &[u8]| Bytes::from([&(head.len() as u16).to_be_bytes(), head.as_bytes(), body].concat());
        let whole = message("X-RequestId:1\r\nContent-Type:audio/mpeg\r\nPath:audio\r\n", &[1, 2]);
        assert_eq!(sound(&whole).unwrap().as_deref(), Some(&[1, 2][..]));
        assert_eq!(sound(&message("Path:audio\r\n", &[])).unwrap(), None);
        assert!(sound(&message("Path:audio\r\n", &[1])).is_err());
        assert!(sound(&Bytes::from_static(&[9, 9, 9])).is_err());
    }
}

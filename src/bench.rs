//! `visavis bench`: measures a running server from a viewer's place.
//!
//! In: a server's address. Out: a table for people and a line of JSON per measurement. It knows nothing of the server but
//! its routes, so it measures any server that answers `/offer`. Viewers and server share this machine's cores: compare
//! servers by what their own processes use (`--pid`).

mod figures;
mod listener;
mod process;
mod talk;

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout, timeout_at};

use crate::codec::VideoCodec;
use crate::rtc::{Arrival, Receiver, Wish};
use figures::{Log, gaps_ms, jitters_ms, percentile, rounded};
use listener::{Listener, any_phase};
use process::Usage;

/// Between the last connection and the first figure: set-up costs CPU that streaming does not.
const WARM_UP: Duration = Duration::from_secs(3);
/// Viewers that connect at once. The server negotiates four and lets sixteen wait.
const CONNECTING: usize = 2;
/// From connection to a picture.
const FIRST_PICTURE: Duration = Duration::from_secs(10);
/// Sessions that `--capacity` tries, one after the other.
const STEPS: [usize; 14] = [1, 2, 4, 8, 12, 16, 20, 24, 32, 40, 48, 64, 96, 128];
/// What a viewer would call smooth: at most half a picture late, and no picture missing.
const GAP_LIMIT_MS: f64 = 60.0;
const FPS_LIMIT: f64 = 24.0;
/// How long an interrupted voice is listened for.
const AFTER_INTERRUPT: Duration = Duration::from_secs(1);
/// Said in the latency test: a first clause, and more.
const SHORT: &str = "Good evening, it is a pleasure to see you here.";
/// Said to keep a session talking; repeated up to the longest text that the server takes, some four minutes.
const LONG: [&str; 5] = [
    "The harbour was quiet when the first boats came back, and nobody on the quay had expected them before noon. ",
    "A warm wind had carried them home along the coast, past the lighthouse and the long white beaches. ",
    "Their crews told of clear water, of whales that followed them for hours, and of a sky full of stars. ",
    "By evening every table in the village was laid, and the old songs were heard from one end to the other. ",
    "Whoever visits us today may still hear them, if the night is mild and the windows are open. ",
];
const LONG_CHARS: usize = 3_900;
/// The longest measurement for which [`LONG_CHARS`] last.
const LONGEST_SPEECH: Duration = Duration::from_mins(3);

/// What to measure.
#[derive(clap::Args)]
pub struct Options {
    /// The server
    #[arg(long, default_value = "http://127.0.0.1:8010")]
    url: String,
    /// Viewers at once, each with a session of its own
    #[arg(long, value_name = "N", default_value_t = 1)]
    sessions: usize,
    /// How long to measure them
    #[arg(long, value_name = "S", default_value_t = 10)]
    seconds: u64,
    /// Keep all sessions talking meanwhile
    #[arg(long)]
    speak: bool,
    /// Instead: from text to voice and lips, and from interruption to silence, K times
    #[arg(long, value_name = "K")]
    latency: Option<usize>,
    /// Instead: talk with the avatar K times, by keyboard and as said in --question, in all sessions at once
    #[arg(long, value_name = "K", conflicts_with = "latency")]
    talk: Option<usize>,
    /// What is said: a recording of a question, longer than a second
    #[arg(long, value_name = "FILE")]
    question: Option<PathBuf>,
    /// Instead: add viewers up to MAX until they are no longer served smoothly
    #[arg(long, value_name = "MAX", conflicts_with_all = ["latency", "talk"])]
    capacity: Option<usize>,
    /// Also measure what this process and its children use
    #[arg(long)]
    pid: Option<u32>,
    /// What to receive beside sound: vp8, h264 or none
    #[arg(long, default_value = "vp8", value_parser = codec)]
    codec: Codec,
    /// Append each measurement to this file, one line of JSON each
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// In an alias, for clap takes an `Option` for an argument that may be left out.
type Codec = Option<VideoCodec>;

fn codec(name: &str) -> Result<Codec, String> {
    match name {
        "vp8" => Ok(Some(VideoCodec::Vp8)),
        "h264" => Ok(Some(VideoCodec::H264)),
        "none" => Ok(None),
        _ => Err("vp8, h264 or none".into()),
    }
}

/// Measures what `options` ask for.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let length = Duration::from_secs(options.seconds) + WARM_UP;
    ensure!(!options.speak || length <= LONGEST_SPEECH, "sessions can be kept talking for at most three minutes");
    let bench = Bench { http: reqwest::Client::builder().no_proxy().build()?, options };
    match (bench.options.latency, bench.options.talk, bench.options.capacity) {
        (Some(times), ..) => bench.latency(times).await,
        (_, Some(times), _) => bench.talk(times).await,
        (.., Some(max)) => bench.capacity(max).await,
        _ => bench.stream().await,
    }
}

struct Bench {
    http: reqwest::Client,
    options: Options,
}

/// A connected viewer and how long that took.
struct Viewer {
    receiver: Receiver,
    connect_ms: f64,
    first_picture_ms: f64,
}

impl Bench {
    async fn stream(&self) -> anyhow::Result<()> {
        let before = self.usage();
        let mut viewers = Vec::new();
        self.connect(&mut viewers, self.options.sessions).await?;
        let measured = self.measure(&mut viewers, &before).await;
        join_all(viewers.into_iter().map(|viewer| viewer.receiver.close())).await;
        self.report(&measured?)
    }

    async fn capacity(&self, max: usize) -> anyhow::Result<()> {
        let before = self.usage();
        let (mut viewers, mut good) = (Vec::new(), 0);
        for sessions in STEPS.into_iter().filter(|step| *step <= max) {
            if let Err(error) = self.connect(&mut viewers, sessions).await {
                self.report(&json!({"measure": "stream", "sessions": sessions, "error": format!("{error:#}")}))?;
                break;
            }
            let measured = self.measure(&mut viewers, &before).await?;
            self.report(&measured)?;
            let figure = |key: &str| measured[key].as_f64().unwrap_or(f64::NAN);
            // Said so that a figure that is missing is not good either.
            if !(figure("frame_gap_p99_ms") <= GAP_LIMIT_MS && figure("fps_min") >= FPS_LIMIT) {
                break;
            }
            good = sessions;
        }
        join_all(viewers.into_iter().map(|viewer| viewer.receiver.close())).await;
        self.report(
            &json!({"measure": "capacity", "speaking": self.options.speak, "smooth_sessions": good, "load_1m": load()}),
        )
    }

    async fn latency(&self, times: usize) -> anyhow::Result<()> {
        ensure!(self.options.codec.is_some(), "--latency looks at lips: --codec vp8 or h264");
        let mut listener = Listener::new(self.viewer().await?.receiver, true)?;
        let session = listener.receiver.session().to_owned();
        let (mut voice_ms, mut lips_ms, mut silence_ms) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..times {
            listener.until_silent().await?;
            let posted = self.say(&session, SHORT.to_owned(), false).await?;
            let words = listener.first_words().await?;
            voice_ms.push(ms_between(posted, words.voice));
            lips_ms.extend(words.lips.map(|lips| ms_between(posted, lips)));

            listener.until_silent().await?;
            self.say(&session, long_text(0), false).await?;
            let words = listener.first_words().await?;
            listener.until(words.voice + Duration::from_millis(1_500) + any_phase()).await?;
            let posted = self.post("interrupt_talk", json!({"sessionid": session})).await?;
            let last = listener.until(posted + AFTER_INTERRUPT).await?;
            // A pause of the voice may have begun before.
            silence_ms.push(last.map_or(0.0, |last| ms_between(posted, last)));
        }
        listener.receiver.close().await;
        self.report(&json!({
            "measure": "latency",
            "times": times,
            "text_to_voice_p50_ms": percentile(&voice_ms, 50.0),
            "text_to_voice_p95_ms": percentile(&voice_ms, 95.0),
            "text_to_lips_p50_ms": percentile(&lips_ms, 50.0),
            "text_to_lips_p95_ms": percentile(&lips_ms, 95.0),
            "interrupt_to_silence_p50_ms": percentile(&silence_ms, 50.0),
            "interrupt_to_silence_p95_ms": percentile(&silence_ms, 95.0),
            "load_1m": load(),
        }))
    }

    /// Connects viewers until there are `sessions`.
    async fn connect(&self, viewers: &mut Vec<Viewer>, sessions: usize) -> anyhow::Result<()> {
        let missing = sessions.saturating_sub(viewers.len());
        let mut connecting = stream::iter((0..missing).map(|_| self.viewer())).buffer_unordered(CONNECTING);
        while let Some(viewer) = connecting.next().await {
            viewers.push(viewer?);
        }
        Ok(())
    }

    async fn viewer(&self) -> anyhow::Result<Viewer> {
        let Options { url, codec, talk, .. } = &self.options;
        let wish = Wish { video: *codec, microphone: talk.is_some() };
        let mut receiver = Receiver::connect(&self.http, url, wish).await.with_context(|| url.clone())?;
        let first = timeout(FIRST_PICTURE, async {
            while let Some(arrival) = receiver.next().await {
                match arrival {
                    Arrival::Picture { at, keyframe: true, whole: true, .. } => return Some(at),
                    Arrival::Sound { at, .. } if wish.video.is_none() => return Some(at),
                    _ => {}
                }
            }
            None
        });
        let first = first.await.ok().flatten().context("no picture")?;
        let posted = receiver.posted();
        let (connect_ms, first_picture_ms) = (ms_between(posted, receiver.connected()), ms_between(posted, first));
        Ok(Viewer { receiver, connect_ms, first_picture_ms })
    }

    /// One window of all viewers.
    async fn measure(&self, viewers: &mut [Viewer], before: &Usage) -> anyhow::Result<Value> {
        if self.options.speak {
            for (n, viewer) in viewers.iter().enumerate() {
                self.say(viewer.receiver.session(), long_text(n), true).await?;
            }
        }
        sleep(WARM_UP).await;
        viewers.iter_mut().for_each(|viewer| viewer.receiver.drain());
        let (began, usage) = (Instant::now(), self.usage());
        let until = began + Duration::from_secs(self.options.seconds);
        let logs = join_all(viewers.iter_mut().map(|viewer| log(&mut viewer.receiver, until))).await;
        let (after, span_s) = (self.usage(), began.elapsed().as_secs_f64());

        let sessions = viewers.len().max(1) as f64;
        let fps: Vec<f64> = logs.iter().map(|log| log.pictures.len() as f64 / span_s).collect();
        let gaps: Vec<f64> = logs.iter().flat_map(|log| gaps_ms(&log.pictures)).collect();
        let jitters: Vec<f64> = logs.iter().flat_map(|log| jitters_ms(&log.sounds, 48_000)).collect();
        let bytes: usize = logs.iter().map(|log| log.bytes).sum();
        let connect: Vec<f64> = viewers.iter().map(|viewer| viewer.connect_ms).collect();
        let first: Vec<f64> = viewers.iter().map(|viewer| viewer.first_picture_ms).collect();
        let mut measured = json!({
            "measure": "stream",
            "sessions": viewers.len(),
            "speaking": self.options.speak,
            "seconds": rounded(span_s),
            "codec": self.options.codec.map(VideoCodec::name),
            "fps_min": rounded(fps.iter().copied().fold(f64::INFINITY, f64::min)),
            "fps_mean": rounded(fps.iter().sum::<f64>() / sessions),
            "frame_gap_p50_ms": percentile(&gaps, 50.0),
            "frame_gap_p99_ms": percentile(&gaps, 99.0),
            "frame_gap_max_ms": percentile(&gaps, 100.0),
            "audio_jitter_p99_ms": percentile(&jitters, 99.0),
            "lost_packets": logs.iter().map(|log| log.lost_packets).sum::<u64>(),
            "kbit_s_per_session": (bytes as f64 * 8e-3 / span_s / sessions).round(),
            "offer_to_connected_p50_ms": percentile(&connect, 50.0),
            "offer_to_first_picture_p50_ms": percentile(&first, 50.0),
            "offer_to_first_picture_max_ms": percentile(&first, 100.0),
            "load_1m": load(),
        });
        if self.options.pid.is_some() {
            let per_minute = |cpu_s: f64| (cpu_s * 6e3 / span_s / sessions).round() / 100.0;
            let roles = after.by_role_since(&usage).into_iter().map(|(role, cpu_s)| (role, json!(per_minute(cpu_s))));
            measured["cpu_s_per_streamed_minute"] = json!(per_minute(after.cpu_s - usage.cpu_s));
            measured["cpu_s_per_streamed_minute_by_thread"] = roles.collect::<serde_json::Map<_, _>>().into();
            measured["rss_mib"] = json!(rounded(after.rss_mib));
            measured["rss_per_session_mib"] = json!(rounded((after.rss_mib - before.rss_mib) / sessions));
            measured["threads"] = json!(after.threads);
        }
        Ok(measured)
    }

    fn usage(&self) -> Usage {
        self.options.pid.map(Usage::of).unwrap_or_default()
    }

    async fn say(&self, session: &str, text: String, interrupt: bool) -> anyhow::Result<Instant> {
        self.post("human", json!({"sessionid": session, "type": "echo", "text": text, "interrupt": interrupt})).await
    }

    /// Calls a route of the server. The result is when.
    async fn post(&self, route: &str, body: Value) -> anyhow::Result<Instant> {
        let posted = Instant::now();
        let reply = self.http.post(format!("{}/{route}", self.options.url)).json(&body).send().await?;
        if !reply.status().is_success() {
            bail!("/{route}: {}", reply.text().await?);
        }
        Ok(posted)
    }

    fn report(&self, measured: &Value) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        for (key, value) in measured.as_object().into_iter().flatten() {
            writeln!(out, "{key:<32} {value}")?;
        }
        writeln!(out)?;
        if let Some(path) = &self.options.json {
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
            writeln!(file, "{measured}")?;
        }
        Ok(())
    }
}

/// What arrives until then.
async fn log(receiver: &mut Receiver, until: Instant) -> Log {
    let mut log = Log::default();
    while let Ok(Some(arrival)) = timeout_at(until.into(), receiver.next()).await {
        match arrival {
            Arrival::Picture { at, stamp, bytes, lost, .. } => {
                log.pictures.push((at, stamp));
                log.bytes += bytes;
                log.lost_packets += lost;
            }
            Arrival::Sound { at, stamp, packet } => {
                log.sounds.push((at, stamp));
                log.bytes += packet.len();
            }
            Arrival::Text { .. } => {}
        }
    }
    log
}

/// Sessions begin with different sentences, so that they do not all breathe at once.
fn long_text(session: usize) -> String {
    let mut text = String::new();
    for sentence in LONG.iter().cycle().skip(session % LONG.len()) {
        if text.len() + sentence.len() > LONG_CHARS {
            break;
        }
        text.push_str(sentence);
    }
    text
}

fn ms_between(from: Instant, to: Instant) -> f64 {
    rounded(to.saturating_duration_since(from).as_secs_f64() * 1e3)
}

/// How busy the machine is: beside each figure, since others may use it.
fn load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_long_text_is_as_long_as_the_server_takes() {
        for session in 0..6 {
            let text = long_text(session);
            assert!(crate::session::check_text(&text).is_ok() && text.len() > LONG_CHARS - 120);
        }
        assert_ne!(long_text(0), long_text(1));
    }
}

//! The stand-in services of `standins.py`, and what is heard of them.

#![expect(clippy::unwrap_used, reason = "what fails here fails a test")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use futures_util::StreamExt;
use serde_json::Value;
use visavis::media::{Speech, Word};
use visavis::tts::{self, TextToSpeech};

/// As long as the sweep that every stand-in sends.
const SECONDS: f64 = 1.2345;

/// The running stand-ins; they end with it, and with the test process in any case, since their standard input does.
pub(crate) struct StandIn {
    child: Child,
    port: u16,
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What came of one clause.
pub(crate) struct Heard {
    pub(crate) pcm: Vec<i16>,
    /// Starts are counted from the first sample of the clause.
    pub(crate) words: Vec<Word>,
    pub(crate) error: Option<tts::Error>,
}

impl StandIn {
    pub(crate) fn start() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join("target/python-peer/bin/python");
        let mut child = Command::new(&python)
            .arg(root.join("tests/voices/standins.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; `make setup-test` puts it there", python.display()));
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().expect("the stand-in prints its port");
        Self { child, port }
    }

    /// The voice of a configuration in which `HTTP` and `WS` stand for the stand-in's addresses. Patience is short.
    pub(crate) fn voice(&self, config: &str) -> Arc<dyn TextToSpeech> {
        let host = format!("127.0.0.1:{}", self.port);
        let config = config.replace("HTTP", &format!("http://{host}")).replace("WS", &format!("ws://{host}"));
        let patience = "timeouts: {connect: 1s, first_sound: 1500ms, stall: 800ms, total: 4s}";
        let config: tts::Config = serde_saphyr::from_str(&format!("{patience}\n{config}")).unwrap();
        tts::build(&config, Path::new("models")).unwrap()
    }

    /// Its address, for `scheme`.
    pub(crate) fn address(&self, scheme: &str) -> String {
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// What the stand-in was asked, by scenario.
    pub(crate) async fn asked(&self, scenario: &str) -> Vec<Value> {
        let log = self.json("log").await;
        let of_scenario = |entry: &&Value| entry["scenario"] == scenario && entry["side"] != true;
        log.as_array().unwrap().iter().filter(of_scenario).cloned().collect()
    }

    /// What the clients did wrong, and requests that came where a redirection pointed.
    pub(crate) async fn complaints(&self) -> Vec<Value> {
        let log = self.json("log").await;
        let is_complaint = |entry: &&Value| entry.get("wrong").or(entry.get("leak")).is_some();
        log.as_array().unwrap().iter().filter(is_complaint).cloned().collect()
    }

    /// Answers that are under way.
    pub(crate) async fn open(&self) -> u64 {
        self.json("open").await.as_u64().unwrap()
    }

    async fn json(&self, path: &str) -> Value {
        let url = format!("http://127.0.0.1:{}/{path}", self.port);
        reqwest::get(url).await.unwrap().json().await.unwrap()
    }
}

/// All that `voice` makes of `clause`.
pub(crate) async fn hear(voice: &Arc<dyn TextToSpeech>, clause: &str) -> Heard {
    let mut heard = Heard { pcm: Vec::new(), words: Vec::new(), error: None };
    let mut speech = voice.speak(clause.to_owned());
    while let Some(piece) = speech.next().await {
        match piece {
            Ok(Speech { pcm, words, .. }) => {
                let later = heard.pcm.len() as u32;
                heard.words.extend(words.into_iter().map(|w| Word { start: w.start + later, ..w }));
                heard.pcm.extend(pcm);
            }
            Err(error) => heard.error = Some(error),
        }
    }
    heard
}

/// The sweep at 16 kHz: 200 to 3000 Hz at half of full scale, with soft ends.
pub(crate) fn sweep() -> Vec<f64> {
    sweep_later(0.0)
}

/// The same, a part of a sample later.
fn sweep_later(by: f64) -> Vec<f64> {
    let n = (SECONDS * 16_000.0).round() as usize;
    let sample = |i: usize| {
        let t = ((i as f64 - by) / 16_000.0).max(0.0);
        let phase = std::f64::consts::TAU * (200.0 * t + 2_800.0 * t * t / (2.0 * SECONDS));
        16_000.0 * ((SECONDS - t).min(t) / 0.01).min(1.0) * phase.sin()
    };
    (0..n).map(sample).collect()
}

/// Correlation of the sweep with what was heard `lag` samples later.
fn correlation(heard: &[i16], sweep: &[f64], lag: usize) -> f64 {
    let (mut both, mut of_heard, mut of_sweep) = (0.0, 0.0, 0.0);
    for (s, h) in sweep.iter().zip(heard.iter().skip(lag).map(|h| f64::from(*h)).chain(std::iter::repeat(0.0))) {
        both += s * h;
        of_heard += h * h;
        of_sweep += s * s;
    }
    both / (of_heard * of_sweep).sqrt().max(1.0)
}

impl Heard {
    /// The best correlation with the sweep, at a lag of at most `most` samples, and that lag. A delay of one sample at
    /// 24 kHz is no whole number of ours, so thirds are tried, too.
    pub(crate) fn match_sweep(&self, most: usize) -> (f64, usize) {
        let best = |sweep: &[f64], lags: std::ops::RangeInclusive<usize>| {
            let at = |lag| (correlation(&self.pcm, sweep, lag), lag);
            lags.map(at).max_by(|a, b| a.0.total_cmp(&b.0)).unwrap()
        };
        let whole = best(&sweep(), 0..=most);
        let near = whole.1.saturating_sub(1)..=whole.1;
        let parts = [1.0 / 3.0, 2.0 / 3.0].map(|part| best(&sweep_later(part), near.clone()));
        parts.into_iter().fold(whole, |a, b| if b.0 > a.0 { b } else { a })
    }

    /// All of the sweep is there, sample by sample, and nothing else.
    pub(crate) fn assert_exact(&self, what: &str) {
        assert!(self.error.is_none(), "{what}: {:?}", self.error);
        let sweep = sweep();
        assert!(self.pcm.len().abs_diff(sweep.len()) <= 1, "{what}: {} samples of {}", self.pcm.len(), sweep.len());
        let (likeness, _) = self.match_sweep(0);
        assert!(likeness > 0.999, "{what}: correlation {likeness}");
        let worst = self.pcm.iter().zip(&sweep).map(|(h, s)| (f64::from(*h) - s).abs()).fold(0.0, f64::max);
        assert!(worst < 500.0, "{what}: off by {worst}, which clicks");
    }
}

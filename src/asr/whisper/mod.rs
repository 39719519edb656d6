//! The embedded ears: Whisper base, by whisper.cpp.
//!
//! In: one utterance. Out: one transcript. One model is shared; each recognition borrows a state (its buffers) and runs
//! on a blocking thread, at most `asr.whisper.at_once` of them. The decoding loop is ours: it decides the language between
//! those that we speak, stops when the model begins to repeat itself, and looks between two words whether anybody
//! still listens. `docs/design/ears.md` has the measurements.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use whisper_rs::{WhisperContext, WhisperContextParameters, WhisperState};

use super::{Config, Error, Language, SpeechToText, Transcript, text};
use decode::Decoder;

mod decode;
mod weights;

/// Longest utterance, in samples: what the model hears at once, 30 s.
const LONGEST: usize = 30 * 16_000;
/// Shorter ones are lengthened to this by silence: 1 s, below which the engine's spectrum has an edge in it.
const SHORTEST: usize = 16_000 + 160;

/// Whisper base.
pub struct Whisper {
    model: Arc<Model>,
    turns: Arc<Semaphore>,
}

impl Whisper {
    /// Loads the model from `models_dir/whisper`. Blocks for about a second.
    pub fn load(config: &Config, models_dir: &Path) -> Result<Self, Error> {
        crate::models::verify_model(models_dir, "whisper")?;
        let model = Model::load(&models_dir.join("whisper"), config)?;
        Ok(Self { model: Arc::new(model), turns: Arc::new(Semaphore::new(usize::from(config.whisper.at_once))) })
    }

    /// Writes `utterance` down on this thread alone.
    pub fn blocking_transcribe(&self, utterance: &[i16]) -> Result<Transcript, Error> {
        self.model.transcribe(utterance, 1, &CancellationToken::new())
    }
}

impl Whisper {
    /// Writes `utterance` down on a blocking thread, on as many cores as `threads` says then; none at all: nothing comes.
    fn write(
        &self,
        utterance: Arc<[i16]>,
        turn: impl Future<Output = Option<OwnedSemaphorePermit>> + Send + 'static,
        threads: fn(idle_cores: usize) -> usize,
    ) -> BoxStream<'static, Result<Transcript, Error>> {
        let model = Arc::clone(&self.model);
        let written = async move {
            let turn = turn.await?;
            let cancelled = CancellationToken::new();
            let _cancel_on_drop = cancelled.clone().drop_guard();
            // The permit goes with the work: a listener that leaves does not free the core early.
            let work = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                let threads = threads(idle_cores());
                (threads > 0).then(|| model.transcribe(&utterance, threads, &cancelled))
            });
            work.await.unwrap_or(Some(Err(Error::Panicked)))
        };
        stream::once(written).filter_map(std::future::ready).boxed()
    }
}

impl SpeechToText for Whisper {
    fn transcribe(&self, utterance: Arc<[i16]>) -> BoxStream<'static, Result<Transcript, Error>> {
        let turns = Arc::clone(&self.turns);
        let turn = async move { turns.acquire_owned().await.ok() };
        self.write(utterance, turn, |idle_cores| idle_cores + 1)
    }

    fn guess(&self, said: Arc<[i16]>) -> BoxStream<'static, Result<Transcript, Error>> {
        let turns = Arc::clone(&self.turns);
        let turn = async move { turns.try_acquire_owned().ok() };
        self.write(said, turn, |idle_cores| if idle_cores > 0 { idle_cores + 1 } else { 0 })
    }
}

/// Cores of this machine on which nothing else runs; none where that is not told. Blocks for 4 ms: it looks three times, for
/// what draws and encodes runs in bursts of 2 ms.
fn idle_cores() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runnable = || {
        // The fourth field is "runnable/all", with the thread that asks (proc_loadavg(5)).
        let loadavg = std::fs::read_to_string("/proc/loadavg").ok()?;
        loadavg.split(' ').nth(3)?.split_once('/')?.0.parse().ok()
    };
    let looks = (0..3).filter_map(|look| {
        std::thread::sleep(Duration::from_millis(if look == 0 { 0 } else { 2 }));
        runnable()
    });
    looks.min().map_or(0, |runnable: usize| cores.saturating_sub(runnable.max(1)))
}

/// The weights, and states that wait for the next utterance.
struct Model {
    context: WhisperContext,
    decoder: Decoder,
    language: Language,
    most_threads: usize,
    /// Guards nothing but this list.
    idle: Mutex<Vec<WhisperState>>,
}

impl Model {
    fn load(dir: &Path, config: &Config) -> Result<Self, Error> {
        // What the engine has to say at the start concerns nobody, and its errors come back as results.
        whisper_rs::install_logging_hooks();
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Load { path: dir.into(), source };
        let file = weights::load(dir).map_err(|e| failed(e.into()))?;
        let mut parameters = WhisperContextParameters::default();
        parameters.use_gpu(false).flash_attn(true);
        let context = WhisperContext::new_from_buffer_with_params(&file, parameters).map_err(|e| failed(e.into()))?;
        let decoder = Decoder::new(&context).map_err(Error::Run)?;
        let state = context.create_state().map_err(|e| failed(e.into()))?;
        let most_threads = usize::from(config.whisper.threads);
        Ok(Self { context, decoder, language: config.language, most_threads, idle: Mutex::new(vec![state]) })
    }

    fn transcribe(&self, utterance: &[i16], threads: usize, cancelled: &CancellationToken) -> Result<Transcript, Error> {
        let idle = || self.idle.lock().expect("nothing that holds this lock can panic");
        let borrowed = idle().pop();
        let mut state = borrowed.map_or_else(|| self.context.create_state(), Ok).map_err(Error::Run)?;
        let heard = &utterance[..utterance.len().min(LONGEST)];
        let mut samples: Vec<f32> = heard.iter().map(|&s| f32::from(s) / 32_768.0).collect();
        samples.resize(samples.len().max(SHORTEST), 0.0);
        let threads = threads.min(self.most_threads);
        let decoded = self.decoder.decode(&mut state, &samples, self.language, threads, cancelled);
        idle().push(state);
        let decoded = decoded.map_err(Error::Run)?;
        let said =
            if decoded.is_speech() { text::tidy(&self.words(&decoded.tokens), decoded.language) } else { String::new() };
        Ok(Transcript { text: said, language: Some(decoded.language.into()), is_final: true })
    }

    fn words(&self, tokens: &[i32]) -> String {
        let bytes = tokens.iter().filter_map(|&token| self.context.token_to_bytes(token).ok()).flatten().copied();
        String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned()
    }
}

//! `MegaTTS3` as seed 000 runs it: `POST /process`, which reads and writes files on a disk that we share.

use std::path::PathBuf;

use async_trait::async_trait;
use serde_json::json;
use tokio::io::AsyncReadExt;

use super::config;
use super::net::{Encoding, Fault, Http, Out, SoundDecoder, audio_file};
use super::remote::Service;
use super::{Error, Timeouts};

/// Largest file, in bytes (L19).
const LARGEST_FILE: u64 = 10 << 20;
const PIECE: usize = 32 << 10;

pub(super) struct MegaTts3 {
    http: Http,
    config: config::MegaTts3,
    /// Where the server's files must lie.
    folder: PathBuf,
}

impl MegaTts3 {
    pub(super) fn new(config: &config::MegaTts3, timeouts: &Timeouts) -> Result<Self, Error> {
        let http = Http::new("tts.megatts3.url", &config.url, timeouts)?;
        audio_file("tts.megatts3.reference_audio", &config.reference_audio)?;
        let key = "tts.megatts3.output_dir";
        let problem = |error: std::io::Error| Error::Setting { key, problem: error.to_string() };
        std::fs::create_dir_all(&config.output_dir).map_err(problem)?;
        let folder = config.output_dir.canonicalize().map_err(problem)?;
        Ok(Self { http, config: config.clone(), folder })
    }
}

#[async_trait]
impl Service for MegaTts3 {
    async fn say(&self, clause: &str, out: &Out) -> Result<(), Fault> {
        let body = json!({
            "wav_path": self.config.reference_audio, "input_text": clause, "output_dir": self.folder,
        });
        let made = Http::json(self.http.post(self.http.url("process")).json(&body)).await?;
        let path = made["output_file"].as_str().ok_or(Fault::Garbled("an answer without output_file"))?;
        let path = tokio::fs::canonicalize(path).await.map_err(|_| Fault::Garbled("output_file is not there"))?;
        if !path.starts_with(&self.folder) {
            return Err(Fault::Garbled("output_file lies outside of output_dir"));
        }
        let played = play(&path, out).await;
        // It was made for us alone.
        let _ = tokio::fs::remove_file(&path).await;
        played
    }
}

async fn play(path: &std::path::Path, out: &Out) -> Result<(), Fault> {
    let unread = |_| Fault::Garbled("output_file cannot be read");
    let mut file = tokio::fs::File::open(path).await.map_err(unread)?.take(LARGEST_FILE);
    let mut decoder = SoundDecoder::new(Encoding::Wav)?;
    let mut piece = vec![0; PIECE];
    loop {
        let len = file.read(&mut piece).await.map_err(unread)?;
        if len == 0 {
            break;
        }
        out.sound(decoder.push(&piece[..len])?).await;
    }
    out.sound(decoder.finish()?).await;
    Ok(())
}

//! Alibaba Cloud's DashScope over WebSocket: Qwen's realtime protocol and the task protocol of `CosyVoice`.
//!
//! One connection a clause. Qwen sends bare samples at 24 kHz in base64; `CosyVoice` makes any rate, so we ask for ours,
//! and sends them as binary messages.

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::config;
use super::net::{Encoding, Fault, Incoming, Out, Socket, SoundDecoder, event, request_id};
use super::remote::Service;
use super::{Error, Timeouts, required};
use crate::media::AUDIO_RATE_HZ;

/// What Qwen's realtime models make.
const QWEN_RATE_HZ: u32 = 24_000;

pub(super) struct DashScope {
    config: config::DashScope,
    key: String,
    timeouts: Timeouts,
}

impl DashScope {
    pub(super) fn new(config: &config::DashScope, timeouts: &Timeouts) -> Result<Self, Error> {
        let key = required("tts.dashscope.api_key", config.api_key.reveal())?.to_owned();
        required("tts.dashscope.model", Some(&config.model))?;
        Ok(Self { config: config.clone(), key, timeouts: *timeouts })
    }

    async fn connect(&self, path: &str) -> Result<Socket, Fault> {
        let url = format!("{}/{path}", self.config.url.trim_end_matches('/'));
        let headers = [("authorization", format!("Bearer {}", self.key))];
        Socket::connect(&url, &headers, self.timeouts.connect.0, &mut None).await
    }

    /// "Qwen realtime speech synthesis": a session in commit mode, where we say what belongs together.
    async fn say_by_qwen(&self, clause: &str, out: &Out) -> Result<(), Fault> {
        let mut socket = self.connect(&format!("realtime?model={}", self.config.model)).await?;
        let send = |kind: &str, mut message: Value| {
            message["type"] = kind.into();
            message["event_id"] = request_id().into();
            message
        };
        let session = json!({
            "voice": self.config.voice,
            "mode": "commit",
            "response_format": "pcm",
            "sample_rate": QWEN_RATE_HZ,
        });
        socket.send_json(&send("session.update", json!({"session": session}))).await?;
        socket.send_json(&send("input_text_buffer.append", json!({"text": clause}))).await?;
        socket.send_json(&send("input_text_buffer.commit", json!({}))).await?;
        let mut decoder = SoundDecoder::new(Encoding::Pcm { rate_hz: QWEN_RATE_HZ })?;
        loop {
            let Incoming::Text(text) = socket.next().await? else {
                return Err(Fault::Garbled("bytes where a text was due"));
            };
            let (name, message) = event(&text, "/type")?;
            match name.as_str() {
                "response.audio.delta" => {
                    let delta = message["delta"].as_str().unwrap_or_default();
                    let bytes = BASE64.decode(delta).map_err(|_| Fault::Garbled("sound that is no base64"))?;
                    out.sound(decoder.push(&bytes)?).await;
                }
                "response.done" => {
                    if let Some(code) = message.pointer("/response/status_details/error/code").and_then(Value::as_str) {
                        return Err(Fault::refused(code));
                    }
                    out.sound(decoder.finish()?).await;
                    // It ends the session on its side; nobody waits for its good-bye.
                    let _ = socket.send_json(&send("session.finish", json!({}))).await;
                    return Ok(());
                }
                "error" => {
                    return Err(Fault::refused(message.pointer("/error/code").and_then(Value::as_str).unwrap_or_default()));
                }
                _ => {}
            }
        }
    }

    /// "`CosyVoice` WebSocket API": a task that is run, gets text, and is finished.
    async fn say_by_cosyvoice(&self, clause: &str, out: &Out) -> Result<(), Fault> {
        let mut socket = self.connect("inference").await?;
        let id = request_id();
        let act = |action: &str, payload: Value| json!({"header": {"action": action, "task_id": id, "streaming": "duplex"}, "payload": payload});
        let parameters = json!({
            "text_type": "PlainText",
            "voice": self.config.voice,
            "format": "pcm",
            "sample_rate": AUDIO_RATE_HZ,
        });
        let task = json!({
            "task_group": "audio",
            "task": "tts",
            "function": "SpeechSynthesizer",
            "model": self.config.model,
            "parameters": parameters,
            "input": {},
        });
        socket.send_json(&act("run-task", task)).await?;
        let mut decoder = SoundDecoder::new(Encoding::Pcm { rate_hz: AUDIO_RATE_HZ })?;
        loop {
            let text = match socket.next().await? {
                Incoming::Binary(bytes) => {
                    out.sound(decoder.push(&bytes)?).await;
                    continue;
                }
                Incoming::Text(text) => text,
            };
            let (name, message) = event(&text, "/header/event")?;
            match name.as_str() {
                // Text before this is lost.
                "task-started" => {
                    socket.send_json(&act("continue-task", json!({"input": {"text": clause}}))).await?;
                    socket.send_json(&act("finish-task", json!({"input": {}}))).await?;
                }
                "task-finished" => {
                    out.sound(decoder.finish()?).await;
                    return Ok(());
                }
                "task-failed" => return Err(Fault::refused(message["header"]["error_code"].as_str().unwrap_or_default())),
                _ => {}
            }
        }
    }
}

#[async_trait]
impl Service for DashScope {
    async fn say(&self, clause: &str, out: &Out) -> Result<(), Fault> {
        if self.config.model.starts_with("cosyvoice") {
            self.say_by_cosyvoice(clause, out).await
        } else {
            self.say_by_qwen(clause, out).await
        }
    }
}

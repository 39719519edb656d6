//! Tencent Cloud's streaming synthesis: a signed JSON out, bare samples at 16 kHz back. An error is JSON in their place.

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value, json};
use sha1::Sha1;

use super::config;
use super::net::{Encoding, Fault, Http, Out, request_id, unix_seconds};
use super::remote::Service;
use super::{Error, Timeouts, required};
use crate::media::AUDIO_RATE_HZ;

/// How long a signature holds, in seconds.
const VALID_FOR: i64 = 600;

pub(super) struct Tencent {
    http: Http,
    config: config::Tencent,
    key: String,
}

impl Tencent {
    pub(super) fn new(config: &config::Tencent, timeouts: &Timeouts) -> Result<Self, Error> {
        required("tts.tencent.secret_id", Some(&config.secret_id))?;
        let key = required("tts.tencent.secret_key", config.secret_key.reveal())?.to_owned();
        Ok(Self { http: Http::new("tts.tencent.url", &config.url, timeouts)?, config: config.clone(), key })
    }
}

#[async_trait]
impl Service for Tencent {
    async fn say(&self, clause: &str, out: &Out) -> Result<(), Fault> {
        let now = unix_seconds();
        let body = json!({
            "Action": "TextToStreamAudio",
            "AppId": self.config.app_id,
            "SecretId": self.config.secret_id,
            "Timestamp": now,
            "Expired": now + VALID_FOR,
            "SessionId": request_id(),
            "Text": clause,
            "VoiceType": self.config.voice,
            "Codec": "pcm",
            "SampleRate": AUDIO_RATE_HZ,
        });
        let url = self.http.base().clone();
        let signature = signature(&self.key, &format!("{}{}", url.authority(), url.path()), body.as_object());
        let request = self.http.post(url).header("Authorization", signature).json(&body);
        Http::play(request, Encoding::Pcm { rate_hz: AUDIO_RATE_HZ }, out).await
    }
}

/// HMAC-SHA1 of the method, the address and the parameters in the order of their names, in base64.
fn signature(key: &str, address: &str, parameters: Option<&Map<String, Value>>) -> String {
    let mut pairs: Vec<String> = parameters
        .into_iter()
        .flatten()
        .map(|(name, value)| match value {
            Value::String(text) => format!("{name}={text}"),
            other => format!("{name}={other}"),
        })
        .collect();
    pairs.sort_unstable();
    let mut mac = Hmac::<Sha1>::new_from_slice(key.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(format!("POST{address}?{}", pairs.join("&")).as_bytes());
    BASE64.encode(mac.finalize().into_bytes())
}

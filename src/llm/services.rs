//! The local services of seed 000: `POST /chat/qwen`, or the second chat beside it. One question, one whole answer.

use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt};
use garde::Validate;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::openai::Timeouts;
use super::{ChatModel, Delta, Error, Fault, Message, Prompt, web};
use crate::ask::ask;
use crate::cause::cause;

/// Longest answer, in bytes (L19).
const LARGEST_ANSWER: usize = 64 << 10;

/// `llm.services:` in the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Up to and with `/api/v1`.
    #[garde(length(max = 2_048), custom(address))]
    pub base_url: String,
    /// The chat, below it.
    #[garde(length(min = 1, max = 256))]
    pub chat: String,
    /// The second chat, below it.
    #[garde(length(min = 1, max = 256))]
    pub second_chat: String,
    /// Whether the second chat is asked.
    #[garde(skip)]
    pub use_second: bool,
    /// Tokens of an answer.
    #[garde(range(min = 1, max = 32_768))]
    pub max_length: u32,
    /// 0 to 2.
    #[garde(range(min = 0.0, max = 2.0))]
    pub temperature: f32,
    /// 0 to 1.
    #[garde(range(min = 0.0, max = 1.0))]
    pub top_p: f32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            base_url: "http://127.0.0.1:8000/api/v1".into(),
            chat: "chat/qwen".into(),
            second_chat: "chat/uncensored".into(),
            use_second: false,
            max_length: 2_048,
            temperature: 0.7,
            top_p: 0.9,
        }
    }
}

fn address(url: &str, (): &()) -> garde::Result {
    match Url::parse(url) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(()),
        _ => Err(garde::Error::new("must begin with http:// or https:// and a host")),
    }
}

/// Asks one of the two chats.
pub struct Services {
    client: reqwest::Client,
    url: String,
    config: Config,
    patience: Duration,
}

impl Services {
    /// From `llm.services`.
    pub fn new(config: &Config, timeouts: Timeouts) -> Result<Self, Error> {
        let path = if config.use_second { &config.second_chat } else { &config.chat };
        let url = format!("{}/{}", config.base_url.trim_end_matches('/'), path.trim_start_matches('/'));
        let parsed = Url::parse(&url).map_err(|_| Error::new(Fault::NotFound))?;
        let client = web::client(&parsed, timeouts.connect).map_err(|_| Error::new(Fault::Unavailable))?;
        // The answer comes whole, so its first token is its last.
        Ok(Self { client, url, config: config.clone(), patience: timeouts.total })
    }
}

impl ChatModel for Services {
    fn reply(&self, prompt: Prompt) -> BoxStream<'static, Result<Delta, Error>> {
        let asked = prompt.messages.iter().rev().find_map(Message::said_by_user).unwrap_or_default();
        let Config { max_length, temperature, top_p, .. } = self.config;
        let body = json!({
            "prompt": asked, "history": [], "max_length": max_length, "temperature": temperature, "top_p": top_p,
        });
        let (client, url) = (self.client.clone(), self.url.clone());
        let request = move || client.post(&url).json(&body);
        let patience = self.patience;
        let answer = async move { timeout(patience, chat(request)).await.unwrap_or(Err(Fault::TimedOut.into())) };
        stream::once(answer).boxed()
    }
}

async fn chat(request: impl Fn() -> reqwest::RequestBuilder) -> Result<Delta, Error> {
    let unavailable = |error: reqwest::Error| Error::new(Fault::Unavailable).because(&cause(&error));
    let response = ask(request).await.map_err(unavailable)?;
    let status = response.status();
    if !status.is_success() {
        let fault = match status.as_u16() {
            404 | 405 => Fault::NotFound,
            429 => Fault::RateLimited,
            400..=499 => Fault::Refused,
            _ => Fault::Unavailable,
        };
        return Err(Error::new(fault).because(status.as_str()));
    }
    let broken = |_| Error::new(Fault::Broken);
    let (text, is_all) = web::body(response, LARGEST_ANSWER).await.map_err(broken)?;
    let answer: Value = serde_json::from_str(&text).unwrap_or_default();
    match answer["data"]["response"].as_str().filter(|_| is_all && answer["code"] == 0) {
        Some(said) => Ok(Delta::Text(said.to_owned())),
        None => Err(Fault::Broken.into()),
    }
}

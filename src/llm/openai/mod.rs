//! Any server that speaks `OpenAI`'s chat completions: `OpenAI`, `DeepSeek`, Qwen, Ollama, vLLM, llama.cpp.
//!
//! In: a prompt. Out: its answer, streamed. A request is tried again only before its first token, so nothing is said twice;
//! dropping the stream closes the connection.

mod answer;
mod breaker;
mod wire;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use garde::Validate;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Response, StatusCode, Url};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::warn;

use super::{ChatModel, Delta, Error, Fault, Prompt, web};
use crate::cause::cause;
use crate::metrics;
use crate::values::{Secret, seconds};
use answer::Answer;
use breaker::Breaker;

/// Where the key is looked for if the configuration has none.
pub(super) const KEY: &str = "OPENAI_API_KEY";

/// Tries after the first, and what lies between them: 0.5 s, 1 s, each up to doubled by chance (L19).
const RETRIES: usize = 2;
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Requests at once over all conversations (L19); more wait, and their waiting counts.
const CONCURRENT: usize = 32;
/// Of a body that says why not, in bytes, and for how long it is waited for.
const REFUSAL_BYTES: usize = 16 << 10;
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// `llm.openai:` in the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Empty: that of the environment.
    #[garde(skip)]
    pub api_key: Secret,
    /// Up to and with `/v1`.
    #[garde(custom(valid_url))]
    pub base_url: String,
    /// As the server calls it.
    #[garde(length(min = 1, max = 256))]
    pub model: String,
    /// How freely it chooses its words; null: not sent.
    #[garde(inner(range(min = 0.0, max = 2.0)))]
    pub temperature: Option<f32>,
    /// Of one answer; null: not sent.
    #[garde(inner(range(min = 1, max = 1_000_000)))]
    pub max_tokens: Option<u32>,
    /// Its text begins with a thought that only `</think>` ends.
    #[garde(skip)]
    pub starts_in_thought: bool,
    /// Whatever else the server understands, as it is sent.
    #[garde(skip)]
    pub extra: BTreeMap<String, Value>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            api_key: Secret::default(),
            base_url: "https://api.openai.com/v1".into(),
            model: "gpt-4o-mini".into(),
            temperature: Some(0.7),
            max_tokens: Some(1_000),
            starts_in_thought: false,
            extra: BTreeMap::new(),
        }
    }
}

pub(super) fn valid_url(url: &str, (): &()) -> garde::Result {
    match Url::parse(url) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none() => Ok(()),
        _ => Err(garde::Error::new("must be an address such as https://api.openai.com/v1")),
    }
}

/// `llm.timeouts:` in the configuration (L19).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// Until a connection stands.
    #[garde(skip)]
    #[serde(with = "seconds")]
    pub connect: Duration,
    /// From the question to the first token, with all tries.
    #[garde(skip)]
    #[serde(with = "seconds")]
    pub first_token: Duration,
    /// Between two tokens.
    #[garde(skip)]
    #[serde(with = "seconds")]
    pub idle: Duration,
    /// From the question to the last token.
    #[garde(skip)]
    #[serde(with = "seconds")]
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: web::CONNECT_TIMEOUT,
            first_token: Duration::from_secs(8),
            idle: Duration::from_secs(5),
            total: Duration::from_mins(1),
        }
    }
}

/// A client of one such server.
#[derive(Clone)]
pub struct OpenAi {
    http: reqwest::Client,
    url: Url,
    config: Arc<Config>,
    key: Key,
    /// As metrics call the provider.
    name: &'static str,
    /// Where the key is looked for.
    variable: &'static str,
    timeouts: Timeouts,
    permits: Arc<Semaphore>,
    /// Held for a look or a count.
    breaker: Arc<Mutex<Breaker>>,
}

/// What is sent as `Authorization`.
#[derive(Clone)]
enum Key {
    Bearer(HeaderValue),
    /// A server on this machine, or one without TLS, as those in one's own network are.
    None,
    /// Every request would be refused.
    Missing,
}

impl OpenAi {
    /// Over `config`. What a provider is called in metrics, and where its key is looked for.
    pub fn new(config: &Config, (name, variable): (&'static str, &'static str), timeouts: Timeouts) -> Result<Self, Error> {
        let url = format!("{}/chat/completions", config.base_url.trim_end_matches('/'));
        let url = Url::parse(&url).map_err(|error| Error::new(Fault::NotFound).because(&error.to_string()))?;
        let http =
            web::client(&url, timeouts.connect).map_err(|error| Error::new(Fault::Unavailable).because(&cause(&error)))?;
        let bearer = config.api_key.reveal().map(|key| HeaderValue::from_str(&format!("Bearer {key}")));
        let key = match bearer {
            Some(Ok(mut bearer)) => {
                bearer.set_sensitive(true);
                Key::Bearer(bearer)
            }
            None if url.scheme() == "http" || web::is_loopback(&url) => Key::None,
            None | Some(Err(_)) => Key::Missing,
        };
        let permits = Arc::new(Semaphore::new(CONCURRENT));
        let (config, breaker) = (Arc::new(config.clone()), Arc::default());
        Ok(Self { http, url, config, key, name, variable, timeouts, permits, breaker })
    }

    /// Begins an answer, and counts how that went.
    async fn begin(self, prompt: Prompt) -> Result<BoxStream<'static, Result<Delta, Error>>, Error> {
        let (name, began) = (self.name, Instant::now());
        let begun = self.ask(prompt).await;
        metrics::provider_asked("llm", name, begun.as_ref().map_or_else(Error::code, |_| "ok"));
        if begun.is_ok() {
            metrics::provider_first_byte("llm", name, began.elapsed());
        }
        begun
    }

    /// Asks until an answer begins, within the time for its first token.
    async fn ask(self, prompt: Prompt) -> Result<BoxStream<'static, Result<Delta, Error>>, Error> {
        let headers = self.headers()?;
        let began = Instant::now();
        {
            let breaker = self.breaker();
            if breaker.is_open(began) {
                let fault = breaker.fault().filter(|fault| *fault == Fault::Unauthorized).unwrap_or(Fault::Unavailable);
                return Err(Error::new(fault).because("it failed too often and is left alone for 15 s"));
            }
        }
        let last = began + self.timeouts.total;
        let first = last.min(began + self.timeouts.first_token);
        let body = wire::request(&self.config, &prompt);
        let backoff = ExponentialBuilder::default().with_min_delay(FIRST_WAIT).with_max_times(RETRIES).with_jitter();
        let asking = (|| self.attempt(&headers, &body))
            .retry(backoff)
            .when(|error| error.retryable)
            // What the provider asks for, unless nobody would wait that long.
            .adjust(|error, wait| {
                wait.map(|wait| error.retry_after.unwrap_or(wait)).filter(|w| Instant::now() + *w < first)
            });
        let permits = Arc::clone(&self.permits);
        let opened = timeout_at(first, async move {
            let permit = permits.acquire_owned().await.map_err(|_| Error::new(Fault::Unavailable))?;
            Ok::<_, Error>((asking.await?, permit))
        });
        let opened = opened.await.unwrap_or_else(|_| Err(Fault::TimedOut.into()));
        match &opened {
            Ok(_) => self.breaker().succeeded(),
            Err(Error { fault, .. })
                if matches!(fault, Fault::Unauthorized | Fault::Unavailable | Fault::TimedOut | Fault::Broken) =>
            {
                let mut breaker = self.breaker();
                if *fault == Fault::Unauthorized && breaker.fault() != Some(*fault) {
                    warn!(key = self.variable, "the provider of the language model refuses this key");
                }
                breaker.failed(Instant::now(), *fault);
            }
            Err(_) => {}
        }
        let (answer, permit) = opened?;
        let idle = self.timeouts.idle;
        let deltas = stream::try_unfold((answer, permit), move |(mut answer, permit)| async move {
            let more = answer.more(idle, last).await?;
            Ok::<_, Error>(more.map(|deltas| (stream::iter(deltas.into_iter().map(Ok)), (answer, permit))))
        });
        Ok(deltas.try_flatten().boxed())
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn headers(&self) -> Result<HeaderMap, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream, application/json"));
        match &self.key {
            Key::Bearer(bearer) => headers.insert(AUTHORIZATION, bearer.clone()),
            Key::None => None,
            Key::Missing => return Err(Fault::NoKey { variable: self.variable }.into()),
        };
        Ok(headers)
    }

    /// One try: an answer whose first token is there.
    async fn attempt(&self, headers: &HeaderMap, body: &Value) -> Result<Answer, Error> {
        let request = self.http.post(self.url.clone()).headers(headers.clone()).json(body);
        let response = request.send().await.map_err(|error| lost(&error).retryable(None))?;
        if !response.status().is_success() {
            return Err(refusal(response).await);
        }
        Answer::open(response, self.config.starts_in_thought).await
    }
}

impl ChatModel for OpenAi {
    fn reply(&self, prompt: Prompt) -> BoxStream<'static, Result<Delta, Error>> {
        stream::once(self.clone().begin(prompt)).try_flatten().boxed()
    }

    fn warning(&self) -> Option<String> {
        let variable = self.variable;
        match (&self.key, self.breaker().fault()) {
            (Key::Missing, _) => Some(format!("there is no key for the language model: set {variable}")),
            (_, Some(Fault::Unauthorized)) => Some(format!("the provider of the language model refuses {variable}")),
            (_, Some(_)) => Some("the provider of the language model fails".to_owned()),
            _ => None,
        }
    }
}

/// A connection that does not come about, or breaks.
fn lost(error: &reqwest::Error) -> Error {
    let fault = if error.is_timeout() { Fault::TimedOut } else { Fault::Unavailable };
    Error::new(fault).because(&cause(error))
}

/// What a status other than 200 means. Its body may be anything, also a proxy's page.
async fn refusal(response: Response) -> Error {
    let status = response.status();
    let after = retry_after(response.headers());
    let body = timeout(REFUSAL_TIMEOUT, web::body(response, REFUSAL_BYTES)).await;
    let code = match body {
        Ok(Ok((text, _))) => wire::error_code(&text),
        _ => String::new(),
    };
    let error = |fault| Error::new(fault).because(format!("{} {code}", status.as_u16()).trim_end());
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => error(Fault::Unauthorized),
        // A redirection is not followed: the address is not the one that it should be.
        StatusCode::NOT_FOUND => error(Fault::NotFound),
        status if status.is_redirection() => error(Fault::NotFound),
        StatusCode::TOO_MANY_REQUESTS if code == "insufficient_quota" => error(Fault::RateLimited),
        StatusCode::TOO_MANY_REQUESTS => error(Fault::RateLimited).retryable(after),
        StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT => error(Fault::Unavailable).retryable(after),
        status if status.is_server_error() => error(Fault::Unavailable).retryable(after),
        _ => error(Fault::Refused),
    }
}

/// `Retry-After` in seconds (RFC 9110 §10.2.3), or `retry-after-ms`. A date is not understood: providers send none.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number =
        |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok().filter(|n| (0.0..1e6).contains(n));
    let millis = number("retry-after-ms").map(|ms| Duration::from_secs_f64(ms / 1_000.0));
    millis.or_else(|| number(RETRY_AFTER.as_str()).map(Duration::from_secs_f64))
}

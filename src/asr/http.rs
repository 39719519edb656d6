//! Requests to ears over HTTP: a WAV file up, `{"text": …}` down. A redirection is a refusal: a key and a voice go to the host
//! that the configuration names and to no other.

use std::time::Duration;

use futures_util::StreamExt;
use reqwest::header::RETRY_AFTER;
use reqwest::multipart::{Form, Part};
use reqwest::redirect::Policy;
use reqwest::{RequestBuilder, Response, Url};
use serde_json::Value;

use super::Error;
use crate::ask::ask;
use crate::media::write_wav;

/// Who does not take a connection within this is not there (limit L19).
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Largest answer: a transcript of 30 s has less than 2 KiB.
const LARGEST_ANSWER: usize = 64 << 10;

/// A service that is asked over HTTP.
pub(super) struct Service {
    client: reqwest::Client,
    url: Url,
    /// Its name in errors.
    pub provider: &'static str,
    /// Where its key stands in the configuration.
    key: &'static str,
    timeout: Duration,
}

impl Service {
    /// `path` below `base`, the value of the configuration's key `setting`.
    pub(super) fn new(
        provider: &'static str,
        (setting, base): (&'static str, &str),
        path: &str,
        key: &'static str,
        timeout: Duration,
    ) -> Result<Self, Error> {
        let failed = |problem: String| Error::Setting { key: setting, problem };
        let mut url = Url::parse(base).map_err(|error| failed(format!("\"{base}\" is no URL: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(failed("must begin with http:// or https:// and a host".into()));
        }
        url.set_path(&format!("{}/{path}", url.path().trim_end_matches('/')));
        let client = reqwest::Client::builder()
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(timeout)
            .user_agent(concat!("visavis/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| failed(error.to_string()))?;
        Ok(Self { client, url, provider, key, timeout })
    }

    /// A request to the service.
    pub(super) fn post(&self) -> RequestBuilder {
        self.client.post(self.url.clone())
    }

    /// Sends what `request` makes; the text that comes back.
    pub(super) async fn text(&self, request: impl Fn() -> RequestBuilder) -> Result<String, Error> {
        let answer = self.json(request).await?;
        match (&answer["text"], &answer["error"]) {
            (Value::String(text), _) => Ok(text.clone()),
            (_, Value::Null) => Err(Error::Garbled { provider: self.provider, what: "JSON without a text" }),
            _ => Err(Error::Broken { provider: self.provider, what: "it says that it failed" }),
        }
    }

    /// Sends what `request` makes; the JSON that comes back.
    pub(super) async fn json(&self, request: impl Fn() -> RequestBuilder) -> Result<Value, Error> {
        let response = ask(request).await.map_err(|error| self.failed(&error))?;
        if !response.status().is_success() {
            return Err(self.refusal(&response));
        }
        let mut body = Vec::new();
        let mut pieces = response.bytes_stream();
        while let Some(piece) = pieces.next().await {
            body.extend_from_slice(&piece.map_err(|error| self.failed(&error))?);
            if body.len() > LARGEST_ANSWER {
                return Err(Error::Garbled { provider: self.provider, what: "more than 64 KiB" });
            }
        }
        serde_json::from_slice(&body)
            .map_err(|_| Error::Garbled { provider: self.provider, what: "something that is no JSON" })
    }

    fn failed(&self, error: &reqwest::Error) -> Error {
        let provider = self.provider;
        if error.is_connect() {
            Error::Unreachable { provider }
        } else if error.is_timeout() {
            Error::Timeout { provider, after: self.timeout }
        } else {
            Error::Broken { provider, what: "the connection ended" }
        }
    }

    fn refusal(&self, response: &Response) -> Error {
        let provider = self.provider;
        let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        refusal(provider, self.key, response.status().as_u16(), seconds.map(Duration::from_secs))
    }
}

/// What an HTTP status means.
pub(super) fn refusal(provider: &'static str, key: &'static str, status: u16, retry_after: Option<Duration>) -> Error {
    match status {
        401 | 403 => Error::Unauthorized { provider, status, key },
        429 => Error::Busy { provider, retry_after },
        _ => Error::Refused { provider, status },
    }
}

/// A form with `utterance` as its file.
pub(super) fn form(utterance: &[i16]) -> Form {
    let file = Part::bytes(write_wav(utterance)).file_name("utterance.wav");
    Form::new().part("file", file.mime_str("audio/wav").expect("the type is well-formed"))
}

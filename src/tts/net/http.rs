//! Requests to a voice over HTTP. A redirection is a refusal: a key goes to the host that the configuration names and to
//! no other.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::multipart::Part;
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response, Url};
use serde_json::Value;

use super::{Encoding, Fault, Out, SoundDecoder, body};
use crate::cause::cause;
use crate::tts::{Error, Timeouts};

/// Bytes that are decoded in one go, so that the runtime is not held up: under 200 µs even of MP3.
const STEP: usize = 1 << 10;

/// Largest recording of a voice to imitate.
const LARGEST_RECORDING: u64 = 10 << 20;

/// The address of a service and the connections to it.
#[derive(Clone)]
pub(in crate::tts) struct Http {
    client: Client,
    base: Url,
}

impl Http {
    /// For the service at `base`, the value of the configuration's key `key`.
    pub(in crate::tts) fn new(key: &'static str, base: &str, timeouts: &Timeouts) -> Result<Self, Error> {
        let setting = |problem: String| Error::Setting { key, problem };
        let base = Url::parse(base).map_err(|error| setting(format!("\"{base}\" is no URL: {error}")))?;
        if !matches!(base.scheme(), "http" | "https") || base.host().is_none() {
            return Err(setting("must begin with http:// or https:// and a host".into()));
        }
        let client = Client::builder()
            .redirect(Policy::none())
            .connect_timeout(timeouts.connect.0)
            .user_agent(concat!("visavis/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| setting(cause(&error)))?;
        Ok(Self { client, base })
    }

    /// `path` below the service's address, whether or not that ends with a slash.
    pub(in crate::tts) fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{path}", url.path().trim_end_matches('/')));
        url
    }

    /// The service's address itself.
    pub(in crate::tts) fn base(&self) -> &Url {
        &self.base
    }

    /// A request to `url`.
    pub(in crate::tts) fn post(&self, url: Url) -> RequestBuilder {
        self.client.post(url)
    }

    /// A question to `url`.
    pub(in crate::tts) fn get(&self, url: Url) -> RequestBuilder {
        self.client.get(url)
    }
}

/// Sends `request`; any status but success is a fault.
pub(super) async fn send(request: RequestBuilder) -> Result<Response, Fault> {
    let response = request.send().await?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let retry_after = retry_after(response.headers());
    // The reason is a courtesy: without it the status stands alone.
    let code = body::text(response).await.map(|text| body::error_code(&text)).unwrap_or_default();
    Err(Fault::Status { status: status.as_u16(), code: (!code.is_empty()).then_some(code), retry_after })
}

impl Http {
    /// Sends `request` and gives the JSON that comes back.
    pub(in crate::tts) async fn json(request: RequestBuilder) -> Result<Value, Fault> {
        body::json(send(request).await?).await
    }

    /// Sends `request` and hands the sound on as it comes. A rate in the answer's content type wins over `encoding`'s.
    pub(in crate::tts) async fn play(request: RequestBuilder, encoding: Encoding, out: &Out) -> Result<(), Fault> {
        let response = send(request).await?;
        let kind = header(response.headers(), &CONTENT_TYPE);
        if let Some(encoded) =
            Some(header(response.headers(), &CONTENT_ENCODING)).filter(|e| !matches!(&e[..], "" | "identity"))
        {
            return Err(Fault::NotSound(format!("compressed ({encoded})")));
        }
        let essence = kind.split(';').next().unwrap_or_default().trim();
        if essence == "application/json" || essence == "application/problem+json" {
            return Err(Fault::refused(&body::error_code(&body::text(response).await?)));
        }
        if ["text/", "image/", "video/", "application/xml"].iter().any(|other| essence.starts_with(other)) {
            return Err(Fault::NotSound(super::fault::short(essence).unwrap_or_else(|| "of an unknown kind".into())));
        }
        let encoding = match encoding {
            Encoding::Pcm { rate_hz } => Encoding::Pcm { rate_hz: rate_of(&kind).unwrap_or(rate_hz) },
            other => other,
        };
        let mut bytes = response.bytes_stream();
        let Some(first) = bytes.next().await else { return Err(Fault::Silent) };
        let mut next = Some(Ok(first?));
        if let Some(Ok(first)) = &next
            && !essence.starts_with("audio/")
            && body::may_be_json(first)
        {
            let mut all = first.to_vec();
            while let Some(more) = bytes.next().await {
                all.extend_from_slice(&more?);
                if all.len() > 64 << 10 {
                    break;
                }
            }
            if serde_json::from_slice::<Value>(&all).is_ok() {
                return Err(Fault::refused(&body::error_code(&all)));
            }
            next = Some(Ok(Bytes::from(all)));
        }
        let mut decoder = SoundDecoder::new(encoding)?;
        while let Some(piece) = next {
            for step in piece?.chunks(STEP) {
                out.sound(decoder.push(step)?).await;
            }
            next = bytes.next().await;
        }
        out.sound(decoder.finish()?).await;
        Ok(())
    }
}

fn header(headers: &HeaderMap, name: &reqwest::header::HeaderName) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_ascii_lowercase()
}

/// `rate=24000` of `audio/pcm;rate=24000` or `audio/L16; rate=24000; channels=1`.
fn rate_of(kind: &str) -> Option<u32> {
    let rate = kind.split(';').find_map(|part| part.trim().strip_prefix("rate="))?;
    rate.parse().ok().filter(|rate| (4_000..=192_000).contains(rate))
}

/// Seconds, or a date (RFC 9110 §10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?;
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(value).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(Duration::from_secs(until.as_secs().saturating_sub(super::unix_seconds().max(0) as u64)))
}

/// The recording at `path`, the value of the configuration's key `key`. Blocks: call it while loading.
pub(in crate::tts) fn audio_file(key: &'static str, path: &Path) -> Result<Bytes, Error> {
    let setting = |problem: String| Error::Setting { key, problem };
    if path.as_os_str().is_empty() {
        return Err(setting("name a recording of the voice to imitate, a WAV file of 3 to 10 s".into()));
    }
    let size = std::fs::metadata(path).map_err(|error| setting(format!("{}: {error}", path.display())))?.len();
    if size > LARGEST_RECORDING {
        return Err(setting(format!("{} is larger than 10 MiB", path.display())));
    }
    std::fs::read(path).map(Bytes::from).map_err(|error| setting(format!("{}: {error}", path.display())))
}

/// `recording` as a part of a form.
pub(in crate::tts) fn file_part(recording: &Bytes) -> Part {
    let len = recording.len() as u64;
    Part::stream_with_length(recording.clone(), len)
        .file_name("reference.wav")
        .headers([(CONTENT_TYPE, reqwest::header::HeaderValue::from_static("audio/wav"))].into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_put_below_the_address_whatever_that_ends_with() {
        for base in ["http://host/v1", "http://host/v1/"] {
            let http = Http::new("tts.test.url", base, &Timeouts::default()).unwrap();
            assert_eq!(http.url("audio/speech").as_str(), "http://host/v1/audio/speech");
        }
        for base in ["host:80", "file:///etc/passwd", "nonsense"] {
            assert!(Http::new("tts.test.url", base, &Timeouts::default()).is_err(), "{base}");
        }
    }

    #[test]
    fn a_rate_is_read_from_the_content_type() {
        assert_eq!(rate_of("audio/l16; rate=8000; channels=1"), Some(8_000));
        assert_eq!(rate_of("audio/pcm"), None);
        assert_eq!(rate_of("audio/pcm;rate=1"), None);
    }
}

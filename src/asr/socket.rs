//! A WebSocket to ears. Dropping it closes the connection.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use super::http::{CONNECT_TIMEOUT, refusal};
use super::{Error, Transcript};
use crate::values::Secret;

/// Largest message of a service: ten segments of text.
const LARGEST_MESSAGE: usize = 64 << 10;
/// Partial transcripts that wait to be shown: the service waits when it is full.
const PARTIALS_QUEUE: usize = 8;

type WebSocket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Where a service is, and what it is called in errors.
#[derive(Clone)]
pub(super) struct Place {
    pub provider: &'static str,
    pub url: String,
    pub key: &'static str,
}

impl Place {
    /// `url` is the value of the configuration's key `setting`; a key that is refused stands at `key`.
    pub(super) fn new(provider: &'static str, setting: &'static str, url: &str, key: &'static str) -> Result<Self, Error> {
        let parsed = reqwest::Url::parse(url).map_err(|error| error.to_string());
        match parsed {
            Ok(parsed) if matches!(parsed.scheme(), "ws" | "wss") && parsed.host().is_some() => {
                Ok(Self { provider, url: url.into(), key })
            }
            Ok(_) => Err(Error::Setting { key: setting, problem: "must begin with ws:// or wss:// and a host".into() }),
            Err(error) => Err(Error::Setting { key: setting, problem: format!("\"{url}\" is no URL: {error}") }),
        }
    }

    /// Connects, with `subprotocol` and `api_key` if there are such.
    pub(super) async fn connect(
        &self,
        subprotocol: Option<&'static str>,
        api_key: &Secret,
    ) -> Result<(Sender, Receiver), Error> {
        let provider = self.provider;
        let mut request = self.url.as_str().into_client_request().map_err(|_| Error::Unreachable { provider })?;
        if let Some(name) = subprotocol {
            request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(name));
        }
        if let Some(key) = api_key.reveal() {
            let bearer = HeaderValue::from_str(&format!("Bearer {key}"));
            let bearer = bearer.map_err(|_| Error::Setting { key: self.key, problem: "cannot be a header".into() })?;
            request.headers_mut().insert("authorization", bearer);
        }
        let config =
            WebSocketConfig::default().max_message_size(Some(LARGEST_MESSAGE)).max_frame_size(Some(LARGEST_MESSAGE));
        let connecting = connect_async_with_config(request, Some(config), true);
        let socket = match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Err(_) => return Err(Error::Timeout { provider, after: CONNECT_TIMEOUT }),
            Ok(Ok((socket, _))) => socket,
            Ok(Err(tungstenite::Error::Http(response))) => {
                return Err(refusal(provider, self.key, response.status().as_u16(), None));
            }
            Ok(Err(tungstenite::Error::Io(_) | tungstenite::Error::Tls(_))) => return Err(Error::Unreachable { provider }),
            Ok(Err(_)) => return Err(Error::Garbled { provider, what: "something that is no WebSocket" }),
        };
        let (sink, stream) = socket.split();
        Ok((Sender { sink, provider }, Receiver { stream, provider }))
    }
}

/// The half that speaks.
pub(super) struct Sender {
    sink: SplitSink<WebSocket, Message>,
    provider: &'static str,
}

impl Sender {
    pub(super) async fn json(&mut self, value: &Value) -> Result<(), Error> {
        self.send(Message::text(value.to_string())).await
    }

    pub(super) async fn binary(&mut self, bytes: impl Into<Bytes>) -> Result<(), Error> {
        self.send(Message::binary(bytes)).await
    }

    async fn send(&mut self, message: Message) -> Result<(), Error> {
        let provider = self.provider;
        self.sink.send(message).await.map_err(|_| Error::Broken { provider, what: "the connection ended" })
    }
}

/// The half that listens.
pub(super) struct Receiver {
    stream: SplitStream<WebSocket>,
    provider: &'static str,
}

impl Receiver {
    /// The next text, as JSON. The end of the connection is an error: every protocol here says when it is done.
    pub(super) async fn json(&mut self) -> Result<Value, Error> {
        let provider = self.provider;
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => {
                    return serde_json::from_str(&text)
                        .map_err(|_| Error::Garbled { provider, what: "a message that is no JSON" });
                }
                Some(
                    Ok(Message::Close(_))
                    | Err(
                        tungstenite::Error::Io(_)
                        | tungstenite::Error::ConnectionClosed
                        | tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake),
                    ),
                )
                | None => return Err(Error::Broken { provider, what: "the connection ended" }),
                Some(Ok(_)) => {}
                Some(Err(_)) => return Err(Error::Garbled { provider, what: "a broken WebSocket frame" }),
            }
        }
    }
}

/// The stream of what `talk` hands out and then of its result, which has `timeout` in all. Dropping it drops the talk, and
/// with it the connection.
pub(super) fn transcripts<F>(
    provider: &'static str,
    timeout: Duration,
    talk: impl FnOnce(mpsc::Sender<Transcript>) -> F,
) -> BoxStream<'static, Result<Transcript, Error>>
where
    F: Future<Output = Result<Transcript, Error>> + Send + 'static,
{
    let (partials, shown) = mpsc::channel(PARTIALS_QUEUE);
    let talk = tokio::time::timeout(timeout, talk(partials));
    let last = stream::once(async move { talk.await.unwrap_or(Err(Error::Timeout { provider, after: timeout })) });
    let partials = stream::unfold(shown, |mut shown| async move { shown.recv().await.map(|partial| (Ok(partial), shown)) });
    // A partial that comes out behind the last word is stale.
    let until_last = |done: &mut bool, next: Result<Transcript, Error>| {
        let was_done = std::mem::replace(done, *done || next.as_ref().map_or(true, |transcript| transcript.is_final));
        std::future::ready((!was_done).then_some(next))
    };
    stream::select(partials, last).scan(false, until_last).boxed()
}

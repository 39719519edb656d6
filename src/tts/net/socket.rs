//! A WebSocket to a voice. Dropping it closes the connection.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use super::Fault;
use crate::cause::cause;

/// Largest message: ten seconds of raw sound in base64 are 640 KiB.
const LARGEST_MESSAGE: usize = 1 << 20;

/// What a service says.
#[derive(Debug)]
pub(in crate::tts) enum Incoming {
    Text(String),
    Binary(Bytes),
}

/// An open connection.
pub(in crate::tts) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    /// Connects to `url` within `timeout`. A refusal is [`Fault::Status`]; its `Date` goes to `date`, in seconds since 1970.
    pub(in crate::tts) async fn connect(
        url: &str,
        headers: &[(&'static str, String)],
        timeout: Duration,
        date: &mut Option<i64>,
    ) -> Result<Self, Fault> {
        let mut request = url.into_client_request().map_err(|error| Fault::Connect(error.to_string()))?;
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).map_err(|_| Fault::Connect(format!("{name} cannot be a header")))?;
            request.headers_mut().insert(HeaderName::from_static(name), value);
        }
        let config =
            WebSocketConfig::default().max_message_size(Some(LARGEST_MESSAGE)).max_frame_size(Some(LARGEST_MESSAGE));
        match tokio::time::timeout(timeout, connect_async_with_config(request, Some(config), true)).await {
            Err(_) => Err(Fault::Timeout { what: "connection", after: timeout }),
            Ok(Ok((stream, _))) => Ok(Self(stream)),
            Ok(Err(Error::Http(response))) => {
                *date = time_of(&response);
                Err(Fault::Status { status: response.status().as_u16(), code: None, retry_after: wait_of(&response) })
            }
            Ok(Err(Error::Protocol(_))) => Err(Fault::Garbled("no WebSocket at this address")),
            Ok(Err(error)) => Err(Fault::Connect(cause(&error))),
        }
    }

    /// Sends a text.
    pub(in crate::tts) async fn send_text(&mut self, text: String) -> Result<(), Fault> {
        self.0.send(Message::text(text)).await.map_err(|_| Fault::Cut)
    }

    /// Sends `value` as JSON.
    pub(in crate::tts) async fn send_json(&mut self, value: &Value) -> Result<(), Fault> {
        self.send_text(value.to_string()).await
    }

    /// Sends bytes.
    pub(in crate::tts) async fn send_binary(&mut self, bytes: Vec<u8>) -> Result<(), Fault> {
        self.0.send(Message::binary(bytes)).await.map_err(|_| Fault::Cut)
    }

    /// The next message. The end of the connection is a fault: every protocol here says when it is done.
    pub(in crate::tts) async fn next(&mut self) -> Result<Incoming, Fault> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) => return Ok(Incoming::Text(text.to_string())),
                Some(Ok(Message::Binary(bytes))) => return Ok(Incoming::Binary(bytes)),
                Some(Ok(Message::Close(_)) | Err(Error::ConnectionClosed | Error::Io(_))) | None => return Err(Fault::Cut),
                Some(Ok(_)) => {}
                Some(Err(Error::Protocol(
                    tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
                ))) => {
                    return Err(Fault::Cut);
                }
                Some(Err(_)) => return Err(Fault::Garbled("a broken WebSocket frame")),
            }
        }
    }
}

/// A text as JSON and the name of its event, found at `place`.
pub(in crate::tts) fn event(text: &str, place: &str) -> Result<(String, Value), Fault> {
    let value: Value = serde_json::from_str(text).map_err(|_| Fault::Garbled("a message that is no JSON"))?;
    let name = value.pointer(place).and_then(Value::as_str).ok_or(Fault::Garbled("an event without a name"))?;
    Ok((name.to_owned(), value))
}

fn time_of<B>(response: &Response<B>) -> Option<i64> {
    let date = response.headers().get("date")?.to_str().ok()?;
    let since = httpdate::parse_http_date(date).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(since.as_secs() as i64)
}

fn wait_of<B>(response: &Response<B>) -> Option<Duration> {
    response.headers().get("retry-after")?.to_str().ok()?.parse().ok().map(Duration::from_secs)
}

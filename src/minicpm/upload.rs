//! The WebSocket that carries the microphone's sound, and what the server says about each slice of it.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use super::Error;
use super::pool::CONNECT_TIMEOUT;
use super::server::Server;
use crate::media::write_wav;

/// Largest thing the server has to say about a slice.
const LARGEST_ACK: usize = 64 << 10;
/// A slice that cannot be written for so long meets a server that is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// What a good-bye may take.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(200);

/// What the server says about a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ack {
    /// It has it.
    Done,
    /// It was not listening: it is answering. The sound is lost.
    Skip,
    /// Something else, such as that the slice was not understood.
    Error,
}

impl Ack {
    /// One word, for the figures.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Skip => "skip",
            Self::Error => "error",
        }
    }
}

#[derive(Deserialize)]
struct Said {
    /// An object here, where answers have a list.
    choices: Option<Finished>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Finished {
    finish_reason: Option<String>,
}

/// An open connection. Dropping it cuts it, [`Self::close`] says so.
pub(super) struct Upload(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Upload {
    pub(super) async fn connect(server: &Server) -> Result<Self, Error> {
        let config = WebSocketConfig::default().max_message_size(Some(LARGEST_ACK)).max_frame_size(Some(LARGEST_ACK));
        let connecting = connect_async_with_config(server.upload_url(), Some(config), true);
        match timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok((socket, _))) => Ok(Self(socket)),
            Ok(Err(_)) | Err(_) => Err(Error::Lost),
        }
    }

    /// Sends 200 ms.
    pub(super) async fn send(&mut self, uid: &str, slice: &[i16]) -> Result<(), Error> {
        let data = BASE64_STANDARD.encode(write_wav(slice));
        let sound = json!({"data": data, "format": "wav", "timestamp": unix_millis().to_string()});
        let content = json!([{"type": "input_audio", "input_audio": sound}]);
        let message = json!({"uid": uid, "messages": [{"role": "user", "content": content}]});
        match timeout(SEND_TIMEOUT, self.0.send(Message::text(message.to_string()))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Error::Lost),
        }
    }

    /// What the server says next: [`Error::Taken`] if it is somebody else's now, [`Error::Closed`] if it hung up without a
    /// reason, which is how it ends a conversation for good, [`Error::Lost`] otherwise.
    pub(super) async fn next(&mut self) -> Result<Ack, Error> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) => return ack(&text),
                Some(Ok(Message::Close(None))) => return Err(Error::Closed),
                Some(Ok(Message::Close(Some(frame)))) if frame.code == CloseCode::Status => return Err(Error::Closed),
                Some(Ok(Message::Close(Some(_))) | Err(_)) | None => return Err(Error::Lost),
                Some(Ok(_)) => {}
            }
        }
    }

    pub(super) async fn close(mut self) {
        let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        let _ = timeout(CLOSE_TIMEOUT, self.0.close(Some(frame))).await;
    }
}

fn ack(text: &str) -> Result<Ack, Error> {
    let Ok(Said { choices, error }) = serde_json::from_str(text) else { return Ok(Ack::Error) };
    match (error, choices.and_then(|choices| choices.finish_reason)) {
        (Some(error), _) if error.to_ascii_lowercase().contains("uid changed") => Err(Error::Taken),
        (Some(_), _) => Ok(Ack::Error),
        (None, Some(reason)) if reason == "skip" => Ok(Ack::Skip),
        (None, Some(reason)) if reason == "empty audio" => Ok(Ack::Error),
        (None, _) => Ok(Ack::Done),
    }
}

fn unix_millis() -> u128 {
    #[expect(clippy::disallowed_methods, reason = "the server is told the wall time of each slice")]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_says_of_a_slice_is_understood() {
        let said =
            |reason: &str| ack(&json!({"id": "u", "choices": {"role": "assistant", "finish_reason": reason}}).to_string());
        assert_eq!((said("done"), said("skip"), said("empty audio")), (Ok(Ack::Done), Ok(Ack::Skip), Ok(Ack::Error)));
        assert_eq!(ack(r#"{"error":"UID changed in stream"}"#), Err(Error::Taken));
        assert_eq!(ack(r#"{"error":"Invalid JSON"}"#), Ok(Ack::Error));
        assert_eq!(ack("nonsense"), Ok(Ack::Error));
    }
}

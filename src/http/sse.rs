//! `LiveTalking`'s `/sse`: tells when each sentence begins and ends to be heard, as lines of an event stream.
//!
//! In: the session's events, which fire when a sample is played. Out: `{"status":"start"|"end","text"?}`, always in pairs.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use poem::http::{StatusCode, header};
use poem::web::Data;
use poem::{Body, IntoResponse, Request, Response, handler};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::{Instant, timeout_at};

use super::livetalking::session;
use super::{App, Failure};
use crate::metrics;
use crate::session::{Event, Notice, TurnEvent};

/// Streams at once, over all sessions.
pub(super) const STREAMS: usize = 128;
/// A proxy closes what is silent for a minute, as a rule.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// The words of a sentence are told with its first sample; what has none by then is a recording.
const WORDLESS: Duration = Duration::from_millis(100);

#[derive(Default, Deserialize)]
struct Wish {
    #[serde(default)]
    sessionid: String,
}

/// What a session says, as it is heard.
#[handler]
pub(super) async fn sse(request: &Request, app: Data<&Arc<App>>) -> poem::Result<Response> {
    let Wish { sessionid } = request.params().unwrap_or_default();
    let session = session(&app.shared, &Value::from(sessionid))?;
    let place = Arc::clone(&app.streams).try_acquire_owned().map_err(|_| {
        metrics::rejected("sse");
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many event streams: close some").retry_after(5)
    })?;
    // The session itself is not held: its end is the stream's.
    let listener = Listener { notices: session.subscribe(), sentences: Sentences::default(), _place: place };
    let lines =
        stream::unfold(listener, async |mut listener| Some((Ok::<_, std::io::Error>(listener.next().await?), listener)));
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    let mut response = Body::from_bytes_stream(lines).into_response();
    for (name, value) in headers {
        response.headers_mut().insert(name, value.parse().expect("a plain word"));
    }
    // nginx would keep the lines back.
    response.headers_mut().insert("x-accel-buffering", "no".parse().expect("a plain word"));
    Ok(response)
}

/// One who listens.
struct Listener {
    notices: Receiver<Notice>,
    sentences: Sentences,
    _place: OwnedSemaphorePermit,
}

impl Listener {
    /// The next lines; `None` once the session is over.
    async fn next(&mut self) -> Option<Bytes> {
        let quiet_until = Instant::now() + HEARTBEAT;
        loop {
            let patience = self.sentences.wordless_at.map_or(quiet_until, |at| at.min(quiet_until));
            let told = match timeout_at(patience, self.notices.recv()).await {
                Ok(Ok(Notice::Event(event, _))) => self.sentences.event(&event),
                // It has missed some: what it believes to be heard may be over.
                Ok(Err(RecvError::Lagged(_))) => self.sentences.end(),
                Ok(Ok(Notice::Written(..))) => continue,
                Ok(Err(RecvError::Closed)) => return None,
                Err(_) if Instant::now() < quiet_until => self.sentences.wordless(),
                Err(_) => return Some(Bytes::from_static(b": still here\n\n")),
            };
            if !told.is_empty() {
                return Some(told.iter().map(|line| format!("data: {line}\n\n")).collect::<String>().into());
            }
        }
    }
}

/// What is heard: its words, if it has any.
struct Sentence(Option<String>);

/// Which sentence is heard. Pure.
#[derive(Default)]
struct Sentences {
    heard: Option<Sentence>,
    /// When an answer that has begun is taken for one without words.
    wordless_at: Option<Instant>,
}

impl Sentences {
    fn event(&mut self, event: &Event) -> Vec<Value> {
        match event {
            Event::Turn { event: TurnEvent::Started, .. } => {
                self.wordless_at = Some(Instant::now() + WORDLESS);
                Vec::new()
            }
            Event::Caption { text, resumed: false, .. } => self.start(Some(text.trim().to_owned())),
            Event::Turn { .. } | Event::Bye { .. } => self.end(),
            _ => Vec::new(),
        }
    }

    /// An answer has begun, and no words have come.
    fn wordless(&mut self) -> Vec<Value> {
        self.start(None)
    }

    fn start(&mut self, text: Option<String>) -> Vec<Value> {
        let mut told = self.end();
        told.push(line("start", text.as_deref()));
        self.heard = Some(Sentence(text));
        told
    }

    fn end(&mut self) -> Vec<Value> {
        self.wordless_at = None;
        self.heard.take().map(|Sentence(text)| line("end", text.as_deref())).into_iter().collect()
    }
}

fn line(status: &str, text: Option<&str>) -> Value {
    match text {
        Some(text) => json!({"status": status, "text": text}),
        None => json!({"status": status}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(events: &[Event]) -> Vec<String> {
        let mut sentences = Sentences::default();
        let lines = events.iter().flat_map(|event| sentences.event(event));
        lines.map(|line| format!("{} {}", line["status"].as_str().unwrap(), line["text"].as_str().unwrap_or("-"))).collect()
    }

    fn turn(event: TurnEvent) -> Event {
        Event::Turn { id: 1, event, heard: None }
    }

    fn caption(text: &str, resumed: bool) -> Event {
        Event::Caption { turn: 1, text: text.into(), words: vec![], resumed, written: String::new() }
    }

    #[tokio::test]
    async fn each_sentence_begins_once_and_ends_once() {
        let heard = [turn(TurnEvent::Started), caption("One. ", false), caption("Two.", false), turn(TurnEvent::Ended)];
        assert_eq!(told(&heard), ["start One.", "end One.", "start Two.", "end Two."]);
        let cut = [turn(TurnEvent::Started), caption("One. ", false), caption("ne. ", true), turn(TurnEvent::Interrupted)];
        assert_eq!(told(&cut), ["start One.", "end One."]);
        assert!(told(&[turn(TurnEvent::Started), turn(TurnEvent::Failed)]).is_empty(), "nothing was heard");
    }

    #[tokio::test]
    async fn a_recording_has_no_words() {
        let mut sentences = Sentences::default();
        sentences.event(&turn(TurnEvent::Started));
        assert!(sentences.wordless_at.is_some());
        assert_eq!(sentences.wordless(), [json!({"status": "start"})]);
        assert_eq!(sentences.event(&turn(TurnEvent::Ended)), [json!({"status": "end"})]);
    }
}

//! An answer as it comes: events to text and calls.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use reqwest::Response;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::lost;
use super::wire::{CallPiece, Choice, Chunk, code_of};
use crate::cause::cause;
use crate::llm::events::{EventError, MAX_EVENT_BYTES, events};
use crate::llm::think::ThinkFilter;
use crate::llm::{Call, Delta, Error, Fault, web};

/// Text and arguments of one answer, in bytes (L19): an hour of speech.
const MAX_TEXT_BYTES: usize = 64 << 10;
/// Body of an answer that is not streamed, in bytes.
const MAX_WHOLE_BYTES: usize = 1 << 20;
/// Calls of one answer.
const MAX_CALLS: usize = 16;
/// How long the end of a finished answer is waited for: with it the connection can be used again.
const END_WAIT: Duration = Duration::from_millis(100);

/// An answer whose beginning is there.
pub(super) struct Answer {
    events: BoxStream<'static, Result<String, EventError>>,
    reader: Option<Reader>,
    /// Read and not yet given.
    ready: Vec<Delta>,
}

impl Answer {
    /// Reads until something of the answer is there. A server that does not stream is waited for.
    /// `in_thought` says that the text begins with a thought.
    pub(super) async fn open(response: Response, in_thought: bool) -> Result<Self, Error> {
        let mut reader = Reader { think: ThinkFilter::new(in_thought), ..Reader::default() };
        if !web::is_event_stream(&response) {
            let (body, all) = web::body(response, MAX_WHOLE_BYTES).await.map_err(|e| lost(&e).retryable(None))?;
            if !all {
                return Err(broken("too long"));
            }
            let mut ready = reader.chunk(&body)?;
            if !reader.begun {
                return Err(broken("not a completion"));
            }
            ready.extend(reader.finish()?);
            return Ok(Self { events: stream::empty().boxed(), reader: None, ready });
        }
        let mut answer =
            Self { events: events(response.bytes_stream(), MAX_EVENT_BYTES).boxed(), reader: Some(reader), ready: vec![] };
        // The first event is often only a role, yet it shows that the server is at work.
        answer.read().await?;
        Ok(answer)
    }

    /// What comes next, perhaps nothing to say; none after the end. `idle` is the longest pause, `last` the end of patience.
    pub(super) async fn more(&mut self, idle: Duration, last: Instant) -> Result<Option<Vec<Delta>>, Error> {
        if self.ready.is_empty() {
            let Some(reader) = &self.reader else { return Ok(None) };
            let now = Instant::now();
            let finished = reader.finished;
            let until = if finished { now + END_WAIT } else { last.min(now + idle) };
            match timeout_at(until, self.read()).await {
                Ok(read) => read?,
                Err(_) if finished => self.end()?,
                Err(_) => return Err(Fault::TimedOut.into()),
            }
        }
        Ok(Some(std::mem::take(&mut self.ready)))
    }

    async fn read(&mut self) -> Result<(), Error> {
        let Some(reader) = &mut self.reader else { return Ok(()) };
        match self.events.next().await {
            Some(Ok(data)) if data.trim() == "[DONE]" => {
                reader.finished = true;
                self.end()?;
            }
            Some(Ok(data)) => self.ready.extend(reader.chunk(&data)?),
            // Whatever breaks after the end has broken nothing.
            Some(Err(_)) | None if reader.finished => self.end()?,
            None => return Err(broken("cut off").retryable(None)),
            Some(Err(EventError::Body(error))) => return Err(broken(&cause(&error)).retryable(None)),
            Some(Err(error @ (EventError::TooLarge | EventError::NotText))) => return Err(broken(&error.to_string())),
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Error> {
        if let Some(reader) = self.reader.take() {
            self.ready.extend(reader.finish()?);
        }
        Ok(())
    }
}

fn broken(why: &str) -> Error {
    Error::new(Fault::Broken).because(why)
}

/// Reads one answer's chunks.
#[derive(Default)]
struct Reader {
    think: ThinkFilter,
    calls: Vec<PartialCall>,
    /// There was a choice, however empty.
    begun: bool,
    /// A reason to finish was given.
    finished: bool,
    bytes: usize,
}

#[derive(Default)]
struct PartialCall {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
}

impl Reader {
    fn chunk(&mut self, data: &str) -> Result<Vec<Delta>, Error> {
        let chunk: Chunk = serde_json::from_str(data).map_err(|_| broken("not a completion"))?;
        if let Some(error) = &chunk.error {
            return Err(broken(&code_of(error)));
        }
        let Some(choices) = chunk.choices else {
            return chunk.code.map_or(Ok(vec![]), |code| Err(broken(&code_of(&serde_json::json!({"code": code})))));
        };
        // One answer was asked for. There is none at all in a chunk of usage figures or of a filter's verdict.
        let Some(Choice { delta, message, finish_reason }) = choices.into_iter().next() else { return Ok(vec![]) };
        self.begun = true;
        let mut deltas = Vec::new();
        if let Some(piece) = delta.or(message) {
            let text = piece.text();
            self.bytes += text.len();
            let said = self.think.push(&text);
            if !said.is_empty() {
                deltas.push(Delta::Text(said));
            }
            for call in piece.tool_calls.unwrap_or_default() {
                self.call(call)?;
            }
        }
        if self.bytes > MAX_TEXT_BYTES {
            return Err(broken("too long"));
        }
        match finish_reason.as_deref() {
            None | Some("") => {}
            Some("content_filter") => return Err(Error::new(Fault::Refused).because("content_filter")),
            Some(_) => self.finished = true,
        }
        Ok(deltas)
    }

    /// A call comes in pieces: first its name, then its arguments bit by bit. Some servers leave out the index, or send a
    /// call whole.
    fn call(&mut self, piece: CallPiece) -> Result<(), Error> {
        let id = piece.id.unwrap_or_default();
        let known = match piece.index {
            Some(index) => self.calls.iter().position(|call| call.index == Some(index)),
            None if id.is_empty() => self.calls.len().checked_sub(1),
            None => self.calls.iter().position(|call| call.id == id),
        };
        let at = known.unwrap_or_else(|| {
            self.calls.push(PartialCall { index: piece.index, ..PartialCall::default() });
            self.calls.len() - 1
        });
        if self.calls.len() > MAX_CALLS {
            return Err(broken("too many calls"));
        }
        let call = &mut self.calls[at];
        if call.id.is_empty() {
            call.id = id;
        }
        let Some(function) = piece.function else { return Ok(()) };
        if call.name.is_empty() {
            call.name = function.name.unwrap_or_default();
        }
        let arguments = match function.arguments {
            Some(Value::String(text)) => text,
            Some(Value::Null) | None => String::new(),
            Some(object) => object.to_string(),
        };
        self.bytes += arguments.len();
        call.arguments.push_str(&arguments);
        Ok(())
    }

    /// What was held back, and the calls.
    fn finish(self) -> Result<Vec<Delta>, Error> {
        // A whole answer need not say why it ended.
        let rest = self.think.finish();
        let text = (!rest.is_empty()).then_some(Delta::Text(rest));
        let calls = self.calls.into_iter().enumerate().map(|(n, call)| {
            let id = if call.id.is_empty() { format!("call_{n}") } else { call.id };
            if call.name.is_empty() {
                return Err(broken("a call without a name"));
            }
            Ok(Delta::Call(Call { id, name: call.name, arguments: call.arguments }))
        });
        text.into_iter().map(Ok).chain(calls).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(chunks: &[&str]) -> Result<Vec<Delta>, Error> {
        let mut reader = Reader::default();
        let mut deltas = Vec::new();
        for chunk in chunks {
            deltas.extend(reader.chunk(chunk)?);
        }
        deltas.extend(reader.finish()?);
        Ok(deltas)
    }

    fn text(text: &str) -> Delta {
        Delta::Text(text.into())
    }

    fn call(id: &str, name: &str, arguments: &str) -> Delta {
        Delta::Call(Call { id: id.into(), name: name.into(), arguments: arguments.into() })
    }

    #[test]
    fn chunks_of_every_dialect_are_read() {
        let said = read(&[
            r#"{"choices":[],"prompt_filter_results":[]}"#,
            r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null}"#,
            r#"{"choices":[{"delta":{"role":null,"content":null,"reasoning_content":"Hm.","tool_calls":null,"audio":null}}]}"#,
            r#"{"choices":[{"delta":{"content":"你好，"},"finish_reason":""}]}"#,
            r#"{"choices":[{"delta":{"content":[{"type":"text","text":"world"}]}}]}"#,
            r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#,
            r#"{"choices":[],"usage":{"total_tokens":3}}"#,
        ]);
        assert_eq!(said.unwrap(), [text("你好，"), text("world")]);
    }

    #[test]
    fn a_call_is_put_together_from_its_pieces() {
        let streamed = read(&[
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":1,"id":"b","function":{"name":"g","arguments":"{}"}}]}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"x\""}}]}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"arguments":":1}"}}]}}]}"#,
            r#"{"choices":[{"delta":{},"finish_reason":"tool_calls"}]}"#,
        ]);
        assert_eq!(streamed.unwrap(), [call("a", "f", "{\"x\":1}"), call("b", "g", "{}")]);
        let whole = read(&[
            r#"{"choices":[{"delta":{"content":"Wait.","tool_calls":[{"function":{"name":"f","arguments":{"x":1}}}]},"finish_reason":"stop"}]}"#,
        ]);
        assert_eq!(whole.unwrap(), [text("Wait."), call("call_0", "f", "{\"x\":1}")]);
    }

    #[test]
    fn errors_within_a_stream_keep_the_providers_code() {
        let error = read(&[r#"{"error":{"message":"secret words","type":"server_error","code":null}}"#]).unwrap_err();
        assert_eq!(error.code(), "llm_failed");
        assert!(error.to_string().contains("server_error") && !error.to_string().contains("secret"), "{error}");
        assert!(read(&["<html>"]).is_err());
        assert!(read(&[r#"{"code":"DataInspectionFailed","message":"x"}"#]).is_err());
        let filtered = read(&[r#"{"choices":[{"delta":{},"finish_reason":"content_filter"}]}"#]).unwrap_err();
        assert_eq!(filtered.code(), "llm_refused");
    }

    #[test]
    fn an_endless_answer_is_cut() {
        let long = format!(r#"{{"choices":[{{"delta":{{"content":"{}"}}}}]}}"#, "x".repeat(60 << 10));
        assert!(read(&[&long]).is_ok());
        assert!(read(&[&long, &long]).is_err());
    }
}

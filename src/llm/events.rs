//! Server-sent events of an HTTP body, each bounded.
//!
//! In: bytes, cut anywhere. Out: the `data` of each event. Comments and other fields are passed over.

use bytes::Bytes;
use eventsource_stream::{EventStreamError, Eventsource};
use futures_util::{Stream, StreamExt};

/// Largest event of an answer, in bytes (L19). A usual one has a few hundred.
pub(super) const MAX_EVENT_BYTES: usize = 64 << 10;

/// Why a stream of events broke.
#[derive(Debug, thiserror::Error)]
pub(super) enum EventError {
    #[error(transparent)]
    Body(#[from] reqwest::Error),
    #[error("an event is too large")]
    TooLarge,
    #[error("the stream is no text")]
    NotText,
}

/// The `data` of each event of `body`; one of more than `limit` bytes is an error.
pub(super) fn events(
    body: impl Stream<Item = reqwest::Result<Bytes>> + Send + 'static,
    limit: usize,
) -> impl Stream<Item = Result<String, EventError>> + Send + 'static {
    let (mut gauge, mut text) = (Gauge::default(), Text::default());
    let bounded = body.map(move |chunk| {
        let chunk = chunk?;
        if gauge.largest(&chunk) > limit {
            return Err(EventError::TooLarge);
        }
        Ok(text.of(&chunk))
    });
    bounded.eventsource().map(|event| match event {
        Ok(event) => Ok(event.data),
        Err(EventStreamError::Transport(error)) => Err(error),
        Err(EventStreamError::Utf8(_) | EventStreamError::Parser(_)) => Err(EventError::NotText),
    })
}

/// Makes text of bytes as they pass. What is none becomes U+FFFD: the parser behind it would wait for the rest of it, for ever.
#[derive(Default)]
struct Text {
    /// The beginning of a character that the last chunk was cut in.
    begun: Vec<u8>,
}

impl Text {
    fn of(&mut self, chunk: &[u8]) -> Bytes {
        self.begun.extend_from_slice(chunk);
        let bytes = std::mem::take(&mut self.begun);
        let mut text = String::with_capacity(bytes.len());
        let mut rest = bytes.len();
        for part in bytes.utf8_chunks() {
            text.push_str(part.valid());
            rest -= part.valid().len() + part.invalid().len();
            let cut = |invalid| std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
            if rest == 0 && cut(part.invalid()) {
                self.begun.extend_from_slice(part.invalid());
            } else if !part.invalid().is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        text.into()
    }
}

/// Measures events as their bytes pass: the parser behind it keeps an event until it is whole.
#[derive(Default)]
struct Gauge {
    event: usize,
    line: usize,
    after_return: bool,
}

impl Gauge {
    /// The largest that an event has grown to within `chunk`.
    fn largest(&mut self, chunk: &[u8]) -> usize {
        let mut largest = 0;
        for byte in chunk {
            self.event += 1;
            let after_return = std::mem::replace(&mut self.after_return, *byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => {
                    if self.line == 0 {
                        self.event = 0;
                    }
                    self.line = 0;
                }
                _ => self.line += 1,
            }
            largest = largest.max(self.event);
        }
        largest
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use proptest::prelude::*;

    use super::*;

    fn parse(bytes: &[u8], cuts: &[usize]) -> Vec<Result<String, String>> {
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).chain([0, bytes.len()]).collect();
        at.sort_unstable();
        let chunks: Vec<_> = at.windows(2).map(|w| Ok(Bytes::copy_from_slice(&bytes[w[0]..w[1]]))).collect();
        let events = events(stream::iter(chunks), MAX_EVENT_BYTES).map(|event| event.map_err(|error| error.to_string()));
        futures_util::FutureExt::now_or_never(events.collect()).unwrap()
    }

    #[test]
    fn comments_and_missing_spaces_are_understood() {
        let bytes = b": keep-alive\n\nevent: message\ndata:{\"a\":1}\n\nid: 7\ndata: b\r\n\r\n: x\n\ndata: [DONE]\n\n";
        assert_eq!(parse(bytes, &[]), ["{\"a\":1}", "b", "[DONE]"].map(|data| Ok(data.to_owned())));
    }

    #[test]
    fn an_event_without_an_end_is_refused_before_it_fills_the_memory() {
        let endless = [b"data: ".as_slice(), &vec![b'x'; 70 << 10]].concat();
        assert_eq!(parse(&endless, &[]), [Err("an event is too large".to_owned())]);
        let lines = b"data: xxxxxxxxxxxxxxxx\r\n".repeat(4 << 10);
        assert_eq!(parse(&lines, &[]), [Err("an event is too large".to_owned())]);
        let events = b"data: xxxxxxxxxxxxxxxx\r\n\r\n".repeat(4 << 10);
        assert!(parse(&events, &[100]).iter().all(Result::is_ok));
    }

    #[test]
    fn what_is_no_text_neither_holds_up_the_rest_nor_is_lost_in_silence() {
        let bytes = b"data: a\n\ndata: \xff\xe4\xbd\n\ndata: b\n\n";
        let expected = ["a", "\u{fffd}\u{fffd}", "b"].map(|data| Ok(data.to_owned()));
        assert_eq!(parse(bytes, &[]), expected);
        assert_eq!(parse(bytes, &(0..bytes.len()).collect::<Vec<_>>()), expected);
    }

    proptest! {
        #[test]
        fn where_the_bytes_are_cut_makes_no_difference(
            lines in proptest::collection::vec("(data: ?|: |event: )[a-z你好🎉{}\" ]{0,12}(\n\n|\r\n\r\n|\r\r|\n)", 0..12),
            cuts in proptest::collection::vec(any::<usize>(), 0..40),
        ) {
            let bytes = lines.concat().into_bytes();
            let whole = parse(&bytes, &[]);
            prop_assert!(whole.iter().all(Result::is_ok));
            prop_assert_eq!(&parse(&bytes, &cuts), &whole);
            let each: Vec<usize> = (0..bytes.len()).collect();
            prop_assert_eq!(&parse(&bytes, &each), &whole);
        }
    }
}

//! Server-sent events whose data is megabytes of base64, cut anywhere.
//!
//! In: bytes. Out: the data of each event. `llm::events` parses a line again with each piece of it that arrives, which for
//! a picture's worth of base64 on one line is a second of work; here each byte is looked at once.

/// Largest event that is kept, 1 MiB: 24 s of sound. Only what a person said themselves is longer, and nobody wants it back.
const LARGEST_EVENT: usize = 1 << 20;

/// An event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Its data.
    Data(Vec<u8>),
    /// It was too large, and is gone.
    TooLarge,
}

/// Finds events in a body.
#[derive(Default)]
pub(super) struct Events {
    line: Vec<u8>,
    data: Vec<u8>,
    /// A line of data has been seen since the last event.
    has_data: bool,
    too_large: bool,
    after_return: bool,
}

impl Events {
    /// The events that `bytes` complete.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Vec<Found> {
        let mut found = Vec::new();
        while let Some(&first) = bytes.first() {
            if std::mem::take(&mut self.after_return) && first == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            self.keep(&bytes[..end.unwrap_or(bytes.len())]);
            let Some(end) = end else { break };
            self.after_return = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            found.extend(self.end_line());
        }
        found
    }

    /// The body is over: an event that lacks nothing but its empty line counts.
    pub(super) fn finish(&mut self) -> Option<Found> {
        self.end_line().or_else(|| self.end_line())
    }

    fn keep(&mut self, part: &[u8]) {
        if self.data.len() + self.line.len() + part.len() > LARGEST_EVENT {
            self.too_large = true;
            self.line.clear();
            self.data.clear();
        }
        if !self.too_large {
            self.line.extend_from_slice(part);
        } else if self.line.is_empty() {
            // Only whether there is anything on the line still matters.
            self.line.extend(part.first());
        }
    }

    fn end_line(&mut self) -> Option<Found> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            let has_data = std::mem::take(&mut self.has_data);
            if std::mem::take(&mut self.too_large) {
                return Some(Found::TooLarge);
            }
            return has_data.then_some(Found::Data(data));
        }
        let value = line.strip_prefix(b"data:").map(|value| value.strip_prefix(b" ").unwrap_or(value));
        if let Some(value) = value.filter(|_| !self.too_large) {
            if std::mem::replace(&mut self.has_data, true) {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(value);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(bytes: &[u8], cuts: &[usize]) -> Vec<Found> {
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).chain([0, bytes.len()]).collect();
        at.sort_unstable();
        let mut events = Events::default();
        let mut found: Vec<Found> = at.windows(2).flat_map(|w| events.push(&bytes[w[0]..w[1]])).collect();
        found.extend(events.finish());
        found
    }

    fn data(texts: &[&str]) -> Vec<Found> {
        texts.iter().map(|text| Found::Data(text.as_bytes().to_vec())).collect()
    }

    #[test]
    fn names_comments_and_missing_spaces_are_understood() {
        let bytes = b"event: message\ndata: {\"a\":1}\n\n: still here\n\ndata:{\"error\":\"x\"}\r\n\r\ndata: a\rdata:b\r\r";
        assert_eq!(parse(bytes, &[]), data(&["{\"a\":1}", "{\"error\":\"x\"}", "a\nb"]));
    }

    #[test]
    fn the_last_event_may_lack_its_empty_line() {
        assert_eq!(parse(b"data: a\n\ndata: b", &[]), data(&["a", "b"]));
        assert_eq!(parse(b"data: a\n\ndata: b\n", &[]), data(&["a", "b"]));
        assert_eq!(parse(b"event: message\n", &[]), []);
    }

    #[test]
    fn what_is_too_large_is_passed_over_and_the_next_event_is_found() {
        let bytes = [b"data: ".as_slice(), &vec![b'x'; LARGEST_EVENT + 1], b"\n\ndata: b\n\n"].concat();
        let found = parse(&bytes, &(0..bytes.len()).step_by(10_000).collect::<Vec<_>>());
        assert_eq!(found, [Found::TooLarge, Found::Data(b"b".to_vec())]);
    }

    proptest! {
        #[test]
        fn where_the_bytes_are_cut_makes_no_difference(
            lines in proptest::collection::vec("(data: ?|: |event: )[a-z你好{}\" ]{0,12}(\n\n|\r\n\r\n|\r\r|\n)", 0..12),
            cuts in proptest::collection::vec(any::<usize>(), 0..40),
        ) {
            let bytes = lines.concat().into_bytes();
            let whole = parse(&bytes, &[]);
            prop_assert_eq!(&parse(&bytes, &cuts), &whole);
            let each: Vec<usize> = (0..bytes.len()).collect();
            prop_assert_eq!(&parse(&bytes, &each), &whole);
        }
    }
}

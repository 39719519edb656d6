//! The head of a connection's first request, which has to come soon and be short (L6). Whoever got an answer may take his time.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::metrics;

/// From the first byte to the empty line.
const PATIENCE: Duration = Duration::from_secs(10);
const LARGEST: usize = 16 << 10;

/// A head that has not ended yet.
pub(super) struct Head {
    deadline: Pin<Box<Sleep>>,
    bytes: usize,
    /// Since the last byte of text.
    line_ends: usize,
}

impl Head {
    pub(super) fn begin() -> Self {
        Self { deadline: Box::pin(sleep(PATIENCE)), bytes: 0, line_ends: 0 }
    }

    /// Reads from `stream`, if there is time. Whether the head has ended.
    pub(super) fn poll_read(
        &mut self,
        stream: Pin<&mut impl AsyncRead>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<bool>> {
        if self.deadline.as_mut().poll(cx).is_ready() {
            metrics::rejected("L6");
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buffer.filled().len();
        ready!(stream.poll_read(cx, buffer))?;
        if self.ends_in(&buffer.filled()[before..]) {
            return Poll::Ready(Ok(true));
        }
        if self.bytes > LARGEST {
            metrics::rejected("L6");
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        Poll::Ready(Ok(false))
    }

    /// Two line ends, with or without carriage returns (RFC 9112 §2.2).
    fn ends_in(&mut self, bytes: &[u8]) -> bool {
        self.bytes += bytes.len();
        bytes.iter().any(|byte| {
            match byte {
                b'\n' => self.line_ends += 1,
                b'\r' => {}
                _ => self.line_ends = 0,
            }
            self.line_ends == 2
        })
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncWriteExt;
    use tokio::time::Instant;

    use super::*;

    async fn read(head: &mut Head, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<bool> {
        let mut bytes = [0; 4_096];
        let mut buffer = ReadBuf::new(&mut bytes);
        poll_fn(|cx| head.poll_read(Pin::new(stream), cx, &mut buffer)).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_comes_byte_by_byte_is_given_up_after_ten_seconds() {
        let (mut theirs, mut ours) = tokio::io::duplex(64);
        let (mut head, began) = (Head::begin(), Instant::now());
        let slow = tokio::spawn(async move {
            while theirs.write_all(b"a").await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        });
        let error = loop {
            match read(&mut head, &mut ours).await {
                Ok(ended) => assert!(!ended),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), PATIENCE.as_secs());
        drop(ours);
        slow.await.unwrap();
    }

    #[tokio::test]
    async fn it_ends_with_an_empty_line_wherever_it_is_cut_and_has_16_kib() {
        let (mut theirs, mut ours) = tokio::io::duplex(32 << 10);
        let mut head = Head::begin();
        for part in ["GET / HTTP/1.1\r", "\nHost: a\r\n", "\r"] {
            theirs.write_all(part.as_bytes()).await.unwrap();
            assert!(!read(&mut head, &mut ours).await.unwrap(), "{part:?}");
        }
        theirs.write_all(b"\nbody").await.unwrap();
        assert!(read(&mut head, &mut ours).await.unwrap());

        let mut head = Head::begin();
        theirs.write_all(&[b'x'; LARGEST]).await.unwrap();
        for _ in 0..LARGEST / 4_096 {
            assert!(!read(&mut head, &mut ours).await.unwrap());
        }
        theirs.write_all(b"x").await.unwrap();
        assert_eq!(read(&mut head, &mut ours).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}

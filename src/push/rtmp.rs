//! RTMP: a session's media to a streaming service.
//!
//! A blocking thread connects, codes the sound and sends; it reads a tape, so a slow network costs pictures and never holds
//! up the session.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinError;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::Ended;
use crate::config;
use crate::metrics;
use crate::session::Session;
use crate::track::{MediaSink, RtmpError, RtmpWriter, SoundAs, Tape, Waker};

/// How long what waits may still be sent at the end.
const GOODBYE: Duration = Duration::from_secs(2);

/// Why nothing is sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Rtmp(#[from] RtmpError),
    #[error("the thread that sends failed")]
    Thread(#[from] JoinError),
}

/// Sends `session` until `stop` or something breaks.
pub(super) async fn send(session: &Arc<Session>, config: &config::Push, stop: &CancellationToken) -> Result<Ended, Error> {
    let url = config.url.clone();
    let waker = Waker::new();
    let (tape, frames) = Tape::new(SoundAs::Samples, "slow_push");
    let tape = Arc::new(tape);
    // Whatever becomes of this task, the thread does not wait for ever.
    let _end = End { waker: waker.clone(), tape: Arc::clone(&tape) };
    let connecting = {
        let waker = waker.clone();
        tokio::task::spawn_blocking(move || RtmpWriter::connect(url.reveal().unwrap_or_default(), &waker))
    };
    let mut writer = tokio::select! {
        biased;
        () = stop.cancelled() => return Ok(Ended::Stopped),
        writer = connecting => writer??,
    };
    info!("sending");
    metrics::broadcasts(1.0);
    let mut writing = tokio::task::spawn_blocking(move || {
        for taped in frames {
            writer.write(&taped)?;
        }
        writer.finish()
    });
    session.receive(Arc::clone(&tape) as Arc<dyn MediaSink>);
    let ended = tokio::select! {
        biased;
        () = stop.cancelled() => Ok(Ended::Stopped),
        () = session.over() => Ok(Ended::Stopped),
        written = &mut writing => match written {
            Ok(Ok(())) => Ok(Ended::Broke("connection")),
            Ok(Err(error)) => Err(error.into()),
            Err(error) => Err(error.into()),
        },
    };
    tape.close();
    if matches!(ended, Ok(Ended::Stopped)) {
        let said = timeout(GOODBYE, writing).await;
        info!(said = said.is_ok(), "no longer sending");
    }
    metrics::broadcasts(-1.0);
    ended
}

/// Ends the thread's waiting, for frames and for the network, when it is dropped.
struct End {
    waker: Waker,
    tape: Arc<Tape>,
}

impl Drop for End {
    fn drop(&mut self) {
        self.tape.close();
        self.waker.wake();
    }
}

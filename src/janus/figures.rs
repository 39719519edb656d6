//! What is counted while we are in a room: metrics all the time, a line in the log each minute.

use std::time::Duration;

use tokio::time::Instant;
use tracing::info;

use super::seat::Seat;
use crate::metrics;
use crate::rtc::Sound;

/// Between two lines in the log.
const REPORT: Duration = Duration::from_mins(1);

#[derive(Debug, Default)]
pub(super) struct Figures {
    entered: Option<Instant>,
    reported: Option<Instant>,
    /// Of this call, so far.
    seen: Sound,
    /// When the last report was made.
    then: Sound,
}

impl Figures {
    /// A call begins.
    pub(super) fn entered(&mut self) {
        let now = Some(Instant::now());
        *self = Self { entered: now, reported: now, ..Self::default() };
    }

    /// It is over.
    pub(super) fn left(&mut self) {
        self.entered = None;
    }

    /// How long the call has gone on.
    pub(super) fn held_for(&self) -> Duration {
        self.entered.map_or(Duration::ZERO, |entered| entered.elapsed())
    }

    /// Counts what has passed since the last time.
    pub(super) fn look(&mut self, sound: Sound, seat: &Seat, others: usize) {
        let Some(reported) = self.reported else { return };
        let since = sound.since(self.seen);
        self.seen = sound;
        metrics::janus_packets("in", since.received);
        metrics::janus_packets("lost", since.lost);
        metrics::janus_packets("out", since.sent);
        metrics::janus_gaps(since.gaps);
        if reported.elapsed() < REPORT {
            return;
        }
        let Sound { received, lost, gaps, sent } = sound.since(std::mem::replace(&mut self.then, sound));
        let [heard, said] = seat.levels();
        metrics::janus_level("in", heard.mean_dbfs());
        metrics::janus_level("out", said.mean_dbfs());
        info!(
            seconds = reported.elapsed().as_secs(),
            others,
            received,
            lost,
            gaps,
            sent,
            heard_dbfs = heard.mean_dbfs(),
            heard_peak_dbfs = heard.peak_dbfs(),
            said_dbfs = said.mean_dbfs(),
            said_peak_dbfs = said.peak_dbfs(),
            "janus room"
        );
        self.reported = Some(Instant::now());
    }
}

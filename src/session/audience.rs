//! Whether anybody watches.
//!
//! In: the number of viewers. Out: its coming down to none, with patience, since a page that is loaded again is away for a
//! moment only. One whose network is gone watches nothing, but keeps its place until its connection is given up.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// How long an answer goes on with nobody to hear it: most reloads are shorter, and a provider's connection then still
/// closes within the second that people may expect.
const ABSENCE: Duration = Duration::from_millis(500);

/// A session's viewers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Viewers {
    /// Places that are taken.
    pub(super) seats: usize,
    /// Of these, by viewers that are not heard of at present.
    pub(super) away: usize,
}

impl Viewers {
    /// Whether nobody sees what is shown.
    pub(super) fn nobody_watches(&self) -> bool {
        self.seats <= self.away
    }

    /// Whether nobody is here, nor may come back to a place that is kept.
    pub(super) fn all_have_left(&self) -> bool {
        self.seats == 0
    }
}

/// What became of the audience.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    /// Somebody watches.
    Came,
    /// Nobody has watched for [`ABSENCE`]: since then.
    Left(Instant),
}

/// Waits for a change: for somebody, or, while it is `watched`, for the absence of all.
pub(super) async fn change(mut viewers: watch::Receiver<Viewers>, watched: bool) -> Audience {
    if watched {
        return Audience::Left(absent(&mut viewers, ABSENCE, Viewers::nobody_watches).await);
    }
    if viewers.wait_for(|viewers| !viewers.nobody_watches()).await.is_err() {
        // The session is gone, and with it whoever would be told.
        std::future::pending::<()>().await;
    }
    Audience::Came
}

/// Waits until `none` has held for `patience`; the moment from which on it did.
pub(super) async fn absent(
    viewers: &mut watch::Receiver<Viewers>,
    patience: Duration,
    none: fn(&Viewers) -> bool,
) -> Instant {
    loop {
        let absent = viewers.wait_for(none).await.is_ok();
        let left = Instant::now();
        if !absent || timeout(patience, viewers.wait_for(|viewers| !none(viewers))).await.is_err() {
            return left;
        }
    }
}

/// Waits until all have left, and nobody has watched for `patience`: one whose place was kept while it was not heard of has been
/// waited for already.
pub(super) async fn deserted(viewers: &mut watch::Receiver<Viewers>, patience: Duration) {
    loop {
        absent(viewers, patience, Viewers::nobody_watches).await;
        let settled = viewers.wait_for(|viewers| viewers.all_have_left() || !viewers.nobody_watches()).await;
        if settled.is_ok_and(|viewers| !viewers.all_have_left()) {
            continue;
        }
        return;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_short_absence_is_none_and_a_longer_one_has_its_beginning() {
        let here = |seats| Viewers { seats, away: 0 };
        let count = watch::Sender::new(here(0));
        let watching = tokio::spawn(change(count.subscribe(), false));
        count.send_replace(here(1));
        assert_eq!(watching.await.unwrap(), Audience::Came);
        let watching = tokio::spawn(change(count.subscribe(), true));
        tokio::time::sleep(ABSENCE * 2).await;
        count.send_replace(here(0));
        tokio::time::sleep(ABSENCE * 9 / 10).await;
        count.send_replace(here(1));
        tokio::time::sleep(ABSENCE * 2).await;
        assert!(!watching.is_finished());
        let left = Instant::now();
        count.send_replace(here(0));
        assert_eq!(watching.await.unwrap(), Audience::Left(left));
        assert_eq!(left.elapsed(), ABSENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn one_whose_network_is_gone_watches_nothing_and_keeps_its_place() {
        let count = watch::Sender::new(Viewers { seats: 1, away: 0 });
        let mut viewers = count.subscribe();
        let (watching, left) = (tokio::spawn(change(count.subscribe(), true)), Instant::now());
        let gone = tokio::spawn(async move { deserted(&mut viewers, ABSENCE).await });
        count.send_replace(Viewers { seats: 1, away: 1 });
        assert_eq!(watching.await.unwrap(), Audience::Left(left));
        tokio::time::sleep(ABSENCE * 60).await;
        assert!(!gone.is_finished());
        let back = tokio::spawn(change(count.subscribe(), false));
        count.send_replace(Viewers { seats: 1, away: 0 });
        assert_eq!(back.await.unwrap(), Audience::Came);
        tokio::time::sleep(ABSENCE * 2).await;
        // It leaves in sight, and is waited for; then it is lost, after its place was kept for long enough.
        count.send_replace(Viewers { seats: 0, away: 0 });
        tokio::time::sleep(ABSENCE * 9 / 10).await;
        count.send_replace(Viewers { seats: 1, away: 0 });
        tokio::time::sleep(ABSENCE * 2).await;
        count.send_replace(Viewers { seats: 1, away: 1 });
        tokio::time::sleep(ABSENCE * 60).await;
        assert!(!gone.is_finished());
        let lost = Instant::now();
        count.send_replace(Viewers { seats: 0, away: 0 });
        gone.await.unwrap();
        assert_eq!(lost.elapsed(), Duration::ZERO);
    }
}

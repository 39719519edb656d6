//! Whether anybody watches.
//!
//! In: the number of viewers. Out: its coming down to none, with patience, since a page that is loaded again is away for a
//! moment only.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// How long an answer goes on with nobody to hear it: most reloads are shorter, and a provider's connection then still
/// closes within the second that people may expect.
const ABSENCE: Duration = Duration::from_millis(500);

/// What became of the audience.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    /// Somebody watches.
    Came,
    /// Nobody has watched for [`ABSENCE`]: since then.
    Left(Instant),
}

/// Waits for a change: for somebody, or, while it is `watched`, for the absence of all.
pub(super) async fn change(mut viewers: watch::Receiver<usize>, watched: bool) -> Audience {
    if watched {
        return Audience::Left(absent(&mut viewers, ABSENCE).await);
    }
    if viewers.wait_for(|count| *count > 0).await.is_err() {
        // The session is gone, and with it whoever would be told.
        std::future::pending::<()>().await;
    }
    Audience::Came
}

/// Waits until nobody has watched for `patience`; the moment at which the last one left.
pub(super) async fn absent(viewers: &mut watch::Receiver<usize>, patience: Duration) -> Instant {
    loop {
        let none = viewers.wait_for(|count| *count == 0).await.is_ok();
        let left = Instant::now();
        if !none || timeout(patience, viewers.wait_for(|count| *count > 0)).await.is_err() {
            return left;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_short_absence_is_none_and_a_longer_one_has_its_beginning() {
        let count = watch::Sender::new(0);
        let watching = tokio::spawn(change(count.subscribe(), false));
        count.send_replace(1);
        assert_eq!(watching.await.unwrap(), Audience::Came);
        let watching = tokio::spawn(change(count.subscribe(), true));
        tokio::time::sleep(ABSENCE * 2).await;
        count.send_replace(0);
        tokio::time::sleep(ABSENCE * 9 / 10).await;
        count.send_replace(1);
        tokio::time::sleep(ABSENCE * 2).await;
        assert!(!watching.is_finished());
        let left = Instant::now();
        count.send_replace(0);
        assert_eq!(watching.await.unwrap(), Audience::Left(left));
        assert_eq!(left.elapsed(), ABSENCE);
    }
}

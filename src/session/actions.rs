//! What a session can be asked to do by a number, and doing it.
//!
//! In: the operator's list at the start, a client's with its offer; then numbers. Out: changes of what is shown. Films are
//! opened on blocking threads.

use std::sync::Arc;

use tokio::sync::oneshot;
use tracing::warn;

use super::conversation::Command;
use super::{Busy, Session, Shared};
use crate::render::{Character, Entry, Repertoire, RepertoireError};

/// Why an action is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActionError {
    /// There is none of that number.
    #[error("there is no action of that audiotype")]
    Unknown,
    /// Too much waits to be shown.
    #[error(transparent)]
    Busy(#[from] Busy),
}

impl Session {
    /// Learns the actions of `list`, which is a client's, in the place of those that it knew. They are as large as `avatar`.
    pub async fn learn(&self, shared: &Arc<Shared>, list: String, avatar: &Character) -> Result<(), RepertoireError> {
        let (shared, size) = (Arc::clone(shared), avatar.size());
        let learned = tokio::task::spawn_blocking(move || shared.repertoires.named(&list, size)).await;
        let repertoire = learned.unwrap_or(Err(RepertoireError::Films))?;
        self.player.idle(repertoire.idle());
        self.lock().repertoire = Some(repertoire);
        Ok(())
    }

    /// Learns the operator's, unless a client was faster.
    pub(super) async fn learn_own(self: Arc<Self>, shared: Arc<Shared>, size: (u32, u32)) {
        match tokio::task::spawn_blocking(move || shared.repertoires.own(size)).await {
            Ok(Ok(repertoire)) => {
                let idle = repertoire.idle();
                let mut inner = self.lock();
                if inner.repertoire.is_none() {
                    inner.repertoire = Some(repertoire);
                    drop(inner);
                    self.player.idle(idle);
                }
            }
            Ok(Err(error)) => warn!(%error, "the actions of actions.list cannot be shown"),
            Err(_) => warn!("opening the actions of actions.list panicked"),
        }
    }

    /// Does what `number` stands for, whatever else the avatar does; 0 and 1 end what it does.
    pub async fn perform(&self, number: u32) -> Result<(), ActionError> {
        if number < 2 {
            return if self.player.rest() { Ok(()) } else { Err(Busy::Full.into()) };
        }
        let entry = self.lock().repertoire.as_ref().and_then(|known| known.get(number).cloned());
        match entry.ok_or(ActionError::Unknown)? {
            Entry::Gesture(gesture) => Ok(self.act(gesture)?),
            Entry::Film(action) => {
                let (done, answer) = oneshot::channel();
                self.commands.send(Command::Act { action, done }).await.map_err(|_| Busy::Ending)?;
                let taken = answer.await.map_err(|_| Busy::Ending)?;
                if taken { Ok(()) } else { Err(Busy::Full.into()) }
            }
        }
    }

    /// The numbers of what it can do.
    pub fn actions(&self) -> Vec<u32> {
        self.lock().repertoire.as_ref().map(Repertoire::numbers).unwrap_or_default()
    }
}

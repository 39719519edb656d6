//! `studio:`, avatars that are made while the server runs.

use garde::Validate;
use serde::{Deserialize, Serialize};

use crate::values::Secret;

/// `studio:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Studio {
    /// Whether `/api/avatar/*` is served.
    #[garde(skip)]
    pub enabled: bool,
    /// Largest upload, in MiB.
    #[garde(range(min = 1, max = 10_240))]
    pub max_upload_mb: u64,
    /// What notices to a task's `notifyurl` are signed with.
    #[garde(skip)]
    pub notify_secret: Secret,
}

impl Default for Studio {
    fn default() -> Self {
        Self { enabled: true, max_upload_mb: 500, notify_secret: Secret::default() }
    }
}

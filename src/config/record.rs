//! `record:`, films of sessions on the server's disk.

use std::path::PathBuf;
use std::time::Duration;

use garde::Validate;
use serde::{Deserialize, Serialize};

/// `record:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Record {
    /// Whether whoever is in a session may record it.
    #[garde(skip)]
    pub enabled: bool,
    /// Where the films lie.
    #[garde(skip)]
    pub dir: PathBuf,
    /// Longest film.
    #[garde(skip)]
    #[serde(with = "crate::values::seconds")]
    pub max_duration: Duration,
    /// Largest film, in MiB.
    #[garde(range(min = 1, max = 1 << 20))]
    pub max_mib: u64,
    /// All films together, in MiB.
    #[garde(range(min = 1, max = 1 << 30))]
    pub store_mib: u64,
    /// What stays free on the disk, in MiB.
    #[garde(range(max = 1 << 30))]
    pub keep_free_mib: u64,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            enabled: true,
            dir: PathBuf::from("data/record"),
            max_duration: Duration::from_hours(2),
            max_mib: 2 << 10,
            store_mib: 20 << 10,
            keep_free_mib: 1 << 10,
        }
    }
}

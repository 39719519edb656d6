//! `janus:`, the room of seed 000.

use garde::Validate;
use serde::{Deserialize, Serialize};

/// `janus:`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Janus {
    /// Whether the room is joined.
    #[garde(skip)]
    pub enabled: bool,
}

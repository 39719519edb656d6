//! `xiaozhi:`, the devices of seed 002.

use garde::Validate;
use serde::{Deserialize, Serialize};

/// `xiaozhi:`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Xiaozhi {
    /// Whether anything of it is served.
    #[garde(skip)]
    pub enabled: bool,
}

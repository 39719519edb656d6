//! `audio_proxy:`, the WebSocket of seed 003.

use garde::Validate;
use serde::{Deserialize, Serialize};

/// `audio_proxy:`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct AudioProxy {
    /// Whether it is served.
    #[garde(skip)]
    pub enabled: bool,
}

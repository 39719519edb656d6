//! `actions:`, films that are shown in the place of the face.

use std::path::PathBuf;

use garde::Validate;
use serde::{Deserialize, Serialize};

/// `actions:`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Actions {
    /// `LiveTalking`'s list, `data/custom_config.json`, for every session; empty: none.
    #[garde(skip)]
    pub list: PathBuf,
    /// The folder that a client's `custom_config` may name; empty: none may.
    #[garde(skip)]
    pub dir: PathBuf,
}

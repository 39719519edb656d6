//! Kinds of values that configurations hold: secrets, durations, folders that clients may name files of.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A secret: never shown.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The secret, or nothing if it is empty.
    pub fn reveal(&self) -> Option<&str> {
        (!self.0.is_empty()).then_some(self.0.as_str())
    }
}

impl From<&str> for Secret {
    fn from(secret: &str) -> Self {
        Self(secret.to_owned())
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_empty() { "\"\"" } else { "\"***\"" })
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.0.is_empty() { "" } else { "***" })
    }
}

/// Whole seconds, written `30s`: `#[serde(with = "crate::values::seconds")]`.
pub(crate) mod seconds {
    use super::{Deserialize, Deserializer, Duration, Serializer};

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{}s", duration.as_secs()))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        let seconds = text.strip_suffix('s').and_then(|n| n.parse().ok()).filter(|n| *n <= 86_400);
        seconds
            .map(Duration::from_secs)
            .ok_or_else(|| serde::de::Error::custom(format!("\"{text}\" is not a number of seconds, such as 30s")))
    }
}

/// What a client calls `name`, if it lies in `folder`: by its path from there, or from where the server runs. Which other files
/// exist is nobody's business. An empty folder has nothing in it.
pub fn inside(folder: &Path, name: &Path) -> Option<PathBuf> {
    if folder.as_os_str().is_empty() || name.as_os_str().is_empty() {
        return None;
    }
    let folder = folder.canonicalize().ok()?;
    let within = |path: PathBuf| path.canonicalize().ok().filter(|path| *path != folder && path.starts_with(&folder));
    within(folder.join(name)).or_else(|| within(name.to_owned()))
}

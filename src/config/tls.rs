//! `tls:`, HTTPS without a proxy.

use std::path::{Path, PathBuf};

use garde::Validate;
use serde::{Deserialize, Serialize};

/// Where a certificate comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsMode {
    /// HTTP alone.
    #[default]
    None,
    /// One of our own, which browsers ask about once.
    Auto,
    /// One that was issued.
    Files,
}

/// `tls:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// Where a certificate comes from.
    #[garde(skip)]
    pub mode: TlsMode,
    /// The certificate and its chain, PEM.
    #[garde(custom(needed(&self.mode)))]
    pub cert: PathBuf,
    /// Its key, PEM.
    #[garde(custom(needed(&self.mode)))]
    pub key: PathBuf,
    /// Where a certificate of our own is kept.
    #[garde(skip)]
    pub dir: PathBuf,
}

impl Default for Tls {
    fn default() -> Self {
        Self { mode: TlsMode::None, cert: PathBuf::new(), key: PathBuf::new(), dir: PathBuf::from("tls") }
    }
}

fn needed(mode: &TlsMode) -> impl FnOnce(&Path, &()) -> garde::Result + '_ {
    move |file, ()| {
        if *mode == TlsMode::Files && !file.is_file() {
            return Err(garde::Error::new(format!("tls.mode is files, and there is no file \"{}\"", file.display())));
        }
        Ok(())
    }
}

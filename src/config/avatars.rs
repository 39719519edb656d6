//! `avatars:` and `models:`, who can be seen and what that takes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use garde::Validate;
use serde::{Deserialize, Serialize};

use super::Config;
use crate::onnx::Device;
use crate::render::{NetworkFile, Spool, Wardrobe};

/// `avatars:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Avatars {
    /// One folder each.
    #[garde(skip)]
    pub dir: PathBuf,
    /// Who is seen when nobody is asked for; empty: the first by name.
    #[garde(length(max = 64))]
    pub default: String,
    /// More of them, if it is there: what LiveTalking calls `data/avatars`.
    #[garde(skip)]
    pub films: PathBuf,
    /// Films with larger pictures are shown smaller, in pixels.
    #[garde(range(min = 64, max = 4_096))]
    pub max_side: u32,
    /// The network that moves the lips of films; empty: `wav2lip.onnx` in `models.dir`.
    #[garde(skip)]
    pub network: PathBuf,
    /// The network by which those of Ultralight hear; empty: `hubert.onnx` in `models.dir`.
    #[garde(skip)]
    pub hubert: PathBuf,
    /// What runs them.
    #[garde(skip)]
    pub device: Device,
    /// Threads of one run; 0: half the cores, at most four.
    #[garde(range(max = 64))]
    pub threads: usize,
    /// Where the decoded pictures of films lie while the server runs.
    #[garde(skip)]
    pub spool: PathBuf,
    /// How much of them, in MiB.
    #[garde(range(max = 1 << 24))]
    pub spool_mb: u64,
}

impl Default for Avatars {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("assets/avatars"),
            default: String::new(),
            films: PathBuf::from("data/avatars"),
            max_side: 1_920,
            network: PathBuf::new(),
            hubert: PathBuf::new(),
            device: Device::Cpu,
            threads: 0,
            spool: PathBuf::from("data/spool"),
            spool_mb: 4_096,
        }
    }
}

impl Avatars {
    /// The spool that all films of this server share.
    pub fn spool(&self) -> Arc<Spool> {
        Spool::new(&self.spool, self.spool_mb << 20)
    }
}

/// `models:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Models {
    /// What `visavis models fetch` fills.
    #[garde(skip)]
    pub dir: PathBuf,
    /// ONNX Runtime; empty: the one that was fetched.
    #[garde(skip)]
    pub onnxruntime: PathBuf,
}

impl Default for Models {
    fn default() -> Self {
        Self { dir: PathBuf::from("models"), onnxruntime: PathBuf::new() }
    }
}

impl Config {
    /// What the catalogue of avatars is made from. `live`: pictures have a time at which they are due.
    pub fn wardrobe(&self, live: bool) -> Wardrobe {
        let or = |path: &Path, usual: &str| {
            if path.as_os_str().is_empty() { self.models.dir.join(usual) } else { path.to_owned() }
        };
        let network = NetworkFile {
            library: or(&self.models.onnxruntime, "onnxruntime/libonnxruntime.so"),
            graph: or(&self.avatars.network, "wav2lip.onnx"),
            hubert: or(&self.avatars.hubert, "hubert.onnx"),
            device: self.avatars.device,
            threads: self.avatars.threads,
            live,
        };
        Wardrobe {
            dirs: vec![self.avatars.dir.clone(), self.avatars.films.clone()],
            default: self.avatars.default.clone(),
            spool: self.avatars.spool(),
            max_side: self.avatars.max_side,
            network,
        }
    }
}

//! `server:`, HTTP and admission.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use garde::Validate;
use serde::{Deserialize, Serialize};

use super::Secret;

/// `server:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Address of HTTP (tcp) and media (udp).
    #[garde(skip)]
    pub listen: SocketAddr,
    /// Conversations at once.
    #[garde(range(min = 1, max = 10_000))]
    pub max_sessions: usize,
    /// Origins of other sites whose pages may call us; `*` for all.
    #[garde(inner(length(min = 1, max = 256)))]
    pub cors: Vec<String>,
    /// A folder with an `index.html` that is served in place of the built-in page; empty: the built-in page.
    #[garde(custom(page_folder))]
    pub page: PathBuf,
    /// Opens `/metrics` and the list of sessions to others than this machine.
    #[garde(skip)]
    pub admin_token: Secret,
    /// Addresses whose `X-Forwarded-For` and `X-Forwarded-Host` are believed.
    #[garde(skip)]
    pub trusted_proxies: Vec<IpAddr>,
    /// New conversations a minute from one address. This machine itself is not limited.
    #[garde(range(min = 1, max = 100_000))]
    pub offers_per_minute: u32,
    /// How long answers may go on after SIGTERM.
    #[garde(skip)]
    #[serde(with = "crate::values::seconds")]
    pub shutdown_grace: Duration,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 8010)),
            max_sessions: 8,
            cors: Vec::new(),
            page: PathBuf::new(),
            admin_token: Secret::default(),
            trusted_proxies: Vec::new(),
            offers_per_minute: 10,
            shutdown_grace: Duration::from_secs(30),
        }
    }
}

fn page_folder(folder: &Path, (): &()) -> garde::Result {
    if folder.as_os_str().is_empty() || folder.join("index.html").is_file() {
        return Ok(());
    }
    Err(garde::Error::new(format!("there is no {}", folder.join("index.html").display())))
}

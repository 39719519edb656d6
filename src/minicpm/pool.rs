//! The servers that the configuration names. A server bears one conversation and gives it up to whoever asks next, so each is
//! handed to one at a time; the others are refused or wait in line.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::redirect::Policy;
use tokio::sync::watch;

use super::Config;

/// Who does not take a connection within this is not there (limit L19).
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How often the system asks whether a server that says nothing is still there: an answer may be minutes away.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Servers, and who waits for one.
pub struct Pool {
    config: Config,
    http: reqwest::Client,
    /// Held for a look-up or a change.
    inner: Mutex<Inner>,
    changed: watch::Sender<()>,
}

struct Inner {
    /// `host:port` of those that are free; the one that has been free for longest comes first.
    free: VecDeque<String>,
    /// Tickets, in the order in which they came.
    waiting: VecDeque<u64>,
    next_ticket: u64,
}

impl Pool {
    /// The servers that `config` names.
    pub fn new(config: &Config) -> reqwest::Result<Arc<Self>> {
        // A connection is closed with what it was for: the server must see at once that nobody listens any more.
        let http = reqwest::Client::builder()
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_keepalive(KEEPALIVE)
            .pool_max_idle_per_host(0)
            .user_agent(concat!("visavis/", env!("CARGO_PKG_VERSION")))
            .build()?;
        let host = if config.host.contains(':') { format!("[{}]", config.host) } else { config.host.clone() };
        let free = std::iter::once(format!("{host}:{}", config.port)).chain(config.pool.iter().cloned()).collect();
        let inner = Mutex::new(Inner { free, waiting: VecDeque::new(), next_ticket: 0 });
        Ok(Arc::new(Self { config: config.clone(), http, inner, changed: watch::Sender::new(()) }))
    }

    /// A free server, unless there is none or others wait for it.
    pub fn try_take(self: &Arc<Self>) -> Option<Place> {
        let mut inner = self.lock();
        if inner.free.len() <= inner.waiting.len() {
            return None;
        }
        let server = inner.free.pop_front()?;
        Some(self.place(server))
    }

    /// A place in the line.
    pub fn queue(self: &Arc<Self>) -> Queued {
        let mut inner = self.lock();
        let ticket = inner.next_ticket;
        inner.next_ticket += 1;
        inner.waiting.push_back(ticket);
        Queued { pool: Arc::clone(self), changed: self.changed.subscribe(), ticket, told: None }
    }

    fn place(self: &Arc<Self>, server: String) -> Place {
        Place { server, pool: Arc::clone(self) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A server that is ours. Dropping it lets the next one have it.
pub struct Place {
    server: String,
    pool: Arc<Pool>,
}

impl Place {
    /// Its `host:port`.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    pub(super) fn config(&self) -> &Config {
        &self.pool.config
    }

    pub(super) fn http(&self) -> &reqwest::Client {
        &self.pool.http
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let server = std::mem::take(&mut self.server);
        self.pool.lock().free.push_back(server);
        self.pool.changed.send_replace(());
    }
}

/// Somebody who waits for a server. Dropping it leaves the line.
pub struct Queued {
    pool: Arc<Pool>,
    changed: watch::Receiver<()>,
    ticket: u64,
    told: Option<usize>,
}

impl Queued {
    /// Waits for a server, or until the place in the line is another: 1 is the next one to be served.
    pub async fn advance(&mut self) -> Result<Place, usize> {
        loop {
            self.changed.borrow_and_update();
            {
                let mut inner = self.pool.lock();
                let before = inner.waiting.iter().position(|ticket| *ticket == self.ticket).unwrap_or_default();
                if before < inner.free.len()
                    && let Some(server) = inner.free.pop_front()
                {
                    inner.waiting.remove(before);
                    return Ok(self.pool.place(server));
                }
                if self.told != Some(before + 1) {
                    self.told = Some(before + 1);
                    return Err(before + 1);
                }
            }
            // The sender is in the pool that this holds.
            let _ = self.changed.changed().await;
        }
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.pool.lock().waiting.retain(|ticket| *ticket != self.ticket);
        self.pool.changed.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn pool(more: &[&str]) -> Arc<Pool> {
        let pool = more.iter().map(|server| (*server).to_owned()).collect();
        Pool::new(&Config { pool, ..Config::default() }).unwrap()
    }

    #[tokio::test]
    async fn each_server_is_handed_to_one_and_the_line_is_served_in_order() {
        let pool = pool(&["b:1"]);
        let (a, b) = (pool.try_take().unwrap(), pool.try_take().unwrap());
        assert_eq!((a.server(), b.server()), ("127.0.0.1:32550", "b:1"));
        assert!(pool.try_take().is_none());
        let (mut first, mut second, mut third) = (pool.queue(), pool.queue(), pool.queue());
        assert_eq!(first.advance().await.err(), Some(1));
        assert_eq!(second.advance().await.err(), Some(2));
        assert_eq!(third.advance().await.err(), Some(3));
        assert!(second.advance().now_or_never().is_none());
        drop(first);
        assert_eq!(second.advance().await.err(), Some(1));
        drop(a);
        assert!(pool.try_take().is_none(), "those who wait come first");
        assert_eq!(third.advance().await.err(), Some(2));
        let c = second.advance().await.ok().unwrap();
        drop(second);
        assert_eq!(third.advance().await.err(), Some(1));
        drop((b, c, third));
        assert!(pool.try_take().is_some() && pool.try_take().is_some());
    }
}

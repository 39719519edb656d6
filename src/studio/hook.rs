//! Tells an address how a task goes, as `LiveTalking`'s `notifyurl`: a POST of the task whenever it changes.
//!
//! In: tasks, from the studio's thread. Out: requests, one after the other, each for 5 s at most; an address that does not
//! answer misses some. One async task.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use reqwest::Url;
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use sha2::Sha256;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tracing::debug;

use super::Task;
use crate::metrics;
use crate::values::Secret;

/// Tasks that wait to be told of; the newest is lost and counted.
const HOOK_QUEUE: usize = 64;
const PATIENCE: Duration = Duration::from_secs(5);

/// Carries `sha256=` and the HMAC of the body under the configured secret, in hexadecimal.
const SIGNATURE: &str = "x-visavis-signature";

/// Where tasks are told of from.
#[derive(Clone, Debug)]
pub struct Hook {
    queue: Sender<Task>,
}

impl Hook {
    /// Starts the task, on the current runtime.
    pub fn start(secret: Secret) -> reqwest::Result<Self> {
        // An answer that sends elsewhere would lead past the check of the address.
        let client = reqwest::Client::builder().timeout(PATIENCE).redirect(Policy::none()).build()?;
        let (queue, tasks) = channel(HOOK_QUEUE);
        tokio::spawn(tell(client, secret, tasks));
        Ok(Self { queue })
    }

    /// Tells whoever asked; does not wait.
    pub fn tell(&self, task: Task) {
        if task.notify_url.is_some() && self.queue.try_send(task).is_err() {
            metrics::hook("lost");
        }
    }
}

/// Whether a task may be told to `url`: over TLS, or to this machine itself.
pub fn is_allowed(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let loopback = match url.host_str() {
        Some("localhost") => true,
        Some(host) => host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback()),
        None => return false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && loopback)
}

async fn tell(client: reqwest::Client, secret: Secret, mut tasks: Receiver<Task>) {
    while let Some(task) = tasks.recv().await {
        let Some(url) = task.notify_url.clone() else { continue };
        let body = serde_json::to_vec(&task).expect("a task is plain data");
        let mut request = client.post(url).header(CONTENT_TYPE, "application/json");
        if let Some(secret) = secret.reveal() {
            request = request.header(SIGNATURE, signature(secret, &body));
        }
        let told = request.body(body).send().await.and_then(reqwest::Response::error_for_status);
        metrics::hook(if told.is_ok() { "told" } else { "failed" });
        if let Err(error) = told {
            // The address may hold a secret of its owner's.
            debug!(error = %error.without_url(), status = ?task.status, "nobody took the news of a task");
        }
    }
}

fn signature(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(body);
    mac.finalize().into_bytes().iter().fold("sha256=".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tls_and_this_machine_are_told() {
        for good in ["https://example.org/x", "http://127.0.0.1:9/x", "http://localhost/x", "http://[::1]:8/"] {
            assert!(is_allowed(good), "{good}");
        }
        for bad in
            ["http://example.org/", "http://127.0.0.1.example.org/", "file:///etc/passwd", "ftp://localhost/", "x", ""]
        {
            assert!(!is_allowed(bad), "{bad}");
        }
    }

    #[test]
    fn a_signature_is_the_one_that_others_compute() {
        // RFC 4231 §4.3, test case 2.
        let expected = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(signature("Jefe", b"what do ya want for nothing?"), expected);
    }
}

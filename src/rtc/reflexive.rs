//! Our address on the other side of a NAT: what a STUN server sees of the one socket (RFC 8489).
//!
//! In: the servers. Out: the address that answers offer beside the machine's own. One task a server process; it also keeps
//! the NAT from forgetting us.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::UdpMux;

/// NATs forget a UDP flow after 30 s at the earliest (RFC 4787 REQ-5 asks for two minutes).
const KEEP: Duration = Duration::from_secs(25);
/// A name may be looked up for this long.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Who is asked, and how patiently.
#[derive(Clone, Debug)]
pub struct StunServers {
    /// `stun:host:port`, the first that answers counts.
    pub urls: Vec<String>,
    /// Attempts beyond the first.
    pub retries: u32,
    /// How long an attempt is waited for.
    pub patience: Duration,
}

/// Keeps `mux` informed for ever. Nothing waits for it.
pub async fn keep_reflexive(mux: Arc<UdpMux>, servers: StunServers) {
    let mut failing = false;
    loop {
        let found = find(&mux, &servers).await;
        match found {
            Some(address) if mux.reflexive() != found => info!(%address, "a STUN server sees us here"),
            None if !failing => warn!(servers = servers.urls.len(), "no STUN server answers"),
            _ => {}
        }
        failing = found.is_none();
        mux.set_reflexive(found);
        sleep(KEEP).await;
    }
}

pub(super) async fn find(mux: &UdpMux, servers: &StunServers) -> Option<SocketAddr> {
    for url in &servers.urls {
        let Some(server) = resolve(url, mux.local_addr().is_ipv4()).await else { continue };
        for _ in 0..=servers.retries {
            if let Some(address) = mux.ask(server, servers.patience).await {
                return Some(address);
            }
        }
    }
    None
}

/// The address of a server.
pub(super) async fn resolve(url: &str, v4: bool) -> Option<SocketAddr> {
    let mut found = timeout(RESOLVE_TIMEOUT, lookup_host(authority(url)?)).await.ok()?.ok()?;
    found.find(|address| address.is_ipv4() == v4)
}

/// Host, without brackets, and port, which may be missing (RFC 7064 §3.2, RFC 7065 §3.2).
pub(super) fn authority(url: &str) -> Option<(&str, u16)> {
    let (scheme, rest) = url.split_once(':')?;
    let rest = rest.split('?').next()?;
    let usual = if scheme == "turns" { 5349 } else { 3478 };
    let named = rest.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (host, port) = named.unwrap_or((rest, usual));
    Some((host.trim_matches(['[', ']']), port))
}

#[cfg(test)]
mod tests {
    use tokio::net::UdpSocket;

    use super::*;

    /// One that answers the second request only, with an address that stands in the documentation.
    async fn server() -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 100];
            for n in 0.. {
                let (len, from) = socket.recv_from(&mut buffer).await.unwrap();
                assert_eq!((len, &buffer[..8]), (20, &[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..]));
                let mapped = [0, 0x20, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43];
                let answer = [&[1, 1, 0, 12][..], &buffer[4..20], &mapped].concat();
                if n > 0 {
                    socket.send_to(&answer, from).await.unwrap();
                }
            }
        });
        address
    }

    #[test]
    fn a_port_may_be_missing_and_a_host_may_have_brackets() {
        assert_eq!(authority("stun:talk.example"), Some(("talk.example", 3478)));
        assert_eq!(authority("turns:talk.example?transport=tcp"), Some(("talk.example", 5349)));
        assert_eq!(authority("turn:[2001:db8::1]:443?transport=tcp"), Some(("2001:db8::1", 443)));
        assert_eq!(authority("turns:[2001:db8::1]"), Some(("2001:db8::1", 5349)));
        assert_eq!(authority("talk.example"), None);
    }

    #[tokio::test]
    async fn the_first_server_that_answers_is_believed_and_strangers_are_not() {
        let mux = UdpMux::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let urls = vec!["stun:nowhere.invalid:1".to_owned(), format!("stun:{}", server().await)];
        let servers = StunServers { urls, retries: 2, patience: Duration::from_millis(200) };
        let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let forged =
            [&[1, 1, 0, 12, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12], &[0, 0x20, 0, 8, 0, 1, 1, 1, 1, 1, 1, 1]].concat();
        stranger.send_to(&forged, mux.local_addr()).await.unwrap();
        assert_eq!(find(&mux, &servers).await, Some("192.0.2.1:32853".parse().unwrap()));
    }
}

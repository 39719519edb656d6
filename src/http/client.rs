//! Who asks, and under which name they know us. Headers of proxies are believed only from trusted ones.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use poem::Request;
use poem::http::{HeaderMap, Version, header};

/// A name in `Host` may be looked up for this long; without it the other candidates remain.
const RESOLVE_TIMEOUT: Duration = Duration::from_millis(200);

/// The address that a request comes from; `None` if a proxy that is not trusted hides it.
pub(super) fn address(request: &Request, trusted: &[IpAddr]) -> Option<IpAddr> {
    address_of(peer(request)?, request.headers(), trusted)
}

/// Whether the request was made on this machine, and not by a page whose name was bent to it (DNS rebinding). HTTP/1.0 is what
/// nginx speaks to us unless it is told otherwise: such a request may come from anywhere.
pub(super) fn is_local(request: &Request, trusted: &[IpAddr]) -> bool {
    let is_forwarded = request.version() < Version::HTTP_11;
    !is_forwarded && peer(request).is_some_and(|peer| is_local_to(peer, request.headers(), trusted))
}

/// The address that the request went to, as far as its `Host` tells; `own` is our port, if it names none.
pub(super) async fn asked(request: &Request, trusted: &[IpAddr], own: u16) -> Option<SocketAddr> {
    let (host, port) = host(peer(request)?, request.headers(), trusted)?;
    let port = port.unwrap_or(own);
    if host == "localhost" {
        return Some((Ipv4Addr::LOCALHOST, port).into());
    }
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Some((ip, port).into());
    }
    let lookup = tokio::net::lookup_host((host, port));
    let mut found = tokio::time::timeout(RESOLVE_TIMEOUT, lookup).await.ok()?.ok()?;
    found.find(SocketAddr::is_ipv4)
}

fn peer(request: &Request) -> Option<IpAddr> {
    Some(request.remote_addr().as_socket_addr()?.ip().to_canonical())
}

fn address_of(peer: IpAddr, headers: &HeaderMap, trusted: &[IpAddr]) -> Option<IpAddr> {
    match headers.get("x-forwarded-for") {
        None => Some(peer),
        Some(_) if !trusted.contains(&peer) => (!peer.is_loopback()).then_some(peer),
        // The right-most hop that is not ours: what stands left of it, anybody could have written.
        Some(list) => list
            .to_str()
            .unwrap_or_default()
            .rsplit(',')
            .filter_map(|hop| hop.trim().parse().ok())
            .find(|hop| !trusted.contains(hop)),
    }
}

fn is_local_to(peer: IpAddr, headers: &HeaderMap, trusted: &[IpAddr]) -> bool {
    let local_name =
        host(peer, headers, trusted).is_none_or(|(host, _)| host == "localhost" || host.parse::<IpAddr>().is_ok());
    local_name && address_of(peer, headers, trusted).is_some_and(|ip| ip.is_loopback())
}

/// The host of `X-Forwarded-Host` or `Host`, without its brackets, and the port.
fn host<'a>(peer: IpAddr, headers: &'a HeaderMap, trusted: &[IpAddr]) -> Option<(&'a str, Option<u16>)> {
    let forwarded = headers.get("x-forwarded-host").filter(|_| trusted.contains(&peer));
    let value = forwarded.or_else(|| headers.get(header::HOST))?.to_str().ok()?;
    let (host, rest) = match value.strip_prefix('[') {
        Some(v6) => v6.split_once(']')?,
        None => value.split_at(value.find(':').unwrap_or(value.len())),
    };
    let port = rest.strip_prefix(':').and_then(|port| port.parse().ok());
    (!host.is_empty()).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_stranger_cannot_choose_its_address() {
        let forged = headers(&[("x-forwarded-for", "127.0.0.1")]);
        assert_eq!(address_of(STRANGER, &forged, &[LOOPBACK]), Some(STRANGER));
        let proxied = headers(&[("x-forwarded-for", "127.0.0.1, 192.0.2.1")]);
        assert_eq!(address_of(LOOPBACK, &proxied, &[LOOPBACK]), Some(STRANGER));
    }

    #[test]
    fn what_comes_through_an_unknown_proxy_is_not_local() {
        assert!(is_local_to(LOOPBACK, &headers(&[("host", "localhost:8010")]), &[]));
        assert!(!is_local_to(LOOPBACK, &headers(&[("x-forwarded-for", "192.0.2.9")]), &[]));
        assert!(!is_local_to(STRANGER, &headers(&[]), &[]));
    }

    #[test]
    fn a_page_whose_name_was_bent_to_us_is_not_local() {
        assert!(!is_local_to(LOOPBACK, &headers(&[("host", "evil.example:8010")]), &[]));
    }

    #[test]
    fn the_host_header_loses_its_port_and_brackets() {
        assert_eq!(host(STRANGER, &headers(&[("host", "192.0.2.7:8010")]), &[]), Some(("192.0.2.7", Some(8010))));
        assert_eq!(host(STRANGER, &headers(&[("host", "[::1]:8010")]), &[]), Some(("::1", Some(8010))));
        assert_eq!(host(STRANGER, &headers(&[("host", "talk.example")]), &[]), Some(("talk.example", None)));
        assert_eq!(host(STRANGER, &headers(&[]), &[]), None);
    }
}

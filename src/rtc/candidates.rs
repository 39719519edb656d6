//! Where a viewer can reach us: the candidate lines of an answer, all with the one port, for datagrams and for TCP.

use std::net::{IpAddr, SocketAddr};

/// How many addresses an answer carries at most: each costs the browser a check every few milliseconds.
const MAX_CANDIDATES: usize = 8;
/// How many of them for TCP: each costs the browser a connection.
const MAX_TCP: usize = 4;

/// Candidates in order of preference: what the operator advertises, what the viewer's own request used, the machine's
/// interfaces, loopback.
pub(super) fn hosts(advertise: &[IpAddr], asked: Option<IpAddr>, bound: IpAddr) -> Vec<IpAddr> {
    let interfaces = if bound.is_unspecified() { interfaces(bound.is_ipv6()) } else { vec![bound] };
    let mut hosts: Vec<IpAddr> = Vec::new();
    for ip in advertise.iter().copied().chain(asked).chain(interfaces) {
        let usable = !ip.is_unspecified() && !ip.is_multicast();
        if usable && !hosts.contains(&ip) && hosts.len() < MAX_CANDIDATES {
            hosts.push(ip);
        }
    }
    hosts
}

/// Non-loopback first, since a remote viewer cannot use the other.
fn interfaces(ipv6: bool) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = if_addrs::get_if_addrs()
        .unwrap_or_default()
        .into_iter()
        .map(|interface| interface.ip())
        .filter(|ip| match ip {
            IpAddr::V4(v4) => !v4.is_link_local(),
            IpAddr::V6(v6) => ipv6 && !v6.is_unicast_link_local(),
        })
        .collect();
    found.sort_by_key(IpAddr::is_loopback);
    found
}

/// Where the same hosts take media by TCP. The address that was asked comes with the port that was asked: it may be the near end
/// of a tunnel, through which nothing else goes.
pub(super) fn tcp(hosts: &[IpAddr], asked: Option<SocketAddr>, port: u16) -> Vec<SocketAddr> {
    let own = hosts.iter().map(|ip| SocketAddr::new(*ip, port)).filter(|own| Some(*own) != asked);
    asked.into_iter().chain(own).take(MAX_TCP).collect()
}

/// Puts our candidates in the place of those that the stack gathered for its throw-away port.
/// `reflexive` is what a STUN server sees of it.
pub(super) fn rewrite(
    answer: &str,
    hosts: &[IpAddr],
    port: u16,
    reflexive: Option<SocketAddr>,
    tcp: &[SocketAddr],
) -> String {
    let own = hosts.iter().map(|ip| SocketAddr::new(*ip, port));
    // One that is no other than ours says nothing new (RFC 8445 §5.1.3).
    let seen = reflexive.filter(|seen| own.clone().all(|own| own != *seen)).map(|seen| seen_line(hosts.len(), seen));
    let tcp = tcp.iter().enumerate().map(|(n, address)| tcp_line(hosts.len() + 1, n, *address));
    let lines: Vec<String> = own.enumerate().map(|(n, address)| line(n, address)).chain(seen).chain(tcp).collect();
    let mut out = String::with_capacity(answer.len() + 512);
    let mut in_media = false;
    let section_end = |out: &mut String, in_media: bool| {
        if in_media {
            lines.iter().for_each(|line| out.push_str(line));
            out.push_str("a=end-of-candidates\r\n");
        }
    };
    for line in answer.lines() {
        if line.starts_with("a=candidate:") || line == "a=end-of-candidates" {
            continue;
        }
        if line.starts_with("m=") {
            section_end(&mut out, in_media);
            // What is refused goes nowhere.
            in_media = line.split_ascii_whitespace().nth(1) != Some("0");
        }
        out.push_str(line);
        out.push_str("\r\n");
    }
    section_end(&mut out, in_media);
    out
}

/// RFC 8839 §5.1; the priority is RFC 8445 §5.1.2's for a host candidate.
fn line(preference: usize, address: SocketAddr) -> String {
    let priority = (126_u32 << 24) | ((65_535 - preference as u32) << 8) | 255;
    format!("a=candidate:{} 1 udp {priority} {} {} typ host\r\n", preference + 1, address.ip(), address.port())
}

/// The same of a server-reflexive one. Whom it belongs to is nobody's business.
pub(super) fn seen_line(preference: usize, address: SocketAddr) -> String {
    let priority = (100_u32 << 24) | ((65_535 - preference as u32) << 8) | 255;
    let (ip, port) = (address.ip(), address.port());
    format!("a=candidate:{} 1 udp {priority} {ip} {port} typ srflx raddr 0.0.0.0 rport 0\r\n", preference + 1)
}

/// The same of one for TCP (RFC 6544 §4.5). Its type preference keeps it below all others (§4.2): it is for those who have no other.
fn tcp_line(before: usize, preference: usize, address: SocketAddr) -> String {
    let priority = (90_u32 << 24) | ((65_535 - preference as u32) << 8) | 255;
    let (ip, port) = (address.ip(), address.port());
    format!("a=candidate:{} 1 tcp {priority} {ip} {port} typ host tcptype passive\r\n", before + preference + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operators_address_comes_first_and_none_comes_twice() {
        let asked = "192.0.2.7".parse().unwrap();
        let advertised = "203.0.113.9".parse().unwrap();
        let hosts = hosts(&[advertised, asked], Some(asked), "127.0.0.1".parse().unwrap());
        assert_eq!(hosts, [advertised, asked, "127.0.0.1".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn every_media_section_carries_our_port_and_no_other() {
        let answer = "v=0\r\nm=audio 9 X 111\r\na=candidate:1 1 udp 1 127.0.0.1 43210 typ host\r\na=end-of-candidates\r\n\
                      m=video 9 X 96\r\na=mid:1\r\n";
        let rewritten = rewrite(answer, &["127.0.0.1".parse().unwrap()], 8010, None, &[]);
        assert_eq!(rewritten.matches(" 127.0.0.1 8010 typ host").count(), 2);
        assert!(!rewritten.contains("43210"));
    }

    #[test]
    fn what_a_stun_server_sees_is_offered_if_it_is_news() {
        let answer = "v=0\r\nm=audio 9 X 111\r\n";
        let hosts = ["192.0.2.1".parse().unwrap()];
        let with = |seen: &str| rewrite(answer, &hosts, 8010, Some(seen.parse().unwrap()), &[]);
        assert!(with("203.0.113.9:4242").contains(" 203.0.113.9 4242 typ srflx raddr 0.0.0.0 rport 0\r\n"));
        assert!(!with("192.0.2.1:8010").contains("srflx"));
    }

    #[test]
    fn the_near_end_of_a_tunnel_is_the_first_for_tcp() {
        let answer = "v=0\r\nm=audio 9 X 111\r\n";
        let hosts = ["127.0.0.1".parse().unwrap(), "192.0.2.1".parse().unwrap()];
        let tcp = tcp(&hosts, Some("127.0.0.1:9000".parse().unwrap()), 8010);
        let rewritten = rewrite(answer, &hosts, 8010, None, &tcp);
        let at = |port: &str| rewritten.find(port).unwrap();
        assert!(
            at(" tcp ") > at(" udp ")
                && at("127.0.0.1 9000 typ host tcptype passive") < at("127.0.0.1 8010 typ host tcptype")
        );
        assert!(!rewritten.contains("udp 0 127.0.0.1 9000") && rewritten.matches(" tcp ").count() == 3);
    }

    #[test]
    fn loopback_is_among_the_candidates_of_a_wildcard_socket() {
        let hosts = hosts(&[], None, "0.0.0.0".parse().unwrap());
        assert!(hosts.iter().any(IpAddr::is_loopback), "{hosts:?}");
    }
}

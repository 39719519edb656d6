//! Just enough of STUN (RFC 8489) to tell whose a datagram is. Pure; reads hostile bytes.

use std::net::{IpAddr, SocketAddr};

/// Kinds of datagram that arrive on the shared socket.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Datagram<'a> {
    /// A connectivity check; the fragment is our half of USERNAME.
    Check { ufrag: &'a str },
    /// The answer to one of our checks, or an indication.
    StunOther,
    /// DTLS (RFC 7983: first byte 20–63) and its content type.
    Dtls(u8),
    /// RTP or RTCP (128–191).
    Rtp,
    /// Anything else.
    Junk,
}

const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
pub(super) const HEADER: usize = 20;
const USERNAME: u16 = 0x0006;
const USE_CANDIDATE: u16 = 0x0025;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;

/// Sorts by the first byte (RFC 7983), then looks for USERNAME in a binding request.
pub(super) fn classify(bytes: &[u8]) -> Datagram<'_> {
    match bytes.first() {
        Some(0..=3) if bytes.len() >= HEADER && bytes[4..8] == COOKIE => {
            if bytes[..2] != [0, 1] {
                return Datagram::StunOther;
            }
            match local_ufrag(bytes) {
                Some(ufrag) => Datagram::Check { ufrag },
                None => Datagram::Junk,
            }
        }
        Some(&kind @ 20..=63) => Datagram::Dtls(kind),
        Some(128..=191) => Datagram::Rtp,
        _ => Datagram::Junk,
    }
}

/// Whether these bytes, which we are about to send, are a successful answer to a check: whoever sent that check knew our
/// password.
pub(super) fn is_success(bytes: &[u8]) -> bool {
    bytes.len() >= HEADER && bytes[..2] == [1, 1] && bytes[4..8] == COOKIE
}

/// Whether these bytes are a check.
pub(super) fn is_request(bytes: &[u8]) -> bool {
    bytes.len() >= HEADER && bytes[..2] == [0, 1] && bytes[4..8] == COOKIE
}

/// What tells one request from another (RFC 8489 §5).
pub(super) type Transaction = [u8; 12];

/// Which request this is, or answers.
pub(super) fn transaction(bytes: &[u8]) -> Option<Transaction> {
    bytes.get(8..HEADER)?.try_into().ok()
}

/// Whether these bytes, a check, nominate their pair (RFC 8445 §7.1.1).
pub(super) fn nominates(bytes: &[u8]) -> bool {
    is_request(bytes) && attribute(bytes, USE_CANDIDATE).is_some()
}

/// A request for our own address.
pub(super) fn request(transaction: &Transaction) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[1] = 1;
    bytes[4..8].copy_from_slice(&COOKIE);
    bytes[8..].copy_from_slice(transaction);
    bytes
}

/// The address that a successful answer names, and the request that it answers (RFC 8489 §14.2).
pub(super) fn mapped(bytes: &[u8]) -> Option<(Transaction, SocketAddr)> {
    if !is_success(bytes) {
        return None;
    }
    let transaction: Transaction = bytes[8..HEADER].try_into().ok()?;
    let value = attribute(bytes, XOR_MAPPED_ADDRESS)?;
    let port = u16::from_be_bytes([*value.get(2)? ^ COOKIE[0], *value.get(3)? ^ COOKIE[1]]);
    let mask = COOKIE.iter().chain(&transaction);
    let address: Vec<u8> = value[4..].iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect();
    let ip = match value[1] {
        1 => IpAddr::from(<[u8; 4]>::try_from(address).ok()?),
        2 => IpAddr::from(<[u8; 16]>::try_from(address).ok()?),
        _ => return None,
    };
    Some((transaction, SocketAddr::new(ip, port)))
}

fn local_ufrag(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(attribute(bytes, USERNAME)?).ok()?.split(':').next()
}

/// The value of the first attribute of that kind, if the message has one and is whole so far.
pub(super) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    let mut rest = bytes.get(HEADER..)?;
    while let [k0, k1, l0, l1, value @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*l0, *l1]));
        let value_bytes = value.get(..len)?;
        if u16::from_be_bytes([*k0, *k1]) == kind {
            return Some(value_bytes);
        }
        rest = value.get(len.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(username: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 1, 0, 0];
        bytes.extend(COOKIE);
        bytes.extend([7; 12]);
        bytes.extend([0x80, 0x22, 0, 3, b'a', b'b', b'c', 0]);
        bytes.extend([0, 6, 0, username.len() as u8]);
        bytes.extend(username);
        bytes
    }

    #[test]
    fn our_half_of_the_username_is_found_behind_other_attributes() {
        assert_eq!(classify(&check(b"ours:theirs")), Datagram::Check { ufrag: "ours" });
    }

    #[test]
    fn a_username_that_is_cut_off_is_junk() {
        let whole = check(b"ours:theirs");
        assert_eq!(classify(&whole[..whole.len() - 3]), Datagram::Junk);
    }

    #[test]
    fn the_mapped_address_is_read_as_rfc_5769_writes_it() {
        // §2.2 and §2.3, without their other attributes.
        let transaction = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];
        let head = [&[1, 1, 0, 0][..], &COOKIE, &transaction].concat();
        let v4 = [&head[..], &[0, 0x20, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43]].concat();
        assert_eq!(mapped(&v4), Some((transaction, "192.0.2.1:32853".parse().unwrap())));
        let v6: [u8; 24] = [
            0, 0x20, 0, 0x14, 0, 2, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79, 0xbc, 0x25, 0xf4, 0xb5,
            0xbe, 0xd2, 0xb9, 0xd9,
        ];
        let v6 = [&head[..], &v6].concat();
        assert_eq!(mapped(&v6), Some((transaction, "[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().unwrap())));
        assert_eq!(mapped(&v4[..v4.len() - 1]), None);
        assert_eq!(mapped(&request(&transaction)), None);
    }

    #[test]
    fn the_first_byte_tells_media_from_keys() {
        assert_eq!(classify(&[22, 254, 253]), Datagram::Dtls(22));
        assert_eq!(classify(&[0x80, 111]), Datagram::Rtp);
        assert_eq!(classify(b"GET /"), Datagram::Junk);
        assert_eq!(classify(b""), Datagram::Junk);
    }

    proptest! {
        #[test]
        fn no_datagram_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            classify(&bytes);
            let mut stun = vec![0, 1, 0, 0];
            stun.extend(COOKIE);
            stun.extend(&bytes);
            classify(&stun);
            nominates(&stun);
            stun[..2].copy_from_slice(&[1, 1]);
            mapped(&stun);
        }
    }
}

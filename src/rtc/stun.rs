//! Just enough of STUN (RFC 8489) to tell whose a datagram is. Pure; reads hostile bytes.

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
const HEADER: usize = 20;
const USERNAME: u16 = 0x0006;

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

/// Whether these bytes are a check of ours.
pub(super) fn is_request(bytes: &[u8]) -> bool {
    bytes.len() >= HEADER && bytes[..2] == [0, 1] && bytes[4..8] == COOKIE
}

fn local_ufrag(bytes: &[u8]) -> Option<&str> {
    let mut rest = &bytes[HEADER..];
    while let [k0, k1, l0, l1, value @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*l0, *l1]));
        let value_bytes = value.get(..len)?;
        if u16::from_be_bytes([*k0, *k1]) == USERNAME {
            return std::str::from_utf8(value_bytes).ok()?.split(':').next();
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
        }
    }
}

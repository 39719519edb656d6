//! What of the DTLS handshake has to be said again.
//!
//! Who hears the other side repeat itself has not been heard, and repeats its own last flight (RFC 6347 §4.2.4). The WebRTC stack
//! forgets its timer instead, so that one lost datagram ends the handshake; here its last flight is kept until the handshake is
//! over. What was heard already is dropped by whoever gets it twice, by its record number. Pure; one for each peer.

/// Datagrams of a flight: four at the most, where a certificate is long.
const LONGEST: usize = 8;
/// Content types that a flight is made of (RFC 5246 §6.2.1).
const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;

/// Which piece of a handshake a datagram begins with: the number of a message, and an offset in it.
type Piece = (u16, u32);

/// The last flights of both sides.
#[derive(Debug, Default)]
pub(super) struct Flights {
    ours: Vec<Vec<u8>>,
    /// The other side has said something new since.
    answered: bool,
    /// What its last flight began with, and the furthest that any began with.
    theirs: Option<Piece>,
    furthest: Option<Piece>,
}

impl Flights {
    /// We send `datagram`.
    pub(super) fn sent(&mut self, datagram: &[u8]) {
        if !belongs(datagram) {
            return;
        }
        let piece = first_piece(datagram);
        let again = piece.is_some() && self.ours.first().and_then(|first| first_piece(first)) == piece;
        if std::mem::take(&mut self.answered) || again {
            self.ours.clear();
        }
        if self.ours.len() < LONGEST {
            self.ours.push(datagram.to_vec());
        }
    }

    /// `datagram` came. What has to be sent again, if the other side begins to repeat its flight.
    pub(super) fn received(&mut self, datagram: &[u8]) -> &[Vec<u8>] {
        let Some(piece) = first_piece(datagram) else {
            self.answered |= belongs(datagram);
            return &[];
        };
        if self.furthest.is_none_or(|furthest| piece > furthest) {
            self.furthest = Some(piece);
            if !std::mem::replace(&mut self.answered, true) {
                self.theirs = Some(piece);
            }
            return &[];
        }
        // While ours is on its way, or being made, there is nothing to repeat.
        if self.answered || self.theirs != Some(piece) { &[] } else { &self.ours }
    }
}

fn belongs(datagram: &[u8]) -> bool {
    matches!(datagram.first(), Some(&(CHANGE_CIPHER_SPEC | HANDSHAKE)))
}

/// Of a record that is not encrypted yet: 13 bytes of its own, then type and length of a message, its number, and the offset.
fn first_piece(datagram: &[u8]) -> Option<Piece> {
    let is_plain = datagram.len() >= 22 && datagram[0] == HANDSHAKE && datagram[3..5] == [0, 0];
    let piece = || {
        let number = u16::from_be_bytes([datagram[17], datagram[18]]);
        (number, u32::from_be_bytes([0, datagram[19], datagram[20], datagram[21]]))
    };
    is_plain.then(piece)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A datagram with one record of the handshake's message `number`, from `offset` on.
    fn hello(record: u8, number: u8, offset: u8) -> Vec<u8> {
        let mut bytes = vec![HANDSHAKE, 254, 253, 0, 0, 0, 0, 0, 0, 0, record, 0, 12];
        bytes.extend([2, 0, 0, 0, 0, number, 0, 0, offset, 0, 0, 0]);
        bytes
    }

    #[test]
    fn who_repeats_itself_hears_our_last_flight_again() {
        let mut flights = Flights::default();
        flights.sent(&hello(0, 0, 0));
        assert!(flights.received(&hello(0, 0, 0)).is_empty());
        assert!(flights.received(&hello(1, 1, 100)).is_empty(), "the rest of the same flight");
        let ours = [hello(1, 1, 0), vec![CHANGE_CIPHER_SPEC, 254, 253]];
        ours.iter().for_each(|datagram| flights.sent(datagram));
        assert_eq!(flights.received(&hello(2, 0, 0)), ours, "a new record, but the same message");
        assert!(flights.received(&hello(3, 1, 100)).is_empty(), "once for a flight of two datagrams");
        assert_eq!(flights.received(&hello(4, 0, 0)), ours, "and once more");
    }

    #[test]
    fn part_of_a_flight_is_no_repetition_but_the_whole_of_it_is() {
        let mut flights = Flights::default();
        flights.sent(&hello(0, 0, 0));
        assert!(flights.received(&hello(0, 0, 0)).is_empty());
        // Its second half was lost: all of it comes again, and nothing is said before it is known.
        assert!(flights.received(&hello(2, 0, 0)).is_empty());
        assert!(flights.received(&hello(3, 1, 100)).is_empty());
    }

    #[test]
    fn what_the_stack_repeats_itself_is_kept_once_and_only_the_handshake_is() {
        let mut flights = Flights::default();
        for record in 0..100 {
            flights.sent(&hello(record, 0, 0));
            flights.sent(&[23, 254, 253, 0, 1]);
        }
        assert_eq!(flights.ours, [hello(99, 0, 0)]);
        for _ in 0..100 {
            flights.sent(&[CHANGE_CIPHER_SPEC]);
        }
        assert_eq!(flights.ours.len(), LONGEST);
    }

    proptest! {
        #[test]
        fn no_datagram_panics(datagrams in proptest::collection::vec(proptest::collection::vec(0_u8..30, 0..40), 0..20)) {
            let mut flights = Flights::default();
            for datagram in datagrams {
                flights.sent(&datagram);
                let _ = flights.received(&datagram);
            }
        }
    }
}

//! Which of a peer's addresses its media goes to.
//!
//! The WebRTC stack stays with the first pair that was nominated, for ever. A browser does not: it nominates a better path
//! when one has answered, its TCP connection breaks and is made anew, its NAT gives it another port. So the stack goes on
//! speaking to the first address, and here that is changed for the one that was nominated last. Pure; one for each peer, for
//! the time between two restarts of ICE.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::stun::{self, Transaction};

/// Checks whose answers are on their way: a browser makes one every 48 ms at the most, on up to 64 pairs.
const REMEMBERED: usize = 64;

/// The way to a peer.
#[derive(Debug, Default)]
pub(super) struct Path {
    /// Checks of the peer's that nominate.
    nominating: VecDeque<Transaction>,
    /// Checks of ours that were sent another way than the stack meant.
    redirected: VecDeque<Transaction>,
    /// What the stack took for good.
    selected: Option<SocketAddr>,
    /// Where the peer is.
    current: Option<SocketAddr>,
}

impl Path {
    /// A check came.
    pub(super) fn checked(&mut self, bytes: &[u8]) {
        if stun::nominates(bytes)
            && let Some(transaction) = stun::transaction(bytes)
        {
            remember(&mut self.nominating, transaction);
        }
    }

    /// Where `bytes` go that the stack sends to `to`.
    pub(super) fn way(&mut self, bytes: &[u8], to: SocketAddr) -> SocketAddr {
        if stun::is_success(bytes) {
            // The stack answers a nomination once its own check of that pair has succeeded, and selects the pair if it has none.
            if let Some(transaction) = stun::transaction(bytes)
                && forget(&mut self.nominating, transaction)
            {
                self.selected.get_or_insert(to);
                self.current = Some(to);
            }
            return to;
        }
        match self.current {
            Some(current) if self.selected == Some(to) && current != to => {
                if stun::is_request(bytes)
                    && let Some(transaction) = stun::transaction(bytes)
                {
                    remember(&mut self.redirected, transaction);
                }
                current
            }
            _ => to,
        }
    }

    /// Whom the stack takes `bytes` from `from` to come from.
    pub(super) fn origin(&mut self, bytes: &[u8], from: SocketAddr) -> SocketAddr {
        let answers_redirected = stun::is_success(bytes)
            && stun::transaction(bytes).is_some_and(|answered| forget(&mut self.redirected, answered));
        if answers_redirected { self.selected.unwrap_or(from) } else { from }
    }
}

fn remember(transactions: &mut VecDeque<Transaction>, transaction: Transaction) {
    if transactions.len() == REMEMBERED {
        transactions.pop_front();
    }
    transactions.push_back(transaction);
}

/// True if it was there.
fn forget(transactions: &mut VecDeque<Transaction>, transaction: Transaction) -> bool {
    let at = transactions.iter().position(|known| *known == transaction);
    at.is_some_and(|at| transactions.remove(at).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTP: &[u8] = &[0x80, 96];

    fn message(kind: [u8; 2], transaction: u8, attribute: &[u8]) -> Vec<u8> {
        [&kind[..], &[0, attribute.len() as u8, 0x21, 0x12, 0xa4, 0x42], &[transaction; 12], attribute].concat()
    }

    fn request(transaction: u8) -> Vec<u8> {
        message([0, 1], transaction, &[])
    }

    fn success(transaction: u8) -> Vec<u8> {
        message([1, 1], transaction, &[])
    }

    fn nominate(path: &mut Path, transaction: u8, from: SocketAddr) {
        path.checked(&message([0, 1], transaction, &[0, 0x25, 0, 0]));
        path.way(&success(transaction), from);
    }

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn media_follows_the_address_that_was_nominated_last() {
        let (mut path, old, new) = (Path::default(), address(1), address(2));
        nominate(&mut path, 1, old);
        assert_eq!(path.way(RTP, old), old);
        nominate(&mut path, 2, new);
        assert_eq!(path.way(RTP, old), new);
        nominate(&mut path, 3, old);
        assert_eq!(path.way(RTP, old), old);
    }

    #[test]
    fn a_check_without_a_nomination_or_without_our_answer_moves_nothing() {
        let (mut path, old, new) = (Path::default(), address(1), address(2));
        nominate(&mut path, 1, old);
        path.checked(&request(2));
        path.way(&success(2), new);
        path.checked(&message([0, 1], 3, &[0, 0x25, 0, 0]));
        assert_eq!(path.way(RTP, old), old);
    }

    #[test]
    fn the_stack_hears_its_own_checks_answered_from_where_it_sent_them() {
        let (mut path, old, new) = (Path::default(), address(1), address(2));
        nominate(&mut path, 1, old);
        nominate(&mut path, 2, new);
        assert_eq!(path.way(&request(7), old), new);
        assert_eq!(path.origin(&success(7), new), old);
        // What it asked of the new address itself stays what it is.
        assert_eq!(path.way(&request(8), new), new);
        assert_eq!(path.origin(&success(8), new), new);
    }
}

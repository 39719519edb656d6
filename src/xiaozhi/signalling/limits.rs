//! How much of everything signalling sockets may have (limit L9 of reliability.md).

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::metrics;
use crate::places::{Place, Places};

/// Sockets at once: of one address, and of everybody. This machine itself may have as many as everybody.
const SOCKETS_OF_ADDRESS: usize = 4;
const SOCKETS: usize = 128;
/// Messages a second, and at once: an offer and the 64 candidates that may follow it come in a moment.
const MESSAGES_PER_SECOND: u32 = 20;
const MESSAGES_AT_ONCE: u32 = 80;
/// Messages a minute that cannot be taken; more are strikes.
const BAD_MESSAGES_PER_MINUTE: u32 = 20;
/// So many broken limits end a socket.
const STRIKES: u32 = 3;

/// The limits of the server.
pub(super) struct Limits {
    sockets: Arc<Places>,
    offers: DefaultKeyedRateLimiter<IpAddr>,
}

impl Limits {
    pub(super) fn new(offers_per_minute: u32) -> Arc<Self> {
        let quota = Quota::per_minute(number(offers_per_minute)).allow_burst(number(offers_per_minute.div_ceil(2)));
        Arc::new(Self { sockets: Places::new(SOCKETS, SOCKETS_OF_ADDRESS), offers: RateLimiter::keyed(quota) })
    }

    /// A place for a socket from `address`, if there is one.
    pub(super) fn socket(&self, address: Option<IpAddr>) -> Option<Place> {
        let place = self.sockets.take(address.filter(|ip| !ip.is_loopback()));
        if place.is_none() {
            metrics::rejected("L9");
        }
        place
    }

    /// One more offer; from this machine itself as many as it likes.
    pub(super) fn offer(&self, address: Option<IpAddr>) -> bool {
        self.offers.retain_recent();
        let free = address.is_none_or(|ip| ip.is_loopback() || self.offers.check_key(&ip).is_ok());
        if !free {
            metrics::rejected("L3");
        }
        free
    }
}

/// What one socket has used up.
pub(super) struct Manners {
    messages: DefaultDirectRateLimiter,
    bad: DefaultDirectRateLimiter,
    strikes: u32,
}

impl Manners {
    pub(super) fn new() -> Self {
        Self {
            messages: RateLimiter::direct(
                Quota::per_second(number(MESSAGES_PER_SECOND)).allow_burst(number(MESSAGES_AT_ONCE)),
            ),
            bad: RateLimiter::direct(Quota::per_minute(number(BAD_MESSAGES_PER_MINUTE))),
            strikes: 0,
        }
    }

    /// One more message. False if it is one too many.
    pub(super) fn message(&mut self) -> bool {
        let free = self.messages.check().is_ok();
        if !free {
            self.strike();
        }
        free
    }

    /// The last message could not be taken.
    pub(super) fn bad(&mut self) {
        if self.bad.check().is_err() {
            self.strike();
        }
    }

    /// A limit is broken.
    pub(super) fn strike(&mut self) {
        metrics::rejected("L9");
        self.strikes += 1;
    }

    /// Whether the socket is to be closed.
    pub(super) fn are_over(&self) -> bool {
        self.strikes >= STRIKES
    }
}

fn number(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_four_places_and_gets_them_back() {
        let limits = Limits::new(10);
        let ip = |text: &str| Some(text.parse().unwrap());
        let mut places: Vec<Place> = (0..4).map(|_| limits.socket(ip("192.0.2.1")).unwrap()).collect();
        assert!(limits.socket(ip("192.0.2.1")).is_none());
        assert!(limits.socket(ip("192.0.2.2")).is_some());
        places.pop();
        places.push(limits.socket(ip("192.0.2.1")).unwrap());
        places.extend((0..SOCKETS - 4).map(|_| limits.socket(ip("127.0.0.1")).unwrap()));
        assert!(limits.socket(ip("127.0.0.1")).is_none() && limits.socket(None).is_none());
    }

    #[test]
    fn three_broken_limits_are_enough_and_a_few_bad_messages_are_none() {
        let mut manners = Manners::new();
        (0..10).for_each(|_| manners.bad());
        assert!(!manners.are_over());
        let taken = (0..200).take_while(|_| manners.message() || !manners.are_over()).count();
        assert!((80..=90).contains(&taken), "{taken}");
    }
}

//! What a client may send, and what it becomes (L10).

use std::num::NonZeroU32;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use poem::web::websocket::CloseCode;

use super::LARGEST_MESSAGE;

/// Bytes a second that go on: twice real time of 16 kHz 16-bit mono.
const BYTES_PER_SECOND: NonZeroU32 = NonZeroU32::new(64_000).expect("it is not zero");
/// Bytes that may come at once, 8 s of sound: the seed's test client sends ten seconds of it, and faster than that by half.
const BURST_BYTES: NonZeroU32 = NonZeroU32::new(256_000).expect("it is not zero");

/// Why a client is shown out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Violation {
    #[error("a message is larger than 64 KiB: send less at a time")]
    TooLarge,
    #[error("sound came faster than twice real time: send it as it is spoken")]
    TooFast,
}

impl Violation {
    pub(super) fn close_code(self) -> CloseCode {
        match self {
            Self::TooLarge => CloseCode::Size,
            Self::TooFast => CloseCode::Policy,
        }
    }
}

/// Turns a client's bytes into samples.
pub(super) struct Intake {
    /// The first half of a sample that was cut.
    half: Option<u8>,
    rate: DefaultDirectRateLimiter,
}

impl Intake {
    pub(super) fn new() -> Self {
        Self { half: None, rate: RateLimiter::direct(Quota::per_second(BYTES_PER_SECOND).allow_burst(BURST_BYTES)) }
    }

    /// The samples that `bytes` complete.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Vec<i16>, Violation> {
        let Some(len) = NonZeroU32::new(bytes.len() as u32) else { return Ok(Vec::new()) };
        if bytes.len() > LARGEST_MESSAGE {
            return Err(Violation::TooLarge);
        }
        if !matches!(self.rate.check_n(len), Ok(Ok(()))) {
            return Err(Violation::TooFast);
        }
        let all: Vec<u8> = self.half.take().into_iter().chain(bytes.iter().copied()).collect();
        let (whole, rest) = all.as_chunks::<2>();
        self.half = rest.first().copied();
        Ok(whole.iter().map(|sample| i16::from_le_bytes(*sample)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_that_are_cut_in_two_become_whole_again() {
        let bytes: Vec<u8> = (0..=200).collect();
        let whole = Intake::new().take(&bytes[..200]).unwrap();
        for size in [1, 3, 199] {
            let mut intake = Intake::new();
            let cut: Vec<i16> = bytes[..200].chunks(size).flat_map(|piece| intake.take(piece).unwrap()).collect();
            assert_eq!(cut, whole, "{size}");
        }
    }

    #[test]
    fn too_much_at_once_and_too_much_in_all_are_refused() {
        let mut intake = Intake::new();
        let message = vec![0; LARGEST_MESSAGE];
        assert_eq!(intake.take(&vec![0; LARGEST_MESSAGE + 1]), Err(Violation::TooLarge));
        let taken = (0..5).take_while(|_| intake.take(&message).is_ok()).count();
        assert_eq!(taken, 3, "196 608 bytes are a burst, 262 144 are not");
        assert_eq!(intake.take(&message), Err(Violation::TooFast));
    }
}

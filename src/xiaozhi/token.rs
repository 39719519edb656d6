//! Tokens by which devices are known: `base64url(HMAC-SHA256(key, "client|device|time")).time`. Pure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// How long a token is good.
const VALID: Duration = Duration::from_hours(30 * 24);
/// A token may be from a clock that is this far ahead of ours.
const SKEW: Duration = Duration::from_mins(5);

/// For the device `device` whose client id is `client`, made at `now`, in seconds since 1970.
pub(super) fn issue(key: &str, client: &str, device: &str, now: u64) -> String {
    format!("{}.{now}", URL_SAFE_NO_PAD.encode(mac(key, client, device, now).finalize().into_bytes()))
}

/// Whether `token` was issued to this device, and not too long before `now`.
pub(super) fn is_valid(token: &str, key: &str, client: &str, device: &str, now: u64) -> bool {
    let Some((signature, time)) = token.split_once('.') else { return false };
    let (Ok(signature), Ok(time)) = (URL_SAFE_NO_PAD.decode(signature), time.parse::<u64>()) else { return false };
    let is_fresh = time <= now + SKEW.as_secs() && now <= time.saturating_add(VALID.as_secs());
    is_fresh && mac(key, client, device, time).verify_slice(&signature).is_ok()
}

/// Seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "tokens and devices' clocks are compared across machines")]
pub(super) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn mac(key: &str, client: &str, device: &str, time: u64) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(format!("{client}|{device}|{time}").as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: &str = "aa:bb:cc:dd:ee:ff";
    const TOKEN: &str = "Cix1cetyO2sHAVOVm8nRJ-Iss64xECxAafa4Mx61gCk.1700000000";

    #[test]
    fn a_token_is_what_the_original_makes() {
        assert_eq!(issue("secret", "cid-1", DEVICE, 1_700_000_000), TOKEN);
    }

    #[test]
    fn a_token_is_good_for_thirty_days_and_for_its_device() {
        let at = |now| is_valid(TOKEN, "secret", "cid-1", DEVICE, now);
        assert!(at(1_700_000_000) && at(1_700_000_000 + 2_591_999));
        assert!(!at(1_700_000_000 + 2_592_001), "too old");
        assert!(!at(1_690_000_000), "from the future");
        assert!(!is_valid(TOKEN, "secret", "cid-1", "aa:bb:cc:dd:ee:00", 1_700_000_000));
        assert!(!is_valid(TOKEN, "other", "cid-1", DEVICE, 1_700_000_000));
        for garbage in ["", ".", "x.1700000000", "Cix1.99999999999999999999", &TOKEN[1..]] {
            assert!(!is_valid(garbage, "secret", "cid-1", DEVICE, 1_700_000_000), "{garbage}");
        }
    }
}

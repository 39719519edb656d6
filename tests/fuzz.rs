//! Half a minute of damage to each of the two texts that strangers send us: offers and DataChannel messages.
//!
//! The corpus is what Chromium and aiortc really send; every fault that was found belongs there. Coverage-guided fuzzing
//! needs a nightly compiler, which `make test` must not; `VISAVIS_FUZZ_SECONDS` makes these runs longer.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::mpsc;
use tokio::time::timeout;
use visavis::rtc::{Limits, Offer, Peer, Settings, UdpMux};
use visavis::session::{Request, check_text};
use visavis::track::Bitrate;

/// One run of each, unless told otherwise.
const SECONDS: u64 = 30;
/// An answer takes milliseconds; a mutant that takes this long hangs.
const PATIENCE: Duration = Duration::from_secs(10);
/// Strings that parsers of these formats stumble over.
const DICTIONARY: &[&str] = &[
    "a=",
    "m=audio 0",
    "m=video 9 UDP/TLS/RTP/SAVPF 255",
    "a=rtpmap:",
    "a=fmtp:108 apt=",
    "a=mid:",
    "a=group:BUNDLE 0 0 0",
    "a=setup:passive",
    "a=candidate:1 1 udp 1 ::1 0 typ host",
    "65536",
    "-1",
    "\r\n",
    "\0",
    "\u{fffd}",
    "\\u0000",
    "{",
    "}",
    "[[[[[[[[",
    "1e999",
    "null",
    "\"type\":",
    "a=ssrc:0 cname:",
    "a=extmap:300",
    "profile-level-id=zz",
];

fn seconds() -> Duration {
    let asked = std::env::var("VISAVIS_FUZZ_SECONDS").ok().and_then(|s| s.parse().ok());
    Duration::from_secs(asked.unwrap_or(SECONDS))
}

/// A copy of `text` with one to eight pieces cut, repeated, swapped, overwritten or inserted.
fn mutate(text: &str, random: &mut StdRng) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..random.random_range(1..=8) {
        let len = bytes.len().max(1);
        let at = random.random_range(0..len).min(bytes.len());
        let end = (at + random.random_range(0..64)).min(bytes.len());
        match random.random_range(0..6) {
            0 => drop(bytes.drain(at..end)),
            1 => {
                let piece = bytes[at..end].to_vec();
                let _ = bytes.splice(at..at, piece.repeat(random.random_range(1..4)));
            }
            2 if at < bytes.len() => bytes[at] = random.random(),
            3 => {
                let word = DICTIONARY[random.random_range(0..DICTIONARY.len())];
                let _ = bytes.splice(at..at, word.bytes());
            }
            4 if !bytes.is_empty() => {
                let mut lines: Vec<&[u8]> = bytes.split_inclusive(|b| *b == b'\n').collect();
                let (a, b) = (random.random_range(0..lines.len()), random.random_range(0..lines.len()));
                lines.swap(a, b);
                bytes = lines.concat();
            }
            _ => bytes.truncate(end.max(1)),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn no_damaged_offer_panics_or_hangs_the_way_to_its_answer() {
    let corpus = [include_str!("corpus/sdp/chromium.sdp"), include_str!("corpus/sdp/aiortc.sdp")];
    let seed = rand::random();
    let mut random = StdRng::seed_from_u64(seed);
    let settings = Settings {
        mux: UdpMux::bind("127.0.0.1:0".parse().unwrap()).unwrap(),
        advertise: vec![],
        tcp: true,
        bitrate: Bitrate { min: 200_000, start: 800_000, max: 2_000_000 },
    };
    let (mut tried, mut usable, mut answered) = (0, 0, 0);
    let until = Instant::now() + seconds();
    while Instant::now() < until {
        let mutant = mutate(corpus[tried % corpus.len()], &mut random);
        tried += 1;
        let Ok(offer) = Offer::parse(&mutant) else { continue };
        usable += 1;
        // Negotiation is slow beside parsing: one usable mutant in ten goes all the way.
        if usable % 10 == 0 {
            let (events, _heard) = mpsc::channel(8);
            let answer =
                timeout(PATIENCE, Peer::answer(&settings, offer, None, Limits::default(), events, mpsc::channel(1).0)).await;
            let answer = answer.unwrap_or_else(|_| panic!("seed {seed}: this offer hangs:\n{mutant}"));
            answered += usize::from(answer.is_ok_and(|(_, sdp)| sdp.starts_with("v=0")));
        }
    }
    assert!(
        tried > 1_000 && usable > 100 && answered > 10,
        "tried {tried}, usable {usable}, answered {answered}: too few to mean anything"
    );
}

#[test]
fn no_damaged_message_panics() {
    let corpus: Vec<&str> = include_str!("corpus/messages/requests.jsonl").lines().collect();
    let mut random = StdRng::seed_from_u64(rand::random());
    let (mut tried, mut understood) = (0, 0);
    let until = Instant::now() + seconds();
    while Instant::now() < until {
        let mutant = mutate(corpus[tried % corpus.len()], &mut random);
        tried += 1;
        if let Ok(Request::Chat { text, .. } | Request::Echo { text, .. }) = serde_json::from_str::<Request>(&mutant) {
            understood += usize::from(check_text(&text).is_ok());
        }
    }
    assert!(tried > 10_000 && understood > 100, "tried {tried}, understood {understood}: too few to mean anything");
}

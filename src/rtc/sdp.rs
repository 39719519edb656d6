//! A viewer's offer, checked before the WebRTC stack sees it (limits L11 and L12 of reliability.md). Pure; reads hostile text.

use std::borrow::Cow;
use std::net::IpAddr;

use super::fragment::Fragment;
use crate::codec::VideoCodec;

/// Longest SDP, in bytes (L11). Chromium's longest offer with audio, video and data is about 7 kB.
const MAX_BYTES: usize = 64 << 10;
const MAX_LINES: usize = 1_000;
const MAX_LINE_BYTES: usize = 1_024;
const MAX_MEDIA: usize = 8;
const MAX_CANDIDATES: usize = 32;

/// Longest candidate, in bytes: Chromium's with two addresses of IPv6 has 240.
const MAX_CANDIDATE_BYTES: usize = 512;

/// What makes an offer unusable. Each says what to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// Not SDP, or beyond the limits.
    #[error("the SDP is not a usable offer: {0}")]
    Malformed(&'static str),
    /// Nothing to hear.
    #[error("the offer has no audio line that receives: add an audio transceiver")]
    NoAudio,
    /// Nothing to see, and no data channel that would make it a voice-only client.
    #[error("the offer has no video line that receives: add a video transceiver")]
    NoVideo,
    /// Nothing that could be heard.
    #[error("the offer's audio codecs are not supported: offer Opus")]
    NoCommonCodec,
}

impl OfferError {
    /// The stable name that clients may match.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "bad_sdp",
            Self::NoAudio => "no_audio",
            Self::NoVideo => "no_video",
            Self::NoCommonCodec => "no_common_codec",
        }
    }
}

/// A video codec as the offer numbers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VideoLine {
    pub(super) codec: VideoCodec,
    pub(super) payload_type: u8,
    /// The payload type of its retransmissions (RFC 4588).
    pub(super) rtx: Option<u8>,
    /// The offer's own parameters of it: the stack only matches H.264 profiles that are spelt alike.
    pub(super) fmtp: String,
}

/// What a browser's connection keeps for life: the id of its descriptions (RFC 8866 §5.2) and its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    id: String,
    fingerprint: String,
}

/// An offer that can be answered.
#[derive(Clone, Debug)]
pub struct Offer {
    pub(super) sdp: String,
    pub(super) opus: u8,
    pub(super) video: Option<VideoLine>,
}

impl Offer {
    /// Checks the limits and finds the codecs: the first supported one in the order offered. Pictures that we have no codec for
    /// are refused alone, by port 0 in the answer (RFC 3264 §6): the voice is heard all the same.
    pub fn parse(sdp: &str) -> Result<Self, OfferError> {
        // A line that was refused before is offered again with port 0.
        Self::with(sdp, |media| media.iter().any(|m| m.kind == "application" || (m.kind == "video" && m.port == Some(0))))
    }

    /// The same of a client that may want nothing but a voice.
    pub fn parse_voice(sdp: &str) -> Result<Self, OfferError> {
        Self::with(sdp, |_| true)
    }

    /// `blind` says whether an offer that sees nothing is meant so.
    fn with(sdp: &str, blind: impl Fn(&[Section<'_>]) -> bool) -> Result<Self, OfferError> {
        check_limits(sdp)?;
        let sdp = &with_own_transports(sdp);
        let sections = sections(sdp);
        let (session, media) = sections.split_first().expect("sections() returns at least one");
        if media.is_empty() {
            return Err(OfferError::Malformed("it has no m= line"));
        }
        for name in ["ice-ufrag", "ice-pwd", "fingerprint"] {
            let has = |section: &Section<'_>| section.attribute(name).is_some();
            if !has(session) && !media.iter().filter(|m| m.port != Some(0)).all(has) {
                return Err(OfferError::Malformed("it lacks ICE credentials or a fingerprint"));
            }
        }
        let ufrag_is_sane = |s: &Section<'_>| s.attribute("ice-ufrag").is_none_or(|u| (4..=256).contains(&u.len()));
        let password_is_sane = |s: &Section<'_>| s.attribute("ice-pwd").is_none_or(|p| (22..=256).contains(&p.len()));
        if !sections.iter().all(|s| ufrag_is_sane(s) && password_is_sane(s)) {
            return Err(OfferError::Malformed("its ICE credentials are too short or too long"));
        }
        let receiving = |kind: &str| media.iter().find(|m| m.kind == kind && m.port != Some(0) && m.receives());
        let audio = receiving("audio").ok_or(OfferError::NoAudio)?;
        let opus = audio.opus().ok_or(OfferError::NoCommonCodec)?;
        let video = match receiving("video") {
            Some(video) => video.video(),
            // Seed 001's client: a voice and a data channel.
            None if blind(media) => None,
            None => return Err(OfferError::NoVideo),
        };
        Ok(Self { sdp: without_unusable_candidates(sdp), opus, video })
    }

    /// Whose offer this is.
    pub(super) fn identity(&self) -> Identity {
        let value = |prefix: &str| self.sdp.lines().find_map(|line| line.strip_prefix(prefix)).unwrap_or_default();
        let id = value("o=").split_ascii_whitespace().take(2).collect::<Vec<_>>().join(" ");
        Identity { id, fingerprint: value("a=fingerprint:").to_ascii_lowercase() }
    }

    /// What names its side of ICE.
    pub(super) fn ufrag(&self) -> &str {
        self.sdp.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:")).unwrap_or_default()
    }

    /// Whether its media are what `other` asked for: it is about another path for them.
    pub(super) fn asks_for_the_same_as(&self, other: &Self) -> bool {
        self.opus == other.opus && self.video == other.video
    }

    /// The same offer from a peer whose ICE begins anew (RFC 8839 §4.4.1.1.1): other credentials, and its candidates since.
    pub(super) fn restarted(&self, ice: &Fragment) -> Self {
        let mut sdp = String::with_capacity(self.sdp.len() + 512);
        let mut in_media = false;
        for line in self.sdp.lines() {
            if line.starts_with("m=") && std::mem::replace(&mut in_media, true) {
                ice.candidates.iter().for_each(|candidate| push(&mut sdp, &format!("a={candidate}")));
            }
            if line.starts_with("a=ice-ufrag:") {
                push(&mut sdp, &format!("a=ice-ufrag:{}", ice.ufrag));
            } else if line.starts_with("a=ice-pwd:") {
                push(&mut sdp, &format!("a=ice-pwd:{}", ice.password));
            } else if !line.starts_with("a=candidate:") && line != "a=end-of-candidates" {
                push(&mut sdp, line);
            }
        }
        Self { sdp: without_unusable_candidates(&sdp), ..self.clone() }
    }

    /// The codec that this viewer gets; `None` for a voice-only client.
    pub fn video_codec(&self) -> Option<VideoCodec> {
        self.video.as_ref().map(|line| line.codec)
    }
}

fn push(sdp: &mut String, line: &str) {
    sdp.push_str(line);
    sdp.push_str("\r\n");
}

pub(super) fn check_lines(sdp: &str) -> Result<(), OfferError> {
    if sdp.contains('\0') {
        return Err(OfferError::Malformed("it contains a NUL"));
    }
    if sdp.lines().count() > MAX_LINES || sdp.lines().any(|line| line.len() > MAX_LINE_BYTES) {
        return Err(OfferError::Malformed("it has too many or too long lines"));
    }
    Ok(())
}

fn check_limits(sdp: &str) -> Result<(), OfferError> {
    if sdp.len() > MAX_BYTES {
        return Err(OfferError::Malformed("it is longer than 64 KiB"));
    }
    if !sdp.starts_with("v=0") {
        return Err(OfferError::Malformed("it does not begin with v=0"));
    }
    check_lines(sdp)?;
    if sdp.lines().filter(|line| line.starts_with("m=")).count() > MAX_MEDIA {
        return Err(OfferError::Malformed("it has too many m= lines"));
    }
    if sdp.lines().filter(|line| line.starts_with("a=candidate:")).count() > MAX_CANDIDATES * MAX_MEDIA {
        return Err(OfferError::Malformed("it has too many candidates"));
    }
    Ok(())
}

/// One media section, or the session's head (kind "").
struct Section<'a> {
    kind: &'a str,
    port: Option<u16>,
    formats: Vec<u8>,
    lines: Vec<&'a str>,
}

fn sections(sdp: &str) -> Vec<Section<'_>> {
    let mut sections = vec![Section { kind: "", port: None, formats: vec![], lines: vec![] }];
    for line in sdp.lines() {
        if let Some(media) = line.strip_prefix("m=") {
            let mut words = media.split_ascii_whitespace();
            let kind = words.next().unwrap_or_default();
            let port = words.next().and_then(|p| p.parse().ok());
            let formats = words.skip(1).filter_map(|f| f.parse().ok()).collect();
            sections.push(Section { kind, port, formats, lines: vec![] });
        } else if let Some(section) = sections.last_mut() {
            section.lines.push(line);
        }
    }
    sections
}

impl<'a> Section<'a> {
    fn attribute(&self, name: &str) -> Option<&'a str> {
        self.lines.iter().find_map(|line| line.strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(':'))
    }

    /// `a=NAME:<payload type> <rest>` of one format.
    fn of_format(&self, name: &str, format: u8) -> Option<&'a str> {
        self.lines.iter().find_map(|line| {
            let value = line.strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(':')?;
            let (number, rest) = value.split_once(' ')?;
            (number.parse() == Ok(format)).then_some(rest)
        })
    }

    fn receives(&self) -> bool {
        !self.lines.iter().any(|line| matches!(*line, "a=sendonly" | "a=inactive"))
    }

    fn encoding(&self, format: u8) -> Option<String> {
        Some(self.of_format("rtpmap", format)?.split('/').next()?.to_ascii_uppercase())
    }

    fn opus(&self) -> Option<u8> {
        self.formats.iter().copied().find(|f| self.encoding(*f).as_deref() == Some("OPUS"))
    }

    fn video(&self) -> Option<VideoLine> {
        // Browsers list plain baseline (4200) before constrained baseline (42e0), which is what we send.
        let constrained = |f: &&u8| self.h264_profile(**f).is_some_and(|profile| profile.starts_with("42e0"));
        let best_h264 = self.formats.iter().find(constrained).copied();
        self.formats.iter().find_map(|&offered| {
            let (codec, payload_type) = match self.encoding(offered)?.as_str() {
                "VP8" => (VideoCodec::Vp8, offered),
                "H264" if self.h264_profile(offered).is_some() => (VideoCodec::H264, best_h264.unwrap_or(offered)),
                _ => return None,
            };
            let fmtp = self.of_format("fmtp", payload_type).unwrap_or_default().to_owned();
            let apt = format!("apt={payload_type}");
            let is_rtx_of_it = |f: &u8| {
                self.encoding(*f).as_deref() == Some("RTX")
                    && self.of_format("fmtp", *f).is_some_and(|p| p.split(';').any(|p| p.trim() == apt))
            };
            let rtx = self.formats.iter().copied().find(is_rtx_of_it);
            Some(VideoLine { codec, payload_type, rtx, fmtp })
        })
    }

    /// The profile of a format that is H.264 (constrained) baseline in packetization-mode 1 (RFC 6184 §8.1), the only
    /// kind that we send.
    fn h264_profile(&self, format: u8) -> Option<String> {
        if self.encoding(format)? != "H264" {
            return None;
        }
        let parameters = self.of_format("fmtp", format)?;
        let value = |name: &str| parameters.split(';').find_map(|p| p.trim().strip_prefix(name)?.strip_prefix('='));
        let profile = value("profile-level-id")?.to_ascii_lowercase();
        (value("packetization-mode") == Some("1") && profile.len() == 6 && profile.starts_with("42")).then_some(profile)
    }
}

/// What a line says of its transport.
const TRANSPORT: [&str; 5] = ["a=ice-ufrag:", "a=ice-pwd:", "a=fingerprint:", "a=setup:", "a=rtcp-mux"];

/// What only exists within a bundle has no port and no transport of its own (RFC 9143 §6), as Firefox offers pictures beside
/// sound when it is told to bundle all. It gets those of the first line, with which it is bundled, and is then like any other.
fn with_own_transports(sdp: &str) -> Cow<'_, str> {
    if !sdp.contains("a=bundle-only") {
        return sdp.into();
    }
    let starts: Vec<usize> = sdp.match_indices("\nm=").map(|(at, _)| at + 1).chain([sdp.len()]).collect();
    let (mut out, mut first) = (sdp[..starts[0]].to_owned(), None);
    for section in starts.windows(2).map(|bounds| &sdp[bounds[0]..bounds[1]]) {
        let bundle = *first.get_or_insert(section);
        let is_bundled = section.lines().any(|line| line == "a=bundle-only");
        for (n, line) in section.lines().filter(|line| !is_bundled || *line != "a=bundle-only").enumerate() {
            let line = if n == 0 && is_bundled { line.replacen(" 0 ", " 9 ", 1).into() } else { Cow::from(line) };
            out.push_str(&line);
            out.push_str("\r\n");
        }
        let missing = |kind: &&&str| is_bundled && !section.lines().any(|line| line.starts_with(**kind));
        for kind in TRANSPORT.iter().filter(missing) {
            for line in bundle.lines().filter(|line| line.starts_with(kind)) {
                out.push_str(line);
                out.push_str("\r\n");
            }
        }
    }
    out.into()
}

/// Leaves out candidates that must not be checked: names (mDNS), and addresses that are nobody's or everybody's.
fn without_unusable_candidates(sdp: &str) -> String {
    let usable = |line: &&str| line.strip_prefix("a=candidate:").is_none_or(is_somebodys);
    let mut candidates = 0;
    sdp.lines().filter(usable).fold(String::with_capacity(sdp.len()), |mut out, line| {
        candidates += usize::from(line.starts_with("a=candidate:"));
        if !line.starts_with("a=candidate:") || candidates <= MAX_CANDIDATES {
            out.push_str(line);
            out.push_str("\r\n");
        }
        out
    })
}

/// Whether a candidate, without its prefix, names an address that may be somebody's.
fn is_somebodys(candidate: &str) -> bool {
    match candidate.split_ascii_whitespace().nth(4).map(str::parse::<IpAddr>) {
        Some(Ok(IpAddr::V4(ip))) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast() && !ip.is_link_local(),
        Some(Ok(IpAddr::V6(ip))) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_unicast_link_local(),
        _ => false,
    }
}

/// Whether a candidate that came by itself can be checked: over UDP, at an address that may be somebody's.
pub(super) fn is_usable_candidate(candidate: &str) -> bool {
    let is_udp = candidate.split_ascii_whitespace().nth(2).is_some_and(|word| word.eq_ignore_ascii_case("udp"));
    is_udp && candidate.len() <= MAX_CANDIDATE_BYTES && is_somebodys(candidate)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEAD: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=ice-ufrag:abcd\r\n\
                        a=ice-pwd:0123456789012345678901\r\na=fingerprint:sha-256 AA\r\n";
    const AUDIO: &str = "m=audio 9 UDP/TLS/RTP/SAVPF 111 0\r\na=recvonly\r\na=rtpmap:111 opus/48000/2\r\n";
    const VIDEO: &str = "m=video 9 UDP/TLS/RTP/SAVPF 98 102 96 97\r\na=recvonly\r\na=rtpmap:98 VP9/90000\r\n\
                         a=rtpmap:102 H264/90000\r\na=fmtp:102 profile-level-id=640032;packetization-mode=1\r\n\
                         a=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n";

    fn offer(parts: &[&str]) -> Result<Offer, OfferError> {
        Offer::parse(&([&[HEAD], parts].concat().concat()))
    }

    #[test]
    fn the_first_supported_codec_is_taken_with_its_numbers() {
        let offer = offer(&[AUDIO, VIDEO]).unwrap();
        assert_eq!(offer.opus, 111);
        let line = VideoLine { codec: VideoCodec::Vp8, payload_type: 96, rtx: Some(97), fmtp: String::new() };
        assert_eq!(offer.video, Some(line));
    }

    #[test]
    fn constrained_baseline_is_taken_where_plain_baseline_is_listed_first() {
        let video = "m=video 9 UDP/TLS/RTP/SAVPF 102 108\r\na=rtpmap:102 H264/90000\r\n\
                     a=fmtp:102 packetization-mode=1;profile-level-id=42001f\r\na=rtpmap:108 H264/90000\r\n\
                     a=fmtp:108 packetization-mode=1;profile-level-id=42e01f\r\n";
        assert_eq!(offer(&[AUDIO, video]).unwrap().video.unwrap().payload_type, 108);
    }

    #[test]
    fn video_may_come_first() {
        assert!(offer(&[VIDEO, AUDIO]).is_ok());
    }

    #[test]
    fn a_line_that_exists_only_within_the_bundle_is_as_good_as_any() {
        let head = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n";
        let transport =
            "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\na=fingerprint:sha-256 AA\r\na=setup:actpass\r\n";
        let video = VIDEO.replace("m=video 9", "m=video 0") + "a=mid:1\r\na=bundle-only\r\n";
        let offer = Offer::parse(&[head, AUDIO, transport, &video].concat()).unwrap();
        assert!(offer.video.is_some());
        let video = offer.sdp.split("m=video").nth(1).unwrap();
        assert!(video.starts_with(" 9 ") && !video.contains("bundle-only"), "{video}");
        assert_eq!(video.matches("a=ice-ufrag:abcd").count(), 1, "{video}");
        let refused = VIDEO.replace("m=video 9", "m=video 0");
        assert_eq!(Offer::parse(&[head, AUDIO, transport, &refused].concat()).unwrap().video_codec(), None);
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(offer(&[VIDEO]).unwrap_err(), OfferError::NoAudio);
        assert_eq!(offer(&[AUDIO]).unwrap_err(), OfferError::NoVideo);
        let pcmu = "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=rtpmap:0 PCMU/8000\r\n";
        assert_eq!(offer(&[pcmu, VIDEO]).unwrap_err(), OfferError::NoCommonCodec);
        assert_eq!(Offer::parse("").unwrap_err().code(), "bad_sdp");
        assert_eq!(Offer::parse(&"v=0\r\n".repeat(300_000)).unwrap_err().code(), "bad_sdp");
    }

    #[test]
    fn a_voice_only_client_has_a_data_channel() {
        let data = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n";
        assert_eq!(offer(&[AUDIO, data]).unwrap().video_codec(), None);
    }

    #[test]
    fn who_wants_a_voice_alone_gets_one() {
        let offer = Offer::parse_voice(&[HEAD, AUDIO].concat()).unwrap();
        assert_eq!((offer.opus, offer.video_codec()), (111, None));
    }

    #[test]
    fn pictures_that_we_have_no_codec_for_leave_the_voice() {
        let high = "m=video 9 UDP/TLS/RTP/SAVPF 98 99 100\r\na=rtpmap:98 VP9/90000\r\na=rtpmap:99 H264/90000\r\n\
                    a=fmtp:99 profile-level-id=640032;packetization-mode=1\r\na=rtpmap:100 H264/90000\r\n\
                    a=fmtp:100 profile-level-id=42e01f;packetization-mode=0\r\n";
        for offer in [offer(&[AUDIO, high]), offer(&[high, AUDIO])] {
            let offer = offer.unwrap();
            assert_eq!((offer.opus, offer.video_codec()), (111, None));
        }
    }

    #[test]
    fn only_datagrams_to_somebody_are_checked() {
        assert!(is_usable_candidate("1 1 UDP 2113937151 192.168.1.1 56789 typ host"));
        assert!(!is_usable_candidate("1 1 tcp 1518280447 192.168.1.1 9 typ host tcptype active"));
        assert!(!is_usable_candidate("1 1 udp 1 6f1b.local 5000 typ host"));
        assert!(!is_usable_candidate("1 1 udp 1 224.0.0.1 5000 typ host"));
        assert!(!is_usable_candidate(""));
    }

    #[test]
    fn names_and_nobodys_addresses_are_not_checked() {
        let candidates = "a=candidate:1 1 udp 1 6f1b.local 5000 typ host\r\na=candidate:2 1 udp 1 0.0.0.0 5000 typ host\r\n\
                          a=candidate:3 1 udp 1 192.0.2.1 5000 typ host\r\n";
        let offer = offer(&[AUDIO, VIDEO, candidates]).unwrap();
        assert_eq!(offer.sdp.matches("a=candidate:").count(), 1);
        assert!(offer.sdp.contains("192.0.2.1"));
    }

    #[test]
    fn a_connection_is_known_by_its_id_and_certificate_whatever_its_path() {
        let (first, later) = (offer(&[AUDIO, VIDEO]).unwrap(), HEAD.replace("o=- 1 2", "o=- 1 3").replace("abcd", "efgh"));
        let restarted = Offer::parse(&[&later, AUDIO, VIDEO].concat()).unwrap();
        assert_eq!(first.identity(), restarted.identity());
        assert!(first.asks_for_the_same_as(&restarted));
        let stranger = Offer::parse(&[&HEAD.replace("sha-256 AA", "sha-256 BB"), AUDIO, VIDEO].concat()).unwrap();
        assert_ne!(first.identity(), stranger.identity());
    }

    #[test]
    fn a_restart_changes_credentials_and_candidates_and_nothing_else() {
        let old = "a=candidate:1 1 udp 1 192.0.2.1 5000 typ host\r\n";
        let first = offer(&[AUDIO, old, VIDEO]).unwrap();
        let text = "a=ice-ufrag:wxyz\r\na=ice-pwd:9876543210987654321098\r\na=candidate:1 1 udp 1 192.0.2.9 6000 typ host\r\n\
                    a=candidate:2 1 udp 1 224.0.0.1 6000 typ host\r\n";
        let again = first.restarted(&Fragment::parse(text).unwrap());
        assert!(again.sdp.contains("a=ice-ufrag:wxyz") && again.sdp.contains("192.0.2.9"));
        assert!(!again.sdp.contains("abcd") && !again.sdp.contains("192.0.2.1 ") && !again.sdp.contains("224.0.0.1"));
        assert!(Offer::parse(&again.sdp).unwrap().asks_for_the_same_as(&first));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(v=0\r\n)?([mavc]=[ -~]{0,40}\r\n){0,30}") {
            let _ = Offer::parse(&text);
        }

        #[test]
        fn a_damaged_offer_is_answered_or_refused(at in 0_usize..400, with in any::<char>()) {
            let mut text: Vec<char> = [HEAD, AUDIO, VIDEO].concat().chars().collect();
            let at = at % text.len();
            text[at] = with;
            let _ = Offer::parse(&text.into_iter().collect::<String>());
        }
    }
}

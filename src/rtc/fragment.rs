//! Pieces of SDP by which the two ends tell each other, after offer and answer, how they can be reached. Pure; reads hostile text.

use super::OfferError;
use super::sdp::check_lines;

/// A piece of SDP that says how to reach somebody (RFC 8840 §9), and nothing of media.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fragment {
    /// Its user fragment; empty if the piece has none.
    pub ufrag: String,
    /// And password.
    pub password: String,
    /// The line that carries all others.
    mid: String,
    /// `candidate:…`
    pub candidates: Vec<String>,
}

impl Fragment {
    /// Reads one; untrusted. A user fragment with a password that cannot be any are an error.
    pub fn parse(text: &str) -> Result<Self, OfferError> {
        check_lines(text)?;
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
        let (ufrag, password) = (value("a=ice-ufrag:"), value("a=ice-pwd:"));
        let is_sane = |text: &str, least: usize| {
            (least..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/".contains(&b))
        };
        if !(password.is_empty() || is_sane(&ufrag, 4) && is_sane(&password, 22)) {
            return Err(OfferError::Malformed("its ICE credentials are none"));
        }
        let candidates =
            text.lines().filter_map(|line| line.strip_prefix("a=")).filter(|line| line.starts_with("candidate:"));
        Ok(Self { ufrag, password, mid: value("a=mid:"), candidates: candidates.map(str::to_owned).collect() })
    }

    /// What of `answer` says how to reach whoever wrote it: its credentials, and the candidates of its first line.
    pub(super) fn of_answer(answer: &str) -> Self {
        let value = |name: &str| answer.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
        let first = answer.split("\r\nm=").nth(1).unwrap_or_default();
        let candidates =
            first.lines().filter_map(|line| line.strip_prefix("a=")).filter(|line| line.starts_with("candidate:"));
        Self {
            ufrag: value("a=ice-ufrag:"),
            password: value("a=ice-pwd:"),
            mid: value("a=mid:"),
            candidates: candidates.map(str::to_owned).collect(),
        }
    }

    /// As `application/trickle-ice-sdpfrag`, for the first line of a bundle.
    pub fn text(&self) -> String {
        let Self { ufrag, password, mid, .. } = self;
        let head = format!("a=ice-ufrag:{ufrag}\r\na=ice-pwd:{password}\r\nm=audio 9 RTP/AVP 0\r\na=mid:{mid}\r\n");
        let candidates = self.candidates.iter().map(|candidate| format!("a={candidate}\r\n")).collect::<String>();
        head + &candidates + "a=end-of-candidates\r\n"
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_fragment_that_would_write_lines_of_its_own_is_refused() {
        let password = "a=ice-pwd:0123456789012345678901\r\n";
        assert!(Fragment::parse(&format!("a=ice-ufrag:ab\r\n{password}")).is_err());
        assert!(Fragment::parse(&format!("a=ice-ufrag:abcd efgh\r\n{password}")).is_err());
        assert!(Fragment::parse(&"a=x\r\n".repeat(2_000)).is_err());
        let answer = "v=0\r\na=x\r\nm=audio 9 X 111\r\na=ice-ufrag:abcd\r\na=ice-pwd:p\r\na=candidate:1 1 udp 1 192.0.2.1 5 typ host\r\n\
                      m=video 9 X 96\r\na=candidate:1 1 udp 1 192.0.2.1 5 typ host\r\n";
        let fragment = Fragment::of_answer(answer);
        assert_eq!((fragment.ufrag.as_str(), fragment.password.as_str(), fragment.candidates.len()), ("abcd", "p", 1));
        assert!(fragment.text().ends_with("typ host\r\na=end-of-candidates\r\n"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(a=(ice-ufrag|ice-pwd|mid|candidate):[ -~]{0,40}\r\n){0,30}") {
            let _ = Fragment::parse(&text);
        }
    }
}

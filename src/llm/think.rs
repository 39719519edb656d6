//! Takes out what a model thinks aloud: `<think>…</think>` in the text itself, as some local servers send it.
//!
//! In: text deltas, cut anywhere, also within a tag. Out: what is to be said. Pure.

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// One per answer. Some templates open the first thought themselves, so that only its end is in the text: it is then no
/// longer to be told from an answer, unless whoever runs the server says so.
#[derive(Debug, Default)]
pub(super) struct ThinkFilter {
    /// Text that may be the beginning of a tag.
    held: String,
    thinking: bool,
    /// Something has been let through since the last tag: before that, blanks are the tag's.
    spoken: bool,
}

impl ThinkFilter {
    /// For an answer that begins with a thought, or does not.
    pub(super) fn new(thinking: bool) -> Self {
        Self { thinking, ..Self::default() }
    }

    /// What of the text so far can be said by now.
    pub(super) fn push(&mut self, delta: &str) -> String {
        self.held.push_str(delta);
        let mut out = String::new();
        // A lone closing tag is one whose opening was in the model's template.
        while let Some((at, tag)) = first_tag(&self.held) {
            self.let_through(at, &mut out);
            self.held.drain(..tag.len());
            self.thinking = tag == OPEN;
            self.spoken = false;
        }
        let keep = longest_tag_start(&self.held);
        self.let_through(self.held.len() - keep, &mut out);
        out
    }

    /// What was held back, once the answer is over.
    pub(super) fn finish(mut self) -> String {
        let mut out = String::new();
        self.let_through(self.held.len(), &mut out);
        out
    }

    fn let_through(&mut self, len: usize, out: &mut String) {
        let text: String = self.held.drain(..len).collect();
        if self.thinking {
            return;
        }
        let text = if self.spoken { text.as_str() } else { text.trim_start() };
        self.spoken |= !text.is_empty();
        out.push_str(text);
    }
}

fn first_tag(text: &str) -> Option<(usize, &'static str)> {
    [OPEN, CLOSE].into_iter().filter_map(|tag| Some((text.find(tag)?, tag))).min()
}

/// How many bytes at the end of `text` may be the beginning of a tag.
fn longest_tag_start(text: &str) -> usize {
    let starts = |tag: &str| (1..tag.len()).rev().find(|len| text.ends_with(&tag[..*len])).unwrap_or(0);
    starts(OPEN).max(starts(CLOSE))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said(deltas: &[&str]) -> String {
        let mut filter = ThinkFilter::default();
        let mut out: String = deltas.iter().map(|delta| filter.push(delta)).collect();
        out.push_str(&filter.finish());
        out
    }

    #[test]
    fn thoughts_are_not_said() {
        assert_eq!(said(&["<think>Hm, 2 < 3.</think>\n\nTwo."]), "Two.");
        assert_eq!(said(&["One. <think>x</think>Two."]), "One. Two.");
        assert_eq!(said(&["<think>never closed"]), "");
        assert_eq!(said(&["</think>Two."]), "Two.", "its opening is in the model's template");
    }

    #[test]
    fn a_thought_whose_opening_is_in_the_template_is_not_said_where_that_is_known() {
        let mut filter = ThinkFilter::new(true);
        let said = ["Hm, ", "two.</thi", "nk>\n", "Two. <think>", "Really?</think>Yes."].map(|delta| filter.push(delta));
        assert_eq!(said.concat() + &filter.finish(), "Two. Yes.");
    }

    #[test]
    fn what_only_looks_like_a_tag_is_said() {
        assert_eq!(said(&["a <thin", "g> b < c <"]), "a <thing> b < c <");
    }

    #[test]
    fn text_is_not_held_back_for_nothing() {
        let mut filter = ThinkFilter::default();
        assert_eq!(filter.push("Hello. "), "Hello. ");
        assert_eq!(filter.push("2 <"), "2 ");
    }

    proptest! {
        #[test]
        fn where_it_is_cut_makes_no_difference(
            parts in proptest::collection::vec("(<think>|</think>|<th|[a-c <>/你]{0,4})", 0..12),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let text = parts.concat();
            let chars: Vec<char> = text.chars().collect();
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(chars.len() + 1)).collect();
            at.extend([0, chars.len()]);
            at.sort_unstable();
            let pieces: Vec<String> = at.windows(2).map(|w| chars[w[0]..w[1]].iter().collect()).collect();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            prop_assert_eq!(said(&pieces), said(&[&text]));
        }
    }
}

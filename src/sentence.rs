//! Cuts a growing answer into clauses that can be spoken while the rest is still being written.
//!
//! In: the deltas of a language model, cut anywhere. Out: clauses that join to the text. Pure: a cut
//! depends on the text alone, never on how it was chunked, so where one more character decides, the
//! splitter waits for it. The first clause is short, so that sound starts early.

/// Width after which a first clause ends at a comma; a Chinese character counts as [`WIDE`].
const FIRST_AT_COMMA: usize = 12;

/// The same at a Chinese comma: two characters and the mark. A Chinese voice takes half a second for a
/// second of speech, so what is said first has to be shorter.
const FIRST_AT_WIDE_COMMA: usize = 3 * WIDE;

/// Words after which a first clause ends before a word such as "and" or "with", and before any.
const FIRST_WORDS: (usize, usize) = (4, 7);

/// Width after which a first clause in Chinese ends after a particle: 6 characters.
const FIRST_WIDE: usize = 6 * WIDE;

/// Width after which a later clause ends at a comma: about 4 s of speech, enough to write the next.
const LATER_AT_COMMA: usize = 60;

/// The same at a Chinese comma, which closes a phrase as a semicolon does in English.
const LATER_AT_WIDE_COMMA: usize = 8 * WIDE;

/// What a Chinese character counts in widths: it is a syllable, as three Latin letters are.
const WIDE: usize = 3;

/// Longest clause, in characters: what voices take at once.
const LONGEST: usize = 400;

/// The same in Chinese characters, as seed 001 has it: a quarter of a minute.
const LONGEST_WIDE: usize = 60;

/// Within a link's brackets nothing is cut before this many characters.
const LONGEST_LINK: usize = 240;

/// What may stand between the end of a sentence and the space after it.
const CLOSERS: &str = "\"'”’)]*_»」』）】`";

/// Short forms that never end a sentence.
#[rustfmt::skip]
const BEFORE_NAMES: &[&str] = &[
    "mr", "mrs", "ms", "dr", "prof", "st", "mt", "gen", "gov", "sen", "rep", "capt", "lt", "col", "sgt", "rev", "hon",
    "pres", "fr", "vs", "v", "cf", "e.g", "i.e", "fig", "eq", "ch", "sec", "vol", "pp", "approx", "al", "viz", "ca",
];

/// Short forms that end one if the next word begins another.
#[rustfmt::skip]
const SHORT_FORMS: &[&str] = &[
    "etc", "inc", "ltd", "co", "corp", "jr", "sr", "bros", "dept", "est", "ave", "blvd", "rd", "jan", "feb", "mar",
    "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec", "mon", "tue", "wed", "thu", "fri", "ph.d", "ft", "min",
    "max", "no", "nos", "op", "ed", "esp", "incl",
];

/// Words that begin a sentence rather than go on after a short form.
#[rustfmt::skip]
const STARTERS: &[&str] = &[
    "The", "A", "An", "It", "I", "We", "You", "He", "She", "They", "This", "That", "These", "There", "In", "On", "At",
    "If", "When", "What", "How", "Why", "Who", "But", "And", "So", "Then", "Now", "As", "For", "However", "Please", "Let",
    "My", "Our", "Your", "Its", "His", "Her", "To", "Also", "Yes", "No",
];

/// Words before which a phrase may end.
#[rustfmt::skip]
const JOINTS: &[&str] = &[
    "and", "but", "or", "so", "because", "that", "which", "who", "when", "where", "while", "if", "with", "without", "for",
    "from", "in", "on", "at", "to", "by", "as", "of", "about", "into", "than", "then", "through", "after", "before",
];

/// Particles after which a Chinese phrase may end.
const PARTICLES: &str = "的了着过是在和与或就也都吧呢吗";

/// Cuts text into clauses as it comes. One per answer.
#[derive(Debug)]
pub struct SentenceSplitter {
    /// What no clause holds yet.
    pending: Vec<char>,
    /// No clause with words in it has been given.
    first: bool,
    /// Whether every Chinese comma ends a clause.
    at_every_comma: bool,
}

impl Default for SentenceSplitter {
    fn default() -> Self {
        Self::new()
    }
}

impl SentenceSplitter {
    /// Before the first delta.
    pub fn new() -> Self {
        Self { pending: Vec::new(), first: true, at_every_comma: false }
    }

    /// The same for seed 001, which ends a clause at every Chinese comma and colon: more often text is shown in step with the
    /// voice, which pauses more often for it.
    pub fn at_every_comma() -> Self {
        Self { at_every_comma: true, ..Self::new() }
    }

    /// Takes the next delta; the clauses that are complete.
    pub fn push(&mut self, delta: &str) -> Vec<String> {
        self.pending.extend(delta.chars());
        let mut clauses = Vec::new();
        let mut start = 0;
        while let Some(len) = clause_len(&self.pending[start..], self.first, self.at_every_comma) {
            let clause = &self.pending[start..start + len];
            clauses.push(clause.iter().collect());
            start += len;
            self.first = false;
        }
        self.pending.drain(..start);
        clauses
    }

    /// What is left when the answer is over.
    pub fn flush(&mut self) -> Option<String> {
        self.first = true;
        let rest: String = std::mem::take(&mut self.pending).into_iter().collect();
        (!rest.is_empty()).then_some(rest)
    }
}

/// What is known of a place where a clause might end.
enum Verdict {
    /// It ends, this many characters long.
    Cut(usize),
    /// It may, if the clause is long enough: at a comma.
    Pause(usize),
    /// It does not.
    No,
    /// The next characters decide.
    Wait,
}

/// Length of the clause that `text` begins with, if it is decided.
fn clause_len(text: &[char], first: bool, at_every_comma: bool) -> Option<usize> {
    let (mut width, mut wide, mut words) = (0, 0, 0);
    let mut has_content = false;
    let mut link = Link::Outside;
    for (i, &c) in text.iter().enumerate() {
        width += if is_wide(c) { WIDE } else { 1 };
        wide += usize::from(is_wide(c));
        has_content |= c.is_alphanumeric();
        link = link.after(c);
        if i + 1 >= LONGEST || wide >= LONGEST_WIDE {
            return Some(hard_cut(&text[..=i], text.get(i + 1).copied()?));
        }
        if !has_content {
            continue;
        }
        if c == '\n' {
            return Some(i + 1);
        }
        if link != Link::Outside && i < LONGEST_LINK {
            continue;
        }
        let verdict = match c {
            '。' | '！' | '？' | '；' => wide_stop(text, i),
            '，' | '：' => {
                // What a colon introduces is said with it.
                let least = match (first, c) {
                    _ if at_every_comma => 0,
                    (true, '，') => FIRST_AT_WIDE_COMMA,
                    (true, _) => FIRST_AT_COMMA,
                    _ => LATER_AT_WIDE_COMMA,
                };
                if width >= least { Verdict::Cut(i + 1) } else { Verdict::No }
            }
            '.' | '!' | '?' | '…' if i == 0 || !is_stop(text[i - 1]) => stop(text, i),
            ',' | ';' | ':' => comma(text, i),
            '—' => Verdict::Pause(i + 1),
            _ if first && PARTICLES.contains(c) && width >= FIRST_WIDE => after_particle(text, i),
            _ if c.is_whitespace() && i > 0 && !text[i - 1].is_whitespace() => {
                words += 1;
                if first && words >= FIRST_WORDS.0 { between_words(text, i, words) } else { Verdict::No }
            }
            _ => Verdict::No,
        };
        match verdict {
            Verdict::Cut(len) => return Some(len),
            Verdict::Pause(len) if width >= if first { FIRST_AT_COMMA } else { LATER_AT_COMMA } => return Some(len),
            Verdict::Pause(_) | Verdict::No => {}
            Verdict::Wait => return None,
        }
    }
    None
}

/// A Chinese stop at `i`: ends at once, but waits for the quotation mark if one is open.
fn wide_stop(text: &[char], i: usize) -> Verdict {
    let opened = text[..i].iter().filter(|c| "“「『（".contains(**c)).count();
    let closed = text[..i].iter().filter(|c| "”」』）".contains(**c)).count();
    if opened <= closed {
        return Verdict::Cut(i + 1);
    }
    match text.get(i + 1) {
        None => Verdict::Wait,
        Some(next) if "”」』）".contains(*next) => Verdict::Cut(i + 2),
        Some(_) => Verdict::Cut(i + 1),
    }
}

/// The particle at `i`: a phrase ends with it if Chinese goes on; a mark is its own end, and 拍的vlog one phrase.
fn after_particle(text: &[char], i: usize) -> Verdict {
    match text.get(i + 1) {
        None => Verdict::Wait,
        Some(next) if is_wide(*next) && next.is_alphanumeric() => Verdict::Cut(i + 1),
        Some(_) => Verdict::No,
    }
}

/// A run of `.!?…` that begins at `i`.
fn stop(text: &[char], i: usize) -> Verdict {
    let run = text[i..].iter().take_while(|c| is_stop(**c)).count();
    let closers = text[i + run..].iter().take_while(|c| CLOSERS.contains(**c)).count();
    let end = i + run + closers;
    let Some(&next) = text.get(end) else { return Verdict::Wait };
    if next == '\n' {
        return Verdict::Cut(end + 1);
    }
    let marks = &text[i..i + run];
    if !next.is_whitespace() {
        // "3.14", "example.com", "a?b": only Chinese goes on without a space.
        return if is_wide(next) { Verdict::Cut(end) } else { Verdict::No };
    }
    if marks.contains(&'…') || (run > 1 && marks.iter().all(|&c| c == '.')) {
        return Verdict::Pause(end + 1);
    }
    let follows = end + text[end..].iter().take_while(|c| c.is_whitespace()).count();
    let Some(&follower) = text.get(follows) else { return Verdict::Wait };
    if marks != ['.'] {
        // `"Why?" he asked.` goes on.
        let goes_on = closers > 0 && follower.is_lowercase();
        return if goes_on { Verdict::No } else { Verdict::Cut(end + 1) };
    }
    full_stop(text, i, end, follows)
}

/// One full stop at `i` with a space at `end`; the next word begins at `follows`.
fn full_stop(text: &[char], i: usize, end: usize, follows: usize) -> Verdict {
    let begins = text[..i].iter().rposition(|c| c.is_whitespace() || "(\"“‘[*_".contains(*c)).map_or(0, |at| at + 1);
    let word: String = text[begins..i].iter().collect();
    let lower = word.to_lowercase();
    let follower = text[follows];
    if BEFORE_NAMES.contains(&lower.as_str()) {
        return Verdict::No;
    }
    let is_number = !word.is_empty() && word.chars().all(|c| c.is_ascii_digit());
    if is_number && text[..begins].iter().all(|c| !c.is_alphanumeric()) {
        // "1. First": the number of a list.
        return Verdict::No;
    }
    let is_initial = word.chars().count() == 1 && word.chars().all(char::is_uppercase);
    let is_acronym =
        word.contains('.') && word.split('.').all(|part| part.chars().count() <= 2 && part.chars().all(char::is_alphabetic));
    let is_short = SHORT_FORMS.contains(&lower.as_str());
    if is_short && matches!(lower.as_str(), "no" | "nos") {
        return if follower.is_ascii_digit() { Verdict::No } else { Verdict::Cut(end + 1) };
    }
    if is_initial || is_acronym || is_short {
        if !follower.is_alphabetic() {
            return if follower.is_ascii_digit() || follower == '(' { Verdict::No } else { Verdict::Cut(end + 1) };
        }
        return match word_at(text, follows) {
            None => Verdict::Wait,
            // "J. A. Smith", "U.S. Army": only a sentence's usual first word ends them.
            Some(next) if STARTERS.contains(&next.as_str()) && !(is_initial && next.len() == 1) => Verdict::Cut(end + 1),
            Some(_) => Verdict::No,
        };
    }
    if follower.is_lowercase() && (word.chars().count() < 4 || !word.chars().all(char::is_lowercase)) {
        return Verdict::No;
    }
    Verdict::Cut(end + 1)
}

/// A comma, semicolon or colon at `i`: a pause if a space follows, "1,000" and "10:30" are none.
fn comma(text: &[char], i: usize) -> Verdict {
    let closers = text[i + 1..].iter().take_while(|c| CLOSERS.contains(**c)).count();
    let end = i + 1 + closers;
    match text.get(end) {
        None => Verdict::Wait,
        Some(next) if next.is_whitespace() => Verdict::Pause(end + 1),
        Some(_) => Verdict::No,
    }
}

/// The space at `i` after `words` words of a first clause that has had no pause.
fn between_words(text: &[char], i: usize, words: usize) -> Verdict {
    if text[i - 1].is_ascii_punctuation() || !text[..i].iter().any(|c| c.is_alphabetic()) {
        return Verdict::No;
    }
    match text.get(i + 1) {
        None => Verdict::Wait,
        Some(next) if !next.is_alphabetic() || is_wide(*next) => Verdict::No,
        Some(_) => match word_at(text, i + 1) {
            None => Verdict::Wait,
            Some(next) if words >= FIRST_WORDS.1 || JOINTS.contains(&next.as_str()) => Verdict::Cut(i + 1),
            Some(_) => Verdict::No,
        },
    }
}

/// The letters from `at` on, once something else ends them.
fn word_at(text: &[char], at: usize) -> Option<String> {
    let len = text[at..].iter().take_while(|c| c.is_alphabetic()).count();
    (at + len < text.len()).then(|| text[at..at + len].iter().collect())
}

/// Where to cut a clause that is too long: after its last space, else before the last character
/// that begins a cluster, `next` being the one after it.
fn hard_cut(clause: &[char], next: char) -> usize {
    if let Some(space) = clause.iter().rposition(|c| c.is_whitespace()).filter(|&at| at > clause.len() / 4) {
        return space + 1;
    }
    let begins = |at: usize| {
        let (before, here) = (clause[at - 1], clause.get(at).copied().unwrap_or(next));
        !joins(here) && before != '\u{200d}' && !(is_flag(before) && is_flag(here))
    };
    (clause.len() / 2..=clause.len()).rev().find(|&at| begins(at)).unwrap_or(clause.len())
}

/// Whether `c` belongs to the character before it: accents, variation selectors, skin tones, joiners.
fn joins(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{200d}' | '\u{20e3}' | '\u{fe00}'..='\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}' | '\u{e0000}'..='\u{e007f}')
}

fn is_flag(c: char) -> bool {
    matches!(c, '\u{1f1e6}'..='\u{1f1ff}')
}

fn is_stop(c: char) -> bool {
    matches!(c, '.' | '!' | '?' | '…')
}

/// Chinese characters and their punctuation.
fn is_wide(c: char) -> bool {
    matches!(c, '\u{2e80}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{ff00}'..='\u{ffef}' | '\u{20000}'..='\u{3ffff}')
}

/// Where in a Markdown link we are: `[text](address)`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Link {
    Outside,
    Text,
    Closed,
    Address,
}

impl Link {
    fn after(self, c: char) -> Self {
        match (self, c) {
            (Self::Closed, '(') => Self::Address,
            (Self::Outside | Self::Closed, '[') => Self::Text,
            (Self::Text, ']') => Self::Closed,
            (Self::Closed, _) | (Self::Address, ')') => Self::Outside,
            (state, _) => state,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(text: &str) -> Vec<String> {
        let mut splitter = SentenceSplitter::new();
        let mut clauses = splitter.push(text);
        clauses.extend(splitter.flush());
        clauses
    }

    /// The clauses after a first sentence, so that the rules for the first do not bear.
    fn later(text: &str) -> Vec<String> {
        split(&format!("Well. {text}")).split_off(1)
    }

    #[test]
    fn a_first_clause_ends_at_its_first_comma_that_is_not_at_once() {
        let clauses = split("Of course, that is easy, and I can show you how it is done.");
        assert_eq!(clauses[0], "Of course, that is easy, ");
        assert_eq!(split("Let me think, maybe so.")[0], "Let me think, ");
    }

    #[test]
    fn a_first_clause_without_a_comma_ends_between_phrases() {
        assert_eq!(split("The weather tomorrow will be sunny with a light wind")[0], "The weather tomorrow will be sunny ");
        assert_eq!(split("我们今天一起去公园散步的时候看见了一只小鸟")[0], "我们今天一起去公园散步的");
        assert_eq!(split("这个应用程序很酷吧？"), ["这个应用程序很酷吧？"]);
        assert_eq!(split("我用iPhone15Pro拍的vlog。"), ["我用iPhone15Pro拍的vlog。"]);
    }

    #[test]
    fn later_clauses_are_sentences_unless_they_are_long() {
        assert_eq!(later("Yes, it is, so. And so on! Is it?"), ["Yes, it is, so. ", "And so on! ", "Is it?"]);
        let long = "This sentence is so long that its second comma, which stands here, is far beyond sixty, and more.";
        assert_eq!(later(long).len(), 2);
    }

    #[test]
    fn numbers_names_and_addresses_are_never_cut() {
        for text in [
            "It is 3.14 or 1,000 at 10:30 now.",
            "Dr. Smith and Mr. J. R. Lee of the U.S. Army met at 9 a.m. Monday.",
            "We use e.g. Apples vs. Pears, No. 5 of Fig. 2.",
            "See https://example.com/a.b?c=d, main.rs or me@example.com for v1.2.3.",
            "Well... maybe it is so.",
            "\"Why?\" he asked.",
        ] {
            assert_eq!(later(text), [text]);
        }
    }

    #[test]
    fn a_short_form_ends_a_sentence_where_another_begins() {
        assert_eq!(later("Be here at 9 a.m. The bus leaves."), ["Be here at 9 a.m. ", "The bus leaves."]);
        assert_eq!(later("I said no. Then I left."), ["I said no. ", "Then I left."]);
    }

    #[test]
    fn quotes_and_brackets_close_with_their_sentence() {
        assert_eq!(
            later("\"Go on.\" She went. (He did not.) So it was."),
            ["\"Go on.\" ", "She went. ", "(He did not.) ", "So it was."]
        );
        assert_eq!(split("他说：“好的。”然后走了。")[0], "他说：“好的。”");
    }

    #[test]
    fn chinese_is_cut_at_its_stops_without_waiting() {
        let mut splitter = SentenceSplitter::new();
        assert_eq!(splitter.push("你好，欢迎来到这里！"), ["你好，", "欢迎来到这里！"]);
        assert_eq!(splitter.push("今天天气很好，我们去公园吧。"), ["今天天气很好，我们去公园吧。"]);
    }

    #[test]
    fn for_seed_001_chinese_is_cut_at_every_comma() {
        let mut splitter = SentenceSplitter::at_every_comma();
        let mut clauses: Vec<String> =
            "第一句。第二句，第三：1,000, no?".chars().flat_map(|c| splitter.push(&c.to_string())).collect();
        clauses.extend(splitter.flush());
        assert_eq!(clauses, ["第一句。", "第二句，", "第三：", "1,000, no?"]);
    }

    #[test]
    fn chinese_without_a_mark_is_cut_after_sixty_characters() {
        let cut: Vec<usize> = split(&"字".repeat(130)).iter().map(|clause| clause.chars().count()).collect();
        assert_eq!(cut, [60, 60, 10]);
    }

    #[test]
    fn a_full_stop_waits_for_what_follows() {
        let mut splitter = SentenceSplitter::new();
        assert!(splitter.push("Pi is 3.").is_empty());
        assert!(splitter.push("14").is_empty());
        assert_eq!(splitter.push(". Next").as_slice(), ["Pi is 3.14. "]);
        assert_eq!(splitter.flush().as_deref(), Some("Next"));
    }

    #[test]
    fn lines_are_clauses_and_lists_keep_their_numbers() {
        assert_eq!(later("1. First\n2. Second\n"), ["1. First\n", "2. Second\n"]);
    }

    #[test]
    fn links_stay_whole() {
        let text = "Read [the first part, then the second. And more](https://example.com/a, b) of that, please do.";
        assert_eq!(later(text)[0], "Read [the first part, then the second. And more](https://example.com/a, b) of that, ");
    }

    #[test]
    fn a_clause_has_an_end_even_if_the_text_has_none() {
        let family = "👨‍👩‍👧‍👦";
        let clauses = later(&format!("go {}", family.repeat(200)));
        assert!(clauses.len() > 2);
        assert!(clauses[1..].iter().all(|c| c.starts_with('👨') && c.ends_with('👦')), "{clauses:?}");
        assert!(later(&"word ".repeat(200)).iter().all(|c| c.chars().count() <= LONGEST && c.ends_with(' ')));
    }

    fn text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("Dr. "),
            Just("3.14"),
            Just("a.m. "),
            Just("The "),
            Just("word "),
            Just("and "),
            Just(". "),
            Just(", "),
            Just("! "),
            Just("..."),
            Just("。"),
            Just("，"),
            Just("你好"),
            Just("“"),
            Just("”"),
            Just("[a](b.c)"),
            Just("\n"),
            Just("👩‍🚀"),
            Just("🇩🇪"),
            Just("\""),
            Just("etc"),
            Just("."),
            Just("Hello"),
            Just(":"),
            Just("1"),
            Just(" "),
        ];
        prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn clauses_join_to_the_text_and_do_not_depend_on_its_chunks(text in text(), sizes in prop::collection::vec(1usize..9, 1..40)) {
            let whole = split(&text);
            prop_assert_eq!(whole.concat(), text.clone());
            let chars: Vec<char> = text.chars().collect();
            let mut splitter = SentenceSplitter::new();
            let mut chunked = Vec::new();
            let mut at = 0;
            for size in sizes.iter().cycle() {
                if at >= chars.len() { break; }
                let end = (at + size).min(chars.len());
                chunked.extend(splitter.push(&chars[at..end].iter().collect::<String>()));
                at = end;
            }
            chunked.extend(splitter.flush());
            prop_assert_eq!(chunked, whole);
        }

        #[test]
        fn any_text_at_all_is_rejoined(text in "\\PC{0,200}") {
            prop_assert_eq!(split(&text).concat(), text);
        }
    }
}

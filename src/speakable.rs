//! What the voice should say of a text that was written to be read.
//!
//! In: clauses of an answer, in order, in Markdown or plain. Out: plain words and punctuation; empty
//! where there is nothing to say. Pure; the state is what one clause leaves to the next: an open code
//! block, an unfinished line.

/// Passes over a line: each takes away one layer of signs, and four are rare.
const MOST_PASSES: usize = 32;

/// Turns the clauses of one answer into what is said of them.
#[derive(Clone, Debug, Default)]
pub struct Speakable {
    /// The mark that closes the code block we are in.
    fence: Option<&'static str>,
    /// The last clause ended within a line: the next one does not begin one.
    within_line: bool,
}

/// What to say of a whole text.
pub fn speakable(text: &str) -> String {
    Speakable::default().clause(text)
}

impl Speakable {
    /// What to say of the answer's next clause. A space at its end stays, so that clauses join.
    pub fn clause(&mut self, clause: &str) -> String {
        let mut out = String::new();
        let begins_line = !self.within_line;
        for line in clause.split_inclusive('\n') {
            let starts_line = !std::mem::replace(&mut self.within_line, !line.ends_with('\n'));
            if starts_line && self.is_fence(line.trim_start()) {
                continue;
            }
            if self.fence.is_none() {
                out.push_str(&settled(line, starts_line));
            }
        }
        // Joined lines may make new runs of punctuation.
        let out = settled(&out, begins_line);
        if out.chars().any(char::is_alphanumeric) { out } else { String::new() }
    }

    /// Whether a line opens or closes a code block.
    fn is_fence(&mut self, line: &str) -> bool {
        let mark = ["```", "~~~"].into_iter().find(|mark| line.starts_with(mark));
        match (self.fence, mark) {
            (Some(open), Some(mark)) if open == mark => self.fence = None,
            (None, Some(mark)) => self.fence = Some(mark),
            _ => return false,
        }
        true
    }
}

/// A line cleaned until nothing changes: what one pass uncovers, the next one sees.
fn settled(line: &str, starts_line: bool) -> String {
    let mut text = line.to_owned();
    for _ in 0..MOST_PASSES {
        let cleaned = cleaned(&text, starts_line);
        if cleaned == text {
            break;
        }
        text = cleaned;
    }
    text
}

fn cleaned(line: &str, starts_line: bool) -> String {
    let line = printable(line);
    let line = if starts_line { without_line_marks(&line) } else { &line };
    let line = without_tags(line);
    let line = without_links(&line);
    let line = with_short_addresses(&line);
    let line = without_emphasis(&line);
    squeeze(&line)
}

/// Without control characters, emoji and what only shapes other characters; entities decoded.
fn printable(text: &str) -> String {
    let mut text = text.to_owned();
    for (entity, sign) in
        [("&nbsp;", " "), ("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&apos;", "'"), ("&amp;", "&")]
    {
        text = text.replace(entity, sign);
    }
    text.chars().filter(|&c| !is_silent(c)).map(|c| if c.is_whitespace() || c.is_control() { ' ' } else { c }).collect()
}

/// Emoji, pictographs, joiners, direction marks.
fn is_silent(c: char) -> bool {
    matches!(c,
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{ad}'
        | '\u{20e3}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0000}'..='\u{e007f}'
        | '\u{1f000}'..='\u{1faff}' | '\u{2300}'..='\u{23ff}' | '\u{2460}'..='\u{27bf}' | '\u{2b00}'..='\u{2bff}'
        | '\u{3030}' | '\u{303d}' | '\u{3297}' | '\u{3299}' | '™' | '®' | '©' | '\u{fffc}' | '\u{fffd}'
        | '\u{e000}'..='\u{f8ff}')
}

/// A line without what makes it a heading, a quotation, a list item, a table row or a rule.
fn without_line_marks(line: &str) -> &str {
    let line = line.trim_start();
    let bare = line.trim();
    if bare.len() >= 3 && bare.chars().all(|c| "-=*_|:+ ".contains(c)) {
        return "";
    }
    let line = line.trim_start_matches('#');
    let line = line.trim_start_matches(['>', ' ']);
    for bullet in ["- ", "* ", "+ ", "• ", "– ", "[ ] ", "[x] ", "[X] "] {
        if let Some(item) = line.strip_prefix(bullet) {
            return item;
        }
    }
    line
}

/// Without HTML tags; an address in angle brackets loses only them.
fn without_tags(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        out.push_str(&rest[..at]);
        let inner = &rest[at + 1..];
        let is_tag = inner.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '!');
        match inner.find('>') {
            Some(end) if is_tag && !inner[..end].contains('<') => {
                let name = &inner[..end];
                if name.contains("://") || (name.contains('@') && !name.contains(' ')) {
                    out.push_str(name);
                } else {
                    out.push(' ');
                }
                rest = &inner[end + 1..];
            }
            _ => {
                out.push('<');
                rest = inner;
            }
        }
    }
    out + rest
}

/// `[text](address)` and `![text](address)` are their text; `[1]` and `[^1]` are nothing.
fn without_links(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('[') {
        let (before, inner) = (&rest[..at], &rest[at + 1..]);
        let Some(end) = inner.find(']') else { break };
        let (label, after) = (&inner[..end], &inner[end + 1..]);
        let is_note = label.trim_start_matches('^').chars().all(|c| c.is_ascii_digit()) && !label.is_empty();
        let address_end = after.strip_prefix('(').and_then(|a| a.find(')').map(|end| end + 2));
        let reference_end = after.strip_prefix('[').and_then(|a| a.find(']').map(|end| end + 2));
        let image = before.strip_suffix('!').filter(|_| address_end.is_some());
        out.push_str(image.unwrap_or(before));
        if is_note && address_end.is_none() {
            rest = after;
        } else if let Some(len) = address_end.or(reference_end) {
            out.push_str(label);
            rest = &after[len..];
        } else {
            out.push('[');
            rest = inner;
        }
    }
    out + rest
}

/// Web addresses by the name of their host: "link to example dot com".
fn with_short_addresses(text: &str) -> String {
    let chinese = text.chars().any(|c| matches!(c, '\u{4e00}'..='\u{9fff}'));
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = ["https://", "http://", "ftp://", "www."].iter().filter_map(|s| rest.find(s)).min() {
        out.push_str(&rest[..at]);
        let end = rest[at..].find(|c: char| !(c.is_ascii_graphic()) || "<>\"`|".contains(c)).map_or(rest.len(), |n| at + n);
        let address = &rest[at..end];
        let address = address.trim_end_matches(['.', ',', ';', ':', '!', '?', ')', ']', '*', '_', '\'', '"', '}']);
        let host = address.split_once("://").map_or(address, |(_, host)| host);
        let host = host.split(['/', '?', '#', ':']).next().unwrap_or(host);
        let host = host.strip_prefix("www.").unwrap_or(host);
        let named: Vec<&str> = host.split('.').filter(|part| !part.is_empty()).collect();
        if !named.is_empty() {
            let (link, dot) = if chinese { ("链接 ", " 点 ") } else { ("link to ", " dot ") };
            out.push_str(link);
            out.push_str(&named.join(dot));
        }
        // An address of no length would be met again.
        rest = &rest[at + address.len().max(4).min(end - at)..];
    }
    out + rest
}

/// Without the signs of bold, italic, struck and code, and without escapes.
fn without_emphasis(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    for (i, &c) in chars.iter().enumerate() {
        let before = i.checked_sub(1).map_or(' ', |at| chars[at]);
        let after = chars.get(i + 1).copied().unwrap_or(' ');
        let drop = match c {
            '`' => true,
            // "2 * 3" and "2*3" are products.
            '*' => !(before == ' ' && after == ' ' || before.is_ascii_digit() && after.is_ascii_digit()),
            // snake_case is a name.
            '_' => !(before.is_alphanumeric() && after.is_alphanumeric()),
            '~' => before == '~' || after == '~',
            '\\' => after.is_ascii_punctuation() || after == ' ',
            '$' => before == '$' || after == '$',
            _ => false,
        };
        match c {
            '|' => out.push_str(", "),
            '{' | '}' => out.push(' '),
            _ if drop => {}
            _ => out.push(c),
        }
    }
    out
}

/// Single spaces, single marks: "Wow!!!  " is "Wow! ". Rows of signs and commas at the start go.
fn squeeze(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.trim_start_matches([' ', ',', ';', '\n']);
    while let Some(c) = rest.chars().next() {
        let run = rest.chars().take_while(|&r| r == c).count();
        let (run_text, after) = rest.split_at(run * c.len_utf8());
        rest = after;
        match c {
            ' ' | '\n' => {
                let (next, after) = (rest.chars().next(), rest.chars().nth(1));
                // No space before a mark that closes; ".5" and ".net" begin a word.
                let closes =
                    next.is_some_and(|n| ",;!?".contains(n)) || (next == Some('.') && after.is_none_or(|a| a == ' '));
                if !out.ends_with(' ') && !closes {
                    out.push(' ');
                }
            }
            '.' if run > 1 => out.push('…'),
            '…' => {
                if !out.ends_with('…') {
                    out.push('…');
                }
            }
            ',' | ';' | ':' | '!' | '?' | '，' | '。' | '！' | '？' | '；' | '—' => {
                if c != ',' || !out.trim_end().ends_with([',', ';', ':', '.', '!', '?', '—']) {
                    out.push(c);
                }
            }
            '=' | '-' | '#' | '~' | '_' | '*' | '+' | '<' | '>' | '^' | '/' if run > 2 => out.push(' '),
            _ => out.push_str(run_text),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn markdown_is_said_without_its_signs() {
        assert_eq!(speakable("## The **bold** and *thin* `code`"), "The bold and thin code");
        assert_eq!(speakable("- one\n* two\n> three"), "one two three");
        assert_eq!(speakable("~~old~~ __new__ snake_case 2 * 3"), "old new snake_case 2 * 3");
        assert_eq!(speakable("| a | b |\n|---|---|\n| 1 | 2 |"), "a, b, 1, 2, ");
    }

    #[test]
    fn links_are_their_text_and_addresses_their_host() {
        assert_eq!(speakable("See [the guide](https://example.com/a), ![photo](x.png)!"), "See the guide, photo!");
        assert_eq!(speakable("Go to https://www.example.com/a/b?c=d."), "Go to link to example dot com.");
        assert_eq!(speakable("请看 https://example.com 吧"), "请看 链接 example 点 com 吧");
        assert_eq!(speakable("It is so [1][^2]."), "It is so.");
        assert_eq!(speakable("<https://a.org> and <b>bold</b><br/>new"), "link to a dot org and bold new");
    }

    #[test]
    fn emoji_and_noise_are_silent() {
        assert_eq!(speakable("Great 🎉👩‍🚀 work!!! 🇩🇪"), "Great work! ");
        assert_eq!(speakable("What?? Well.... ok"), "What? Well… ok");
        assert_eq!(speakable("🎉 --- ***"), "");
        assert_eq!(speakable("a\u{7}b\u{200b}c &amp; d"), "a bc & d");
    }

    #[test]
    fn a_code_block_is_skipped_over_all_its_clauses() {
        let mut s = Speakable::default();
        let clauses = ["Do this:\n", "```python\n", "print(1, 2)\n", "# Not a heading. ", "x = 1\n", "```\nThen that."];
        let said: Vec<String> = clauses.iter().map(|c| s.clause(c)).collect();
        assert_eq!(said, ["Do this: ", "", "", "", "", "Then that."]);
    }

    #[test]
    fn a_hash_within_a_line_is_no_heading() {
        let mut s = Speakable::default();
        s.clause("Use ");
        assert_eq!(s.clause("- 5 degrees"), "- 5 degrees");
    }

    #[test]
    fn clauses_join_with_the_space_between_them() {
        let mut s = Speakable::default();
        assert_eq!(s.clause("Hello there, ") + &s.clause("you."), "Hello there, you.");
    }

    proptest! {
        #[test]
        fn what_was_made_speakable_stays_as_it_is(text in "[ -~\n]{0,80}") {
            let once = speakable(&text);
            prop_assert_eq!(speakable(&once), once);
        }

        #[test]
        fn any_text_is_taken(text in "\\PC{0,120}") {
            let once = speakable(&text);
            prop_assert!(!once.contains('\n'));
            prop_assert_eq!(speakable(&once), once);
        }
    }
}

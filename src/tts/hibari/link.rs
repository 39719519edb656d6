//! Links, addresses and file names, spelled.
//!
//! In: a written word. Out: how it is read aloud, if it is one of them. Pure.

use super::numbers;

/// Endings that make a dotted word a host name.
const TOP_LEVEL: &[&str] = &[
    "com", "org", "net", "edu", "gov", "io", "co", "uk", "de", "fr", "info", "biz", "us", "ca", "au", "tv", "me", "ly",
    "ai", "app", "dev", "cn", "jp", "eu", "xyz",
];

/// How `word` is read if it is a link, a mail address or a file name.
pub(super) fn spelled(word: &str) -> Option<String> {
    let (scheme, rest) = word.split_once("://").map_or((None, word), |(scheme, rest)| (Some(scheme), rest));
    let is_mail = rest.split_once('@').is_some_and(|(user, host)| !user.is_empty() && host.contains('.'));
    if scheme.is_none() && !is_mail && !word.starts_with("www.") && !is_host(word) && !is_file(word) {
        return None;
    }
    let rest = rest.strip_prefix("www.").unwrap_or(rest);
    // What follows a question mark is for machines.
    let rest = rest.split(['?', '#']).next().unwrap_or(rest).trim_end_matches('/');
    Some(spell(rest))
}

/// `name.tld`, perhaps with a path.
fn is_host(word: &str) -> bool {
    let host = word.split('/').next().unwrap_or(word);
    let parts: Vec<&str> = host.split('.').collect();
    parts.len() >= 2
        && parts.iter().all(|p| !p.is_empty() && p.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'))
        && parts[parts.len() - 2].len() >= 2
        && parts[0].chars().any(|c| c.is_ascii_alphabetic())
        && TOP_LEVEL.contains(parts.last().expect("two parts at least"))
}

/// `name.ext`, or a path of such: letters on both sides of the last dot, the ending short and of one case.
fn is_file(word: &str) -> bool {
    let Some((stem, ending)) = word.rsplit_once('.') else { return false };
    let part = stem.rsplit(['/', '.']).next().unwrap_or(stem);
    part.chars().filter(char::is_ascii_alphabetic).count() >= 2
        && (1..=5).contains(&ending.len())
        && ending.starts_with(|c: char| c.is_ascii_lowercase())
        && ending.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        && word.chars().all(|c| c.is_ascii_alphanumeric() || "._-/~".contains(c))
}

fn spell(address: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut run = String::new();
    let flush = |run: &mut String, words: &mut Vec<String>| {
        if run.starts_with(|c: char| c.is_ascii_digit()) {
            words.push(numbers::label(run));
        } else if !run.is_empty() {
            words.push(readable(run));
        }
        run.clear();
    };
    for c in address.chars() {
        let kind = |c: char| (c.is_ascii_digit(), c.is_alphabetic());
        if run.chars().next_back().is_some_and(|last| kind(last) != kind(c)) {
            flush(&mut run, &mut words);
        }
        let name = match c {
            '.' => "dot",
            '/' => "slash",
            '@' => "at",
            '-' => "dash",
            '_' => "underscore",
            ':' => "colon",
            '~' => "tilde",
            '+' => "plus",
            '=' => "equals",
            _ => {
                if c.is_alphanumeric() {
                    run.push(c);
                }
                continue;
            }
        };
        flush(&mut run, &mut words);
        words.push(name.into());
    }
    flush(&mut run, &mut words);
    words.join(" ")
}

/// A part of an address: spelled in capitals if it is no syllable, `rs`, `io`, `html`.
fn readable(part: &str) -> String {
    let vowels = part.chars().any(|c| "aeiouyAEIOUY".contains(c));
    if vowels && part.chars().count() > 2 { part.into() } else { part.to_uppercase() }
}

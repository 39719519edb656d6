//! Written words as they are spoken.
//!
//! In: a clause. Out: for each written word, the words to say. Pure.

/// A written word and how it is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// As in the clause, with the space that follows; all of them join to the clause.
    pub text: String,
    /// What to say: words of letters, and punctuation where it is a pause. Empty: nothing.
    pub spoken: String,
}

/// The words of `clause` and what to say for each.
pub(super) fn words(clause: &str) -> Vec<Written> {
    split(clause)
        .into_iter()
        .map(|text| Written { spoken: text.trim().replace('[', "(").replace(']', ")"), text })
        .collect()
}

/// Words with the whitespace that follows them; leading whitespace goes with the first.
fn split(clause: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut in_gap = false;
    for c in clause.chars() {
        let gap = c.is_whitespace();
        match out.last_mut() {
            Some(word) if gap || !in_gap || word.trim().is_empty() => word.push(c),
            _ => out.push(c.to_string()),
        }
        in_gap = gap;
    }
    out
}

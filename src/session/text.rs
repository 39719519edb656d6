//! What a viewer may ask the avatar to say: limit L8 of reliability.md. Pure.

/// Longest text, in characters.
pub const MAX_CHARS: usize = 4_000;

/// Why a text is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Nothing to say.
    #[error("the text is empty")]
    Empty,
    /// Beyond [`MAX_CHARS`].
    #[error("the text is longer than 4000 characters: send it in parts")]
    TooLong,
    /// C0 controls other than newline and tab.
    #[error("the text contains control characters")]
    ControlCharacters,
}

impl TextError {
    /// The stable name that clients may match.
    pub fn code(self) -> &'static str {
        match self {
            Self::Empty => "empty_text",
            Self::TooLong => "text_too_long",
            Self::ControlCharacters => "control_characters",
        }
    }
}

/// The text without the white space around it, if it may be said.
pub fn check(text: &str) -> Result<String, TextError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(TextError::Empty);
    }
    if text.chars().count() > MAX_CHARS {
        return Err(TextError::TooLong);
    }
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return Err(TextError::ControlCharacters);
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_exact_and_counts_characters() {
        assert!(check(&"字".repeat(MAX_CHARS)).is_ok());
        assert_eq!(check(&"a".repeat(MAX_CHARS + 1)), Err(TextError::TooLong));
    }

    #[test]
    fn nothing_and_controls_are_refused_and_newlines_are_not() {
        assert_eq!(check(" \n "), Err(TextError::Empty));
        assert_eq!(check("a\u{7}b"), Err(TextError::ControlCharacters));
        assert_eq!(check(" a\nb\tc "), Ok("a\nb\tc".into()));
        assert!(check("👩‍👩‍👧 🎉").is_ok());
    }
}

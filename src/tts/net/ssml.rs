//! Speech Synthesis Markup (W3C SSML 1.0) as Microsoft's services take it.

/// `text` said by `voice`, with `prosody` being the attributes of that element. Text is only ever text: markup in it is
/// spoken as it stands.
pub(in crate::tts) fn ssml(language: &str, voice: &str, prosody: &str, text: &str) -> String {
    format!(
        "<speak version='1.0' xmlns='http://www.w3.org/2001/10/synthesis' xml:lang='{}'>\
         <voice name='{}'><prosody {prosody}>{}</prosody></voice></speak>",
        escaped(language),
        escaped(voice),
        escaped(text)
    )
}

/// With XML's own characters escaped, and a space for those that XML 1.0 does not allow.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\t' | '\n' | '\r' => out.push(c),
            c if c < ' ' || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_a_text_stays_text() {
        let said = ssml("en-US", "V", "rate='+0%'", "</prosody> Tom & 'Jerry'\u{b}\u{1F600}");
        assert!(said.contains(">&lt;/prosody&gt; Tom &amp; &apos;Jerry&apos; \u{1F600}</prosody>"), "{said}");
    }
}

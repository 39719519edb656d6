//! What an engine wrote, made fit to be read: simplified characters, no tags, none of the phrases that Whisper learnt from
//! subtitles and writes where nobody speaks. Pure.

use super::Transcript;

/// What Whisper writes of silence and noise: the ends of the subtitles that it was trained on. Nobody says only this.
const SUBTITLES: &[&str] = &[
    "thanks for watching",
    "thank you for watching",
    "please subscribe",
    "subtitles by the amara.org community",
    "字幕by索兰娅",
    "字幕由amara.org社区提供",
    "请不吝点赞订阅转发打赏支持明镜与点点栏目",
    "谢谢观看",
    "谢谢大家观看",
    "感谢观看",
    "中文字幕志愿者杨栋梁",
];

/// What a service wrote, final; `language` is what was asked of it.
pub(super) fn transcript(written: &str, language: Option<&'static str>) -> Transcript {
    // Without a language the characters tell: kana and Hangul would be another one, which is left alone.
    let is_chinese = written.chars().any(|c| ('\u{4E00}'..='\u{9FFF}').contains(&c))
        && !written.chars().any(|c| ('\u{3040}'..='\u{30FF}').contains(&c));
    let language = language.or(is_chinese.then_some("zh"));
    Transcript { text: tidy(written, language.unwrap_or_default()), language: language.map(Into::into), is_final: true }
}

/// Our code of a language that a service names.
pub(super) fn code(code: &str) -> Option<&'static str> {
    ["en", "zh"].into_iter().find(|ours| *ours == code)
}

/// Puts `more` behind `text`, with a space between words of the Latin script.
pub(crate) fn append(text: &mut String, more: &str) {
    let more = more.trim();
    let needs_space = |c: char| c.is_ascii();
    if text.chars().next_back().is_some_and(needs_space) && more.chars().next().is_some_and(needs_space) {
        text.push(' ');
    }
    text.push_str(more);
}

/// The text of an utterance in `language`.
pub(super) fn tidy(written: &str, language: &str) -> String {
    let text = without_tags(written);
    let text = if language == "zh" { simplet2s::convert(&text) } else { text };
    let text = text.trim().trim_end_matches('\u{FFFD}').trim_end();
    let bare: String = text
        .to_lowercase()
        .chars()
        .filter(|c| !" ,!。，！、?？\"".contains(*c))
        .collect::<String>()
        .trim_end_matches('.')
        .into();
    let is_subtitle = SUBTITLES.iter().any(|phrase| phrase.replace(' ', "") == bare);
    let has_words = text.chars().any(char::is_alphanumeric);
    if is_subtitle || !has_words { String::new() } else { text.to_owned() }
}

/// Without `<|zh|>`, `<|HAPPY|>`, `<|withitn|>`, which `SenseVoice` puts before its text.
fn without_tags(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("<|") {
        let Some(len) = rest[start..].find("|>") else { break };
        out.push_str(&rest[..start]);
        rest = &rest[start + len + 2..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mandarin_is_written_in_simplified_characters() {
        assert_eq!(tidy("今天天氣怎麼樣?", "zh"), "今天天气怎么样?");
        assert_eq!(tidy("這三幅畫裡你最喜歡哪一幅", "zh"), "这三幅画里你最喜欢哪一幅");
    }

    #[test]
    fn phrases_of_subtitles_are_nothing() {
        for phrase in ["Thanks for watching!", " Thank you for watching.", "謝謝觀看", "...", "。", "  "] {
            assert_eq!(tidy(phrase, "zh"), "", "{phrase}");
        }
        assert_eq!(tidy(" Thank you.", "en"), "Thank you.");
        assert_eq!(tidy(" Thanks for watching my dog.", "en"), "Thanks for watching my dog.");
    }

    #[test]
    fn tags_are_taken_out_and_half_a_character_too() {
        assert_eq!(tidy("<|zh|><|HAPPY|><|Speech|><|withitn|>你好。", "zh"), "你好。");
        assert_eq!(tidy("a <| b", "en"), "a <| b");
        assert_eq!(tidy("你好\u{FFFD}", "zh"), "你好");
    }
}

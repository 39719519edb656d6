//! What happens in a session, in the words of xiaozhi's devices and clients. Pure.
//!
//! In: the session's events. Out: JSON messages, in the order in which the firmware expects them: `stt`, `tts` start, `llm`
//! once, `tts` `sentence_start` before the sound of each sentence, `tts` stop.

use serde_json::{Value, json};

use crate::session::{Event, State, TurnEvent};
use crate::speakable::speakable;

/// The faces that a device can show, and the emoji that stand for them.
const EMOTIONS: [(&str, &str); 21] = [
    ("😂", "funny"),
    ("😭", "crying"),
    ("😠", "angry"),
    ("😔", "sad"),
    ("😍", "loving"),
    ("😲", "surprised"),
    ("😱", "shocked"),
    ("🤔", "thinking"),
    ("😌", "relaxed"),
    ("😴", "sleepy"),
    ("😜", "silly"),
    ("🙄", "confused"),
    ("😶", "neutral"),
    ("🙂", "happy"),
    ("😆", "laughing"),
    ("😳", "embarrassed"),
    ("😉", "winking"),
    ("😎", "cool"),
    ("🤤", "delicious"),
    ("😘", "kissy"),
    ("😏", "confident"),
];

/// The face of an answer without an emoji.
const PLAIN: (&str, &str) = ("🙂", "happy");

/// One client's side of a session.
pub(super) struct Messages {
    session_id: String,
    step: Step,
}

/// How far the present answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// There is none.
    Over,
    /// The client was told that one begins.
    Begun,
    /// It has its face.
    Faced,
}

impl Messages {
    /// Each message will carry `session_id`, which firmware compares with the one of its hello.
    pub(super) fn new(session_id: impl Into<String>) -> Self {
        Self { session_id: session_id.into(), step: Step::Over }
    }

    /// What `event` is to this client.
    pub(super) fn event(&mut self, event: &Event) -> Vec<Value> {
        let mut messages = Vec::new();
        match event {
            Event::Transcript { text, r#final: true } if !text.is_empty() => {
                messages.push(json!({"type": "stt", "text": text}));
            }
            Event::State { state: State::Thinking } | Event::Turn { event: TurnEvent::Started, .. } => {
                self.begin(&mut messages);
            }
            // The rest of a sentence that was held is on the client's display already.
            Event::Caption { text, written, resumed: false, .. } => {
                self.begin(&mut messages);
                if std::mem::replace(&mut self.step, Step::Faced) == Step::Begun {
                    let (emoji, emotion) = emotion(written);
                    messages.push(json!({"type": "llm", "text": emoji, "emotion": emotion}));
                }
                messages.push(json!({"type": "tts", "state": "sentence_start", "text": plain(text)}));
            }
            Event::Turn { event: TurnEvent::Ended | TurnEvent::Interrupted | TurnEvent::Failed, .. } | Event::Bye { .. }
                if self.step != Step::Over =>
            {
                self.step = Step::Over;
                messages.push(json!({"type": "tts", "state": "stop"}));
            }
            _ => {}
        }
        for message in &mut messages {
            message["session_id"] = Value::from(self.session_id.as_str());
        }
        messages
    }

    /// Whether an answer has begun and not ended.
    pub(super) fn is_answering(&self) -> bool {
        self.step != Step::Over
    }

    fn begin(&mut self, messages: &mut Vec<Value>) {
        if self.step == Step::Over {
            self.step = Step::Begun;
            messages.push(json!({"type": "tts", "state": "start"}));
        }
    }
}

/// The first emoji in `text` that devices know.
fn emotion(text: &str) -> (&'static str, &'static str) {
    let found = EMOTIONS.iter().filter_map(|face| Some((text.find(face.0)?, *face)));
    found.min_by_key(|(at, _)| *at).map_or(PLAIN, |(_, face)| face)
}

/// A display of 240 pixels has no use for Markdown and no glyphs for emoji; a text of nothing else stays as it is.
fn plain(text: &str) -> String {
    let plain = speakable(text);
    let plain = if plain.trim().is_empty() { text } else { &plain };
    plain.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caption(text: &str, resumed: bool) -> Event {
        Event::Caption { turn: 1, text: text.into(), words: vec![], resumed, written: text.into() }
    }

    fn turn(event: TurnEvent) -> Event {
        Event::Turn { id: 1, event, heard: None }
    }

    fn said(text: &str) -> Event {
        Event::Transcript { text: text.into(), r#final: true }
    }

    const THINKING: Event = Event::State { state: State::Thinking };

    /// The messages in short: `stt:Hi`, `tts:start`, `llm:happy`, `tts:sentence_start:Hello.`
    fn told(events: &[Event]) -> Vec<String> {
        let mut messages = Messages::new("s-1");
        let all = events.iter().flat_map(|event| messages.event(event));
        let word = |message: &Value, key: &str| message[key].as_str().map(|word| format!(":{word}")).unwrap_or_default();
        all.map(|m| {
            assert_eq!(m["session_id"], "s-1");
            let text = if m["type"] == "llm" { String::new() } else { word(&m, "text") };
            format!("{}{}{}{text}", m["type"].as_str().unwrap(), word(&m, "state"), word(&m, "emotion"))
        })
        .collect()
    }

    #[test]
    fn an_answer_comes_in_the_order_that_firmware_expects() {
        let events = [
            Event::Transcript { text: "What".into(), r#final: false },
            said("What is up?"),
            THINKING,
            turn(TurnEvent::Started),
            Event::State { state: State::Speaking },
            caption("**Much** 😍. ", false),
            caption("And more.", false),
            turn(TurnEvent::Ended),
            Event::State { state: State::Idle },
        ];
        let expected = [
            "stt:What is up?",
            "tts:start",
            "llm:loving",
            "tts:sentence_start:Much.",
            "tts:sentence_start:And more.",
            "tts:stop",
        ];
        assert_eq!(told(&events), expected);
    }

    #[test]
    fn an_answer_that_is_cut_before_its_first_word_stops_too() {
        let events = [said("a"), THINKING, turn(TurnEvent::Interrupted), said("b"), turn(TurnEvent::Started)];
        assert_eq!(told(&events), ["stt:a", "tts:start", "tts:stop", "stt:b", "tts:start"]);
    }

    #[test]
    fn nothing_stops_twice_and_what_goes_on_does_not_start_again() {
        let events = [
            THINKING,
            caption("One, two. ", false),
            Event::State { state: State::Listening },
            THINKING,
            caption("two. ", true),
            turn(TurnEvent::Failed),
            Event::Bye { reason: "shutdown" },
        ];
        assert_eq!(told(&events), ["tts:start", "llm:happy", "tts:sentence_start:One, two.", "tts:stop"]);
    }

    #[test]
    fn the_first_known_emoji_is_the_face() {
        assert_eq!(emotion("Well 🚀 😴😂").1, "sleepy");
        assert_eq!(emotion("Well."), ("🙂", "happy"));
        assert_eq!(plain("😂"), "😂");
    }
}

//! Seed 001's channel: plain text up; which messages go down, in which order and under which tag. Pure.
//!
//! In: the utterances of one viewer and the session's notices. Out: JSON messages. The seed's page keeps what was typed in a
//! queue and takes one from it whenever the tag changes. So every utterance that it sent gets its number, the numbers come in
//! order, and each is seen in one chunk at least, though that may be empty.

use serde_json::{Value, json};
use uuid::Uuid;

use super::event::{Event, State, TurnEvent};
use super::{Notice, Origin};

/// The channel `chat` of one viewer.
pub(super) struct Chat {
    viewer: Uuid,
    /// Utterances so far.
    asked: u32,
    /// The last one whose answer has begun: the N of its tag `msg_N`.
    answered: u32,
    step: Step,
}

/// How far the present answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Step {
    /// It has its turn.
    Begun,
    /// It has a voice.
    Voiced,
    /// Some of it has been shown.
    Shown,
    /// There is none any more.
    Over,
}

impl Chat {
    pub(super) fn new(viewer: Uuid) -> Self {
        Self { viewer, asked: 0, answered: 0, step: Step::Over }
    }

    /// The number of the next utterance.
    pub(super) fn ask(&mut self) -> Origin {
        self.asked += 1;
        Origin { viewer: self.viewer, utterance: self.asked }
    }

    /// The last utterance is not taken, and why. Its empty answer comes when it would have had its turn.
    pub(super) fn refused(&mut self, why: &str) -> Vec<Value> {
        let mut messages = Vec::new();
        if self.step == Step::Over && self.answered + 1 == self.asked {
            self.skip_to(self.asked, &mut messages);
        }
        messages.push(error(why));
        messages
    }

    /// What `notice` is to this viewer.
    pub(super) fn notice(&mut self, notice: &Notice) -> Vec<Value> {
        let mut messages = Vec::new();
        match notice {
            Notice::Event(event, Some(origin)) if origin.viewer == self.viewer => {
                self.event(event, origin.utterance, &mut messages);
            }
            Notice::Written(text, origin) if origin.viewer == self.viewer && !text.is_empty() => {
                self.voice(&mut messages);
                self.show(text, &mut messages);
            }
            _ => {}
        }
        messages
    }

    fn event(&mut self, event: &Event, utterance: u32, messages: &mut Vec<Value>) {
        match event {
            Event::State { state: State::Thinking } => {
                // What was refused, or cut before its turn.
                self.skip_to(utterance - 1, messages);
                self.answered = utterance;
                self.step = Step::Begun;
                messages.push(json!({"type": "tts_start", "text": "正在处理LLM响应..."}));
            }
            Event::Turn { event: TurnEvent::Started, .. } => self.voice(messages),
            Event::Turn { event: TurnEvent::Ended | TurnEvent::Interrupted | TurnEvent::Failed, .. } => {
                self.show_something(messages);
                self.step = Step::Over;
                messages.push(json!({"type": "tts_complete"}));
            }
            // What cannot be said, such as an emoji, has been shown: that is all there is to it.
            Event::Error { code, .. } if code == "nothing_to_say" && self.step == Step::Shown => {}
            Event::Error { code, msg } => {
                // The page puts an error where the answer stands, and an answer where an error stands.
                self.show_something(messages);
                messages.push(error(&seed_words(code, msg)));
            }
            _ => {}
        }
    }

    fn voice(&mut self, messages: &mut Vec<Value>) {
        if self.step == Step::Begun {
            self.step = Step::Voiced;
            messages.push(json!({"type": "tts_start", "text": "开始生成语音..."}));
        }
    }

    fn show(&mut self, text: &str, messages: &mut Vec<Value>) {
        self.step = Step::Shown;
        messages.push(json!({"type": "text_chunk", "content": text, "tag": format!("msg_{}", self.answered)}));
    }

    fn show_something(&mut self, messages: &mut Vec<Value>) {
        if self.step < Step::Shown {
            self.show("", messages);
        }
    }

    /// Empty answers to all utterances up to `last` that have none.
    fn skip_to(&mut self, last: u32, messages: &mut Vec<Value>) {
        while self.answered < last {
            self.answered += 1;
            self.show("", messages);
            self.step = Step::Over;
        }
    }
}

fn error(why: &str) -> Value {
    json!({"type": "error", "error": why})
}

/// An error as seed 001 puts it.
fn seed_words(code: &str, msg: &str) -> String {
    match code {
        "llm_no_key" => "LLM 提供者未初始化，请检查配置".to_owned(),
        _ if code.starts_with("llm_") => format!("LLM 处理失败: {msg}"),
        _ => msg.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A channel, and all that it has told its viewer, in short.
    struct Page {
        chat: Chat,
        told: Vec<String>,
    }

    impl Page {
        fn new() -> Self {
            Self { chat: Chat::new(Uuid::new_v4()), told: vec![] }
        }

        fn tell(&mut self, messages: &[Value]) {
            self.told.extend(messages.iter().map(|message| match message["type"].as_str().unwrap() {
                "text_chunk" => format!("{}:{}", message["tag"].as_str().unwrap(), message["content"].as_str().unwrap()),
                "tts_start" => message["text"].as_str().unwrap().chars().take(2).collect(),
                "error" => format!("!{}", message["error"].as_str().unwrap()),
                other => other.to_owned(),
            }));
        }

        fn refuse(&mut self, why: &str) {
            let messages = self.chat.refused(why);
            self.tell(&messages);
        }

        fn event(&mut self, origin: Origin, event: Event) {
            let messages = self.chat.notice(&Notice::Event(event, Some(origin)));
            self.tell(&messages);
        }

        fn thinks(&mut self, origin: Origin) {
            self.event(origin, Event::State { state: State::Thinking });
        }

        fn turn(&mut self, origin: Origin, event: TurnEvent) {
            self.event(origin, Event::Turn { id: 7, event, heard: None });
        }

        fn written(&mut self, origin: Origin, text: &str) {
            let messages = self.chat.notice(&Notice::Written(text.into(), origin));
            self.tell(&messages);
        }
    }

    #[test]
    fn an_answer_has_two_starts_its_text_and_an_end() {
        let mut page = Page::new();
        let first = page.chat.ask();
        page.thinks(first);
        page.written(first, "你好，");
        page.turn(first, TurnEvent::Started);
        page.event(first, Event::State { state: State::Speaking });
        page.written(first, "**世界**。\n");
        page.turn(first, TurnEvent::Ended);
        assert_eq!(page.told, ["正在", "开始", "msg_1:你好，", "msg_1:**世界**。\n", "tts_complete"]);
    }

    #[test]
    fn answers_to_others_and_to_nobody_are_none_of_its_business() {
        let mut page = Page::new();
        let other = Origin { viewer: Uuid::new_v4(), utterance: 1 };
        page.thinks(other);
        page.written(other, "Not for you.");
        let mine = page.chat.notice(&Notice::Event(Event::error("internal", "x"), None));
        page.tell(&mine);
        assert!(page.told.is_empty());
    }

    #[test]
    fn an_answer_without_a_word_still_has_its_chunk_before_the_error() {
        let mut page = Page::new();
        let first = page.chat.ask();
        page.thinks(first);
        page.event(first, Event::error("llm_no_key", "set OPENAI_API_KEY"));
        page.turn(first, TurnEvent::Failed);
        assert_eq!(page.told, ["正在", "msg_1:", "!LLM 提供者未初始化，请检查配置", "tts_complete"]);
    }

    #[test]
    fn what_can_only_be_read_is_no_error() {
        let mut page = Page::new();
        let first = page.chat.ask();
        page.thinks(first);
        page.written(first, "🎉");
        page.event(first, Event::error("nothing_to_say", "nothing"));
        page.turn(first, TurnEvent::Failed);
        assert_eq!(page.told, ["正在", "开始", "msg_1:🎉", "tts_complete"]);
    }

    #[test]
    fn a_refused_utterance_keeps_its_place_in_the_queue() {
        let mut page = Page::new();
        page.chat.ask();
        page.refuse("too long");
        let second = page.chat.ask();
        page.thinks(second);
        page.chat.ask();
        page.refuse("busy");
        page.written(second, "Two.");
        page.turn(second, TurnEvent::Ended);
        let fourth = page.chat.ask();
        page.thinks(fourth);
        assert_eq!(
            page.told,
            ["msg_1:", "!too long", "正在", "!busy", "开始", "msg_2:Two.", "tts_complete", "msg_3:", "正在"]
        );
    }

    #[test]
    fn what_was_cut_while_it_waited_is_passed_over_when_the_next_begins() {
        let mut page = Page::new();
        let (first, _second) = (page.chat.ask(), page.chat.ask());
        page.thinks(first);
        page.turn(first, TurnEvent::Interrupted);
        let third = page.chat.ask();
        page.thinks(third);
        page.written(third, "Three.");
        assert_eq!(page.told, ["正在", "msg_1:", "tts_complete", "msg_2:", "正在", "开始", "msg_3:Three."]);
    }
}

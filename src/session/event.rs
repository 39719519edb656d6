//! What happens in a session, as its viewers are told on the `visavis` DataChannel (design §7).
//!
//! Events fire when a sample is *played*, not when it is produced.

use serde::{Deserialize, Serialize};

use crate::llm::Role;

/// Version of the `visavis` DataChannel's messages.
pub const PROTOCOL_VERSION: u32 = 1;

/// What the avatar is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Waiting for somebody to say something.
    #[default]
    Idle,
    /// Somebody speaks to it.
    Listening,
    /// An answer is being made and nothing of it is heard yet.
    Thinking,
    /// An answer is heard.
    Speaking,
}

/// One word of a caption.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CaptionWord {
    /// As written, with the space that follows: the words of a caption join to its text.
    pub w: String,
    /// From the caption's event until it is heard.
    pub t_ms: u32,
    /// How long it is heard.
    pub d_ms: u32,
}

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TurnEvent {
    /// Its first sample is played.
    Started,
    /// Its last sample is played.
    Ended,
    /// It was cut.
    Interrupted,
    /// Its text or its voice failed.
    Failed,
}

/// One line of the conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Who.
    pub role: Role,
    /// What was said or heard.
    pub text: String,
}

/// From a session to its viewers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Event {
    /// The first message on a channel.
    Hello {
        /// [`PROTOCOL_VERSION`].
        version: u32,
        /// The session's id.
        session: String,
        /// This viewer's id.
        viewer: String,
        /// Who is seen.
        avatar: String,
        /// Who speaks, if somebody was chosen; absent otherwise.
        #[serde(skip_serializing_if = "Option::is_none")]
        voice: Option<String>,
        /// What the avatar is doing.
        state: State,
        /// The conversation so far, its latest lines.
        history: Vec<Line>,
    },
    /// The avatar does something else now.
    State {
        /// What.
        state: State,
    },
    /// What a viewer said, so that all viewers see the same conversation.
    Transcript {
        /// What.
        text: String,
        /// Whether it will not change any more.
        r#final: bool,
    },
    /// An answer came a step further.
    Turn {
        /// Counts the answers of the session.
        id: u64,
        /// The step.
        event: TurnEvent,
        /// What was heard of it, once it is over.
        #[serde(skip_serializing_if = "Option::is_none")]
        heard: Option<String>,
    },
    /// A clause begins to be heard.
    Caption {
        /// The answer that it belongs to.
        turn: u64,
        /// As written.
        text: String,
        /// When its words are heard.
        words: Vec<CaptionWord>,
        /// The rest of a clause that was cut, said again from the word that was cut; absent otherwise.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        resumed: bool,
        /// What the model wrote since the last caption, with all that cannot be said. For gateways; not sent.
        #[serde(skip)]
        written: String,
    },
    /// Another avatar is seen.
    Avatar {
        /// Who.
        id: String,
    },
    /// Another voice speaks from the next answer on.
    Voice {
        /// Whose.
        id: String,
    },
    /// The session ends for everybody; nothing follows.
    Bye {
        /// `end_call`, `client`, `shutdown`, `internal`.
        reason: &'static str,
    },
    /// Something went wrong, in words that a person can act on.
    Error {
        /// Stable.
        code: String,
        /// For a person.
        msg: String,
    },
}

impl Event {
    /// An error in words.
    pub fn error(code: impl Into<String>, msg: impl Into<String>) -> Self {
        Self::Error { code: code.into(), msg: msg.into() }
    }

    /// As it goes over the channel.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("events have string keys and finite numbers")
    }
}

/// From a viewer to its session, on the `visavis` DataChannel. Unknown keys are ignored, unknown types are an error.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Request {
    /// Answer this.
    Chat {
        /// What the person says.
        text: String,
        /// Whether it cuts what is being said. A question does.
        #[serde(default = "yes")]
        interrupt: bool,
    },
    /// Say this.
    Echo {
        /// What to say.
        text: String,
        /// Whether it cuts what is being said. A line to say waits its turn.
        #[serde(default)]
        interrupt: bool,
    },
    /// Be silent.
    Interrupt,
    /// What the microphone is doing.
    Mic {
        /// Whether the person may be heard.
        on: bool,
        /// They hold a key while they talk: `on` then begins and ends what they say.
        #[serde(default)]
        hold: bool,
    },
    /// Show another avatar.
    Avatar {
        /// Who.
        id: String,
    },
    /// Speak with another voice.
    Voice {
        /// Whose.
        id: String,
    },
    /// Make a gesture.
    Action {
        /// Which: [`crate::render::Gesture::name`].
        name: String,
    },
    /// A recording follows, in binary messages.
    Audio {
        /// Length of the file.
        bytes: usize,
        /// What to do with it.
        #[serde(default)]
        r#as: As,
        /// Whether it cuts what is being said; absent: a question does, speech waits its turn.
        interrupt: Option<bool>,
    },
}

/// What a recording is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum As {
    /// What the avatar shall say.
    #[default]
    Speech,
    /// What a person says to it.
    Question,
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_look_as_the_contract_says() {
        let caption = Event::Caption {
            turn: 3,
            text: "Hi you".into(),
            words: vec![CaptionWord { w: "Hi ".into(), t_ms: 40, d_ms: 200 }],
            resumed: false,
            written: "**Hi** you 🙂".into(),
        };
        assert_eq!(
            caption.to_json(),
            r#"{"type":"caption","turn":3,"text":"Hi you","words":[{"w":"Hi ","t_ms":40,"d_ms":200}]}"#
        );
        let turn = Event::Turn { id: 1, event: TurnEvent::Interrupted, heard: Some("Hi".into()) };
        assert_eq!(turn.to_json(), r#"{"type":"turn","id":1,"event":"interrupted","heard":"Hi"}"#);
        assert_eq!(Event::State { state: State::Thinking }.to_json(), r#"{"type":"state","state":"thinking"}"#);
    }

    #[test]
    fn unknown_keys_are_ignored_and_unknown_types_are_not() {
        let chat = serde_json::from_str::<Request>(r#"{"type":"chat","text":"hi","id":"x","new":1}"#).unwrap();
        assert_eq!(chat, Request::Chat { text: "hi".into(), interrupt: true });
        assert!(serde_json::from_str::<Request>(r#"{"type":"dance"}"#).is_err());
    }
}

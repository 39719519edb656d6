//! What to answer: conversation in, text and tool calls out. Providers are async tasks; dropping a reply cancels its request.

mod dashscope;
mod error;
mod events;
mod history;
mod local;
mod openai;
mod seed;
mod services;
mod think;
pub mod tools;
mod web;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::stream::BoxStream;
use garde::Validate;
use serde::{Deserialize, Serialize};

pub use error::{Error, Fault};
pub use history::History;
pub use local::Local;
pub use openai::OpenAi;
pub use seed::{SeedError, settings};
pub use services::Services;
pub use tools::{Tool, Toolbox};

/// Who said a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The person.
    User,
    /// The avatar.
    Assistant,
}

/// One message of a conversation. What is said is personal, so it is never logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The persona; first, if there is one.
    System(String),
    /// What the person said.
    User(String),
    /// What the avatar said, and which tools it asked for.
    Assistant {
        /// May be empty where there are calls.
        text: String,
        /// In the order of the request.
        calls: Vec<Call>,
    },
    /// What came of a call.
    Tool {
        /// [`Call::id`].
        call: String,
        /// For the model to read: a result, or why there is none.
        text: String,
    },
}

impl Message {
    /// What the person said, if it was they who said it.
    pub fn said_by_user(&self) -> Option<&str> {
        if let Self::User(text) = self { Some(text) } else { None }
    }
}

/// A tool that the model wants used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Of the model; unique in a conversation.
    pub id: String,
    /// [`tools::Spec::name`].
    pub name: String,
    /// JSON, as the model wrote it: perhaps not valid.
    pub arguments: String,
}

/// What to answer, and with which means.
#[derive(Clone, Debug, Default)]
pub struct Prompt {
    /// The conversation; the last is of the person, or what came of the latest calls.
    pub messages: Vec<Message>,
    /// What the model may ask for.
    pub tools: Vec<tools::Spec>,
    /// It has asked often enough: now it has to answer.
    pub must_answer: bool,
}

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delta {
    /// More of what to say.
    Text(String),
    /// A tool to use. The stream ends after the last one; the answer goes on in the reply to a prompt that has the results.
    Call(Call),
}

/// A language model that chats.
pub trait ChatModel: Send + Sync {
    /// The answer to `prompt`, as it is written. Dropping the stream cancels it.
    fn reply(&self, prompt: Prompt) -> BoxStream<'static, Result<Delta, Error>>;

    /// What whoever runs the server should look into, while there is something.
    fn warning(&self) -> Option<String> {
        None
    }
}

/// `llm:` in the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Who answers.
    #[garde(skip)]
    pub provider: Provider,
    /// The persona, sent before every conversation.
    #[garde(length(max = 32_768))]
    pub system_prompt: String,
    /// How much of a conversation is sent along, in estimated tokens.
    #[garde(range(min = 64, max = 1_000_000))]
    pub history_tokens: usize,
    /// How long a provider may take.
    #[garde(dive)]
    pub timeouts: openai::Timeouts,
    /// Any server that speaks `OpenAI`'s chat completions.
    #[garde(dive)]
    pub openai: openai::Config,
    /// Alibaba Cloud's models.
    #[garde(dive)]
    pub dashscope: dashscope::Config,
    /// The provider that needs no network.
    #[garde(dive)]
    pub local: local::Config,
    /// The local services of seed 000.
    #[garde(dive)]
    pub services: services::Config,
    /// What a model may do besides talking.
    #[garde(dive)]
    pub tools: tools::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            provider: Provider::Local,
            system_prompt: "You are a friendly digital human. You answer aloud, so answer briefly and in plain sentences."
                .into(),
            history_tokens: 3_000,
            timeouts: openai::Timeouts::default(),
            openai: openai::Config::default(),
            dashscope: dashscope::Config::default(),
            local: local::Config::default(),
            services: services::Config::default(),
            tools: tools::Config::default(),
        }
    }
}

impl Config {
    /// Keys that the file does not give are those of the environment, by the names that the providers' own clients read.
    #[must_use]
    pub fn with_keys_of(mut self, environment: &BTreeMap<String, String>) -> Self {
        for (key, name) in [(&mut self.openai.api_key, openai::KEY), (&mut self.dashscope.api_key, dashscope::KEY)] {
            if let (None, Some(value)) = (key.reveal(), environment.get(name)) {
                *key = value.trim().into();
            }
        }
        self
    }
}

/// The providers by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// Canned answers: no key, no network.
    Local,
    /// Any server that speaks `OpenAI`'s chat completions.
    OpenAi,
    /// Alibaba Cloud's models.
    DashScope,
    /// The local services of seed 000.
    Services,
}

/// The model that `config` asks for. A key that is missing is no error here: each reply says so.
pub fn build(config: &Config) -> Result<Arc<dyn ChatModel>, Error> {
    Ok(match config.provider {
        Provider::Services => Arc::new(Services::new(&config.services, config.timeouts)?),
        Provider::Local => Arc::new(Local::new(&config.local)),
        Provider::OpenAi => Arc::new(OpenAi::new(&config.openai, ("openai", openai::KEY), config.timeouts)?),
        Provider::DashScope => {
            Arc::new(OpenAi::new(&config.dashscope.clone().into(), ("dashscope", dashscope::KEY), config.timeouts)?)
        }
    })
}

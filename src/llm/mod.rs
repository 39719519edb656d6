//! What to answer: conversation in, text deltas out. Providers are async tasks; dropping a reply cancels its request.

mod local;

use std::sync::Arc;

use futures_util::stream::BoxStream;
use garde::Validate;
use serde::{Deserialize, Serialize};

pub use local::Local;

/// Who said something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The persona.
    System,
    /// The person.
    User,
    /// The avatar.
    Assistant,
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who said it.
    pub role: Role,
    /// What: personal, so never logged.
    pub text: String,
}

/// A language model that chats.
pub trait ChatModel: Send + Sync {
    /// The answer to the last of `messages`, as it is written. Dropping the stream cancels it.
    fn reply(&self, messages: Vec<Message>) -> BoxStream<'static, Result<String, Error>>;
}

/// Why there is no answer, or no more of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The provider cannot be reached or does not answer.
    #[error("{provider} is not available")]
    Unavailable {
        /// Which one.
        provider: &'static str,
    },
}

/// `llm:` in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Who answers.
    #[garde(skip)]
    pub provider: Provider,
    /// The persona, sent before every conversation.
    #[garde(length(max = 32_768))]
    pub system_prompt: String,
    /// The provider that needs no network.
    #[garde(dive)]
    pub local: local::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            provider: Provider::Local,
            system_prompt: "You are a friendly digital human. You answer aloud, so answer briefly and in plain sentences."
                .into(),
            local: local::Config::default(),
        }
    }
}

/// The providers by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// Canned answers: no key, no network.
    Local,
}

/// The model that `config` asks for.
pub fn build(config: &Config) -> Arc<dyn ChatModel> {
    match config.provider {
        Provider::Local => Arc::new(Local::new(&config.local)),
    }
}

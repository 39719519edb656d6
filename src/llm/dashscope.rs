//! Alibaba Cloud's models: they speak `OpenAI`'s protocol in their compatible mode, with defaults of their own.

use std::collections::BTreeMap;

use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::openai;
use crate::values::Secret;

/// Where the key is looked for if the configuration has none.
pub(super) const KEY: &str = "DASHSCOPE_API_KEY";

/// `llm.dashscope:` in the configuration; the keys of [`openai::Config`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    #[garde(skip)]
    pub api_key: Secret,
    #[garde(custom(openai::valid_url))]
    pub base_url: String,
    #[garde(length(min = 1, max = 256))]
    pub model: String,
    #[garde(inner(range(min = 0.0, max = 2.0)))]
    pub temperature: Option<f32>,
    #[garde(inner(range(min = 1, max = 1_000_000)))]
    pub max_tokens: Option<u32>,
    #[garde(skip)]
    pub starts_in_thought: bool,
    #[garde(skip)]
    pub extra: BTreeMap<String, Value>,
}

impl Default for Config {
    fn default() -> Self {
        let openai::Config { api_key, temperature, max_tokens, starts_in_thought, extra, .. } = openai::Config::default();
        let base_url = "https://dashscope.aliyuncs.com/compatible-mode/v1".to_owned();
        Self { api_key, base_url, model: "qwen-plus".to_owned(), temperature, max_tokens, starts_in_thought, extra }
    }
}

impl From<Config> for openai::Config {
    fn from(config: Config) -> Self {
        let Config { api_key, base_url, model, temperature, max_tokens, starts_in_thought, extra } = config;
        Self { api_key, base_url, model, temperature, max_tokens, starts_in_thought, extra }
    }
}

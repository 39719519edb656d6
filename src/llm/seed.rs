//! Seed 001's configuration: its `config.json`, and the variables that its providers read.
//!
//! Both become a part of our own configuration, so that one order holds: variables < `config.json` < `visavis.yaml`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{dashscope, openai};

/// The keys of `providers.<name>` that we know, which are also the ends of the variables' names.
const KEYS: [&str; 5] = ["api_key", "base_url", "model", "temperature", "max_tokens"];

/// Why they cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// The file is no JSON.
    #[error("not JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A variable that must be a number is none.
    #[error("environment variable {name}: \"{value}\" is not a number")]
    NotANumber {
        /// Which.
        name: String,
        /// What it is.
        value: String,
    },
}

/// The `llm:` section that `config_json`, if there is one, and the environment ask for. A `config.json` of another program,
/// without `llm_provider` and `providers`, asks for nothing.
pub fn settings(config_json: Option<&str>, environment: &BTreeMap<String, String>) -> Result<Value, SeedError> {
    let mut llm = variables(environment)?;
    if let Some(text) = config_json {
        let file: Value = serde_json::from_str(text.trim_start_matches('\u{feff}'))?;
        if let Some(provider) = file["llm_provider"].as_str().map(|name| expand(name, environment)) {
            llm.insert("provider".into(), provider.trim().to_ascii_lowercase().into());
        }
        for name in ["openai", "dashscope"] {
            copy(&file["providers"][name], &KEYS, section(&mut llm, name), environment);
        }
        copy(&file["providers"]["local"], &["responses"], section(&mut llm, "local"), environment);
    }
    Ok(Value::Object(llm))
}

fn variables(environment: &BTreeMap<String, String>) -> Result<Map<String, Value>, SeedError> {
    let value = |name: &str| environment.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
    let mut llm = Map::new();
    if let Some(provider) = value("LLM_PROVIDER") {
        llm.insert("provider".into(), provider.to_ascii_lowercase().into());
    }
    for (name, key) in [("openai", openai::KEY), ("dashscope", dashscope::KEY)] {
        let prefix = key.trim_end_matches("API_KEY");
        // The key itself is the last resort of every source: `Config::with_keys_of`.
        for key in &KEYS[1..] {
            let name_of_it = format!("{prefix}{}", key.to_ascii_uppercase());
            let Some(text) = value(&name_of_it) else { continue };
            let value = match *key {
                "base_url" | "model" => json!(text),
                _ => serde_json::from_str::<Value>(text)
                    .ok()
                    .filter(Value::is_number)
                    .ok_or_else(|| SeedError::NotANumber { name: name_of_it, value: text.to_owned() })?,
            };
            section(&mut llm, name).insert((*key).to_owned(), value);
        }
    }
    Ok(llm)
}

fn section<'a>(llm: &'a mut Map<String, Value>, name: &str) -> &'a mut Map<String, Value> {
    let section = llm.entry(name).or_insert_with(|| json!({}));
    section.as_object_mut().expect("sections are made here, as objects")
}

/// What is missing, null or empty leaves the default: a key whose variable is not set is asked for when a question comes.
fn copy(from: &Value, keys: &[&str], into: &mut Map<String, Value>, environment: &BTreeMap<String, String>) {
    for key in keys {
        let value = match &from[*key] {
            Value::String(text) => Value::from(expand(text, environment)),
            other => other.clone(),
        };
        if !value.is_null() && value != "" {
            into.insert((*key).to_owned(), value);
        }
    }
}

/// Replaces `${NAME}` by the environment's value, or by nothing.
fn expand(text: &str, environment: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, after)) = after.split_once('}') else { break };
        out.push_str(before);
        out.push_str(environment.get(name).map_or("", |value| value.trim()));
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn the_seeds_own_file_is_read_as_it_is() {
        let file = include_str!("../../tests/corpus/config.json");
        let llm = settings(Some(file), &env(&[("OPENAI_API_KEY", "sk-1")])).unwrap();
        assert_eq!(llm["provider"], "openai");
        assert_eq!(
            llm["openai"],
            json!({"api_key": "sk-1", "base_url": "https://api.openai.com/v1", "model": "gpt-3.5-turbo",
                "temperature": 0.7, "max_tokens": 1000})
        );
        assert_eq!(llm["dashscope"]["base_url"], "https://dashscope.aliyuncs.com/compatible-mode/v1");
        assert!(llm["dashscope"].get("api_key").is_none(), "a variable that is not set is asked for later");
        assert_eq!(llm["local"]["responses"].as_array().map(Vec::len), Some(5));
        assert!(llm["local"].get("model").is_none(), "canned answers have none");
    }

    #[test]
    fn without_a_file_the_variables_decide() {
        let llm = settings(
            None,
            &env(&[
                ("LLM_PROVIDER", "OpenAI"),
                ("OPENAI_BASE_URL", "https://api.deepseek.com"),
                ("OPENAI_MODEL", "deepseek-chat"),
                ("OPENAI_TEMPERATURE", "0.3"),
                ("DASHSCOPE_MAX_TOKENS", "50"),
            ]),
        );
        let openai = json!({"base_url": "https://api.deepseek.com", "model": "deepseek-chat", "temperature": 0.3});
        assert_eq!(llm.unwrap(), json!({"provider": "openai", "openai": openai, "dashscope": {"max_tokens": 50}}));
        let error = settings(None, &env(&[("OPENAI_MAX_TOKENS", "many")])).unwrap_err().to_string();
        assert!(error.contains("OPENAI_MAX_TOKENS") && error.contains("many"), "{error}");
        assert_eq!(settings(None, &env(&[("OPENAI_API_KEY", "sk-1")])).unwrap(), json!({}), "a key alone sends nothing out");
    }

    #[test]
    fn another_programs_file_asks_for_nothing() {
        let llm = settings(Some(r#"{"port": 8000}"#), &env(&[])).unwrap();
        assert_eq!(llm, json!({"openai": {}, "dashscope": {}, "local": {}}));
        assert!(settings(Some("{"), &env(&[])).is_err());
    }
}

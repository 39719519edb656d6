//! The JSON of chat completions: what is sent, and the pieces that come back. Nothing is trusted to be there, since each
//! compatible server leaves out, or sets to null, something else.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Config;
use crate::llm::{Call, Message, Prompt};

/// The body of a request.
pub(super) fn request(config: &Config, prompt: &Prompt) -> Value {
    let mut body = Map::new();
    body.insert("model".into(), config.model.clone().into());
    body.insert("messages".into(), prompt.messages.iter().map(message).collect());
    body.insert("stream".into(), true.into());
    if let Some(temperature) = config.temperature {
        // By way of its decimal digits: 0.7 and not 0.699999988.
        body.insert("temperature".into(), temperature.to_string().parse::<f64>().map_or(Value::Null, Value::from));
    }
    if let Some(max_tokens) = config.max_tokens {
        body.insert("max_tokens".into(), max_tokens.into());
    }
    if !prompt.tools.is_empty() {
        let function = |spec: &crate::llm::tools::Spec| {
            json!({"type": "function", "function": {
                "name": spec.name, "description": spec.description, "parameters": spec.parameters,
            }})
        };
        body.insert("tools".into(), prompt.tools.iter().map(function).collect());
        if prompt.must_answer {
            body.insert("tool_choice".into(), "none".into());
        }
    }
    body.extend(config.extra.clone());
    Value::Object(body)
}

fn message(message: &Message) -> Value {
    match message {
        Message::System(text) => json!({"role": "system", "content": text}),
        Message::User(text) => json!({"role": "user", "content": text}),
        Message::Assistant { text, calls } if calls.is_empty() => json!({"role": "assistant", "content": text}),
        Message::Assistant { text, calls } => {
            let call = |Call { id, name, arguments }: &Call| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
            let calls: Vec<Value> = calls.iter().map(call).collect();
            json!({"role": "assistant", "content": text, "tool_calls": calls})
        }
        Message::Tool { call, text } => json!({"role": "tool", "tool_call_id": call, "content": text}),
    }
}

/// A piece of an answer, or all of it from a server that does not stream.
#[derive(Debug, Deserialize)]
pub(super) struct Chunk {
    pub(super) choices: Option<Vec<Choice>>,
    pub(super) error: Option<Value>,
    /// `DashScope`'s older errors have no `error` around them.
    pub(super) code: Option<Value>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Choice {
    /// Of a stream.
    pub(super) delta: Option<Piece>,
    /// Of a whole answer.
    pub(super) message: Option<Piece>,
    pub(super) finish_reason: Option<String>,
}

/// What `reasoning_content` holds is not read: it is not for ears.
#[derive(Debug, Deserialize)]
pub(super) struct Piece {
    content: Option<Value>,
    refusal: Option<String>,
    pub(super) tool_calls: Option<Vec<CallPiece>>,
}

impl Piece {
    /// What is said: a text, or the texts among its parts.
    pub(super) fn text(&self) -> String {
        let said = match &self.content {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(parts)) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
            _ => String::new(),
        };
        said + self.refusal.as_deref().unwrap_or_default()
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct CallPiece {
    pub(super) index: Option<u64>,
    pub(super) id: Option<String>,
    pub(super) function: Option<Function>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Function {
    pub(super) name: Option<String>,
    /// Text, in pieces; some servers send the object itself.
    pub(super) arguments: Option<Value>,
}

/// The short code in an error's body; empty if there is none.
pub(super) fn error_code(body: &str) -> String {
    let Ok(body) = serde_json::from_str::<Value>(body) else { return String::new() };
    code_of(if body["error"].is_null() { &body } else { &body["error"] })
}

/// The short code of an error: `code`, else `type`.
pub(super) fn code_of(error: &Value) -> String {
    let short = |value: &Value| match value {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    short(&error["code"]).or_else(|| short(&error["type"])).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_what_is_configured_and_nothing_else() {
        let messages = vec![Message::System("Be brief.".into()), Message::User("你好".into())];
        let prompt = Prompt { messages, ..Prompt::default() };
        let config = Config { max_tokens: None, ..Config::default() };
        assert_eq!(
            request(&config, &prompt),
            json!({"model": "gpt-4o-mini", "stream": true, "temperature": 0.7, "messages": [
                {"role": "system", "content": "Be brief."}, {"role": "user", "content": "你好"},
            ]})
        );
        let extra = [("enable_thinking".to_owned(), json!(false)), ("temperature".to_owned(), json!(1))].into();
        let body = request(&Config { extra, ..config }, &prompt);
        assert_eq!((&body["enable_thinking"], &body["temperature"]), (&json!(false), &json!(1)));
    }

    #[test]
    fn an_errors_code_is_found_in_every_envelope() {
        assert_eq!(error_code(r#"{"error":{"code":"invalid_api_key","type":"x"}}"#), "invalid_api_key");
        assert_eq!(error_code(r#"{"error":{"code":null,"type":"invalid_request_error"}}"#), "invalid_request_error");
        assert_eq!(error_code(r#"{"code":"DataInspectionFailed","message":"…"}"#), "DataInspectionFailed");
        assert_eq!(error_code("<html>502</html>"), "");
        assert_eq!(error_code(r#"{"error":"model not found"}"#), "");
    }
}

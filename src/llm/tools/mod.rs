//! What a model may do besides talking: ask a web service, or a server that speaks the Model Context Protocol (MCP).
//!
//! In: a name and arguments, both written by the model and so not to be trusted. Out: a text for the model, also when it
//! failed. A tool is carried out by the turn that asked for it; an interruption drops it.

mod http;
mod mcp;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use garde::Validate;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::web;
use crate::values::{Secret, seconds};
use http::HttpTool;
use mcp::Servers;
pub use mcp::{Named, outcome};

/// Of a result, in bytes: what a model reads costs tokens and time.
const MAX_RESULT_BYTES: usize = 16 << 10;
/// Tools of one prompt; providers take no more than 128.
const MAX_TOOLS: usize = 64;

/// How a model is told of a tool.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// At most 64 letters, digits, `_` and `-`.
    pub name: String,
    /// What it is for, for the model to read.
    pub description: String,
    /// The JSON schema of its arguments, an object.
    pub parameters: Value,
}

/// Something that a model may have done.
#[async_trait]
pub trait Tool: Send + Sync {
    /// How a model is told of it.
    fn spec(&self) -> &Spec;

    /// Does it. `Err` as well as `Ok` is for the model to read.
    async fn call(&self, arguments: Map<String, Value>) -> Result<String, String>;
}

/// Runs the tool of `tools` that the model asks for. There is always an answer: what goes wrong is told to the model, which can
/// tell the person, or try another way.
pub async fn run(tools: &[Arc<dyn Tool>], name: &str, arguments: &str) -> (String, bool) {
    let result = match (tools.iter().find(|tool| tool.spec().name == name), arguments_of(arguments)) {
        (None, _) => Err("there is no such tool".to_owned()),
        (_, None) => Err("the arguments are no JSON object".to_owned()),
        (Some(tool), Some(arguments)) => tool.call(arguments).await,
    };
    match result {
        Ok(text) if text.is_empty() => ("done".to_owned(), true),
        Ok(text) => (text, true),
        Err(why) => (json!({"error": why}).to_string(), false),
    }
}

/// Models write nothing, or null, where there are no arguments.
fn arguments_of(text: &str) -> Option<Map<String, Value>> {
    if text.trim().is_empty() {
        return Some(Map::new());
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(arguments)) => Some(arguments),
        Ok(Value::Null) => Some(Map::new()),
        _ => None,
    }
}

/// `llm.tools:` in the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What the server itself can do for a model.
    #[garde(skip)]
    pub built_in: BTreeSet<BuiltIn>,
    /// How often a model may ask for tools before it has to answer.
    #[garde(range(min = 1, max = 16))]
    pub max_rounds: usize,
    /// Web services.
    #[garde(dive, length(max = 32), custom(distinct))]
    pub http: Vec<HttpConfig>,
    /// MCP servers.
    #[garde(dive, length(max = 8))]
    pub mcp: Vec<McpConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self { built_in: BTreeSet::new(), max_rounds: 4, http: vec![], mcp: vec![] }
    }
}

/// The built-in tools by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuiltIn {
    /// Shows another avatar.
    SwitchAvatar,
    /// Makes a gesture.
    PlayAction,
    /// Ends the conversation once the good-bye has been heard.
    EndCall,
}

/// One of `llm.tools.http:`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// As the model calls it.
    #[garde(custom(valid_name))]
    pub name: String,
    /// What it is for, for the model to read.
    #[garde(length(min = 1, max = 1_024))]
    pub description: String,
    /// The JSON schema of its arguments.
    #[garde(custom(valid_schema))]
    #[serde(default = "no_parameters")]
    pub parameters: Value,
    /// GET and DELETE put the arguments into the query, the others send them as JSON.
    #[garde(skip)]
    #[serde(default)]
    pub method: Method,
    /// https, or http on this machine.
    #[garde(custom(safe_url))]
    pub url: String,
    /// Sent along.
    #[garde(custom(valid_headers))]
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// Until all of its answer is there.
    #[garde(skip)]
    #[serde(default = "ten_seconds", with = "seconds")]
    pub timeout: Duration,
}

/// The verbs of HTTP that a tool may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "RFC 9110 §9.3 does")]
pub enum Method {
    #[default]
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

/// One of `llm.tools.mcp:`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct McpConfig {
    /// Comes before the names of its tools: `home_lights`.
    #[garde(custom(valid_name), length(max = 24))]
    pub name: String,
    /// https, or http on this machine.
    #[garde(custom(safe_url))]
    pub url: String,
    /// Sent along.
    #[garde(custom(valid_headers))]
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// Of one request.
    #[garde(skip)]
    #[serde(default = "ten_seconds", with = "seconds")]
    pub timeout: Duration,
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

fn no_parameters() -> Value {
    json!({"type": "object", "properties": {}})
}

fn valid_name(name: &str, (): &()) -> garde::Result {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if (1..=64).contains(&name.len()) && name.chars().all(plain) && !["switch_avatar", "end_call"].contains(&name) {
        return Ok(());
    }
    Err(garde::Error::new("must be 1 to 64 letters, digits, \"_\" or \"-\", and not the name of a built-in tool"))
}

fn distinct(tools: &[HttpConfig], (): &()) -> garde::Result {
    let names: BTreeSet<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
    if names.len() == tools.len() { Ok(()) } else { Err(garde::Error::new("two tools have the same name")) }
}

fn valid_schema(schema: &Value, (): &()) -> garde::Result {
    if schema["type"] == "object" { Ok(()) } else { Err(garde::Error::new("must be a JSON schema of type object")) }
}

/// A tool's headers carry keys: they do not cross a network in the clear.
fn safe_url(url: &str, (): &()) -> garde::Result {
    match Url::parse(url) {
        Ok(url) if url.scheme() == "https" || url.scheme() == "http" && web::is_loopback(&url) => Ok(()),
        _ => Err(garde::Error::new("must be https://…, or http://… on this machine")),
    }
}

fn valid_headers(headers: &BTreeMap<String, Secret>, (): &()) -> garde::Result {
    if header_map(headers).is_some() { Ok(()) } else { Err(garde::Error::new("a name or a value fits no header")) }
}

fn header_map(headers: &BTreeMap<String, Secret>) -> Option<HeaderMap> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let mut value = HeaderValue::from_str(value.reveal().unwrap_or_default()).ok()?;
        value.set_sensitive(true);
        map.insert(HeaderName::from_bytes(name.as_bytes()).ok()?, value);
    }
    Some(map)
}

/// The configured tools of all conversations.
pub struct Toolbox {
    http: Vec<Arc<dyn Tool>>,
    mcp: Servers,
    built_in: BTreeSet<BuiltIn>,
    max_rounds: usize,
}

impl Toolbox {
    /// Over `config`, which has been validated. MCP servers are asked for their tools from now on, for as long as the box is
    /// there: call it within the async runtime.
    pub fn new(config: &Config) -> Result<Self, reqwest::Error> {
        let http = config.http.iter().map(|tool| Ok(Arc::new(HttpTool::new(tool)?) as Arc<dyn Tool>));
        let http = http.collect::<Result<_, reqwest::Error>>()?;
        let mcp = Servers::connect(&config.mcp)?;
        Ok(Self { http, mcp, built_in: config.built_in.clone(), max_rounds: config.max_rounds })
    }

    /// Whether the configuration asks for a built-in tool.
    pub fn has(&self, tool: BuiltIn) -> bool {
        self.built_in.contains(&tool)
    }

    /// How often a model may ask before it has to answer.
    pub fn max_rounds(&self) -> usize {
        self.max_rounds
    }

    /// Those that can be used now, after `first`: an MCP server that is away has none.
    pub fn with(&self, first: Vec<Arc<dyn Tool>>) -> Vec<Arc<dyn Tool>> {
        let mut tools = first;
        tools.extend(self.http.iter().cloned());
        tools.extend(self.mcp.tools());
        tools.truncate(MAX_TOOLS);
        tools
    }
}

/// Cuts a result to what a model is given, at a character.
fn cut(mut text: String) -> String {
    if text.len() > MAX_RESULT_BYTES {
        let end = (0..=MAX_RESULT_BYTES).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Echo(Spec);

    #[async_trait]
    impl Tool for Echo {
        fn spec(&self) -> &Spec {
            &self.0
        }

        async fn call(&self, arguments: Map<String, Value>) -> Result<String, String> {
            if arguments.is_empty() { Err("nothing to echo".into()) } else { Ok(Value::Object(arguments).to_string()) }
        }
    }

    #[tokio::test]
    async fn whatever_goes_wrong_is_told_to_the_model() {
        let spec = Spec { name: "echo".into(), description: String::new(), parameters: no_parameters() };
        let tools: Vec<Arc<dyn Tool>> = vec![Arc::new(Echo(spec))];
        assert_eq!(run(&tools, "echo", "{\"a\":1}").await, ("{\"a\":1}".to_owned(), true));
        for (name, arguments, says) in [
            ("echo", "", "nothing to echo"),
            ("echo", "[1]", "no JSON object"),
            ("echo", "{", "no JSON"),
            ("rm", "", "no such tool"),
        ] {
            let (text, worked) = run(&tools, name, arguments).await;
            assert!(!worked && text.contains(says), "{text}");
        }
    }

    #[test]
    fn keys_do_not_cross_a_network_in_the_clear() {
        for url in ["https://api.example/x", "http://127.0.0.1:9/x", "http://localhost/x", "http://[::1]:3/"] {
            assert!(safe_url(url, &()).is_ok(), "{url}");
        }
        for url in [
            "http://api.example/x",
            "http://192.168.1.2/",
            "ftp://localhost/",
            "file:///etc/passwd",
            "http://localhost.evil.example/",
            "x",
        ] {
            assert!(safe_url(url, &()).is_err(), "{url}");
        }
    }

    #[test]
    fn a_result_is_cut_at_a_character() {
        let text = cut("你".repeat(MAX_RESULT_BYTES));
        assert!(text.len() <= MAX_RESULT_BYTES + 3 && text.ends_with("你…"));
        assert_eq!(cut("short".into()), "short");
    }
}

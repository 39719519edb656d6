//! MCP servers over streamable HTTP (specification 2025-06-18): their tools become the model's.
//!
//! One task over all servers asks those for their tools that have not told them, every half minute; a server that is away
//! therefore costs no answer any time. It ends with the box. JSON-RPC goes out by POST; a reply is JSON or a stream of events.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::future::join_all;
use reqwest::header::{ACCEPT, HeaderMap, HeaderValue};
use reqwest::{Response, StatusCode, Url};
use serde_json::{Map, Value, json};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::{MAX_TOOLS, McpConfig, Spec, Tool, cut, header_map, no_parameters, web};
use crate::cause::cause;
use crate::llm::events::events;

/// What we speak; a server may answer with an older one, which for tools is the same.
const PROTOCOL_VERSION: &str = "2025-06-18";
const SESSION_HEADER: &str = "mcp-session-id";
const VERSION_HEADER: &str = "mcp-protocol-version";
/// Between two tries to reach a server that has not told its tools.
const RETRY: Duration = Duration::from_secs(30);
/// Largest reply, in bytes: a list of tools with their schemas.
const MAX_REPLY_BYTES: usize = 1 << 20;
/// Pages of a list of tools.
const MAX_PAGES: usize = 16;

/// All configured servers.
pub(super) struct Servers {
    servers: Vec<Arc<Server>>,
    _asking: Option<AbortOnDropHandle<()>>,
}

impl Servers {
    pub(super) fn connect(configs: &[McpConfig]) -> reqwest::Result<Self> {
        let servers = configs.iter().map(|config| Server::new(config).map(Arc::new)).collect::<reqwest::Result<Vec<_>>>()?;
        let asking = (!servers.is_empty()).then(|| AbortOnDropHandle::new(tokio::spawn(ask(servers.clone()))));
        Ok(Self { servers, _asking: asking })
    }

    /// The tools that are known by now.
    pub(super) fn tools(&self) -> Vec<Arc<dyn Tool>> {
        self.servers.iter().flat_map(Server::tools).collect()
    }
}

async fn ask(servers: Vec<Arc<Server>>) {
    loop {
        let silent = servers.iter().filter(|server| !server.lock().told);
        join_all(silent.map(|server| server.refresh())).await;
        sleep(RETRY).await;
    }
}

struct Server {
    name: String,
    url: Url,
    headers: HeaderMap,
    http: reqwest::Client,
    timeout: Duration,
    /// Held for a look-up or a change.
    known: Mutex<Known>,
}

/// What a server has told.
#[derive(Default)]
struct Known {
    session: Option<HeaderValue>,
    tools: Vec<Named>,
    told: bool,
    requests: u64,
}

/// A tool under both its names.
#[derive(Clone, Debug)]
pub struct Named {
    /// The model's.
    pub spec: Spec,
    /// The server's own.
    pub original: String,
}

impl Named {
    /// From an entry of a list of tools; its name for the model begins with `prefix`. `None` if that name is too long.
    pub fn read(prefix: &str, tool: &Value) -> Option<Self> {
        let original = tool["name"].as_str()?.to_owned();
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let name = format!("{prefix}{}", original.chars().map(plain).collect::<String>());
        if name.len() > 64 {
            warn!(prefix, "a tool is left out: its name is too long");
            return None;
        }
        let description = cut(tool["description"].as_str().unwrap_or_default().to_owned());
        let schema = &tool["inputSchema"];
        let parameters = if schema["type"] == "object" { schema.clone() } else { no_parameters() };
        Some(Self { spec: Spec { name, description, parameters }, original })
    }
}

/// What a call came to, for the model to read.
pub fn outcome(result: &Value) -> Result<String, String> {
    let texts = result["content"].as_array().into_iter().flatten().filter_map(|part| part["text"].as_str());
    let text = texts.collect::<Vec<_>>().join("\n");
    let structured = &result["structuredContent"];
    let text = if text.is_empty() && !structured.is_null() { structured.to_string() } else { text };
    if result["isError"] == true { Err(cut(text)) } else { Ok(cut(text)) }
}

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
enum McpError {
    #[error("{0}")]
    Lost(String),
    #[error("no answer in time")]
    TimedOut,
    #[error("HTTP {0}")]
    Status(StatusCode),
    #[error("the session has ended")]
    SessionEnded,
    #[error("the reply is none")]
    Garbage,
    #[error("{0}")]
    Refused(String),
}

impl Server {
    fn new(config: &McpConfig) -> reqwest::Result<Self> {
        let url = Url::parse(&config.url).expect("the configuration has been validated: safe_url");
        let mut headers = header_map(&config.headers).expect("the configuration has been validated: headers");
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        let http = web::client(&url, web::CONNECT_TIMEOUT)?;
        Ok(Self { name: config.name.clone(), url, headers, http, timeout: config.timeout, known: Mutex::default() })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tools(self: &Arc<Self>) -> Vec<Arc<dyn Tool>> {
        let tool = |named: &Named| Arc::new(McpTool { named: named.clone(), server: Arc::clone(self) }) as Arc<dyn Tool>;
        self.lock().tools.iter().map(tool).collect()
    }

    /// Asks for the tools, in a new session.
    async fn refresh(&self) {
        match self.list().await {
            Ok(tools) => {
                info!(server = self.name, tools = tools.len(), "MCP server connected");
                let mut known = self.lock();
                known.tools = tools;
                known.told = true;
            }
            Err(error) => warn!(server = self.name, %error, "MCP server cannot be asked for its tools"),
        }
    }

    async fn open(&self) -> Result<(), McpError> {
        self.lock().session = None;
        let client = json!({"name": "visavis", "version": env!("CARGO_PKG_VERSION")});
        let hello = json!({"protocolVersion": PROTOCOL_VERSION, "capabilities": {}, "clientInfo": client});
        self.request("initialize", hello).await?;
        let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        timeout(self.timeout, self.post(&ready)).await.map_err(|_| McpError::TimedOut)??;
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Named>, McpError> {
        self.open().await?;
        let mut tools = Vec::new();
        let mut cursor = None;
        for _ in 0..MAX_PAGES {
            let page = cursor.take().map_or_else(|| json!({}), |cursor: String| json!({"cursor": cursor}));
            let page = self.request("tools/list", page).await?;
            let found = page["tools"].as_array().ok_or(McpError::Garbage)?;
            let prefix = format!("{}_", self.name);
            tools.extend(found.iter().filter_map(|tool| Named::read(&prefix, tool)));
            cursor = page["nextCursor"].as_str().filter(|cursor| !cursor.is_empty()).map(str::to_owned);
            if cursor.is_none() || tools.len() >= MAX_TOOLS {
                break;
            }
        }
        Ok(tools)
    }

    /// A request and its result, within the time for one.
    async fn request(&self, method: &str, params: Value) -> Result<Value, McpError> {
        let id = {
            let mut known = self.lock();
            known.requests += 1;
            known.requests
        };
        let exchange = async {
            let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
            let response = self.post(&request).await?;
            let session = response.headers().get(SESSION_HEADER).cloned();
            let reply = reply_to(id, response).await?;
            if method == "initialize" {
                self.lock().session = session;
            }
            Ok(reply)
        };
        let reply = timeout(self.timeout, exchange).await.map_err(|_| McpError::TimedOut)??;
        match (&reply["result"], &reply["error"]) {
            (_, error) if !error.is_null() => {
                Err(McpError::Refused(cut(error["message"].as_str().unwrap_or("an error").to_owned())))
            }
            (Value::Null, _) => Err(McpError::Garbage),
            (result, _) => Ok(result.clone()),
        }
    }

    async fn post(&self, message: &Value) -> Result<Response, McpError> {
        let session = self.lock().session.clone();
        let mut request = self.http.post(self.url.clone()).headers(self.headers.clone()).json(message);
        if let Some(session) = &session {
            request = request.header(SESSION_HEADER, session.clone());
        }
        if message["method"] != "initialize" {
            request = request.header(VERSION_HEADER, PROTOCOL_VERSION);
        }
        let response = request.send().await.map_err(|error| McpError::Lost(cause(&error)))?;
        match response.status() {
            status if status.is_success() => Ok(response),
            StatusCode::NOT_FOUND if session.is_some() => Err(McpError::SessionEnded),
            status => Err(McpError::Status(status)),
        }
    }
}

/// The reply to request `id`: the body itself, or one of its events. Others are notifications of the server's.
async fn reply_to(id: u64, response: Response) -> Result<Value, McpError> {
    if !web::is_event_stream(&response) {
        let (text, _) = web::body(response, MAX_REPLY_BYTES).await.map_err(|error| McpError::Lost(cause(&error)))?;
        return serde_json::from_str(&text).map_err(|_| McpError::Garbage);
    }
    let mut events = Box::pin(events(response.bytes_stream(), MAX_REPLY_BYTES));
    while let Some(event) = events.next().await {
        let data = event.map_err(|error| McpError::Lost(error.to_string()))?;
        let message = serde_json::from_str::<Value>(&data).unwrap_or_default();
        if message["id"] == id && message["method"].is_null() {
            return Ok(message);
        }
    }
    Err(McpError::Garbage)
}

struct McpTool {
    named: Named,
    server: Arc<Server>,
}

#[async_trait]
impl Tool for McpTool {
    fn spec(&self) -> &Spec {
        &self.named.spec
    }

    async fn call(&self, arguments: Map<String, Value>) -> Result<String, String> {
        let params = json!({"name": self.named.original, "arguments": arguments});
        let mut result = self.server.request("tools/call", params.clone()).await;
        if let Err(McpError::SessionEnded) = result {
            // It was started anew: so do we, once.
            result = match self.server.open().await {
                Ok(()) => self.server.request("tools/call", params).await,
                Err(error) => Err(error),
            };
        }
        outcome(&result.map_err(|error| error.to_string())?)
    }
}

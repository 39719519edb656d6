//! An MCP server over streamable HTTP, strict about its headers: it wants a session, tells its tools in two pages, and answers
//! calls by a stream that begins with a notification.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{Request, lock, reply};

#[derive(Default)]
pub(crate) struct Mcp {
    /// The session that is open, and whether it is ready.
    session: Mutex<Option<(String, bool)>>,
    sessions: AtomicU32,
    calls: Mutex<Vec<Value>>,
}

impl Mcp {
    /// As a server that was started again does.
    pub(crate) fn forget_session(&self) {
        *lock(&self.session) = None;
    }

    /// What it was asked to do.
    pub(crate) fn calls(&self) -> Vec<Value> {
        lock(&self.calls).clone()
    }

    pub(super) async fn serve(&self, request: &Request, socket: &mut TcpStream) -> bool {
        let message = request.json();
        let refuse = |status: &'static str| (status, String::new(), "text/plain", String::new());
        let accept = request.header("accept");
        let (status, headers, kind, body) = if !accept.contains("application/json")
            || !accept.contains("text/event-stream")
            || message["jsonrpc"] != "2.0"
        {
            refuse("400 Bad Request")
        } else if message["method"] == "initialize" {
            self.initialize(&message)
        } else if request.header("mcp-session-id").is_empty() || request.header("mcp-protocol-version").is_empty() {
            refuse("400 Bad Request")
        } else if !self.knows(request.header("mcp-session-id")) {
            refuse("404 Not Found")
        } else {
            self.answer(&message)
        };
        reply(socket, status, &headers, kind, body.as_bytes()).await
    }

    fn knows(&self, id: &str) -> bool {
        lock(&self.session).as_ref().is_some_and(|(known, _)| known == id)
    }

    fn initialize(&self, message: &Value) -> (&'static str, String, &'static str, String) {
        let complete = message["params"]["clientInfo"]["name"].is_string() && message["params"]["capabilities"].is_object();
        if !complete || message["params"]["protocolVersion"] != "2025-06-18" {
            return ("400 Bad Request", String::new(), "text/plain", String::new());
        }
        let id = format!("session-{}", self.sessions.fetch_add(1, Ordering::Relaxed));
        *lock(&self.session) = Some((id.clone(), false));
        let info = json!({"name": "stand-in", "version": "1"});
        let result = json!({"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info});
        let body = json!({"jsonrpc": "2.0", "id": message["id"], "result": result});
        ("200 OK", format!("Mcp-Session-Id: {id}\r\n"), "application/json", body.to_string())
    }

    fn answer(&self, message: &Value) -> (&'static str, String, &'static str, String) {
        let method = message["method"].as_str().unwrap_or_default();
        if method == "notifications/initialized" {
            if let Some((_, ready)) = lock(&self.session).as_mut() {
                *ready = true;
            }
            return ("202 Accepted", String::new(), "text/plain", String::new());
        }
        if !lock(&self.session).as_ref().is_some_and(|(_, ready)| *ready) {
            return ("400 Bad Request", String::new(), "text/plain", "not initialized".into());
        }
        let schema = json!({"type": "object", "properties": {"room": {"type": "string"}}});
        let result = match (method, message["params"]["cursor"].as_str()) {
            ("tools/list", None) => {
                json!({"tools": [{"name": "lights.on", "description": "Turns on a light.", "inputSchema": schema}], "nextCursor": "2"})
            }
            ("tools/list", Some("2")) => {
                json!({"tools": [{"name": "fail", "description": "Fails.", "inputSchema": schema}]})
            }
            ("tools/call", _) => {
                lock(&self.calls).push(message["params"].clone());
                let failed = message["params"]["name"] == "fail";
                let text = if failed { "the fuse has blown" } else { "the light is on" };
                json!({"content": [{"type": "text", "text": text}], "isError": failed})
            }
            _ => Value::Null,
        };
        let notice = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x"}});
        let body = if result.is_null() {
            json!({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "no such method"}})
        } else {
            json!({"jsonrpc": "2.0", "id": message["id"], "result": result})
        };
        (
            "200 OK",
            String::new(),
            "text/event-stream",
            format!("event: message\ndata: {notice}\n\nevent: message\ndata: {body}\n\n"),
        )
    }
}

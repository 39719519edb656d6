//! A stand-in for a language model's provider, written from its documentation and apart from our client, on bare sockets so that
//! it can misbehave in every way that a network can. It refuses what a strict provider refuses.
//!
//! `POST /v1/chat/completions` acts as it is told, one act a request; `GET /weather` is a web service for tools; `POST /mcp` is an
//! MCP server (`mcp.rs`).

mod mcp;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// What it accepts.
pub(crate) const KEY: &str = "sk-test";
pub(crate) const MODEL: &str = "test-model";
/// What the web service wants to see.
pub(crate) const WEATHER_KEY: &str = "wk-test";

/// What it does with a request that is right.
#[derive(Clone)]
pub(crate) enum Act {
    /// Answers with this text, a few characters at a time.
    Say(&'static str),
    /// Asks for a tool: name and arguments.
    Call(&'static str, &'static str),
    /// Sends these events, ends them, and closes.
    Events(Vec<Value>),
    /// Answers at once, without streaming.
    Whole(Value),
    /// Refuses: status line, more headers, type and body.
    Refuse(&'static str, &'static str, &'static str, &'static str),
    /// Sends this after the head of a stream, byte for byte, then does the last thing.
    Raw(Vec<u8>, Then),
    /// Takes the request and says nothing.
    Hang,
    /// Sends these bytes in place of a reply.
    Bytes(Vec<u8>),
}

/// How a raw reply goes on.
#[derive(Clone)]
pub(crate) enum Then {
    /// Closes, as a server that dies between two events.
    Close,
    /// Resets the connection.
    Reset,
    /// Says nothing more.
    Hang,
    /// This, a byte every tenth of a second.
    Drip(Vec<u8>),
    /// This, for ever.
    Repeat(Vec<u8>),
}

/// One running stand-in; it goes with the test's runtime.
#[derive(Clone)]
pub(crate) struct Standin {
    pub(crate) origin: String,
    inner: Arc<Inner>,
}

struct Inner {
    acts: Mutex<VecDeque<Act>>,
    requests: Mutex<Vec<Value>>,
    /// What was wrong with requests.
    faults: Mutex<Vec<String>>,
    /// Connections that a client closed while it was being answered.
    hung_up: watch::Sender<u32>,
    mcp: mcp::Mcp,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Standin {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a port");
        let origin = format!("http://{}", listener.local_addr().expect("it is bound"));
        let inner = Arc::new(Inner {
            acts: Mutex::default(),
            requests: Mutex::default(),
            faults: Mutex::default(),
            hung_up: watch::Sender::new(0),
            mcp: mcp::Mcp::default(),
        });
        let standin = Self { origin, inner };
        let serving = standin.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let serving = serving.clone();
                tokio::spawn(async move { serving.serve(socket).await });
            }
        });
        standin
    }

    pub(crate) fn base_url(&self) -> String {
        format!("{}/v1", self.origin)
    }

    /// Queues what to do with the next requests. With nothing queued it says "Well."
    pub(crate) fn will(&self, acts: impl IntoIterator<Item = Act>) {
        lock(&self.inner.acts).extend(acts);
    }

    /// Forgets what is queued.
    pub(crate) fn forget(&self) {
        lock(&self.inner.acts).clear();
    }

    /// The bodies of all requests that were right so far.
    pub(crate) fn requests(&self) -> Vec<Value> {
        lock(&self.inner.requests).clone()
    }

    pub(crate) fn faults(&self) -> Vec<String> {
        lock(&self.inner.faults).clone()
    }

    pub(crate) fn mcp(&self) -> &mcp::Mcp {
        &self.inner.mcp
    }

    /// How long it took until `count` clients have hung up; at most `limit`.
    pub(crate) async fn hung_up(&self, count: u32, limit: Duration) -> Option<Duration> {
        let began = Instant::now();
        let mut hung_up = self.inner.hung_up.subscribe();
        let waited = timeout(limit, hung_up.wait_for(|n| *n >= count)).await;
        waited.is_ok().then(|| began.elapsed())
    }

    async fn serve(&self, mut socket: TcpStream) {
        while let Some(request) = Request::read(&mut socket).await {
            let more = match (request.method.as_str(), request.path.as_str()) {
                ("POST", "/v1/chat/completions") => self.complete(&request, &mut socket).await,
                ("GET", path) if path.starts_with("/weather?") => weather(&request, &mut socket).await,
                ("POST", "/mcp") => self.inner.mcp.serve(&request, &mut socket).await,
                _ => reply(&mut socket, "404 Not Found", "", "text/plain", b"no such route").await,
            };
            if !more {
                return;
            }
        }
    }

    async fn complete(&self, request: &Request, socket: &mut TcpStream) -> bool {
        if let Err((status, code)) = check(request) {
            lock(&self.inner.faults).push(format!("{status}: {code}"));
            let body =
                json!({"error": {"message": "Refused.", "type": "invalid_request_error", "param": null, "code": code}});
            return reply(socket, status, "", "application/json", body.to_string().as_bytes()).await;
        }
        lock(&self.inner.requests).push(request.json());
        let act = lock(&self.inner.acts).pop_front().unwrap_or(Act::Say("Well."));
        match act {
            Act::Say(text) => {
                let letters: Vec<char> = text.chars().collect();
                let pieces = letters.chunks(3).map(|piece| json!({"content": piece.iter().collect::<String>()}));
                let mut events = vec![chunk(&json!({"role": "assistant", "content": ""}), None)];
                events.extend(pieces.map(|delta| chunk(&delta, None)));
                events.push(chunk(&json!({}), Some("stop")));
                stream(socket, &events).await
            }
            Act::Call(name, arguments) => {
                let call = |function: Value| json!({"tool_calls": [{"index": 0, "function": function}]});
                let mut first = call(json!({"name": name, "arguments": ""}));
                first["tool_calls"][0]["id"] = "call_abc".into();
                first["tool_calls"][0]["type"] = "function".into();
                let (head, tail) = arguments.split_at(arguments.len() / 2);
                let events = [
                    chunk(&first, None),
                    chunk(&call(json!({"arguments": head})), None),
                    chunk(&call(json!({"arguments": tail})), None),
                    chunk(&json!({}), Some("tool_calls")),
                ];
                stream(socket, &events).await
            }
            Act::Events(events) => stream(socket, &events).await,
            Act::Whole(body) => reply(socket, "200 OK", "", "application/json", body.to_string().as_bytes()).await,
            Act::Refuse(status, headers, kind, body) => reply(socket, status, headers, kind, body.as_bytes()).await,
            Act::Raw(bytes, then) => {
                let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nConnection: close\r\n\r\n";
                if socket.write_all(&[head, bytes.as_slice()].concat()).await.is_ok() {
                    self.go_on(socket, then).await;
                }
                false
            }
            Act::Hang => {
                self.go_on(socket, Then::Hang).await;
                false
            }
            Act::Bytes(bytes) => {
                let _ = socket.write_all(&bytes).await;
                false
            }
        }
    }

    async fn go_on(&self, socket: &mut TcpStream, then: Then) {
        let (mut reading, mut writing) = socket.split();
        // True if the client left.
        let doing = async {
            match then {
                Then::Close => return false,
                Then::Reset => {}
                Then::Hang => std::future::pending().await,
                Then::Drip(bytes) => {
                    for byte in bytes {
                        sleep(Duration::from_millis(100)).await;
                        if writing.write_all(&[byte]).await.is_err() {
                            return true;
                        }
                    }
                }
                Then::Repeat(bytes) => {
                    while writing.write_all(&bytes).await.is_ok() {}
                    return true;
                }
            }
            let _ = socket2::SockRef::from(writing.as_ref()).set_linger(Some(Duration::ZERO));
            false
        };
        let mut byte = [0];
        let left = tokio::select! {
            left = doing => left,
            // It sends nothing while it is answered: whatever can be read is its leaving.
            _ = reading.read(&mut byte) => true,
        };
        if left {
            self.inner.hung_up.send_modify(|count| *count += 1);
        }
    }
}

/// One request, read whole.
pub(crate) struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    async fn read(socket: &mut TcpStream) -> Option<Self> {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
            if socket.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        };
        let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
        let mut lines = head.lines();
        let mut first = lines.next()?.split(' ');
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers: Vec<_> = headers.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned())).collect();
        let mut request =
            Self { method: first.next()?.into(), path: first.next()?.into(), headers, body: bytes.split_off(end + 4) };
        let length: usize = request.header("content-length").parse().unwrap_or(0);
        while request.body.len() < length {
            if socket.read_buf(&mut request.body).await.ok()? == 0 {
                return None;
            }
        }
        Some(request)
    }

    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// A reply of known length; the connection can be used again.
async fn reply(socket: &mut TcpStream, status: &str, headers: &str, kind: &str, body: &[u8]) -> bool {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{headers}Content-Length: {length}\r\n\r\n");
    socket.write_all(&[head.as_bytes(), body].concat()).await.is_ok()
}

/// A stream that ends as it should.
async fn stream(socket: &mut TcpStream, events: &[Value]) -> bool {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut parts = vec![": keep-alive\n\n".to_owned()];
    parts.extend(events.iter().map(|event| format!("data: {event}\n\n")));
    parts.push("data: [DONE]\n\n".to_owned());
    let body: String = parts.iter().map(|part| format!("{:x}\r\n{part}\r\n", part.len())).collect();
    socket.write_all(format!("{head}{body}0\r\n\r\n").as_bytes()).await.is_ok()
}

/// A piece of an answer, as `OpenAI` sends it.
pub(crate) fn chunk(delta: &Value, finish_reason: Option<&str>) -> Value {
    json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": MODEL, "system_fingerprint": null,
        "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason}], "usage": null})
}

/// What a strict provider looks at, in its order.
fn check(request: &Request) -> Result<(), (&'static str, &'static str)> {
    if request.header("authorization") != format!("Bearer {KEY}") {
        return Err(("401 Unauthorized", "invalid_api_key"));
    }
    if !request.header("content-type").starts_with("application/json") {
        return Err(("415 Unsupported Media Type", "content_type"));
    }
    let Ok(body) = serde_json::from_slice::<Value>(&request.body) else { return Err(("400 Bad Request", "not_json")) };
    let bad = |code| Err(("400 Bad Request", code));
    if body["model"] != MODEL {
        return Err(("404 Not Found", "model_not_found"));
    }
    if body["stream"] != true || !request.header("accept").contains("text/event-stream") {
        return bad("stream_missing");
    }
    let known = ["model", "messages", "stream", "temperature", "max_tokens", "tools", "tool_choice"];
    if !body.as_object().is_some_and(|body| body.keys().all(|key| known.contains(&key.as_str()))) {
        return bad("unsupported_parameter");
    }
    if body["temperature"].as_f64().is_some_and(|t| !(0.0..=2.0).contains(&t)) {
        return bad("temperature");
    }
    for tool in body["tools"].as_array().into_iter().flatten() {
        let function = &tool["function"];
        if tool["type"] != "function" || !function["name"].is_string() || function["parameters"]["type"] != "object" {
            return bad("invalid_tools");
        }
    }
    roles(body["messages"].as_array().map(Vec::as_slice).unwrap_or_default()).or_else(bad)
}

/// The system first, then the person and the assistant by turns; each call answered before anything else is said.
fn roles(messages: &[Value]) -> Result<(), &'static str> {
    let mut last = "";
    let mut open: Vec<&str> = Vec::new();
    for message in messages {
        let role = message["role"].as_str().unwrap_or_default();
        if !message["content"].is_string() {
            return Err("content_type");
        }
        let allowed = match role {
            "system" => last.is_empty(),
            "user" => matches!(last, "" | "system" | "assistant") && open.is_empty(),
            "assistant" => matches!(last, "user" | "tool") && open.is_empty(),
            "tool" => {
                let before = open.len();
                open.retain(|id| message["tool_call_id"] != **id);
                open.len() + 1 == before
            }
            _ => false,
        };
        if !allowed {
            return Err("roles_must_alternate");
        }
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            let (id, function) = (call["id"].as_str().unwrap_or_default(), &call["function"]);
            if id.is_empty() || call["type"] != "function" || !function["arguments"].is_string() {
                return Err("invalid_tool_calls");
            }
            open.push(id);
        }
        last = role;
    }
    if matches!(last, "user" | "tool") && open.is_empty() { Ok(()) } else { Err("nothing_to_answer") }
}

async fn weather(request: &Request, socket: &mut TcpStream) -> bool {
    if request.header("x-key") != WEATHER_KEY {
        return reply(socket, "403 Forbidden", "", "text/plain", b"no key").await;
    }
    if request.path.contains("city=Atlantis") {
        return reply(socket, "404 Not Found", "", "text/plain", b"no such city").await;
    }
    let body = json!({"asked": request.path, "degrees": 21});
    reply(socket, "200 OK", "", "application/json", body.to_string().as_bytes()).await
}

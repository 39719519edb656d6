//! A device's own tools (its volume, its lamp), over the socket that it has open: JSON-RPC inside `{"type":"mcp"}`.
//!
//! In: the device's replies. Out: requests to it, and [`Tool`]s for the model. A device that goes ends what waits for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::llm::Tool;
use crate::llm::tools::{Named, Spec, outcome};

/// Of one call.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pages of a list of tools, and tools.
const MAX_PAGES: usize = 16;
const MAX_TOOLS: usize = 64;
/// Requests that may wait for the socket; calls wait when it is full.
pub(super) const REQUEST_QUEUE: usize = 8;

/// What the firmware knows.
const PROTOCOL_VERSION: &str = "2024-11-05";

/// The client of one device.
pub(super) struct Mcp {
    requests: mpsc::Sender<Value>,
    /// Held for a look-up or a change.
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    last: u64,
    replies: HashMap<u64, oneshot::Sender<Value>>,
}

impl Mcp {
    /// `requests` are payloads for the device.
    pub(super) fn new(requests: mpsc::Sender<Value>) -> Arc<Self> {
        Arc::new(Self { requests, waiting: Mutex::default() })
    }

    /// The device has sent `payload`.
    pub(super) fn reply(&self, payload: Value) {
        let waiting = payload["id"].as_u64().and_then(|id| self.waiting().replies.remove(&id));
        if let Some(waiting) = waiting {
            // Whoever asked may have been cut.
            let _ = waiting.send(payload);
        }
    }

    /// What the device can do.
    pub(super) async fn tools(self: Arc<Self>) -> Result<Vec<Arc<dyn Tool>>, String> {
        let client = json!({"name": "XiaozhiClient", "version": "1.0.0"});
        let capabilities = json!({"roots": {"listChanged": true}, "sampling": {}});
        let hello = json!({"protocolVersion": PROTOCOL_VERSION, "capabilities": capabilities, "clientInfo": client});
        self.request("initialize", hello).await?;
        let (mut tools, mut cursor) = (Vec::<Arc<dyn Tool>>::new(), String::new());
        for _ in 0..MAX_PAGES {
            let page = self.request("tools/list", json!({"cursor": cursor})).await?;
            let found = page["tools"].as_array().ok_or("its list of tools is none")?;
            let tool = |named| Arc::new(DeviceTool { named, device: Arc::clone(&self) }) as Arc<dyn Tool>;
            tools.extend(found.iter().filter_map(|tool| Named::read("", tool)).map(tool));
            page["nextCursor"].as_str().unwrap_or_default().clone_into(&mut cursor);
            if cursor.is_empty() || tools.len() >= MAX_TOOLS {
                break;
            }
        }
        tools.truncate(MAX_TOOLS);
        Ok(tools)
    }

    async fn request(&self, method: &str, params: Value) -> Result<Value, String> {
        let (tell, told) = oneshot::channel();
        let id = {
            let mut waiting = self.waiting();
            waiting.last += 1;
            let id = waiting.last;
            waiting.replies.retain(|_, waiting| !waiting.is_closed());
            waiting.replies.insert(id, tell);
            id
        };
        let payload = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let exchange = async {
            self.requests.send(payload).await.ok()?;
            told.await.ok()
        };
        let reply = timeout(PATIENCE, exchange).await.map_err(|_| "the device did not answer in time")?;
        let mut reply = reply.ok_or("the device is gone")?;
        match reply["error"].take() {
            Value::Null => Ok(reply["result"].take()),
            error => Err(error["message"].as_str().unwrap_or("the device refused").to_owned()),
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct DeviceTool {
    named: Named,
    device: Arc<Mcp>,
}

#[async_trait]
impl Tool for DeviceTool {
    fn spec(&self) -> &Spec {
        &self.named.spec
    }

    async fn call(&self, arguments: Map<String, Value>) -> Result<String, String> {
        let params = json!({"name": self.named.original, "arguments": arguments});
        outcome(&self.device.request("tools/call", params).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_paged_list_becomes_tools_that_call_the_device() {
        let (requests, mut asked) = mpsc::channel(REQUEST_QUEUE);
        let mcp = Mcp::new(requests);
        let device = Arc::clone(&mcp);
        let playing = tokio::spawn(async move {
            while let Some(request) = asked.recv().await {
                let tool = |name: &str| json!({"name": name, "description": "d", "inputSchema": {"type": "object"}});
                let result = match (request["method"].as_str().unwrap(), request["params"]["cursor"].as_str()) {
                    ("initialize", _) => json!({"serverInfo": {"name": "board"}}),
                    ("tools/list", Some("")) => json!({"tools": [tool("self.volume.set")], "nextCursor": "2"}),
                    ("tools/list", Some("2")) => json!({"tools": [tool("self.lamp")], "nextCursor": ""}),
                    ("tools/call", _) if request["params"]["name"] == "self.volume.set" => {
                        json!({"content": [{"type": "text", "text": request["params"]["arguments"].to_string()}]})
                    }
                    _ => Value::Null,
                };
                let error = if result.is_null() { json!({"code": -32601, "message": "no"}) } else { Value::Null };
                device.reply(json!({"jsonrpc": "2.0", "id": request["id"], "result": result, "error": error}));
            }
        });
        let tools = Arc::clone(&mcp).tools().await.unwrap();
        let names: Vec<_> = tools.iter().map(|tool| tool.spec().name.as_str()).collect();
        assert_eq!(names, ["self_volume_set", "self_lamp"]);
        let arguments = json!({"volume": 3}).as_object().unwrap().clone();
        assert_eq!(tools[0].call(arguments).await, Ok(r#"{"volume":3}"#.to_owned()));
        assert_eq!(tools[1].call(Map::new()).await, Err("no".to_owned()));
        playing.abort();
        let _ = playing.await;
        assert_eq!(tools[0].call(Map::new()).await, Err("the device is gone".to_owned()));
    }
}

//! A voice behind a Gradio page, versions 4 and 5: <https://www.gradio.app/guides/querying-gradio-apps-with-curl>.
//!
//! The page is asked once for the names and defaults of its parameters, so that a new slider breaks nothing, and gets the
//! recording once. Then each clause is a call, an event stream that tells when it is done, and a WAV file to fetch.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::StreamExt;
use reqwest::multipart::Form;
use serde_json::{Value, json};

use super::{Encoding, Fault, Http, Out, file_part, http};

/// Longest line of the event stream, in bytes.
const LONGEST_LINE: usize = 64 << 10;

/// One function of a page.
pub(in crate::tts) struct Gradio {
    http: Http,
    /// As the page names it.
    endpoint: &'static str,
    recording: Bytes,
    /// Forgotten after a fault: a page that was started again knows nothing of our recording.
    page: Mutex<Option<Arc<Page>>>,
}

/// What was learnt of the page.
struct Page {
    /// `gradio_api/` from version 5 on.
    prefix: &'static str,
    /// Names in order, each with what is sent where we have no value of our own.
    parameters: Vec<(String, Value)>,
    /// Where the page keeps our recording.
    recording: Value,
}

impl Gradio {
    pub(in crate::tts) fn new(http: Http, endpoint: &'static str, recording: Bytes) -> Self {
        Self { http, endpoint, recording, page: Mutex::new(None) }
    }

    /// Calls the function with `values` by name, the recording as `recording`, and hands on the sound it makes.
    pub(in crate::tts) async fn play(&self, recording: &str, values: &[(&str, Value)], out: &Out) -> Result<(), Fault> {
        let played = self.call(recording, values, out).await;
        if played.is_err() {
            *self.lock() = None;
        }
        played
    }

    async fn call(&self, recording: &str, values: &[(&str, Value)], out: &Out) -> Result<(), Fault> {
        let page = self.page().await?;
        let has = |name: &str| page.parameters.iter().any(|(known, _)| known == name);
        if !has(recording) || !values.iter().any(|(name, _)| has(name)) {
            return Err(Fault::Garbled("the page has other parameters than this voice's"));
        }
        let value = |(name, default): &(String, Value)| match values.iter().find(|(given, _)| given == name) {
            _ if name == recording => page.recording.clone(),
            Some((_, value)) => value.clone(),
            None => default.clone(),
        };
        let data: Vec<Value> = page.parameters.iter().map(value).collect();
        let call = format!("{}call/{}", page.prefix, self.endpoint);
        let queued = Http::json(self.http.post(self.http.url(&call)).json(&json!({"data": data}))).await?;
        let id = queued["event_id"].as_str().ok_or(Fault::Garbled("a call without an event id"))?;
        let result = self.result(&format!("{call}/{id}")).await?;
        let path = file_path(&result).ok_or(Fault::Garbled("a result without a file"))?;
        // By its path and not by the URL beside it: that may name a host which nobody configured.
        let file = self.http.get(self.http.url(&format!("{}file={path}", page.prefix)));
        Http::play(file, Encoding::Wav, out).await
    }

    /// Waits for the end of the event stream at `path`.
    async fn result(&self, path: &str) -> Result<Value, Fault> {
        let mut stream = http::send(self.http.get(self.http.url(path))).await?.bytes_stream();
        let (mut line, mut event) = (Vec::new(), String::new());
        while let Some(bytes) = stream.next().await {
            for byte in bytes? {
                if byte != b'\n' {
                    line.push(byte);
                    if line.len() > LONGEST_LINE {
                        return Err(Fault::Garbled("an endless line of events"));
                    }
                    continue;
                }
                let text = String::from_utf8_lossy(&line).trim().to_owned();
                line.clear();
                if let Some(name) = text.strip_prefix("event:") {
                    name.trim().clone_into(&mut event);
                }
                let Some(data) = text.strip_prefix("data:") else { continue };
                match event.as_str() {
                    "complete" => {
                        return serde_json::from_str(data).map_err(|_| Fault::Garbled("a result that is no JSON"));
                    }
                    "error" => return Err(Fault::refused("gradio-error")),
                    _ => {}
                }
            }
        }
        Err(Fault::Cut)
    }

    async fn page(&self) -> Result<Arc<Page>, Fault> {
        if let Some(page) = self.lock().clone() {
            return Ok(page);
        }
        let page = Arc::new(self.learn().await?);
        *self.lock() = Some(Arc::clone(&page));
        Ok(page)
    }

    async fn learn(&self) -> Result<Page, Fault> {
        let info = |prefix: &str| self.http.get(self.http.url(&format!("{prefix}info")));
        let (prefix, info) = match Http::json(info("gradio_api/")).await {
            Err(Fault::Status { status: 404 | 405, .. }) => ("", Http::json(info("")).await?),
            info => ("gradio_api/", info?),
        };
        let function = &info["named_endpoints"][format!("/{}", self.endpoint)];
        let parameters = function["parameters"].as_array().ok_or(Fault::Garbled("the page lacks this voice's function"))?;
        let named = |parameter: &Value| {
            Some((parameter["parameter_name"].as_str()?.to_owned(), parameter["parameter_default"].clone()))
        };
        let form = Form::new().part("files", file_part(&self.recording));
        let upload = self.http.post(self.http.url(&format!("{prefix}upload"))).multipart(form);
        let kept = Http::json(upload).await?;
        let path = kept[0].as_str().ok_or(Fault::Garbled("an upload without a path"))?;
        Ok(Page {
            prefix,
            parameters: parameters.iter().filter_map(named).collect(),
            recording: json!({"path": path, "meta": {"_type": "gradio.FileData"}}),
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<Page>>> {
        self.page.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The file of the first result, which may be wrapped in an update of its player.
fn file_path(result: &Value) -> Option<&str> {
    let first = result.get(0)?;
    first.get("path").or_else(|| first.pointer("/value/path"))?.as_str()
}

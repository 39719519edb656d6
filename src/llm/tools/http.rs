//! A web service as a tool: the model's arguments go out, what comes back is the result.

use async_trait::async_trait;
use reqwest::Url;
use reqwest::header::HeaderMap;
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::{HttpConfig, MAX_RESULT_BYTES, Method, Spec, Tool, cut, header_map, web};
use crate::cause::cause;

pub(super) struct HttpTool {
    spec: Spec,
    http: reqwest::Client,
    config: HttpConfig,
    headers: HeaderMap,
    url: Url,
}

impl HttpTool {
    pub(super) fn new(config: &HttpConfig) -> reqwest::Result<Self> {
        let url = Url::parse(&config.url).expect("the configuration has been validated: safe_url");
        let headers = header_map(&config.headers).expect("the configuration has been validated: headers");
        let HttpConfig { name, description, parameters, .. } = config.clone();
        let spec = Spec { name, description, parameters };
        Ok(Self { spec, http: web::client(&url, web::CONNECT_TIMEOUT)?, config: config.clone(), headers, url })
    }

    async fn ask(&self, arguments: Map<String, Value>) -> Result<String, String> {
        let (method, in_query) = match self.config.method {
            Method::Get => (reqwest::Method::GET, true),
            Method::Delete => (reqwest::Method::DELETE, true),
            Method::Post => (reqwest::Method::POST, false),
            Method::Put => (reqwest::Method::PUT, false),
            Method::Patch => (reqwest::Method::PATCH, false),
        };
        let request = self.http.request(method, self.url.clone()).headers(self.headers.clone());
        let request = if in_query {
            let pairs: Vec<(String, String)> = arguments.into_iter().map(|(key, value)| (key, plain(value))).collect();
            request.query(&pairs)
        } else {
            request.json(&arguments)
        };
        let response = request.send().await.map_err(|error| cause(&error))?;
        let status = response.status();
        let (text, all) = web::body(response, MAX_RESULT_BYTES).await.map_err(|error| cause(&error))?;
        let text = if all { text } else { text + "…" };
        if status.is_success() { Ok(text) } else { Err(cut(format!("HTTP {status}: {text}"))) }
    }
}

#[async_trait]
impl Tool for HttpTool {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    async fn call(&self, arguments: Map<String, Value>) -> Result<String, String> {
        match timeout(self.config.timeout, self.ask(arguments)).await {
            Ok(result) => result,
            Err(_) => Err(format!("no answer within {} s", self.config.timeout.as_secs())),
        }
    }
}

/// A value as a query has it: a text without its quotation marks.
fn plain(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

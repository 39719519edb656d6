//! The requests to one server, on behalf of one conversation.

use std::time::Duration;

use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};

use super::{Error, Place};
use crate::ask::ask;

/// The server may load a voice to imitate.
const INIT_TIMEOUT: Duration = Duration::from_secs(10);
/// The name under which its page and its proxies know the service.
const SERVICE: &str = "minicpmo-server";

/// A server and who talks to it.
pub(super) struct Server {
    place: Place,
    uid: String,
}

impl Server {
    pub(super) fn new(place: Place, uid: String) -> Self {
        Self { place, uid }
    }

    pub(super) fn uid(&self) -> &str {
        &self.uid
    }

    /// Where the microphone's sound goes.
    pub(super) fn upload_url(&self) -> String {
        format!("ws://{}/ws/stream?uid={}&service={SERVICE}", self.place.server(), self.uid)
    }

    /// Ends the answer that is being made, or that of whoever was here before.
    pub(super) async fn stop(&self, within: Duration) -> Result<(), Error> {
        let body = json!({"messages": [{"role": "user", "content": [{"type": "stop_response"}]}], "stream": true});
        let request = self.post("stop").json(&body).timeout(within);
        send(request).await.map(|_| ())
    }

    /// Begins the conversation. What is set is set as a whole: the server has no defaults for what is left out.
    pub(super) async fn init(&self) -> Result<(), Error> {
        let request = self.post("init_options").json(&self.options()).timeout(INIT_TIMEOUT);
        send(request).await.map(|_| ())
    }

    /// Asks for the next answer. Its body begins once the person has finished, so nothing limits the wait but the connection.
    pub(super) async fn completions(&self) -> Result<Response, Error> {
        let body = json!({"messages": [{"role": "user", "content": [{"type": "none"}]}], "stream": true});
        send(self.post("completions").json(&body)).await
    }

    fn post(&self, path: &str) -> RequestBuilder {
        let url = format!("http://{}/api/v1/{path}", self.place.server());
        self.place.http().post(url).header("uid", &self.uid).header("service", SERVICE)
    }

    fn options(&self) -> Value {
        let config = self.place.config();
        let voice =
            json!({"type": "input_audio", "input_audio": {"data": config.base64_str, "format": config.audio_format}});
        let options = json!({
            "hd_video": config.video_quality == "hd",
            "use_audio_prompt": config.use_audio_prompt.number(),
            "vad_threshold": config.vad_threshold,
            "voice_clone_prompt": config.voice_clone_prompt,
            "assistant_prompt": config.assistant_prompt,
        });
        json!({"messages": [{"role": "user", "content": [voice, {"type": "options", "options": options}]}]})
    }
}

async fn send(request: RequestBuilder) -> Result<Response, Error> {
    let again = || request.try_clone().expect("JSON is kept in memory");
    let response = ask(again).await.map_err(|_| Error::Unreachable)?;
    match response.status() {
        status if status.is_success() => Ok(response),
        reqwest::StatusCode::SERVICE_UNAVAILABLE => Err(Error::Busy),
        status => Err(Error::Refused(status.as_u16())),
    }
}

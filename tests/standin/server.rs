//! The real server as a process of its own, and who watches it.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;
use visavis::codec::VideoCodec;
use visavis::rtc::{Arrival, Receiver, Wish};

/// The real server, as a process of its own.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) http: reqwest::Client,
    #[allow(dead_code, reason = "held, and looked at by some")]
    pub(crate) process: Child,
}

impl Server {
    pub(crate) async fn start(config: Option<&std::path::Path>, environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_visavis"));
        command.current_dir(env!("CARGO_MANIFEST_DIR")).kill_on_drop(true).env_remove("OPENAI_API_KEY");
        command.args(["serve", "--listen", "127.0.0.1:0"]).envs(environment.iter().copied());
        if let Some(config) = config {
            command.arg("--config").arg(config);
        }
        let mut process = command.stdout(std::process::Stdio::piped()).spawn().expect("the binary is built");
        let mut lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let ready = timeout(Duration::from_mins(1), async {
            while let Some(line) = lines.next_line().await.expect("it is text") {
                if let Some((_, url)) = line.split_once("is ready: ") {
                    return url.trim_end_matches('/').to_owned();
                }
            }
            panic!("the server did not start");
        });
        let url = ready.await.expect("it starts within a minute");
        Self { url, http: reqwest::Client::new(), process }
    }

    pub(crate) async fn post(&self, route: &str, body: Value) {
        let reply = self.http.post(format!("{}{route}", self.url)).json(&body).send().await.expect("the server answers");
        let reply: Value = reply.json().await.expect("with JSON");
        assert_eq!(reply["code"], 0, "{reply}");
    }
}

/// Who watches it, and asks.
pub(crate) struct Viewer<'a> {
    server: &'a Server,
    pub(crate) session: String,
    events: mpsc::Receiver<Value>,
    /// How it was greeted.
    pub(crate) hello: Value,
}

impl<'a> Viewer<'a> {
    /// A new session, or the one that the offer names. Whoever drops it leaves.
    pub(crate) async fn join(server: &'a Server, offer: Value) -> Self {
        let wish = Wish { video: Some(VideoCodec::Vp8), microphone: false };
        let joined = Receiver::join(&server.http, &server.url, wish, offer).await;
        let mut receiver = joined.expect("the server answers");
        let session = receiver.session().to_owned();
        let (sender, events) = mpsc::channel(1_000);
        tokio::spawn(async move {
            loop {
                let arrival = tokio::select! {
                    arrival = receiver.next() => arrival,
                    () = sender.closed() => return receiver.close().await,
                };
                match arrival {
                    Some(Arrival::Text { text, .. }) => {
                        let _ = sender.send(serde_json::from_str(&text).expect("events are JSON")).await;
                    }
                    Some(_) => {}
                    None => return,
                }
            }
        });
        let mut viewer = Self { server, session, events, hello: Value::Null };
        viewer.hello = viewer.until("hello", |event| event["type"] == "hello").await;
        viewer
    }

    pub(crate) async fn ask(&self, text: &str) {
        self.server.post("/human", json!({"sessionid": self.session, "type": "chat", "text": text})).await;
    }

    pub(crate) async fn until(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let search = async {
            loop {
                let event = self.events.recv().await.expect("the session goes on");
                if wanted(&event) {
                    return event;
                }
            }
        };
        timeout(Duration::from_secs(20), search).await.unwrap_or_else(|_| panic!("there was no {what}"))
    }

    pub(crate) async fn turn(&mut self, step: &str) -> Value {
        self.until(step, |event| event["type"] == "turn" && event["event"] == step).await
    }
}

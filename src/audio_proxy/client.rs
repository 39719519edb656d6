//! One client, from its first message to its last.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use poem::web::websocket::{CloseCode, Message, WebSocketStream};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite;
use tracing::{Instrument, debug, info, info_span};
use uuid::Uuid;

use super::Proxy;
use super::backend::{Backend, Model, Said};
use super::intake::{Intake, Violation};
use super::own::Own;
use super::playout::Playout;
use crate::config::{self, WhenBusy};
use crate::metrics;
use crate::minicpm::Conversation;

/// Messages that wait for the socket. Full: what is to be heard waits, and then the back end.
const SOCKET_QUEUE: usize = 2;
/// A client that takes nothing for so long, while something waits for it, is gone.
const STALL_TIMEOUT: Duration = Duration::from_mins(1);
/// What a good-bye may take.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// How a client's stay ends: what it is told, if it is still there.
struct Ending {
    code: CloseCode,
    error: Option<String>,
}

impl Ending {
    /// It went by itself.
    const GONE: Self = Self { code: CloseCode::Normal, error: None };

    fn new(code: CloseCode, error: impl Into<String>) -> Self {
        Self { code, error: Some(error.into()) }
    }

    fn limit(code: CloseCode, error: impl Into<String>) -> Self {
        metrics::rejected("L10");
        Self::new(code, error)
    }
}

pub(super) async fn serve(proxy: &Arc<Proxy>, socket: WebSocketStream) {
    let uid = Uuid::new_v4().to_string();
    let span = info_span!("audio_proxy", uid = &uid[..8]);
    let (sink, stream) = socket.split();
    let (out, messages) = mpsc::channel(SOCKET_QUEUE);
    let mut writer = tokio::spawn(write(sink, messages));
    let began = Instant::now();
    let mut client = Client { proxy: Arc::clone(proxy), uid, stream, out: out.clone(), intake: Intake::new(), began };
    let Ending { code, error } = async {
        info!("client came");
        let ending = client.talk().await;
        info!(error = ending.error.is_some(), seconds = began.elapsed().as_secs(), "client gone");
        ending
    }
    .instrument(span)
    .await;
    let goodbye = async {
        if let Some(error) = error {
            let _ = out.send(Message::Text(json!({"type": "error", "content": error}).to_string())).await;
        }
        let _ = out.send(Message::Close(Some((code, String::new())))).await;
        drop(out);
        let _ = (&mut writer).await;
    };
    if timeout(CLOSE_TIMEOUT, goodbye).await.is_err() {
        writer.abort();
        return;
    }
    // A connection that is closed while something on it is unread is reset, and with it what was said last.
    let rest = async { while let Some(Ok(_)) = client.stream.next().await {} };
    let _ = timeout(CLOSE_TIMEOUT, rest).await;
}

async fn write(mut sink: SplitSink<WebSocketStream, Message>, mut messages: mpsc::Receiver<Message>) {
    while let Some(message) = messages.recv().await {
        let last = matches!(message, Message::Close(_));
        if sink.send(message).await.is_err() || last {
            break;
        }
    }
}

struct Client {
    proxy: Arc<Proxy>,
    uid: String,
    stream: SplitStream<WebSocketStream>,
    out: mpsc::Sender<Message>,
    intake: Intake,
    began: Instant,
}

impl Client {
    async fn talk(&mut self) -> Ending {
        let mut backend = match self.begin().await {
            Ok(backend) => backend,
            Err(ending) => return ending,
        };
        let (proxy, out) = (Arc::clone(&self.proxy), self.out.clone());
        let config = &proxy.config;
        let mut now = Instant::now();
        let mut playout = Playout::new(Duration::from_millis(config.lead_ms.into()), now);
        let (mut last_sound, mut stalled_since) = (now, None);
        loop {
            let due = playout.due(now);
            let is_due = due.is_some_and(|due| due <= now);
            stalled_since = if is_due { stalled_since.or(Some(now)) } else { None };
            let patience = stalled_since.map_or(last_sound + config.idle_timeout, |since| since + STALL_TIMEOUT);
            let deadline = patience.min(self.began + config.max_duration);
            tokio::select! {
                biased;
                () = proxy.shared.stop.cancelled() => return Ending::new(CloseCode::Away, "the server is stopping"),
                came = self.hear() => {
                    let samples = match came {
                        Ok(samples) => samples,
                        Err(ending) => return ending,
                    };
                    now = Instant::now();
                    if !samples.is_empty() {
                        last_sound = now;
                    }
                    if backend.hear(&samples, playout.is_playing(now)) {
                        playout.cut(now);
                        playout.push(Said::Cut);
                    }
                }
                permit = out.reserve(), if is_due => {
                    let Ok(permit) = permit else { return Ending::GONE };
                    now = Instant::now();
                    (last_sound, stalled_since) = (now, None);
                    if let Some(message) = playout.pop(now).and_then(message_of) {
                        permit.send(message);
                    }
                }
                () = sleep_until(due.unwrap_or(now)), if due.is_some() && !is_due => now = Instant::now(),
                said = backend.next(), if !playout.is_full() => {
                    now = Instant::now();
                    match said {
                        Said::Over(error, CloseCode::Normal) => {
                            debug!(error, "the back end hung up");
                            return Ending { code: CloseCode::Normal, error: None };
                        }
                        Said::Over(error, code) => return Ending::new(code, error),
                        Said::Cut => {
                            playout.cut(now);
                            playout.push(Said::Cut);
                        }
                        said => playout.push(said),
                    }
                }
                () = sleep_until(deadline) => return self.overstayed(stalled_since.is_some()),
            }
        }
    }

    /// Finds who answers. The client is heard meanwhile, so that its leaving is noticed.
    async fn begin(&mut self) -> Result<Backend, Ending> {
        let proxy = Arc::clone(&self.proxy);
        if proxy.config.backend == config::Backend::Own {
            return Own::start(&proxy.shared).map(Backend::Own).map_err(|said| match said {
                Said::Over(error, code) => Ending::new(code, error),
                _ => Ending::GONE,
            });
        }
        let pool = &proxy.shared.speech_models;
        let place = match pool.try_take() {
            Some(place) => place,
            None if proxy.config.when_busy == WhenBusy::Refuse => {
                let msg = "every model server is in a conversation: try again later";
                return Err(Ending::limit(CloseCode::Again, msg));
            }
            None => {
                let mut line = pool.queue();
                let deadline = self.began + proxy.config.max_duration;
                loop {
                    tokio::select! {
                        biased;
                        () = proxy.shared.stop.cancelled() => return Err(Ending::new(CloseCode::Away, "the server is stopping")),
                        // What is said in the line is answered by nobody.
                        came = self.hear() => drop(came?),
                        step = line.advance() => match step {
                            Ok(place) => break place,
                            Err(place) => self.tell_place(place),
                        },
                        () = sleep_until(deadline) => return Err(self.overstayed(false)),
                    }
                }
            }
        };
        let chunk = Duration::from_secs_f64(proxy.config.chunk_duration);
        let conversation = Conversation::start(place, self.uid.clone(), chunk, &proxy.shared.tracker);
        Ok(Backend::MiniCpm(Model::new(conversation, Duration::from_millis(proxy.config.barge_in_ms.into()))))
    }

    /// A client that does not read is not told.
    fn tell_place(&self, place: usize) {
        let content = format!("every model server is in a conversation: place {place} in line");
        let _ = self.out.try_send(Message::Text(json!({"type": "queued", "place": place, "content": content}).to_string()));
    }

    /// What the client says next; nothing, if it was no sound.
    async fn hear(&mut self) -> Result<Vec<i16>, Ending> {
        let refused = |violation: Violation| Ending::limit(violation.close_code(), violation.to_string());
        match self.stream.next().await {
            Some(Ok(Message::Binary(bytes))) => self.intake.take(&bytes).map_err(refused),
            Some(Ok(Message::Close(_))) | None => Err(Ending::GONE),
            // Texts are kept free for what a client may want to control one day.
            Some(Ok(_)) => Ok(Vec::new()),
            Some(Err(error)) => {
                let cause = error.get_ref().and_then(|error| error.downcast_ref::<tungstenite::Error>());
                let too_large = matches!(cause, Some(tungstenite::Error::Capacity(_)));
                Err(if too_large { refused(Violation::TooLarge) } else { Ending::GONE })
            }
        }
    }

    fn overstayed(&self, stalled: bool) -> Ending {
        let max = self.proxy.config.max_duration;
        if self.began.elapsed() >= max {
            return Ending::limit(CloseCode::Policy, format!("a conversation may last {} s", max.as_secs()));
        }
        if stalled {
            return Ending::limit(CloseCode::Policy, format!("nothing was taken for {} s", STALL_TIMEOUT.as_secs()));
        }
        let idle = self.proxy.config.idle_timeout.as_secs();
        Ending::limit(CloseCode::Policy, format!("no sound went either way for {idle} s"))
    }
}

fn message_of(said: Said) -> Option<Message> {
    let text = |value: serde_json::Value| Some(Message::Text(value.to_string()));
    match said {
        Said::Text(content) => text(json!({"type": "text", "content": content})),
        Said::Sound(sound) => Some(Message::Binary(sound.iter().flat_map(|sample| sample.to_le_bytes()).collect())),
        Said::Cut => text(json!({"type": "interrupted"})),
        Said::Trouble(content) => text(json!({"type": "error", "content": content})),
        Said::Over(..) => None,
    }
}

//! One WebSocket to a Janus: requests that wait for their reply, and what the server tells by itself.
//!
//! In: requests. Out: replies, matched by transaction whatever comes in between, and events. One task owns the socket; a
//! second keeps the session alive. When the connection is gone, whoever waits is told so and the events end.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, warn};

use super::protocol::{Event, Incoming, Place, Refusal, Reply, Request};
use crate::metrics;
use crate::values::Secret;

/// Requests that wait to be sent. Full: whoever asks waits, for as long as a reply may take.
const REQUEST_QUEUE: usize = 16;
/// Events that wait for the client: it takes them at once, but not while it waits for a reply. Full: the newest is dropped
/// and counted.
const EVENT_QUEUE: usize = 256;
/// Janus answers within milliseconds; it tells nothing about a request that it could not read.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a close may take to be answered.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// The largest message: an answer, or a room's list of some hundred participants.
const MAX_MESSAGE_BYTES: usize = 256 << 10;

/// Janus hangs up on a WebSocket that does not name it.
const SUBPROTOCOL: &str = "janus-protocol";

/// Why a request has no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    /// Nobody listens there.
    #[error("cannot be reached")]
    Unreachable,
    /// Somebody else listens there.
    #[error("does not speak the janus-protocol over WebSocket")]
    Stranger,
    /// It took too long.
    #[error("did not answer \"{0}\" within {s} s", s = REPLY_TIMEOUT.as_secs())]
    Timeout(&'static str),
    /// The connection ended.
    #[error("closed the connection")]
    Gone,
    /// It does not want to.
    #[error("refused \"{0}\" with {1}")]
    Refused(&'static str, Refusal),
    /// It said something else than the protocol wants.
    #[error("sent a reply to \"{0}\" that makes no sense")]
    Garbled(&'static str),
}

impl Error {
    /// The number of Janus or of its plugin, or a word, for metrics.
    pub(super) fn code(&self) -> String {
        match self {
            Self::Unreachable => "unreachable".into(),
            Self::Stranger => "stranger".into(),
            Self::Timeout(_) => "timeout".into(),
            Self::Gone => "gone".into(),
            Self::Refused(_, refusal) => refusal.code.to_string(),
            Self::Garbled(_) => "garbled".into(),
        }
    }

    /// Whether it was refused with this number.
    pub(super) fn is(&self, code: u32) -> bool {
        matches!(self, Self::Refused(_, refusal) if refusal.code == code)
    }
}

type WebSocket = WebSocketStream<MaybeTlsStream<TcpStream>>;

struct Asked {
    place: Place,
    request: Request,
    reply: oneshot::Sender<Result<Reply, Error>>,
}

/// A connection. Dropping it closes the socket.
#[derive(Clone)]
pub(super) struct Signalling {
    requests: mpsc::Sender<Asked>,
    /// Ends the connection.
    end: CancellationToken,
    /// It has ended.
    ended: CancellationToken,
}

impl Signalling {
    pub(super) async fn connect(url: &str, secret: &str) -> Result<(Self, mpsc::Receiver<(Option<u64>, Event)>), Error> {
        let mut request = url.into_client_request().map_err(|_| Error::Unreachable)?;
        request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(SUBPROTOCOL));
        let config =
            WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE_BYTES)).max_frame_size(Some(MAX_MESSAGE_BYTES));
        let connecting = connect_async_with_config(request, Some(config), true);
        let socket = match timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok((socket, _))) => socket,
            Ok(Err(tungstenite::Error::Io(_) | tungstenite::Error::Tls(_))) | Err(_) => return Err(Error::Unreachable),
            Ok(Err(_)) => return Err(Error::Stranger),
        };
        let (requests, requested) = mpsc::channel(REQUEST_QUEUE);
        let (tell, events) = mpsc::channel(EVENT_QUEUE);
        let (end, ended) = (CancellationToken::new(), CancellationToken::new());
        let line = Line { secret: secret.into(), waiting: BTreeMap::new(), sent: 0, tell };
        let (until, over) = (end.clone(), ended.clone());
        tokio::spawn(async move {
            line.run(socket, requested, until).await;
            over.cancel();
        });
        Ok((Self { requests, end, ended }, events))
    }

    /// The reply to `request`. A refusal, also of the plugin, is an error.
    pub(super) async fn ask(&self, place: Place, request: Request) -> Result<Reply, Error> {
        let name = request.name();
        let (reply, replied) = oneshot::channel();
        let asked = async {
            self.requests.send(Asked { place, request, reply }).await.map_err(|_| Error::Gone)?;
            replied.await.map_err(|_| Error::Gone)?
        };
        let answer = timeout(REPLY_TIMEOUT, asked).await.unwrap_or(Err(Error::Timeout(name)));
        let answer = answer.and_then(|reply| match reply.refusal() {
            Some(refusal) => Err(Error::Refused(name, refusal)),
            None => Ok(reply),
        });
        if let Err(error) = &answer {
            metrics::janus_error(error.code());
        }
        answer
    }

    /// Has the session live as long as what is returned. A server that does not answer is as good as gone.
    pub(super) fn keep_alive(&self, session: u64, every: Duration) -> AbortOnDropHandle<()> {
        let line = self.clone();
        AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                sleep(every).await;
                let asked = Instant::now();
                if let Err(error) = line.ask(Place::session(session), Request::Keepalive).await {
                    debug!(%error, "no sign of life");
                    return line.end.cancel();
                }
                metrics::janus_round_trip(asked.elapsed());
            }
        }))
    }

    /// Says good-bye, and waits for it to be answered.
    pub(super) async fn close(&self) {
        self.end.cancel();
        self.ended.cancelled().await;
    }
}

/// The task's end of it.
struct Line {
    secret: Secret,
    /// By the number of the request, which is its transaction.
    waiting: BTreeMap<u64, (Request, oneshot::Sender<Result<Reply, Error>>)>,
    sent: u64,
    tell: mpsc::Sender<(Option<u64>, Event)>,
}

impl Line {
    async fn run(mut self, mut socket: WebSocket, mut requested: mpsc::Receiver<Asked>, end: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = end.cancelled() => break,
                asked = requested.recv() => match asked {
                    None => break,
                    Some(asked) => {
                        let frame = self.send(asked);
                        if socket.send(Message::text(frame)).await.is_err() {
                            return;
                        }
                    }
                },
                message = socket.next() => match message {
                    Some(Ok(Message::Text(text))) => self.take(&text),
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                    Some(Ok(_)) => {}
                },
            }
        }
        let goodbye = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        let closing = async {
            let _ = socket.close(Some(goodbye)).await;
            while let Some(Ok(_)) = socket.next().await {}
        };
        let _ = timeout(CLOSE_TIMEOUT, closing).await;
    }

    fn send(&mut self, Asked { place, request, reply }: Asked) -> String {
        // Nobody waits any more for what has taken too long.
        self.waiting.retain(|_, (_, reply)| !reply.is_closed());
        self.sent += 1;
        let frame = request.frame(&self.sent.to_string(), self.secret.reveal(), place);
        self.waiting.insert(self.sent, (request, reply));
        frame
    }

    fn take(&mut self, text: &str) {
        match Incoming::parse(text) {
            Incoming::Reply { transaction, reply } => {
                let Ok(number) = transaction.parse::<u64>() else { return };
                // An ack behind its event finds nobody waiting.
                if self.waiting.get(&number).is_some_and(|(request, _)| request.settles(&reply))
                    && let Some((_, waiting)) = self.waiting.remove(&number)
                {
                    let _ = waiting.send(Ok(reply));
                }
            }
            Incoming::Event { sender, event } => {
                if self.tell.try_send((sender, event)).is_err() {
                    metrics::frame_dropped("janus_event", "busy");
                }
            }
            // It does not say which request it could not read: the oldest has waited longest.
            Incoming::Fault(refusal) => {
                if let Some((_, (request, waiting))) = self.waiting.pop_first() {
                    let _ = waiting.send(Err(Error::Refused(request.name(), refusal)));
                } else {
                    warn!(%refusal, "the janus server complains");
                }
            }
            Incoming::Unknown => debug!("the janus server tells something unknown"),
            Incoming::Garbled => {
                metrics::janus_error("garbled".into());
                debug!("the janus server sent something that is no message");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tokio::net::TcpListener;
    use tokio_tungstenite::accept_hdr_async;
    use tokio_tungstenite::tungstenite::handshake::server::{Request as Upgrade, Response};

    use super::*;

    /// A server that answers each frame with those that `answer` makes of it.
    async fn server(answer: impl Fn(Value) -> Vec<Value> + Send + 'static) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            #[expect(clippy::result_large_err, reason = "the library's own type")]
            let names_it = |request: &Upgrade, mut response: Response| {
                let name = request.headers()["sec-websocket-protocol"].clone();
                response.headers_mut().insert("sec-websocket-protocol", name);
                Ok(response)
            };
            let mut socket = accept_hdr_async(stream, names_it).await.unwrap();
            while let Some(Ok(Message::Text(text))) = socket.next().await {
                for reply in answer(serde_json::from_str(&text).unwrap()) {
                    if reply.is_null() {
                        return;
                    }
                    socket.send(Message::text(reply.to_string())).await.unwrap();
                }
            }
        });
        url
    }

    fn told(data: &Value, transaction: &Value) -> Value {
        json!({"janus": "event", "transaction": transaction, "sender": 2, "plugindata": {"plugin": "p", "data": data}})
    }

    fn join() -> Request {
        Request::Tell { body: json!({"request": "join"}), offer: None }
    }

    #[tokio::test]
    async fn an_event_before_its_ack_and_strangers_in_between_are_no_matter() {
        let url = server(|message| {
            let transaction = &message["transaction"];
            vec![
                json!({"janus": "dance", "sender": 2}),
                json!({"janus": "media", "sender": 2, "type": "audio", "receiving": true}),
                told(&json!({"audiobridge": "joined", "id": 7}), transaction),
                json!({"janus": "ack", "transaction": transaction}),
            ]
        })
        .await;
        let (signalling, mut events) = Signalling::connect(&url, "").await.unwrap();
        for _ in 0..2 {
            let reply = signalling.ask(Place::handle(1, 2), join()).await.unwrap();
            assert!(matches!(reply, Reply::Plugin { data, .. } if data["id"] == 7));
            assert_eq!(events.recv().await, Some((Some(2), Event::Receiving(true))));
        }
    }

    #[tokio::test]
    async fn replies_find_their_requests_in_any_order() {
        let held = std::sync::Mutex::new(Vec::new());
        let url = server(move |message| {
            let mut held = held.lock().unwrap();
            let id = held.len();
            held.push(json!({"janus": "success", "transaction": message["transaction"], "data": {"id": id}}));
            if held.len() == 3 { held.drain(..).rev().collect() } else { vec![] }
        })
        .await;
        let (signalling, _events) = Signalling::connect(&url, "").await.unwrap();
        let ask = || signalling.ask(Place::default(), Request::Create);
        let (a, b, c) = tokio::join!(ask(), ask(), ask());
        assert_eq!([a, b, c].map(|reply| reply.unwrap().id().unwrap()), [0, 1, 2]);
    }

    #[tokio::test]
    async fn an_error_that_names_no_request_is_that_of_the_oldest() {
        let url = server(|_| vec![json!({"janus": "error", "error": {"code": 456, "reason": "Missing"}})]).await;
        let (signalling, _events) = Signalling::connect(&url, "").await.unwrap();
        assert!(signalling.ask(Place::default(), Request::Create).await.unwrap_err().is(456));
    }

    #[tokio::test]
    async fn whoever_waits_is_told_when_the_connection_breaks() {
        let url = server(|_| vec![Value::Null]).await;
        let (signalling, mut events) = Signalling::connect(&url, "").await.unwrap();
        assert_eq!(signalling.ask(Place::default(), Request::Create).await, Err(Error::Gone));
        assert_eq!(events.recv().await, None);
        assert_eq!(Signalling::connect("ws://127.0.0.1:1", "").await.err(), Some(Error::Unreachable));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_does_not_answer_is_gone_after_its_time() {
        let url = server(|_| vec![]).await;
        let (signalling, mut events) = Signalling::connect(&url, "").await.unwrap();
        let error = signalling.ask(Place::default(), Request::Create).await.unwrap_err();
        assert_eq!(error, Error::Timeout("create"));
        let _alive = signalling.keep_alive(1, Duration::from_secs(25));
        assert_eq!(events.recv().await, None, "a keepalive that is not answered ends the connection");
    }
}

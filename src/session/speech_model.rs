//! A session whose ears, mind and voice are one model on another machine.
//!
//! In: a microphone's samples, and what the model says. Out: the samples to the model, each of its answers as one of the
//! session's, with captions and lips. Runs on its caller's task. Who speaks over an answer cuts it, here and there.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::{Busy, Event, Session, Spoken, State};
use crate::asr::CutIn;
use crate::minicpm::{self, Conversation};

/// Pieces of an answer that may wait for the player, which holds 2 s itself. Full: the model waits.
const SPOKEN_QUEUE: usize = 8;

/// Why such a conversation is over.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The model's side ended it.
    #[error(transparent)]
    Model(#[from] minicpm::Error),
    /// The session takes no more answers.
    #[error(transparent)]
    Session(#[from] Busy),
}

impl Session {
    /// Has `conversation` take part in place of ears, model and voice, until `microphone` is closed or one side ends.
    /// `microphone` brings 16 kHz mono; speech of `barge_in` over an answer cuts it.
    pub async fn converse(
        self: &Arc<Self>,
        mut conversation: Conversation,
        mut microphone: mpsc::Receiver<Vec<i16>>,
        barge_in: Duration,
    ) -> Result<(), RelayError> {
        let mut cut_in = CutIn::new(barge_in);
        let mut answer: Option<mpsc::Sender<Spoken>> = None;
        let mut next: Option<Spoken> = None;
        loop {
            let step = tokio::select! {
                biased;
                samples = microphone.recv() => Step::Heard(samples),
                open = room(answer.as_ref()), if next.is_some() => Step::Room(open),
                event = conversation.event(), if next.is_none() => Step::Said(event),
            };
            match step {
                Step::Heard(None) | Step::Said(None) => return Ok(()),
                Step::Heard(Some(samples)) => {
                    conversation.hear(&samples);
                    let is_heard = answer.is_some() || self.state() == State::Speaking;
                    if let Some(spoken) = cut_in.push(&samples, is_heard) {
                        (answer, next) = (None, None);
                        conversation.interrupt(spoken);
                        self.interrupt().await?;
                    }
                }
                Step::Room(true) => {
                    if let (Some(answer), Some(spoken)) = (&answer, next.take()) {
                        // There is room, and nobody else sends.
                        let _ = answer.try_send(spoken);
                    }
                }
                // Somebody else has cut it: a button, a command.
                Step::Room(false) => {
                    (answer, next) = (None, None);
                    conversation.interrupt(Duration::ZERO);
                }
                Step::Said(Some(event)) => match event {
                    minicpm::Event::Text(text) => next = Some(Spoken::Text(text)),
                    minicpm::Event::Sound(sound) => next = Some(Spoken::Sound(sound)),
                    minicpm::Event::TurnEnded => answer = None,
                    minicpm::Event::Trouble(error) => {
                        self.notify(Event::error("model_failed", error.to_string()), None);
                    }
                    minicpm::Event::Over(error) => return Err(error.into()),
                },
            }
            if next.is_some() && answer.is_none() {
                let (sender, pieces) = mpsc::channel(SPOKEN_QUEUE);
                self.relay(pieces, false).await?;
                answer = Some(sender);
            }
        }
    }
}

/// What happens next.
enum Step {
    Heard(Option<Vec<i16>>),
    /// Whether the answer goes on, now that there is room for more of it.
    Room(bool),
    Said(Option<minicpm::Event>),
}

/// Waits for room for one more piece of the answer; false if it was cut.
async fn room(answer: Option<&mpsc::Sender<Spoken>>) -> bool {
    match answer {
        Some(answer) => answer.reserve().await.is_ok(),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use futures_util::{SinkExt, StreamExt, stream};
    use poem::listener::{Acceptor, Listener, TcpListener};
    use poem::web::websocket::{Message, WebSocket};
    use poem::web::{Data, Json};
    use poem::{Body, EndpointExt, IntoResponse, Response, Route, Server, get, handler, post};
    use serde_json::{Value, json};
    use tokio::sync::broadcast;
    use tokio::time::{sleep, timeout};

    use super::super::bad_days::shared;
    use super::super::{Notice, TurnEvent};
    use super::*;
    use crate::media::write_wav;

    /// A model server that answers after each ten slices.
    #[derive(Default)]
    struct Model {
        slices: AtomicUsize,
        stops: AtomicUsize,
    }

    #[handler]
    fn stop(Data(model): Data<&Arc<Model>>) -> Json<Value> {
        model.stops.fetch_add(1, Ordering::Relaxed);
        Json(json!({}))
    }

    #[handler]
    fn begin() -> Json<Value> {
        Json(json!({}))
    }

    #[handler]
    fn upload(socket: WebSocket, Data(model): Data<&Arc<Model>>) -> Response {
        let model = Arc::clone(model);
        let serve = |mut socket: poem::web::websocket::WebSocketStream| async move {
            while let Some(Ok(Message::Text(_))) = socket.next().await {
                model.slices.fetch_add(1, Ordering::Relaxed);
                let ack = json!({"choices": {"finish_reason": "done"}}).to_string();
                if socket.send(Message::Text(ack)).await.is_err() {
                    break;
                }
            }
        };
        socket.on_upgrade(serve).into_response()
    }

    /// Words, and a second of sound for each.
    #[handler]
    fn answer(Data(model): Data<&Arc<Model>>) -> Response {
        let piece = |text: &str| {
            let audio = BASE64_STANDARD.encode(write_wav(&vec![900; 16_000]));
            format!("data: {}\n\n", json!({"choices": [{"text": text, "audio": audio}]}))
        };
        let body = ["assistant:\n", "One ", "two ", "three."].map(piece).concat()
            + "data: {\"choices\":[{\"text\":\"\\n<end>\"}]}\n\n";
        let model = Arc::clone(model);
        let heard = model.slices.load(Ordering::Relaxed);
        let wait = async move {
            while model.slices.load(Ordering::Relaxed) < heard + 10 {
                sleep(Duration::from_millis(10)).await;
            }
            Ok::<_, std::io::Error>(body)
        };
        Body::from_bytes_stream(stream::once(wait)).into_response()
    }

    async fn server() -> (Arc<Model>, minicpm::Config) {
        let model = Arc::new(Model::default());
        let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await.unwrap();
        let port = acceptor.local_addr()[0].as_socket_addr().unwrap().port();
        let routes = Route::new()
            .at("/api/v1/stop", post(stop))
            .at("/api/v1/init_options", post(begin))
            .at("/api/v1/completions", post(answer))
            .at("/ws/stream", get(upload))
            .data(Arc::clone(&model));
        tokio::spawn(Server::new_with_acceptor(acceptor).run(routes));
        (model, minicpm::Config { port, ..minicpm::Config::default() })
    }

    /// The captions until an answer has come to this.
    async fn captions_until(notices: &mut broadcast::Receiver<Notice>, wanted: TurnEvent) -> Vec<String> {
        let mut captions = Vec::new();
        let search = async {
            loop {
                match notices.recv().await.unwrap() {
                    Notice::Event(Event::Caption { text, .. }, _) => captions.push(text),
                    Notice::Event(Event::Turn { event, .. }, _) if event == wanted => break,
                    _ => {}
                }
            }
        };
        timeout(Duration::from_secs(15), search).await.unwrap_or_else(|_| panic!("no turn was {wanted:?}"));
        captions
    }

    #[tokio::test]
    async fn a_models_answers_are_the_sessions_and_who_cuts_them_stops_the_model() {
        let (model, config) = server().await;
        let shared = shared(&config);
        let slot = shared.registry.reserve().unwrap();
        let session = Session::start(&shared, slot, &shared.catalogue.get("").unwrap()).unwrap();
        session.viewers.send_modify(|viewers| viewers.seats = 1);
        let mut notices = session.subscribe();
        let place = shared.speech_models.try_take().unwrap();
        let conversation = Conversation::start(place, "uid".into(), Duration::from_millis(200), &shared.tracker);
        let (microphone, heard) = mpsc::channel(100);
        let talk = tokio::spawn({
            let session = Arc::clone(&session);
            async move { session.converse(conversation, heard, Duration::from_millis(500)).await }
        });
        microphone.send(vec![1_000; 32_000]).await.unwrap();
        let captions = captions_until(&mut notices, TurnEvent::Ended).await;
        assert_eq!(captions, ["One ", "two ", "three."]);
        microphone.send(vec![1_000; 32_000]).await.unwrap();
        captions_until(&mut notices, TurnEvent::Started).await;
        let stops = model.stops.load(Ordering::Relaxed);
        session.interrupt().await.unwrap();
        captions_until(&mut notices, TurnEvent::Interrupted).await;
        // The model goes on where it was stopped: with the next question.
        microphone.send(vec![1_000; 32_000]).await.unwrap();
        captions_until(&mut notices, TurnEvent::Ended).await;
        drop(microphone);
        talk.await.unwrap().unwrap();
        session.end("test");
        shared.tracker.close();
        timeout(Duration::from_secs(5), shared.tracker.wait()).await.expect("all of it ends");
        assert!(model.stops.load(Ordering::Relaxed) > stops, "the model is told that nobody listens");
        assert!(shared.speech_models.try_take().is_some(), "and the next one may have it");
    }
}

//! A whole session whose ears fail.

use std::collections::VecDeque;
use std::path::Path;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::time::timeout;

use super::ear::{Ear, Mic};
use super::*;
use crate::asr::{self, SpeechToText, Transcript};
use crate::llm::{self, Toolbox};
use crate::media::{AudioFrame, SAMPLES_PER_FRAME, Speech};
use crate::rtc::{Settings, UdpMux};
use crate::tts::{self, Hibari, TextToSpeech};

/// A voice that hums for a fifth of a second.
struct Hum;

impl TextToSpeech for Hum {
    fn speak(&self, _: String) -> BoxStream<'static, Result<Speech, tts::Error>> {
        stream::once(async { Ok(Speech { pcm: vec![900; 3_200], ..Speech::default() }) }).boxed()
    }
}

/// Ears that hear, for each utterance, the next of these; `None`: they never come back.
struct Script {
    lines: Mutex<VecDeque<Option<Result<&'static str, asr::Error>>>>,
    /// Utterances at which they are at work.
    at_work: Arc<()>,
}

impl SpeechToText for Script {
    fn transcribe(&self, utterance: Arc<[i16]>) -> BoxStream<'static, Result<Transcript, asr::Error>> {
        assert!(utterance.len() > 16_000, "{}", utterance.len());
        let mut lines = self.lines.lock().unwrap();
        let next = lines.pop_front().expect("asked too often");
        // The earlier ones take longer.
        let pause = Duration::from_millis(200) * lines.len() as u32;
        let at_work = Arc::clone(&self.at_work);
        let heard = async move {
            tokio::time::sleep(pause).await;
            let line = match next {
                Some(line) => line,
                None => std::future::pending().await,
            };
            drop(at_work);
            line.map(|text| Transcript { text: text.into(), is_final: true, ..Transcript::default() })
        };
        stream::once(heard).boxed()
    }
}

/// Our own avatars alone.
fn wardrobe(root: &Path) -> crate::render::Wardrobe {
    let wardrobe = crate::config::Config::default().wardrobe(true);
    crate::render::Wardrobe { dirs: vec![root.join("assets/avatars")], default: "mira".into(), ..wardrobe }
}

/// A server that answers with what comes as it comes, and hums.
pub(super) fn shared(speech_models: &minicpm::Config) -> Arc<Shared> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = llm::Config::default();
    let tools = Arc::new(Toolbox::new(&config.tools).unwrap());
    let bitrate = Bitrate { min: 100_000, start: 100_000, max: 100_000 };
    let mux = UdpMux::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    Arc::new(Shared {
        registry: SessionRegistry::new(1),
        minds: Minds { chat: llm::build(&config).unwrap(), voice: Arc::new(Hum), tools },
        ears: None,
        history: History { system_prompt: String::new(), tokens: 1_000 },
        catalogue: Arc::new(Catalogue::load(&wardrobe(root)).unwrap()),
        repertoires: crate::render::Repertoires::new(
            String::new(),
            std::path::PathBuf::new(),
            Arc::new(crate::render::Films::new(&wardrobe(root))),
        )
        .unwrap(),
        rtc: Settings { mux, advertise: vec![], tcp: true, bitrate },
        bitrate,
        speech_models: minicpm::Pool::new(speech_models).unwrap(),
        stop: CancellationToken::new(),
        numbered: OnceLock::new(),
        tracker: TaskTracker::new(),
    })
}

struct Room {
    session: Arc<Session>,
    notices: broadcast::Receiver<Notice>,
    microphone: mpsc::Sender<AudioFrame>,
    /// What is said into it, with the silence that ends it.
    sentence: Vec<AudioFrame>,
    at_work: Arc<()>,
    mic: watch::Sender<Mic>,
    tracker: TaskTracker,
}

impl Room {
    /// A session that somebody watches, with these ears.
    fn open(lines: Vec<Option<Result<&'static str, asr::Error>>>) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let voice = Hibari::load(&root.join("models")).expect("`visavis models fetch`");
        let said = voice.blocking_speak("What is the capital of Australia?").unwrap();
        let sound: Vec<i16> = said.into_iter().flat_map(|piece| piece.pcm).chain(vec![0; 16_000]).collect();
        let sentence = sound.as_chunks::<SAMPLES_PER_FRAME>().0.iter().map(|frame| AudioFrame(*frame)).collect();
        let at_work = Arc::new(());
        let script: Arc<dyn SpeechToText> =
            Arc::new(Script { lines: Mutex::new(lines.into()), at_work: Arc::clone(&at_work) });
        let ears = Ears { recogniser: watch::channel(Some(script)).1, config: asr::Config::default() };
        let shared = shared(&minicpm::Config::default());
        let slot = shared.registry.reserve().unwrap();
        let session = Session::start(&shared, slot, &shared.catalogue.get("").unwrap()).unwrap();
        session.viewers.send_modify(|viewers| viewers.seats = 1);
        let notices = session.subscribe();
        let (microphone, frames) = mpsc::channel(1_000);
        let mic = watch::Sender::default();
        shared.tracker.spawn(Ear::new(Arc::clone(&session), ears).listen(frames, mic.subscribe(), Arc::default()));
        let tracker = shared.tracker.clone();
        Self { session, notices, microphone, sentence, at_work, mic, tracker }
    }

    async fn speak(&self) {
        for frame in self.sentence.clone() {
            self.microphone.send(frame).await.unwrap();
        }
    }

    async fn until(&mut self, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        let search = async {
            loop {
                if let Notice::Event(event, _) = self.notices.recv().await.expect("the session goes on")
                    && wanted(&event)
                {
                    return event;
                }
            }
        };
        timeout(Duration::from_secs(10), search).await.unwrap_or_else(|_| panic!("there was no {what}"))
    }

    async fn state(&mut self, wanted: State) {
        self.until("such state", |event| matches!(event, Event::State { state } if *state == wanted)).await;
    }

    async fn close(self) {
        self.session.end("test");
        drop(self.microphone);
        self.tracker.close();
        timeout(Duration::from_secs(5), self.tracker.wait()).await.expect("all of it ends");
    }
}

#[tokio::test]
async fn ears_that_fail_say_so_and_hear_the_next_question() {
    let down = asr::Error::Unreachable { provider: "openai" };
    let mut room = Room::open(vec![Some(Err(down)), Some(Ok("What is the capital of Australia?"))]);
    room.speak().await;
    room.state(State::Listening).await;
    let error = room.until("error", |event| matches!(event, Event::Error { .. })).await;
    assert!(matches!(&error, Event::Error { code, msg } if code == "asr_failed" && msg.contains("type it")), "{error:?}");
    room.state(State::Idle).await;
    room.speak().await;
    room.until("words", |event| matches!(event, Event::Transcript { r#final: true, .. })).await;
    room.until("answer", |event| matches!(event, Event::Turn { event: TurnEvent::Started, .. })).await;
    room.until("end", |event| matches!(event, Event::Turn { event: TurnEvent::Ended, .. })).await;
    room.close().await;
}

#[tokio::test]
async fn who_leaves_is_not_listened_to_any_longer() {
    let mut room = Room::open(vec![None, None]);
    room.speak().await;
    room.speak().await;
    room.state(State::Listening).await;
    while Arc::strong_count(&room.at_work) < 2 + 2 {
        tokio::task::yield_now().await;
    }
    room.microphone = mpsc::channel(1).0;
    room.state(State::Idle).await;
    // Ours, and the script's, which the recogniser keeps.
    let left = async {
        while Arc::strong_count(&room.at_work) > 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(1), left).await.expect("a service still listens for nobody");
    room.close().await;
}

#[tokio::test]
async fn a_monologue_is_one_question_however_many_utterances_it_has() {
    let mut room = Room::open(vec![Some(Ok("One")), Some(Ok("two")), Some(Ok("three."))]);
    room.mic.send_replace(Mic { on: true, hold: true });
    for frame in room.sentence.clone().into_iter().cycle().take(70 * 50) {
        room.microphone.send(frame).await.unwrap();
    }
    while room.microphone.capacity() < room.microphone.max_capacity() {
        tokio::task::yield_now().await;
    }
    room.mic.send_replace(Mic { on: true, hold: false });
    let said = room.until("question", |event| match event {
        Event::Turn { .. } => panic!("it was answered before its end"),
        Event::Transcript { r#final, .. } => *r#final,
        _ => false,
    });
    let Event::Transcript { text, .. } = said.await else { unreachable!("it was looked for") };
    assert_eq!(text, "One two three.");
    room.close().await;
}

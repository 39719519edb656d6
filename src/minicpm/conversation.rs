//! One conversation with one server, from `stop` to `stop`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug, info_span, warn};

use super::microphone::Microphone;
use super::pool::CONNECT_TIMEOUT;
use super::reply::Reply;
use super::server::Server;
use super::slicer::Slicer;
use super::upload::Upload;
use super::{Error, Place};
use crate::metrics;

/// Events that may wait to be taken, of at most 100 ms of sound each. Full: the server's next bytes wait.
const REPLY_QUEUE: usize = 32;
/// What a `stop` may take, before it is as good as sent.
const STOP_TIMEOUT: Duration = Duration::from_millis(800);
/// All of a good-bye: whoever left does not hold up the next one.
const LEAVE_TIMEOUT: Duration = Duration::from_millis(900);
/// Attempts to connect again for the microphone, as the server's own page makes them, and the pauses before them: a blip is
/// over in half a second.
const RECONNECTS: u32 = 5;
const RECONNECT_SOON: Duration = Duration::from_millis(500);
const RECONNECT_AFTER: Duration = Duration::from_secs(5);
/// Pauses before an answer is asked for again after a fault: doubled from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(5);
/// A body that is over within this and said nothing is a fault: asking at once would be asking without end.
const TOO_SOON: Duration = Duration::from_millis(500);
/// How long the server may take to say whose it is.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// Faults in a row after which whoever talks is told, although nothing of an answer was lost.
const PATIENCE: u32 = 3;

/// What the server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Some words of an answer, as they are written.
    Text(String),
    /// The sound that says them, 16 kHz mono, at most 100 ms.
    Sound(Vec<i16>),
    /// The answer is over. What follows belongs to the next one.
    TurnEnded,
    /// Something went wrong, and the conversation goes on.
    Trouble(Error),
    /// It does not go on; nothing follows.
    Over(Error),
}

/// The latest interruption.
#[derive(Clone, Copy, Default)]
struct Cut {
    /// Counts them: what was said under a smaller number is stale.
    number: u64,
    /// For how long the person had spoken.
    spoken: Duration,
}

/// A conversation. Dropping it ends it: the server is told to stop, and its connections are closed.
pub struct Conversation {
    microphone: Arc<Microphone>,
    cut: watch::Sender<Cut>,
    events: mpsc::Receiver<(u64, Event)>,
    _leave: DropGuard,
}

impl Conversation {
    /// Begins a conversation with the server at `place`, which knows us as `uid`. `chunk` of sound is gathered before any of it
    /// is sent. Its task is one of `tracker`'s. That the server is not there is told by the first event.
    pub fn start(place: Place, uid: String, chunk: Duration, tracker: &TaskTracker) -> Self {
        let microphone = Arc::new(Microphone::default());
        let (cut, cuts) = watch::channel(Cut::default());
        let (events_tx, events) = mpsc::channel(REPLY_QUEUE);
        let leave = CancellationToken::new();
        let span = info_span!("minicpm", uid = uid.chars().take(8).collect::<String>());
        let task = Talk {
            server: Server::new(place, uid),
            microphone: Arc::clone(&microphone),
            chunk,
            cuts,
            events: events_tx,
            probe: Notify::new(),
            again: watch::Sender::default(),
            acks: watch::Sender::new(()),
            asked: watch::Sender::new(false),
        };
        tracker.spawn(task.run(leave.clone()).instrument(span));
        Self { microphone, cut, events, _leave: leave.drop_guard() }
    }

    /// Hears what the person says next: 16 kHz mono, any number of samples. Never waits.
    pub fn hear(&self, samples: &[i16]) {
        self.microphone.push(samples);
    }

    /// Cuts the answer: nothing of it comes any more, and the server stops making it. It has not listened meanwhile, so what
    /// the person has `spoken` is sent to it again.
    pub fn interrupt(&self, spoken: Duration) {
        self.cut.send_modify(|cut| *cut = Cut { number: cut.number + 1, spoken });
    }

    /// What the server says next; `None` after [`Event::Over`].
    pub async fn event(&mut self) -> Option<Event> {
        loop {
            let (number, event) = self.events.recv().await?;
            if number >= self.cut.borrow().number {
                return Some(event);
            }
        }
    }
}

/// The task of a conversation.
struct Talk {
    server: Server,
    microphone: Arc<Microphone>,
    chunk: Duration,
    cuts: watch::Receiver<Cut>,
    events: mpsc::Sender<(u64, Event)>,
    /// Something is to be uploaded at once.
    probe: Notify,
    /// What was spoken of late is to be uploaded again.
    again: watch::Sender<Duration>,
    /// Changes with each word about an upload.
    acks: watch::Sender<()>,
    /// Whether an answer was asked for. A server forgets what it was told before.
    asked: watch::Sender<bool>,
}

impl Talk {
    async fn run(self, leave: CancellationToken) {
        let mut slicer = Slicer::new(self.chunk);
        let mut upload = None;
        let over = tokio::select! {
            biased;
            () = leave.cancelled() => None,
            error = self.converse(&mut slicer, &mut upload) => Some(error),
        };
        let hang_up = async {
            let Some(mut upload) = upload else { return };
            if over.is_none() {
                for slice in slicer.rest() {
                    let _ = upload.send(self.server.uid(), &slice).await;
                }
            }
            upload.close().await;
        };
        let stop = async {
            // The server obeys whoever says stop: after a take-over that would cut somebody else's answer.
            if !matches!(over, Some(Error::Taken | Error::Unreachable)) {
                let _ = self.server.stop(STOP_TIMEOUT).await;
            }
        };
        let tell = async {
            if let Some(error) = over.clone() {
                warn!(why = error.name(), "a conversation with a model server is over");
                metrics::minicpm_failed(error.name());
                let _ = self.events.send((u64::MAX, Event::Over(error))).await;
            }
        };
        let _ = timeout(LEAVE_TIMEOUT, async { tokio::join!(stop, hang_up, tell) }).await;
    }

    /// Talks until that is impossible.
    async fn converse(&self, slicer: &mut Slicer, upload: &mut Option<Upload>) -> Error {
        if let Err(error) = self.begin().await {
            return error;
        }
        tokio::select! {
            error = self.speak(slicer, upload) => error,
            never = self.listen() => match never {},
        }
    }

    async fn begin(&self) -> Result<(), Error> {
        self.server.stop(CONNECT_TIMEOUT).await?;
        self.server.init().await
    }

    /// Sends what the microphone hears, and connects again where that breaks.
    async fn speak(&self, slicer: &mut Slicer, upload: &mut Option<Upload>) -> Error {
        let mut failures = 0;
        loop {
            let broken = match Upload::connect(&self.server).await {
                Ok(connected) => self.send(slicer, upload.insert(connected), &mut failures).await,
                Err(error) => error,
            };
            *upload = None;
            if broken != Error::Lost || failures == RECONNECTS {
                return broken;
            }
            failures += 1;
            debug!(failures, "the upload broke: connecting again");
            metrics::minicpm_failed(broken.name());
            sleep(if failures == 1 { RECONNECT_SOON } else { RECONNECT_AFTER }).await;
            // A server that was started again has forgotten what it was told. Whether it is there shows when connecting.
            let _ = self.server.init().await;
        }
    }

    async fn send(&self, slicer: &mut Slicer, upload: &mut Upload, failures: &mut u32) -> Error {
        let mut again = self.again.subscribe();
        let _ = timeout(CONNECT_TIMEOUT, self.asked.subscribe().wait_for(|asked| *asked)).await;
        loop {
            let due = slicer.due();
            let slices = tokio::select! {
                biased;
                ack = upload.next() => match ack {
                    Ok(ack) => {
                        *failures = 0;
                        metrics::upload(ack.name());
                        self.acks.send_replace(());
                        continue;
                    }
                    Err(error) => return error,
                },
                () = self.probe.notified() => slicer.anything(),
                // Its sender is ours.
                _ = again.changed() => slicer.again(*again.borrow_and_update()),
                samples = self.microphone.take() => slicer.push(&samples, Instant::now()),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => slicer.pause(Instant::now()),
            };
            for slice in slices {
                if let Err(error) = upload.send(self.server.uid(), &slice).await {
                    return error;
                }
                slicer.sent(slice);
            }
        }
    }

    /// Asks for one answer after another, and passes them on.
    async fn listen(&self) -> Infallible {
        let mut cuts = self.cuts.clone();
        let (mut pause, mut faults) = (FIRST_PAUSE, 0);
        let mut unheard = Duration::ZERO;
        loop {
            let number = cuts.borrow_and_update().number;
            let answered = tokio::select! {
                biased;
                () = raised(&mut cuts) => None,
                answered = self.answer(number, &mut unheard) => Some(answered),
            };
            match answered {
                Some(Ok(ended)) => {
                    if !ended {
                        self.ask_whose().await;
                    }
                    (pause, faults) = (FIRST_PAUSE, 0);
                }
                Some(Err(error)) => {
                    faults += 1;
                    debug!(why = error.name(), "no answer: asking again");
                    metrics::minicpm_failed(error.name());
                    if faults == PATIENCE || matches!(error, Error::BrokenOff | Error::Reported(_) | Error::Garbled) {
                        self.tell(number, Event::Trouble(error)).await;
                    }
                    self.ask_whose().await;
                    tokio::select! {
                        () = raised(&mut cuts) => {}
                        () = sleep(pause) => {}
                    }
                    pause = (pause * 2).min(LAST_PAUSE);
                }
                None => {
                    unheard = cuts.borrow().spoken;
                    if self.server.stop(STOP_TIMEOUT).await.is_err() {
                        debug!("a stop was not taken");
                    }
                    (pause, faults) = (FIRST_PAUSE, 0);
                }
            }
        }
    }

    /// An answer that ends by itself may mean that somebody has taken the server over: asking for the next one would take it
    /// back. It says so about anything that is uploaded, and then all of this is over.
    async fn ask_whose(&self) {
        let mut acks = self.acks.subscribe();
        self.probe.notify_one();
        let _ = timeout(PROBE_TIMEOUT, acks.changed()).await;
    }

    /// One answer, and whether it said that it is complete. The server listens once it has taken the question: then it is told
    /// what it has not heard.
    async fn answer(&self, number: u64, unheard: &mut Duration) -> Result<bool, Error> {
        let began = Instant::now();
        let response = self.server.completions().await;
        self.asked.send_replace(true);
        let response = response?;
        let spoken = std::mem::take(unheard);
        if !spoken.is_zero() {
            self.again.send_replace(spoken);
        }
        let mut body = response.bytes_stream();
        let mut reply = Reply::default();
        let mut broke = false;
        let mut trouble = None;
        while let Some(bytes) = body.next().await {
            let Ok(bytes) = bytes else {
                broke = true;
                break;
            };
            self.pass_on(number, reply.push(&bytes), &mut trouble).await;
        }
        self.pass_on(number, reply.finish(), &mut trouble).await;
        if reply.has_begun() {
            self.tell(number, Event::TurnEnded).await;
        }
        match trouble {
            Some(error) => Err(error),
            None if broke && !reply.has_ended() => Err(if reply.has_said() { Error::BrokenOff } else { Error::Unreachable }),
            None if !reply.has_begun() && began.elapsed() < TOO_SOON => Err(Error::Unreachable),
            None => Ok(reply.has_ended()),
        }
    }

    async fn pass_on(&self, number: u64, events: Vec<Result<Event, Error>>, trouble: &mut Option<Error>) {
        for event in events {
            match event {
                Ok(event) => self.tell(number, event).await,
                Err(error) => {
                    trouble.get_or_insert(error);
                }
            }
        }
    }

    async fn tell(&self, number: u64, event: Event) {
        // Who does not listen any more has dropped the conversation.
        let _ = self.events.send((number, event)).await;
    }
}

/// Waits for an interruption. None comes from a conversation that was dropped.
async fn raised(cuts: &mut watch::Receiver<Cut>) {
    if cuts.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

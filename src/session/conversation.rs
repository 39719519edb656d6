//! The conversation of one session: one answer at a time, in order, interruptible at any moment.
//!
//! In: commands, and what the player reports as played. Out: notices to the viewers. One task per session, which never
//! waits for anything but the next thing to happen.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{Instrument, debug, info_span, warn};

use super::audience::{self, Audience};
use super::event::{CaptionWord, Event, Line, State, TurnEvent};
use super::speaker::{Hold, Speaker};
use super::turn::{self, Chat, Minds, Spoken, TurnError, Utterance};
use super::{Origin, Session, tools};
use crate::llm::{History, Role};
use crate::media::{AUDIO_RATE_HZ, Mark, TurnId, Word};
use crate::metrics;
use crate::render::{Action, Catalogue};
use crate::sentence::SentenceSplitter;
use crate::track::Played;
use crate::tts::TextToSpeech;

/// Utterances that may wait for their turn, and samples of those that are recorded: two minutes (L17).
const MAX_PENDING: usize = 20;
const MAX_RECORDED: usize = 120 * AUDIO_RATE_HZ as usize;

/// What a viewer or a route wants of a session.
pub(super) enum Command {
    Say(Saying),
    Interrupt {
        done: oneshot::Sender<()>,
    },
    Hear(Hearing),
    /// Shows it until it is over or something interrupts. False if too much waits to be shown.
    Act {
        action: Arc<Action>,
        done: oneshot::Sender<bool>,
    },
    /// End the session once this turn has been heard; void if it is interrupted.
    HangUp {
        turn: TurnId,
    },
}

/// What the ears notice of a person before there are words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hearing {
    /// Somebody has begun to speak.
    Began,
    /// They mean it: what is being said waits.
    CutIn,
    /// No words came of it: what was being said goes on.
    Nothing,
}

/// What an answer is made of.
pub(super) enum Words {
    /// Say it.
    Echo(String),
    /// Answer it.
    Chat(String),
    /// Play it: 16 kHz mono.
    Recording(Vec<i16>),
    /// Play what comes.
    Relayed(mpsc::Receiver<Spoken>),
}

impl Words {
    fn recorded(&self) -> usize {
        if let Self::Recording(sound) = self { sound.len() } else { 0 }
    }
}

/// One thing to say.
pub(super) struct Saying {
    pub(super) words: Words,
    pub(super) interrupt: bool,
    pub(super) origin: Option<Origin>,
    /// Who says it; absent: whoever speaks in the session.
    pub(super) voice: Option<Arc<dyn TextToSpeech>>,
    pub(super) accepted: oneshot::Sender<bool>,
}

struct Pending {
    words: Words,
    origin: Option<Origin>,
    voice: Option<Arc<dyn TextToSpeech>>,
    since: Instant,
}

/// The answer that is being made or heard.
struct Current {
    id: TurnId,
    /// The number under which the player knows it: another one after each hold.
    played_as: TurnId,
    speaker: Arc<Speaker>,
    held: Option<Held>,
    played: Progress,
    /// The next clause is the rest of one that was held.
    resumed: bool,
    origin: Option<Origin>,
    since: Instant,
    task: JoinHandle<Result<(), TurnError>>,
    /// All of it is queued, or it failed.
    made: Option<Result<(), TurnError>>,
    /// It is a good-bye.
    last: bool,
    clauses: Vec<HeardClause>,
    /// What was written since the last caption.
    written: String,
}

/// How much of an answer has been played.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Nothing,
    Begun,
    All,
}

/// Where an answer was held.
struct Held {
    hold: Hold,
    /// Samples of its last clause that had been heard.
    samples: u32,
}

struct HeardClause {
    text: String,
    words: Vec<Word>,
    at: Instant,
}

impl HeardClause {
    /// Forgets the other words. A clause without timings is all one.
    fn keep(&mut self, word: impl Fn(&Word) -> bool) {
        if !self.words.is_empty() {
            self.words.retain(word);
            self.text = self.words.iter().map(|word| word.text.as_str()).collect();
        }
    }
}

pub(super) struct Conversation {
    session: Arc<Session>,
    minds: Minds,
    history: History,
    catalogue: Arc<Catalogue>,
    pending: VecDeque<Pending>,
    current: Option<Current>,
    next: TurnId,
    /// Somebody is speaking.
    listening: bool,
    /// Somebody watches. Nothing is answered for nobody.
    watched: bool,
}

impl Conversation {
    pub(super) fn new(session: Arc<Session>, minds: Minds, history: History, catalogue: Arc<Catalogue>) -> Self {
        let pending = VecDeque::new();
        Self {
            session,
            minds,
            history,
            catalogue,
            pending,
            current: None,
            next: TurnId(1),
            listening: false,
            watched: false,
        }
    }

    /// Runs until the session is stopped.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>, mut played: mpsc::Receiver<Played>) {
        let stop = self.session.stop.clone();
        let viewers = self.session.viewers.subscribe();
        let audience = audience::change(viewers.clone(), self.watched);
        tokio::pin!(audience);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                change = &mut audience => {
                    self.audience(change);
                    audience.set(audience::change(viewers.clone(), self.watched));
                }
                Some(command) = commands.recv() => self.command(command),
                Some(played) = played.recv() => self.played(played),
                made = made(&mut self.current) => self.made(made),
            }
        }
        if let Some(current) = self.current.take() {
            current.task.abort();
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Interrupt { done } => {
                self.interrupt();
                self.rest();
                let _ = done.send(());
            }
            Command::HangUp { turn } => {
                if let Some(current) = self.current.as_mut().filter(|current| current.id == turn) {
                    current.last = true;
                }
            }
            Command::Hear(hearing) => self.hear(hearing),
            Command::Act { action, done } => {
                // A number of its own: what was interrupted before does not end it, and what will be does.
                let turn = self.next;
                self.next = TurnId(turn.0 + 1);
                let _ = done.send(self.session.player.act(action, turn));
            }
            Command::Say(saying) => {
                if saying.interrupt {
                    self.listening = false;
                    self.interrupt();
                }
                let recorded = self.pending.iter().map(|pending| pending.words.recorded()).sum::<usize>();
                let accepted = self.pending.len() < MAX_PENDING && recorded + saying.words.recorded() <= MAX_RECORDED;
                if accepted {
                    let Saying { words, origin, voice, .. } = saying;
                    if let Words::Echo(text) | Words::Chat(text) = &words {
                        self.session.notify(Event::Transcript { text: text.clone(), r#final: true }, None);
                    }
                    self.pending.push_back(Pending { words, origin, voice, since: Instant::now() });
                } else {
                    metrics::rejected("L17");
                }
                let _ = saying.accepted.send(accepted);
                self.begin_next();
            }
        }
    }

    fn audience(&mut self, change: Audience) {
        self.watched = change == Audience::Came;
        if let Audience::Left(at) = change {
            self.cut(at);
            self.rest();
        }
        self.begin_next();
    }

    fn played(&mut self, played: Played) {
        let Some(current) = self.current.as_mut().filter(|current| current.played_as == played.turn) else { return };
        match played.mark {
            Mark::TurnStarted => {
                if std::mem::replace(&mut current.played, Progress::Begun) == Progress::Nothing {
                    metrics::turn_stage("played", current.since.elapsed());
                    let event = Event::Turn { id: current.id.0, event: TurnEvent::Started, heard: None };
                    self.session.notify(event, current.origin);
                }
                self.session.set_state(State::Speaking, current.origin);
            }
            Mark::Clause { text, words } => {
                current.speaker.clause_begun();
                let resumed = std::mem::take(&mut current.resumed);
                if !text.is_empty() {
                    let (turn, text, words) = (current.id.0, text.clone(), caption_words(&words));
                    let written = std::mem::take(&mut current.written);
                    self.session.notify(Event::Caption { turn, text, words, resumed, written }, current.origin);
                }
                current.clauses.push(HeardClause { text, words, at: played.at });
            }
            Mark::Written(text) => {
                current.speaker.text_shown();
                current.written.push_str(&text);
                if let Some(origin) = current.origin {
                    self.session.notify_written(text, origin);
                }
            }
            Mark::TurnEnded => {
                current.played = Progress::All;
                self.end_if_over();
            }
        }
    }

    fn made(&mut self, made: Result<(), TurnError>) {
        if let Some(current) = &mut self.current {
            current.made = Some(made);
            self.end_if_over();
        }
    }

    /// An answer is over when all of it is made and all of that is played.
    fn end_if_over(&mut self) {
        let Some(current) = self.current.take_if(|c| c.played == Progress::All && c.made.is_some()) else { return };
        let (id, origin) = (current.id.0, current.origin);
        let heard: String = current.clauses.iter().map(|clause| clause.text.as_str()).collect();
        self.session.remember(Role::Assistant, &heard);
        let event = match current.made {
            Some(Err(error)) => {
                if let TurnError::Nothing = error {
                    debug!(turn = id, "nothing to say");
                } else {
                    warn!(turn = id, code = error.code(), %error, "answer failed");
                }
                self.session.notify(Event::error(error.code(), error.to_string()), origin);
                TurnEvent::Failed
            }
            _ => TurnEvent::Ended,
        };
        self.session.notify(Event::Turn { id, event, heard: Some(heard) }, origin);
        if current.last {
            return self.session.end("end_call");
        }
        self.begin_next();
    }

    /// Cuts the answer that is made or heard, and forgets those that wait. Also before anything of it is heard.
    fn interrupt(&mut self) {
        let began = Instant::now();
        if self.cut(began) {
            metrics::interrupted(began.elapsed());
        }
    }

    /// The same; heard is what had begun by `heard_until`. False if there was no answer.
    fn cut(&mut self, heard_until: Instant) -> bool {
        self.pending.clear();
        // Also without an answer: there may be an action.
        self.session.player.interrupt(self.next);
        let Some(current) = self.current.take() else { return false };
        current.task.abort();
        let heard = heard_by(&current.clauses, heard_until);
        self.session.remember(Role::Assistant, &heard);
        let event = Event::Turn { id: current.id.0, event: TurnEvent::Interrupted, heard: Some(heard) };
        self.session.notify(event, current.origin);
        true
    }

    fn hear(&mut self, hearing: Hearing) {
        self.listening = hearing != Hearing::Nothing;
        match hearing {
            Hearing::Began => self.rest(),
            Hearing::CutIn => self.hold(),
            Hearing::Nothing => {
                self.resume();
                self.rest();
            }
        }
    }

    /// Silence at once, as of an interruption, but the answer may go on.
    fn hold(&mut self) {
        let Some(current) = self.current.as_mut().filter(|current| current.held.is_none()) else { return };
        let now = Instant::now();
        self.session.player.interrupt(self.next);
        let samples = current.clauses.last_mut().map_or(0, |clause| {
            let samples = (now - clause.at).as_millis() as u32 * 16;
            clause.keep(|word| word.start <= samples);
            samples
        });
        current.held = Some(Held { hold: current.speaker.hold(), samples });
        self.session.set_state(State::Listening, None);
    }

    /// Goes on with the word that was cut.
    fn resume(&mut self) {
        let Some(current) = &mut self.current else { return };
        let Some(Held { hold, samples }) = current.held.take() else { return };
        // It is said again.
        if let Some(clause) = current.clauses.last_mut() {
            let cut = clause.words.last().map(|word| word.start);
            clause.keep(|word| Some(word.start) != cut);
        }
        current.played_as = self.next;
        current.resumed = true;
        self.next = TurnId(self.next.0 + 1);
        let (speaker, turn) = (Arc::clone(&current.speaker), current.played_as);
        tokio::spawn(async move { speaker.resume(hold, turn, samples).await });
        if current.played == Progress::Nothing {
            self.session.set_state(State::Thinking, None);
        }
    }

    fn begin_next(&mut self) {
        if self.current.is_some() || !self.watched {
            return;
        }
        let Some(Pending { words, origin, voice, since }) = self.pending.pop_front() else { return self.rest() };
        let id = self.next;
        self.next = TurnId(id.0 + 1);
        if let Words::Echo(text) | Words::Chat(text) = &words {
            self.session.remember(Role::User, text);
        }
        let utterance = match words {
            Words::Echo(text) => Utterance::Echo(text),
            Words::Chat(_) => Utterance::Chat(self.chat(id, origin)),
            Words::Recording(sound) => Utterance::Recording(sound),
            Words::Relayed(answer) => Utterance::Relayed(answer),
        };
        let speaker = Arc::new(Speaker::new(Arc::clone(&self.session.player), id));
        let voice = voice.unwrap_or_else(|| self.session.speaks());
        let run = turn::run(Arc::clone(&speaker), utterance, Minds { voice, ..self.minds.clone() });
        let task = tokio::spawn(run.instrument(info_span!("turn", id = id.0)));
        self.current = Some(Current {
            id,
            played_as: id,
            speaker,
            held: None,
            played: Progress::Nothing,
            resumed: false,
            origin,
            since,
            task,
            made: None,
            last: false,
            clauses: vec![],
            written: String::new(),
        });
        self.session.set_state(State::Thinking, origin);
    }

    fn rest(&self) {
        if self.current.is_none() && self.pending.is_empty() {
            let state = if self.listening { State::Listening } else { State::Idle };
            self.session.set_state(state, None);
        }
    }

    /// What `turn` answers, and with which means.
    fn chat(&self, turn: TurnId, origin: Option<Origin>) -> Chat {
        let lines = self.session.history();
        let messages = self.history.fit(lines.iter().map(|Line { role, text }| (*role, text.as_str())));
        let tools = &self.minds.tools;
        let mut own = tools::built_in(tools, &self.session, &self.catalogue, turn);
        own.extend(self.session.tools());
        // Only the channel `chat` tells whose utterance it is.
        let splitter = origin.map_or_else(SentenceSplitter::new, |_| SentenceSplitter::at_every_comma());
        Chat { messages, tools: tools.with(own), max_rounds: tools.max_rounds(), splitter }
    }
}

/// Waits until the current answer is made; for ever if there is none, or if it is made already.
async fn made(current: &mut Option<Current>) -> Result<(), TurnError> {
    match current {
        Some(Current { task, made: None, .. }) => match task.await {
            Ok(made) => made,
            Err(_) => Err(TurnError::Panicked),
        },
        _ => std::future::pending().await,
    }
}

fn caption_words(words: &[Word]) -> Vec<CaptionWord> {
    let word = |w: &Word| CaptionWord { w: w.text.clone(), t_ms: turn::millis(w.start), d_ms: turn::millis(w.len) };
    words.iter().map(word).collect()
}

/// The words that had begun when `now` came.
fn heard_by(clauses: &[HeardClause], now: Instant) -> String {
    let begun = |clause: &HeardClause, word: &Word| turn::heard_at(clause.at, word.start) <= now;
    clauses
        .iter()
        .enumerate()
        .map(|(n, clause)| match clause.words.is_empty() {
            // Without timings a clause counts once the next one has begun.
            true if clauses.get(n + 1).is_some_and(|next| next.at <= now) => clause.text.clone(),
            true => String::new(),
            false => clause.words.iter().filter(|w| begun(clause, w)).map(|w| w.text.as_str()).collect(),
        })
        .collect::<String>()
        .trim_end()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn heard_is_what_had_begun_when_it_was_cut() {
        let at = Instant::now();
        let word = |text: &str, start_ms: u32| Word { text: text.into(), start: start_ms * 16, len: 3_200 };
        let clauses = [
            HeardClause { text: "One. ".into(), words: vec![word("One. ", 0)], at },
            HeardClause {
                text: "Two three four.".into(),
                words: vec![word("Two ", 50), word("three ", 300), word("four.", 700)],
                at: at + Duration::from_secs(1),
            },
        ];
        assert_eq!(heard_by(&clauses, at + Duration::from_millis(1_400)), "One. Two three");
        assert_eq!(heard_by(&[], at), "");
    }
}

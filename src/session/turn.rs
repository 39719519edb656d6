//! One answer: text to clauses to speech, in order, as early as each is ready.
//!
//! In: an [`Utterance`]. Out: items to the player's speech queue, whose fullness holds the voice and through it the model
//! back. One task per answer; dropping it cancels the requests it holds.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::{self, BoxStream};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::debug;

use super::Speaker;
use super::fallback::Line;
use crate::llm::{self, Call, ChatModel, Delta, Message, Prompt, Tool, Toolbox};
use crate::media::{AudioFrame, SAMPLES_PER_FRAME, Speech, Word};
use crate::metrics;
use crate::render::Item;
use crate::sentence::SentenceSplitter;
use crate::speakable::Speakable;
use crate::tts::{self, TextToSpeech};

/// Clauses written ahead of the voice. Full: the model waits.
const CLAUSE_QUEUE: usize = 4;

/// What is to be said.
pub enum Utterance {
    /// This text, literally.
    Echo(String),
    /// The answer to this conversation.
    Chat(Chat),
    /// This sound, 16 kHz mono. It has no caption, and the face listens to it.
    Recording(Vec<i16>),
    /// What another machine says, as it comes. The face listens to it.
    Relayed(mpsc::Receiver<Spoken>),
}

/// A piece of an answer that another machine makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// What is said from here on.
    Text(String),
    /// 16 kHz mono.
    Sound(Vec<i16>),
}

impl Utterance {
    /// The words that it comes from.
    fn asked(&self) -> &str {
        match self {
            Self::Echo(text) => text,
            Self::Chat(chat) => chat.messages.iter().rev().find_map(Message::said_by_user).unwrap_or_default(),
            Self::Recording(_) | Self::Relayed(_) => "",
        }
    }
}

/// What is to be answered.
pub struct Chat {
    /// The conversation.
    pub messages: Vec<Message>,
    /// What the model may have done.
    pub tools: Vec<Arc<dyn Tool>>,
    /// How often it may ask before it has to answer.
    pub max_rounds: usize,
    /// What cuts the answer.
    pub splitter: SentenceSplitter,
}

/// Who turns text into speech for a session.
#[derive(Clone)]
pub struct Minds {
    /// Writes answers.
    pub chat: Arc<dyn ChatModel>,
    /// Speaks them.
    pub voice: Arc<dyn TextToSpeech>,
    /// What the writer may do besides.
    pub tools: Arc<Toolbox>,
}

/// Why an answer is not complete.
#[derive(Debug, thiserror::Error)]
pub enum TurnError {
    /// The model failed.
    #[error(transparent)]
    Chat(#[from] llm::Error),
    /// The voice failed.
    #[error(transparent)]
    Voice(#[from] tts::Error),
    /// There was nothing in it that this voice can say.
    #[error("there is nothing in this text that the voice can say")]
    Nothing,
    /// A bug.
    #[error("the answer failed on the server")]
    Panicked,
}

impl TurnError {
    /// The stable name that clients may match.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Chat(error) => error.code(),
            Self::Voice(_) => "tts_failed",
            Self::Nothing => "nothing_to_say",
            Self::Panicked => "internal",
        }
    }
}

/// Says `utterance`. Returns when all of it is queued, which is up to 2 s before all of it is heard. Whatever
/// happens, the turn's [`Item::End`] is queued; after a failure a recorded line that says so comes before it.
pub async fn run(speaker: Arc<Speaker>, utterance: Utterance, minds: Minds) -> Result<(), TurnError> {
    let apology = Line::for_language_of(utterance.asked());
    let mute = minds.voice.is_mute().then(|| Arc::clone(&minds.voice));
    let (voiced, said) = say(&speaker, utterance, minds).await;
    let apologises = match &said {
        Err(TurnError::Chat(_)) => true,
        // Where a clause was lost between others, what was said stands for itself.
        Err(TurnError::Voice(_)) => !voiced,
        _ => false,
    };
    if apologises {
        metrics::fallback_spoken();
        let line = if let Some(mute) = mute {
            mute.speak(apology.text.to_owned())
        } else {
            let speech = Ok(apology.speech());
            stream::once(async { speech }).boxed()
        };
        // Where the voice failed, the answer itself has been written.
        let written = if let Err(TurnError::Chat(_)) = said { apology.text } else { "" };
        let _ = speak(&speaker, apology.text, written, line, None).await;
    }
    speaker.say(Item::End).await;
    said
}

/// Whether anything was voiced, and whether all was well.
async fn say(speaker: &Speaker, utterance: Utterance, minds: Minds) -> (bool, Result<(), TurnError>) {
    let began = Instant::now();
    if let Utterance::Recording(sound) = utterance {
        play(speaker, &sound).await;
        return (true, Ok(()));
    }
    if let Utterance::Relayed(pieces) = utterance {
        relay(speaker, pieces).await;
        return (true, Ok(()));
    }
    let (clauses_tx, mut clauses) = mpsc::channel(CLAUSE_QUEUE);
    let mut writer = Writer { splitter: SentenceSplitter::new(), clauses: clauses_tx, began: Some(began) };
    let writing = async move {
        let answered = match utterance {
            Utterance::Echo(text) => {
                writer.push(&text).await;
                Ok(())
            }
            Utterance::Chat(chat) => answer(&*minds.chat, chat, &mut writer).await,
            Utterance::Recording(_) | Utterance::Relayed(_) => Ok(()),
        };
        if answered.is_ok() {
            writer.flush().await;
        }
        // What a model that failed left unfinished is shown, but not said.
        (answered, writer.splitter.flush())
    };
    let voice = minds.voice;
    // It owns the clauses: if the voice fails, the model is not kept waiting for it.
    let speaking = async move {
        let mut speakable = Speakable::default();
        let (mut voiced, mut failed) = (false, None);
        while let Some(clause) = clauses.recv().await {
            let said = speakable.clause(&clause);
            let speech = voice.speak(said);
            let (heard, spoken) = speak(speaker, &clause, &clause, speech, (!voiced).then_some(began)).await;
            voiced |= heard;
            // The next clause may succeed, so a failure is told at the end.
            failed = failed.or(spoken.err());
        }
        (voiced, failed)
    };
    // Both at once: the first clause is spoken while the model writes the second.
    let ((answered, unfinished), (voiced, failed)) = tokio::join!(writing, speaking);
    if let Some(text) = unfinished {
        speaker.say(Item::Written(text)).await;
    }
    let said = match (answered, failed) {
        (Err(error), _) => Err(error.into()),
        (Ok(()), Some(error)) => Err(error.into()),
        (Ok(()), None) if voiced => Ok(()),
        (Ok(()), None) => Err(TurnError::Nothing),
    };
    (voiced, said)
}

/// Queues a recording as one clause without words; its last frame is filled up with silence.
async fn play(speaker: &Speaker, sound: &[i16]) {
    speaker.say(Item::Clause { text: String::new(), words: Vec::new(), phonemes: Vec::new() }).await;
    for samples in sound.chunks(SAMPLES_PER_FRAME) {
        let mut frame = AudioFrame::SILENCE;
        frame.0[..samples.len()].copy_from_slice(samples);
        speaker.say(Item::Audio(frame)).await;
    }
}

/// Queues what another machine says, a clause for each text.
async fn relay(speaker: &Speaker, mut pieces: mpsc::Receiver<Spoken>) {
    let clause = |text| Item::Clause { text, words: Vec::new(), phonemes: Vec::new() };
    let mut frames = Framer::default();
    let mut begun = false;
    while let Some(piece) = pieces.recv().await {
        match piece {
            Spoken::Text(text) => {
                speaker.say(Item::Written(text.clone())).await;
                speaker.say(clause(text)).await;
            }
            Spoken::Sound(sound) => {
                if !begun {
                    speaker.say(clause(String::new())).await;
                }
                for frame in frames.push(&sound) {
                    speaker.say(Item::Audio(frame)).await;
                }
            }
        }
        begun = true;
    }
    if let Some(frame) = frames.finish() {
        speaker.say(Item::Audio(frame)).await;
    }
}

/// Has `model` answer. What it wants done is done, and told to it, until it has nothing left to ask.
async fn answer(model: &dyn ChatModel, chat: Chat, writer: &mut Writer) -> Result<(), llm::Error> {
    let Chat { mut messages, tools, max_rounds, splitter } = chat;
    writer.splitter = splitter;
    let specs: Vec<_> = tools.iter().map(|tool| tool.spec().clone()).collect();
    for round in 0..=max_rounds {
        let must_answer = round == max_rounds;
        let mut reply = model.reply(Prompt { messages: messages.clone(), tools: specs.clone(), must_answer });
        let (mut text, mut calls) = (String::new(), Vec::new());
        while let Some(delta) = reply.next().await {
            match delta? {
                Delta::Text(more) => {
                    writer.push(&more).await;
                    text.push_str(&more);
                }
                Delta::Call(call) => calls.push(call),
            }
        }
        if calls.is_empty() || must_answer {
            break;
        }
        // "One moment" is heard while it passes.
        if !text.is_empty() {
            writer.push(" ").await;
            writer.flush().await;
        }
        let results = join_all(calls.iter().map(|call| use_tool(&tools, call))).await;
        messages.push(Message::Assistant { text, calls });
        messages.extend(results);
    }
    Ok(())
}

async fn use_tool(tools: &[Arc<dyn Tool>], call: &Call) -> Message {
    let began = Instant::now();
    let (text, worked) = llm::tools::run(tools, &call.name, &call.arguments).await;
    debug!(worked, took_ms = began.elapsed().as_millis(), "tool used");
    metrics::tool_used(worked);
    Message::Tool { call: call.id.clone(), text }
}

/// Cuts deltas into clauses for the voice.
struct Writer {
    splitter: SentenceSplitter,
    clauses: mpsc::Sender<String>,
    /// Since when the first delta is waited for.
    began: Option<Instant>,
}

impl Writer {
    async fn push(&mut self, delta: &str) {
        if let Some(began) = self.began.take() {
            metrics::turn_stage("llm", began.elapsed());
        }
        for clause in self.splitter.push(delta) {
            // A voice that has failed ends the turn by itself.
            let _ = self.clauses.send(clause).await;
        }
    }

    /// What is left is a clause, however short.
    async fn flush(&mut self) {
        if let Some(clause) = self.splitter.flush() {
            let _ = self.clauses.send(clause).await;
        }
    }
}

/// Queues one clause as its speech comes, and what was written for it even if no speech does. True if there was sound in it.
async fn speak(
    speaker: &Speaker,
    text: &str,
    written: &str,
    mut speech: BoxStream<'static, Result<Speech, tts::Error>>,
    began: Option<Instant>,
) -> (bool, Result<(), tts::Error>) {
    let mut pieces = Framer::default();
    let mut voiced = false;
    let mut spoken = Ok(());
    while let Some(piece) = speech.next().await {
        let Speech { pcm, phonemes, words } = match piece {
            Ok(speech) => speech,
            Err(error) => {
                spoken = Err(error);
                break;
            }
        };
        if !voiced && let Some(began) = began {
            metrics::turn_stage("tts", began.elapsed());
        }
        if !voiced {
            speaker.say(Item::Written(written.to_owned())).await;
        }
        if !voiced || !phonemes.is_empty() || !words.is_empty() {
            let text = caption(text, &words, voiced);
            speaker.say(Item::Clause { text, words, phonemes }).await;
        }
        voiced = true;
        for frame in pieces.push(&pcm) {
            speaker.say(Item::Audio(frame)).await;
        }
    }
    if let Some(frame) = pieces.finish() {
        speaker.say(Item::Audio(frame)).await;
    }
    if !voiced {
        speaker.say(Item::Written(written.to_owned())).await;
    }
    if spoken.is_err() && !voiced {
        speaker.say(Item::Clause { text: text.to_owned(), words: Vec::new(), phonemes: Vec::new() }).await;
    }
    (voiced, spoken)
}

/// What is written while a piece of a clause is heard: the clause itself if this is all of it, else the piece's own
/// words, so that the words of a caption always join to its text.
fn caption(clause: &str, words: &[Word], later: bool) -> String {
    let joined: String = words.iter().map(|word| word.text.as_str()).collect();
    if joined.is_empty() {
        return if later { String::new() } else { clause.to_owned() };
    }
    if joined.trim_end() == clause.trim_end() {
        return clause.to_owned();
    }
    // What the voice was given has lost its markdown, and with it the space before the next clause. From U+2E80 on
    // scripts write without spaces.
    if joined.ends_with(|c: char| c.is_whitespace() || c >= '\u{2e80}') { joined } else { joined + " " }
}

/// Cuts sound of any length into 20 ms frames without losing a sample.
#[derive(Default)]
struct Framer {
    rest: Vec<i16>,
}

impl Framer {
    fn push(&mut self, pcm: &[i16]) -> Vec<AudioFrame> {
        self.rest.extend_from_slice(pcm);
        let whole = self.rest.len() / SAMPLES_PER_FRAME * SAMPLES_PER_FRAME;
        let frames = self.rest[..whole].as_chunks().0.iter().map(|samples| AudioFrame(*samples)).collect();
        self.rest.drain(..whole);
        frames
    }

    /// The tail, filled up with silence.
    fn finish(mut self) -> Option<AudioFrame> {
        if self.rest.is_empty() {
            return None;
        }
        self.rest.resize(SAMPLES_PER_FRAME, 0);
        self.push(&[]).pop()
    }
}

/// Milliseconds of `samples` at 16 kHz.
pub(super) fn millis(samples: u32) -> u32 {
    samples / 16
}

/// How long after `at` the sample `start` is heard.
pub(super) fn heard_at(at: Instant, start: u32) -> Instant {
    at + Duration::from_millis(u64::from(millis(start)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::media::{Mark, Phoneme, TurnId, VideoFrame};
    use crate::render::{Gesture, LipSync};
    use crate::track::{Bitrate, HumanPlayer, Setup, Throttle};

    /// A face that does nothing.
    struct Still(Arc<VideoFrame>);

    impl LipSync for Still {
        fn cue(&mut self, _: u64, _: &[Phoneme]) {}

        fn hear(&mut self, _: u64, _: &AudioFrame) {}

        fn cut(&mut self, _: u64) {}

        fn pass(&mut self, _: u64, _: &[AudioFrame; 2]) {}

        fn gesture(&mut self, _: u64, _: Gesture) {}

        fn picture(&mut self, _: u64, _: &[AudioFrame; 2]) -> Arc<VideoFrame> {
            Arc::clone(&self.0)
        }
    }

    /// Fails at each clause that it was told to fail at.
    struct Hoarse(&'static str);

    impl TextToSpeech for Hoarse {
        fn speak(&self, clause: String) -> BoxStream<'static, Result<Speech, tts::Error>> {
            if clause.is_empty() {
                return stream::empty().boxed();
            }
            let said = Ok(Speech { pcm: vec![9; 1_000], ..Speech::default() });
            let speech = if clause.contains(self.0) { Err(tts::Error::Panicked) } else { said };
            stream::once(async { speech }).boxed()
        }
    }

    #[tokio::test]
    async fn a_clause_that_cannot_be_said_is_shown_and_the_next_one_is_said() {
        let (played_tx, mut played) = mpsc::channel(100);
        let bitrate = Bitrate { min: 100_000, start: 100_000, max: 100_000 };
        let face = Box::new(Still(Arc::new(VideoFrame::black(64, 64))));
        let setup = Setup { name: "hoarse".into(), face, throttle: Throttle::Off, bitrate };
        let (player, ended) = HumanPlayer::start(setup, played_tx).unwrap();
        let chat = llm::build(&llm::Config::default()).unwrap();
        let tools = Arc::new(Toolbox::new(&llm::Config::default().tools).unwrap());
        let minds = Minds { chat, voice: Arc::new(Hoarse("never")), tools };
        let text = "This is *never* said aloud. But **this** one is said.\n🎉 ".to_owned();
        let said = run(Arc::new(Speaker::new(Arc::new(player), TurnId(1))), Utterance::Echo(text.clone()), minds).await;
        assert!(matches!(said, Err(TurnError::Voice(tts::Error::Panicked))), "{said:?}");
        let _ = ended.await;
        let (mut shown, mut written) = (String::new(), String::new());
        while let Some(played) = played.recv().await {
            match played.mark {
                Mark::Clause { text, .. } => shown.push_str(&text),
                Mark::Written(text) => written.push_str(&text),
                _ => {}
            }
        }
        assert_eq!(shown, "This is *never* said aloud. But **this** one is said.\n");
        assert_eq!(written, text, "also what no voice can say");
    }

    #[test]
    fn a_caption_is_what_its_words_join_to() {
        let words = |text: &str| -> Vec<Word> {
            text.split_inclusive(' ').map(|w| Word { text: w.to_owned(), start: 0, len: 0 }).collect()
        };
        assert_eq!(caption("Hello there. ", &words("Hello there."), false), "Hello there. ");
        assert_eq!(caption("**Hello** there.", &words("Hello there."), false), "Hello there. ");
        assert_eq!(caption("one two three four", &words("three four"), true), "three four ");
        assert_eq!(caption("你好，世界。", &words("你好，"), false), "你好，");
        assert_eq!(caption("untimed", &[], false), "untimed");
        assert_eq!(caption("untimed", &[], true), "");
    }

    /// A model that says something, then asks for a tool, each time that it may.
    struct Eager(std::sync::Mutex<Vec<Prompt>>);

    impl ChatModel for Eager {
        fn reply(&self, prompt: Prompt) -> BoxStream<'static, Result<Delta, llm::Error>> {
            let round = self.0.lock().unwrap().len();
            let text = if prompt.must_answer { "The end.".to_owned() } else { format!("Try {round}.") };
            let call = Call { id: format!("call_{round}"), name: "none".into(), arguments: String::new() };
            let more = (!prompt.must_answer).then_some(Ok(Delta::Call(call)));
            self.0.lock().unwrap().push(prompt);
            stream::iter(std::iter::once(Ok(Delta::Text(text))).chain(more)).boxed()
        }
    }

    #[tokio::test]
    async fn a_model_that_only_asks_for_tools_has_to_answer_in_the_end() {
        let (clauses, mut said) = mpsc::channel(10);
        let mut writer = Writer { splitter: SentenceSplitter::new(), clauses, began: None };
        let model = Eager(std::sync::Mutex::default());
        let chat = Chat {
            messages: vec![Message::User("Well?".into())],
            tools: vec![],
            max_rounds: 2,
            splitter: SentenceSplitter::new(),
        };
        answer(&model, chat, &mut writer).await.unwrap();
        writer.flush().await;
        drop(writer);
        let prompts = model.0.into_inner().unwrap();
        assert_eq!(prompts.iter().map(|prompt| prompt.must_answer).collect::<Vec<_>>(), [false, false, true]);
        // One reply and one result a round, and the failure is told.
        let Message::Tool { call, text } = &prompts[2].messages[4] else { panic!("{:?}", prompts[2]) };
        assert!(call == "call_1" && text.contains("no such tool"), "{text}");
        let mut heard = String::new();
        while let Some(clause) = said.recv().await {
            heard.push_str(&clause);
        }
        assert_eq!(heard, "Try 0. Try 1. The end.", "what was said before a call is a clause of its own");
    }

    proptest! {
        #[test]
        fn framing_loses_no_sample_for_any_chunking(chunks in proptest::collection::vec(0_usize..1_000, 0..20)) {
            let mut framer = Framer::default();
            let (mut sent, mut next) = (Vec::new(), 0_i16);
            let mut heard: Vec<i16> = Vec::new();
            for len in chunks {
                let pcm: Vec<i16> = (0..len).map(|_| { next = next.wrapping_add(1); next }).collect();
                heard.extend(framer.push(&pcm).iter().flat_map(|f| f.0));
                sent.extend(pcm);
            }
            heard.extend(framer.finish().iter().flat_map(|f| f.0));
            prop_assert_eq!(&heard[..sent.len()], &sent[..]);
            prop_assert!(heard[sent.len()..].iter().all(|s| *s == 0));
            prop_assert!(heard.len() - sent.len() < SAMPLES_PER_FRAME);
        }
    }
}

//! One answer: text to clauses to speech, in order, as early as each is ready.
//!
//! In: an [`Utterance`]. Out: items to the player's speech queue, whose fullness holds the voice and through it the model
//! back. One task per answer; dropping it cancels the requests it holds.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::llm::{self, ChatModel, Message};
use crate::media::{AudioFrame, SAMPLES_PER_FRAME, Speech, TurnId, Word};
use crate::metrics;
use crate::render::Item;
use crate::sentence::SentenceSplitter;
use crate::speakable::Speakable;
use crate::track::HumanPlayer;
use crate::tts::{self, TextToSpeech};

/// Clauses written ahead of the voice. Full: the model waits.
const CLAUSE_QUEUE: usize = 4;

/// What is to be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Utterance {
    /// This text, literally.
    Echo(String),
    /// The answer to this conversation.
    Chat(Vec<Message>),
}

/// Who turns text into speech for a session.
#[derive(Clone)]
pub struct Minds {
    /// Writes answers.
    pub chat: Arc<dyn ChatModel>,
    /// Speaks them.
    pub voice: Arc<dyn TextToSpeech>,
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
            Self::Chat(_) => "llm_failed",
            Self::Voice(_) => "tts_failed",
            Self::Nothing => "nothing_to_say",
            Self::Panicked => "internal",
        }
    }
}

/// Says `utterance` as `turn`. Returns when all of it is queued, which is up to 2 s before all of it is heard. Whatever
/// happens, the turn's [`Item::End`] is queued.
pub async fn run(turn: TurnId, utterance: Utterance, minds: Minds, player: Arc<HumanPlayer>) -> Result<(), TurnError> {
    let said = say(turn, utterance, minds, &player).await;
    player.say(turn, Item::End).await;
    said
}

async fn say(turn: TurnId, utterance: Utterance, minds: Minds, player: &HumanPlayer) -> Result<(), TurnError> {
    let began = Instant::now();
    let deltas = match utterance {
        Utterance::Echo(text) => stream::once(async { Ok(text) }).boxed(),
        Utterance::Chat(messages) => minds.chat.reply(messages),
    };
    let (clauses_tx, mut clauses) = mpsc::channel(CLAUSE_QUEUE);
    let writing = write(deltas, clauses_tx, began);
    let speaking = async {
        let mut speakable = Speakable::default();
        let (mut voiced, mut failed) = (false, None);
        while let Some(clause) = clauses.recv().await {
            let said = speakable.clause(&clause);
            let speech = minds.voice.speak(said);
            let (heard, spoken) = speak(turn, &clause, speech, player, (!voiced).then_some(began)).await;
            voiced |= heard;
            // The next clause may succeed, so a failure is told at the end.
            failed = failed.or(spoken.err());
        }
        failed.map_or(Ok(voiced), Err)
    };
    // Both at once: the first clause is spoken while the model writes the second.
    let (written, voiced) = tokio::join!(writing, speaking);
    written?;
    if voiced? { Ok(()) } else { Err(TurnError::Nothing) }
}

/// Cuts the deltas into clauses.
async fn write(
    mut deltas: BoxStream<'static, Result<String, llm::Error>>,
    clauses: mpsc::Sender<String>,
    began: Instant,
) -> Result<(), TurnError> {
    let mut splitter = SentenceSplitter::new();
    let mut first = true;
    while let Some(delta) = deltas.next().await {
        let delta = delta?;
        if std::mem::take(&mut first) {
            metrics::turn_stage("llm", began.elapsed());
        }
        for clause in splitter.push(&delta) {
            if clauses.send(clause).await.is_err() {
                return Ok(());
            }
        }
    }
    if let Some(clause) = splitter.flush() {
        let _ = clauses.send(clause).await;
    }
    Ok(())
}

/// Queues one clause as its speech comes, and its text even if no speech does. True if there was sound in it.
async fn speak(
    turn: TurnId,
    text: &str,
    mut speech: BoxStream<'static, Result<Speech, tts::Error>>,
    player: &HumanPlayer,
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
        if !voiced || !phonemes.is_empty() || !words.is_empty() {
            let text = caption(text, &words, voiced);
            player.say(turn, Item::Clause { text, words, phonemes }).await;
        }
        voiced = true;
        for frame in pieces.push(&pcm) {
            player.say(turn, Item::Audio(frame)).await;
        }
    }
    if let Some(frame) = pieces.finish() {
        player.say(turn, Item::Audio(frame)).await;
    }
    if spoken.is_err() && !voiced {
        player.say(turn, Item::Clause { text: text.to_owned(), words: Vec::new(), phonemes: Vec::new() }).await;
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
    use crate::media::{Mark, Phoneme, VideoFrame};
    use crate::render::LipSync;
    use crate::track::{Bitrate, Setup, Throttle};

    /// A face that does nothing.
    struct Still(Arc<VideoFrame>);

    impl LipSync for Still {
        fn cue(&mut self, _: u64, _: &[Phoneme]) {}

        fn cut(&mut self, _: u64) {}

        fn picture(&mut self, _: u64, _: &[AudioFrame; 2]) -> Arc<VideoFrame> {
            Arc::clone(&self.0)
        }
    }

    /// Fails at each clause that it was told to fail at.
    struct Hoarse(&'static str);

    impl TextToSpeech for Hoarse {
        fn speak(&self, clause: String) -> BoxStream<'static, Result<Speech, tts::Error>> {
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
        let chat = llm::build(&llm::Config::default());
        let minds = Minds { chat, voice: Arc::new(Hoarse("never")) };
        let text = "This is never said aloud. But this one is said.".to_owned();
        let said = run(TurnId(1), Utterance::Echo(text), minds, Arc::new(player)).await;
        assert!(matches!(said, Err(TurnError::Voice(tts::Error::Panicked))), "{said:?}");
        let _ = ended.await;
        let mut shown = String::new();
        while let Some(played) = played.recv().await {
            if let Mark::Clause { text, .. } = played.mark {
                shown.push_str(&text);
            }
        }
        assert_eq!(shown, "This is never said aloud. But this one is said.");
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

//! One microphone's way into the conversation.
//!
//! In: its frames, and what its viewer says about it. Out: commands to the conversation. One task a viewer. Speech of
//! half a second holds what the avatar is saying; words replace it, and where no words follow it goes on.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, BoxStream, SelectAll};
use futures_util::{FutureExt, StreamExt};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, warn};

use super::conversation::{Command, Hearing};
use super::event::{Event, State};
use super::{MAX_CHARS, Session, check_text};
use crate::asr::{self, Endpoint, SpeechToText, Transcript};
use crate::media::AudioFrame;
use crate::metrics;

/// How long an answer that was cut in on waits for words before it goes on.
const RESUME_AFTER: Duration = Duration::from_secs(2);

/// What people say to show that they listen; it does not ask for another answer.
const BACK_CHANNELS: [&str; 34] = [
    "mm", "mhm", "mmhm", "mm-hm", "mm-hmm", "hm", "hmm", "uh-huh", "uh huh", "uhhuh", "huh", "ah", "oh", "yeah", "yep",
    "yes", "ok", "okay", "right", "i see", "sure", "嗯", "嗯嗯", "哦", "噢", "啊", "对", "对对", "好", "好的", "是", "是的",
    "行", "明白",
];

/// What a viewer says about its microphone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mic {
    /// Whether it is to be heard. Turning it off ends what is being said at once.
    pub on: bool,
    /// `on` is a key that is held: it begins and ends what is said.
    pub hold: bool,
}

impl Default for Mic {
    /// Clients that do not speak of their microphone are heard.
    fn default() -> Self {
        Self { on: true, hold: false }
    }
}

/// Ears and their manners.
#[derive(Clone)]
pub struct Ears {
    /// Who writes down; `None` while the model is being loaded, and its sender is gone if that failed.
    pub recogniser: watch::Receiver<Option<Arc<dyn SpeechToText>>>,
    /// How utterances are found.
    pub config: asr::Config,
}

impl Ears {
    /// Nothing comes if there is no time for it.
    pub(crate) fn guess(&self, said: Arc<[i16]>) -> BoxStream<'static, Result<Transcript, asr::Error>> {
        let recogniser = self.recogniser.borrow();
        recogniser.as_ref().map_or_else(|| stream::empty().boxed(), |recogniser| recogniser.guess(said))
    }

    pub(crate) fn transcribe(&self, utterance: Arc<[i16]>) -> BoxStream<'static, Result<Transcript, asr::Error>> {
        let mut recogniser = self.recogniser.clone();
        let loaded = async move { recogniser.wait_for(Option::is_some).await.ok().and_then(|r| r.clone()) };
        let transcripts = loaded.map(|recogniser| match recogniser {
            Some(recogniser) => recogniser.transcribe(utterance),
            None => stream::once(async { Err(asr::Error::Absent) }).boxed(),
        });
        transcripts.flatten_stream().boxed()
    }
}

/// What the recogniser says of an utterance.
struct Written {
    /// When the utterance ended.
    ended: Instant,
    /// Whether it cut in on an answer.
    cut_in: bool,
    transcript: Result<Transcript, asr::Error>,
}

/// Transcripts in the making; dropping it cancels them.
type Guess = AbortOnDropHandle<Vec<Result<Transcript, asr::Error>>>;

pub(super) struct Ear {
    session: Arc<Session>,
    ears: Ears,
    endpoint: Endpoint,
    mic: Mic,
    /// Utterances that are being written down.
    writing: SelectAll<BoxStream<'static, Written>>,
    /// What has been said so far is being written down, in case that it is all.
    guess: Option<Guess>,
    /// What was said before, where somebody has spoken for longer than an utterance may be.
    before: Option<oneshot::Receiver<String>>,
    /// The conversation was told that somebody speaks.
    told: Option<Hearing>,
    /// When an answer that was cut in on goes on.
    resume_at: Option<Instant>,
    /// A viewer was shown words that are not final.
    shown: bool,
}

impl Ear {
    pub(super) fn new(session: Arc<Session>, ears: Ears) -> Self {
        let endpoint = Endpoint::new(ears.config.stop_ms);
        let (mic, writing) = (Mic::default(), SelectAll::new());
        Self { session, ears, endpoint, mic, writing, guess: None, before: None, told: None, resume_at: None, shown: false }
    }

    /// Listens until the microphone is gone. `over` says that all has been said.
    pub(super) async fn listen(
        mut self,
        mut frames: mpsc::Receiver<AudioFrame>,
        mut mic: watch::Receiver<Mic>,
        over: Arc<Notify>,
    ) {
        let mut switched = true;
        loop {
            let resume = self.resume_at;
            tokio::select! {
                biased;
                changed = mic.changed(), if switched => match changed {
                    Ok(()) => {
                        let mic = *mic.borrow_and_update();
                        self.switch(mic).await;
                    }
                    Err(_) => switched = false,
                },
                Some(written) = self.writing.next() => self.written(written).await,
                () = sleep_until(resume.unwrap_or_else(Instant::now)), if resume.is_some() => self.hear(Hearing::Nothing).await,
                frame = frames.recv() => match frame {
                    Some(frame) => self.frame(&frame).await,
                    None => break,
                },
                // After the frames, since it was said after them.
                () = over.notified() => {
                    for event in self.endpoint.finish() {
                        self.notice(event).await;
                    }
                }
            }
        }
        self.hear(Hearing::Nothing).await;
    }

    async fn switch(&mut self, mic: Mic) {
        let before = std::mem::replace(&mut self.mic, mic);
        if mic == before {
            return;
        }
        let mut events = self.endpoint.close();
        if !mic.on {
            self.before = None;
            events.extend(self.endpoint.reset());
        } else if mic.hold {
            events.extend(self.endpoint.open());
        }
        for event in events {
            self.notice(event).await;
        }
    }

    async fn frame(&mut self, frame: &AudioFrame) {
        if !self.mic.on {
            return;
        }
        for event in self.endpoint.push(frame) {
            self.notice(event).await;
        }
    }

    async fn notice(&mut self, event: asr::Event) {
        match event {
            asr::Event::SpeechStarted => self.hear(Hearing::Began).await,
            asr::Event::SpeechFor(spoken) => {
                let meant = Duration::from_millis(self.ears.config.barge_in_ms.into());
                let cuts_in = spoken >= meant && self.told == Some(Hearing::Began);
                if cuts_in && matches!(self.session.state(), State::Speaking | State::Thinking) {
                    self.hear(Hearing::CutIn).await;
                }
            }
            asr::Event::Pause(samples) => {
                let transcripts = self.ears.guess(samples.into());
                self.guess = Some(AbortOnDropHandle::new(tokio::spawn(transcripts.collect())));
            }
            asr::Event::WentOn => self.guess = None,
            asr::Event::Discarded => {
                self.guess = None;
                match self.before.take() {
                    None => self.hear(Hearing::Nothing).await,
                    Some(before) => {
                        self.write(stream::once(async { Ok(last(String::new())) }).boxed(), Some(before), false);
                    }
                }
            }
            asr::Event::Utterance(samples) => {
                // It was cut, and they speak on: what follows belongs to it.
                let goes_on = self.endpoint.is_speech();
                let before = self.before.take();
                let transcripts = heard(self.ears.clone(), self.guess.take(), samples.into()).flatten_stream().boxed();
                self.write(transcripts, before, goes_on);
            }
        }
    }

    /// Waits for `transcripts`, which continue what was said `before`.
    fn write(
        &mut self,
        transcripts: BoxStream<'static, Result<Transcript, asr::Error>>,
        before: Option<oneshot::Receiver<String>>,
        goes_on: bool,
    ) {
        let ended = Instant::now();
        let cut_in = self.told == Some(Hearing::CutIn);
        self.resume_at = (cut_in && !goes_on).then(|| ended + RESUME_AFTER);
        let (tell, told) = oneshot::channel();
        self.before = goes_on.then_some(told);
        let transcripts = continued(transcripts, before, goes_on.then_some(tell));
        let written = transcripts.map(move |transcript| Written { ended, cut_in, transcript });
        self.writing.push(written.boxed());
    }

    async fn written(&mut self, Written { ended, cut_in, transcript }: Written) {
        match transcript {
            Ok(Transcript { text, is_final: false, .. }) => {
                self.shown = true;
                self.session.notify(Event::Transcript { text, r#final: false }, None);
            }
            Ok(Transcript { text, .. }) => {
                metrics::turn_stage("asr", ended.elapsed());
                debug!(chars = text.chars().count(), took_ms = ended.elapsed().as_millis(), "utterance written down");
                let only_listens = cut_in && is_back_channel(&text);
                match check_text(&text) {
                    Ok(text) if !only_listens => self.ask(text).await,
                    _ => self.nothing().await,
                }
            }
            Err(error) => {
                warn!(%error, "an utterance was not understood");
                metrics::asr_failed();
                let msg = "the speech recognition failed: say it again, or type it";
                self.session.notify(Event::error("asr_failed", msg), None);
                self.nothing().await;
            }
        }
    }

    async fn ask(&mut self, text: String) {
        (self.told, self.resume_at, self.shown) = (None, None, false);
        if let Err(error) = self.session.say(text, true, true).await {
            self.session.notify(Event::error("busy", error.to_string()), None);
        }
    }

    async fn nothing(&mut self) {
        if std::mem::take(&mut self.shown) {
            self.session.notify(Event::Transcript { text: String::new(), r#final: true }, None);
        }
        self.hear(Hearing::Nothing).await;
    }

    async fn hear(&mut self, hearing: Hearing) {
        if hearing == Hearing::Nothing {
            self.resume_at = None;
            if self.told.take().is_none() {
                return;
            }
        } else {
            self.told = Some(hearing);
        }
        // A session that is ending hears nothing any more.
        let _ = self.session.commands.send(Command::Hear(hearing)).await;
    }
}

/// What was guessed of an utterance, or else what the ears make of it.
async fn heard(
    ears: Ears,
    guess: Option<Guess>,
    utterance: Arc<[i16]>,
) -> BoxStream<'static, Result<Transcript, asr::Error>> {
    let guessed = match guess {
        Some(guess) => guess.await.unwrap_or_default(),
        None => Vec::new(),
    };
    if guessed.is_empty() { ears.transcribe(utterance) } else { stream::iter(guessed).boxed() }
}

fn last(text: String) -> Transcript {
    Transcript { text, is_final: true, ..Transcript::default() }
}

/// The end of `transcripts` continues what was said `before`. If there is an `after`, it is told, and nothing is final yet.
fn continued(
    transcripts: BoxStream<'static, Result<Transcript, asr::Error>>,
    mut before: Option<oneshot::Receiver<String>>,
    mut after: Option<oneshot::Sender<String>>,
) -> BoxStream<'static, Result<Transcript, asr::Error>> {
    let end = move |transcript: Result<Transcript, asr::Error>| {
        let is_end = transcript.as_ref().map_or(true, |transcript| transcript.is_final);
        let (before, after) = if is_end { (before.take(), after.take()) } else { (None, None) };
        async move {
            if !is_end {
                return transcript;
            }
            let mut said = match before {
                Some(before) => before.await.unwrap_or_default(),
                None => String::new(),
            };
            // A part that was not understood leaves a hole, and who says too much is known by the end of it.
            let transcript = transcript.inspect(|transcript| asr::append(&mut said, &transcript.text));
            let over = said.chars().count().saturating_sub(MAX_CHARS);
            let said: String = said.chars().skip(over).collect();
            match after {
                Some(after) => {
                    let _ = after.send(said.clone());
                    transcript.map(|transcript| Transcript { text: said, is_final: false, ..transcript })
                }
                None => transcript.map(|transcript| Transcript { text: said, ..transcript }),
            }
        }
    };
    transcripts.then(end).boxed()
}

/// Whether somebody only shows that they listen: "Okay, okay."
fn is_back_channel(text: &str) -> bool {
    let text = text.to_lowercase();
    let known = |words: &str| BACK_CHANNELS.contains(&words);
    let is_one = |part: &str| known(part.trim()) || part.split_whitespace().all(known);
    let mut parts =
        text.split(['.', ',', '!', '。', '，', '！', '、', '…']).filter(|part| !part.trim().is_empty()).peekable();
    parts.peek().is_some() && parts.all(is_one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_channels_are_told_from_words() {
        for heard in ["Mm-hm.", "Yeah", "OK!", "Okay, okay.", "okay okay", "I see.", "嗯。", "好的，好的。"] {
            assert!(is_back_channel(heard), "{heard}");
        }
        for said in ["Yes, but why?", "Stop", "不对", "好吧，停", ""] {
            assert!(!is_back_channel(said), "{said}");
        }
    }
}

//! Voices in the order of preference, and what is done when one fails.
//!
//! In: a clause. Out: the speech of the first voice that has any. Until a voice is heard another may take over; after
//! that nothing is repeated, the sound fades and the clause ends with the fault. A voice that failed rests for a while, so
//! that the next clauses do not wait for it. Runs within the stream's own task.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use super::net::{Fault, Out, generate};
use super::{Error, Manner, TextToSpeech, Timeouts};
use crate::media::{AUDIO_RATE_HZ, Phoneme, Speech, Word};
use crate::metrics;

/// Waits between the three attempts that the last voice of a chain gets (seed 001). Voices before it get one: somebody
/// is waiting, and another voice is there.
const BACKOFF: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];
/// Longest wait that a service may ask for (`Retry-After`) between two attempts; if it wants more, it has failed.
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);
/// How long a voice rests after a failure (limit L19); while it rests, others come first and it gets one attempt.
const REST: Duration = Duration::from_secs(15);
/// The same after a failure that only the operator can mend, such as a wrong key.
const LONG_REST: Duration = Duration::from_mins(1);
/// However long a service wants to be left alone.
const LONGEST_REST: Duration = Duration::from_mins(5);
/// Longest speech of a clause (limit L19), far above what a clause of 400 characters takes.
const LONGEST_SPEECH: Duration = Duration::from_mins(2);
/// Samples held back, 5 ms: enough to fade out when the rest does not come.
const FADE: usize = 80;

/// One voice of a chain.
#[derive(Clone)]
pub(super) struct Link {
    name: &'static str,
    voice: Arc<dyn TextToSpeech>,
    /// Whether it is on the network: it has to be quick then, and has to have something to say.
    remote: bool,
    /// Whatever its manner.
    resting: Arc<Mutex<Option<Instant>>>,
}

/// Voices in the order of preference.
pub(super) struct Chain {
    links: Arc<[Link]>,
    timeouts: Timeouts,
}

impl Chain {
    pub(super) fn new(links: Vec<Link>, timeouts: Timeouts) -> Self {
        Self { links: links.into(), timeouts }
    }
}

impl TextToSpeech for Chain {
    fn speak(&self, clause: String) -> BoxStream<'static, Result<Speech, Error>> {
        // Marks and emoji alone are nothing to say, and no service needs to be asked about them.
        if !clause.chars().any(char::is_alphanumeric) {
            return stream::empty().boxed();
        }
        let (links, timeouts) = (Arc::clone(&self.links), self.timeouts);
        generate(move |out| async move {
            let now = Instant::now();
            let (awake, resting): (Vec<_>, Vec<_>) = links.iter().partition(|link| !link.is_resting(now));
            let last_awake = awake.len();
            let mut failed = None;
            for (n, link) in awake.into_iter().chain(resting).enumerate() {
                // The last of those that are awake is asked three times, unless a resting one could speak at once.
                let retries = if n + 1 == last_awake && links.len() == last_awake { BACKOFF.as_slice() } else { &[] };
                match link.say(&clause, retries, &timeouts, &out).await {
                    Ok(()) => return Ok(()),
                    Err((error, true)) => return Err(error),
                    Err((error, false)) => failed = Some(error),
                }
            }
            failed.map_or(Ok(()), Err)
        })
    }

    /// Those that can speak so do, the others as before.
    fn in_manner(&self, manner: &Manner) -> Result<Arc<dyn TextToSpeech>, Error> {
        let (mut links, mut able, mut refused) = (Vec::new(), false, None);
        for link in &*self.links {
            let mut link = link.clone();
            match link.voice.in_manner(manner) {
                Ok(voice) => (link.voice, able) = (voice, true),
                Err(error) => refused = refused.or(Some(error)),
            }
            links.push(link);
        }
        match refused {
            Some(error) if !able => Err(error),
            _ => Ok(Arc::new(Self::new(links, self.timeouts))),
        }
    }
}

impl Link {
    pub(super) fn new(name: &'static str, voice: Arc<dyn TextToSpeech>, remote: bool) -> Self {
        Self { name, voice, remote, resting: Arc::default() }
    }

    fn is_resting(&self, now: Instant) -> bool {
        self.rest().is_some_and(|until| until > now)
    }

    fn rest(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says `clause`, at another try if need be. The error says whether anything was heard before.
    async fn say(&self, clause: &str, retries: &[Duration], timeouts: &Timeouts, out: &Out) -> Result<(), (Error, bool)> {
        let mut waits = retries.iter();
        loop {
            let (error, heard) = match self.attempt(clause, timeouts, out).await {
                Ok(()) => {
                    metrics::provider_asked("tts", self.name, "ok");
                    *self.rest() = None;
                    return Ok(());
                }
                Err(failed) => failed,
            };
            let why = error.fault().map_or("other", Fault::name);
            metrics::voice_failed(self.name, why);
            metrics::provider_asked("tts", self.name, why);
            let asked = error.fault().and_then(Fault::retry_after).unwrap_or_default();
            let wait = waits.next().map(|wait| (*wait).max(asked));
            if let Some(wait) = wait.filter(|wait| !heard && error.is_retryable() && *wait <= LONGEST_BACKOFF) {
                debug!(voice = self.name, why, "a voice is asked again");
                sleep(wait).await;
                continue;
            }
            let lasting = error.fault().is_some_and(Fault::is_lasting);
            let rest = if lasting { LONG_REST } else { REST }.max(asked).min(LONGEST_REST);
            *self.rest() = Some(Instant::now() + rest);
            warn!(voice = self.name, why, rest_s = rest.as_secs(), heard, error = %error, "a voice failed");
            return Err((error, heard));
        }
    }

    async fn attempt(&self, clause: &str, timeouts: &Timeouts, out: &Out) -> Result<(), (Error, bool)> {
        let mut speech = self.voice.speak(clause.to_owned());
        let mut tail = Tail::default();
        let (mut samples, mut waited) = (0, Duration::ZERO);
        let fault = loop {
            let (what, limit) = self.patience(timeouts, samples > 0, waited);
            let asked = Instant::now();
            let next = match limit {
                Some(limit) => timeout(limit, speech.next()).await,
                None => Ok(speech.next().await),
            };
            // Only the time that the service takes counts, not the time that the listener does.
            waited += asked.elapsed();
            match next {
                Err(_) => break self.fault(Fault::Timeout { what, after: limit.unwrap_or_default() }),
                Ok(Some(Err(error))) => break error,
                Ok(None) if samples == 0 && self.remote => break self.fault(Fault::Silent),
                Ok(None) => {
                    out.sound(tail.0).await;
                    return Ok(());
                }
                Ok(Some(Ok(piece))) => {
                    if samples == 0 {
                        metrics::provider_first_byte("tts", self.name, waited);
                    }
                    samples += piece.pcm.len();
                    if samples as f64 / f64::from(AUDIO_RATE_HZ) > LONGEST_SPEECH.as_secs_f64() {
                        break self.fault(Fault::TooLong(LONGEST_SPEECH));
                    }
                    out.speech(tail.push(piece)).await;
                }
            }
        };
        drop(speech);
        out.sound(tail.faded()).await;
        Err((fault, samples > 0))
    }

    /// What is waited for, and for how long at most; the voices of this machine are given all the time they need.
    fn patience(&self, timeouts: &Timeouts, heard: bool, waited: Duration) -> (&'static str, Option<Duration>) {
        let total = timeouts.total.0.saturating_sub(waited);
        let (what, limit) =
            if heard { ("more sound", timeouts.stall.0) } else { ("sound", timeouts.first_sound.0.saturating_sub(waited)) };
        (if total < limit { "end of the answer" } else { what }, self.remote.then_some(limit.min(total)))
    }

    fn fault(&self, fault: Fault) -> Error {
        Error::Network { voice: self.name, fault }
    }
}

/// The last [`FADE`] samples of what has come.
#[derive(Default)]
struct Tail(Vec<i16>);

impl Tail {
    /// `piece`, later by what is held back.
    fn push(&mut self, piece: Speech) -> Speech {
        let later = self.0.len() as u32;
        let mut pcm = std::mem::take(&mut self.0);
        pcm.extend(piece.pcm);
        self.0 = pcm.split_off(pcm.len().saturating_sub(FADE));
        let words = piece.words.into_iter().map(|w| Word { start: w.start + later, ..w }).collect();
        let phonemes = piece.phonemes.into_iter().map(|p| Phoneme { start: p.start + later, ..p }).collect();
        Speech { pcm, phonemes, words }
    }

    /// The held samples falling to silence, so that a voice that breaks off does not click.
    fn faded(self) -> Vec<i16> {
        let len = self.0.len() as i32;
        self.0.iter().enumerate().map(|(i, s)| (i32::from(*s) * (len - i as i32) / len) as i16).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// A voice that plays a script, a line for each time it is asked.
    struct Script(Mutex<VecDeque<Line>>);

    /// How long it waits, in milliseconds, what it says, and how that ends.
    type Line = (u64, Vec<i16>, Option<Fault>);

    impl TextToSpeech for Script {
        fn speak(&self, _: String) -> BoxStream<'static, Result<Speech, Error>> {
            let (wait_ms, pcm, fault) = self.0.lock().unwrap().pop_front().expect("asked too often");
            let sound = (!pcm.is_empty()).then(|| Ok(Speech { pcm, ..Speech::default() }));
            let end = fault.map(|fault| Err(Error::Network { voice: "script", fault }));
            let first = stream::once(async move { sleep(Duration::from_millis(wait_ms)).await }).filter_map(async |()| None);
            first.chain(stream::iter(sound.into_iter().chain(end))).boxed()
        }
    }

    fn link(name: &'static str, script: Vec<Line>) -> Link {
        Link::new(name, Arc::new(Script(Mutex::new(script.into()))), true)
    }

    fn chain(links: Vec<Link>) -> Chain {
        Chain::new(links, Timeouts::default())
    }

    async fn say(chain: &Chain) -> (Vec<i16>, Option<String>) {
        let (mut pcm, mut error) = (Vec::new(), None);
        let mut speech = chain.speak("Hello".into());
        while let Some(piece) = speech.next().await {
            match piece {
                Ok(piece) => pcm.extend(piece.pcm),
                Err(e) => error = Some(e.to_string()),
            }
        }
        (pcm, error)
    }

    fn status(status: u16, retry_after: Option<Duration>) -> Fault {
        Fault::Status { status, code: None, retry_after }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lone_voice_is_asked_three_times_after_one_and_two_seconds() {
        let began = Instant::now();
        let voice = chain(vec![link("a", vec![(0, vec![], None), (0, vec![], Some(Fault::Cut)), (0, vec![1; 100], None)])]);
        assert_eq!(say(&voice).await, (vec![1; 100], None));
        assert_eq!(began.elapsed().as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_voice_that_failed_thrice_gets_one_attempt_until_it_has_rested() {
        let fail = || (0, vec![], Some(Fault::Cut));
        let voice = chain(vec![link("a", vec![fail(), fail(), fail(), fail(), (0, vec![1; 100], None)])]);
        assert!(say(&voice).await.1.is_some());
        let again = Instant::now();
        assert!(say(&voice).await.1.is_some());
        assert_eq!(again.elapsed(), Duration::ZERO);
        sleep(REST).await;
        assert_eq!(say(&voice).await.0.len(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_voice_speaks_at_once_and_the_first_is_tried_again_later() {
        let first = link("a", vec![(0, vec![], Some(status(503, None))), (0, vec![1; 100], None)]);
        let second = link("b", vec![(0, vec![2; 100], None), (0, vec![2; 100], None)]);
        let voice = chain(vec![first, second]);
        let began = Instant::now();
        assert_eq!(say(&voice).await, (vec![2; 100], None));
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(say(&voice).await.0, vec![2; 100]);
        sleep(REST).await;
        assert_eq!(say(&voice).await.0, vec![1; 100]);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_repeated_once_a_voice_is_heard_and_the_cut_fades() {
        let voice = chain(vec![link("a", vec![(0, vec![8_000; 1_000], Some(Fault::Cut))]), link("b", vec![])]);
        let (pcm, error) = say(&voice).await;
        assert_eq!(error.as_deref(), Some("script: the connection broke off"));
        assert_eq!(pcm.len(), 1_000);
        assert!(pcm[..920].iter().all(|s| *s == 8_000) && pcm[999] <= 100 && pcm.is_sorted_by(|a, b| a >= b));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_not_repeated_and_a_short_retry_after_is_kept() {
        let voice = chain(vec![link("a", vec![(0, vec![], Some(status(401, None)))])]);
        assert!(say(&voice).await.1.unwrap().contains("401"));
        let wait = Some(Duration::from_secs(4));
        let voice = chain(vec![link("a", vec![(0, vec![], Some(status(429, wait))), (0, vec![1; 9], None)])]);
        let began = Instant::now();
        assert_eq!(say(&voice).await.0.len(), 9);
        assert_eq!(began.elapsed().as_secs(), 4);
        let voice = chain(vec![link("a", vec![(0, vec![], Some(status(429, Some(Duration::from_secs(90)))))])]);
        assert!(say(&voice).await.1.unwrap().contains("429"));
        assert!(voice.links[0].is_resting(Instant::now() + Duration::from_secs(80)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_voice_on_the_network_has_to_be_quick_and_one_of_this_machine_has_not() {
        let slow = || vec![(9_000, vec![1; 100], None)];
        let voice = chain(vec![link("a", slow()), Link { remote: false, ..link("b", slow()) }]);
        let began = Instant::now();
        assert_eq!(say(&voice).await, (vec![1; 100], None));
        assert_eq!(began.elapsed().as_secs(), 5 + 9);
    }

    #[tokio::test(start_paused = true)]
    async fn a_voice_of_this_machine_may_have_nothing_to_say_and_endless_speech_ends() {
        let voice = chain(vec![Link { remote: false, ..link("a", vec![(0, vec![], None)]) }]);
        assert_eq!(say(&voice).await, (vec![], None));
        let voice = chain(vec![link("a", vec![(0, vec![1; 121 * 16_000], None)])]);
        assert!(say(&voice).await.1.unwrap().contains("longer than 120 s"));
    }

    #[test]
    fn times_move_with_what_is_held_back() {
        let piece = |len: usize| Speech {
            pcm: vec![1; len],
            words: vec![Word { text: "a".into(), start: 0, len: 5 }],
            phonemes: vec![],
        };
        let mut tail = Tail::default();
        assert_eq!(tail.push(piece(200)).pcm.len(), 120);
        assert_eq!(tail.push(piece(200)).words[0].start, 80);
    }
}

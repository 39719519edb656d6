//! Where in a microphone's sound somebody speaks: frames in, utterances out.
//!
//! In: 20 ms frames, in order, without gaps (a lost packet is a frame of silence). Out: [`Event`]s. Pure, no clock: time
//! is the count of samples. It costs 10 µs a frame, so it runs on the task that receives them. Memory is bounded by
//! [`LONGEST`].

use std::collections::VecDeque;
use std::time::Duration;

use earshot::{DefaultPredictor, Detector};

use crate::media::{AUDIO_RATE_HZ, AudioFrame, SAMPLES_PER_FRAME};

/// Samples that the detector judges at once, 16 ms.
const WINDOW: usize = 256;
/// Score from which a window counts as speech (earshot's own advice), and down to which speech that has begun goes on.
const BEGIN_SCORE: f32 = 0.5;
const GO_ON_SCORE: f32 = 0.35;
/// Speech begins with 8 windows (128 ms) among the last 10 (160 ms): a click and a key have fewer.
const BEGIN_WINDOWS: usize = 8;
const BEGIN_AMONG: usize = 10;
/// Sound kept from before that, so that the first consonant is not lost: 300 ms, and the 160 ms above.
const PRE_ROLL: usize = samples(300) + BEGIN_AMONG * WINDOW;
/// Less speech than this, in windows (192 ms), is a cough or a bump, unless a button was held.
const SHORTEST_SPEECH: usize = 12;
/// Mean score of speech; what stays below, however long, is a hum or a machine.
const SPEECH_SCORE: f32 = 0.6;
/// Longest utterance, 30 s: what Whisper hears at once. A longer one is cut at the quietest 20 ms of its last 5 s.
const LONGEST: usize = samples(30_000);
const CUT_WITHIN: usize = samples(5_000);
/// Silence after which what was said may be all of it: 96 ms.
const PAUSE: usize = 6 * WINDOW;
/// How often [`Event::SpeechFor`] comes, in windows: 96 ms.
const TELL_EVERY: usize = 6;

const fn samples(ms: usize) -> usize {
    ms * AUDIO_RATE_HZ as usize / 1_000
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody has begun to speak, 0.13 s ago.
    SpeechStarted,
    /// So much speech, pauses not counted, since [`Event::SpeechStarted`]; about ten a second while it goes on.
    SpeechFor(Duration),
    /// A short silence: this may be all that is said. If it is, an [`Event::Utterance`] with the same words follows.
    Pause(Vec<i16>),
    /// It was not all.
    WentOn,
    /// Somebody has finished, or spoken for 30 s: the sound, with 0.3 s before it and the pause after it. In the second
    /// case the speech goes on, and more follows without another [`Event::SpeechStarted`].
    Utterance(Vec<i16>),
    /// What began was not speech.
    Discarded,
}

/// Finds utterances.
pub struct Endpoint {
    detector: Box<Detector<DefaultPredictor>>,
    /// Silence that ends an utterance, in samples.
    stop: usize,
    /// Less than a window, not yet judged.
    unjudged: Vec<i16>,
    /// The last [`PRE_ROLL`] samples, while nobody speaks.
    before: VecDeque<i16>,
    /// Whether each of the last [`BEGIN_AMONG`] windows was speech, while nobody speaks.
    recent: VecDeque<bool>,
    speech: Option<Speech>,
    /// A button is held: sound is kept until it is let go.
    held: bool,
}

/// An utterance under way.
#[derive(Default)]
struct Speech {
    sound: Vec<i16>,
    /// Windows of speech since it began, and since the last cut.
    windows: usize,
    windows_since_cut: usize,
    /// Sum of their scores.
    score: f32,
    /// Samples since the last of them.
    silence: usize,
}

impl Endpoint {
    /// An utterance ends with `stop_ms` of silence: 200 to 300 for a quick answer, more for people who think aloud.
    pub fn new(stop_ms: u32) -> Self {
        Self {
            detector: Detector::<DefaultPredictor>::default_boxed(),
            stop: samples(stop_ms as usize),
            unjudged: Vec::with_capacity(WINDOW + SAMPLES_PER_FRAME),
            before: VecDeque::with_capacity(PRE_ROLL + WINDOW),
            recent: VecDeque::with_capacity(BEGIN_AMONG),
            speech: None,
            held: false,
        }
    }

    /// Hears the next frame.
    pub fn push(&mut self, frame: &AudioFrame) -> Vec<Event> {
        let mut events = Vec::new();
        self.unjudged.extend_from_slice(&frame.0);
        while self.unjudged.len() >= WINDOW {
            let window: [i16; WINDOW] = self.unjudged[..WINDOW].try_into().expect("the slice has that length");
            self.unjudged.drain(..WINDOW);
            let score = self.detector.predict_i16(&window);
            self.judge(&window, score, &mut events);
        }
        events
    }

    /// The button is held: from now on all belongs to one utterance, whatever it sounds like, until [`Self::close`].
    pub fn open(&mut self) -> Vec<Event> {
        self.held = true;
        if self.speech.is_some() {
            return Vec::new();
        }
        self.begin(0, 0.0);
        vec![Event::SpeechStarted]
    }

    /// The button is let go: what was said while it was held is an utterance, if anything was.
    pub fn close(&mut self) -> Vec<Event> {
        if !std::mem::take(&mut self.held) {
            return Vec::new();
        }
        let Some(mut speech) = self.speech.take() else { return Vec::new() };
        speech.sound.append(&mut self.unjudged);
        vec![if speech.windows_since_cut == 0 { Event::Discarded } else { Event::Utterance(speech.sound) }]
    }

    /// All has been said, whoever says so: what is under way ends now.
    pub fn finish(&mut self) -> Vec<Event> {
        if self.held {
            return self.close();
        }
        let Some(mut speech) = self.speech.take() else { return Vec::new() };
        speech.sound.append(&mut self.unjudged);
        vec![speech.end()]
    }

    /// The microphone is off: what was under way is forgotten.
    pub fn reset(&mut self) -> Vec<Event> {
        let discarded = self.speech.take().map(|_| Event::Discarded);
        self.held = false;
        self.unjudged.clear();
        self.before.clear();
        self.recent.clear();
        self.detector.reset();
        discarded.into_iter().collect()
    }

    /// Whether somebody is speaking.
    pub fn is_speech(&self) -> bool {
        self.speech.is_some()
    }

    fn judge(&mut self, window: &[i16; WINDOW], score: f32, events: &mut Vec<Event>) {
        let Some(speech) = &mut self.speech else {
            self.await_speech(window, score, events);
            return;
        };
        speech.sound.extend_from_slice(window);
        if score >= GO_ON_SCORE {
            if speech.silence >= PAUSE && !self.held {
                events.push(Event::WentOn);
            }
            speech.silence = 0;
            speech.windows += 1;
            speech.windows_since_cut += 1;
            speech.score += score;
            if speech.windows.is_multiple_of(TELL_EVERY) {
                events.push(Event::SpeechFor(length_of(speech.windows)));
            }
        } else {
            speech.silence += WINDOW;
            if speech.silence == PAUSE && PAUSE < self.stop && !self.held && speech.is_speech() {
                events.push(Event::Pause(speech.sound.clone()));
            }
        }
        if speech.silence >= self.stop && !self.held {
            let speech = self.speech.take().expect("it was there above");
            events.push(speech.end());
        } else if speech.sound.len() >= LONGEST {
            if speech.silence >= PAUSE && !self.held {
                events.push(Event::WentOn);
            }
            events.push(Event::Utterance(speech.cut()));
        }
    }

    fn await_speech(&mut self, window: &[i16; WINDOW], score: f32, events: &mut Vec<Event>) {
        self.before.extend(window);
        let over = self.before.len().saturating_sub(PRE_ROLL);
        self.before.drain(..over);
        if self.recent.len() == BEGIN_AMONG {
            self.recent.pop_front();
        }
        self.recent.push_back(score >= BEGIN_SCORE);
        let windows = self.recent.iter().filter(|is_speech| **is_speech).count();
        if windows >= BEGIN_WINDOWS {
            self.begin(windows, windows as f32 * score.max(SPEECH_SCORE));
            events.push(Event::SpeechStarted);
        }
    }

    fn begin(&mut self, windows: usize, score: f32) {
        let sound = self.before.drain(..).collect();
        self.recent.clear();
        self.speech = Some(Speech { sound, windows, windows_since_cut: windows, score, silence: 0 });
    }
}

impl Speech {
    fn is_speech(&self) -> bool {
        let is_speech = self.windows >= SHORTEST_SPEECH && self.score >= SPEECH_SCORE * self.windows as f32;
        // What follows a cut is the rest of an utterance that was speech.
        let is_rest = self.windows > self.windows_since_cut && self.windows_since_cut > 0;
        is_speech || is_rest
    }

    fn end(self) -> Event {
        if self.is_speech() { Event::Utterance(self.sound) } else { Event::Discarded }
    }

    /// Takes all up to the quietest 20 ms of the last seconds; the rest stays.
    fn cut(&mut self) -> Vec<i16> {
        let from = self.sound.len() - CUT_WITHIN;
        let energy = |frame: &[i16]| frame.iter().map(|&s| i64::from(s).pow(2)).sum::<i64>();
        let quietest = self.sound[from..].chunks_exact(SAMPLES_PER_FRAME).enumerate().min_by_key(|(_, frame)| energy(frame));
        let at = from + quietest.map_or(0, |(n, _)| n) * SAMPLES_PER_FRAME + SAMPLES_PER_FRAME / 2;
        let rest = self.sound.split_off(at);
        self.windows_since_cut = (rest.len() / WINDOW).min(self.windows_since_cut);
        std::mem::replace(&mut self.sound, rest)
    }
}

fn length_of(windows: usize) -> Duration {
    Duration::from_micros((windows * WINDOW * 1_000_000 / AUDIO_RATE_HZ as usize) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames of a sound.
    fn frames(sound: &[i16]) -> impl Iterator<Item = AudioFrame> {
        sound.chunks_exact(SAMPLES_PER_FRAME).map(|chunk| AudioFrame(chunk.try_into().unwrap()))
    }

    fn hear(endpoint: &mut Endpoint, sound: &[i16]) -> Vec<Event> {
        frames(sound).flat_map(|frame| endpoint.push(&frame)).collect()
    }

    /// The same noise on every run, evenly spread up to `peak`.
    fn noise(len: usize, peak: i16) -> Vec<i16> {
        let mut seed = 1_u32;
        let mut next = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(seed) / f64::from(u32::MAX) * 2.0 - 1.0
        };
        (0..len).map(|_| (next() * f64::from(peak)) as i16).collect()
    }

    /// Judges by the score alone, so that the rules can be tested without a voice.
    fn scored(endpoint: &mut Endpoint, score: f32, ms: usize) -> Vec<Event> {
        let mut events = Vec::new();
        for n in 0..samples(ms) / WINDOW {
            endpoint.judge(&[(n % 100) as i16 + 1; WINDOW], score, &mut events);
        }
        events
    }

    #[test]
    fn silence_noise_and_clicks_are_not_speech() {
        let mut endpoint = Endpoint::new(250);
        assert!(hear(&mut endpoint, &vec![0; 32_000]).is_empty());
        assert!(hear(&mut endpoint, &noise(48_000, 300)).is_empty());
        let mut clicks = vec![0_i16; 32_000];
        (0..4).for_each(|n| clicks[n * 8_000..][..80].fill(30_000));
        assert!(!hear(&mut endpoint, &clicks).iter().any(|event| matches!(event, Event::Utterance(_))));
    }

    #[test]
    fn speech_has_its_beginning_and_ends_after_the_pause() {
        let mut endpoint = Endpoint::new(250);
        assert!(scored(&mut endpoint, 0.0, 1_000).is_empty());
        let events = scored(&mut endpoint, 0.9, 1_000);
        assert_eq!(events[0], Event::SpeechStarted);
        assert!(events[1..].iter().all(|event| matches!(event, Event::SpeechFor(_))));
        let Some(Event::SpeechFor(last)) = events.last() else { panic!("{events:?}") };
        assert!((900..1_000).contains(&last.as_millis()), "{last:?}");
        let events = scored(&mut endpoint, 0.0, 224);
        assert!(matches!(&events[..], [Event::Pause(_)]), "a pause is shorter than the stop window: {events:?}");
        assert_eq!(scored(&mut endpoint, 0.9, 304)[0], Event::WentOn);
        let events = scored(&mut endpoint, 0.0, 300);
        let [Event::Pause(said), Event::Utterance(sound)] = &events[..] else { panic!("{events:?}") };
        // A pre-roll of 300 ms, 1 s, the pause, 0.3 s, the stop window.
        assert!((samples(2_000)..samples(2_150)).contains(&sound.len()), "{}", sound.len());
        assert_eq!(*said, sound[..said.len()]);
        assert!(said.len() > sound.len() - samples(250), "all but the rest of the pause");
        assert!(!endpoint.is_speech());
    }

    #[test]
    fn what_is_too_short_or_too_doubtful_is_discarded() {
        let mut endpoint = Endpoint::new(250);
        let mut events = scored(&mut endpoint, 0.9, 144);
        events.extend(scored(&mut endpoint, 0.0, 300));
        assert_eq!(events, [Event::SpeechStarted, Event::Discarded]);
        scored(&mut endpoint, 0.52, 2_000);
        assert_eq!(scored(&mut endpoint, 0.0, 300), [Event::Discarded]);
    }

    #[test]
    fn a_monologue_of_ten_minutes_comes_in_bounded_pieces_that_lose_nothing() {
        let mut endpoint = Endpoint::new(250);
        let mut pieces = Vec::new();
        let mut started = 0;
        for _ in 0..600 {
            for event in scored(&mut endpoint, 0.9, 1_008) {
                match event {
                    Event::Utterance(sound) => pieces.push(sound.len()),
                    Event::SpeechStarted => started += 1,
                    _ => {}
                }
            }
        }
        let Some(Event::Utterance(rest)) = scored(&mut endpoint, 0.0, 304).pop() else { panic!("no end") };
        assert_eq!(started, 1);
        assert!(pieces.iter().all(|len| (LONGEST - CUT_WITHIN..=LONGEST).contains(len)), "{pieces:?}");
        let total = pieces.iter().sum::<usize>() + rest.len();
        assert!(total.abs_diff(600 * samples(1_008)) < samples(400), "{total}");
    }

    #[test]
    fn a_long_utterance_is_cut_where_it_is_quietest() {
        let mut endpoint = Endpoint::new(250);
        let mut events = Vec::new();
        let quiet = samples(28_000) / WINDOW..samples(28_100) / WINDOW;
        for n in 0..=samples(30_000) / WINDOW {
            let window = [if quiet.contains(&n) { 3 } else { 3_000 }; WINDOW];
            endpoint.judge(&window, 0.9, &mut events);
        }
        let cut = events.iter().find_map(|event| if let Event::Utterance(sound) = event { Some(sound.len()) } else { None });
        assert!(quiet.contains(&(cut.unwrap() / WINDOW)), "{cut:?}");
    }

    #[test]
    fn while_a_button_is_held_pauses_end_nothing() {
        let mut endpoint = Endpoint::new(250);
        scored(&mut endpoint, 0.0, 500);
        assert_eq!(endpoint.open(), [Event::SpeechStarted]);
        scored(&mut endpoint, 0.9, 100);
        assert!(scored(&mut endpoint, 0.0, 3_000).is_empty());
        let [Event::Utterance(sound)] = &endpoint.close()[..] else { panic!("no utterance") };
        assert!(sound.len() > samples(3_350), "{}", sound.len());
        endpoint.open();
        scored(&mut endpoint, 0.0, 500);
        assert_eq!(endpoint.close(), [Event::Discarded], "held, and nothing said");
        assert!(endpoint.close().is_empty());
    }

    #[test]
    fn a_microphone_that_is_switched_off_forgets() {
        let mut endpoint = Endpoint::new(250);
        scored(&mut endpoint, 0.9, 500);
        assert_eq!(endpoint.reset(), [Event::Discarded]);
        assert!(endpoint.reset().is_empty() && endpoint.before.is_empty());
    }
}

//! The face of one session: what is said becomes mouth shapes, the rest lives by itself, and both become a picture.
//!
//! In: cues (phonemes with their times) or speech that nobody cued, and the sound of each 40 ms. Out: one picture each. Lives on the session's render
//! thread; time is the sample count it is given.

use std::sync::Arc;

use super::LipSync;
use super::avatar::{Avatar, BROWS, EYES, MOUTH};
use super::composite::{Compositor, Rig};
use super::gesture::Gesture;
use super::idle::{self, Life, Speech};
use super::listen::Ear;
use super::timeline::{Mouth, Timeline};
use super::visemes::Viseme;
use crate::media::{AUDIO_RATE_HZ, AudioFrame, Phoneme, SAMPLES_PER_FRAME, VideoFrame};

/// The mouth is shown as it will be this much after the picture's first sample. Half a picture, since it is seen for all of
/// its 40 ms; 40 ms by which the opening trails the timeline (with less, the opening correlates best with sound that is
/// already past); 20 ms that people like to see lips before they hear them (ITU-R BT.1359: 45 ms early is not noticed).
const LEAD: u64 = AUDIO_RATE_HZ as u64 * 80 / 1_000;

/// One picture.
const PICTURE: u64 = 2 * SAMPLES_PER_FRAME as u64;

/// After an interruption the mouth eases from what was shown to what is right within this.
const RELEASE: u64 = AUDIO_RATE_HZ as u64 * 160 / 1_000;

/// Speech at this level (RMS) opens the mouth as the voice's timing says; louder a little more, softer less.
const USUAL_LEVEL: f32 = 0.09;

/// Paints an [`Avatar`] that speaks what it is cued.
pub struct Face {
    compositor: Compositor,
    timeline: Timeline,
    ear: Ear,
    seed: u64,
    /// Slow level of the sound, RMS.
    level: f32,
    /// 0 silent to 1 speaking, over about a second.
    activity: f32,
    /// What was shown last, and what an interruption froze.
    shown: [f32; MOUTH.len()],
    release: Option<(u64, [f32; MOUTH.len()])>,
    /// What it was asked to do, and when; each at most once at a time.
    gestures: Vec<(u64, Gesture)>,
}

impl Face {
    /// A face at rest. `seed` makes its blinks and sways its own.
    pub fn new(avatar: Arc<Avatar>, seed: u64) -> Self {
        let mut shown = [0.0; MOUTH.len()];
        shown[Viseme::Sil as usize] = 1.0;
        let (compositor, timeline) = (Compositor::new(avatar), Timeline::default());
        Self {
            compositor,
            timeline,
            ear: Ear::new(),
            seed,
            level: USUAL_LEVEL,
            activity: 0.0,
            shown,
            release: None,
            gestures: Vec::new(),
        }
    }

    fn feel(&mut self, sound: &[AudioFrame; 2]) {
        let rms = sound[0].rms().max(sound[1].rms());
        let speaking = if rms > 0.01 { 1.0 } else { 0.0 };
        // Starts within a third of a second, ends over one: people do not freeze between sentences.
        let pace = if speaking > self.activity { 0.12 } else { 0.04 };
        self.activity += (speaking - self.activity) * pace;
        if rms > 0.01 {
            self.level += (rms - self.level) * 0.15;
        }
    }

    /// How much wider than usual the mouth opens for this loudness.
    fn loudness(&self) -> f32 {
        (self.level / USUAL_LEVEL).sqrt().clamp(0.75, 1.12)
    }

    fn mouth(&mut self, at: u64, life: &Life) -> [f32; MOUTH.len()] {
        let mut weights = keyed(&self.timeline.mouth(at + LEAD), self.loudness(), life);
        if let Some((cut, frozen)) = self.release {
            let t = ((at + PICTURE).saturating_sub(cut) as f32 / RELEASE as f32).min(1.0);
            let t = t * t * (3.0 - 2.0 * t);
            weights = std::array::from_fn(|k| frozen[k] + (weights[k] - frozen[k]) * t);
            if t >= 1.0 {
                self.release = None;
            }
        }
        self.shown = weights;
        weights
    }
}

impl LipSync for Face {
    fn cue(&mut self, start: u64, phonemes: &[Phoneme]) {
        self.timeline.cue(start, phonemes);
    }

    fn hear(&mut self, start: u64, sound: &AudioFrame) {
        if let Some((start, viseme)) = self.ear.hear(start, sound) {
            self.timeline.hear(start, start + SAMPLES_PER_FRAME as u64, viseme);
        }
    }

    fn cut(&mut self, at: u64) {
        self.timeline.cut(at);
        self.release = Some((at, self.shown));
    }

    /// One that it is doing already goes on: to begin anew would be a jump.
    fn gesture(&mut self, at: u64, gesture: Gesture) {
        if !self.gestures.iter().any(|(_, doing)| *doing == gesture) {
            self.gestures.push((at, gesture));
        }
    }

    fn pass(&mut self, at: u64, sound: &[AudioFrame; 2]) {
        self.feel(sound);
        self.timeline.forget_before(at);
    }

    fn picture(&mut self, at: u64, sound: &[AudioFrame; 2]) -> Arc<VideoFrame> {
        self.pass(at, sound);
        let speech = Speech {
            activity: self.activity,
            emphasis: self.timeline.emphasis(at + LEAD),
            sentence_end: self.timeline.sentence_end(at),
        };
        let mut life = idle::life(at, self.seed, speech);
        self.gestures.retain(|(began, gesture)| !gesture.is_over(at - began));
        self.gestures.iter().for_each(|(began, gesture)| gesture.apply(at - began, &mut life));
        let mouth = self.mouth(at, &life);
        Arc::new(self.compositor.paint(&rig(&life, mouth)))
    }
}

/// Pose weights of a mouth: a viseme that is half taken is the half-open picture where the pack has one.
fn keyed(mouth: &Mouth, loudness: f32, life: &Life) -> [f32; MOUTH.len()] {
    const HALVES: [(Viseme, usize); 3] = [(Viseme::Aa, 15), (Viseme::E, 16), (Viseme::Oh, 17)];
    const GAPE: usize = 17;
    const SMILE: usize = 18;
    let mut weights = [0.0; MOUTH.len()];
    let mut rest = mouth.shares[Viseme::Sil as usize];
    for v in 1..mouth.shares.len() {
        let half = HALVES.iter().find(|(of, _)| *of as usize == v).map(|(_, half)| *half);
        let size = if half.is_some() { (mouth.sizes[v] * loudness).min(1.0) } else { mouth.sizes[v].min(1.0) };
        let share = mouth.shares[v];
        match half {
            Some(half) if size < 0.5 => {
                weights[half] = share * size * 2.0;
                rest += share * (1.0 - size * 2.0);
            }
            Some(half) => {
                weights[half] = share * (2.0 - size * 2.0);
                weights[v] = share * (size * 2.0 - 1.0);
            }
            None => {
                weights[v] = share * size;
                rest += share * (1.0 - size);
            }
        }
    }
    // What is not speech may gape, and what does neither may smile.
    weights[GAPE] += rest * life.gape;
    rest *= 1.0 - life.gape;
    let idle = life.smile * SMILE_AT_REST;
    let smile = idle + (1.0 - idle) * life.grin;
    weights[Viseme::Sil as usize] = rest * (1.0 - smile);
    weights[SMILE] = rest * smile;
    without_crumbs(weights)
}

/// How much of the smile pose a fully smiling rest face has.
const SMILE_AT_REST: f32 = 0.45;

/// At most three poses beside the rest face, since each costs a read of every pixel: the fourth heaviest is taken from all,
/// so that poses drop out smoothly.
fn without_crumbs(weights: [f32; MOUTH.len()]) -> [f32; MOUTH.len()] {
    const KEPT: usize = 3;
    let mut order = weights;
    order[Viseme::Sil as usize] = 0.0;
    order.sort_by(|a, b| b.total_cmp(a));
    let crumb = order[KEPT].max(0.012);
    let mut kept = weights.map(|w| (w - crumb).max(0.0));
    kept[Viseme::Sil as usize] = weights[Viseme::Sil as usize];
    let total: f32 = kept.iter().sum();
    if total < 0.05 { weights } else { kept.map(|w| w / total) }
}

fn rig(life: &Life, mouth: [f32; MOUTH.len()]) -> Rig {
    Rig { mouth, eyes: eyes(life), brows: brows(life.brow), head: life.head, breath: life.breath }
}

/// Eye weights: the lids go from key to key, and what is open of the eye looks somewhere.
fn eyes(life: &Life) -> [f32; EYES.len()] {
    let mut weights = [0.0; EYES.len()];
    let lid = life.blink.clamp(0.0, 1.0) * 4.0;
    let key = (lid as usize).min(3);
    let part = lid - key as f32;
    weights[key + 1] = part;
    let open = 1.0 - part;
    if key > 0 {
        weights[key] = open;
        return weights;
    }
    let [x, y] = life.gaze;
    let (sideways, upright) = (x.abs(), y.abs());
    // Both at once are mixed so that together they never take more than there is.
    let scale = 1.0 / (sideways + upright).max(1.0);
    weights[if x < 0.0 { 6 } else { 5 }] += open * sideways * scale;
    weights[if y > 0.0 { 7 } else { 8 }] += open * upright * scale;
    let straight = open * (1.0 - (sideways + upright) * scale);
    weights[0] = straight * (1.0 - life.squint);
    weights[9] = straight * life.squint;
    weights
}

fn brows(brow: f32) -> [f32; BROWS.len()] {
    let brow = brow.clamp(-1.0, 1.0);
    [1.0 - brow.abs(), brow.max(0.0), (-brow).max(0.0)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::avatar::synthetic;

    const HELLO: [(char, u32); 5] = [('h', 60), ('ə', 70), ('l', 60), ('ˈ', 30), ('O', 200)];

    fn cue(face: &mut Face, start: u64) {
        let mut at = 0;
        let phonemes = HELLO.map(|(symbol, ms)| {
            at += ms * 16;
            Phoneme { symbol, start: at - ms * 16, len: ms * 16 }
        });
        face.cue(start, &phonemes);
    }

    fn loud() -> [AudioFrame; 2] {
        [AudioFrame(std::array::from_fn(|n| if n % 40 < 20 { 4_000 } else { -4_000 })); 2]
    }

    #[test]
    fn the_same_cues_and_sound_give_the_same_pictures_bit_for_bit() {
        let avatar = synthetic::avatar("same");
        let pictures = || {
            let mut face = Face::new(avatar.clone(), 42);
            cue(&mut face, 3_200);
            (0..60).map(|n| face.picture(n * PICTURE, &loud())).collect::<Vec<_>>()
        };
        assert!(pictures() == pictures());
    }

    #[test]
    fn speech_moves_the_mouth_and_silence_does_not() {
        let mut face = Face::new(synthetic::avatar("moves"), 1);
        cue(&mut face, 16_000);
        let (sound, silence) = (loud(), [AudioFrame::SILENCE; 2]);
        let rest = |face: &Face| face.shown[0] + face.shown[18];
        let mut least = 1.0_f32;
        for n in 0..60 {
            face.picture(n * PICTURE, if (25..37).contains(&n) { &sound } else { &silence });
            if n < 15 {
                assert!(rest(&face) > 0.99, "the mouth moves {n} pictures in, before anything is said");
            }
            least = least.min(rest(&face));
        }
        assert!(least < 0.3);
        assert!(rest(&face) > 0.99);
    }

    /// A clip of a voice that the network never heard (`scripts/viseme/clips.py`): its sound, and its phonemes.
    fn clip(pcm: &[u8], tokens: &str) -> (Vec<AudioFrame>, Vec<Phoneme>) {
        let mut samples: Vec<i16> = pcm.as_chunks().0.iter().map(|bytes| i16::from_le_bytes(*bytes)).collect();
        samples.resize(samples.len().next_multiple_of(SAMPLES_PER_FRAME), 0);
        let phoneme = |line: &str| {
            let [symbol, start, len] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
            Phoneme { symbol: symbol.chars().next().unwrap(), start: start.parse().unwrap(), len: len.parse().unwrap() }
        };
        (samples.as_chunks().0.iter().map(|s| AudioFrame(*s)).collect(), tokens.lines().map(phoneme).collect())
    }

    fn english() -> (Vec<AudioFrame>, Vec<Phoneme>) {
        let pcm = include_bytes!("../../tests/corpus/speech/english.pcm");
        clip(pcm, include_str!("../../tests/corpus/speech/english.tsv"))
    }

    fn mandarin() -> (Vec<AudioFrame>, Vec<Phoneme>) {
        let pcm = include_bytes!("../../tests/corpus/speech/mandarin.pcm");
        clip(pcm, include_str!("../../tests/corpus/speech/mandarin.tsv"))
    }

    /// Where the clips begin: a second after the face.
    const BEGIN: u64 = 16_000;

    /// The mouth while `sound` is played, and for a second before and after; cued if there are `phonemes`, else it has to listen.
    fn mouths(sound: &[AudioFrame], phonemes: &[Phoneme]) -> Vec<[f32; MOUTH.len()]> {
        let mut face = Face::new(synthetic::avatar("listens"), 1);
        face.cue(BEGIN, phonemes);
        let mut coming = sound.iter().zip((BEGIN..).step_by(SAMPLES_PER_FRAME)).peekable();
        let end = BEGIN + (sound.len() * SAMPLES_PER_FRAME) as u64;
        let heard = |at: u64| {
            let n = at.checked_sub(BEGIN).map(|after| after as usize / SAMPLES_PER_FRAME);
            n.and_then(|n| sound.get(n)).copied().unwrap_or(AudioFrame::SILENCE)
        };
        let picture = |at: u64| {
            // A third of a second ahead, as the worker does.
            while let Some((frame, start)) = coming.next_if(|(_, start)| phonemes.is_empty() && *start < at + 5_120) {
                face.hear(start, frame);
            }
            face.picture(at, &[heard(at), heard(at + SAMPLES_PER_FRAME as u64)]);
            face.shown
        };
        (0..end + BEGIN).step_by(PICTURE as usize).map(picture).collect()
    }

    fn at_rest(mouth: &[f32; MOUTH.len()]) -> f32 {
        mouth[Viseme::Sil as usize] + mouth[18]
    }

    #[test]
    fn lips_close_for_p_b_and_m_that_are_only_heard() {
        for (language, (sound, phonemes)) in [("english", english()), ("mandarin", mandarin())] {
            let mouths = mouths(&sound, &[]);
            let bilabials: Vec<_> = phonemes.iter().filter(|p| matches!(p.symbol, 'p' | 'b' | 'm')).collect();
            let closes = |p: &&&Phoneme| {
                let (start, end) = (BEGIN + u64::from(p.start), BEGIN + u64::from(p.start + p.len));
                let first = (start - LEAD - PICTURE) / PICTURE;
                (first..=(end - LEAD + PICTURE) / PICTURE).any(|n| mouths[n as usize][Viseme::PP as usize] > 0.8)
            };
            let closed = bilabials.iter().filter(closes).count();
            assert!(closed * 10 >= bilabials.len() * 7, "{language}: {closed} of {}", bilabials.len());
        }
    }

    #[test]
    fn a_mouth_that_listens_opens_when_a_cued_one_does() {
        // How open the mouth is in each pose; about, since packs differ.
        let mut open = [0.25_f32; MOUTH.len()];
        for (pose, how) in [
            (0, 0.0),
            (1, 0.0),
            (2, 0.1),
            (10, 1.0),
            (11, 0.6),
            (12, 0.4),
            (13, 0.7),
            (15, 0.5),
            (16, 0.3),
            (17, 0.35),
            (18, 0.0),
        ] {
            open[pose] = how;
        }
        let opening = |mouth: &[f32; MOUTH.len()]| mouth.iter().zip(open).map(|(weight, how)| weight * how).sum::<f32>();
        for (language, (sound, phonemes)) in [("english", english()), ("mandarin", mandarin())] {
            // While it speaks: that both rest before and after proves nothing.
            let speaks = BEGIN as usize / PICTURE as usize..BEGIN as usize / PICTURE as usize + sound.len() / 2;
            let heard: Vec<f32> = mouths(&sound, &[])[speaks.clone()].iter().map(opening).collect();
            let cued: Vec<f32> = mouths(&sound, &phonemes)[speaks].iter().map(opening).collect();
            let together = correlation(&heard, &cued);
            assert!(together > 0.6, "{language}: {together}");
        }
    }

    fn correlation(a: &[f32], b: &[f32]) -> f32 {
        let mean = |v: &[f32]| v.iter().sum::<f32>() / v.len() as f32;
        let (mean_a, mean_b) = (mean(a), mean(b));
        let product =
            |x: &[f32], mx: f32, y: &[f32], my: f32| x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)).sum::<f32>();
        product(a, mean_a, b, mean_b) / (product(a, mean_a, a, mean_a) * product(b, mean_b, b, mean_b)).sqrt()
    }

    #[test]
    fn a_mouth_that_listens_rests_in_silence() {
        let (mut sound, _) = english();
        let speech = sound.len();
        sound.resize(speech + 50, AudioFrame::SILENCE);
        let mouths = mouths(&sound, &[]);
        assert!(mouths[..20].iter().all(|mouth| at_rest(mouth) > 0.99), "it moves before anything is said");
        assert!(mouths[25..25 + speech / 2].iter().any(|mouth| at_rest(mouth) < 0.3), "it never opens");
        let after = 25 + speech / 2 + 8;
        assert!(mouths[after..].iter().all(|mouth| at_rest(mouth) > 0.99), "it moves after all is said");
    }

    #[test]
    fn an_interrupted_mouth_eases_shut_within_200_ms() {
        let mut face = Face::new(synthetic::avatar("cut"), 1);
        face.cue(0, &[Phoneme { symbol: 'ɑ', start: 0, len: 160_000 }]);
        for n in 0..20 {
            face.picture(n * PICTURE, &loud());
        }
        let open = face.shown[10] + face.shown[15];
        assert!(open > 0.9);
        face.cut(20 * PICTURE);
        face.picture(20 * PICTURE, &[AudioFrame::SILENCE; 2]);
        assert!(face.shown[10] + face.shown[15] > 0.5, "it does not snap");
        for n in 21..25 {
            face.picture(n * PICTURE, &[AudioFrame::SILENCE; 2]);
        }
        assert!(face.shown[10] + face.shown[15] < 0.02);
    }

    /// The pictures of three seconds in which `gesture` begins after 200 ms.
    fn gesturing(gesture: Option<Gesture>) -> Vec<Arc<VideoFrame>> {
        let mut face = Face::new(synthetic::avatar("gestures"), 1);
        let picture = |n: u64| {
            if let Some(gesture) = gesture.filter(|_| n == 5) {
                face.gesture(n * PICTURE, gesture);
            }
            face.picture(n * PICTURE, &[AudioFrame::SILENCE; 2])
        };
        (0..90).map(picture).collect()
    }

    #[test]
    fn a_gesture_is_seen_and_ends_where_idle_life_would_be() {
        let idle = gesturing(None);
        for gesture in Gesture::ALL {
            let pictures = gesturing(Some(gesture));
            assert!(pictures[..=5] == idle[..=5], "{gesture:?} is seen before it begins");
            let differ = pictures.iter().zip(&idle).filter(|(a, b)| a != b).count();
            assert!(differ > 10, "{gesture:?}: {differ} pictures differ");
            assert!(pictures[85..] == idle[85..], "{gesture:?} leaves something behind");
        }
    }

    #[test]
    fn a_smile_raises_the_smile_and_a_nod_does_not_touch_the_mouth() {
        let shown = |gesture| {
            let mut face = Face::new(synthetic::avatar("smiles"), 1);
            face.gesture(0, gesture);
            for n in 0..30 {
                face.picture(n * PICTURE, &[AudioFrame::SILENCE; 2]);
            }
            face.shown
        };
        assert!(shown(Gesture::Smile)[18] > 0.95);
        assert!(shown(Gesture::Nod)[18] < 0.5);
    }

    #[test]
    fn a_gesture_that_is_asked_for_twice_is_not_begun_anew() {
        let mut face = Face::new(synthetic::avatar("twice"), 1);
        face.gesture(0, Gesture::Nod);
        face.gesture(6_400, Gesture::Nod);
        assert_eq!(face.gestures, [(0, Gesture::Nod)]);
    }

    #[test]
    fn weights_always_add_up_to_one() {
        for size in [0.0, 0.2, 0.5, 0.7, 1.0] {
            let mouth = Mouth { shares: [1.0 / 15.0; 15], sizes: [size; 15] };
            let life = Life { blink: size, gaze: [size, -size], brow: size, ..Life::default() };
            let life = Life { smile: 1.0, grin: size, gape: size, squint: size, ..life };
            let weights = keyed(&mouth, 1.12, &life);
            assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-4);
            assert!((eyes(&life).iter().sum::<f32>() - 1.0).abs() < 1e-4);
            assert!((brows(life.brow).iter().sum::<f32>() - 1.0).abs() < 1e-4);
        }
    }
}

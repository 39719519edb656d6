//! Plays slices at their time: the async end of the bridge from the render thread.
//!
//! In: `AvSlice` from a crossbeam queue whose fullness paces rendering. Out: stamped frames to the encode thread, and a
//! [`Played`] for each mark at the moment its sample is played. One task per session.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::encode::{ENCODE_QUEUE, Raw};
use super::{Due, Pacer, PlayerStreamTrack, Throttle};
use crate::media::{AudioFrame, AvSlice, Mark, TurnId, VideoFrame};
use crate::metrics;
use crate::render::{CurrentTurn, Item};

/// How often an unpaced output looks for the next slice, and a paced one that is full for room (seed 004's `sleep(0.001)`).
const POLL: Duration = Duration::from_millis(1);

/// A mark whose sample has just been played.
#[derive(Clone, Debug)]
pub struct Played {
    /// The answer it belongs to.
    pub turn: TurnId,
    /// What was reached.
    pub mark: Mark,
    /// When.
    pub at: Instant,
}

pub(super) struct Playout {
    pub(super) slices: Receiver<AvSlice>,
    /// What waits to be rendered. Only looked at: the render thread takes it.
    pub(super) speech: Receiver<(TurnId, Item)>,
    pub(super) raw: Sender<Raw>,
    pub(super) played: mpsc::Sender<Played>,
    pub(super) current: CurrentTurn,
    pub(super) throttle: Throttle,
    pub(super) lead: Lead,
    pub(super) stop: CancellationToken,
    pub(super) state: State,
}

/// How many frames of an answer leave before their time, for a receiver that buffers and has no clock of ours.
#[derive(Clone, Debug, Default)]
pub(super) struct Lead(Arc<AtomicU64>);

impl Lead {
    pub(super) fn set(&self, frames: u64) {
        self.0.store(frames, Ordering::Release);
    }

    fn frames(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// What playout keeps from tick to tick.
pub(super) struct State {
    pacer: Pacer,
    audio: PlayerStreamTrack<AudioFrame>,
    video: PlayerStreamTrack<Arc<VideoFrame>>,
    /// The answer that the frames in the tracks belong to.
    loaded: Option<TurnId>,
    /// The last answer whose voice was faded out.
    faded: Option<TurnId>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            pacer: Pacer::default(),
            audio: PlayerStreamTrack::audio(),
            video: PlayerStreamTrack::video(),
            loaded: None,
            faded: None,
        }
    }
}

/// The render thread is gone.
struct RenderEnded;

impl Playout {
    /// Plays until stopped or until rendering has ended and its last slice is played.
    pub(super) async fn run(mut self) {
        loop {
            let played = match self.throttle {
                Throttle::RealTime => self.real_time().await,
                Throttle::Off => self.as_rendered().await,
            };
            if played.is_err() || self.stop.is_cancelled() {
                return;
            }
        }
    }

    async fn real_time(&mut self) -> Result<(), RenderEnded> {
        let before = self.state.pacer.skipped();
        let now = Instant::now();
        let hurries = self.hurries();
        let ready = (!self.state.audio.is_empty() || !self.slices.is_empty()) && self.raw.len() + 2 <= ENCODE_QUEUE;
        let due = match self.state.pacer.poll(now) {
            Due::At(_) if hurries && ready => Due::Now(self.state.pacer.hurry(now)),
            Due::At(deadline) if hurries => Due::At(deadline.min(now + POLL)),
            due => due,
        };
        match due {
            Due::At(deadline) => tokio::select! {
                biased;
                () = self.stop.cancelled() => {}
                () = sleep_until(deadline) => {}
            },
            Due::Now(tick) => {
                metrics::skipped_ticks(self.state.pacer.skipped() - before);
                if tick.is_multiple_of(2) {
                    self.load()?;
                    if let Some(picture) = self.state.video.pop(tick) {
                        self.offer(Raw::Video(picture), "video");
                    }
                }
                if let Some(sound) = self.sound(tick) {
                    self.offer(sound, "audio");
                }
            }
        }
        Ok(())
    }

    /// Whether an answer is played that is not as far ahead of its time as it should be.
    fn hurries(&mut self) -> bool {
        if self.state.loaded.is_none_or(|turn| self.current.is_stale(turn)) {
            self.state.pacer.rest();
            return false;
        }
        self.state.pacer.ahead() < self.lead.frames()
    }

    /// Two ticks for each slice, as soon as there is one; nothing is dropped.
    async fn as_rendered(&mut self) -> Result<(), RenderEnded> {
        match self.slices.try_recv() {
            Ok(slice) => self.accept(slice),
            Err(TryRecvError::Empty) => {
                sleep(POLL).await;
                return Ok(());
            }
            Err(TryRecvError::Disconnected) => return Err(RenderEnded),
        }
        for _ in 0..2 {
            let tick = self.state.pacer.advance();
            let picture = self.state.video.pop(tick).map(Raw::Video);
            let sound = self.sound(tick);
            for mut raw in picture.into_iter().chain(sound) {
                while let Err(TrySendError::Full(back)) = self.raw.try_send(raw) {
                    raw = back;
                    sleep(POLL).await;
                    if self.stop.is_cancelled() {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes the next slice that is still wanted. None in time: silence, and the last picture stays.
    fn load(&mut self) -> Result<(), RenderEnded> {
        loop {
            match self.slices.try_recv() {
                Ok(slice) if slice.turn.is_some_and(|turn| self.current.is_stale(turn)) => {
                    self.state.loaded = slice.turn;
                    if self.fade_begins() {
                        self.state.audio.push(slice.audio[0].faded_out());
                        self.state.audio.push(AudioFrame::SILENCE);
                        return Ok(());
                    }
                }
                // An answer waits behind idle life: it is heard sooner by as much as is left out.
                Ok(slice) if is_idle(&slice) && !self.slices.is_empty() && !self.speech.is_empty() => {}
                Ok(slice) => {
                    self.accept(slice);
                    return Ok(());
                }
                Err(TryRecvError::Empty) => {
                    metrics::underrun();
                    self.state.audio.push(AudioFrame::SILENCE);
                    self.state.audio.push(AudioFrame::SILENCE);
                    return Ok(());
                }
                Err(TryRecvError::Disconnected) => return Err(RenderEnded),
            }
        }
    }

    fn accept(&mut self, slice: AvSlice) {
        let State { audio, video, loaded, .. } = &mut self.state;
        video.push(slice.video);
        slice.audio.into_iter().for_each(|frame| audio.push(frame));
        *loaded = slice.turn;
        let at = Instant::now();
        for (turn, mark) in slice.marks {
            // The session drains this queue all the time; if it is this far behind, it is ending.
            let _ = self.played.try_send(Played { turn, mark, at });
        }
    }

    /// This tick's sound: what is queued, unless its answer was interrupted in between.
    fn sound(&mut self, tick: u64) -> Option<Raw> {
        let mut sound = self.state.audio.pop(tick)?;
        if self.state.loaded.is_some_and(|turn| self.current.is_stale(turn)) && self.state.faded != self.state.loaded {
            self.state.faded = self.state.loaded;
            sound.frame = sound.frame.faded_out();
            self.state.audio.clear();
            if tick.is_multiple_of(2) {
                self.state.audio.push(AudioFrame::SILENCE);
            }
        }
        let answer = self.state.loaded.filter(|turn| !self.current.is_stale(*turn));
        Some(Raw::Audio(sound, answer))
    }

    /// Whether the loaded answer is stale and its voice has not been faded out yet.
    fn fade_begins(&mut self) -> bool {
        let begins = self.state.faded != self.state.loaded;
        self.state.faded = self.state.loaded;
        begins
    }

    fn offer(&self, raw: Raw, kind: &'static str) {
        if let Err(TrySendError::Full(_)) = self.raw.try_send(raw) {
            metrics::frame_dropped(kind, "encoder_busy");
        }
    }
}

fn is_idle(slice: &AvSlice) -> bool {
    slice.turn.is_none() && slice.marks.is_empty()
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;

    use super::*;
    use crate::media::SAMPLES_PER_FRAME;
    use crate::render::SLICE_QUEUE;

    const TONE: AudioFrame = AudioFrame([9_000; SAMPLES_PER_FRAME]);

    fn slice(turn: Option<u64>) -> AvSlice {
        let audio = if turn.is_some() { TONE } else { AudioFrame::SILENCE };
        AvSlice { turn: turn.map(TurnId), video: Arc::new(VideoFrame::black(2, 2)), audio: [audio; 2], marks: vec![] }
    }

    fn playout(throttle: Throttle) -> (Playout, Sender<AvSlice>, Receiver<Raw>, CurrentTurn) {
        let (playout, slices, raw, current, _) = playout_of_speech(throttle);
        (playout, slices, raw, current)
    }

    type Bench = (Playout, Sender<AvSlice>, Receiver<Raw>, CurrentTurn, Sender<(TurnId, Item)>);

    fn playout_of_speech(throttle: Throttle) -> Bench {
        let (slices_tx, slices) = bounded(SLICE_QUEUE);
        let (speech_tx, speech) = bounded(1);
        let (raw, raw_rx) = bounded(1_000);
        let current = CurrentTurn::default();
        let playout = Playout {
            slices,
            speech,
            raw,
            played: mpsc::channel(8).0,
            current: current.clone(),
            throttle,
            lead: Lead::default(),
            stop: CancellationToken::new(),
            state: State::default(),
        };
        (playout, slices_tx, raw_rx, current, speech_tx)
    }

    fn sounds(raw: &Receiver<Raw>) -> Vec<(u64, bool)> {
        raw.try_iter()
            .filter_map(|r| match r {
                Raw::Audio(s, _) => Some((s.pts.ticks, s.frame != AudioFrame::SILENCE)),
                Raw::Video(_) => None,
            })
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_may_run_ahead_of_its_time_and_keeps_its_lead() {
        let (playout, slices, raw, _) = playout(Throttle::RealTime);
        playout.lead.set(15);
        tokio::spawn(playout.run());
        let feed = move || {
            for turn in (0..2).flat_map(|answer| (0..20).map(move |n| (n < 15).then_some(answer + 1))) {
                slices.send(slice(turn)).unwrap();
            }
            slices
        };
        let feeding = std::thread::Builder::new().spawn(feed).unwrap();
        let (began, mut heard) = (Instant::now(), Vec::new());
        while heard.len() < 80 {
            sleep(POLL).await;
            // The thread that feeds has no part in this clock.
            std::thread::sleep(POLL);
            heard.extend(sounds(&raw).into_iter().map(|(_, is_tone)| (began.elapsed(), is_tone)));
        }
        let slices = feeding.join().unwrap();
        let tones: Vec<_> = heard.iter().filter(|(_, is_tone)| *is_tone).map(|(at, _)| *at).collect();
        assert_eq!(tones.len(), 60, "nothing of it is lost");
        for answer in tones.chunks(30) {
            let burst = answer.iter().filter(|at| at.saturating_sub(answer[0]) < Duration::from_millis(60)).count();
            assert!((15..=20).contains(&burst), "{burst} frames at once");
            let rest = answer[29].saturating_sub(answer[15]);
            assert!(rest.abs_diff(Duration::from_millis(14 * 20)) < Duration::from_millis(41), "then in time: {rest:?}");
        }
        drop(slices);
    }

    #[tokio::test(start_paused = true)]
    async fn an_interruption_is_silent_within_two_packets() {
        let (playout, slices, raw, current) = playout(Throttle::RealTime);
        let task = tokio::spawn(playout.run());
        for _ in 0..3 {
            slices.send(slice(Some(1))).unwrap();
        }
        sleep(Duration::from_millis(30)).await;
        current.advance_to(TurnId(2));
        sleep(Duration::from_millis(200)).await;
        let heard = sounds(&raw);
        let last = heard.iter().filter(|(_, voiced)| *voiced).map(|(pts, _)| *pts / 16).max().unwrap();
        assert!(last <= 30 + 20, "voice until {last} ms");
        assert!(heard.len() >= 10, "silence goes on at its pace");
        task.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn idle_life_makes_way_for_an_answer_that_waits() {
        let (playout, slices, raw, _, speech) = playout_of_speech(Throttle::RealTime);
        speech.send((TurnId(1), Item::End)).unwrap();
        for turn in [None, None, Some(1)] {
            slices.send(slice(turn)).unwrap();
        }
        let task = tokio::spawn(playout.run());
        sleep(Duration::from_millis(30)).await;
        assert_eq!(sounds(&raw), [(0, true), (320, true)], "the answer is heard first");
        for _ in 0..3 {
            slices.send(slice(None)).unwrap();
        }
        sleep(Duration::from_millis(20)).await;
        assert!(slices.is_empty(), "one of them is played");
        sleep(Duration::from_millis(40)).await;
        assert_eq!(sounds(&raw).len(), 3, "sound keeps its pace");
        task.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn without_slices_sound_keeps_its_pace_as_silence() {
        let (playout, _slices, raw, _) = playout(Throttle::RealTime);
        let task = tokio::spawn(playout.run());
        sleep(Duration::from_millis(1_005)).await;
        let stamps: Vec<u64> = sounds(&raw).iter().map(|(pts, _)| *pts).collect();
        assert_eq!(stamps, (0..=50).map(|n| n * 320).collect::<Vec<_>>());
        task.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn with_the_throttle_off_nothing_waits_and_nothing_is_lost() {
        let (playout, slices, raw, _) = playout(Throttle::Off);
        let started = Instant::now();
        let task = tokio::spawn(playout.run());
        for _ in 0..50 {
            let mut next = slice(Some(1));
            while let Err(TrySendError::Full(back)) = slices.try_send(next) {
                next = back;
                sleep(POLL).await;
            }
        }
        drop(slices);
        task.await.unwrap();
        assert_eq!(sounds(&raw).len(), 100);
        assert!(started.elapsed() < Duration::from_millis(500), "two seconds of media took {:?}", started.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_rendering_ends_playout() {
        let (playout, slices, ..) = playout(Throttle::RealTime);
        drop(slices);
        playout.run().await;
    }
}

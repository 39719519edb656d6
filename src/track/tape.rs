//! Frames on their way to something that may be slow: a disk, another server.
//!
//! In: what the encode thread pushes. Out: a bounded queue that begins with a keyframe, whose stamp is 0. Another thread
//! reads it; when that is late, frames are dropped and counted, and pictures resume with a keyframe.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{Encoded, MediaSink};
use crate::codec::VideoCodec;
use crate::media::{AudioFrame, MediaTime, TurnId};
use crate::metrics;

/// Frames that may wait for who reads the tape: 3.4 s of both kinds. Full: the frame is dropped and counted.
const TAPE_QUEUE: usize = 256;
/// Pictures from one keyframe to the next, at most: whoever seeks, or joins a stream, begins at one. 2 s is what streaming
/// services ask for.
const KEYFRAME_EVERY: u32 = 50;

/// How a tape's sound comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SoundAs {
    /// As Opus.
    Opus,
    /// As samples, for other codecs.
    Samples,
}

/// One frame of a tape. Stamps count from its first picture.
#[derive(Clone, Debug)]
pub enum Taped {
    /// A picture, or sound as Opus.
    Coded(Encoded),
    /// 20 ms of sound as samples.
    Samples(AudioFrame, MediaTime),
}

/// A sink that never waits for its reader.
pub struct Tape {
    sound: SoundAs,
    /// What the metrics call a frame that its reader was too slow for.
    slow: &'static str,
    /// `None` once it is closed.
    feed: Mutex<Option<Feed>>,
}

struct Feed {
    queue: Sender<Taped>,
    /// The stamp of the first picture.
    origin: Option<MediaTime>,
    awaits_keyframe: bool,
    since_keyframe: u32,
    /// The samples of the sound whose stamp comes next.
    heard: Option<AudioFrame>,
}

impl Tape {
    /// A tape and who reads it. The reader's queue ends when the tape is closed, or forgotten with its session.
    pub fn new(sound: SoundAs, slow: &'static str) -> (Self, Receiver<Taped>) {
        let (queue, frames) = bounded(TAPE_QUEUE);
        let feed = Feed { queue, origin: None, awaits_keyframe: true, since_keyframe: 0, heard: None };
        (Self { sound, slow, feed: Mutex::new(Some(feed)) }, frames)
    }

    /// Takes no more frames; those that wait are still read.
    pub fn close(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Feed>> {
        self.feed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MediaSink for Tape {
    fn video_codec(&self) -> Option<VideoCodec> {
        Some(VideoCodec::H264)
    }

    fn wants_keyframe(&self) -> bool {
        self.lock().as_ref().is_some_and(|feed| feed.awaits_keyframe || feed.since_keyframe >= KEYFRAME_EVERY)
    }

    fn hear(&self, sound: &AudioFrame, _turn: Option<TurnId>) {
        if self.sound == SoundAs::Samples
            && let Some(feed) = self.lock().as_mut()
        {
            feed.heard = Some(*sound);
        }
    }

    fn push(&self, frame: &Encoded) {
        let mut feed = self.lock();
        if let Some(feed) = feed.as_mut()
            && let Some(taped) = feed.take(frame)
        {
            feed.send(taped, self.slow);
        }
    }

    fn is_closed(&self) -> bool {
        self.lock().is_none()
    }
}

impl Feed {
    /// What goes on the tape: nothing before the first keyframe.
    fn take(&mut self, frame: &Encoded) -> Option<Taped> {
        if let Encoded::Video { keyframe, pts, .. } = frame {
            if *keyframe {
                self.origin.get_or_insert(*pts);
                self.awaits_keyframe = false;
                self.since_keyframe = 0;
            }
            self.since_keyframe += 1;
            if self.awaits_keyframe {
                return None;
            }
        }
        let heard = self.heard.take();
        let frame = frame.since(self.origin?)?;
        Some(match (&frame, heard) {
            (Encoded::Audio { pts, .. }, Some(samples)) => Taped::Samples(samples, *pts),
            _ => Taped::Coded(frame),
        })
    }

    fn send(&mut self, taped: Taped, slow: &'static str) {
        let is_video = matches!(taped, Taped::Coded(Encoded::Video { .. }));
        if self.queue.try_send(taped).is_err() {
            metrics::frame_dropped(if is_video { "video" } else { "audio" }, slow);
            self.awaits_keyframe |= is_video;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::media::SAMPLES_PER_FRAME;

    fn picture(n: u64, keyframe: bool) -> Encoded {
        let pts = MediaTime { ticks: n * 3_600, rate_hz: 90_000 };
        Encoded::Video { codec: VideoCodec::H264, data: Bytes::new(), keyframe, pts, size: (2, 2) }
    }

    fn sound(n: u64) -> Encoded {
        Encoded::Audio { data: Bytes::new(), pts: MediaTime { ticks: n * 320, rate_hz: 16_000 } }
    }

    #[test]
    fn it_begins_with_a_keyframe_whose_stamp_is_nought() {
        let (tape, frames) = Tape::new(SoundAs::Opus, "slow");
        for frame in [sound(18), sound(19), picture(9, false), picture(10, true), sound(19), sound(20), picture(11, false)] {
            tape.push(&frame);
        }
        tape.close();
        tape.push(&picture(12, true));
        let stamps: Vec<_> = frames
            .iter()
            .map(|taped| match taped {
                Taped::Coded(Encoded::Video { pts, .. } | Encoded::Audio { pts, .. }) | Taped::Samples(_, pts) => pts.ticks,
            })
            .collect();
        assert_eq!(stamps, [0, 0, 3_600]);
        assert!(tape.is_closed());
    }

    #[test]
    fn samples_come_with_the_stamp_of_their_packet() {
        let (tape, frames) = Tape::new(SoundAs::Samples, "slow");
        tape.push(&picture(0, true));
        tape.hear(&AudioFrame([7; SAMPLES_PER_FRAME]), None);
        tape.push(&sound(1));
        let last = frames.try_iter().last();
        assert!(matches!(last, Some(Taped::Samples(frame, MediaTime { ticks: 320, .. })) if frame.0[0] == 7), "{last:?}");
    }

    #[test]
    fn keyframes_come_every_two_seconds_and_after_a_reader_that_was_late() {
        let (tape, frames) = Tape::new(SoundAs::Opus, "slow");
        assert!(tape.wants_keyframe());
        tape.push(&picture(0, true));
        (1..u64::from(KEYFRAME_EVERY)).for_each(|n| tape.push(&picture(n, false)));
        assert!(tape.wants_keyframe());
        tape.push(&picture(50, true));
        assert!(!tape.wants_keyframe());
        (0..TAPE_QUEUE as u64).for_each(|n| tape.push(&picture(51 + n, n % 40 == 0)));
        assert!(tape.wants_keyframe());
        let taped = frames.try_iter().count();
        tape.push(&picture(999, false));
        assert_eq!((taped, frames.len()), (TAPE_QUEUE, 0), "a picture that needs those that were lost is no use");
    }
}

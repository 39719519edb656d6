//! The thread that encodes: one per session, since a picture costs 1–3 ms and an async task may hold the runtime for 0.5.
//!
//! In: stamped raw frames from playout. Out: `Encoded` frames, pushed to every sink. Each codec that some sink wants is
//! encoded once, however many watch.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::Receiver;

use super::{Encoded, MediaSink, Stamped};
use crate::codec::{self, OpusEncoder, VideoCodec, VideoEncoder};
use crate::media::{AudioFrame, TurnId, VideoFrame};
use crate::metrics;
use crate::render::Watched;

/// Raw frames that may wait for the encoder: 80 ms of both kinds. Full means that this machine cannot keep up;
/// playout then drops the frame and counts it.
pub(super) const ENCODE_QUEUE: usize = 6;

/// The shortest time between two keyframes: 4 pictures. A request waits for it, so one is served within 200 ms,
/// and a viewer that asks for every picture does not eat the bits of the others.
const KEYFRAME_SPACING: u64 = 4;

/// How far the bitrate must move before an encoder follows: VP8 has to be opened afresh, which costs a keyframe.
const BITRATE_STEP: f64 = 0.15;

/// Pictures between two rises of the bitrate: 5 s. Falls are followed at once.
const RISE_SPACING: u64 = 125;

/// What failed on this thread.
pub type EncodeError = codec::Error;

pub(super) enum Raw {
    /// And the answer that it belongs to.
    Audio(Stamped<AudioFrame>, Option<TurnId>),
    Video(Stamped<Arc<VideoFrame>>),
}

/// The sinks of a session: written when viewers come and go, read once a frame.
pub(super) type Sinks = Arc<Mutex<Vec<Arc<dyn MediaSink>>>>;

/// Bits a second between which the estimate of the sinks is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bitrate {
    /// Never less, however poor the network says it is.
    pub min: u32,
    /// Until the first estimate.
    pub start: u32,
    /// Never more.
    pub max: u32,
}

struct Live {
    encoder: Box<dyn VideoEncoder>,
    bits_per_second: u32,
    since_keyframe: u64,
    since_rise: u64,
}

/// Encodes until playout drops its end of the queue.
pub(super) fn run(raw: &Receiver<Raw>, sinks: &Sinks, watched: &Watched, bitrate: Bitrate) -> Result<(), EncodeError> {
    let mut opus = OpusEncoder::open()?;
    let mut live: HashMap<VideoCodec, Live> = HashMap::new();
    for frame in raw {
        let sinks = current(sinks);
        match frame {
            Raw::Audio(Stamped { frame, pts }, turn) => {
                sinks.iter().for_each(|sink| sink.hear(&frame, turn));
                // Encoded even when nobody listens: the decoder's state of whoever joins next must not jump.
                let packet = Encoded::Audio { data: opus.encode(&frame)?, pts };
                sinks.iter().for_each(|sink| sink.push(&packet));
            }
            Raw::Video(Stamped { frame, pts }) => {
                watched.set(sinks.iter().any(|sink| sink.watches()));
                sinks.iter().for_each(|sink| sink.see(&frame));
                live.retain(|codec, _| sinks.iter().any(|s| s.video_codec() == Some(*codec)));
                for codec in [VideoCodec::H264, VideoCodec::Vp8] {
                    let watching = || sinks.iter().filter(|s| s.video_codec() == Some(codec));
                    if watching().next().is_none() {
                        continue;
                    }
                    let estimate = watching().filter_map(|s| s.bitrate_bps()).min().unwrap_or(bitrate.start);
                    let target = estimate.clamp(bitrate.min, bitrate.max);
                    let size_changed = |l: &Live| l.encoder.size() != (frame.width(), frame.height());
                    if live.get(&codec).is_none_or(size_changed) {
                        live.insert(codec, Live::open(codec, &frame, target)?);
                    }
                    let live = live.get_mut(&codec).expect("inserted above when absent");
                    live.follow(target)?;
                    let keyframe = watching().any(|s| s.wants_keyframe()) && live.since_keyframe >= KEYFRAME_SPACING;
                    let started = std::time::Instant::now();
                    let picture = live.encoder.encode(&frame, keyframe)?;
                    metrics::encode_seconds(codec.name(), started.elapsed());
                    live.since_keyframe = if picture.keyframe { 0 } else { live.since_keyframe + 1 };
                    live.since_rise += 1;
                    let size = (frame.width(), frame.height());
                    let coded = Encoded::Video { codec, data: picture.data, keyframe: picture.keyframe, pts, size };
                    watching().for_each(|sink| sink.push(&coded));
                }
            }
        }
    }
    Ok(())
}

impl Live {
    fn open(codec: VideoCodec, frame: &VideoFrame, bits_per_second: u32) -> Result<Self, EncodeError> {
        let encoder = codec::open(codec, frame.width(), frame.height(), bits_per_second)?;
        Ok(Self { encoder, bits_per_second, since_keyframe: KEYFRAME_SPACING, since_rise: 0 })
    }

    fn follow(&mut self, target: u32) -> Result<(), EncodeError> {
        let moved = f64::from(target) / f64::from(self.bits_per_second) - 1.0;
        let falls = moved < -BITRATE_STEP;
        let rises = moved > BITRATE_STEP && self.since_rise >= RISE_SPACING;
        if falls || rises {
            self.encoder.set_bitrate(target)?;
            self.bits_per_second = target;
            self.since_rise = 0;
        }
        Ok(())
    }
}

fn current(sinks: &Sinks) -> Vec<Arc<dyn MediaSink>> {
    let mut sinks = sinks.lock().unwrap_or_else(PoisonError::into_inner);
    sinks.retain(|sink| !sink.is_closed());
    sinks.clone()
}

//! H.264 constrained baseline by x264: what phones decode in hardware.

use super::Error;
use super::ffmpeg::{Encoder, Settings};

/// `superfast` costs about what VP8 does. `qmin` 20 stops a quiet picture from being polished beyond what is seen: 46 dB at
/// a third of the bits of 50 dB. Headers go with every keyframe, since viewers join
/// at any time; level 3.1 is what `profile-level-id=42e01f` promises.
const OPTIONS: &[(&str, &str)] = &[
    ("preset", "superfast"),
    ("tune", "zerolatency"),
    ("profile", "baseline"),
    ("level", "3.1"),
    ("qmin", "20"),
    ("threads", "1"),
    ("forced-idr", "1"),
    ("x264-params", "repeat-headers=1:annexb=1:scenecut=0:sliced-threads=0"),
];

pub(super) fn open(width: u32, height: u32, bits_per_second: u32) -> Result<Encoder, Error> {
    Encoder::open(Settings { name: "libx264", options: OPTIONS, follows_bitrate: true, width, height, bits_per_second })
}

//! Encoded frames to an MP4 file: H.264 and Opus as they come from the encoders, muxed by `FFmpeg`. Blocking; used from
//! the encode thread offline, and from a thread of its own where somebody watches.

use std::ffi::c_int;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ffmpeg_next::ffi::{
    AV_INPUT_BUFFER_PADDING_SIZE, AVCodecID, AVCodecParameters, AVMediaType, av_channel_layout_default, av_mallocz,
};
use ffmpeg_next::{Dictionary, Packet, Rational, codec, format};

use super::Encoded;
use crate::media::{AUDIO_PTIME, AUDIO_RATE_HZ, MediaTime, VIDEO_CLOCK_HZ, VIDEO_PTIME};

/// Samples at 48 kHz that a decoder drops at the start: libopus' look-ahead of 6.5 ms (RFC 7845 §4.2).
const OPUS_PRE_SKIP: u16 = 312;
const OPUS_CLOCK_HZ: u32 = 48_000;
/// One second each: what a power cut or `kill -9` costs.
const FRAGMENT_MICROSECONDS: &str = "1000000";
const VIDEO: usize = 0;
const AUDIO: usize = 1;

/// Why there is no file, or not a whole one.
#[derive(Debug, thiserror::Error)]
pub enum Mp4Error {
    /// `FFmpeg` refused.
    #[error("{path}: {source}", path = path.display())]
    Ffmpeg {
        /// Which file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: ffmpeg_next::Error,
    },
    /// Nothing was written.
    #[error("{path}: there was no picture to write", path = path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
    },
}

/// How a file is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One index at the end: smallest, and nothing without it.
    Whole,
    /// An index a second (ISO/IEC 14496-12 §8.8): it plays up to the last second also if it was never finished.
    Fragments,
}

/// A file that is being written.
pub struct Mp4Writer {
    path: PathBuf,
    output: format::context::Output,
    end: Duration,
}

// SAFETY: the muxer's context is only ever used through `&mut self`, by one thread at a time.
#[expect(unsafe_code, reason = "ffmpeg-next does not mark its output context Send")]
unsafe impl Send for Mp4Writer {}

impl Mp4Writer {
    /// Begins a file whose first picture is `keyframe` (Annex B, with its parameter sets), `width` × `height`.
    pub fn create(path: &Path, layout: Layout, keyframe: &[u8], width: u32, height: u32) -> Result<Self, Mp4Error> {
        let failed = |source| Mp4Error::Ffmpeg { path: path.to_owned(), source };
        let mut output = format::output(path).map_err(failed)?;
        {
            let mut video = output.add_stream(codec::Id::H264).map_err(failed)?;
            video.set_time_base(Rational(1, VIDEO_CLOCK_HZ as i32));
            video.set_avg_frame_rate(Rational(25, 1));
            let mut parameters = codec::Parameters::new();
            set_video(&mut parameters, &parameter_sets(keyframe), width, height);
            video.set_parameters(parameters);
        }
        {
            let mut audio = output.add_stream(codec::Id::OPUS).map_err(failed)?;
            audio.set_time_base(Rational(1, OPUS_CLOCK_HZ as i32));
            let mut parameters = codec::Parameters::new();
            set_audio(&mut parameters);
            audio.set_parameters(parameters);
        }
        let mut options = Dictionary::new();
        if layout == Layout::Fragments {
            options.set("movflags", "empty_moov+default_base_moof");
            options.set("frag_duration", FRAGMENT_MICROSECONDS);
            options.set("flush_packets", "1");
        }
        output.write_header_with(options).map_err(failed)?;
        Ok(Self { path: path.to_owned(), output, end: Duration::ZERO })
    }

    /// Appends a frame.
    pub fn write(&mut self, frame: &Encoded) -> Result<(), Mp4Error> {
        let (stream, data, pts, keyframe, clock_hz, length) = match frame {
            Encoded::Audio { data, pts } => (AUDIO, data, *pts, true, OPUS_CLOCK_HZ, AUDIO_PTIME),
            Encoded::Video { data, keyframe, pts, .. } => (VIDEO, data, *pts, *keyframe, VIDEO_CLOCK_HZ, VIDEO_PTIME),
        };
        let mut packet = Packet::copy(data);
        packet.set_stream(stream);
        packet.set_pts(Some(ticks(pts, clock_hz)));
        packet.set_dts(Some(ticks(pts, clock_hz)));
        packet.set_duration((length.as_millis() as i64) * i64::from(clock_hz) / 1_000);
        if keyframe {
            packet.set_flags(codec::packet::Flags::KEY);
        }
        // The muxer may have chosen another time base than the one it was asked for.
        let base = self.output.stream(stream).map_or(Rational(1, clock_hz as i32), |s| s.time_base());
        packet.rescale_ts(Rational(1, clock_hz as i32), base);
        let written = packet.write_interleaved(&mut self.output);
        written.map_err(|source| Mp4Error::Ffmpeg { path: self.path.clone(), source })?;
        self.end = self.end.max(pts.since_anchor() + length);
        Ok(())
    }

    /// Ends the file. Returns how long it plays.
    pub fn finish(mut self) -> Result<Duration, Mp4Error> {
        self.output.write_trailer().map_err(|source| Mp4Error::Ffmpeg { path: self.path.clone(), source })?;
        Ok(self.end)
    }
}

fn ticks(pts: MediaTime, clock_hz: u32) -> i64 {
    (pts.ticks * u64::from(clock_hz) / u64::from(pts.rate_hz)) as i64
}

/// The SPS and PPS that lead a keyframe, with their start codes (RFC 6184 §1.3: types 7 and 8).
pub(super) fn parameter_sets(annex_b: &[u8]) -> Vec<u8> {
    let mut sets = Vec::new();
    let starts: Vec<usize> = (0..annex_b.len().saturating_sub(3)).filter(|&i| annex_b[i..i + 3] == [0, 0, 1]).collect();
    for (n, &start) in starts.iter().enumerate() {
        let end = starts.get(n + 1).map_or(annex_b.len(), |next| *next);
        let unit = &annex_b[start + 3..end];
        let trailing_zeros = unit.iter().rev().take_while(|byte| **byte == 0).count();
        if unit.first().is_some_and(|header| matches!(header & 0x1f, 7 | 8)) {
            sets.extend([0, 0, 0, 1]);
            sets.extend(&unit[..unit.len() - trailing_zeros]);
        }
    }
    sets
}

#[expect(unsafe_code, reason = "ffmpeg-next has no setters for codec parameters")]
pub(super) fn set_video(parameters: &mut codec::Parameters, sets: &[u8], width: u32, height: u32) {
    // SAFETY: `parameters` owns the struct and is borrowed mutably; only plain fields are written.
    let p = unsafe { &mut *parameters.as_mut_ptr() };
    p.codec_type = AVMediaType::AVMEDIA_TYPE_VIDEO;
    p.codec_id = AVCodecID::AV_CODEC_ID_H264;
    p.width = width as c_int;
    p.height = height as c_int;
    set_extradata(p, sets);
}

#[expect(unsafe_code, reason = "ffmpeg-next has no setters for codec parameters")]
fn set_audio(parameters: &mut codec::Parameters) {
    // SAFETY: as in `set_video`; `av_channel_layout_default` writes the layout that it is handed.
    let p = unsafe { &mut *parameters.as_mut_ptr() };
    p.codec_type = AVMediaType::AVMEDIA_TYPE_AUDIO;
    p.codec_id = AVCodecID::AV_CODEC_ID_OPUS;
    p.sample_rate = OPUS_CLOCK_HZ as c_int;
    p.frame_size = (OPUS_CLOCK_HZ / 50) as c_int;
    p.initial_padding = c_int::from(OPUS_PRE_SKIP);
    // SAFETY: as above.
    unsafe { av_channel_layout_default(&raw mut p.ch_layout, 1) };
    // OpusHead (RFC 7845 §5.1): version 1, one channel, pre-skip, input rate, no gain, mapping family 0.
    let mut head = b"OpusHead\x01\x01".to_vec();
    head.extend(OPUS_PRE_SKIP.to_le_bytes());
    head.extend(AUDIO_RATE_HZ.to_le_bytes());
    head.extend([0, 0, 0]);
    set_extradata(p, &head);
}

/// Hands `FFmpeg` a copy of `bytes` that it frees itself.
#[expect(unsafe_code, reason = "extradata must come from FFmpeg's allocator, padded")]
fn set_extradata(parameters: &mut AVCodecParameters, bytes: &[u8]) {
    // SAFETY: the allocation is as long as what is copied plus the zeroed padding that FFmpeg's parsers read.
    unsafe {
        let copy: *mut u8 = av_mallocz(bytes.len() + AV_INPUT_BUFFER_PADDING_SIZE as usize).cast();
        if copy.is_null() {
            return;
        }
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), copy, bytes.len());
        parameters.extradata = copy;
        parameters.extradata_size = bytes.len() as c_int;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{OpusEncoder, VideoCodec, open};
    use crate::media::{AudioFrame, VideoFrame};

    #[test]
    fn parameter_sets_are_found_behind_both_kinds_of_start_code() {
        let keyframe = [0, 0, 0, 1, 0x67, 1, 2, 0, 0, 1, 0x68, 3, 0, 0, 1, 0x65, 9, 9];
        assert_eq!(parameter_sets(&keyframe), [0, 0, 0, 1, 0x67, 1, 2, 0, 0, 0, 1, 0x68, 3]);
    }

    #[test]
    fn a_file_holds_both_tracks_and_plays_as_long_as_what_was_written() {
        let path = std::env::temp_dir().join(format!("visavis-record-{}.mp4", std::process::id()));
        let mut video = open(VideoCodec::H264, 64, 48, 300_000).unwrap();
        let mut opus = OpusEncoder::open().unwrap();
        let mut writer = None;
        for n in 0..25_u64 {
            let picture = video.encode(&VideoFrame::black(64, 48), false).unwrap();
            let pts = MediaTime { ticks: n * 3_600, rate_hz: 90_000 };
            let writer =
                writer.get_or_insert_with(|| Mp4Writer::create(&path, Layout::Whole, &picture.data, 64, 48).unwrap());
            let (data, keyframe) = (picture.data, picture.keyframe);
            writer.write(&Encoded::Video { codec: VideoCodec::H264, data, keyframe, pts, size: (64, 48) }).unwrap();
            for half in 0..2 {
                let data = opus.encode(&AudioFrame::SILENCE).unwrap();
                let pts = MediaTime { ticks: (2 * n + half) * 320, rate_hz: 16_000 };
                writer.write(&Encoded::Audio { data, pts }).unwrap();
            }
        }
        assert_eq!(writer.unwrap().finish().unwrap(), Duration::from_secs(1));
        let input = format::input(&path).unwrap();
        assert_eq!(input.nb_streams(), 2);
        assert!((input.duration() - 1_000_000).abs() < 30_000, "{} µs", input.duration());
        std::fs::remove_file(path).unwrap();
    }
}

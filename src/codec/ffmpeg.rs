//! A live video encoder of `FFmpeg`: zero delay, one thread, one picture in and one out.

use bytes::Bytes;
use ffmpeg_next::{Dictionary, Packet, Rational, codec, encoder, format::Pixel, frame, picture};

use super::{CodedPicture, Error, VideoEncoder};
use crate::media::VideoFrame;

/// Pictures a second, which rate control needs to know.
const FPS: i32 = 25;

/// What differs between codecs.
#[derive(Clone)]
pub(super) struct Settings {
    /// `FFmpeg`'s name of the encoder.
    pub name: &'static str,
    /// Its private options.
    pub options: &'static [(&'static str, &'static str)],
    /// Whether it follows a new `bit_rate` while running; if not, it is opened afresh.
    pub follows_bitrate: bool,
    pub width: u32,
    pub height: u32,
    pub bits_per_second: u32,
}

pub(super) struct Encoder {
    settings: Settings,
    video: encoder::video::Encoder,
    frame: frame::Video,
    packet: Packet,
    pts: i64,
}

impl Encoder {
    pub(super) fn open(settings: Settings) -> Result<Self, Error> {
        let video = open(&settings)?;
        let frame = frame::Video::new(Pixel::YUV420P, settings.width, settings.height);
        Ok(Self { settings, video, frame, packet: Packet::empty(), pts: 0 })
    }

    fn failed(&self, source: ffmpeg_next::Error) -> Error {
        Error::Ffmpeg { encoder: self.settings.name, source }
    }
}

impl VideoEncoder for Encoder {
    fn encode(&mut self, frame: &VideoFrame, keyframe: bool) -> Result<CodedPicture, Error> {
        // The encoder may still hold a reference to the last picture's buffer.
        make_writable(&mut self.frame).map_err(|e| self.failed(e))?;
        for (plane, source) in frame.planes().into_iter().enumerate() {
            let width = frame.width() as usize / if plane == 0 { 1 } else { 2 };
            let stride = self.frame.stride(plane);
            let target = self.frame.data_mut(plane);
            for (to, from) in target.chunks_mut(stride).zip(source.chunks_exact(width)) {
                to[..width].copy_from_slice(from);
            }
        }
        self.frame.set_pts(Some(self.pts));
        self.pts += 1;
        self.frame.set_kind(if keyframe { picture::Type::I } else { picture::Type::None });
        self.video.send_frame(&self.frame).map_err(|e| self.failed(e))?;
        match self.video.receive_packet(&mut self.packet) {
            Ok(()) => Ok(CodedPicture {
                data: Bytes::copy_from_slice(self.packet.data().unwrap_or_default()),
                keyframe: self.packet.is_key(),
            }),
            Err(ffmpeg_next::Error::Other { .. }) => Err(Error::NoPicture(self.settings.name)),
            Err(e) => Err(self.failed(e)),
        }
    }

    fn set_bitrate(&mut self, bits_per_second: u32) -> Result<(), Error> {
        if bits_per_second == self.settings.bits_per_second {
            return Ok(());
        }
        self.settings.bits_per_second = bits_per_second;
        if self.settings.follows_bitrate {
            set_rate(&mut self.video, bits_per_second);
        } else {
            self.video = open(&self.settings)?;
        }
        Ok(())
    }

    fn size(&self) -> (u32, u32) {
        (self.settings.width, self.settings.height)
    }
}

fn open(settings: &Settings) -> Result<encoder::video::Encoder, Error> {
    let name = settings.name;
    let failed = |source| Error::Ffmpeg { encoder: name, source };
    let found = encoder::find_by_name(name).ok_or(Error::NoEncoder(name))?;
    let mut video = codec::context::Context::new_with_codec(found).encoder().video().map_err(failed)?;
    video.set_width(settings.width);
    video.set_height(settings.height);
    video.set_format(Pixel::YUV420P);
    video.set_colorspace(ffmpeg_next::color::Space::SMPTE170M);
    video.set_color_range(ffmpeg_next::color::Range::MPEG);
    video.set_time_base(Rational(1, FPS));
    video.set_frame_rate(Some(Rational(FPS, 1)));
    video.set_max_b_frames(0);
    // Ten seconds: viewers that need a keyframe ask for one.
    video.set_gop(250);
    set_rate(&mut video, settings.bits_per_second);
    let mut options = Dictionary::new();
    for (key, value) in settings.options {
        options.set(key, value);
    }
    video.open_with(options).map_err(failed)
}

/// Average and peak rate, and half a second of buffer: a keyframe may burst, no more.
#[expect(unsafe_code, reason = "ffmpeg-next has no setter for the rate-control buffer")]
fn set_rate(video: &mut encoder::video::Video, bits_per_second: u32) {
    video.set_bit_rate(bits_per_second as usize);
    video.set_max_bit_rate(bits_per_second as usize);
    // SAFETY: the context is owned by `video`, which is borrowed mutably for the whole write.
    unsafe { (*video.as_mut_ptr()).rc_buffer_size = (bits_per_second / 2) as i32 };
}

#[expect(unsafe_code, reason = "ffmpeg-next does not wrap av_frame_make_writable")]
fn make_writable(frame: &mut frame::Video) -> Result<(), ffmpeg_next::Error> {
    // SAFETY: the pointer is that of a live frame which is borrowed mutably here.
    match unsafe { ffmpeg_next::ffi::av_frame_make_writable(frame.as_mut_ptr()) } {
        0 => Ok(()),
        code => Err(ffmpeg_next::Error::from(code)),
    }
}

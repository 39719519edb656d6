//! A film file as pictures, 25 a second, whatever rate it has itself.
//!
//! In: a file of any common kind. Out: pictures as they are to be seen: turned as the camera says, in the right colours.
//! Nothing but that file is opened, whatever it says. Blocking, on the thread of who asks.

use std::fs::File;
use std::path::Path;

use ffmpeg_next::codec::context::Context as Codec;
use ffmpeg_next::codec::packet::side_data::Type as SideData;
use ffmpeg_next::format::context::{Input, StreamIo};
use ffmpeg_next::software::scaling::{Context as Scaler, Flags};
use ffmpeg_next::util::color;
use ffmpeg_next::util::frame::Video;
use ffmpeg_next::{Dictionary, Error as Ffmpeg, Packet, Rational, decoder, ffi, format, media};
use image::{RgbImage, imageops};

use super::{Error, MOST_PIXELS_A_SIDE};

/// Pictures a second that an avatar plays.
pub(super) const RATE_HZ: u32 = 25;

/// Containers that are tried: those of films, and none that opens further files.
const FORMATS: &str = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,ogg,asf,gif";
/// Broken packets that are skipped before the film is given up.
const MOST_BROKEN: u32 = 64;
/// A picture is due this much early: clocks of containers are rounded to milliseconds.
const EARLY_S: f64 = 0.002;

/// A film that is being read.
pub(super) struct Film {
    input: Input,
    stream: usize,
    decoder: decoder::Video,
    /// Seconds of a tick of the file's clock.
    tick_s: f64,
    /// How long a picture is shown, as far as the file knows.
    picture_s: f64,
    /// How often it is turned to the right by a quarter.
    quarters: u32,
    scaler: Option<Scaler>,
    /// Pictures handed out.
    shown: u64,
    first_s: Option<f64>,
    now: Option<Decoded>,
    next: Option<Decoded>,
    ended: bool,
    broken: u32,
    length_s: Option<f64>,
}

struct Decoded {
    at_s: f64,
    frame: Video,
}

impl Film {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|source| Error::Io { doing: "reading", path: path.into(), source })?;
        let no_film = |_: Ffmpeg| Error::NoFilm;
        let mut options = Dictionary::new();
        options.set("format_whitelist", FORMATS);
        options.set("protocol_whitelist", "");
        options.set("max_streams", "16");
        let io = StreamIo::from_read_seek(file).map_err(no_film)?;
        let input = format::input_from_stream(io, None, Some(options)).map_err(no_film)?;
        let stream = input.streams().best(media::Type::Video).ok_or(Error::NoFilm)?;
        let (index, tick_s) = (stream.index(), f64::from(stream.time_base()));
        let rate = |Rational(n, d): Rational| if n > 0 && d > 0 { Some(f64::from(n) / f64::from(d)) } else { None };
        let picture_s = rate(stream.avg_frame_rate()).map_or(0.04, |hz| (1.0 / hz).clamp(0.001, 1.0));
        let quarters = quarters(&stream);
        let length_s = u64::try_from(input.duration()).ok().map(|us| us as f64 / f64::from(ffi::AV_TIME_BASE));
        let codec = Codec::from_parameters(stream.parameters()).map_err(no_film)?;
        let decoder = codec.decoder().video().map_err(no_film)?;
        check(decoder.width(), decoder.height())?;
        Ok(Self {
            input,
            stream: index,
            decoder,
            tick_s,
            picture_s,
            quarters,
            scaler: None,
            shown: 0,
            first_s: None,
            now: None,
            next: None,
            ended: false,
            broken: 0,
            length_s,
        })
    }

    /// How many pictures it will be, if the file says so.
    pub(super) fn pictures(&self) -> Option<u64> {
        self.length_s.map(|s| (s * f64::from(RATE_HZ)).round() as u64)
    }

    /// The next picture to show; `None` at the end.
    pub(super) fn picture(&mut self) -> Result<Option<RgbImage>, Error> {
        let due_s = self.shown as f64 / f64::from(RATE_HZ) + EARLY_S;
        loop {
            if self.next.is_none() {
                self.next = self.decode()?;
            }
            match self.next.take() {
                Some(next) if next.at_s <= due_s || self.now.is_none() => self.now = Some(next),
                Some(later) => {
                    self.next = Some(later);
                    break;
                }
                None => break,
            }
        }
        let Some(now) = self.now.take() else {
            return if self.broken > 0 { Err(Error::Damaged) } else { Ok(None) };
        };
        if self.next.is_none() && due_s > now.at_s + self.picture_s {
            return Ok(None);
        }
        self.shown += 1;
        let picture = self.rgb(&now.frame)?;
        self.now = Some(now);
        Ok(Some(picture))
    }

    /// The next picture of the file, in the order in which they are shown.
    fn decode(&mut self) -> Result<Option<Decoded>, Error> {
        let mut frame = Video::empty();
        loop {
            if self.decoder.receive_frame(&mut frame).is_ok() {
                check(frame.width(), frame.height())?;
                let before = self.next.as_ref().or(self.now.as_ref()).map(|d| d.at_s);
                let at_s = frame.timestamp().map(|ticks| ticks as f64 * self.tick_s);
                // A file without a clock plays at its rate.
                let at_s = at_s.map(|s| s - *self.first_s.get_or_insert(s));
                let at_s = at_s.or(before.map(|s| s + self.picture_s)).unwrap_or(0.0);
                return Ok(Some(Decoded { at_s, frame }));
            }
            if self.ended {
                return Ok(None);
            }
            let mut packet = Packet::empty();
            match packet.read(&mut self.input) {
                Ok(()) if packet.stream() != self.stream => {}
                Ok(()) => self.broken += u32::from(self.decoder.send_packet(&packet).is_err()),
                Err(Ffmpeg::Eof) => {
                    self.ended = true;
                    // A decoder that has nothing to flush says so, and that is no fault of the file.
                    let _ = self.decoder.send_eof();
                }
                Err(_) => self.broken += 1,
            }
            if self.broken > MOST_BROKEN {
                return Err(Error::Damaged);
            }
        }
    }

    fn rgb(&mut self, frame: &Video) -> Result<RgbImage, Error> {
        let (width, height) = (frame.width(), frame.height());
        let same = |s: &Scaler| {
            let input = s.input();
            (input.format, input.width, input.height) == (frame.format(), width, height)
        };
        if !self.scaler.as_ref().is_some_and(same) {
            let out = format::Pixel::RGB24;
            let mut scaler =
                Scaler::get(frame.format(), width, height, out, width, height, Flags::BILINEAR | Flags::ACCURATE_RND)
                    .map_err(|_| Error::Damaged)?;
            set_colours(&mut scaler, frame);
            self.scaler = Some(scaler);
        }
        let mut rgb = Video::empty();
        let scaler = self.scaler.as_mut().expect("it was made above");
        scaler.run(frame, &mut rgb).map_err(|_| Error::Damaged)?;
        let (row, stride) = (width as usize * 3, rgb.stride(0));
        let pixels = rgb.data(0).chunks(stride).take(height as usize).flat_map(|line| &line[..row]).copied().collect();
        let picture = RgbImage::from_raw(width, height, pixels).ok_or(Error::Damaged)?;
        Ok(match self.quarters {
            1 => imageops::rotate90(&picture),
            2 => imageops::rotate180(&picture),
            3 => imageops::rotate270(&picture),
            _ => picture,
        })
    }
}

fn check(width: u32, height: u32) -> Result<(), Error> {
    let fits = |side: u32| (64..=MOST_PIXELS_A_SIDE).contains(&side);
    if fits(width) && fits(height) { Ok(()) } else { Err(Error::Size { width, height }) }
}

/// How the camera was held, in quarter turns to the right: a matrix whose first two numbers are its cosine and its sine.
fn quarters(stream: &format::stream::Stream<'_>) -> u32 {
    let Some(side) = stream.side_data().find(|side| side.kind() == SideData::DisplayMatrix) else { return 0 };
    let numbers: Vec<i32> = side.data().as_chunks().0.iter().take(2).map(|b| i32::from_ne_bytes(*b)).collect();
    let [cos, sin] = numbers[..] else { return 0 };
    let quarters = f64::from(sin).atan2(f64::from(cos)) / std::f64::consts::FRAC_PI_2;
    quarters.round().rem_euclid(4.0) as u32
}

/// Tells the converter which colours the film has: by itself it takes all for those of standard definition.
#[expect(unsafe_code, reason = "ffmpeg-next has no call for it")]
fn set_colours(scaler: &mut Scaler, frame: &Video) {
    let matrix = match frame.color_space() {
        color::Space::BT709 => ffi::SWS_CS_ITU709,
        color::Space::BT2020NCL | color::Space::BT2020CL => ffi::SWS_CS_BT2020,
        color::Space::Unspecified if frame.height() >= 720 => ffi::SWS_CS_ITU709,
        _ => ffi::SWS_CS_DEFAULT,
    };
    let full = i32::from(frame.color_range() == color::Range::JPEG);
    // SAFETY: the context was just made and is ours; both tables are constants of the library. What it refuses it ignores.
    unsafe {
        let (from, to) = (ffi::sws_getCoefficients(matrix), ffi::sws_getCoefficients(ffi::SWS_CS_DEFAULT));
        ffi::sws_setColorspaceDetails(scaler.as_mut_ptr(), from, full, to, 1, 0, 1 << 16, 1 << 16);
    }
}

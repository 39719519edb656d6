//! Frames to an RTMP server: H.264 as it comes from the encoder, sound as AAC, sent by `FFmpeg`. Blocking; used from a
//! thread of its own, which another one can wake.

use std::ffi::{CString, c_int};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ffmpeg_next::ffi::{AVIO_FLAG_WRITE, av_dict_free, avformat_alloc_output_context2, avio_open2};
use ffmpeg_next::util::interrupt::{self, InterruptGuard};
use ffmpeg_next::{Dictionary, Packet, Rational, codec, format};

use super::record::{parameter_sets, set_video};
use super::{Encoded, Taped};
use crate::codec::{AacEncoder, Error as CodecError};
use crate::media::{AUDIO_RATE_HZ, AudioFrame, MediaTime, SAMPLES_PER_FRAME, VIDEO_CLOCK_HZ};

/// How long a server may not take a byte.
const STALL: Duration = Duration::from_secs(10);
/// Missing sound that is made up for by silence: more than a tape holds.
const MAX_GAP: u64 = 10 * AUDIO_RATE_HZ as u64;
const VIDEO: usize = 0;
const AUDIO: usize = 1;

/// Why nothing is sent.
#[derive(Debug, thiserror::Error)]
pub enum RtmpError {
    /// The address holds a zero byte.
    #[error("the address is none")]
    Address,
    /// `FFmpeg` says so; not with the address, which holds a key.
    #[error("{0}")]
    Ffmpeg(#[from] ffmpeg_next::Error),
    /// No AAC.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// Ends what another thread waits for.
#[derive(Clone)]
pub struct Waker(Arc<Watch>);

struct Watch {
    began: Instant,
    /// Since when the present call is under way, in milliseconds after `began`.
    since_ms: AtomicU64,
    woken: AtomicBool,
}

impl Waker {
    /// For one connection.
    #[expect(clippy::new_without_default, reason = "it begins to count")]
    pub fn new() -> Self {
        Self(Arc::new(Watch { began: Instant::now(), since_ms: AtomicU64::new(0), woken: AtomicBool::new(false) }))
    }

    /// Has whatever is waited for fail at once.
    pub fn wake(&self) {
        self.0.woken.store(true, Ordering::Relaxed);
    }

    fn begin(&self) {
        self.0.since_ms.store(self.0.now_ms(), Ordering::Relaxed);
    }
}

impl Watch {
    fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    fn is_over(&self) -> bool {
        let stalled = self.now_ms().saturating_sub(self.since_ms.load(Ordering::Relaxed));
        self.woken.load(Ordering::Relaxed) || stalled > STALL.as_millis() as u64
    }
}

/// A connection over which a stream goes.
pub struct RtmpWriter {
    /// Closed before the guard goes, which it may still ask.
    output: format::context::Output,
    _guard: InterruptGuard,
    waker: Waker,
    aac: AacEncoder,
    /// Whether the stream has begun.
    is_begun: bool,
    /// The stamp of the next 20 ms of sound, at 16 kHz.
    next_sound: Option<u64>,
    /// The stamp of the first.
    first_sound: u64,
}

impl RtmpWriter {
    /// Connects and asks to publish, `rtmp://host/app/key`.
    pub fn connect(url: &str, waker: &Waker) -> Result<Self, RtmpError> {
        let aac = AacEncoder::open()?;
        waker.begin();
        let watch = Arc::clone(&waker.0);
        let interrupt = interrupt::new(Box::new(move || watch.is_over()));
        let output = open(url, &interrupt.interrupt)?;
        Ok(Self {
            output,
            _guard: interrupt.guard,
            waker: waker.clone(),
            aac,
            is_begun: false,
            next_sound: None,
            first_sound: 0,
        })
    }

    /// Sends a frame. The first picture is a keyframe.
    pub fn write(&mut self, taped: &Taped) -> Result<(), RtmpError> {
        self.waker.begin();
        match taped {
            Taped::Coded(Encoded::Video { data, keyframe, pts, size: (width, height), .. }) => {
                if !self.is_begun {
                    self.begin(data, *width, *height)?;
                }
                let mut packet = Packet::copy(data);
                if *keyframe {
                    packet.set_flags(codec::packet::Flags::KEY);
                }
                self.send(packet, VIDEO, pts.ticks as i64, VIDEO_CLOCK_HZ)
            }
            Taped::Samples(sound, pts) if self.is_begun => self.hear(sound, *pts),
            Taped::Samples(..) | Taped::Coded(Encoded::Audio { .. }) => Ok(()),
        }
    }

    /// Says that nothing follows.
    pub fn finish(mut self) -> Result<(), RtmpError> {
        self.waker.begin();
        if self.is_begun {
            self.output.write_trailer()?;
        }
        Ok(())
    }

    fn begin(&mut self, keyframe: &[u8], width: u32, height: u32) -> Result<(), RtmpError> {
        {
            let mut video = self.output.add_stream(codec::Id::H264)?;
            video.set_time_base(Rational(1, 1_000));
            video.set_avg_frame_rate(Rational(25, 1));
            let mut parameters = codec::Parameters::new();
            set_video(&mut parameters, &parameter_sets(keyframe), width, height);
            video.set_parameters(parameters);
        }
        {
            let mut audio = self.output.add_stream(codec::Id::AAC)?;
            audio.set_time_base(Rational(1, 1_000));
            audio.set_parameters(self.aac.parameters());
        }
        let mut options = Dictionary::new();
        options.set("flvflags", "no_duration_filesize");
        options.set("flush_packets", "1");
        self.output.write_header_with(options)?;
        self.is_begun = true;
        Ok(())
    }

    /// Sound without holes: what is missing is silence, so that the encoder's count of samples stays the time.
    fn hear(&mut self, sound: &AudioFrame, pts: MediaTime) -> Result<(), RtmpError> {
        if self.next_sound.is_none() {
            self.first_sound = pts.ticks;
        }
        let next = self.next_sound.get_or_insert(pts.ticks);
        let missing = pts.ticks.saturating_sub(*next).min(MAX_GAP) / SAMPLES_PER_FRAME as u64;
        *next = pts.ticks + SAMPLES_PER_FRAME as u64;
        for n in 0..=missing {
            let frame = if n == missing { sound } else { &AudioFrame::SILENCE };
            for packet in self.aac.encode(frame)? {
                let rate = self.aac.rate_hz();
                let first = (self.first_sound * u64::from(rate) / u64::from(AUDIO_RATE_HZ)) as i64;
                let mut coded = Packet::copy(&packet.data);
                coded.set_flags(codec::packet::Flags::KEY);
                // What the encoder puts before the first sample has no time.
                self.send(coded, AUDIO, (packet.pts + first).max(0), rate)?;
            }
        }
        Ok(())
    }

    fn send(&mut self, mut packet: Packet, stream: usize, pts: i64, clock_hz: u32) -> Result<(), RtmpError> {
        packet.set_stream(stream);
        packet.set_pts(Some(pts));
        packet.set_dts(Some(pts));
        let base = self.output.stream(stream).map_or(Rational(1, 1_000), |stream| stream.time_base());
        packet.rescale_ts(Rational(1, clock_hz as i32), base);
        Ok(packet.write_interleaved(&mut self.output)?)
    }
}

/// `format::output_as` with a way to end its waiting, which ffmpeg-next has for inputs alone.
#[expect(unsafe_code, reason = "ffmpeg-next has no interruptible output")]
fn open(url: &str, interrupt: &ffmpeg_next::ffi::AVIOInterruptCB) -> Result<format::context::Output, RtmpError> {
    let url = CString::new(url).map_err(|_| RtmpError::Address)?;
    let mut context = ptr::null_mut();
    let check = |code: c_int| if code < 0 { Err(ffmpeg_next::Error::from(code)) } else { Ok(()) };
    let mut options = Dictionary::new();
    options.set("tcp_nodelay", "1");
    // SAFETY: both strings end with zero and live through the calls; `context` is FFmpeg's own until `wrap` takes it, whose
    // drop closes and frees it, as it does if the connection fails.
    unsafe {
        check(avformat_alloc_output_context2(&raw mut context, ptr::null_mut(), c"flv".as_ptr(), url.as_ptr()))?;
        (*context).interrupt_callback = *interrupt;
        let mut options = options.disown();
        let opened = avio_open2(&raw mut (*context).pb, url.as_ptr(), AVIO_FLAG_WRITE, interrupt, &raw mut options);
        av_dict_free(&raw mut options);
        let output = format::context::Output::wrap(context);
        check(opened)?;
        Ok(output)
    }
}

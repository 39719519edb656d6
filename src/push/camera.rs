//! A virtual camera: a session's pictures to a V4L2 device that other programs film with (`v4l2loopback`), and its sound to a
//! program that plays it.
//!
//! A blocking thread each, behind queues of a tenth of a second: what they are too slow for is dropped, so neither falls
//! behind the other for long.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Ended;
use crate::config;
use crate::media::{AudioFrame, TurnId, VideoFrame};
use crate::metrics;
use crate::session::Session;
use crate::track::MediaSink;

/// Pictures that wait for the device: 120 ms. Full: the picture is dropped and counted.
const PICTURE_QUEUE: usize = 3;
/// Frames of sound that wait for the program: 100 ms. Full: the frame is dropped and counted.
const LOUDSPEAKER_QUEUE: usize = 5;
/// Bytes between us and the program: 128 ms. What is as large as it comes would play two seconds late.
const PIPE_BYTES: usize = 4_096;

/// How long the program may play on after the end of its input.
const PATIENCE: usize = 20;
const POLL: Duration = Duration::from_millis(50);

/// Why there is no camera.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No such device, or not ours to use.
    #[error("{}: {source}. Is v4l2loopback loaded (modprobe v4l2loopback), and may this user write to it?", path.display())]
    Open { path: PathBuf, source: io::Error },
    /// A camera proper, or no camera at all.
    #[error("{} takes no pictures: name a device of v4l2loopback in push.device", path.display())]
    NoOutput { path: PathBuf },
    /// It wants other pictures.
    #[error("{} takes no pictures of {width}x{height} in I420", path.display())]
    Format { path: PathBuf, width: u32, height: u32 },
    /// The program for the sound.
    #[error("push.player: {0}")]
    Player(#[source] io::Error),
    /// It broke.
    #[error("writing: {0}")]
    Write(#[from] io::Error),
    /// A thread panicked.
    #[error("the thread that writes failed")]
    Thread(#[from] tokio::task::JoinError),
}

/// Shows `session` until `stop` or something breaks.
pub(super) async fn send(session: &Arc<Session>, config: &config::Push, stop: &CancellationToken) -> Result<Ended, Error> {
    let camera = Camera::open(&config.device)?;
    let (pictures, seen) = bounded(PICTURE_QUEUE);
    let (sound, heard) = bounded(LOUDSPEAKER_QUEUE);
    let player = Player::start(&config.player)?;
    let queues = Queues { pictures, sound: player.is_some().then_some(sound) };
    let feed = Closing(Arc::new(Feed(Mutex::new(Some(queues)))));
    let mut showing = tokio::task::spawn_blocking(move || camera.show(&seen));
    let playing = tokio::task::spawn_blocking(move || player.map_or(Ok(()), |player| player.play(&heard)));
    info!("showing");
    session.receive(Arc::clone(&feed.0) as Arc<dyn MediaSink>);
    let ended = tokio::select! {
        biased;
        () = stop.cancelled() => Ok(Ended::Stopped),
        () = session.over() => Ok(Ended::Stopped),
        shown = &mut showing => match shown {
            Ok(Ok(())) => Ok(Ended::Broke("camera")),
            Ok(Err(error)) => Err(error),
            Err(error) => Err(error.into()),
        },
    };
    drop(feed);
    if !showing.is_finished() {
        showing.await??;
    }
    // What became of the sound is no reason to show nothing.
    if let Ok(Err(error)) = playing.await {
        warn!(%error, "push.player");
    }
    ended
}

/// The sink; empty once it is closed.
struct Feed(Mutex<Option<Queues>>);

struct Queues {
    pictures: Sender<Arc<VideoFrame>>,
    sound: Option<Sender<AudioFrame>>,
}

impl Feed {
    fn queues(&self) -> MutexGuard<'_, Option<Queues>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends both threads when it is dropped: the session may hold the sink for longer.
struct Closing(Arc<Feed>);

impl Drop for Closing {
    fn drop(&mut self) {
        *self.0.queues() = None;
    }
}

impl MediaSink for Feed {
    fn watches(&self) -> bool {
        true
    }

    fn see(&self, picture: &Arc<VideoFrame>) {
        if let Some(queues) = self.queues().as_ref()
            && queues.pictures.try_send(Arc::clone(picture)).is_err()
        {
            metrics::frame_dropped("video", "slow_camera");
        }
    }

    fn hear(&self, sound: &AudioFrame, _turn: Option<TurnId>) {
        if let Some(Queues { sound: Some(queue), .. }) = self.queues().as_ref()
            && queue.try_send(*sound).is_err()
        {
            metrics::frame_dropped("audio", "slow_camera");
        }
    }

    fn is_closed(&self) -> bool {
        self.queues().is_none()
    }
}

struct Camera {
    path: PathBuf,
    device: File,
}

impl Camera {
    fn open(path: &Path) -> Result<Self, Error> {
        let device = OpenOptions::new().read(true).write(true).open(path);
        let device = device.map_err(|source| Error::Open { path: path.to_owned(), source })?;
        let mut capability = Capability::default();
        let asked = exchange::<{ opcode::read::<Capability>(b'V', 0) }, _>(&device, &mut capability);
        if asked.is_err() || !capability.takes_pictures() {
            return Err(Error::NoOutput { path: path.to_owned() });
        }
        Ok(Self { path: path.to_owned(), device })
    }

    /// Writes pictures until there are no more.
    fn show(mut self, pictures: &Receiver<Arc<VideoFrame>>) -> Result<(), Error> {
        let mut size = None;
        for picture in pictures {
            let now = (picture.width(), picture.height());
            if size != Some(now) {
                self.set_size(now)?;
                size = Some(now);
            }
            self.device.write_all(&picture.planes().concat())?;
        }
        Ok(())
    }

    fn set_size(&mut self, (width, height): (u32, u32)) -> Result<(), Error> {
        let mut format = Format::i420(width, height);
        let set = exchange::<{ opcode::read_write::<Format>(b'V', 5) }, _>(&self.device, &mut format);
        // A driver may answer with what it takes instead.
        if set.is_err() || !format.is(width, height) {
            return Err(Error::Format { path: self.path.clone(), width, height });
        }
        Ok(())
    }
}

#[expect(unsafe_code, reason = "an ioctl is typed by nothing but its number")]
fn exchange<const OPCODE: Opcode, T>(device: &File, value: &mut T) -> io::Result<()> {
    // SAFETY: the callers' numbers hold the size of `T` and are those of linux/videodev2.h for the structures below, in which
    // every bit pattern is a value.
    unsafe { ioctl(device, Updater::<OPCODE, T>::new(value)) }?;
    Ok(())
}

/// `struct v4l2_capability` of linux/videodev2.h.
#[repr(C)]
#[derive(Default)]
struct Capability {
    names: [[u8; 16]; 5],
    version: u32,
    /// Of the whole device.
    all: u32,
    /// Of this node, if `DEVICE_CAPS` is set in `all`.
    node: u32,
    reserved: [u32; 3],
}

impl Capability {
    const VIDEO_OUTPUT: u32 = 2;
    const DEVICE_CAPS: u32 = 1 << 31;

    fn takes_pictures(&self) -> bool {
        let own = if self.all & Self::DEVICE_CAPS == 0 { self.all } else { self.node };
        own & Self::VIDEO_OUTPUT != 0
    }
}

/// `struct v4l2_format` of linux/videodev2.h, for pictures in one plane; its union holds pointers and has 200 bytes.
#[repr(C, align(8))]
struct Format {
    kind: u32,
    _padding: u32,
    width: u32,
    height: u32,
    pixels: u32,
    field: u32,
    bytes_of_line: u32,
    bytes: u32,
    colours: u32,
    rest: [u32; 43],
}

impl Format {
    /// `V4L2_BUF_TYPE_VIDEO_OUTPUT`, `V4L2_FIELD_NONE`, `V4L2_COLORSPACE_SMPTE170M`.
    const OUTPUT: u32 = 2;
    const PROGRESSIVE: u32 = 1;
    const SMPTE170M: u32 = 1;
    /// Y, then U, then V.
    const YU12: u32 = u32::from_le_bytes(*b"YU12");

    fn i420(width: u32, height: u32) -> Self {
        Self {
            kind: Self::OUTPUT,
            _padding: 0,
            width,
            height,
            pixels: Self::YU12,
            field: Self::PROGRESSIVE,
            bytes_of_line: width,
            bytes: width * height * 3 / 2,
            colours: Self::SMPTE170M,
            rest: [0; 43],
        }
    }

    fn is(&self, width: u32, height: u32) -> bool {
        (self.width, self.height, self.pixels) == (width, height, Self::YU12)
    }
}

/// The program that plays the sound.
struct Player {
    child: Child,
    input: ChildStdin,
}

impl Player {
    /// `None` if none is wanted.
    fn start(command: &[String]) -> Result<Option<Self>, Error> {
        let Some((program, arguments)) = command.split_first() else { return Ok(None) };
        let started = Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
        let mut child = started.map_err(Error::Player)?;
        let input = child.stdin.take().expect("it was asked for");
        // A pipe that stays as it is plays late, and plays.
        let _ = rustix::pipe::fcntl_setpipe_size(&input, PIPE_BYTES);
        Ok(Some(Self { child, input }))
    }

    /// Writes sound until there is no more.
    fn play(mut self, sound: &Receiver<AudioFrame>) -> io::Result<()> {
        let written = sound.iter().try_for_each(|frame| {
            let bytes: Vec<u8> = frame.0.iter().flat_map(|sample| sample.to_le_bytes()).collect();
            self.input.write_all(&bytes)
        });
        // It ends where its input does; one that does not would be in the way of the next.
        drop(self.input);
        for _ in 0..PATIENCE {
            if self.child.try_wait()?.is_some() {
                return written;
            }
            std::thread::sleep(POLL);
        }
        self.child.kill()?;
        self.child.wait()?;
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::SAMPLES_PER_FRAME;

    #[test]
    fn the_structures_are_as_large_as_the_kernels() {
        assert_eq!((size_of::<Capability>(), size_of::<Format>()), (104, 208));
        let numbers = (opcode::read::<Capability>(b'V', 0) as u64, opcode::read_write::<Format>(b'V', 5) as u64);
        // VIDIOC_QUERYCAP and VIDIOC_S_FMT on 64 bits.
        assert_eq!(numbers, (0x8068_5600, 0xc0d0_5605));
    }

    #[test]
    fn what_is_no_camera_is_said_to_be_none() {
        let nowhere = Camera::open(Path::new("/nowhere/video0")).map(drop).unwrap_err().to_string();
        assert!(nowhere.contains("v4l2loopback"), "{nowhere}");
        let null = Camera::open(Path::new("/dev/null")).map(drop).unwrap_err().to_string();
        assert!(null.contains("/dev/null takes no pictures"), "{null}");
    }

    #[test]
    fn a_program_hears_what_is_said_as_little_endian_samples() {
        let file = std::env::temp_dir().join(format!("visavis-player-{}", std::process::id()));
        let player = Player::start(&["tee".to_owned(), file.display().to_string()]).unwrap().unwrap();
        let (sound, heard) = bounded(2);
        sound.send(AudioFrame([0x0102; SAMPLES_PER_FRAME])).unwrap();
        sound.send(AudioFrame([-2; SAMPLES_PER_FRAME])).unwrap();
        drop(sound);
        let playing = std::thread::Builder::new().spawn(move || player.play(&heard)).unwrap();
        playing.join().unwrap().unwrap();
        let bytes = std::fs::read(&file).unwrap();
        assert_eq!((bytes.len(), &bytes[..2], &bytes[1_278..]), (1_280, &[2, 1][..], &[0xfe, 0xff][..]));
        std::fs::remove_file(file).unwrap();
        assert!(Player::start(&["/nowhere/player".to_owned()]).is_err());
        assert!(Player::start(&[]).unwrap().is_none());
    }
}

//! The vocabulary of the path: what flows between stages. No I/O, no tasks, no clocks.

mod audio;
mod decode;
mod mp3;
mod resample;
mod slice;
mod speech;
mod time;
mod video;
mod wav;

pub use audio::{AUDIO_RATE_HZ, AudioFrame, SAMPLES_PER_FRAME};
pub use decode::{DecodeError, DecodeLimits, decode};
pub use mp3::{Mp3Decoder, Mp3Error};
pub use resample::{ResampleError, Resampler};
pub use slice::{AvSlice, Mark, TurnId};
pub use speech::{Phoneme, Speech, Word};
pub use time::{AUDIO_PTIME, MediaTime, VIDEO_CLOCK_HZ, VIDEO_PTIME};
pub use video::VideoFrame;
pub use wav::{read_wav, write_wav};

//! Recorded sound: the avatar speaks it, or hears it as what a person says.
//!
//! In: a file, whole or in the messages of a data channel. Out: one more utterance of the conversation. Decoding blocks, so
//! it is done on a blocking thread; the ears have threads of their own.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tracing::{debug, warn};

use super::conversation::Words;
use super::ear::Ears;
use super::event::{As, Event};
use super::{Busy, Session, TextError, check_text};
use crate::asr::Transcript;
use crate::media::{AUDIO_RATE_HZ, DecodeError, DecodeLimits, decode};
use crate::metrics;

/// Largest file (L7).
pub const RECORDING_BYTES: usize = 10 << 20;
/// Largest file in the messages of a data channel: 64 of 16 KiB, which pass at once (L15).
const CHANNEL_BYTES: usize = 1 << 20;
/// Longest sound that is spoken (L16), and that is heard: what ears take at once.
const SPEECH_SECONDS: usize = 120;
const QUESTION_SECONDS: usize = 30;

/// Why a recording is neither spoken nor heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordingError {
    /// No bytes.
    #[error("the recording is empty")]
    Empty,
    /// It cannot be decoded.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// More than a data channel brings.
    #[error("the recording is larger than 1 MiB: send it to /humanaudio")]
    TooLargeForChannel,
    /// The configuration has `asr.provider: off`.
    #[error("this server does not listen: asr.provider is off")]
    NoEars,
    /// The ears failed.
    #[error("the speech recognition failed: say it again, or type it")]
    Ears,
    /// Nothing was said in it.
    #[error("there are no words in the recording")]
    NoWords,
    /// It says more than may be asked.
    #[error(transparent)]
    Text(#[from] TextError),
    /// Too much waits.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// The one before is still being decoded or heard.
    #[error("the recording before this one is not done yet")]
    Another,
}

impl RecordingError {
    /// The stable name that clients may match.
    pub fn code(self) -> &'static str {
        match self {
            Self::Empty => "empty_audio",
            Self::TooLargeForChannel | Self::Decode(DecodeError::TooLarge(_)) => "too_large",
            Self::Decode(DecodeError::TooLong(_)) => "audio_too_long",
            Self::Decode(DecodeError::Unknown) => "unsupported_media_type",
            Self::Decode(DecodeError::NoSound) => "no_sound",
            Self::Decode(DecodeError::Damaged) => "damaged_audio",
            Self::NoEars => "no_ears",
            Self::Ears => "asr_failed",
            Self::NoWords => "no_words",
            Self::Text(error) => error.code(),
            Self::Busy(_) | Self::Another => "busy",
        }
    }
}

impl Session {
    /// Has the avatar speak `file`, a recording of any common kind, after what is being said or instead of it.
    pub async fn play(&self, file: Bytes, interrupt: bool) -> Result<(), RecordingError> {
        let sound = sound(file, SPEECH_SECONDS).await?;
        Ok(self.put(Words::Recording(sound), interrupt, None, None).await?)
    }

    /// Answers what is said in `file`. Returns the words once they are written down.
    pub async fn ask(&self, ears: Option<&Ears>, file: Bytes, interrupt: bool) -> Result<String, RecordingError> {
        let ears = ears.ok_or(RecordingError::NoEars)?;
        let sound = sound(file, QUESTION_SECONDS).await?;
        let mut shown = false;
        let asked = match self.written_down(ears, sound.into(), &mut shown).await {
            Ok(text) => self.say(text.clone(), true, interrupt).await.map(|()| text).map_err(Into::into),
            Err(error) => Err(error),
        };
        // What viewers were shown of it is taken back.
        if asked.is_err() && shown {
            self.notify(Event::Transcript { text: String::new(), r#final: true }, None);
        }
        asked
    }

    async fn written_down(&self, ears: &Ears, sound: Arc<[i16]>, shown: &mut bool) -> Result<String, RecordingError> {
        let mut transcripts = ears.transcribe(sound);
        while let Some(transcript) = transcripts.next().await {
            match transcript {
                Ok(Transcript { text, is_final: false, .. }) => {
                    *shown = true;
                    self.notify(Event::Transcript { text, r#final: false }, None);
                }
                Ok(Transcript { text, .. }) => {
                    return check_text(&text).map_err(|error| match error {
                        TextError::Empty => RecordingError::NoWords,
                        error => error.into(),
                    });
                }
                Err(error) => {
                    warn!(%error, "a recording was not understood");
                    metrics::asr_failed();
                    return Err(RecordingError::Ears);
                }
            }
        }
        Err(RecordingError::NoWords)
    }
}

async fn sound(file: Bytes, seconds: usize) -> Result<Vec<i16>, RecordingError> {
    if file.is_empty() {
        return Err(RecordingError::Empty);
    }
    let limits = DecodeLimits { bytes: RECORDING_BYTES, samples: seconds * AUDIO_RATE_HZ as usize };
    let decoded = tokio::task::spawn_blocking(move || decode(file, limits)).await.unwrap_or(Err(DecodeError::Damaged));
    if let Err(error) = decoded {
        debug!(%error, "recording refused");
        metrics::rejected("L16");
    }
    Ok(decoded?)
}

/// A recording that comes in messages.
#[derive(Debug)]
pub(super) struct Coming {
    bytes: usize,
    came: BytesMut,
    pub(super) r#as: As,
    pub(super) interrupt: bool,
}

impl Coming {
    /// `bytes` of it are to come.
    pub(super) fn new(bytes: usize, r#as: As, interrupt: bool) -> Result<Self, RecordingError> {
        match bytes {
            0 => Err(RecordingError::Empty),
            _ if bytes > CHANNEL_BYTES => Err(RecordingError::TooLargeForChannel),
            _ => Ok(Self { bytes, came: BytesMut::new(), r#as, interrupt }),
        }
    }

    /// Takes the next piece. True when all has come.
    pub(super) fn push(&mut self, piece: &[u8]) -> bool {
        let room = self.bytes - self.came.len();
        self.came.extend_from_slice(&piece[..piece.len().min(room)]);
        self.came.len() == self.bytes
    }

    pub(super) fn file(self) -> Bytes {
        self.came.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_is_complete_with_its_last_byte_and_takes_no_more() {
        let mut coming = Coming::new(5, As::Speech, false).unwrap();
        assert!(!coming.push(b"abc"));
        assert!(coming.push(b"defg"));
        assert_eq!(coming.file(), "abcde");
    }

    #[test]
    fn what_is_too_much_for_a_channel_is_refused_before_it_comes() {
        assert_eq!(Coming::new(0, As::Speech, false).unwrap_err().code(), "empty_audio");
        assert_eq!(Coming::new(CHANNEL_BYTES + 1, As::Speech, false).unwrap_err().code(), "too_large");
        assert!(Coming::new(CHANNEL_BYTES, As::Question, true).is_ok());
    }

    #[tokio::test]
    async fn every_way_in_which_a_file_is_no_sound_has_a_name() {
        let code = async |bytes: &'static [u8], seconds| sound(Bytes::from_static(bytes), seconds).await.unwrap_err().code();
        assert_eq!(code(b"", 9).await, "empty_audio");
        assert_eq!(code(b"this is a letter, not a recording", 9).await, "unsupported_media_type");
        assert_eq!(code(include_bytes!("../../tests/corpus/sound/tone.mp3"), 0).await, "audio_too_long");
        let cut = &include_bytes!("../../tests/corpus/sound/tone.ogg")[..60];
        assert!(["no_sound", "damaged_audio", "unsupported_media_type"].contains(&code(cut, 9).await));
    }
}

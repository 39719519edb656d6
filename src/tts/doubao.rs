//! Doubao, of Volcano Engine: one binary WebSocket message out, messages with bare samples at 16 kHz back.
//!
//! A message is a header (version and size, type and flags, serialization and compression, reserved: a nibble or a byte
//! each), then what its type says; numbers are big endian.

use std::io::Write;

use async_trait::async_trait;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use super::config;
use super::net::{Encoding, Fault, Incoming, Out, Socket, SoundDecoder, request_id};
use super::remote::Service;
use super::{Error, Timeouts, required, speed};
use crate::media::AUDIO_RATE_HZ;

/// Version 1, a header of 4 bytes; a full request; JSON, gzip.
const REQUEST_HEAD: [u8; 4] = [0x11, 0x10, 0x11, 0x00];
/// Type of a message with sound.
const SOUND: u8 = 0xb;
/// Type of a message with an error.
const ERROR: u8 = 0xf;

pub(super) struct Doubao {
    config: config::Doubao,
    token: String,
    timeouts: Timeouts,
}

impl Doubao {
    pub(super) fn new(config: &config::Doubao, timeouts: &Timeouts) -> Result<Self, Error> {
        speed("tts.doubao.speed", config.speed)?;
        required("tts.doubao.app_id", Some(&config.app_id))?;
        let token = required("tts.doubao.access_token", config.access_token.reveal())?.to_owned();
        Ok(Self { config: config.clone(), token, timeouts: *timeouts })
    }

    fn request(&self, clause: &str) -> Vec<u8> {
        let config = &self.config;
        let body = json!({
            "app": {"appid": config.app_id, "token": self.token, "cluster": config.cluster},
            "user": {"uid": "visavis"},
            "audio": {
                "voice_type": config.voice,
                "encoding": "pcm",
                "rate": AUDIO_RATE_HZ,
                "speed_ratio": config.speed,
            },
            "request": {"reqid": request_id(), "text": clause, "text_type": "plain", "operation": "submit"},
        });
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(body.to_string().as_bytes()).expect("a vector takes all that is written");
        let packed = gzip.finish().expect("a vector takes all that is written");
        [&REQUEST_HEAD, (packed.len() as u32).to_be_bytes().as_slice(), &packed].concat()
    }
}

#[async_trait]
impl Service for Doubao {
    async fn say(&self, clause: &str, out: &Out) -> Result<(), Fault> {
        let headers = [("authorization", format!("Bearer; {}", self.token))];
        let mut socket = Socket::connect(&self.config.url, &headers, self.timeouts.connect.0, &mut None).await?;
        socket.send_binary(self.request(clause)).await?;
        let mut decoder = SoundDecoder::new(Encoding::Pcm { rate_hz: AUDIO_RATE_HZ })?;
        loop {
            let Incoming::Binary(message) = socket.next().await? else {
                return Err(Fault::Garbled("a text where bytes were due"));
            };
            let Some((sound, is_last)) = sound(&message)? else { continue };
            out.sound(decoder.push(&sound)?).await;
            if is_last {
                out.sound(decoder.finish()?).await;
                return Ok(());
            }
        }
    }
}

/// The samples in `message` and whether they are the last; `None` for a message without any.
fn sound(message: &Bytes) -> Result<Option<(Bytes, bool)>, Fault> {
    let short = Fault::Garbled("a message that is too short");
    let &[size, kind, ..] = &message[..] else { return Err(short) };
    let head = usize::from(size & 0xf) * 4;
    let number = |at: usize| Some(i32::from_be_bytes(message.get(at..at + 4)?.try_into().ok()?));
    match (kind >> 4, kind & 0xf) {
        // Without a number it only says that the request came.
        (SOUND, 0) => Ok(None),
        (SOUND, _) => {
            let (Some(sequence), Some(len)) = (number(head), number(head + 4)) else { return Err(short) };
            let start = head + 8;
            let end = usize::try_from(len).map_or(usize::MAX, |len| start.saturating_add(len));
            if end > message.len() {
                return Err(short);
            }
            Ok(Some((message.slice(start..end), sequence < 0)))
        }
        (ERROR, _) => Err(Fault::refused(&number(head).map(|code| code.to_string()).unwrap_or_default())),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_last_piece_has_a_negative_number() {
        let message = |sequence: i32| {
            let head = [0x11, 0xb1, 0, 0];
            Bytes::from([&head[..], &sequence.to_be_bytes(), &3_u32.to_be_bytes(), &[7, 8, 9]].concat())
        };
        assert_eq!(sound(&message(1)).unwrap(), Some((Bytes::from_static(&[7, 8, 9]), false)));
        assert!(sound(&message(-2)).unwrap().unwrap().1);
        assert_eq!(sound(&Bytes::from_static(&[0x11, 0xb0, 0, 0])).unwrap(), None);
        let error = Bytes::from([&[0x11, 0xf0, 0x10, 0][..], &3_001_u32.to_be_bytes(), &[0; 4]].concat());
        assert_eq!(sound(&error).unwrap_err().to_string(), "refused (3001)");
    }

    proptest! {
        #[test]
        fn no_message_panics(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = sound(&Bytes::from(bytes));
        }
    }
}

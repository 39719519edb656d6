//! Recorded sound of any common kind, brought to what the pipeline hears.
//!
//! In: the bytes of a file (WAV, MP3, Ogg, FLAC, `WebM`, MP4 …) in memory. Out: 16 kHz mono. Bounded in memory and time
//! whatever the bytes are: nothing is opened but those bytes. Blocks: call it from a blocking thread.

use ffmpeg_next::codec::context::Context as Codec;
use ffmpeg_next::format::context::StreamIo;
use ffmpeg_next::format::sample::{Sample, Type};
use ffmpeg_next::software::resampling::Context as Swr;
use ffmpeg_next::util::channel_layout::ChannelLayout;
use ffmpeg_next::util::frame::Audio;
use ffmpeg_next::{Dictionary, Error as Ffmpeg, decoder, format, media};

use super::AUDIO_RATE_HZ;

/// Containers that are tried: those of sound, and none that opens further files (playlists, concatenations).
const FORMATS: &str = "wav,w64,aiff,au,mp3,ogg,flac,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,aac,amr,caf";
/// Streams that a file may have: a recording has one or two.
const MOST_STREAMS: u32 = 8;
/// Broken packets that are skipped before the file is given up.
const MOST_BROKEN: u32 = 64;
/// Channels that are mixed: 7.1.
const MOST_CHANNELS: u32 = 8;

/// What a recording may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Largest file.
    pub bytes: usize,
    /// Longest sound, in samples at 16 kHz.
    pub samples: usize,
}

impl Default for DecodeLimits {
    /// 20 MiB and ten minutes.
    fn default() -> Self {
        Self { bytes: 20 << 20, samples: 600 * AUDIO_RATE_HZ as usize }
    }
}

/// Why there is no sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The file is too large.
    #[error("the recording is larger than {0} bytes")]
    TooLarge(usize),
    /// It lasts too long.
    #[error("the recording is longer than {0} seconds")]
    TooLong(usize),
    /// It is no recording, or of a kind that is not known.
    #[error("this is no recording of a known kind")]
    Unknown,
    /// It has no sound in it.
    #[error("the recording has no sound")]
    NoSound,
    /// It cannot be decoded.
    #[error("the recording is damaged")]
    Damaged,
}

/// Decodes `bytes` to 16 kHz mono.
pub fn decode(bytes: impl Into<bytes::Bytes>, limits: DecodeLimits) -> Result<Vec<i16>, DecodeError> {
    let bytes = bytes.into();
    if bytes.len() > limits.bytes {
        return Err(DecodeError::TooLarge(limits.bytes));
    }
    let mut options = Dictionary::new();
    options.set("format_whitelist", FORMATS);
    options.set("protocol_whitelist", "");
    options.set("max_streams", &MOST_STREAMS.to_string());
    // What is looked through to find out the kind; headers of ours are small.
    options.set("probesize", "1048576");
    options.set("analyzeduration", "2000000");
    let io = StreamIo::from_read_seek(std::io::Cursor::new(bytes)).map_err(|_| DecodeError::Unknown)?;
    let mut input = format::input_from_stream(io, None, Some(options)).map_err(|_| DecodeError::Unknown)?;
    let stream = input.streams().best(media::Type::Audio).ok_or(DecodeError::NoSound)?;
    let index = stream.index();
    let mut codec = Codec::from_parameters(stream.parameters()).map_err(|_| DecodeError::Unknown)?;
    codec.set_threading(ffmpeg_next::threading::Config { count: 1, ..Default::default() });
    let mut sound =
        Sound { decoder: codec.decoder().audio().map_err(|_| DecodeError::Unknown)?, mixer: None, out: Vec::new(), limits };
    let mut broken = 0;
    let mut packet = ffmpeg_next::Packet::empty();
    loop {
        match packet.read(&mut input) {
            Ok(()) if packet.stream() != index => {}
            Ok(()) => {
                if sound.decoder.send_packet(&packet).is_err() {
                    broken += 1;
                }
                sound.receive()?;
            }
            Err(Ffmpeg::Eof) => break,
            Err(_) => broken += 1,
        }
        if broken > MOST_BROKEN {
            return Err(DecodeError::Damaged);
        }
    }
    // A decoder that has nothing to flush says so, and that is no fault of the file.
    let _ = sound.decoder.send_eof();
    sound.receive()?;
    sound.finish(broken)
}

/// A stream that is being decoded.
struct Sound {
    decoder: decoder::Audio,
    mixer: Option<Mixer>,
    out: Vec<i16>,
    limits: DecodeLimits,
}

impl Sound {
    fn receive(&mut self) -> Result<(), DecodeError> {
        let mut frame = Audio::empty();
        while self.decoder.receive_frame(&mut frame).is_ok() {
            if frame.samples() == 0 || frame.rate() == 0 || !(1..=MOST_CHANNELS).contains(&u32::from(frame.channels())) {
                return Err(DecodeError::Damaged);
            }
            if frame.channel_layout().is_empty() {
                frame.set_channel_layout(ChannelLayout::default(i32::from(frame.channels())));
            }
            let kind = Kind { format: frame.format(), layout: frame.channel_layout(), rate_hz: frame.rate() };
            // A stream may change in its midst: what the old mixer holds comes before the new sound.
            if self.mixer.as_ref().is_some_and(|mixer| mixer.kind != kind) {
                self.drain()?;
            }
            let mixer = match &mut self.mixer {
                Some(mixer) => mixer,
                none => none.insert(Mixer::new(kind)?),
            };
            mixer.push(&frame, &mut self.out)?;
            if self.out.len() > self.limits.samples {
                return Err(DecodeError::TooLong(self.limits.samples / AUDIO_RATE_HZ as usize));
            }
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<(), DecodeError> {
        self.mixer.take().map_or(Ok(()), |mixer| mixer.finish(&mut self.out))
    }

    fn finish(mut self, broken: u32) -> Result<Vec<i16>, DecodeError> {
        self.drain()?;
        match (self.out.is_empty(), broken) {
            (false, _) => Ok(self.out),
            (true, 0) => Err(DecodeError::NoSound),
            (true, _) => Err(DecodeError::Damaged),
        }
    }
}

/// What a frame is made of.
#[derive(PartialEq)]
struct Kind {
    format: Sample,
    layout: ChannelLayout,
    rate_hz: u32,
}

/// Many channels at any rate to one at 16 kHz.
struct Mixer {
    kind: Kind,
    swr: Swr,
}

impl Mixer {
    fn new(kind: Kind) -> Result<Self, DecodeError> {
        let to = Sample::I16(Type::Packed);
        let swr = Swr::get(kind.format, kind.layout, kind.rate_hz, to, ChannelLayout::MONO, AUDIO_RATE_HZ);
        Ok(Self { swr: swr.map_err(|_| DecodeError::Damaged)?, kind })
    }

    fn push(&mut self, frame: &Audio, out: &mut Vec<i16>) -> Result<(), DecodeError> {
        let mut mixed = self.room_for(frame.samples());
        self.swr.run(frame, &mut mixed).map_err(|_| DecodeError::Damaged)?;
        take(&mixed, out);
        Ok(())
    }

    fn finish(mut self, out: &mut Vec<i16>) -> Result<(), DecodeError> {
        let mut mixed = self.room_for(0);
        self.swr.flush(&mut mixed).map_err(|_| DecodeError::Damaged)?;
        take(&mixed, out);
        Ok(())
    }

    /// An output frame that holds all that `more` samples can release.
    fn room_for(&self, more: usize) -> Audio {
        let held = self.swr.delay().map_or(0, |delay| delay.output.max(0) as usize);
        let room = more as u64 * u64::from(AUDIO_RATE_HZ) / u64::from(self.kind.rate_hz);
        let mut frame = Audio::new(Sample::I16(Type::Packed), room as usize + held + 64, ChannelLayout::MONO);
        frame.set_rate(AUDIO_RATE_HZ);
        frame
    }
}

fn take(mixed: &Audio, out: &mut Vec<i16>) {
    if mixed.samples() > 0 {
        out.extend_from_slice(&mixed.plane::<i16>(0)[..mixed.samples()]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: usize = 16_000;

    fn wav(rate_hz: u32, channels: u16, samples: &[i16]) -> Vec<u8> {
        let bytes = (samples.len() * 2) as u32;
        let mut file = b"RIFF".to_vec();
        file.extend((36 + bytes).to_le_bytes());
        file.extend(b"WAVEfmt \x10\0\0\0\x01\0");
        file.extend(channels.to_le_bytes());
        file.extend(rate_hz.to_le_bytes());
        file.extend((rate_hz * u32::from(channels) * 2).to_le_bytes());
        file.extend((channels * 2).to_le_bytes());
        file.extend(b"\x10\0data");
        file.extend(bytes.to_le_bytes());
        file.extend(samples.iter().flat_map(|s| s.to_le_bytes()));
        file
    }

    fn tone(rate_hz: u32, channels: u16, seconds: f32) -> Vec<i16> {
        let len = (rate_hz as f32 * seconds) as u32;
        let at = |n: u32| (f64::from(n) * 440.0 * std::f64::consts::TAU / f64::from(rate_hz)).sin() * 10_000.0;
        (0..len).flat_map(|n| std::iter::repeat_n(at(n) as i16, usize::from(channels))).collect()
    }

    fn loudness(sound: &[i16]) -> f64 {
        (sound.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / sound.len() as f64).sqrt()
    }

    #[test]
    fn wav_of_any_rate_and_channels_keeps_its_length_and_level() {
        for (rate_hz, channels) in [(8_000, 1), (16_000, 1), (22_050, 2), (44_100, 2), (48_000, 6)] {
            let sound = decode(wav(rate_hz, channels, &tone(rate_hz, channels, 1.0)), DecodeLimits::default()).unwrap();
            assert!(sound.len().abs_diff(SECOND) < 64, "{rate_hz} {channels}: {}", sound.len());
            let level = loudness(&sound[1_000..15_000]);
            assert!((5_000.0..8_500.0).contains(&level), "{rate_hz} {channels}: {level}");
        }
    }

    #[test]
    fn every_common_kind_is_read() {
        for (kind, file) in [
            ("mp3", &include_bytes!("../../tests/corpus/sound/tone.mp3")[..]),
            ("ogg", include_bytes!("../../tests/corpus/sound/tone.ogg")),
            ("flac", include_bytes!("../../tests/corpus/sound/tone.flac")),
            ("webm", include_bytes!("../../tests/corpus/sound/tone.webm")),
            ("m4a", include_bytes!("../../tests/corpus/sound/tone.m4a")),
        ] {
            let sound = decode(file, DecodeLimits::default()).unwrap_or_else(|error| panic!("{kind}: {error}"));
            assert!(sound.len().abs_diff(SECOND / 2) < 1_300, "{kind}: {}", sound.len());
            let level = loudness(&sound[2_000..6_000]);
            assert!((5_000.0..8_500.0).contains(&level), "{kind}: {level}");
        }
    }

    #[test]
    fn what_is_too_large_or_too_long_is_refused() {
        let file = wav(16_000, 1, &tone(16_000, 1, 2.0));
        let limits = DecodeLimits { bytes: 1_000, ..DecodeLimits::default() };
        assert_eq!(decode(file.clone(), limits), Err(DecodeError::TooLarge(1_000)));
        let limits = DecodeLimits { samples: SECOND, ..DecodeLimits::default() };
        assert_eq!(decode(file, limits), Err(DecodeError::TooLong(1)));
    }

    #[test]
    fn what_is_no_recording_is_an_error() {
        let limits = DecodeLimits::default();
        for bytes in
            [&b""[..], b"hello", b"#EXTM3U\nfile:///etc/passwd\n", b"ffconcat version 1.0\nfile /etc/passwd\n", &[0; 5_000]]
        {
            assert!(decode(bytes, limits).is_err(), "{bytes:?}");
        }
        assert!(decode(wav(16_000, 1, &[]), limits).is_err());
        assert!(decode(&include_bytes!("../../docs/screenshot.jpg")[..], limits).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn damaged_files_are_sound_or_an_error_and_never_a_crash(
            kind in 0_usize..4,
            at in prop::collection::vec((0.0_f64..1.0, any::<u8>()), 0..40),
            keep in 0.0_f64..1.0,
        ) {
            let mut file = [
                &include_bytes!("../../tests/corpus/sound/tone.mp3")[..],
                include_bytes!("../../tests/corpus/sound/tone.ogg"),
                include_bytes!("../../tests/corpus/sound/tone.webm"),
                include_bytes!("../../tests/corpus/sound/tone.m4a"),
            ][kind].to_vec();
            let len = file.len() as f64;
            for (place, byte) in at {
                file[(place * len) as usize] = byte;
            }
            file.truncate((keep * 1.5 * len) as usize);
            if let Ok(sound) = decode(file, DecodeLimits { samples: 60 * SECOND, ..DecodeLimits::default() }) {
                prop_assert!(sound.len() <= 60 * SECOND);
            }
        }
    }
}

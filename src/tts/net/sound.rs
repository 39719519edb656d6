//! Whatever a service sends becomes 16 kHz samples, as it comes.

use super::Fault;
use super::pcm::{PcmReader, SampleFormat};
use super::wav::WavReader;
use crate::media::{AUDIO_RATE_HZ, Mp3Decoder, Resampler};

/// How the sound is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tts) enum Encoding {
    /// Bare 16-bit samples, little endian, mono.
    Pcm {
        /// Samples a second.
        rate_hz: u32,
    },
    /// A WAV file; its header tells the rate.
    Wav,
    /// MPEG audio layer III; its frames tell the rate.
    Mp3,
}

/// The decoder of one answer.
pub(in crate::tts) struct SoundDecoder {
    source: Source,
    rate: Rate,
}

enum Source {
    Pcm { rate_hz: u32, reader: PcmReader },
    Wav(WavReader),
    Mp3(Mp3Decoder),
}

impl SoundDecoder {
    /// Ready for the first byte.
    pub(in crate::tts) fn new(encoding: Encoding) -> Result<Self, Fault> {
        let source = match encoding {
            Encoding::Pcm { rate_hz } => Source::Pcm { rate_hz, reader: PcmReader::new(SampleFormat::I16, 1) },
            Encoding::Wav => Source::Wav(WavReader::default()),
            Encoding::Mp3 => Source::Mp3(Mp3Decoder::open()?),
        };
        Ok(Self { source, rate: Rate::default() })
    }

    /// Takes the next bytes, gives the 16 kHz samples that are ready.
    pub(in crate::tts) fn push(&mut self, bytes: &[u8]) -> Result<Vec<i16>, Fault> {
        match &mut self.source {
            Source::Pcm { rate_hz, reader } => self.rate.push(*rate_hz, &reader.push(bytes)),
            Source::Wav(reader) => match reader.push(bytes)? {
                Some((rate_hz, samples)) => self.rate.push(rate_hz, &samples),
                None => Ok(Vec::new()),
            },
            Source::Mp3(decoder) => {
                let mut out = Vec::new();
                for (rate_hz, samples) in decoder.push(bytes)? {
                    let scaled: Vec<f32> = samples.iter().map(|s| f32::from(*s) / 32_768.0).collect();
                    out.extend(self.rate.push(rate_hz, &scaled)?);
                }
                Ok(out)
            }
        }
    }

    /// The last samples.
    pub(in crate::tts) fn finish(mut self) -> Result<Vec<i16>, Fault> {
        let mut out = Vec::new();
        if let Source::Wav(reader) = &mut self.source
            && let Some((rate_hz, samples)) = reader.finish()
        {
            out = self.rate.push(rate_hz, &samples)?;
        }
        out.extend(self.rate.finish());
        Ok(out)
    }
}

/// Brings a rate that is known only once sound comes to 16 kHz.
#[derive(Default)]
struct Rate {
    resampler: Option<(u32, Resampler)>,
}

impl Rate {
    fn push(&mut self, rate_hz: u32, samples: &[f32]) -> Result<Vec<i16>, Fault> {
        if rate_hz == AUDIO_RATE_HZ && self.resampler.is_none() {
            return Ok(samples.iter().map(|s| (s * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16).collect());
        }
        let mut out = Vec::new();
        if self.resampler.as_ref().is_none_or(|(known, _)| *known != rate_hz) {
            // A stream that changes its rate in the middle is played to the end at the old one first.
            out = self.finish();
            self.resampler = Some((rate_hz, Resampler::new(rate_hz, AUDIO_RATE_HZ)?));
        }
        if let Some((_, resampler)) = &mut self.resampler {
            out.extend(resampler.push_f32(samples));
        }
        Ok(out)
    }

    fn finish(&mut self) -> Vec<i16> {
        self.resampler.take().map(|(_, resampler)| resampler.finish()).unwrap_or_default()
    }
}

//! A WAV file as it comes: the header may be cut anywhere, and its lengths are not believed.
//!
//! Servers that stream write 0 or 0xFFFFFFFF, or the length of their first piece. So the sound goes on to the end of the
//! stream, unless a chunk that is known to follow sound stands where the length says.

use super::Fault;
use super::pcm::{PcmReader, SampleFormat};

/// Bytes of header after which this is no WAV: some tools put a page of notes before the sound.
const LONGEST_HEADER: usize = 64 << 10;

/// Chunks that stand after the sound (RIFF tags, notes, markers).
const AFTER_SOUND: [&[u8; 4]; 8] = [b"LIST", b"id3 ", b"ID3 ", b"cue ", b"bext", b"fact", b"PEAK", b"JUNK"];

/// What the header said.
struct Sound {
    rate_hz: u32,
    reader: PcmReader,
    /// Bytes until the declared end, where something else may begin; `None` once that was looked at, or without an end.
    left: Option<usize>,
}

/// Takes the bytes of one WAV file.
#[derive(Default)]
pub(super) struct WavReader {
    /// The header so far, then the bytes at the declared end.
    held: Vec<u8>,
    sound: Option<Sound>,
    ended: bool,
}

impl WavReader {
    /// The sample rate and the samples that are complete; `None` within the header.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Option<(u32, Vec<f32>)>, Fault> {
        self.held.extend_from_slice(bytes);
        if self.sound.is_none() {
            let Some((sound, header)) = parse(&self.held)? else {
                return if self.held.len() > LONGEST_HEADER { Err(Fault::Garbled("a WAV without sound")) } else { Ok(None) };
            };
            self.held.drain(..header);
            self.sound = Some(sound);
        }
        Ok(self.samples(false))
    }

    /// What stood at the declared end and was too short to be anything but sound.
    pub(super) fn finish(&mut self) -> Option<(u32, Vec<f32>)> {
        self.samples(true)
    }

    fn samples(&mut self, last: bool) -> Option<(u32, Vec<f32>)> {
        let sound = self.sound.as_mut()?;
        let mut samples = Vec::new();
        if let Some(left) = &mut sound.left {
            let n = (*left).min(self.held.len());
            *left -= n;
            samples = sound.reader.push(&self.held[..n]);
            self.held.drain(..n);
            if *left == 0 && (self.held.len() >= 4 || last) {
                self.ended = self.held.first_chunk().is_some_and(|id| AFTER_SOUND.contains(&id));
                sound.left = None;
            }
        }
        if sound.left.is_none() {
            if !self.ended {
                samples.extend(sound.reader.push(&self.held));
            }
            self.held.clear();
        }
        Some((sound.rate_hz, samples))
    }
}

/// The format and the length of the header, once all of it is there.
fn parse(bytes: &[u8]) -> Result<Option<(Sound, usize)>, Fault> {
    let begins = |at: usize, id: &[u8]| bytes[at.min(bytes.len())..].iter().zip(id).all(|(a, b)| a == b);
    if !(begins(0, b"RIFF") || begins(0, b"RF64")) || !begins(8, b"WAVE") {
        return Err(Fault::NotSound("no WAV file".into()));
    }
    let mut at = 12;
    let mut format = None;
    while let Some(head) = bytes.get(at..at + 8) {
        let len = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        at += 8;
        if &head[..4] == b"data" {
            let (rate_hz, reader, step) = format.ok_or(Fault::Garbled("a WAV without a format"))?;
            let has_end = len != 0 && len < 0x7fff_0000 && len.is_multiple_of(step);
            return Ok(Some((Sound { rate_hz, reader, left: has_end.then_some(len) }, at)));
        }
        if &head[..4] == b"fmt " {
            let Some(body) = bytes.get(at..at + 16) else { return Ok(None) };
            format = Some(sample_format(body)?);
        }
        // A chunk of odd length is followed by one byte of nothing.
        at = at.saturating_add(len.saturating_add(len & 1));
    }
    Ok(None)
}

/// Rate, reader and bytes per sample of all channels, from the first 16 bytes of a `fmt ` chunk.
fn sample_format(body: &[u8]) -> Result<(u32, PcmReader, usize), Fault> {
    let u16_at = |at: usize| u16::from_le_bytes([body[at], body[at + 1]]);
    let rate_hz = u32::from_le_bytes([body[4], body[5], body[6], body[7]]);
    let channels = usize::from(u16_at(2));
    // 0xFFFE is "extensible": the bits tell the two apart well enough.
    let format = match (u16_at(0), u16_at(14)) {
        (1 | 0xfffe, 16) => SampleFormat::I16,
        (3 | 0xfffe, 32) => SampleFormat::F32,
        _ => return Err(Fault::Garbled("a WAV of another kind than 16-bit or 32-bit float")),
    };
    if !(1..=8).contains(&channels) || !(4_000..=192_000).contains(&rate_hz) {
        return Err(Fault::Garbled("a WAV with an impossible rate or number of channels"));
    }
    let step = channels * if format == SampleFormat::I16 { 2 } else { 4 };
    Ok((rate_hz, PcmReader::new(format, channels), step))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A WAV file whose data chunk claims `claimed` bytes, with a chunk of notes before and `after` behind the sound.
    fn wav(samples: &[i16], claimed: u32, after: &[u8]) -> Vec<u8> {
        let mut bytes = b"RIFF\xff\xff\xff\xffWAVELIST\x03\0\0\0abc\0fmt \x10\0\0\0\x01\0\x01\0".to_vec();
        bytes.extend(24_000_u32.to_le_bytes());
        bytes.extend(48_000_u32.to_le_bytes());
        bytes.extend(b"\x02\0\x10\0data");
        bytes.extend(claimed.to_le_bytes());
        bytes.extend(samples.iter().flat_map(|s| s.to_le_bytes()));
        bytes.extend(after);
        bytes
    }

    fn read(bytes: &[u8], cut: usize) -> (u32, Vec<f32>) {
        let mut reader = WavReader::default();
        let mut all = (0, Vec::new());
        for piece in bytes.chunks(cut) {
            if let Some((rate_hz, samples)) = reader.push(piece).unwrap() {
                all.0 = rate_hz;
                all.1.extend(samples);
            }
        }
        all.1.extend(reader.finish().map(|(_, samples)| samples).unwrap_or_default());
        all
    }

    #[test]
    fn what_is_no_wav_is_refused_at_its_first_bytes() {
        assert!(WavReader::default().push(b"<h").is_err());
        assert!(WavReader::default().push(b"RIFF\0\0\0\0AVI ").is_err());
        assert!(WavReader::default().push(&[b"RIFF\0\0\0\0WAVE".as_slice(), &vec![0; 70_000]].concat()).is_err());
    }

    #[test]
    fn notes_behind_the_sound_are_not_played() {
        let samples = [5, 6, 7];
        let bytes = wav(&samples, 6, b"LIST\x04\0\0\0INFO");
        for cut in [1, 3, 50, 500] {
            assert_eq!(read(&bytes, cut).1.len(), 3, "cut {cut}");
        }
    }

    proptest! {
        #[test]
        fn any_cutting_and_any_claimed_length_give_all_samples(
            samples in prop::collection::vec(-20_000_i16..20_000, 0..300),
            claimed in prop::sample::select(vec![0, 0xffff_ffff, 44, 2, 1_000_000, 7]),
            cut in 1_usize..120,
        ) {
            let (rate_hz, heard) = read(&wav(&samples, claimed, &[]), cut);
            let expected: Vec<f32> = samples.iter().map(|s| f32::from(*s) / 32_768.0).collect();
            prop_assert_eq!((rate_hz, heard), (24_000, expected));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 1_usize..60) {
            let mut reader = WavReader::default();
            let bytes = [b"RIFF\0\0\0\0WAVE".as_slice(), &bytes].concat();
            let _ = bytes.chunks(cut).try_for_each(|piece| reader.push(piece).map(|_| ()));
        }
    }
}

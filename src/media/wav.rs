//! WAV files that are whole, in memory. Those that arrive piece by piece are `tts`'s business.

use super::AUDIO_RATE_HZ;

/// A WAV file of 16 kHz mono: 44 bytes of header, then the samples.
pub fn write_wav(samples: &[i16]) -> Vec<u8> {
    let bytes = samples.len() as u32 * 2;
    let mut file = Vec::with_capacity(44 + samples.len() * 2);
    file.extend(b"RIFF");
    file.extend((36 + bytes).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(16_u32.to_le_bytes());
    // PCM, one channel; then the rate, bytes a second, bytes a sample, bits a sample.
    file.extend([1_u16, 1].into_iter().flat_map(u16::to_le_bytes));
    file.extend([AUDIO_RATE_HZ, AUDIO_RATE_HZ * 2].into_iter().flat_map(u32::to_le_bytes));
    file.extend([2_u16, 16].into_iter().flat_map(u16::to_le_bytes));
    file.extend(b"data");
    file.extend(bytes.to_le_bytes());
    file.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    file
}

/// The rate and the samples of a WAV file of 16 bits; several channels become their mean. `None` if it is no such file. A
/// length that is wrong means all that is there.
pub fn read_wav(file: &[u8]) -> Option<(u32, Vec<i16>)> {
    if file.get(..4)? != b"RIFF" || file.get(8..12)? != b"WAVE" {
        return None;
    }
    let mut at = 12_usize;
    let mut format = None;
    loop {
        let head = file.get(at..at.checked_add(8)?)?;
        let len = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        at += 8;
        match &head[..4] {
            b"fmt " => format = Some(format_of(file.get(at..at + 16)?)?),
            b"data" => {
                let (rate_hz, channels) = format?;
                let end = at.saturating_add(len).min(file.len());
                let sound = if len == 0 { &file[at..] } else { &file[at..end] };
                let samples = sound.chunks_exact(channels * 2).map(mean).collect();
                return Some((rate_hz, samples));
            }
            _ => {}
        }
        // A chunk of odd length is followed by one byte of nothing.
        at = at.checked_add(len)?.checked_add(len & 1)?;
    }
}

/// Rate and channels of a `fmt ` chunk, if it means 16-bit PCM.
fn format_of(body: &[u8]) -> Option<(u32, usize)> {
    let u16_at = |at: usize| u16::from_le_bytes([body[at], body[at + 1]]);
    let rate_hz = u32::from_le_bytes([body[4], body[5], body[6], body[7]]);
    let channels = usize::from(u16_at(2));
    // 0xFFFE is "extensible", which is PCM where it has 16 bits.
    let fits = matches!(u16_at(0), 1 | 0xfffe) && u16_at(14) == 16;
    (fits && (1..=8).contains(&channels) && (4_000..=192_000).contains(&rate_hz)).then_some((rate_hz, channels))
}

fn mean(channels: &[u8]) -> i16 {
    let samples = channels.as_chunks::<2>().0;
    let sum: i32 = samples.iter().map(|sample| i32::from(i16::from_le_bytes(*sample))).sum();
    (sum / samples.len() as i32) as i16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stereo_becomes_its_mean_and_notes_before_the_sound_are_passed_over() {
        let mut file = b"RIFF\0\0\0\0WAVELIST\x03\0\0\0abc\0fmt \x10\0\0\0\x01\0\x02\0".to_vec();
        file.extend(24_000_u32.to_le_bytes());
        file.extend(96_000_u32.to_le_bytes());
        file.extend(b"\x04\0\x10\0data\x08\0\0\0");
        file.extend([100_i16, 300, -50, 50].into_iter().flat_map(i16::to_le_bytes));
        assert_eq!(read_wav(&file), Some((24_000, vec![200, 0])));
    }

    #[test]
    fn a_file_tells_its_length() {
        let file = write_wav(&[1, 2, 3]);
        assert_eq!((file.len(), &file[40..44]), (50, &6_u32.to_le_bytes()[..]));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(samples in prop::collection::vec(any::<i16>(), 0..500)) {
            prop_assert_eq!(read_wav(&write_wav(&samples)), Some((AUDIO_RATE_HZ, samples)));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_wav(&[b"RIFF\0\0\0\0WAVE".as_slice(), &bytes].concat());
            let _ = read_wav(&[b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0".as_slice(), &bytes].concat());
        }
    }
}

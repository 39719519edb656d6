//! Raw samples out of bytes that are cut anywhere.

/// How a sample is written; always little endian, channels interleaved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SampleFormat {
    I16,
    F32,
}

impl SampleFormat {
    fn bytes(self) -> usize {
        match self {
            Self::I16 => 2,
            Self::F32 => 4,
        }
    }
}

/// Carries what is left of a sample over to the next bytes.
pub(super) struct PcmReader {
    format: SampleFormat,
    channels: usize,
    rest: Vec<u8>,
}

impl PcmReader {
    pub(super) fn new(format: SampleFormat, channels: usize) -> Self {
        Self { format, channels, rest: Vec::new() }
    }

    /// The samples that are complete, full scale ±1, the mean of all channels. What is not a number is silence.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<f32> {
        self.rest.extend_from_slice(bytes);
        let size = self.format.bytes();
        let step = size * self.channels;
        let whole = self.rest.len() / step * step;
        let sample = |bytes: &[u8]| match self.format {
            SampleFormat::I16 => f32::from(i16::from_le_bytes([bytes[0], bytes[1]])) / 32_768.0,
            SampleFormat::F32 => {
                let value = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                if value.is_finite() { value.clamp(-1.0, 1.0) } else { 0.0 }
            }
        };
        let mean = |all: &[u8]| all.chunks_exact(size).map(sample).sum::<f32>() / self.channels as f32;
        let samples = self.rest[..whole].chunks_exact(step).map(mean).collect();
        self.rest.drain(..whole);
        samples
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_number_is_silence_and_what_is_too_loud_is_clipped() {
        let bytes: Vec<u8> = [f32::NAN, f32::INFINITY, 7.0, -0.5].iter().flat_map(|f| f.to_le_bytes()).collect();
        assert_eq!(PcmReader::new(SampleFormat::F32, 1).push(&bytes), [0.0, 0.0, 1.0, -0.5]);
    }

    #[test]
    fn two_channels_become_their_mean() {
        let bytes: Vec<u8> = [16_384_i16, 0, -16_384, -16_384].iter().flat_map(|s| s.to_le_bytes()).collect();
        assert_eq!(PcmReader::new(SampleFormat::I16, 2).push(&bytes), [0.25, -0.5]);
    }

    proptest! {
        #[test]
        fn any_cutting_gives_the_same_samples(samples in prop::collection::vec(any::<i16>(), 0..200), cut in 1_usize..7) {
            let bytes: Vec<u8> = samples.iter().flat_map(|s| s.to_le_bytes()).collect();
            let mut reader = PcmReader::new(SampleFormat::I16, 1);
            let read: Vec<f32> = bytes.chunks(cut).flat_map(|piece| reader.push(piece)).collect();
            let expected: Vec<f32> = samples.iter().map(|s| f32::from(*s) / 32_768.0).collect();
            prop_assert_eq!(read, expected);
        }
    }
}

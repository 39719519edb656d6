//! Takes the silence from both ends of an answer. Some services put a second of it behind each clause, which makes an
//! answer of several clauses halt.

/// Quieter than this, of 32768, is silence: -54 dB, well above what MP3 makes of nothing.
const SILENCE: u16 = 64;
/// Kept before the first sound, in samples at 16 kHz: 30 ms, in which a soft sound may begin.
const KEPT_BEFORE: usize = 480;
/// Kept behind the last sound: 150 ms, the rest between two clauses.
const KEPT_AFTER: usize = 2_400;

/// One answer.
#[derive(Default)]
pub(in crate::tts) struct Trim {
    /// Silence that may be the end, or the beginning.
    held: Vec<i16>,
    begun: bool,
    dropped: usize,
}

impl Trim {
    /// Takes the next samples, gives those that are no silence at an end.
    pub(in crate::tts) fn push(&mut self, pcm: &[i16]) -> Vec<i16> {
        self.held.extend_from_slice(pcm);
        if !self.begun {
            let loud = self.held.iter().position(|s| s.unsigned_abs() > SILENCE);
            let surplus = loud.unwrap_or(self.held.len()).saturating_sub(KEPT_BEFORE);
            self.held.drain(..surplus);
            self.dropped += surplus;
            self.begun = loud.is_some();
            if !self.begun {
                return Vec::new();
            }
        }
        let end = self.held.iter().rposition(|s| s.unsigned_abs() > SILENCE).map_or(0, |last| last + 1);
        self.held.drain(..end).collect()
    }

    /// What is kept of the silence at the end.
    pub(in crate::tts) fn finish(mut self) -> Vec<i16> {
        self.held.truncate(if self.begun { KEPT_AFTER } else { 0 });
        self.held
    }

    /// Samples taken from the beginning: times are counted from behind them.
    pub(in crate::tts) fn dropped(&self) -> usize {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn only_silence_at_the_ends_is_taken(
            before in 0_usize..2_000, within in 0_usize..5_000, after in 0_usize..9_000, cut in 1_usize..900,
        ) {
            let mut pcm = vec![3; before];
            pcm.extend([900, -900].repeat(200));
            pcm.extend(vec![-5; within]);
            pcm.extend([700; 100]);
            pcm.extend(vec![1; after]);
            let mut trim = Trim::default();
            let mut heard: Vec<i16> = pcm.chunks(cut).flat_map(|piece| trim.push(piece)).collect();
            prop_assert_eq!(trim.dropped(), before.saturating_sub(KEPT_BEFORE));
            let start = trim.dropped();
            heard.extend(trim.finish());
            let end = pcm.len() - after.saturating_sub(KEPT_AFTER);
            prop_assert_eq!(&heard[..], &pcm[start..end]);
        }

        #[test]
        fn nothing_but_silence_is_nothing(len in 0_usize..3_000) {
            let mut trim = Trim::default();
            prop_assert!(trim.push(&vec![0; len]).is_empty());
            prop_assert!(trim.finish().is_empty());
        }
    }
}

//! What a voice makes of a clause: sound, and when each phoneme and word is heard in it.

/// One phoneme of a clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phoneme {
    /// IPA as `misaki` spells it, one character a phoneme (diphthongs are `A I O W Y`, affricates `ʤ ʧ`).
    /// Punctuation and spaces are phonemes too: they are the pauses.
    pub symbol: char,
    /// First sample, 16 kHz, counted from the clause's first sample.
    pub start: u32,
    /// Length in samples at 16 kHz.
    pub len: u32,
}

/// One written word of a clause and when it is heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// As written, with the punctuation and the space that follow it: the words of a clause join to its text.
    pub text: String,
    /// First sample, 16 kHz, counted from the clause's first sample.
    pub start: u32,
    /// Length in samples at 16 kHz.
    pub len: u32,
}

/// A piece of speech: a whole clause, or the next part of one from a voice that streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Speech {
    /// 16 kHz mono.
    pub pcm: Vec<i16>,
    /// In order of time; empty from a voice that does not tell.
    pub phonemes: Vec<Phoneme>,
    /// In order of time; empty from a voice that does not tell.
    pub words: Vec<Word>,
}

//! What the mouth does for each phoneme. Pure tables.
//!
//! In: one symbol as `misaki` spells it (English, and Mandarin as Kokoro's voices have it). Out: the viseme or the two it
//! moves between, how far it opens, and how strongly it holds against its neighbours.

/// The mouth shapes of speech, as Oculus' lip sync names them; the order is that of [`super::avatar::MOUTH`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Viseme {
    Sil,
    PP,
    FF,
    TH,
    DD,
    KK,
    CH,
    SS,
    NN,
    RR,
    Aa,
    E,
    Ih,
    Oh,
    Ou,
}

/// How many there are.
pub(super) const VISEMES: usize = Viseme::ALL.len();

impl Viseme {
    /// All, in their order.
    pub(super) const ALL: [Self; 15] = {
        use Viseme::{Aa, CH, DD, E, FF, Ih, KK, NN, Oh, Ou, PP, RR, SS, Sil, TH};
        [Sil, PP, FF, TH, DD, KK, CH, SS, NN, RR, Aa, E, Ih, Oh, Ou]
    };

    /// How it is made where only the viseme is known: as its commonest phoneme is. `None`: the mouth rests.
    pub(super) fn heard(self) -> Option<Sound> {
        let symbol = match self {
            Self::Sil => return None,
            Self::PP => 'm',
            Self::FF => 'f',
            Self::TH => 'ð',
            Self::DD => 't',
            Self::KK => 'k',
            Self::CH => 'ʃ',
            Self::SS => 's',
            Self::NN => 'n',
            Self::RR => 'ɹ',
            Self::Aa => 'a',
            Self::E => 'ɛ',
            Self::Ih => 'ɪ',
            Self::Oh => 'ɔ',
            Self::Ou => 'u',
        };
        match Symbol::of(symbol) {
            Symbol::Sound(sound) => Some(sound),
            _ => None,
        }
    }
}

/// What a symbol is to the mouth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Symbol {
    /// The mouth moves.
    Sound(Sound),
    /// Silence: punctuation and spaces.
    Pause,
    /// A stress mark: its time belongs to the phoneme after it, which becomes this important (0 to 1).
    Stress(f32),
    /// A length mark, a tone or an aspiration: its time belongs to the phoneme before it.
    Longer,
}

/// A phoneme's movement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sound {
    pub(super) from: Viseme,
    /// The same as `from`, but for diphthongs.
    pub(super) to: Viseme,
    /// How far the pose is taken when stressed, 0 to 1.
    pub(super) size: f32,
    /// Its weight against overlapping neighbours; vowels have 1.
    pub(super) hold: f32,
    /// A vowel shrinks when it is short, unstressed or soft; a consonant must be made in full.
    pub(super) vowel: bool,
}

impl Symbol {
    /// What `symbol` asks of the mouth. Letters that nobody listed open it a little, everything else is a pause.
    pub(super) fn of(symbol: char) -> Self {
        use Viseme::{Aa, CH, DD, E, FF, Ih, KK, NN, Oh, Ou, PP, RR, SS, Sil, TH};
        let vowel = |v, size| Self::Sound(Sound { from: v, to: v, size, hold: 1.0, vowel: true });
        let glide = |from, to, size| Self::Sound(Sound { from, to, size, hold: 1.0, vowel: true });
        let consonant = |v, hold| Self::Sound(Sound { from: v, to: v, size: 1.0, hold, vowel: false });
        match symbol {
            // Lips and teeth: the eye catches every mistake here.
            'p' | 'b' | 'm' => consonant(PP, 1.0),
            'f' | 'v' => consonant(FF, 1.0),
            // The lips round or spread well before these are heard.
            'ʃ' | 'ʒ' | 'ʧ' | 'ʤ' | 'ɕ' | 'ʂ' | 'ʐ' | 'ʨ' | 'ꭧ' | 'ʥ' => consonant(CH, 1.8),
            's' | 'z' | 'ʦ' | 'ʣ' => consonant(SS, 1.8),
            'w' | 'ʍ' | 'ɥ' => consonant(Ou, 1.8),
            'ɹ' | 'r' | 'ɻ' => consonant(RR, 1.2),
            // The tongue does these; the lips follow the vowel next door.
            'θ' | 'ð' => consonant(TH, 1.1),
            't' | 'd' => consonant(DD, 0.8),
            'ɾ' | 'T' => consonant(DD, 0.5),
            'n' | 'l' | 'ɫ' => consonant(NN, 0.7),
            'k' | 'ɡ' | 'g' | 'ŋ' | 'x' => consonant(KK, 0.5),
            'h' | 'ʔ' | 'ɦ' => consonant(KK, 0.15),
            'j' => consonant(Ih, 0.8),
            // Vowels, widest first.
            'ɑ' | 'a' => vowel(Aa, 1.0),
            'æ' => glide(Aa, E, 0.9),
            'ʌ' | 'ɒ' => vowel(Aa, 0.75),
            'ɐ' => vowel(Aa, 0.5),
            'ɛ' | 'e' => vowel(E, 0.85),
            'ə' | 'ɤ' => vowel(E, 0.5),
            'ᵊ' => vowel(E, 0.3),
            'ɜ' | 'ɚ' | 'ɝ' => glide(E, RR, 0.6),
            'i' => vowel(Ih, 0.95),
            'ɪ' | 'y' => vowel(Ih, 0.75),
            'ᵻ' | 'ɨ' => vowel(Ih, 0.5),
            'ɔ' | 'o' => vowel(Oh, 0.85),
            'u' => vowel(Ou, 1.0),
            'ʊ' => vowel(Ou, 0.7),
            // Diphthongs, one letter each in misaki.
            'A' => glide(E, Ih, 0.85),
            'I' => glide(Aa, Ih, 0.95),
            'O' | 'Q' => glide(Oh, Ou, 0.9),
            'W' => glide(Aa, Ou, 0.95),
            'Y' => glide(Oh, Ih, 0.9),
            'ˈ' => Self::Stress(1.0),
            'ˌ' => Self::Stress(0.5),
            'ː' | 'ˑ' | 'ʰ' | 'ʲ' | '↓' | '↗' | '→' | '↘' | '\u{300}'..='\u{36f}' => Self::Longer,
            c if c.is_alphabetic() => Self::Sound(Sound { from: E, to: Sil, size: 0.4, hold: 0.5, vowel: true }),
            _ => Self::Pause,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that hibari and Kokoro can say in American English.
    const ENGLISH: &str = "AIOWYbdfhijklmnpstuvwzæðŋɑɔəɛɜɡɪɹɾʃʊʌʒʤʧθᵊᵻʔTɐ";
    /// And what Mandarin adds.
    const MANDARIN: &str = "aeouyxɕʂʐʨʦꭧɻɤɥ";

    #[test]
    fn every_phoneme_of_both_languages_moves_the_mouth() {
        for c in ENGLISH.chars().chain(MANDARIN.chars()) {
            let Symbol::Sound(sound) = Symbol::of(c) else { panic!("{c} does not move the mouth") };
            assert_ne!(sound.to, Viseme::Sil, "{c} is not in the table");
        }
    }

    #[test]
    fn marks_carry_time_and_punctuation_is_silence() {
        assert_eq!(Symbol::of('ˈ'), Symbol::Stress(1.0));
        for c in "ː→↗↓↘ʰ".chars() {
            assert_eq!(Symbol::of(c), Symbol::Longer);
        }
        for c in " .,!?;:—…\"()“”。，\0".chars() {
            assert_eq!(Symbol::of(c), Symbol::Pause, "{c:?}");
        }
    }

    #[test]
    fn the_network_was_trained_on_this_table() {
        let table: serde_json::Value = serde_json::from_str(include_str!("../../scripts/viseme/visemes.json")).unwrap();
        let names: Vec<String> = Viseme::ALL.iter().map(|v| format!("{v:?}")).collect();
        assert_eq!(table["visemes"], serde_json::json!(names));
        for (symbol, pair) in table["symbols"].as_object().unwrap() {
            let Symbol::Sound(sound) = Symbol::of(symbol.chars().next().unwrap()) else { panic!("{symbol} is no sound") };
            assert_eq!(*pair, serde_json::json!([format!("{:?}", sound.from), format!("{:?}", sound.to)]), "{symbol}");
        }
    }

    #[test]
    fn what_is_heard_is_made_as_its_own_viseme() {
        for viseme in Viseme::ALL {
            assert_eq!(viseme.heard().map_or(Viseme::Sil, |sound| sound.to), viseme);
        }
    }

    #[test]
    fn letters_of_other_scripts_open_the_mouth_a_little_instead_of_closing_it() {
        assert!(matches!(Symbol::of('я'), Symbol::Sound(_)));
    }
}

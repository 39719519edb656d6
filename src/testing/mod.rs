//! What only tests use: a face that shows what it hears, and a voice that beeps.

mod flash;
mod tone;

use std::sync::Arc;

use crate::render::Character;
use crate::session::Minds;

pub use flash::Flash;
pub use tone::Tone;

/// The face that flashes speaks with the voice that beeps.
pub fn minds_for(character: &Character, minds: Minds) -> Minds {
    match character {
        Character::Flash => Minds { voice: Arc::new(Tone), ..minds },
        Character::Pack(_) | Character::Film(_) => minds,
    }
}

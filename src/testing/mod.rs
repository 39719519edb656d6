//! What only tests use: a face that shows what it hears, and a voice that beeps.

mod flash;
mod tone;

pub use flash::Flash;
pub use tone::Tone;

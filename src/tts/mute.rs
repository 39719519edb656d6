//! No voice: what it is given is shown, and nothing is heard.

use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt};

use super::{Error, Manner, TextToSpeech};
use crate::media::{SAMPLES_PER_FRAME, Speech};

pub(super) struct Mute;

impl TextToSpeech for Mute {
    /// One silent frame, so that the clause has a moment at which it is shown.
    fn speak(&self, clause: String) -> BoxStream<'static, Result<Speech, Error>> {
        let shown = (!clause.trim().is_empty()).then(|| Ok(Speech { pcm: vec![0; SAMPLES_PER_FRAME], ..Speech::default() }));
        stream::iter(shown).boxed()
    }

    fn is_mute(&self) -> bool {
        true
    }

    fn in_manner(&self, _manner: &Manner) -> Result<Arc<dyn TextToSpeech>, Error> {
        Ok(Arc::new(Self))
    }
}

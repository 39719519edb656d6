//! Who speaks in a session, and who speaks one answer in another manner.
//!
//! In: what clients ask for. Out: a voice. Making one may read a recording and open connections, so it is done on a blocking
//! thread, and the latest is kept: a client that says how it wants each answer spoken says the same each time.

use std::sync::Arc;

use super::{Event, Session};
use crate::tts::{self, Manner, TextToSpeech};

pub(super) struct Voice {
    speaks: Arc<dyn TextToSpeech>,
    /// Of whom clients know the name, if somebody was chosen.
    name: Option<String>,
    latest: Option<(Manner, Arc<dyn TextToSpeech>)>,
}

impl Voice {
    pub(super) fn new(speaks: Arc<dyn TextToSpeech>) -> Self {
        Self { speaks, name: None, latest: None }
    }
}

impl Session {
    /// The session's voice, speaking as `manner` asks.
    pub async fn voice_in(&self, manner: Manner) -> Result<Arc<dyn TextToSpeech>, tts::Error> {
        let speaks = {
            let voice = &self.lock().voice;
            match &voice.latest {
                Some((known, made)) if *known == manner => return Ok(Arc::clone(made)),
                _ => Arc::clone(&voice.speaks),
            }
        };
        let asked = manner.clone();
        let made =
            tokio::task::spawn_blocking(move || speaks.in_manner(&asked)).await.map_err(|_| tts::Error::Panicked)??;
        self.lock().voice.latest = Some((manner, Arc::clone(&made)));
        Ok(made)
    }

    /// Has the avatar speak as `manner` asks from its next answer on.
    pub async fn speak_in(&self, manner: Manner) -> Result<(), tts::Error> {
        let name = manner.voice.clone();
        let speaks = self.voice_in(manner).await?;
        let voice = &mut self.lock().voice;
        (voice.speaks, voice.latest) = (speaks, None);
        if let Some(id) = name {
            voice.name = Some(id.clone());
            self.notify(Event::Voice { id }, None);
        }
        Ok(())
    }

    /// Who speaks, if somebody was chosen.
    pub fn voice(&self) -> Option<String> {
        self.lock().voice.name.clone()
    }

    pub(super) fn speaks(&self) -> Arc<dyn TextToSpeech> {
        Arc::clone(&self.lock().voice.speaks)
    }
}

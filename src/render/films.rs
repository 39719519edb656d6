//! Opens films, as avatars and as actions, and the networks that move their lips: each is there once, whoever asks for it first.
//!
//! In: a folder. Out: a film, or plain pictures. Blocking.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::action::Footage;
use super::catalogue::Wardrobe;
use super::clip::{Clip, Spool};
use super::film::{Error, Film, Fit};
use super::lips::{Hubert, Network, NetworkError, NetworkFile};

/// What it takes to open a film.
pub struct Films {
    spool: Arc<Spool>,
    max_side: u32,
    file: NetworkFile,
    wav2lip: OnceLock<Result<Arc<Network>, Arc<NetworkError>>>,
    hubert: OnceLock<Result<Arc<Hubert>, Arc<NetworkError>>>,
}

impl Films {
    /// As the wardrobe says. Nothing is loaded before it is needed.
    pub fn new(wardrobe: &Wardrobe) -> Self {
        Self {
            spool: Arc::clone(&wardrobe.spool),
            max_side: wardrobe.max_side,
            file: wardrobe.network.clone(),
            wav2lip: OnceLock::new(),
            hubert: OnceLock::new(),
        }
    }

    /// The film in `path`, an avatar that is called `id`.
    pub(super) fn film(&self, id: &str, path: &Path) -> Result<Film, Error> {
        Film::load(id, path, &self.spool, self.network(path)?, Fit::Within(self.max_side))
    }

    /// The pictures in `path`, shown with `size` pixels across and down. A folder that is laid out as an avatar's has a face.
    pub(super) fn footage(&self, path: &Path, size: (u32, u32)) -> Result<Footage, Error> {
        if !Film::is_film(path) {
            return Ok(Footage::Pictures(Clip::open(path, &self.spool, Some(size))?));
        }
        let id = path.file_name().unwrap_or_default().to_string_lossy();
        let film = Film::load(&id, path, &self.spool, self.network(path)?, Fit::Fill(size))?;
        Ok(Footage::Film(Arc::new(film)))
    }

    /// What moves the lips of the film in `path`: its own network, or the one of those that have none.
    fn network(&self, path: &Path) -> Result<Arc<Network>, Arc<NetworkError>> {
        let Some(own) = Network::of_film(path) else {
            return self.wav2lip.get_or_init(|| Network::wav2lip(&self.file).map(Arc::new).map_err(Arc::new)).clone();
        };
        let hubert = self.hubert.get_or_init(|| Hubert::load(&self.file).map(Arc::new).map_err(Arc::new)).clone()?;
        Network::ultralight(&own, &self.file, hubert).map(Arc::new).map_err(Arc::new)
    }
}

impl std::fmt::Debug for Films {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Films({:?})", self.spool)
    }
}

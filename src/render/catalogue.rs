//! Who can be seen: the avatar folders, loaded side by side at start-up and shared by all sessions; one that is made while the
//! server runs is added.
//!
//! An avatar that is damaged is listed with its fault; the others are not affected.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use super::avatar::{self, Avatar};
use super::clip::Spool;
use super::film::{self, Film};
use super::films::Films;
use super::lips::{FilmFace, NetworkFile};
use super::{Face, LipSync};

/// Longest id: a folder's name that is also part of URLs.
const MAX_ID_BYTES: usize = 64;

/// Where avatars are, and what they need.
#[derive(Clone, Debug)]
pub struct Wardrobe {
    /// Folders of avatars. Only the first must be there; of two that are called the same, the first is taken.
    pub dirs: Vec<PathBuf>,
    /// Who is seen when nobody is asked for; empty: the first by name of the first folder that has one.
    pub default: String,
    /// Where decoded pictures lie.
    pub spool: Arc<Spool>,
    /// The longest side of a film's picture as it is shown.
    pub max_side: u32,
    /// What moves the lips of films. Loaded if there is one.
    pub network: NetworkFile,
}

/// Somebody who can be seen.
#[derive(Clone)]
pub enum Character {
    /// A pack that we rendered (docs/design/avatar-pack.md).
    Pack(Arc<Avatar>),
    /// A person who was filmed (docs/avatars.md).
    Film(Arc<Film>),
    /// White while there is sound, black while there is none: tells tests how far picture and sound are apart.
    #[cfg(feature = "testing")]
    Flash,
}

/// What people are told of an avatar.
pub struct Card<'a> {
    /// What requests and the configuration call it.
    pub id: &'a str,
    /// What people call it, by language.
    pub names: &'a BTreeMap<String, String>,
    /// SPDX identifier of the pictures' licence; empty: nobody said.
    pub licence: &'a str,
    /// Pixels across and down.
    pub size: (u32, u32),
    /// 128 × 128 for a picker, WebP or JPEG.
    pub thumbnail: &'a [u8],
    /// The whole picture at rest, WebP or JPEG.
    pub poster: &'a [u8],
}

impl Character {
    /// Its id.
    pub fn id(&self) -> &str {
        match self {
            Self::Pack(avatar) => avatar.id(),
            Self::Film(film) => film.id(),
            #[cfg(feature = "testing")]
            Self::Flash => crate::testing::Flash::ID,
        }
    }

    /// Pixels across and down.
    pub fn size(&self) -> (u32, u32) {
        match self {
            Self::Pack(avatar) => (avatar.width(), avatar.height()),
            Self::Film(film) => film.size(),
            #[cfg(feature = "testing")]
            Self::Flash => (crate::testing::Flash::SIDE, crate::testing::Flash::SIDE),
        }
    }

    /// A face of this character for one session. Each seed lives an idle life of its own.
    pub fn face(&self, seed: u64) -> Box<dyn LipSync> {
        match self {
            Self::Pack(avatar) => Box::new(Face::new(Arc::clone(avatar), seed)),
            Self::Film(film) => Box::new(FilmFace::new(Arc::clone(film))),
            #[cfg(feature = "testing")]
            Self::Flash => Box::new(crate::testing::Flash::default()),
        }
    }

    /// What people are told of it; `None` for what only tests see.
    pub fn card(&self) -> Option<Card<'_>> {
        match self {
            Self::Pack(avatar) => Some(Card {
                id: avatar.id(),
                names: avatar.names(),
                licence: avatar.licence(),
                size: (avatar.width(), avatar.height()),
                thumbnail: avatar.thumbnail(),
                poster: avatar.poster(),
            }),
            Self::Film(film) => Some(Card {
                id: film.id(),
                names: film.names(),
                licence: film.licence(),
                size: film.size(),
                thumbnail: film.thumbnail(),
                poster: film.poster(),
            }),
            #[cfg(feature = "testing")]
            Self::Flash => None,
        }
    }
}

/// What is wrong with the folder of an avatar.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Pack(#[from] avatar::Error),
    #[error("avatar {id:?}: {source}")]
    Film { id: String, source: film::Error },
}

/// Why an avatar cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is none of that id.
    #[error("there is no avatar of that id: GET /v1/avatars lists them")]
    Unknown,
    /// Its folder is damaged.
    #[error("the avatar \"{id}\" is damaged: the server's log says what is wrong")]
    Broken {
        /// Which.
        id: String,
    },
    /// The folder of avatars has none that can be shown.
    #[error("no avatar in {dir}{detail}", dir = dir.display())]
    None {
        /// Where they were looked for.
        dir: PathBuf,
        /// What is wrong with those that are there.
        detail: String,
    },
    /// The folder of avatars cannot be read.
    #[error("{dir}: {source}", dir = dir.display())]
    Unreadable {
        /// Which.
        dir: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// The stable name that clients may match.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown_avatar",
            Self::Broken { .. } => "broken_avatar",
            Self::None { .. } | Self::Unreadable { .. } => "no_avatar",
        }
    }
}

type Entries = BTreeMap<String, Result<Character, Fault>>;

/// The avatars of a server.
pub struct Catalogue {
    /// Locked for a look-up, or to put one in: never while one is loaded.
    entries: RwLock<Entries>,
    default: String,
    dirs: Vec<PathBuf>,
    films: Arc<Films>,
}

impl Catalogue {
    /// Loads every folder of `wardrobe`, each on a thread of its own. Blocking.
    pub fn load(wardrobe: &Wardrobe) -> Result<Self, Error> {
        let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
        let mut preferred = Vec::new();
        for (nth, dir) in wardrobe.dirs.iter().enumerate() {
            if nth > 0 && !dir.exists() {
                continue;
            }
            let mut folders = folders(dir).map_err(|source| Error::Unreadable { dir: dir.clone(), source })?;
            folders.sort();
            for (id, path) in folders {
                if let Some(first) = found.get(&id) {
                    tracing::warn!(avatar = id, path = %path.display(), first = %first.display(), "two avatars of one name");
                    continue;
                }
                preferred.push(id.clone());
                found.insert(id, path);
            }
        }
        let films = Arc::new(Films::new(wardrobe));
        let entries = std::thread::scope(|scope| {
            let films = &*films;
            let threads: Vec<_> = found.iter().map(|(id, path)| (id, scope.spawn(move || load(id, path, films)))).collect();
            threads
                .into_iter()
                .filter_map(|(id, thread)| Some((id.clone(), thread.join().ok()?)))
                .collect::<BTreeMap<_, _>>()
        });
        for (id, entry) in &entries {
            report(id, entry);
        }
        let default = Self::default_of(&entries, &preferred, wardrobe)?;
        #[cfg(feature = "testing")]
        let entries = {
            let mut entries = entries;
            entries.insert(crate::testing::Flash::ID.to_owned(), Ok(Character::Flash));
            entries
        };
        Ok(Self { entries: RwLock::new(entries), default, dirs: wardrobe.dirs.clone(), films })
    }

    /// Loads the avatar of that id, which was made or made anew a moment ago. Who is seen already stays as he is. Blocking.
    pub fn add(&self, id: &str) {
        let folders = self.dirs.iter().map(|dir| dir.join(id));
        let Some(path) = folders.into_iter().find(|path| path.is_dir()) else { return };
        let entry = load(id, &path, &self.films);
        report(id, &entry);
        self.entries.write().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), entry);
    }

    fn entries(&self) -> RwLockReadGuard<'_, Entries> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn default_of(entries: &Entries, preferred: &[String], wardrobe: &Wardrobe) -> Result<String, Error> {
        let default = &wardrobe.default;
        let usable = |id: &&String| entries.get(*id).is_some_and(Result::is_ok);
        let wanted = if default.is_empty() { preferred.iter().find(usable) } else { Some(default).filter(usable) };
        wanted.cloned().ok_or_else(|| {
            let faults = entries.values().filter_map(|entry| entry.as_ref().err()).map(|fault| chain(fault));
            let missing =
                (!default.is_empty() && !entries.contains_key(default)).then(|| format!("there is no \"{default}\""));
            let detail = missing.into_iter().chain(faults).map(|f| format!(": {f}")).collect();
            Error::None { dir: wardrobe.dirs.first().cloned().unwrap_or_default(), detail }
        })
    }

    /// The avatar of that id; the default one if it is empty.
    pub fn get(&self, id: &str) -> Result<Character, Error> {
        let id = if id.is_empty() { &self.default } else { id };
        match self.entries().get(id) {
            Some(Ok(character)) => Ok(character.clone()),
            Some(Err(_)) => Err(Error::Broken { id: id.to_owned() }),
            None => Err(Error::Unknown),
        }
    }

    /// What opens the films of this server.
    pub fn films(&self) -> &Arc<Films> {
        &self.films
    }

    /// Who is seen when nobody is asked for.
    pub fn default_id(&self) -> &str {
        &self.default
    }

    /// Those that can be shown, by id.
    pub fn usable(&self) -> Vec<Character> {
        self.entries().values().filter_map(|entry| entry.as_ref().ok().cloned()).collect()
    }

    /// Those that cannot, and why.
    pub fn broken(&self) -> Vec<(String, String)> {
        self.entries().iter().filter_map(|(id, entry)| Some((id.clone(), chain(entry.as_ref().err()?)))).collect()
    }
}

/// What is in the folder at `path`.
fn load(id: &str, path: &Path, films: &Films) -> Result<Character, Fault> {
    if Film::is_film(path) {
        let film = films.film(id, path).map_err(|source| Fault::Film { id: id.to_owned(), source })?;
        return Ok(Character::Film(Arc::new(film)));
    }
    Ok(Character::Pack(Arc::new(Avatar::load(path)?)))
}

fn report(id: &str, entry: &Result<Character, Fault>) {
    if let Err(error) = entry {
        tracing::error!(avatar = id, error = %chain(error), "this avatar cannot be shown");
    }
}

/// The folders whose names can be ids: `^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`.
fn folders(dir: &Path) -> std::io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if let Ok(name) = entry.file_name().into_string()
            && is_id(&name)
            && entry.path().is_dir()
        {
            found.push((name, entry.path()));
        }
    }
    Ok(found)
}

/// Whether `name` can be an avatar's id.
pub fn is_id(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    name.len() <= MAX_ID_BYTES && name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(plain)
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        source = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_the_folder_are_no_ids() {
        for bad in ["../x", "", ".hidden", "a/b", "a\0b", "-rf", &"x".repeat(65), "名"] {
            assert!(!is_id(bad), "{bad:?}");
        }
        assert!(is_id("mira") && is_id("Anna_2-b"));
    }

    fn wardrobe(dir: &Path, default: &str) -> Wardrobe {
        let config = crate::config::Config::default();
        Wardrobe { dirs: vec![dir.to_owned()], default: default.into(), ..config.wardrobe(true) }
    }

    #[test]
    fn a_damaged_avatar_does_not_hide_a_good_one() {
        let dir = std::env::temp_dir().join(format!("visavis-catalogue-{}", std::process::id()));
        let good = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/avatars/mira");
        std::fs::create_dir_all(dir.join("mira")).unwrap();
        std::fs::create_dir_all(dir.join("broken")).unwrap();
        std::fs::write(dir.join("broken/manifest.json"), "{").unwrap();
        for file in std::fs::read_dir(good).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), dir.join("mira").join(file.file_name())).unwrap();
        }
        let catalogue = Catalogue::load(&wardrobe(&dir, "")).unwrap();
        assert_eq!(catalogue.default_id(), "mira");
        assert_eq!(catalogue.get("broken").err().map(|e| e.code()), Some("broken_avatar"));
        assert_eq!(catalogue.get("../mira").err().map(|e| e.code()), Some("unknown_avatar"));
        // Made while the server runs.
        std::fs::rename(dir.join("mira"), dir.join("anna")).unwrap();
        ["anna", "nobody"].iter().for_each(|id| catalogue.add(id));
        assert!(catalogue.get("anna").is_ok() && catalogue.usable().iter().any(|avatar| avatar.id() == "mira"));
        assert!(matches!(Catalogue::load(&wardrobe(&dir, "nobody")), Err(Error::None { .. })));
        std::fs::remove_dir_all(dir).unwrap();
    }
}

//! Who can be seen: the avatar folders, loaded side by side at start-up and shared by all sessions.
//!
//! An avatar that is damaged is listed with its fault; the others are not affected.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::avatar::{self, Avatar};
use super::{Face, LipSync};

/// Longest id: a folder's name that is also part of URLs.
const MAX_ID_BYTES: usize = 64;

/// Somebody who can be seen.
#[derive(Clone)]
pub enum Character {
    /// A pack that we rendered (docs/design/avatar-pack.md).
    Pack(Arc<Avatar>),
    /// White while there is sound, black while there is none: tells tests how far picture and sound are apart.
    #[cfg(feature = "testing")]
    Flash,
}

impl Character {
    /// Its id.
    pub fn id(&self) -> &str {
        match self {
            Self::Pack(avatar) => avatar.id(),
            #[cfg(feature = "testing")]
            Self::Flash => crate::testing::Flash::ID,
        }
    }

    /// Pixels across and down.
    pub fn size(&self) -> (u32, u32) {
        match self {
            Self::Pack(avatar) => (avatar.width(), avatar.height()),
            #[cfg(feature = "testing")]
            Self::Flash => (crate::testing::Flash::SIDE, crate::testing::Flash::SIDE),
        }
    }

    /// A face of this character for one session. Each seed lives an idle life of its own.
    pub fn face(&self, seed: u64) -> Box<dyn LipSync> {
        match self {
            Self::Pack(avatar) => Box::new(Face::new(Arc::clone(avatar), seed)),
            #[cfg(feature = "testing")]
            Self::Flash => Box::new(crate::testing::Flash::default()),
        }
    }

    /// The pack, if it is one.
    pub fn pack(&self) -> Option<&Arc<Avatar>> {
        match self {
            Self::Pack(avatar) => Some(avatar),
            #[cfg(feature = "testing")]
            Self::Flash => None,
        }
    }
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

/// The avatars of a server.
pub struct Catalogue {
    entries: BTreeMap<String, Result<Character, avatar::Error>>,
    default: String,
}

impl Catalogue {
    /// Loads every folder of `dir`, each on a thread of its own. Blocking. `default` may be empty: the first by name.
    pub fn load(dir: &Path, default: &str) -> Result<Self, Error> {
        let folders = folders(dir).map_err(|source| Error::Unreadable { dir: dir.to_owned(), source })?;
        let loaded = std::thread::scope(|scope| {
            let load = |path: &PathBuf| Avatar::load(path).map(|avatar| Character::Pack(Arc::new(avatar)));
            let threads: Vec<_> = folders.iter().map(|(id, path)| (id, scope.spawn(move || load(path)))).collect();
            threads
                .into_iter()
                .filter_map(|(id, thread)| Some((id.clone(), thread.join().ok()?)))
                .collect::<BTreeMap<_, _>>()
        });
        Self::of(loaded, dir, default)
    }

    fn of(entries: BTreeMap<String, Result<Character, avatar::Error>>, dir: &Path, default: &str) -> Result<Self, Error> {
        for (id, entry) in &entries {
            if let Err(error) = entry {
                tracing::error!(avatar = id, error = %chain(error), "this avatar cannot be shown");
            }
        }
        let usable = |id: &&String| entries.get(*id).is_some_and(Result::is_ok);
        let wanted = if default.is_empty() { entries.keys().find(usable).cloned() } else { Some(default.to_owned()) };
        match wanted.filter(|id| usable(&id)) {
            #[cfg(feature = "testing")]
            Some(default) => {
                let mut entries = entries;
                entries.insert(crate::testing::Flash::ID.to_owned(), Ok(Character::Flash));
                Ok(Self { entries, default })
            }
            #[cfg(not(feature = "testing"))]
            Some(default) => Ok(Self { entries, default }),
            None => {
                let faults = entries.values().filter_map(|entry| entry.as_ref().err()).map(chain);
                let missing =
                    (!default.is_empty() && !entries.contains_key(default)).then(|| format!("there is no \"{default}\""));
                let detail = missing.into_iter().chain(faults).map(|f| format!(": {f}")).collect();
                Err(Error::None { dir: dir.to_owned(), detail })
            }
        }
    }

    /// The avatar of that id; the default one if it is empty.
    pub fn get(&self, id: &str) -> Result<Character, Error> {
        let id = if id.is_empty() { &self.default } else { id };
        match self.entries.get(id) {
            Some(Ok(character)) => Ok(character.clone()),
            Some(Err(_)) => Err(Error::Broken { id: id.to_owned() }),
            None => Err(Error::Unknown),
        }
    }

    /// Who is seen when nobody is asked for.
    pub fn default_id(&self) -> &str {
        &self.default
    }

    /// Those that can be shown, by id.
    pub fn usable(&self) -> impl Iterator<Item = &Character> {
        self.entries.values().filter_map(|entry| entry.as_ref().ok())
    }

    /// Those that cannot, and why.
    pub fn broken(&self) -> impl Iterator<Item = (&str, String)> {
        self.entries.iter().filter_map(|(id, entry)| Some((id.as_str(), chain(entry.as_ref().err()?))))
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

fn is_id(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    name.len() <= MAX_ID_BYTES && name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(plain)
}

/// An error and its causes in one line.
fn chain(error: &avatar::Error) -> String {
    let mut line = error.to_string();
    let mut source = std::error::Error::source(error);
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
        let catalogue = Catalogue::load(&dir, "").unwrap();
        assert_eq!(catalogue.default_id(), "mira");
        assert_eq!(catalogue.get("broken").err().map(|e| e.code()), Some("broken_avatar"));
        assert_eq!(catalogue.get("../mira").err().map(|e| e.code()), Some("unknown_avatar"));
        assert!(matches!(Catalogue::load(&dir, "nobody"), Err(Error::None { .. })));
        std::fs::remove_dir_all(dir).unwrap();
    }
}

//! What a session can be asked to do by a number: `LiveTalking`'s custom actions.
//!
//! In: its JSON, `[{"audiotype": 2, "imgpath": "folder", "audiopath": "sound.wav"}]`, of the operator's or of a client's. Out:
//! actions, which sessions share. Opening them reads files: blocking.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;

use super::{Action, FilmError, Films, Gesture};
use crate::media::{AUDIO_RATE_HZ, DecodeError, DecodeLimits, decode};
use crate::values;

/// The number of the idle life; those below are no actions.
const IDLE: u32 = 1;
/// Most entries of a list, and films that are kept open.
const MAX_ENTRIES: usize = 32;
const MAX_FILMS: usize = 128;
/// Longest sound of an action, in seconds, and its largest file (L16).
const SOUND_SECONDS: usize = 120;
const SOUND_BYTES: usize = 10 << 20;

/// What there is to do, by its number.
#[derive(Clone, Debug, Default)]
pub struct Repertoire {
    entries: BTreeMap<u32, Entry>,
}

/// One thing to do.
#[derive(Clone, Debug)]
pub enum Entry {
    /// Show a film.
    Film(Arc<Action>),
    /// A gesture of the face itself.
    Gesture(Gesture),
}

impl Repertoire {
    /// What is shown while nothing is heard; `None`: the face.
    pub fn idle(&self) -> Option<Arc<Action>> {
        match self.entries.get(&IDLE) {
            Some(Entry::Film(film)) => Some(Arc::clone(film)),
            _ => None,
        }
    }

    /// What `number` stands for; there are none below 2.
    pub fn get(&self, number: u32) -> Option<&Entry> {
        self.entries.get(&number).filter(|_| number > IDLE)
    }

    /// Their numbers, the idle life's too.
    pub fn numbers(&self) -> Vec<u32> {
        self.entries.keys().copied().collect()
    }
}

/// A line of the list, as it is written. Other keys do not count.
#[derive(Debug, Deserialize)]
struct Line {
    audiotype: u32,
    #[serde(default)]
    imgpath: PathBuf,
    #[serde(default)]
    audiopath: PathBuf,
    /// Ours: a gesture in the place of a film.
    gesture: Option<String>,
}

/// Why a list is no repertoire.
#[derive(Debug, thiserror::Error)]
pub enum RepertoireError {
    /// No list.
    #[error("not a list of {{\"audiotype\":2,\"imgpath\":\"…\",\"audiopath\":\"…\"}}: {0}")]
    Json(#[from] serde_json::Error),
    /// Too long.
    #[error("the list has more than {MAX_ENTRIES} entries")]
    TooMany,
    /// A number that means something else.
    #[error("audiotype {0}: 1 is the idle life, actions begin with 2")]
    Number(u32),
    /// There is no such gesture.
    #[error("audiotype {0}: there is no gesture of that name")]
    Gesture(u32),
    /// A path that leads nowhere, or elsewhere.
    #[error("audiotype {0}: imgpath or audiopath is nothing in actions.dir")]
    Path(u32),
    /// More films are in use than are kept.
    #[error("{MAX_FILMS} films are in use: none can be opened")]
    Films,
    /// Its pictures cannot be shown.
    #[error("audiotype {0}: {1}")]
    Film(u32, #[source] FilmError),
    /// Its sound cannot be read.
    #[error("audiotype {0}: {1}")]
    Unreadable(u32, #[source] std::io::Error),
    /// Its sound cannot be decoded.
    #[error("audiotype {0}: {1}")]
    Sound(u32, #[source] DecodeError),
}

/// Opens films, and keeps them for the sessions to come.
#[derive(Debug)]
pub struct Repertoires {
    /// What clients may name; empty: nothing.
    dir: PathBuf,
    /// The operator's list, as it is written.
    list: String,
    opener: Arc<Films>,
    /// Held while one is opened: who asks for the same waits for it.
    films: Mutex<Vec<(Key, Arc<Action>)>>,
}

/// Pictures, sound, and the size as which they are shown.
type Key = (PathBuf, PathBuf, (u32, u32));

impl Repertoires {
    /// `list` is the operator's JSON, or empty; `dir` is what clients may name; `opener` reads folders.
    pub fn new(list: String, dir: PathBuf, opener: Arc<Films>) -> Result<Self, RepertoireError> {
        parse(&list)?;
        Ok(Self { dir, list, opener, films: Mutex::default() })
    }

    /// The operator's, shown as pictures of `size`. Its paths are the operator's own.
    pub fn own(&self, size: (u32, u32)) -> Result<Repertoire, RepertoireError> {
        self.open(&self.list, size, |path| Some(path.to_owned()))
    }

    /// A client's. Its paths lead to what is in the folder, and nowhere else.
    pub fn named(&self, list: &str, size: (u32, u32)) -> Result<Repertoire, RepertoireError> {
        self.open(list, size, |path| values::inside(&self.dir, path))
    }

    fn open(
        &self,
        list: &str,
        size: (u32, u32),
        found: impl Fn(&Path) -> Option<PathBuf>,
    ) -> Result<Repertoire, RepertoireError> {
        let mut entries = BTreeMap::new();
        for line in parse(list)? {
            let number = line.audiotype;
            let entry = if let Some(name) = &line.gesture {
                Entry::Gesture(Gesture::named(name).ok_or(RepertoireError::Gesture(number))?)
            } else {
                let find = |path: &Path| found(path).ok_or(RepertoireError::Path(number));
                let silent = line.audiopath.as_os_str().is_empty() || number == IDLE;
                let sound = if silent { PathBuf::new() } else { find(&line.audiopath)? };
                Entry::Film(self.film(number, (find(&line.imgpath)?, sound, size))?)
            };
            entries.insert(number, entry);
        }
        Ok(Repertoire { entries })
    }

    fn film(&self, number: u32, key: Key) -> Result<Arc<Action>, RepertoireError> {
        let mut films = self.films.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, film)) = films.iter().find(|(known, _)| *known == key) {
            return Ok(Arc::clone(film));
        }
        if films.len() >= MAX_FILMS {
            films.retain(|(_, film)| Arc::strong_count(film) > 1);
        }
        if films.len() >= MAX_FILMS {
            return Err(RepertoireError::Films);
        }
        let (pictures, sound, size) = &key;
        let footage = self.opener.footage(pictures, *size).map_err(|error| RepertoireError::Film(number, error))?;
        let film = Arc::new(Action::new(footage, &heard(number, sound)?));
        films.push((key, Arc::clone(&film)));
        Ok(film)
    }
}

/// What is in the file at `path`; nothing where there is none.
fn heard(number: u32, path: &Path) -> Result<Vec<i16>, RepertoireError> {
    if path.as_os_str().is_empty() {
        return Ok(Vec::new());
    }
    let unreadable = |error| RepertoireError::Unreadable(number, error);
    if std::fs::metadata(path).map_err(unreadable)?.len() > SOUND_BYTES as u64 {
        return Err(RepertoireError::Sound(number, DecodeError::TooLarge(SOUND_BYTES)));
    }
    let limits = DecodeLimits { bytes: SOUND_BYTES, samples: SOUND_SECONDS * AUDIO_RATE_HZ as usize };
    decode(std::fs::read(path).map_err(unreadable)?, limits).map_err(|error| RepertoireError::Sound(number, error))
}

fn parse(list: &str) -> Result<Vec<Line>, RepertoireError> {
    if list.trim().is_empty() {
        return Ok(Vec::new());
    }
    let lines: Vec<Line> = serde_json::from_str(list)?;
    if lines.len() > MAX_ENTRIES {
        return Err(RepertoireError::TooMany);
    }
    match lines.iter().find(|line| line.audiotype < IDLE) {
        Some(line) => Err(RepertoireError::Number(line.audiotype)),
        None => Ok(lines),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("visavis-repertoire-{name}-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("inside/bow")).unwrap();
        std::fs::create_dir_all(dir.join("outside")).unwrap();
        for place in ["inside/bow", "outside"] {
            image::RgbImage::new(4, 4).save(dir.join(place).join("0.png")).unwrap();
        }
        dir
    }

    fn repertoires(dir: &Path) -> Repertoires {
        let films = Films::new(&crate::config::Config::default().wardrobe(true));
        Repertoires::new(String::new(), dir.join("inside"), Arc::new(films)).unwrap()
    }

    #[test]
    fn a_client_names_what_is_in_the_folder_and_nothing_else() {
        let dir = folder("paths");
        let all = repertoires(&dir);
        let named = |path: &str| {
            let list = serde_json::json!([{"audiotype": 2, "imgpath": path}]).to_string();
            all.named(&list, (4, 4)).map(|found| found.numbers())
        };
        assert_eq!(named("bow").unwrap(), [2]);
        assert_eq!(named(dir.join("inside/bow").to_str().unwrap()).unwrap(), [2], "as it stands on this machine");
        let outside = dir.join("outside");
        for path in ["../outside", outside.to_str().unwrap(), "", "bow\0", "nowhere", "/"] {
            assert!(matches!(named(path), Err(RepertoireError::Path(2))), "{path:?}");
        }
        let closed = Repertoires { dir: PathBuf::new(), ..repertoires(&dir) };
        let list = format!(r#"[{{"audiotype": 2, "imgpath": "{}"}}]"#, dir.join("inside/bow").display());
        assert!(closed.named(&list, (4, 4)).is_err(), "no folder, nothing to name");
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn what_is_no_list_is_refused_and_the_idle_life_is_no_action() {
        let dir = folder("list");
        let all = repertoires(&dir);
        let named = |list: &str| all.named(list, (4, 4));
        for list in ["{}", "[1]", r#"[{"imgpath":"bow"}]"#, r#"[{"audiotype":-1,"imgpath":"bow"}]"#, "[", "null"] {
            assert!(matches!(named(list), Err(RepertoireError::Json(_))), "{list}");
        }
        assert!(matches!(named(r#"[{"audiotype":0,"imgpath":"bow"}]"#), Err(RepertoireError::Number(0))));
        assert!(matches!(named(r#"[{"audiotype":3,"gesture":"dance"}]"#), Err(RepertoireError::Gesture(3))));
        let long = format!("[{}]", vec![r#"{"audiotype":2,"gesture":"nod"}"#; 33].join(","));
        assert!(matches!(named(&long), Err(RepertoireError::TooMany)));
        let list = r#"[{"audiotype":1,"imgpath":"bow","audiopath":"gone.wav"},{"audiotype":3,"gesture":"nod","x":1}]"#;
        let found = named(list).unwrap();
        assert!(found.idle().is_some() && found.get(1).is_none() && found.get(3).is_some());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn sessions_share_a_film() {
        let dir = folder("share");
        let all = repertoires(&dir);
        let list = r#"[{"audiotype":1,"imgpath":"bow"}]"#;
        let idle = || all.named(list, (4, 4)).unwrap().idle().unwrap();
        assert!(Arc::ptr_eq(&idle(), &idle()));
        std::fs::remove_dir_all(dir).unwrap();
    }
}

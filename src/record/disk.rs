//! The folder of films: what lies in it, and whether there is room for one more.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// What was filmed of one session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reels {
    /// How many films were begun.
    pub(super) takes: u32,
    /// The newest that has pictures in it.
    pub(super) newest: Option<PathBuf>,
}

/// The films in `dir`, by session. A folder that is not there has none.
pub(super) fn scan(dir: &Path) -> HashMap<Uuid, Reels> {
    let mut found: HashMap<Uuid, Reels> = HashMap::new();
    for path in std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let Some((id, take)) = path.file_name().and_then(|name| parse(name.to_str()?)) else { continue };
        let reels = found.entry(id).or_default();
        if take > reels.takes {
            *reels = Reels { takes: take, newest: Some(path) };
        }
    }
    found
}

/// Takes a new file for the film number `take` of a session, so that nobody else can; the folder is made if it is not there.
pub(super) fn claim(dir: &Path, id: Uuid, take: u32) -> std::io::Result<PathBuf> {
    std::fs::create_dir_all(dir)?;
    let path = dir.join(name(id, take));
    std::fs::File::create_new(&path)?;
    Ok(path)
}

/// Bytes of all files in `dir`.
pub(super) fn stored(dir: &Path) -> u64 {
    let sizes = std::fs::read_dir(dir).into_iter().flatten().flatten().filter_map(|entry| entry.metadata().ok());
    sizes.filter(std::fs::Metadata::is_file).map(|file| file.len()).sum()
}

/// Bytes that we may still write where `path` is; `None` if the system does not tell.
pub(super) fn free(path: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(path).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// LiveTalking's name for the first film of a session, and a number for those after it.
fn name(id: Uuid, take: u32) -> String {
    if take == 1 { format!("{id}.mp4") } else { format!("{id}-{take}.mp4") }
}

fn parse(file: &str) -> Option<(Uuid, u32)> {
    let stem = file.strip_suffix(".mp4")?;
    let (id, rest) = stem.split_at_checked(36)?;
    let take = if rest.is_empty() { 1 } else { rest.strip_prefix('-')?.parse().ok().filter(|take| *take > 1)? };
    Some((Uuid::try_parse(id).ok()?, take))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn films_are_found_again_and_nothing_else_is() {
        let dir = std::env::temp_dir().join(format!("visavis-disk-{}", std::process::id()));
        let (one, two) = (Uuid::new_v4(), Uuid::new_v4());
        assert!(scan(&dir).is_empty() && stored(&dir) == 0);
        claim(&dir, one, 1).unwrap();
        let second = claim(&dir, one, 2).unwrap();
        assert!(claim(&dir, one, 2).is_err(), "a film is never written over");
        std::fs::write(claim(&dir, two, 1).unwrap(), "12345").unwrap();
        for stranger in ["x.mp4", "temp.mp4", &format!("{one}.mov"), &format!("{one}-0.mp4"), &format!("{one}-2")] {
            std::fs::write(dir.join(stranger), "").unwrap();
        }
        let found = scan(&dir);
        assert_eq!(found.len(), 2);
        assert_eq!(found[&one], Reels { takes: 2, newest: Some(second) });
        assert_eq!(stored(&dir), 5);
        assert!(free(&dir).is_some_and(|free| free > 0));
        std::fs::remove_dir_all(dir).unwrap();
    }
}

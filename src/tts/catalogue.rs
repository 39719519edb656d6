//! Recordings to imitate, by name: seed 000's `voice_cat.json`, `{"name": "path/of.wav"}`. What is said in a recording stands in
//! the `.txt` beside it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Config, Error};
use crate::values;

/// Names in an error: enough to find the right one.
const SHOWN: usize = 40;

/// `config` with the recording of `tts.category` for every voice that imitates one.
pub(super) fn cast(config: &Config) -> Result<Cow<'_, Config>, Error> {
    if config.category.is_empty() {
        return Ok(Cow::Borrowed(config));
    }
    let names = read(&config.catalogue)?;
    let Some(path) = names.get(&config.category) else {
        let mut known: Vec<&str> = names.keys().map(String::as_str).take(SHOWN).collect();
        if names.len() > SHOWN {
            known.push("…");
        }
        let file = config.catalogue.display();
        let problem = format!("\"{}\" is not in {file}, which has: {}", config.category, known.join(", "));
        return Err(Error::Setting { key: "tts.category", problem });
    };
    let audio = found(path, &config.catalogue);
    let mut cast = config.clone();
    imitate(&mut cast, &audio, &text_beside(&audio));
    Ok(Cow::Owned(cast))
}

/// Has every voice that imitates a recording imitate `audio`, in which `text` is said.
pub(super) fn imitate(config: &mut Config, audio: &Path, text: &str) {
    let Config { f5, gpt_sovits, cosyvoice, xtts, indextts2, megatts3, .. } = config;
    for reference in [
        &mut f5.reference_audio,
        &mut cosyvoice.reference_audio,
        &mut xtts.reference_audio,
        &mut indextts2.reference_audio,
        &mut megatts3.reference_audio,
    ] {
        audio.clone_into(reference);
    }
    gpt_sovits.reference_audio = audio.to_string_lossy().into_owned();
    for reference in [&mut f5.reference_text, &mut cosyvoice.reference_text, &mut gpt_sovits.reference_text] {
        text.clone_into(reference);
    }
}

/// The recording that a client calls `name`, and what is said in it: one of the catalogue, or a file within
/// `tts.recordings`.
pub(super) fn recording(config: &Config, name: &str) -> Result<(PathBuf, String), Error> {
    let names = read(&config.catalogue).unwrap_or_default();
    let in_folder = || values::inside(&config.recordings, Path::new(name)).filter(|path| path.is_file());
    let audio = names.get(name).map(|path| found(path, &config.catalogue)).or_else(in_folder);
    let audio = audio.ok_or_else(|| Error::UnknownVoice(format!("there is no recording \"{name}\" to imitate")))?;
    let text = text_beside(&audio);
    Ok((audio, text))
}

fn text_beside(audio: &Path) -> String {
    std::fs::read_to_string(audio.with_extension("txt")).unwrap_or_default().trim().to_owned()
}

/// Whether the catalogue of `config` has `name`.
pub fn has(config: &Config, name: &str) -> bool {
    read(&config.catalogue).is_ok_and(|names| names.contains_key(name))
}

fn read(file: &Path) -> Result<BTreeMap<String, PathBuf>, Error> {
    let wrong = |problem: String| Error::Setting { key: "tts.catalogue", problem };
    if file.as_os_str().is_empty() {
        return Err(wrong("is missing: tts.category names a recording in it".into()));
    }
    let text = std::fs::read_to_string(file).map_err(|error| wrong(format!("{}: {error}", file.display())))?;
    serde_json::from_str(&text).map_err(|error| wrong(format!("{}: {error}", file.display())))
}

/// Paths count from where the server runs, or else from the catalogue.
fn found(path: &Path, catalogue: &Path) -> PathBuf {
    let beside = catalogue.parent().map(|folder| folder.join(path));
    if path.exists() { path.to_owned() } else { beside.unwrap_or_else(|| path.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_brings_its_recording_and_its_text_to_every_voice_that_imitates() {
        let dir = std::env::temp_dir().join(format!("visavis-catalogue-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("女")).unwrap();
        std::fs::write(dir.join("女/a.wav"), b"RIFF").unwrap();
        std::fs::write(dir.join("女/a.txt"), "你好。\n").unwrap();
        let catalogue = dir.join("voice_cat.json");
        std::fs::write(&catalogue, r#"{"御姐": "女/a.wav", "大叔": "男/b.wav"}"#).unwrap();
        let config = Config { catalogue: catalogue.clone(), category: "御姐".into(), ..Config::default() };
        let cast = cast(&config).unwrap();
        assert_eq!(cast.f5.reference_audio, dir.join("女/a.wav"));
        assert_eq!((cast.f5.reference_text.as_str(), cast.gpt_sovits.reference_text.as_str()), ("你好。", "你好。"));
        assert!(has(&config, "大叔") && !has(&config, "萝莉") && !has(&Config::default(), "大叔"));
        let unknown = Config { category: "萝莉".into(), ..config };
        let error = super::cast(&unknown).unwrap_err().to_string();
        assert!(error.contains("萝莉") && error.contains("御姐") && error.contains("大叔"), "{error}");
        let error = super::cast(&Config { category: "x".into(), ..Config::default() }).unwrap_err().to_string();
        assert!(error.contains("tts.catalogue"), "{error}");
        std::fs::remove_dir_all(dir).unwrap();
    }
}

//! Rules that hold between the parts of the source, read from the source. `ARCHITECTURE.md` says why they are there.
//!
//! Comments and test modules do not count; `lib.rs` and `main.rs` name everything by their nature.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// Which modules stand on which: a module may name those of a lower layer and no others.
///
/// `models` (files on disk) and `metrics` stand at the bottom, since a voice checks its files and every stage counts. The
/// configuration stands on the stages that define their own sections. `offline` is `visavis render`: a peer of `http`.
const LAYERS: &[&[&str]] = &[
    &["ask", "backoff", "cause", "media", "metrics", "models", "places", "values"],
    &["onnx"],
    &["asr", "llm", "minicpm", "sentence", "speakable", "tts", "codec", "render"],
    &["config", "studio", "track"],
    &["rtc"],
    &["session"],
    &["xiaozhi", "audio_proxy", "funasr", "janus", "push", "record"],
    &["http", "offline"],
    &["server"],
    &["bench"],
    &["cli"],
];

/// Stands beside the layers: exists only in test builds, and is named only behind `feature = "testing"`.
const TESTING: &str = "testing";

/// A file of `src/`, without its comments and its test module; lines keep their numbers.
struct Source {
    path: String,
    lines: Vec<String>,
}

impl Source {
    /// The first part of its path: `session` for `session/turn.rs` and `cli` for `cli.rs`.
    fn module(&self) -> &str {
        self.path.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    fn numbered(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines.iter().enumerate().map(|(n, line)| (n + 1, line.as_str()))
    }
}

fn sources() -> Vec<Source> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    walk(&src, &mut paths);
    paths.sort();
    assert!(paths.len() > 50, "only {} files under src/", paths.len());
    let read = |path: &PathBuf| Source {
        path: path.strip_prefix(&src).expect("the walk began at src/").to_string_lossy().into_owned(),
        lines: code(&fs::read_to_string(path).expect("a source file is text")),
    };
    paths.iter().map(read).collect()
}

fn walk(dir: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("src/ can be read") {
        let path = entry.expect("src/ can be read").path();
        if path.is_dir() {
            walk(&path, paths);
        } else if path.extension().is_some_and(|e| e == "rs") {
            paths.push(path);
        }
    }
}

/// Blanks comments, and everything from the test module on: tests come last in a file.
fn code(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let is_test_module = |n: usize| {
        let opens = |line: &&str| line.starts_with("mod ") && line.ends_with('{');
        lines[n] == "#[cfg(test)]" && lines.get(n + 1).is_some_and(opens)
    };
    let end = (0..lines.len()).find(|n| is_test_module(*n)).unwrap_or(lines.len());
    lines[..end].iter().map(|line| line.split("//").next().unwrap_or_default().to_owned()).collect()
}

/// Fails with a line `src/FILE:LINE: what` for each break of a rule.
fn no_breaks(rule: &str, breaks: &[(String, usize, String)]) {
    let list = breaks.iter().fold(String::new(), |mut out, (path, line, what)| {
        let _ = write!(out, "\n  src/{path}:{line}: {what}");
        out
    });
    assert!(breaks.is_empty(), "{rule}:{list}");
}

/// Lines of the sources that `wanted` picks and `forbidden` finds fault with.
fn breaks(wanted: impl Fn(&Source) -> bool, forbidden: impl Fn(&str) -> Option<String>) -> Vec<(String, usize, String)> {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| wanted(source)) {
        let faults = source.numbered().filter_map(|(n, line)| Some((source.path.clone(), n, forbidden(line)?)));
        found.extend(faults);
    }
    found
}

fn contains_any(line: &str, words: &[&str]) -> Option<String> {
    words.iter().find(|word| line.contains(**word)).map(|word| format!("`{word}`"))
}

/// The modules of ours that a line names: `crate::track::…`, `use crate::{llm, metrics as m, tts::Error}`.
fn named(line: &str) -> Vec<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>();
    let mut names = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(list) => {
                let mut depth = 0;
                let top = list.chars().take_while(|c| *c != ';').filter(|c| {
                    depth += i32::from(*c == '{') - i32::from(*c == '}');
                    depth == 0
                });
                names.extend(top.collect::<String>().split(',').map(|name| word(name.trim())));
            }
            None => names.push(word(rest)),
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

#[test]
fn layers_point_one_way() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|s| !matches!(s.module(), "lib" | "main" | TESTING)) {
        let module = source.module();
        let Some(own) = layer(module) else {
            faults.push((source.path.clone(), 1, format!("give `{module}` a place in LAYERS of tests/architecture.rs")));
            continue;
        };
        for (n, line) in source.numbered() {
            let upward = |name: &String| name != module && name != TESTING && layer(name).is_some_and(|other| other >= own);
            let names = named(line);
            faults.extend(
                names
                    .iter()
                    .filter(|n| upward(n))
                    .map(|name| (source.path.clone(), n, format!("`{module}` names `{name}`"))),
            );
        }
    }
    no_breaks("a module names only modules of a lower layer", &faults);
}

#[test]
fn media_imports_none_of_our_modules_and_does_no_io() {
    let io = ["std::fs", "std::net", "std::io", "std::thread", "tokio", "Instant", ".await", "async fn"];
    let faults = breaks(
        |source| source.module() == "media",
        |line| {
            // Reading memory is no I/O.
            contains_any(&line.replace("std::io::Cursor", ""), &io)
                .or_else(|| named(line).first().filter(|n| *n != "media").map(|n| format!("names `{n}`")))
        },
    );
    no_breaks("media is vocabulary: no module of ours, no I/O, no clock", &faults);
}

#[test]
fn only_rtc_names_the_webrtc_crates() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| source.module() != "rtc") {
        // A file that imports our own `rtc` means it when it writes `rtc::`.
        let ours = source
            .lines
            .iter()
            .any(|line| line.starts_with("use crate::rtc") || line.starts_with("use crate::{") && line.contains("rtc"));
        for (n, line) in source.numbered() {
            let rest = line.replace("crate::rtc", "");
            let webrtc = ["webrtc::", "use webrtc"].iter().any(|w| rest.contains(w));
            let rtc = ["use rtc::", " ::rtc::", "(::rtc::"].iter().any(|w| rest.contains(w));
            let path = !ours && rest.match_indices("rtc::").any(|(at, _)| !rest[..at].ends_with("web"));
            if webrtc || rtc || path {
                faults.push((source.path.clone(), n, line.trim().to_owned()));
            }
        }
    }
    no_breaks("only rtc names `webrtc` and `rtc`, so that another stack costs one module", &faults);
}

#[test]
fn rendering_neither_waits_nor_looks_at_a_clock() {
    let words = [".await", "async fn", "async move", "tokio", "Instant", "SystemTime", "sleep("];
    let faults = breaks(|source| source.module() == "render", |line| contains_any(line, &words));
    no_breaks("the render thread has no clock: a full slice queue is what slows it down", &faults);
}

#[test]
fn every_queue_is_bounded() {
    let words = ["unbounded", "std::sync::mpsc"];
    let faults = breaks(|_| true, |line| contains_any(line, &words));
    no_breaks("every queue has a bound, and what happens when it is full stands beside it", &faults);
}

#[test]
fn only_one_file_decides_how_an_error_looks() {
    let envelope = |line: &str| line.contains("\"code\":").then(|| "builds an error's body".to_owned());
    let faults = breaks(|source| source.module() == "http" && source.path != "http/error.rs", envelope);
    no_breaks("http/error.rs alone builds what a refused request is told", &faults);
}

/// A document beside the source.
fn document(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("the document is in the repository")
}

#[test]
fn architecture_md_lists_every_queue_and_every_module() {
    let text = document("ARCHITECTURE.md");
    let constant = |line: &str| {
        let name = line.split_once("const ")?.1.split(':').next()?;
        (name.ends_with("_QUEUE") && !text.contains(&format!("`{name}`")))
            .then(|| format!("`{name}` is not in ARCHITECTURE.md"))
    };
    no_breaks("the table of queues misses none", &breaks(|_| true, constant));
    for module in LAYERS.iter().copied().flatten() {
        assert!(text.contains(&format!("`{module}")), "the code map of ARCHITECTURE.md lacks `{module}`");
    }
}

/// What stands between `before` and the next quotation mark.
fn quoted(line: &str, before: &str) -> Vec<String> {
    let ends = line.match_indices(before).map(|(at, _)| at + before.len());
    ends.filter_map(|start| Some(line[start..].split('"').next()?.to_owned())).collect()
}

#[test]
fn api_md_lists_every_route() {
    let text = document("docs/api.md");
    let is_listed = |route: &String| {
        let of_the_page = route.contains('*') || ["/index.html", "/favicon.svg", "/style.css"].contains(&route.as_str());
        // `…/poster` stands behind its sibling, on the same line.
        let short = route.rsplit('/').next().is_some_and(|last| text.contains(&format!("…/{last}`")));
        // `/a/:id` is written `/a/{id}`.
        let segments =
            route.split('/').map(|part| part.strip_prefix(':').map_or(part.to_owned(), |name| format!("{{{name}}}")));
        of_the_page || short || text.contains(&segments.collect::<Vec<_>>().join("/"))
    };
    let unlisted = |line: &str| {
        let mut routes = quoted(line, ".at(\"").into_iter().chain(quoted(line, "path = \""));
        routes.find(|route| !is_listed(route))
    };
    no_breaks("docs/api.md lists every route", &breaks(|source| source.module() == "http", unlisted));
}

#[test]
fn api_md_lists_every_error() {
    let text = document("docs/api.md");
    let files =
        ["http/error.rs", "llm/error.rs", "rtc/sdp.rs", "session/recording.rs", "session/text.rs", "session/turn.rs"];
    let is_slug = |word: &String| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let unlisted = |line: &str| {
        let mut slugs = quoted(line, "=> \"").into_iter().filter(is_slug);
        slugs.find(|slug| !text.contains(&format!("`{slug}`")))
    };
    no_breaks("docs/api.md lists every error", &breaks(|source| files.contains(&source.path.as_str()), unlisted));
}

#[test]
fn the_linter_reads_imports_as_they_are_written() {
    assert_eq!(named("use crate::track::{Bitrate, Ended};"), ["track"]);
    assert_eq!(named("use crate::{llm, metrics as m, tts::{Error, Config}};"), ["llm", "metrics", "tts"]);
    assert_eq!(named("    Model(#[from] crate::models::Error),"), ["models"]);
    assert!(named("use super::Session;").is_empty());
    let text = "a\n// crate::session\n#[cfg(test)]\nmod tests;\nb\n#[cfg(test)]\nmod tests {\n    c\n";
    assert_eq!(code(text), ["a", "", "#[cfg(test)]", "mod tests;", "b"]);
}

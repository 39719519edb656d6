//! `visavis.example.yaml` is the manual of the configuration: it must say what the server does.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;
use visavis::config::Config;

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("visavis.example.yaml")
}

fn text() -> String {
    std::fs::read_to_string(path()).expect("visavis.example.yaml stands beside Cargo.toml")
}

/// The keys of a tree, each with the way to it: `webrtc.turn.urls`.
fn keys(value: &Value, prefix: &str, found: &mut BTreeSet<String>) {
    for (key, below) in value.as_object().into_iter().flatten() {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        keys(below, &path, found);
        found.insert(path);
    }
}

fn keys_of(value: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    keys(value, "", &mut found);
    found
}

#[test]
fn it_parses_and_holds_the_defaults() {
    let example = Config::load(Some(&path()), None, &BTreeMap::new()).unwrap();
    assert_eq!(example, Config::default());
}

#[test]
fn it_misses_no_key() {
    let defaults = keys_of(&serde_json::to_value(Config::default()).unwrap());
    let written = keys_of(&serde_saphyr::from_str(&text()).unwrap());
    let missing: Vec<_> = defaults.difference(&written).collect();
    assert!(missing.is_empty(), "add these to visavis.example.yaml: {missing:?}");
    assert!(defaults.len() > 20, "{defaults:?}");
}

#[test]
fn it_explains_every_key() {
    let text = text();
    let lines: Vec<&str> = text.lines().collect();
    let mut section_of_one = None;
    for (n, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let is_key = trimmed.split_once(':').is_some_and(|(key, _)| key.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
        if !is_key || trimmed.starts_with("- ") {
            continue;
        }
        let explained = n > 0 && lines[n - 1].trim_start().starts_with('#');
        // A section with a single key may be explained by its own comment.
        let indent = line.len() - trimmed.len();
        let first_below = section_of_one.is_some_and(|section| n == section + 1);
        assert!(explained || (first_below && indent > 0), "line {}: `{trimmed}` has no comment above it", n + 1);
        section_of_one = Some(n);
    }
}

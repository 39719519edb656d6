//! Words that no lexicon holds: a small network spells them out in phonemes.
//!
//! In: a word. Out: its phonemes. Called from the blocking thread that speaks the clause, 2 ms a word.
//! Follows `hibari/g2p/oov.py` of hibari-tts 0.2.1 (Apache-2.0): one run a word, and a
//! CTC reading of the result (repeats collapse, blanks drop).

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use misaki_rs::fallback::{Fallback, FallbackError};
use rten::{Model, NodeId, Value};
use serde::Deserialize;

use super::threads::Threads;
use crate::tts::Error;

/// Names that this server's users say and the network gets wrong.
const NAMES: &[(&str, &str)] =
    &[("visavis", "vˌizəvˈi"), ("xiaozhi", "ʃˌWʤˈɜɹ"), ("kubernetes", "kˌubəɹnˈɛTiz"), ("nginx", "ˌɛnʤənˈɛks")];

/// The alphabets beside the network, `oov.json`.
#[derive(Deserialize)]
struct Alphabets {
    /// Letters; their ids count from one.
    #[serde(rename = "in")]
    letters: Vec<char>,
    /// Phonemes; their ids count from one, zero is the blank.
    #[serde(rename = "out")]
    phonemes: Vec<char>,
    /// Longest word, in letters.
    maxlen: usize,
}

/// `oov.onnx`, loaded.
pub(super) struct UnknownWords {
    model: Model,
    input: NodeId,
    output: NodeId,
    ids: HashMap<char, i32>,
    phonemes: Vec<char>,
    longest: usize,
    threads: Arc<Threads>,
}

impl UnknownWords {
    /// Loads `oov.onnx` and `oov.json` from `dir`.
    pub(super) fn load(dir: &Path, threads: Arc<Threads>) -> Result<Self, Error> {
        let json = dir.join("oov.json");
        let alphabets: Alphabets = std::fs::read(&json)
            .map_err(Box::<dyn std::error::Error + Send + Sync>::from)
            .and_then(|bytes| serde_json::from_slice(&bytes).map_err(Into::into))
            .map_err(|source| Error::Load { path: json, source })?;
        let path = dir.join("oov.onnx");
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Load { path: path.clone(), source };
        let model = Model::load_file(&path).map_err(|e| failed(Box::new(e)))?;
        let input = model.node_id("chars").map_err(|e| failed(Box::new(e)))?;
        let output = model.node_id("ids").map_err(|e| failed(Box::new(e)))?;
        let ids = alphabets.letters.iter().zip(1..).map(|(&c, id)| (c, id)).collect();
        Ok(Self { model, input, output, ids, phonemes: alphabets.phonemes, longest: alphabets.maxlen, threads })
    }

    /// The phonemes of `word`; empty for letters that the network never saw.
    pub(super) fn phonemes(&self, word: &str) -> Result<String, Error> {
        let ids: Vec<i32> = word.chars().filter_map(|c| self.ids.get(&c).copied()).take(self.longest).collect();
        if ids.is_empty() {
            return Ok(String::new());
        }
        let input = Value::from_shape(&[1, ids.len()], ids).expect("the shape is the vector's own");
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Run { model: "oov", source };
        let [out] = self
            .threads
            .with(|options| self.model.run_n(vec![(self.input, input.into())], [self.output], Some(options)))
            .map_err(|e| failed(Box::new(e)))?;
        let out = out.into_tensor::<i32>().ok_or_else(|| failed("the output is not of ids".into()))?.into_data();
        let mut previous = 0;
        let mut phonemes = String::new();
        for id in out {
            if id != previous && id > 0 {
                phonemes.extend(self.phonemes.get(id as usize - 1));
            }
            previous = id;
        }
        Ok(phonemes)
    }
}

/// Lets `misaki` ask for the words it does not know. What cannot be said is silent, not an error:
/// one strange token must not cost the clause.
impl Fallback for UnknownWords {
    fn phonemize(&self, word: &str) -> Result<String, FallbackError> {
        let mut out = String::new();
        for piece in word.split(|c: char| !c.is_alphabetic() && c != '\'').filter(|p| !p.is_empty()) {
            let name = NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(piece));
            let phonemes = name.map_or_else(|| self.phonemes(piece).unwrap_or_default(), |(_, sounds)| (*sounds).to_owned());
            if !out.is_empty() && !phonemes.is_empty() {
                out.push(' ');
            }
            out.push_str(&phonemes);
        }
        Ok(out)
    }
}

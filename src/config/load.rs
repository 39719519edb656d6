//! Where a configuration comes from: default < file < environment < flag. Who answers may also stand in seed 001's
//! `config.json`, below our own file or, if a flag names it, above everything.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use garde::Validate;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::{Config, livetalking};
use crate::llm;

/// Where a configuration is looked for when none is named.
pub const DEFAULT_FILE: &str = "visavis.yaml";
/// Seed 001's file, looked for beside ours.
pub const SEED_FILE: &str = "config.json";
/// Largest file, in bytes.
const MAX_FILE_BYTES: u64 = 256 << 10;
/// Variables beside us, for programs that read such files.
const ENV_FILE: &str = ".env";
/// Two underscores lead a level down: `VISAVIS_SERVER__MAX_SESSIONS`.
const ENV_PREFIX: &str = "VISAVIS_";
/// Names a file like [`SEED_FILE`], as the flag `--llm-config` does.
pub const LLM_CONFIG: &str = "VISAVIS_LLM_CONFIG";

/// What is wrong with a configuration, and where.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that was named is not there.
    #[error("{path}: {source}", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is no configuration.
    #[error("{path}: {message}", path = path.display())]
    Syntax {
        /// Which.
        path: PathBuf,
        /// What the parser says, with line and column.
        message: String,
    },
    /// A variable of the environment does not fit.
    #[error("environment variable {name}: {message}")]
    Environment {
        /// Which.
        name: String,
        /// Why.
        message: String,
    },
    /// `${NAME}` without a value.
    #[error("{key}: the environment variable {name} is not set")]
    Unset {
        /// Where it is used.
        key: String,
        /// What is missing.
        name: String,
    },
    /// A value is out of its bounds.
    #[error("{0}")]
    Invalid(String),
}

impl Config {
    /// Reads `file` (or [`DEFAULT_FILE`] if it exists) over [`SEED_FILE`], then what `environment` overrides, then `llm`, a
    /// file like [`SEED_FILE`] that was named.
    pub fn load(file: Option<&Path>, llm: Option<&Path>, environment: &BTreeMap<String, String>) -> Result<Self, Error> {
        Self::load_with(file, llm, environment, &Map::new())
    }

    /// The same with `LiveTalking`'s flags over all of it. Its `config.yaml` is read where there is no file of ours.
    pub fn load_with(
        file: Option<&Path>,
        llm: Option<&Path>,
        environment: &BTreeMap<String, String>,
        theirs: &Map<String, Value>,
    ) -> Result<Self, Error> {
        let (default, beside) = (Path::new(DEFAULT_FILE), Path::new(SEED_FILE));
        let mut tree = seed_tree(beside.exists().then_some(beside), environment)?;
        if let Some(path) = file.or_else(|| default.exists().then_some(default)) {
            merge(&mut tree, Self::read(path, environment)?);
        } else if let Some(other) = their_file() {
            merge(&mut tree, Self::read(other, environment)?);
        }
        override_by(&mut tree, environment)?;
        if let Some(path) = llm {
            merge(&mut tree, seed_tree(Some(path), environment)?);
        }
        merge(&mut tree, livetalking::translate(theirs, environment).map_err(|error| Error::Invalid(format!("--{error}")))?);
        let mut config = from_tree(tree).map_err(Error::Invalid)?;
        config.llm = config.llm.with_keys_of(environment);
        config.janus = config.janus.with_environment(environment);
        config.relay = config.relay.with_environment(environment);
        config.validate().map_err(|report| Error::Invalid(report.to_string().trim_end().to_owned()))?;
        Ok(config)
    }

    fn read(path: &Path, environment: &BTreeMap<String, String>) -> Result<Value, Error> {
        let text = expand(&text_of(path)?, environment)?;
        if let Some(Value::Object(options)) = yaml(&text).ok().filter(livetalking::is_theirs) {
            let wrong = |message| Error::Syntax { path: path.to_owned(), message };
            let tree = livetalking::translate(&options, environment).map_err(wrong)?;
            return from_tree(tree.clone()).map(|_| tree).map_err(wrong);
        }
        Self::parse(path, &text)
    }

    /// What `text` sets, and nothing else. Mistakes are found by reading it as a configuration: they then have their place.
    fn parse(path: &Path, text: &str) -> Result<Value, Error> {
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(Value::Object(Map::new()));
        }
        let syntax = |error: serde_saphyr::Error| Error::Syntax { path: path.to_owned(), message: error.to_string() };
        yaml::<Self>(text).map_err(syntax)?;
        yaml(text).map_err(syntax)
    }
}

/// YAML 1.2: only `true` and `false` are booleans, and `off` is a word.
fn yaml<T: DeserializeOwned>(text: &str) -> Result<T, serde_saphyr::Error> {
    serde_saphyr::from_str_with_options(text, serde_saphyr::options! { strict_booleans: true })
}

/// The variables of this process, and those of a `.env` in the working directory that are not set.
pub fn environment() -> Result<BTreeMap<String, String>, Error> {
    let mut environment: BTreeMap<String, String> = std::env::vars().collect();
    let path = Path::new(ENV_FILE);
    if path.is_file() {
        // The parser's own words quote the line, and with it a key.
        let wrong = |_| Error::Syntax { path: path.to_owned(), message: "a line of it is not NAME=VALUE".into() };
        for pair in dotenvy::from_path_iter(path).map_err(wrong)? {
            let (name, value) = pair.map_err(wrong)?;
            environment.entry(name).or_insert(value);
        }
    }
    Ok(environment)
}

/// `LiveTalking`'s file beside us, if it is that and no other program's.
fn their_file() -> Option<&'static Path> {
    let path = Path::new(livetalking::FILE);
    let text = path.is_file().then(|| text_of(path).ok()).flatten()?;
    yaml(&text).is_ok_and(|file| livetalking::is_theirs(&file)).then_some(path)
}

/// Sets what `VISAVIS_A__B` names, one variable after another, so that a mistake names its variable.
fn override_by(tree: &mut Value, environment: &BTreeMap<String, String>) -> Result<(), Error> {
    let sections = serde_json::to_value(Config::default()).expect("a configuration has string keys and finite numbers");
    for (name, value) in environment {
        let Some(path) = name.strip_prefix(ENV_PREFIX) else { continue };
        // Every key lies in a section, so a name without `__` is somebody else's: VISAVIS_LOG, or what Kubernetes
        // tells about a service of that name. Unless it begins like one of ours, which is a slip.
        if !path.contains("__") {
            let section = path.split('_').next().unwrap_or_default().to_ascii_lowercase();
            if sections.get(&section).is_some() && name != LLM_CONFIG {
                let message = format!("two underscores lead into a section: {ENV_PREFIX}{}__…", section.to_uppercase());
                return Err(Error::Environment { name: name.clone(), message });
            }
            continue;
        }
        let keys: Vec<String> = path.split("__").map(str::to_ascii_lowercase).collect();
        let patch = keys.iter().rev().fold(scalar(value), |inner, key| format!("{{{key}: {inner}}}"));
        let apply = || -> Result<Value, String> {
            let patch = yaml::<Value>(&patch).map_err(|error| error.to_string())?;
            // The patch alone is checked first: its errors name the key and those that are allowed.
            from_tree(patch.clone())?;
            let mut whole = tree.clone();
            merge(&mut whole, patch);
            from_tree(whole.clone()).map(|_| whole)
        };
        *tree = apply().map_err(|message| Error::Environment { name: name.clone(), message })?;
    }
    Ok(())
}

pub(super) fn from_tree(tree: Value) -> Result<Config, String> {
    serde_json::from_value(tree).map_err(|error| error.to_string())
}

/// What seed 001's file and variables ask for.
fn seed_tree(file: Option<&Path>, environment: &BTreeMap<String, String>) -> Result<Value, Error> {
    let text = file.map(text_of).transpose()?;
    let seed = |error: llm::SeedError| match (file, &error) {
        (Some(path), llm::SeedError::Json(_)) => Error::Syntax { path: path.to_owned(), message: error.to_string() },
        _ => Error::Invalid(error.to_string()),
    };
    let tree = json!({"llm": llm::settings(text.as_deref(), environment).map_err(seed)?});
    // A value that fits no key is this file's fault, and not that of whatever is laid over it.
    from_tree(tree.clone()).map_err(|message| match file {
        Some(path) => Error::Syntax { path: path.to_owned(), message },
        None => Error::Invalid(format!("LLM_PROVIDER, OPENAI_… or DASHSCOPE_… of the environment: {message}")),
    })?;
    Ok(tree)
}

fn text_of(path: &Path) -> Result<String, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(failed)?.len() > MAX_FILE_BYTES {
        return Err(Error::Syntax { path: path.to_owned(), message: "larger than 256 KiB".into() });
    }
    std::fs::read_to_string(path).map_err(failed)
}

/// A variable's value as YAML: `[a, b]`, numbers and booleans as they are, anything else as text.
fn scalar(value: &str) -> String {
    let plain = serde_json::from_str::<Value>(value).is_ok() || (value.starts_with('[') && value.ends_with(']'));
    if plain { value.to_owned() } else { Value::from(value).to_string() }
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// Replaces `${NAME}` by the environment's value, outside comments. A provider's key alone may be missing.
fn expand(text: &str, environment: &BTreeMap<String, String>) -> Result<String, Error> {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let mut rest = line;
        let mut commented = rest.trim_start().starts_with('#');
        while let Some(start) = rest.find("${").filter(|_| !commented) {
            let Some(len) = rest[start..].find('}') else { break };
            let name = &rest[start + 2..start + len];
            let key = line.split(':').next().unwrap_or_default().trim();
            out.push_str(&rest[..start]);
            match environment.get(name) {
                Some(value) => out.push_str(value),
                // Without a provider's key the server has everything but answers, and says so when one is asked for.
                None if key == "api_key" => {}
                None => return Err(Error::Unset { key: key.to_owned(), name: name.to_owned() }),
            }
            rest = &rest[start + len + 1..];
            commented = false;
        }
        out.push_str(rest);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{BitRate, Output, Server};

    fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn parse(text: &str) -> Result<Config, Error> {
        overridden(text, &[])
    }

    fn overridden(text: &str, environment: &[(&str, &str)]) -> Result<Config, Error> {
        let mut tree = Config::parse(Path::new("visavis.yaml"), text)?;
        override_by(&mut tree, &env(environment))?;
        from_tree(tree).map_err(Error::Invalid)
    }

    #[test]
    fn a_typo_names_its_line_its_column_and_the_allowed_keys() {
        let error = parse("server:\n  max_sesions: 3\n").unwrap_err().to_string();
        assert!(error.contains("max_sesions") && error.contains("max_sessions"), "{error}");
        assert!(error.contains("line 2") || error.contains(":2:"), "{error}");
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let config = overridden(
            "server: {max_sessions: 3}\nwebrtc: {bitrate: {max: 1M}}",
            &[("VISAVIS_SERVER__MAX_SESSIONS", "5"), ("VISAVIS_WEBRTC__BITRATE__START", "300k"), ("PATH", "/bin")],
        );
        let config = config.unwrap();
        assert_eq!(config.server.max_sessions, 5);
        assert_eq!(config.webrtc.bitrate.start, BitRate(300_000));
        assert_eq!(config.webrtc.bitrate.max, BitRate(1_000_000));
    }

    #[test]
    fn off_is_a_word_and_no_boolean() {
        assert_eq!(parse("asr: {provider: off}").unwrap().asr.provider, crate::asr::Provider::Off);
        let error = parse("webrtc:\n  tcp: off\n").unwrap_err().to_string();
        assert!(error.contains("bool") && error.contains(":2:"), "{error}");
    }

    #[test]
    fn a_page_that_is_not_there_is_named_before_anybody_asks_for_it() {
        let report = parse("server: {page: web/js}").unwrap().validate().unwrap_err().to_string();
        assert!(report.contains("server.page") && report.contains("web/js/index.html"), "{report}");
        assert!(parse("server: {page: web}").unwrap().validate().is_ok());
    }

    #[test]
    fn an_unknown_variable_is_named() {
        let error = overridden("", &[("VISAVIS_SERVER__PORT", "1")]).unwrap_err().to_string();
        assert!(error.contains("VISAVIS_SERVER__PORT") && error.contains("listen"), "{error}");
    }

    #[test]
    fn a_single_underscore_is_pointed_out_and_strangers_are_left_alone() {
        let error = overridden("", &[("VISAVIS_SERVER_MAX_SESSIONS", "5")]).unwrap_err().to_string();
        assert!(error.contains("VISAVIS_SERVER__"), "{error}");
        let strangers = [("VISAVIS_LOG", "debug"), ("VISAVIS_SERVICE_HOST", "192.0.2.1"), ("VISAVIS_LLM_CONFIG", "x.json")];
        assert_eq!(overridden("", &strangers).unwrap(), Config::default());
    }

    #[test]
    fn a_secret_comes_from_the_environment_and_is_never_shown() {
        let text = expand("server: {admin_token: \"${TOKEN}\"}\n# ${NOT_ASKED}\n", &env(&[("TOKEN", "hush")])).unwrap();
        let config = overridden(&text, &[("VISAVIS_SERVER__MAX_SESSIONS", "5")]).unwrap();
        assert_eq!(config.server.admin_token.reveal(), Some("hush"));
        assert!(!config.show().contains("hush") && !format!("{config:?}").contains("hush"));
    }

    #[test]
    fn a_variable_that_is_not_set_is_named() {
        let error = expand("llm: {key: ${MISSING}}", &env(&[])).unwrap_err().to_string();
        assert!(error.contains("MISSING"), "{error}");
    }

    #[test]
    fn a_providers_key_that_is_not_set_lets_the_server_start() {
        let text = expand("llm: {provider: openai}\n", &env(&[])).unwrap();
        assert!(parse(&text).unwrap().llm.openai.api_key.reveal().is_none());
        let text = expand("llm:\n  openai:\n    api_key: \"${MISSING}\"\n", &env(&[])).unwrap();
        let llm = parse(&text).unwrap().llm;
        assert!(llm.openai.api_key.reveal().is_none());
        let llm = llm.with_keys_of(&env(&[("OPENAI_API_KEY", "sk-1\n")]));
        assert_eq!(llm.openai.api_key.reveal(), Some("sk-1"));
    }

    #[test]
    fn who_answers_is_decided_by_variables_then_config_json_then_our_file() {
        let dir = std::env::temp_dir().join(format!("visavis-config-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (seed, ours) = (dir.join("config.json"), dir.join("visavis.yaml"));
        std::fs::write(
            &seed,
            r#"{"llm_provider":"openai","providers":{"openai":{"model":"of-the-seed","api_key":"${K}"}}}"#,
        )
        .unwrap();
        std::fs::write(&ours, "llm: {openai: {model: ours, max_tokens: 7}}").unwrap();
        let variables =
            env(&[("K", "sk-seed"), ("OPENAI_MODEL", "of-a-variable"), ("OPENAI_BASE_URL", "http://localhost:1/v1")]);
        let beside = seed_tree(Some(&seed), &variables).unwrap();
        assert_eq!(beside["llm"]["openai"]["model"], "of-the-seed");
        let file = Config::load(Some(&ours), None, &variables).unwrap().llm;
        assert_eq!((file.openai.model.as_str(), file.openai.base_url.as_str()), ("ours", "http://localhost:1/v1"));
        let flag = Config::load(Some(&ours), Some(&seed), &variables).unwrap().llm;
        assert_eq!((flag.provider, flag.openai.model.as_str()), (llm::Provider::OpenAi, "of-the-seed"));
        assert_eq!((flag.openai.api_key.reveal(), flag.openai.max_tokens), (Some("sk-seed"), Some(7)));
        std::fs::write(&seed, r#"{"llm_provider":"oracle"}"#).unwrap();
        let error = Config::load(None, Some(&seed), &variables).unwrap_err().to_string();
        assert!(error.contains("config.json") && error.contains("oracle") && error.contains("dashscope"), "{error}");
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_file_of_livetalkings_is_read_and_its_flags_count_over_it() {
        let file = std::env::temp_dir().join(format!("visavis-livetalking-{}.yaml", std::process::id()));
        std::fs::write(
            &file,
            "# theirs\nlistenport: 8011\ntransport: rtmp\npush-url: rtmp://host/live/key\nREF_FILE:\ntts: edgetts\n",
        )
        .unwrap();
        let flags = json!({"listenport": "8012"});
        let config =
            Config::load_with(Some(&file), None, &env(&[("DASHSCOPE_API_KEY", "sk-1")]), flags.as_object().unwrap());
        let config = config.unwrap();
        assert_eq!((config.server.listen.port(), config.push.to), (8012, Output::Rtmp));
        assert_eq!(config.llm.provider, llm::Provider::DashScope);
        assert!(!config.show().contains("live/key"), "{}", config.show());
        std::fs::write(&file, "fps: 30\nlistenport: 8011\n").unwrap();
        let error = Config::load(Some(&file), None, &env(&[])).unwrap_err().to_string();
        assert!(error.contains("fps") && error.contains("yaml"), "{error}");
        std::fs::write(&file, "listenport: 8011\ntransport: rtmp\npush_url: http://host\n").unwrap();
        let error = Config::load(Some(&file), None, &env(&[])).unwrap_err().to_string();
        assert!(error.contains("push") && error.contains("rtmp://"), "{error}");
        std::fs::remove_file(file).unwrap();
    }

    #[test]
    fn values_out_of_bounds_are_refused_in_words() {
        let config = Config { server: Server { max_sessions: 0, ..Server::default() }, ..Config::default() };
        let report = config.validate().unwrap_err().to_string();
        assert!(report.contains("max_sessions"), "{report}");
        assert!(parse("webrtc: {bitrate: {max: lots}}").unwrap_err().to_string().contains("lots"));
    }

    #[test]
    fn what_is_shown_can_be_read_back() {
        let shown = Config::default().show();
        assert_eq!(parse(&shown).unwrap(), Config::default(), "{shown}");
    }
}

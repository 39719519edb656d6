//! The configuration: default < file < environment < flag. Each part of the server defines its own section. Who answers may
//! also stand in seed 001's `config.json`, below our own file or, if a flag names it, above everything.
//!
//! A mistake is an error that names the line, the column and the keys that are allowed; nothing has been bound or loaded
//! by then. `visavis.example.yaml` is the manual, held to the truth by a test.

mod actions;
mod audio_proxy;
mod janus;
mod livetalking;
mod push;
mod record;
mod studio;
mod tls;
mod xiaozhi;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::onnx::Device;
use crate::render::{NetworkFile, Spool, Wardrobe};
use crate::{asr, llm, tts};

pub use actions::Actions;
pub use audio_proxy::{AudioProxy, Backend, WhenBusy};
pub use janus::{Janus, Relay};
pub use push::{Output, Push};
pub use record::Record;
pub use studio::Studio;
pub use tls::{Tls, TlsMode};
pub use xiaozhi::{Auth, WebRtc as XiaozhiWebRtc, Xiaozhi};

pub use crate::values::Secret;

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

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// HTTP and admission.
    #[garde(dive)]
    pub server: Server,
    /// HTTPS.
    #[garde(dive)]
    pub tls: Tls,
    /// Media transport.
    #[garde(dive)]
    pub webrtc: WebRtc,
    /// Who can be seen.
    #[garde(dive)]
    pub avatars: Avatars,
    /// Films in the place of the face.
    #[garde(dive)]
    pub actions: Actions,
    /// Avatars that are made while the server runs.
    #[garde(dive)]
    pub studio: Studio,
    /// Where fetched model files lie.
    #[garde(dive)]
    pub models: Models,
    /// Who listens.
    #[garde(dive)]
    pub asr: asr::Config,
    /// Who answers.
    #[garde(dive)]
    pub llm: llm::Config,
    /// Who speaks.
    #[garde(skip)]
    pub tts: tts::Config,
    /// Films of sessions.
    #[garde(dive)]
    pub record: Record,
    /// Sessions that are sent to another server.
    #[garde(custom(push::complete))]
    pub push: Push,
    /// xiaozhi's devices.
    #[garde(dive)]
    pub xiaozhi: Xiaozhi,
    /// The audio proxy.
    #[garde(dive)]
    pub audio_proxy: AudioProxy,
    /// The Janus room.
    #[garde(dive)]
    pub janus: Janus,
    /// The relay of seed 000's older client.
    #[garde(dive)]
    pub relay: Relay,
}

/// `server:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Address of HTTP (tcp) and media (udp).
    #[garde(skip)]
    pub listen: SocketAddr,
    /// Conversations at once.
    #[garde(range(min = 1, max = 10_000))]
    pub max_sessions: usize,
    /// Origins of other sites whose pages may call us; `*` for all.
    #[garde(inner(length(min = 1, max = 256)))]
    pub cors: Vec<String>,
    /// A folder with an `index.html` that is served in place of the built-in page; empty: the built-in page.
    #[garde(custom(page_folder))]
    pub page: PathBuf,
    /// Opens `/metrics` and the list of sessions to others than this machine.
    #[garde(skip)]
    pub admin_token: Secret,
    /// Addresses whose `X-Forwarded-For` and `X-Forwarded-Host` are believed.
    #[garde(skip)]
    pub trusted_proxies: Vec<IpAddr>,
    /// New conversations a minute from one address. This machine itself is not limited.
    #[garde(range(min = 1, max = 100_000))]
    pub offers_per_minute: u32,
    /// How long answers may go on after SIGTERM.
    #[garde(skip)]
    #[serde(with = "crate::values::seconds")]
    pub shutdown_grace: Duration,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 8010)),
            max_sessions: 8,
            cors: Vec::new(),
            page: PathBuf::new(),
            admin_token: Secret::default(),
            trusted_proxies: Vec::new(),
            offers_per_minute: 10,
            shutdown_grace: Duration::from_secs(30),
        }
    }
}

/// `webrtc:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct WebRtc {
    /// Addresses under which viewers reach this machine and that it cannot know itself.
    #[garde(length(max = 8))]
    pub advertise: Vec<IpAddr>,
    /// Whether media may come by TCP, too, on the port of HTTP.
    #[garde(skip)]
    pub tcp: bool,
    /// STUN servers for the page, `stun:host:port`.
    #[garde(inner(custom(stun_url)))]
    pub stun: Vec<String>,
    /// The relay for the page.
    #[garde(dive)]
    pub turn: Turn,
    /// Bounds of the video encoders.
    #[garde(custom(ordered))]
    pub bitrate: BitrateBounds,
}

impl Default for WebRtc {
    fn default() -> Self {
        Self { advertise: Vec::new(), tcp: true, stun: Vec::new(), turn: Turn::default(), bitrate: BitrateBounds::default() }
    }
}

/// `webrtc.turn:`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Turn {
    /// `turn:host:port?transport=udp`.
    #[garde(inner(custom(turn_url)))]
    pub urls: Vec<String>,
    /// coturn's `static-auth-secret`: the page gets credentials that last ten minutes.
    #[garde(skip)]
    pub secret: Secret,
}

/// `webrtc.bitrate:`
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BitrateBounds {
    /// However poor the network.
    pub min: BitRate,
    /// Until the network has been measured.
    pub start: BitRate,
    /// However good the network.
    pub max: BitRate,
}

impl Default for BitrateBounds {
    fn default() -> Self {
        Self { min: BitRate(200_000), start: BitRate(800_000), max: BitRate(2_000_000) }
    }
}

/// `avatars:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Avatars {
    /// One folder each.
    #[garde(skip)]
    pub dir: PathBuf,
    /// Who is seen when nobody is asked for; empty: the first by name.
    #[garde(length(max = 64))]
    pub default: String,
    /// More of them, if it is there: what LiveTalking calls `data/avatars`.
    #[garde(skip)]
    pub films: PathBuf,
    /// Films with larger pictures are shown smaller, in pixels.
    #[garde(range(min = 64, max = 4_096))]
    pub max_side: u32,
    /// The network that moves the lips of films; empty: `wav2lip.onnx` in `models.dir`.
    #[garde(skip)]
    pub network: PathBuf,
    /// The network by which those of Ultralight hear; empty: `hubert.onnx` in `models.dir`.
    #[garde(skip)]
    pub hubert: PathBuf,
    /// What runs them.
    #[garde(skip)]
    pub device: Device,
    /// Threads of one run; 0: half the cores, at most four.
    #[garde(range(max = 64))]
    pub threads: usize,
    /// Where the decoded pictures of films lie while the server runs.
    #[garde(skip)]
    pub spool: PathBuf,
    /// How much of them, in MiB.
    #[garde(range(max = 1 << 24))]
    pub spool_mb: u64,
}

impl Default for Avatars {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("assets/avatars"),
            default: String::new(),
            films: PathBuf::from("data/avatars"),
            max_side: 1_920,
            network: PathBuf::new(),
            hubert: PathBuf::new(),
            device: Device::Cpu,
            threads: 0,
            spool: PathBuf::from("data/spool"),
            spool_mb: 4_096,
        }
    }
}

impl Avatars {
    /// The spool that all films of this server share.
    pub fn spool(&self) -> Arc<Spool> {
        Spool::new(&self.spool, self.spool_mb << 20)
    }
}

/// `models:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Models {
    /// What `visavis models fetch` fills.
    #[garde(skip)]
    pub dir: PathBuf,
    /// ONNX Runtime; empty: the one that was fetched.
    #[garde(skip)]
    pub onnxruntime: PathBuf,
}

impl Default for Models {
    fn default() -> Self {
        Self { dir: PathBuf::from("models"), onnxruntime: PathBuf::new() }
    }
}

/// Bits a second, written `800k` or `2M`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub struct BitRate(pub u32);

impl Serialize for BitRate {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = match self.0 {
            n if n % 1_000_000 == 0 => format!("{}M", n / 1_000_000),
            n if n % 1_000 == 0 => format!("{}k", n / 1_000),
            n => n.to_string(),
        };
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for BitRate {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (number, factor) = match text.strip_suffix(['k', 'K']) {
            Some(number) => (number, 1_000),
            None => text.strip_suffix('M').map_or((text.as_str(), 1), |number| (number, 1_000_000)),
        };
        let bits = number.parse::<u32>().ok().and_then(|n| n.checked_mul(factor));
        match bits {
            Some(bits @ 30_000..=50_000_000) => Ok(Self(bits)),
            _ => Err(serde::de::Error::custom(format!("\"{text}\" is not a bitrate from 30k to 50M, such as 800k or 2M"))),
        }
    }
}

fn page_folder(folder: &Path, (): &()) -> garde::Result {
    if folder.as_os_str().is_empty() || folder.join("index.html").is_file() {
        return Ok(());
    }
    Err(garde::Error::new(format!("there is no {}", folder.join("index.html").display())))
}

fn stun_url(url: &str, (): &()) -> garde::Result {
    if url.starts_with("stun:") || url.starts_with("stuns:") {
        return Ok(());
    }
    Err(garde::Error::new("must start with stun: or stuns:"))
}

fn turn_url(url: &str, (): &()) -> garde::Result {
    if url.starts_with("turn:") || url.starts_with("turns:") {
        return Ok(());
    }
    Err(garde::Error::new("must start with turn: or turns:"))
}

fn ordered(bounds: &BitrateBounds, (): &()) -> garde::Result {
    if bounds.min <= bounds.start && bounds.start <= bounds.max {
        return Ok(());
    }
    Err(garde::Error::new("min, start and max must rise in this order"))
}

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
    /// What the catalogue of avatars is made from. `live`: pictures have a time at which they are due.
    pub fn wardrobe(&self, live: bool) -> Wardrobe {
        let or = |path: &Path, usual: &str| {
            if path.as_os_str().is_empty() { self.models.dir.join(usual) } else { path.to_owned() }
        };
        let network = NetworkFile {
            library: or(&self.models.onnxruntime, "onnxruntime/libonnxruntime.so"),
            graph: or(&self.avatars.network, "wav2lip.onnx"),
            hubert: or(&self.avatars.hubert, "hubert.onnx"),
            device: self.avatars.device,
            threads: self.avatars.threads,
            live,
        };
        Wardrobe {
            dirs: vec![self.avatars.dir.clone(), self.avatars.films.clone()],
            default: self.avatars.default.clone(),
            spool: self.avatars.spool(),
            max_side: self.avatars.max_side,
            network,
        }
    }

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
        if let Some(Value::Object(options)) = serde_saphyr::from_str(&text).ok().filter(livetalking::is_theirs) {
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
        serde_saphyr::from_str::<Self>(text).map_err(syntax)?;
        serde_saphyr::from_str(text).map_err(syntax)
    }

    /// As YAML, secrets hidden.
    pub fn show(&self) -> String {
        serde_saphyr::to_string(self).unwrap_or_else(|error| error.to_string())
    }
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
    serde_saphyr::from_str(&text).is_ok_and(|file| livetalking::is_theirs(&file)).then_some(path)
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
        let yaml = keys.iter().rev().fold(scalar(value), |inner, key| format!("{{{key}: {inner}}}"));
        let apply = || -> Result<Value, String> {
            let patch = serde_saphyr::from_str::<Value>(&yaml).map_err(|error| error.to_string())?;
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

fn from_tree(tree: Value) -> Result<Config, String> {
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

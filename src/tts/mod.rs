//! Voices: a clause of text becomes sound, with the times of its phonemes and words.
//!
//! In: one clause, as the splitter cut it and `speakable` cleaned it. Out: a stream of [`Speech`]
//! pieces. Inference runs on blocking threads; the stream is polled on the async runtime. `hibari` is a voice of this
//! machine; the others ask a service on the network, one file each, and stand in a chain (`chain.rs`), which retries, falls
//! over to the next voice and keeps time.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::stream::BoxStream;

use crate::media::Speech;
use auto::Auto;
use chain::{Chain, Link};
use remote::Remote;

mod auto;
mod azure;
mod catalogue;
mod chain;
mod config;
mod cosyvoice;
mod dashscope;
mod doubao;
mod edge;
mod embedded;
mod f5;
mod fish;
mod gpt_sovits;
mod hibari;
mod indextts2;
mod kokoro;
mod mandarin;
mod manner;
mod megatts3;
mod mute;
mod net;
mod openai;
mod remote;
mod tencent;
mod timing;
mod xtts;

pub use catalogue::has as has_category;
pub use config::{Config, Limit, Provider, Providers, Timeouts};
pub use hibari::Hibari;
pub use kokoro::{Config as KokoroConfig, Kokoro, voices};
pub use manner::Manner;
pub use net::Fault;

/// Turns a clause into speech.
pub trait TextToSpeech: Send + Sync {
    /// Speaks `clause`. Pieces come in order; dropping the stream cancels the work. A clause with
    /// nothing to say (punctuation, emoji) is an empty stream.
    fn speak(&self, clause: String) -> BoxStream<'static, Result<Speech, Error>>;

    /// As whom it can speak; empty where there is nothing to choose.
    fn timbres(&self) -> Vec<Timbre> {
        Vec::new()
    }

    /// Whether it makes no sound at all: nothing else may be heard in its place.
    fn is_mute(&self) -> bool {
        false
    }

    /// The same voice, speaking as `manner` asks, as far as it can. May read files: call it from a blocking thread.
    fn in_manner(&self, _manner: &Manner) -> Result<Arc<dyn TextToSpeech>, Error> {
        Err(Error::UnknownVoice("this voice has one manner".into()))
    }
}

/// Somebody as whom a voice can speak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timbre {
    /// Unique.
    pub id: String,
    /// For people.
    pub name: String,
    /// BCP 47: the language that they are made for.
    pub language: &'static str,
}

/// Why a voice did not speak.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The models in `models_dir` are missing or damaged.
    #[error(transparent)]
    Model(#[from] crate::models::Error),
    /// No voice of that name is installed.
    #[error("tts.kokoro.voice \"{name}\" is none of {}", known.join(", "))]
    NoVoice {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// A model file is there and whole, but the engine does not take it.
    #[error("loading {path}")]
    Load {
        /// The file.
        path: PathBuf,
        /// What the engine said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The model ran and failed.
    #[error("running {model}")]
    Run {
        /// Which model.
        model: &'static str,
        /// What the engine said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Synthesis panicked; the clause is lost, the voice goes on.
    #[error("synthesis of a clause panicked")]
    Panicked,
    /// The sound could not be brought to 16 kHz.
    #[error(transparent)]
    Resample(#[from] crate::media::ResampleError),
    /// A client asked for a voice that there is not.
    #[error("{0}")]
    UnknownVoice(String),
    /// A service on the network failed.
    #[error("{voice}: {fault}")]
    Network {
        /// Its name in the configuration.
        voice: &'static str,
        /// How; a part of the message, so not its source, too.
        fault: Fault,
    },
    /// A key of the configuration has no value that a voice can work with.
    #[error("{key}: {problem}")]
    Setting {
        /// Which key.
        key: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

impl Error {
    /// Whether the same clause may succeed at another try or by another voice of a chain.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Network { fault, .. } => fault.is_retryable(),
            _ => matches!(self, Self::Run { .. } | Self::Panicked),
        }
    }

    /// What a service on the network failed at.
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Network { fault, .. } => Some(fault),
            _ => None,
        }
    }
}

/// Loads the voices that `config` names, from the files under `models_dir` or by their addresses; warms up those of this
/// machine. Takes some hundred milliseconds: call it from a blocking thread. No service is asked anything yet.
pub fn build(config: &Config, models_dir: &Path) -> Result<Arc<dyn TextToSpeech>, Error> {
    let config = &Arc::new(catalogue::cast(config)?.into_owned());
    if let [only] = config.provider.0[..]
        && let Some((_, voice)) = embedded_voice(only, config, models_dir)?
    {
        return Ok(voice);
    }
    let links = config.provider.0.iter().map(|provider| link(*provider, config, models_dir));
    Ok(Arc::new(Chain::new(links.collect::<Result<_, _>>()?, config.timeouts)))
}

/// Whether the settings of the services that `config` names can work. Reads recordings, asks nobody.
pub fn check(config: &Config) -> Result<(), Error> {
    let config = &Arc::new(catalogue::cast(config)?.into_owned());
    config.provider.0.iter().try_for_each(|provider| service(*provider, config).map(|_| ()))
}

/// One voice of a chain.
fn link(provider: Provider, config: &Arc<Config>, models_dir: &Path) -> Result<Link, Error> {
    if let Some((name, voice)) = embedded_voice(provider, config, models_dir)? {
        return Ok(Link::new(name, voice, false));
    }
    let service = service(provider, config)?.expect("what is not embedded is a service");
    Ok(Link::new(service.name(), Arc::new(service), true))
}

/// A voice and its name.
type Named = (&'static str, Arc<dyn TextToSpeech>);

/// A voice of this machine; `None` for a service on the network.
fn embedded_voice(provider: Provider, config: &Config, models_dir: &Path) -> Result<Option<Named>, Error> {
    Ok(match provider {
        Provider::Auto => {
            let english = Hibari::load(models_dir)?;
            Some(("auto", Arc::new(Auto::new(english, models_dir.into(), config.kokoro.clone()))))
        }
        Provider::None => Some(("none", Arc::new(mute::Mute))),
        Provider::Hibari => Some(("hibari", Arc::new(Hibari::load(models_dir)?))),
        Provider::Kokoro => {
            let english = Hibari::load(models_dir)?;
            Some(("kokoro", Arc::new(Kokoro::load(models_dir, &config.kokoro, &english)?)))
        }
        _ => None,
    })
}

/// A service on the network; `None` for a voice of this machine.
fn service(provider: Provider, config: &Arc<Config>) -> Result<Option<Remote>, Error> {
    let limits = &config.timeouts;
    let (name, service): (_, Arc<dyn remote::Service>) = match provider {
        Provider::Auto | Provider::Hibari | Provider::Kokoro | Provider::None => return Ok(None),
        Provider::Edge => ("edge", Arc::new(edge::Edge::new(&config.edge, limits)?)),
        Provider::Openai => ("openai", Arc::new(openai::OpenAi::new(&config.openai, limits)?)),
        Provider::Dashscope => ("dashscope", Arc::new(dashscope::DashScope::new(&config.dashscope, limits)?)),
        Provider::GptSovits => ("gpt_sovits", Arc::new(gpt_sovits::GptSovits::new(&config.gpt_sovits, limits)?)),
        Provider::Cosyvoice => ("cosyvoice", Arc::new(cosyvoice::CosyVoice::new(&config.cosyvoice, limits)?)),
        Provider::Fish => ("fish", Arc::new(fish::Fish::new(&config.fish, limits)?)),
        Provider::Xtts => ("xtts", Arc::new(xtts::Xtts::new(&config.xtts, limits)?)),
        Provider::F5 => ("f5", Arc::new(f5::F5::new(&config.f5, limits)?)),
        Provider::Indextts2 => ("indextts2", Arc::new(indextts2::IndexTts2::new(&config.indextts2, limits)?)),
        Provider::Megatts3 => ("megatts3", Arc::new(megatts3::MegaTts3::new(&config.megatts3, limits)?)),
        Provider::Tencent => ("tencent", Arc::new(tencent::Tencent::new(&config.tencent, limits)?)),
        Provider::Doubao => ("doubao", Arc::new(doubao::Doubao::new(&config.doubao, limits)?)),
        Provider::Azure => ("azure", Arc::new(azure::Azure::new(&config.azure, limits)?)),
    };
    Ok(Some(Remote::new(name, provider, Arc::clone(config), service)))
}

/// The value of a key that a service does not work without.
fn required<'a>(key: &'static str, value: Option<&'a str>) -> Result<&'a str, Error> {
    value.filter(|value| !value.is_empty()).ok_or_else(|| Error::Setting { key, problem: "is missing".into() })
}

/// A speed that services take.
fn speed(key: &'static str, speed: f32) -> Result<f32, Error> {
    let problem = || format!("{speed} is not a speed from 0.25 to 4");
    (0.25..=4.0).contains(&speed).then_some(speed).ok_or_else(|| Error::Setting { key, problem: problem() })
}

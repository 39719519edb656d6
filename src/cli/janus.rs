//! `visavis janus`: the server, with seed 000's flags laid over its configuration.

use clap::Args;

use super::Serve;
use crate::config::{Config, Secret};
use crate::{llm, tts};

/// The voice of seed 000, where its catalogue is there.
const DEFAULT_CATEGORY: &str = "御姐配音暧昧";

#[expect(clippy::struct_excessive_bools, reason = "seed 000 has that many switches")]
#[derive(Args)]
pub(super) struct Janus {
    #[command(flatten)]
    serve: Serve,
    /// Janus' WebSocket [default: the configuration's, or `JANUS_URL`]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Number of the audiobridge room [default: 1234]
    #[arg(long, value_name = "N")]
    room: Option<u64>,
    /// What joining the room takes
    #[arg(long)]
    pin: Option<String>,
    /// What the others in the room see [default: Agent]
    #[arg(long, value_name = "NAME")]
    display: Option<String>,
    /// Have a `MiniCPM` server hear and answer
    #[arg(long)]
    use_minicpm: bool,
    /// Answer in text only: nothing is spoken
    #[arg(long)]
    skip_tts: bool,
    /// Speak with F5-TTS
    #[arg(long)]
    use_f5tts: bool,
    /// Ask the second chat of the local services
    #[arg(long)]
    use_uncensored: bool,
    /// The recording to imitate, by its name in tts.catalogue [default: 御姐配音暧昧, if it is there]
    #[arg(long, value_name = "NAME")]
    voice_category: Option<String>,
}

impl Janus {
    /// Lays the flags over `config`.
    pub(super) fn lay_over(&self, config: &mut Config) {
        self.serve.lay_over(config);
        let janus = &mut config.janus;
        janus.enabled = true;
        if let Some(url) = &self.url {
            janus.url.clone_from(url);
        }
        janus.room = self.room.unwrap_or(janus.room);
        if let Some(pin) = &self.pin {
            janus.pin = Secret::from(pin.as_str());
        }
        if let Some(display) = &self.display {
            janus.display.clone_from(display);
        }
        janus.minicpm |= self.use_minicpm;
        if self.use_uncensored {
            config.llm.provider = llm::Provider::Services;
            config.llm.services.use_second = true;
        }
        if self.use_f5tts {
            config.tts.provider = tts::Providers(vec![tts::Provider::F5]);
        }
        if self.skip_tts {
            config.tts.provider = tts::Providers(vec![tts::Provider::None]);
        }
        if let Some(name) = &self.voice_category {
            config.tts.category.clone_from(name);
        } else if config.tts.category.is_empty() && tts::has_category(&config.tts, DEFAULT_CATEGORY) {
            config.tts.category = DEFAULT_CATEGORY.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Command};
    use super::*;

    fn laid_over(flags: &[&str]) -> Config {
        let cli = Cli::try_parse_from(["visavis", "janus"].iter().chain(flags)).unwrap();
        let Some(Command::Janus(janus)) = cli.command else { panic!("another command") };
        let mut config = Config::default();
        janus.lay_over(&mut config);
        config
    }

    #[test]
    fn flags_go_where_the_configuration_has_them() {
        let config =
            laid_over(&["--url", "ws://host:1", "--room", "7", "--pin", "42", "--display", "她", "--listen", "127.0.0.1:9"]);
        assert!(config.janus.enabled);
        assert_eq!((config.janus.url.as_str(), config.janus.room, config.janus.display.as_str()), ("ws://host:1", 7, "她"));
        assert_eq!(config.janus.pin.reveal(), Some("42"));
        assert_eq!(config.server.listen.port(), 9);
        assert_eq!(config.tts, tts::Config::default(), "a category that no catalogue has is not asked for");
    }

    #[test]
    fn seed_000s_flags_choose_who_answers_and_who_speaks() {
        assert_eq!(laid_over(&["--use-f5tts"]).tts.provider.0, [tts::Provider::F5]);
        assert_eq!(laid_over(&["--skip-tts", "--use-f5tts"]).tts.provider.0, [tts::Provider::None]);
        assert_eq!(laid_over(&["--voice-category", "御姐"]).tts.category, "御姐");
        assert!(laid_over(&["--use-minicpm"]).janus.minicpm);
        let llm = laid_over(&["--use-uncensored"]).llm;
        assert!(llm.provider == llm::Provider::Services && llm.services.use_second);
    }
}

//! The command line. `serve` is what runs when nothing is said.

mod avatar;
mod doctor;
mod janus;
mod livetalking;
mod phone;

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::{Args, CommandFactory, Parser, Subcommand};
use futures_util::StreamExt;
use garde::Validate;

use crate::config::{self, Config, LLM_CONFIG, TlsMode};
use crate::media::{AUDIO_RATE_HZ, write_wav};
use crate::models;
use crate::offline::{self, Film};
use crate::render::Catalogue;
use crate::server::{self, Server};
use crate::session::Minds;
use crate::speakable::Speakable;
use crate::{bench, llm, tts};

/// Wrong usage, as clap exits.
const EXIT_USAGE: u8 = 2;
/// A configuration that cannot be used (sysexits.h, `EX_CONFIG`).
const EXIT_CONFIG: u8 = 78;

/// A self-hosted digital-human streaming server: a talking avatar over WebRTC.
#[derive(Parser)]
#[command(name = "visavis", version, about, disable_help_subcommand = true)]
struct Cli {
    /// Configuration file [default: visavis.yaml if it exists]
    #[arg(short, long, global = true, value_name = "FILE", env = "VISAVIS_CONFIG")]
    config: Option<PathBuf>,
    /// Who answers, as seed 001's config.json says it [default: config.json if it exists]
    #[arg(long, global = true, value_name = "FILE", env = LLM_CONFIG)]
    llm_config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server (what happens without a command)
    Serve(Serve),
    /// Run it and take part in a Janus audiobridge room
    Janus(janus::Janus),
    /// Make an MP4 of an avatar saying a text, faster than real time
    Render(Render),
    /// Make a WAV of the voice saying a text
    Say(Say),
    /// Avatars
    #[command(subcommand)]
    Avatar(avatar::Avatar),
    /// Model files
    #[command(subcommand)]
    Models(Models),
    /// Configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Measure a running server: pacing, latency, capacity
    Bench(bench::Options),
    /// Say what works on this machine, what does not, and what to do
    Doctor(doctor::Doctor),
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

#[derive(Args, Default)]
struct Serve {
    /// Address of HTTP (tcp) and media (udp) [default: 0.0.0.0:8010]
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<SocketAddr>,
    /// Conversations at once [default: 8]
    #[arg(long, value_name = "N")]
    max_sessions: Option<usize>,
    #[command(flatten)]
    livetalking: livetalking::Flags,
}

impl Serve {
    /// Lays the flags over `config`.
    fn lay_over(&self, config: &mut Config) {
        config.server.listen = self.listen.unwrap_or(config.server.listen);
        config.server.max_sessions = self.max_sessions.unwrap_or(config.server.max_sessions);
    }
}

#[derive(Args)]
struct Render {
    /// Who speaks [default: the configured one]
    #[arg(short, long, default_value = "", hide_default_value = true)]
    avatar: String,
    /// What to say
    #[arg(short, long)]
    text: String,
    /// The file to write
    #[arg(short, long, value_name = "FILE.mp4")]
    output: PathBuf,
    /// Picks the idle movements: the same seed makes the same film
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Args)]
struct Say {
    /// What to say
    text: String,
    /// The file to write
    #[arg(short, long, value_name = "FILE.wav")]
    output: PathBuf,
}

#[derive(Subcommand)]
enum Models {
    /// Fetch the model files that are missing
    Fetch {
        /// Only these models of models.lock, e.g. "hibari" for English alone; all of them if none is named
        #[arg(value_name = "MODEL")]
        models: Vec<String>,
    },
    /// Make an ONNX file from a checkpoint of Wav2Lip or Ultralight, for avatars that were filmed
    Convert {
        /// wav2lip.pth, ultralight.pth, or whatever it is called
        #[arg(value_name = "FILE.pth")]
        from: PathBuf,
        /// The file to write [default: avatars.network, that is wav2lip.onnx in models.dir; beside an ultralight.pth]
        #[arg(short, long, value_name = "FILE.onnx")]
        output: Option<PathBuf>,
    },
    /// Check that the model files are there and whole
    Check {
        /// Only these models of models.lock
        #[arg(value_name = "MODEL")]
        models: Vec<String>,
    },
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Check the configuration, the avatars and the models; bind nothing
    Check,
    /// Print the configuration in force, secrets hidden
    Show,
}

/// Runs the command line. The result is the process's exit code.
pub fn run() -> u8 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { EXIT_USAGE } else { 0 };
        }
    };
    let theirs = match &cli.command {
        Some(Command::Serve(flags)) => flags.livetalking.given(),
        _ => serde_json::Map::new(),
    };
    // LiveTalking's way to ask for no file.
    let file = cli.config.filter(|file| !file.as_os_str().is_empty());
    let loaded = config::environment()
        .and_then(|environment| Config::load_with(file.as_deref(), cli.llm_config.as_deref(), &environment, &theirs));
    let mut config = match loaded {
        Ok(config) => config,
        Err(error) => {
            complain(&format!("configuration: {error}"));
            return EXIT_CONFIG;
        }
    };
    let command = cli.command.unwrap_or(Command::Serve(Serve::default()));
    match &command {
        Command::Serve(flags) => flags.lay_over(&mut config),
        Command::Janus(flags) => flags.lay_over(&mut config),
        _ => {}
    }
    if let Err(report) = config.validate() {
        complain(&format!("configuration: {}", report.to_string().trim_end()));
        return EXIT_CONFIG;
    }
    let speaks = matches!(command, Command::Serve(_) | Command::Janus(_) | Command::Render(_) | Command::Say(_));
    if let Some(error) = speaks.then(|| tts::check(&config.tts).err()).flatten() {
        complain(&format!("configuration: {error}"));
        return EXIT_CONFIG;
    }
    match execute(command, config) {
        Ok(code) => code,
        Err(error) => {
            complain(&format!("{error:#}"));
            1
        }
    }
}

fn execute(command: Command, config: Config) -> anyhow::Result<u8> {
    match command {
        Command::Serve(_) | Command::Janus(_) => runtime()?.block_on(serve(config))?,
        Command::Render(render) => runtime()?.block_on(film(render, &config))?,
        Command::Say(say) => runtime()?.block_on(wav(say, &config))?,
        Command::Avatar(command) => command.run(&config)?,
        Command::Models(Models::Fetch { models }) => models::fetch(&config.models.dir, &models)?,
        Command::Models(Models::Convert { from, output }) => {
            let usual = |kind| match kind {
                models::NetworkKind::Wav2Lip => config.wardrobe(false).network.graph,
                models::NetworkKind::Ultralight => from.with_extension("onnx"),
            };
            let made = models::convert(&from, |kind| output.unwrap_or_else(|| usual(kind)))?;
            let (side, millions) = (made.side, made.parameters as f64 / 1e6);
            say(&format!("{}: faces of {side}x{side}, {millions:.1} million parameters", made.path.display()));
        }
        Command::Models(Models::Check { models }) => {
            models::verify(&config.models.dir, &models)?;
            say("the model files are there and whole");
        }
        Command::Config(ConfigCommand::Show) => say(config.show().trim_end()),
        Command::Config(ConfigCommand::Check) => return Ok(check(&config)),
        Command::Doctor(doctor) => return runtime()?.block_on(doctor::run(doctor, &config)),
        Command::Bench(options) => runtime()?.block_on(bench::run(options))?,
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "visavis", &mut std::io::stdout());
        }
    }
    Ok(0)
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the async runtime")
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let advertise = config.webrtc.advertise.clone();
    let sessions = config.server.max_sessions;
    let has_tls = config.tls.mode != TlsMode::None;
    let server = Server::load(config).await?;
    let address = server.address()?;
    let host = if address.ip().is_unspecified() { "localhost".to_owned() } else { address.ip().to_string() };
    say(&format!("visavis {} is ready: http://{host}:{}/", env!("CARGO_PKG_VERSION"), address.port()));
    if let Some(url) = has_tls.then(|| phone::url(address)).flatten() {
        say(&format!("for a phone in this network: {url}"));
        if let (true, Some(picture)) = (std::io::stdout().is_terminal(), phone::picture(&url)) {
            say(&picture);
        }
    }
    tracing::info!(%address, sessions, ?advertise, "ready");
    server.run().await?;
    Ok(())
}

async fn film(render: Render, config: &Config) -> anyhow::Result<()> {
    let Render { avatar, text, output, seed } = render;
    let text = crate::session::check_text(&text)?;
    let (dir, tts, wardrobe) = (config.models.dir.clone(), config.tts.clone(), config.wardrobe(false));
    let voice = tokio::task::spawn_blocking(move || server::voice(&tts, &dir));
    let catalogue = tokio::task::spawn_blocking(move || Catalogue::load(&wardrobe));
    let character = catalogue.await??.get(&avatar).with_context(|| format!("avatar \"{avatar}\""))?;
    let tools = Arc::new(llm::Toolbox::new(&config.llm.tools)?);
    let minds = Minds { chat: llm::build(&config.llm)?, voice: voice.await??, tools };
    let bitrate = config.webrtc.bitrate.max.0;
    let film = Film { character, text, output: output.clone(), seed, bitrate };
    let rendered = offline::render(film, minds).await?;
    let (film, took) = (rendered.film.as_secs_f64(), rendered.took.as_secs_f64());
    say(&format!("{}: {film:.2} s of film in {took:.2} s ({:.1}x real time)", output.display(), film / took));
    Ok(())
}

async fn wav(say_: Say, config: &Config) -> anyhow::Result<()> {
    let text = crate::session::check_text(&say_.text)?;
    let (dir, tts) = (config.models.dir.clone(), config.tts.clone());
    let voice = tokio::task::spawn_blocking(move || server::voice(&tts, &dir)).await??;
    let mut splitter = crate::sentence::SentenceSplitter::new();
    let mut clauses = splitter.push(&text);
    clauses.extend(splitter.flush());
    let mut speakable = Speakable::default();
    let mut pcm = Vec::new();
    for clause in clauses {
        let mut speech = voice.speak(speakable.clause(&clause));
        while let Some(piece) = speech.next().await {
            pcm.extend(piece?.pcm);
        }
    }
    if pcm.is_empty() {
        bail!("there is nothing in this text that the voice can say");
    }
    std::fs::write(&say_.output, write_wav(&pcm)).with_context(|| say_.output.display().to_string())?;
    say(&format!("{}: {:.2} s", say_.output.display(), pcm.len() as f64 / f64::from(AUDIO_RATE_HZ)));
    Ok(())
}

/// What is wrong with the configuration, the avatars and the models.
fn faults(config: &Config) -> Vec<String> {
    [
        tts::check(&config.tts).err().map(|error| error.to_string()),
        Catalogue::load(&config.wardrobe(true)).err().map(|error| error.to_string()),
        models::verify(&config.models.dir, &config.tts.models()).err().map(|error| error.to_string()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn check(config: &Config) -> u8 {
    let faults = faults(config);
    if faults.is_empty() {
        say("the configuration, the avatars and the models are in order");
        return 0;
    }
    faults.iter().for_each(|fault| complain(fault));
    EXIT_CONFIG
}

/// To whoever ran the command.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// What went wrong, in one place and one form.
fn complain(line: &str) {
    let prefix = if std::io::stderr().is_terminal() { "\x1b[31merror:\x1b[0m" } else { "error:" };
    let _ = writeln!(std::io::stderr(), "{prefix} {line}");
}

/// What the tests of the configuration's manual share with the command line.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn livetalkings_command_line_is_taken_as_it_is() {
        let line = "visavis serve --transport rtcpush --push_url http://host/whip --model wav2lip --avatar_id anna --max_session 3 \
                    --REF_FILE ref.wav --batch_size 8 -l 10 -r 10 --listenport 8011 -c theirs.yaml";
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        let Some(Command::Serve(serve)) = cli.command else { panic!("no serve") };
        let given = serve.livetalking.given();
        let expected = serde_json::json!({
            "transport": "rtcpush", "push_url": "http://host/whip", "model": "wav2lip", "avatar_id": "anna", "max_session": "3",
            "REF_FILE": "ref.wav", "batch_size": "8", "l": "10", "r": "10", "listenport": "8011",
        });
        assert_eq!(serde_json::Value::Object(given), expected);
    }

    #[test]
    fn the_help_fits_a_screen() {
        Cli::command().debug_assert();
        let help = Cli::command().render_help().to_string();
        assert!(help.lines().count() <= 24, "{help}");
    }
}

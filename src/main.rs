//! `visavis`: see `visavis --help`.

use std::io::IsTerminal;
use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

/// What is logged unless `VISAVIS_LOG` says otherwise. The WebRTC stack logs every stray packet as an error; what matters
/// of it is counted in /metrics.
const LOG: &str = "visavis=info,poem=warn";

fn main() -> ExitCode {
    let asked = std::env::var("VISAVIS_LOG").unwrap_or_else(|_| LOG.to_owned());
    // A bare level means ours: `VISAVIS_LOG=debug`.
    let asked = if asked.parse::<tracing::Level>().is_ok() { format!("visavis={asked}") } else { asked };
    let filter = EnvFilter::try_new(asked).unwrap_or_else(|_| EnvFilter::new(LOG));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    ffmpeg_next::util::log::set_level(ffmpeg_next::util::log::Level::Error);
    ExitCode::from(visavis::cli::run())
}

//! `visavis`: see `visavis --help`.

use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    // The WebRTC stack logs every stray packet as an error; what matters of it is counted in /metrics.
    let filter =
        EnvFilter::try_from_env("VISAVIS_LOG").unwrap_or_else(|_| EnvFilter::new("warn,visavis=info,webrtc=off,rtc=off"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    ffmpeg_next::util::log::set_level(ffmpeg_next::util::log::Level::Error);
    ExitCode::from(visavis::cli::run())
}

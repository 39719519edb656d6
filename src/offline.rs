//! The same path without a network: text in, an MP4 file out, faster than real time (`visavis render`).
//!
//! The player runs with its throttle off; its frames go to a muxer instead of viewers.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::codec::VideoCodec;
use crate::media::{AudioFrame, Mark, TurnId};
use crate::render::{Character, Item};
use crate::session::{Minds, Speaker, TurnError, Utterance, run_turn};
use crate::track::{Bitrate, Encoded, Ended, HumanPlayer, Layout, MediaSink, Mp4Error, Mp4Writer, Setup, Throttle};

/// Rest before the first and after the last word: 400 ms.
const REST_FRAMES: usize = 20;

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text could not be said.
    #[error(transparent)]
    Turn(#[from] TurnError),
    /// The file could not be written.
    #[error(transparent)]
    Mp4(#[from] Mp4Error),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
    /// The player failed.
    #[error("rendering failed: {0:?}")]
    Player(Ended),
}

/// What was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// How long the film is.
    pub film: Duration,
    /// How long it took to make.
    pub took: Duration,
    /// Clauses in it.
    pub clauses: usize,
}

/// What to make.
pub struct Film {
    /// Who speaks.
    pub character: Character,
    /// What.
    pub text: String,
    /// Where to.
    pub output: PathBuf,
    /// The idle life's seed: the same seed makes the same film.
    pub seed: u64,
    /// Of the picture.
    pub bitrate: u32,
}

/// Makes a film of `character` saying `text`.
pub async fn render(film: Film, minds: Minds) -> Result<Rendered, Error> {
    let began = Instant::now();
    let Film { character, text, output, seed, bitrate } = film;
    let (played_tx, mut played) = mpsc::channel(1_000);
    let bitrate = Bitrate { min: bitrate, start: bitrate, max: bitrate };
    let setup = Setup { name: "film".into(), face: character.face(seed), throttle: Throttle::Off, bitrate };
    let (player, ended) = HumanPlayer::start(setup, played_tx)?;
    let sink = Arc::new(Sink { writer: Mutex::new(State::Waiting(output.clone())) });
    player.add_sink(Arc::clone(&sink) as Arc<dyn MediaSink>);
    let player = Arc::new(player);
    let counting = tokio::spawn(async move {
        let mut clauses = 0;
        while let Some(played) = played.recv().await {
            clauses += usize::from(matches!(played.mark, Mark::Clause { .. }));
        }
        clauses
    });
    rest(&player, TurnId(1)).await;
    let speaker = Arc::new(Speaker::new(Arc::clone(&player), TurnId(2)));
    let said = run_turn(speaker, Utterance::Echo(text), minds).await;
    rest(&player, TurnId(3)).await;
    drop(player);
    match ended.await {
        Ended::Finished => {}
        ended => return Err(Error::Player(ended)),
    }
    let film = sink.finish()?;
    if let Err(error) = said {
        let _ = std::fs::remove_file(&output);
        return Err(error.into());
    }
    Ok(Rendered { film, took: began.elapsed(), clauses: counting.await.unwrap_or_default() })
}

async fn rest(player: &HumanPlayer, turn: TurnId) {
    for _ in 0..REST_FRAMES {
        player.say(turn, Item::Audio(AudioFrame::SILENCE)).await;
    }
    player.say(turn, Item::End).await;
}

/// Writes what the encoder makes; the first fault is kept for the end.
struct Sink {
    writer: Mutex<State>,
}

enum State {
    /// Until the first picture tells its size.
    Waiting(PathBuf),
    Writing(Mp4Writer),
    Failed(Mp4Error),
}

impl Sink {
    fn finish(&self) -> Result<Duration, Error> {
        let mut state = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *state, State::Waiting(PathBuf::new())) {
            State::Writing(writer) => Ok(writer.finish()?),
            State::Failed(error) => Err(error.into()),
            State::Waiting(path) => Err(Mp4Error::Empty { path }.into()),
        }
    }
}

impl MediaSink for Sink {
    fn video_codec(&self) -> Option<VideoCodec> {
        Some(VideoCodec::H264)
    }

    fn push(&self, frame: &Encoded) {
        let mut state = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Waiting(path) = &*state {
            *state = match create(path, frame) {
                Some(Ok(writer)) => State::Writing(writer),
                Some(Err(error)) => State::Failed(error),
                None => return,
            };
        }
        if let State::Writing(writer) = &mut *state
            && let Err(error) = writer.write(frame)
        {
            *state = State::Failed(error);
        }
    }

    fn is_closed(&self) -> bool {
        false
    }
}

/// A file begins with its first picture.
fn create(path: &Path, frame: &Encoded) -> Option<Result<Mp4Writer, Mp4Error>> {
    match frame {
        Encoded::Video { data, size: (width, height), .. } => {
            Some(Mp4Writer::create(path, Layout::Whole, data, *width, *height))
        }
        Encoded::Audio { .. } => None,
    }
}

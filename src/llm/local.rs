//! The `local` provider of seed 001: canned answers, one after another, streamed in small pieces as a model would.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt};
use garde::Validate;
use serde::{Deserialize, Serialize};

use super::{ChatModel, Delta, Error, Prompt};

/// Between two pieces: fast for a model, yet many pieces, so that whatever reads them is used to pieces.
const PACE: Duration = Duration::from_millis(4);
/// Characters of a piece: about a token, in any script.
const PIECE: usize = 4;

/// `llm.local:` in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Said in turn.
    #[garde(length(min = 1, max = 1_000), inner(length(min = 1, max = 4_000)))]
    pub responses: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        let responses = [
            "Hello, it is good to see you. I am the built-in answer of this server, so I always say one of a few things.",
            "That is a good question. To get a real answer, connect a language model in the configuration. It takes one line.",
            "I heard you. My voice and my face are made on this machine, and nothing that you type leaves it.",
            "You can interrupt me at any time. Press escape, or just ask something else.",
            "My lips follow every sound that I make. Watch them: maybe, five, move, wonderful, butterfly.",
        ];
        Self { responses: responses.map(str::to_owned).to_vec() }
    }
}

/// Answers from a list.
pub struct Local {
    responses: Arc<[String]>,
    next: AtomicUsize,
}

impl Local {
    /// `config.responses`, in turn, for all sessions together.
    pub fn new(config: &Config) -> Self {
        Self { responses: config.responses.clone().into(), next: AtomicUsize::new(0) }
    }
}

impl ChatModel for Local {
    fn reply(&self, _: Prompt) -> BoxStream<'static, Result<Delta, Error>> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.responses.len();
        let text: Vec<char> = self.responses[turn].chars().collect();
        let pieces: Vec<String> = text.chunks(PIECE).map(|piece| piece.iter().collect()).collect();
        stream::iter(pieces)
            .then(|piece| async move {
                tokio::time::sleep(PACE).await;
                Ok(Delta::Text(piece))
            })
            .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_comes_in_pieces_that_join_to_a_configured_response() {
        let config = Config { responses: vec!["One two.".into(), "很高兴为您服务。".into()] };
        let local = Local::new(&config);
        let text = |word: &str| Delta::Text(word.to_owned());
        let first: Vec<Delta> = local.reply(Prompt::default()).map(Result::unwrap).collect().await;
        assert_eq!(first, [text("One "), text("two.")]);
        let second: Vec<Delta> = local.reply(Prompt::default()).map(Result::unwrap).collect().await;
        assert_eq!(second, [text("很高兴为"), text("您服务。")]);
    }
}

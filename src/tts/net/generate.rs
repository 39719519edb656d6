//! A stream of speech from code that reads from top to bottom.

use std::future::ready;

use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::mpsc;

use crate::media::{Speech, Word};
use crate::tts::Error;

/// Where a voice puts what it has.
pub(in crate::tts) struct Out(mpsc::Sender<Result<Speech, Error>>);

impl Out {
    /// Hands on `pcm`, 16 kHz, once the listener has taken what came before it. Nothing is handed on as nothing.
    pub(in crate::tts) async fn sound(&self, pcm: Vec<i16>) {
        self.speech(Speech { pcm, ..Speech::default() }).await;
    }

    /// Hands on `pcm` and the `words` that are timed from its first sample.
    pub(in crate::tts) async fn timed(&self, pcm: Vec<i16>, words: Vec<Word>) {
        self.speech(Speech { pcm, words, phonemes: Vec::new() }).await;
    }

    /// Hands on a piece as it is.
    pub(in crate::tts) async fn speech(&self, speech: Speech) {
        if !speech.pcm.is_empty() || !speech.words.is_empty() {
            // The listener and the voice are the same stream: whoever drops one drops both.
            let _ = self.0.send(Ok(speech)).await;
        }
    }
}

/// Runs `work` as the stream is polled, in the same task: dropping the stream drops it, and with it its connection.
pub(in crate::tts) fn generate<F, W>(work: W) -> BoxStream<'static, Result<Speech, Error>>
where
    W: FnOnce(Out) -> F,
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    let (sender, pieces) = mpsc::channel(1);
    let work = work(Out(sender.clone()));
    // A failure goes the same way as the sound, so that it cannot overtake it.
    let run = async move {
        if let Err(error) = work.await {
            let _ = sender.send(Err(error)).await;
        }
    };
    let pieces = stream::unfold(pieces, async |mut pieces| pieces.recv().await.map(|piece| (piece, pieces)));
    stream::select(pieces, stream::once(run).filter_map(|()| ready(None))).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tts::net::Fault;

    #[tokio::test]
    async fn a_failure_comes_after_the_sound_before_it() {
        let mut speech = generate(|out| async move {
            out.sound(vec![1]).await;
            out.sound(Vec::new()).await;
            out.sound(vec![2]).await;
            Err(Error::Network { voice: "test", fault: Fault::Cut })
        });
        assert_eq!(speech.next().await.unwrap().unwrap().pcm, [1]);
        assert_eq!(speech.next().await.unwrap().unwrap().pcm, [2]);
        assert!(speech.next().await.unwrap().is_err());
        assert!(speech.next().await.is_none());
    }
}

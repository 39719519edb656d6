//! A network that many share: what they ask at about the same time is computed in one run.
//!
//! In: questions from any thread, each good until its time is up. Out: answers. A thread of its own owns the network, takes
//! all that waits, drops what nobody waits for any more, and runs the rest together.

use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use tracing::{error, warn};

use super::Error;
use crate::metrics;

/// Questions that may wait. Full means that the network is far too slow: the newest is not asked, and counted.
const QUESTION_QUEUE: usize = 256;

/// Most questions of one run.
const MAX_BATCH: usize = 16;

/// A run may take this long in all, if it is of more than one question: whoever waits, waits for the whole run.
const RUN_BUDGET: Duration = Duration::from_millis(80);

/// How long an answer is of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Live: after this, whoever asked goes on without it.
    For(Duration),
    /// Offline, nothing is due.
    Forever,
}

/// The network's end of a question.
struct Question<I, O> {
    input: I,
    due: Option<Instant>,
    answer: Sender<O>,
}

/// What was asked and is not known yet.
pub struct Answer<O> {
    answer: Receiver<O>,
    due: Option<Instant>,
}

impl<O> Answer<O> {
    /// Waits for it as long as it is of use. Once, whoever comes later looks.
    pub fn wait(&self) -> Option<O> {
        match self.due {
            Some(due) => self.answer.recv_deadline(due).ok(),
            None => self.answer.recv().ok(),
        }
    }

    /// It, if it is there by now.
    pub fn look(&self) -> Option<O> {
        self.answer.try_recv().ok()
    }
}

/// A network and its thread; both end when this is dropped.
pub struct Shared<I, O> {
    questions: Option<Sender<Question<I, O>>>,
    thread: Option<JoinHandle<()>>,
    patience: Patience,
}

impl<I: Send + 'static, O: Send + 'static> Shared<I, O> {
    /// `run` answers several questions at once, in their order. `name` is that of the thread and of the metrics.
    pub fn start(
        name: &'static str,
        patience: Patience,
        run: impl FnMut(&[I]) -> Result<Vec<O>, Error> + Send + 'static,
    ) -> std::io::Result<Self> {
        let (questions, asked) = bounded(QUESTION_QUEUE);
        let thread = Builder::new().name(name.into()).spawn(move || answer_all(name, &asked, run))?;
        Ok(Self { questions: Some(questions), thread: Some(thread), patience })
    }

    /// Asks. The answer comes later, or never.
    pub fn ask(&self, input: I) -> Answer<O> {
        let (sender, answer) = bounded(1);
        let due = match self.patience {
            Patience::For(time) => Some(Instant::now() + time),
            Patience::Forever => None,
        };
        let question = Question { input, due, answer: sender };
        let asked = self.questions.as_ref().is_some_and(|questions| match due {
            Some(_) => questions.try_send(question).is_ok(),
            None => questions.send(question).is_ok(),
        });
        if !asked {
            metrics::network_late(1);
        }
        Answer { answer, due }
    }
}

impl<I, O> Drop for Shared<I, O> {
    fn drop(&mut self) {
        self.questions = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer_all<I, O>(
    name: &'static str,
    asked: &Receiver<Question<I, O>>,
    mut run: impl FnMut(&[I]) -> Result<Vec<O>, Error>,
) {
    // What one question costs, slowly averaged.
    let mut cost = Duration::ZERO;
    let mut failed = false;
    // What waits, the oldest first.
    let mut waiting: Vec<Question<I, O>> = Vec::new();
    loop {
        if waiting.is_empty() {
            match asked.recv() {
                Ok(first) => waiting.push(first),
                Err(_) => return,
            }
        }
        waiting.extend(asked.try_iter());
        let (now, count) = (Instant::now(), waiting.len());
        waiting.retain(|question| question.due.is_none_or(|due| now < due));
        metrics::network_late((count - waiting.len()) as u64);
        let together = (RUN_BUDGET.as_nanos() / cost.as_nanos().max(1)).clamp(1, MAX_BATCH as u128) as usize;
        // Of more than there is time for, the newest: an answer that is late is of little use, and late for all is worse.
        // What is offline is never late, and comes in its order.
        let live = waiting.last().is_some_and(|question| question.due.is_some());
        let batch: Vec<_> = match waiting.len().saturating_sub(together) {
            older if live => waiting.split_off(older),
            _ => waiting.drain(..waiting.len().min(together)).collect(),
        };
        if batch.is_empty() {
            continue;
        }
        let (inputs, answers): (Vec<_>, Vec<_>) = batch.into_iter().map(|q| (q.input, q.answer)).unzip();
        let began = Instant::now();
        match run(&inputs) {
            Ok(outputs) => {
                // Whoever asked may have gone.
                answers.iter().zip(outputs).for_each(|(answer, output)| drop(answer.send(output)));
                let each = began.elapsed() / inputs.len() as u32;
                cost = if cost.is_zero() { each } else { (cost * 7 + each) / 8 };
                metrics::network_run(name, inputs.len(), began.elapsed());
            }
            Err(error) if failed => warn!(%error, name, "a run failed"),
            Err(error) => {
                failed = true;
                error!(%error, name, "a run failed: its answers are missing");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Doubles, and tells how many came together; the first run waits until it is let go.
    fn doubling(patience: Patience) -> (Shared<u32, u32>, Sender<()>, Receiver<usize>) {
        let (go, held) = bounded(1);
        let (sizes, seen) = bounded(100);
        let run = move |inputs: &[u32]| {
            sizes.send(inputs.len())?;
            if inputs[0] == 0 {
                held.recv()?;
            }
            Ok(inputs.iter().map(|n| n * 2).collect())
        };
        (Shared::start("test", patience, run).unwrap(), go, seen)
    }

    #[test]
    fn what_waits_is_answered_in_one_run_each_with_its_own() {
        let (network, go, sizes) = doubling(Patience::Forever);
        let answers: Vec<_> = (0..9).map(|n| network.ask(n)).collect();
        go.send(()).unwrap();
        let found: Vec<_> = answers.into_iter().map(|answer| answer.wait().unwrap()).collect();
        assert_eq!(found, [0, 2, 4, 6, 8, 10, 12, 14, 16]);
        let sizes: Vec<_> = sizes.try_iter().collect();
        assert!(sizes.len() <= 3 && sizes.iter().sum::<usize>() == 9, "{sizes:?}");
    }

    #[test]
    fn nobody_waits_longer_than_the_answer_is_of_use_and_it_is_not_computed() {
        let (network, go, sizes) = doubling(Patience::For(Duration::from_millis(30)));
        let began = Instant::now();
        let held = network.ask(0);
        assert_eq!(sizes.recv(), Ok(1));
        let stale = network.ask(1);
        assert_eq!((held.wait(), stale.wait()), (None, None));
        assert!(began.elapsed() < Duration::from_secs(5));
        go.send(()).unwrap();
        let fresh = network.ask(2);
        assert!(fresh.wait().is_none_or(|answer| answer == 4));
        drop(network);
        assert!(sizes.try_iter().sum::<usize>() <= 1, "the stale question was answered");
    }

    #[test]
    fn of_more_than_there_is_time_for_the_newest_is_answered_first() {
        let (go, held) = bounded(9);
        let (runs, seen) = bounded(9);
        let run = move |inputs: &[u32]| {
            runs.send(inputs.to_vec())?;
            held.recv()?;
            // So slow that it takes one at a time.
            std::thread::sleep(RUN_BUDGET);
            Ok(inputs.to_vec())
        };
        let network = Shared::start("test", Patience::For(Duration::from_mins(10)), run).unwrap();
        go.send(()).unwrap();
        assert_eq!(network.ask(0).wait(), Some(0));
        let busy = network.ask(1);
        assert_eq!((seen.recv(), seen.recv()), (Ok(vec![0]), Ok(vec![1])));
        let (old, new) = (network.ask(2), network.ask(3));
        (0..3).for_each(|_| go.send(()).unwrap());
        assert_eq!((busy.wait(), old.wait(), new.wait()), (Some(1), Some(2), Some(3)));
        assert_eq!((seen.recv(), seen.recv()), (Ok(vec![3]), Ok(vec![2])));
    }

    #[test]
    fn a_run_that_fails_costs_its_answers_and_no_others() {
        let run = |inputs: &[u32]| if inputs.contains(&7) { Err("seven".into()) } else { Ok(inputs.to_vec()) };
        let network = Shared::start("test", Patience::Forever, run).unwrap();
        assert_eq!(network.ask(7).wait(), None);
        assert_eq!(network.ask(8).wait(), Some(8));
    }
}

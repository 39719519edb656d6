//! Threads that the networks run on.
//!
//! A run uses one thread: encoders and other runs fill a small machine, and two threads on busy cores
//! are slower than one. Each run borrows a pool of its own, so that two of them do not queue for one.

use std::sync::{Arc, Mutex};

use rten::{RunOptions, ThreadPool};

/// Idle pools of one thread each.
#[derive(Default)]
pub(super) struct Threads {
    /// Guards nothing but this list.
    idle: Mutex<Vec<Arc<ThreadPool>>>,
}

impl Threads {
    /// Gives `run` the options to run a network with, on a thread that no other run has.
    pub(super) fn with<T>(&self, run: impl FnOnce(RunOptions) -> T) -> T {
        let idle = || self.idle.lock().expect("nothing that holds this lock can panic");
        let borrowed = idle().pop();
        let pool = borrowed.unwrap_or_else(|| Arc::new(ThreadPool::with_num_threads(1)));
        let result = run(RunOptions::default().with_thread_pool(Some(pool.clone())));
        idle().push(pool);
        result
    }
}

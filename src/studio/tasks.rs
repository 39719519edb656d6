//! Avatars that are made while the server runs: one after the other, on one thread.
//!
//! In: orders. Out: how each of them goes, for whoever asks and for [`super::hook`]. Tasks live in memory: who starts the
//! server again finds the avatars and not the tasks.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use serde::Serialize;
use tracing::{info, warn};

use super::{Order, Report, make};

/// Tasks that wait; one more is refused.
const TASK_QUEUE: usize = 16;

/// Tasks that are remembered; the oldest of those that have ended goes first.
const KEPT_TASKS: usize = 100;

/// Where uploads lie until they are read, in the folder of avatars: a name that no avatar can have.
const UPLOADS: &str = ".uploads";

/// How far a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Waits for its turn.
    Pending,
    /// Is being made.
    Running,
    /// The avatar is there.
    Completed,
    /// There will be none.
    Failed,
}

/// A task, as clients see it: `LiveTalking`'s object, and the report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Task {
    /// Its id.
    pub task_id: String,
    /// Whose kind of avatar: `wav2lip`.
    pub model_type: &'static str,
    /// The avatar.
    pub avatar_id: String,
    /// How far it is.
    pub status: Status,
    /// The same, from 0 to 100.
    pub progress: u8,
    /// Why it failed.
    pub error_msg: Option<String>,
    /// Who is told.
    pub notify_url: Option<String>,
    /// When it began, in seconds since 1970.
    pub start_time: Option<f64>,
    /// When it ended.
    pub end_time: Option<f64>,
    /// How long it took, in seconds.
    pub duration: Option<f64>,
    /// How well the avatar will look.
    pub report: Option<Report>,
}

/// Why a task is not taken, or not deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Enough are waiting.
    #[error("{TASK_QUEUE} avatars are waiting to be made: try again later")]
    Busy,
    /// The id is taken.
    #[error("there is a task of that id already")]
    Taken,
    /// There is none.
    #[error("there is no such task")]
    Unknown,
    /// It has begun.
    #[error("only a task that is pending can be deleted")]
    Begun,
}

/// All tasks, and the thread that works on them.
pub struct Tasks {
    shared: Arc<Shared>,
    queue: Option<Sender<String>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    /// Newest last.
    jobs: Mutex<VecDeque<Job>>,
    stop: AtomicBool,
    made: Box<dyn Fn(&str) + Send + Sync>,
    changed: Box<dyn Fn(Task) + Send + Sync>,
}

struct Job {
    task: Task,
    order: Order,
    /// The file is an upload, and goes with the task.
    upload: bool,
}

impl Job {
    fn discard_upload(&self) {
        if self.upload {
            // What stays behind goes at the next start.
            let _ = std::fs::remove_file(&self.order.source);
        }
    }
}

impl Tasks {
    /// Starts the thread. `avatars` is the folder where avatars come to lie; `made` is called with the id of each, before its
    /// task ends, and may take its time; `changed` hears of each task that begins to wait, begins and ends, and must not wait.
    pub fn start(
        avatars: &Path,
        made: impl Fn(&str) + Send + Sync + 'static,
        changed: impl Fn(Task) + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        // Of a server that was killed.
        let _ = std::fs::remove_dir_all(uploads(avatars));
        let jobs = Mutex::new(VecDeque::new());
        let shared =
            Arc::new(Shared { jobs, stop: AtomicBool::new(false), made: Box::new(made), changed: Box::new(changed) });
        let (queue, work) = bounded(TASK_QUEUE);
        let worker = Arc::clone(&shared);
        let thread = Builder::new().name("studio".into()).spawn(move || worker.run(&work))?;
        Ok(Self { shared, queue: Some(queue), thread: Some(thread) })
    }

    /// Takes an order. Its source is removed with the task if it is an `upload`, also when it is refused.
    pub fn add(&self, id: String, order: Order, upload: bool, notify_url: Option<String>) -> Result<(), Refused> {
        let task = Task {
            task_id: id.clone(),
            model_type: "wav2lip",
            avatar_id: order.id.clone(),
            status: Status::Pending,
            progress: 0,
            error_msg: None,
            notify_url,
            start_time: None,
            end_time: None,
            duration: None,
            report: None,
        };
        let job = Job { task: task.clone(), order, upload };
        let mut jobs = self.shared.jobs();
        if jobs.iter().any(|job| job.task.task_id == id) {
            job.discard_upload();
            return Err(Refused::Taken);
        }
        // Told before the thread can tell that it has begun; the thread takes the lock first.
        match self.queue.as_ref().map(|queue| queue.try_send(id)) {
            Some(Ok(())) => {}
            None | Some(Err(TrySendError::Full(_) | TrySendError::Disconnected(_))) => {
                job.discard_upload();
                return Err(Refused::Busy);
            }
        }
        jobs.push_back(job);
        while jobs.len() > KEPT_TASKS {
            let ended = jobs.iter().position(|job| matches!(job.task.status, Status::Completed | Status::Failed));
            let Some(oldest) = ended else { break };
            jobs.remove(oldest);
        }
        (self.shared.changed)(task);
        Ok(())
    }

    /// How the task of that id goes.
    pub fn task(&self, id: &str) -> Option<Task> {
        self.shared.jobs().iter().find(|job| job.task.task_id == id).map(|job| job.task.clone())
    }

    /// All of them, newest first.
    pub fn all(&self) -> Vec<Task> {
        self.shared.jobs().iter().rev().map(|job| job.task.clone()).collect()
    }

    /// Forgets a task that has not begun.
    pub fn delete(&self, id: &str) -> Result<(), Refused> {
        let mut jobs = self.shared.jobs();
        let at = jobs.iter().position(|job| job.task.task_id == id).ok_or(Refused::Unknown)?;
        if jobs[at].task.status != Status::Pending {
            return Err(Refused::Begun);
        }
        // The thread finds nothing under its id.
        if let Some(job) = jobs.remove(at) {
            job.discard_upload();
        }
        Ok(())
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn jobs(&self) -> MutexGuard<'_, VecDeque<Job>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, work: &Receiver<String>) {
        for id in work {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let began = now();
            let Some(order) = self.change(&id, |task| {
                task.status = Status::Running;
                task.start_time = Some(began);
            }) else {
                continue;
            };
            self.tell(&id);
            let mut percent = 0;
            let mut progress = |done: f32| {
                let reached = (done * 100.0) as u8;
                if reached > percent {
                    percent = reached;
                    self.change(&id, |task| task.progress = reached.min(99));
                }
            };
            let made = make(&order, &mut progress, &self.stop);
            match &made {
                Ok(_) => {
                    (self.made)(&order.id);
                    info!(avatar = order.id, took_s = now() - began, "an avatar was made");
                }
                Err(error) => warn!(avatar = order.id, %error, "an avatar could not be made"),
            }
            self.change(&id, |task| {
                let ended = now();
                (task.end_time, task.duration) = (Some(ended), Some(ended - began));
                match made {
                    Ok(report) => (task.status, task.progress, task.report) = (Status::Completed, 100, Some(report)),
                    Err(error) => (task.status, task.error_msg) = (Status::Failed, Some(error.to_string())),
                }
            });
            if let Some(job) = self.jobs().iter().find(|job| job.task.task_id == id) {
                job.discard_upload();
            }
            self.tell(&id);
        }
    }

    /// Changes a task, if it has not been deleted; what was ordered.
    fn change(&self, id: &str, change: impl FnOnce(&mut Task)) -> Option<Order> {
        let mut jobs = self.jobs();
        let job = jobs.iter_mut().find(|job| job.task.task_id == id)?;
        change(&mut job.task);
        Some(job.order.clone())
    }

    fn tell(&self, id: &str) {
        let task = self.jobs().iter().find(|job| job.task.task_id == id).map(|job| job.task.clone());
        if let Some(task) = task {
            (self.changed)(task);
        }
    }
}

/// Where uploads lie.
pub fn uploads(avatars: &Path) -> PathBuf {
    avatars.join(UPLOADS)
}

/// Seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "people compare it with their clocks")]
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use tempfile::tempdir;

    use super::*;
    use crate::studio::Pads;

    fn order(dir: &Path, source: PathBuf) -> Order {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
        Order {
            source,
            id: "anna".into(),
            avatars: dir.into(),
            shipped: dir.into(),
            models,
            face_side: 96,
            pads: Pads::default(),
            smooth: true,
            still: true,
            replace: false,
        }
    }

    #[test]
    fn a_task_goes_from_pending_to_its_end_and_its_upload_with_it() {
        let dir = tempdir().unwrap();
        let (told, hear) = bounded(16);
        let tasks =
            Tasks::start(dir.path(), |id| assert_eq!(id, "anna"), move |task| told.send(task.status).unwrap()).unwrap();
        let next = || hear.recv_timeout(std::time::Duration::from_mins(1)).unwrap();
        let poster = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/avatars/mira/poster.webp");
        let upload = dir.path().join("upload");
        std::fs::copy(poster, &upload).unwrap();
        tasks.add("one".into(), order(dir.path(), upload.clone()), true, None).unwrap();
        assert_eq!([next(), next(), next()], [Status::Pending, Status::Running, Status::Completed]);
        assert!(dir.path().join("anna/coords.pkl").is_file() && !upload.exists());
        assert_eq!(tasks.task("one").unwrap().report.unwrap().frames, 1);
        assert_eq!(tasks.delete("one"), Err(Refused::Begun));
        // The same again: the avatar is there, and nobody said that it may be replaced.
        tasks.add("two".into(), order(dir.path(), upload), true, None).unwrap();
        assert_eq!([next(), next(), next()], [Status::Pending, Status::Running, Status::Failed]);
        assert!(tasks.task("two").unwrap().error_msg.unwrap().contains("already"));
        assert_eq!(tasks.all().iter().map(|task| task.task_id.as_str()).collect::<Vec<_>>(), ["two", "one"]);
    }

    #[test]
    fn what_waits_can_be_deleted_and_too_much_is_refused() {
        let dir = tempdir().unwrap();
        let (free, gate) = bounded::<()>(0);
        // The thread stands still in its first task until the gate opens.
        let wait = move |task: Task| {
            if task.status == Status::Running && task.task_id == "0" {
                let _ = gate.recv();
            }
        };
        let tasks = Tasks::start(dir.path(), |_| {}, wait).unwrap();
        let add = |id: usize| tasks.add(id.to_string(), order(dir.path(), dir.path().join("none")), false, None);
        add(0).unwrap();
        while tasks.task("0").unwrap().status == Status::Pending {
            std::thread::yield_now();
        }
        (1..=TASK_QUEUE).for_each(|n| add(n).unwrap());
        assert_eq!((add(99), add(3)), (Err(Refused::Busy), Err(Refused::Taken)));
        assert_eq!((tasks.delete("3"), tasks.delete("3")), (Ok(()), Err(Refused::Unknown)));
        free.send(()).unwrap();
    }
}

//! The way of a write into journal.db.
//!
//! A write is in the WAL before its ticket answers (it survives the death of the program); a synced ticket answers only
//! when the WAL is on disk, and carries every earlier write with it. What nobody waits for is written within milliseconds and
//! synced within a second.
//!
//! Writes queue up in the order in which they were decided. Who blocks for one carries out the queue himself, if nobody is
//! doing that just now: no thread has to be woken for a single writer. Otherwise, and for those who cannot block, a thread
//! does, with all that has come by then in one transaction. It also takes what nobody waits for, such as a new file, which is
//! nothing before it is closed: mostly that goes along with what follows it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use rusqlite::Connection;
use tokio::sync::oneshot::{self, error::TryRecvError};

use crate::disk::Reserve;

use super::committer::{Committer, Lost, Request};
use super::db::Write;
use super::sync::{Syncer, Waiting, log_of};
use super::{Durability, JournalError};

/// Writes that queue up; who comes with more has to wait.
const QUEUE_MAX: usize = 1024;
/// How long what nobody waits for may stay in the queue.
const SOON: Duration = Duration::from_millis(5);
/// How often it is looked for what was written so long ago, or longer, and is not synced: it is synced within twice that.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Held free so that the journal can go on when the disk is full.
const RESERVE_BYTES: u64 = 4 << 20;

/// Answers when a write is as durable as was asked.
#[must_use = "a change counts only when its ticket has answered"]
pub struct Ticket {
    answer: oneshot::Receiver<Result<(), JournalError>>,
    line: Weak<Line>,
}

impl Ticket {
    /// Waits on a tokio task.
    pub async fn wait(mut self) -> Result<(), JournalError> {
        if let Some(answer) = self.answered() {
            return answer;
        }
        if let Some(line) = self.line.upgrade() {
            line.hurry();
        }
        self.answer.await.unwrap_or(Err(JournalError::Closed))
    }

    /// Waits on a blocking thread, and does the work there if nobody else does.
    pub fn wait_blocking(mut self) -> Result<(), JournalError> {
        if let Some(answer) = self.answered() {
            return answer;
        }
        if let Some(line) = self.line.upgrade() {
            let waiting = line.carry_out_here();
            if let Some(answer) = self.answered() {
                // The others' sync is not waited for.
                line.sync(waiting);
                return answer;
            }
            line.sync_here(waiting);
        }
        self.answer.blocking_recv().unwrap_or(Err(JournalError::Closed))
    }

    /// The answer, if it is there. After one it must not be asked for again.
    fn answered(&mut self) -> Option<Result<(), JournalError>> {
        match self.answer.try_recv() {
            Ok(answer) => Some(answer),
            Err(TryRecvError::Closed) => Some(Err(JournalError::Closed)),
            Err(TryRecvError::Empty) => None,
        }
    }
}

/// The way to the journal's file. Dropping it waits until all that was sent is synced.
pub struct Writer {
    line: Arc<Line>,
    failed: Arc<AtomicBool>,
    reserve: Arc<Reserve>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Writer {
    /// Starts the threads for the database at `path`, with a connection of their own to it.
    pub fn start(db: Connection, path: &Path, reserve: PathBuf) -> Result<Self, JournalError> {
        let reserve = Arc::new(Reserve::hold(reserve, RESERVE_BYTES));
        let failed = Arc::new(AtomicBool::new(false));
        let committer = Committer::new(db, reserve.clone(), failed.clone(), log_of(path));
        let line = Arc::new(Line {
            queue: Mutex::default(),
            news: Condvar::new(),
            room: Condvar::new(),
            committer: Mutex::new(Some(committer)),
            syncer: Syncer::start(path)?,
        });
        let own = line.clone();
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || own.run())
            .map_err(|e| JournalError::Io {
                what: "start the journal's thread",
                source: e,
            })?;
        Ok(Self {
            line,
            failed,
            reserve,
            thread: Some(thread),
        })
    }

    /// Hands over writes. Their order is the order of the calls.
    pub fn send(&self, writes: Vec<Write>, durability: Durability) -> Ticket {
        let (done, answer) = oneshot::channel();
        self.line.push(Request {
            writes,
            durability,
            done,
        });
        Ticket {
            answer,
            line: Arc::downgrade(&self.line),
        }
    }

    /// Whether it would stand without room on a full disk: its reserve is used up, and held again with the next write for which
    /// there is plenty.
    pub fn lacks_reserve(&self) -> bool {
        !self.reserve.is_held()
    }

    /// Whether a write has failed since memory was last set back.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Ends the refusals after a failed write, and answers what memory must read anew. The caller holds the tree's lock, so
    /// that nothing is decided in between.
    pub fn set_back(&self) -> Lost {
        let mut committer = self.line.committer.lock();
        // What came before rests on what has failed.
        let waiting = self.line.carry_out(&mut committer);
        self.line.sync(waiting);
        match committer.as_mut() {
            Some(committer) => committer.set_back(),
            None => Lost {
                all: true,
                ..Lost::default()
            },
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.line.end();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the journal's thread panicked");
        }
    }
}

#[derive(Default)]
struct Queue {
    requests: Vec<Request>,
    /// Somebody waits who cannot carry them out himself.
    hurry: bool,
    /// The thread sleeps until it is woken.
    sleeps: bool,
    /// More has come since the thread last looked.
    stirred: bool,
    /// When the first of them came.
    since: Option<Instant>,
    /// No more are taken.
    ended: bool,
}

/// Writes in line, and who carries them out.
struct Line {
    queue: Mutex<Queue>,
    /// Wakes the thread.
    news: Condvar,
    /// Wakes those for whom the queue was too long.
    room: Condvar,
    /// Taken by who carries out the queue. `None` after the end, or a panic: then memory and disk may differ.
    committer: Mutex<Option<Committer>>,
    syncer: Syncer,
}

impl Line {
    fn push(&self, request: Request) {
        let mut queue = self.queue.lock();
        while queue.requests.len() >= QUEUE_MAX && !queue.ended {
            queue.hurry = true;
            self.news.notify_one();
            self.room.wait(&mut queue);
        }
        if queue.ended {
            tracing::error!("the journal has ended");
            return;
        }
        if queue.requests.is_empty() {
            queue.since = Some(Instant::now());
        }
        queue.requests.push(request);
        queue.stirred = true;
        if std::mem::take(&mut queue.sleeps) {
            self.news.notify_one();
        }
    }

    /// The thread is to carry out what is in the queue now.
    fn hurry(&self) {
        let mut queue = self.queue.lock();
        // Else somebody is doing that.
        if !queue.requests.is_empty() {
            queue.hurry = true;
            self.news.notify_one();
        }
    }

    fn end(&self) {
        self.queue.lock().ended = true;
        self.news.notify_one();
        self.room.notify_all();
    }

    /// Carries out the queue on this thread; where somebody is doing that, on the journal's. Answers who waits for a sync.
    fn carry_out_here(&self) -> Waiting {
        match self.committer.try_lock() {
            Some(mut committer) => self.carry_out(&mut committer),
            None => {
                self.hurry();
                Waiting::new()
            }
        }
    }

    /// Has these synced by the thread for that.
    fn sync(&self, waiting: Waiting) {
        if !waiting.is_empty() {
            self.syncer.sync(waiting);
        }
    }

    /// Syncs these here.
    fn sync_here(&self, waiting: Waiting) {
        if !waiting.is_empty() {
            self.syncer.sync_here(waiting);
        }
    }

    /// One transaction for all that is in the queue. Answers who waits for a sync.
    fn carry_out(&self, committer: &mut MutexGuard<'_, Option<Committer>>) -> Waiting {
        let requests = std::mem::take(&mut self.queue.lock().requests);
        self.room.notify_all();
        // Put back when all went well.
        let Some(mut able) = committer.take() else {
            return Waiting::new();
        };
        let carried_out = catch_unwind(AssertUnwindSafe(move || {
            let waiting = able.carry_out(requests);
            if !waiting.is_empty() {
                able.is_being_synced(&self.syncer);
            }
            (able, waiting)
        }));
        let Ok((able, waiting)) = carried_out else {
            tracing::error!("a write to the journal has panicked: it takes no more");
            return Waiting::new();
        };
        **committer = Some(able);
        waiting
    }

    /// The thread.
    fn run(&self) {
        let _ended = Ended(self);
        loop {
            let ended = self.sleep();
            let mut committer = self.committer.lock();
            let waiting = self.carry_out(&mut committer);
            let Some(able) = committer.as_mut() else { return };
            let span = if ended { Duration::ZERO } else { LOOK_EVERY };
            let is_due = !waiting.is_empty() || able.is_unsynced_for(span);
            if is_due && waiting.is_empty() {
                able.is_being_synced(&self.syncer);
            }
            if ended {
                self.syncer.sync_here(waiting);
                // With its connection.
                committer.take();
                return;
            }
            drop(committer);
            if is_due {
                self.syncer.sync(waiting);
            }
        }
    }

    /// Sleeps until there is something to do for the thread; `true`: for the last time.
    fn sleep(&self) -> bool {
        let mut queue = self.queue.lock();
        let latest = Instant::now() + LOOK_EVERY;
        while !queue.hurry && !queue.ended {
            let now = Instant::now();
            let until = match queue.requests.is_empty() {
                // While writes come one after the other nobody has to wake it for each.
                true if std::mem::take(&mut queue.stirred) => now + SOON,
                true => {
                    queue.sleeps = true;
                    latest
                }
                false => queue.since.map_or(now, |since| since + SOON),
            };
            if until <= now || latest <= now {
                break;
            }
            self.news.wait_until(&mut queue, until.min(latest));
            queue.sleeps = false;
        }
        queue.hurry = false;
        queue.ended
    }
}

/// The thread is gone: whoever waits for it hears that.
struct Ended<'a>(&'a Line);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.end();
        self.0.queue.lock().requests.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_after_the_end_hears_that() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("journal.db");
        let writer = Writer::start(
            super::super::db::open(&path).expect("opens"),
            &path,
            dir.path().join("reserve"),
        );
        let writer = writer.expect("starts");
        writer
            .send(Vec::new(), Durability::Synced)
            .wait_blocking()
            .expect("synced");
        writer.line.end();
        let send = || writer.send(Vec::new(), Durability::Synced);
        assert!(matches!(send().wait_blocking(), Err(JournalError::Closed)));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        assert!(matches!(runtime.block_on(send().wait()), Err(JournalError::Closed)));
    }
}

//! Makes the journal's log durable: one sync for all who came while the one before it ran.
//!
//! SQLite has handed its pages to the system when a commit returns, so a sync of the log's file that begins later covers it.
//! What leaves the log goes through a checkpoint, and there SQLite syncs by itself.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::disk;

use super::JournalError;

/// Those who hear of a sync.
pub(super) type Waiting = Vec<oneshot::Sender<Result<(), JournalError>>>;

/// The log of the database at `path`.
pub(super) fn log_of(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

/// Syncs the log, on the thread of who waits or on one of its own. Dropping it waits until everything that was asked for is
/// synced.
pub(super) struct Syncer {
    log: Arc<Log>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Syncer {
    /// Starts the thread for the log of the database at `path`.
    pub fn start(path: &Path) -> Result<Self, JournalError> {
        let log_path = log_of(path);
        // Opened before anything else is synced: a descriptor hears only of what fails from then on.
        let open = File::open(&log_path).ok();
        let log = Arc::new(Log {
            path: log_path,
            file: Mutex::new(Kept { open, is_named: false }),
            asked: Mutex::default(),
            news: Condvar::new(),
            failed: AtomicBool::new(false),
        });
        let own = log.clone();
        let thread = std::thread::Builder::new()
            .name("journal-sync".into())
            .spawn(move || own.run())
            .map_err(|e| JournalError::Io {
                what: "start the journal's second thread",
                source: e,
            })?;
        Ok(Self {
            log,
            thread: Some(thread),
        })
    }

    /// Has the thread sync what was written so far, and answer.
    pub fn sync(&self, waiting: Waiting) {
        let mut asked = self.log.asked.lock();
        if asked.has_ended {
            // Who waits hears that by himself.
            tracing::error!("the journal's second thread has ended");
            return;
        }
        asked.waiting.extend(waiting);
        asked.is_due = true;
        self.log.news.notify_one();
    }

    /// Syncs here what was written so far, and answers; while a sync goes on, the thread does so after it.
    pub fn sync_here(&self, waiting: Waiting) {
        match self.log.file.try_lock() {
            Some(mut file) => self.log.sync(&mut file, waiting),
            None => self.sync(waiting),
        }
    }

    /// Whether a sync failed: the system may have forgotten since that those bytes are not on the disk.
    pub fn has_failed(&self) -> bool {
        self.log.failed.load(Ordering::Acquire)
    }

    /// What could not be synced is on the disk by another way.
    pub fn forgive(&self) {
        self.log.failed.store(false, Ordering::Release);
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.log.asked.lock().has_ended = true;
        self.log.news.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the journal's second thread panicked");
        }
    }
}

#[derive(Default)]
struct Asked {
    /// No more than there are callers who wait.
    waiting: Waiting,
    is_due: bool,
    has_ended: bool,
}

/// The log's file. SQLite keeps one and the same for as long as a connection is open.
struct Kept {
    open: Option<File>,
    /// Its name is on the disk.
    is_named: bool,
}

struct Log {
    path: PathBuf,
    /// Taken by who syncs.
    file: Mutex<Kept>,
    asked: Mutex<Asked>,
    /// Wakes the thread.
    news: Condvar,
    failed: AtomicBool,
}

impl Log {
    /// The thread.
    fn run(&self) {
        let _ended = Ended(self);
        loop {
            let mut asked = self.asked.lock();
            while !asked.is_due && !asked.has_ended {
                self.news.wait(&mut asked);
            }
            if !asked.is_due {
                return;
            }
            drop(asked);
            let mut file = self.file.lock();
            // Somebody else may just have done it.
            if self.asked.lock().is_due {
                self.sync(&mut file, Waiting::new());
            }
        }
    }

    /// One sync, for these and for all who have asked by now.
    fn sync(&self, file: &mut Kept, mut waiting: Waiting) {
        {
            let mut asked = self.asked.lock();
            waiting.append(&mut asked.waiting);
            asked.is_due = false;
        }
        let result = match self.failed.load(Ordering::Acquire) {
            true => Err("an earlier sync of its log failed".to_owned()),
            false => self.sync_file(file).map_err(|e| e.to_string()),
        };
        if let Err(why) = &result {
            self.failed.store(true, Ordering::Release);
            tracing::error!("the journal cannot be made durable: {why}");
        }
        for done in waiting {
            // Who gave up waiting does not need the answer.
            done.send(result.clone().map_err(JournalError::Write)).ok();
        }
    }

    fn sync_file(&self, kept: &mut Kept) -> disk::Result<()> {
        let file = match kept.open.take() {
            Some(file) => file,
            None => File::open(&self.path).map_err(|e| disk::DiskError::new("open", &self.path, e))?,
        };
        if !kept.is_named {
            disk::sync_dir(self.path.parent().unwrap_or(Path::new(".")))?;
            kept.is_named = true;
        }
        disk::sync_data(&file, &self.path)?;
        kept.open = Some(file);
        Ok(())
    }
}

/// The thread is gone: who waits for it hears that.
struct Ended<'a>(&'a Log);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let mut asked = self.0.asked.lock();
        asked.has_ended = true;
        asked.waiting.clear();
    }
}

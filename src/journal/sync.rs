//! Makes the journal's log durable, on a thread of its own: one sync for all who came while the one before it ran.
//!
//! SQLite has handed its pages to the system when a commit returns, so a sync of the log's file that begins later covers it.
//! What leaves the log goes through a checkpoint, and there SQLite syncs by itself.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use tokio::sync::oneshot;

use crate::disk;

use super::JournalError;

type Waiting = Vec<oneshot::Sender<Result<(), JournalError>>>;

/// The way to the thread. Dropping it waits until everything that was asked for is synced.
pub(super) struct Syncer {
    /// Holds no more than there are callers who wait.
    requests: Option<Sender<Waiting>>,
    failed: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Syncer {
    /// Starts the thread for the log of the database at `path`.
    pub fn start(path: &Path) -> Result<Self, JournalError> {
        let (requests, queue) = channel();
        let failed = Arc::new(AtomicBool::new(false));
        let mut log = Log {
            path: PathBuf::from(format!("{}-wal", path.display())),
            file: None,
            failed: failed.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("journal-sync".into())
            .spawn(move || log.run(&queue))
            .map_err(|e| JournalError::Io {
                what: "start the journal's second thread",
                source: e,
            })?;
        Ok(Self {
            requests: Some(requests),
            failed,
            thread: Some(thread),
        })
    }

    /// Syncs what was written so far, then answers.
    pub fn sync(&self, waiting: Waiting) {
        // A thread that is gone answers through the dropped senders.
        if let Some(requests) = &self.requests
            && requests.send(waiting).is_err()
        {
            tracing::error!("the journal's second thread has ended");
        }
    }

    /// Whether a sync failed: the system may have forgotten since that those bytes are not on the disk.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// What could not be synced is on the disk by another way.
    pub fn forgive(&self) {
        self.failed.store(false, Ordering::Release);
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the journal's second thread panicked");
        }
    }
}

struct Log {
    path: PathBuf,
    /// SQLite keeps one and the same file for as long as a connection is open.
    file: Option<File>,
    failed: Arc<AtomicBool>,
}

impl Log {
    fn run(&mut self, queue: &Receiver<Waiting>) {
        while let Ok(mut waiting) = queue.recv() {
            waiting.extend(queue.try_iter().flatten());
            let result = match self.failed.load(Ordering::Acquire) {
                true => Err("an earlier sync of its log failed".to_owned()),
                false => self.sync().map_err(|e| e.to_string()),
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
    }

    fn sync(&mut self) -> disk::Result<()> {
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                let file = File::open(&self.path).map_err(|e| disk::DiskError::new("open", &self.path, e))?;
                disk::sync_dir(self.path.parent().unwrap_or(Path::new(".")))?;
                file
            }
        };
        disk::sync_data(&file, &self.path)?;
        self.file = Some(file);
        Ok(())
    }
}

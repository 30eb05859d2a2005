//! The one thread that writes journal.db.
//!
//! A write is in the WAL before its ticket answers (it survives the death of the program); a synced ticket answers only
//! when the WAL is on disk, and carries every earlier write with it. What nobody waits for is synced within a second.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::db::{self, Write};
use super::{Durability, JournalError};

/// Writes waiting for the thread.
const QUEUE_MAX: usize = 8192;
/// Requests carried by one transaction.
const BATCH_MAX: usize = 1024;
/// How long a written but unsynced change may stay so.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// Held free so that the journal can go on when the disk is full.
const RESERVE_BYTES: u64 = 4 << 20;

struct Request {
    writes: Vec<Write>,
    durability: Durability,
    done: oneshot::Sender<Result<(), JournalError>>,
}

/// Answers when a write is as durable as was asked.
#[must_use = "a change counts only when its ticket has answered"]
pub struct Ticket(oneshot::Receiver<Result<(), JournalError>>);

impl Ticket {
    /// Waits on a tokio task.
    pub async fn wait(self) -> Result<(), JournalError> {
        self.0.await.unwrap_or(Err(JournalError::Closed))
    }

    /// Waits on a blocking thread.
    pub fn wait_blocking(self) -> Result<(), JournalError> {
        self.0.blocking_recv().unwrap_or(Err(JournalError::Closed))
    }
}

/// The way to the writer thread. Dropping it ends the thread after all that was sent is synced.
pub struct Writer {
    requests: Option<SyncSender<Request>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread on its own connection.
    pub fn start(db: Connection, reserve: PathBuf) -> Result<Self, JournalError> {
        let (requests, queue) = sync_channel(QUEUE_MAX);
        let reserved = crate::disk::open_private(&reserve, !reserve.exists())
            .and_then(|file| crate::disk::preallocate(&file, &reserve, RESERVE_BYTES));
        if let Err(e) = reserved {
            tracing::warn!("no space could be reserved for the journal: {e}");
        }
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || {
                Thread {
                    db,
                    reserve,
                    unsynced: false,
                }
                .run(&queue)
            })
            .map_err(|e| JournalError::Io {
                what: "start the journal's thread",
                source: e,
            })?;
        Ok(Self {
            requests: Some(requests),
            thread: Some(thread),
        })
    }

    /// Hands over writes. Their order is the order of the calls.
    pub fn send(&self, writes: Vec<Write>, durability: Durability) -> Ticket {
        let (done, ticket) = oneshot::channel();
        let request = Request {
            writes,
            durability,
            done,
        };
        if let Some(requests) = &self.requests {
            // A full queue is back-pressure on the caller; a thread that is gone answers through the dropped sender.
            if let Err(TrySendError::Full(request)) = requests.try_send(request)
                && requests.send(request).is_err()
            {
                tracing::error!("the journal's thread has ended");
            }
        }
        Ticket(ticket)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the journal's thread panicked");
        }
    }
}

struct Thread {
    db: Connection,
    reserve: PathBuf,
    unsynced: bool,
}

impl Thread {
    fn run(mut self, queue: &Receiver<Request>) {
        loop {
            match queue.recv_timeout(SYNC_INTERVAL) {
                Ok(first) => {
                    let mut batch = vec![first];
                    batch.extend(queue.try_iter().take(BATCH_MAX - 1));
                    self.carry_out(batch);
                }
                Err(RecvTimeoutError::Timeout) => {
                    if self.unsynced
                        && let Err(e) = self.commit(&[], Durability::Synced)
                    {
                        tracing::error!("the journal cannot be synced: {e}");
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    if let Err(e) = self.commit(&[], Durability::Synced) {
                        tracing::error!("the journal cannot be synced: {e}");
                    }
                    return;
                }
            }
        }
    }

    fn carry_out(&mut self, batch: Vec<Request>) {
        let durability = batch.iter().map(|r| r.durability).max().unwrap_or(Durability::Written);
        let all: Vec<&[Write]> = batch.iter().map(|r| r.writes.as_slice()).collect();
        let mut result = self.commit(&all, durability);
        if result.as_ref().is_err_and(is_full) && std::fs::remove_file(&self.reserve).is_ok() {
            tracing::warn!("the disk is full: the journal goes on in its reserve");
            result = self.commit(&all, durability);
        }
        for request in batch {
            let answer = match &result {
                Ok(()) => Ok(()),
                Err(e) if is_full(e) => Err(JournalError::Full),
                Err(e) => Err(JournalError::Write(e.to_string())),
            };
            // Who gave up waiting does not need the answer.
            request.done.send(answer).ok();
        }
    }

    fn commit(&mut self, all: &[&[Write]], durability: Durability) -> rusqlite::Result<()> {
        match durability {
            Durability::Written => {}
            // In WAL mode FULL syncs the log at commit, and with it everything that was written before.
            Durability::Synced => self.db.pragma_update(None, "synchronous", "FULL")?,
        }
        let result = self.transaction(all, durability);
        if durability == Durability::Synced {
            self.db.pragma_update(None, "synchronous", "NORMAL")?;
        }
        result?;
        self.unsynced = durability == Durability::Written;
        Ok(())
    }

    fn transaction(&mut self, all: &[&[Write]], durability: Durability) -> rusqlite::Result<()> {
        let txn = self.db.transaction()?;
        for writes in all {
            db::apply(&txn, writes)?;
        }
        if durability == Durability::Synced {
            // An empty transaction would not touch the log, and so would not sync it.
            txn.execute(
                "INSERT INTO meta(key, value) VALUES('syncs', '1')
                 ON CONFLICT(key) DO UPDATE SET value = CAST(value AS INTEGER) + 1",
                [],
            )?;
        }
        txn.commit()
    }
}

fn is_full(e: &rusqlite::Error) -> bool {
    e.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
}

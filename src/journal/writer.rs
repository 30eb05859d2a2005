//! The one thread that writes journal.db.
//!
//! A write is in the WAL before its ticket answers (it survives the death of the program); a synced ticket answers only
//! when the WAL is on disk, and carries every earlier write with it. What nobody waits for is synced within a second.
//! What is to be written soon (a new file, which is nothing before it is closed) waits a moment for what goes along with it.
//! The disk works beside the thread ([`super::sync`]), so that writes go on meanwhile and share the sync that follows.
//!
//! Memory is changed before the disk answers, and later decisions rest on it. So when a write fails, what comes after it is
//! refused as well, until memory has been set back to what the disk has ([`Writer::set_back`]).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::disk::Reserve;
use crate::model::Ino;

use super::db::{self, Write};
use super::sync::Syncer;
use super::{Durability, JournalError};

/// Writes waiting for the thread.
const QUEUE_MAX: usize = 8192;
/// Requests carried by one transaction.
const BATCH_MAX: usize = 1024;
/// How long what is to be written soon waits for others to go along with.
const SOON: Duration = Duration::from_millis(5);
/// How long a written but unsynced change may stay so.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// Held free so that the journal can go on when the disk is full.
const RESERVE_BYTES: u64 = 4 << 20;

struct Request {
    writes: Vec<Write>,
    durability: Durability,
    done: oneshot::Sender<Result<(), JournalError>>,
}

/// What is asked of the thread.
enum Message {
    Write(Request),
    /// From here on, decisions rest on what the disk has: tells what memory had ahead of it.
    SetBack(SyncSender<Lost>),
}

/// What memory took and the disk did not.
#[derive(Clone, Debug, Default)]
pub struct Lost {
    /// Nodes whose change or attributes differ.
    pub inos: BTreeSet<Ino>,
    /// Any may differ.
    pub all: bool,
}

impl Lost {
    /// Whether memory speaks of any of it.
    fn is_empty(&self) -> bool {
        self.inos.is_empty() && !self.all
    }

    fn of(writes: &[Write]) -> Self {
        let mut lost = Self::default();
        for write in writes {
            match write {
                Write::Put(change) => drop(lost.inos.insert(change.ino)),
                Write::Drop(ino) | Write::Attr(ino, _) => drop(lost.inos.insert(*ino)),
                Write::Rekey(..) => lost.all = true,
                Write::Identify(..)
                | Write::Hold(_)
                | Write::Release(_)
                | Write::RekeyOriginal(..)
                | Write::Bind(_)
                | Write::Unbind(..)
                | Write::Original(_)
                | Write::Meta(..) => {}
            }
        }
        lost
    }

    fn add(&mut self, more: Self) {
        self.inos.extend(more.inos);
        self.all |= more.all;
    }
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
    requests: Option<SyncSender<Message>>,
    failed: Arc<AtomicBool>,
    reserve: Arc<Reserve>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread on its own connection to the database at `path`.
    pub fn start(db: Connection, path: &Path, reserve: PathBuf) -> Result<Self, JournalError> {
        let (requests, queue) = sync_channel(QUEUE_MAX);
        let syncer = Syncer::start(path)?;
        let reserve = Arc::new(Reserve::hold(reserve, RESERVE_BYTES));
        let failed = Arc::new(AtomicBool::new(false));
        let (told, spent) = (failed.clone(), reserve.clone());
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || {
                Thread {
                    db,
                    syncer,
                    reserve: spent,
                    unsynced_since: None,
                    failed: told,
                    behind: None,
                }
                .run(&queue)
            })
            .map_err(|e| JournalError::Io {
                what: "start the journal's thread",
                source: e,
            })?;
        Ok(Self {
            requests: Some(requests),
            failed,
            reserve,
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
            if let Err(TrySendError::Full(message)) = requests.try_send(Message::Write(request))
                && requests.send(message).is_err()
            {
                tracing::error!("the journal's thread has ended");
            }
        }
        Ticket(ticket)
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
        let (answer, lost) = sync_channel(1);
        let everything = Lost {
            all: true,
            ..Lost::default()
        };
        match &self.requests {
            Some(requests) if requests.send(Message::SetBack(answer)).is_ok() => lost.recv().unwrap_or(everything),
            Some(_) | None => everything,
        }
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
    syncer: Syncer,
    reserve: Arc<Reserve>,
    /// When the first write came that no sync covers yet.
    unsynced_since: Option<Instant>,
    /// Tells that `behind` is something.
    failed: Arc<AtomicBool>,
    /// What memory has ahead of the disk, and why.
    behind: Option<(Lost, Failure)>,
}

/// Why a write failed, for everybody who is refused because of it.
#[derive(Clone, Debug)]
enum Failure {
    Full,
    Other(String),
}

impl Failure {
    fn error(&self) -> JournalError {
        match self {
            Self::Full => JournalError::Full,
            Self::Other(text) => JournalError::Write(text.clone()),
        }
    }
}

impl Thread {
    fn run(mut self, queue: &Receiver<Message>) {
        loop {
            match queue.recv_timeout(SYNC_INTERVAL) {
                Ok(first) => {
                    let batch = self.gather(first, queue);
                    self.carry_out(batch);
                    // Also while there is no pause between the writes.
                    if self
                        .unsynced_since
                        .is_some_and(|since| since.elapsed() >= SYNC_INTERVAL)
                    {
                        self.sync(Vec::new());
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    if self.unsynced_since.is_some() {
                        self.sync(Vec::new());
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    // Dropping the syncer waits for it.
                    self.sync(Vec::new());
                    return;
                }
            }
        }
    }

    /// What goes into one transaction with `first`: what waits already, and while nobody is in a hurry, what comes soon.
    fn gather(&mut self, first: Message, queue: &Receiver<Message>) -> Vec<Request> {
        let until = Instant::now() + SOON;
        let mut batch: Vec<Request> = Vec::new();
        let (mut next, mut lingers) = (Some(first), true);
        while let Some(message) = next {
            match message {
                Message::Write(request) => {
                    lingers &= request.durability == Durability::Soon;
                    batch.push(request);
                }
                Message::SetBack(answer) => {
                    self.carry_out(std::mem::take(&mut batch));
                    self.set_back(&answer);
                    lingers = true;
                }
            }
            next = if batch.len() == BATCH_MAX {
                None
            } else if lingers && !batch.is_empty() {
                queue.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
            } else {
                queue.try_recv().ok()
            };
        }
        batch
    }

    fn set_back(&mut self, answer: &SyncSender<Lost>) {
        let lost = self.behind.take().map(|(lost, _)| lost).unwrap_or_default();
        self.failed.store(false, Ordering::Release);
        if answer.send(lost).is_err() {
            tracing::error!("nobody waits for what the journal could not take");
        }
    }

    fn carry_out(&mut self, mut batch: Vec<Request>) {
        if let Some((behind, why)) = &mut self.behind {
            // Decided on what is not on the disk.
            let (refused, rest): (Vec<_>, Vec<_>) = batch.into_iter().partition(|r| !Lost::of(&r.writes).is_empty());
            for request in refused {
                behind.add(Lost::of(&request.writes));
                request.done.send(Err(why.error())).ok();
            }
            batch = rest;
        }
        if batch.is_empty() {
            return;
        }
        let all: Vec<&[Write]> = batch.iter().map(|r| r.writes.as_slice()).collect();
        let mut result = self.commit(&all);
        if result.as_ref().is_err_and(is_full) && self.reserve.spend().unwrap_or(false) {
            tracing::warn!("the disk is full: the journal goes on in its reserve");
            result = self.commit(&all);
        } else if result.is_ok() {
            self.reserve.renew();
        }
        let failure = result.err().map(|error| match is_full(&error) {
            true => Failure::Full,
            false => Failure::Other(error.to_string()),
        });
        if let Some(why) = &failure {
            self.fall_behind(&all, why);
        }
        let mut waiting = Vec::new();
        for request in batch {
            // Who gave up waiting does not need the answer.
            match (&failure, request.durability) {
                (Some(why), _) => drop(request.done.send(Err(why.error()))),
                (None, Durability::Soon | Durability::Written) => drop(request.done.send(Ok(()))),
                (None, Durability::Synced) => waiting.push(request.done),
            }
        }
        if !waiting.is_empty() {
            self.sync(waiting);
        }
    }

    /// Has everything that was written so far made durable, and those who wait for it told.
    fn sync(&mut self, waiting: Vec<oneshot::Sender<Result<(), JournalError>>>) {
        if self.syncer.has_failed() {
            // What the log lost on its way to the disk is still in memory: from there it goes into the database itself.
            match self
                .db
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
            {
                Ok(0) => self.syncer.forgive(),
                Ok(_) => tracing::warn!("the journal's log is in use and cannot be written anew yet"),
                Err(error) => tracing::error!("the journal cannot be written anew: {error}"),
            }
        }
        self.syncer.sync(waiting);
        self.unsynced_since = None;
    }

    /// Before anybody hears of a failure: whoever looks from now on sets memory back first.
    fn fall_behind(&mut self, all: &[&[Write]], why: &Failure) {
        tracing::error!(
            "the journal cannot be written, so what was asked for has not happened: {}",
            why.error()
        );
        let mut lost = self.behind.take().map(|(lost, _)| lost).unwrap_or_default();
        for writes in all {
            lost.add(Lost::of(writes));
        }
        if !lost.is_empty() {
            self.behind = Some((lost, why.clone()));
            self.failed.store(true, Ordering::Release);
        }
    }

    fn commit(&mut self, all: &[&[Write]]) -> rusqlite::Result<()> {
        if all.iter().all(|writes| writes.is_empty()) {
            return Ok(());
        }
        let txn = self.db.transaction()?;
        for writes in all {
            db::apply(&txn, writes)?;
        }
        txn.commit()?;
        self.unsynced_since.get_or_insert_with(Instant::now);
        Ok(())
    }
}

fn is_full(e: &rusqlite::Error) -> bool {
    e.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
}

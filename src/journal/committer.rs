//! Carries out writes to journal.db.
//!
//! Memory is changed before the disk answers, and later decisions rest on it. So when a write fails, what comes after it is
//! refused as well, until memory has been set back to what the disk has ([`Committer::set_back`]).

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::disk::{self, Reserve};
use crate::model::Ino;

use super::db::{self, LOG_BYTES_MAX, Write};
use super::sync::{Syncer, Waiting};
use super::{Durability, JournalError};

/// What the disk must have free for the log to have its full length at once.
const FREE_BYTES_MIN: u64 = 128 << 20;

/// Writes that belong together.
pub(super) struct Request {
    pub writes: Vec<Write>,
    pub durability: Durability,
    pub done: oneshot::Sender<Result<(), JournalError>>,
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

/// Has the only connection that writes.
pub(super) struct Committer {
    db: Connection,
    log: PathBuf,
    /// It has its full length, or cannot have it.
    is_log_long: bool,
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

impl Committer {
    /// Writes through `db`, whose log is the file `log`; `failed` is set when a write fails.
    pub fn new(db: Connection, reserve: Arc<Reserve>, failed: Arc<AtomicBool>, log: PathBuf) -> Self {
        Self {
            db,
            log,
            is_log_long: false,
            reserve,
            unsynced_since: None,
            failed,
            behind: None,
        }
    }

    /// Memory is set back to what the disk has: what comes from now on rests on that. Answers what memory had ahead of it.
    pub fn set_back(&mut self) -> Lost {
        self.failed.store(false, Ordering::Release);
        self.behind.take().map(|(lost, _)| lost).unwrap_or_default()
    }

    /// Carries out all of them in one transaction, and tells those who do not wait for more. Answers who waits for a sync.
    pub fn carry_out(&mut self, mut batch: Vec<Request>) -> Waiting {
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
            return Waiting::new();
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
        let mut waiting = Waiting::new();
        for request in batch {
            // Who gave up waiting does not need the answer.
            match (&failure, request.durability) {
                (Some(why), _) => drop(request.done.send(Err(why.error()))),
                (None, Durability::Written) => drop(request.done.send(Ok(()))),
                (None, Durability::Synced) => waiting.push(request.done),
            }
        }
        waiting
    }

    /// Whether something was written that long ago, or longer, and is still to be synced.
    pub fn is_unsynced_for(&self, span: Duration) -> bool {
        self.unsynced_since.is_some_and(|since| since.elapsed() >= span)
    }

    /// Everything that was written so far is about to be synced by `syncer`.
    pub fn is_being_synced(&mut self, syncer: &Syncer) {
        self.unsynced_since = None;
        if !syncer.has_failed() {
            return;
        }
        // What the log lost on its way to the disk is still in memory: from there it goes into the database itself.
        let truncated = self
            .db
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
        match truncated {
            Ok(0) => {
                self.is_log_long = false;
                syncer.forgive();
            }
            Ok(_) => tracing::warn!("the journal's log is in use and cannot be written anew yet"),
            Err(error) => tracing::error!("the journal cannot be written anew: {error}"),
        }
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
        let writes = that_last(all);
        if writes.is_empty() {
            return Ok(());
        }
        self.lengthen_log();
        let txn = self.db.transaction()?;
        for write in &writes {
            db::apply(&txn, write)?;
        }
        txn.commit()?;
        self.unsynced_since.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// Gives the log its full length before the first write.
    fn lengthen_log(&mut self) {
        if std::mem::replace(&mut self.is_log_long, true) {
            return;
        }
        let has_room = disk::free_space(&self.log).is_ok_and(|space| space.free_bytes >= FREE_BYTES_MIN);
        if has_room && let Err(error) = disk::lengthen(&self.log, LOG_BYTES_MAX) {
            tracing::debug!("the journal's log grows as it is written: {error}");
        }
    }
}

/// In their order, but without those that a later one replaces: a new file is mostly closed before anybody has written it.
fn that_last<'a>(all: &[&'a [Write]]) -> Vec<&'a Write> {
    let (mut changes, mut attributes) = (HashSet::new(), HashSet::new());
    let mut last: Vec<&Write> = all.iter().copied().flatten().rev().collect();
    last.retain(|write| match write {
        Write::Put(change) => changes.insert(change.ino),
        Write::Drop(ino) => changes.insert(*ino),
        Write::Attr(ino, _) => attributes.insert(*ino),
        Write::Identify(..)
        | Write::Rekey(..)
        | Write::RekeyOriginal(..)
        | Write::Bind(_)
        | Write::Unbind(..)
        | Write::Original(_)
        | Write::Hold(_)
        | Write::Release(_)
        | Write::Meta(..) => true,
    });
    last.reverse();
    last
}

fn is_full(e: &rusqlite::Error) -> bool {
    e.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Change;
    use crate::model::{Kind, Timestamp};

    #[test]
    fn what_is_replaced_within_a_transaction_is_not_written() {
        let put = |ino, seq| {
            let change = Change::of(Ino(ino), Kind::File, None, seq, Timestamp::from_secs(5));
            Write::Put(Box::new(change))
        };
        let attr = |ino| Write::Attr(Ino(ino), Box::default());
        let made = [put(7, 1), attr(7), attr(2), put(8, 2)];
        let closed = [Write::Release(3), put(7, 3), attr(2), Write::Drop(Ino(8)), put(9, 4)];
        let told = |write: &Write| match write {
            Write::Put(change) => format!("put {} {}", change.ino.0, change.seq),
            other => format!("{other:?}").chars().take(12).collect(),
        };
        let last: Vec<String> = that_last(&[&made, &closed]).into_iter().map(told).collect();
        let expected = [
            "Attr(ino 7, ",
            "Release(3)",
            "put 7 3",
            "Attr(ino 2, ",
            "Drop(ino 8)",
            "put 9 4",
        ];
        assert_eq!(last, expected);
    }
}

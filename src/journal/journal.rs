//! The journal: pending changes in memory and on disk, the inode allocator, local names and attributes.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard, RwLock};
use tokio::sync::{Notify, watch};

use crate::model::{Ino, ItemId, Timestamp};

use super::bodies::Holdings;
use super::committer::Lost;
use super::db::{self, LocalAttr, NameBinding, Write};
use super::writer::{Ticket, Writer};
use super::{Change, Durability, JournalError, Overlay};

/// Inode numbers reserved at a time, so that one is never given twice, whatever happens.
const INODES_RESERVED: u64 = 1000;

struct Allocator {
    next: u64,
    reserved_to: u64,
}

/// What may not meet under one state: a journal belongs to one account of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The kind of store.
    pub kind: String,
    /// Its base URL.
    pub url: String,
    /// The account, without secrets.
    pub account: String,
}

/// Pending changes and everything else about a mount that must never be lost.
pub struct Journal {
    overlay: Mutex<Overlay>,
    attributes: RwLock<HashMap<Ino, LocalAttr>>,
    reader: Mutex<rusqlite::Connection>,
    writer: Writer,
    allocator: Mutex<Allocator>,
    pub(super) holdings: Mutex<Holdings>,
    seq: std::sync::atomic::AtomicU64,
    wake: Notify,
    moved: watch::Sender<u64>,
}

/// Where the pinned paths are kept: they are the user's word, and no cache.
pub const PINNED: &str = "pinned";

/// The tree's lock: who holds it decides on a change and hands it to the journal before anyone else sees the tree.
/// Held for memory and catalog reads only, never over an await.
pub struct Guard<'a> {
    journal: &'a Journal,
    overlay: MutexGuard<'a, Overlay>,
}

impl Journal {
    /// Opens the journal in `state_dir`.
    pub fn open(state_dir: &Path) -> Result<Arc<Self>, JournalError> {
        let path = state_dir.join("journal.db");
        let db = db::open(&path)?;
        let broken = |e| JournalError::database("read", &path, e);
        let mut overlay = Overlay::default();
        let mut seq = 0;
        for change in db::changes(&db).map_err(broken)? {
            seq = seq.max(change.seq);
            overlay.put(change);
        }
        let attributes = db::attributes(&db).map_err(broken)?.into_iter().collect();
        let reserved_to = db::meta(&db, "next_ino")
            .map_err(broken)?
            .and_then(|v| v.parse().ok())
            .unwrap_or(2);
        let writer = Writer::start(db::open(&path)?, &path, state_dir.join("journal.reserve"))?;
        let holdings = Holdings::after(&db).map_err(broken)?;
        Ok(Arc::new(Self {
            holdings: Mutex::new(holdings),
            overlay: Mutex::new(overlay),
            attributes: RwLock::new(attributes),
            reader: Mutex::new(db),
            writer,
            allocator: Mutex::new(Allocator {
                next: reserved_to,
                reserved_to,
            }),
            seq: (seq + 1).into(),
            wake: Notify::new(),
            moved: watch::Sender::new(0),
        }))
    }

    /// Ties this journal to an account, or proves that it is this account's. With work pending, another one is refused;
    /// with none, what was pinned of the old one is forgotten.
    pub fn bind(&self, binding: &Binding) -> Result<(), JournalError> {
        let text = format!("{}\n{}\n{}", binding.kind, binding.url, binding.account);
        let known = self.read(|db| db::meta(db, "binding"))?;
        if known.as_deref() == Some(&text) {
            return Ok(());
        }
        if let Some(known) = known {
            let pending = self.tree().iter().filter(|c| c.is_outstanding()).count();
            if pending > 0 {
                let mut known = known.lines();
                return Err(JournalError::OtherAccount {
                    pending,
                    url: known.nth(1).unwrap_or_default().to_owned(),
                    account: known.next().unwrap_or_default().to_owned(),
                });
            }
        }
        self.writer
            .send(
                // What was pinned of another account is not this one's.
                vec![Write::Meta("binding", text), Write::Meta(PINNED, "[]".into())],
                Durability::Synced,
            )
            .wait_blocking()
    }

    /// What was last written under [`PINNED`].
    pub fn pinned(&self) -> Result<Option<String>, JournalError> {
        self.read(|db| db::meta(db, PINNED))
    }

    /// Takes the tree's lock.
    pub fn lock(&self) -> Guard<'_> {
        Guard {
            journal: self,
            overlay: self.tree(),
        }
    }

    /// The pending changes, set back to what the disk has when a write failed: what was refused has not happened.
    fn tree(&self) -> MutexGuard<'_, Overlay> {
        let mut overlay = self.overlay.lock();
        if self.writer.has_failed() {
            let lost = self.writer.set_back();
            if let Err(error) = self.read_again(&mut overlay, &lost) {
                // Nothing more can be known here. What memory has is lost at the next start, as was said to who asked.
                tracing::error!("the journal can neither be written nor read: {error}");
            }
            self.moved.send_modify(|n| *n += 1);
            self.wake();
        }
        overlay
    }

    fn read_again(&self, overlay: &mut Overlay, lost: &Lost) -> Result<(), JournalError> {
        let (mut inos, mut changes, mut attributes) = (lost.inos.clone(), HashMap::new(), HashMap::new());
        if lost.all {
            inos.extend(overlay.iter().map(|change| change.ino));
            inos.extend(self.attributes.read().keys());
            changes.extend(self.read(db::changes)?.into_iter().map(|change| (change.ino, change)));
            attributes.extend(self.read(db::attributes)?);
            inos.extend(changes.keys().chain(attributes.keys()));
        } else {
            for ino in &inos {
                changes.extend(self.read(|db| db::change_of(db, *ino))?.map(|change| (*ino, change)));
                attributes.extend(self.read(|db| db::attribute_of(db, *ino))?.map(|attr| (*ino, attr)));
            }
        }
        let mut known = self.attributes.write();
        for ino in inos {
            match changes.remove(&ino) {
                Some(change) => overlay.put(change),
                None => drop(overlay.remove(ino)),
            }
            match attributes.remove(&ino) {
                Some(attr) => known.insert(ino, attr),
                None => known.remove(&ino),
            };
        }
        Ok(())
    }

    /// The change of a node.
    pub fn change(&self, ino: Ino) -> Option<Arc<Change>> {
        self.tree().get(ino).cloned()
    }

    /// Writes without a decision on the tree.
    pub fn write(&self, writes: Vec<Write>, durability: Durability) -> Ticket {
        self.lock().commit(writes, durability)
    }

    /// Holds room for a full disk again, if that is used up and there is room now: before what is being written takes it.
    pub fn renew_reserve(&self) {
        if self.writer.lacks_reserve() {
            // Nobody waits for it.
            drop(self.writer.send(Vec::new(), Durability::Written));
        }
    }

    /// Makes everything that was written so far durable.
    pub fn sync(&self) -> Ticket {
        self.writer.send(Vec::new(), Durability::Synced)
    }

    /// A new inode number. Blocks now and then to reserve more.
    pub fn allocate(&self) -> Result<Ino, JournalError> {
        let mut allocator = self.allocator.lock();
        self.allocate_in(&mut allocator)
    }

    fn allocate_in(&self, allocator: &mut Allocator) -> Result<Ino, JournalError> {
        if allocator.next == allocator.reserved_to {
            let to = allocator.reserved_to + INODES_RESERVED;
            // Durable before the first is used: after a power loss it must not be given to another node.
            self.writer
                .send(vec![Write::Meta("next_ino", to.to_string())], Durability::Synced)
                .wait_blocking()?;
            allocator.reserved_to = to;
        }
        let ino = Ino(allocator.next);
        allocator.next += 1;
        Ok(ino)
    }

    /// The inodes of items, given now to those that have none. Blocks.
    pub fn inodes(&self, ids: &[ItemId]) -> Result<Vec<Ino>, JournalError> {
        // One at a time, so that two listings cannot give one item two numbers.
        let mut allocator = self.allocator.lock();
        let mut known = self.read(|db| ids.iter().map(|id| db::ino_of(db, id)).collect::<Result<Vec<_>, _>>())?;
        let mut writes = Vec::new();
        for (id, ino) in ids.iter().zip(&mut known) {
            if ino.is_none() {
                let new = self.allocate_in(&mut allocator)?;
                writes.push(Write::Identify(new, id.clone()));
                *ino = Some(new);
            }
        }
        if !writes.is_empty() {
            self.writer.send(writes, Durability::Written).wait_blocking()?;
        }
        Ok(known.into_iter().flatten().collect())
    }

    /// The inode of an item, if it has one. Blocks.
    pub fn known_inode(&self, id: &ItemId) -> Result<Option<Ino>, JournalError> {
        self.read(|db| db::ino_of(db, id))
    }

    /// The item behind an inode, also when the catalog has been rebuilt since.
    pub fn item(&self, ino: Ino) -> Result<Option<ItemId>, JournalError> {
        self.read(|db| db::id_of(db, ino))
    }

    /// Local names bound in a folder.
    pub fn bindings(&self, parent: &ItemId) -> Result<Vec<NameBinding>, JournalError> {
        self.read(|db| db::bindings(db, parent))
    }

    /// Local attributes of a node.
    pub fn attr(&self, ino: Ino) -> Option<LocalAttr> {
        self.attributes.read().get(&ino).cloned()
    }

    /// The number of the next change.
    pub fn next_seq(&self) -> u64 {
        self.seq.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
    }

    /// Wakes the uploader.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits until something is due that was not, or [`Journal::wake`] was called.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Follows the journal: the number changes with every commit.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.moved.subscribe()
    }

    pub(super) fn read<T>(
        &self,
        f: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<T>,
    ) -> Result<T, JournalError> {
        f(&self.reader.lock()).map_err(|e| JournalError::Write(e.to_string()))
    }
}

impl Guard<'_> {
    /// The pending changes.
    pub fn overlay(&self) -> &Overlay {
        &self.overlay
    }

    /// The uploader has looked at the schedule, and looks again at that time; `None`: when it is woken.
    pub(super) fn looks_next(&mut self, at: Option<Timestamp>) {
        self.overlay.looks_next(at);
    }

    /// Wakes the uploader if it would look too late by itself. What is due later does not disturb it: programs that save many
    /// files would have it look after each.
    fn wake_if_early(&mut self) {
        if self.overlay.take_early() {
            self.journal.wake();
        }
    }

    /// Takes a change off the uploader's schedule until it, or `on`, changes.
    pub fn suspend(&mut self, ino: Ino, on: Option<Ino>) {
        self.overlay.suspend(ino, on);
        self.wake_if_early();
        if on.is_some() {
            // Who follows the changes sees what it waits for.
            self.journal.moved.send_modify(|n| *n += 1);
        }
    }

    /// Moves the time from which the uploader may act on a change, for this run: the disk keeps the earlier one.
    pub fn reschedule(&mut self, ino: Ino, ready_at: Timestamp) {
        let Some(change) = self.overlay.get(ino) else { return };
        let change = Change {
            ready_at,
            ..Change::clone(change)
        };
        self.overlay.put(change);
        self.wake_if_early();
    }

    /// Applies changes to the tree and hands them to the disk, in this order for everybody.
    pub fn commit(&mut self, writes: Vec<Write>, durability: Durability) -> Ticket {
        let mut all = Vec::with_capacity(writes.len());
        for write in writes {
            let mut rekeyed = Vec::new();
            match &write {
                Write::Put(change) => self.overlay.put((**change).clone()),
                Write::Drop(ino) => {
                    self.overlay.remove(*ino);
                }
                Write::Attr(ino, attr) => {
                    self.journal.attributes.write().insert(*ino, (**attr).clone());
                }
                Write::Rekey(old, new) => rekeyed = self.overlay.rekey(old, new),
                Write::Identify(..)
                | Write::Bind(_)
                | Write::Unbind(..)
                | Write::Original(_)
                | Write::RekeyOriginal(..)
                | Write::Hold(_)
                | Write::Release(_)
                | Write::Meta(..) => {}
            }
            all.push(write);
            // Before what comes later in the same commit, which may be about the same nodes.
            all.extend(rekeyed.into_iter().map(|change| Write::Put(Box::new(change))));
        }
        let ticket = self.journal.writer.send(all, durability);
        self.journal.moved.send_modify(|n| *n += 1);
        self.wake_if_early();
        ticket
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Place, Placing};
    use crate::model::{Kind, Name, Timestamp};
    use std::time::Duration;

    fn named(ino: Ino, name: &str) -> Change {
        let mut change = Change::of(ino, Kind::File, None, 1, Timestamp::from_secs(5));
        let now = vec![Place {
            parent: Ino::ROOT,
            name: Name::new(name).expect("valid"),
        }];
        change.placing = Some(Placing { base: Vec::new(), now });
        change
    }

    fn put(journal: &Journal, ino: Ino, name: &str) -> Result<(), JournalError> {
        journal
            .write(vec![Write::Put(Box::new(named(ino, name)))], Durability::Synced)
            .wait_blocking()
    }

    /// The bytes of the log that have been written: it has its full length from the beginning.
    fn log_in(dir: &Path) -> Vec<u8> {
        const HEAD: usize = 32;
        const PAGE: usize = 24 + 4096;
        let mut log = std::fs::read(dir.join("journal.db-wal")).expect("a log");
        let written = log.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        log.truncate(HEAD + written.saturating_sub(HEAD).div_ceil(PAGE) * PAGE);
        log
    }

    fn seen(journal: &Journal) -> Vec<(String, Ino)> {
        let guard = journal.lock();
        let names = guard.overlay().children(Ino::ROOT);
        names.map(|(name, ino)| (name.to_string(), ino)).collect()
    }

    /// Memory went on with what the disk had refused: people saw it, and it was sent, until the next start.
    #[test]
    fn what_the_disk_refuses_has_not_happened() {
        let dir = tempfile::tempdir().expect("a folder");
        let journal = Journal::open(dir.path()).expect("opens");
        let (a, b, c) = (Ino(10), Ino(11), Ino(12));
        put(&journal, a, "a").expect("written");
        put(&journal, b, "b").expect("written");
        let mode = |mode| {
            let attr = LocalAttr {
                mode: Some(mode),
                ..LocalAttr::default()
            };
            Write::Attr(a, Box::new(attr))
        };
        journal
            .write(vec![mode(0o600)], Durability::Synced)
            .wait_blocking()
            .expect("written");
        let before = seen(&journal);
        let disk = rusqlite::Connection::open(dir.path().join("journal.db")).expect("opens");
        for (name, event) in [
            ("on_put", "INSERT ON changes"),
            ("on_drop", "DELETE ON changes"),
            ("on_attr", "INSERT ON attributes"),
        ] {
            let trigger = format!("CREATE TRIGGER {name} BEFORE {event} BEGIN SELECT RAISE(ABORT, 'broken'); END");
            disk.execute_batch(&trigger).expect("a broken disk");
        }
        let refused = |ticket: Ticket| matches!(ticket.wait_blocking(), Err(JournalError::Write(_)));
        assert!(put(&journal, a, "another").is_err());
        assert_eq!(seen(&journal), before);
        assert!(refused(journal.write(vec![Write::Drop(b)], Durability::Written)));
        assert!(refused(journal.write(vec![mode(0o644)], Durability::Written)));
        // What was decided on the refused change before anybody heard of that is refused with it.
        let tickets: Vec<Ticket> = {
            let mut guard = journal.lock();
            let mut commit = |write| guard.commit(vec![write], Durability::Written);
            vec![commit(Write::Put(Box::new(named(c, "c")))), commit(mode(0o640))]
        };
        assert!(tickets.into_iter().all(refused));
        assert_eq!(seen(&journal), before);
        assert_eq!(journal.attr(a).and_then(|attr| attr.mode), Some(0o600));
        disk.execute_batch("DROP TRIGGER on_put; DROP TRIGGER on_drop; DROP TRIGGER on_attr")
            .expect("mended");
        put(&journal, c, "c").expect("it goes on");
        let now = seen(&journal);
        assert_eq!(now.len(), 3);
        drop(journal);
        assert_eq!(
            seen(&Journal::open(dir.path()).expect("opens")),
            now,
            "the disk has the same"
        );
    }

    /// A new file and its close, which mostly comes within the millisecond, were two transactions.
    #[test]
    fn what_nobody_waits_for_goes_along_with_what_follows_and_is_written_alone_if_nothing_does() {
        let dir = tempfile::tempdir().expect("a folder");
        let journal = Journal::open(dir.path()).expect("opens");
        let log = || log_in(dir.path()).len();
        let put = |name, durability| journal.write(vec![Write::Put(Box::new(named(Ino(10), name)))], durability);
        let wait = |ticket: Ticket| ticket.wait_blocking().expect("written");
        let grows_by = |waits: bool| {
            let before = log();
            let mut made = Some(put("made", Durability::Written));
            if waits {
                made.take().map(wait);
            }
            // As long as a program takes to fill the file.
            std::thread::sleep(Duration::from_millis(1));
            wait(put("closed", Durability::Synced));
            made.map(wait);
            log().saturating_sub(before)
        };
        wait(put("first", Durability::Synced));
        // Somebody may keep this thread from going on for longer than the journal waits.
        let together = (0..50).map(|_| grows_by(false)).min();
        assert!(together < (0..5).map(|_| grows_by(true)).min());
        drop(journal.write(vec![Write::Put(Box::new(named(Ino(11), "c")))], Durability::Written));
        let until = std::time::Instant::now() + Duration::from_secs(60);
        while journal.read(db::changes).expect("read").len() < 2 {
            assert!(std::time::Instant::now() < until, "it is never written");
            std::thread::yield_now();
        }
    }

    /// The disk ended with the change as it was before the commit that had moved it.
    #[test]
    fn a_commit_that_gives_an_item_another_path_ends_alike_in_memory_and_on_the_disk() {
        let dir = tempfile::tempdir().expect("a folder");
        let journal = Journal::open(dir.path()).expect("opens");
        let (old, new) = (ItemId::new("file:/d/a"), ItemId::new("file:/d/b"));
        let mut moved = named(Ino(100), "b");
        moved.id = Some(old.clone());
        let mut copy = named(Ino(101), "copy");
        copy.copy_of = Some(crate::journal::KnownItem {
            id: old.clone(),
            version: None,
            size: None,
        });
        let put = |change: &Change| Write::Put(Box::new(change.clone()));
        let first = journal.write(vec![put(&moved), put(&copy)], Durability::Synced);
        first.wait_blocking().expect("written");
        moved.id = Some(new.clone());
        moved.attempts = 7;
        let writes = vec![
            Write::Identify(Ino(100), new.clone()),
            Write::Rekey(old, new.clone()),
            put(&moved),
        ];
        let second = journal.write(writes, Durability::Synced);
        second.wait_blocking().expect("written");
        let changes = |journal: &Journal| [100, 101].map(|ino| journal.change(Ino(ino)).expect("there"));
        let before = changes(&journal);
        assert_eq!(*before[0], moved);
        assert_eq!(before[1].copy_of.as_ref().map(|source| &source.id), Some(&new));
        drop(journal);
        assert_eq!(changes(&Journal::open(dir.path()).expect("opens")), before);
    }

    fn binding(account: &str) -> Binding {
        Binding {
            kind: "imagerelay".into(),
            url: "https://example.org".into(),
            account: account.into(),
        }
    }

    /// What waits was made with one account, and must not be sent with another.
    #[test]
    fn another_account_is_refused_while_something_waits() {
        let dir = tempfile::tempdir().expect("a folder");
        let journal = Journal::open(dir.path()).expect("opens");
        journal.bind(&binding("anna")).expect("the first");
        put(&journal, Ino(100), "a").expect("written");
        drop(journal);
        let journal = Journal::open(dir.path()).expect("opens");
        journal.bind(&binding("anna")).expect("the same");
        let refused = journal.bind(&binding("ben")).expect_err("another").to_string();
        assert!(
            refused.contains("1 changes made as anna at https://example.org"),
            "{refused}"
        );
        assert_eq!(seen(&journal).len(), 1, "nothing is lost by that");
        let sent = journal.write(vec![Write::Drop(Ino(100))], Durability::Synced);
        sent.wait_blocking().expect("written");
        journal.bind(&binding("ben")).expect("nothing waits");
        drop(journal);
        let journal = Journal::open(dir.path()).expect("opens");
        journal.bind(&binding("ben")).expect("the same");
    }

    /// A machine that loses power keeps the log up to some byte, perhaps with rubbish behind it. What was synced is there
    /// then, of what was only written a beginning, and of no commit a half.
    #[test]
    #[allow(clippy::disallowed_methods)] // The copies are to be torn.
    fn a_log_that_a_loss_of_power_has_cut_holds_whole_commits_and_all_synced_ones() {
        const COMMITS: u64 = 12;
        const PAIRS: u64 = 1000;
        let dir = tempfile::tempdir().expect("a folder");
        let journal = Journal::open(dir.path()).expect("opens");
        let mut synced = Vec::new();
        for number in 0..COMMITS {
            let is_synced = number % 3 == 0;
            let durability = if is_synced {
                Durability::Synced
            } else {
                Durability::Written
            };
            // Two nodes in one commit: both or none.
            let pair = [Ino(100 + number), Ino(100 + PAIRS + number)];
            let puts = pair.map(|ino| Write::Put(Box::new(named(ino, &format!("{}", ino.0)))));
            journal.write(puts.into(), durability).wait_blocking().expect("written");
            if is_synced {
                synced.push((number, log_in(dir.path()).len()));
            }
        }
        let whole = log_in(dir.path());
        let database = std::fs::read(dir.path().join("journal.db")).expect("a database");
        let rubbish = [0xA5; 3000];
        let ends = synced.iter().map(|(_, len)| *len);
        let cuts = (0..whole.len()).step_by(4093).chain(ends).chain([whole.len()]);
        for (round, cut) in cuts.enumerate() {
            let after = tempfile::tempdir().expect("a folder");
            let mut left = whole[..cut].to_vec();
            match round % 3 {
                0 => {}
                1 => left.extend(rubbish),
                // As it was before anything was written.
                _ => left.resize(db::LOG_BYTES_MAX as usize, 0),
            }
            std::fs::write(after.path().join("journal.db"), &database).expect("copied");
            std::fs::write(after.path().join("journal.db-wal"), left).expect("copied");
            let journal = Journal::open(after.path()).expect("opens after a loss of power");
            let has = |ino| journal.change(Ino(ino)).is_some();
            let kept: Vec<u64> = (0..COMMITS).filter(|n| has(100 + n)).collect();
            let others: Vec<u64> = (0..COMMITS).filter(|n| has(100 + PAIRS + n)).collect();
            assert_eq!(kept, others, "half a commit, cut at {cut}");
            assert_eq!(kept, (0..kept.len() as u64).collect::<Vec<_>>(), "a hole, cut at {cut}");
            let promised = synced.iter().filter(|(_, len)| *len <= cut);
            for (number, _) in promised {
                assert!(kept.contains(number), "commit {number} was synced, cut at {cut}");
            }
        }
    }
}

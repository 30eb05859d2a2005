//! Does what happens to the drive and to the plain disk, and compares them.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;

use super::plain::{Disk, Done, Refused};
use super::{Act, CHANGES, PATHS};
use crate::model::Clock;
use crate::store::memory::Fault;
use crate::store::{Capabilities, ErrorKind, Retry, Support};
use crate::vfs::tests::rig::{ME, Rig, name};
use crate::vfs::{Caller, Error, Fh, OpenHow, RenameMode, Result};

/// The field that is set here and there.
pub const FIELD: &str = "user.memory.credit";
/// Readers at a time.
const READERS_MAX: usize = 3;
/// Programs that keep a file open for writing, at a time.
const WRITERS_MAX: usize = 2;

/// Somebody who has a file open.
struct Opened {
    fh: Fh,
    file: u32,
}

/// A drive, what it is to look like, and who reads from it.
pub struct Run {
    pub rig: Rig,
    pub disk: Disk,
    readers: Vec<Opened>,
    writers: Vec<Opened>,
}

fn is_file_name(path: usize) -> bool {
    PATHS[path].contains(".txt")
}

/// What others do to a file that is being written, and what becomes of one whose writer is killed, is tested by itself.
fn is_for_others_or_the_end(act: &Act) -> bool {
    matches!(
        act,
        Act::Settle | Act::Restart | Act::Evict | Act::LoseCache | Act::OthersMake(_) | Act::Others(..) | Act::Clash(_)
    )
}

/// Nothing but what the store cannot do may differ from a disk.
fn is_limit(error: &Error) -> bool {
    matches!(
        error,
        Error::NotPermitted(_) | Error::CrossDevice | Error::Unsupported(_) | Error::TooBig(_)
    )
}

impl Run {
    pub async fn new(store: Capabilities) -> Self {
        Self {
            rig: Rig::new(store).await,
            disk: Disk::default(),
            readers: Vec::new(),
            writers: Vec::new(),
        }
    }

    fn who(other: bool) -> Caller {
        Caller {
            pid: u32::from(other),
            ..ME
        }
    }

    /// The disk follows what was done; both must have refused or done it.
    fn judge(&mut self, real: Result<()>, plain: impl FnOnce(&mut Disk) -> Done) {
        match real {
            Err(error) if is_limit(&error) => {}
            real => {
                let mut disk = self.disk.clone();
                let done = plain(&mut disk);
                assert_eq!(real.is_ok(), done.is_ok(), "the drive says {real:?}");
                if done.is_ok() {
                    self.disk = disk;
                }
            }
        }
    }

    pub fn bytes(&self, seed: usize, len: usize) -> Vec<u8> {
        let least = match self.rig.store.shared().capabilities().empty_files {
            Support::Yes => 0,
            Support::No => 1,
        };
        (0..len.max(least)).map(|i| b'a' + ((seed + i) % 26) as u8).collect()
    }

    async fn open_and(&self, path: &str, truncate: Option<u64>, append: Option<Vec<u8>>) -> Result<()> {
        let attr = self.rig.at(path).await?;
        let how = OpenHow {
            read: true,
            write: true,
            append: append.is_some(),
            ..OpenHow::default()
        };
        let opened = self.rig.vfs.open(ME, attr.ino, how).await?;
        let outcome = async {
            if let Some(len) = truncate {
                let set = crate::vfs::SetAttr {
                    size: Some(len),
                    ..Default::default()
                };
                self.rig.vfs.setattr(ME, attr.ino, Some(opened.fh), set).await?;
            }
            if let Some(bytes) = append {
                self.rig.vfs.write_at(opened.fh, attr.size, Bytes::from(bytes)).await?;
            }
            self.rig.vfs.flush(ME, opened.fh).await
        }
        .await;
        self.rig.vfs.release(opened.fh).await;
        outcome
    }

    async fn link(&self, from: &str, to: &str) -> Result<()> {
        let ino = self.rig.at(from).await?.ino;
        let (folder, last) = to.rsplit_once('/').unwrap_or(("", to));
        let folder = self.rig.at(folder).await?.ino;
        self.rig.vfs.link(ME, ino, folder, &name(last)).await.map(drop)
    }

    #[allow(clippy::too_many_lines)] // One arm for each act.
    pub async fn step(&mut self, number: usize, act: &Act) {
        if is_for_others_or_the_end(act) {
            self.end_writing().await;
        }
        match *act {
            // Stores that serve files by name want an extension, so that only folders go without one here.
            Act::Write(p, ..) | Act::Append(p, _) | Act::Truncate(p, _) | Act::Begin(p, _) if !is_file_name(p) => {}
            Act::Copy(p, q) if p == q || !is_file_name(p) || !is_file_name(q) => {}
            Act::Mkdir(p) if is_file_name(p) => {}
            Act::Rename(p, q, _) | Act::Exchange(p, q) | Act::Link(p, q) if is_file_name(p) != is_file_name(q) => {}
            Act::Write(p, len, other) => {
                let bytes = self.bytes(number, len);
                let real = self.rig.write_as(Self::who(other), PATHS[p], &bytes).await.map(drop);
                self.judge(real, |d| d.write(PATHS[p], &bytes));
            }
            Act::Append(p, len) => {
                let bytes = self.bytes(number, len);
                let real = self.open_and(PATHS[p], None, Some(bytes.clone())).await;
                self.judge(real, |d| d.alter(PATHS[p], |all| all.extend(&bytes)));
            }
            Act::Truncate(p, len) => {
                let len = self.bytes(0, len).len();
                let real = self.open_and(PATHS[p], Some(len as u64), None).await;
                self.judge(real, |d| d.alter(PATHS[p], |all| all.resize(len, 0)));
            }
            // A file with several names has one name in the store: what a rename of one does to the others is tested
            // by itself.
            Act::Rename(p, q, _) | Act::Exchange(p, q)
                if self.disk.is_linked(PATHS[p]) || self.disk.is_linked(PATHS[q]) => {}
            Act::Rename(p, q, other) => {
                let mode = RenameMode::Replace;
                let real = self.rig.rename_as(Self::who(other), PATHS[p], PATHS[q], mode).await;
                self.judge(real, |d| d.rename(PATHS[p], PATHS[q]));
            }
            Act::Exchange(p, q) => {
                let real = self.rig.rename_as(ME, PATHS[p], PATHS[q], RenameMode::Exchange).await;
                self.judge(real, |d| d.exchange(PATHS[p], PATHS[q]));
            }
            Act::Unlink(p, other) => {
                let real = self.rig.unlink_as(Self::who(other), PATHS[p]).await;
                self.judge(real, |d| {
                    d.file(PATHS[p])?;
                    d.names.remove(PATHS[p]);
                    Ok(())
                });
            }
            Act::Mkdir(p) => {
                let real = self.rig.mkdir(PATHS[p]).await.map(drop);
                self.judge(real, |d| d.mkdir(PATHS[p]));
            }
            Act::Rmdir(p) => {
                let real = self.rig.rmdir(PATHS[p]).await;
                self.judge(real, |d| {
                    if !d.is_folder(PATHS[p]) || !d.below(PATHS[p]).is_empty() {
                        return Err(Refused);
                    }
                    d.names.remove(PATHS[p]);
                    Ok(())
                });
            }
            Act::Link(p, q) => {
                let real = self.link(PATHS[p], PATHS[q]).await;
                self.judge(real, |d| {
                    let id = d.file(PATHS[p])?;
                    d.reachable(PATHS[q])?;
                    match d.names.insert(PATHS[q].to_owned(), Some(id)) {
                        None => Ok(()),
                        Some(_) => Err(Refused),
                    }
                });
            }
            Act::Copy(p, q)
                if self
                    .disk
                    .file(PATHS[p])
                    .is_ok_and(|p| self.disk.file(PATHS[q]).is_ok_and(|q| p == q)) => {}
            Act::Copy(p, q) => {
                let real = self.rig.copy(PATHS[p], PATHS[q]).await;
                self.judge(real, |d| {
                    let bytes = d.bytes(PATHS[p]).ok_or(Refused)?.to_vec();
                    d.write(PATHS[q], &bytes)
                });
            }
            Act::SetXattr(p, n) => self.set_and_get(PATHS[p], n).await,
            Act::Advance(secs) => {
                self.rig.clock.advance(Duration::from_secs(secs));
                // Now and then not at all, so that what follows meets requests under way.
                if !number.is_multiple_of(3) {
                    self.rig.rest().await;
                }
            }
            Act::Settle => self.settle().await,
            Act::Open(p) => self.open(PATHS[p]).await,
            Act::Begin(p, len) => self.begin_writing(PATHS[p], &self.bytes(number, len)).await,
            Act::More(len) => self.write_more(&self.bytes(number, len)).await,
            Act::End => self.end_writing().await,
            Act::Restart => self.restart().await,
            Act::Evict => self.evict().await,
            Act::LoseCache => self.lose_cache().await,
            Act::Relist => self.rig.vfs.refresh("/").await.expect("a listing"),
            Act::OthersMake(p) => self.others_make(number, PATHS[p]).await,
            Act::Others(which, theirs) => self.others(number, which, theirs).await,
            Act::Clash(clash) => self.clash(number, clash).await,
            Act::Refuse(op) => {
                let fault = Fault::Fail(ErrorKind::Network, Retry::After(Duration::from_secs(1)));
                self.rig.store.faults().inject(CHANGES[op], 1, fault);
            }
            Act::LoseAnswer(op) => self.rig.store.faults().inject(CHANGES[op], 1, Fault::LoseAnswer),
            Act::Lag(lags) => {
                let most = self.rig.store.shared().capabilities().listing_lag_max;
                let lag = if lags { most / 2 } else { Duration::ZERO };
                let now = self.rig.clock.now();
                self.rig.store.turn(|knobs| {
                    knobs.listing_lag = lag;
                    // A server's index comes late, and does not forget what it has shown.
                    knobs.indexed_to = Some(now);
                });
            }
        }
    }

    async fn set_and_get(&self, path: &str, n: usize) {
        if self.disk.file(path).is_err() {
            return;
        }
        let ino = self.rig.at(path).await.expect("there").ino;
        let value = format!("value {n}");
        let set = self
            .rig
            .vfs
            .setxattr(ME, ino, FIELD, value.as_bytes(), Default::default());
        match set.await {
            Ok(()) => {
                let got = self.rig.vfs.getxattr(ino, FIELD).await.expect("it was set");
                assert_eq!(got, value.as_bytes());
            }
            Err(error) => assert!(is_limit(&error), "setxattr: {error:?}"),
        }
    }

    async fn open(&mut self, path: &str) {
        let Ok(file) = self.disk.file(path) else { return };
        if self.readers.len() == READERS_MAX {
            return;
        }
        let ino = self.rig.at(path).await.expect("there").ino;
        let how = OpenHow {
            read: true,
            ..OpenHow::default()
        };
        let fh = self.rig.vfs.open(ME, ino, how).await.expect("it opens").fh;
        self.readers.push(Opened { fh, file });
        // What has been read is kept for the reader, whatever becomes of the file in the store.
        self.compare_readers("it was opened").await;
    }

    async fn begin_writing(&mut self, path: &str, bytes: &[u8]) {
        let Ok(file) = self.disk.file(path) else { return };
        if self.writers.len() == WRITERS_MAX {
            return;
        }
        let ino = self.rig.at(path).await.expect("there").ino;
        let how = OpenHow {
            write: true,
            append: true,
            ..OpenHow::default()
        };
        match self.rig.vfs.open(ME, ino, how).await {
            Ok(opened) => self.writers.push(Opened { fh: opened.fh, file }),
            Err(error) if is_limit(&error) => return,
            Err(error) => panic!("{path} does not open: {error:?}"),
        }
        self.write_more(bytes).await;
    }

    async fn write_more(&mut self, bytes: &[u8]) {
        for writer in &self.writers {
            let held = self.disk.files.get_mut(&writer.file).expect("it is open");
            let at = held.len() as u64;
            let written = self
                .rig
                .vfs
                .write_at(writer.fh, at, Bytes::copy_from_slice(bytes))
                .await;
            match written {
                Ok(_) => held.extend(bytes),
                Err(error) => assert!(is_limit(&error), "write: {error:?}"),
            }
        }
    }

    pub async fn end_writing(&mut self) {
        for writer in std::mem::take(&mut self.writers) {
            self.rig.vfs.flush(ME, writer.fh).await.expect("flushed");
            self.rig.vfs.release(writer.fh).await;
        }
    }

    /// What readers of a file see from now on is tested by itself.
    pub async fn close_readers_of(&mut self, file: u32) {
        for reader in self.readers.extract_if(.., |reader| reader.file == file) {
            self.rig.vfs.release(reader.fh).await;
        }
    }

    pub async fn restart(&mut self) {
        self.readers.clear();
        self.rig.crash().await;
    }

    /// A day later nothing that was sent is kept here for its own sake.
    async fn evict(&mut self) {
        self.rig.clock.advance(Duration::from_secs(90_000));
        self.rig.rest().await;
        let cache = &self.rig.vfs.cache;
        let limit = cache.stats().limit_bytes;
        cache.set_limit(0);
        cache.evict_to_limit().await.expect("evicted");
        cache.set_limit(limit);
    }

    /// What the store has must be asked for anew: it has to know itself by then.
    async fn lose_cache(&mut self) {
        self.rig.store.turn(|knobs| knobs.listing_lag = Duration::ZERO);
        self.readers.clear();
        self.rig.crash_without_cache().await;
    }

    /// Time passes until listings know everything, and are believed about what was changed here a moment ago; then each
    /// folder is read.
    pub async fn catch_up(&mut self) {
        self.rig.store.turn(|knobs| knobs.listing_lag = Duration::ZERO);
        self.rig.clock.advance(Duration::from_secs(2000));
        self.rig.rest().await;
        let folders = self.disk.names.iter().filter(|(_, node)| node.is_none());
        let folders: Vec<&str> = folders.map(|(path, _)| path.as_str()).collect();
        for folder in std::iter::once("").chain(folders) {
            self.list(folder).await;
        }
    }

    /// Reads a folder; one that others have just moved may be elsewhere by now.
    pub async fn list(&self, folder: &str) {
        let mut listed = self.rig.vfs.refresh(folder).await;
        for _ in 0..20 {
            if !matches!(&listed, Err(Error::Store(e)) if e.is_not_found()) {
                break;
            }
            self.rig.clock.advance(Duration::from_secs(1));
            self.rig.rest().await;
            listed = self.rig.vfs.refresh(folder).await;
        }
        listed.unwrap_or_else(|e| panic!("{folder:?} is not listed: {e:?}"));
    }

    pub async fn compare(&self, after: &str) {
        assert_eq!(self.rig.tree().await, self.disk.tree(), "what is seen after {after}");
        self.compare_readers(after).await;
    }

    async fn compare_readers(&self, after: &str) {
        for reader in &self.readers {
            let read = self.rig.vfs.read(reader.fh, 0, 65_536).await;
            let read = read.unwrap_or_else(|e| panic!("a reader fails after {after}: {e:?}"));
            assert_eq!(
                &read[..],
                self.disk.files[&reader.file],
                "what a reader sees after {after}"
            );
        }
    }

    pub async fn settle(&self) {
        self.rig.settle().await;
        let report = self.rig.vfs.sync(None, Some(Duration::ZERO)).await.expect("a report");
        assert_eq!((report.parked, report.held), (0, 0), "{:?}", report.problems);
        // A backup that a program keeps beside the new file may stay on this machine.
        let local = |path: &&String| path.ends_with('~');
        let wanted = self.disk.tree();
        let stored = self.rig.stored();
        let here: BTreeSet<_> = wanted.iter().filter(|(path, _)| !local(path)).collect();
        let there: BTreeSet<_> = stored.iter().filter(|(path, _)| !local(path)).collect();
        assert_eq!(there, here, "what the store holds");
        for (path, bytes) in stored.iter().filter(|(path, _)| local(path)) {
            assert_eq!(wanted.get(path), Some(bytes), "{path}");
        }
    }

    pub async fn end(self) {
        self.rig.vfs.stop().await;
    }
}

//! A drive, mostly on a store in memory, with a clock that moves when a test says so.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::cache::{Cache, CacheConfig};
use crate::catalog::Catalog;
use crate::http::Budget;
use crate::journal::{Durability, Journal, UploaderConfig};
use crate::model::{Clock, Ino, Kind, ManualClock, Name, Timestamp};
use crate::store::memory::{self as presets, MemoryStore, Op};
use crate::store::{Capabilities, CreateFile, CreateFolder, SharedStore};
use crate::vfs::{Aim, Attr, Caller, Fh, Lookup, OpenHow, Parts, RenameMode, Result, Vfs, VfsConfig};

/// The first program.
pub const ME: Caller = Caller { uid: 0, gid: 0, pid: 0 };

/// Bytes that a program asks to have copied at a time: as many as there are.
const COPY_MAX: u64 = 1 << 40;

/// A drive, as programs and the clock see it.
pub struct Drive {
    pub vfs: Vfs,
    pub clock: Arc<ManualClock>,
}

/// A drive on a store in memory.
pub struct Rig {
    drive: Drive,
    pub store: MemoryStore,
    dir: tempfile::TempDir,
    config: VfsConfig,
    uploader: UploaderConfig,
}

impl std::ops::Deref for Rig {
    type Target = Drive;

    fn deref(&self) -> &Drive {
        &self.drive
    }
}

pub fn name(text: &str) -> Name {
    Name::new(text).expect("a valid name")
}

/// What the real stores are like, where one may create anything anywhere.
pub fn all_stores() -> [Capabilities; 5] {
    [
        presets::like_imagerelay(),
        presets::like_flextype(),
        Capabilities {
            create_file: CreateFile::Anywhere,
            create_folder: CreateFolder::Anywhere,
            ..presets::like_omeka()
        },
        Capabilities {
            create_file: CreateFile::Anywhere,
            ..presets::like_im4()
        },
        presets::whole(),
    ]
}

impl Vfs {
    /// A write as the kernel sends it through a handle that was opened so.
    pub async fn write_at(&self, fh: Fh, offset: u64, data: Bytes) -> Result<u32> {
        let aim = match self.handles.file(fh)?.how.append {
            true => Aim::End,
            false => Aim::Offset,
        };
        self.write(fh, offset, data, aim).await
    }
}

impl Rig {
    /// Waits, and moves the clock, until the store has been asked so often.
    pub async fn asked(&self, op: Op, calls: u64) {
        for _ in 0..3000 {
            if self.store.faults().calls(op) >= calls {
                return;
            }
            self.clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("{op:?} never comes");
    }

    pub async fn new(capabilities: Capabilities) -> Self {
        Self::with(capabilities, VfsConfig::default(), UploaderConfig::default()).await
    }

    pub async fn with(capabilities: Capabilities, config: VfsConfig, uploader: UploaderConfig) -> Self {
        let clock = ManualClock::starting(Timestamp::from_secs(1_780_000_000));
        let store = MemoryStore::new(capabilities, clock.clone());
        Self::on(store, clock, config, uploader).await
    }

    /// A drive on a store that is there already.
    pub async fn on(store: MemoryStore, clock: Arc<ManualClock>, config: VfsConfig, uploader: UploaderConfig) -> Self {
        let dir = memory_dir();
        let vfs = start(&store, &clock, dir.path(), &config, &uploader).await;
        Self {
            drive: Drive { vfs, clock },
            store,
            dir,
            config,
            uploader,
        }
    }

    /// Where the drive keeps what it has.
    pub fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// Ends the daemon without warning and starts another one on what it left.
    pub async fn crash(&mut self) {
        self.end().await;
        self.drive.vfs = start(&self.store, &self.clock, self.dir.path(), &self.config, &self.uploader).await;
    }

    /// A new file that is not in the log yet may be lost with the daemon, for some milliseconds; these tests do not play that
    /// game of chance.
    async fn end(&self) {
        self.vfs.stop().await;
        let last = self.vfs.journal.write(Vec::new(), Durability::Written);
        // A journal that is out of order has told whoever it concerns.
        last.wait().await.ok();
    }

    /// The same, after the loss of all that can be had again.
    pub async fn crash_without_cache(&mut self) {
        self.end().await;
        std::fs::remove_dir_all(self.dir.path().join("cache")).expect("the cache is removed");
        self.drive.vfs = start(&self.store, &self.clock, self.dir.path(), &self.config, &self.uploader).await;
    }

    /// What the store holds, in the same form as [`Drive::tree`].
    pub fn stored(&self) -> std::collections::BTreeMap<String, Option<Vec<u8>>> {
        let mut tree = std::collections::BTreeMap::new();
        let remote = self.store.remote();
        let mut folders = vec![(String::new(), remote.root())];
        while let Some((path, id)) = folders.pop() {
            for child in remote.children(&id) {
                let below = format!("{path}/{}", child.name);
                match child.kind {
                    Kind::Folder => {
                        tree.insert(below.clone(), None);
                        folders.push((below, child.id));
                    }
                    Kind::File => {
                        let bytes = remote.bytes(&child.id).map(|b| b.to_vec()).unwrap_or_default();
                        tree.insert(below, Some(bytes));
                    }
                }
            }
        }
        tree
    }
}

impl Drive {
    /// Moves the clock until everything that can be sent is sent.
    pub async fn settle(&self) {
        for round in 0..400 {
            let report = self
                .vfs
                .sync(None, Some(Duration::ZERO))
                .await
                .expect("the journal can be read");
            if report.pending == 0 {
                // What is asked for afterwards is later than what has been done: else a listing counts for nothing.
                self.clock.advance(Duration::from_millis(1));
                return;
            }
            self.rest().await;
            self.clock
                .advance(Duration::from_secs(if round < 100 { 1 } else { 10 }));
        }
        panic!("never settles: {:#?}", self.vfs.queue(None).await);
    }

    /// Lets the uploader do what it can at this moment; answers whether that was all.
    pub async fn rest(&self) -> bool {
        for _ in 0..20 {
            if self.vfs.uploader().is_some_and(|uploader| uploader.is_at_rest()) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        false
    }

    /// Seconds, in each of which all that is due is done.
    pub async fn pass(&self, seconds: u64) {
        for _ in 0..seconds {
            self.clock.advance(Duration::from_secs(1));
            self.rest().await;
        }
    }

    /// As the kernel's side does it: the short way where that can tell, else the long one.
    async fn either<T: Send + 'static>(
        &self,
        quick: impl FnOnce(&Vfs) -> Result<Option<T>> + Send + 'static,
        long: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let vfs = self.vfs.clone();
        let done = tokio::task::spawn_blocking(move || quick(&vfs)).await;
        match done.expect("no panic")? {
            Some(done) => Ok(done),
            None => long.await,
        }
    }

    async fn lookup(&self, who: Caller, folder: Ino, name: &Name) -> Result<Lookup> {
        let wanted = name.clone();
        let quick = move |vfs: &Vfs| vfs.lookup_quickly(folder, &wanted);
        self.either(quick, self.vfs.lookup(who, folder, name)).await
    }

    async fn release(&self, fh: Fh) {
        let long = async {
            self.vfs.release(fh).await;
            Ok(())
        };
        let released = self.either(move |vfs| Ok(vfs.release_quickly(fh)), long);
        released.await.expect("cannot fail");
    }

    pub async fn at(&self, path: &str) -> Result<Attr> {
        let mut ino = Ino::ROOT;
        for part in path.split('/').filter(|p| !p.is_empty()) {
            ino = match self.lookup(ME, ino, &name(part)).await? {
                Lookup::Found(attr) => attr.ino,
                Lookup::Absent => return Err(crate::vfs::Error::NotFound),
            };
        }
        self.vfs.getattr(ino, None).await
    }

    async fn split(&self, path: &str) -> Result<(Ino, Name)> {
        let (folder, last) = path.rsplit_once('/').unwrap_or(("", path));
        Ok((self.at(folder).await?.ino, name(last)))
    }

    /// Creates or overwrites, as `cp` does.
    pub async fn write(&self, path: &str, bytes: &[u8]) -> Result<Ino> {
        self.write_as(ME, path, bytes).await
    }

    pub async fn write_as(&self, who: Caller, path: &str, bytes: &[u8]) -> Result<Ino> {
        let (ino, fh) = self.open_emptied(who, path).await?;
        let mut at = 0;
        for part in bytes.chunks(4096) {
            let part = Bytes::copy_from_slice(part);
            let (bytes, len) = (part.clone(), part.len() as u64);
            let quick = move |vfs: &Vfs| vfs.write_quickly(fh, at, &bytes, Aim::Offset);
            self.either(quick, self.vfs.write_at(fh, at, part)).await?;
            at += len;
        }
        let flushed = self.either(move |vfs| vfs.flush_quickly(who, fh), self.vfs.flush(who, fh));
        flushed.await?;
        self.release(fh).await;
        Ok(ino)
    }

    /// Opens for writing what is to be written anew, or made.
    async fn open_emptied(&self, who: Caller, path: &str) -> Result<(Ino, Fh)> {
        let (folder, last) = self.split(path).await?;
        let how = OpenHow {
            write: true,
            truncate: true,
            ..OpenHow::default()
        };
        Ok(match self.lookup(who, folder, &last).await? {
            Lookup::Found(attr) => (attr.ino, self.vfs.open(who, attr.ino, how).await?.fh),
            Lookup::Absent => {
                let wanted = last.clone();
                let quick = move |vfs: &Vfs| vfs.create_quickly(who, folder, &wanted, 0o644, how);
                let created = self.either(quick, self.vfs.create(who, folder, &last, 0o644, how));
                let (attr, opened) = created.await?;
                (attr.ino, opened.fh)
            }
        })
    }

    /// Copies a file as `cp` does: the bytes need not come by here.
    pub async fn copy(&self, from: &str, to: &str) -> Result<()> {
        let source = self.open_to_read(from).await?.fh;
        let copied = async {
            let (_, target) = self.open_emptied(ME, to).await?;
            let mut done = 0;
            let copied = async {
                loop {
                    match self
                        .vfs
                        .copy_file_range(ME, source, done, target, done, COPY_MAX)
                        .await?
                    {
                        0 => return self.vfs.flush(ME, target).await,
                        more => done += more,
                    }
                }
            };
            let copied = copied.await;
            self.vfs.release(target).await;
            copied
        };
        let copied = copied.await;
        self.vfs.release(source).await;
        copied
    }

    /// Opens for reading. As the kernel does, walks the path anew when the node changed under it.
    async fn open_to_read(&self, path: &str) -> Result<crate::vfs::Opened> {
        let how = OpenHow {
            read: true,
            ..OpenHow::default()
        };
        let mut opened = Err(crate::vfs::Error::Stale);
        for _ in 0..3 {
            let found = self.at(path).await;
            opened = match found {
                Ok(attr) => self.vfs.open(ME, attr.ino, how).await,
                Err(error) => Err(error),
            };
            if !matches!(opened, Err(crate::vfs::Error::Stale)) {
                break;
            }
        }
        opened
    }

    pub async fn read(&self, path: &str) -> Result<Vec<u8>> {
        let opened = self.open_to_read(path).await?;
        let mut all = Vec::new();
        loop {
            let part = self
                .patiently(self.vfs.read(opened.fh, all.len() as u64, 65_536))
                .await?;
            if part.is_empty() {
                break;
            }
            all.extend_from_slice(&part);
        }
        self.release(opened.fh).await;
        Ok(all)
    }

    /// Waits for something that may pause and try again: then only time helps.
    async fn patiently<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        for _ in 0..200 {
            match tokio::time::timeout(Duration::from_millis(200), &mut work).await {
                Ok(done) => return done,
                Err(_) => self.clock.advance(Duration::from_secs(1)),
            }
        }
        panic!("no answer, however long it is waited for");
    }

    pub async fn mkdir(&self, path: &str) -> Result<Attr> {
        let (folder, last) = self.split(path).await?;
        self.vfs.mkdir(ME, folder, &last, 0o755).await
    }

    pub async fn unlink(&self, path: &str) -> Result<()> {
        self.unlink_as(ME, path).await
    }

    pub async fn unlink_as(&self, who: Caller, path: &str) -> Result<()> {
        let (folder, last) = self.split(path).await?;
        self.vfs.unlink(who, folder, &last).await
    }

    pub async fn rmdir(&self, path: &str) -> Result<()> {
        let (folder, last) = self.split(path).await?;
        self.vfs.rmdir(ME, folder, &last).await
    }

    pub async fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.rename_as(ME, from, to, RenameMode::Replace).await
    }

    pub async fn rename_as(&self, who: Caller, from: &str, to: &str, mode: RenameMode) -> Result<()> {
        let (folder, last) = self.split(from).await?;
        let (to_folder, to_last) = self.split(to).await?;
        self.vfs.rename(who, folder, &last, to_folder, &to_last, mode).await
    }

    pub async fn names(&self, path: &str) -> Vec<String> {
        let ino = self.at(path).await.expect("the folder is there").ino;
        // Where ids are paths, a folder is out of reach from a move whose answer was lost until that is asked after.
        let mut opened = self.vfs.opendir(ME, ino).await;
        for _ in 0..20 {
            if !matches!(&opened, Err(crate::vfs::Error::Store(e)) if e.is_not_found()) {
                break;
            }
            self.clock.advance(Duration::from_secs(1));
            self.rest().await;
            opened = self.vfs.opendir(ME, ino).await;
        }
        let fh = opened.expect("opens");
        let entries = self.vfs.readdir(fh, 0, usize::MAX).await.expect("lists");
        self.vfs.releasedir(fh).await;
        entries
            .into_iter()
            .map(|e| e.name.to_string())
            .filter(|n| n != "." && n != "..")
            .collect()
    }

    /// The whole visible tree: path → bytes, `None` for a folder.
    pub async fn tree(&self) -> std::collections::BTreeMap<String, Option<Vec<u8>>> {
        let mut tree = std::collections::BTreeMap::new();
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            for child in self.names(&folder).await {
                let path = format!("{folder}/{child}");
                match self.at(&path).await.expect("listed, so there").kind {
                    Kind::Folder => {
                        tree.insert(path.clone(), None);
                        folders.push(path);
                    }
                    Kind::File => {
                        let bytes = self.read(&path).await.expect("readable");
                        tree.insert(path, Some(bytes));
                    }
                }
            }
        }
        tree
    }
}

/// A folder on a disk in memory, where there is one: what a real disk does to the data is not tested here.
pub fn memory_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a folder")
}

async fn start(
    store: &MemoryStore,
    clock: &Arc<ManualClock>,
    dir: &std::path::Path,
    config: &VfsConfig,
    uploader: &UploaderConfig,
) -> Vfs {
    start_on(store.shared(), clock.clone(), dir, config, uploader, None).await
}

/// A drive on any store.
pub async fn start_on(
    shared: SharedStore,
    clock: Arc<dyn Clock>,
    dir: &std::path::Path,
    config: &VfsConfig,
    uploader: &UploaderConfig,
    budget: Option<Arc<dyn Budget>>,
) -> Vfs {
    let state = dir.join("state");
    for folder in ["state", "state/staging", "cache", "cache/content"] {
        crate::disk::create_private_dir(&dir.join(folder)).expect("a folder");
    }
    let cache_config = CacheConfig::new(dir.join("cache/content"), state.join("staging"));
    let cache = Cache::open(cache_config, shared.clone(), clock.clone())
        .await
        .expect("the cache opens");
    let root = shared.root().await.expect("the root is told");
    let parts = Parts {
        store: shared,
        catalog: Arc::new(Catalog::open(&dir.join("cache/catalog.db")).expect("the catalog opens")),
        cache,
        journal: Journal::open(&state).expect("the journal opens"),
        clock,
        config: config.clone(),
        uploader: uploader.clone(),
        budget,
        staging_dir: state.join("staging"),
    };
    Vfs::start(parts, root).await.expect("the drive starts")
}

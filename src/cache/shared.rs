//! The cache as a whole: finding bodies, making new ones, its bounds.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::disk;
use crate::model::{ContentVersion, Entry, ItemId, Ranges, SharedClock};
use crate::store::SharedStore;

use super::answer::Answers;
use super::body::{Body, BodyId};
use super::config::CacheConfig;
use super::error::{CacheError, Result};
use super::held::Held;
use super::index::Index;
use super::map::BlockMap;
use super::pacing::Pacing;
use super::state::{Content, Dirty, OpenFile, Phase, State};
use super::stats::{Counters, Stats};
use super::unsound::Unsound;

/// Threads that the cache may block at a time.
const BLOCKING_MAX: usize = 64;

/// What names a clean body.
pub(super) type Key = (ItemId, ContentVersion);

/// All bodies of one store.
#[derive(Clone)]
pub struct Cache {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) config: CacheConfig,
    pub(super) store: SharedStore,
    pub(super) clock: SharedClock,
    pub(super) index: Index,
    /// Clean bodies in use. A value is never dropped while this is locked: its drop takes the lock.
    pub(super) registry: Mutex<HashMap<Key, Weak<Body>>>,
    /// One at a time of the downloads that bring all neighbours, by their folder.
    pub(super) bundles: Mutex<HashMap<ItemId, Weak<tokio::sync::Mutex<()>>>>,
    /// Bodies in staging/ that could not be synced.
    pub(super) unsound: Unsound,
    pub(super) blocking: Arc<Semaphore>,
    pub(super) streams: Arc<Semaphore>,
    pub(super) pacing: Pacing,
    pub(super) answers: Answers,
    pub(super) counters: Counters,
    /// What of the clean bodies is on the disk.
    pub(super) held: Held,
    /// Most bytes of them.
    pub(super) limit_bytes: AtomicU64,
    /// What they leave free.
    pub(super) floor_bytes: u64,
    /// Bytes asked for ahead of readers that have not come yet.
    pub(super) in_flight_bytes: AtomicU64,
    /// Downloads under way.
    pub(super) downloads: AtomicUsize,
    /// How much had been fetched when free memory was last given back.
    pub(super) trimmed_at_bytes: AtomicU64,
    /// Bytes that may be written before the free space is looked at again.
    pub(super) unchecked_bytes: AtomicU64,
    /// Whether content/ and staging/ are on one file system.
    pub(super) by_rename: bool,
    pub(super) evicting: AtomicBool,
}

impl Cache {
    /// Opens the folders and the index of `config`; makes them when they are not there. Only one process may have them.
    pub async fn open(config: CacheConfig, store: SharedStore, clock: SharedClock) -> Result<Self> {
        let opened = tokio::task::spawn_blocking(move || Shared::open(config, store, clock));
        let shared = opened.await.map_err(|_| CacheError::Stopped)??;
        let shared = Arc::new(shared);
        let sweeping = shared.clone();
        tokio::spawn(async move {
            let shared = sweeping.clone();
            if let Err(error) = sweeping.blocking(move || shared.sweep()).await {
                tracing::warn!(%error, "the content folder could not be tidied");
            }
        });
        Ok(Self { shared })
    }

    /// The clean body of this version of a file; the same one for all who ask while it is in use. Looks at nothing yet.
    pub fn body(&self, entry: &Entry) -> Arc<Body> {
        Shared::body(&self.shared, entry)
    }

    /// A new file: empty, dirty, complete.
    pub async fn new_dirty(&self) -> Result<Arc<Body>> {
        let cache = self.clone();
        self.shared.blocking(move || cache.new_dirty_now()).await
    }

    /// The same. Blocks.
    pub fn new_dirty_now(&self) -> Result<Arc<Body>> {
        let id = BodyId::random();
        let path = self.shared.staging_path(id);
        let file = Arc::new(disk::open_private(&path, true)?);
        Ok(dirty(self.shared.clone(), id, OpenFile { file, path }, 0, None))
    }

    /// A dirty body that an earlier run left in staging/, all of it there; `base` is the entry it was based on.
    pub async fn reopen_dirty(&self, id: BodyId, base: Option<&Entry>) -> Result<Arc<Body>> {
        let shared = self.shared.clone();
        let base = base.cloned();
        self.shared
            .blocking(move || {
                let path = shared.staging_path(id);
                let file = Arc::new(disk::open_private(&path, false)?);
                let size = file
                    .metadata()
                    .map_err(|e| disk::DiskError::new("look at", &path, e))?
                    .len();
                Ok(dirty(shared, id, OpenFile { file, path }, size, base))
            })
            .await
    }

    /// Gives a body in staging/ exactly these bytes, also when its file is gone. Not synced. Blocks.
    pub fn restore_staged(&self, id: BodyId, bytes: &[u8]) -> Result<()> {
        let path = self.shared.staging_path(id);
        let file = match disk::open_private(&path, false) {
            Err(error) if error.is_not_found() => disk::open_private(&path, true)?,
            opened => opened?,
        };
        disk::write_at(&file, &path, 0, bytes)?;
        disk::set_len(&file, &path, bytes.len() as u64)?;
        Ok(())
    }

    /// Makes bodies in staging/ durable with their names, as far as the system knows; one that has left it needs nothing.
    /// Blocks.
    pub fn sync_staged(&self, ids: &[BodyId]) -> Result<()> {
        match self.sync_each(ids)?.into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }

    /// The same; answers which of them are not durable, also for what happened before. Blocks.
    pub fn sync_each(&self, ids: &[BodyId]) -> Result<Vec<(BodyId, CacheError)>> {
        let (mut files, mut failed) = (Vec::with_capacity(ids.len()), Vec::new());
        for id in ids {
            let path = self.shared.staging_path(*id);
            match disk::open_private(&path, false) {
                Ok(file) => files.push((*id, file, path)),
                Err(error) if error.is_not_found() => self.shared.unsound.forget(*id),
                Err(error) => failed.push((*id, error.into())),
            }
        }
        // All of them begin before the first is waited for.
        for (_, file, _) in &files {
            disk::begin_writeback(file, 0, 0);
        }
        for (id, file, path) in &files {
            if let Err(error) = self.shared.unsound.sync(*id, file, path) {
                failed.push((*id, error.into()));
            }
        }
        if !files.is_empty() {
            disk::sync_dir(&self.shared.config.staging_dir)?;
        }
        Ok(failed)
    }

    /// Whether the disk has failed to keep the bytes of a body.
    pub fn is_unsound(&self, id: BodyId) -> bool {
        self.shared.unsound.has(id)
    }

    /// All bodies in staging/: what the journal does not know of them was left by a crash.
    pub async fn staged(&self) -> Result<Vec<BodyId>> {
        let folder = self.shared.config.staging_dir.clone();
        self.shared
            .blocking(move || {
                let unreadable = |e| CacheError::from(disk::DiskError::new("list", &folder, e));
                let mut ids = Vec::new();
                for entry in std::fs::read_dir(&folder).map_err(unreadable)? {
                    ids.extend(entry.map_err(unreadable)?.file_name().to_str().and_then(BodyId::parse));
                }
                Ok(ids)
            })
            .await
    }

    /// Where a dirty body of this name lies or would lie.
    pub fn staging_path(&self, id: BodyId) -> PathBuf {
        self.shared.staging_path(id)
    }

    /// Whether bodies keep their open file when they are promoted or published. Where not (cache and state on two file
    /// systems), a backing file handed to the kernel becomes stale at promotion.
    pub fn moves_by_rename(&self) -> bool {
        self.shared.by_rename
    }

    /// Keeps this version of a file for good. Its bytes come with [`Body::complete`].
    pub async fn pin(&self, entry: &Entry) -> Result<Arc<Body>> {
        let body = self.body(entry);
        body.opened().await?;
        self.set_pinned(entry.id.clone(), Some(entry.version.clone()), true)
            .await?;
        Ok(body)
    }

    /// No longer keeps any version of `item`.
    pub async fn unpin(&self, item: &ItemId) -> Result<()> {
        self.set_pinned(item.clone(), None, false).await
    }

    /// Whether this version of a file is kept for good.
    pub async fn is_pinned(&self, entry: &Entry) -> Result<bool> {
        let (shared, item, version) = (self.shared.clone(), entry.id.clone(), entry.version.clone());
        self.shared
            .blocking(move || shared.index.lock()?.is_pinned(&item, &version))
            .await
    }

    /// Whether all of this version of a file is here and kept for good, as far as the index knows: of what is in use it may
    /// know too little.
    pub async fn is_kept(&self, entry: &Entry) -> Result<bool> {
        let (shared, item, version) = (self.shared.clone(), entry.id.clone(), entry.version.clone());
        self.shared
            .blocking(move || {
                let index = shared.index.lock()?;
                // Small bodies are not synced: they count by what was there when they were closed.
                let complete = index
                    .find(&item, &version)?
                    .is_some_and(|record| record.complete || record.size == Some(record.bytes));
                Ok(complete && index.is_pinned(&item, &version)?)
            })
            .await
    }

    async fn set_pinned(&self, item: ItemId, version: Option<ContentVersion>, pinned: bool) -> Result<()> {
        let shared = self.shared.clone();
        self.shared
            .blocking(move || {
                shared
                    .index
                    .lock()?
                    .set_pinned(&item, version.as_ref(), pinned)
                    .map(|_| ())
            })
            .await
    }

    /// Room that a clean body takes on the disk, in units of 512 bytes, as `st_blocks`. One byte of a file that has any is
    /// always counted: `tar --sparse` reads nothing of a file that takes no room.
    pub fn blocks_of(&self, item: &ItemId, version: &ContentVersion, size: u64) -> u64 {
        let here = self.shared.held.bytes_of(item, version);
        here.clamp(size.min(1), size.max(1)).div_ceil(512)
    }

    /// The same of a dirty one, which may have holes. Looks at its file.
    pub fn staged_blocks(&self, id: BodyId) -> Option<u64> {
        std::fs::metadata(self.staging_path(id))
            .ok()
            .map(|meta| std::os::unix::fs::MetadataExt::blocks(&meta))
    }

    /// Bytes of clean bodies on the disk.
    pub fn usage(&self) -> u64 {
        self.shared.held.total_bytes()
    }

    /// What it has done and uses.
    pub fn stats(&self) -> Stats {
        let shared = &self.shared;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            used_bytes: shared.held.total_bytes(),
            limit_bytes: read(&shared.limit_bytes),
            fetches: read(&shared.counters.fetches),
            fetched_bytes: read(&shared.counters.fetched_bytes),
            retries: read(&shared.counters.retries),
            hits: read(&shared.counters.hits),
            hit_bytes: read(&shared.counters.hit_bytes),
            misses: read(&shared.counters.misses),
            miss_bytes: read(&shared.counters.miss_bytes),
            ahead_bytes: read(&shared.counters.ahead_bytes),
            ahead_read_bytes: read(&shared.counters.ahead_read_bytes),
            evictions: read(&shared.counters.evictions),
            healed: read(&shared.counters.healed),
            in_flight_bytes: read(&shared.in_flight_bytes),
            streams: shared.pacing.streams() as u64,
        }
    }

    /// Writes down what closed bodies left behind; call it before the program ends. Without it, the next start finds out.
    pub async fn close(&self) -> Result<()> {
        let shared = self.shared.clone();
        self.shared.blocking(move || shared.index.lock().map(drop)).await
    }
}

fn dirty(shared: Arc<Shared>, id: BodyId, file: OpenFile, size: u64, base: Option<Entry>) -> Arc<Body> {
    let phase = Phase::Dirty(Dirty {
        base: base.as_ref().map(|entry| entry.version.clone()),
        missing: Ranges::new(),
        name_synced: false,
    });
    let base_size = base.as_ref().and_then(|entry| entry.size).unwrap_or(0);
    let state = State {
        id: Some(id),
        file: Some(file),
        size,
        content: Content::Known(BlockMap::whole(base_size, shared.config.block_bytes, None)),
        entry: base.map(Arc::new),
        ..State::empty(phase)
    };
    Body::with_state(shared, state)
}

impl Shared {
    fn open(config: CacheConfig, store: SharedStore, clock: SharedClock) -> Result<Self> {
        disk::create_private_dir(&config.content_dir)?;
        disk::create_private_dir(&config.staging_dir)?;
        let index = Index::open(&config.content_dir)?;
        let held = Held::default();
        index.lock()?.each(|key, bytes| held.add(&key, bytes))?;
        let free_bytes = disk::free_space(&config.content_dir)?.free_bytes;
        let device = |folder: &PathBuf| {
            std::fs::metadata(folder)
                .map(|meta| std::os::unix::fs::MetadataExt::dev(&meta))
                .map_err(|e| disk::DiskError::new("look at", folder, e))
        };
        Ok(Self {
            by_rename: device(&config.content_dir)? == device(&config.staging_dir)?,
            unsound: Unsound::default(),
            blocking: Arc::new(Semaphore::new(BLOCKING_MAX)),
            streams: Arc::new(Semaphore::new(config.streams_in_all())),
            answers: Answers::new(config.answers_kib()),
            pacing: Pacing::new(config.streams_per_file_max),
            limit_bytes: AtomicU64::new(config.limit_on(free_bytes, held.total_bytes())),
            floor_bytes: config.floor_on(free_bytes),
            held,
            registry: Mutex::default(),
            bundles: Mutex::default(),
            counters: Counters::default(),
            in_flight_bytes: AtomicU64::new(0),
            downloads: AtomicUsize::new(0),
            trimmed_at_bytes: AtomicU64::new(0),
            unchecked_bytes: AtomicU64::new(0),
            evicting: AtomicBool::new(false),
            index,
            config,
            store,
            clock,
        })
    }

    pub(super) fn body(self: &Arc<Self>, entry: &Entry) -> Arc<Body> {
        let key = (entry.id.clone(), entry.version.clone());
        let known = {
            let mut registry = self.registry.lock();
            match registry.get(&key).and_then(Weak::upgrade) {
                Some(body) => body,
                None => {
                    let body = Body::clean(self.clone(), entry);
                    registry.insert(key, Arc::downgrade(&body));
                    return body;
                }
            }
        };
        known.learn(entry);
        known
    }

    /// Forgets a body that is gone; a younger one of the same key stays.
    pub(super) fn unregister(&self, key: &Key) {
        let mut registry = self.registry.lock();
        if registry.get(key).is_some_and(|body| body.strong_count() == 0) {
            registry.remove(key);
        }
    }

    /// Whether somebody uses the clean body of `key`.
    pub(super) fn is_in_use(&self, key: &Key) -> bool {
        self.registry
            .lock()
            .get(key)
            .is_some_and(|body| body.strong_count() > 0)
    }

    /// Bytes of a clean body have come.
    pub(super) fn note_here(&self, state: &State, bytes: u64) {
        if let Some(key) = &state.key {
            self.held.add(key, bytes);
        }
    }

    /// Bytes of a body are no longer here, or it is no longer a clean one.
    pub(super) fn note_gone(&self, state: &State, bytes: u64) {
        if let Some(key) = &state.key {
            self.held.remove(key, bytes);
        }
    }

    pub(super) fn staging_path(&self, id: BodyId) -> PathBuf {
        self.config.staging_dir.join(id.to_string())
    }

    /// Runs `work` on a thread that may block. It runs to its end even when nobody waits for it any more.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let permit = self
            .blocking
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| CacheError::Stopped)?;
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        done.await.map_err(|_| CacheError::Stopped)?
    }
}

//! Where a body goes when its fate is known: confirmed by the store, thrown away, or given another name by our own change.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::disk;
use crate::model::{Checksum, ContentVersion, Entry, ItemId};

use super::body::{Body, BodyId};
use super::error::{CacheError, Result};
use super::map::{BlockMap, create_map, note_digests};
use super::shared::{Cache, Key, Shared};
use super::state::{Content, Dirty, OpenFile, Phase};
use super::verify::{digests, md5_hex};

/// How long what was uploaded from here is kept even when it is not used.
const KEPT_AFTER_UPLOAD: Duration = Duration::from_secs(24 * 3600);

/// What became of a body whose upload was confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// It is the clean body of the new version.
    Clean,
    /// It was written to since the upload began: still dirty, now based on the new version.
    Newer,
    /// The store says that it has another size: it has changed the bytes. Still dirty; the store's own bytes are fetched as
    /// the body of the new version.
    Altered,
}

impl Cache {
    /// Ends a dirty body whose bytes, as of `generation`, the store now has as `entry`: it becomes the clean body of that
    /// version and is kept for 24 hours at least. Also for a body that turned out to be [`Body::same_as_base`].
    pub async fn publish(&self, body: &Arc<Body>, entry: &Entry, generation: u64) -> Result<Published> {
        if !body.is_complete() {
            return Err(CacheError::Incomplete { waited: Duration::ZERO });
        }
        let digests = body.current_digests(generation).await?;
        let (body, entry) = (body.clone(), entry.clone());
        self.shared
            .blocking(move || body.publish_now(&entry, generation, digests))
            .await
    }

    /// Removes a dirty body's file for good. Who has it open still reads what is there.
    pub async fn discard(&self, body: &Arc<Body>) -> Result<()> {
        let (cache, body) = (self.clone(), body.clone());
        self.shared.blocking(move || cache.discard_now(&body)).await
    }

    /// The same. Blocks.
    pub fn discard_now(&self, body: &Arc<Body>) -> Result<()> {
        body.discard_now(None).map(|_| ())
    }

    /// The same of one that was not written to since `generation`: answers that.
    pub async fn discard_as_of(&self, body: &Arc<Body>, generation: u64) -> Result<bool> {
        let body = body.clone();
        self.shared.blocking(move || body.discard_now(Some(generation))).await
    }

    /// Removes a dirty body's file by its name, for one that nobody has opened.
    pub async fn discard_staged(&self, id: BodyId) -> Result<()> {
        let shared = self.shared.clone();
        self.shared
            .blocking(move || {
                disk::remove_if_there(&shared.staging_path(id))?;
                shared.unsound.forget(id);
                Ok(())
            })
            .await
    }

    /// A change of our own moved an item's version (and, where ids are paths, its id), and surely not its bytes: a clean body
    /// goes with it. Answers whether there was one.
    pub async fn rebind(&self, id: &ItemId, old: &ContentVersion, entry: &Entry) -> Result<bool> {
        let key = (id.clone(), old.clone());
        if !self.has_body(&key).await? {
            return Ok(false);
        }
        let body = self.body(&Entry {
            id: key.0.clone(),
            version: key.1.clone(),
            checksum: None,
            ..entry.clone()
        });
        body.opened().await?;
        if body.size().is_none() || body.size() != entry.size {
            return Ok(false);
        }
        let entry = entry.clone();
        self.shared.blocking(move || body.take_version(&key, &entry)).await
    }

    /// The same for all that is below a folder that was moved where ids are paths: the versions are what they were.
    pub async fn rekey(&self, old: &ItemId, new: &ItemId) -> Result<()> {
        let (shared, old, new) = (self.shared.clone(), old.clone(), new.clone());
        self.shared.blocking(move || shared.rekey(&old, &new)).await
    }

    async fn has_body(&self, key: &Key) -> Result<bool> {
        if self.shared.is_in_use(key) {
            return Ok(true);
        }
        let (shared, key) = (self.shared.clone(), key.clone());
        self.shared
            .blocking(move || Ok(shared.index.lock()?.find(&key.0, &key.1)?.is_some()))
            .await
    }
}

impl Body {
    /// Whether a dirty body is based on `base` and has its very bytes, as far as that can be told without fetching anything: by
    /// the digests of the base's blocks, else by the store's checksum.
    pub async fn same_as_base(self: &Arc<Self>, base: &Entry) -> Result<bool> {
        let (open, size, expected, checksum, generation) = {
            let state = self.state.lock();
            let Phase::Dirty(dirty) = &state.phase else {
                return Ok(false);
            };
            let (Some(open), Some(entry), Some(map)) = (&state.file, &state.entry, state.map()) else {
                return Ok(false);
            };
            // Bytes of its own may have been published since: what is known here is of what they replaced.
            if entry.id != base.id || dirty.base.as_ref() != Some(&base.version) {
                return Ok(false);
            }
            // A base of unknown size that was overwritten was never looked at: its map is empty, it need not be.
            let base_size = match entry.size {
                Some(size) => size,
                None if map.size() > 0 => map.size(),
                None => return Ok(false),
            };
            if !dirty.missing.is_empty() || state.size != base_size {
                return Ok(false);
            }
            let expected = map
                .known_digests()
                .filter(|_| map.size() == base_size)
                .map(<[u128]>::to_vec);
            (
                open.clone(),
                state.size,
                expected,
                entry.checksum.clone(),
                state.generation,
            )
        };
        let body = self.clone();
        let block_bytes = self.shared.config.block_bytes;
        self.shared
            .blocking(move || {
                let same = match (&expected, &checksum) {
                    (Some(expected), _) => digests(&open, size, block_bytes, Some(expected))?.is_some(),
                    (None, Some(Checksum::Md5(md5))) => md5_hex(&open, size)?.eq_ignore_ascii_case(md5),
                    (None, None) => false,
                };
                let mut state = body.state.lock();
                if let (true, Some(expected)) = (same, expected) {
                    state.hashed = Some((generation, expected));
                }
                Ok(same && state.generation == generation)
            })
            .await
    }

    /// A change of our own moved the version (and, where ids are paths, the id) of what a dirty body is based on, and surely not
    /// its bytes.
    pub fn rebase(&self, old: &Entry, new: &Entry) {
        let mut state = self.state.lock();
        let is_old = state.entry.as_ref().is_some_and(|entry| entry.id == old.id);
        let Phase::Dirty(dirty) = &mut state.phase else { return };
        if is_old && dirty.base.as_ref() == Some(&old.version) {
            dirty.base = Some(new.version.clone());
            state.entry = Some(Arc::new(new.clone()));
        }
    }

    /// The same where a folder above was moved, and ids are paths.
    pub fn rekey(&self, old: &ItemId, new: &ItemId) {
        let mut state = self.state.lock();
        if let (Phase::Dirty(_), Some(entry)) = (&state.phase, &state.entry)
            && let Some(id) = entry.id.rekeyed(old, new)
        {
            let moved = Entry {
                id,
                ..Entry::clone(entry)
            };
            state.entry = Some(Arc::new(moved));
        }
    }

    /// What a dirty body was based on has been replaced, in the store, by bytes that were sent from here: `entry`. Nothing is
    /// known of those but that.
    pub fn follow(&self, entry: &Entry) {
        let mut state = self.state.lock();
        let is_whole = |dirty: &Dirty| dirty.base.is_some() && dirty.missing.is_empty();
        if matches!(&state.phase, Phase::Dirty(dirty) if is_whole(dirty)) {
            state.follow(entry, self.shared.config.block_bytes);
        }
    }

    /// The digests of all blocks as of `generation`; `None` when it was written to since.
    async fn current_digests(self: &Arc<Self>, generation: u64) -> Result<Option<Vec<u128>>> {
        let (open, size) = {
            let state = self.state.lock();
            match (&state.hashed, &state.file) {
                _ if state.generation != generation => return Ok(None),
                (Some((of, digests)), _) if *of == generation => return Ok(Some(digests.clone())),
                (_, Some(open)) => (open.clone(), state.size),
                (_, None) => return Ok(None),
            }
        };
        let block_bytes = self.shared.config.block_bytes;
        let body = self.clone();
        self.shared
            .blocking(move || {
                let found = digests(&open, size, block_bytes, None)?;
                Ok(found.filter(|_| body.state.lock().generation == generation))
            })
            .await
    }

    fn publish_now(self: &Arc<Self>, entry: &Entry, generation: u64, digests: Option<Vec<u128>>) -> Result<Published> {
        let _syncing = self.syncing.lock();
        let _io = self.io.lock();
        let block_bytes = self.shared.config.block_bytes;
        let (open, id, size, digests) = {
            let mut state = self.state.lock();
            let written_since = state.generation != generation;
            match &state.phase {
                Phase::Dirty(_) if written_since => {
                    state.follow(entry, block_bytes);
                    return Ok(Published::Newer);
                }
                Phase::Dirty(_) => {}
                Phase::Filling | Phase::Verifying | Phase::Complete => return Ok(Published::Clean),
                Phase::Discarded => return Err(CacheError::Discarded),
            }
            if entry.size.is_some_and(|size| size != state.size) {
                return Ok(Published::Altered);
            }
            match (&state.file, state.id, digests) {
                (Some(open), Some(id), Some(digests)) => (open.clone(), id, state.size, digests),
                _ => return Err(CacheError::Discarded),
            }
        };
        let entry = Entry {
            size: Some(size),
            ..entry.clone()
        };
        let moved = self.move_to_content(&open, id, &entry, &digests)?;
        let key = (entry.id.clone(), entry.version.clone());
        {
            let mut state = self.state.lock();
            state.phase = Phase::Complete;
            state.content = Content::Known(BlockMap::whole(size, block_bytes, Some(digests)));
            state.entry = Some(Arc::new(entry));
            state.file = Some(moved);
            state.map_file = None;
            state.hashed = None;
            state.validator = None;
            state.key = Some(key.clone());
        }
        self.shared.held.add(&key, size);
        self.shared.put_in(key, self);
        self.shared.clone().evict_soon();
        Ok(Published::Clean)
    }

    /// Moves a confirmed body's file to content/ and notes it there. Blocks; `syncing` and `io` are held.
    fn move_to_content(&self, open: &OpenFile, id: BodyId, entry: &Entry, digests: &[u128]) -> Result<OpenFile> {
        let shared = &self.shared;
        let size = entry.size.unwrap_or(0);
        // The data is synced first: a complete body is trusted after a crash. What the disk fails to keep the store has.
        shared.unsound.sync(id, &open.file, &open.path)?;
        let now = shared.clock.now();
        {
            // The row comes first, marked as open, so that neither eviction nor tidying touches what follows.
            let index = shared.index.lock()?;
            if let Some(old) = index.find(&entry.id, &entry.version)? {
                shared.held.remove(&(old.item, old.version), old.bytes);
            }
            index.insert(id, entry, now)?;
        }
        let moved = self.move_with_map(open, id, size, digests);
        let noted = shared.index.lock().and_then(|index| match moved {
            Ok(_) => {
                index.set_complete(id, size, size, true)?;
                index.keep_until(id, now.plus(KEPT_AFTER_UPLOAD))
            }
            Err(_) => index.forget(id),
        });
        if let Err(error) = noted {
            // It is checked when it is opened again, and may go earlier.
            tracing::warn!(item = %entry.id, "what was sent is not noted as complete: {error}");
        }
        shared.unsound.forget(id);
        moved
    }

    fn move_with_map(&self, open: &OpenFile, id: BodyId, size: u64, digests: &[u128]) -> Result<OpenFile> {
        let shared = &self.shared;
        let map_path = shared.index.map_path(id);
        let map = create_map(&map_path, size, shared.config.block_bytes)?;
        note_digests(&map, &map_path, 0, digests)?;
        let moved = self.move_file(open, shared.index.path(id))?;
        // Its name must be gone from staging/ for good before the journal forgets it, or it looks like a lost file.
        for folder in [&shared.config.content_dir, &shared.config.staging_dir] {
            if let Err(error) = disk::sync_dir(folder) {
                tracing::warn!(%error, "a confirmed body may be found in staging again after a power cut");
            }
        }
        Ok(moved)
    }

    /// Answers whether it is none of the dirty ones any more.
    fn discard_now(&self, as_of: Option<u64>) -> Result<bool> {
        let _io = self.io.lock();
        let (id, path) = {
            let state = self.state.lock();
            match (&state.phase, &state.file) {
                (Phase::Dirty(_), _) if as_of.is_some_and(|generation| generation != state.generation) => {
                    return Ok(false);
                }
                (Phase::Dirty(_), Some(open)) => (state.id, open.path.clone()),
                _ => return Ok(true),
            }
        };
        disk::remove_if_there(&path)?;
        self.state.lock().phase = Phase::Discarded;
        self.changed.notify_waiters();
        id.inspect(|id| self.shared.unsound.forget(*id));
        Ok(true)
    }

    /// Becomes the body of `entry`'s version, when it is clean and that has none. Blocks.
    fn take_version(self: &Arc<Self>, old: &Key, entry: &Entry) -> Result<bool> {
        let _io = self.io.lock();
        let key = (entry.id.clone(), entry.version.clone());
        let id = {
            let state = self.state.lock();
            match state.id {
                Some(id) if state.is_clean() => id,
                _ => return Ok(false),
            }
        };
        if self.shared.is_in_use(&key) || !self.shared.index.lock()?.set_version(id, &entry.id, &entry.version)? {
            return Ok(false);
        }
        {
            let mut state = self.state.lock();
            state.key = Some(key.clone());
            self.shared.held.rename(old, &key);
            state.entry = Some(Arc::new(entry.clone()));
        }
        self.shared.take_out(old, self);
        self.shared.put_in(key, self);
        Ok(true)
    }
}

impl Shared {
    fn rekey(&self, old: &ItemId, new: &ItemId) -> Result<()> {
        let mut moved: Vec<(Key, ItemId)> = Vec::new();
        self.index.lock()?.each(|key, _| {
            if let Some(id) = key.0.rekeyed(old, new) {
                moved.push((key, id));
            }
        })?;
        for (key, id) in moved {
            let known = self.registry.lock().get(&key).and_then(Weak::upgrade);
            match known {
                Some(body) => {
                    let entry = body.state.lock().entry.clone();
                    if let Some(entry) = entry {
                        body.take_version(
                            &key,
                            &Entry {
                                id,
                                ..Entry::clone(&entry)
                            },
                        )?;
                    }
                }
                None => {
                    if self.index.lock()?.set_item(&key, &id)? {
                        let to = (id, key.1.clone());
                        self.held.rename(&key, &to);
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes `body` out of the registry.
    pub(super) fn take_out(&self, key: &Key, body: &Arc<Body>) {
        let mut registry = self.registry.lock();
        if registry
            .get(key)
            .is_some_and(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(body)))
        {
            registry.remove(key);
        }
    }

    /// Makes `body` the one of `key`.
    fn put_in(&self, key: Key, body: &Arc<Body>) {
        self.registry.lock().insert(key, Arc::downgrade(body));
    }
}

//! Room: the bounds of the clean bodies, and what happens on a full disk.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::disk;
use crate::model::Timestamp;

use super::body::BodyId;
use super::error::{CacheError, Result};
use super::shared::{Cache, Shared};
use super::stats::count;

/// How much is written between two looks at the free space.
const CHECK_EVERY_BYTES: u64 = 16 << 20;
/// What dirty bodies leave free for the journal, at most.
const RESERVE_BYTES_MAX: u64 = 16 << 20;
const BATCH: u32 = 32;

/// Until when bodies are thrown out.
#[derive(Clone, Copy, Debug)]
enum Until {
    /// The bound in bytes holds; bodies that are to be kept for a while are kept.
    Limit,
    /// The disk has this much free; only pinned ones are kept.
    Free(u64),
}

/// Which folder's disk is meant; often they are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disk {
    /// That of clean bodies.
    Content,
    /// That of dirty ones.
    Staging,
}

impl Cache {
    /// Throws out the longest unused bodies until the limit holds. Open, pinned and dirty ones stay. Answers how many
    /// bytes are in use then.
    pub async fn evict_to_limit(&self) -> Result<u64> {
        let shared = self.shared.clone();
        self.shared.blocking(move || shared.evict(Until::Limit)).await?;
        Ok(self.usage())
    }

    /// Throws out clean bodies while the disk has less free than they are to leave, whoever fills it: journal and catalog
    /// need room to go on.
    pub async fn keep_floor(&self) -> Result<()> {
        let shared = self.shared.clone();
        self.shared
            .blocking(move || shared.evict_for(Disk::Content, shared.floor_bytes).map(|_| ()))
            .await
    }

    /// Changes the limit; it holds after the next eviction.
    pub fn set_limit(&self, limit_bytes: u64) {
        self.shared.limit_bytes.store(limit_bytes, Ordering::Relaxed);
        self.shared.clone().evict_soon();
    }
}

impl Shared {
    /// Sees to it that `bytes` more of clean content may be written.
    pub(super) async fn admit_clean(self: &Arc<Self>, bytes: u64) -> Result<()> {
        if self.is_over_limit() {
            self.clone().evict_soon();
        }
        self.admit(bytes, self.floor_bytes, Disk::Content).await
    }

    /// Sees to it that `bytes` more of user data may be written: evicts clean bodies first, then it is "full".
    pub(super) async fn admit_dirty(self: &Arc<Self>, bytes: u64) -> Result<()> {
        self.admit(bytes, RESERVE_BYTES_MAX.min(self.floor_bytes / 2), Disk::Staging)
            .await
    }

    /// Whether `bytes` more may be written without a look at the free space; they are counted then.
    pub(super) fn admits(&self, bytes: u64) -> bool {
        let counted = |unchecked: u64| {
            let sum = unchecked.saturating_add(bytes);
            (sum < CHECK_EVERY_BYTES).then_some(sum)
        };
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        self.unchecked_bytes.fetch_update(set, fetch, counted).is_ok()
    }

    async fn admit(self: &Arc<Self>, bytes: u64, leave_bytes: u64, disk: Disk) -> Result<()> {
        let unchecked = self
            .unchecked_bytes
            .fetch_add(bytes, Ordering::Relaxed)
            .saturating_add(bytes);
        if unchecked < CHECK_EVERY_BYTES {
            return Ok(());
        }
        let shared = self.clone();
        self.blocking(move || {
            let wanted = bytes.saturating_add(leave_bytes);
            let free = shared.evict_for(disk, wanted)?;
            // Near the end the next one looks again, so that what is to be left free is.
            let far = free >= wanted.saturating_add(CHECK_EVERY_BYTES);
            let unchecked = if far { 0 } else { CHECK_EVERY_BYTES };
            shared.unchecked_bytes.store(unchecked, Ordering::Relaxed);
            if free >= wanted { Ok(()) } else { Err(CacheError::Full) }
        })
        .await
    }

    /// After "no space left": throws out clean bodies until `bytes` fit, or none is left.
    pub(super) async fn make_room(self: &Arc<Self>, bytes: u64, disk: Disk) -> Result<()> {
        let shared = self.clone();
        self.blocking(move || shared.squeeze(bytes, disk)).await
    }

    /// The same. Blocks.
    pub(super) fn squeeze(&self, bytes: u64, disk: Disk) -> Result<()> {
        let wanted = self.free_bytes(disk)?.saturating_add(bytes.max(CHECK_EVERY_BYTES));
        self.evict_for(disk, wanted).map(|_| ())
    }

    /// Evicts until `disk` has `wanted` bytes free, if it has not. Answers how many it has. Blocks.
    fn evict_for(&self, disk: Disk, wanted: u64) -> Result<u64> {
        if disk == Disk::Content || self.by_rename {
            self.evict(Until::Free(wanted))?;
        }
        self.free_bytes(disk)
    }

    /// Removes files of the content folder that the index does not know: a power cut may have lost their rows. Blocks.
    pub(super) fn sweep(&self) -> Result<()> {
        let folder = &self.config.content_dir;
        let unreadable = |e| CacheError::from(disk::DiskError::new("list", folder, e));
        for entry in std::fs::read_dir(folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let id = path.file_stem().and_then(|stem| stem.to_str()).and_then(BodyId::parse);
            if let Some(id) = id {
                // A row is there before its files, so what has none now will not get one.
                let index = self.index.lock()?;
                if !index.knows(id)? {
                    disk::remove_if_there(&path)?;
                }
            }
        }
        Ok(())
    }

    fn free_bytes(&self, disk: Disk) -> Result<u64> {
        let folder = match disk {
            Disk::Content => &self.config.content_dir,
            Disk::Staging => &self.config.staging_dir,
        };
        Ok(disk::free_space(folder)?.free_bytes)
    }

    /// Evicts in the background, one at a time.
    pub(super) fn evict_soon(self: Arc<Self>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        if self.evicting.swap(true, Ordering::AcqRel) {
            return;
        }
        runtime.spawn(async move {
            let shared = self.clone();
            if let Err(error) = self.blocking(move || shared.evict(Until::Limit)).await {
                tracing::warn!(%error, "the content cache could not be trimmed");
            }
            self.evicting.store(false, Ordering::Release);
        });
    }

    /// Whether there are more bytes of clean bodies than may be.
    pub(super) fn is_over_limit(&self) -> bool {
        self.held.total_bytes() > self.limit_bytes.load(Ordering::Relaxed)
    }

    fn is_enough(&self, until: Until) -> Result<bool> {
        match until {
            Until::Limit => Ok(!self.is_over_limit()),
            Until::Free(wanted) => Ok(self.free_bytes(Disk::Content)? >= wanted),
        }
    }

    fn evict(&self, until: Until) -> Result<()> {
        let keep_now = match until {
            Until::Limit => self.clock.now(),
            Until::Free(_) => Timestamp::from_db(i64::MAX),
        };
        while !self.is_enough(until)? {
            let index = self.index.lock()?;
            let candidates = index.evictable(keep_now, BATCH)?;
            if candidates.is_empty() {
                break;
            }
            for record in candidates {
                if self.is_enough(until)? {
                    break;
                }
                // Opening takes the index's lock as well, so nobody can begin to use it from here on.
                if self.is_in_use(&(record.item.clone(), record.version.clone())) {
                    index.opened(record.id, self.clock.now())?;
                    continue;
                }
                index.remove(record.id)?;
                self.held.remove(&(record.item, record.version), record.bytes);
                count(&self.counters.evictions, 1);
            }
        }
        self.index.room_was_made();
        Ok(())
    }
}

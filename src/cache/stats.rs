//! What the cache has done, for `status` and metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// Counters since the start, and what is in use now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Bytes of clean bodies on the disk.
    pub used_bytes: u64,
    /// Most bytes of clean bodies.
    pub limit_bytes: u64,
    /// Requests for content sent to the store.
    pub fetches: u64,
    /// Bytes of content that came from the store.
    pub fetched_bytes: u64,
    /// Requests that had to be sent again.
    pub retries: u64,
    /// Reads that were answered from the disk at once.
    pub hits: u64,
    /// Their bytes.
    pub hit_bytes: u64,
    /// Reads that had to wait for the store.
    pub misses: u64,
    /// Their bytes.
    pub miss_bytes: u64,
    /// Bytes asked for ahead of readers.
    pub ahead_bytes: u64,
    /// Of these, how many blocks' bytes were read afterwards: the rest was fetched and never read, so far. What the kernel
    /// reads past the daemon is not seen.
    pub ahead_read_bytes: u64,
    /// Bodies thrown out for space.
    pub evictions: u64,
    /// Blocks that did not fit their digest, and bodies that did not fit their checksum.
    pub healed: u64,
    /// Bytes asked for and not yet arrived.
    pub in_flight_bytes: u64,
    /// How many downloads run side by side for one reader.
    pub streams: u64,
}

/// Counts.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) fetches: AtomicU64,
    pub(super) fetched_bytes: AtomicU64,
    pub(super) retries: AtomicU64,
    pub(super) hits: AtomicU64,
    pub(super) hit_bytes: AtomicU64,
    pub(super) misses: AtomicU64,
    pub(super) miss_bytes: AtomicU64,
    pub(super) ahead_bytes: AtomicU64,
    pub(super) ahead_read_bytes: AtomicU64,
    pub(super) evictions: AtomicU64,
    pub(super) healed: AtomicU64,
}

/// Adds to a counter.
pub(super) fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

/// Takes from a level that others may have changed meanwhile; never below zero.
pub(super) fn lower(level: &AtomicU64, less: u64) {
    level
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
            Some(now.saturating_sub(less))
        })
        .map_or_else(|_| (), |_| ());
}

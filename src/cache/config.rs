//! The cache's bounds.

use std::path::PathBuf;
use std::time::Duration;

const GIB: u64 = 1 << 30;
/// What one download holds: a piece that is gathered or written, and the client's own buffers.
const STREAM_MEMORY_BYTES: u64 = 3 << 19;
/// The largest answer to a read.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// Where bodies live and how much may be spent on them.
#[derive(Clone, Debug)]
pub struct CacheConfig {
    /// Clean bodies and the index; may be deleted while nothing is mounted.
    pub content_dir: PathBuf,
    /// Dirty bodies: user data. On the same file system as `content_dir`, bodies move by rename; else they are copied.
    pub staging_dir: PathBuf,
    /// Most bytes of clean bodies; `None`: 20 GiB or 10 % of the free disk, whichever is less.
    pub limit_bytes: Option<u64>,
    /// Clean bodies leave this much of the disk free; `None`: 1 GiB or 5 % of the free disk, whichever is less.
    pub free_floor_bytes: Option<u64>,
    /// Memory for bytes on their way: half of it for downloads, which go to the disk piece by piece, half of it for answers
    /// to readers.
    pub read_memory_bytes: u64,
    /// Size of a block: the unit of what is present, a power of two.
    pub block_bytes: u64,
    /// Most downloads of one file at a time.
    pub streams_per_file_max: usize,
    /// Most downloads at a time; a file's first one is never refused.
    pub streams_max: usize,
    /// How long a download may stand still before the reads that wait for it fail.
    pub no_progress: Duration,
}

impl CacheConfig {
    /// The usual bounds.
    pub fn new(content_dir: impl Into<PathBuf>, staging_dir: impl Into<PathBuf>) -> Self {
        Self {
            content_dir: content_dir.into(),
            staging_dir: staging_dir.into(),
            limit_bytes: None,
            free_floor_bytes: None,
            read_memory_bytes: 128 << 20,
            block_bytes: 128 << 10,
            streams_per_file_max: 64,
            streams_max: 128,
            no_progress: Duration::from_secs(30),
        }
    }

    /// The limit for a disk with `free_bytes` left beside the `used_bytes` of the cache itself.
    pub(super) fn limit_on(&self, free_bytes: u64, used_bytes: u64) -> u64 {
        self.limit_bytes
            .unwrap_or_else(|| (20 * GIB).min(free_bytes.saturating_add(used_bytes) / 10))
    }

    /// How many downloads may run at a time, by number and by memory.
    pub(super) fn streams_in_all(&self) -> usize {
        let by_memory = self.read_memory_bytes / 2 / STREAM_MEMORY_BYTES;
        self.streams_max.min(by_memory as usize).max(1)
    }

    /// Memory for answers to readers, in KiB.
    pub(super) fn answers_kib(&self) -> usize {
        ((self.read_memory_bytes / 2) >> 10).max((2 * ANSWER_BYTES_MAX) >> 10) as usize
    }

    /// What clean bodies leave free of `free_bytes`.
    pub(super) fn floor_on(&self, free_bytes: u64) -> u64 {
        self.free_floor_bytes.unwrap_or_else(|| GIB.min(free_bytes / 20))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_limit_is_20_gib_or_a_tenth_of_the_free_disk() {
        let config = CacheConfig::new("c", "s");
        assert_eq!(config.limit_on(1000 * GIB, 0), 20 * GIB);
        assert_eq!(config.limit_on(40 * GIB, 10 * GIB), 5 * GIB);
        assert_eq!(config.floor_on(1000 * GIB), GIB);
        assert_eq!(config.floor_on(2 * GIB), GIB / 10);
        let config = CacheConfig {
            limit_bytes: Some(7),
            free_floor_bytes: Some(3),
            ..config
        };
        assert_eq!((config.limit_on(GIB, 0), config.floor_on(GIB)), (7, 3));
    }

    #[test]
    fn read_memory_bounds_downloads_and_answers() {
        let mut config = CacheConfig::new("c", "s");
        assert_eq!((config.streams_in_all(), config.answers_kib()), (42, 64 << 10));
        config.read_memory_bytes = 16 << 20;
        assert_eq!((config.streams_in_all(), config.answers_kib()), (5, 8 << 10));
        config.read_memory_bytes = 0;
        assert_eq!(
            (config.streams_in_all(), config.answers_kib()),
            (1, 2 << 10),
            "slow, but it goes on"
        );
    }
}

//! The cache against a store that counts, delays and fails on purpose.

mod double;
mod eviction;
mod property;
mod reading;
mod restart;
mod settling;
mod threads;
mod whole;
mod writing;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::model::{Clock, Entry, SharedClock, Timestamp};
use crate::store::Reads;

use super::{Body, Cache, CacheConfig, Reader, Result};
use double::Double;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// The clock of a runtime whose time is paused.
struct PausedClock(tokio::time::Instant);

impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(1_800_000_000).plus(self.elapsed())
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, span: Duration) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::time::sleep(span))
    }
}

/// A cache over a [`Double`].
struct Rig {
    dir: tempfile::TempDir,
    store: Arc<Double>,
    config: CacheConfig,
    clock: SharedClock,
    cache: Cache,
}

impl Rig {
    async fn new(reads: Reads) -> Self {
        Self::with(reads, |_| {}).await
    }

    async fn with(reads: Reads, adjust: impl FnOnce(&mut CacheConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = CacheConfig {
            limit_bytes: Some(1 << 40),
            free_floor_bytes: Some(0),
            ..CacheConfig::new(dir.path().join("content"), dir.path().join("staging"))
        };
        adjust(&mut config);
        let store = Double::new(reads);
        let clock: SharedClock = Arc::new(PausedClock(tokio::time::Instant::now()));
        let cache = Cache::open(config.clone(), store.clone(), clock.clone()).await.unwrap();
        Self {
            dir,
            store,
            config,
            clock,
            cache,
        }
    }

    /// As after a `kill -9` and a new start: downloads end where they are, nothing is closed. No body may be held.
    async fn restart(&mut self) {
        self.store.break_off();
        for _ in 0..6000 {
            if Arc::strong_count(&self.cache.shared) == 1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(
            Arc::strong_count(&self.cache.shared),
            1,
            "somebody still works on the old cache"
        );
        self.cache = Cache::open(self.config.clone(), self.store.clone(), self.clock.clone())
            .await
            .unwrap();
    }

    /// The names of bodies in a folder of the cache.
    fn names(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path().join(folder)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| super::BodyId::parse(name).is_some()).collect()
    }
}

/// Bytes that differ from place to place and from `seed` to `seed`.
fn pattern(seed: u64, len: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(len as usize + 8);
    while (bytes.len() as u64) < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len as usize);
    bytes.into()
}

async fn read(body: &Arc<Body>, offset: u64, len: u64) -> Result<Bytes> {
    body.read(&Reader::new(), offset, len as usize).await
}

async fn read_all(body: &Arc<Body>, step: u64) -> Result<Vec<u8>> {
    let reader = Reader::new();
    let mut all = Vec::new();
    loop {
        let part = body.read(&reader, all.len() as u64, step as usize).await?;
        if part.is_empty() {
            return Ok(all);
        }
        all.extend_from_slice(&part);
    }
}

/// An entry with another version of the same item.
fn version(entry: &Entry, version: &str) -> Entry {
    Entry {
        version: crate::model::ContentVersion::new(version),
        ..entry.clone()
    }
}

const LONG: Duration = Duration::from_secs(3600);

/// The disk fails, once, to keep what was written to it.
async fn fails_to_sync(body: &Arc<Body>) {
    let sound = body.state.lock().file.clone().unwrap();
    let (pipe, _other_end) = std::io::pipe().unwrap();
    // It cannot be synced.
    let broken = super::state::OpenFile {
        file: Arc::new(std::os::fd::OwnedFd::from(pipe).into()),
        path: sound.path.clone(),
    };
    body.state.lock().file = Some(broken);
    body.sync().await.unwrap_err();
    body.state.lock().file = Some(sound);
}

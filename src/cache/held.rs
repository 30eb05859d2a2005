//! How much of the clean bodies is on the disk: in all, for the bound, and of each, so that `st_blocks` and `du` show what a
//! drive takes of the disk.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::shared::Key;
use super::stats::{count, lower};
use crate::model::{ContentVersion, ItemId};

/// The account of the clean bodies. It has two words for each that is on the disk, so the bound of the cache is its bound.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Makes the keys: two bodies that share one by chance show the sum of both, and nothing else depends on it.
    hasher: RandomState,
    bytes: Mutex<HashMap<u64, u64>>,
    total: AtomicU64,
}

impl Held {
    /// Bytes of all clean bodies.
    pub(super) fn total_bytes(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Bytes of one that are here.
    pub(super) fn bytes_of(&self, item: &ItemId, version: &ContentVersion) -> u64 {
        let key = self.hasher.hash_one((item, version));
        self.bytes.lock().get(&key).copied().unwrap_or(0)
    }

    /// `bytes` more of a body have come.
    pub(super) fn add(&self, (item, version): &Key, bytes: u64) {
        if bytes > 0 {
            *self
                .bytes
                .lock()
                .entry(self.hasher.hash_one((item, version)))
                .or_default() += bytes;
            count(&self.total, bytes);
        }
    }

    /// `bytes` of a body are no longer here, or no longer clean.
    pub(super) fn remove(&self, (item, version): &Key, bytes: u64) {
        let key = self.hasher.hash_one((item, version));
        let mut held = self.bytes.lock();
        if let Some(of_it) = held.get_mut(&key) {
            *of_it = of_it.saturating_sub(bytes);
            if *of_it == 0 {
                held.remove(&key);
            }
        }
        lower(&self.total, bytes);
    }

    /// A body goes by another name from here on.
    pub(super) fn rename(&self, (item, version): &Key, to: &Key) {
        let mut held = self.bytes.lock();
        if let Some(bytes) = held.remove(&self.hasher.hash_one((item, version))) {
            *held.entry(self.hasher.hash_one((&to.0, &to.1))).or_default() += bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_here_of_each_adds_up_and_nothing_is_kept_of_what_has_gone() {
        let held = Held::default();
        let key = |item: &str| (ItemId::new(item.to_owned()), ContentVersion::new("1".to_owned()));
        let (one, two) = (key("one"), key("two"));
        held.add(&one, 100);
        held.add(&one, 20);
        held.add(&two, 7);
        assert_eq!((held.bytes_of(&one.0, &one.1), held.total_bytes()), (120, 127));
        let newer = (one.0.clone(), ContentVersion::new("2".to_owned()));
        held.rename(&one, &newer);
        assert_eq!(
            (held.bytes_of(&one.0, &one.1), held.bytes_of(&one.0, &newer.1)),
            (0, 120)
        );
        held.remove(&newer, 500);
        held.remove(&two, 7);
        assert!(held.bytes.lock().is_empty());
        assert_eq!(held.total_bytes(), 0);
    }
}

//! Nodes that were read a moment ago, for as long as nothing is written: each name that a program makes or looks up asks
//! for the same few folders.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};

use lru::LruCache;
use parking_lot::Mutex;

use super::rows::Node;
use crate::model::Ino;

/// The folders that programs use at the same time, with room for some files.
const NODES_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(255);

/// Nodes as the database has them. A write ends them all, from its beginning on.
pub(super) struct Recent {
    /// How many writes have begun and how many have ended, together: odd while one is under way.
    writes: AtomicU64,
    kept: Mutex<Kept>,
}

struct Kept {
    /// The state of the database that they are of.
    as_of: AsOf,
    nodes: LruCache<Ino, Node>,
}

/// A state of the database between two writes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct AsOf(u64);

/// A write under way, until this is dropped.
pub(super) struct Writing<'a>(&'a Recent);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.writes.fetch_add(1, Ordering::SeqCst);
    }
}

impl Recent {
    pub fn new() -> Self {
        Self {
            writes: AtomicU64::new(0),
            kept: Mutex::new(Kept {
                as_of: AsOf(0),
                nodes: LruCache::new(NODES_MAX),
            }),
        }
    }

    /// Begins a write: one at a time.
    pub fn write(&self) -> Writing<'_> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        Writing(self)
    }

    /// The state that a query begun after this call reads, or a later one; `None` while it is changing.
    pub fn now(&self) -> Option<AsOf> {
        let writes = self.writes.load(Ordering::SeqCst);
        writes.is_multiple_of(2).then_some(AsOf(writes))
    }

    /// A node as it is in that state.
    pub fn get(&self, ino: Ino, now: AsOf) -> Option<Node> {
        let mut kept = self.kept.lock();
        match kept.as_of == now {
            true => kept.nodes.get(&ino).cloned(),
            false => None,
        }
    }

    /// Keeps a node whose query began in that state, unless it has been left since.
    pub fn put(&self, ino: Ino, node: &Node, of: AsOf) {
        let mut kept = self.kept.lock();
        if self.now() != Some(of) {
            return;
        }
        if kept.as_of != of {
            kept.nodes.clear();
            kept.as_of = of;
        }
        kept.nodes.put(ino, node.clone());
    }
}

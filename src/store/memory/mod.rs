//! A store in memory, exact and small: what the VFS is tested against, with every capability, fault and delay at will.
//!
//! It keeps to the [`Store`](super::Store) interface to the letter: what its [`Capabilities`] do not declare is refused,
//! listings may lag behind writes, ids may be paths, and any call may fail, hang, or be carried out with its answer lost.
//! [`Remote`] is the other people: it changes things behind the client's back and tells what is really there.

mod calls;
mod faults;
mod groups;
pub mod presets;
mod remote;
#[cfg(test)]
mod tests;
mod together;
mod tree;
mod upload;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use parking_lot::Mutex;

use super::{Capabilities, SharedStore};
use crate::model::{FieldChanges, ItemId, SharedClock, Timestamp};

pub use faults::{Fault, Faults, Op};
pub use presets::{like_flextype, like_im4, like_imagerelay, like_omeka, whole};
pub use remote::Remote;

use tree::Tree;

/// The store's rule for names of new items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// Any name.
    Any,
    /// Files need an extension and no leading dot.
    Extension,
}

/// How the server spells the name of a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// As it was given.
    Kept,
    /// Spaces become dashes.
    Dashed,
}

/// Whether listings carry fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldsListed {
    /// All of them.
    All,
    /// None: a `stat` tells.
    None,
}

/// What can be turned while the store runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Knobs {
    /// How far listings lag now; at most what the capabilities declare.
    pub listing_lag: Duration,
    /// What the index of the listings knows at least: once it has shown something, it does not go back behind it.
    pub indexed_to: Option<Timestamp>,
    /// Entries that a listing answers at a time.
    pub page_entries: usize,
    /// Entries at its end that a listing leaves out without a word.
    pub entries_lost: usize,
    /// Bytes that an upload sends at a time.
    pub chunk_bytes: usize,
    /// Which names it takes.
    pub names: NameRule,
    /// How it spells them.
    pub spelling: Spelling,
    /// What listings tell.
    pub fields_listed: FieldsListed,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            listing_lag: Duration::ZERO,
            indexed_to: None,
            page_entries: 100,
            entries_lost: 0,
            chunk_bytes: 1 << 20,
            names: NameRule::Any,
            spelling: Spelling::Kept,
            fields_listed: FieldsListed::All,
        }
    }
}

/// The store. Clones share everything, so a test keeps one and gives another away.
#[derive(Clone)]
pub struct MemoryStore {
    capabilities: Arc<Capabilities>,
    clock: SharedClock,
    faults: Arc<Faults>,
    knobs: Arc<Mutex<Knobs>>,
    tree: Arc<Mutex<Tree>>,
    collections: Arc<Mutex<Collections>>,
    /// How many uploads were begun, and what those that could be resumed have made.
    uploads: Arc<AtomicU64>,
    published: Arc<Mutex<HashMap<String, ItemId>>>,
    /// The fields that uploads were begun with.
    begun: Arc<Mutex<HashMap<String, FieldChanges>>>,
}

/// Collections by their ids: their names and members.
type Collections = BTreeMap<ItemId, (String, BTreeSet<ItemId>)>;

impl MemoryStore {
    /// An empty store: a root folder and nothing in it.
    pub fn new(capabilities: Capabilities, clock: SharedClock) -> Self {
        let tree = Tree::new(
            capabilities.ids,
            capabilities.sibling_names,
            capabilities.listing_lag_max,
            clock.now(),
        );
        let names = presets::name_rule(&capabilities);
        Self {
            capabilities: Arc::new(capabilities),
            clock,
            faults: Arc::default(),
            knobs: Arc::new(Mutex::new(Knobs {
                names,
                ..Knobs::default()
            })),
            tree: Arc::new(Mutex::new(tree)),
            collections: Arc::default(),
            uploads: Arc::default(),
            published: Arc::default(),
            begun: Arc::default(),
        }
    }

    /// This store as the rest of the program takes it.
    pub fn shared(&self) -> SharedStore {
        Arc::new(self.clone())
    }

    /// The same server through another login: one tree, but faults and counts of its own.
    pub fn other_login(&self) -> Self {
        Self {
            faults: Arc::default(),
            ..self.clone()
        }
    }

    /// What goes wrong, and how often what was called.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Everybody else: changes without calls, faults or counters.
    pub fn remote(&self) -> Remote<'_> {
        Remote { store: self }
    }

    /// Turns knobs: `store.turn(|k| k.listing_lag = Duration::from_secs(5))`.
    pub fn turn(&self, change: impl FnOnce(&mut Knobs)) {
        change(&mut self.knobs.lock());
    }

    fn knobs(&self) -> Knobs {
        *self.knobs.lock()
    }
}

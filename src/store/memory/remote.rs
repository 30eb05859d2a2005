//! The other people who use the store, and an eye on what it really holds.

use bytes::Bytes;

use super::MemoryStore;
use crate::model::{Availability, Entry, FieldChanges, ItemId};
use crate::store::Result;

/// Changes and looks without calls, faults, counters, capabilities or lag.
pub struct Remote<'a> {
    pub(super) store: &'a MemoryStore,
}

const REMOTE: &str = "remote edit";

impl Remote<'_> {
    /// The root's id.
    pub fn root(&self) -> ItemId {
        self.store.tree.lock().root()
    }

    /// Makes a folder.
    pub fn mkdir(&self, parent: &ItemId, name: &str) -> Result<Entry> {
        self.store
            .tree
            .lock()
            .add(REMOTE, self.store.clock.now(), parent, name, None)
    }

    /// Makes a file.
    pub fn put(&self, parent: &ItemId, name: &str, bytes: impl Into<Bytes>) -> Result<Entry> {
        self.store
            .tree
            .lock()
            .add(REMOTE, self.store.clock.now(), parent, name, Some(bytes.into()))
    }

    /// Puts files together under a name.
    pub fn collection(&self, name: &str, members: &[ItemId]) -> ItemId {
        let mut collections = self.store.collections.lock();
        let id = ItemId::of("collection", collections.len() + 1);
        let members = members.iter().cloned().collect();
        collections.insert(id.clone(), (name.to_owned(), members));
        id
    }

    /// The members of a collection.
    pub fn collected(&self, id: &ItemId) -> Vec<ItemId> {
        let collections = self.store.collections.lock();
        collections
            .get(id)
            .map(|(_, members)| members.iter().cloned().collect())
            .unwrap_or_default()
    }

    /// Gives a file new content.
    pub fn write(&self, id: &ItemId, bytes: impl Into<Bytes>) -> Result<Entry> {
        self.store
            .tree
            .lock()
            .write(REMOTE, self.store.clock.now(), id, bytes.into())
    }

    /// Gives an item another name, and where ids are paths, another id.
    pub fn rename(&self, id: &ItemId, name: &str) -> Result<Entry> {
        let mut tree = self.store.tree.lock();
        let parents = tree.get(id, REMOTE)?.entry.parents.clone();
        tree.relocate(REMOTE, self.store.clock.now(), id, name, &parents)
    }

    /// Puts an item into exactly these folders.
    pub fn place(&self, id: &ItemId, parents: &[ItemId]) -> Result<Entry> {
        let mut tree = self.store.tree.lock();
        let name = tree.get(id, REMOTE)?.entry.name.clone();
        tree.relocate(REMOTE, self.store.clock.now(), id, &name, parents)
    }

    /// Sets fields, read-only ones too.
    pub fn set_fields(&self, id: &ItemId, changes: &FieldChanges) -> Result<Entry> {
        self.store
            .tree
            .lock()
            .set_fields(REMOTE, self.store.clock.now(), id, changes)
    }

    /// Makes a file readable or not.
    pub fn set_availability(&self, id: &ItemId, availability: Availability) -> Result<Entry> {
        let now = self.store.clock.now();
        self.store
            .tree
            .lock()
            .change(REMOTE, now, id, |item| item.entry.availability = availability)
    }

    /// Removes an item and everything that is only below it.
    pub fn remove(&self, id: &ItemId) -> Result<()> {
        self.store.tree.lock().remove(REMOTE, self.store.clock.now(), id)
    }

    /// An item as it is now.
    pub fn entry(&self, id: &ItemId) -> Option<Entry> {
        self.store.tree.lock().answer(id, REMOTE).ok()
    }

    /// A file's content as it is now.
    pub fn bytes(&self, id: &ItemId) -> Option<Bytes> {
        self.store
            .tree
            .lock()
            .get(id, REMOTE)
            .ok()
            .map(|item| item.bytes.clone())
    }

    /// A folder's children as they are now, in the order of their ids.
    pub fn children(&self, folder: &ItemId) -> Vec<Entry> {
        self.store
            .tree
            .lock()
            .children(folder)
            .map(|item| item.entry.clone())
            .collect()
    }

    /// The item at `path`, by store names from the root (`a/b.txt`); of namesakes the one with the smallest id.
    pub fn find(&self, path: &str) -> Option<Entry> {
        let mut at = self.entry(&self.root())?;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            at = self.children(&at.id).into_iter().find(|child| child.name == part)?;
        }
        Some(at)
    }
}

//! What the uploader needs of the rest of the program, as one interface: the tree and the bodies belong to others.

use std::sync::Arc;

use async_trait::async_trait;

use crate::model::{Entry, Ino, ItemId, Name};
use crate::store::{Body, StoreError};

use super::{Change, Fingerprint, KnownItem, Place, Staged};

/// The bytes of an upload.
pub struct Source {
    /// Where to read them.
    pub body: Body,
    /// What tells them from others.
    pub fingerprint: Fingerprint,
}

/// The tree and the bodies, as the uploader sees them.
#[async_trait]
pub trait World: Send + Sync + 'static {
    /// The item behind a node, when the store has it.
    async fn item_of(&self, ino: Ino) -> Option<ItemId>;

    /// What the store was last known to hold.
    async fn entry(&self, id: &ItemId) -> Option<Arc<Entry>>;

    /// Asks the store anew what it holds of the item behind a node.
    async fn look_again(&self, ino: Ino, id: &ItemId) -> Result<(), StoreError>;

    /// Where the store was last known to hold it, under the names that it has here.
    async fn stored_at(&self, id: &ItemId) -> Vec<Place>;

    /// What the catalog has under this node.
    async fn entry_at(&self, ino: Ino) -> Option<Arc<Entry>>;

    /// Whether an item is known as another node. As this very one it may be known already although the journal has not
    /// heard of it: the catalog is told first.
    async fn is_anothers(&self, id: &ItemId, ino: Ino) -> bool;

    /// The node that has this name in the store.
    async fn occupant(&self, folder: &ItemId, name: &Name) -> Option<Ino>;

    /// The folders of an item, when they were read directly within the last minute.
    async fn fresh_parents(&self, id: &ItemId) -> Option<Vec<ItemId>>;

    /// Whether a program has the node open for writing.
    fn being_written(&self, ino: Ino) -> bool;

    /// The bytes to send: the staged ones, else the store's own, fetched in full.
    async fn source(&self, change: &Change, remote: Option<&Entry>) -> Result<Source, StoreError>;

    /// Whether the staged bytes are what the store has.
    async fn same_bytes(&self, change: &Change, remote: &Entry) -> bool;

    /// Whether the store has exactly the bytes behind a fingerprint; `None` where it may keep others than it was sent.
    async fn holds(&self, remote: &Entry, bytes: &Fingerprint) -> Result<Option<bool>, StoreError>;

    /// A staged copy of what the store has, for a backup that becomes a file of its own.
    async fn secure(&self, change: &Change, remote: &Entry) -> Result<Staged, StoreError>;

    /// What the store was to copy for that node becomes staged bytes, as it was then. [`crate::store::ErrorKind::Conflict`] or
    /// [`crate::store::ErrorKind::NotFound`] when nobody has those bytes any more.
    async fn take_bytes(&self, ino: Ino, source: &KnownItem) -> Result<(), StoreError>;

    /// The store confirmed this: the catalog takes it durably, under these names. `old` is the id it had before;
    /// `staged` are the bytes that were sent.
    async fn took(
        &self,
        ino: Ino,
        entry: &Entry,
        places: &[Place],
        old: Option<&ItemId>,
        staged: Option<&Staged>,
    ) -> Result<(), StoreError>;

    /// An item that the store was last known to hold is that node's from now on. Should the catalog not hear of it, the next
    /// answer tells it.
    async fn seat(&self, ino: Ino, id: &ItemId);

    /// The store confirmed that the item is gone.
    async fn gone(&self, ino: Ino, id: &ItemId) -> Result<(), StoreError>;

    /// The journal no longer needs the staged bytes: they are the clean body of `entry` now.
    async fn published(&self, ino: Ino, staged: &Staged, entry: &Entry);

    /// Bytes of that node were published as `entry`, and newer ones are staged: those are based on it.
    async fn overtaken(&self, ino: Ino, entry: &Entry);

    /// The staged bytes are of no use to anyone.
    async fn discard(&self, ino: Ino, staged: &Staged);

    /// Somebody else's version is in the store: put these bytes beside it.
    async fn conflict(&self, ino: Ino) -> Result<(), StoreError>;

    /// The wish was dropped (a deletion that the store refuses): show the node again.
    async fn restored(&self, ino: Ino);

    /// What this node replaced is still in the store, which refuses to remove it: it has to show beside the node again.
    async fn stays(&self, ino: Ino);

    /// A person should hear of this.
    fn problem(&self, ino: Ino, text: &str);
}

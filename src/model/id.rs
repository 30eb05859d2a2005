//! Identities: what the store calls an item, and what the kernel calls it.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A store's own name for an item, opaque outside that store's module.
///
/// By convention `<namespace>:<key>` (`file:201000123`, `item:17`), so that two id spaces of one store never meet.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ItemId(Arc<str>);

impl ItemId {
    /// Wraps an id as a store gave it.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    /// Builds `<namespace>:<key>`.
    pub fn of(namespace: &str, key: impl fmt::Display) -> Self {
        Self(format!("{namespace}:{key}").into())
    }

    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key without its namespace: what people see (`user.assetfs.id`, ` (id)` in a file name).
    pub fn key(&self) -> &str {
        self.0.split_once(':').map_or(&*self.0, |(_, key)| key)
    }

    /// For ids that are paths: this id once the folder `old` is called `new`; `None` for an id outside it.
    pub fn rekeyed(&self, old: &ItemId, new: &ItemId) -> Option<Self> {
        let (namespace, key) = self.0.split_once(':')?;
        let below = key.strip_prefix(old.key())?;
        (below.is_empty() || below.starts_with('/')).then(|| Self::of(namespace, format!("{}{below}", new.key())))
    }

    /// The key, when the id lies in `namespace`.
    pub fn key_in(&self, namespace: &str) -> Option<&str> {
        self.0.strip_prefix(namespace)?.strip_prefix(':')
    }
}

impl fmt::Display for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An inode number: given once by the journal's allocator, never reused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ino(pub u64);

impl Ino {
    /// The root of the mount, as FUSE numbers it.
    pub const ROOT: Ino = Ino(1);
}

impl fmt::Display for Ino {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Ino {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ino {}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_below_a_renamed_folder_are_rekeyed() {
        let (old, new) = (ItemId::new("folder:/a"), ItemId::new("folder:/b/c"));
        assert_eq!(
            ItemId::new("file:/a/x.txt").rekeyed(&old, &new),
            Some(ItemId::new("file:/b/c/x.txt"))
        );
        assert_eq!(ItemId::new("folder:/a").rekeyed(&old, &new), Some(new.clone()));
        assert_eq!(ItemId::new("file:/ab/x.txt").rekeyed(&old, &new), None);
    }

    #[test]
    fn a_key_is_told_from_its_namespace() {
        let id = ItemId::of("file", 17);
        assert_eq!(id.as_str(), "file:17");
        assert_eq!(id.key(), "17");
        assert_eq!(id.key_in("file"), Some("17"));
        assert_eq!(id.key_in("folder"), None);
        assert_eq!(ItemId::new("plain").key(), "plain");
    }
}

//! An item of a store as it was last told, and the two things that change about it: its content and its metadata.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Access, Fields, ItemId, Timestamp, Value};

/// File or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Has content.
    File,
    /// Has children.
    Folder,
}

/// Names one state of a file's bytes. Equal versions mean equal bytes; different ones may still be equal (see
/// [`Entry::revision`]). Opaque outside the store that made it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContentVersion(Arc<str>);

impl ContentVersion {
    /// Wraps a version as a store's module built it.
    pub fn new(version: impl Into<Arc<str>>) -> Self {
        Self(version.into())
    }

    /// The version as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ContentVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

/// A checksum that the store keeps of a file's bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Checksum {
    /// MD5, lower-case hex.
    Md5(String),
}

/// Whether a file's bytes can be had now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Availability {
    /// They can be read.
    Ready,
    /// The server still works on them (an upload from a URL, an enhancement): reading fails with EAGAIN.
    Processing,
    /// The asset has expired: reading fails with EACCES.
    Expired,
}

/// How many children a folder is known to have, where its store tells without listing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildCounts {
    /// Direct subfolders.
    pub folders: u64,
    /// Direct files.
    pub files: u64,
}

/// One item of a store, whole: what `stat` and `list` answer and every mutation returns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Who it is.
    pub id: ItemId,
    /// File or folder.
    pub kind: Kind,
    /// What the store calls it, unmapped.
    pub name: String,
    /// Every folder it is in; empty for the root, and where the answer did not tell.
    pub parents: Vec<ItemId>,
    /// Bytes; `None` while the store does not say (folders, processing files, im4 without details).
    pub size: Option<u64>,
    /// Which bytes it has. Folders carry an empty version.
    pub version: ContentVersion,
    /// Moves when content *or* metadata changed; only ever compared for equality.
    pub revision: String,
    /// When it came to be.
    pub created: Option<Timestamp>,
    /// When the store says it last changed.
    pub modified: Option<Timestamp>,
    /// MIME type.
    pub mime: Option<String>,
    /// Checksum of the bytes.
    pub checksum: Option<Checksum>,
    /// Whether it can be read.
    pub availability: Availability,
    /// Number of children, for folders whose store tells.
    pub children: Option<ChildCounts>,
    /// Whether the listing gave all fields, or a `stat` is needed before an xattr says "none".
    pub fields_complete: bool,
    /// Metadata.
    pub fields: Fields,
}

/// How far an upload's own time and the one that the store tells of it later may be apart.
const FIRST_LOOK_APART_MAX: Duration = Duration::from_secs(300);

impl Entry {
    /// The field in which an upload's answer tells that the store changed the bytes.
    pub const ALTERED: &str = "altered";

    /// A plain folder.
    pub fn folder(id: ItemId, name: impl Into<String>, parents: Vec<ItemId>) -> Self {
        Self {
            id,
            kind: Kind::Folder,
            name: name.into(),
            parents,
            size: None,
            version: ContentVersion::new(""),
            revision: String::new(),
            created: None,
            modified: None,
            mime: None,
            checksum: None,
            availability: Availability::Ready,
            children: None,
            fields_complete: true,
            fields: Fields::new(),
        }
    }

    /// The fields that people may set, with what they hold.
    pub fn writable_values(&self) -> impl Iterator<Item = (String, Vec<Value>)> + '_ {
        let fields = self.fields.iter().filter(|(_, held)| held.access == Access::ReadWrite);
        fields.map(|(field, held)| (field.clone(), held.values.clone()))
    }

    /// Whether the bytes are surely others than those of `before`, an older state of the same file.
    pub fn has_other_bytes_than(&self, before: &Self) -> bool {
        let sizes = before.size.zip(self.size);
        let checksums = before.checksum.as_ref().zip(self.checksum.as_ref());
        sizes.is_some_and(|(a, b)| a != b) || checksums.is_some_and(|(a, b)| a != b)
    }

    /// What the store did to the bytes of this version when they were sent, in words; only in the answer to an upload.
    pub fn altered(&self) -> Option<&str> {
        let field = self.fields.get(Self::ALTERED)?;
        field.values.first().map(|value| value.text.as_str())
    }

    /// Whether what the store tells of it now, changed at `modified`, is a first look at an upload that was answered without
    /// a revision: then an equal size is the same content.
    pub fn is_first_look(&self, modified: Option<Timestamp>) -> bool {
        let (Some(sent), Some(told)) = (self.created, modified) else {
            return false;
        };
        self.revision.is_empty() && told.since(sent).max(sent.since(told)) <= FIRST_LOOK_APART_MAX
    }

    /// A plain file.
    pub fn file(id: ItemId, name: impl Into<String>, parents: Vec<ItemId>, size: u64, version: ContentVersion) -> Self {
        Self {
            kind: Kind::File,
            size: Some(size),
            version,
            ..Self::folder(id, name, parents)
        }
    }
}

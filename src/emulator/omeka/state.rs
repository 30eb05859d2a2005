//! The archive that the server keeps: records, texts, tags and files.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;

use crate::model::Timestamp;

/// One element text: a row of its own, whose number decides the order in answers.
#[derive(Clone, Debug)]
pub(super) struct Text {
    pub(super) row: u64,
    pub(super) element: u64,
    pub(super) html: bool,
    pub(super) text: String,
}

/// What collections, items and files have in common.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) id: u64,
    pub(super) owner: u64,
    pub(super) public: bool,
    pub(super) featured: bool,
    pub(super) added: Timestamp,
    pub(super) modified: Timestamp,
    pub(super) texts: Vec<Text>,
}

impl Record {
    /// The first text of `element`.
    pub(super) fn text(&self, element: u64) -> Option<&str> {
        self.texts
            .iter()
            .find(|text| text.element == element)
            .map(|text| text.text.as_str())
    }
}

/// An item: the folder of its files.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) record: Record,
    pub(super) item_type: Option<u64>,
    pub(super) collection: Option<u64>,
    pub(super) tags: Vec<u64>,
}

/// A file of an item.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) record: Record,
    pub(super) item: u64,
    pub(super) order: Option<u64>,
    pub(super) original_filename: String,
    /// The name on the server's disk: 32 hex digits and the extension.
    pub(super) stored_name: String,
    pub(super) size_bytes: u64,
    pub(super) md5: String,
    pub(super) mime: String,
    pub(super) type_os: String,
    pub(super) metadata: Value,
    pub(super) has_derivatives: bool,
}

/// A user of the site.
#[derive(Clone, Debug)]
pub(super) struct User {
    pub(super) id: u64,
    pub(super) username: &'static str,
    pub(super) name: &'static str,
    pub(super) role: Role,
}

/// What a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Super,
    Admin,
    Contributor,
    Researcher,
}

impl Role {
    /// As the API writes it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Role::Super => "super",
            Role::Admin => "admin",
            Role::Contributor => "contributor",
            Role::Researcher => "researcher",
        }
    }
}

/// The four users that the server knows.
pub(super) const USERS: &[User] = &[
    User {
        id: 1,
        username: "admin",
        name: "Super User",
        role: Role::Super,
    },
    User {
        id: 2,
        username: "curator",
        name: "Curator",
        role: Role::Admin,
    },
    User {
        id: 3,
        username: "contri",
        name: "Contri",
        role: Role::Contributor,
    },
    User {
        id: 4,
        username: "resea",
        name: "Resea",
        role: Role::Researcher,
    },
];

/// Everything that the site holds.
#[derive(Default)]
pub(super) struct Archive {
    pub(super) collections: BTreeMap<u64, Record>,
    pub(super) items: BTreeMap<u64, Item>,
    pub(super) files: BTreeMap<u64, File>,
    pub(super) tags: BTreeMap<u64, String>,
    /// Names that are being uploaded right now: the server moves each upload to one temporary place by its name.
    pub(super) uploading: HashSet<String>,
    collection_id_last: u64,
    item_id_last: u64,
    file_id_last: u64,
    tag_id_last: u64,
    text_row_last: u64,
}

impl Archive {
    /// A new, empty collection.
    pub(super) fn add_collection(&mut self, owner: u64, now: Timestamp) -> u64 {
        self.collection_id_last += 1;
        let id = self.collection_id_last;
        self.collections.insert(id, record(id, owner, now));
        id
    }

    /// A new, empty item outside any collection.
    pub(super) fn add_item(&mut self, owner: u64, now: Timestamp) -> u64 {
        self.item_id_last += 1;
        let id = self.item_id_last;
        self.items.insert(
            id,
            Item {
                record: record(id, owner, now),
                item_type: None,
                collection: None,
                tags: Vec::new(),
            },
        );
        id
    }

    /// Puts a file whose bytes are kept already under the next id.
    pub(super) fn add_file(&mut self, owner: u64, now: Timestamp, make: impl FnOnce(Record) -> File) -> u64 {
        self.file_id_last += 1;
        let id = self.file_id_last;
        self.files.insert(id, make(record(id, owner, now)));
        id
    }

    /// The tag of this name (case does not count), made if need be.
    pub(super) fn tag(&mut self, name: &str) -> u64 {
        let folded = name.to_lowercase();
        if let Some((id, _)) = self.tags.iter().find(|(_, tag)| tag.to_lowercase() == folded) {
            return *id;
        }
        self.tag_id_last += 1;
        self.tags.insert(self.tag_id_last, name.to_owned());
        self.tag_id_last
    }

    /// A number for a new text.
    pub(super) fn next_text_row(&mut self) -> u64 {
        self.text_row_last += 1;
        self.text_row_last
    }

    /// Removes a collection; its items stay, without one.
    pub(super) fn remove_collection(&mut self, id: u64, now: Timestamp) -> bool {
        if self.collections.remove(&id).is_none() {
            return false;
        }
        for item in self.items.values_mut().filter(|item| item.collection == Some(id)) {
            item.collection = None;
            item.record.modified = now;
        }
        true
    }

    /// Removes an item with all its files; answers the names of their originals.
    pub(super) fn remove_item(&mut self, id: u64) -> Option<Vec<String>> {
        self.items.remove(&id)?;
        let (gone, kept) = std::mem::take(&mut self.files)
            .into_iter()
            .partition(|(_, file)| file.item == id);
        self.files = kept;
        Some(gone.into_values().map(|file| file.stored_name).collect())
    }

    /// How many items a collection has.
    pub(super) fn items_in(&self, collection: u64) -> usize {
        self.items
            .values()
            .filter(|item| item.collection == Some(collection))
            .count()
    }

    /// How many files an item has.
    pub(super) fn files_in(&self, item: u64) -> usize {
        self.files.values().filter(|file| file.item == item).count()
    }
}

fn record(id: u64, owner: u64, now: Timestamp) -> Record {
    Record {
        id,
        owner,
        public: false,
        featured: false,
        added: now,
        modified: now,
        texts: Vec::new(),
    }
}

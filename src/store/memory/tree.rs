//! What the server holds, and what it held a moment ago.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use crate::model::{
    Access, Checksum, ChildCounts, ContentVersion, Entry, Field, FieldChanges, ItemId, Kind, Timestamp, hex,
};
use crate::store::{ErrorKind, IdScheme, Result, SiblingNames, StoreError};

/// A path's length ends any walk up the tree.
const DEPTH_MAX: u32 = 1000;

#[derive(Clone)]
pub(super) struct Item {
    pub entry: Entry,
    pub bytes: Bytes,
}

/// All items, by id.
pub(super) struct Tree {
    ids: IdScheme,
    siblings: SiblingNames,
    lag_max: Duration,
    items: BTreeMap<ItemId, Item>,
    /// What each id was, from which time on; `None`: not there. Goes back as far as a listing may lag.
    history: BTreeMap<ItemId, Vec<(Timestamp, Option<Entry>)>>,
    /// Whose state changed, in order: the feed.
    log: Vec<ItemId>,
    /// The last number given to an item, a version or a revision.
    last_number: u64,
}

impl Tree {
    pub(super) fn new(ids: IdScheme, siblings: SiblingNames, lag_max: Duration, now: Timestamp) -> Self {
        let root = match ids {
            IdScheme::Stable => ItemId::of("folder", 1),
            IdScheme::Path => ItemId::of("folder", ""),
        };
        let mut tree = Self {
            ids,
            siblings,
            lag_max,
            items: BTreeMap::new(),
            history: BTreeMap::new(),
            log: Vec::new(),
            last_number: 1,
        };
        tree.items.insert(
            root.clone(),
            Item {
                entry: Entry::folder(root.clone(), "", vec![]),
                bytes: Bytes::new(),
            },
        );
        tree.stamp(&root, now);
        tree
    }

    pub(super) fn root(&self) -> ItemId {
        match self.ids {
            IdScheme::Stable => ItemId::of("folder", 1),
            IdScheme::Path => ItemId::of("folder", ""),
        }
    }

    pub(super) fn get(&self, id: &ItemId, operation: &'static str) -> Result<&Item> {
        self.items
            .get(id)
            .ok_or_else(|| StoreError::new(ErrorKind::NotFound, operation, id.as_str()))
    }

    /// An item as an answer: with its children counted.
    pub(super) fn answer(&self, id: &ItemId, operation: &'static str) -> Result<Entry> {
        Ok(self.counted(&self.get(id, operation)?.entry))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Item> {
        self.items.values()
    }

    pub(super) fn children<'a>(&'a self, folder: &'a ItemId) -> impl Iterator<Item = &'a Item> {
        self.items
            .values()
            .filter(move |item| item.entry.parents.contains(folder))
    }

    /// The children that the server's index had at `at`.
    pub(super) fn listed(&self, folder: &ItemId, at: Timestamp) -> Vec<Entry> {
        let then =
            |past: &Vec<(Timestamp, Option<Entry>)>| past.iter().rev().find(|(since, _)| *since <= at)?.1.clone();
        let entries = self.history.values().filter_map(then);
        entries
            .filter(|entry| entry.parents.contains(folder))
            .map(|entry| self.counted(&entry))
            .collect()
    }

    /// How many folders lie above `folder`.
    pub(super) fn depth(&self, folder: &ItemId) -> u32 {
        let mut depth = 0;
        let mut at = folder;
        while let Some(parent) = self.items.get(at).and_then(|item| item.entry.parents.first()) {
            (depth, at) = (depth + 1, parent);
            if depth == DEPTH_MAX {
                break;
            }
        }
        depth
    }

    pub(super) fn is_below(&self, item: &ItemId, folder: &ItemId) -> bool {
        let Some(known) = self.items.get(item) else {
            return false;
        };
        item == folder || known.entry.parents.iter().any(|parent| self.is_below(parent, folder))
    }

    pub(super) fn log(&self) -> &[ItemId] {
        &self.log
    }

    /// A new file (with bytes) or folder (without).
    pub(super) fn add(
        &mut self,
        operation: &'static str,
        now: Timestamp,
        parent: &ItemId,
        name: &str,
        content: Option<Bytes>,
    ) -> Result<Entry> {
        let kind = if content.is_some() { Kind::File } else { Kind::Folder };
        self.check_place(operation, None, parent, name)?;
        let id = self.id_for(parent, name, kind);
        let mut entry = Entry::folder(id.clone(), name, vec![parent.clone()]);
        (entry.kind, entry.created) = (kind, Some(now));
        self.items.insert(
            id.clone(),
            Item {
                entry,
                bytes: Bytes::new(),
            },
        );
        match content {
            Some(bytes) => self.write(operation, now, &id, bytes),
            None => {
                self.stamp(&id, now);
                self.answer(&id, operation)
            }
        }
    }

    /// New content.
    pub(super) fn write(
        &mut self,
        operation: &'static str,
        now: Timestamp,
        id: &ItemId,
        bytes: Bytes,
    ) -> Result<Entry> {
        let version = ContentVersion::new(format!("v{}", self.number()));
        let md5 = md5_of(&bytes);
        self.change(operation, now, id, |item| {
            item.entry.size = Some(bytes.len() as u64);
            item.entry.version = version;
            item.entry.checksum = Some(Checksum::Md5(md5));
            item.entry.mime = mime_guess::from_path(&item.entry.name).first_raw().map(str::to_owned);
            item.bytes = bytes;
        })
    }

    /// Any change of one item that keeps its place.
    pub(super) fn change(
        &mut self,
        operation: &'static str,
        now: Timestamp,
        id: &ItemId,
        change: impl FnOnce(&mut Item),
    ) -> Result<Entry> {
        let missing = || StoreError::new(ErrorKind::NotFound, operation, id.as_str());
        change(self.items.get_mut(id).ok_or_else(missing)?);
        self.stamp(id, now);
        self.answer(id, operation)
    }

    pub(super) fn set_fields(
        &mut self,
        operation: &'static str,
        now: Timestamp,
        id: &ItemId,
        changes: &FieldChanges,
    ) -> Result<Entry> {
        self.change(operation, now, id, |item| {
            for (name, values) in changes {
                if values.is_empty() {
                    item.entry.fields.remove(name);
                } else {
                    let field = Field {
                        values: values.clone(),
                        access: Access::ReadWrite,
                    };
                    item.entry.fields.insert(name.clone(), field);
                }
            }
        })
    }

    /// Another name, other folders, or both. Where ids are paths, everything below goes along.
    pub(super) fn relocate(
        &mut self,
        operation: &'static str,
        now: Timestamp,
        id: &ItemId,
        name: &str,
        parents: &[ItemId],
    ) -> Result<Entry> {
        let refused = |why: &'static str| StoreError::new(ErrorKind::Invalid, operation, id.as_str()).because(why);
        let kind = self.get(id, operation)?.entry.kind;
        let Some(first) = parents.first() else {
            return Err(refused("an item must be in a folder"));
        };
        for parent in parents {
            self.check_place(operation, Some(id), parent, name)?;
            if kind == Kind::Folder && self.is_below(parent, id) {
                return Err(refused("a folder cannot be put into itself"));
            }
        }
        let new = match self.ids {
            IdScheme::Stable => id.clone(),
            IdScheme::Path => self.id_for(first, name, kind),
        };
        self.rekey(id, &new, now);
        self.change(operation, now, &new, |item| {
            name.clone_into(&mut item.entry.name);
            item.entry.parents = parents.to_vec();
        })
    }

    /// Removes an item and everything that is only below it.
    pub(super) fn remove(&mut self, operation: &'static str, now: Timestamp, id: &ItemId) -> Result<()> {
        self.get(id, operation)?;
        let below: Vec<ItemId> = self.children(id).map(|item| item.entry.id.clone()).collect();
        self.items.remove(id);
        self.stamp(id, now);
        for child in below {
            let elsewhere = self.get(&child, operation)?.entry.parents.len() > 1;
            if elsewhere {
                self.change(operation, now, &child, |item| {
                    item.entry.parents.retain(|parent| parent != id)
                })?;
            } else {
                self.remove(operation, now, &child)?;
            }
        }
        Ok(())
    }

    fn rekey(&mut self, old: &ItemId, new: &ItemId, now: Timestamp) {
        if old == new {
            return;
        }
        let Some(mut item) = self.items.remove(old) else { return };
        item.entry.id = new.clone();
        self.items.insert(new.clone(), item);
        self.stamp(old, now);
        let below: Vec<Entry> = self.children(old).map(|item| item.entry.clone()).collect();
        for child in below {
            let renamed = self.id_for(new, &child.name, child.kind);
            self.rekey(&child.id, &renamed, now);
            if let Some(item) = self.items.get_mut(&renamed) {
                item.entry.parents = vec![new.clone()];
            }
            self.stamp(&renamed, now);
        }
    }

    /// The folder must be there, and the name free where names are unique.
    fn check_place(&self, operation: &'static str, item: Option<&ItemId>, parent: &ItemId, name: &str) -> Result<()> {
        let folder = self.get(parent, operation)?;
        let refused = |kind| StoreError::new(kind, operation, name);
        if folder.entry.kind == Kind::File {
            return Err(refused(ErrorKind::Invalid).because("only folders have children"));
        }
        if self.ids == IdScheme::Path && (name.contains('/') || name.is_empty()) {
            return Err(refused(ErrorKind::Invalid).because("a path's part is not empty and has no slash"));
        }
        let taken = self
            .children(parent)
            .any(|c| c.entry.name == name && Some(&c.entry.id) != item);
        match self.siblings {
            SiblingNames::Unique if taken => Err(refused(ErrorKind::Exists)),
            SiblingNames::Unique | SiblingNames::Shared => Ok(()),
        }
    }

    fn id_for(&mut self, parent: &ItemId, name: &str, kind: Kind) -> ItemId {
        let namespace = match kind {
            Kind::File => "file",
            Kind::Folder => "folder",
        };
        match self.ids {
            IdScheme::Stable => ItemId::of(namespace, self.number()),
            IdScheme::Path if parent.key().is_empty() => ItemId::of(namespace, name),
            IdScheme::Path => ItemId::of(namespace, format!("{}/{name}", parent.key())),
        }
    }

    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Notes that an item changed now: its revision, its past and the feed.
    fn stamp(&mut self, id: &ItemId, now: Timestamp) {
        let revision = format!("r{}", self.number());
        let entry = self.items.get_mut(id).map(|item| {
            item.entry.revision = revision;
            item.entry.modified = Some(now);
            item.entry.clone()
        });
        let oldest = now.minus(self.lag_max);
        let past = self.history.entry(id.clone()).or_default();
        past.push((now, entry));
        // The last state that the oldest possible listing may show stays; what was before it goes.
        let shown = past.iter().rposition(|(since, _)| *since <= oldest).unwrap_or(0);
        past.drain(..shown);
        self.log.push(id.clone());
    }

    fn counted(&self, entry: &Entry) -> Entry {
        let mut entry = entry.clone();
        if entry.kind == Kind::Folder {
            let count = |kind| self.children(&entry.id).filter(|item| item.entry.kind == kind).count() as u64;
            entry.children = Some(ChildCounts {
                folders: count(Kind::Folder),
                files: count(Kind::File),
            });
        }
        entry
    }
}

fn md5_of(bytes: &[u8]) -> String {
    use md5::Digest;
    hex(&md5::Md5::digest(bytes))
}

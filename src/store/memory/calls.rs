//! The store's calls: each meets its faults, checks what was declared, and acts in one step.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use super::faults::Fate;
use super::{FieldsListed, MemoryStore, NameRule, Op};
use crate::model::{Availability, ContentVersion, Encoding, Entry, FieldChanges, ItemId, Kind, Name, Timestamp};
use crate::store::{
    Account, Body, BundlePart, ByteStream, Capabilities, ChangeFeed, Changes, Collection, CreateFile, CreateFolder,
    Download, ErrorKind, FieldName, Group, Listing, MoveFile, MoveFolder, NewFile, Overwrite, Placement, Progress,
    Query, Reads, RenameFile, Result, Retry, Sizes, Store, StoreError,
};

/// Fields of this prefix are the server's own.
const READ_ONLY_PREFIX: &str = "fixed.";
/// This field takes digits only, as some templates' fields do.
const NUMBER_FIELD: &str = "number";
/// This field holds one value at most, as the fields of many templates do.
const SINGLE_FIELD: &str = "caption";
/// How much of a body is sent at a time.
const READ_PART_BYTES: usize = 64 << 10;

impl MemoryStore {
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn require(&self, support: bool, operation: &'static str, item: &str) -> Result<()> {
        if support {
            Ok(())
        } else {
            Err(StoreError::unsupported(operation, item))
        }
    }

    /// Folders that are given are not the user's to change.
    fn permit(&self, allowed: bool, operation: &'static str, item: &str) -> Result<()> {
        if allowed {
            Ok(())
        } else {
            Err(StoreError::new(ErrorKind::Denied, operation, item).because("the store's folders are given"))
        }
    }

    /// Whether files or folders may be made at the depth of `parent`.
    pub(super) fn check_level(&self, operation: &'static str, parent: &ItemId, kind: Kind) -> Result<()> {
        let depth = {
            let tree = self.tree.lock();
            tree.get(parent, operation)?;
            tree.depth(parent)
        };
        let refused = || StoreError::new(ErrorKind::Denied, operation, parent.as_str());
        let allowed = match kind {
            Kind::File => match self.capabilities.create_file {
                CreateFile::Anywhere => true,
                CreateFile::FromDepth(from) => depth >= from,
            },
            Kind::Folder => match self.capabilities.create_folder {
                CreateFolder::Anywhere => true,
                CreateFolder::AboveDepth(below) => depth < below,
                CreateFolder::Nowhere => false,
            },
        };
        if allowed {
            Ok(())
        } else {
            Err(refused().because("not at this depth of the tree"))
        }
    }

    /// Whether the parts of a relocation that change are native here.
    pub(super) fn check_relocation(&self, item: &Entry, to: &Placement) -> Result<()> {
        let can = &self.capabilities;
        let renamed = item.name != to.name;
        let moved = item.parents != to.parents;
        let several = to.parents.len() > 1;
        let native = match item.kind {
            Kind::File => {
                (!renamed || can.rename_file == RenameFile::Relocate)
                    && (!moved || can.move_file == MoveFile::Relocate)
                    && (!several || can.links.is_yes())
            }
            Kind::Folder => {
                (!renamed || can.rename_folder.is_yes())
                    && (!moved || can.move_folder == MoveFolder::Relocate)
                    && !several
            }
        };
        match item.kind {
            Kind::File => self.require(native, "relocate", item.id.as_str())?,
            Kind::Folder => self.permit(native, "relocate", item.id.as_str())?,
        }
        if moved {
            for parent in to.parents.iter().filter(|parent| !item.parents.contains(parent)) {
                self.check_level("relocate", parent, item.kind)?;
            }
        }
        Ok(())
    }

    /// An entry as listings show it.
    fn as_listed(&self, mut entry: Entry) -> Entry {
        if self.capabilities.sizes == Sizes::Late && entry.kind == Kind::File {
            entry.size = None;
        }
        if self.knobs().fields_listed == FieldsListed::None {
            entry.fields.clear();
            entry.fields_complete = false;
        }
        entry
    }

    /// One page of a listing, as the server's index had it when the first was asked for.
    async fn page(&self, folder: &ItemId, state: Option<Vec<Entry>>) -> Result<(Vec<Entry>, Vec<Entry>)> {
        let fate = self.faults.meet(Op::List, "list folder", folder.as_str()).await?;
        let mut rest = match state {
            Some(rest) => rest,
            None => {
                let at = self
                    .now()
                    .minus(self.knobs().listing_lag.min(self.capabilities.listing_lag_max));
                let at = self.knobs().indexed_to.map_or(at, |least| least.max(at));
                let tree = self.tree.lock();
                tree.get(folder, "list folder")?;
                let mut listed = tree.listed(folder, at);
                listed.truncate(listed.len().saturating_sub(self.knobs().entries_lost));
                listed.into_iter().map(|entry| self.as_listed(entry)).collect()
            }
        };
        let after = rest.split_off(rest.len().min(self.knobs().page_entries.max(1)));
        fate.deliver("list folder", folder.as_str(), (rest, after))
    }

    /// A readable file's bytes.
    fn content(&self, file: &Entry) -> Result<(Bytes, ContentVersion)> {
        let tree = self.tree.lock();
        let item = tree.get(&file.id, "read file")?;
        let refused = |kind| StoreError::new(kind, "read file", file.id.as_str());
        match item.entry.availability {
            Availability::Ready => Ok((item.bytes.clone(), item.entry.version.clone())),
            Availability::Processing => Err(refused(ErrorKind::NotReady)),
            Availability::Expired => Err(refused(ErrorKind::Expired)),
        }
    }

    fn check_base(&self, item: &Entry, base: Option<&ContentVersion>) -> Result<()> {
        let tree = self.tree.lock();
        let known = &tree.get(&item.id, "replace")?.entry;
        match base {
            Some(base) if *base != known.version => {
                Err(StoreError::new(ErrorKind::Conflict, "replace", item.id.as_str()))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn refuse_root(&self, operation: &'static str, item: &Entry) -> Result<()> {
        if item.id == self.tree.lock().root() {
            return Err(StoreError::new(ErrorKind::Denied, operation, "the root"));
        }
        Ok(())
    }

    pub(super) fn check_changes(&self, operation: &'static str, changes: &FieldChanges) -> Result<()> {
        for (field, values) in changes {
            if field.starts_with(READ_ONLY_PREFIX) {
                return Err(StoreError::new(ErrorKind::Denied, operation, field).because("the field is read-only"));
            }
            if field == SINGLE_FIELD && values.len() > 1 {
                return Err(StoreError::new(ErrorKind::Invalid, operation, field).because("one value at most"));
            }
            if field == NUMBER_FIELD && values.iter().any(|v| v.text.parse::<u64>().is_err()) {
                return Err(StoreError::new(ErrorKind::Invalid, operation, field).because("digits only"));
            }
        }
        Ok(())
    }

    fn matches(&self, entry: &Entry, query: &Query) -> bool {
        let name = entry.name.to_lowercase();
        let words = query.words.to_lowercase();
        words.split_whitespace().all(|word| name.contains(word))
            && query.filters.iter().all(|(field, value)| {
                entry
                    .fields
                    .get(field)
                    .is_some_and(|field| field.values.iter().any(|v| v.text == *value))
            })
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn account(&self) -> Result<Account> {
        let fate = self.faults.meet(Op::Account, "log in", "").await?;
        fate.deliver(
            "log in",
            "",
            Account {
                id: "memory:tester".into(),
                label: "tester".into(),
            },
        )
    }

    async fn root(&self) -> Result<Entry> {
        let fate = self.faults.meet(Op::Account, "read the root folder", "").await?;
        let root = {
            let tree = self.tree.lock();
            tree.answer(&tree.root(), "read the root folder")?
        };
        fate.deliver("read the root folder", "", root)
    }

    fn list(&self, folder: &Entry) -> Listing {
        let start = (self.clone(), folder.id.clone(), Pages::Unasked);
        stream::unfold(start, |(store, folder, pages)| async move {
            let rest = match pages {
                Pages::Unasked => None,
                Pages::Left(rest) if rest.is_empty() => return None,
                Pages::Left(rest) => Some(rest),
            };
            match store.page(&folder, rest).await {
                Ok((page, rest)) => Some((Ok(page), (store, folder, Pages::Left(rest)))),
                Err(error) => Some((Err(error), (store, folder, Pages::Left(vec![])))),
            }
        })
        .boxed()
    }

    fn subfolders(&self, folder: &Entry) -> Listing {
        if !self.capabilities.counts.is_yes() {
            let unsupported = StoreError::unsupported("subfolders", folder.id.as_str());
            return stream::once(async { Err(unsupported) }).boxed();
        }
        let folders = |batch: Vec<Entry>| batch.into_iter().filter(|entry| entry.kind == Kind::Folder).collect();
        self.list(folder).map(move |batch| batch.map(folders)).boxed()
    }

    async fn stat(&self, item: &ItemId) -> Result<Entry> {
        let fate = self.faults.meet(Op::Stat, "stat", item.as_str()).await?;
        let entry = self.tree.lock().answer(item, "stat")?;
        fate.deliver("stat", item.as_str(), entry)
    }

    async fn read(&self, file: &Entry, range: Range<u64>) -> Result<Download> {
        let fate = self.faults.meet(Op::Read, "read file", file.id.as_str()).await?;
        let (bytes, version) = self.content(file)?;
        let total = bytes.len() as u64;
        let range = match self.capabilities.reads {
            Reads::Ranged => range.start.min(total)..range.end.min(total),
            Reads::Whole | Reads::Bundle => 0..total,
        };
        let sent = bytes.slice(range.start as usize..range.end as usize);
        let download = Download {
            range,
            total: Some(total),
            validator: Some(version.as_str().into()),
            stream: flow(sent, fate, file),
        };
        match fate {
            Fate::AnswerLost => Err(StoreError::new(ErrorKind::Network, "read file", file.id.as_str())
                .retry(Retry::After(std::time::Duration::ZERO))),
            Fate::Answered | Fate::CutAfter(_) | Fate::Partly(_) => Ok(download),
        }
    }

    async fn read_bundle(&self, file: &Entry) -> Result<BoxStream<'static, Result<BundlePart>>> {
        self.require(
            self.capabilities.reads == Reads::Bundle,
            "read bundle",
            file.id.as_str(),
        )?;
        self.faults.meet(Op::Read, "read bundle", file.id.as_str()).await?;
        self.content(file)?;
        let mut parts = Vec::new();
        {
            let tree = self.tree.lock();
            let known = tree.get(&file.id, "read bundle")?;
            for folder in known.entry.parents.iter().take(1) {
                for item in tree.children(folder).filter(|item| item.entry.kind == Kind::File) {
                    let (item_id, version) = (item.entry.id.clone(), item.entry.version.clone());
                    parts.push(Ok(BundlePart::Begin { item: item_id, version }));
                    parts.push(Ok(BundlePart::Data(item.bytes.clone())));
                    parts.push(Ok(BundlePart::End));
                }
            }
        }
        Ok(stream::iter(parts).boxed())
    }

    async fn create(
        &self,
        parent: &ItemId,
        name: &Name,
        body: &Body,
        fields: &FieldChanges,
        progress: &dyn Progress,
    ) -> Result<Entry> {
        self.check_name(name, Kind::File)?;
        self.check_level("create file", parent, Kind::File)?;
        self.check_changes("create file", fields)?;
        let store_name = self.spelled(&name.to_store());
        if let Some(made) = self.made_by(progress) {
            return Ok(made);
        }
        let (content, fields) = self.receive("create file", &store_name, body, fields, progress).await?;
        let fate = self.faults.meet(Op::Create, "create file", name.as_str()).await?;
        let content = match fate {
            Fate::CutAfter(bytes) => content.slice(..content.len().min(bytes as usize)),
            Fate::Answered | Fate::AnswerLost | Fate::Partly(_) => content,
        };
        let entry = {
            let mut tree = self.tree.lock();
            let entry = tree.add("create file", self.now(), parent, &store_name, Some(content))?;
            if fields.is_empty() {
                entry
            } else {
                tree.set_fields("create file", self.now(), &entry.id, &fields)?
            }
        };
        self.note_made(progress, &entry);
        fate.deliver("create file", name.as_str(), entry)
    }

    async fn replace(
        &self,
        item: &Entry,
        base: Option<&ContentVersion>,
        name: Option<&Name>,
        body: &Body,
        progress: &dyn Progress,
    ) -> Result<Entry> {
        self.require(
            self.capabilities.overwrite == Overwrite::Replace,
            "replace",
            item.id.as_str(),
        )?;
        let renames = self.capabilities.rename_file == RenameFile::Replace;
        self.require(name.is_none() || renames, "replace under a new name", item.id.as_str())?;
        if let Some(name) = name {
            self.check_name(name, Kind::File)?;
        }
        self.check_base(item, base)?;
        let name_there = name.map_or(item.name.as_str(), |name| name.as_str());
        let (content, _) = self
            .receive("replace", name_there, body, &FieldChanges::new(), progress)
            .await?;
        let fate = self.faults.meet(Op::Replace, "replace", item.id.as_str()).await?;
        self.check_base(item, base)?;
        let entry = {
            let mut tree = self.tree.lock();
            if let Some(name) = name {
                let parents = tree.get(&item.id, "replace")?.entry.parents.clone();
                tree.relocate(
                    "replace",
                    self.now(),
                    &item.id,
                    &self.spelled(&name.to_store()),
                    &parents,
                )?;
            }
            tree.write("replace", self.now(), &item.id, content)?
        };
        fate.deliver("replace", item.id.as_str(), entry)
    }

    async fn create_together(
        &self,
        parent: &ItemId,
        files: &[NewFile<'_>],
        fields: &FieldChanges,
    ) -> Vec<Result<Entry>> {
        self.make_together(parent, files, fields).await
    }

    async fn relocate_together(&self, items: &[Entry], into: &ItemId) -> Vec<Result<Entry>> {
        self.move_together(items, into).await
    }

    async fn remove_together(&self, items: &[Entry]) -> Vec<Result<()>> {
        self.delete_together(items).await
    }

    async fn create_folder(&self, parent: &ItemId, name: &Name) -> Result<Entry> {
        self.check_name(name, Kind::Folder)?;
        self.check_level("create folder", parent, Kind::Folder)?;
        let fate = self
            .faults
            .meet(Op::CreateFolder, "create folder", name.as_str())
            .await?;
        let entry = self
            .tree
            .lock()
            .add("create folder", self.now(), parent, &name.to_store(), None)?;
        fate.deliver("create folder", name.as_str(), entry)
    }

    async fn relocate(&self, item: &Entry, to: &Placement) -> Result<Entry> {
        let now = self.tree.lock().answer(&item.id, "relocate")?;
        self.refuse_root("relocate", &now)?;
        self.check_relocation(&now, to)?;
        let fate = self.faults.meet(Op::Relocate, "relocate", item.id.as_str()).await?;
        let entry = self
            .tree
            .lock()
            .relocate("relocate", self.now(), &item.id, &to.name, &to.parents)?;
        fate.deliver("relocate", item.id.as_str(), entry)
    }

    async fn link(&self, item: &Entry, into: &ItemId) -> Result<Entry> {
        let possible = self.capabilities.links.is_yes() && item.kind == Kind::File;
        self.require(possible, "link", item.id.as_str())?;
        self.check_level("link", into, Kind::File)?;
        let fate = self.faults.meet(Op::Link, "link", item.id.as_str()).await?;
        let entry = {
            let mut tree = self.tree.lock();
            let known = tree.get(&item.id, "link")?.entry.clone();
            if known.parents.contains(into) {
                known
            } else {
                let parents: Vec<ItemId> = known.parents.iter().chain([into]).cloned().collect();
                tree.relocate("link", self.now(), &item.id, &known.name, &parents)?
            }
        };
        fate.deliver("link", item.id.as_str(), entry)
    }

    async fn copy(&self, item: &Entry, parent: &ItemId, name: &Name) -> Result<Entry> {
        let possible = self.capabilities.server_copy.is_yes() && item.kind == Kind::File;
        self.require(possible, "copy", item.id.as_str())?;
        self.check_name(name, Kind::File)?;
        self.check_level("copy", parent, Kind::File)?;
        let fate = self.faults.meet(Op::Copy, "copy", item.id.as_str()).await?;
        let entry = {
            let mut tree = self.tree.lock();
            let source = tree.get(&item.id, "copy")?.clone();
            let name = if self.capabilities.copy_keeps_name {
                source.entry.name
            } else {
                name.to_store()
            };
            let copy = tree.add("copy", self.now(), parent, &name, Some(source.bytes))?;
            tree.change("copy", self.now(), &copy.id, |item| {
                item.entry.fields = source.entry.fields
            })?
        };
        fate.deliver("copy", item.id.as_str(), entry)
    }

    async fn remove(&self, item: &Entry) -> Result<()> {
        self.refuse_root("remove", item)?;
        let possible = item.kind == Kind::File || self.capabilities.remove_folder.is_yes();
        self.permit(possible, "remove", item.id.as_str())?;
        let fate = self.faults.meet(Op::Remove, "remove", item.id.as_str()).await?;
        {
            let mut tree = self.tree.lock();
            if tree.children(&item.id).next().is_some() {
                return Err(StoreError::new(ErrorKind::NotEmpty, "remove", item.id.as_str()));
            }
            tree.remove("remove", self.now(), &item.id)?;
        }
        fate.deliver("remove", item.id.as_str(), ())
    }

    async fn set_fields(&self, items: &[Entry], changes: &FieldChanges) -> Result<Vec<Entry>> {
        self.check_changes("set fields", changes)?;
        let first = items.first().map_or("", |item| item.id.as_str());
        let fate = self.faults.meet(Op::SetFields, "set fields", first).await?;
        let entries = {
            let mut tree = self.tree.lock();
            let set = |item: &Entry| tree.set_fields("set fields", self.now(), &item.id, changes);
            items.iter().map(set).collect::<Result<Vec<_>>>()?
        };
        fate.deliver("set fields", first, entries)
    }

    async fn check_fields(&self, _: &Entry, changes: &FieldChanges) -> Result<()> {
        self.check_changes("check fields", changes)
    }

    fn field_name(&self, xattr: &str, _: Kind) -> Option<FieldName> {
        let named = |field: &str, encoding| {
            Some(FieldName {
                field: field.to_owned(),
                encoding,
            })
        };
        match xattr {
            "xdg.tags" => named("tags", Encoding::Commas),
            "xdg.comment" => named("comment", Encoding::Lines),
            _ => named(
                xattr.strip_prefix("memory.").filter(|field| !field.is_empty())?,
                Encoding::Lines,
            ),
        }
    }

    fn may_hold(&self, parent: &Entry, kind: Kind) -> Result<()> {
        self.check_level("create in", &parent.id, kind)
    }

    fn check_name(&self, name: &Name, kind: Kind) -> Result<()> {
        let refused =
            |why: &'static str| Err(StoreError::new(ErrorKind::Invalid, "check name", name.as_str()).because(why));
        match (self.knobs().names, kind) {
            (NameRule::Any, _) | (NameRule::Extension, Kind::Folder) => Ok(()),
            (NameRule::Extension, Kind::File) if name.as_str().starts_with('.') => refused("no leading dot is allowed"),
            (NameRule::Extension, Kind::File) if name.extension().is_empty() => refused("an extension is needed"),
            (NameRule::Extension, Kind::File) => Ok(()),
        }
    }

    async fn changes(&self, cursor: Option<&str>, _: Timestamp) -> Result<Changes> {
        self.require(self.capabilities.change_feed == ChangeFeed::Feed, "changes", "")?;
        let fate = self.faults.meet(Op::Changes, "changes", "").await?;
        let changes = {
            let tree = self.tree.lock();
            let log = tree.log();
            let from = match cursor {
                None => {
                    // The first is the root itself.
                    let cursor = "1".to_owned();
                    let start = Changes {
                        cursor,
                        ..Changes::default()
                    };
                    return fate.deliver("changes", "", start);
                }
                Some(text) => text
                    .parse()
                    .map_err(|e| StoreError::new(ErrorKind::Invalid, "changes", text).because(e))?,
            };
            let mut changes = Changes {
                cursor: log.len().to_string(),
                ..Changes::default()
            };
            let ids: std::collections::BTreeSet<&ItemId> = log.iter().skip(from).collect();
            for id in ids {
                match tree.answer(id, "changes") {
                    Ok(entry) => changes.changed.push(entry),
                    Err(_) => changes.removed.push(id.clone()),
                }
            }
            changes
        };
        fate.deliver("changes", "", changes)
    }

    async fn search(&self, query: &Query) -> Result<Vec<Entry>> {
        self.require(self.capabilities.search.is_yes(), "search", "")?;
        let fate = self.faults.meet(Op::Search, "search", "").await?;
        let found = {
            let tree = self.tree.lock();
            let in_scope = |entry: &Entry| match &query.scope {
                None => true,
                Some(scope) if query.recursive => tree.is_below(&entry.id, scope),
                Some(scope) => entry.parents.contains(scope),
            };
            let files = tree
                .all()
                .map(|item| &item.entry)
                .filter(|entry| entry.kind == Kind::File);
            files
                .filter(|entry| in_scope(entry) && self.matches(entry, query))
                .cloned()
                .collect()
        };
        fate.deliver("search", "", found)
    }

    async fn group(&self, group: &Group, scope: &ItemId) -> Result<Vec<Entry>> {
        self.read_group(group, scope).await
    }

    async fn collections(&self) -> Result<Vec<Collection>> {
        self.all_collections().await
    }

    async fn add_to_collection(&self, collection: &ItemId, item: &Entry) -> Result<()> {
        self.collect(collection, item).await
    }

    fn ids_called(&self, key: &str) -> Vec<ItemId> {
        vec![ItemId::of("file", key), ItemId::of("folder", key)]
    }

    fn web_url(&self, item: &Entry) -> Option<String> {
        Some(format!("https://memory.invalid/{}", item.id))
    }
}

enum Pages {
    Unasked,
    Left(Vec<Entry>),
}

/// Bytes in parts, broken off where the fault says so.
fn flow(bytes: Bytes, fate: Fate, file: &Entry) -> ByteStream {
    let cut = match fate {
        Fate::CutAfter(after) => Some(after.min(bytes.len() as u64) as usize),
        Fate::Answered | Fate::AnswerLost | Fate::Partly(_) => None,
    };
    let sent = bytes.slice(..cut.unwrap_or(bytes.len()));
    let offsets = (0..sent.len()).step_by(READ_PART_BYTES);
    let part = |at: usize| Ok(sent.slice(at..sent.len().min(at + READ_PART_BYTES)));
    let mut parts: Vec<Result<Bytes>> = offsets.map(part).collect();
    if cut.is_some() {
        let broken = StoreError::new(ErrorKind::Network, "read file", file.id.as_str());
        parts.push(Err(broken.retry(Retry::After(std::time::Duration::ZERO))));
    }
    stream::iter(parts).boxed()
}

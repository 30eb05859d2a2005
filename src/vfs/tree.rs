//! The visible tree: the catalog with the pending changes laid over it.

use std::sync::Arc;

use crate::cache::BodyId;
use crate::journal::{Change, LocalAttr, LocalReason, Overlay, Place, Placing, State};
use crate::model::{Entry, Ino, ItemId, Kind, Name, Timestamp};
use crate::store::Support;

use super::notes;
use super::opens::OpenFile;
use super::vfs::{Decision, Inner};
use super::views::{is_virtual, names_are_fixed};
use super::{Attr, Error, Result};

/// A node as people see it.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub ino: Ino,
    pub kind: Kind,
    /// Who it is in the store.
    pub id: Option<ItemId>,
    /// What the store said of it.
    pub entry: Option<Arc<Entry>>,
    /// What is to become of it.
    pub change: Option<Arc<Change>>,
}

impl Node {
    /// Whether the store has it.
    pub fn is_published(&self) -> bool {
        self.id.is_some()
    }

    pub fn is_folder(&self) -> bool {
        self.kind == Kind::Folder
    }

    /// The change to alter: the pending one (a settled one begins anew), or an empty one.
    pub fn change_or_new(&self, at: &Decision<'_, '_>) -> Change {
        match &self.change {
            Some(change) => {
                let mut change = Change::clone(change);
                if let State::Settling { .. } = change.state {
                    change.state = State::Pending;
                }
                change
            }
            None => {
                let seq = at.vfs.journal.next_seq();
                Change::of(self.ino, self.kind, self.id.clone(), seq, at.ready_at())
            }
        }
    }
}

/// When the store says that an entry changed last.
pub(super) fn told_time(entry: &Entry) -> Option<Timestamp> {
    entry.modified.or(entry.created)
}

/// A folder's time as set or moved here; `None` when the store tells a later one than it had by then.
pub(super) fn folder_mtime(local: &LocalAttr, told: Option<Timestamp>) -> Option<Timestamp> {
    local.mtime.filter(|own| told <= Some(*own).max(local.told))
}

impl Inner {
    /// The node behind an inode. Blocks on the catalog.
    pub(super) fn node(&self, ino: Ino) -> Result<Node> {
        let change = self.journal.change(ino);
        self.node_of(ino, change)
    }

    /// The same with the tree locked.
    pub(super) fn node_in(&self, overlay: &Overlay, ino: Ino) -> Result<Node> {
        self.node_of(ino, overlay.get(ino).cloned())
    }

    fn node_of(&self, ino: Ino, change: Option<Arc<Change>>) -> Result<Node> {
        if is_virtual(ino) {
            return Err(names_are_fixed());
        }
        if let Some(change) = change {
            let entry = match &change.id {
                Some(id) => match self.catalog.by_id(id)? {
                    Some(node) if node.ino == ino => Some(node.entry),
                    // Its id is just changing: the catalog has the new one already, and perhaps another item under the old
                    // one; the journal not yet. Or it has taken over an item of which the catalog is still to hear.
                    others => self.catalog.by_ino(ino)?.or(others).map(|node| node.entry),
                },
                None => None,
            };
            let id = entry
                .as_ref()
                .map(|entry| entry.id.clone())
                .or_else(|| change.id.clone());
            return Ok(Node {
                ino,
                kind: change.kind,
                id,
                entry,
                change: Some(change),
            });
        }
        if notes::is_note(ino) {
            return Err(notes::refused());
        }
        let node = self.catalog.by_ino(ino)?.ok_or(Error::Stale)?;
        let (kind, id) = (node.entry.kind, Some(node.entry.id.clone()));
        Ok(Node {
            ino,
            kind,
            id,
            entry: Some(node.entry),
            change: None,
        })
    }

    /// The child of that name, if any is shown. Blocks on the catalog.
    pub(super) fn child_in(&self, overlay: &Overlay, parent: &Node, name: &str) -> Result<Option<Node>> {
        if let Some(ino) = overlay.child(parent.ino, name) {
            return self.node_in(overlay, ino).map(Some);
        }
        let Some(folder) = &parent.id else { return Ok(None) };
        let Some(found) = self.catalog.lookup(folder, name)? else {
            return Ok(None);
        };
        if overlay.hides(found.ino, &found.entry.id) {
            return Ok(None);
        }
        // The catalog hears first of an inode that an item moves to; what waits for the item is about the one before.
        let change = overlay
            .get(found.ino)
            .or_else(|| overlay.by_id(&found.entry.id))
            .cloned();
        let (kind, id) = (found.entry.kind, Some(found.entry.id.clone()));
        Ok(Some(Node {
            ino: change.as_ref().map_or(found.ino, |change| change.ino),
            kind,
            id,
            entry: Some(found.entry),
            change,
        }))
    }

    /// All names of a node.
    pub(super) fn places(&self, node: &Node) -> Result<Vec<Place>> {
        if let Some(placing) = node.change.as_ref().and_then(|c| c.placing.as_ref()) {
            return Ok(placing.now.clone());
        }
        match &node.id {
            Some(id) => self.stored_places(id),
            None => Ok(Vec::new()),
        }
    }

    /// The names that an item has as the store last told.
    pub(super) fn stored_places(&self, id: &ItemId) -> Result<Vec<Place>> {
        let parents = self.catalog.parents(id)?;
        let ids: Vec<ItemId> = parents.iter().map(|(parent, _)| parent.clone()).collect();
        let inos = self.catalog.inos(&ids)?;
        Ok(parents
            .into_iter()
            .filter_map(|(parent, name)| inos.get(&parent).map(|ino| Place { parent: *ino, name }))
            .collect())
    }

    /// The names a node has, with those the store knows: where a change of place begins.
    pub(super) fn placing(&self, node: &Node) -> Result<Placing> {
        match node.change.as_ref().and_then(|c| c.placing.clone()) {
            Some(placing) => Ok(placing),
            None => Ok(Placing::unmoved(self.places(node)?)),
        }
    }

    /// Whether `folder` lies in `ancestor`, or is it.
    pub(super) fn is_within(&self, overlay: &Overlay, folder: Ino, ancestor: Ino) -> Result<bool> {
        let mut at = folder;
        // The kernel's own limit on a path's depth, and a guard against a loop in a server's answers.
        for _ in 0..2048 {
            if at == ancestor {
                return Ok(true);
            }
            if at == Ino::ROOT {
                return Ok(false);
            }
            let node = self.node_in(overlay, at)?;
            match self.places(&node)?.first() {
                Some(place) => at = place.parent,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Whether a folder shows no child.
    pub(super) fn is_empty_in(&self, overlay: &Overlay, folder: &Node) -> Result<bool> {
        if overlay.children(folder.ino).next().is_some() {
            return Ok(false);
        }
        let Some(id) = &folder.id else { return Ok(true) };
        let mut after: Option<Name> = None;
        loop {
            let page = self.catalog.children_page(id, after.as_ref(), 256)?;
            let Some(last) = page.last() else { return Ok(true) };
            if page.iter().any(|child| !overlay.hides(child.ino, &child.id)) {
                return Ok(false);
            }
            after = Some(last.local.clone());
        }
    }

    /// A place beside `place`, under its name with a tag: one that nobody has. Two of one second are told by a number.
    pub(super) fn free_beside(&self, overlay: &Overlay, place: &Place, tag: &str) -> Result<Place> {
        let folder = self.node_in(overlay, place.parent);
        let mut name = place.name.tagged(tag);
        for number in 2u32.. {
            let taken = match &folder {
                Ok(folder) => self.child_in(overlay, folder, name.as_str())?.is_some(),
                Err(_) => false,
            };
            if !taken {
                break;
            }
            name = place.name.tagged(&format!("{tag} {number}"));
        }
        Ok(Place {
            parent: place.parent,
            name,
        })
    }

    /// How deep a folder is; the root is 0.
    pub(super) fn depth(&self, overlay: &Overlay, folder: Ino) -> Result<u32> {
        let mut at = folder;
        let mut depth = 0;
        while at != Ino::ROOT && depth < 2048 {
            let node = self.node_in(overlay, at)?;
            let Some(place) = self.places(&node)?.into_iter().next() else {
                break;
            };
            at = place.parent;
            depth += 1;
        }
        Ok(depth)
    }

    /// The attributes of a node, with what an open file and a program know better than the store.
    pub(super) fn attr_of(&self, node: &Node) -> Attr {
        self.attr_with(node, self.opens.get(node.ino))
    }

    /// The same, with its open file.
    pub(super) fn attr_with(&self, node: &Node, open: Option<Arc<OpenFile>>) -> Attr {
        let local = self.journal.attr(node.ino).unwrap_or_default();
        let entry = node.entry.as_deref();
        let staged = node.change.as_ref().and_then(|c| c.staged.as_ref());
        let size = open.as_ref().and_then(|open| match entry {
            // The next version is on its way to an inode of its own.
            Some(entry) if open.is_other_version(entry) => open.body().size(),
            Some(_) | None => open.size(),
        });
        let stored = || match (staged, entry) {
            (Some(staged), _) => staged.size,
            (None, Some(entry)) => entry.size.unwrap_or(0),
            (None, None) => self.copied_size(node),
        };
        let size = if node.is_folder() {
            0
        } else {
            size.unwrap_or_else(stored)
        };
        let of_this_content = match (&local.version, entry) {
            (Some(version), Some(entry)) => *version == entry.version || staged.is_some(),
            (Some(_), None) | (None, _) => true,
        };
        let first_seen = local.seen.unwrap_or_else(|| Timestamp::from_secs(0));
        let told = entry.and_then(told_time);
        let own = if node.is_folder() {
            folder_mtime(&local, told)
        } else {
            local.mtime.filter(|_| of_this_content)
        };
        let mtime = own.or(told).unwrap_or(first_seen);
        // What was written through a handle that is still open reaches the journal at the next flush.
        let written = open.as_ref().and_then(|open| open.mtime());
        let changed = local.ctime.unwrap_or(mtime);
        let ctime = written.map_or(changed, |written| written.max(changed));
        let mtime = written.unwrap_or(mtime);
        let base: u16 = if node.is_folder() { 0o777 } else { 0o666 };
        Attr {
            ino: node.ino,
            kind: node.kind,
            size,
            blocks: self.blocks_of(node, open.as_deref(), size),
            atime: local.atime.unwrap_or(mtime),
            mtime,
            ctime,
            crtime: entry.and_then(|e| e.created).unwrap_or(mtime),
            perm: local.mode.unwrap_or(base & !self.config.umask),
            nlink: self.link_count(node),
            uid: local.uid.unwrap_or(self.config.uid),
            gid: local.gid.unwrap_or(self.config.gid),
        }
    }

    /// Room that a file takes on this machine, in units of 512 bytes: what has been fetched of it, or its dirty body.
    fn blocks_of(&self, node: &Node, open: Option<&OpenFile>, size: u64) -> u64 {
        let staged = node.change.as_ref().and_then(|change| change.staged.as_ref());
        let dirty = match open.map(|open| open.body()) {
            Some(body) => body.id().filter(|_| body.is_dirty()),
            None => staged.and_then(|staged| BodyId::parse(&staged.body)),
        };
        match (dirty.and_then(|id| self.cache.staged_blocks(id)), &node.entry) {
            (Some(blocks), _) => blocks,
            (None, Some(entry)) if staged.is_none() => self.cache.blocks_of(&entry.id, &entry.version, size),
            (None, _) => size.div_ceil(512),
        }
    }

    fn copied_size(&self, node: &Node) -> u64 {
        let Some(source) = node.change.as_ref().and_then(|c| c.copy_of.as_ref()) else {
            return 0;
        };
        let known = || self.catalog.by_id(&source.id).ok().flatten()?.entry.size;
        source.size.or_else(known).unwrap_or(0)
    }

    fn link_count(&self, node: &Node) -> u32 {
        if node.is_folder() || self.capabilities().links == Support::No {
            return 1;
        }
        match (&node.change, &node.entry) {
            (Some(change), _) if change.placing.is_some() => {
                change.placing.as_ref().map_or(1, |p| p.now.len().max(1) as u32)
            }
            (_, Some(entry)) => entry.parents.len().max(1) as u32,
            (_, None) => 1,
        }
    }

    /// Where a new or renamed file of this machine's stands: told by its name.
    pub(super) fn born_state(&self, name: &Name, kind: Kind) -> State {
        if kind == Kind::File && self.junk.is(name) {
            return State::Local { why: LocalReason::Junk };
        }
        match self.store.check_name(name, kind) {
            Ok(()) => State::Pending,
            Err(_) => State::Local {
                why: LocalReason::NameRefused,
            },
        }
    }
}

//! lookup, getattr and the reading of folders.

use std::sync::Arc;

use crate::catalog::Child;
use crate::model::{Ino, ItemId, Kind, Name};
use crate::store::Support;

use super::notes;
use super::tree::{Node, folder_mtime};
use super::vfs::{Inner, LARGE_FOLDER_ENTRIES, Vfs};
use super::views::is_virtual;
use super::{Attr, Caller, DirEntry, Error, Fh, Lookup, Result};

impl Vfs {
    /// Finds a child by name. [`Lookup::Absent`] only when the folder is known whole.
    pub async fn lookup(&self, caller: Caller, parent: Ino, name: &Name) -> Result<Lookup> {
        let _ = caller;
        if is_virtual(parent) {
            self.used();
            return self.lookup_in_view(parent, name).await;
        }
        let view = self.view_in(parent, name);
        let wanted = name.clone();
        if notes::is_note(parent) {
            let found = self.blocking(move |vfs| Ok(vfs.find_note(parent, &wanted))).await?;
            return Ok(found.map_or(Lookup::Absent, Lookup::Found));
        }
        let (folder, found, is_known) = self.blocking(move |vfs| vfs.find_known(parent, &wanted)).await?;
        if let Some(attr) = found.filter(|_| !self.config.fresh) {
            // What is known is answered at once; whether it is still so is found out behind it.
            match (attr.kind, &folder.id) {
                (Kind::File, Some(id)) => self.used_folder(id),
                // On the way to somewhere else.
                (Kind::Folder, _) | (_, None) => self.used(),
            }
            let attr = match self.learn(attr.ino).await {
                true => self.getattr(attr.ino, None).await?,
                false => attr,
            };
            return Ok(Lookup::Found(attr));
        }
        if notes::is_reserved(parent, name) {
            let wanted = name.clone();
            let found = self.blocking(move |vfs| Ok(vfs.find_note(parent, &wanted))).await?;
            return Ok(found.map_or(Lookup::Absent, Lookup::Found));
        }
        if is_known && view.is_none() {
            self.used_in(&folder);
            return self.found_or_unlisted(parent, &folder, name, None).await;
        }
        match (self.ensure_listed(&folder).await, view) {
            (Ok(()), _) => {}
            // Whether a real one hides it is not known now, and the view is none the worse for that.
            (Err(_), Some(view)) => return Ok(Lookup::Found(view)),
            (Err(error), None) => return Err(error),
        }
        let wanted = name.clone();
        let (folder, found) = self.blocking(move |vfs| vfs.find(parent, &wanted)).await?;
        self.found_or_unlisted(parent, &folder, name, found.or(view)).await
    }

    /// The same where the answer is on this machine; `None` where more has to be done. Blocks on the catalog.
    pub fn lookup_quickly(&self, parent: Ino, name: &Name) -> Result<Option<Lookup>> {
        let is_special = is_virtual(parent) || notes::is_note(parent) || notes::is_reserved(parent, name);
        if self.config.fresh || is_special || self.view_in(parent, name).is_some() {
            return Ok(None);
        }
        let (folder, found, is_known) = self.find_known(parent, name)?;
        match found {
            Some(attr) if self.to_learn(attr.ino).is_none() => {
                match attr.kind {
                    Kind::File => self.used_in(&folder),
                    Kind::Folder => self.used(),
                }
                Ok(Some(Lookup::Found(attr)))
            }
            None if is_known && self.capabilities().unlisted_names == Support::No => {
                self.used_in(&folder);
                Ok(Some(Lookup::Absent))
            }
            Some(_) | None => Ok(None),
        }
    }

    /// What was found; where nothing was, the store may know a name that it does not list.
    async fn found_or_unlisted(&self, parent: Ino, folder: &Node, name: &Name, found: Option<Attr>) -> Result<Lookup> {
        let found = match found {
            Some(attr) => Some(attr),
            None => self.find_unlisted(parent, folder, name).await?,
        };
        Ok(found.map_or(Lookup::Absent, Lookup::Found))
    }

    /// Asks for an item that only a pending change tells of, because the cache was deleted. Answers whether it is known now.
    pub(super) async fn learn(&self, ino: Ino) -> bool {
        let Some(id) = self.to_learn(ino) else {
            return false;
        };
        let asked = id.clone();
        let known = self.blocking(move |vfs| Ok(vfs.catalog.by_id(&asked)?.is_some()));
        if known.await.unwrap_or(true) {
            return false;
        }
        let Err(error) = self.stat_now(ino, &id).await else {
            return true;
        };
        let is_missing = matches!(&error, Error::Store(error) if error.is_not_found());
        if is_missing && self.moved_to(ino, &id).await.is_some() {
            // The answer to the move has told of it.
            return true;
        }
        tracing::debug!(%id, "what is not known of a file could not be asked for: {error}");
        false
    }

    /// The store's id of a file that perhaps only a pending change tells of.
    fn to_learn(&self, ino: Ino) -> Option<ItemId> {
        let change = self.journal.change(ino).filter(|c| c.staged.is_none())?;
        change.id.clone().filter(|_| change.kind == Kind::File)
    }

    fn used_in(&self, folder: &Node) {
        match &folder.id {
            Some(id) => self.used_folder(id),
            None => self.used(),
        }
    }

    /// The attributes of a node.
    pub async fn getattr(&self, ino: Ino, fh: Option<Fh>) -> Result<Attr> {
        let _ = fh;
        self.blocking(move |vfs| vfs.getattr_now(ino)).await
    }

    /// The same. Blocks on the catalog.
    pub fn getattr_now(&self, ino: Ino) -> Result<Attr> {
        self.used();
        if is_virtual(ino) {
            return self.attr_in_view(ino);
        }
        self.attr(ino)
    }

    /// Opens a folder for reading.
    pub async fn opendir(&self, caller: Caller, ino: Ino) -> Result<Fh> {
        let _ = caller;
        if notes::is_notes_folder(ino) {
            return Ok(self.handles.add_dir(ino));
        }
        if is_virtual(ino) {
            self.open_view(ino).await?;
            return Ok(self.handles.add_dir(ino));
        }
        let folder = match self.blocking(move |vfs| vfs.node(ino)).await {
            // As on a local disk, a folder that a program stands in while it is removed is empty from then on.
            Err(Error::Stale) if self.left_folders.lock().contains(&ino) => return Ok(self.handles.add_dir(ino)),
            found => found?,
        };
        if !folder.is_folder() {
            return Err(Error::NotDir);
        }
        self.ensure_listed(&folder).await?;
        Ok(self.handles.add_dir(ino))
    }

    /// At most `limit` entries after `offset`; 0 begins anew, with `.` and `..` first.
    pub async fn readdir(&self, fh: Fh, offset: u64, limit: usize) -> Result<Vec<DirEntry>> {
        let handle = self.handles.dir(fh)?;
        let known = handle.snapshot.lock().clone().filter(|_| offset > 0);
        let snapshot = match known {
            Some(snapshot) => snapshot,
            None => {
                let ino = handle.ino;
                let entries = if is_virtual(ino) {
                    self.view_snapshot(ino).await?
                } else {
                    self.blocking(move |vfs| vfs.snapshot(ino)).await?
                };
                let snapshot = Arc::new(entries);
                *handle.snapshot.lock() = Some(snapshot.clone());
                snapshot
            }
        };
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(snapshot.len());
        let to = from.saturating_add(limit).min(snapshot.len());
        Ok(snapshot[from..to].to_vec())
    }

    /// Closes a folder.
    pub async fn releasedir(&self, fh: Fh) {
        let Some(handle) = self.handles.remove_dir(fh) else {
            return;
        };
        let entries = handle.snapshot.lock().take();
        let large = entries.is_some_and(|entries| entries.len() >= LARGE_FOLDER_ENTRIES);
        if large {
            self.return_memory().await;
        }
    }

    /// The kernel has forgotten a node. Nothing depends on it: inodes are never reused.
    pub fn forget(&self, ino: Ino) {
        let _ = ino;
    }
}

impl Inner {
    /// The same as [`Inner::find`], and whether that a name is not there is known well enough to be told.
    fn find_known(&self, parent: Ino, name: &Name) -> Result<(Node, Option<Attr>, bool)> {
        // Asked first: what a listing brings in between is found below.
        let folder = self.node(parent)?;
        let is_known = match &folder.id {
            Some(id) => !self.needs_listing(id)?,
            None => true,
        };
        let (folder, found) = self.find(parent, name)?;
        Ok((folder, found, is_known))
    }

    /// A folder, and the attributes of its child of that name.
    fn find(&self, parent: Ino, name: &Name) -> Result<(Node, Option<Attr>)> {
        let folder = self.node(parent)?;
        if !folder.is_folder() {
            return Err(Error::NotDir);
        }
        let child = {
            let guard = self.journal.lock();
            self.child_in(guard.overlay(), &folder, name.as_str())?
        };
        let attr = match child {
            Some(node) if node.change.is_some() => Some(self.attr(node.ino).unwrap_or_else(|_| self.attr_of(&node))),
            child => child.map(|node| self.attr_of(&node)),
        };
        Ok((folder, attr))
    }

    /// The attributes of an inode, also of one that has left the tree while it is open.
    pub(super) fn attr(&self, ino: Ino) -> Result<Attr> {
        // Held while the node is read: a file that is closed in between is told by its bytes, and one that was closed
        // before by what its last flush put into the journal.
        let open = self.opens.get(ino);
        if let Some(ghost) = open.as_ref().and_then(|open| open.ghost()) {
            return Ok(ghost);
        }
        if notes::is_note(ino) {
            return Ok(self.note_attr(ino));
        }
        match self.seated_node(ino) {
            Ok(node) => Ok(self.attr_with(&node, open.or_else(|| self.opens.get(ino)))),
            // It may have left the tree just now.
            Err(Error::Stale) => open
                .and_then(|open| open.ghost())
                .or_else(|| self.left_folders.lock().get(&ino).copied())
                .ok_or(Error::Stale),
            Err(error) => Err(error),
        }
    }

    /// The node of an inode, as [`Inner::node`] tells it. An open file's that is getting another one is waited for: it either
    /// stays or leaves the tree. Not under the tree's lock.
    pub(super) fn seated_node(&self, ino: Ino) -> Result<Node> {
        match self.node(ino) {
            Err(Error::Stale) if self.opens.get(ino).is_some_and(|open| !open.is_ghost()) => {
                drop(self.seating.lock());
                self.node(ino)
            }
            node => node,
        }
    }

    /// A folder's entries with their attributes, in the order of their names' bytes.
    fn snapshot(&self, ino: Ino) -> Result<Vec<DirEntry>> {
        if notes::is_notes_folder(ino) {
            return Ok(self.note_entries());
        }
        let folder = match self.node(ino) {
            Err(Error::Stale) if self.left_folders.lock().contains(&ino) => return Ok(Vec::new()),
            folder => folder?,
        };
        let (own, stored) = {
            let guard = self.journal.lock();
            let own: Vec<(Name, Ino)> = guard.overlay().children(ino).map(|(n, i)| (n.clone(), i)).collect();
            let children = match &folder.id {
                Some(id) => self.catalog.children(id)?,
                None => Vec::new(),
            };
            let overlay = guard.overlay();
            let shown = children
                .into_iter()
                .filter(|child| !overlay.hides(child.ino, &child.id));
            (own, shown.collect::<Vec<Child>>())
        };
        let parent = self.places(&folder)?.first().map_or(Ino::ROOT, |place| place.parent);
        let mut entries = Vec::with_capacity(own.len() + stored.len() + 2);
        for (name, ino) in Name::dots().into_iter().zip([ino, parent]) {
            entries.push((name, self.attr(ino)?));
        }
        let mut rest: Vec<(Name, Attr)> = stored
            .into_iter()
            .map(|child| {
                let attr = self.attr_of_child(&child);
                (child.local, attr)
            })
            .collect();
        let taken: std::collections::HashSet<&Name> = own.iter().map(|(name, _)| name).collect();
        rest.retain(|(name, _)| !taken.contains(name));
        for (name, ino) in &own {
            // It may have gone between the two looks.
            if let Ok(attr) = self.attr(*ino) {
                rest.push((name.clone(), attr));
            }
        }
        rest.sort_by(|a, b| a.0.cmp(&b.0));
        entries.extend(rest);
        let numbered = entries.into_iter().zip(1..);
        Ok(numbered
            .map(|((name, attr), offset)| DirEntry { offset, name, attr })
            .collect())
    }

    /// As [`Inner::attr_of`], from what a listing row holds.
    fn attr_of_child(&self, child: &Child) -> Attr {
        let special = self.journal.change(child.ino).is_some() || self.opens.get(child.ino).is_some();
        if special && let Ok(node) = self.node(child.ino) {
            return self.attr_of(&node);
        }
        let local = self.journal.attr(child.ino).unwrap_or_default();
        let of_this_content = local.version.as_ref().is_none_or(|version| *version == child.version);
        let is_folder = child.kind == Kind::Folder;
        let told = child.modified.or(child.created);
        let own = if is_folder {
            folder_mtime(&local, told)
        } else {
            local.mtime.filter(|_| of_this_content)
        };
        let mtime = own.or(told).or(local.seen).unwrap_or_default();
        let size = if is_folder { 0 } else { child.size.unwrap_or(0) };
        let base: u16 = if is_folder { 0o777 } else { 0o666 };
        Attr {
            ino: child.ino,
            kind: child.kind,
            size,
            blocks: if is_folder {
                0
            } else {
                self.cache.blocks_of(&child.id, &child.version, size)
            },
            atime: local.atime.unwrap_or(mtime),
            mtime,
            ctime: local.ctime.unwrap_or(mtime),
            crtime: child.created.unwrap_or(mtime),
            perm: local.mode.unwrap_or(base & !self.config.umask),
            nlink: child.links.max(1),
            uid: local.uid.unwrap_or(self.config.uid),
            gid: local.gid.unwrap_or(self.config.gid),
        }
    }
}

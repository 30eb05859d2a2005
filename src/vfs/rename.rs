//! rename: the operation by which programs save, and by which an asset must stay who it is.

use crate::cache::Keep;
use crate::journal::{Change, Durability, Place, State, Write, is_backup, take_over};
use crate::model::{Ino, Kind, Name};
use crate::store::{MoveFile, MoveFolder, Overwrite, RenameFile};

use super::files::not_permitted;
use super::notes;
use super::opens::TakenBy;
use super::tree::Node;
use super::vfs::{Decision, Vfs};
use super::views::check_free;
use super::who::process_of;
use super::{Caller, Error, RenameMode, Result};

/// Bodies that nothing needs after a rename.
type Orphans = Vec<String>;

impl Vfs {
    /// Moves and renames, replacing what is there.
    pub async fn rename(
        &self,
        caller: Caller,
        parent: Ino,
        name: &Name,
        to: Ino,
        to_name: &Name,
        mode: RenameMode,
    ) -> Result<()> {
        self.writable()?;
        if notes::is_reserved(to, to_name) {
            return Err(notes::refused());
        }
        if self.known_child(parent, name).await?.is_none() {
            self.child_after_listing(parent, name).await?;
        }
        let folder = self.blocking(move |vfs| vfs.node(to)).await?;
        self.ensure_listed(&folder).await?;
        let target = self.known_child(to, to_name).await?;
        if let Some(target) = target.as_ref().filter(|target| target.is_folder()) {
            self.ensure_listed(target).await?;
        }
        let process = process_of(caller.pid);
        let from = Place {
            parent,
            name: name.clone(),
        };
        let to = Place {
            parent: to,
            name: to_name.clone(),
        };
        let becomes_another = match &target {
            Some(target) => target.is_published() && mode == RenameMode::Replace,
            None => {
                let (now, window) = (self.clock.now(), self.config.quiet);
                self.vacated.lock().would_reclaim(&to, process, now, window)
            }
        };
        if becomes_another {
            self.have_bytes_of(parent, name).await?;
        }
        let orphans = self
            .decide(Durability::Written, move |d| d.rename(&from, &to, mode, process))
            .await?;
        for body in orphans {
            self.drop_body(Some(body)).await;
        }
        Ok(())
    }
}

impl Vfs {
    /// What the store was to copy and is renamed over a file, or to where one was a moment ago, becomes the next version of
    /// that, which takes bytes.
    async fn have_bytes_of(&self, parent: Ino, name: &Name) -> Result<()> {
        let source = self.known_child(parent, name).await?;
        let is_copy = |ino: Ino| self.journal.change(ino).is_some_and(|change| change.copy_of.is_some());
        let Some(ino) = source.map(|source| source.ino).filter(|ino| is_copy(*ino)) else {
            return Ok(());
        };
        match self.opens.get(ino).filter(|open| open.has_writers()) {
            // Perhaps it is not complete yet.
            Some(open) => drop(self.begin_writing(&open, Keep::All).await?),
            None => {
                if let Some(uploader) = self.uploader() {
                    uploader.take_bytes(ino).await?;
                }
            }
        }
        match is_copy(ino) {
            // Nobody has them any more, and what it was to replace stays.
            true => Err(Error::Stale),
            false => Ok(()),
        }
    }
}

impl Decision<'_, '_> {
    fn rename(&mut self, from: &Place, to: &Place, mode: RenameMode, process: u32) -> Result<Orphans> {
        let source = self.child(from.parent, &from.name)?;
        let folder = self.vfs.node_in(self.overlay(), to.parent)?;
        if !folder.is_folder() {
            return Err(Error::NotDir);
        }
        let target = self.vfs.child_in(self.overlay(), &folder, to.name.as_str())?;
        if source.is_folder() && self.vfs.is_within(self.overlay(), to.parent, source.ino)? {
            return Err(Error::Invalid("a folder cannot be moved into itself".into()));
        }
        let target = match (target, mode) {
            (Some(target), _) if target.ino == source.ino => return Ok(Vec::new()),
            (Some(_), RenameMode::NoReplace) => return Err(Error::Exists),
            (None, RenameMode::Exchange) => return Err(Error::NotFound),
            (Some(target), RenameMode::Exchange) => {
                self.exchange(&source, from, &target, to)?;
                return Ok(Vec::new());
            }
            (target, RenameMode::Replace | RenameMode::NoReplace) => target,
        };
        if let Some(target) = &target {
            self.may_replace(&source, target)?;
        }
        self.may_move(&source, from, &folder, to)?;
        self.touch_folder(from.parent);
        self.touch_folder(to.parent);
        let now = self.now;
        self.attr(source.ino, |attr| attr.ctime = Some(now));
        if source.is_published() {
            self.move_published(&source, target, from, to, process)
        } else {
            self.move_own(&source, target, from, to, process)
        }
    }

    fn may_replace(&self, source: &Node, target: &Node) -> Result<()> {
        match (source.kind, target.kind) {
            (Kind::File, Kind::Folder) => return Err(Error::IsDir),
            (Kind::Folder, Kind::File) => return Err(Error::NotDir),
            (Kind::Folder, Kind::Folder) if !self.vfs.is_empty_in(self.overlay(), target)? => {
                return Err(Error::NotEmpty);
            }
            (Kind::Folder, Kind::Folder) | (Kind::File, Kind::File) => {}
        }
        let deletes = target.is_published() && (source.is_published() || target.is_folder());
        if deletes && self.vfs.config.no_delete {
            return Err(Error::NotPermitted("nothing may be deleted here (--no-delete)".into()));
        }
        if deletes || self.vfs.capabilities().overwrite == Overwrite::Reupload {
            self.vfs.may_leave(target)?;
        }
        Ok(())
    }

    /// What the store cannot do is refused at once.
    fn may_move(&self, source: &Node, from: &Place, folder: &Node, to: &Place) -> Result<()> {
        let (renamed, moved) = (from.name != to.name, from.parent != to.parent);
        check_free(to.parent, &to.name)?;
        if moved {
            self.vfs.may_create(self.overlay(), folder, &to.name, source.kind)?;
            self.may_change_place(source, from, folder)?;
        }
        if !source.is_published() {
            if source.kind == Kind::File && renamed && !self.vfs.junk.is(&to.name) {
                self.vfs.store.refuses_at_once(&to.name)?;
            }
            if source.is_folder() && renamed {
                self.vfs.store.check_name(&to.name, source.kind)?;
            }
            return Ok(());
        }
        // A backup's name is the first half of an editor's save: what comes of it is decided when the save is over.
        if renamed && !(source.kind == Kind::File && is_backup(from, to)) {
            self.vfs.store.check_name(&to.name, source.kind)?;
        }
        let capabilities = self.vfs.capabilities();
        match source.kind {
            Kind::Folder => {
                if moved && capabilities.move_folder == MoveFolder::Unsupported {
                    return Err(Error::CrossDevice);
                }
                if renamed && !capabilities.rename_folder.is_yes() {
                    let label = capabilities.label;
                    return Err(Error::NotPermitted(format!("{label} cannot rename this folder")));
                }
            }
            Kind::File => {
                if moved
                    && let (Some(item), Some(into)) = (&source.entry, &folder.entry)
                    && self.vfs.store.crosses(item, into)
                {
                    return Err(Error::CrossDevice);
                }
                let resent = (renamed && capabilities.rename_file != RenameFile::Relocate)
                    || (moved && capabilities.move_file == MoveFile::Reupload);
                if resent {
                    self.vfs.may_leave(source)?;
                }
                let size = self.vfs.attr_of(source).size;
                if resent && size > capabilities.rename_bytes_max {
                    let max = capabilities.rename_bytes_max;
                    let why = format!("renaming it means sending {size} bytes again; rename_max is {max}");
                    return Err(Error::TooBig(why));
                }
            }
        }
        Ok(())
    }

    /// In a store whose folders are not all alike, one cannot become another kind of folder by a move.
    fn may_change_place(&self, source: &Node, from: &Place, into: &Node) -> Result<()> {
        let into_place = self.vfs.place_of(self.overlay(), into)?;
        if let (Some(item), Some(into)) = (&source.entry, &into_place) {
            return self.vfs.store.may_enter(item, into).map_err(not_permitted);
        }
        if source.is_folder() && !source.is_published() {
            let will_be = into_place.and_then(|into| self.vfs.store.unborn(&into));
            let left = self.vfs.node_in(self.overlay(), from.parent)?;
            let left = self.vfs.place_of(self.overlay(), &left)?;
            let was = left.and_then(|left| self.vfs.store.unborn(&left));
            if was != will_be && !self.vfs.is_empty_in(self.overlay(), source)? {
                let label = self.vfs.capabilities().label;
                return Err(Error::NotPermitted(format!(
                    "{label} cannot hold there what is in this folder"
                )));
            }
        }
        Ok(())
    }

    /// A published node keeps its identity; what it replaces is removed.
    fn move_published(
        &mut self,
        source: &Node,
        target: Option<Node>,
        from: &Place,
        to: &Place,
        process: u32,
    ) -> Result<Orphans> {
        let mut orphans = Vec::new();
        if let Some(target) = target {
            self.remove(&target, to, 0)?;
            orphans.extend(self.orphaned_body(&target)?);
        }
        let mut change = source.change_or_new(self);
        let mut placing = self.vfs.placing(source)?;
        replace_place(&mut placing.now, from, to);
        change.placing = Some(placing);
        change.ready_at = self.ready_at();
        if let State::Parked { .. } = change.state {
            change.state = State::Pending;
        }
        let (now, window) = (self.now, self.vfs.config.quiet);
        self.vfs
            .vacated
            .lock()
            .left(from.clone(), source.ino, process, now, window);
        self.put_or_forget(change);
        Ok(orphans)
    }

    /// A node that was never published takes the identity of what it replaces, or of what the same program has just
    /// moved away from there.
    fn move_own(
        &mut self,
        source: &Node,
        target: Option<Node>,
        from: &Place,
        to: &Place,
        process: u32,
    ) -> Result<Orphans> {
        let mut change = source.change_or_new(self);
        let mut placing = self.vfs.placing(source)?;
        replace_place(&mut placing.now, from, to);
        change.placing = Some(placing);
        self.renamed_own(&mut change, &to.name);
        change.ready_at = self.ready_at().max(if self.vfs.opens.get(source.ino).is_some() {
            change.ready_at
        } else {
            self.now
        });
        let Some(target) = target else {
            self.reclaim(change, to, process)?;
            return Ok(Vec::new());
        };
        if target.is_published() && change.copy_of.is_some() {
            // It was published at this very moment: the bytes for that are fetched first.
            return Err(Error::Stale);
        }
        if target.is_published() && source.kind == Kind::File && change.staged.is_some() {
            let old = target.change_or_new(self);
            let places = self.vfs.places(&target)?;
            let version = target.entry.as_ref().map(|e| e.version.clone());
            if let Some(open) = self.vfs.opens.get(target.ino) {
                open.detach(Some(self.vfs.attr_of(&target)), TakenBy::Us);
            }
            if let Some(claimed) = change.claim.take().and_then(|ino| self.overlay().get(ino).cloned()) {
                self.write(Write::Put(Box::new(Change {
                    claimed_by: None,
                    ..Change::clone(&claimed)
                })));
            }
            let taken = take_over(&change, &old, &places, version);
            self.take_over(taken, target.ino);
            return Ok(self.orphaned_body(&target)?.into_iter().collect());
        }
        self.remove(&target, to, 0)?;
        self.write(Write::Put(Box::new(change)));
        Ok(self.orphaned_body(&target)?.into_iter().collect())
    }

    /// What another name means for a node that was never published.
    fn renamed_own(&self, change: &mut Change, name: &Name) {
        // An upload that was begun goes to the old name.
        change.resume = None;
        if !matches!(change.state, State::Ambiguous { .. } | State::Conflict { .. }) {
            change.state = self.vfs.born_state(name, change.kind);
        }
    }

    fn exchange(&mut self, a: &Node, a_place: &Place, b: &Node, b_place: &Place) -> Result<()> {
        if b.is_folder() && self.vfs.is_within(self.overlay(), a_place.parent, b.ino)? {
            return Err(Error::Invalid("a folder cannot be moved into itself".into()));
        }
        let (a_folder, b_folder) = (
            self.vfs.node_in(self.overlay(), a_place.parent)?,
            self.vfs.node_in(self.overlay(), b_place.parent)?,
        );
        self.may_move(a, a_place, &b_folder, b_place)?;
        self.may_move(b, b_place, &a_folder, a_place)?;
        self.touch_folder(a_place.parent);
        self.touch_folder(b_place.parent);
        let now = self.now;
        for (node, from, to) in [(a, a_place, b_place), (b, b_place, a_place)] {
            let mut change = node.change_or_new(self);
            let mut placing = self.vfs.placing(node)?;
            replace_place(&mut placing.now, from, to);
            change.placing = Some(placing);
            if !node.is_published() {
                self.renamed_own(&mut change, &to.name);
            }
            change.ready_at = self.ready_at();
            self.attr(node.ino, |attr| attr.ctime = Some(now));
            self.put_or_forget(change);
        }
        Ok(())
    }
}

/// Moves one name; the others follow its spelling, for a node has one name in a store.
fn replace_place(places: &mut [Place], from: &Place, to: &Place) {
    for place in places.iter_mut() {
        if place == from {
            *place = to.clone();
        } else if place.name == from.name {
            place.name = to.name.clone();
        }
    }
}

//! open and create.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::cache::{Body, BodyId, CacheError};
use crate::journal::{Change, Durability, KnownItem, Overlay, Phase, Place, Placing, Staged, State, Write};
use crate::model::{Access, Availability, Entry, Ino, ItemId, Kind, Name};
use crate::store::{CreateFile, ErrorKind, Overwrite, StoreError};

use super::handles::FileHandle;
use super::notes;
use super::opens::{Copying, OpenFile, TakenBy, Writing};
use super::tree::Node;
use super::vfs::{Decision, Inner, Vfs};
use super::views::check_free;
use super::who::process_of;
use super::{Attr, Caller, Error, IoMode, OpenHow, Opened, Result};

/// Files up to this size are better served from the page cache than by passthrough.
const TINY_BYTES: u64 = 128 << 10;
/// No process: it has taken nothing away.
const NOBODY: u32 = u32::MAX;

impl Vfs {
    /// Opens a file.
    pub async fn open(&self, caller: Caller, ino: Ino, how: OpenHow) -> Result<Opened> {
        self.used();
        if notes::is_note(ino) && !notes::is_notes_folder(ino) {
            return self.open_note(how).await;
        }
        if how.write || how.truncate {
            self.writable()?;
        }
        if how.for_thumbnail {
            self.no_original_for_a_thumbnail(caller, ino).await?;
        }
        // Who truncates has written, also with a descriptor that is only for reading: its close makes that durable.
        let how = OpenHow {
            write: how.write || how.truncate,
            ..how
        };
        let file = self.open_file(ino, how.write).await?;
        if how.truncate
            && let Err(error) = self.truncate_file(&file, 0).await
        {
            self.close_file(&file, how.write, false).await;
            return Err(error);
        }
        let (io, forgets) = self.io_mode(&file, how).await;
        let version = file
            .version()
            .filter(|_| matches!(io, IoMode::FreshCache | IoMode::Passthrough(_)));
        let fh = self.handles.add_file(file, how, caller.pid, version);
        Ok(Opened {
            fh,
            io,
            no_flush: !how.write,
            is_new: false,
            forgets,
        })
    }

    /// Makes a file and opens it. Its bytes are in the staging folder, its name on the way to the journal, when this answers.
    pub async fn create(
        &self,
        caller: Caller,
        parent: Ino,
        name: &Name,
        mode: u16,
        how: OpenHow,
    ) -> Result<(Attr, Opened)> {
        let wanted = name.clone();
        let made = self.blocking(move |vfs| vfs.create_quickly(caller, parent, &wanted, mode, how));
        if let Some(made) = made.await? {
            return Ok(made);
        }
        let folder = self.blocking(move |vfs| vfs.node(parent)).await?;
        self.ensure_listed(&folder).await?;
        if let Some(found) = self.known_child(parent, name).await? {
            if how.exclusive {
                return Err(Error::Exists);
            }
            let opened = self.open(caller, found.ino, how).await?;
            return Ok((self.getattr(found.ino, None).await?, opened));
        }
        let wanted = name.clone();
        self.blocking(move |vfs| vfs.create_in(caller, parent, &wanted, mode, how))
            .await
    }

    /// As [`Vfs::create`], in a folder that is known well enough and has no such name; `None` for any other. Blocks.
    pub fn create_quickly(
        &self,
        caller: Caller,
        parent: Ino,
        name: &Name,
        mode: u16,
        how: OpenHow,
    ) -> Result<Option<(Attr, Opened)>> {
        self.writable()?;
        self.used();
        if notes::is_reserved(parent, name) {
            return Err(notes::refused());
        }
        let folder = self.node(parent)?;
        if !folder.is_folder() {
            return Err(Error::NotDir);
        }
        if let Some(id) = &folder.id {
            if self.needs_listing(id)? {
                return Ok(None);
            }
            self.used_folder(id);
        }
        let found = {
            let guard = self.journal.lock();
            self.child_in(guard.overlay(), &folder, name.as_str())?
        };
        match found {
            Some(_) => Ok(None),
            None => self.create_in(caller, parent, name, mode, how).map(Some),
        }
    }

    /// Makes the file, wherever it is, and opens it. Blocks.
    fn create_in(&self, caller: Caller, parent: Ino, name: &Name, mode: u16, how: OpenHow) -> Result<(Attr, Opened)> {
        let body = self.cache.new_dirty_now()?;
        let (file, attr) = match self.name_body(caller, parent, name, mode & 0o7777, &body) {
            Ok(made) => made,
            Err(error) => {
                if let Err(error) = self.discard_body_now(&body) {
                    tracing::warn!("the bytes of a file that could not be made stay: {error}");
                }
                return Err(error);
            }
        };
        // That it is empty is its maker's word.
        let how = OpenHow {
            write: true,
            truncate: true,
            ..how
        };
        let opened = Opened {
            fh: self.handles.add_file(file, how, caller.pid, None),
            io: IoMode::KeepCache,
            no_flush: false,
            is_new: true,
            forgets: false,
        };
        Ok((attr, opened))
    }

    /// Puts a new body into the tree, open. The journal is about to have it, or near the end of the disk has it already: a
    /// flush comes after it, and fails if it does not get there.
    fn name_body(
        &self,
        caller: Caller,
        parent: Ino,
        name: &Name,
        perm: u16,
        body: &Arc<Body>,
    ) -> Result<(Arc<OpenFile>, Attr)> {
        let staged = Staged {
            body: body.name(),
            size: 0,
            base: None,
            phase: Phase::Open,
            whole: true,
            generation: 1,
        };
        self.keep_staged(&staged.body, body);
        let place = Place {
            parent,
            name: name.clone(),
        };
        // Who asks makes a difference only where a name was left a moment ago.
        let process = match self.vacated.lock().remembers(&place) {
            true => process_of(caller.pid),
            false => NOBODY,
        };
        let has_room = self.has_room();
        let (file, decided) = self.decide_now(Durability::Written, |d| {
            let folder = d.vfs.node_in(d.overlay(), parent)?;
            if d.vfs.child_in(d.overlay(), &folder, name.as_str())?.is_some() {
                return Err(Error::Exists);
            }
            d.vfs.may_create(d.overlay(), &folder, name, Kind::File)?;
            let ino = d.vfs.journal.allocate()?;
            d.born(ino, Kind::File, place, Some(staged), process)?;
            let now = d.now;
            d.attr(ino, |attr| {
                attr.mode = Some(perm);
                attr.mtime = Some(now);
                attr.ctime = Some(now);
            });
            // In the same go: who sees the change also sees that the file is open, and not that its writer has died.
            let file = d
                .vfs
                .opens
                .open(ino, true, now, || Some(OpenFile::new(ino, body.clone(), None)))
                .ok_or(Error::Stale)?;
            file.set_writing(Writing::Dirty);
            Ok(file)
        })?;
        let written = match has_room && decided.seats.is_empty() {
            true => Ok(()),
            false => decided.wait_blocking(self),
        };
        match written.and_then(|()| self.attr(file.ino)) {
            Ok(attr) => Ok((file, attr)),
            Err(error) => {
                self.opens.close(&file, true);
                Err(error)
            }
        }
    }

    /// The open file of an inode, counted as opened.
    pub(super) async fn open_file(&self, ino: Ino, for_writing: bool) -> Result<Arc<OpenFile>> {
        if let Some(open) = self.opens.get(ino).filter(|open| open.taken_by() == Some(TakenBy::Us)) {
            self.blocking(move |vfs| vfs.take_back(&open)).await?;
            if let Some(file) = self.opens.join(ino, for_writing, self.clock.now()) {
                return Ok(file);
            }
        }
        let contents = self.contents_changed.load(Ordering::SeqCst);
        let mut node = self.blocking(move |vfs| vfs.openable(ino)).await?;
        if node.entry.is_none() && self.learn(ino).await {
            node = self.blocking(move |vfs| vfs.openable(ino)).await?;
        }
        if let Some(entry) = node
            .entry
            .as_deref()
            .filter(|_| node.change.as_ref().is_none_or(|c| c.staged.is_none()))
        {
            let refused = match entry.availability {
                Availability::Ready => None,
                Availability::Processing => Some(ErrorKind::NotReady),
                Availability::Expired => Some(ErrorKind::Expired),
            };
            if let Some(kind) = refused {
                self.look_again(ino);
                return Err(StoreError::new(kind, "open", entry.id.as_str()).into());
            }
        }
        if for_writing && self.capabilities().overwrite == Overwrite::Reupload {
            self.may_leave(&node)?;
        }
        let body = match self.opens.get(ino) {
            Some(open) => open.body(),
            None => match self.body_of(&node).await {
                // The store confirmed it at this moment: its bytes have moved on, and the node tells where.
                Err(_) if self.has_moved_on(&node) => return Box::pin(self.open_file(ino, for_writing)).await,
                body => body?,
            },
        };
        let version = node.entry.as_ref().map(|e| e.version.clone());
        let copying = node.change.as_ref().and_then(|c| c.copy_of.clone()).map(|source| {
            let size = self.attr_of(&node).size;
            Copying {
                source: source.id,
                size,
                upto: size,
            }
        });
        let looked_up = self.opens.open(ino, for_writing, self.clock.now(), || {
            let is_so_still = self.contents_changed.load(Ordering::SeqCst) == contents;
            is_so_still.then(|| {
                let file = OpenFile::new(ino, body, version);
                file.set_copying(copying);
                file
            })
        });
        let Some(file) = looked_up else {
            return Box::pin(self.open_file(ino, for_writing)).await;
        };
        self.follow_own_upload(&file, &node).await?;
        // Also who joins an open that came too late must not take its bytes for those that it has looked up.
        let is_other = |entry| file.is_other_version(entry);
        if (self.contents_changed.load(Ordering::SeqCst) != contents || node.entry.as_deref().is_some_and(is_other))
            && let Err(error) = self.is_current(&file).await
        {
            self.close_file(&file, for_writing, false).await;
            return Err(error);
        }
        Ok(file)
    }

    /// Whether an open file is what the catalog tells by now. Where it is not, the new version has got an inode of its own,
    /// and the kernel looks the name up again when it is told that this one is stale.
    async fn is_current(&self, file: &Arc<OpenFile>) -> Result<()> {
        let file = file.clone();
        self.blocking(move |vfs| {
            vfs.openable(file.ino)?;
            if let Some(known) = vfs.catalog.by_ino(file.ino)? {
                vfs.inode_for(file.ino, &known.entry, known.stat_at)?;
            }
            match file.taken_by() {
                Some(TakenBy::Others) => Err(Error::Stale),
                Some(TakenBy::Us) | None => Ok(()),
            }
        })
        .await
    }

    /// The bytes that a node shows.
    pub(super) async fn body_of(&self, node: &Node) -> Result<Arc<Body>> {
        if let Some(change) = &node.change {
            if let Some(staged) = &change.staged {
                return self.staged_body(node, staged).await;
            }
            if let Some(source) = change.copy_of.clone() {
                return self.blocking(move |vfs| vfs.body_to_copy(&source)).await;
            }
        }
        let entry = node.entry.as_ref().ok_or(Error::Stale)?;
        // Between the store's word and the move of the body it still lies in the staging folder.
        let sent = self.sending.lock().get(&node.ino).map(|(body, _)| body.clone());
        if let Some(body) = sent.filter(|body| body.is_dirty()) {
            return Ok(body);
        }
        Ok(self.cache.body(entry))
    }

    /// The bytes that the store is to make a copy of: those of the version that was copied. Blocks.
    pub(super) fn body_to_copy(&self, source: &KnownItem) -> Result<Arc<Body>> {
        let known = self.catalog.by_id(&source.id)?.map(|node| node.entry);
        let of_then = || -> Result<Arc<Entry>> {
            let version = source.version.clone().ok_or(Error::Stale)?;
            let size = source.size.ok_or(Error::Stale)?;
            Ok(Arc::new(Entry::file(source.id.clone(), "", Vec::new(), size, version)))
        };
        let entry = known.filter(|entry| source.is(entry)).map_or_else(of_then, Ok)?;
        Ok(self.cache.body(&entry))
    }

    /// A body that waits in the staging folder.
    pub(super) async fn staged_body(&self, node: &Node, staged: &Staged) -> Result<Arc<Body>> {
        if let Some(body) = self.staged.lock().get(&staged.body) {
            return Ok(body.clone());
        }
        if !staged.whole {
            // Which of its bytes are the program's and which were still to come, nobody knows any more.
            let waited = self.config.deadline;
            return Err(CacheError::Incomplete { waited }.into());
        }
        let id = BodyId::parse(&staged.body).ok_or(Error::Stale)?;
        // Many others may have been saved since: there must not be two of it.
        let opened = self.opens.get(node.ino).map(|open| open.body());
        let sent = || self.sending.lock().get(&node.ino).map(|(body, _)| body.clone());
        if let Some(body) = opened
            .or_else(sent)
            .filter(|body| body.id() == Some(id) && body.is_dirty())
        {
            self.keep_staged(&staged.body, &body);
            return Ok(body);
        }
        let base = node
            .entry
            .as_deref()
            .filter(|entry| staged.base.as_ref() == Some(&entry.version));
        let body = self.cache.reopen_dirty(id, base).await?;
        self.keep_staged(&staged.body, &body);
        Ok(body)
    }

    /// Keeps a staged body at hand: it knows the digests of what it was based on.
    pub(super) fn keep_staged(&self, id: &str, body: &Arc<Body>) {
        self.staged.lock().put(id.to_owned(), body.clone());
    }

    /// Removes a staged body that nothing needs any more, also from those at hand: it would hold its room on the disk.
    pub(super) async fn discard_body(&self, body: &Arc<Body>) -> Result<()> {
        let body = body.clone();
        self.blocking(move |vfs| vfs.discard_body_now(&body)).await
    }

    /// The same. Blocks.
    fn discard_body_now(&self, body: &Arc<Body>) -> Result<()> {
        if let Some(id) = body.id() {
            self.staged.lock().pop(&id.to_string());
        }
        Ok(self.cache.discard_now(body)?)
    }

    /// How the kernel is to treat a file that was opened, and whether it may remember attributes of another version: the word
    /// that those are old comes through a queue, and a program may be faster.
    async fn io_mode(&self, file: &Arc<OpenFile>, how: OpenHow) -> (IoMode, bool) {
        let (body, version) = (file.body(), file.version());
        let known = self.kernel_knows.lock().get(&file.ino).cloned();
        let is_it = known.as_ref().is_some_and(|known| known.is_some() && *known == version);
        let is_told = known.is_none() && !self.untold.is_behind();
        let forgets = !is_it && !is_told || self.contents_changing.load(Ordering::SeqCst) > 0;
        let Some(size) = body.size().filter(|_| !(how.append && how.direct)) else {
            return (IoMode::Direct, forgets);
        };
        if version.is_none() || body.is_dirty() {
            return (IoMode::KeepCache, false);
        }
        // What the store is to copy has its bytes in another file, which may be written to.
        let is_its_own = file.copying().is_none();
        let may_pass = self.passthrough.load(Ordering::Relaxed) && is_its_own && !how.write && !how.direct;
        // Only an opened body knows what it holds from an earlier life, so the question comes second.
        if may_pass
            && size > TINY_BYTES
            && let Ok(backing) = body.file().await
            && body.is_complete()
        {
            return (IoMode::Passthrough(backing), forgets);
        }
        match is_it {
            true => (IoMode::KeepCache, forgets),
            false => (IoMode::FreshCache, forgets),
        }
    }

    /// The kernel goes on with a handle: it has forgotten what it had to for it. Not before, for another open may be answered
    /// while it still does.
    pub(super) fn has_forgotten(&self, handle: &FileHandle) {
        let Some(version) = handle.forgets.lock().take() else {
            return;
        };
        let file = &handle.file;
        let mut known = self.kernel_knows.lock();
        let is_of_it = !file.is_ghost() && !file.body().is_dirty() && file.version().as_ref() == Some(&version);
        if is_of_it {
            known.put(file.ino, Some(version));
        }
    }

    /// The kernel or the rights do not allow passthrough: it is not offered again.
    pub fn passthrough_refused(&self, why: &str) {
        if self.passthrough.swap(false, Ordering::Relaxed) {
            tracing::info!("passthrough is not available ({why}); cached reads go through the daemon");
        }
    }

    pub(super) async fn known_child(&self, parent: Ino, name: &Name) -> Result<Option<Node>> {
        let name = name.clone();
        self.blocking(move |vfs| {
            let folder = vfs.node(parent)?;
            if !folder.is_folder() {
                return Err(Error::NotDir);
            }
            let guard = vfs.journal.lock();
            vfs.child_in(guard.overlay(), &folder, name.as_str())
        })
        .await
    }
}

impl Inner {
    /// Whether something has become of a node since it was looked at.
    pub(super) fn has_moved_on(&self, node: &Node) -> bool {
        match (&node.change, self.journal.change(node.ino)) {
            (Some(then), Some(now)) => !Arc::ptr_eq(then, &now),
            (then, now) => then.is_some() != now.is_some(),
        }
    }

    fn openable(&self, ino: Ino) -> Result<Node> {
        if let Some(open) = self.opens.get(ino)
            && open.is_ghost()
        {
            return Err(Error::Stale);
        }
        let node = self.node(ino)?;
        if node.is_folder() { Err(Error::IsDir) } else { Ok(node) }
    }

    /// Refuses at once to take out of the store what it is known to keep: also for what would be sent anew and then
    /// removed.
    pub(super) fn may_leave(&self, node: &Node) -> Result<()> {
        match &node.id {
            Some(id) => Ok(self.store.refuses_removal(id)?),
            None => Ok(()),
        }
    }

    /// Whether a folder takes a new child of that name. The store's objections to a file's name come later, unless the
    /// mount is strict: programs make odd temporary files.
    pub(super) fn may_create(&self, overlay: &Overlay, folder: &Node, name: &Name, kind: Kind) -> Result<()> {
        check_free(folder.ino, name)?;
        if let Some(entry) = self.place_of(overlay, folder)? {
            self.store.may_hold(&entry, kind).map_err(not_permitted)?;
        } else if let (Kind::File, CreateFile::FromDepth(least)) = (kind, self.capabilities().create_file)
            && self.depth(overlay, folder.ino)? < least
        {
            return Err(Error::NotPermitted(format!(
                "{} has no files here",
                self.capabilities().label
            )));
        }
        if kind == Kind::File && !self.junk.is(name) {
            self.store.refuses_at_once(name)?;
        }
        let strict = self.config.strict_names || kind == Kind::Folder;
        if strict && !self.junk.is(name) {
            self.store.check_name(name, kind)?;
        }
        Ok(())
    }
}

impl Inner {
    /// What a folder is in the store, or will be; `None` where that makes no difference yet.
    pub(super) fn place_of(&self, overlay: &Overlay, folder: &Node) -> Result<Option<Arc<Entry>>> {
        if let Some(entry) = &folder.entry {
            return Ok(Some(entry.clone()));
        }
        let Some(place) = self.places(folder)?.into_iter().next() else {
            return Ok(None);
        };
        let parent = self.node_in(overlay, place.parent)?;
        let parent = self.place_of(overlay, &parent)?;
        Ok(parent.and_then(|parent| self.store.unborn(&parent)).map(Arc::new))
    }
}

/// A rule of the store about places: EPERM, with its words.
pub(super) fn not_permitted(error: StoreError) -> Error {
    Error::NotPermitted(error.to_string())
}

impl Decision<'_, '_> {
    /// A new node of this machine's: on its own, or as the next version of what the same program has just taken away
    /// from that name.
    pub fn born(&mut self, ino: Ino, kind: Kind, place: Place, staged: Option<Staged>, process: u32) -> Result<()> {
        let mut change = Change::of(ino, kind, None, self.vfs.journal.next_seq(), self.ready_at());
        change.placing = Some(Placing {
            base: Vec::new(),
            now: vec![place.clone()],
        });
        change.staged = staged;
        change.state = self.vfs.born_state(&place.name, kind);
        self.touch_folder(place.parent);
        self.reclaim(change, &place, process)
    }

    /// Puts a file that was never published at a place, and lets it take up what the same program left there.
    pub fn reclaim(&mut self, mut change: Change, place: &Place, process: u32) -> Result<()> {
        let window = self.vfs.config.quiet;
        let left = match change.kind {
            // A new version takes bytes.
            Kind::File if change.copy_of.is_some() => None,
            Kind::File => self.vfs.vacated.lock().reclaim(place, process, self.now, window),
            Kind::Folder => None,
        };
        let old = left
            .and_then(|ino| self.overlay().get(ino).cloned())
            .filter(|old| old.kind == Kind::File);
        let Some(old) = old.filter(|old| old.id.is_some() && old.state == State::Pending) else {
            self.write(Write::Put(Box::new(change)));
            return Ok(());
        };
        if old.is_removal() {
            let node = self.vfs.node_in(self.overlay(), old.ino)?;
            let version = node.entry.as_ref().map(|e| e.version.clone());
            let taken = crate::journal::take_over(&change, &old, &[], version);
            self.take_over(taken, old.ino);
            return Ok(());
        }
        change.claim = Some(old.ino);
        let mut old = Change::clone(&old);
        old.claimed_by = Some(change.ino);
        self.write(Write::Put(Box::new(old)));
        self.write(Write::Put(Box::new(change)));
        Ok(())
    }

    /// An identity moves to another node; the one it leaves is gone from the tree. What is under way for the item is waited
    /// for before more is sent.
    pub fn take_over(&mut self, taken: Change, old: Ino) {
        if let Some(uploader) = self.vfs.uploader() {
            uploader.reseat(old, taken.ino);
        }
        if let Some(id) = taken.id.clone() {
            self.write(Write::Identify(taken.ino, id));
        }
        self.write(Write::Drop(old));
        self.write(Write::Put(Box::new(taken)));
    }
}

/// Fields of an entry that programs may change, as wanted values.
pub(super) fn writable_fields(entry: &crate::model::Entry) -> Vec<(&String, &crate::model::Field)> {
    entry
        .fields
        .iter()
        .filter(|(_, field)| field.access == Access::ReadWrite)
        .collect()
}

/// A name for the id in messages.
pub(super) fn id_text(id: Option<&ItemId>) -> &str {
    id.map_or("not in the store yet", ItemId::as_str)
}

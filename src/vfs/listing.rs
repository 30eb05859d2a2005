//! Reading folders from the store: one request at a time per folder, whole or not at all.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::watch;

use crate::catalog::{Binding, Bindings, Change as Extent, Diff, Node as CatalogNode, merge};
use crate::http::{Class, Context, current_context, with_context};
use crate::journal::{Change, Durability, LocalAttr, Overlay, State, Unanswered, Write, reseat};
use crate::model::{Entry, Ino, ItemId, Kind, Name, Timestamp};
use crate::store::IdScheme;

use super::confirm::Listed;
use super::opens::TakenBy;
use super::tree::Node;
use super::vfs::{Inner, LARGE_FOLDER_ENTRIES, Vfs};
use super::{Error, Notice, Result};

/// The numbers of children that a parent's listing told are believed for this long.
const COUNTS_MAX_AGE: Duration = Duration::from_secs(86_400);

/// The user's own local names in one folder, and the names that pending changes occupy there.
pub(super) struct LocalNames {
    bound: HashMap<(ItemId, ItemId), Binding>,
    taken: HashMap<ItemId, HashMap<Name, Option<ItemId>>>,
    /// Items that are shown where they are to be, and not where the store has them.
    moving: HashSet<ItemId>,
}

impl LocalNames {
    /// Those of the folders `parents`.
    pub fn of(vfs: &Vfs, overlay: &Overlay, parents: &[(ItemId, Ino)]) -> Result<Self> {
        let mut names = LocalNames {
            bound: HashMap::new(),
            taken: HashMap::new(),
            moving: HashSet::new(),
        };
        for (parent, ino) in parents {
            for binding in vfs.journal.bindings(parent)? {
                let bound = Binding {
                    local: binding.local,
                    made_for: binding.store_name,
                };
                names.bound.insert((parent.clone(), binding.id), bound);
            }
            let taken = names.taken.entry(parent.clone()).or_default();
            for (name, child) in overlay.children(*ino) {
                taken.insert(name.clone(), overlay.get(child).and_then(|c| c.id.clone()));
            }
            let is_moved = |c: &&Arc<Change>| c.placing.as_ref().is_some_and(|placing| placing.is_moved());
            let moved = overlay.touching(*ino).filter(is_moved);
            names.moving.extend(moved.filter_map(|change| change.id.clone()));
        }
        Ok(names)
    }

    /// Adds a name that an item is to have.
    pub fn bind(&mut self, parent: ItemId, id: ItemId, local: Name, made_for: String) {
        self.bound.insert((parent, id), Binding { local, made_for });
    }
}

impl Bindings for LocalNames {
    fn bound(&self, parent: &ItemId, child: &ItemId) -> Option<Binding> {
        self.bound.get(&(parent.clone(), child.clone())).cloned()
    }

    fn is_taken(&self, parent: &ItemId, child: &ItemId, name: &Name) -> bool {
        self.taken
            .get(parent)
            .and_then(|names| names.get(name))
            .is_some_and(|holder| holder.as_ref() != Some(child))
    }

    fn gives_way(&self, _: &ItemId, child: &ItemId) -> bool {
        self.moving.contains(child)
    }
}

/// How far the reading of a folder is.
#[derive(Clone, Debug)]
pub(super) enum Reading {
    /// It goes on: told again with each page.
    GoesOn,
    /// It has ended.
    Done(Result<()>),
}

impl Inner {
    /// Whether a folder has to be read before it can be told what is in it. Blocks on the catalog.
    pub(super) fn needs_listing(&self, folder: &ItemId) -> Result<bool> {
        Ok(self.is_stale(folder)?.unwrap_or(true))
    }

    /// Whether what is known of a folder's children is to be asked anew; `None` when nothing is known.
    fn is_stale(&self, folder: &ItemId) -> Result<Option<bool>> {
        let known = self.catalog.listing(folder)?;
        let bound = match self.config.fresh {
            true => self.config.list_ttl,
            false => self.config.stale_max,
        };
        Ok(known.map(|known| !known.complete || self.clock.now().since(known.at) > bound))
    }
}

impl Vfs {
    /// Makes sure that the folder's children are known. What is known is served at once; whether it is still so is found
    /// out behind the caller's back ([`super::check`]). Waited for is only what was never read, what is known to have
    /// changed, what was confirmed too long ago, and what the mount is to ask for first. Where asking fails, what is known is
    /// good enough.
    pub(super) async fn ensure_listed(&self, folder: &Node) -> Result<()> {
        let Some(id) = folder.id.clone() else { return Ok(()) };
        self.used_folder(&id);
        let asked = id.clone();
        let Some(is_stale) = self.blocking(move |vfs| vfs.is_stale(&asked)).await? else {
            return self.list_now(&id).await;
        };
        if is_stale && let Err(error) = self.list_now(&id).await {
            tracing::info!(%id, "what was known of a folder is shown: {error}");
        }
        Ok(())
    }

    /// Reads a folder and waits for it, together with whoever else needs it.
    pub(super) async fn list_now(&self, id: &ItemId) -> Result<()> {
        let asked = id.clone();
        let ino = self.blocking(move |vfs| Ok(vfs.catalog.by_id(&asked)?.map(|node| node.ino)));
        let ino = ino.await?;
        match (self.list_once(id).await, ino) {
            (Err(Error::Store(error)), Some(ino)) if error.is_not_found() => match self.moved_to(ino, id).await {
                Some(now) => self.list_once(&now).await,
                None => Err(Error::Store(error)),
            },
            (outcome, _) => outcome,
        }
    }

    async fn list_once(&self, id: &ItemId) -> Result<()> {
        let context = current_context();
        let (done, joined) = self.begin_listing(id, context.clone());
        let outcome = self.listed(done).await;
        // Who was there first may have had less of the allowance than we have.
        if joined && matches!(&outcome, Err(Error::Store(e)) if e.is_transient()) && context.class == Class::Interactive
        {
            let (done, _) = self.begin_listing(id, context);
            return self.listed(done).await;
        }
        outcome
    }

    /// As [`Vfs::list_now`], but what is being read already is not taken for an answer: it may have been asked for before
    /// what the caller wants to see.
    pub(super) async fn list_anew(&self, id: &ItemId) -> Result<()> {
        let running = self.listings.lock().get(id).cloned();
        if let Some(running) = running
            && let Err(error) = self.listed(running).await
        {
            tracing::debug!(%id, "a folder could not be read: {error}");
        }
        self.list_now(id).await
    }

    async fn listed(&self, mut reading: watch::Receiver<Reading>) -> Result<()> {
        let deadline = self.config.deadline;
        loop {
            if let Reading::Done(result) = &*reading.borrow_and_update() {
                return result.clone();
            }
            // Each page puts the deadline off: a large folder takes its time.
            match tokio::time::timeout(deadline, reading.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(Error::Internal),
                Err(_) => return Err(Error::TimedOut(deadline.as_secs())),
            }
        }
    }

    /// Starts reading a folder unless it is being read already: then the second value is `true`.
    fn begin_listing(&self, id: &ItemId, context: Context) -> (watch::Receiver<Reading>, bool) {
        let mut listings = self.listings.lock();
        if let Some(running) = listings.get(id) {
            return (running.clone(), true);
        }
        let (reading, receiver) = watch::channel(Reading::GoesOn);
        listings.insert(id.clone(), receiver.clone());
        let (vfs, id) = (self.clone(), id.clone());
        tokio::spawn(with_context(context, async move {
            let outcome = vfs.read_folder(&id, &reading).await;
            if let Err(error) = &outcome {
                tracing::debug!(%id, "a folder could not be read: {error}");
            }
            vfs.listings.lock().remove(&id);
            reading.send_replace(Reading::Done(outcome));
        }));
        (receiver, false)
    }

    async fn read_folder(&self, id: &ItemId, reading: &watch::Sender<Reading>) -> Result<()> {
        let folder = self.folder_by_id(id).await?;
        let began = self.clock.now();
        // Counts in a parent's old answer may be out of date: they are used only for a folder that is new to us.
        let known = self.catalog_listing_known(id).await?;
        let asked = if known || began.since(folder.stat_at) > COUNTS_MAX_AGE {
            Entry {
                children: None,
                ..Entry::clone(&folder.entry)
            }
        } else {
            Entry::clone(&folder.entry)
        };
        let mut stream = self.store.list(&asked);
        let mut entries = Vec::new();
        while let Some(batch) = stream.next().await {
            entries.extend(batch?);
            reading.send_replace(Reading::GoesOn);
        }
        let listed = Listed {
            folder: &folder.entry,
            began,
            entries: &entries,
        };
        let stay = if known {
            self.still_there(listed).await?
        } else {
            Vec::new()
        };
        let (id, ino, large) = (id.clone(), folder.ino, entries.len() >= LARGE_FOLDER_ENTRIES);
        self.blocking(move |vfs| {
            let told = vfs.catalog.by_id(&id)?.and_then(|node| node.entry.children);
            vfs.take_listing((&id, ino), known, began, entries, stay)?;
            vfs.note_counts(&id, told)
        })
        .await?;
        if large {
            self.return_memory().await;
        }
        *self.last_listed.write() = Some(began);
        Ok(())
    }

    /// What is known of a folder. The catalog may have been lost since somebody put something into it here: then the store
    /// is asked.
    async fn folder_by_id(&self, id: &ItemId) -> Result<CatalogNode> {
        let known = async || {
            let asked = id.clone();
            self.blocking(move |vfs| Ok(vfs.catalog.by_id(&asked)?)).await
        };
        if let Some(known) = known().await? {
            return Ok(known);
        }
        let changed = self.journal.lock().overlay().by_id(id).map(|change| change.ino);
        self.stat_now(changed.ok_or(Error::Stale)?, id).await?;
        known().await?.ok_or(Error::Stale)
    }

    async fn catalog_listing_known(&self, id: &ItemId) -> Result<bool> {
        let id = id.clone();
        self.blocking(move |vfs| Ok(vfs.catalog.listing(&id)?.is_some())).await
    }

    /// Takes a whole listing into the catalog and tells the kernel what is different. `known`: it is not the first one. Blocks.
    fn take_listing(
        &self,
        (id, ino): (&ItemId, Ino),
        known: bool,
        began: Timestamp,
        entries: Vec<Entry>,
        stay: Vec<ItemId>,
    ) -> Result<()> {
        let (entries, unsure) = self.without_unanswered(ino, entries)?;
        let ids: Vec<ItemId> = entries.iter().map(|e| e.id.clone()).collect();
        let inos = self.journal.inodes(&ids)?;
        let mut rows = Vec::with_capacity(entries.len());
        for (ino, entry) in inos.into_iter().zip(entries) {
            rows.push((self.inode_for(ino, &entry, began)?, entry));
        }
        let sheltering = self.sheltering()?;
        let listed: HashSet<&ItemId> = rows.iter().map(|(_, entry)| &entry.id).collect();
        let sheltering = sheltering.into_iter().filter(|folder| !listed.contains(folder));
        // Taken before the catalog is written: a large folder must not hold the tree meanwhile.
        let (names, settled, kept) = {
            let guard = self.journal.lock();
            let overlay = guard.overlay();
            let names = LocalNames::of(self, overlay, &[(id.clone(), ino)])?;
            let settled = settled_by(overlay, ino, id, began, &rows);
            let mut kept = kept_from(
                overlay,
                ino,
                &rows,
                &settled,
                (began, self.capabilities().listing_lag_max),
            );
            kept.extend(unsure);
            kept.extend(stay);
            kept.extend(sheltering);
            (names, settled, kept)
        };
        let _changing = self.changing();
        let diff = self
            .catalog
            .put_listing(id, began, rows, &|item| kept.contains(item), &names)?;
        if !settled.is_empty() {
            let ticket = {
                let mut guard = self.journal.lock();
                let same = |change: &&Arc<Change>| {
                    guard
                        .overlay()
                        .get(change.ino)
                        .is_some_and(|now| Arc::ptr_eq(now, change))
                };
                let drops = settled
                    .iter()
                    .filter(same)
                    .map(|change| Write::Drop(change.ino))
                    .collect();
                guard.commit(drops, Durability::Written)
            };
            ticket.wait_blocking()?;
        }
        self.rebind_opened(&diff)?;
        self.wake_followers(&diff)?;
        self.tell_of_names(&diff, known)
    }

    /// What a request of ours may have made, of which no answer has come, is not taken for somebody else's file: the
    /// uploader looks for it and knows whose it is. Answers the rest, and the ids of which only the uploader may judge.
    fn without_unanswered(&self, folder: Ino, entries: Vec<Entry>) -> Result<(Vec<Entry>, Vec<ItemId>)> {
        let (unsure, mut sure): (Vec<Entry>, Vec<Entry>) = {
            let guard = self.journal.lock();
            let overlay = guard.overlay();
            let unanswered: Vec<_> = overlay.touching(folder).flat_map(|change| change.asked()).collect();
            let ours = |entry: &Entry| {
                let made = |u: &&Unanswered| u.may_have_made(folder, entry, self.capabilities());
                let likely = unanswered.iter().any(made) || self.may_have_moved_here(overlay, folder, entry);
                likely && overlay.by_id(&entry.id).is_none()
            };
            entries.into_iter().partition(ours)
        };
        let mut ids = Vec::new();
        for entry in unsure {
            match self.was_there_before(&entry)? {
                true => sure.push(entry),
                false => ids.push(entry.id),
            }
        }
        Ok((sure, ids))
    }

    /// Whether an item is known from before, and so not made by a request that has no answer yet. What the catalog alone knows
    /// may be the result of one that the journal has not heard of.
    fn was_there_before(&self, entry: &Entry) -> Result<bool> {
        if self.capabilities().ids != IdScheme::Stable {
            return Ok(false);
        }
        match self.catalog.by_id(&entry.id)? {
            Some(known) => Ok(self.journal.item(known.ino)?.as_ref() == Some(&entry.id)),
            None => Ok(false),
        }
    }

    /// Where ids are paths, a move of ours whose answer has not come shows as a new item under the name that it is to have.
    fn may_have_moved_here(&self, overlay: &Overlay, folder: Ino, entry: &Entry) -> bool {
        let moved =
            |change: &&Arc<Change>| change.id.is_some() && change.placing.as_ref().is_some_and(|p| p.is_moved());
        self.capabilities().ids == IdScheme::Path
            && overlay
                .child(folder, Name::from_store(&entry.name).as_str())
                .and_then(|ino| overlay.get(ino))
                .filter(moved)
                .is_some()
    }

    /// Whether an entry may be what a request of ours has made whose answer has not come.
    pub(super) fn may_be_ours(&self, entry: &Entry) -> Result<bool> {
        if self.was_there_before(entry)? {
            return Ok(false);
        }
        let folders = self.catalog.inos(&entry.parents)?;
        let guard = self.journal.lock();
        let overlay = guard.overlay();
        Ok(overlay.by_id(&entry.id).is_none()
            && folders.values().any(|folder| {
                let mut asked = overlay.touching(*folder).flat_map(|c| c.asked());
                asked.any(|unanswered| unanswered.may_have_made(*folder, entry, self.capabilities()))
            }))
    }

    /// The inode to show an entry under: a new one when another version arrives while the old one is open, so that its
    /// reader never sees two versions mixed. `at` is when the store was asked for it: what is known of later stands.
    pub(super) fn inode_for(&self, ino: Ino, entry: &Entry, at: Timestamp) -> Result<Ino> {
        if entry.kind == Kind::Folder {
            return Ok(ino);
        }
        let Some(open) = self.opens.get(ino) else {
            return Ok(ino);
        };
        // Whoever has been here first told the catalog before.
        let kept = || match open.taken_by() {
            Some(TakenBy::Others) => Ok(self.catalog.by_id(&entry.id)?.map_or(ino, |known| known.ino)),
            Some(TakenBy::Us) | None => Ok(ino),
        };
        if !open.is_other_version(entry) {
            return kept();
        }
        let known = self.catalog.by_id(&entry.id)?;
        if known.is_some_and(|known| known.stat_at > at || !open.is_other_version(&merge(&known.entry, entry))) {
            return kept();
        }
        let new = self.journal.allocate()?;
        let attr = self.node(ino).ok().map(|node| self.attr_of(&node));
        let seating = self.seating.lock();
        if open.is_ghost() {
            return kept();
        }
        // Before the old inode is stale: who then looks the name up again is to find the new one.
        self.catalog.set_ino(&entry.id, new)?;
        self.contents_changed.fetch_add(1, Ordering::SeqCst);
        let ticket = {
            let mut guard = self.journal.lock();
            // Decided in one go with the beginning of writing ([`Vfs::begin_writing`]), which comes before or after.
            if guard.overlay().get(ino).is_some_and(|c| c.staged.is_some()) {
                drop(guard);
                // Our own bytes are being written: the commit will find the conflict.
                self.catalog.set_ino(&entry.id, ino)?;
                self.contents_changed.fetch_add(1, Ordering::SeqCst);
                return Ok(ino);
            }
            // It may have been closed and opened again.
            if let Some(open) = self.opens.get(ino) {
                open.detach(attr, TakenBy::Others);
            }
            let mut writes = vec![Write::Identify(new, entry.id.clone())];
            // What programs have set of the file, and not of this version of it.
            if let Some(local) = self.journal.attr(ino) {
                let (mode, uid, gid) = (local.mode, local.uid, local.gid);
                let kept = LocalAttr {
                    mode,
                    uid,
                    gid,
                    ..LocalAttr::default()
                };
                writes.push(Write::Attr(new, Box::new(kept)));
            }
            // What waits to be told to the store is about the item, which the name stands for, and not about what its
            // readers keep.
            writes.extend(reseat(guard.overlay(), ino, new));
            if let Some(uploader) = self.uploader() {
                uploader.reseat(ino, new);
            }
            self.vacated.lock().reseat(ino, new);
            guard.commit(writes, Durability::Written)
        };
        drop(seating);
        ticket.wait_blocking()?;
        // The kernel has the names for the old inode, and would show that for as long as it remembers them.
        let shown = self.node(new).ok().map(|node| self.places(&node)).transpose()?;
        for place in shown.unwrap_or_default() {
            self.notice(Notice::Entry {
                parent: place.parent,
                name: place.name,
            });
        }
        Ok(new)
    }

    /// Takes news of one item, as a `stat` or a mutation told it. Blocks.
    pub(super) fn take_entry(&self, ino: Ino, entry: &Entry, at: Timestamp, names: &LocalNames) -> Result<()> {
        let _changing = self.changing();
        let diff = self.catalog.put_entry(ino, entry, at, names)?;
        self.tell_kernel(&diff)
    }

    /// Until this is dropped, what the catalog has of any file may be newer than what the kernel has been told.
    pub(super) fn changing(&self) -> Changing<'_> {
        self.contents_changing.fetch_add(1, Ordering::SeqCst);
        Changing(&self.contents_changing)
    }

    /// Gives an inode of its own to each new version whose file was opened as the old one while the catalog was written:
    /// [`Self::inode_for`] looked before that. Who opens at the same time sees the count move, and looks again. Blocks.
    fn rebind_opened(&self, diff: &Diff) -> Result<()> {
        let mut changed = diff.changed.iter().filter(|c| c.change == Extent::Content).peekable();
        if changed.peek().is_none() {
            return Ok(());
        }
        self.contents_changed.fetch_add(1, Ordering::SeqCst);
        for changed in changed {
            if self.opens.get(changed.ino).is_some()
                && let Some(node) = self.catalog.by_ino(changed.ino)?
            {
                self.inode_for(changed.ino, &node.entry, node.stat_at)?;
            }
        }
        Ok(())
    }

    /// Passes a difference on to the kernel. Blocks.
    pub(super) fn tell_kernel(&self, diff: &Diff) -> Result<()> {
        self.rebind_opened(diff)?;
        self.wake_followers(diff)?;
        self.tell_of_names(diff, true)
    }

    /// `came_late`: the kernel may remember of what is new that it was not there. Nobody is ever told so before the first
    /// listing of a folder; and what is told of then would take a folder from under the program that has just gone into it.
    fn tell_of_names(&self, diff: &Diff, came_late: bool) -> Result<()> {
        let mut parents: Vec<ItemId> = diff
            .added
            .iter()
            .chain(&diff.removed)
            .map(|p| p.parent.clone())
            .collect();
        parents.extend(diff.renamed.iter().map(|r| r.to.parent.clone()));
        parents.sort();
        parents.dedup();
        let inos = self.catalog.inos(&parents)?;
        let at = |parent: &ItemId| inos.get(parent).copied();
        for place in diff.added.iter().filter(|_| came_late) {
            if let Some(parent) = at(&place.parent) {
                self.notice(Notice::Entry {
                    parent,
                    name: place.local.clone(),
                });
            }
        }
        for place in &diff.removed {
            if let Some(parent) = at(&place.parent) {
                self.notice(Notice::Deleted {
                    parent,
                    child: place.ino,
                    name: place.local.clone(),
                });
            }
        }
        for renamed in &diff.renamed {
            if let Some(parent) = at(&renamed.to.parent) {
                self.notice(Notice::Entry {
                    parent,
                    name: renamed.from.clone(),
                });
                self.notice(Notice::Entry {
                    parent,
                    name: renamed.to.local.clone(),
                });
            }
        }
        for changed in &diff.changed {
            self.notice(match changed.change {
                Extent::Content => Notice::Content { ino: changed.ino },
                Extent::Metadata => Notice::Attributes { ino: changed.ino },
            });
        }
        for ino in inos.values() {
            self.notice(Notice::Attributes { ino: *ino });
        }
        Ok(())
    }

    /// What the store says of an item right now. Its memberships count as known for a minute.
    pub(super) async fn stat_now(&self, ino: Ino, id: &ItemId) -> Result<Arc<Entry>> {
        let began = self.clock.now();
        let entry = self.store.stat(id).await?;
        self.fresh.lock().put(id.clone(), began);
        let id = id.clone();
        self.blocking(move |vfs| {
            let ino = vfs.inode_for(ino, &entry, began)?;
            let names = vfs.names_for(&entry)?;
            vfs.take_entry(ino, &entry, began, &names)?;
            let node = vfs.catalog.by_id(&id)?;
            Ok(node.map_or_else(|| Arc::new(entry), |node| node.entry))
        })
        .await
    }

    /// The item behind a node that the catalog does not know: perhaps the catalog was lost, and only the store can tell. Until
    /// it does, the item counts as there: what is unknown is not gone.
    pub(super) async fn recall(&self, ino: Ino) -> Option<ItemId> {
        let id = self
            .blocking(move |vfs| Ok(vfs.journal.item(ino)?))
            .await
            .ok()
            .flatten()?;
        match self.stat_now(ino, &id).await {
            Err(Error::Store(error)) if error.is_not_found() => None,
            Ok(_) | Err(_) => Some(id),
        }
    }

    /// An item with all its fields, as [`Vfs::stat_now`] tells it. What the same answer tells of others is kept, so that
    /// nobody asks for them again.
    pub(super) async fn detailed(&self, ino: Ino, item: &Entry) -> Result<Arc<Entry>> {
        let (began, id) = (self.clock.now(), item.id.clone());
        let entries = self.store.details(item).await?;
        self.fresh.lock().put(id.clone(), began);
        self.blocking(move |vfs| {
            let mut names: Option<(&[ItemId], LocalNames)> = None;
            for entry in &entries {
                let known = vfs.catalog.by_id(&entry.id)?;
                let ino = match known {
                    _ if entry.id == id => ino,
                    Some(node) if !node.entry.fields_complete => node.ino,
                    // Nobody has listed it yet, or somebody was here first.
                    Some(_) | None => continue,
                };
                if names.as_ref().is_none_or(|(parents, _)| *parents != entry.parents) {
                    names = Some((&entry.parents, vfs.names_for(entry)?));
                }
                if let Some((_, names)) = &names {
                    vfs.take_entry(vfs.inode_for(ino, entry, began)?, entry, began, names)?;
                }
            }
            let node = vfs.catalog.by_id(&id)?.ok_or(Error::NoData)?;
            Ok(node.entry)
        })
        .await
    }

    /// The local names that matter where an entry is. Blocks.
    pub(super) fn names_for(&self, entry: &Entry) -> Result<LocalNames> {
        let inos = self.catalog.inos(&entry.parents)?;
        let parents: Vec<(ItemId, Ino)> = entry
            .parents
            .iter()
            .filter_map(|id| inos.get(id).map(|ino| (id.clone(), *ino)))
            .collect();
        let guard = self.journal.lock();
        LocalNames::of(self, guard.overlay(), &parents)
    }
}

/// See [`Vfs::changing`].
pub(super) struct Changing<'a>(&'a AtomicU64);

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Settling changes of a folder that this listing confirms.
fn settled_by(overlay: &Overlay, ino: Ino, id: &ItemId, began: Timestamp, rows: &[(Ino, Entry)]) -> Vec<Arc<Change>> {
    let listed: HashMap<&ItemId, usize> = rows.iter().map(|(_, entry)| (&entry.id, entry.parents.len())).collect();
    let mut settled = Vec::new();
    for change in overlay.touching(ino) {
        let State::Settling { at } = change.state else { continue };
        let (Some(item), Some(placing)) = (&change.id, &change.placing) else {
            continue;
        };
        if began <= at {
            continue;
        }
        let wanted = placing.now.iter().any(|place| place.parent == ino);
        // A node in several folders settles only when its entry names them all.
        let whole = placing.now.len() <= 1 || listed.get(item) == Some(&placing.now.len());
        if listed.contains_key(item) == wanted && whole {
            settled.push(change.clone());
        } else {
            tracing::debug!(%item, folder = %id, "a listing lags behind a change");
        }
    }
    settled
}

/// Items of which this listing may only know an older state: carried out lately, or replaced and about to go.
fn kept_from(
    overlay: &Overlay,
    ino: Ino,
    rows: &[(Ino, Entry)],
    settled: &[Arc<Change>],
    (began, lag): (Timestamp, Duration),
) -> HashSet<ItemId> {
    let mut kept = HashSet::new();
    let listed = rows.iter().filter_map(|(_, entry)| overlay.by_id(&entry.id));
    for change in overlay.touching(ino).chain(listed) {
        kept.extend(change.leftovers.iter().map(|old| old.id.clone()));
        let late = match change.state {
            State::Settling { .. } => true,
            // Changed again before the listings have caught up with the last time.
            _ => change.settles_at(lag).is_some_and(|until| began < until),
        };
        if late && !settled.iter().any(|s| s.ino == change.ino) {
            kept.extend(change.id.clone());
        }
    }
    kept
}

//! The tree and the bodies, as the uploader needs them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;

use crate::cache::{CacheError, Published};
use crate::catalog::Bindings;
use crate::journal::{
    Change, Durability, Fingerprint, KnownItem, LocalAttr, NameBinding, Phase, Place, Source, Staged, State, Ticket,
    World, Write,
};
use crate::model::{Checksum, Entry, Ino, ItemId, Kind, Name, Timestamp, hex};
use crate::store::{Body, ErrorKind, IdScheme, StoreError};

use super::tree::told_time;
use super::vfs::Vfs;
use super::{Error, Notice};

/// How long memberships that were read directly count as known.
const FRESH_FOR: Duration = Duration::from_secs(60);
/// How long the rest of a file may take to arrive before it is sent again under another name.
pub(super) const FILL_DEADLINE: Duration = Duration::from_secs(600);

fn local(operation: &'static str, item: &str, error: Error) -> StoreError {
    match error {
        Error::Store(e) => StoreError::new(e.kind.clone(), operation, item)
            .because(e.to_string())
            .retry(e.retry),
        Error::Cache(CacheError::Store(e)) => StoreError::new(e.kind.clone(), operation, item)
            .because(e.to_string())
            .retry(e.retry),
        Error::Cache(e @ CacheError::Changed { .. }) => {
            StoreError::new(ErrorKind::Conflict, operation, item).because(e)
        }
        Error::Cache(e @ (CacheError::Stalled { .. } | CacheError::Incomplete { .. })) => {
            StoreError::new(ErrorKind::Timeout, operation, item).because(e)
        }
        other => StoreError::new(ErrorKind::Local, operation, item).because(other),
    }
}

#[async_trait]
impl World for Vfs {
    async fn item_of(&self, ino: Ino) -> Option<ItemId> {
        let known = self.blocking(move |vfs| Ok(vfs.node(ino)?.id)).await;
        match known {
            Ok(id) => id,
            Err(_) => self.recall(ino).await,
        }
    }

    async fn entry(&self, id: &ItemId) -> Option<Arc<Entry>> {
        let id = id.clone();
        self.blocking(move |vfs| Ok(vfs.catalog.by_id(&id)?))
            .await
            .ok()
            .flatten()
            .map(|node| node.entry)
    }

    async fn look_again(&self, ino: Ino, id: &ItemId) -> Result<(), StoreError> {
        let asked = self.stat_now(ino, id).await.map(drop);
        asked.map_err(|e| local("look again at", id.as_str(), e))
    }

    async fn stored_at(&self, id: &ItemId) -> Vec<Place> {
        let id = id.clone();
        self.blocking(move |vfs| vfs.stored_places(&id))
            .await
            .unwrap_or_default()
    }

    async fn entry_at(&self, ino: Ino) -> Option<Arc<Entry>> {
        let known = self.blocking(move |vfs| Ok(vfs.catalog.by_ino(ino)?)).await;
        known.ok().flatten().map(|node| node.entry)
    }

    async fn is_anothers(&self, id: &ItemId, ino: Ino) -> bool {
        if let Some(change) = self.journal.lock().overlay().by_id(id) {
            let is_gone = change.is_removal() && matches!(change.state, State::Settling { .. });
            // Where ids are paths, what is there after a removal is something new.
            if !is_gone || self.capabilities().ids != IdScheme::Path {
                return change.ino != ino;
            }
        }
        let id = id.clone();
        let known = self.blocking(move |vfs| Ok(vfs.catalog.by_id(&id)?)).await;
        known.ok().flatten().is_some_and(|node| node.ino != ino)
    }

    async fn occupant(&self, folder: &ItemId, name: &Name) -> Option<Ino> {
        let (folder, name) = (folder.clone(), name.clone());
        let found = self
            .blocking(move |vfs| Ok(vfs.catalog.lookup(&folder, name.as_str())?))
            .await;
        let found = found.ok().flatten()?;
        // An identity may have moved to another node since the catalog last heard of the item.
        let guard = self.journal.lock();
        Some(guard.overlay().by_id(&found.entry.id).map_or(found.ino, |c| c.ino))
    }

    async fn fresh_parents(&self, id: &ItemId) -> Option<Vec<ItemId>> {
        let at = *self.fresh.lock().peek(id)?;
        if self.clock.now().since(at) > FRESH_FOR {
            return None;
        }
        self.entry(id).await.map(|entry| entry.parents.clone())
    }

    fn being_written(&self, ino: Ino) -> bool {
        let Some(open) = self.opens.get(ino) else { return false };
        // Bytes that are not flushed are nobody's to send, whoever waits for those before them.
        let is_unfinished = || {
            let staged = self.journal.change(ino).and_then(|c| c.staged.clone());
            staged.is_some_and(|staged| staged.phase == Phase::Open)
        };
        open.is_being_written() || open.has_writers() && is_unfinished()
    }

    async fn source(&self, change: &Change, remote: Option<&Entry>) -> Result<Source, StoreError> {
        let ino = change.ino;
        let item = change.id.as_ref().map_or("", ItemId::as_str).to_owned();
        let failed = |e: Error| local("read the bytes of", &item, e);
        let body = match (&change.staged, remote) {
            (None, Some(remote)) => {
                // A rename that needs the bytes: those of the store itself.
                let body = self.cache.body(remote);
                body.complete(FILL_DEADLINE).await.map_err(|e| failed(e.into()))?;
                body
            }
            (Some(_), _) | (None, None) => {
                let node = self.blocking(move |vfs| vfs.node(ino)).await.map_err(failed)?;
                match self.opens.get(ino).filter(|open| !open.is_ghost()) {
                    Some(open) => open.body(),
                    None => self.body_of(&node).await.map_err(failed)?,
                }
            }
        };
        if !body.is_complete() {
            body.complete(FILL_DEADLINE).await.map_err(|e| failed(e.into()))?;
        }
        let row_of = |staged: &Staged| self.journal.row_of(&staged.body);
        if !body.is_sound()
            && let Some(row) = change.staged.as_ref().and_then(row_of)
        {
            // What the disk has is not what was closed; the journal has that.
            self.write_held_anew(ino, &row).await.map_err(|error| match error {
                // Something is being done to the file right now.
                Error::Stale => failed(CacheError::Incomplete { waited: Duration::ZERO }.into()),
                other => failed(other),
            })?;
        }
        let generation = body.generation();
        let size = change
            .staged
            .as_ref()
            .map_or_else(|| body.size().unwrap_or(0), |s| s.size);
        let file = body.file().await.map_err(|e| failed(e.into()))?;
        if change.staged.is_some() {
            self.sending.lock().insert(ino, (body.clone(), generation));
        }
        let body = Body::new(file, size);
        let md5 = md5_of(body.clone()).await?;
        Ok(Source {
            body,
            fingerprint: Fingerprint { size, md5 },
        })
    }

    async fn same_bytes(&self, change: &Change, remote: &Entry) -> bool {
        let Some(staged) = &change.staged else { return false };
        if self.capabilities().alters_content && self.resends_original(change, staged, remote).await {
            return true;
        }
        if remote.size.is_some_and(|size| size != staged.size) || staged.base.as_ref() != Some(&remote.version) {
            return false;
        }
        let ino = change.ino;
        let Ok(node) = self.blocking(move |vfs| vfs.node(ino)).await else {
            return false;
        };
        let Ok(body) = self.staged_body(&node, staged).await else {
            return false;
        };
        let generation = body.generation();
        if remote.altered().is_some() {
            // What the store made of other bytes need not be here, and is not to be sent to it to be altered once more.
            self.cache.body(remote).complete(FILL_DEADLINE).await.ok();
        }
        if body.same_as_base(remote).await.unwrap_or(false) || self.equals_cached(&body, remote).await {
            self.sending.lock().insert(ino, (body, generation));
            return true;
        }
        false
    }

    async fn holds(&self, remote: &Entry, bytes: &Fingerprint) -> Result<Option<bool>, StoreError> {
        // Other bytes than those that were sent prove nothing where images are re-encoded.
        let verdict = |same: bool| match (same, self.capabilities().may_alter(&remote.name)) {
            (true, _) => Some(true),
            (false, false) => Some(false),
            (false, true) => None,
        };
        if remote.size.is_some_and(|size| size != bytes.size) {
            return Ok(verdict(false));
        }
        if let Some(Checksum::Md5(md5)) = &remote.checksum {
            return Ok(verdict(md5.eq_ignore_ascii_case(&bytes.md5)));
        }
        let failed = |e: CacheError| local("read the bytes of", remote.id.as_str(), e.into());
        let body = self.cache.body(remote);
        body.complete(FILL_DEADLINE).await.map_err(failed)?;
        let size = body.size().unwrap_or(0);
        let file = body.file().await.map_err(failed)?;
        Ok(verdict(
            size == bytes.size && md5_of(Body::new(file, size)).await? == bytes.md5,
        ))
    }

    async fn secure(&self, change: &Change, remote: &Entry) -> Result<Staged, StoreError> {
        let failed = |e: Error| local("keep the old bytes of", remote.id.as_str(), e);
        let ino = change.ino;
        let source = match &change.staged {
            Some(_) => {
                let node = self.blocking(move |vfs| vfs.node(ino)).await.map_err(failed)?;
                self.body_of(&node).await.map_err(failed)?
            }
            None => self.cache.body(remote),
        };
        source.complete(FILL_DEADLINE).await.map_err(|e| failed(e.into()))?;
        let size = source.size().unwrap_or(0);
        let (copy, staged) = self.staged_copy(&source, size).await.map_err(failed)?;
        if let Some(open) = self.opens.get(ino) {
            // Its readers go on with the same bytes; the store's body stays with the asset.
            open.set_body(copy);
        }
        Ok(staged)
    }

    async fn take_bytes(&self, ino: Ino, source: &KnownItem) -> Result<(), StoreError> {
        let taken = self.take_own_bytes(ino, source).await;
        taken.map_err(|e| local("keep a copy of", source.id.as_str(), e))
    }

    async fn took(
        &self,
        ino: Ino,
        entry: &Entry,
        places: &[Place],
        old: Option<&ItemId>,
        staged: Option<&Staged>,
    ) -> Result<(), StoreError> {
        let _taken = self.opens.until_taken(ino);
        if let Some(staged) = staged.filter(|_| entry.altered().is_some()) {
            // A version that was known before was not made of these bytes: they are the same, and were not sent.
            let known = self
                .entry(&entry.id)
                .await
                .is_some_and(|known| known.version == entry.version);
            if !known {
                self.keep_sent(ino, entry, staged).await;
            }
        }
        let (item, places) = (entry.clone(), places.to_vec());
        let gone = old.cloned();
        let sends = staged.is_some();
        let (before, known) = self
            .blocking(move |vfs| vfs.take_result(ino, &item, &places, gone.as_ref(), sends))
            .await
            .map_err(|e| local("note the result for", entry.id.as_str(), e))?;
        let is_another = |before: &Arc<Entry>| before.version != known.version || before.id != known.id;
        match before.filter(|before| !sends && is_another(before)) {
            Some(before) if self.is_theirs(entry, &before, old) => {
                // Somebody else has written it, and this answer is the first to tell: who reads it keeps what was opened.
                let item = entry.clone();
                self.blocking(move |vfs| vfs.inode_for(ino, &item, vfs.answered_now()))
                    .await
                    .map_err(|e| local("note the new version of", entry.id.as_str(), e))?;
            }
            Some(before) => {
                // Our own change of metadata moved the version: the bytes are the same, and need not be fetched again.
                self.rebase_staged(ino, &before, &known);
                if let Err(error) = self.cache.rebind(&before.id, &before.version, &known).await {
                    tracing::debug!(id = %entry.id, "a cached body could not be kept: {error}");
                }
            }
            None => {}
        }
        let is_path = self.capabilities().ids == IdScheme::Path;
        let has_moved = old.filter(|_| entry.kind == Kind::Folder && is_path);
        if let Some(old) = has_moved
            && let Err(error) = self.cache.rekey(old, &entry.id).await
        {
            tracing::debug!(id = %entry.id, "what is cached below a folder could not be kept: {error}");
        }
        if let Some(old) = has_moved {
            self.rekey_staged(old, &entry.id);
        }
        if let Some(open) = self.opens.get(ino).filter(|open| !open.is_ghost()) {
            self.is_stored_as(&open, &known);
        }
        if !entry.parents.is_empty() {
            let now = self.clock.now();
            self.fresh.lock().put(entry.id.clone(), now);
        }
        Ok(())
    }

    async fn seat(&self, ino: Ino, id: &ItemId) {
        self.seat_each(vec![(ino, id.clone())]).await;
    }

    async fn gone(&self, ino: Ino, id: &ItemId) -> Result<(), StoreError> {
        let (item, now) = (id.clone(), self.answered_now());
        let _ = ino;
        self.blocking(move |vfs| {
            vfs.catalog.remove(&item, now)?;
            Ok(vfs.catalog.sync()?)
        })
        .await
        .map_err(|e| local("note the removal of", id.as_str(), e))
    }

    async fn published(&self, ino: Ino, staged: &Staged, entry: &Entry) {
        // It stays there until its body has moved: a reader in between would ask the store for bytes that are here.
        let sent = self.sending.lock().get(&ino).cloned();
        let Some((body, generation)) = sent.or_else(|| self.opened_since(ino, staged)) else {
            let is_written_anew = |change: Arc<Change>| change.staged.as_ref().is_some_and(|s| s.body == staged.body);
            if !self.journal.change(ino).is_some_and(is_written_anew) {
                self.drop_body(Some(staged.body.clone())).await;
            }
            return;
        };
        // Before the body counts as clean, or it would be taken for another version than the one that was told.
        if let Some(open) = self.opens.get(ino).filter(|open| !open.is_ghost()) {
            open.set_version(Some(entry.version.clone()));
        }
        let published = match self.capabilities().alters_content {
            // Of these bytes the store has made others, perhaps as many.
            true if self.is_original_of(&body, entry).await.unwrap_or(false) => Ok(Published::Altered),
            true | false => self.cache.publish(&body, entry, generation).await,
        };
        match published {
            Ok(Published::Clean) => {
                self.staged.lock().pop(&staged.body);
            }
            Ok(Published::Newer) => {}
            Ok(Published::Altered) => {
                self.staged.lock().pop(&staged.body);
                if let Err(error) = self.keep_original(ino, &body, entry, staged.size).await {
                    self.problem(ino, &format!("what was sent could not be kept: {error}"));
                }
                self.show_altered(ino, entry, staged).await;
            }
            Err(error) => {
                tracing::warn!(ino = ino.0, "an uploaded body could not be kept: {error}");
                self.show_stored(ino, &body, entry, generation).await;
            }
        }
        self.sending.lock().remove(&ino);
        if let Some(open) = self.opens.get(ino) {
            open.set_version(Some(entry.version.clone()));
        }
    }

    async fn overtaken(&self, ino: Ino, entry: &Entry) {
        if let Some(body) = self.waiting_body(ino) {
            body.follow(entry);
        }
    }

    async fn discard(&self, ino: Ino, staged: &Staged) {
        if self.opens.get(ino).is_none() {
            self.drop_body(Some(staged.body.clone())).await;
        }
    }

    async fn conflict(&self, ino: Ino) -> Result<(), StoreError> {
        self.split_conflict(ino)
            .await
            .map_err(|e| local("put a conflict copy beside", "", e))
    }

    async fn restored(&self, ino: Ino) {
        let places = self
            .blocking(move |vfs| vfs.places(&vfs.node(ino)?))
            .await
            .unwrap_or_default();
        for place in places {
            self.notice(Notice::Entry {
                parent: place.parent,
                name: place.name,
            });
            self.notice(Notice::Attributes { ino: place.parent });
        }
        // A folder that is not empty after all shows what is in it.
        let node = self.blocking(move |vfs| vfs.node(ino)).await;
        if let Ok(node) = node
            && node.is_folder()
            && let Some(id) = node.id
            && let Err(error) = self.list_now(&id).await
        {
            tracing::debug!(%id, "a folder that stays could not be listed again: {error}");
        }
    }

    async fn stays(&self, ino: Ino) {
        let folders = self.blocking(move |vfs| {
            let places = vfs.places(&vfs.node(ino)?)?;
            let folders = places.iter().map(|place| Ok(vfs.node(place.parent)?.id));
            folders.collect::<super::Result<Vec<_>>>()
        });
        for id in folders.await.unwrap_or_default().into_iter().flatten() {
            if let Err(error) = self.list_anew(&id).await {
                // It shows when the folder is read the next time.
                tracing::info!(%id, "a folder with a file that stays could not be listed again: {error}");
                if let Err(error) = self.blocking(move |vfs| Ok(vfs.catalog.invalidate_listing(&id)?)).await {
                    tracing::error!("the catalog cannot be told so: {error}");
                }
            }
        }
    }

    fn problem(&self, ino: Ino, text: &str) {
        let path = self.journal_path(ino);
        tracing::warn!(path, "{text}");
        self.note_event(ino, path, text);
    }
}

impl Vfs {
    /// The body of a file that was opened after its bytes had been sent by an earlier run of the program. Nobody has written
    /// to it since, or the journal would have something to send.
    fn opened_since(&self, ino: Ino, staged: &Staged) -> Option<(Arc<crate::cache::Body>, u64)> {
        let body = self.opens.get(ino)?.body();
        let (generation, id) = (body.generation(), body.id()?.to_string());
        let is_written = self.journal.change(ino).is_some_and(|change| change.staged.is_some());
        (id == staged.body && !is_written).then_some((body, generation))
    }

    /// When an answer to a change came: later than whatever was asked up to this very moment.
    pub(super) fn answered_now(&self) -> Timestamp {
        self.clock.now().plus(Duration::from_nanos(1))
    }

    /// Whether an answer to a change of ours that sent no bytes tells of bytes that others have sent. A move by a path leaves
    /// the version alone: another is that of what has got the old path since.
    fn is_theirs(&self, entry: &Entry, before: &Entry, old: Option<&ItemId>) -> bool {
        let may_be_anothers = self.capabilities().ids == IdScheme::Path && old.is_some();
        entry.has_other_bytes_than(before) || may_be_anothers && before.version != entry.version
    }

    /// The store calls an item otherwise from now on. Blocks.
    fn take_new_id(&self, old: &ItemId, entry: &Entry, now: Timestamp) -> super::Result<()> {
        if self.capabilities().ids == IdScheme::Path && entry.kind == Kind::Folder {
            self.catalog.rekey_tree(old, &entry.id)?;
            let rekey = Write::Rekey(old.clone(), entry.id.clone());
            self.journal.write(vec![rekey], Durability::Written).wait_blocking()?;
        } else if self.journal.original_of(old)?.is_some() {
            let rekey = Write::RekeyOriginal(old.clone(), entry.id.clone());
            self.journal.write(vec![rekey], Durability::Written).wait_blocking()?;
        }
        // The node goes over to its new id in one go: who looks meanwhile finds the one or the other. So does its version:
        // under the new id nobody has the bytes of the old one. Where ids are paths a move leaves the version alone, and
        // another one is what others have put there.
        let version = (self.capabilities().ids != IdScheme::Path).then_some(&entry.version);
        self.catalog.rekey(old, &entry.id, version)?;
        self.catalog.remove(old, now)?;
        Ok(())
    }

    /// Takes a confirmed result into the catalog under the names that people see. Answers what was known before, and what is
    /// now. Blocks.
    fn take_result(
        &self,
        ino: Ino,
        entry: &Entry,
        places: &[Place],
        old: Option<&ItemId>,
        sends: bool,
    ) -> super::Result<(Option<Arc<Entry>>, Arc<Entry>)> {
        let now = self.answered_now();
        let before = self.catalog.by_id(old.unwrap_or(&entry.id))?.map(|node| node.entry);
        let theirs = !sends && before.as_ref().is_some_and(|before| self.is_theirs(entry, before, old));
        if !theirs {
            self.opens.becomes(ino, Some(entry.version.clone()));
        }
        let changing = self.changing();
        let (mut bindings, mut misplaced) = (Vec::new(), Vec::new());
        if let Some(old) = old {
            bindings.extend(self.unbinding(old)?);
            self.take_new_id(old, entry, now)?;
        }
        let mut names = self.names_for(entry)?;
        for place in places {
            let Some(parent) = self.node(place.parent)?.id else {
                continue;
            };
            if !entry.parents.is_empty() && !entry.parents.contains(&parent) {
                // The store put it somewhere else on purpose: the folder is asked what it holds instead.
                misplaced.push((parent, place));
                continue;
            }
            if !self.is_wanted_at(ino, place) {
                // Somebody else may have the name by now, and keeps it.
                continue;
            }
            let (id, store_name) = (entry.id.clone(), entry.name.clone());
            let was_bound = names.bound(&parent, &id).is_some();
            names.bind(parent.clone(), id.clone(), place.name.clone(), store_name.clone());
            if place.name != Name::from_store(&store_name) {
                bindings.push(Write::Bind(NameBinding {
                    parent,
                    id,
                    local: place.name.clone(),
                    store_name,
                }));
            } else if was_bound {
                // Or what it was called on the way here would be its name again whenever the store calls it as it did then.
                bindings.push(Write::Unbind(parent, id));
            }
        }
        // Identity may have moved to another node since the catalog last heard of the item.
        self.catalog.set_ino(&entry.id, ino)?;
        match sends {
            true => self.catalog.put_sent(ino, entry, now, &names)?,
            false => self.catalog.put_entry(ino, entry, now, &names)?,
        };
        // Who looked before that and opens after it looks again.
        self.contents_changed.fetch_add(1, Ordering::SeqCst);
        if theirs {
            self.notice(Notice::Content { ino });
        }
        drop(changing);
        let is_it = |known: &Arc<Entry>| {
            known.version == entry.version || before.as_ref().is_some_and(|before| before.version == known.version)
        };
        let known = self.catalog.by_id(&entry.id)?.map(|node| node.entry).filter(is_it);
        let known = known.unwrap_or_else(|| Arc::new(entry.clone()));
        for (folder, place) in misplaced {
            self.catalog.invalidate_listing(&folder)?;
            self.notice(Notice::Entry {
                parent: place.parent,
                name: place.name.clone(),
            });
            self.notice(Notice::Attributes { ino: place.parent });
        }
        // The journal lets go of what the catalog has taken: a loss of power must not undo that.
        self.catalog.sync()?;
        // Read and written under one lock: a program may set a time at this moment.
        let mut guard = self.journal.lock();
        if let Some(attr) = self.journal.attr(ino).filter(|attr| attr.mtime.is_some()) {
            let keeps = sends || attr.version == before.as_ref().map(|before| before.version.clone());
            bindings.extend(retold(attr, keeps, &known).map(|attr| Write::Attr(ino, Box::new(attr))));
        }
        let ticket = (!bindings.is_empty()).then(|| guard.commit(bindings, Durability::Written));
        drop(guard);
        ticket.map_or(Ok(()), Ticket::wait_blocking)?;
        Ok((before, known))
    }

    /// What a person called an item that has another id from now on is not to be the name of what gets the old one. Blocks.
    fn unbinding(&self, old: &ItemId) -> super::Result<Vec<Write>> {
        let mut writes = Vec::new();
        for (parent, _) in self.catalog.parents(old)? {
            let mut bindings = self.journal.bindings(&parent)?.into_iter();
            writes.extend(
                bindings
                    .find(|bound| bound.id == *old)
                    .map(|bound| Write::Unbind(parent, bound.id)),
            );
        }
        Ok(writes)
    }

    /// Whether a node that was sent as being at a place is still to be there.
    fn is_wanted_at(&self, ino: Ino, place: &Place) -> bool {
        let change = self.journal.change(ino);
        let placing = change.as_ref().and_then(|change| change.placing.as_ref());
        placing.is_none_or(|placing| placing.now.contains(place))
    }

    /// Whether a staged body has the bytes of the clean one that is cached in full.
    async fn equals_cached(&self, staged: &Arc<crate::cache::Body>, remote: &Entry) -> bool {
        let stored = self.cache.body(remote);
        let complete = stored.file().await.is_ok() && stored.is_complete();
        if !complete || stored.size() != staged.size() {
            return false;
        }
        let (Some(size), ours, theirs) = (staged.size(), crate::cache::Reader::new(), crate::cache::Reader::new())
        else {
            return false;
        };
        let mut at = 0;
        while at < size {
            let len = (size - at).min(1 << 20) as usize;
            let (Ok(a), Ok(b)) = (staged.read(&ours, at, len).await, stored.read(&theirs, at, len).await) else {
                return false;
            };
            if a != b || a.is_empty() {
                return false;
            }
            at += a.len() as u64;
        }
        true
    }

    /// What the store changed on arrival is kept while the journal still knows where it lies.
    async fn keep_sent(&self, ino: Ino, entry: &Entry, staged: &Staged) {
        let sent = self.sending.lock().get(&ino).map(|(body, _)| body.clone());
        let Some(body) = sent else { return };
        if let Err(error) = self.keep_original(ino, &body, entry, staged.size).await {
            self.problem(ino, &format!("what was sent could not be kept: {error}"));
        }
    }

    /// Whether a save has the bytes of which the store made what it has now: sending them again would change nothing.
    async fn resends_original(&self, change: &Change, staged: &Staged, remote: &Entry) -> bool {
        if staged.base.as_ref() != Some(&remote.version) {
            return false;
        }
        let ino = change.ino;
        let Ok(node) = self.blocking(move |vfs| vfs.node(ino)).await else {
            return false;
        };
        let Ok(body) = self.staged_body(&node, staged).await else {
            return false;
        };
        let generation = body.generation();
        let same = self.is_original_of(&body, remote).await.unwrap_or(false);
        if same {
            self.sending.lock().insert(ino, (body, generation));
        }
        same
    }
}

/// What is set of an item here, after an answer that knows it as `now`; `keeps`: the time that was set is that of these bytes.
fn retold(attr: LocalAttr, keeps: bool, now: &Entry) -> Option<LocalAttr> {
    match now.kind {
        Kind::File => keeps.then(|| LocalAttr {
            version: Some(now.version.clone()),
            ..attr
        }),
        Kind::Folder => Some(LocalAttr {
            told: told_time(now),
            ..attr
        }),
    }
}

async fn md5_of(body: Body) -> Result<String, StoreError> {
    use md5::{Digest, Md5};
    let mut digest = Md5::new();
    let mut at = 0;
    while at < body.size_bytes() {
        let len = (body.size_bytes() - at).min(1 << 20) as usize;
        let part = body.part(at, len).await?;
        let hashed = tokio::task::spawn_blocking(move || {
            digest.update(&part);
            digest
        });
        let broken = |e| StoreError::new(ErrorKind::Local, "hash the bytes of an upload", "").because(e);
        digest = hashed.await.map_err(broken)?;
        at += len as u64;
    }
    Ok(hex(&digest.finalize()))
}

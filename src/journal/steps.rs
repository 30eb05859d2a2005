//! Carries one planned step out.

use std::borrow::Cow;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::model::{Checksum, ContentVersion, Entry, FieldChanges, Ino, ItemId, Kind, Name};
use crate::store::{ErrorKind, IdScheme, Placement, Progress, Resume, Retry, StoreError, Support};

use super::doubt::{Publishing, still_wanted};
use super::failures::is_final;
use super::identity::{is_backup, set_aside, take_over};
use super::outcome;
use super::plan::Step;
use super::uploader::{Acted, Sent, Uploader, put_or_drop, waited};
use super::{Begun, Change, Durability, Fingerprint, KnownItem, LocalReason, Place, Placing, Staged, State, Write};

impl Uploader {
    /// Carries a step out; `decided` is the count of the journal's commits before it was planned.
    pub(super) async fn act(
        &self,
        change: &Change,
        step: &Step,
        remote: Option<&Entry>,
        decided: u64,
    ) -> Result<Acted, StoreError> {
        match step {
            Step::Done => self.settle(change).await,
            Step::Forget => self.forget(change).await,
            Step::Idle => {
                self.suspend(change, None, decided);
                Ok(Acted::Rest)
            }
            Step::WaitUntil(at) => {
                if *at <= self.clock.now() {
                    return Ok(Acted::Again);
                }
                Ok(Acted::Rest)
            }
            Step::WaitFor(other) => {
                self.suspend(change, Some(*other), decided);
                Ok(Acted::Rest)
            }
            Step::DecideClaim(old) => self.decide_claim(change, *old).await,
            Step::TakeBytes(copy) => self.take_bytes(*copy).await.map(|()| Acted::Again),
            Step::Look { parent, name, at } => match change.to_look_for(self.capabilities()) {
                Some(asked) if asked.is_move() => self.look_for_move(change, asked).await,
                Some(_) | None => self.look(change, parent, name, *at).await,
            },
            Step::CreateFolder { parent, name } => {
                match self.about_to_make(change, None) {
                    Some(noted) => waited(noted).await?,
                    None => return Ok(Acted::Again),
                }
                let entry = self.store.create_folder(parent, name).await?;
                self.finish(change, step, Some(&entry), None).await?;
                Ok(Acted::Again)
            }
            Step::Create { parent, name } => self.create(change, step, parent, name).await,
            Step::Replace { name } => self.replace(change, step, name.as_ref(), remote).await,
            Step::Reupload { parent, name } => self.reupload(change, step, parent, name, remote).await,
            Step::RollBack => self.roll_back(change).await,
            Step::RemoveLeftover(old) => self.remove_leftover(change, step, old).await,
            Step::Relocate {
                name,
                left,
                entered,
                swapping,
            } => {
                self.relocate(change, step, (name.as_ref(), left, entered, *swapping), remote)
                    .await
            }
            Step::Remove { left } => self.remove(change, left, remote).await,
            Step::SetFields => {
                let entry = self.known(change, remote).await?;
                let told = self
                    .store
                    .set_fields(std::slice::from_ref(&*entry), &change.fields)
                    .await?;
                self.finish(change, step, told.first(), Some(&[])).await?;
                Ok(Acted::Again)
            }
            Step::KeepLocal(why) => {
                let why = *why;
                self.update(change.ino, Durability::Written, |c| c.state = State::Local { why });
                Ok(Acted::Rest)
            }
            Step::Park(reason) => {
                self.park(change.ino, reason.clone());
                Ok(Acted::Rest)
            }
        }
    }

    /// What an upload has left is in order again: whether an item has its old bytes or ours, the next look tells.
    async fn roll_back(&self, change: &Change) -> Result<Acted, StoreError> {
        let noted = change.half_done.as_ref();
        if let Some(upload) = noted {
            match self.store.roll_back(change.id.as_ref(), upload).await {
                // It is refused for good, and everything else that is wanted of the file waits behind it.
                Err(error) if is_final(&error.kind) && error.kind != ErrorKind::Exists => {
                    let text = format!("what an earlier upload has left in the store stays there: {error}");
                    self.world.problem(change.ino, &text);
                }
                done => done?,
            }
        }
        let done = self.update(self.seat_of(change), Durability::Synced, |c| {
            if c.half_done.as_ref() == noted {
                (c.half_done, c.resume) = (None, None);
            }
        });
        match done {
            Some(done) => waited(done).await?,
            None => return Ok(Acted::Rest),
        }
        // Who sends something else to it looks anyway.
        if let Some(id) = change.id.as_ref().filter(|_| change.staged.is_none())
            && let Err(error) = self.world.look_again(change.ino, id).await
        {
            tracing::debug!(%id, "what was rolled back is shown as it was last known: {error}");
        }
        Ok(Acted::Again)
    }

    /// An asset goes that was replaced by another: as it was then. What others have changed since stays beside that.
    async fn remove_leftover(&self, change: &Change, step: &Step, old: &KnownItem) -> Result<Acted, StoreError> {
        let now = self.store.stat(&old.id).await?;
        let was_unfinished = old
            .version
            .as_ref()
            .is_some_and(|version| self.store.was_unfinished(version));
        if !old.is(&now) && !was_unfinished {
            self.keep_both(change, step, "somebody else has changed it since")
                .await?;
            return Ok(Acted::Again);
        }
        self.store.remove(&now).await?;
        self.world.gone(change.ino, &old.id).await?;
        self.finish(change, step, None, None).await?;
        Ok(Acted::Again)
    }

    /// Takes a change off the schedule, unless something was committed to it or to what it is to wait for since the step
    /// was planned: then the plan is out of date, and nobody would wake it again.
    fn suspend(&self, change: &Change, on: Option<Ino>, decided: u64) {
        let mut guard = self.journal.lock();
        let overlay = guard.overlay();
        let moved = |ino: Ino| overlay.committed(ino).is_none_or(|at| at > decided);
        if !moved(change.ino) && !on.is_some_and(moved) {
            guard.suspend(change.ino, on);
        }
    }

    /// The entry that a step needs: as it is known, else as the store tells it. What was known may have been lost with the
    /// catalog, and that says nothing about the item.
    async fn known<'a>(&self, change: &Change, remote: Option<&'a Entry>) -> Result<Cow<'a, Entry>, StoreError> {
        match (remote, &change.id) {
            (Some(entry), _) => Ok(Cow::Borrowed(entry)),
            // A node that is known as another item has become that one: the change is about to hear of it.
            (None, Some(id)) if self.world.entry_at(change.ino).await.is_none() => {
                Ok(Cow::Owned(self.store.stat(id).await?))
            }
            (None, id) => {
                let id = id.as_ref().map_or("", ItemId::as_str);
                Err(StoreError::new(ErrorKind::NotFound, "find what is known of", id))
            }
        }
    }

    async fn settle(&self, change: &Change) -> Result<Acted, StoreError> {
        // Settled long enough, or nothing to tell: the catalog speaks for the node again.
        let ticket = {
            let mut guard = self.journal.lock();
            let same = guard.overlay().get(change.ino).is_some_and(|now| **now == *change);
            if !same {
                return Ok(Acted::Again);
            }
            let left = match change.state {
                State::Settling { .. } => None,
                _ if change.id.is_none() => None,
                _ => outcome::settled(change.clone(), self.clock.now(), self.capabilities().listing_lag_max),
            };
            guard.commit(vec![put_or_drop(change.ino, left)], Durability::Written)
        };
        waited(ticket).await?;
        Ok(Acted::Rest)
    }

    async fn forget(&self, change: &Change) -> Result<Acted, StoreError> {
        self.settle(change).await?;
        if let Some(staged) = &change.staged {
            self.world.discard(change.ino, staged).await;
        }
        Ok(Acted::Rest)
    }

    async fn create(&self, change: &Change, step: &Step, parent: &ItemId, name: &Name) -> Result<Acted, StoreError> {
        if let Some(source) = change.copy_of.as_ref().filter(|_| change.staged.is_none()) {
            return self.copy(change, step, source, parent, name).await;
        }
        let change = &*change.as_begun();
        let Ok(_permit) = self.uploads.acquire().await else {
            return Ok(Acted::Rest);
        };
        let source = self.world.source(change, None).await?;
        let progress = self.progress(change, Publishing::Makes, &source.fingerprint);
        let entry = self
            .store
            .create(parent, name, &source.body, &change.fields, &progress)
            .await?;
        self.finish(change, step, Some(&entry), None).await?;
        Ok(Acted::Again)
    }

    async fn replace(
        &self,
        change: &Change,
        step: &Step,
        name: Option<&Name>,
        remote: Option<&Entry>,
    ) -> Result<Acted, StoreError> {
        let entry = &*self.known(change, remote).await?;
        // Bytes whose answer was lost may be in the store by now instead of those that are known.
        let is_known = change.unconfirmed.iter().all(|note| note.bytes.is_none());
        if name.is_none() && is_known && self.world.same_bytes(change, entry).await {
            self.finish(change, step, Some(entry), None).await?;
            return Ok(Acted::Again);
        }
        if change.staged.is_none()
            && let Some(done) = self.never_renamed(change, step, entry).await?
        {
            return Ok(done);
        }
        let Ok(_permit) = self.uploads.acquire().await else {
            return Ok(Acted::Rest);
        };
        let source = self.world.source(change, Some(entry)).await?;
        let base = match &change.staged {
            Some(staged) => staged.base.as_ref(),
            None => Some(&entry.version),
        };
        let progress = self.progress(change, Publishing::Replaces, &source.fingerprint);
        let told = self.store.replace(entry, base, name, &source.body, &progress).await?;
        self.finish(change, step, Some(&told), None).await?;
        Ok(Acted::Again)
    }

    /// A name that was taken back may never have been given: a look tells, once the server has done what waits there. `None`
    /// where it is to be given back by sending the bytes once more.
    async fn never_renamed(&self, change: &Change, step: &Step, entry: &Entry) -> Result<Option<Acted>, StoreError> {
        let Some(wanted) = change.name_in_doubt() else {
            return Ok(None);
        };
        let last = change.sent_under_another_name().map(|note| note.at).max();
        let sure = last.map(|at| at.plus(self.capabilities().listing_lag_max));
        if let Some(sure) = sure.filter(|sure| *sure > self.clock.now()) {
            self.update(change.ino, Durability::Written, |c| c.ready_at = c.ready_at.max(sure));
            return Ok(Some(Acted::Rest));
        }
        let there = self.store.stat(&entry.id).await?;
        let is_taken_back = change.placing.as_ref().is_none_or(|placing| !placing.is_moved());
        let is_called = there.name == wanted.to_store() || is_taken_back && wanted.may_be_stored_as(&there.name);
        if there.version != entry.version || !is_called {
            return Ok(None);
        }
        self.finish(change, step, Some(&there), None).await?;
        Ok(Some(Acted::Again))
    }

    /// New file, verified, with the old one's fields; the old one goes in a step of its own.
    async fn reupload(
        &self,
        change: &Change,
        step: &Step,
        parent: &ItemId,
        name: &Name,
        remote: Option<&Entry>,
    ) -> Result<Acted, StoreError> {
        let change = &*change.as_begun();
        let old = &*self.known(change, remote).await?;
        let renames = change.placing.as_ref().is_some_and(|p| p.is_moved());
        if change.staged.is_some() && !renames && self.world.same_bytes(change, old).await {
            self.finish(change, &Step::Replace { name: None }, Some(old), None)
                .await?;
            return Ok(Acted::Again);
        }
        let Ok(_permit) = self.uploads.acquire().await else {
            return Ok(Acted::Rest);
        };
        // The store has no precondition: a fresh look right before, and what is left of the window is documented.
        let fresh = self.store.stat(&old.id).await?;
        let base = change
            .staged
            .as_ref()
            .and_then(|s| s.base.clone())
            .unwrap_or_else(|| old.version.clone());
        if fresh.version != base && !self.store.was_unfinished(&base) {
            return Err(StoreError::new(ErrorKind::Conflict, "replace", old.id.as_str()));
        }
        if !renames && self.follows_theirs(change, &fresh, old).await? {
            return Ok(Acted::Again);
        }
        // Others may have moved it to where nobody has looked here.
        let theirs = fresh
            .parents
            .first()
            .filter(|_| !renames && !fresh.parents.contains(parent));
        let (parent, name) = match theirs {
            Some(theirs) => (theirs, Cow::Owned(Name::from_store(&fresh.name))),
            None => (parent, Cow::Borrowed(name)),
        };
        let source = self.world.source(change, Some(old)).await?;
        let mut fields: FieldChanges = fresh.writable_values().collect();
        fields.extend(change.fields.clone());
        let progress = self.progress(change, Publishing::Makes, &source.fingerprint);
        let new = self
            .store
            .create(parent, &name, &source.body, &fields, &progress)
            .await?;
        if let Err(error) = verify(&new, &source.fingerprint) {
            // Another one is sent, and this one, which nobody else knows of, goes.
            if self.store.remove(&new).await.is_ok() {
                return Err(error);
            }
            self.update(self.seat_of(change), Durability::Synced, |c| {
                c.resume = None;
                c.leftovers.push(KnownItem::from(&new));
            });
            return Err(error);
        }
        self.finish(change, step, Some(&new), None).await?;
        Ok(Acted::Again)
    }

    /// Others have renamed or moved an item that we have not: what is sent of it goes where it is now.
    async fn follows_theirs(&self, change: &Change, fresh: &Entry, known: &Entry) -> Result<bool, StoreError> {
        let mut places = self.world.stored_at(&fresh.id).await;
        // A listing of where it was may have taken it out of what is known.
        if is_elsewhere(fresh, known) || places.is_empty() {
            self.world.look_again(change.ino, &fresh.id).await?;
            places = self.world.stored_at(&fresh.id).await;
        }
        let is_there = change.placing.as_ref().is_none_or(|placing| placing.now == places);
        if is_there || places.is_empty() {
            return Ok(false);
        }
        self.update(change.ino, Durability::Written, |c| {
            if let Some(unmoved) = c.placing.as_mut().filter(|placing| !placing.is_moved()) {
                *unmoved = Placing::unmoved(places);
            }
        });
        Ok(true)
    }

    async fn relocate(
        &self,
        change: &Change,
        step: &Step,
        (name, left, entered, swapping): (Option<&Name>, &[ItemId], &[ItemId], bool),
        remote: Option<&Entry>,
    ) -> Result<Acted, StoreError> {
        let entry = &*self.known(change, remote).await?;
        let links = change.kind == Kind::File && self.capabilities().links == Support::Yes;
        let noted = || self.about_to_move(change, entry, name);
        if links && left.is_empty() && name.is_none() && entered.len() == 1 {
            match noted() {
                Some(noted) => waited(noted).await?,
                None => return Ok(Acted::Again),
            }
            let told = self.store.link(entry, &entered[0]).await?;
            self.finish(change, step, Some(&told), None).await?;
            return Ok(Acted::Again);
        }
        let mut parents = if links {
            self.memberships(&entry.id).await?
        } else {
            entry.parents.clone()
        };
        if links {
            parents.retain(|p| !left.contains(p));
            parents.extend(entered.iter().cloned());
            parents.dedup();
        } else if !entered.is_empty() {
            parents = entered.to_vec();
        }
        let to = Placement {
            name: name.map_or_else(|| entry.name.clone(), Name::to_store),
            parents,
        };
        match noted() {
            Some(noted) => waited(noted).await?,
            None => return Ok(Acted::Again),
        }
        let told = match self.store.relocate(entry, &to).await {
            Err(error) if error.is_not_found() && self.capabilities().ids == IdScheme::Path => {
                self.moved_already(change.kind, entry.size, &to).await?.ok_or(error)?
            }
            told => told?,
        };
        let way_station: Option<Vec<Place>> = swapping.then(|| {
            let now = change.placing.iter().flat_map(|p| p.now.clone());
            now.map(|place| Place {
                name: name.cloned().unwrap_or(place.name),
                ..place
            })
            .collect()
        });
        self.finish(change, step, Some(&told), way_station.as_deref()).await?;
        Ok(Acted::Again)
    }

    /// The folders an asset is in, not older than a minute: what is sent replaces them all.
    async fn memberships(&self, id: &ItemId) -> Result<Vec<ItemId>, StoreError> {
        match self.world.fresh_parents(id).await {
            Some(parents) => Ok(parents),
            None => Ok(self.store.stat(id).await?.parents),
        }
    }

    async fn remove(&self, change: &Change, left: &[ItemId], remote: Option<&Entry>) -> Result<Acted, StoreError> {
        let Some(id) = &change.id else {
            return self.forget(change).await;
        };
        if self.brakes(change) {
            self.hold(change.ino);
            return Ok(Acted::Rest);
        }
        let stored;
        let entry = match remote.filter(|_| change.removing.is_none()) {
            Some(entry) => entry,
            None => {
                stored = self.store.stat(id).await?;
                &stored
            }
        };
        // Another file may have taken the place of the one that was removed when the answer was lost.
        let is_another = |removed: &ContentVersion| *removed != entry.version;
        if self.capabilities().ids == IdScheme::Path && change.removing.as_ref().is_some_and(is_another) {
            return self.removed_before(change, id).await;
        }
        if change.kind == Kind::File && self.capabilities().links == Support::Yes {
            let mut rest = self.memberships(id).await?;
            let held = rest.len();
            rest.retain(|p| !left.contains(p));
            if !rest.is_empty() && rest.len() == held {
                // Somebody took it out of our folders meanwhile, and wants it where it is now.
                let moved = self.store.stat(id).await?;
                self.world.took(change.ino, &moved, &[], None, None).await?;
                return self.settle(change).await;
            }
            if !rest.is_empty() {
                // Somebody put it into another folder meanwhile: it only leaves ours.
                let to = Placement {
                    name: entry.name.clone(),
                    parents: rest,
                };
                let told = self.store.relocate(entry, &to).await?;
                self.world.took(change.ino, &told, &[], None, None).await?;
                return self.settle(change).await;
            }
        }
        match self.about_to_remove(change, &entry.version) {
            Some(noted) => waited(noted).await?,
            None => return Ok(Acted::Again),
        }
        self.store.remove(entry).await?;
        self.removed(change).await?;
        if let Some(staged) = &change.staged {
            self.world.discard(change.ino, staged).await;
        }
        Ok(Acted::Rest)
    }

    /// What was to be removed is gone, and another file has its id by now: to this one it is as if others had saved it.
    async fn removed_before(&self, change: &Change, id: &ItemId) -> Result<Acted, StoreError> {
        let ticket = {
            let mut guard = self.journal.lock();
            let current = guard.overlay().get(change.ino);
            if !current.is_some_and(|c| c.is_removal() && c.id.as_ref() == Some(id)) {
                return Ok(Acted::Again);
            }
            guard.commit(vec![Write::Drop(change.ino)], Durability::Written)
        };
        waited(ticket).await?;
        if let Some(staged) = &change.staged {
            self.world.discard(change.ino, staged).await;
        }
        self.world.look_again(change.ino, id).await?;
        Ok(Acted::Rest)
    }

    /// Identity rules 1 and 2 for a node that was moved aside by the program that made the new one.
    async fn decide_claim(&self, change: &Change, old: Ino) -> Result<Acted, StoreError> {
        let aside = self.journal.change(old);
        let remote = match aside.as_ref().and_then(|a| a.id.as_ref()) {
            Some(id) => self.world.entry(id).await,
            None => None,
        };
        let secured = match (&aside, &remote) {
            (Some(aside), Some(remote)) if !aside.is_removal() && is_set_aside(aside) => {
                Some(self.world.secure(aside, remote).await?)
            }
            _ => None,
        };
        let is_under_way;
        let ticket = {
            let mut guard = self.journal.lock();
            let now = (
                guard.overlay().get(change.ino).cloned(),
                guard.overlay().get(old).cloned(),
            );
            if now.0.as_deref() != Some(change) || now.1 != aside {
                return Ok(Acted::Again);
            }
            let version = remote.as_ref().map(|r| r.version.clone());
            let writes = claim_writes(change, aside.as_deref(), secured, version);
            // What is under way for the asset comes first.
            is_under_way = self.reseat(old, change.ino);
            guard.commit(writes, Durability::Synced)
        };
        waited(ticket).await?;
        let taken = self.journal.change(change.ino).and_then(|now| now.id.clone());
        if let Some(id) = taken.filter(|id| aside.is_some_and(|aside| aside.id.as_ref() == Some(id))) {
            self.world.seat(change.ino, &id).await;
        }
        Ok(if is_under_way { Acted::Rest } else { Acted::Again })
    }

    pub(super) fn progress<'a>(
        &'a self,
        change: &'a Change,
        publishing: Publishing,
        bytes: &'a Fingerprint,
    ) -> Follow<'a> {
        self.sent.lock().insert(change.ino, Sent::default());
        Follow {
            uploader: self,
            change,
            publishing,
            bytes,
            left: Mutex::default(),
        }
    }
}

/// Whether the node was moved aside under a backup's name, in its own folder.
fn is_set_aside(aside: &Change) -> bool {
    let Some(placing) = &aside.placing else { return false };
    match (placing.base.as_slice(), placing.now.as_slice()) {
        ([base, ..], [now, ..]) => is_backup(base, now),
        _ => false,
    }
}

fn claim_writes(
    change: &Change,
    aside: Option<&Change>,
    secured: Option<Staged>,
    version: Option<crate::model::ContentVersion>,
) -> Vec<Write> {
    let unclaimed = || {
        Write::Put(Box::new(Change {
            claim: None,
            ..change.clone()
        }))
    };
    let Some(aside) = aside else { return vec![unclaimed()] };
    let Some(id) = aside.id.clone() else {
        return vec![unclaimed(), Write::Put(Box::new(free(aside)))];
    };
    if !aside.is_removal() && secured.is_none() {
        return vec![unclaimed(), Write::Put(Box::new(free(aside)))];
    }
    let taken = take_over(change, aside, &[], version);
    let mut writes = vec![Write::Identify(taken.ino, id), Write::Put(Box::new(taken))];
    writes.push(match secured {
        Some(bytes) => {
            let mut own = set_aside(aside, bytes);
            own.state = State::Local { why: LocalReason::Junk };
            Write::Put(Box::new(own))
        }
        None => Write::Drop(aside.ino),
    });
    writes
}

fn free(aside: &Change) -> Change {
    Change {
        claimed_by: None,
        ..aside.clone()
    }
}

/// Whether an item has another name, or is in other folders, than is known of it.
fn is_elsewhere(fresh: &Entry, known: &Entry) -> bool {
    let is_moved = || fresh.parents.iter().any(|parent| !known.parents.contains(parent));
    fresh.name != known.name || is_moved()
}

/// Nothing old is removed before the new bytes are known to be whole.
fn verify(new: &Entry, sent: &Fingerprint) -> Result<(), StoreError> {
    let wrong = |what: String| {
        StoreError::new(ErrorKind::Protocol, "verify the upload of", new.id.as_str())
            .because(what)
            .retry(Retry::After(Duration::from_secs(5)))
    };
    if let Some(size) = new.size
        && size != sent.size
    {
        return Err(wrong(format!("the store has {size} bytes of {}", sent.size)));
    }
    match &new.checksum {
        Some(Checksum::Md5(theirs)) if !theirs.eq_ignore_ascii_case(&sent.md5) => {
            Err(wrong("the checksums differ".into()))
        }
        Some(Checksum::Md5(_)) | None => Ok(()),
    }
}

/// Follows one upload: keeps how far it got in the journal, and stops it when newer bytes come.
pub(super) struct Follow<'a> {
    uploader: &'a Uploader,
    change: &'a Change,
    publishing: Publishing,
    bytes: &'a Fingerprint,
    /// What it has left in the store, as last noted.
    left: Mutex<Option<String>>,
}

impl Follow<'_> {
    fn is_of_this_upload(&self, now: &Change) -> bool {
        still_wanted(now, self.change) && now.placing == self.change.placing
    }
}

#[async_trait]
impl Progress for Follow<'_> {
    fn resume(&self) -> Option<Resume> {
        let now = self.uploader.journal.change(self.change.ino)?;
        let begun = now.resume.as_ref().filter(|_| self.is_of_this_upload(&now))?;
        if now.is_begun_otherwise(begun, self.bytes) {
            return None;
        }
        if begun.upload.half_done {
            *self.left.lock() = Some(begun.upload.upload.clone());
        }
        Some(begun.upload.clone())
    }

    fn save(&self, resume: &Resume) {
        let kept = self.uploader.update(self.change.ino, Durability::Written, |change| {
            // Never kept for other bytes, or another name, than those that were sent.
            let is_this = self.is_of_this_upload(change);
            if is_this {
                change.resume = Begun::of(resume, self.change);
            }
            // Nobody else's, of which this upload knows nothing.
            let left = resume.half_done.then(|| resume.upload.clone());
            let before = std::mem::replace(&mut *self.left.lock(), left.clone());
            if is_this || before.is_some() && change.half_done == before {
                change.half_done = left;
            }
        });
        // Losing it costs a chunk that is sent again, so nobody waits for it.
        drop(kept);
    }

    fn sent(&self, bytes: u64) {
        if let Some(sent) = self.uploader.sent.lock().get_mut(&self.change.ino) {
            sent.bytes += bytes;
        }
    }

    async fn may_publish(&self) -> bool {
        self.uploader
            .may_publish(self.change, self.publishing, self.bytes)
            .await
    }
}

//! Requests of which no answer may come: noted before they are sent, and looked for afterwards.

use futures_util::StreamExt;

use crate::model::{ContentVersion, Entry, FieldChanges, Ino, ItemId, Kind, Name, Timestamp};
use crate::store::{IdScheme, MoveFile, Placement, StoreError};

use super::outcome;
use super::plan::Step;
use super::uploader::{Acted, Uploader, waited};
use super::{Alteration, Change, Durability, Fingerprint, KnownItem, State, Ticket, Unanswered, Write, resembles};

/// New versions without an answer that are remembered of one node.
const UNCONFIRMED_MAX: usize = 8;

/// What the end of an upload does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Publishing {
    /// Another item is in the store, and a second one if it is repeated.
    Makes,
    /// The item is the same as before; repeating it changes nothing.
    Replaces,
}

impl Uploader {
    /// Notes, before a request that makes something is sent, that it may be carried out; `None` when the node is no longer
    /// what the request would make. Decided in one go with the check, so that a removal or a rename comes before or after.
    pub(super) fn about_to_make(&self, sent: &Change, bytes: Option<&Fingerprint>) -> Option<Ticket> {
        self.about_to_publish(sent, bytes, |change, note| change.unanswered = Some(note))
    }

    /// Likewise, before a request that publishes a new version.
    fn about_to_replace(&self, sent: &Change, bytes: &Fingerprint) -> Option<Ticket> {
        self.about_to_publish(sent, Some(bytes), |change, note| {
            let same = |old: &Unanswered| old.bytes == note.bytes && old.sent.placing == note.sent.placing;
            change.unconfirmed.retain(|old| !same(old));
            if change.unconfirmed.len() >= UNCONFIRMED_MAX {
                change.unconfirmed.remove(0);
            }
            change.unconfirmed.push(note);
        })
    }

    /// Whether an upload may take the step that publishes these bytes: it is noted then, durably, that it may have done so.
    pub(crate) async fn may_publish(&self, sent: &Change, publishing: Publishing, bytes: &Fingerprint) -> bool {
        if self.world.being_written(sent.ino) {
            return false;
        }
        let before = self.journal.change(sent.ino).and_then(|now| now.unanswered.clone());
        let noted = match publishing {
            Publishing::Makes => self.about_to_make(sent, Some(bytes)),
            Publishing::Replaces => self.about_to_replace(sent, bytes),
        };
        let Some(noted) = noted else { return false };
        let is_noted = noted.wait().await;
        if let Err(error) = &is_noted {
            tracing::error!(ino = sent.ino.0, "an upload cannot be noted: {error}");
        }
        // A program may have begun to write while the note was on its way.
        let may = is_noted.is_ok() && !self.world.being_written(sent.ino);
        if !may && publishing == Publishing::Makes {
            // Nothing is sent, and nothing more than before is in doubt: else it would be looked for as long as listings lag.
            self.update(sent.ino, Durability::Written, |now| {
                let is_this = |note: &Unanswered| note.bytes.as_ref() == Some(bytes) && note.sent == sent.as_sent();
                if now.unanswered.as_ref().is_some_and(is_this) {
                    now.unanswered = before;
                }
            });
        }
        may
    }

    /// Likewise, before an item is removed in this version: that it is gone is then no surprise. `None` also when nobody wants
    /// that any more.
    pub(super) fn about_to_remove(&self, sent: &Change, version: &ContentVersion) -> Option<Ticket> {
        let mut guard = self.journal.lock();
        let mut change = Change::clone(guard.overlay().get(sent.ino)?);
        if !change.is_removal() || change.id != sent.id {
            return None;
        }
        change.removing = Some(version.clone());
        Some(guard.commit(vec![Write::Put(Box::new(change))], Durability::Synced))
    }

    /// Likewise, before an item gets other names, where those say what its id is or who else may have them. `name` is the
    /// new one, when there is one.
    pub(super) fn about_to_move(&self, sent: &Change, moved: &Entry, name: Option<&Name>) -> Option<Ticket> {
        let asked = Change {
            placing: sent.placing_asked(name, self.capabilities()),
            ..sent.clone()
        };
        self.about_to_publish(sent, None, |change, note| {
            change.unconfirmed.retain(|old| !old.is_move());
            change.unconfirmed.push(Unanswered {
                sent: asked.as_sent(),
                moved: Some(KnownItem::from(moved)),
                ..note
            });
        })
    }

    /// Synced: after a loss of power, too, what may have been published must be known.
    fn about_to_publish(
        &self,
        sent: &Change,
        bytes: Option<&Fingerprint>,
        note: impl FnOnce(&mut Change, Unanswered),
    ) -> Option<Ticket> {
        let at = self.clock.now();
        let mut guard = self.journal.lock();
        let mut change = Change::clone(guard.overlay().get(sent.ino)?);
        // A name that is given only once may be on its way to another node by now.
        let names_it = sent.id.is_none() || bytes.is_none();
        let is_elsewhere = names_it && self.names_count() && change.placing != sent.placing;
        // It would have to be sent once more to get another name.
        let is_renamed = bytes.is_some() && sent.id.is_some() && sent.placing.as_ref().is_some_and(|p| p.is_moved());
        let is_moved_by_bytes = self.capabilities().move_file == MoveFile::Reupload;
        let is_another = change.name() != sent.name() || is_moved_by_bytes && change.placing != sent.placing;
        let is_otherwise = is_renamed && is_another;
        if !still_wanted(&change, sent) || is_elsewhere || is_otherwise {
            return None;
        }
        let unanswered = Unanswered {
            at,
            sent: sent.as_sent(),
            bytes: bytes.cloned(),
            moved: None,
        };
        note(&mut change, unanswered);
        Some(guard.commit(vec![Write::Put(Box::new(change))], Durability::Synced))
    }

    /// Another version than the base is in the store. It may be one of ours whose answer was lost.
    pub(super) async fn conflicted(&self, change: &Change) -> Result<(), StoreError> {
        let current = self.journal.change(change.ino);
        let unconfirmed = current.as_ref().map(|c| c.unconfirmed.as_slice()).unwrap_or_default();
        if let Some(id) = change.id.as_ref().filter(|_| !unconfirmed.is_empty()) {
            let theirs = self.store.stat(id).await?;
            for note in unconfirmed.iter().rev() {
                let Some(bytes) = &note.bytes else { continue };
                if self.world.holds(&theirs, bytes).await? == Some(true) {
                    tracing::info!(%id, "a version whose answer was lost had been taken");
                    let name = note.sent.placing.as_ref().and_then(|p| p.renamed()).cloned();
                    return self
                        .finish(&note.sent, &Step::Replace { name }, Some(&theirs), None)
                        .await;
                }
            }
        }
        if change.staged.is_none() {
            return self.go_on_with_theirs(change).await;
        }
        self.world.conflict(change.ino).await
    }

    /// Nothing of ours but a name or fields was to go to the store: that belongs to their bytes as well.
    async fn go_on_with_theirs(&self, change: &Change) -> Result<(), StoreError> {
        if let Some(id) = &change.id {
            self.world.look_again(change.ino, id).await?;
        }
        let now = self.clock.now();
        self.update(self.seat_of(change), Durability::Written, |c| {
            c.ready_at = c.ready_at.max(outcome::pause(c, now, rand::random::<f64>()));
            c.attempts = c.attempts.saturating_add(1);
        });
        Ok(())
    }

    /// Where ids are paths, a move whose answer was lost has taken the old id away: what is at its new place? `size` is that of
    /// what was moved, in bytes, as far as that is known.
    pub(super) async fn moved_already(
        &self,
        kind: Kind,
        size: Option<u64>,
        to: &Placement,
    ) -> Result<Option<Entry>, StoreError> {
        let Some(folder) = to.parents.first() else {
            return Ok(None);
        };
        let has_its_size = |found: &Entry| size.is_none() || found.size.is_none() || found.size == size;
        let is_it = |found: &Entry| found.name == to.name && found.kind == kind && has_its_size(found);
        let mut found = self.listed_now(folder).await?;
        found.retain(|e| is_it(e) && self.journal.lock().overlay().by_id(&e.id).is_none());
        if let Some(there) = found.first() {
            tracing::info!(id = %there.id, "a move whose answer was lost had been carried out");
        }
        Ok(found.into_iter().next())
    }

    /// Looks whether a move without an answer was carried out: the item is asked for under its old id first, as a listing
    /// that does not show it proves nothing.
    pub(super) async fn look_for_move(&self, change: &Change, asked: &Unanswered) -> Result<Acted, StoreError> {
        let sent = &asked.sent;
        let (Some(id), Some(place)) = (&sent.id, asked.place()) else {
            return Ok(self.not_moved(change));
        };
        let mut parents = Vec::new();
        for place in sent.placing.iter().flat_map(|p| &p.now) {
            parents.extend(self.world.item_of(place.parent).await);
        }
        let mut left = Vec::new();
        for folder in sent.placing.iter().flat_map(|p| p.left()) {
            left.extend(self.world.item_of(folder).await);
        }
        let name = match sent.placing.as_ref().and_then(|p| p.renamed()) {
            Some(name) => Some(name.to_store()),
            None => self.world.entry(id).await.map(|known| known.name.clone()),
        };
        let to = Placement {
            name: name.unwrap_or_else(|| place.name.to_store()),
            parents,
        };
        let is_path = self.capabilities().ids == IdScheme::Path;
        let moved = match self.store.stat(id).await {
            Ok(there) if !is_path => {
                let is_done = is_where_asked(&there, &to, &left, sent);
                is_done.then_some(self.as_known(there).await)
            }
            Ok(there) if !self.may_be_another(&there, asked).await? => {
                is_where_asked(&there, &to, &left, sent).then_some(there)
            }
            Err(error) if !error.is_not_found() => return Err(error),
            Err(_) if !is_path => None,
            // Where nothing is at the new place, what is under the old id is the item, though others have written to it.
            Ok(_) | Err(_) => match self.moved_as_told(change.ino, id).await? {
                Some(told) => Some(told),
                None => {
                    let size = match &asked.moved {
                        Some(moved) => Some(moved.size),
                        None => self.world.entry(id).await.map(|known| known.size),
                    };
                    match size {
                        Some(size) => self.moved_already(change.kind, size, &to).await?,
                        None => None,
                    }
                }
            },
        };
        let Some(entry) = moved else {
            return Ok(self.not_moved(change));
        };
        let step = Step::Relocate {
            name: sent.placing.as_ref().and_then(|p| p.renamed()).cloned(),
            left: Vec::new(),
            entered: Vec::new(),
            swapping: false,
        };
        self.finish(sent, &step, Some(&entry), None).await?;
        Ok(Acted::Again)
    }

    /// Who asks where something is learns nothing of its bytes: as far as those could be what they were, the version is.
    async fn as_known(&self, there: Entry) -> Entry {
        match self.world.entry(&there.id).await {
            Some(known) if known.size == there.size => Entry {
                version: known.version.clone(),
                ..there
            },
            Some(_) | None => there,
        }
    }

    /// Whether what is under the old id of something that may have been moved can be another: a file in another version; a
    /// folder, which has none, without anything that is known to have been in it.
    async fn may_be_another(&self, there: &Entry, asked: &Unanswered) -> Result<bool, StoreError> {
        if there.kind == Kind::File {
            return Ok(asked.moved.as_ref().is_some_and(|moved| !moved.is(there)));
        }
        for child in self.listed_now(&there.id).await? {
            if self.world.entry(&child.id).await.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The catalog may have heard of a move already when the journal had not: then it has the node under its new id.
    async fn moved_as_told(&self, ino: Ino, old: &ItemId) -> Result<Option<Entry>, StoreError> {
        let Some(told) = self.world.entry_at(ino).await.filter(|told| told.id != *old) else {
            return Ok(None);
        };
        match self.store.stat(&told.id).await {
            Ok(there) => Ok(Some(there)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Nothing came of a move: what is wanted now is planned anew.
    fn not_moved(&self, change: &Change) -> Acted {
        self.update(change.ino, Durability::Written, |c| {
            c.unconfirmed.retain(|note| !note.is_move());
            c.missing_since = None;
        });
        Acted::Again
    }

    /// A folder's children as the store tells them now.
    pub(super) async fn listed_now(&self, folder: &ItemId) -> Result<Vec<Entry>, StoreError> {
        // What was known may have been lost with the catalog, and that says nothing about the folder.
        let known = match self.world.entry(folder).await {
            Some(known) => Entry::clone(&known),
            None => self.store.stat(folder).await?,
        };
        // The counts in an old answer could make the store skip what is to be found.
        let folder = Entry {
            children: None,
            ..known
        };
        let mut listing = self.store.list(&folder);
        let mut entries = Vec::new();
        while let Some(batch) = listing.next().await {
            entries.extend(batch?);
        }
        Ok(entries)
    }

    /// Looks for what a request without an answer may have made.
    pub(super) async fn look(
        &self,
        change: &Change,
        parent: &ItemId,
        name: &Name,
        at: Timestamp,
    ) -> Result<Acted, StoreError> {
        let mut sent = match &change.unanswered {
            Some(unanswered) => Change::clone(&unanswered.sent),
            None => change.clone(),
        };
        let altered = Alteration::of(name.as_str(), self.capabilities());
        let began = self.clock.now();
        let mut found = self.listed_now(parent).await?;
        found.retain(|e| e.kind == sent.kind && resembles(e, name, &sent, altered));
        let bytes = change.unanswered.as_ref().and_then(|u| u.bytes.as_ref());
        for entry in found {
            let ours = match bytes {
                _ if self.world.is_anothers(&entry.id, change.ino).await => false,
                Some(bytes) => self.world.holds(&entry, bytes).await? != Some(false),
                None => true,
            };
            if ours {
                tracing::info!(id = %entry.id, "a request whose answer was lost had been carried out");
                let unset = self.still_to_set(&sent, &entry).await?;
                sent.fields.retain(|field, _| !unset.contains_key(field));
                let noted = self.update(change.ino, Durability::Written, |c| {
                    for (field, values) in unset {
                        c.fields.entry(field).or_insert(values);
                    }
                });
                if let Some(noted) = noted {
                    waited(noted).await?;
                }
                let step = match (&sent.id, sent.kind) {
                    (_, Kind::Folder) => Step::CreateFolder {
                        parent: parent.clone(),
                        name: name.clone(),
                    },
                    (None, Kind::File) => Step::Create {
                        parent: parent.clone(),
                        name: name.clone(),
                    },
                    (Some(_), Kind::File) => Step::Reupload {
                        parent: parent.clone(),
                        name: name.clone(),
                    },
                };
                self.finish(&sent, &step, Some(&entry), None).await?;
                return Ok(Acted::Again);
            }
        }
        let lag = self.capabilities().listing_lag_max;
        let ready = at.plus(lag);
        // Absence proves nothing until a listing is younger than the store's lag.
        self.update(change.ino, Durability::Written, |c| {
            if began >= ready {
                if let State::Ambiguous { .. } = c.state {
                    c.state = State::Pending;
                }
                c.unanswered = None;
            } else {
                c.ready_at = c.ready_at.max(ready);
            }
        });
        Ok(if began >= ready { Acted::Again } else { Acted::Rest })
    }
}

impl Uploader {
    /// Fields that an item was to have and does not show: a store may set them in a request of their own, after the one
    /// that was carried out without an answer.
    async fn still_to_set(&self, sent: &Change, found: &Entry) -> Result<FieldChanges, StoreError> {
        let mut wanted = FieldChanges::new();
        if let Some(old) = &sent.id {
            // It takes the place of an asset whose fields come along.
            match self.store.stat(old).await {
                Ok(old) => wanted.extend(old.writable_values()),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        wanted.extend(sent.fields.clone());
        wanted.retain(|field, values| match found.fields.get(field) {
            Some(held) => held.values != *values,
            None => !values.is_empty(),
        });
        Ok(wanted)
    }
}

/// Whether an item is called and placed as it was asked to be, as far as the store tells; others may have put it into more
/// folders, or renamed it when that was not asked for. Servers normalise names: another one than before that is like what was
/// asked for is that.
fn is_where_asked(there: &Entry, to: &Placement, left: &[ItemId], sent: &Change) -> bool {
    let renamed = sent.placing.as_ref().and_then(|placing| placing.renamed());
    let before = sent.placing.iter().flat_map(|p| &p.base).next();
    let is_other = || before.is_some_and(|before| before.name.to_store() != there.name);
    let is_called = |name: &Name| name.to_store() == there.name || is_other() && name.may_be_stored_as(&there.name);
    let is_in = |parent: &ItemId| there.parents.contains(parent);
    let is_placed = to.parents.iter().all(is_in) && !left.iter().any(is_in);
    (is_placed || there.parents.is_empty()) && renamed.is_none_or(is_called)
}

/// Whether what is about to be published is still what the node is to become.
pub(super) fn still_wanted(now: &Change, sent: &Change) -> bool {
    let same_bytes = match (&now.staged, &sent.staged) {
        (Some(now), Some(then)) => {
            now.body == then.body && now.generation == then.generation && now.phase == then.phase
        }
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    same_bytes && now.id == sent.id && now.is_removal() == sent.is_removal()
}

//! Copies that a store makes by itself. No bytes are sent for them, and there may be none of them here; so what is copied must
//! stay as it is until the copy is made, or the copy takes its bytes.

use std::sync::Arc;

use crate::model::{Entry, Ino, ItemId, Name};
use crate::store::{ErrorKind, StoreError};

use super::plan::{Copy, Step};
use super::uploader::{Acted, Uploader, waited};
use super::{Change, Durability, KnownItem, State};

/// Why a copy waits whose source nobody has any more as it was.
const LOST: &str = "what it is a copy of was changed in the store before the copy was made: copy it again";

/// Whether it is known that a copy cannot be made any more: nothing need be left as it is for that.
fn is_lost(copy: &Change) -> bool {
    matches!(&copy.state, State::Parked { reason } if reason == LOST)
}

impl Uploader {
    /// A node that the store is to make as a copy of what it has for `change` (`remote`, as far as that is known), or of what
    /// that leaves behind.
    pub(super) fn copy_to_be_made(&self, change: &Change, remote: Option<&Entry>) -> Option<Copy> {
        let guard = self.journal.lock();
        let overlay = guard.overlay();
        let left = change.leftovers.iter().flat_map(|old| overlay.copies(&old.id));
        // Of another version than the one there now it cannot be made anyway.
        let is_of_it = |copy: &&Arc<Change>| {
            let source = copy.copy_of.as_ref();
            source.is_some_and(|source| remote.is_none_or(|remote| source.is(remote)))
        };
        let own = change.id.iter().flat_map(|id| overlay.copies(id)).filter(is_of_it);
        let mut copies = own.chain(left);
        let is_to_be_made = |copy: &&Arc<Change>| copy.ino != change.ino && !copy.is_removal() && !is_lost(copy);
        let copy = copies.find(is_to_be_made)?;
        let goes_on = copy.is_scheduled() && overlay.stuck_behind(copy.ino).is_none();
        Some(match goes_on {
            true => Copy::Awaited(copy.ino),
            false => Copy::Stuck(copy.ino),
        })
    }

    /// Lets the store make the copy, of the version that was copied.
    pub(super) async fn copy(
        &self,
        change: &Change,
        step: &Step,
        source: &KnownItem,
        parent: &ItemId,
        name: &Name,
    ) -> Result<Acted, StoreError> {
        let entry = self.world.entry(&source.id).await;
        let is_possible = |entry: &Arc<Entry>| {
            let keeps_name = self.capabilities().copy_keeps_name;
            self.capabilities().server_copy.is_yes()
                && source.is(entry)
                && (!keeps_name || entry.name == name.to_store())
        };
        let Some(entry) = entry.filter(is_possible) else {
            self.take_bytes(change.ino).await?;
            return Ok(Acted::Again);
        };
        match self.about_to_make(change, None) {
            Some(noted) => waited(noted).await?,
            None => return Ok(Acted::Again),
        }
        let copied = match self.store.copy(&entry, parent, name).await {
            Err(error) if error.is_not_found() => {
                tracing::info!(id = %entry.id, "a file that was to be copied is gone: its bytes are sent instead");
                self.update(change.ino, Durability::Written, |c| c.unanswered = None);
                self.take_bytes(change.ino).await?;
                return Ok(Acted::Again);
            }
            copied => copied?,
        };
        // The copy has come with its source's fields; those set here follow by themselves.
        let mut sent = change.clone();
        sent.fields.clear();
        self.finish(&sent, step, Some(&copied), None).await?;
        Ok(Acted::Again)
    }

    /// What the store was to make as a copy, and cannot be left to make any more, is fetched, and sent as any other file. It
    /// is parked when nobody has its bytes any more.
    pub async fn take_bytes(&self, copy: Ino) -> Result<(), StoreError> {
        let change = self.journal.change(copy);
        let Some((change, source)) = change.as_ref().and_then(|c| Some((c, c.copy_of.as_ref()?))) else {
            return Ok(());
        };
        match self.world.take_bytes(copy, source).await {
            // It may be on its way to another path.
            Err(error) if self.unsure_above(change, std::iter::once(&source.id)).is_some() => Err(error),
            Err(error) if matches!(error.kind, ErrorKind::Conflict | ErrorKind::NotFound) => {
                self.give_up_copy(copy, source);
                Ok(())
            }
            taken => taken,
        }
    }

    /// Parks a copy that nobody can make, if it is still to be one.
    fn give_up_copy(&self, copy: Ino, source: &KnownItem) {
        let is_it = |now: &Change| now.copy_of.as_ref() == Some(source) && now.staged.is_none();
        if !self.journal.change(copy).is_some_and(|now| is_it(&now)) {
            return;
        }
        self.world.problem(copy, LOST);
        self.update(copy, Durability::Synced, |now| {
            if is_it(now) {
                now.last_error = Some(LOST.into());
                now.state = State::Parked { reason: LOST.into() };
            }
        });
    }
}

//! Names that a store gives only once, and folders whose path is in the ids below them: who has to wait for whom.

use std::sync::Arc;

use crate::model::{Ino, ItemId};
use crate::store::{IdScheme, SiblingNames};

use super::plan::{Occupant, Step};
use super::uploader::{Uploader, is_settling};
use super::{Change, Place};

impl Uploader {
    /// Whether what an item is called says more than how it is shown: who has the name, or what its id is.
    pub(super) fn names_count(&self) -> bool {
        self.capabilities().ids == IdScheme::Path || self.capabilities().sibling_names == SiblingNames::Unique
    }

    /// Who stands in the way of a name in a store where it is unique.
    pub(super) async fn occupant(&self, change: &Change, place: &Place, folder: &ItemId) -> Occupant {
        // Before the catalog is asked: it has the answer to a request by the time that the request is off this list.
        if let Some(asking) = self.asked_for(change.ino, place) {
            return Occupant::Leaving(asking);
        }
        let Some(other) = self
            .world
            .occupant(folder, &place.name)
            .await
            .filter(|o| *o != change.ino)
        else {
            return match self.just_leaving(change, place) {
                Some(leaving) => Occupant::Leaving(leaving),
                None => Occupant::Nobody,
            };
        };
        let guard = self.journal.lock();
        if is_inside(guard.overlay(), change, other) {
            return Occupant::Swapping;
        }
        let mut at = other;
        // Follow who waits for whom: a chain that comes back here is a swap.
        for _ in 0..64 {
            let placing = guard.overlay().get(at).and_then(|next| next.placing.as_ref());
            let Some(placing) = placing.filter(|p| p.is_moved()) else {
                return if at == other {
                    Occupant::Nobody
                } else {
                    Occupant::Leaving(other)
                };
            };
            let mine = |place: &Place| change.placing.iter().any(|p| p.base.contains(place));
            let mut blocked_by = None;
            for wanted in &placing.now {
                if mine(wanted) {
                    return Occupant::Swapping;
                }
                let has = |c: &&Arc<Change>| c.ino != at && c.placing.iter().any(|p| p.base.contains(wanted));
                blocked_by = guard
                    .overlay()
                    .touching(wanted.parent)
                    .find(has)
                    .map(|c| c.ino)
                    .or(blocked_by);
            }
            match blocked_by {
                Some(next) => at = next,
                None => return Occupant::Leaving(other),
            }
        }
        Occupant::Swapping
    }

    /// Another node that may have got a name by a request whose answer has not come.
    fn asked_for(&self, ino: Ino, place: &Place) -> Option<Ino> {
        let guard = self.journal.lock();
        let may_have = |c: &Change| c.asked().any(|note| note.place() == Some(place));
        let asks = |c: &&Arc<Change>| c.ino != ino && c.is_scheduled() && may_have(c);
        guard.overlay().touching(place.parent).find(asks).map(|c| c.ino)
    }

    /// A node that has left a place already, as the catalog has it, and is still there as the journal has it: until that has
    /// the answer too, nobody else may have the id that goes with the name.
    fn just_leaving(&self, change: &Change, place: &Place) -> Option<Ino> {
        let guard = self.journal.lock();
        let overlay = guard.overlay();
        let was_there = |c: &Change| c.placing.iter().any(|placing| placing.base.contains(place));
        let leaves = |c: &Change| c.asked_move().is_some() || c.removing.is_some() && !is_settling(c);
        let is_it = |c: &&Arc<Change>| {
            let is_other = c.ino != change.ino && !is_inside(overlay, change, c.ino);
            is_other && c.is_scheduled() && was_there(c) && leaves(c)
        };
        overlay.touching(place.parent).find(is_it).map(|c| c.ino)
    }

    /// Where ids are paths, of these items and all above them: one of which nobody knows whether it was moved. What is below
    /// it has one id or another.
    pub(super) fn unsure_above<'a>(&self, change: &Change, ids: impl Iterator<Item = &'a ItemId>) -> Option<Ino> {
        if self.capabilities().ids != IdScheme::Path {
            return None;
        }
        let ids: Vec<&ItemId> = ids.collect();
        let guard = self.journal.lock();
        let is_above = |folder: &ItemId| ids.iter().any(|id| id.rekeyed(folder, folder).is_some());
        let unsure = |c: &&Arc<Change>| c.ino != change.ino && c.id.as_ref().is_some_and(is_above);
        guard.overlay().moving().find(unsure).map(|c| c.ino)
    }

    /// Whether a name that the store says is taken is taken by a node of ours that is to leave it, or by nobody any more.
    pub(super) async fn is_ours_for_now(&self, change: &Change, step: &Step) -> bool {
        let placed = matches!(
            step,
            Step::Create { .. } | Step::CreateFolder { .. } | Step::Relocate { .. }
        );
        let place = change.placing.as_ref().and_then(|p| p.now.first());
        let Some(place) = place.filter(|_| placed && self.capabilities().sibling_names == SiblingNames::Unique) else {
            return false;
        };
        if self.asked_for(change.ino, place).is_some() {
            return true;
        }
        let Some(folder) = self.world.item_of(place.parent).await else {
            return false;
        };
        let entries = match self.listed_now(&folder).await {
            Ok(entries) => entries,
            Err(error) => {
                tracing::debug!(ino = change.ino.0, "who has its name cannot be told yet: {error}");
                return true;
            }
        };
        let name = match step {
            Step::Relocate { name: Some(name), .. } => name.to_store(),
            _ => place.name.to_store(),
        };
        let Some(holder) = entries.into_iter().find(|entry| entry.name == name) else {
            return true;
        };
        let guard = self.journal.lock();
        let ours = guard.overlay().by_id(&holder.id).filter(|c| c.ino != change.ino);
        ours.is_some_and(|c| c.is_scheduled() && c.placing.as_ref().is_some_and(|p| p.is_moved()))
    }
}

/// Whether a node still leaves `folder`, or a folder below it, in the store: a folder that is to go waits for that.
fn is_inside(overlay: &super::Overlay, change: &Change, folder: Ino) -> bool {
    change.placing.iter().flat_map(|p| &p.base).any(|place| {
        let mut at = place.parent;
        for _ in 0..64 {
            if at == folder {
                return overlay.get(folder).is_some_and(|f| f.is_removal());
            }
            let above = overlay.get(at).and_then(|f| f.placing.as_ref()?.base.first());
            match above {
                Some(above) => at = above.parent,
                None => return false,
            }
        }
        false
    })
}

//! A folder that somebody removed in the store stays in the tree while something in it waits to be sent there: those bytes
//! are only here, and must be found where they were saved.

use std::collections::HashSet;

use crate::journal::{Change, LocalReason, State};
use crate::model::{Ino, ItemId, Timestamp};

use super::Result;
use super::vfs::{Inner, Vfs};

impl Inner {
    /// Folders in which, however deep, something lies that is only here. Blocks.
    pub(super) fn sheltering(&self) -> Result<HashSet<ItemId>> {
        let mut inos: Vec<Ino> = {
            let guard = self.journal.lock();
            let only_here = guard.overlay().iter().filter(|change| is_only_here(change));
            let places = only_here.flat_map(|change| change.placing.iter().flat_map(|p| &p.now));
            let folders: HashSet<Ino> = places.map(|place| place.parent).collect();
            folders.into_iter().collect()
        };
        let (mut seen, mut ids) = (HashSet::new(), HashSet::new());
        while let Some(ino) = inos.pop() {
            if !seen.insert(ino) {
                continue;
            }
            // One that is not known any more cannot be kept.
            if let Ok(folder) = self.node(ino) {
                inos.extend(self.places(&folder)?.into_iter().map(|place| place.parent));
                ids.extend(folder.id);
            }
        }
        Ok(ids)
    }
}

impl Vfs {
    /// Takes out of the catalog what the store says is gone, and tells the kernel. A folder with something in it that is
    /// only here stays until a listing leaves it out when nothing is. Blocks.
    pub(super) fn take_removal(&self, id: &ItemId, at: Timestamp) -> Result<()> {
        if self.sheltering()?.contains(id) {
            for (parent, _) in self.catalog.parents(id)? {
                self.catalog.invalidate_listing(&parent)?;
            }
            return Ok(());
        }
        let diff = self.catalog.remove(id, at)?;
        self.tell_kernel(&diff)
    }
}

/// Whether a name, and the bytes under it, would be out of reach without the folder.
fn is_only_here(change: &Change) -> bool {
    match change.state {
        State::Pending | State::Ambiguous { .. } | State::Held | State::Parked { .. } | State::Conflict { .. } => true,
        State::Local { why } => match why {
            LocalReason::NameRefused | LocalReason::Empty => true,
            // Else a `.DS_Store` would keep every folder.
            LocalReason::Junk => false,
        },
        State::Settling { .. } => false,
    }
}

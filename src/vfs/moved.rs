//! Where ids are paths, a move of our own makes another id of an item's, and of all that is below it. Who has asked under
//! the old one, while the answer to the move was on its way or lost, asks again under the new one.

use std::sync::Arc;

use crate::cache::{Body, CacheError};
use crate::journal::Change;
use crate::model::{Ino, ItemId};
use crate::store::{ErrorKind, IdScheme};

use super::opens::OpenFile;
use super::vfs::Vfs;
use super::{Error, Result};

impl Vfs {
    /// What an item that was not found under `id` is called by now, if a move of ours has given it another id. Waits for the
    /// answer to such a move, or until it has been looked into, with the mount's deadline.
    pub(super) async fn moved_to(&self, ino: Ino, id: &ItemId) -> Option<ItemId> {
        if self.capabilities().ids != IdScheme::Path {
            return None;
        }
        if let Some(mover) = self.mover_of(id) {
            tracing::debug!(%id, "not found: a move of ours that has no answer yet is asked after");
            self.answered(mover).await;
        }
        let now = self.blocking(move |vfs| Ok(vfs.node(ino)?.id)).await.ok().flatten();
        now.filter(|now| now != id)
    }

    /// The node of which it is not known whether it was moved, and an item with it.
    fn mover_of(&self, id: &ItemId) -> Option<Ino> {
        let mut guard = self.journal.lock();
        let is_of_it = |change: &&Arc<Change>| {
            let moved = change.id.as_ref();
            moved.is_some_and(|moved| id.rekeyed(moved, moved).is_some())
        };
        let mover = guard.overlay().moving().find(is_of_it)?.ino;
        let now = self.clock.now();
        guard.reschedule(mover, now);
        Some(mover)
    }

    async fn answered(&self, mover: Ino) {
        let mut moved = self.journal.watch();
        let known = async {
            while self
                .journal
                .change(mover)
                .is_some_and(|change| change.asked_move().is_some())
            {
                if moved.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = known => {}
            () = self.clock.sleep(self.config.deadline) => {}
        }
    }

    /// The bytes of an open file that were not found, under the id that it has by now.
    pub(super) async fn body_moved(&self, file: &Arc<OpenFile>, error: &CacheError) -> Result<Option<Arc<Body>>> {
        let is_missing = matches!(error, CacheError::Store(error) if error.kind == ErrorKind::NotFound);
        let body = file.body();
        if !is_missing || body.is_dirty() {
            return Ok(None);
        }
        let (ino, item) = (file.ino, body.item());
        let has_moved = self.moved_to(ino, &item).await.is_some();
        let Ok(node) = self.blocking(move |vfs| vfs.node(ino)).await else {
            return Ok(None);
        };
        let copied = node.change.as_ref().and_then(|change| change.copy_of.as_ref());
        if copied.is_some_and(|source| source.id != item) {
            let moved = self.body_of(&node).await?;
            file.set_body(moved.clone());
            return Ok(Some(moved));
        }
        if !has_moved {
            return Ok(None);
        }
        let entry = node.entry.ok_or(Error::Stale)?;
        if file.is_other_version(&entry) {
            return Err(Error::Stale);
        }
        let moved = self.cache.body(&entry);
        file.set_body(moved.clone());
        Ok(Some(moved))
    }
}

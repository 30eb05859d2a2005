//! What a restart finds.

use std::sync::Arc;

use crate::journal::{Change, Durability, Phase, State, Write};
use crate::model::{Ino, ItemId};

use super::vfs::Vfs;

impl Vfs {
    /// After a restart: what was being written when the program ended is kept aside and not sent by itself.
    pub(super) async fn recover(&self) -> super::Result<()> {
        self.restore_held().await?;
        self.blocking(|vfs| {
            let unfinished: Vec<Change> = {
                let guard = vfs.journal.lock();
                let open = |c: &&Arc<Change>| c.staged.as_ref().is_some_and(|s| s.phase == Phase::Open);
                guard.overlay().iter().filter(open).map(|c| Change::clone(c)).collect()
            };
            let mut writes = vfs.settled_unseen()?;
            vfs.seat_again()?;
            for mut change in unfinished {
                if change.is_removal() {
                    // Its bytes are nobody's any more.
                    change.staged = None;
                    writes.push(Write::Put(Box::new(change)));
                    continue;
                }
                let staged = change.staged.clone();
                if let Some(staged) = &mut change.staged {
                    staged.size = vfs.staged_len(staged);
                }
                let junk = matches!(change.state, State::Local { .. });
                let reason = match staged.is_some_and(|s| s.whole) {
                    true => "it was still being written when assetfs ended; retry to send it as it is",
                    false => "it was still being written when assetfs ended, and parts of it were not here yet",
                };
                if !junk {
                    change.last_error = Some(reason.into());
                    change.state = State::Parked { reason: reason.into() };
                }
                writes.push(Write::Put(Box::new(change)));
            }
            if !writes.is_empty() {
                vfs.journal.write(writes, Durability::Synced).wait_blocking()?;
            }
            Ok(())
        })
        .await?;
        self.sweep_originals().await?;
        self.expire_originals().await?;
        self.sweep_staging().await
    }

    /// An item may have become another node's right before the program ended, and the catalog has not heard of it; or only the
    /// catalog has, because the journal lost that with the power.
    fn seat_again(&self) -> super::Result<()> {
        let changed: Vec<(Ino, Option<ItemId>)> = {
            let guard = self.journal.lock();
            guard.overlay().iter().map(|c| (c.ino, c.id.clone())).collect()
        };
        let mut seats = Vec::new();
        for (ino, id) in changed {
            let sitting = self.catalog.by_ino(ino)?.map(|node| node.entry.id.clone());
            if sitting == id {
                continue;
            }
            if let Some(other) = sitting
                && let Some(whose) = self.journal.known_inode(&other)?.filter(|whose| *whose != ino)
            {
                seats.push((whose, other));
            }
            let Some(id) = id else { continue };
            if self.catalog.by_id(&id)?.is_some_and(|known| known.ino != ino) {
                seats.push((ino, id));
            }
        }
        self.seat_all(&seats);
        Ok(())
    }

    /// What waits for a listing to confirm it is shown from the catalog. When that was deleted, the store has to tell
    /// anew, and there is nothing left to confirm.
    fn settled_unseen(&self) -> super::Result<Vec<Write>> {
        let settling: Vec<(Ino, ItemId)> = {
            let guard = self.journal.lock();
            let settling = |c: &&Arc<Change>| matches!(c.state, State::Settling { .. }) && !c.is_removal();
            guard
                .overlay()
                .iter()
                .filter(settling)
                .filter_map(|c| Some((c.ino, c.id.clone()?)))
                .collect()
        };
        let mut writes = Vec::new();
        for (ino, id) in settling {
            if self.catalog.by_id(&id)?.is_none() {
                writes.push(Write::Drop(ino));
            }
        }
        Ok(writes)
    }

    /// Bodies in the staging folder that no change speaks of were published right before the program ended.
    async fn sweep_staging(&self) -> super::Result<()> {
        let known: std::collections::HashSet<String> = {
            let guard = self.journal.lock();
            guard
                .overlay()
                .iter()
                .filter_map(|c| c.staged.as_ref())
                .map(|s| s.body.clone())
                .collect()
        };
        for id in self.cache.staged().await? {
            if !known.contains(&id.to_string()) {
                tracing::info!(body = %id, "a staged body that is no longer needed is removed");
                self.cache.discard_staged(id).await?;
            }
        }
        Ok(())
    }
}

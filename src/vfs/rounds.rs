//! Pinned folders are looked at whether anybody opens them or not: what is pinned for a journey is to be up to date at its
//! beginning.
//!
//! They are looked at in rounds, a few folders in each poll. Folders in use come first, and where the store's allowance
//! is limited only what they have left over is spent.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use crate::model::{ItemId, Kind};
use crate::store::ChangeFeed;

use super::Result;
use super::vfs::{Inner, Vfs};

/// How long after the beginning of a round the next one may begin.
pub(super) const ROUND_EVERY: Duration = Duration::from_secs(300);

/// The folders that this round has not come to yet.
#[derive(Default)]
pub(super) struct Rounds {
    left: VecDeque<ItemId>,
    began: Option<Duration>,
}

impl Vfs {
    /// The next pinned folders to look at, at most `room`. None where the store's feed tells everything about them.
    pub(super) async fn next_of_round(&self, feed: ChangeFeed, room: usize) -> Result<Vec<ItemId>> {
        if feed == ChangeFeed::Feed && !self.capabilities().counts.is_yes() {
            return Ok(Vec::new());
        }
        let room = room.min(self.spare_looks());
        let now = self.clock.elapsed();
        let begins = {
            let mut rounds = self.pins.rounds.lock();
            let due = rounds
                .began
                .is_none_or(|began| now.saturating_sub(began) >= ROUND_EVERY);
            let begins = due && rounds.left.is_empty();
            if begins {
                rounds.began = Some(now);
            }
            begins
        };
        if begins {
            let folders = self.blocking(|vfs| vfs.pinned_folders()).await?;
            self.pins.rounds.lock().left = folders.into();
        }
        let mut rounds = self.pins.rounds.lock();
        let room = room.min(rounds.left.len());
        Ok(rounds.left.drain(..room).collect())
    }
}

impl Inner {
    /// Every known folder that is pinned or lies in a pinned one. Blocks.
    fn pinned_folders(&self) -> Result<Vec<ItemId>> {
        let (mut left, left_out) = self.pinned_ids();
        let mut seen: HashSet<ItemId> = left_out;
        let mut folders = Vec::new();
        while let Some(id) = left.pop() {
            if !seen.insert(id.clone()) {
                continue;
            }
            let is_folder = self
                .catalog
                .by_id(&id)?
                .is_some_and(|node| node.entry.kind == Kind::Folder);
            if is_folder {
                left.extend(self.catalog.subfolders(&id)?);
                folders.push(id);
            }
        }
        Ok(folders)
    }
}

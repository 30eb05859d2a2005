//! Finding out what others changed, and telling the kernel.

use std::time::Duration;

use crate::catalog::Bindings;
use crate::http::{Class, Context, with_context};
use crate::model::{Ino, ItemId, Name};
use crate::store::ChangeFeed;

use super::tree::Node;
use super::vfs::Vfs;
use super::{Attr, Result};

/// Where the cursor of the change feed is kept in the catalog.
const CURSOR: &str = "changes.cursor";
/// A folder that nobody looked into for this long is not polled.
const IN_USE_FOR: Duration = Duration::from_secs(600);
/// Folders listed again at each poll, where there is no feed.
const FOLDERS_PER_POLL_MAX: usize = 32;
/// Pause between polls of a mount that nobody uses.
const IDLE_POLL: Duration = Duration::from_secs(300);
/// Pause between attempts to give back what the store lent.
const TIDY_EVERY: Duration = Duration::from_secs(300);

impl Vfs {
    /// Looks after the mount until it ends: polls, and gives back what the store lent.
    pub async fn run_upkeep(self) {
        let mut feed = self.capabilities().change_feed;
        let mut tidied = self.clock.elapsed();
        loop {
            self.clock.sleep(self.upkeep_pause()).await;
            if self.stopping.load(std::sync::atomic::Ordering::Relaxed) {
                return;
            }
            let background = Context::of(Class::Background);
            if self.clock.elapsed().saturating_sub(tidied) >= TIDY_EVERY {
                tidied = self.clock.elapsed();
                if let Err(error) = with_context(background.clone(), self.store.tidy()).await {
                    tracing::debug!("what the store lent could not be given back yet: {error}");
                }
            }
            if !self.config.poll.is_zero() {
                feed = with_context(background, self.poll(feed)).await;
            }
        }
    }

    /// The poll interval; longer while nobody uses the mount.
    fn upkeep_pause(&self) -> Duration {
        if self.config.poll.is_zero() {
            return TIDY_EVERY;
        }
        let last_use = self.last_use.load(std::sync::atomic::Ordering::Relaxed);
        let idle = self.clock.elapsed().as_secs().saturating_sub(last_use);
        if idle > IDLE_POLL.as_secs() {
            self.config.poll.max(IDLE_POLL)
        } else {
            self.config.poll
        }
    }

    /// One poll. Answers how to ask next time.
    async fn poll(&self, mut feed: ChangeFeed) -> ChangeFeed {
        if feed == ChangeFeed::Feed
            && let Err(error) = self.poll_feed().await
        {
            tracing::debug!("the change feed failed: {error}");
            if error.errno() == libc::EOPNOTSUPP {
                tracing::info!("the store does not tell changes; folders in use are read again instead");
                feed = ChangeFeed::Relist;
            }
        }
        self.poll_folders(feed).await;
        feed
    }

    /// Folders in use whose listing is old are read again. With a feed this finds what the feed cannot tell: deletions.
    async fn poll_folders(&self, feed: ChangeFeed) {
        let now = self.clock.now();
        let folders: Vec<ItemId> = {
            let used = self.used.lock();
            let recent = used
                .iter()
                .filter(|(_, at)| now.since(**at) <= IN_USE_FOR)
                .map(|(id, _)| id.clone());
            recent
                .take(if feed == ChangeFeed::Feed {
                    FOLDERS_PER_POLL_MAX / 4
                } else {
                    FOLDERS_PER_POLL_MAX
                })
                .collect()
        };
        for id in folders {
            let asked = id.clone();
            let listing = self
                .blocking(move |vfs| Ok(vfs.catalog.listing(&asked)?))
                .await
                .ok()
                .flatten();
            let old =
                listing.is_none_or(|l| self.clock.now().since(l.at) >= self.config.list_ttl.min(self.config.poll));
            if old && let Err(error) = self.list_now(&id).await {
                tracing::debug!(%id, "a folder in use could not be read again: {error}");
                return;
            }
        }
    }

    async fn poll_feed(&self) -> Result<()> {
        let cursor = self.blocking(|vfs| Ok(vfs.catalog.kv_get(CURSOR)?)).await?;
        let began = self.clock.now();
        let changes = self.store.changes(cursor.as_deref(), began).await?;
        self.blocking(move |vfs| {
            for entry in &changes.changed {
                if vfs.may_be_ours(entry)? {
                    continue;
                }
                let ino = vfs.journal.inodes(std::slice::from_ref(&entry.id))?;
                let Some(ino) = ino.first().copied() else { continue };
                if vfs.journal.change(ino).is_some() {
                    // Our own news of it are newer, or will meet it at the commit.
                    continue;
                }
                // Items in folders that were never read stay unknown: they are found when somebody looks.
                let known = vfs.catalog.by_id(&entry.id)?.is_some();
                let mut shown = false;
                for parent in &entry.parents {
                    shown |= vfs.catalog.listing(parent)?.is_some();
                }
                if known || shown {
                    let ino = vfs.inode_for(ino, entry)?;
                    let names = vfs.names_for(entry)?;
                    vfs.take_entry(ino, entry, began, &names)?;
                }
            }
            for id in &changes.removed {
                let diff = vfs.catalog.remove(id, began)?;
                vfs.tell_kernel(&diff)?;
            }
            for id in &changes.stale {
                vfs.catalog.invalidate_listing(id)?;
            }
            vfs.catalog.kv_set(CURSOR, Some(&changes.cursor))?;
            Ok(())
        })
        .await
    }

    /// A child that no listing shows but the store has all the same.
    pub(super) async fn find_unlisted(&self, parent: Ino, folder: &Node, name: &Name) -> Result<Option<Attr>> {
        let Some(entry) = folder.entry.clone() else {
            return Ok(None);
        };
        let Some(found) = self.store.lookup_unlisted(&entry, name).await? else {
            return Ok(None);
        };
        let now = self.clock.now();
        self.blocking(move |vfs| {
            let ino = vfs.journal.inodes(std::slice::from_ref(&found.id))?;
            let Some(ino) = ino.first().copied() else {
                return Ok(None);
            };
            let names = vfs.names_for(&found)?;
            let bound = names.bound(&entry.id, &found.id).is_some();
            tracing::debug!(parent = parent.0, bound, "an unlisted item was found by its name");
            vfs.take_entry(ino, &found, now, &names)?;
            Ok(Some(vfs.attr(ino)?))
        })
        .await
    }
}

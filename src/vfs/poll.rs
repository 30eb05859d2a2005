//! Finding out what others changed, and telling the kernel.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::catalog::Bindings;
use crate::http::{Class, Context, current_context, with_context};
use crate::model::{Entry, Ino, ItemId, Name};
use crate::store::{ChangeFeed, Support};

use super::tree::Node;
use super::vfs::{Inner, Vfs};
use super::{Attr, Result};

/// Where the cursor of the change feed is kept in the catalog.
const CURSOR: &str = "changes.cursor";
/// The longest pause between polls: of a mount that nobody uses, when the allowance runs out, or beside webhooks.
const POLL_PAUSE_MAX: Duration = Duration::from_secs(300);
/// A mount that nothing was asked of for this long counts as not used.
const IDLE_AFTER: Duration = Duration::from_secs(300);
/// How much of the allowance is used when a person is told.
const WARN_AT: f64 = 0.8;
/// Pause between two looks at the free space.
const LOOK_AT_DISK_EVERY: Duration = Duration::from_secs(10);
/// Pause between attempts to give back what the store lent.
const TIDY_EVERY: Duration = Duration::from_secs(300);

impl Vfs {
    /// Looks after the mount until it ends: polls, gives back what the store lent, fetches what is new of what is pinned,
    /// keeps some of the disk free, and syncs the files that the journal holds.
    pub async fn run_upkeep(self) {
        tokio::select! {
            () = self.upkeep() => {}
            () = self.follow_pins() => {}
            () = self.keep_room() => {}
            () = self.secure_bodies() => {}
        }
    }

    /// Others may fill the disk: clean bodies make room, so that what is written and listed here can still be noted.
    async fn keep_room(&self) {
        loop {
            self.clock.sleep(LOOK_AT_DISK_EVERY).await;
            if let Err(error) = self.cache.keep_floor().await {
                tracing::warn!("no room could be made on the disk: {error}");
            }
        }
    }

    async fn upkeep(&self) {
        let mut feed = self.capabilities().change_feed;
        let (mut tidied, mut polled) = (self.clock.elapsed(), self.clock.elapsed());
        loop {
            let poll = self.poll_pause();
            let next = poll.map_or(tidied + TIDY_EVERY, |pause| (polled + pause).min(tidied + TIDY_EVERY));
            let pause = next.saturating_sub(self.clock.elapsed());
            tokio::select! {
                () = self.clock.sleep(pause) => {}
                // Somebody came back after a long time, or something is known to have changed.
                () = self.wake_upkeep.notified() => {}
            }
            if self.stopping.load(Ordering::Relaxed) {
                return;
            }
            self.warn_of_allowance();
            let background = Context::of(Class::Background);
            let now = self.clock.elapsed();
            if now.saturating_sub(tidied) >= TIDY_EVERY {
                tidied = now;
                if let Err(error) = self.expire_originals().await {
                    tracing::warn!("what has been kept long enough could not be removed: {error}");
                }
                if let Err(error) = with_context(background.clone(), self.store.tidy()).await {
                    tracing::debug!("what the store lent could not be given back yet: {error}");
                }
            }
            if self
                .poll_pause()
                .is_some_and(|pause| now.saturating_sub(polled) >= pause)
            {
                polled = now;
                feed = with_context(background, self.poll(feed)).await;
            }
        }
    }

    /// The poll interval: as configured while the mount is used, longer the longer nobody does, near the end of the
    /// allowance, and beside webhooks. `None`: no polling.
    fn poll_pause(&self) -> Option<Duration> {
        let least = self.config.poll;
        if least.is_zero() {
            return None;
        }
        let last_use = Duration::from_secs(self.last_use.load(Ordering::Relaxed));
        let idle = self.clock.elapsed().saturating_sub(last_use);
        // The kernel answers much from what it remembers: who uses only that is not seen here for a while.
        let mut pause = least.max(idle.saturating_sub(IDLE_AFTER) / 2);
        if self.webhooks.load(Ordering::Relaxed) {
            pause = POLL_PAUSE_MAX;
        }
        pause = pause.mul_f64(self.thrift());
        Some(pause.min(POLL_PAUSE_MAX).max(least))
    }

    /// Says once that most of the allowance is used up, until it is renewed.
    fn warn_of_allowance(&self) {
        let low = self
            .budget
            .as_ref()
            .is_some_and(|budget| budget.left() <= 1.0 - WARN_AT);
        if low && !self.warned.swap(true, Ordering::Relaxed) {
            let text = "80 % of the store's request allowance is used up: `assetfs status` shows by whom, and when it is renewed";
            tracing::warn!("{text}");
            self.announce(Ino::ROOT, String::new(), text);
        } else if !low {
            self.warned.store(false, Ordering::Relaxed);
        }
    }

    /// By what polling is slowed down because little is left of the allowance.
    fn thrift(&self) -> f64 {
        match self.budget.as_ref().map_or(1.0, |budget| budget.left()) {
            left if left > 0.5 => 1.0,
            left if left > 0.2 => 2.0,
            _ => 5.0,
        }
    }

    /// Deliveries tell what changes: polling is only a safety net from now on, or no longer.
    pub fn rely_on_webhooks(&self, rely: bool) {
        self.webhooks.store(rely, Ordering::Relaxed);
    }

    /// One poll. Answers how to ask next time.
    async fn poll(&self, mut feed: ChangeFeed) -> ChangeFeed {
        if feed == ChangeFeed::Feed
            && let Err(error) = self.poll_feed().await
        {
            tracing::debug!("the change feed failed: {error}");
            if error.errno() == libc::EOPNOTSUPP {
                tracing::info!("the store does not tell changes ({error}); folders in use are read again instead");
                feed = ChangeFeed::Relist;
                let forgotten = self.blocking(|vfs| Ok(vfs.catalog.kv_set(CURSOR, None)?)).await;
                if let Err(error) = forgotten {
                    tracing::debug!("{error}");
                }
            }
        }
        self.check_folders(feed).await;
        feed
    }

    pub(super) async fn poll_feed(&self) -> Result<()> {
        let cursor = match self.blocking(|vfs| Ok(vfs.catalog.kv_get(CURSOR)?)).await? {
            Some(cursor) => cursor,
            None => self.store.changes(None, self.clock.now()).await?.cursor,
        };
        let began = self.clock.now();
        let changes = self.store.changes(Some(&cursor), began).await?;
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
                let before = vfs.catalog.by_id(&entry.id)?.map(|node| node.entry);
                if before.as_ref().is_some_and(|before| tells_nothing_new(before, entry)) {
                    continue;
                }
                let known = before.is_some();
                let mut shown = false;
                for parent in &entry.parents {
                    shown |= vfs.catalog.listing(parent)?.is_some();
                }
                if known || shown {
                    let ino = vfs.inode_for(ino, entry, began)?;
                    let names = vfs.names_for(entry)?;
                    vfs.take_entry(ino, entry, began, &names)?;
                }
            }
            for id in &changes.removed {
                vfs.take_removal(id, began)?;
            }
            for id in &changes.stale {
                vfs.catalog.invalidate_listing(id)?;
            }
            vfs.wake_if_pinned(changes.stale.iter())?;
            vfs.catalog.kv_set(CURSOR, Some(&changes.cursor))?;
            Ok(())
        })
        .await
    }

    /// A child that no listing shows but the store has all the same.
    pub(super) async fn find_unlisted(&self, parent: Ino, folder: &Node, name: &Name) -> Result<Option<Attr>> {
        let entry = match folder.entry.clone() {
            Some(entry) if self.capabilities().unlisted_names == Support::Yes => entry,
            Some(_) | None => return Ok(None),
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

/// Looks overlap, so the same change is told several times.
fn tells_nothing_new(before: &Entry, told: &Entry) -> bool {
    let placed = told.parents.is_empty()
        || told.parents.len() == before.parents.len() && told.parents.iter().all(|p| before.parents.contains(p));
    placed
        && !told.revision.is_empty()
        && told.revision == before.revision
        && told.name == before.name
        && told.size == before.size
        && told.availability == before.availability
        && (before.fields_complete || !told.fields_complete)
}

impl Inner {
    /// Somebody uses the drive: the poll goes on, and after a long rest at once. A crawler is nobody.
    pub(super) fn used(&self) {
        if current_context().class == Class::Crawler {
            return;
        }
        let now = self.clock.elapsed().as_secs();
        let before = self.last_use.swap(now, Ordering::Relaxed);
        if now.saturating_sub(before) > self.config.poll.as_secs().saturating_mul(2) {
            self.wake_upkeep.notify_one();
        }
    }

    /// Somebody looked into a folder: it is kept up to date for a while.
    pub(super) fn used_folder(&self, id: &ItemId) {
        self.used();
        if current_context().class != Class::Crawler {
            let now = self.clock.now();
            self.used.lock().put(id.clone(), now);
        }
    }
}

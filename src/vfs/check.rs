//! Folders in use are looked at again and again: with as few requests as the store makes possible.
//!
//! Where folders tell how many children they have, a folder is listed again only when its numbers say that something came
//! or went, and one look at a parent serves all of its children.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use parking_lot::Mutex;

use crate::model::{ChildCounts, Entry, ItemId, Kind, Timestamp};
use crate::store::ChangeFeed;

use super::rounds::ROUND_EVERY;
use super::vfs::{Inner, Vfs};
use super::{Error, Result};

/// A folder that nobody looked into for this long, or for three polls, is not looked at any more.
const IN_USE_FOR: Duration = Duration::from_secs(180);
/// Folders looked at in one poll.
const FOLDERS_PER_POLL_MAX: usize = 32;
/// Requests for such looks that may be saved up, where the store's allowance is limited.
const LOOKS_SAVED_MAX: f64 = 60.0;
/// The share of the daily allowance that such looks may cost.
const LOOKS_SHARE: f64 = 0.06;
const DAY_SECS: f64 = 86_400.0;
/// Children of one page of a listing, in the stores that have pages: what a look at a parent costs.
const PAGE_LEN: u64 = 100;

/// How many looks the allowance has room for.
pub(super) struct Looks {
    left: f64,
    since: Duration,
}

impl Default for Looks {
    fn default() -> Self {
        Self {
            left: LOOKS_SAVED_MAX,
            since: Duration::ZERO,
        }
    }
}

impl Looks {
    fn save_up(&mut self, now: Duration, daily: u64) {
        let gained = now.saturating_sub(self.since).as_secs_f64() * daily as f64 * LOOKS_SHARE / DAY_SECS;
        self.since = now;
        self.left = (self.left + gained).min(LOOKS_SAVED_MAX);
    }

    /// How many may be spent on what nobody looks at: half of what can be saved up stays for folders in use.
    fn spare(&mut self, now: Duration, daily: Option<u64>) -> usize {
        let Some(daily) = daily else { return usize::MAX };
        self.save_up(now, daily);
        (self.left - LOOKS_SAVED_MAX / 2.0).max(0.0) as usize
    }

    /// Whether one more is due, by what has been saved up; `daily` is the store's allowance.
    fn spend(&mut self, now: Duration, daily: Option<u64>) -> bool {
        let Some(daily) = daily else { return true };
        self.save_up(now, daily);
        let enough = self.left >= 1.0;
        if enough {
            self.left -= 1.0;
        }
        enough
    }
}

/// What a folder's numbers were when it was last listed: told by the store, and known here.
pub(super) type CountsSeen = Mutex<lru::LruCache<ItemId, (ChildCounts, ChildCounts)>>;

/// A folder to look at.
struct Due {
    entry: Entry,
    /// Subfolders that are known.
    folders: u64,
    /// The folder above.
    parent: Option<Arc<Entry>>,
    /// The subfolders of that one.
    siblings: u64,
}

impl Due {
    fn is_in(&self, parent: &ItemId) -> bool {
        self.parent.as_ref().is_some_and(|above| above.id == *parent)
    }
}

impl Vfs {
    /// Looks at the folders in use. With a feed this finds what the feed cannot tell: what has gone, and folders.
    pub(super) async fn check_folders(&self, feed: ChangeFeed) {
        let due = match self.due_folders(feed).await {
            Ok(due) => due,
            Err(error) => return tracing::debug!("folders in use could not be looked up: {error}"),
        };
        let counted = feed == ChangeFeed::Feed && self.capabilities().counts.is_yes();
        let checked = if counted {
            self.check_counts(due).await
        } else {
            self.list_due(due).await
        };
        if let Err(error) = checked {
            tracing::debug!("a folder in use could not be looked at: {error}");
        }
    }

    /// Those used lately, most recently used first.
    fn folders_in_use(&self) -> Vec<ItemId> {
        let now = self.clock.now();
        let in_use = IN_USE_FOR.max(self.config.poll * 3);
        let used = self.used.lock();
        let mut recent: Vec<(Timestamp, ItemId)> = used
            .iter()
            .filter(|(_, at)| now.since(**at) <= in_use)
            .map(|(id, at)| (*at, id.clone()))
            .collect();
        recent.sort_by(|a, b| b.cmp(a));
        recent
            .into_iter()
            .map(|(_, id)| id)
            .take(FOLDERS_PER_POLL_MAX)
            .collect()
    }

    /// Those in use that were not looked at since the last poll, and then some of the pinned ones.
    async fn due_folders(&self, feed: ChangeFeed) -> Result<Vec<Due>> {
        let (now, poll) = (self.clock.now(), self.config.poll);
        let mut wanted: Vec<(ItemId, Duration)> = self.folders_in_use().into_iter().map(|id| (id, poll)).collect();
        let pinned = self.next_of_round(feed, FOLDERS_PER_POLL_MAX - wanted.len()).await?;
        let among: HashSet<ItemId> = wanted.iter().map(|(id, _)| id.clone()).collect();
        wanted.extend(
            pinned
                .into_iter()
                .filter(|id| !among.contains(id))
                .map(|id| (id, ROUND_EVERY)),
        );
        self.blocking(move |vfs| {
            let mut due = Vec::new();
            for (id, every) in wanted {
                let looked = vfs.looked.lock().get(&id).copied();
                let listing = vfs.catalog.listing(&id)?;
                let last = looked.max(listing.map(|listing| listing.at));
                // A little less than a poll, for polls are not to the second.
                if last.is_some_and(|at| now.since(at) < every.mul_f64(0.9)) {
                    continue;
                }
                let Some(node) = vfs.catalog.by_id(&id)? else { continue };
                let parent = match node.entry.parents.first() {
                    Some(parent) => vfs.catalog.by_id(parent)?.map(|node| node.entry),
                    None => None,
                };
                let siblings = match &parent {
                    Some(parent) => vfs.known_counts(&parent.id)?.folders,
                    None => 0,
                };
                due.push(Due {
                    folders: vfs.known_counts(&id)?.folders,
                    entry: Entry::clone(&node.entry),
                    parent,
                    siblings,
                });
            }
            Ok(due)
        })
        .await
    }

    fn may_look(&self) -> bool {
        let daily = self.budget.as_ref().and_then(|budget| budget.daily());
        self.looks.lock().spend(self.clock.elapsed(), daily)
    }

    /// Looks that folders in use leave over.
    pub(super) fn spare_looks(&self) -> usize {
        let daily = self.budget.as_ref().and_then(|budget| budget.daily());
        self.looks.lock().spare(self.clock.elapsed(), daily)
    }

    fn looked_at(&self, id: &ItemId) {
        let now = self.clock.now();
        self.looked.lock().put(id.clone(), now);
    }

    async fn list_due(&self, due: Vec<Due>) -> Result<()> {
        for folder in due {
            if !self.may_look() {
                break;
            }
            self.looked_at(&folder.entry.id);
            self.list_now(&folder.entry.id).await?;
        }
        Ok(())
    }

    async fn check_counts(&self, due: Vec<Due>) -> Result<()> {
        let mut told: HashMap<ItemId, Entry> = HashMap::new();
        let wanted: HashSet<ItemId> = due.iter().map(|folder| folder.entry.id.clone()).collect();
        for folder in &due {
            // What becomes of subfolders shows nowhere else.
            let parent_of_many = serves_many(&due, &folder.entry.id, folder.folders);
            if (folder.folders > 0 && folder.folders <= PAGE_LEN || parent_of_many) && self.may_look() {
                self.look_into(&folder.entry, &wanted, &mut told).await?;
            }
        }
        for folder in &due {
            let id = &folder.entry.id;
            if !told.contains_key(id)
                && let Some(parent) = folder.parent.as_ref().filter(|parent| !wanted.contains(&parent.id))
                && serves_many(&due, &parent.id, folder.siblings)
                && self.may_look()
            {
                self.look_into(parent, &wanted, &mut told).await?;
            }
            let entry = match told.remove(id) {
                Some(entry) => entry,
                None if self.may_look() => self.look_at(&folder.entry).await?,
                None => continue,
            };
            self.looked_at(id);
            if self.is_other(&entry).await? {
                self.list_now(id).await?;
            }
        }
        Ok(())
    }

    /// The folder itself, fresh.
    async fn look_at(&self, folder: &Entry) -> Result<Entry> {
        let began = self.clock.now();
        let entry = self.store.stat(&folder.id).await?;
        let news = entry.clone();
        self.blocking(move |vfs| vfs.take_news(&news, began)).await?;
        Ok(entry)
    }

    /// The subfolders of a folder: what is new or different among them is taken at once, what is missing is asked for
    /// itself.
    async fn look_into(
        &self,
        folder: &Entry,
        wanted: &HashSet<ItemId>,
        told: &mut HashMap<ItemId, Entry>,
    ) -> Result<()> {
        let began = self.clock.now();
        let mut stream = self.store.subfolders(folder);
        let mut entries = Vec::new();
        while let Some(batch) = stream.next().await {
            entries.extend(batch?);
        }
        for entry in entries.iter().filter(|entry| wanted.contains(&entry.id)) {
            told.insert(entry.id.clone(), entry.clone());
        }
        let id = folder.id.clone();
        let missing = self
            .blocking(move |vfs| {
                for entry in &entries {
                    vfs.take_news(entry, began)?;
                }
                let listed: HashSet<&ItemId> = entries.iter().map(|entry| &entry.id).collect();
                let children = vfs.catalog.children(&id)?;
                Ok(children
                    .into_iter()
                    .any(|child| child.kind == Kind::Folder && !listed.contains(&child.id)))
            })
            .await?;
        if missing {
            // The whole listing, with all its caution about what is not in it.
            self.list_now(&folder.id).await?;
        }
        Ok(())
    }

    /// Whether a folder's numbers say that its listing is out of date.
    async fn is_other(&self, told: &Entry) -> Result<bool> {
        let (id, told) = (told.id.clone(), told.children);
        self.blocking(move |vfs| {
            // Just after our own changes in it its numbers may be late, and are not told.
            let Some(told) = told else { return Ok(true) };
            let known = vfs.known_counts(&id)?;
            let seen = vfs.counts_seen.lock().get(&id).copied();
            Ok(told != known && seen != Some((told, known)))
        })
        .await
    }
}

/// Whether one look into `parent`, with so many subfolders, costs less than a look at each of its children that are due.
fn serves_many(due: &[Due], parent: &ItemId, subfolders: u64) -> bool {
    let children = due.iter().filter(|folder| folder.is_in(parent)).count() as u64;
    children > 1 && subfolders.div_ceil(PAGE_LEN) < children
}

impl Inner {
    /// How many children of a folder the catalog knows. Blocks.
    fn known_counts(&self, folder: &ItemId) -> Result<ChildCounts> {
        let (folders, files) = self.catalog.child_counts(folder)?;
        Ok(ChildCounts { folders, files })
    }

    /// Notes what a folder's numbers are once it has been listed: a difference that stays is none that listing mends.
    pub(super) fn note_counts(&self, folder: &ItemId, told: Option<ChildCounts>) -> Result<()> {
        if let Some(told) = told {
            let known = self.known_counts(folder)?;
            self.counts_seen.lock().put(folder.clone(), (told, known));
        }
        Ok(())
    }
}

impl Vfs {
    /// Takes what the store says of one item, unless our own news of it are newer. Blocks.
    pub(super) fn take_news(&self, entry: &Entry, began: Timestamp) -> Result<()> {
        let ino = self.journal.inodes(std::slice::from_ref(&entry.id))?;
        let ino = ino.first().copied().ok_or(Error::Internal)?;
        if self.journal.change(ino).is_some() || self.may_be_ours(entry)? {
            return Ok(());
        }
        let ino = self.inode_for(ino, entry, began)?;
        let names = self.names_for(entry)?;
        self.take_entry(ino, entry, began, &names)
    }
}

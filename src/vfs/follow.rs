//! Pinned paths stay pinned: what is new at or below them is fetched and kept too, in the background.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, Semaphore};

use crate::catalog::{Change as Extent, Diff};
use crate::http::{Class, Context, with_context};
use crate::journal::{Durability, Journal, PINNED, Write};
use crate::model::{Ino, ItemId, Kind};

use super::pins::{FETCHES_MAX, PinProgress};
use super::rounds::Rounds;
use super::tree::Node;
use super::vfs::{Inner, Vfs};
use super::{Error, Result};

/// Paths that may be pinned, or left out below a pinned one. What lies below a folder does not count.
const PINNED_MAX: usize = 10_000;
/// Changes come in groups: this long is waited for the rest of one.
const GATHER: Duration = Duration::from_secs(2);
/// The first and the longest pause after a failure.
const RETRY_FIRST: Duration = Duration::from_secs(10);
const RETRY_MAX: Duration = Duration::from_secs(600);
/// Of more changes at once than this it is not asked whether they concern a pin: looking at the pins is cheaper.
const LOOKED_UP_MAX: usize = 256;
/// So many items that are gone wait for the next look at the pins.
const GONE_MAX: usize = 1000;

/// What the user said of one path. By who is there, so that it holds wherever that goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Pinned {
    ino: Ino,
    /// `None` while the store does not have it.
    id: Option<ItemId>,
    /// Or left out of what is pinned above it.
    keep: bool,
    /// Where it was shown when that was said: by that name it can be unpinned when it is there no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

impl Pinned {
    fn new(node: &Node, path: &str, keep: bool) -> Self {
        Self {
            ino: node.ino,
            id: node.id.clone(),
            keep,
            path: Some(path.trim_matches('/').to_owned()),
        }
    }

    /// Whether it was said of `folder` or of something below it.
    fn was_below(&self, folder: &str) -> bool {
        let rest = self.path.as_deref().and_then(|path| path.strip_prefix(folder));
        rest.is_some_and(|rest| folder.is_empty() || rest.is_empty() || rest.starts_with('/'))
    }
}

/// The pinned paths.
pub(super) struct Pins {
    said: Mutex<Vec<Pinned>>,
    /// Something may have to be fetched.
    wake: Notify,
    /// How often something was unpinned: a walk that began before may know too much.
    unpinned: AtomicU64,
    /// Items that are in no folder any more: what was kept of them need not be kept.
    gone: Mutex<HashSet<ItemId>>,
    /// Of the commands and of what follows the pins.
    pub fetches: Semaphore,
    /// Which pinned folders are to be looked at.
    pub rounds: Mutex<Rounds>,
}

impl Pins {
    /// As the journal has them.
    pub fn load(journal: &Journal) -> Result<Self> {
        let said = journal.pinned()?.map_or_else(Vec::new, |text| {
            serde_json::from_str(&text).unwrap_or_else(|error| {
                tracing::error!("what is pinned cannot be read, pin it again: {error}");
                Vec::new()
            })
        });
        Ok(Self {
            said: Mutex::new(said),
            wake: Notify::new(),
            unpinned: AtomicU64::new(0),
            gone: Mutex::default(),
            fetches: Semaphore::new(FETCHES_MAX),
            rounds: Mutex::default(),
        })
    }
}

/// Wakes who follows the pins when a command ends, however it does: what it has not fetched is fetched in the background.
pub(super) struct Follow<'a>(pub &'a Pins);

impl Drop for Follow<'_> {
    fn drop(&mut self) {
        self.0.wake.notify_one();
    }
}

impl Vfs {
    /// What is at or below `top`, which is at `path`, is kept from now on, also what comes later.
    pub(super) async fn remember_pin(&self, top: &Node, path: &str) -> Result<()> {
        let (top, pin) = (top.clone(), Pinned::new(top, path, true));
        self.say_of_pins(move |vfs, said| {
            vfs.forget_below(&top, said)?;
            said.push(pin);
            Ok(())
        })
        .await
    }

    /// What is at or below `top`, which is at `path`, is no longer kept.
    pub(super) async fn forget_pin(&self, top: &Node, path: &str) -> Result<()> {
        let (top, left_out) = (top.clone(), Pinned::new(top, path, false));
        self.say_of_pins(move |vfs, said| {
            vfs.forget_below(&top, said)?;
            let above = vfs.lineage(top.id.iter().cloned())?;
            let is_above = |pin: &Pinned| pin.keep && pin.id.as_ref().is_some_and(|id| above.contains(id));
            if said.iter().any(is_above) {
                said.push(left_out);
            }
            Ok(())
        })
        .await?;
        self.unpinned();
        Ok(())
    }

    /// Forgets what was pinned at or below `path` and is no longer known. Answers how many pins that were.
    pub(super) async fn forget_vanished(&self, path: &str) -> Result<usize> {
        let path = path.trim_matches('/').to_owned();
        let vanished = self
            .blocking(move |vfs| {
                let said = vfs.pins.said.lock().clone();
                let mut vanished = Vec::new();
                for pin in said.into_iter().filter(|pin| pin.was_below(&path)) {
                    if vfs.known_pinned(&pin)?.is_none() {
                        vanished.push(pin);
                    }
                }
                Ok(vanished)
            })
            .await?;
        if vanished.is_empty() {
            return Ok(0);
        }
        let forgotten = vanished.clone();
        self.say_of_pins(move |_, said| {
            said.retain(|pin| !forgotten.contains(pin));
            Ok(())
        })
        .await?;
        for id in vanished.iter().filter_map(|pin| pin.id.as_ref()) {
            self.cache.unpin(id).await?;
        }
        self.unpinned();
        Ok(vanished.iter().filter(|pin| pin.keep).count())
    }

    fn unpinned(&self) {
        self.pins.unpinned.fetch_add(1, Ordering::SeqCst);
        self.pins.wake.notify_one();
    }

    async fn say_of_pins(
        &self,
        alter: impl FnOnce(&Inner, &mut Vec<Pinned>) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        self.decide(Durability::Synced, move |at| {
            let vfs = at.vfs;
            let mut said = vfs.pins.said.lock();
            let mut altered = said.clone();
            alter(vfs, &mut altered)?;
            if altered.len() > PINNED_MAX {
                return Err(Error::Invalid(format!(
                    "{PINNED_MAX} paths are pinned already; pin a folder above them instead"
                )));
            }
            let text = serde_json::to_string(&altered).map_err(|e| Error::Invalid(e.to_string()))?;
            at.write(Write::Meta(PINNED, text));
            *said = altered;
            Ok(())
        })
        .await
    }

    /// Keeps what is pinned up to date until the mount ends.
    pub(super) async fn follow_pins(&self) {
        let mut pause = RETRY_FIRST;
        while !self.stopping.load(Ordering::Relaxed) {
            if with_context(Context::of(Class::Prefetch), self.keep_pinned()).await {
                pause = RETRY_FIRST;
                self.pins.wake.notified().await;
                self.clock.sleep(GATHER).await;
            } else {
                self.clock.sleep(pause).await;
                pause = (pause * 2).min(RETRY_MAX);
            }
        }
    }

    /// Fetches what is pinned and not here. Answers whether nothing is left that is worth another try.
    pub(super) async fn keep_pinned(&self) -> bool {
        // In this order: what is unpinned in between shows in the count.
        let since = self.pins.unpinned.load(Ordering::SeqCst);
        let said = self.pins.said.lock().clone();
        if let Err(error) = self.let_go_of_what_is_gone().await {
            tracing::debug!("what is gone is still kept: {error}");
        }
        let left_out: HashSet<Ino> = said.iter().filter(|pin| !pin.keep).map(|pin| pin.ino).collect();
        let mut all = true;
        for pin in said.into_iter().filter(|pin| pin.keep) {
            let kept = match self.pinned_node(&pin).await {
                Ok(Some(top)) => self.keep_below(top, &left_out, since).await,
                // The store does not have it now. It may come back, and is asked for again with the next change.
                Ok(None) => Ok(true),
                Err(error) => Err(error),
            };
            all &= kept.unwrap_or_else(|error| {
                tracing::debug!(ino = pin.ino.0, "what is pinned could not be looked at: {error}");
                false
            });
        }
        all
    }

    /// What was kept of items that are in no folder any more may be evicted.
    async fn let_go_of_what_is_gone(&self) -> Result<()> {
        let gone = std::mem::take(&mut *self.pins.gone.lock());
        let gone = self
            .blocking(move |vfs| {
                let mut ids = Vec::with_capacity(gone.len());
                for id in gone {
                    if vfs.catalog.by_id(&id)?.is_none() {
                        ids.push(id);
                    }
                }
                Ok(ids)
            })
            .await?;
        for id in gone {
            self.cache.unpin(&id).await?;
        }
        Ok(())
    }

    /// Who is pinned, as it is known now; the store is asked when nothing is known, as after the loss of the cache.
    async fn pinned_node(&self, pin: &Pinned) -> Result<Option<Node>> {
        let known = pin.clone();
        let node = self.blocking(move |vfs| vfs.known_pinned(&known)).await?;
        if let Some(node) = node {
            if node.id.is_some() && node.id != pin.id {
                self.note_id(pin.clone(), node.id.clone()).await?;
            }
            return Ok(Some(node));
        }
        let Some(id) = pin.id.clone() else { return Ok(None) };
        let asked = id.clone();
        let inos = self
            .blocking(move |vfs| Ok(vfs.journal.inodes(std::slice::from_ref(&asked))?))
            .await?;
        let Some(ino) = inos.first().copied() else {
            return Ok(None);
        };
        match self.stat_now(ino, &id).await {
            Ok(_) => self.blocking(move |vfs| vfs.node_if_there(ino)).await,
            Err(Error::Store(error)) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// It got an id, or another one.
    async fn note_id(&self, pin: Pinned, id: Option<ItemId>) -> Result<()> {
        self.say_of_pins(move |_, said| {
            for other in said.iter_mut().filter(|other| **other == pin) {
                other.id.clone_from(&id);
            }
            Ok(())
        })
        .await
    }

    async fn keep_below(&self, top: Node, left_out: &HashSet<Ino>, since: u64) -> Result<bool> {
        let mut all = true;
        let mut folders = Vec::new();
        match top.kind {
            Kind::File => all &= self.keep_present(&top, since).await,
            Kind::Folder => folders.push(top),
        }
        while let Some(folder) = folders.pop() {
            all &= self.read_if_unread(&folder).await?;
            let mut after = None;
            loop {
                if self.pins.unpinned.load(Ordering::SeqCst) != since || self.stopping.load(Ordering::Relaxed) {
                    // What was unpinned woke who follows: it begins anew.
                    return Ok(true);
                }
                let (children, next) = self.known_nodes(&folder, after.take()).await?;
                let nodes = children.into_iter().map(|(_, node)| node);
                let (below, files): (Vec<Node>, Vec<Node>) = nodes
                    .filter(|node| !left_out.contains(&node.ino))
                    .partition(Node::is_folder);
                folders.extend(below);
                let mut fetches = futures_util::stream::iter(files)
                    .map(|file| async move { self.keep_present(&file, since).await })
                    .buffer_unordered(FETCHES_MAX);
                while let Some(kept) = fetches.next().await {
                    all &= kept;
                }
                after = next;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(all)
    }

    /// Reads a folder that was never read, or of which is known that it changed. Answers whether it is known now.
    async fn read_if_unread(&self, folder: &Node) -> Result<bool> {
        let Some(id) = folder.id.clone() else { return Ok(true) };
        let asked = id.clone();
        let known = self.blocking(move |vfs| Ok(vfs.catalog.listing(&asked)?)).await?;
        if known.is_some_and(|listing| listing.complete) {
            return Ok(true);
        }
        let outcome = self.list_now(&id).await;
        if let Err(error) = &outcome {
            tracing::debug!(%id, "a pinned folder could not be read: {error}");
        }
        Ok(outcome.is_ok())
    }

    /// Keeps the present version of a file, unless it is kept already, in place of older ones.
    async fn keep_present(&self, file: &Node, since: u64) -> bool {
        let Some(entry) = &file.entry else { return true };
        let outcome = async {
            if !self.cache.is_kept(entry).await? {
                self.keep_or_not(file, true, &PinProgress::default()).await?;
            }
            if self.pins.unpinned.load(Ordering::SeqCst) != since {
                // It may be what was unpinned meanwhile. If it is not, it is kept again at once.
                self.cache.unpin(&entry.id).await?;
            }
            Ok::<_, Error>(())
        };
        match outcome.await {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(id = %entry.id, "a pinned file could not be fetched: {error}");
                false
            }
        }
    }
}

impl Inner {
    /// Who is pinned, as far as it is known. Blocks.
    fn known_pinned(&self, pin: &Pinned) -> Result<Option<Node>> {
        let ino = match &pin.id {
            // It has another inode since another version came while it was open.
            Some(id) => self.catalog.by_id(id)?.map_or(pin.ino, |node| node.ino),
            None => pin.ino,
        };
        self.node_if_there(ino)
    }

    /// The ids of what is pinned, and of what is left out. Blocks.
    pub(super) fn pinned_ids(&self) -> (Vec<ItemId>, HashSet<ItemId>) {
        let said = self.pins.said.lock();
        let of = |keep: bool| {
            said.iter()
                .filter(move |pin| pin.keep == keep)
                .filter_map(|pin| pin.id.clone())
        };
        (of(true).collect(), of(false).collect())
    }

    /// Takes away what was said of `top` and of what is below it. Blocks.
    fn forget_below(&self, top: &Node, said: &mut Vec<Pinned>) -> Result<()> {
        let mut left = Vec::with_capacity(said.len());
        for pin in said.drain(..) {
            let below = match &top.id {
                Some(id) => self.lineage(pin.id.iter().cloned())?.contains(id),
                None => false,
            };
            if !below && pin.ino != top.ino {
                left.push(pin);
            }
        }
        *said = left;
        Ok(())
    }

    /// Items and every folder above them, as far as is known. Blocks.
    fn lineage(&self, of: impl Iterator<Item = ItemId>) -> Result<HashSet<ItemId>> {
        let mut found = HashSet::new();
        let mut left: Vec<ItemId> = of.collect();
        while let Some(id) = left.pop() {
            if found.contains(&id) {
                continue;
            }
            left.extend(self.catalog.parents(&id)?.into_iter().map(|(parent, _)| parent));
            found.insert(id);
        }
        Ok(found)
    }

    /// Wakes who follows the pins when a change concerns one. Blocks.
    pub(super) fn wake_followers(&self, diff: &Diff) -> Result<()> {
        if !diff.removed.is_empty() && !self.pins.said.lock().is_empty() {
            let mut gone = self.pins.gone.lock();
            gone.extend(diff.removed.iter().map(|place| place.id.clone()));
            if gone.len() > GONE_MAX {
                self.pins.wake.notify_one();
            }
        }
        let placed = diff.added.iter().map(|place| &place.id);
        let changed = diff.changed.iter().filter(|c| c.change == Extent::Content);
        self.wake_if_pinned(placed.chain(changed.map(|c| &c.id)))
    }

    /// Wakes who follows the pins when one of these is pinned, or lies in a pinned folder. Blocks.
    pub(super) fn wake_if_pinned<'a>(&self, news: impl Iterator<Item = &'a ItemId>) -> Result<()> {
        let pinned: HashSet<ItemId> = {
            let said = self.pins.said.lock();
            if said.is_empty() {
                return Ok(());
            }
            said.iter().filter_map(|pin| pin.id.clone()).collect()
        };
        let news: HashSet<&ItemId> = news.collect();
        let concerned = match news.len() {
            0 => false,
            some if some > LOOKED_UP_MAX => true,
            _ => !self.lineage(news.into_iter().cloned())?.is_disjoint(&pinned),
        };
        if concerned {
            self.pins.wake.notify_one();
        }
        Ok(())
    }
}

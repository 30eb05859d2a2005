//! The drive's state, and how an operation decides on a change.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, watch};

use crate::cache::{Body, Cache};
use crate::catalog::Catalog;
use crate::http::Budget;
use crate::journal::{Change, Durability, Guard, Journal, LocalAttr, Overlay, Ticket, Uploader, UploaderConfig, Write};
use crate::model::{ContentVersion, Entry, Ino, ItemId, SharedClock, Timestamp};
use crate::store::{Capabilities, SharedStore};

use super::attention::Outside;
use super::check::{CountsSeen, Looks};
use super::control::Event;
use super::follow::Pins;
use super::handles::Handles;
use super::junk::Junk;
use super::listing::Reading;
use super::opens::Opens;
use super::untold::Untold;
use super::vacated::Vacated;
use super::views::Views;
use super::{Attr, Error, Notice, Result, StatFs, VfsConfig};

/// Notices waiting for the kernel; beyond that the oldest folders simply expire.
const NOTICES_MAX: usize = 65_536;

/// Removed folders whose attributes are remembered for the programs that stand in them.
const LEFT_FOLDERS_MAX: usize = 1024;

/// Folders from this size on leave so much free memory behind that it is given back at once.
pub(super) const LARGE_FOLDER_ENTRIES: usize = 10_000;

/// Everything a mount is made of, put together by the daemon.
pub struct Parts {
    /// The store.
    pub store: SharedStore,
    /// The remote tree as last known.
    pub catalog: Arc<Catalog>,
    /// The bodies.
    pub cache: Cache,
    /// The pending changes.
    pub journal: Arc<Journal>,
    /// The time.
    pub clock: SharedClock,
    /// The choices.
    pub config: VfsConfig,
    /// What the uploader is allowed.
    pub uploader: UploaderConfig,
    /// How many requests the store allows, where that bounds what is asked in the background.
    pub budget: Option<Arc<dyn Budget>>,
    /// Where `df` looks: the folder with the staged bodies.
    pub staging_dir: std::path::PathBuf,
}

/// The drive: all semantics, without FUSE. Cheap to clone.
#[derive(Clone)]
pub struct Vfs(Arc<Inner>);

/// What the operations share.
pub struct Inner {
    pub(super) store: SharedStore,
    pub(super) catalog: Arc<Catalog>,
    pub(super) cache: Cache,
    pub(super) journal: Arc<Journal>,
    pub(super) clock: SharedClock,
    pub(super) config: VfsConfig,
    pub(super) staging_dir: std::path::PathBuf,
    pub(super) junk: Junk,
    pub(super) opens: Opens,
    pub(super) handles: Handles,
    pub(super) vacated: Mutex<Vacated>,
    /// Folders that were removed here lately: programs may still stand in them.
    pub(super) left_folders: Mutex<lru::LruCache<Ino, Attr>>,
    /// Folders being listed: who needs one waits for the one request.
    pub(super) listings: Mutex<HashMap<ItemId, watch::Receiver<Reading>>>,
    /// Held while an open file's item gets an inode of its own. Before the tree's lock.
    pub(super) seating: Mutex<()>,
    /// Moves whenever the catalog has taken other bytes, or an answer to a change, or has given a version another inode.
    pub(super) contents_changed: AtomicU64,
    /// Items read directly, and when: their memberships need not be asked again within a minute.
    pub(super) fresh: Mutex<lru::LruCache<ItemId, Timestamp>>,
    /// Folders that somebody looked into lately, for the poll.
    pub(super) used: Mutex<lru::LruCache<ItemId, Timestamp>>,
    /// Which version the kernel's pages and attributes of an inode are of, as far as is known; `None` after it was told that
    /// they are old, which may not have arrived. At open it drops those of another one.
    pub(super) kernel_knows: Mutex<lru::LruCache<Ino, Option<ContentVersion>>>,
    /// How many are putting other bytes of known files into the catalog, of which the kernel is still to be told.
    pub(super) contents_changing: AtomicU64,
    /// When each of them was last looked at by the poll.
    pub(super) looked: Mutex<lru::LruCache<ItemId, Timestamp>>,
    pub(super) counts_seen: CountsSeen,
    pub(super) looks: Mutex<Looks>,
    /// Since when items were missing in listings without proof that they are gone.
    pub(super) missed: Mutex<lru::LruCache<ItemId, Timestamp>>,
    pub(super) budget: Option<Arc<dyn Budget>>,
    /// Ends the pause before the next poll.
    pub(super) wake_upkeep: tokio::sync::Notify,
    /// Whether deliveries tell what changes.
    pub(super) webhooks: AtomicBool,
    /// Whether it was said that the allowance runs out.
    pub(super) warned: AtomicBool,
    /// Staged bodies at hand, by name; the others are opened again when they are needed.
    pub(super) staged: Mutex<lru::LruCache<String, Arc<Body>>>,
    /// Bodies under upload, with the state of them that is sent.
    pub(super) sending: Mutex<HashMap<Ino, (Arc<Body>, u64)>>,
    /// What the user wants to have here for good.
    pub(super) pins: Pins,
    /// Folders that are in no store: searches and the like.
    pub(super) views: Views,
    pub(super) events: Mutex<Vec<Event>>,
    pub(super) outside: Outside,
    pub(super) passthrough: AtomicBool,
    pub(super) stopping: AtomicBool,
    pub(super) last_use: AtomicU64,
    /// When a folder was last read, for `status`.
    pub(super) last_listed: RwLock<Option<Timestamp>>,
    /// It holds the drive in turn, so that only [`Vfs::stop`] lets both go.
    uploader: Mutex<Option<Arc<Uploader>>>,
    running: Mutex<Option<tokio::task::JoinHandle<()>>>,
    notices: mpsc::Sender<Notice>,
    taken_notices: Mutex<Option<mpsc::Receiver<Notice>>>,
    pub(super) untold: Arc<Untold>,
}

impl std::ops::Deref for Vfs {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// A decision on its way to the disk.
#[derive(Default)]
pub(super) struct Decided {
    /// Answers when it is in the journal; `None` where nothing was to be written.
    pub ticket: Option<Ticket>,
    /// Items that are other nodes' from then on.
    pub seats: Vec<(Ino, ItemId)>,
}

impl Decided {
    /// Waits for the journal, and tells the catalog. Blocks.
    pub fn wait_blocking(self, vfs: &Vfs) -> Result<()> {
        self.ticket.map_or(Ok(()), Ticket::wait_blocking)?;
        vfs.seat_all(&self.seats);
        Ok(())
    }
}

/// A decision on the tree in the making: taken under the journal's lock.
pub(super) struct Decision<'a, 'g> {
    pub vfs: &'a Inner,
    pub guard: &'a mut Guard<'g>,
    pub now: Timestamp,
    pub writes: Vec<Write>,
}

impl Decision<'_, '_> {
    /// The pending changes.
    pub fn overlay(&self) -> &Overlay {
        self.guard.overlay()
    }

    /// Adds a write.
    pub fn write(&mut self, write: Write) {
        self.writes.push(write);
    }

    /// Alters a node's local attributes.
    pub fn attr(&mut self, ino: Ino, alter: impl FnOnce(&mut LocalAttr)) {
        let earlier = self.writes.iter().rev().find_map(|write| match write {
            Write::Attr(of, attr) if *of == ino => Some(LocalAttr::clone(attr)),
            _ => None,
        });
        let mut attr = earlier.or_else(|| self.vfs.journal.attr(ino)).unwrap_or_default();
        alter(&mut attr);
        self.writes.push(Write::Attr(ino, Box::new(attr)));
    }

    /// A folder's content changed: its times move.
    pub fn touch_folder(&mut self, ino: Ino) {
        let now = self.now;
        self.attr(ino, |attr| {
            attr.mtime = Some(now);
            attr.ctime = Some(now);
        });
    }

    /// When a change that was made now is to be carried out.
    pub fn ready_at(&self) -> Timestamp {
        self.now.plus(self.vfs.config.quiet)
    }
}

impl Vfs {
    /// Builds the drive on the store's root (or a folder below it), and starts the uploader. Needs the root's entry
    /// from the store or the catalog.
    pub async fn start(parts: Parts, root: Entry) -> Result<Self> {
        let (notices, taken_notices) = mpsc::channel(NOTICES_MAX);
        let vfs = Vfs(Arc::new(Inner {
            pins: Pins::load(&parts.journal)?,
            views: Views::new(parts.clock.now()),
            junk: Junk::new(parts.config.junk.clone()),
            passthrough: AtomicBool::new(parts.config.passthrough),
            store: parts.store,
            catalog: parts.catalog,
            cache: parts.cache,
            journal: parts.journal,
            clock: parts.clock,
            config: parts.config,
            staging_dir: parts.staging_dir,
            opens: Opens::default(),
            handles: Handles::default(),
            vacated: Mutex::default(),
            left_folders: Mutex::new(lru::LruCache::new(capacity(LEFT_FOLDERS_MAX))),
            listings: Mutex::default(),
            seating: Mutex::default(),
            contents_changed: AtomicU64::new(0),
            contents_changing: AtomicU64::new(0),
            fresh: Mutex::new(lru::LruCache::new(capacity(16_384))),
            used: Mutex::new(lru::LruCache::new(capacity(4096))),
            kernel_knows: Mutex::new(lru::LruCache::new(capacity(32_768))),
            looked: Mutex::new(lru::LruCache::new(capacity(4096))),
            counts_seen: Mutex::new(lru::LruCache::new(capacity(4096))),
            looks: Mutex::default(),
            missed: Mutex::new(lru::LruCache::new(capacity(16_384))),
            budget: parts.budget,
            wake_upkeep: tokio::sync::Notify::new(),
            webhooks: AtomicBool::new(false),
            warned: AtomicBool::new(false),
            staged: Mutex::new(lru::LruCache::new(capacity(256))),
            sending: Mutex::default(),
            events: Mutex::default(),
            outside: Outside::default(),
            stopping: AtomicBool::new(false),
            last_use: AtomicU64::new(0),
            last_listed: RwLock::new(None),
            uploader: Mutex::default(),
            running: Mutex::default(),
            notices,
            taken_notices: Mutex::new(Some(taken_notices)),
            untold: Arc::default(),
        }));
        vfs.catalog.expect_lag(vfs.store.capabilities().listing_lag_max);
        vfs.adopt_root(root).await?;
        vfs.recover().await?;
        let uploader = Uploader::new(
            vfs.journal.clone(),
            vfs.store.clone(),
            Arc::new(vfs.clone()),
            vfs.clock.clone(),
            parts.uploader,
        );
        *vfs.running.lock() = Some(tokio::spawn(uploader.clone().run()));
        *vfs.0.uploader.lock() = Some(uploader);
        Ok(vfs)
    }

    async fn adopt_root(&self, root: Entry) -> Result<()> {
        self.blocking(move |vfs| {
            let root = Entry {
                parents: Vec::new(),
                ..root
            };
            vfs.journal
                .write(vec![Write::Identify(Ino::ROOT, root.id.clone())], Durability::Written)
                .wait_blocking()?;
            vfs.catalog
                .put_entry(Ino::ROOT, &root, vfs.clock.now(), &crate::catalog::NoBindings)?;
            vfs.catalog.set_ino(&root.id, Ino::ROOT)?;
            Ok(())
        })
        .await
    }

    /// Runs something that blocks (SQLite, files) on a thread for it.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Vfs) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let vfs = self.clone();
        tokio::task::spawn_blocking(move || work(&vfs))
            .await
            .unwrap_or(Err(Error::Internal))
    }

    /// Gives free memory back to the system.
    pub(super) async fn return_memory(&self) {
        let returned = self.blocking(|_| {
            crate::disk::return_free_memory();
            Ok(())
        });
        if let Err(error) = returned.await {
            tracing::debug!("free memory was not given back: {error}");
        }
    }

    /// Decides on a change under the tree's lock and answers when it is in the journal.
    pub(super) async fn decide<T: Send + 'static>(
        &self,
        durability: Durability,
        decision: impl FnOnce(&mut Decision<'_, '_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (value, decided) = self.blocking(move |vfs| vfs.decide_now(durability, decision)).await?;
        if let Some(ticket) = decided.ticket {
            ticket.wait().await?;
        }
        if !decided.seats.is_empty() {
            self.seat_each(decided.seats).await;
        }
        Ok(value)
    }

    /// The same on a blocking thread; what is answered is waited for outside the lock.
    pub(super) fn decide_now<T>(
        &self,
        durability: Durability,
        decision: impl FnOnce(&mut Decision<'_, '_>) -> Result<T>,
    ) -> Result<(T, Decided)> {
        let mut guard = self.journal.lock();
        let mut making = Decision {
            vfs: self,
            guard: &mut guard,
            now: self.clock.now(),
            writes: Vec::new(),
        };
        let value = decision(&mut making)?;
        let writes = making.writes;
        if writes.is_empty() && durability == Durability::Written {
            return Ok((value, Decided::default()));
        }
        let seats = writes.iter().filter_map(|write| match write {
            Write::Identify(ino, id) => Some((*ino, id.clone())),
            _ => None,
        });
        let seats = seats.collect();
        let ticket = Some(guard.commit(writes, durability));
        Ok((value, Decided { ticket, seats }))
    }

    /// The catalog hears whose items these are by now, once the journal has it. Should it not, the next answer tells it.
    /// Blocks.
    pub(super) fn seat_all(&self, seats: &[(Ino, ItemId)]) {
        for (ino, id) in seats {
            if let Err(error) = self.catalog.set_ino(id, *ino) {
                tracing::debug!(ino = ino.0, %id, "the catalog has not heard whose item it is: {error}");
            }
        }
    }

    /// As [`Self::seat_all`].
    pub(super) async fn seat_each(&self, seats: Vec<(Ino, ItemId)>) {
        let told = self.blocking(move |vfs| {
            vfs.seat_all(&seats);
            Ok(())
        });
        if let Err(error) = told.await {
            tracing::debug!("the catalog has not heard whose items there are: {error}");
        }
    }

    /// Takes no more changes and ends the uploader once the requests under way have come to rest. What is pending stays
    /// in the journal.
    pub async fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.wake_upkeep.notify_one();
        if let Some(uploader) = self.uploader() {
            uploader.stop();
        }
        let running = self.running.lock().take();
        if let Some(running) = running
            && running.await.is_err()
        {
            tracing::error!("the uploader panicked");
        }
        self.0.uploader.lock().take();
    }

    /// The one receiver of what the kernel must forget; `None` when it was taken before.
    pub fn take_notices(&self) -> Option<mpsc::Receiver<Notice>> {
        self.taken_notices.lock().take()
    }

    /// Figures for `df`, without asking anybody but the disk.
    pub fn statfs(&self) -> StatFs {
        let space = crate::disk::free_space(&self.staging_dir).ok();
        StatFs {
            // No store tells its size: what can be written is bounded by the disk that takes the bytes first.
            total_bytes: space.map_or(0, |s| s.total_bytes),
            free_bytes: space.map_or(0, |s| s.free_bytes),
            files_used: self.opens.len() as u64,
        }
    }

    /// Patterns of programs that count as crawlers, beside the usual ones.
    pub fn crawlers(&self) -> &[String] {
        &self.config.crawlers
    }

    /// The store behind the drive.
    pub fn store(&self) -> &SharedStore {
        &self.store
    }
}

impl Inner {
    pub(super) fn capabilities(&self) -> &Capabilities {
        self.store.capabilities()
    }

    /// How far the kernel has been told; for whoever takes the notices.
    pub fn untold(&self) -> Arc<Untold> {
        self.untold.clone()
    }

    /// Tells the kernel, unless it is too far behind: then its entries simply expire.
    pub(super) fn notice(&self, notice: Notice) {
        if let Notice::Content { ino } = &notice {
            self.kernel_knows.lock().put(*ino, None);
        }
        self.untold.sent_off();
        if self.notices.try_send(notice).is_err() {
            self.untold.dealt_with(1);
            tracing::debug!("the kernel is behind with invalidations");
        }
    }

    pub(super) fn uploader(&self) -> Option<Arc<Uploader>> {
        self.uploader.lock().clone()
    }

    /// Whether the store is still to hear of a change, or may be hearing of what it was before. Called with the tree locked
    /// where that matters.
    pub(super) fn has_work(&self, change: &Change) -> bool {
        let is_under_way = || self.uploader().is_some_and(|uploader| uploader.works_on(change.ino));
        !change.is_empty() || is_under_way()
    }

    /// Refuses changes on a read-only mount and while it is shutting down.
    pub(super) fn writable(&self) -> Result<()> {
        if self.config.read_only {
            return Err(Error::ReadOnly);
        }
        if let Some(why) = self.config.login_may_not {
            return Err(Error::LoginMayNot(why));
        }
        if self.stopping.load(Ordering::Relaxed) {
            return Err(Error::NotPermitted("the drive is being unmounted".into()));
        }
        Ok(())
    }
}

fn capacity(entries: usize) -> std::num::NonZeroUsize {
    std::num::NonZeroUsize::new(entries).unwrap_or(std::num::NonZeroUsize::MIN)
}

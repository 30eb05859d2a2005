//! Puts the stack together: HTTP client → store → catalog → cache → journal → VFS. The only place that knows them all.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;

use super::Failure;
use super::control::Drive;
use super::ledger::account_key;
use super::meter::Meter;
use super::options::{CommitWhen, ConflictsGo, MountOptions};
use super::places::{StorePlaces, own_ids};
use super::run::Plan;
use super::stores::{self, Built};
use crate::cache::{Cache, CacheConfig};
use crate::catalog::Catalog;
use crate::disk::remove_if_there;
use crate::http::Client;
use crate::journal::{Binding, Journal, UploaderConfig};
use crate::model::{Entry, Ino, Kind, Name, SystemClock};
use crate::telemetry::Operations;
use crate::vfs::{Commit, Conflicts, Parts, ThumbnailPlace, Vfs, VfsConfig};

/// How long a mount that knows its tree already waits for the store before it goes on without.
const WARM_WAIT: Duration = Duration::from_secs(10);

/// The same when the key is one that the store has accepted before.
const PROVEN_WAIT: Duration = Duration::from_millis(700);

/// Names the key that the store accepted for this account, without telling it.
const KEY_PROVEN: &str = "proven";
/// The account that the catalog was read with.
const KEY_ACCOUNT: &str = "account";
/// The catalog's root may be written to, as far as the store's rules for new files go.
const KEY_WRITABLE: &str = "writable";

/// Everything of one mount that lives as long as it does.
pub struct Stack {
    /// The top of it.
    pub vfs: Vfs,
    /// Nothing can be changed, because the options say so.
    pub read_only: bool,
    /// What asks the store.
    pub client: Arc<Client>,
    /// What programs asked of the mount.
    pub operations: Arc<Operations>,
    /// How fast bytes leave.
    pub meter: Arc<Meter>,
}

impl Stack {
    /// What commands act on.
    pub fn drive(&self) -> Drive {
        Drive {
            vfs: self.vfs.clone(),
            client: self.client.clone(),
            operations: self.operations.clone(),
            meter: self.meter.clone(),
        }
    }
}

/// Builds the stack of `plan` over the folders of its store.
pub async fn assemble(plan: &Plan, places: &StorePlaces) -> Result<Stack, Failure> {
    let clock = SystemClock::shared();
    let built = stores::build(plan, places, &clock)?;
    let read_only = plan.options.read_only.unwrap_or(false);
    let journal = open_journal(places).await?;
    let (catalog, root) = known_or_asked(plan, places, &built, &journal).await?;
    let login_may_not = match built.missing {
        _ if read_only => None,
        Some(why) => Some(why),
        None => check_writable(&catalog, &built, &root).await?,
    };
    let cache = Cache::open(cache_config(&plan.options, places), built.store.clone(), clock.clone())
        .await
        .map_err(Failure::new)?;
    let parts = Parts {
        store: built.store.clone(),
        catalog,
        cache,
        journal,
        clock: clock.clone(),
        config: VfsConfig {
            login_may_not,
            thumbnails: thumbnails(plan),
            ..vfs_config(&plan.options, read_only)
        },
        uploader: UploaderConfig {
            delete_max: plan
                .options
                .delete_max
                .map_or(UploaderConfig::default().delete_max, |n| n as usize),
        },
        budget: Some(built.client.budget().clone()),
        staging_dir: places.state.join("staging"),
    };
    let vfs = Vfs::start(parts, root).await.map_err(Failure::new)?;
    tokio::spawn(vfs.clone().run_upkeep());
    Ok(Stack {
        vfs,
        read_only,
        client: built.client,
        operations: Operations::shared(),
        meter: Arc::new(Meter::new(clock)),
    })
}

/// What one request to a store tells.
#[derive(Clone, Debug)]
pub struct Proof {
    /// Whose the login is, for people.
    pub account: String,
    /// How far the server's clock is ahead of ours, in seconds, where it tells its time.
    pub server_clock_ahead_s: Option<i64>,
}

/// Proves the login of `plan` with one request.
pub async fn prove(plan: &Plan) -> Result<Proof, Failure> {
    let places = plan.places.store(&plan.source.state_name())?;
    let built = stores::build(plan, &places, &SystemClock::shared())?;
    let account = built.store.account().await.map_err(|e| stores::explain(plan, &e))?;
    let asked = built.client.snapshot();
    Ok(Proof {
        account: account.label,
        server_clock_ahead_s: asked.server_clock_ahead_s,
    })
}

async fn open_journal(places: &StorePlaces) -> Result<Arc<Journal>, Failure> {
    let state = places.state.clone();
    blocking(move || Journal::open(&state)).await
}

/// Runs something that waits for the disk on a thread for it.
async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, Failure>
where
    T: Send + 'static,
    E: std::fmt::Display + Send + 'static,
{
    tokio::task::spawn_blocking(work)
        .await
        .map_err(Failure::new)?
        .map_err(Failure::new)
}

/// The catalog and the root of the mount: as they are known, when they are this account's; else from the store.
async fn known_or_asked(
    plan: &Plan,
    places: &StorePlaces,
    built: &Built,
    journal: &Arc<Journal>,
) -> Result<(Arc<Catalog>, Entry), Failure> {
    let path = places.cache.join("catalog.db");
    let mut catalog = Arc::new(Catalog::open(&path).map_err(Failure::new)?);
    let known_account = catalog.kv_get(KEY_ACCOUNT).map_err(Failure::new)?;
    let known_root = catalog.by_ino(Ino::ROOT).map_err(Failure::new)?;
    let known = known_account.as_deref().filter(|_| known_root.is_some());
    // The very key that was accepted before is the same account: the mount need not wait to hear that again.
    let key = account_key(plan);
    let proven = catalog.kv_get(KEY_PROVEN).map_err(Failure::new)?.as_ref() == Some(&key);
    let wait = if proven { PROVEN_WAIT } else { WARM_WAIT };
    let (account, answered) = who_is_it(plan, built, known, wait).await?;
    let binding = Binding {
        kind: plan.source.kind.word().to_owned(),
        url: plan.source.url.to_string(),
        account: account.clone(),
    };
    let binding_journal = journal.clone();
    blocking(move || binding_journal.bind(&binding)).await?;
    if known_account.as_deref() == Some(&account)
        && let Some(root) = known_root
    {
        if answered && !proven {
            catalog.kv_set(KEY_PROVEN, Some(&key)).map_err(Failure::new)?;
        }
        let root = (*root.entry).clone();
        return Ok((catalog, root));
    }
    if known_account.is_some_and(|known| known != account) {
        tracing::info!("another account: what was known of the tree is forgotten");
        drop(catalog);
        forget(&path)?;
        catalog = Arc::new(Catalog::open(&path).map_err(Failure::new)?);
    }
    let root = find_root(plan, built).await?;
    catalog.kv_set(KEY_ACCOUNT, Some(&account)).map_err(Failure::new)?;
    catalog.kv_set(KEY_PROVEN, Some(&key)).map_err(Failure::new)?;
    Ok((catalog, root))
}

/// Proves the login; answers the account, and whether the store itself said so. A store that cannot be reached is taken to
/// know us still, when its tree is known; it is asked on behind the mount.
async fn who_is_it(plan: &Plan, built: &Built, known: Option<&str>, wait: Duration) -> Result<(String, bool), Failure> {
    let Some(known) = known else {
        let account = built.store.account().await;
        return account
            .map(|account| (account.id, true))
            .map_err(|e| stores::explain(plan, &e));
    };
    let store = built.store.clone();
    let mut asked = tokio::spawn(async move { store.account().await });
    match tokio::time::timeout(wait, &mut asked).await {
        Ok(Ok(Ok(account))) => Ok((account.id, true)),
        Ok(Ok(Err(error))) if error.is_transient() => {
            tracing::warn!(%error, "the store cannot be asked now: what is known is shown");
            Ok((known.to_owned(), false))
        }
        Ok(Ok(Err(error))) => Err(stores::explain(plan, &error)),
        Ok(Err(error)) => Err(Failure::new(error)),
        Err(_) => {
            tracing::warn!("the store has not answered yet: what is known is shown");
            let known = known.to_owned();
            let kept = known.clone();
            tokio::spawn(async move {
                match asked.await {
                    Ok(Ok(account)) if account.id == known => tracing::info!("the store answers"),
                    Ok(Ok(_)) => tracing::error!("the store says that this is another account: unmount"),
                    Ok(Err(error)) => {
                        tracing::warn!(%error, "the store did not accept the login, or cannot be reached")
                    }
                    Err(error) => tracing::debug!(%error, "the login was not proven"),
                }
            });
            Ok((kept, false))
        }
    }
}

/// Fails where new files could not be made for want of an option; answers why the login may change nothing, if that is so.
async fn check_writable(catalog: &Catalog, built: &Built, root: &Entry) -> Result<Option<&'static str>, Failure> {
    if catalog.kv_get(KEY_WRITABLE).map_err(Failure::new)?.is_some() {
        return Ok(None);
    }
    built.check_writable(&root.id).await?;
    let Ok(asked) = tokio::time::timeout(WARM_WAIT, built.store.may_change()).await else {
        return Ok(None);
    };
    match asked {
        Ok(true) => catalog.kv_set(KEY_WRITABLE, Some("yes")).map_err(Failure::new)?,
        Ok(false) => {
            tracing::info!("the login may change nothing in the store: neither may anybody here");
            return Ok(Some("the login may read the store, but change nothing in it"));
        }
        // Who can write is found out by writing, then.
        Err(error) => tracing::debug!(%error, "whether the login may write is not known"),
    }
    Ok(None)
}

/// The store's root, or the folder below it that the mount begins at.
async fn find_root(plan: &Plan, built: &Built) -> Result<Entry, Failure> {
    let mut folder = built.store.root().await.map_err(|e| stores::explain(plan, &e))?;
    let path = plan.source.sub_folder.as_deref().unwrap_or_default();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        folder = child(built, &folder, part)
            .await
            .map_err(|e| stores::explain(plan, &e))?
            .ok_or_else(|| Failure::new(format!("{}: there is no folder `{path}`", plan.source.name)))?;
    }
    Ok(folder)
}

async fn child(built: &Built, folder: &Entry, name: &str) -> crate::store::Result<Option<Entry>> {
    let mut listing = built.store.list(folder);
    while let Some(batch) = listing.next().await {
        let found = batch?
            .into_iter()
            .find(|entry| entry.kind == Kind::Folder && Name::from_store(&entry.name).as_str() == name);
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Removes a catalog with what SQLite keeps beside it.
fn forget(path: &Path) -> Result<(), Failure> {
    for suffix in ["", "-wal", "-shm"] {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        remove_if_there(Path::new(&file))?;
    }
    Ok(())
}

fn cache_config(options: &MountOptions, places: &StorePlaces) -> CacheConfig {
    let mut config = CacheConfig::new(places.cache.join("content"), places.state.join("staging"));
    config.limit_bytes = options.cache_size.or(config.limit_bytes);
    if let Some(deadline) = options.deadline {
        config.no_progress = config.no_progress.min(deadline);
    }
    config.read_memory_bytes = options.read_memory.unwrap_or(config.read_memory_bytes);
    config
}

fn vfs_config(options: &MountOptions, read_only: bool) -> VfsConfig {
    let usual = VfsConfig::default();
    let (uid, gid) = own_ids();
    VfsConfig {
        uid: options.uid.unwrap_or(uid),
        gid: options.gid.unwrap_or(gid),
        umask: options.umask.unwrap_or(usual.umask),
        read_only,
        login_may_not: None,
        no_delete: options.no_delete.unwrap_or(usual.no_delete),
        conflicts: match options.conflicts {
            Some(ConflictsGo::Upload) => Conflicts::Upload,
            Some(ConflictsGo::Local) | None => Conflicts::Local,
        },
        commit: match options.commit {
            Some(CommitWhen::Close) => Commit::Close,
            Some(CommitWhen::Fsync) => Commit::Fsync,
            Some(CommitWhen::Background) | None => Commit::Background,
        },
        quiet: options.quiet.unwrap_or(usual.quiet),
        quiet_empty: options.quiet_empty.unwrap_or(usual.quiet_empty),
        list_ttl: options.list_ttl.unwrap_or(usual.list_ttl),
        poll: options.poll.unwrap_or(usual.poll),
        fresh: options.fresh.unwrap_or(usual.fresh),
        crawlers: options
            .crawlers
            .as_deref()
            .map(|patterns| patterns.split(':').map(str::to_owned).collect())
            .unwrap_or_default(),
        stale_max: options.stale_max.unwrap_or(usual.stale_max),
        strict_names: options.strict_names.unwrap_or(usual.strict_names),
        passthrough: !options.no_passthrough.unwrap_or(false),
        host: host_name().unwrap_or(usual.host),
        junk: options
            .junk
            .as_deref()
            .map(|patterns| patterns.split(':').map(str::to_owned).collect())
            .unwrap_or_default(),
        deadline: options.deadline.unwrap_or(usual.deadline),
        thumbnails: usual.thumbnails,
    }
}

/// Where the desktop of whoever mounts keeps its thumbnails.
fn thumbnails(plan: &Plan) -> Option<ThumbnailPlace> {
    let absolute = |variable| {
        std::env::var_os(variable)
            .map(std::path::PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let cache = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
    Some(ThumbnailPlace {
        folder: cache.join("thumbnails"),
        mountpoint: plan.mountpoint.clone(),
        uid: own_ids().0,
    })
}

fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

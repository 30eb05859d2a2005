//! Quick links: the only way to a file's bytes (contract, section 2), lent from the account and given back.
//!
//! Every link shows in the account's audit list, so there is one per asset version, reused by all readers, each is written
//! down before it is made, and what is no longer needed is deleted in batches. Links that are not ours are never touched.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use lru::LruCache;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::api::Api;
use super::pages::Source;
use super::wire::QuickLink;
use super::{errors, keys};
use crate::disk;
use crate::http::{Class, Context, Method, Url, with_context};
use crate::model::{ContentVersion, SharedClock, Timestamp};
use crate::store::{ErrorKind, Result, Retry, StoreError};

const PURPOSE: &str = "assetfs";
const MINT: &str = "make download link";
const TIDY: &str = "delete download links";
const DAY: Duration = Duration::from_secs(86_400);
/// A link is made to last this long; the service takes whole days, at least two from now.
const LIFETIME: Duration = Duration::from_secs(3 * 86_400);
/// Links that are kept for use at the same time.
const LIVE_MAX: usize = 200;
/// A link that nobody used for this long is given back.
const IDLE_MAX: Duration = Duration::from_secs(300);
/// Links that one call of `tidy` deletes, how many at the same time, and how long it may take.
const BATCH_MAX: usize = 100;
const DELETIONS_IN_FLIGHT_MAX: usize = 4;
const TIDY_TIME_MAX: Duration = Duration::from_secs(20);
/// How far a lost link's creation may be from our note of it, clocks apart.
const LOST_WINDOW: Duration = Duration::from_secs(600);

/// A link in use.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) id: u64,
    pub(super) url: Url,
    version: ContentVersion,
    /// Not used after this.
    good_until: Timestamp,
    used_at: Duration,
}

/// A link that was asked for, and whose answer has not come (yet, or never).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Pending {
    asset: u64,
    at: Timestamp,
}

/// What must survive a crash: every link that exists, or may exist, because of us.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Ledger {
    /// Link id → asset.
    #[serde(default)]
    links: BTreeMap<u64, u64>,
    #[serde(default)]
    pending: BTreeSet<Pending>,
}

struct State {
    ledger: Ledger,
    live: LruCache<u64, Link>,
    /// Those of the ledger that are to be deleted.
    doomed: BTreeSet<u64>,
    /// Those whose answer never came.
    lost: BTreeSet<Pending>,
    /// One maker at a time per asset.
    turns: LruCache<u64, Arc<tokio::sync::Mutex<()>>>,
}

pub(super) struct Links {
    api: Arc<Api>,
    clock: SharedClock,
    path: PathBuf,
    state: Mutex<State>,
    /// One writer of the ledger's file at a time, each with the newest content.
    writing: tokio::sync::Mutex<()>,
}

impl Links {
    /// Takes over the links that an earlier run left behind: they are given back by the next [`Links::tidy`].
    pub(super) fn open(api: Arc<Api>, clock: SharedClock, path: PathBuf) -> Result<Self> {
        let failed = |e: std::io::Error| {
            StoreError::new(
                ErrorKind::Local,
                "read the list of download links",
                path.display().to_string(),
            )
            .because(e)
        };
        let ledger: Ledger = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| failed(e.into()))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ledger::default(),
            Err(e) => return Err(failed(e)),
        };
        let bound = |n: usize| std::num::NonZeroUsize::MIN.saturating_add(n);
        let state = State {
            doomed: ledger.links.keys().copied().collect(),
            lost: ledger.pending.clone(),
            ledger,
            // The bound is kept by hand, so that what falls out is given back.
            live: LruCache::unbounded(),
            turns: LruCache::new(bound(LIVE_MAX * 4)),
        };
        Ok(Self {
            api,
            clock,
            path,
            state: Mutex::new(state),
            writing: tokio::sync::Mutex::new(()),
        })
    }

    /// A link to this version of an asset: one that is there, or a new one.
    pub(super) async fn get(&self, asset: u64, version: &ContentVersion) -> Result<Link> {
        if let Some(link) = self.live(asset, version) {
            return Ok(link);
        }
        let turn = self.state.lock().turns.get_or_insert(asset, Arc::default).clone();
        let _turn = turn.lock().await;
        match self.live(asset, version) {
            Some(link) => Ok(link),
            None => self.mint(asset, version).await,
        }
    }

    fn live(&self, asset: u64, version: &ContentVersion) -> Option<Link> {
        let (now, elapsed) = (self.clock.now(), self.clock.elapsed());
        let mut state = self.state.lock();
        let link = state.live.get_mut(&asset)?;
        if link.version != *version || now >= link.good_until {
            return None;
        }
        link.used_at = elapsed;
        Some(link.clone())
    }

    async fn mint(&self, asset: u64, version: &ContentVersion) -> Result<Link> {
        let item = keys::file_id(asset);
        let pending = Pending {
            asset,
            at: self.clock.now(),
        };
        self.state.lock().ledger.pending.insert(pending.clone());
        // Written down before it is asked for: a crash in between must not leak it.
        self.write().await?;
        let expires = pending.at.plus(LIFETIME).to_rfc3339();
        let expires = expires.get(..10).unwrap_or_default();
        let body = json!({"purpose": PURPOSE, "asset_id": asset, "expires": expires});
        let request = self.api.post("quick_links.json", "POST /quick_links").json(&body);
        let made: Result<QuickLink> = self.api.json(MINT, item.as_str(), request).await;
        {
            let mut state = self.state.lock();
            match &made {
                Ok(link) => {
                    state.ledger.pending.remove(&pending);
                    state.ledger.links.insert(link.id, asset);
                }
                Err(e) if e.retry == Retry::Ambiguous => {
                    state.lost.insert(pending.clone());
                }
                Err(_) => {
                    state.ledger.pending.remove(&pending);
                }
            }
        }
        self.write().await?;
        let made = made?;
        let Some(url) = made.url.as_deref().and_then(|url| self.api.absolute(url)) else {
            self.state.lock().doomed.insert(made.id);
            let why = if made.processing {
                "the link is still being made"
            } else {
                "the link has no address"
            };
            return Err(errors::not_ready(MINT, item.as_str(), why));
        };
        let link = Link {
            id: made.id,
            url,
            version: version.clone(),
            good_until: pending.at.plus(LIFETIME - DAY),
            used_at: self.clock.elapsed(),
        };
        self.keep(asset, link.clone());
        Ok(link)
    }

    fn keep(&self, asset: u64, link: Link) {
        let mut state = self.state.lock();
        if let Some((_, old)) = state.live.push(asset, link) {
            state.doomed.insert(old.id);
        }
        while state.live.len() > LIVE_MAX {
            let Some((_, old)) = state.live.pop_lru() else { break };
            state.doomed.insert(old.id);
        }
    }

    /// The link did not work, or its asset has new bytes: it is not used again.
    pub(super) fn retire(&self, asset: u64, link_id: Option<u64>) {
        let mut state = self.state.lock();
        if state
            .live
            .peek(&asset)
            .is_some_and(|live| link_id.is_none_or(|id| live.id == id))
            && let Some(link) = state.live.pop(&asset)
        {
            state.doomed.insert(link.id);
        }
    }

    async fn write(&self) -> Result<()> {
        let _writing = self.writing.lock().await;
        let bytes = serde_json::to_vec(&self.state.lock().ledger.clone());
        let path = self.path.clone();
        let failed = || {
            StoreError::new(
                ErrorKind::Local,
                "write the list of download links",
                self.path.display().to_string(),
            )
        };
        let bytes = bytes.map_err(|e| failed().because(e))?;
        let written = tokio::task::spawn_blocking(move || disk::write_atomic(&path, &bytes)).await;
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(e)) => Err(failed().because(e)),
            Err(e) => Err(failed().because(e)),
        }
    }

    /// Gives back what is not needed: a batch, within a time.
    pub(super) async fn tidy(&self) -> Result<()> {
        self.retire_idle();
        let work = with_context(Context::of(Class::Background), self.give_back());
        tokio::select! {
            done = work => done,
            // The rest is still in the list.
            () = self.clock.sleep(TIDY_TIME_MAX) => Ok(()),
        }
    }

    fn retire_idle(&self) {
        let elapsed = self.clock.elapsed();
        let mut state = self.state.lock();
        let idle: Vec<u64> = state
            .live
            .iter()
            .filter(|(_, link)| elapsed.saturating_sub(link.used_at) >= IDLE_MAX)
            .map(|(asset, _)| *asset)
            .collect();
        for asset in idle {
            if let Some(link) = state.live.pop(&asset) {
                state.doomed.insert(link.id);
            }
        }
    }

    async fn give_back(&self) -> Result<()> {
        let looked = self.look_for_lost().await;
        let batch: Vec<u64> = self.state.lock().doomed.iter().take(BATCH_MAX).copied().collect();
        let mut deletions = stream::iter(batch)
            .map(|id| async move { (id, self.delete(id).await) })
            .boxed();
        let mut deletions = deletions.by_ref().buffer_unordered(DELETIONS_IN_FLIGHT_MAX);
        let mut outcome = Ok(());
        let mut deleted = false;
        while let Some((id, done)) = deletions.next().await {
            match done {
                Ok(()) => {
                    let mut state = self.state.lock();
                    state.doomed.remove(&id);
                    state.ledger.links.remove(&id);
                    deleted = true;
                }
                Err(e) => {
                    outcome = Err(e);
                    break;
                }
            }
        }
        if deleted {
            self.write().await?;
        }
        looked.and(outcome)
    }

    async fn delete(&self, id: u64) -> Result<()> {
        let request = self.api.request(
            Method::DELETE,
            &format!("quick_links/{id}.json"),
            "DELETE /quick_links/{id}",
        );
        match self.api.call(TIDY, &id.to_string(), request.accept(&[404, 410])).await {
            Ok(_) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Finds links whose answer was lost: of our purpose, for that asset, made at that time, and in nobody's list here.
    async fn look_for_lost(&self) -> Result<()> {
        let now = self.clock.now();
        let lost: BTreeSet<Pending> = {
            let mut state = self.state.lock();
            let expired = |lost: &Pending| now.since(lost.at) > LIFETIME + DAY;
            state.lost.retain(|lost| !expired(lost));
            state.ledger.pending.retain(|lost| !expired(lost));
            state.lost.clone()
        };
        if lost.is_empty() {
            return Ok(());
        }
        let source: Source<QuickLink> = Source {
            operation: TIDY,
            item: String::new(),
            route: "GET /quick_links",
            path: "quick_links.json".to_owned(),
            query: Vec::new(),
            key: "quick_links",
            expected: None,
            entries: PhantomData,
        };
        let all = source.all(self.api.clone()).await?;
        {
            let mut state = self.state.lock();
            for link in all.iter().filter(|link| lost.iter().any(|lost| is_lost(link, lost))) {
                // One that is in the ledger is in use, or on its way out.
                if let Entry::Vacant(place) = state.ledger.links.entry(link.id) {
                    place.insert(link.asset_id.unwrap_or_default());
                    state.doomed.insert(link.id);
                }
            }
            state.lost.retain(|still| !lost.contains(still));
            state.ledger.pending.retain(|still| !lost.contains(still));
        }
        self.write().await
    }
}

fn is_lost(link: &QuickLink, lost: &Pending) -> bool {
    let made = link.created_at.as_deref().and_then(Timestamp::parse);
    let near = made.is_some_and(|made| made.since(lost.at).max(lost.at.since(made)) <= LOST_WINDOW);
    link.purpose == PURPOSE && link.asset_id == Some(lost.asset) && near
}

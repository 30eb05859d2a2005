//! Stores that send a file only together with its neighbours: one download fills all their bodies.

use std::sync::{Arc, Weak};

use futures_util::StreamExt;

use crate::model::{ContentVersion, Entry, ItemId};
use crate::store::{BundlePart, ErrorKind, StoreError};

use super::body::Body;
use super::error::{CacheError, Result};
use super::fetch::{Claim, Patience, within};
use super::shared::Shared;
use super::sink::Sink;
use super::state::Content;
use super::stats::count;

/// Fulfils `claim` by a bundle: one that runs already, else a new one.
pub(super) async fn transfer(claim: &mut Claim) -> Result<()> {
    let body = claim.body.clone();
    let mut entry = body.entry()?;
    let folder = entry.parents.first().unwrap_or(&entry.id).clone();
    let turn = body.shared.bundle_turn(&folder);
    // While another one runs there is progress or it ends at its deadline; its bodies may include this one.
    let _running = turn.lock().await;
    let mut patience = Patience::new(&body.shared);
    while !claim.is_fulfilled() {
        let came_as = match attempt(&body, &entry, &mut patience).await {
            Ok(came_as) => came_as,
            Err(error) => {
                patience.pause(error).await?;
                continue;
            }
        };
        if claim.is_fulfilled() {
            break;
        }
        let now = body.entry()?;
        let changed = CacheError::Changed { item: now.id.clone() };
        if now.version != entry.version {
            // A change of our own has moved its version while it was on its way.
            entry = now;
            patience.pause(changed).await?;
        } else if came_as.is_some() {
            return Err(changed);
        } else {
            let missing = StoreError::new(ErrorKind::Protocol, "read", entry.id.as_str());
            return Err(missing.because("the download of its folder does not contain it").into());
        }
    }
    Ok(())
}

/// Downloads a folder. Answers the version under which the item came that was asked for, if it did.
async fn attempt(body: &Arc<Body>, entry: &Entry, patience: &mut Patience) -> Result<Option<ContentVersion>> {
    let shared = body.shared.clone();
    let mut came_as = None;
    count(&shared.counters.fetches, 1);
    let mut parts = within(&shared, &entry.id, shared.store.read_bundle(entry)).await??;
    let mut member: Option<Sink> = None;
    while let Some(part) = within(&shared, &entry.id, parts.next()).await? {
        match part? {
            BundlePart::Begin { item, version } => {
                if item == entry.id {
                    came_as = Some(version.clone());
                }
                member = open_member(&shared, body, item, version).await?;
            }
            BundlePart::Data(data) => {
                patience.progress();
                count(&shared.counters.fetched_bytes, data.len() as u64);
                if let Some(sink) = &mut member {
                    sink.push(data).await?;
                }
            }
            BundlePart::End => {
                patience.progress();
                if let Some(mut sink) = member.take() {
                    sink.finish(true).await?;
                }
            }
        }
    }
    match member {
        None => Ok(came_as),
        Some(_) => Err(CacheError::Short { item: entry.id.clone() }),
    }
}

/// Where a member's bytes go; nowhere when they are here already.
async fn open_member(
    shared: &Arc<Shared>,
    asked: &Arc<Body>,
    item: ItemId,
    version: ContentVersion,
) -> Result<Option<Sink>> {
    let own = asked.entry()?;
    let member = if own.id == item && own.version == version {
        asked.clone()
    } else {
        shared.find_or_make(item, version)
    };
    member.opened().await?;
    let state = member.state.lock();
    Ok(match &state.content {
        Content::Known(map) if map.is_whole() => None,
        Content::Known(map) => Some(Sink::of(&member, 0, 0..map.size())),
        Content::Unknown | Content::Finding => Some(Sink::open_ended(&member)),
    })
}

impl Shared {
    /// The right to download what belongs to `folder`.
    fn bundle_turn(&self, folder: &ItemId) -> Arc<tokio::sync::Mutex<()>> {
        let mut bundles = self.bundles.lock();
        bundles.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = bundles.get(folder).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::new(tokio::sync::Mutex::new(()));
        bundles.insert(folder.clone(), Arc::downgrade(&turn));
        turn
    }

    /// The body of a version that a bundle brings, with no more known about it than its name.
    fn find_or_make(self: &Arc<Self>, item: ItemId, version: ContentVersion) -> Arc<Body> {
        let mut registry = self.registry.lock();
        let key = (item, version);
        if let Some(body) = registry.get(&key).and_then(Weak::upgrade) {
            return body;
        }
        let mut entry = Entry::file(key.0.clone(), "", Vec::new(), 0, key.1.clone());
        entry.size = None;
        let body = Body::clean(self.clone(), &entry);
        registry.insert(key, Arc::downgrade(&body));
        body
    }
}

//! What a view holds: asked of the store once in a while, kept for when it cannot be asked.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::catalog::names;
use crate::http::{current_context, with_context};
use crate::model::{Entry, Ino, ItemId, Name, Timestamp};
use crate::store::{Group, Query};

use super::super::vfs::Vfs;
use super::super::{Error, Result};
use super::query;
use super::{View, is_virtual};

/// How long an answer is used again.
const HOLDS: Duration = Duration::from_secs(30);
/// Answers that are kept, the longest unused go first.
const ANSWERS_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(15);
/// Entries of one view; more is an error, for a shorter folder would be a lie.
const ENTRIES_MAX: usize = 20_000;
/// How far back `.recent` looks.
const RECENT: Duration = Duration::from_secs(7 * 86_400);

/// What an entry of a view is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// An asset.
    Asset(ItemId),
    /// Another virtual folder.
    View(View),
}

/// What a view was seen to hold.
#[derive(Debug)]
pub(super) struct Answer {
    at: Timestamp,
    /// In the order of their names.
    pub entries: Vec<(Name, Target)>,
}

type Outcome = Result<Arc<Answer>>;

/// The answers of all views.
pub(super) struct Results {
    kept: Mutex<LruCache<Ino, Arc<Answer>>>,
    /// Questions under way: who needs one waits for the one answer.
    asking: Mutex<HashMap<Ino, watch::Receiver<Option<Outcome>>>>,
}

impl Results {
    pub(super) fn new() -> Self {
        Self {
            kept: Mutex::new(LruCache::new(ANSWERS_MAX)),
            asking: Mutex::default(),
        }
    }

    /// Adds an entry that we know of by ourselves.
    pub(super) fn add(&self, ino: Ino, name: Name, target: Target) {
        let mut kept = self.kept.lock();
        if let Some(answer) = kept.get(&ino).cloned() {
            let mut entries = answer.entries.clone();
            entries.push((name, target));
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            kept.put(ino, Arc::new(Answer { at: answer.at, entries }));
        }
    }
}

impl Vfs {
    /// What a view holds. The last answer serves for 30 s, and for as long as no newer one can be had.
    pub(super) async fn view_answer(&self, ino: Ino, view: &View) -> Outcome {
        let kept = self.views.results.kept.lock().get(&ino).cloned();
        if let Some(answer) = &kept
            && self.clock.now().since(answer.at) <= HOLDS
        {
            return Ok(answer.clone());
        }
        let mut done = self.begin_asking(ino, view);
        let wait = async {
            match done.wait_for(Option::is_some).await {
                Ok(result) => result.clone().unwrap_or(Err(Error::Internal)),
                Err(_) => Err(Error::Internal),
            }
        };
        let deadline = self.config.deadline;
        let outcome = tokio::time::timeout(deadline, wait)
            .await
            .unwrap_or(Err(Error::TimedOut(deadline.as_secs())));
        match (outcome, kept) {
            (Err(error), Some(old)) if matches!(error.errno(), libc::EIO | libc::EACCES | libc::EAGAIN) => {
                tracing::debug!(?view, "an older answer is shown: {error}");
                Ok(old)
            }
            (outcome, _) => outcome,
        }
    }

    fn begin_asking(&self, ino: Ino, view: &View) -> watch::Receiver<Option<Outcome>> {
        let mut asking = self.views.results.asking.lock();
        if let Some(running) = asking.get(&ino) {
            return running.clone();
        }
        let (result, receiver) = watch::channel(None);
        asking.insert(ino, receiver.clone());
        let (vfs, view) = (self.clone(), view.clone());
        tokio::spawn(with_context(current_context(), async move {
            let outcome = vfs.ask_view(&view).await;
            if let Ok(answer) = &outcome {
                vfs.views.results.kept.lock().put(ino, answer.clone());
            }
            vfs.views.results.asking.lock().remove(&ino);
            result.send_replace(Some(outcome));
        }));
        receiver
    }

    async fn ask_view(&self, view: &View) -> Outcome {
        let at = self.clock.now();
        let entries = if let View::Collections = view {
            self.collections_shown().await?
        } else {
            let found = self.members_of(view).await?;
            let shown = self.take_found(found, at).await?;
            shown.into_iter().map(|(name, id)| (name, Target::Asset(id))).collect()
        };
        Ok(Arc::new(Answer { at, entries }))
    }

    async fn collections_shown(&self) -> Result<Vec<(Name, Target)>> {
        let collections = self.store.collections().await?;
        let pairs = collections
            .into_iter()
            .map(|collection| (collection.id, collection.name));
        let named = distinct(pairs.collect());
        Ok(named
            .into_iter()
            .map(|(name, id)| (name, Target::View(View::Collection(id))))
            .collect())
    }

    async fn members_of(&self, view: &View) -> Result<Vec<Entry>> {
        let group = match view {
            View::Search(folder, text) => return self.search_in(*folder, text).await,
            View::Tag(tag) => Group::Tag(tag.to_string()),
            View::Recent => Group::Recent(self.clock.now().minus(RECENT)),
            View::Collection(id) => Group::Collection(id.clone()),
            View::Searches(_) | View::Tags | View::Collections | View::Ids => return Ok(Vec::new()),
        };
        let root = self.blocking(|vfs| vfs.node(Ino::ROOT)).await?;
        let Some(scope) = root.id else { return Ok(Vec::new()) };
        Ok(self.store.group(&group, &scope).await?)
    }

    /// What the store finds in a folder for a query as it was typed.
    pub(super) async fn search_in(&self, folder: Ino, text: &str) -> Result<Vec<Entry>> {
        let query = self.query_in(folder, text).await?;
        if query.scope.is_none() {
            // The store does not have the folder yet, so it finds nothing there.
            return Ok(Vec::new());
        }
        let mut found = self.store.search(&query).await?;
        found.retain(|entry| Some(&entry.id) != query.scope.as_ref());
        Ok(found)
    }

    /// A query that the store has been seen to understand.
    pub(super) async fn query_in(&self, folder: Ino, text: &str) -> Result<Query> {
        if !self.capabilities().search.is_yes() {
            let label = self.capabilities().label;
            return Err(Error::Unsupported(format!("{label} cannot be searched")));
        }
        let asked = query::parse(text)?;
        let node = self.blocking(move |vfs| vfs.node(folder)).await?;
        if !node.is_folder() {
            return Err(Error::NotDir);
        }
        let query = Query {
            words: asked.words,
            filters: asked.filters,
            scope: node.id,
            recursive: asked.recursive,
        };
        self.store.check_query(&query)?;
        Ok(query)
    }

    /// Puts what was found into the catalog, and gives it names: those it has in its folders, as far as they are distinct.
    pub(super) async fn take_found(&self, found: Vec<Entry>, at: Timestamp) -> Result<Vec<(Name, ItemId)>> {
        if found.len() > ENTRIES_MAX {
            let why = format!("more than {ENTRIES_MAX} assets: narrow the search");
            return Err(Error::TooBig(why));
        }
        self.blocking(move |vfs| {
            let mut shown = Vec::with_capacity(found.len());
            for entry in found {
                if let Some(name) = vfs.take_one_found(&entry, at)? {
                    shown.push((entry.id, name));
                }
            }
            Ok(distinct(shown))
        })
        .await
    }

    /// Takes news of an asset that was found, and answers the name that it has. `None` for one that is not to be shown: it
    /// is being removed, or may be what a request of ours has just made.
    pub(super) fn take_one_found(&self, entry: &Entry, at: Timestamp) -> Result<Option<String>> {
        if self.may_be_ours(entry)? {
            return Ok(None);
        }
        let Some(ino) = self.journal.inodes(std::slice::from_ref(&entry.id))?.first().copied() else {
            return Ok(None);
        };
        let pending = self.journal.change(ino);
        if pending.as_ref().is_some_and(|change| change.is_removal()) {
            return Ok(None);
        }
        // Our own news of an asset with pending changes are newer, or meet the store's at the commit.
        if pending.is_none() || self.catalog.by_id(&entry.id)?.is_none() {
            let ino = self.inode_for(ino, entry, at)?;
            let names = self.names_for(entry)?;
            self.take_entry(ino, entry, at, &names)?;
        }
        let Some(known) = self.catalog.by_id(&entry.id)? else {
            // It was removed while the search went on.
            return Ok(None);
        };
        let node = self.node(known.ino)?;
        let place = self.places(&node)?.into_iter().next();
        Ok(Some(
            place.map_or_else(|| entry.name.clone(), |place| place.name.to_string()),
        ))
    }
}

/// Distinct names, in their order: the oldest keeps a name, the others get their ids.
fn distinct(mut named: Vec<(ItemId, String)>) -> Vec<(Name, ItemId)> {
    named.sort_by(|(a, _), (b, _)| names::by_age(a, b));
    named.dedup_by(|(a, _), (b, _)| a == b);
    let mut taken = HashSet::with_capacity(named.len());
    let mut shown: Vec<(Name, ItemId)> = Vec::with_capacity(named.len());
    for (id, name) in named {
        let free = names::candidates(&id, &name).find(|name| taken.insert(name.clone()));
        shown.extend(free.map(|name| (name, id)));
    }
    shown.sort_by(|a, b| a.0.cmp(&b.0));
    shown
}

/// Whether an inode may be asked about at all: the kernel keeps some longer than we do.
pub(super) fn known_view(vfs: &Vfs, ino: Ino) -> Result<Arc<View>> {
    debug_assert!(is_virtual(ino), "real inodes are the tree's");
    vfs.views.get(ino).ok_or(Error::Stale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_names_are_told_apart_by_their_ids() {
        let found = |number: u32, name: &str| (ItemId::of("file", number), name.to_owned());
        let shown = distinct(vec![
            found(12, "a.jpg"),
            found(9, "a.jpg"),
            found(10, "b.jpg"),
            found(9, "a.jpg"),
        ]);
        let names: Vec<(&str, &str)> = shown.iter().map(|(name, id)| (name.as_str(), id.key())).collect();
        assert_eq!(names, [("a (12).jpg", "12"), ("a.jpg", "9"), ("b.jpg", "10")]);
    }
}

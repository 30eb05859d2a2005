//! A listing that leaves something out is not proof that it is gone: listings are late, fail, and lose pages.
//!
//! What is missing is asked for itself. When much is missing, the folder's own numbers must agree with the listing, and
//! samples must be gone as well; where the folder tells no numbers, the same must be missing twice, some time apart.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;

use crate::model::{Entry, Ino, ItemId, Kind, Timestamp};

use super::Result;
use super::vfs::Vfs;

/// Up to so many missing items are each asked for.
const ASKED_MAX: usize = 8;
/// Of more, so many.
const SAMPLES: usize = 3;
/// Questions under way at a time.
const IN_FLIGHT_MAX: usize = 4;
/// How long something must have been missing before a second miss counts.
const MISSING_FOR: Duration = Duration::from_secs(60);

/// A folder as it was just listed.
pub(super) struct Listed<'a> {
    pub folder: &'a Entry,
    pub began: Timestamp,
    pub entries: &'a [Entry],
}

/// What a direct question said about an item that a listing left out.
enum Said {
    Gone,
    /// It is elsewhere; the catalog knows.
    Moved,
    /// It is where it was, or nobody knows.
    Here,
    /// It is there, but not in which folder.
    Somewhere,
}

impl Vfs {
    /// The items that a listing left out and that stay all the same.
    pub(super) async fn still_there(&self, listed: Listed<'_>) -> Result<Vec<ItemId>> {
        if self.capabilities().listing_lag_max.is_zero() {
            return Ok(Vec::new());
        }
        let (folder, began) = (listed.folder.id.clone(), listed.began);
        let shown: HashSet<ItemId> = listed.entries.iter().map(|entry| entry.id.clone()).collect();
        let missing = self.blocking(move |vfs| vfs.missing(&folder, began, &shown)).await?;
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        let stay = if missing.len() <= ASKED_MAX {
            self.ask_each(listed.folder, &missing).await
        } else {
            self.ask_some(&listed, &missing).await
        };
        if !stay.is_empty() {
            tracing::debug!(
                folder = %listed.folder.id, missing = missing.len(), kept = stay.len(),
                "a listing leaves out what is not known to be gone"
            );
        }
        Ok(stay)
    }

    /// Children that are known from before `began` and have no pending change. Blocks.
    fn missing(&self, folder: &ItemId, began: Timestamp, shown: &HashSet<ItemId>) -> Result<Vec<(Ino, ItemId, Kind)>> {
        let children = self.catalog.children(folder)?;
        let missing = children
            .into_iter()
            .filter(|child| child.stat_at <= began && !shown.contains(&child.id));
        Ok(missing
            .filter(|child| self.journal.change(child.ino).is_none())
            .map(|child| (child.ino, child.id, child.kind))
            .collect())
    }

    async fn ask_each(&self, folder: &Entry, missing: &[(Ino, ItemId, Kind)]) -> Vec<ItemId> {
        let answers = stream::iter(missing)
            .map(|(_, id, _)| async move { (id, self.ask(folder, id).await) })
            .boxed()
            .buffer_unordered(IN_FLIGHT_MAX);
        let answers: Vec<(&ItemId, Said)> = answers.collect().await;
        let mut stay = Vec::new();
        for (id, said) in answers {
            let stays = match said {
                Said::Gone | Said::Moved => false,
                Said::Here => true,
                Said::Somewhere => !self.missed_before(id),
            };
            if stays {
                stay.push(id.clone());
            }
        }
        stay
    }

    async fn ask_some(&self, listed: &Listed<'_>, missing: &[(Ino, ItemId, Kind)]) -> Vec<ItemId> {
        let all = || missing.iter().map(|(_, id, _)| id.clone()).collect::<Vec<_>>();
        let Ok(now) = self.store.stat(&listed.folder.id).await else {
            return all();
        };
        let step = missing.len() / SAMPLES;
        let samples: Vec<_> = missing.iter().step_by(step.max(1)).take(SAMPLES).cloned().collect();
        if !self.ask_each(listed.folder, &samples).await.is_empty() {
            return all();
        }
        let files = listed.entries.iter().filter(|entry| entry.kind == Kind::File).count() as u64;
        let folders = listed.entries.len() as u64 - files;
        match now.children {
            Some(counts) if counts.files == files && counts.folders == folders => Vec::new(),
            // The listing is not whole: only what was asked for itself is known to be gone.
            Some(_) => {
                let asked: HashSet<&ItemId> = samples.iter().map(|(_, id, _)| id).collect();
                all().into_iter().filter(|id| !asked.contains(id)).collect()
            }
            None => all().into_iter().filter(|id| !self.missed_before(id)).collect(),
        }
    }

    async fn ask(&self, folder: &Entry, id: &ItemId) -> Said {
        let began = self.clock.now();
        match self.store.stat(id).await {
            Err(error) if error.is_not_found() => Said::Gone,
            Err(error) => {
                tracing::debug!(%id, "whether it is gone cannot be told: {error}");
                Said::Here
            }
            Ok(entry) if entry.parents.is_empty() => Said::Somewhere,
            Ok(entry) => {
                let here = entry.parents.contains(&folder.id);
                let taken = self.blocking(move |vfs| vfs.take_news(&entry, began)).await;
                match taken {
                    Ok(()) if !here => Said::Moved,
                    Ok(()) => Said::Here,
                    Err(error) => {
                        tracing::debug!(%id, "{error}");
                        Said::Here
                    }
                }
            }
        }
    }

    /// Whether an item was found missing before, long enough ago; notes that it is now.
    fn missed_before(&self, id: &ItemId) -> bool {
        let now = self.clock.now();
        let mut missed = self.missed.lock();
        let since = *missed.get_or_insert(id.clone(), || now);
        now.since(since) >= MISSING_FOR
    }
}

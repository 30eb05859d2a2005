//! What has changed since a cursor.
//!
//! The site tells new and changed records (`modified_since`; a new record is modified when it is added, so `added_since` tells
//! nothing more), but never deletions. Those show in numbers only: every collection says how many items it has, every item how
//! many files. The cursor keeps the collections' numbers; the items' are remembered from listings, and asked for again when the
//! number of all files does not add up.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::http::Url;
use crate::model::{ItemId, Timestamp};
use crate::store::{Changes, ErrorKind, Result, StoreError};

use super::api::Api;
use super::decode;
use super::id::{Id, Resource};
use super::pages::{all_records, page, param, total};

/// Changes within one second of each other carry the same time, and a record may be committed a moment after its time: so
/// much is asked for twice.
const OVERLAP: Duration = Duration::from_secs(3);

/// Items whose numbers of files are remembered at most.
const ITEMS_MAX: usize = 200_000;

/// Ids in one `range`.
const RANGE_IDS: usize = 50;

/// Requests under way at the same time.
const IN_FLIGHT_MAX: usize = 4;

/// How many files items had when they were last listed.
#[derive(Clone, Default)]
pub(super) struct FileCounts(Arc<Mutex<HashMap<u64, u64>>>);

impl FileCounts {
    /// Notes what a list of items says.
    pub(super) fn note(&self, items: &[Value]) {
        let mut counts = self.0.lock();
        for item in items {
            if let (Some(id), Some(files)) = (item["id"].as_u64(), item["files"]["count"].as_u64())
                && (counts.len() < ITEMS_MAX || counts.contains_key(&id))
            {
                counts.insert(id, files);
            }
        }
    }

    fn ids(&self) -> Vec<u64> {
        let mut ids: Vec<u64> = self.0.lock().keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    fn get(&self, id: u64) -> Option<u64> {
        self.0.lock().get(&id).copied()
    }

    fn forget(&self, id: u64) {
        self.0.lock().remove(&id);
    }
}

/// Where a feed is; kept by the catalog as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Cursor {
    /// The server's time up to which everything was told, in seconds.
    since: i64,
    /// Items in each collection.
    collections: BTreeMap<u64, u64>,
    /// Items in none.
    uncollected: usize,
    /// All files.
    files: usize,
}

/// Asks for changes.
pub(super) struct Feed<'a> {
    pub(super) api: &'a Api,
    pub(super) site: &'a Url,
    pub(super) counts: &'a FileCounts,
    /// How long the store is in use: what was listed since then must be in the first feed.
    pub(super) uptime: Duration,
}

impl Feed<'_> {
    /// Everything since `cursor`; with none, only a place to start from.
    pub(super) async fn since(&self, cursor: Option<&str>, now: Timestamp) -> Result<Changes> {
        let before: Option<Cursor> = match cursor {
            None => None,
            Some(text) => Some(serde_json::from_str(text).map_err(|e| {
                StoreError::new(ErrorKind::Invalid, "read changes", "")
                    .because(format!("not a cursor of this store: {e}"))
            })?),
        };
        let (nothing, everything) = (vec![param("collection", 0)], Vec::new());
        let uncollected = page(self.api, Resource::Items, &nothing, 1, 1).await?;
        let server_now = uncollected.date.as_deref().and_then(http_date).unwrap_or(now);
        let (collections, files) = futures_util::try_join!(
            all_records(self.api, Resource::Collections, Vec::new()),
            total(self.api, Resource::Files, &everything),
        )?;
        let told_until = match before {
            Some(_) => server_now,
            None => server_now.minus(self.uptime),
        };
        let after = Cursor {
            since: told_until.minus(OVERLAP).secs,
            collections: collections
                .iter()
                .filter_map(|one| Some((one["id"].as_u64()?, one["items"]["count"].as_u64().unwrap_or(0))))
                .collect(),
            uncollected: uncollected.total,
            files,
        };
        let mut changes = Changes {
            cursor: serde_json::to_string(&after).unwrap_or_default(),
            ..Changes::default()
        };
        if let Some(before) = before {
            self.tell(&before, &after, &collections, &mut changes).await?;
        }
        Ok(changes)
    }

    async fn tell(&self, before: &Cursor, after: &Cursor, collections: &[Value], changes: &mut Changes) -> Result<()> {
        let since = Timestamp::from_secs(before.since);
        let modified = vec![param("modified_since", since.to_rfc3339())];
        let (items, files) = futures_util::try_join!(
            all_records(self.api, Resource::Items, modified.clone()),
            all_records(self.api, Resource::Files, modified),
        )?;
        let collections: Vec<Value> = collections
            .iter()
            .filter(|one| time(one, "modified").is_none_or(|at| at > since))
            .cloned()
            .collect();
        for (resource, records) in [
            (Resource::Collections, &collections),
            (Resource::Items, &items),
            (Resource::Files, &files),
        ] {
            for record in records {
                changes.changed.push(decode::entry(resource, record, self.site)?);
            }
        }
        changes.stale = stale_folders(before, after);
        // Files that came in the overlap are counted twice at worst, and then there is one look too many.
        let added = files
            .iter()
            .filter(|file| time(file, "added").is_some_and(|at| at > since))
            .count();
        if after.files < before.files + added {
            changes
                .stale
                .extend(self.items_with_fewer_files(before.files + added - after.files).await?);
        }
        Ok(())
    }

    /// The items whose number of files is not what it was; `missing` files are looked for.
    async fn items_with_fewer_files(&self, missing: usize) -> Result<Vec<ItemId>> {
        let known = self.counts.ids();
        let ranges: Vec<String> = known.chunks(RANGE_IDS).map(range).collect();
        let items: Vec<Vec<Value>> = stream::iter(ranges)
            .map(|range| async move { all_records(self.api, Resource::Items, vec![param("range", range)]).await })
            .buffer_unordered(IN_FLIGHT_MAX)
            .try_collect()
            .await?;
        let items: Vec<Value> = items.concat();
        let mut explained = 0;
        let mut stale = Vec::new();
        let mut gone: std::collections::HashSet<u64> = known.into_iter().collect();
        for item in &items {
            let (Some(id), Some(now)) = (item["id"].as_u64(), item["files"]["count"].as_u64()) else {
                continue;
            };
            gone.remove(&id);
            let then = self.counts.get(id).unwrap_or(now);
            if then != now {
                explained += usize::try_from(then.saturating_sub(now)).unwrap_or(usize::MAX);
                stale.push(Id::Item(id).to_item_id());
            }
        }
        for id in gone {
            explained += usize::try_from(self.counts.get(id).unwrap_or(0)).unwrap_or(usize::MAX);
            self.counts.forget(id);
        }
        self.counts.note(&items);
        if explained < missing {
            stale.extend(self.items_never_counted().await?);
        }
        Ok(stale)
    }

    /// Items that nobody has listed in this run of the program: any of them may have lost files.
    async fn items_never_counted(&self) -> Result<Vec<ItemId>> {
        let items = all_records(self.api, Resource::Items, Vec::new()).await?;
        let stale = items
            .iter()
            .filter_map(|item| item["id"].as_u64())
            .filter(|id| self.counts.get(*id).is_none())
            .map(|id| Id::Item(id).to_item_id())
            .collect();
        self.counts.note(&items);
        Ok(stale)
    }
}

/// Folders whose number of children differs. The top level counts as one folder.
fn stale_folders(before: &Cursor, after: &Cursor) -> Vec<ItemId> {
    let mut stale = Vec::new();
    if before.uncollected != after.uncollected || !before.collections.keys().eq(after.collections.keys()) {
        stale.push(Id::Site.to_item_id());
    }
    for (id, items) in &after.collections {
        if before.collections.get(id).is_some_and(|then| then != items) {
            stale.push(Id::Collection(*id).to_item_id());
        }
    }
    stale
}

/// Ids as the site's `range` takes them.
fn range(ids: &[u64]) -> String {
    ids.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
}

fn time(record: &Value, field: &str) -> Option<Timestamp> {
    Timestamp::parse(record[field].as_str()?)
}

fn http_date(text: &str) -> Option<Timestamp> {
    httpdate::parse_http_date(text).ok().map(|time: SystemTime| time.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_stale_when_its_number_of_children_differs() {
        let before = Cursor {
            collections: [(1, 5), (2, 0), (3, 1)].into(),
            uncollected: 2,
            ..Cursor::default()
        };
        let mut after = before.clone();
        assert_eq!(stale_folders(&before, &after), []);
        after.collections.insert(1, 4);
        assert_eq!(stale_folders(&before, &after), [Id::Collection(1).to_item_id()]);
        after.collections.remove(&3);
        assert_eq!(
            stale_folders(&before, &after),
            [Id::Site.to_item_id(), Id::Collection(1).to_item_id()]
        );
    }
}

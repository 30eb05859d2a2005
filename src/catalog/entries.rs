//! News of single items: what a `stat` or a mutation told, what is gone, what has another id.

use std::time::Duration;

use rusqlite::{OptionalExtension, Transaction};

use super::db::{Catalog, Result};
use super::edges::{self, Item};
use super::names::Bindings;
use super::rows::{Change, Changed, Diff, FieldsWrite, Key, Node, id_of, load, save};
use crate::model::{ContentVersion, Entry, Ino, ItemId, Name, Timestamp};

/// How long a removal is remembered: longer than any listing takes.
const GONE_KEPT: Duration = Duration::from_secs(3600);

impl Catalog {
    /// Takes what the store said of one item.
    ///
    /// `at` is when it was asked or, for the answer to a mutation, when the answer came: a mutation is newer than
    /// whatever was asked before it was answered. Older news than what is known (or than the item's removal) are not
    /// taken. Non-empty parents replace those that are known. A known item keeps its inode whatever `ino` says.
    pub fn put_entry(&self, ino: Ino, entry: &Entry, at: Timestamp, names: &dyn Bindings) -> Result<Diff> {
        self.put(ino, entry, at, names, News::Look)
    }

    /// The same of the answer to bytes that were sent: what it calls the content is another than was known, whatever else
    /// is alike.
    pub fn put_sent(&self, ino: Ino, entry: &Entry, at: Timestamp, names: &dyn Bindings) -> Result<Diff> {
        self.put(ino, entry, at, names, News::Sent)
    }

    fn put(&self, ino: Ino, entry: &Entry, at: Timestamp, names: &dyn Bindings, news: News) -> Result<Diff> {
        self.write(|tx| {
            let mut diff = Diff::default();
            let known = load(tx, &entry.id)?;
            let older = match &known {
                Some((_, node)) => node.stat_at > at,
                None => removed_at(tx, &entry.id)?.is_some_and(|gone| gone > at),
            };
            if older {
                return Ok(diff);
            }
            let known = known.as_ref().map(|(_, node)| node);
            let item = take_entry(tx, known, ino, entry, at, news, &mut diff)?;
            if entry.parents.is_empty() {
                // The store did not tell where it is: its names stay, as far as its new name lets them.
                let told: Vec<ItemId> = edges::parents(tx, item.key)?
                    .into_iter()
                    .map(|(parent, _)| parent)
                    .collect();
                edges::settle_parents(tx, names, &item, &told, None, &mut diff)?;
            } else {
                edges::settle_parents(tx, names, &item, &entry.parents, None, &mut diff)?;
            }
            Ok(diff)
        })
    }

    /// Drops an item that is gone from the store since `at`, and with a folder everything that was only in it. Answers
    /// the item's own names; those below a folder go with it untold.
    pub fn remove(&self, id: &ItemId, at: Timestamp) -> Result<Diff> {
        self.write(|tx| {
            let mut diff = Diff::default();
            tx.prepare_cached("DELETE FROM gone WHERE at < ?1")?
                .execute([at.minus(GONE_KEPT).to_db()])?;
            tx.prepare_cached(
                "INSERT INTO gone (id, at) VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET at = max(at, ?2)",
            )?
            .execute((id.as_str(), at.to_db()))?;
            let Some(item) = find(tx, id)? else { return Ok(diff) };
            diff.removed = edges::parents(tx, item.key)?
                .into_iter()
                .map(|(parent, local)| item.place(&parent, local))
                .collect();
            let below = edges::drop_node(tx, item.key)?;
            edges::drop_orphans(tx, below)?;
            Ok(diff)
        })
    }

    /// Gives a child of `parent` the name that the user chose, whoever had it. It stays until the store's name changes.
    /// Nothing happens when `id` is not known to be in `parent`.
    pub fn bind(&self, parent: &ItemId, id: &ItemId, local: &Name) -> Result<Diff> {
        self.write(|tx| {
            let mut diff = Diff::default();
            if let Some(item) = find(tx, id)?
                && let Some(bound) = edges::binding(tx, parent, item.key)?
            {
                edges::take(tx, parent, &item, Some(bound.local), local.clone(), &mut diff)?;
            }
            Ok(diff)
        })
    }

    /// Gives an item another inode: a version that came while the old one was open shows under a new one. `false` when
    /// the item is unknown.
    pub fn set_ino(&self, id: &ItemId, ino: Ino) -> Result<bool> {
        self.write(|tx| {
            let rows = tx
                .prepare_cached("UPDATE nodes SET ino = ?2 WHERE id = ?1")?
                .execute((id.as_str(), ino.0 as i64))?;
            Ok(rows > 0)
        })
    }

    /// The item `old` is called `new` from now on; inode, names and children stay, its version is `version` if one is given.
    /// Should `new` be known already (a listing was quicker), that node gives way. `false` when `old` is unknown.
    pub fn rekey(&self, old: &ItemId, new: &ItemId, version: Option<&ContentVersion>) -> Result<bool> {
        self.write(|tx| {
            let known = rekey(tx, old, new)?;
            if known && let Some(version) = version {
                tx.prepare_cached("UPDATE nodes SET version = ?2 WHERE id = ?1")?
                    .execute((new.as_str(), version.as_str()))?;
            }
            Ok(known)
        })
    }

    /// As [`Catalog::rekey`], for a store whose ids are paths: the ids of all known items below, in any namespace,
    /// change with that of their folder. Answers how many ids changed.
    pub fn rekey_tree(&self, old: &ItemId, new: &ItemId) -> Result<u64> {
        self.write(|tx| {
            let old_prefix = format!("{}/", old.key());
            let mut changed = 0;
            for id in descendants(tx, old)? {
                if let Some(rest) = id.key().strip_prefix(&old_prefix) {
                    let namespace = &id.as_str()[..id.as_str().len() - id.key().len()];
                    let renamed = ItemId::new(format!("{namespace}{}/{rest}", new.key()));
                    changed += u64::from(rekey(tx, &id, &renamed)?);
                }
            }
            Ok(changed + u64::from(rekey(tx, old, new)?))
        })
    }

    /// The known listing of `folder` was found to be right still at `at`.
    pub fn touch_listing(&self, folder: &ItemId, at: Timestamp) -> Result<()> {
        self.write(|tx| {
            tx.prepare_cached("UPDATE listings SET listed_at = max(listed_at, ?2) WHERE folder = ?1")?
                .execute((folder.as_str(), at.to_db()))?;
            Ok(())
        })
    }

    /// The children of `folder` must be read again before anything is concluded from what is missing.
    pub fn invalidate_listing(&self, folder: &ItemId) -> Result<()> {
        self.write(|tx| {
            tx.prepare_cached("UPDATE listings SET complete = 0 WHERE folder = ?1")?
                .execute([folder.as_str()])?;
            Ok(())
        })
    }

    /// Keeps `value` under `key`; `None` forgets it.
    pub fn kv_set(&self, key: &str, value: Option<&str>) -> Result<()> {
        self.write(|tx| {
            match value {
                Some(value) => tx
                    .prepare_cached(
                        "INSERT INTO kv (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2",
                    )?
                    .execute((key, value))?,
                None => tx.prepare_cached("DELETE FROM kv WHERE key = ?1")?.execute([key])?,
            };
            Ok(())
        })
    }
}

/// What an entry comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// The store was asked.
    Look,
    /// The store got new bytes from here.
    Sent,
}

/// Writes an entry over what is known of it, and notes in `diff` how far it changed.
pub(super) fn take_entry(
    tx: &Transaction<'_>,
    known: Option<&Node>,
    ino: Ino,
    told: &Entry,
    at: Timestamp,
    news: News,
    diff: &mut Diff,
) -> rusqlite::Result<Item> {
    tx.prepare_cached("DELETE FROM gone WHERE id = ?1")?
        .execute([told.id.as_str()])?;
    let ino = known.map_or(ino, |node| node.ino);
    let item = |key| Item {
        key,
        id: told.id.clone(),
        ino,
        store_name: told.name.clone(),
    };
    let Some(node) = known else {
        return Ok(item(save(tx, ino, told, at, FieldsWrite::Write)?));
    };
    let merged = match news {
        News::Look => merge(&node.entry, told),
        News::Sent => told.clone(),
    };
    let fields = if merged.fields == node.entry.fields {
        FieldsWrite::Keep
    } else {
        FieldsWrite::Write
    };
    if let Some(change) = difference(&node.entry, &merged) {
        diff.changed.push(Changed {
            id: told.id.clone(),
            ino,
            change,
        });
    }
    Ok(item(save(tx, ino, &merged, at, fields)?))
}

/// What is known after `told`: a poorer answer about the same state does not wipe out what a richer one said.
///
/// Also the first look at an upload of ours tells the revision of the version that we know.
pub fn merge(known: &Entry, told: &Entry) -> Entry {
    let mut merged = told.clone();
    if !told.revision.is_empty() && told.size == known.size && known.is_first_look(told.modified) {
        merged.version = known.version.clone();
    }
    let same_revision = !told.revision.is_empty() && told.revision == known.revision;
    if same_revision
        && told
            .size
            .is_none_or(|size| known.size.is_none_or(|before| before == size))
    {
        // Neither content nor metadata moved, so whatever the version is called now, it is the one that is known: our own
        // change of metadata may have kept a version under a new revision.
        merged.version = known.version.clone();
    }
    if merged.version == known.version {
        merged.size = told.size.or(known.size);
        merged.checksum = told.checksum.clone().or_else(|| known.checksum.clone());
        merged.mime = told.mime.clone().or_else(|| known.mime.clone());
    }
    if same_revision && !told.fields_complete && known.fields_complete {
        merged.fields = known.fields.clone();
        merged.fields_complete = true;
    }
    merged
}

fn difference(known: &Entry, now: &Entry) -> Option<Change> {
    if known.version != now.version || known.size != now.size || known.kind != now.kind {
        return Some(Change::Content);
    }
    // Where it is shows in the diff's names.
    let same = Entry {
        parents: known.parents.clone(),
        ..now.clone()
    } == *known;
    (!same).then_some(Change::Metadata)
}

/// When an item was removed, if that is not long ago and it has not come back.
pub(super) fn removed_at(tx: &Transaction<'_>, id: &ItemId) -> rusqlite::Result<Option<Timestamp>> {
    tx.prepare_cached("SELECT at FROM gone WHERE id = ?1")?
        .query_row([id.as_str()], |row| row.get(0).map(Timestamp::from_db))
        .optional()
}

fn find(tx: &Transaction<'_>, id: &ItemId) -> rusqlite::Result<Option<Item>> {
    tx.prepare_cached("SELECT n, ino, name FROM nodes WHERE id = ?1")?
        .query_row([id.as_str()], |row| {
            let ino: i64 = row.get(1)?;
            Ok(Item {
                key: Key(row.get(0)?),
                id: id.clone(),
                ino: Ino(ino as u64),
                store_name: row.get(2)?,
            })
        })
        .optional()
}

fn descendants(tx: &Transaction<'_>, id: &ItemId) -> rusqlite::Result<Vec<ItemId>> {
    // UNION, not UNION ALL: each id once, so that the walk ends whatever the edges say.
    tx.prepare_cached(
        "WITH RECURSIVE below (id) AS (
             SELECT n.id FROM edges AS e JOIN nodes AS n ON n.n = e.child WHERE e.parent = ?1
             UNION
             SELECT n.id FROM below JOIN edges AS e ON e.parent = below.id JOIN nodes AS n ON n.n = e.child)
         SELECT id FROM below",
    )?
    .query_map([id.as_str()], |row| id_of(row, 0))?
    .collect()
}

fn rekey(tx: &Transaction<'_>, old: &ItemId, new: &ItemId) -> rusqlite::Result<bool> {
    if old == new {
        return Ok(false);
    }
    let Some(item) = find(tx, old)? else { return Ok(false) };
    let mut adopted = Vec::new();
    if let Some(other) = find(tx, new)? {
        adopted = edges::drop_node(tx, other.key)?;
    }
    tx.prepare_cached("DELETE FROM gone WHERE id = ?1")?
        .execute([new.as_str()])?;
    tx.prepare_cached("UPDATE nodes SET id = ?2 WHERE n = ?1")?
        .execute((item.key.0, new.as_str()))?;
    tx.prepare_cached("UPDATE edges SET parent = ?2 WHERE parent = ?1")?
        .execute((old.as_str(), new.as_str()))?;
    tx.prepare_cached("UPDATE OR REPLACE listings SET folder = ?2 WHERE folder = ?1")?
        .execute((old.as_str(), new.as_str()))?;
    edges::drop_orphans(tx, adopted)?;
    Ok(true)
}

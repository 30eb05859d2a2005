//! Questions to the catalog: each is one indexed query.

use std::collections::HashMap;
use std::ops::ControlFlow;

use rusqlite::OptionalExtension;

use super::db::{Catalog, Result};
use super::rows::{CHILD_COLUMNS, Child, Listing, NODE_COLUMNS, Node, child_of, id_of, ino_of, local_of, node_of};
use crate::model::{Ino, ItemId, Name, Timestamp};

/// Deeper than any path that the kernel passes on; bounds the walk up should parents ever form a circle.
const DEPTH_MAX: usize = 4096;
/// Rows that [`Catalog::for_each`] reads at a time.
const BATCH_ROWS: usize = 500;

impl Catalog {
    /// The item with this id.
    pub fn by_id(&self, id: &ItemId) -> Result<Option<Node>> {
        self.read(|db| {
            db.prepare_cached(&format!("SELECT {NODE_COLUMNS} FROM nodes AS n WHERE n.id = ?1"))?
                .query_row([id.as_str()], node_of)
                .optional()
        })
    }

    /// The item with this inode.
    pub fn by_ino(&self, ino: Ino) -> Result<Option<Node>> {
        let now = self.recent.now();
        if let Some(node) = now.and_then(|now| self.recent.get(ino, now)) {
            return Ok(Some(node));
        }
        let found = self.read(|db| {
            db.prepare_cached(&format!("SELECT {NODE_COLUMNS} FROM nodes AS n WHERE n.ino = ?1"))?
                .query_row([ino.0 as i64], node_of)
                .optional()
        })?;
        if let (Some(node), Some(now)) = (&found, now) {
            self.recent.put(ino, node, now);
        }
        Ok(found)
    }

    /// The child of `parent` that the drive shows as `local`.
    pub fn lookup(&self, parent: &ItemId, local: &str) -> Result<Option<Node>> {
        self.read(|db| {
            db.prepare_cached(&format!(
                "SELECT {NODE_COLUMNS} FROM edges AS e JOIN nodes AS n ON n.n = e.child
                 WHERE e.parent = ?1 AND e.local = ?2"
            ))?
            .query_row([parent.as_str(), local], node_of)
            .optional()
        })
    }

    /// All known children of `parent`, in the order of their names' bytes. Whether they are *all* there are, the
    /// [listing](Catalog::listing) tells.
    pub fn children(&self, parent: &ItemId) -> Result<Vec<Child>> {
        self.children_page(parent, None, usize::MAX)
    }

    /// At most `limit` children of `parent` whose names come after `after`, in the order of their names' bytes.
    pub fn children_page(&self, parent: &ItemId, after: Option<&Name>, limit: usize) -> Result<Vec<Child>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.read(|db| {
            // No name is empty, so everything comes after "".
            db.prepare_cached(&format!(
                "SELECT {CHILD_COLUMNS} FROM edges AS e JOIN nodes AS n ON n.n = e.child
                 WHERE e.parent = ?1 AND e.local > ?2 ORDER BY e.local LIMIT ?3"
            ))?
            .query_map((parent.as_str(), after.map_or("", Name::as_str), limit), child_of)?
            .collect()
        })
    }

    /// How many children of `parent` are known.
    pub fn child_count(&self, parent: &ItemId) -> Result<u64> {
        self.read(|db| {
            db.prepare_cached("SELECT count(*) FROM edges WHERE parent = ?1")?
                .query_row([parent.as_str()], |row| row.get::<_, i64>(0))
                .map(|count| count as u64)
        })
    }

    /// How many folders and how many files of `parent` are known.
    pub fn child_counts(&self, parent: &ItemId) -> Result<(u64, u64)> {
        self.read(|db| {
            db.prepare_cached(
                "SELECT coalesce(sum(n.kind = 1), 0), coalesce(sum(n.kind = 0), 0)
                 FROM edges AS e JOIN nodes AS n ON n.n = e.child WHERE e.parent = ?1",
            )?
            .query_row([parent.as_str()], |row| {
                Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64))
            })
        })
    }

    /// The folders among the known children of `parent`, in no order that means anything.
    pub fn subfolders(&self, parent: &ItemId) -> Result<Vec<ItemId>> {
        self.read(|db| {
            db.prepare_cached(
                "SELECT n.id FROM edges AS e JOIN nodes AS n ON n.n = e.child WHERE e.parent = ?1 AND n.kind = 1",
            )?
            .query_map([parent.as_str()], |row| id_of(row, 0))?
            .collect()
        })
    }

    /// Every folder that `id` is known to be in, and its name there, in the order of the folders' ids.
    pub fn parents(&self, id: &ItemId) -> Result<Vec<(ItemId, Name)>> {
        self.read(|db| {
            db.prepare_cached(
                "SELECT e.parent, e.local FROM nodes AS n JOIN edges AS e ON e.child = n.n
                 WHERE n.id = ?1 ORDER BY e.parent",
            )?
            .query_map([id.as_str()], |row| Ok((id_of(row, 0)?, local_of(row, 1)?)))?
            .collect()
        })
    }

    /// What is known of a folder's listing; `None` when it was never listed.
    pub fn listing(&self, folder: &ItemId) -> Result<Option<Listing>> {
        self.read(|db| {
            db.prepare_cached("SELECT listed_at, complete FROM listings WHERE folder = ?1")?
                .query_row([folder.as_str()], |row| {
                    Ok(Listing {
                        at: Timestamp::from_db(row.get(0)?),
                        complete: row.get(1)?,
                    })
                })
                .optional()
        })
    }

    /// The inodes of those of `ids` that are known.
    pub fn inos(&self, ids: &[ItemId]) -> Result<HashMap<ItemId, Ino>> {
        self.read(|db| {
            let mut query = db.prepare_cached("SELECT ino FROM nodes WHERE id = ?1")?;
            let mut known = HashMap::with_capacity(ids.len());
            for id in ids {
                if let Some(ino) = query.query_row([id.as_str()], |row| ino_of(row, 0)).optional()? {
                    known.insert(id.clone(), ino);
                }
            }
            Ok(known)
        })
    }

    /// The item at `path` below `root`, as far as the tree is known.
    pub fn find(&self, root: &ItemId, path: &[Name]) -> Result<Option<Node>> {
        let mut node = self.by_id(root)?;
        for name in path {
            let Some(folder) = node else { return Ok(None) };
            node = self.lookup(&folder.entry.id, name.as_str())?;
        }
        Ok(node)
    }

    /// The names from the root down to `id`; of an item in several folders, by the way of the smallest parent ids.
    /// Empty for an item without parents, `None` for an unknown one or where the known parents form a circle.
    pub fn path_of(&self, id: &ItemId) -> Result<Option<Vec<Name>>> {
        let mut names = Vec::new();
        let mut at = id.clone();
        while let Some((parent, local)) = self.parents(&at)?.into_iter().next() {
            names.push(local);
            at = parent;
            if names.len() > DEPTH_MAX {
                return Ok(None);
            }
        }
        names.reverse();
        Ok(self.by_id(&at)?.map(|_| names))
    }

    /// Visits every known item, in no order that means anything, until `visit` breaks off. Items that come or go
    /// meanwhile may or may not be met: rows are read in batches, so that a long export does not pin the write-ahead log.
    pub fn for_each(&self, visit: &mut dyn FnMut(Node) -> ControlFlow<()>) -> Result<()> {
        let mut after = 0i64;
        loop {
            let batch: Vec<(i64, Node)> = self.read(|db| {
                db.prepare_cached(&format!(
                    "SELECT {NODE_COLUMNS} FROM nodes AS n WHERE n.n > ?1 ORDER BY n.n LIMIT {BATCH_ROWS}"
                ))?
                .query_map([after], |row| Ok((row.get(16)?, node_of(row)?)))?
                .collect()
            })?;
            let Some((last, _)) = batch.last() else { return Ok(()) };
            after = *last;
            for (_, node) in batch {
                if visit(node).is_break() {
                    return Ok(());
                }
            }
        }
    }

    /// A value kept under `key`: cursors, templates.
    pub fn kv_get(&self, key: &str) -> Result<Option<String>> {
        self.read(|db| {
            db.prepare_cached("SELECT value FROM kv WHERE key = ?1")?
                .query_row([key], |row| row.get(0))
                .optional()
        })
    }
}

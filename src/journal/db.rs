//! journal.db: the schema, its migrations, and what is written to it.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use crate::model::{ContentVersion, Ino, ItemId, Name, Timestamp};

use super::bodies::{self, HeldBody};
use super::originals::{self, Original};
use super::{Change, JournalError};

/// Pages of the log from which on a commit moves them into the database, and the log begins anew.
const LOG_PAGES_MAX: u32 = 1000;
/// How long the log is then, in bytes.
pub(super) const LOG_BYTES_MAX: u64 = 4 << 20;

/// The schema this program writes. A newer one refuses to start.
pub const SCHEMA: i64 = 4;

const MIGRATIONS: [&str; SCHEMA as usize] = [
    "
    CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE inodes(ino INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE);
    CREATE TABLE names(parent TEXT NOT NULL, id TEXT NOT NULL, local TEXT NOT NULL, store_name TEXT NOT NULL,
        PRIMARY KEY(parent, id)) WITHOUT ROWID;
    CREATE TABLE attributes(ino INTEGER PRIMARY KEY, value TEXT NOT NULL);
    CREATE TABLE changes(ino INTEGER PRIMARY KEY, value TEXT NOT NULL);
",
    originals::TABLE,
    bodies::TABLE,
    // What is to be copied, or removed because it was replaced, has its version from here on; a row without is read too.
    "",
];

/// Attributes that only this machine keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalAttr {
    /// Modification time as a program or the last write set it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtime: Option<Timestamp>,
    /// For a published file: the content that `mtime` belongs to; another version shows the store's time again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<ContentVersion>,
    /// For a published folder: the store's time that `mtime` outdoes; a later one shows again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<Timestamp>,
    /// Last change of anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ctime: Option<Timestamp>,
    /// Access time as a program set it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub atime: Option<Timestamp>,
    /// Permission bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u16>,
    /// First sight, for folders whose store has no times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Timestamp>,
    /// Owner, where a privileged program set another than the mount's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Group, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
}

/// A local name that is not what the naming rule gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameBinding {
    /// The folder.
    pub parent: ItemId,
    /// The item in it.
    pub id: ItemId,
    /// Shown under this name.
    pub local: Name,
    /// For as long as the store calls it this.
    pub store_name: String,
}

/// One write to the journal.
#[derive(Clone, Debug)]
pub enum Write {
    /// The change of a node, in place of its earlier one.
    Put(Box<Change>),
    /// A change that has been carried out or taken back.
    Drop(Ino),
    /// A node is this item from now on.
    Identify(Ino, ItemId),
    /// Where ids are paths: a folder's id changed, and with it every id below.
    Rekey(ItemId, ItemId),
    /// What was sent of an item that is called otherwise now.
    RekeyOriginal(ItemId, ItemId),
    /// Local attributes of a node.
    Attr(Ino, Box<LocalAttr>),
    /// A local name.
    Bind(NameBinding),
    /// A local name that is no more.
    Unbind(ItemId, ItemId),
    /// Bytes that were sent and that the store changed, in place of what was noted under the same number.
    Original(Box<Original>),
    /// The bytes of a small body, until its file is synced.
    Hold(Box<HeldBody>),
    /// That row is not needed any more.
    Release(u64),
    /// A value of `meta`.
    Meta(&'static str, String),
}

/// Opens journal.db, migrating it forward; a backup of the old schema stays beside it.
pub fn open(path: &Path) -> Result<Connection, JournalError> {
    let open = || -> rusqlite::Result<Connection> {
        let db = Connection::open(path)?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "NORMAL")?;
        db.pragma_update(None, "wal_autocheckpoint", LOG_PAGES_MAX)?;
        db.busy_timeout(std::time::Duration::from_secs(10))?;
        Ok(db)
    };
    let mut db = open().map_err(|e| JournalError::database("open", path, e))?;
    let version: i64 = db
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(|e| JournalError::database("read", path, e))?;
    if version > SCHEMA {
        return Err(JournalError::Newer {
            path: path.to_owned(),
            found: version,
            known: SCHEMA,
        });
    }
    if version < SCHEMA {
        if version > 0 {
            let backup = PathBuf::from(format!("{}.v{version}.bak", path.display()));
            let result = db.backup("main", &backup, None);
            result.map_err(|e| JournalError::database("back up", path, e))?;
        }
        migrate(&mut db, version).map_err(|e| JournalError::database("migrate", path, e))?;
    }
    Ok(db)
}

fn migrate(db: &mut Connection, from: i64) -> rusqlite::Result<()> {
    let txn = db.transaction()?;
    for (step, sql) in MIGRATIONS.iter().enumerate().skip(from as usize) {
        txn.execute_batch(sql)?;
        txn.pragma_update(None, "user_version", step as i64 + 1)?;
    }
    txn.commit()
}

/// Carries out a write inside the caller's transaction.
pub fn apply(db: &Connection, write: &Write) -> rusqlite::Result<()> {
    match write {
        Write::Put(change) => {
            let value = to_json(change)?;
            db.prepare_cached("INSERT OR REPLACE INTO changes(ino, value) VALUES(?1, ?2)")?
                .execute(params![change.ino.0 as i64, value])?;
        }
        Write::Drop(ino) => {
            db.prepare_cached("DELETE FROM changes WHERE ino = ?1")?
                .execute([ino.0 as i64])?;
        }
        Write::Identify(ino, id) => {
            // Either side may have been somebody else before: identity moves between nodes.
            db.prepare_cached("DELETE FROM inodes WHERE id = ?1 OR ino = ?2")?
                .execute(params![id.as_str(), ino.0 as i64])?;
            db.prepare_cached("INSERT INTO inodes(ino, id) VALUES(?1, ?2)")?
                .execute(params![ino.0 as i64, id.as_str()])?;
        }
        Write::Rekey(old, new) => rekey(db, old, new)?,
        Write::RekeyOriginal(old, new) => originals::rekey(db, old, new)?,
        Write::Attr(ino, attr) => {
            let value = to_json(attr)?;
            db.prepare_cached("INSERT OR REPLACE INTO attributes(ino, value) VALUES(?1, ?2)")?
                .execute(params![ino.0 as i64, value])?;
        }
        Write::Bind(b) => {
            db.prepare_cached("INSERT OR REPLACE INTO names(parent, id, local, store_name) VALUES(?1, ?2, ?3, ?4)")?
                .execute(params![
                    b.parent.as_str(),
                    b.id.as_str(),
                    b.local.as_str(),
                    b.store_name
                ])?;
        }
        Write::Unbind(parent, id) => {
            db.prepare_cached("DELETE FROM names WHERE parent = ?1 AND id = ?2")?
                .execute(params![parent.as_str(), id.as_str()])?;
        }
        Write::Original(original) => originals::put(db, original)?,
        Write::Hold(held) => bodies::put(db, held)?,
        Write::Release(number) => bodies::remove(db, *number)?,
        Write::Meta(key, value) => {
            db.prepare_cached("INSERT OR REPLACE INTO meta(key, value) VALUES(?1, ?2)")?
                .execute(params![key, value])?;
        }
    }
    Ok(())
}

fn rekey(db: &Connection, old: &ItemId, new: &ItemId) -> rusqlite::Result<()> {
    originals::rekey(db, old, new)?;
    let rows: Vec<(i64, ItemId)> = db
        .prepare_cached("SELECT ino, id FROM inodes")?
        .query_map([], |row| Ok((row.get(0)?, ItemId::new(row.get::<_, String>(1)?))))?
        .collect::<Result<_, _>>()?;
    for (ino, id) in rows {
        if let Some(id) = id.rekeyed(old, new) {
            db.prepare_cached("UPDATE OR REPLACE inodes SET id = ?2 WHERE ino = ?1")?
                .execute(params![ino, id.as_str()])?;
        }
    }
    let names: Vec<(ItemId, ItemId)> = db
        .prepare_cached("SELECT parent, id FROM names")?
        .query_map([], |row| {
            Ok((
                ItemId::new(row.get::<_, String>(0)?),
                ItemId::new(row.get::<_, String>(1)?),
            ))
        })?
        .collect::<Result<_, _>>()?;
    for (parent, id) in names {
        let (to_parent, to_id) = (parent.rekeyed(old, new), id.rekeyed(old, new));
        if to_parent.is_some() || to_id.is_some() {
            let (to_parent, to_id) = (to_parent.unwrap_or(parent.clone()), to_id.unwrap_or(id.clone()));
            db.prepare_cached("UPDATE OR REPLACE names SET parent = ?3, id = ?4 WHERE parent = ?1 AND id = ?2")?
                .execute([parent.as_str(), id.as_str(), to_parent.as_str(), to_id.as_str()])?;
        }
    }
    Ok(())
}

pub(super) fn to_json<T: Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))
}

pub(super) fn from_json<T: for<'de> Deserialize<'de>>(column: usize, text: &str) -> rusqlite::Result<T> {
    let broken = rusqlite::types::Type::Text;
    serde_json::from_str(text).map_err(|e| rusqlite::Error::FromSqlConversionFailure(column, broken, Box::new(e)))
}

/// A value of `meta`.
pub fn meta(db: &Connection, key: &str) -> rusqlite::Result<Option<String>> {
    db.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0))
        .optional()
}

/// Every pending change.
pub fn changes(db: &Connection) -> rusqlite::Result<Vec<Change>> {
    let mut rows = db.prepare("SELECT value FROM changes ORDER BY ino")?;
    let rows = rows.query_map([], |row| from_json(0, &row.get::<_, String>(0)?))?;
    rows.collect()
}

/// The pending change of a node.
pub fn change_of(db: &Connection, ino: Ino) -> rusqlite::Result<Option<Change>> {
    db.prepare_cached("SELECT value FROM changes WHERE ino = ?1")?
        .query_row([ino.0 as i64], |row| from_json(0, &row.get::<_, String>(0)?))
        .optional()
}

/// The local attributes of a node.
pub fn attribute_of(db: &Connection, ino: Ino) -> rusqlite::Result<Option<LocalAttr>> {
    db.prepare_cached("SELECT value FROM attributes WHERE ino = ?1")?
        .query_row([ino.0 as i64], |row| from_json(0, &row.get::<_, String>(0)?))
        .optional()
}

/// Every node's local attributes.
pub fn attributes(db: &Connection) -> rusqlite::Result<Vec<(Ino, LocalAttr)>> {
    let mut rows = db.prepare("SELECT ino, value FROM attributes")?;
    let rows = rows.query_map([], |row| {
        Ok((ino(row.get(0)?), from_json(1, &row.get::<_, String>(1)?)?))
    })?;
    rows.collect()
}

/// The local names bound in one folder.
pub fn bindings(db: &Connection, parent: &ItemId) -> rusqlite::Result<Vec<NameBinding>> {
    let mut rows = db.prepare_cached("SELECT id, local, store_name FROM names WHERE parent = ?1")?;
    let rows = rows.query_map([parent.as_str()], |row| {
        Ok((
            row.get::<_, String>(0)?,
            row.get::<_, String>(1)?,
            row.get::<_, String>(2)?,
        ))
    })?;
    let mut bindings = Vec::new();
    for row in rows {
        let (id, local, store_name) = row?;
        if let Ok(local) = Name::new(local) {
            bindings.push(NameBinding {
                parent: parent.clone(),
                id: ItemId::new(id),
                local,
                store_name,
            });
        }
    }
    Ok(bindings)
}

/// The inode of an item, when it has one.
pub fn ino_of(db: &Connection, id: &ItemId) -> rusqlite::Result<Option<Ino>> {
    db.prepare_cached("SELECT ino FROM inodes WHERE id = ?1")?
        .query_row([id.as_str()], |row| row.get(0).map(ino))
        .optional()
}

/// The item behind an inode.
pub fn id_of(db: &Connection, of: Ino) -> rusqlite::Result<Option<ItemId>> {
    db.prepare_cached("SELECT id FROM inodes WHERE ino = ?1")?
        .query_row([of.0 as i64], |row| row.get::<_, String>(0).map(ItemId::new))
        .optional()
}

fn ino(raw: i64) -> Ino {
    Ino(raw as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Kind;

    fn version(db: &Connection) -> i64 {
        db.pragma_query_value(None, "user_version", |row| row.get(0))
            .expect("a version")
    }

    #[test]
    fn a_journal_of_the_first_format_is_carried_forward_and_kept_beside() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("journal.db");
        let mut change = Change::of(
            Ino(7),
            Kind::File,
            Some(ItemId::new("file:3")),
            1,
            Timestamp::from_secs(5),
        );
        change.attempts = 2;
        let row = serde_json::to_string(&change).expect("encodes");
        let row = format!(
            r#"{},"copy_of":"file:1","leftovers":["file:2"]}}"#,
            row.trim_end_matches('}')
        );
        let old = Connection::open(&path).expect("opens");
        old.execute_batch(MIGRATIONS[0]).expect("its tables");
        old.pragma_update(None, "user_version", 1).expect("its number");
        old.execute("INSERT INTO changes(ino, value) VALUES(7, ?1)", [&row])
            .expect("a row");
        drop(old);
        let db = open(&path).expect("opens");
        assert_eq!(version(&db), SCHEMA);
        let read = changes(&db).expect("its rows");
        assert_eq!(read.len(), 1);
        assert_eq!((read[0].ino, read[0].attempts), (Ino(7), 2));
        let known = |id: &str| crate::journal::KnownItem {
            id: ItemId::new(id),
            version: None,
            size: None,
        };
        assert_eq!(read[0].copy_of, Some(known("file:1")));
        assert_eq!(read[0].leftovers, [known("file:2")]);
        let kept = Connection::open(dir.path().join("journal.db.v1.bak")).expect("opens");
        assert_eq!(version(&kept), 1);
        assert_eq!(changes(&kept).expect("its rows"), read);
        drop(open(&path).expect("opens once more"));
    }

    #[test]
    fn a_journal_of_a_newer_format_is_left_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("journal.db");
        let db = open(&path).expect("opens");
        db.pragma_update(None, "user_version", SCHEMA + 1).expect("its number");
        drop(db);
        let refused = open(&path).expect_err("newer").to_string();
        assert!(refused.contains("newer assetfs"), "{refused}");
        assert!(refused.contains("journal.db"), "{refused}");
    }
}

//! The index of the content folder: which body is whose, how large, when last used. SQLite, so that a start reads a sum
//! instead of a folder with a million files, and a crash loses at most what can be fetched again.

use std::path::{Path, PathBuf};

use parking_lot::{Mutex, MutexGuard};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::disk;
use crate::model::{ContentVersion, Entry, ItemId, Timestamp};

use super::body::BodyId;
use super::error::{CacheError, Result};
use super::shared::Key;

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    CREATE TABLE IF NOT EXISTS body (
        id INTEGER PRIMARY KEY,
        item TEXT NOT NULL,
        version TEXT NOT NULL,
        size INTEGER,
        bytes INTEGER NOT NULL DEFAULT 0,
        complete INTEGER NOT NULL DEFAULT 0,
        pinned INTEGER NOT NULL DEFAULT 0,
        open INTEGER NOT NULL DEFAULT 1,
        used INTEGER NOT NULL,
        keep_until INTEGER NOT NULL DEFAULT 0,
        validator TEXT,
        UNIQUE (item, version)
    );
    CREATE INDEX IF NOT EXISTS body_used ON body (pinned, used);
    PRAGMA user_version = 1;";

/// Room for noting what is closed and thrown out on a full disk, in bytes.
const RESERVE_BYTES: u64 = 1 << 20;

/// One body in the content folder.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) id: BodyId,
    pub(super) item: ItemId,
    pub(super) version: ContentVersion,
    /// Size of the whole content, when it is known.
    pub(super) size: Option<u64>,
    /// What of it is on the disk.
    pub(super) bytes: u64,
    /// All there, synced and with the right checksum.
    pub(super) complete: bool,
    pub(super) validator: Option<String>,
}

const COLUMNS: &str = "id, item, version, size, bytes, complete, validator";

fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    Ok(Record {
        id: BodyId::from_db(row.get(0)?),
        item: ItemId::new(row.get::<_, String>(1)?),
        version: ContentVersion::new(row.get::<_, String>(2)?),
        size: row.get::<_, Option<i64>>(3)?.map(|size| size as u64),
        bytes: row.get::<_, i64>(4)? as u64,
        complete: row.get(5)?,
        validator: row.get(6)?,
    })
}

/// A body that nobody has open any more.
pub(super) struct Closing {
    pub(super) id: BodyId,
    pub(super) bytes: u64,
    pub(super) used: Timestamp,
}

/// The index. Its lock is also what keeps opening and evicting apart; it is only ever taken on blocking threads.
pub(super) struct Index {
    folder: PathBuf,
    connection: Mutex<Connection>,
    /// Noted here by `Drop`, which must not wait for the disk; written before anything else is asked.
    closing: Mutex<Vec<Closing>>,
    /// So that bodies can be thrown out when there is no room to note that.
    reserve: disk::Reserve,
}

/// The index, locked.
pub(super) struct Locked<'a> {
    folder: &'a Path,
    connection: MutexGuard<'a, Connection>,
}

impl Index {
    /// Opens the index in `folder`; a damaged one is thrown away together with all bodies.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        disk::create_private_dir(folder)?;
        let path = folder.join("index.db");
        let connection = match connect(&path) {
            Ok(connection) => connection,
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "the content cache is damaged and starts empty");
                for left in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                    disk::remove_if_there(&left.path())?;
                }
                connect(&path)?
            }
        };
        let index = Self {
            folder: folder.to_owned(),
            connection: Mutex::new(connection),
            closing: Mutex::new(Vec::new()),
            reserve: disk::Reserve::hold(folder.join("index.reserve"), RESERVE_BYTES),
        };
        index.lock()?.settle_after_crash()?;
        Ok(index)
    }

    /// Takes the lock. Blocks the thread.
    pub(super) fn lock(&self) -> Result<Locked<'_>> {
        let locked = Locked {
            folder: &self.folder,
            connection: self.connection.lock(),
        };
        let closing = std::mem::take(&mut *self.closing.lock());
        if closing.is_empty() {
            return Ok(locked);
        }
        let mut written = locked.write_closed(&closing);
        if written.as_ref().is_err_and(CacheError::is_full) && self.reserve.spend()? {
            tracing::warn!("the disk is full: the index of the cache goes on in its reserve");
            written = locked.write_closed(&closing);
        }
        match written {
            // Until there is room again they count as open.
            Err(error) if error.is_full() => self.closing.lock().extend(closing),
            written => written?,
        }
        Ok(locked)
    }

    /// After bodies have been thrown out: holds the reserve again.
    pub(super) fn room_was_made(&self) {
        self.reserve.renew();
    }

    /// Notes that a body was closed; never blocks.
    pub(super) fn closed(&self, closing: Closing) {
        self.closing.lock().push(closing);
    }

    /// Where a body lies.
    pub(super) fn path(&self, id: BodyId) -> PathBuf {
        self.folder.join(id.to_string())
    }

    /// Where a body's block map lies.
    pub(super) fn map_path(&self, id: BodyId) -> PathBuf {
        map_path(&self.folder, id)
    }
}

fn map_path(folder: &Path, id: BodyId) -> PathBuf {
    folder.join(format!("{id}.map"))
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.execute_batch(SCHEMA)?;
    connection
        .query_row(&format!("SELECT {COLUMNS} FROM body LIMIT 1"), [], record)
        .optional()?;
    Ok(connection)
}

impl Locked<'_> {
    /// What was open when the program died has an old count of bytes: ask the files, which are few.
    fn settle_after_crash(&self) -> Result<()> {
        let open = self.select("WHERE open = 1", [])?;
        for record in open {
            let on_disk = std::fs::metadata(self.folder.join(record.id.to_string()));
            match on_disk {
                Ok(meta) => {
                    let bytes = std::os::unix::fs::MetadataExt::blocks(&meta) * 512;
                    self.connection
                        .prepare_cached("UPDATE body SET bytes = ?2, open = 0 WHERE id = ?1")?
                        .execute(params![
                            record.id.to_db(),
                            bytes.min(record.size.unwrap_or(u64::MAX)) as i64
                        ])?;
                }
                Err(_) => self.remove(record.id)?,
            }
        }
        Ok(())
    }

    fn write_closed(&self, closing: &[Closing]) -> Result<()> {
        let transaction = self.connection.unchecked_transaction()?;
        for body in closing {
            transaction
                .prepare_cached("UPDATE body SET bytes = ?2, used = max(used, ?3), open = 0 WHERE id = ?1")?
                .execute(params![body.id.to_db(), body.bytes as i64, body.used.to_db()])?;
        }
        Ok(transaction.commit()?)
    }

    fn select(&self, rest: &str, values: impl rusqlite::Params) -> Result<Vec<Record>> {
        let mut statement = self
            .connection
            .prepare_cached(&format!("SELECT {COLUMNS} FROM body {rest}"))?;
        let rows = statement.query_map(values, record)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The body of a version, if there is one.
    pub(super) fn find(&self, item: &ItemId, version: &ContentVersion) -> Result<Option<Record>> {
        let found = self.select("WHERE item = ?1 AND version = ?2", [item.as_str(), version.as_str()])?;
        Ok(found.into_iter().next())
    }

    /// Bodies of `size` bytes of the item other than `own`, the last used first.
    pub(super) fn others(&self, item: &ItemId, own: BodyId, size: u64) -> Result<Vec<Record>> {
        self.select(
            "WHERE item = ?1 AND id <> ?2 AND size = ?3 ORDER BY used DESC LIMIT 4",
            params![item.as_str(), own.to_db(), size as i64],
        )
    }

    /// Notes that a body is in use.
    pub(super) fn opened(&self, id: BodyId, now: Timestamp) -> Result<()> {
        self.connection
            .prepare_cached("UPDATE body SET open = 1, used = ?2 WHERE id = ?1")?
            .execute(params![id.to_db(), now.to_db()])?;
        Ok(())
    }

    /// A new body of `entry`, still empty. An older one of that version goes.
    pub(super) fn insert(&self, id: BodyId, entry: &Entry, now: Timestamp) -> Result<()> {
        if let Some(old) = self.find(&entry.id, &entry.version)? {
            self.remove(old.id)?;
        }
        self.connection
            .prepare_cached("INSERT INTO body (id, item, version, size, used) VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![
                id.to_db(),
                entry.id.as_str(),
                entry.version.as_str(),
                entry.size.map(|size| size as i64),
                now.to_db()
            ])?;
        Ok(())
    }

    /// Removes a body's files and forgets it.
    pub(super) fn remove(&self, id: BodyId) -> Result<()> {
        disk::remove_if_there(&self.folder.join(id.to_string()))?;
        self.forget(id)
    }

    /// Forgets a body whose file has gone elsewhere.
    pub(super) fn forget(&self, id: BodyId) -> Result<()> {
        disk::remove_if_there(&map_path(self.folder, id))?;
        self.connection
            .prepare_cached("DELETE FROM body WHERE id = ?1")?
            .execute([id.to_db()])?;
        Ok(())
    }

    /// Notes how complete a body is.
    pub(super) fn set_complete(&self, id: BodyId, size: u64, bytes: u64, complete: bool) -> Result<()> {
        self.connection
            .prepare_cached("UPDATE body SET size = ?2, bytes = ?3, complete = ?4 WHERE id = ?1")?
            .execute(params![id.to_db(), size as i64, bytes as i64, complete])?;
        Ok(())
    }

    /// Notes what names these bytes on the wire.
    pub(super) fn set_validator(&self, id: BodyId, validator: &str) -> Result<()> {
        self.connection
            .prepare_cached("UPDATE body SET validator = ?2 WHERE id = ?1")?
            .execute(params![id.to_db(), validator])?;
        Ok(())
    }

    /// Keeps a body until then, unless the disk is full.
    pub(super) fn keep_until(&self, id: BodyId, until: Timestamp) -> Result<()> {
        self.connection
            .prepare_cached("UPDATE body SET keep_until = ?2 WHERE id = ?1")?
            .execute(params![id.to_db(), until.to_db()])?;
        Ok(())
    }

    /// Keeps a body for good, or no longer.
    pub(super) fn set_pinned(&self, item: &ItemId, version: Option<&ContentVersion>, pinned: bool) -> Result<usize> {
        let changed = self
            .connection
            .prepare_cached("UPDATE body SET pinned = ?3 WHERE item = ?1 AND (?2 IS NULL OR version = ?2)")?
            .execute(params![item.as_str(), version.map(ContentVersion::as_str), pinned])?;
        Ok(changed)
    }

    /// Whether a body of this version is kept for good.
    pub(super) fn is_pinned(&self, item: &ItemId, version: &ContentVersion) -> Result<bool> {
        let found: Option<i64> = self
            .connection
            .prepare_cached("SELECT 1 FROM body WHERE item = ?1 AND version = ?2 AND pinned = 1")?
            .query_row(params![item.as_str(), version.as_str()], |row| row.get(0))
            .optional()?;
        Ok(found.is_some())
    }

    /// Gives a body to another version (of an item that may have another id now), when that has none yet.
    pub(super) fn set_version(&self, id: BodyId, item: &ItemId, version: &ContentVersion) -> Result<bool> {
        let changed = self
            .connection
            .prepare_cached("UPDATE OR IGNORE body SET item = ?2, version = ?3 WHERE id = ?1")?
            .execute(params![id.to_db(), item.as_str(), version.as_str()])?;
        Ok(changed > 0)
    }

    /// Gives a body to an item, which has the same version under another id, when that has none yet.
    pub(super) fn set_item(&self, (item, version): &Key, to: &ItemId) -> Result<bool> {
        let changed = self
            .connection
            .prepare_cached("UPDATE OR IGNORE body SET item = ?3 WHERE item = ?1 AND version = ?2")?
            .execute(params![item.as_str(), version.as_str(), to.as_str()])?;
        Ok(changed > 0)
    }

    /// Tells of every body how much of it is on the disk.
    pub(super) fn each(&self, mut tell: impl FnMut(Key, u64)) -> Result<()> {
        let mut statement = self.connection.prepare("SELECT item, version, bytes FROM body")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let key = (
                ItemId::new(row.get::<_, String>(0)?),
                ContentVersion::new(row.get::<_, String>(1)?),
            );
            tell(key, row.get::<_, i64>(2)? as u64);
        }
        Ok(())
    }

    /// Closed, unpinned bodies that need not be kept at `now`, the longest unused first.
    pub(super) fn evictable(&self, now: Timestamp, at_most: u32) -> Result<Vec<Record>> {
        self.select(
            "WHERE pinned = 0 AND open = 0 AND keep_until <= ?1 ORDER BY used LIMIT ?2",
            params![now.to_db(), at_most],
        )
    }

    /// Whether a body is known.
    pub(super) fn knows(&self, id: BodyId) -> Result<bool> {
        let mut statement = self.connection.prepare_cached("SELECT 1 FROM body WHERE id = ?1")?;
        Ok(statement.exists([id.to_db()])?)
    }
}

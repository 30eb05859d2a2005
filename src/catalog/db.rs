//! The database: opening it, setting a bad one aside, and lending out connections.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use super::recent::Recent;

/// Connections for reading.
const READERS: usize = 4;
/// The longest wait for a connection.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// The longest wait for another process that has the file locked.
const LOCKED_MAX: Duration = Duration::from_secs(5);
/// Up to this size a catalog is looked through for damage when it is opened: that takes no noticeable time.
const CHECKED_BYTES_MAX: u64 = 32 << 20;
/// Marks the file as ours (`aftc`).
const APPLICATION_ID: i32 = 0x6166_7463;
/// Moves with every change of [`SCHEMA`]; there are no migrations, for a catalog is rebuilt by listing.
const VERSION: i32 = 1;

/// `edges` is clustered by the folder and the local name: a lookup is one descent, a readdir one scan, in name order.
/// Nodes have a small key of their own, so that edges stay short and the join is by rowid; fields lie apart because
/// readdir does not want them.
const SCHEMA: &str = "
CREATE TABLE nodes (
    n INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    ino INTEGER NOT NULL UNIQUE,
    kind INTEGER NOT NULL,
    name TEXT NOT NULL,
    size INTEGER,
    version TEXT NOT NULL,
    revision TEXT NOT NULL,
    created INTEGER,
    modified INTEGER,
    mime TEXT,
    checksum TEXT,
    availability INTEGER NOT NULL,
    child_folders INTEGER,
    child_files INTEGER,
    fields_complete INTEGER NOT NULL,
    stat_at INTEGER NOT NULL
);
CREATE TABLE fields (n INTEGER PRIMARY KEY, json TEXT NOT NULL);
CREATE TABLE edges (
    parent TEXT NOT NULL,
    local TEXT NOT NULL,
    child INTEGER NOT NULL,
    made_for TEXT NOT NULL,
    PRIMARY KEY (parent, local)
) WITHOUT ROWID;
CREATE UNIQUE INDEX edges_by_child ON edges (child, parent);
CREATE TABLE listings (folder TEXT PRIMARY KEY, listed_at INTEGER NOT NULL, complete INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE gone (id TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE kv (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
";

/// What goes wrong with the catalog. None of it loses user data.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file turned out to be damaged while in use; the next start sets it aside and lists again.
    #[error("the catalog {path} is damaged; mount again to have it rebuilt ({source})")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// SQLite's own words.
        source: rusqlite::Error,
    },
    /// SQLite failed otherwise (a full disk, a lock held by another process).
    #[error("the catalog {path} cannot be used; check the disk's space and rights ({source})")]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// SQLite's own words.
        source: rusqlite::Error,
    },
    /// The file or its folder cannot be made or moved.
    #[error("the catalog {path} cannot be opened; check the cache folder's space and rights ({source})")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// No connection became free in time.
    #[error("the catalog is busy; try again")]
    Busy,
}

/// What a call on the catalog answers.
pub type Result<T> = std::result::Result<T, Error>;

/// The remote tree as last known.
pub struct Catalog {
    path: PathBuf,
    writer: Mutex<Connection>,
    /// Exactly [`READERS`].
    readers: Vec<Mutex<Connection>>,
    turn: AtomicUsize,
    pub(super) recent: Recent,
    /// Transactions so far, and how many of them are surely on the disk.
    written: AtomicU64,
    synced: AtomicU64,
    /// How far listings may lag, in milliseconds.
    lag_ms: AtomicU64,
}

impl Catalog {
    /// Listings of this store may show how it was up to `lag` ago: what they tell of an item that is known from a later
    /// state is not taken. None at first.
    pub fn expect_lag(&self, lag: Duration) {
        let lag_ms = u64::try_from(lag.as_millis()).unwrap_or(u64::MAX);
        self.lag_ms.store(lag_ms, Ordering::Relaxed);
    }

    pub(super) fn lag(&self) -> Duration {
        Duration::from_millis(self.lag_ms.load(Ordering::Relaxed))
    }

    /// Opens the catalog at `path`, or begins a new one there when it is missing, damaged or of another version.
    pub fn open(path: &Path) -> Result<Self> {
        let io_error = |source| Error::Io {
            path: path.to_owned(),
            source,
        };
        if let Some(folder) = path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(io_error)?;
        }
        let sql_error = |source| classify(path, source);
        let writer = match begin(path) {
            Ok(Begun::Ready(connection)) => connection,
            Ok(Begun::Foreign(reason)) => {
                set_aside(path, reason).map_err(io_error)?;
                fresh(path).map_err(sql_error)?
            }
            Err(source) if is_damage(&source) => {
                set_aside(path, "it is damaged").map_err(io_error)?;
                fresh(path).map_err(sql_error)?
            }
            Err(source) => return Err(sql_error(source)),
        };
        let readers = (0..READERS)
            .map(|_| reader(path).map(Mutex::new))
            .collect::<rusqlite::Result<Vec<_>>>();
        Ok(Self {
            path: path.to_owned(),
            writer: Mutex::new(writer),
            readers: readers.map_err(sql_error)?,
            turn: AtomicUsize::new(0),
            recent: Recent::new(),
            written: AtomicU64::new(1),
            synced: AtomicU64::new(0),
            lag_ms: AtomicU64::new(0),
        })
    }

    /// Where the catalog lies.
    pub fn file(&self) -> &Path {
        &self.path
    }

    /// Runs `query` on one of the read connections.
    pub(super) fn read<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let reader = self.reader()?;
        query(&reader).map_err(|e| self.failed(e))
    }

    /// Runs `change` in one transaction: all of it or nothing.
    pub(super) fn write<T>(&self, change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T> {
        let mut writer: MutexGuard<'_, Connection> = self.writer.try_lock_for(WAIT_MAX).ok_or(Error::Busy)?;
        let _writing = self.recent.write();
        let outcome = (|| {
            let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = change(&transaction)?;
            transaction.commit()?;
            Ok(value)
        })();
        self.written.fetch_add(1, Ordering::Relaxed);
        outcome.map_err(|e| self.failed(e))
    }

    /// Makes everything durable that was written before the call: what the journal forgets, the catalog must not lose.
    pub fn sync(&self) -> Result<()> {
        let wanted = self.written.load(Ordering::Relaxed);
        let writer = self.writer.try_lock_for(WAIT_MAX).ok_or(Error::Busy)?;
        if self.synced.load(Ordering::Relaxed) >= wanted {
            // Somebody else's sync came after it.
            return Ok(());
        }
        let reached = self.written.load(Ordering::Relaxed);
        let outcome = (|| {
            // In WAL mode FULL syncs the log at commit, and with it everything that was written before.
            writer.pragma_update(None, "synchronous", "FULL")?;
            // A transaction that changes nothing would not touch the log, and so would not sync it.
            let synced = writer.execute(
                "INSERT INTO kv (key, value) VALUES ('syncs', '1')
                 ON CONFLICT (key) DO UPDATE SET value = CAST(value AS INTEGER) + 1",
                [],
            );
            writer.pragma_update(None, "synchronous", "NORMAL")?;
            synced
        })();
        outcome.map_err(|e| self.failed(e))?;
        self.synced.store(reached, Ordering::Relaxed);
        Ok(())
    }

    /// A read connection: the first that is free, else the next in turn.
    fn reader(&self) -> Result<MutexGuard<'_, Connection>> {
        if let Some(free) = self.readers.iter().find_map(Mutex::try_lock) {
            return Ok(free);
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.readers.len();
        self.readers[turn].try_lock_for(WAIT_MAX).ok_or(Error::Busy)
    }

    /// Damage is remembered beside the file: SQLite may not notice it again while opening.
    fn failed(&self, source: rusqlite::Error) -> Error {
        let error = classify(&self.path, source);
        if let Error::Damaged { .. } = &error
            && let Err(e) = File::create(beside(&self.path, ".damaged"))
        {
            tracing::warn!(path = %self.path.display(), "the damage of the catalog cannot be marked: {e}");
        }
        error
    }
}

enum Begun {
    Ready(Connection),
    Foreign(&'static str),
}

fn begin(path: &Path) -> rusqlite::Result<Begun> {
    if beside(path, ".damaged").exists() {
        return Ok(Begun::Foreign("it was found damaged"));
    }
    let connection = writer(path)?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables == 0 {
        create(&connection)?;
        return Ok(Begun::Ready(connection));
    }
    let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if application != APPLICATION_ID || version != VERSION {
        return Ok(Begun::Foreign("another version of the program wrote it"));
    }
    let small = std::fs::metadata(path).is_ok_and(|file| file.len() <= CHECKED_BYTES_MAX);
    if small {
        let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if verdict != "ok" {
            return Ok(Begun::Foreign("it is damaged"));
        }
    }
    // Touches each table's pages once; damage deeper down in a large one shows when it is met.
    for table in ["nodes", "fields", "edges", "listings", "gone", "kv"] {
        connection.query_row(
            &format!("SELECT count(*) FROM (SELECT 1 FROM {table} LIMIT 1)"),
            [],
            |_| Ok(()),
        )?;
    }
    Ok(Begun::Ready(connection))
}

fn fresh(path: &Path) -> rusqlite::Result<Connection> {
    let connection = writer(path)?;
    create(&connection)?;
    Ok(connection)
}

fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(&format!(
        "BEGIN IMMEDIATE; {SCHEMA} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}; COMMIT;"
    ))
}

fn writer(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(LOCKED_MAX)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(LOCKED_MAX)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

/// Moves the file away, over an older one that was set aside: at most one is kept.
fn set_aside(path: &Path, reason: &'static str) -> io::Result<()> {
    let aside = beside(path, ".set-aside");
    tracing::warn!(
        path = %path.display(), kept_as = %aside.display(),
        "the catalog is set aside because {reason}; folders are listed again"
    );
    for suffix in ["", "-wal", "-shm"] {
        match std::fs::rename(beside(path, suffix), beside(&aside, suffix)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            Ok(()) | Err(_) => {}
        }
    }
    match std::fs::remove_file(beside(path, ".damaged")) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
        // A value that our own code did not write there.
        || matches!(error, rusqlite::Error::FromSqlConversionFailure(..) | rusqlite::Error::InvalidColumnType(..))
}

fn classify(path: &Path, source: rusqlite::Error) -> Error {
    let path = path.to_owned();
    if is_damage(&source) {
        Error::Damaged { path, source }
    } else {
        Error::Sqlite { path, source }
    }
}

//! Keeps what differs from the seed in a SQLite file, so that a library survives a restart.

use std::path::Path;

use rusqlite::{Connection, params};

use super::options::Seed;
use super::records::Record;

/// One row to write: kind, key, and the record as JSON; None marks a seeded record as deleted.
pub(super) type Row = (&'static str, String, Option<String>);

/// The file.
pub(super) struct Database {
    connection: Connection,
}

/// Why it cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum DatabaseError {
    #[error("the emulator's database failed")]
    Sqlite(#[from] rusqlite::Error),
    #[error("the emulator's database holds a record that cannot be read")]
    Json(#[from] serde_json::Error),
}

impl Database {
    /// Opens or makes the file.
    pub(super) fn open(path: &Path) -> Result<Self, DatabaseError> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS records (
                kind TEXT NOT NULL, key TEXT NOT NULL, body TEXT, PRIMARY KEY (kind, key)
            ) WITHOUT ROWID",
        )?;
        Ok(Self { connection })
    }

    /// The seed that the file was made with; a new file remembers `seed`.
    pub(super) fn seed(&mut self, seed: Seed) -> Result<Seed, DatabaseError> {
        let known: Option<String> = self
            .connection
            .query_row("SELECT body FROM records WHERE kind = 'seed'", [], |row| row.get(0))
            .map(Some)
            .or_else(|error| match error {
                rusqlite::Error::QueryReturnedNoRows => Ok(None),
                other => Err(other),
            })?;
        match known {
            Some(text) => Ok(serde_json::from_str(&text)?),
            None => {
                self.write(&[("seed", "first".into(), Some(serde_json::to_string(&seed)?))])?;
                Ok(seed)
            }
        }
    }

    /// All rows of a kind: the key, and the record unless it was deleted.
    pub(super) fn read<R: Record>(&self) -> Result<Vec<(String, Option<R>)>, DatabaseError> {
        let mut query = self
            .connection
            .prepare("SELECT key, body FROM records WHERE kind = ?1")?;
        let rows = query.query_map([R::KIND], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?))
        })?;
        let mut records = Vec::new();
        for row in rows {
            let (key, body) = row?;
            let record = body.map(|body| serde_json::from_str(&body)).transpose()?;
            records.push((key, record));
        }
        Ok(records)
    }

    /// Writes all rows, or none of them.
    pub(super) fn write(&mut self, rows: &[Row]) -> Result<(), DatabaseError> {
        let transaction = self.connection.transaction()?;
        {
            let mut put =
                transaction.prepare_cached("INSERT OR REPLACE INTO records (kind, key, body) VALUES (?1, ?2, ?3)")?;
            for (kind, key, body) in rows {
                put.execute(params![kind, key, body])?;
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

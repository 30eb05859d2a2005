//! Bytes that were sent and that the store changed on arrival: user data that exists nowhere else, kept for a while.

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use crate::model::{ContentVersion, Ino, Timestamp};

use super::db::{from_json, to_json};
use super::{Journal, JournalError};

/// What was sent, of which the store made something else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Original {
    /// How commands call it, and its file's name. From the inode numbers, so that no change has the same.
    pub number: u64,
    /// The node that the bytes were sent for.
    pub ino: Ino,
    /// The version that the store made of them.
    pub version: ContentVersion,
    /// Where the node was then, for people.
    pub path: String,
    /// How many bytes were sent.
    pub bytes: u64,
    /// Their digest, to know them again.
    pub digest: String,
    /// What the store did, for people.
    pub why: String,
    /// When they were sent.
    pub at: Timestamp,
    /// Whether the bytes are still here; afterwards only the fact is.
    pub held: bool,
}

/// The table, in the migration that made it.
pub(super) const TABLE: &str = "
    CREATE TABLE originals(number INTEGER PRIMARY KEY, ino INTEGER NOT NULL, value TEXT NOT NULL);
    CREATE INDEX originals_of ON originals(ino);
";

pub(super) fn put(db: &Connection, original: &Original) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT OR REPLACE INTO originals(number, ino, value) VALUES(?1, ?2, ?3)")?
        .execute(params![
            original.number as i64,
            original.ino.0 as i64,
            to_json(original)?
        ])?;
    Ok(())
}

impl Journal {
    /// All originals, oldest first.
    pub fn originals(&self) -> Result<Vec<Original>, JournalError> {
        self.read(|db| {
            let mut rows = db.prepare_cached("SELECT value FROM originals ORDER BY number")?;
            let rows = rows.query_map([], |row| from_json(0, &row.get::<_, String>(0)?))?;
            rows.collect()
        })
    }

    /// The last original of a node.
    pub fn original_of(&self, ino: Ino) -> Result<Option<Original>, JournalError> {
        self.read(|db| {
            db.prepare_cached("SELECT value FROM originals WHERE ino = ?1 ORDER BY number DESC LIMIT 1")?
                .query_row([ino.0 as i64], |row| from_json(0, &row.get::<_, String>(0)?))
                .optional()
        })
    }

    /// An original by its number.
    pub fn original(&self, number: u64) -> Result<Option<Original>, JournalError> {
        self.read(|db| {
            db.prepare_cached("SELECT value FROM originals WHERE number = ?1")?
                .query_row([number as i64], |row| from_json(0, &row.get::<_, String>(0)?))
                .optional()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Durability, Write};

    #[test]
    fn originals_survive_a_restart_and_the_last_one_of_a_node_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let original = |number, version: &str| Original {
            number,
            ino: Ino(7),
            version: ContentVersion::new(version),
            path: "/a.jpg".into(),
            bytes: 3,
            digest: "d".into(),
            why: "smaller".into(),
            at: Timestamp::from_secs(5),
            held: true,
        };
        {
            let journal = Journal::open(dir.path()).unwrap();
            let writes = [original(11, "1"), original(12, "2")];
            let writes = writes.map(|o| Write::Original(Box::new(o))).to_vec();
            journal.write(writes, Durability::Synced).wait_blocking().unwrap();
        }
        let journal = Journal::open(dir.path()).unwrap();
        assert_eq!(journal.original_of(Ino(7)).unwrap(), Some(original(12, "2")));
        assert_eq!(journal.original(11).unwrap(), Some(original(11, "1")));
        assert_eq!(journal.originals().unwrap().len(), 2);
        assert_eq!(journal.original_of(Ino(8)).unwrap(), None);
    }
}

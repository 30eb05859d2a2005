//! Bytes that were sent and that the store changed on arrival: user data that exists nowhere else, kept for a while.

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use crate::model::{ContentVersion, ItemId, Timestamp};

use super::db::{from_json, to_json};
use super::{Journal, JournalError};

/// What was sent, of which the store made something else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Original {
    /// How commands call it, and its file's name. From the inode numbers, so that no change has the same.
    pub number: u64,
    /// The item that the bytes were sent for, as it is called now.
    #[serde(skip, default = "nobody")]
    pub item: ItemId,
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

fn nobody() -> ItemId {
    ItemId::new("")
}

/// The table, in the migration that made it.
pub(super) const TABLE: &str = "
    CREATE TABLE originals(number INTEGER PRIMARY KEY, item TEXT NOT NULL, value TEXT NOT NULL);
    CREATE INDEX originals_of ON originals(item);
";

pub(super) fn put(db: &Connection, original: &Original) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT OR REPLACE INTO originals(number, item, value) VALUES(?1, ?2, ?3)")?
        .execute(params![
            original.number as i64,
            original.item.as_str(),
            to_json(original)?
        ])?;
    Ok(())
}

/// Where ids are paths: an item, or a folder with everything in it, is called `new` now.
pub(super) fn rekey(db: &Connection, old: &ItemId, new: &ItemId) -> rusqlite::Result<()> {
    let rows: Vec<(i64, ItemId)> = db
        .prepare_cached("SELECT number, item FROM originals")?
        .query_map([], |row| Ok((row.get(0)?, ItemId::new(row.get::<_, String>(1)?))))?
        .collect::<Result<_, _>>()?;
    for (number, item) in rows {
        if let Some(item) = item.rekeyed(old, new) {
            db.prepare_cached("UPDATE originals SET item = ?2 WHERE number = ?1")?
                .execute(params![number, item.as_str()])?;
        }
    }
    Ok(())
}

fn original(row: &rusqlite::Row<'_>) -> rusqlite::Result<Original> {
    let told: Original = from_json(0, &row.get::<_, String>(0)?)?;
    Ok(Original {
        item: ItemId::new(row.get::<_, String>(1)?),
        ..told
    })
}

impl Journal {
    /// All originals, oldest first.
    pub fn originals(&self) -> Result<Vec<Original>, JournalError> {
        self.read(|db| {
            let mut rows = db.prepare_cached("SELECT value, item FROM originals ORDER BY number")?;
            let rows = rows.query_map([], original)?;
            rows.collect()
        })
    }

    /// The last original of an item.
    pub fn original_of(&self, item: &ItemId) -> Result<Option<Original>, JournalError> {
        self.read(|db| {
            db.prepare_cached("SELECT value, item FROM originals WHERE item = ?1 ORDER BY number DESC LIMIT 1")?
                .query_row([item.as_str()], original)
                .optional()
        })
    }

    /// An original by its number.
    pub fn original(&self, number: u64) -> Result<Option<Original>, JournalError> {
        self.read(|db| {
            db.prepare_cached("SELECT value, item FROM originals WHERE number = ?1")?
                .query_row([number as i64], original)
                .optional()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Durability, Write};

    #[test]
    fn originals_survive_a_restart_and_follow_their_item() {
        let dir = tempfile::tempdir().unwrap();
        let original = |number, version: &str| Original {
            number,
            item: ItemId::new("file:/a/b.jpg"),
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
        let item = ItemId::new("file:/a/b.jpg");
        assert_eq!(journal.original_of(&item).unwrap(), Some(original(12, "2")));
        assert_eq!(journal.original(11).unwrap(), Some(original(11, "1")));
        assert_eq!(journal.originals().unwrap().len(), 2);
        let moves = [
            Write::Rekey(ItemId::new("folder:/a"), ItemId::new("folder:/c")),
            Write::RekeyOriginal(ItemId::new("file:/c/b.jpg"), ItemId::new("file:/c/d.jpg")),
        ];
        let moved = journal.write(moves.to_vec(), Durability::Synced);
        moved.wait_blocking().unwrap();
        assert_eq!(journal.original_of(&item).unwrap(), None);
        let moved = journal.original_of(&ItemId::new("file:/c/d.jpg")).unwrap();
        assert_eq!(moved.map(|o| o.number), Some(12));
    }
}

//! Small bodies on their way to the disk.
//!
//! A file that is closed has to be durable together with the change that sends it. For a small one the journal takes the
//! bytes along: one sync of its log, shared with all who close at that time, makes both durable, and the file in the staging
//! folder is synced behind everybody's back. Until that is done the journal holds the bytes. After a loss of power the file
//! gets them back from here ([`Journal::held`]); a change that speaks of another generation of its body does not, for its
//! bytes were made durable otherwise.

use std::collections::HashMap;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::model::Timestamp;

use super::db::Write;
use super::{Journal, JournalError};

/// The longest body that the journal takes along.
pub const HELD_BYTES_EACH_MAX: u64 = 64 << 10;
/// How much it holds at a time; beyond that, files are synced by who closes them.
const HELD_BYTES_MAX: u64 = 64 << 20;

/// The table, in the migration that made it.
pub(super) const TABLE: &str = "
    CREATE TABLE bodies(number INTEGER PRIMARY KEY, body TEXT NOT NULL, generation INTEGER NOT NULL, bytes BLOB NOT NULL);
";

/// The bytes of a staged body, as of one generation of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldBody {
    /// Its row.
    pub number: u64,
    /// The staged body's name.
    pub body: String,
    /// The generation that its change tells.
    pub generation: u64,
    /// All of its bytes.
    pub bytes: Bytes,
}

struct Holding {
    number: u64,
    len: u64,
    since: Timestamp,
}

/// Which bodies are held, in memory: at most one row of each is good for anything.
#[derive(Default)]
pub(super) struct Holdings {
    by_body: HashMap<String, Holding>,
    bytes: u64,
    number: u64,
}

impl Holdings {
    /// Goes on behind the rows that are there. Those are for [`Journal::held`]; who restores them lets them go.
    pub fn after(db: &Connection) -> rusqlite::Result<Self> {
        let number: Option<i64> = db.query_row("SELECT max(number) FROM bodies", [], |row| row.get(0))?;
        Ok(Self {
            number: number.unwrap_or(0) as u64,
            ..Self::default()
        })
    }

    fn forget(&mut self, body: &str) -> Option<u64> {
        let holding = self.by_body.remove(body)?;
        self.bytes -= holding.len;
        Some(holding.number)
    }
}

impl Journal {
    /// Whether a body of `len` bytes may be held.
    pub fn may_hold(&self, len: u64) -> bool {
        len <= HELD_BYTES_EACH_MAX && self.holdings.lock().bytes + len <= HELD_BYTES_MAX
    }

    /// The writes that hold a body's bytes, in the place of what is held of an earlier generation. They belong into the
    /// commit that tells of this generation.
    pub fn hold(&self, body: &str, generation: u64, bytes: Bytes, now: Timestamp) -> Vec<Write> {
        let mut holdings = self.holdings.lock();
        let mut writes: Vec<Write> = holdings.forget(body).map(Write::Release).into_iter().collect();
        holdings.number += 1;
        let number = holdings.number;
        holdings.bytes += bytes.len() as u64;
        let holding = Holding {
            number,
            len: bytes.len() as u64,
            since: now,
        };
        holdings.by_body.insert(body.to_owned(), holding);
        writes.push(Write::Hold(Box::new(HeldBody {
            number,
            body: body.to_owned(),
            generation,
            bytes,
        })));
        writes
    }

    /// Whether a body's own file is still to be synced.
    pub fn holds(&self, body: &str) -> bool {
        self.holdings.lock().by_body.contains_key(body)
    }

    /// Bodies that have been held since `before` or longer, with their rows: their files are to be synced. All of them when
    /// there is no room for many more.
    pub fn held_since(&self, before: Timestamp) -> Vec<(u64, String)> {
        let holdings = self.holdings.lock();
        let all = holdings.bytes > HELD_BYTES_MAX / 2;
        let due = holdings.by_body.iter().filter(|(_, held)| all || held.since <= before);
        let mut due: Vec<(u64, String)> = due.map(|(body, held)| (held.number, body.clone())).collect();
        due.sort_unstable();
        due
    }

    /// The bytes of these rows are in synced files, or nothing needs them any more. What is held of a later generation of
    /// the same body stays.
    pub fn release(&self, rows: &[(u64, String)]) -> Vec<Write> {
        let mut holdings = self.holdings.lock();
        for (number, body) in rows {
            if holdings.by_body.get(body).is_some_and(|held| held.number == *number) {
                holdings.forget(body);
            }
        }
        rows.iter().map(|(number, _)| Write::Release(*number)).collect()
    }

    /// The row that holds a body.
    pub fn row_of(&self, body: &str) -> Option<(u64, String)> {
        let holdings = self.holdings.lock();
        holdings.by_body.get(body).map(|held| (held.number, body.to_owned()))
    }

    /// The file of this row could not be synced: it counts as held from `now` on.
    pub fn postpone(&self, row: &(u64, String), now: Timestamp) {
        let mut holdings = self.holdings.lock();
        let held = holdings.by_body.get_mut(&row.1);
        if let Some(held) = held.filter(|held| held.number == row.0) {
            held.since = now;
        }
    }

    /// What an earlier run held, in the order in which it came.
    pub fn held(&self) -> Result<Vec<HeldBody>, JournalError> {
        self.read(|db| {
            let mut rows = db.prepare("SELECT number, body, generation, bytes FROM bodies ORDER BY number")?;
            let rows = rows.query_map([], held_body)?;
            rows.collect()
        })
    }

    /// What is held in one row.
    pub fn held_in(&self, number: u64) -> Result<Option<HeldBody>, JournalError> {
        self.read(|db| {
            db.prepare_cached("SELECT number, body, generation, bytes FROM bodies WHERE number = ?1")?
                .query_row([number as i64], held_body)
                .optional()
        })
    }
}

fn held_body(row: &Row<'_>) -> rusqlite::Result<HeldBody> {
    Ok(HeldBody {
        number: row.get::<_, i64>(0)? as u64,
        body: row.get(1)?,
        generation: row.get::<_, i64>(2)? as u64,
        bytes: row.get::<_, Vec<u8>>(3)?.into(),
    })
}

pub(super) fn put(db: &Connection, held: &HeldBody) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT INTO bodies(number, body, generation, bytes) VALUES(?1, ?2, ?3, ?4)")?
        .execute(params![
            held.number as i64,
            held.body,
            held.generation as i64,
            &held.bytes[..]
        ])?;
    Ok(())
}

pub(super) fn remove(db: &Connection, number: u64) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM bodies WHERE number = ?1")?
        .execute([number as i64])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Durability;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn hold(journal: &Journal, body: &str, generation: u64, bytes: &[u8], now: i64) {
        let writes = journal.hold(body, generation, Bytes::copy_from_slice(bytes), at(now));
        journal
            .write(writes, Durability::Synced)
            .wait_blocking()
            .expect("written");
    }

    #[test]
    fn what_is_held_survives_and_only_the_latest_generation_of_each() {
        let dir = tempfile::tempdir().expect("a folder");
        let journal = Journal::open(dir.path()).expect("opens");
        hold(&journal, "a", 2, b"first", 10);
        hold(&journal, "b", 2, b"other", 11);
        hold(&journal, "a", 4, b"second", 12);
        assert_eq!(journal.held_since(at(11)).len(), 1, "a was held anew");
        drop(journal);
        let journal = Journal::open(dir.path()).expect("opens");
        let held: Vec<_> = journal
            .held()
            .expect("read")
            .into_iter()
            .map(|h| (h.body, h.generation, h.bytes))
            .collect();
        let expected = [("b", 2, "other"), ("a", 4, "second")].map(|(b, g, t)| (b.to_owned(), g, Bytes::from(t)));
        assert_eq!(held, expected);
        // A new row gets a number of its own.
        hold(&journal, "c", 2, b"third", 13);
        assert_eq!(journal.held().expect("read").len(), 3);
    }

    #[test]
    fn a_release_leaves_what_came_later() {
        let dir = tempfile::tempdir().expect("a folder");
        let journal = Journal::open(dir.path()).expect("opens");
        hold(&journal, "a", 2, b"first", 10);
        let synced = journal.held_since(at(10));
        hold(&journal, "a", 4, b"second", 11);
        let release = |rows: &[(u64, String)]| {
            let writes = journal.release(rows);
            journal
                .write(writes, Durability::Written)
                .wait_blocking()
                .expect("written");
        };
        release(&synced);
        assert!(journal.holds("a"));
        assert_eq!(journal.held().expect("read").len(), 1);
        release(&journal.held_since(at(11)));
        assert!(!journal.holds("a") && journal.held().expect("read").is_empty());
    }

    #[test]
    fn there_is_a_bound_on_each_and_on_all() {
        let dir = tempfile::tempdir().expect("a folder");
        let journal = Journal::open(dir.path()).expect("opens");
        assert!(journal.may_hold(HELD_BYTES_EACH_MAX) && !journal.may_hold(HELD_BYTES_EACH_MAX + 1));
        let body = Bytes::from(vec![7; HELD_BYTES_EACH_MAX as usize]);
        for number in 0..HELD_BYTES_MAX / HELD_BYTES_EACH_MAX {
            assert!(journal.may_hold(1));
            drop(journal.hold(&number.to_string(), 1, body.clone(), at(5)));
        }
        assert!(!journal.may_hold(1));
        assert!(
            !journal.held_since(at(0)).is_empty(),
            "there is little room: all are due"
        );
    }
}

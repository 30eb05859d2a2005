//! Pending changes: what this machine knows and the store does not yet. User data: never dropped by itself.
//!
//! A change is the wanted state of one node ([`Change`]), not an operation. The tree that people see is the catalog with
//! these changes laid over it ([`Overlay`]); the uploader plans the next step that brings the store closer
//! to the wanted state, carries it out, and asks again. Where a store takes several files in one request, changes that are due
//! together and ask for the same go as one, and each ends as if it had gone alone.

mod bodies;
mod brake;
mod change;
mod committer;
mod copies;
mod db;
mod doubt;
mod failures;
mod gather;
mod identity;
#[allow(clippy::module_inception)] // The noun of this folder.
mod journal;
mod names;
mod originals;
mod outcome;
mod overlay;
mod plan;
mod steps;
mod sync;
mod together;
mod uploader;
mod world;
mod writer;

use std::path::{Path, PathBuf};

use change::{Alteration, resembles};

pub use bodies::{HELD_BYTES_EACH_MAX, HeldBody};
pub use change::{
    Begun, Change, Fingerprint, KnownItem, LocalReason, Phase, Place, Placing, Staged, State, Unanswered,
};
pub use db::{LocalAttr, NameBinding, Write};
#[cfg(test)]
pub(crate) use doubt::Publishing;
pub use identity::{is_backup, reseat, take_over};
pub use journal::{Binding, Guard, Journal, PINNED};
pub use originals::Original;
pub use outcome::settled;
pub use overlay::Overlay;
pub use uploader::{Uploader, UploaderConfig};
pub use world::{Source, World};
pub use writer::Ticket;

/// How durable a write must be before its ticket answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// In the log: survives the death of the program.
    Written,
    /// On the disk: survives the loss of power.
    Synced,
}

/// Why the journal cannot do its work.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The database fails.
    #[error("cannot {what} {}: {source}", path.display())]
    Database {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// SQLite's word.
        source: rusqlite::Error,
    },
    /// A write failed.
    #[error("the journal cannot be written: {0}")]
    Write(String),
    /// The disk is full and the reserve is used up.
    #[error("the disk that holds the journal is full")]
    Full,
    /// The journal is closing.
    #[error("the journal is closed")]
    Closed,
    /// The system refused.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The system's word.
        source: std::io::Error,
    },
    /// A newer program wrote it.
    #[error(
        "{} was written by a newer assetfs (format {found}, this one knows {known}): install that version again",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest known here.
        known: i64,
    },
    /// Work of another account waits here.
    #[error(
        "{pending} changes made as {account} at {url} are still waiting here: mount with that account to send them, \
         or mount this one under another name"
    )]
    OtherAccount {
        /// How many.
        pending: usize,
        /// Where they belong.
        url: String,
        /// Whose they are.
        account: String,
    },
}

impl JournalError {
    fn database(what: &'static str, path: &Path, source: rusqlite::Error) -> Self {
        Self::Database {
            what,
            path: path.to_owned(),
            source,
        }
    }
}

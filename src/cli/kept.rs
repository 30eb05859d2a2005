//! What is kept on this machine of stores that are not mounted: changes that the store does not have yet.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::logs;
use crate::daemon::Failure;
use crate::daemon::places::Places;
use crate::disk::LockFile;
use crate::journal::Journal;

/// One store's folder with a journal.
pub struct Kept {
    /// The folder below the state directory.
    pub folder: PathBuf,
    /// Changes that are not in the store; `None` while a daemon has the journal.
    pub changes: Option<usize>,
}

impl Kept {
    /// What the store is called.
    pub fn store(&self) -> String {
        let name = self.folder.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }
}

/// All journals of this user, or those of one store.
pub fn all(places: &Places, store: Option<&str>) -> Result<Vec<Kept>, Failure> {
    let folders = logs::folders_of(&places.state, store)?;
    let with_journal = folders.into_iter().filter(|folder| folder.join("journal.db").is_file());
    Ok(with_journal
        .map(|folder| Kept {
            changes: pending(&folder),
            folder,
        })
        .collect())
}

fn pending(folder: &Path) -> Option<usize> {
    let _held = LockFile::acquire(&folder.join("lock"), Duration::ZERO).ok()?;
    let journal = Journal::open(folder).ok()?;
    let guard = journal.lock();
    Some(guard.overlay().iter().filter(|change| change.is_outstanding()).count())
}

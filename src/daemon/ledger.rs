//! The use of a store's allowance, in a file that all mounts of the account on this machine share.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::Failure;
use super::run::Plan;
use crate::disk::{LockFile, create_private_dir};
use crate::http::{Book, Ledger};
use crate::model::hex;

/// How long another process may have the file: nobody keeps it for longer than a moment.
const LOCK_WAIT: Duration = Duration::from_millis(200);

/// A book in a file.
pub struct FileLedger {
    path: PathBuf,
    lock: PathBuf,
    /// What was last read or written: goes on when the file cannot be had.
    book: Mutex<Book>,
}

impl FileLedger {
    /// The ledger of the account that `plan` is about. Mounts with the same server and the same key share it.
    pub fn open(plan: &Plan) -> Result<Arc<dyn Ledger>, Failure> {
        let folder = plan.places.state.join("allowance");
        create_private_dir(&folder)?;
        Ok(Arc::new(Self::at(&folder, &account_key(plan))))
    }

    fn at(folder: &Path, key: &str) -> Self {
        Self {
            path: folder.join(format!("{key}.json")),
            lock: folder.join(format!("{key}.lock")),
            book: Mutex::default(),
        }
    }

    fn read(&self) -> Option<Book> {
        let bytes = std::fs::read(&self.path).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Replaces the file. Not synced: after a power failure the counts of the last seconds may be missing, and the server
    /// has the last word on them anyway.
    fn write(&self, book: &Book) -> std::io::Result<()> {
        let beside = self.path.with_extension("new");
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(&serde_json::to_vec(book)?)?;
        std::fs::rename(&beside, &self.path)
    }
}

impl Ledger for FileLedger {
    fn alter(&self, change: &mut dyn FnMut(&mut Book)) {
        let mut book = self.book.lock();
        let lock = LockFile::acquire(&self.lock, LOCK_WAIT);
        if lock.is_ok()
            && let Some(shared) = self.read()
        {
            *book = shared;
        }
        let before = book.clone();
        change(&mut book);
        if *book == before {
            return;
        }
        let written = match &lock {
            Ok(_) => self.write(&book).map_err(|e| e.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = written {
            tracing::debug!(%error, path = %self.path.display(), "the use of the allowance is not shared now");
        }
    }
}

/// Names the account without telling the key.
pub fn account_key(plan: &Plan) -> String {
    let url = &plan.source.url;
    let mut hash = Sha256::new();
    let host = url.host_str().unwrap_or_default();
    hash.update(format!(
        "{} {host}:{:?}",
        plan.source.kind.word(),
        url.port_or_known_default()
    ));
    for secret in super::credentials::secrets_of(plan.source.kind) {
        if let Some(value) = plan.credentials.get(secret.key) {
            hash.update([0]);
            hash.update(value.expose());
        }
    }
    hex(&hash.finalize()[..8])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Budget, Class, Limits, LocalBudget, Unavailable};
    use crate::model::{ManualClock, Timestamp};

    #[tokio::test]
    async fn two_mounts_of_one_account_share_what_is_left_and_a_third_finds_it_used_up() {
        let dir = tempfile::tempdir().expect("a folder");
        let clock = ManualClock::starting(Timestamp::from_secs(1_780_000_000));
        let limits = Limits {
            daily: Some(100),
            ..Limits::default()
        };
        let mount = || LocalBudget::of(clock.clone(), limits, Arc::new(FileLedger::at(dir.path(), "key")));
        let (one, other) = (mount(), mount());
        let mut granted = 0;
        for budget in [&one, &other].into_iter().cycle().take(300) {
            granted += u32::from(budget.acquire(Class::Interactive, Duration::ZERO).await.is_ok());
        }
        assert_eq!(granted, 100);
        assert_eq!(one.state().today.left, Some(0));
        let later = mount().acquire(Class::Interactive, Duration::ZERO).await;
        assert!(matches!(later.err(), Some(Unavailable::Exhausted(_))));
    }

    #[tokio::test]
    async fn what_the_server_said_holds_after_a_restart() {
        let dir = tempfile::tempdir().expect("a folder");
        let clock = ManualClock::starting(Timestamp::from_secs(1_780_000_000));
        let mount = || {
            LocalBudget::of(
                clock.clone(),
                Limits::default(),
                Arc::new(FileLedger::at(dir.path(), "key")),
            )
        };
        mount().exhausted(Timestamp::from_secs(1_780_003_600));
        let refused = mount().acquire(Class::Interactive, Duration::ZERO).await;
        assert!(matches!(refused.err(), Some(Unavailable::Exhausted(_))));
        clock.advance(Duration::from_secs(3601));
        assert!(mount().acquire(Class::Interactive, Duration::ZERO).await.is_ok());
    }
}

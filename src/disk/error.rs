//! Failures of the disk, with the file they were about.

use std::io;
use std::path::{Path, PathBuf};

/// What a disk operation answers.
pub type Result<T> = std::result::Result<T, DiskError>;

/// A failed disk operation.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {}: {source}", path.display())]
pub struct DiskError {
    /// What was being done (`write`, `rename`).
    pub operation: &'static str,
    /// The file or folder it was about.
    pub path: PathBuf,
    /// The system's answer.
    pub source: io::Error,
}

impl DiskError {
    /// Names an error of the system.
    pub fn new(operation: &'static str, path: &Path, source: io::Error) -> Self {
        Self {
            operation,
            path: path.to_owned(),
            source,
        }
    }

    /// The kind of failure.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }

    /// Whether the disk, or the user's share of it, is full.
    pub fn is_full(&self) -> bool {
        matches!(self.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// Whether there is no such file.
    pub fn is_not_found(&self) -> bool {
        self.kind() == io::ErrorKind::NotFound
    }
}

/// Adds operation and path to an [`io::Result`].
pub(super) trait Named<T> {
    fn named(self, operation: &'static str, path: &Path) -> Result<T>;
}

impl<T> Named<T> for io::Result<T> {
    fn named(self, operation: &'static str, path: &Path) -> Result<T> {
        self.map_err(|e| DiskError::new(operation, path, e))
    }
}

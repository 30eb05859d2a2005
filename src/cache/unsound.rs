//! Dirty bodies whose bytes the disk has failed to keep.
//!
//! The system tells of a failed sync once to each who has the file open at that time, and to nobody who opens it later. Then it
//! has forgotten that what is in memory is not on the disk, so no later sync of those bytes proves anything: the error stays
//! here, for all who ask, until all of them have been written anew.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::Path;

use parking_lot::Mutex;

use super::body::BodyId;
use super::state::OpenFile;
use crate::disk::{self, DiskError};

/// What stays of the error.
const HAS_FAILED: &str = "an earlier sync of it failed; save it anew as a whole";

/// Those among the bodies in staging/, as far as this run knows.
#[derive(Debug, Default)]
pub(super) struct Unsound(Mutex<HashSet<BodyId>>);

impl Unsound {
    /// A sync of it has failed.
    pub fn add(&self, id: BodyId) {
        self.0.lock().insert(id);
    }

    /// It has left staging/.
    pub fn forget(&self, id: BodyId) {
        self.0.lock().remove(&id);
    }

    /// All its bytes go, and others come. Blocks if it is one of them.
    pub fn begins_anew(&self, id: BodyId, open: &OpenFile) {
        if !self.has(id) {
            return;
        }
        // What this file has still to tell is of the old bytes.
        if let Err(error) = disk::sync_data(&open.file, &open.path) {
            tracing::debug!("of bytes that are gone: {error}");
        }
        self.forget(id);
    }

    /// Brings its bytes to the disk, and remembers a failure; fails for one of them in any case. Blocks.
    pub fn sync(&self, id: BodyId, file: &File, path: &Path) -> Result<(), DiskError> {
        self.check(id, path)?;
        let synced = disk::sync_data(file, path);
        synced.inspect_err(|_| self.add(id))
    }

    /// Whether it is one of them.
    pub fn has(&self, id: BodyId) -> bool {
        self.0.lock().contains(&id)
    }

    /// Fails for one of them; `path` is for the error.
    fn check(&self, id: BodyId, path: &Path) -> Result<(), DiskError> {
        match self.has(id) {
            true => Err(DiskError::new("sync", path, io::Error::other(HAS_FAILED))),
            false => Ok(()),
        }
    }
}

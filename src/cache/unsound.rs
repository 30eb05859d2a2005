//! Dirty bodies whose bytes the disk has failed to keep.
//!
//! The system tells of a failed sync once, and to one. By the next time it may have forgotten that what is in memory is not on
//! the disk, so no later sync of those bytes proves anything: an error that is told once here stays, for all who ask, until none
//! of the bytes is left.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use parking_lot::Mutex;

use super::body::BodyId;
use crate::disk::DiskError;

/// What stays of the error.
const HAS_FAILED: &str = "an earlier sync of it failed; save it anew as a whole";

/// Those among the bodies in staging/. Empty after a start: what is read from the disk then is what the disk has.
#[derive(Debug, Default)]
pub(super) struct Unsound(Mutex<HashSet<BodyId>>);

impl Unsound {
    /// A sync of it has failed.
    pub fn add(&self, id: BodyId) {
        self.0.lock().insert(id);
    }

    /// It has other bytes by now, or has left staging/.
    pub fn forget(&self, id: BodyId) {
        self.0.lock().remove(&id);
    }

    /// Whether it is one of them.
    pub fn has(&self, id: BodyId) -> bool {
        self.0.lock().contains(&id)
    }

    /// Fails for one of them; `path` is for the error.
    pub fn check(&self, id: BodyId, path: &Path) -> Result<(), DiskError> {
        match self.has(id) {
            true => Err(DiskError::new("sync", path, io::Error::other(HAS_FAILED))),
            false => Ok(()),
        }
    }
}

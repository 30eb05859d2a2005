//! Room that is kept for the moment in which a disk is full.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use super::sparse::{open_private, preallocate};
use super::{Result, free_space, remove_if_there};

/// A file that holds room for a database: given up when the disk is full, so that what must be noted then can be.
#[derive(Debug)]
pub struct Reserve {
    path: PathBuf,
    bytes: u64,
    is_held: AtomicBool,
}

impl Reserve {
    /// Holds `bytes` in the file at `path`. Where there is no room, none is held.
    pub fn hold(path: PathBuf, bytes: u64) -> Self {
        let reserve = Self {
            path,
            bytes,
            is_held: AtomicBool::new(false),
        };
        if let Err(error) = reserve.take() {
            tracing::warn!("no room can be reserved for a full disk: {error}");
        }
        reserve
    }

    /// Whether the room is held.
    pub fn is_held(&self) -> bool {
        self.is_held.load(Ordering::Acquire)
    }

    /// Gives the room up; `false`: there was none.
    pub fn spend(&self) -> Result<bool> {
        if !self.is_held.swap(false, Ordering::AcqRel) {
            return Ok(false);
        }
        remove_if_there(&self.path)
    }

    /// Holds the room again after it was given up, once there is twice as much.
    pub fn renew(&self) {
        if self.is_held() {
            return;
        }
        let folder = self.path.parent().unwrap_or(&self.path);
        let is_there = free_space(folder).is_ok_and(|space| space.free_bytes >= 2 * self.bytes);
        if is_there && let Err(error) = self.take() {
            tracing::debug!("the room for a full disk cannot be reserved again yet: {error}");
        }
    }

    fn take(&self) -> Result<()> {
        open_private(&self.path, !self.path.exists())
            .and_then(|file| preallocate(&file, &self.path, self.bytes))
            // Half of it would only be in the way.
            .inspect_err(|_| drop(remove_if_there(&self.path)))?;
        self.is_held.store(true, Ordering::Release);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::allocated_bytes;

    #[test]
    fn what_is_held_is_given_up_once_and_held_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("reserve");
        let reserve = Reserve::hold(path.clone(), 1 << 20);
        let held = || allocated_bytes(&std::fs::File::open(&path).unwrap(), &path).unwrap();
        assert!(held() >= 1 << 20);
        assert!(reserve.spend().unwrap() && !path.exists());
        assert!(!reserve.spend().unwrap());
        reserve.renew();
        assert!(held() >= 1 << 20 && reserve.spend().unwrap());
    }
}

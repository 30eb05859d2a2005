//! How much room is left.
#![allow(unsafe_code)] // statvfs(3)

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::error::{DiskError, Named, Result};

/// The room on a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// What an unprivileged program may still write, in bytes.
    pub free_bytes: u64,
    /// The size of it all, in bytes.
    pub total_bytes: u64,
}

/// The room on the file system that holds `path`.
pub fn free_space(path: &Path) -> Result<Space> {
    let c_path = CString::new(path.as_os_str().as_bytes())
        .map_err(io::Error::from)
        .named("look at the space of", path)?;
    let mut stat = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: `c_path` ends with NUL and `stat` is large enough; both live across the call.
    if unsafe { libc::statvfs(c_path.as_ptr(), stat.as_mut_ptr()) } != 0 {
        let error = io::Error::last_os_error();
        return Err(DiskError::new("look at the space of", path, error));
    }
    // SAFETY: the call has succeeded and so filled all of it.
    let stat = unsafe { stat.assume_init() };
    Ok(Space {
        free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_has_room_and_a_missing_folder_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let space = free_space(dir.path()).unwrap();
        assert!(space.free_bytes > 0 && space.total_bytes >= space.free_bytes);
        assert!(free_space(&dir.path().join("nowhere")).unwrap_err().is_not_found());
    }
}

//! Sparse files: holes, room in advance, where data begins.
#![allow(unsafe_code)] // fallocate(2), lseek(2)

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::error::{DiskError, Named, Result};

/// What [`allocate`] does to a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocate {
    /// Reserves room; the file grows when the range ends behind it.
    Extend,
    /// Reserves room; the size stays.
    KeepSize,
    /// Gives the room back; the range reads as zeros, the size stays.
    PunchHole,
    /// The range reads as zeros and keeps its room; the file grows when the range ends behind it.
    ZeroRange,
    /// The same, but the size stays.
    ZeroRangeKeepSize,
}

/// Opens a file for reading and writing, mode 0600. With `create` it must not be there yet.
pub fn open_private(path: &Path, create: bool) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(create)
        .mode(0o600)
        .open(path)
        .named(if create { "create" } else { "open" }, path)
}

/// Changes room or bytes of a range; `path` is for the error. [`io::ErrorKind::Unsupported`] where the file system
/// cannot.
pub fn allocate(file: &File, path: &Path, mode: Allocate, offset: u64, len: u64) -> Result<()> {
    let flags = match mode {
        Allocate::Extend => 0,
        Allocate::KeepSize => libc::FALLOC_FL_KEEP_SIZE,
        Allocate::PunchHole => libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE,
        Allocate::ZeroRange => libc::FALLOC_FL_ZERO_RANGE,
        Allocate::ZeroRangeKeepSize => libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE,
    };
    let (offset, len) = (position(offset, path)?, position(len, path)?);
    loop {
        // SAFETY: the descriptor is open for as long as `file` is borrowed; the call touches no memory of ours.
        if unsafe { libc::fallocate(file.as_raw_fd(), flags, offset, len) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(DiskError::new("allocate", path, error));
        }
    }
}

/// Reserves the first `len` bytes of a file without changing its size; a file system that cannot is no error.
pub fn preallocate(file: &File, path: &Path, len: u64) -> Result<()> {
    if len == 0 {
        return Ok(());
    }
    match allocate(file, path, Allocate::KeepSize, 0, len) {
        Err(e) if e.kind() == io::ErrorKind::Unsupported => Ok(()),
        other => other,
    }
}

/// Sets the size: cuts, or extends with a hole.
pub fn set_len(file: &File, path: &Path, len: u64) -> Result<()> {
    file.set_len(len).named("set the size of", path)
}

/// Room that the file takes on the disk, in bytes.
pub fn allocated_bytes(file: &File, path: &Path) -> Result<u64> {
    let meta = file.metadata().named("look at", path)?;
    Ok(meta.blocks() * 512)
}

/// Where data begins at or behind `offset`; `None`: nowhere.
pub fn seek_data(file: &File, path: &Path, offset: u64) -> Result<Option<u64>> {
    seek(file, path, offset, libc::SEEK_DATA)
}

/// Where a hole begins at or behind `offset` (the end of the file counts as one); `None`: `offset` lies behind the end.
pub fn seek_hole(file: &File, path: &Path, offset: u64) -> Result<Option<u64>> {
    seek(file, path, offset, libc::SEEK_HOLE)
}

fn seek(file: &File, path: &Path, offset: u64, whence: libc::c_int) -> Result<Option<u64>> {
    let offset = position(offset, path)?;
    // SAFETY: the descriptor is open for as long as `file` is borrowed. Its position moves, but nothing here uses it:
    // all reads and writes name theirs.
    let found = unsafe { libc::lseek(file.as_raw_fd(), offset, whence) };
    match u64::try_from(found) {
        Ok(found) => Ok(Some(found)),
        Err(_) => match io::Error::last_os_error() {
            e if e.raw_os_error() == Some(libc::ENXIO) => Ok(None),
            e => Err(DiskError::new("seek in", path, e)),
        },
    }
}

fn position(offset: u64, path: &Path) -> Result<libc::off_t> {
    libc::off_t::try_from(offset).map_err(|_| {
        let too_far = io::Error::new(io::ErrorKind::FileTooLarge, "behind what a file can hold");
        DiskError::new("reach into", path, too_far)
    })
}

#[cfg(test)]
mod tests {
    use super::super::read::{read_at_most, write_at};
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_hole_is_found_and_data_behind_it_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sparse");
        let file = open_private(&path, true).unwrap();
        set_len(&file, &path, 4 * MIB).unwrap();
        write_at(&file, &path, 2 * MIB, &[7; 4096]).unwrap();
        assert!(allocated_bytes(&file, &path).unwrap() < MIB);
        assert_eq!(seek_hole(&file, &path, 0).unwrap(), Some(0));
        assert_eq!(seek_data(&file, &path, 0).unwrap(), Some(2 * MIB));
        assert_eq!(seek_data(&file, &path, 3 * MIB).unwrap(), None);
        assert_eq!(seek_hole(&file, &path, 5 * MIB).unwrap(), None);
    }

    #[test]
    fn ranges_are_reserved_punched_and_zeroed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = open_private(&path, true).unwrap();
        let size = || file.metadata().unwrap().len();
        write_at(&file, &path, 0, &[7; 16384]).unwrap();
        preallocate(&file, &path, MIB).unwrap();
        assert_eq!(size(), 16384);
        for (mode, grows) in [
            (Allocate::KeepSize, false),
            (Allocate::PunchHole, false),
            (Allocate::ZeroRangeKeepSize, false),
            (Allocate::ZeroRange, true),
            (Allocate::Extend, true),
        ] {
            write_at(&file, &path, 0, &[7; 16384]).unwrap();
            set_len(&file, &path, 16384).unwrap();
            match allocate(&file, &path, mode, 8192, 16384) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::Unsupported => continue,
                Err(e) => panic!("{e}"),
            }
            assert_eq!(size() == 24576, grows, "{mode:?}");
            let zeroed = !matches!(mode, Allocate::Extend | Allocate::KeepSize);
            let byte = read_at_most(&file, &path, 9000, 1).unwrap()[0];
            assert_eq!(byte == 0, zeroed, "{mode:?}");
        }
        assert!(allocate(&file, &path, Allocate::Extend, u64::MAX, 1).is_err());
    }

    #[test]
    fn a_new_file_never_replaces_an_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        assert!(open_private(&path, false).unwrap_err().is_not_found());
        open_private(&path, true).unwrap();
        assert_eq!(
            open_private(&path, true).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
    }
}

//! Reading and writing by position.
#![allow(unsafe_code)] // preadv2(2), pwritev(2), reads into memory that is not zeroed first; sync_file_range(2)

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::error::{DiskError, Named, Result};

/// Up to `len` bytes from `offset`; fewer only at the end of the file. May block on the disk.
pub fn read_at_most(file: &File, path: &Path, offset: u64, len: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(len);
    read_onto(file, path, offset, len, &mut bytes)?;
    Ok(bytes)
}

/// The same into an empty buffer with room for `len` bytes.
pub fn read_onto(file: &File, path: &Path, offset: u64, len: usize, bytes: &mut Vec<u8>) -> Result<()> {
    bytes.clear();
    bytes.reserve(len);
    while bytes.len() < len {
        match pread(file, bytes, len, offset, 0) {
            Ok(0) => break,
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(DiskError::new("read", path, e)),
        }
    }
    Ok(())
}

/// Exactly `len` bytes from `offset` when all of them are in memory already; never waits for the disk. `None` when they
/// are not, when the file ends before, or where the file system cannot tell.
pub fn read_cached(file: &File, offset: u64, len: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        match pread(file, &mut bytes, len, offset, libc::RWF_NOWAIT) {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
    }
    Some(bytes)
}

/// Appends to `bytes` what one call yields, up to a length of `len`; `offset` is where `bytes[0]` is in the file.
fn pread(file: &File, bytes: &mut Vec<u8>, len: usize, offset: u64, flags: libc::c_int) -> io::Result<usize> {
    let done = bytes.len();
    let at = libc::off_t::try_from(offset + done as u64).map_err(|_| io::ErrorKind::InvalidInput)?;
    let room = &mut bytes.spare_capacity_mut()[..len - done];
    let part = libc::iovec {
        iov_base: room.as_mut_ptr().cast(),
        iov_len: room.len(),
    };
    // SAFETY: `part` describes `room`, which is exclusively ours and lives across the call; the descriptor is open.
    let got = unsafe { libc::preadv2(file.as_raw_fd(), &part, 1, at, flags) };
    let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the system has written `got` bytes, no more than `room` holds, right behind the first `done`.
    unsafe { bytes.set_len(done + got) };
    Ok(got)
}

/// Writes all of `bytes` at `offset`. After an error a part of them may have been written.
pub fn write_at(file: &File, path: &Path, offset: u64, bytes: &[u8]) -> Result<()> {
    file.write_all_at(bytes, offset).named("write", path)
}

/// How many parts one call takes.
const PARTS_MAX: usize = libc::UIO_MAXIOV as usize;

/// Writes all `parts` at `offset`, one behind the other. After an error a part of them may have been written.
pub fn write_parts_at(file: &File, path: &Path, offset: u64, parts: &[impl AsRef<[u8]>]) -> Result<()> {
    let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part.as_ref())).collect();
    let mut left = &mut slices[..];
    let mut at = offset;
    // Empty parts are no part of what is left.
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        match pwritev(file, &left[..left.len().min(PARTS_MAX)], at) {
            Ok(0) => return Err(DiskError::new("write", path, io::ErrorKind::WriteZero.into())),
            Ok(written) => {
                at += written as u64;
                IoSlice::advance_slices(&mut left, written);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(DiskError::new("write", path, e)),
        }
    }
    Ok(())
}

/// Writes what one call takes.
fn pwritev(file: &File, parts: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
    let at = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    let count = libc::c_int::try_from(parts.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: `IoSlice` has the layout of an iovec; the slices and what they show live across the call; the descriptor is open.
    let written = unsafe { libc::pwritev(file.as_raw_fd(), parts.as_ptr().cast(), count, at) };
    usize::try_from(written).map_err(|_| io::Error::last_os_error())
}

/// Lets the disk begin to write a range of a file (with a length of 0: to its end), without waiting for it. Nothing is durable by that, and an error shows
/// at the sync that follows.
pub fn begin_writeback(file: &File, offset: u64, len: u64) {
    let (Ok(offset), Ok(len)) = (libc::off64_t::try_from(offset), libc::off64_t::try_from(len)) else {
        return;
    };
    // SAFETY: the descriptor is open for as long as `file` is borrowed; the call touches no memory of ours.
    unsafe {
        libc::sync_file_range(file.as_raw_fd(), offset, len, libc::SYNC_FILE_RANGE_WRITE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_written_one_behind_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .unwrap();
        let parts: Vec<Vec<u8>> = (0..3000u32).map(|i| vec![i as u8; (i % 7) as usize]).collect();
        write_parts_at(&file, &path, 5, &parts).unwrap();
        assert_eq!(std::fs::read(&path).unwrap()[5..], parts.concat());
        write_parts_at(&file, &path, 0, &[b"", b"", b""]).unwrap();
        write_parts_at(&file, &path, 0, &[[0_u8; 0]; 0]).unwrap();
        let denied = File::open(&path).unwrap();
        assert!(write_parts_at(&denied, &path, 0, &[b"x"]).is_err());
    }

    #[test]
    fn reads_stop_at_the_end_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .unwrap();
        write_at(&file, &path, 2, b"abc").unwrap();
        assert_eq!(read_at_most(&file, &path, 0, 100).unwrap(), b"\0\0abc");
        assert_eq!(read_at_most(&file, &path, 3, 1).unwrap(), b"b");
        assert_eq!(read_at_most(&file, &path, 9, 4).unwrap(), b"");
        assert_eq!(read_cached(&file, 0, 100), None, "it ends before");
        // A file system that cannot tell answers nothing, which is right as well.
        if let Some(bytes) = read_cached(&file, 2, 3) {
            assert_eq!(bytes, b"abc");
        }
    }
}

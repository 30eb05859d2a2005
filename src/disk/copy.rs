//! Copies of local files.
#![allow(unsafe_code)] // ioctl(FICLONE), copy_file_range(2)

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::path::Path;

use super::error::{DiskError, Named, Result};
use super::read::{read_at_most, write_at};
use super::sparse::{seek_data, seek_hole, set_len};

const PIECE_BYTES: u64 = 1 << 20;

/// Makes `to` hold the same bytes as `from`, holes included: shared blocks where the file system can, else copied inside
/// the kernel, else through memory. `path` (that of `to`) is for the error. Not synced.
pub fn copy_contents(from: &File, to: &File, path: &Path) -> Result<()> {
    // SAFETY: both descriptors are open for as long as they are borrowed; FICLONE takes the source as its argument.
    if unsafe { libc::ioctl(to.as_raw_fd(), libc::FICLONE, from.as_raw_fd()) } == 0 {
        return Ok(());
    }
    let size = from.metadata().named("look at the source of", path)?.len();
    set_len(to, path, 0)?;
    set_len(to, path, size)?;
    let mut at = 0;
    while let Some(start) = seek_data(from, path, at)?.filter(|start| *start < size) {
        let end = seek_hole(from, path, start)?.unwrap_or(size).min(size);
        copy_range(from, to, path, start..end)?;
        at = end;
    }
    Ok(())
}

/// Copies `range` of `from` to the same place in `to`; ends early when the source does. `path` (that of `to`) is for the
/// error. Not synced.
pub fn copy_range(from: &File, to: &File, path: &Path, range: Range<u64>) -> Result<()> {
    let (mut at, end) = (range.start, range.end);
    while at < end {
        match copy_in_kernel(from, to, at, end - at) {
            Ok(0) => return Ok(()), // The source has been cut meanwhile.
            Ok(copied) => at += copied,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if cannot(&e) => return copy_through_memory(from, to, path, at, end),
            Err(e) => return Err(DiskError::new("copy to", path, e)),
        }
    }
    Ok(())
}

fn cannot(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EXDEV | libc::ENOSYS | libc::EOPNOTSUPP | libc::EINVAL)
    )
}

fn copy_in_kernel(from: &File, to: &File, at: u64, len: u64) -> io::Result<u64> {
    let mut from_at = libc::off64_t::try_from(at).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut to_at = from_at;
    let len = usize::try_from(len.min(1 << 30)).unwrap_or(1 << 30);
    // SAFETY: both positions live across the call and are ours; both descriptors are open.
    let copied = unsafe { libc::copy_file_range(from.as_raw_fd(), &mut from_at, to.as_raw_fd(), &mut to_at, len, 0) };
    u64::try_from(copied).map_err(|_| io::Error::last_os_error())
}

fn copy_through_memory(from: &File, to: &File, path: &Path, start: u64, end: u64) -> Result<()> {
    let mut at = start;
    while at < end {
        let bytes = read_at_most(from, path, at, PIECE_BYTES.min(end - at) as usize)?;
        if bytes.is_empty() {
            break;
        }
        write_at(to, path, at, &bytes)?;
        at += bytes.len() as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::sparse::{allocated_bytes, open_private};
    use super::*;

    #[test]
    fn a_copy_has_the_same_bytes_and_stays_sparse() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let (from, to) = (open_private(&a, true).unwrap(), open_private(&b, true).unwrap());
        set_len(&from, &a, 8 << 20).unwrap();
        write_at(&from, &a, 1 << 20, &[3; 100_000]).unwrap();
        write_at(&from, &a, 5 << 20, &[4; 10]).unwrap();
        write_at(&to, &b, 0, &[9; 9 << 10]).unwrap();
        copy_contents(&from, &to, &b).unwrap();
        assert_eq!(std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap());
        assert!(allocated_bytes(&to, &b).unwrap() < 1 << 20);
    }

    #[test]
    fn the_way_through_memory_copies_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let (from, to) = (open_private(&a, true).unwrap(), open_private(&b, true).unwrap());
        let bytes: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
        write_at(&from, &a, 0, &bytes).unwrap();
        copy_through_memory(&from, &to, &b, 0, bytes.len() as u64).unwrap();
        assert_eq!(std::fs::read(&b).unwrap(), bytes);
    }
}

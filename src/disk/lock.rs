//! Lock files: at most one process at a time owns what the file stands for.
#![allow(unsafe_code)] // flock(2)

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use super::error::{DiskError, Named, Result};

const POLL: Duration = Duration::from_millis(50);

/// An exclusive lock, given up when the value is dropped or the process ends in any way.
///
/// The file itself stays: removing it would let two processes lock two files of one name.
#[derive(Debug)]
pub struct LockFile {
    _file: File,
}

impl LockFile {
    /// Takes the lock at `path`, waiting for its owner up to `timeout` (zero: ask once). Blocks the thread.
    ///
    /// [`io::ErrorKind::WouldBlock`] when another process still has it then.
    pub fn acquire(path: &Path, timeout: Duration) -> Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .named("open", path)?;
        let mut waited = Duration::ZERO;
        loop {
            match try_lock(&file) {
                Ok(()) => return Ok(Self { _file: file }),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock && waited < timeout => {
                    let pause = POLL.min(timeout - waited);
                    std::thread::sleep(pause);
                    waited += pause;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    let held = io::Error::new(e.kind(), "another process still holds the lock");
                    return Err(DiskError::new("lock", path, held));
                }
                Err(e) => return Err(DiskError::new("lock", path, e)),
            }
        }
    }
}

fn try_lock(file: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as `file` is borrowed; flock touches no memory of ours.
    match unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_owner_waits_for_the_first_and_gives_up_at_the_deadline() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = LockFile::acquire(&path, Duration::ZERO).unwrap();
        let refused = LockFile::acquire(&path, Duration::from_millis(60)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        assert!(refused.to_string().contains("lock"), "{refused}");
        let waiter = std::thread::spawn({
            let path = path.clone();
            move || LockFile::acquire(&path, Duration::from_secs(20))
        });
        drop(first);
        waiter.join().unwrap().unwrap();
    }
}

//! Changes that are on the disk when the call returns.

use std::fs::{File, FileTimes, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::Timestamp;

use super::error::{DiskError, Named, Result};

/// Replaces the file at `path` as a whole, mode 0600: after a crash it has the old bytes or the new ones, never a part.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = temporary_beside(path)?;
    let written = write_new(&temporary, bytes).and_then(|()| rename_durable(&temporary, path));
    if written.is_err() {
        // The first error is the one to tell; a temporary left behind is only clutter.
        if let Err(e) = remove_if_there(&temporary) {
            tracing::debug!(error = %e, "left a temporary file behind");
        }
    }
    written
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .named("create", path)?;
    file.write_all(bytes).named("write", path)?;
    file.sync_all().named("sync", path)
}

fn temporary_beside(path: &Path) -> Result<PathBuf> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().ok_or_else(|| {
        let no_name = io::Error::new(io::ErrorKind::InvalidInput, "the path has no file name");
        DiskError::new("write", path, no_name)
    })?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    let unique = COUNTER.fetch_add(1, Ordering::Relaxed);
    temporary.push(format!(".{}-{unique}.tmp", std::process::id()));
    Ok(path.with_file_name(temporary))
}

/// Renames within one file system, replacing what is at `to`. Durable only after [`sync_dir`] of both folders.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to).named("rename", from)
}

/// Renames and makes the new name durable. The data of the file must have been synced before.
pub fn rename_durable(from: &Path, to: &Path) -> Result<()> {
    rename(from, to)?;
    let into = folder_of(to);
    sync_dir(into)?;
    match folder_of(from) {
        same if same == into => Ok(()),
        left => sync_dir(left),
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes the names in `folder` durable.
pub fn sync_dir(folder: &Path) -> Result<()> {
    let handle = File::open(folder).named("open", folder)?;
    handle.sync_all().named("sync", folder)
}

/// Makes the bytes of `file`, and the size needed to read them, durable. `path` is for the error.
pub fn sync_data(file: &File, path: &Path) -> Result<()> {
    file.sync_data().named("sync", path)
}

/// Lengthens the file at `path` to `bytes` with zeros that are on the disk when this returns: what is written over them later
/// is synced in about half the time, for the file system has nothing to note about it. A longer one stays as it is.
pub fn lengthen(path: &Path, bytes: u64) -> Result<()> {
    static PIECE: [u8; 64 << 10] = [0; 64 << 10];
    let file = OpenOptions::new().append(true).open(path).named("open", path)?;
    let mut missing = bytes.saturating_sub(file.metadata().named("look at", path)?.len());
    if missing == 0 {
        return Ok(());
    }
    while missing > 0 {
        let piece = &PIECE[..missing.min(PIECE.len() as u64) as usize];
        (&file).write_all(piece).named("write", path)?;
        missing -= piece.len() as u64;
    }
    file.sync_all().named("sync", path)
}

/// Removes a file; one that is not there is fine. Answers whether it was there.
pub fn remove_if_there(path: &Path) -> Result<bool> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(DiskError::new("remove", path, e)),
    }
}

/// Sets the time of the last modification and leaves that of the last access.
pub fn set_mtime(file: &File, path: &Path, time: Timestamp) -> Result<()> {
    let times = FileTimes::new().set_modified(time.into());
    file.set_times(times).named("set the time of", path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_atomic_write_replaces_the_whole_file_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settings");
        write_atomic(&path, b"a long first content").unwrap();
        write_atomic(&path, b"second").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_names_its_file_and_keeps_the_old_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("folder");
        std::fs::create_dir(&folder).unwrap();
        std::fs::create_dir(folder.join("in the way")).unwrap();
        let error = write_atomic(&folder, b"x").unwrap_err();
        assert!(error.to_string().contains("folder"), "{error}");
        assert!(folder.join("in the way").is_dir());
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            1,
            "the temporary is gone"
        );
    }

    #[test]
    fn a_file_is_lengthened_with_zeros_and_never_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        write_atomic(&path, b"begun").unwrap();
        lengthen(&path, 100_000).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!((bytes.len(), &bytes[..5]), (100_000, &b"begun"[..]));
        assert!(bytes[5..].iter().all(|byte| *byte == 0));
        lengthen(&path, 50).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 100_000);
        assert!(lengthen(&dir.path().join("none"), 1).is_err());
    }

    #[test]
    fn removing_twice_is_fine() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        write_atomic(&path, b"x").unwrap();
        assert!(remove_if_there(&path).unwrap());
        assert!(!remove_if_there(&path).unwrap());
    }

    #[test]
    fn times_before_1970_and_past_2038_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = File::create(&path).unwrap();
        for secs in [-86_400, 4_294_967_400] {
            let time = Timestamp { secs, nanos: 7_000 };
            set_mtime(&file, &path, time).unwrap();
            assert_eq!(Timestamp::from(file.metadata().unwrap().modified().unwrap()), time);
        }
    }
}

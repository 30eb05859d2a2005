//! Which mounts there are: one small file a mount beside its control socket, so that commands find the daemon.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Failure, Status};
use crate::disk::{ProcessStatus, create_private_dir, remove_if_there, write_atomic};

/// A mount and who serves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountRecord {
    /// Where it is mounted.
    pub mountpoint: PathBuf,
    /// The store's name.
    pub store: String,
    /// The daemon's process.
    pub pid: u32,
    /// The daemon's control socket.
    pub socket: PathBuf,
}

/// A registered mount; forgotten when dropped.
pub struct Registered {
    record: MountRecord,
    file: PathBuf,
}

/// The names of a mount's socket and file in `run`: a path may be too long for a socket's name, its hash is not.
fn stem(mountpoint: &Path) -> String {
    let hash = xxhash_rust::xxh3::xxh3_64(mountpoint.as_os_str().as_encoded_bytes());
    format!("{hash:016x}")
}

/// Where the control socket of a mount is.
pub fn socket_of(run: &Path, mountpoint: &Path) -> PathBuf {
    run.join(format!("{}.sock", stem(mountpoint)))
}

impl Registered {
    /// Makes a mount known.
    pub fn new(run: &Path, mountpoint: &Path, store: &str) -> Result<Self, Failure> {
        create_private_dir(run)?;
        let record = MountRecord {
            mountpoint: mountpoint.to_owned(),
            store: store.to_owned(),
            pid: std::process::id(),
            socket: socket_of(run, mountpoint),
        };
        let file = run.join(format!("{}.json", stem(mountpoint)));
        write_atomic(&file, &serde_json::to_vec(&record).map_err(Failure::new)?)?;
        Ok(Self { record, file })
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // A later mount at the same place has written its own.
        let ours = read(&self.file).is_ok_and(|record| record.pid == self.record.pid);
        if ours && let Err(error) = remove_if_there(&self.file) {
            tracing::debug!(%error, "the record of the mount stays");
        }
    }
}

/// All mounts whose daemon lives. Records of dead ones are swept away.
pub fn all(run: &Path) -> Result<Vec<MountRecord>, Failure> {
    let entries = match std::fs::read_dir(run) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Failure::new(format!("cannot read {}: {e}", run.display()))),
    };
    let mut found = Vec::new();
    for file in entries.flatten().map(|entry| entry.path()) {
        if file.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        match read(&file) {
            Ok(record) if is_alive(record.pid) => found.push(record),
            Ok(record) => {
                remove_if_there(&file)?;
                remove_if_there(&record.socket)?;
            }
            Err(error) => tracing::debug!(file = %file.display(), %error, "no record of a mount"),
        }
    }
    found.sort_by(|a, b| a.mountpoint.cmp(&b.mountpoint));
    Ok(found)
}

/// The mount that `target` is in or names, and the path within it (empty: the whole).
pub fn find(run: &Path, target: &str) -> Result<(MountRecord, String), Failure> {
    let mounts = all(run)?;
    let absolute = std::path::absolute(target).map_err(Failure::new)?;
    if let Some(found) = holding(&mounts, &absolute) {
        return Ok(found);
    }
    // Only now, since it looks at the path: there may be a symbolic link on the way.
    if let Some(found) = std::fs::canonicalize(&absolute)
        .ok()
        .and_then(|path| holding(&mounts, &path))
    {
        return Ok(found);
    }
    let name = target.trim_end_matches(':');
    match mounts.iter().filter(|mount| mount.store == name).collect::<Vec<_>>()[..] {
        [mount] => Ok((mount.clone(), String::new())),
        [] => Err(Failure::with(
            Status::NotMounted,
            format!("{target}: neither a path in a mount nor a mounted store"),
        )),
        [..] => Err(Failure::usage(format!(
            "{target} is mounted more than once: name a mountpoint"
        ))),
    }
}

/// The innermost mount that holds `path`.
fn holding(mounts: &[MountRecord], path: &Path) -> Option<(MountRecord, String)> {
    mounts
        .iter()
        .filter(|mount| path.starts_with(&mount.mountpoint))
        .max_by_key(|mount| mount.mountpoint.components().count())
        .and_then(|mount| {
            let below = path.strip_prefix(&mount.mountpoint).ok()?.to_str()?;
            Some((mount.clone(), below.to_owned()))
        })
}

/// Whether the process still runs. One that was killed does not, though it is not gone as long as the system waits for a
/// thread of it.
pub fn is_alive(pid: u32) -> bool {
    let status = ProcessStatus::of(pid);
    status
        .field("State")
        .is_some_and(|state| !state.starts_with(['Z', 'X']))
}

/// Whether the process has given back everything, its locks and mounts too.
pub fn is_gone(pid: u32) -> bool {
    !Path::new("/proc").join(pid.to_string()).exists()
}

fn read(file: &Path) -> io::Result<MountRecord> {
    serde_json::from_slice(&std::fs::read(file)?).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_found_by_path_and_by_store() {
        let run = tempfile::tempdir().unwrap();
        let outer = Registered::new(run.path(), Path::new("/mnt/a"), "studio").unwrap();
        let _inner = Registered::new(run.path(), Path::new("/mnt/a/b"), "archive").unwrap();
        let (mount, below) = find(run.path(), "/mnt/a/x/y.jpg").unwrap();
        assert_eq!((mount.store.as_str(), below.as_str()), ("studio", "x/y.jpg"));
        assert_eq!(find(run.path(), "/mnt/a/b/c").unwrap().0.store, "archive");
        assert_eq!(find(run.path(), "/mnt/a").unwrap().1, "");
        assert_eq!(find(run.path(), "archive").unwrap().0.mountpoint, Path::new("/mnt/a/b"));
        drop(outer);
        let missing = find(run.path(), "studio").unwrap_err();
        assert_eq!(missing.status, Status::NotMounted);
    }

    #[test]
    fn the_record_of_a_dead_daemon_is_swept_away() {
        let run = tempfile::tempdir().unwrap();
        let record = MountRecord {
            mountpoint: "/mnt/a".into(),
            store: "studio".into(),
            pid: u32::MAX,
            socket: run.path().join("s.sock"),
        };
        let file = run.path().join("x.json");
        write_atomic(&file, &serde_json::to_vec(&record).unwrap()).unwrap();
        assert!(all(run.path()).unwrap().is_empty());
        assert!(!file.exists());
    }
}

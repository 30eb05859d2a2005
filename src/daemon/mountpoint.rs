//! Whether something can be mounted at a place, said in words before it is tried.

use std::io;
use std::path::{Path, PathBuf};

use super::{Failure, places};
use crate::fuse::{mounts, unmount};

/// Where ordinary users may be allowed to open a mount to others.
const FUSE_CONF: &str = "/etc/fuse.conf";

/// The absolute path of a mountpoint that is ready for use. A mount whose daemon has died is taken away first; a missing
/// folder is made when `create` says so.
pub async fn prepare(mountpoint: &Path, create: bool) -> Result<PathBuf, Failure> {
    let shown = mountpoint.display();
    let path = resolve(mountpoint)?;
    if let Some(mounted) = mounts::at(&path).map_err(Failure::new)? {
        match std::fs::metadata(&path) {
            Err(e) if e.raw_os_error() == Some(libc::ENOTCONN) => {
                tracing::info!(mountpoint = %shown, "a mount whose daemon has died is taken away");
                unmount(&path, true)
                    .await
                    .map_err(|e| Failure::new(format!("{shown}: the dead mount there cannot be taken away: {e}")))?;
            }
            _ if mounted.is_ours() => {
                return Err(Failure::new(format!(
                    "{shown}: {} is mounted there already; `assetfs unmount {shown}` first",
                    mounted.source
                )));
            }
            _ => {}
        }
    }
    let metadata = match std::fs::metadata(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound && create => {
            crate::disk::create_private_dir(&path)?;
            std::fs::metadata(&path)
        }
        other => other,
    };
    let metadata = metadata.map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => Failure::new(format!("{shown}: there is no such folder; `mkdir -p {shown}` first")),
        _ => Failure::new(format!("{shown}: {e}")),
    })?;
    if !metadata.is_dir() {
        return Err(Failure::new(format!("{shown}: a mountpoint must be a folder")));
    }
    let mut entries = std::fs::read_dir(&path).map_err(|e| Failure::new(format!("{shown}: {e}")))?;
    if entries.next().is_some() {
        return Err(Failure::new(format!(
            "{shown}: the folder is not empty, and a mount would hide what is in it"
        )));
    }
    Ok(path)
}

/// The absolute path without symbolic links; of a dead mount as far as it can be had.
fn resolve(mountpoint: &Path) -> Result<PathBuf, Failure> {
    let absolute = std::path::absolute(mountpoint).map_err(Failure::new)?;
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => match (std::fs::canonicalize(&absolute), std::fs::canonicalize(parent)) {
            (Ok(path), _) => Ok(path),
            // A dead mount cannot be looked at, but its folder can.
            (Err(_), Ok(parent)) => Ok(parent.join(name)),
            (Err(_), Err(_)) => Ok(absolute),
        },
        _ => Ok(absolute),
    }
}

/// Fails where this machine or this user cannot mount at all.
pub fn check_system(allow_other: bool) -> Result<(), Failure> {
    match std::fs::File::options().read(true).write(true).open("/dev/fuse") {
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(Failure::new(
                "/dev/fuse is missing: load the kernel's module (`modprobe fuse`), or start the container with \
                 `--device /dev/fuse --cap-add SYS_ADMIN`",
            ));
        }
        Err(e) => return Err(Failure::new(format!("/dev/fuse cannot be opened: {e}"))),
    }
    if places::is_root() {
        return Ok(());
    }
    if !has_unmounter() {
        return Err(Failure::new("fusermount3 is missing: install the package `fuse3`"));
    }
    if allow_other && !users_may_allow_others() {
        return Err(Failure::new(format!(
            "--allow-other needs the line `user_allow_other` in {FUSE_CONF} (an administrator can add it)"
        )));
    }
    Ok(())
}

/// What a failed mount most probably means.
pub fn explain(error: &io::Error, mountpoint: &Path) -> Failure {
    let advice = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            ": this user may not mount; in a container start it with `--device /dev/fuse --cap-add SYS_ADMIN`"
        }
        _ => "",
    };
    Failure::new(format!("cannot mount at {}: {error}{advice}", mountpoint.display()))
}

/// Whether the program that mounts for ordinary users is there.
pub fn has_unmounter() -> bool {
    in_path("fusermount3") || in_path("fusermount")
}

/// Whether ordinary users may open a mount to others.
pub fn users_may_allow_others() -> bool {
    lets_users_allow_others(&std::fs::read_to_string(FUSE_CONF).unwrap_or_default())
}

fn lets_users_allow_others(conf: &str) -> bool {
    conf.lines().any(|line| line.trim() == "user_allow_other")
}

fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/bin", "/usr/bin", "/sbin", "/usr/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(system)
        .any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_cannot_be_a_mountpoint_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let message = async |path: PathBuf| prepare(&path, false).await.unwrap_err().message;
        assert!(message(dir.path().join("missing")).await.contains("no such folder"));
        let file = dir.path().join("file");
        std::fs::File::create(&file).unwrap();
        assert!(message(file).await.contains("must be a folder"));
        assert!(message(dir.path().to_owned()).await.contains("not empty"));
        let fresh = prepare(&dir.path().join("made/here"), true).await.unwrap();
        assert!(fresh.is_dir());
    }

    #[test]
    fn a_remark_in_fuse_conf_allows_nothing() {
        assert!(!lets_users_allow_others("#user_allow_other\n"));
        assert!(lets_users_allow_others("mount_max = 5\nuser_allow_other\n"));
    }
}

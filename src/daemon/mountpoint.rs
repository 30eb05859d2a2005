//! Whether something can be mounted at a place, said in words before it is tried.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use super::registry::{self, MountRecord};
use super::{Failure, places};
use crate::disk::free_space;
use crate::fuse::mounts::{self, Mounted};
use crate::fuse::{abort, unmount};

/// Where ordinary users may be allowed to open a mount to others.
const FUSE_CONF: &str = "/etc/fuse.conf";

/// How long a mount may take to say how it is.
const LOOK_DEADLINE: Duration = Duration::from_secs(5);

/// Asks a mount for its figures, which unlike attributes are never answered from memory; `None` when that takes too
/// long. A thread that hangs in the kernel ends with this process.
pub fn look(mountpoint: &Path) -> Option<io::Result<()>> {
    let (answer, answered) = mpsc::channel();
    let place: PathBuf = mountpoint.to_owned();
    std::thread::spawn(move || {
        // Nobody listens any more when it took too long.
        drop(answer.send(free_space(&place).map(drop).map_err(|error| error.source)));
    });
    answered.recv_timeout(LOOK_DEADLINE).ok()
}

/// Ends what a killed daemon of this user has left of the store's mounts, or at the mountpoint, as far as it does not end by
/// itself. A thread that tells the kernel of a change waits there for readers; they wait for the daemon's answers; and the
/// connection, which would end that, lasts as long as the thread.
pub async fn release_dead(run: &Path, mountpoint: &Path, store: &str) -> Result<(), Failure> {
    let living = registry::all(run)?;
    let source = mounts::source_of(store);
    for mounted in mounts::all().map_err(Failure::new)? {
        let here = mounted.source == source || mounted.mountpoint == mountpoint;
        if here && is_unserved(&mounted, &living) {
            release(&mounted).await?;
        }
    }
    Ok(())
}

/// Where a daemon that lives has the store mounted. One that is mounted no more, and only sends what is left, is nowhere.
pub fn standing(run: &Path, store: &str) -> Result<Option<PathBuf>, Failure> {
    for record in registry::all(run)?.into_iter().filter(|record| record.store == store) {
        let mounted = mounts::at(&record.mountpoint).map_err(Failure::new)?;
        if mounted.is_some_and(|mounted| mounted.is_ours()) {
            return Ok(Some(record.mountpoint));
        }
    }
    Ok(None)
}

/// Whether it is a mount of ours that none of these daemons serves.
pub fn is_unserved(mounted: &Mounted, living: &[MountRecord]) -> bool {
    mounted.is_ours() && living.iter().all(|record| record.mountpoint != mounted.mountpoint)
}

/// Ends the connection of a mount of this user that nobody answers for.
pub async fn release(mounted: &Mounted) -> Result<(), Failure> {
    if mounted.user != Some(places::own_ids().0) {
        return Ok(());
    }
    let place = mounted.mountpoint.clone();
    let answer = tokio::task::spawn_blocking(move || look(&place)).await;
    if answer.map_err(Failure::new)?.is_some() {
        return Ok(());
    }
    let shown = mounted.mountpoint.display();
    tracing::warn!(mountpoint = %shown, "a mount that nobody serves any more is ended");
    abort(mounted).await.map_err(|e| {
        Failure::new(format!(
            "{shown}: the mount there hangs, its daemon has died, and it cannot be ended: {e}; as root: `umount -f -l {shown}`"
        ))
    })
}

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

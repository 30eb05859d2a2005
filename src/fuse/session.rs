//! Mounting and unmounting.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use fuser::{Config, MountOption, Session, SessionACL};
use tokio::sync::watch;

use super::adapter::Adapter;
use super::mounts::{self, Mounted};
use super::notices::{self, Queue};
use super::spare::THREADS;
use crate::telemetry::Operations;
use crate::vfs::Vfs;

/// What the kernel reads ahead of a sequential reader, in KiB: its own 128 leave most of a fast line unused.
const READ_AHEAD_KIB: u32 = 1024;

/// How to mount.
#[derive(Clone, Debug)]
pub struct MountConfig {
    /// An existing empty folder, absolute.
    pub mountpoint: PathBuf,
    /// What `df` and `mount` show; a comma would be read as the start of another option.
    pub name: String,
    /// The kernel refuses every change.
    pub read_only: bool,
    /// Other users may use the mount.
    pub allow_other: bool,
    /// The cache lies on a file system that itself stacks on another (overlayfs).
    pub cache_is_stacked: bool,
}

/// A live mount. Dropping it does not unmount: [`Mount::unmount`] does, or somebody else may.
pub struct Mount {
    mountpoint: PathBuf,
    ended: watch::Receiver<bool>,
    notices: Option<Arc<Queue>>,
}

impl Mount {
    /// Mounts `vfs` and starts to serve; what is answered is counted in `operations`. When this returns, the kernel has the mount.
    pub fn new(
        vfs: Vfs,
        runtime: &tokio::runtime::Handle,
        operations: Arc<Operations>,
        config: &MountConfig,
    ) -> io::Result<Self> {
        let notices = vfs.take_notices().map(|notices| (notices, vfs.untold()));
        let stack_depth = if config.cache_is_stacked { 2 } else { 1 };
        let adapter = Adapter::new(vfs, runtime.clone(), operations, stack_depth);
        let (underway, notifier) = (adapter.underway(), adapter.notifier());
        let session = Session::new(adapter, &config.mountpoint, &kernel_config(config))?;
        notifier.get_or_init(|| session.notifier());
        let notices = match notices {
            Some(notices) => Some(notices::start(session.notifier(), underway, notices, runtime)?),
            None => None,
        };
        let (end, ended) = watch::channel(false);
        std::thread::Builder::new().name("fuse".into()).spawn(move || {
            if let Err(error) = session.run() {
                tracing::error!(%error, "the kernel's requests can no longer be read");
            }
            end.send_replace(true);
        })?;
        if let Err(error) = widen_read_ahead(&config.mountpoint) {
            tracing::debug!(%error, "the kernel keeps its own read-ahead");
        }
        Ok(Self {
            mountpoint: config.mountpoint.clone(),
            ended,
            notices,
        })
    }

    /// Where it is.
    pub fn mountpoint(&self) -> &Path {
        &self.mountpoint
    }

    /// Waits until the kernel has let go of the mount, whoever unmounted it.
    pub async fn ended(&self) {
        let mut ended = self.ended.clone();
        // The sender's thread going away is an end too.
        if ended.wait_for(|ended| *ended).await.is_err() {
            tracing::debug!("the session's thread ended without a word");
        }
    }

    /// Whether the kernel has let go of the mount.
    pub fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    /// Takes the mount away; `lazy` also while it is in use: it then ends with its last user.
    pub async fn unmount(&self, lazy: bool) -> io::Result<()> {
        if self.has_ended() {
            return Ok(());
        }
        unmount(&self.mountpoint, lazy).await
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Some(notices) = &self.notices {
            notices.close();
        }
    }
}

fn kernel_config(config: &MountConfig) -> Config {
    let mut options = Config::default();
    options.mount_options = vec![
        MountOption::FSName(mounts::source_of(&config.name)),
        MountOption::Subtype("assetfs".into()),
        MountOption::DefaultPermissions,
        MountOption::NoAtime,
        if config.read_only {
            MountOption::RO
        } else {
            MountOption::RW
        },
    ];
    options.acl = if config.allow_other {
        SessionACL::All
    } else {
        SessionACL::Owner
    };
    options.n_threads = Some(THREADS);
    options.clone_fd = false;
    options
}

/// Only root may; for others the kernel's default stays.
fn widen_read_ahead(mountpoint: &Path) -> io::Result<()> {
    let Some(mounted) = mounts::at(mountpoint)? else {
        return Err(io::ErrorKind::NotFound.into());
    };
    let setting = Path::new("/sys/class/bdi").join(mounted.device).join("read_ahead_kb");
    tell(&setting, &READ_AHEAD_KIB.to_string())
}

/// Writes to one of the kernel's own files.
fn tell(file: &Path, text: &str) -> io::Result<()> {
    let mut file = std::fs::File::options().write(true).open(file)?;
    io::Write::write_all(&mut file, text.as_bytes())
}

/// Ends the connection of a mount that nobody serves any more: whoever waits for an answer gets an error instead. It needs
/// root, or FUSE's control file system for the user whose mount it is.
pub async fn abort(mounted: &Mounted) -> io::Result<()> {
    let number = mounted.device.rsplit(':').next().unwrap_or_default();
    let control = Path::new("/sys/fs/fuse/connections").join(number).join("abort");
    match tell(&control, "1") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut command = tokio::process::Command::new("umount");
            command
                .args(["-f", "-l", "--"])
                .arg(&mounted.mountpoint)
                .stdin(Stdio::null());
            let output = command.output().await?;
            match output.status.success() {
                true => Ok(()),
                false => Err(io::Error::other(
                    String::from_utf8_lossy(&output.stderr).trim().to_owned(),
                )),
            }
        }
        told => told,
    }
}

/// Unmounts `mountpoint` with the system's own tools, which may do it for an ordinary user too. The error of the last one
/// tried is told when all fail.
pub async fn unmount(mountpoint: &Path, lazy: bool) -> io::Result<()> {
    let mut outcome = Err(io::Error::other("neither fusermount3 nor umount is installed"));
    for tool in ["fusermount3", "umount"] {
        let mut command = tokio::process::Command::new(tool);
        if tool == "fusermount3" {
            command.arg("-u");
        }
        if lazy {
            command.arg(if tool == "umount" { "-l" } else { "-z" });
        }
        command.arg("--").arg(mountpoint).stdin(Stdio::null());
        match command.output().await {
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                if mounts::at(mountpoint)?.is_none() {
                    return Ok(());
                }
                let kind = if said.contains("busy") {
                    io::ErrorKind::ResourceBusy
                } else {
                    io::ErrorKind::Other
                };
                outcome = Err(io::Error::new(kind, said));
                if kind == io::ErrorKind::ResourceBusy {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => outcome = Err(error),
        }
    }
    outcome
}

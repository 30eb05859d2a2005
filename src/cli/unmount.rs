//! `assetfs unmount`

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::output;
use super::sync::ask_with_bar;
use crate::daemon::control::Request;
use crate::daemon::places::Places;
use crate::daemon::registry::{self, MountRecord};
use crate::daemon::{Failure, Status, mountpoint};
use crate::fuse::{self, mounts::Mounted};

/// How long the daemon may take to go after its last word.
const EXIT_WAIT: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The mountpoint, or the store
    mountpoint: String,
    /// How long uploads may go on [default: 5 minutes]
    #[arg(long, value_name = "SECS", conflicts_with = "lazy")]
    wait: Option<u64>,
    /// Take the mount away at once, even in use; uploads go on in the background
    #[arg(long)]
    lazy: bool,
}

pub fn run(args: &Args, places: &Places) -> Result<ExitCode, Failure> {
    // First, because the search looks at the path, and a mount that nobody serves may hang.
    let absolute = std::path::absolute(&args.mountpoint).map_err(Failure::new)?;
    let mounted = fuse::mounts::at(&absolute).map_err(Failure::new)?;
    let living = registry::all(&places.run)?;
    if let Some(mounted) = mounted.filter(|mounted| mountpoint::is_unserved(mounted, &living)) {
        return orphan(&args.mountpoint, &mounted);
    }
    let found = match registry::find(&places.run, &args.mountpoint) {
        Ok((mount, below)) if below.is_empty() => Some(mount),
        Ok((mount, _)) => {
            return Err(Failure::usage(format!(
                "{} is in the mount {}, which is to be named itself",
                args.mountpoint,
                mount.mountpoint.display()
            )));
        }
        Err(failure) if failure.status == Status::NotMounted => None,
        Err(failure) => return Err(failure),
    };
    match found {
        Some(mount) if args.lazy => {
            // The daemon notices, and uploads what is left by itself.
            detach(&mount.mountpoint)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(mount) => orderly(&mount, args.wait),
        None => Err(Failure::with(
            Status::NotMounted,
            format!("{}: nothing of ours is mounted there", args.mountpoint),
        )),
    }
}

fn orderly(mount: &MountRecord, wait: Option<u64>) -> Result<ExitCode, Failure> {
    let request = Request::Unmount {
        lazy: false,
        wait_ms: wait.map(|seconds| seconds.saturating_mul(1000)),
    };
    let answer = ask_with_bar(&mount.socket, &request)?;
    let report = serde_json::from_value(answer).map_err(Failure::new)?;
    let since = Instant::now();
    // A mount that follows at once must find the store's lock free.
    while !registry::is_gone(mount.pid) && since.elapsed() < EXIT_WAIT {
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(super::tell(&mount.mountpoint, &report))
}

/// Takes away a mount of ours whose daemon is gone, or not registered.
fn orphan(target: &str, mounted: &Mounted) -> Result<ExitCode, Failure> {
    super::runtime()?.block_on(mountpoint::release(mounted))?;
    // Where there is no control file system, that has taken it away already.
    if fuse::mounts::at(&mounted.mountpoint).map_err(Failure::new)?.is_some() {
        detach(&mounted.mountpoint)?;
    }
    output::say(format_args!("{target}: its daemon was gone already"));
    Ok(ExitCode::SUCCESS)
}

fn detach(mountpoint: &Path) -> Result<(), Failure> {
    super::runtime()?
        .block_on(fuse::unmount(mountpoint, true))
        .map_err(|e| Failure::new(format!("cannot unmount {}: {e}", mountpoint.display())))
}

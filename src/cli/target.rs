//! Which mount a command is about.

use crate::daemon::places::Places;
use crate::daemon::registry::{self, MountRecord};
use crate::daemon::{Failure, Status};

/// A mount that changes of the queue belong to, for commands that take a change's number.
#[derive(Debug, clap::Args)]
pub struct On {
    /// The mount that it is about, by path or store, when there is more than one
    #[arg(long, value_name = "PATH|STORE")]
    pub on: Option<String>,
}

impl On {
    /// That mount.
    pub fn find(&self, places: &Places) -> Result<MountRecord, Failure> {
        let mut mounts = all_or(places, self.on.as_deref())?;
        match (mounts.pop(), mounts.is_empty()) {
            (Some((mount, _)), true) => Ok(mount),
            _ => Err(Failure::usage(
                "there is more than one mount: say which with --on PATH or --on STORE",
            )),
        }
    }
}

/// The mount that `target` is in or names, with the path in it; without a target all mounts, of which there must be one.
pub fn all_or(places: &Places, target: Option<&str>) -> Result<Vec<(MountRecord, String)>, Failure> {
    if let Some(target) = target {
        return registry::find(&places.run, target).map(|found| vec![found]);
    }
    let mounts: Vec<_> = registry::all(&places.run)?
        .into_iter()
        .map(|mount| (mount, String::new()))
        .collect();
    if mounts.is_empty() {
        return Err(Failure::with(Status::NotMounted, "nothing is mounted"));
    }
    Ok(mounts)
}

//! `assetfs path`

use std::path::Path;
use std::process::ExitCode;

use super::target;
use super::{assets, output};
use crate::daemon::Failure;
use crate::daemon::control::AssetRequest;
use crate::daemon::places::Places;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The id of an asset, as `user.assetfs.id` and the store show it
    id: String,
    /// Only in this mount [default: all mounts]
    #[arg(long, value_name = "PATH|STORE")]
    on: Option<String>,
}

pub fn run(args: &Args, places: &Places) -> Result<ExitCode, Failure> {
    let mut shown = 0;
    for (mount, _) in target::all_or(places, args.on.as_deref())? {
        let request = AssetRequest::Paths { id: args.id.clone() };
        let paths: Vec<String> = assets::ask(&mount, request)?;
        shown += paths.len();
        for path in paths {
            output::line(at(&mount.mountpoint, &path).display())?;
        }
    }
    if shown > 0 {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::new(format!("no mount shows an asset with the id {}", args.id)))
}

/// A path in a mount, as programs see it.
pub fn at(mountpoint: &Path, path: &str) -> std::path::PathBuf {
    if path.is_empty() {
        mountpoint.to_owned()
    } else {
        mountpoint.join(path)
    }
}

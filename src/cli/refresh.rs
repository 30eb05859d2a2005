//! `assetfs refresh`

use std::process::ExitCode;

use crate::daemon::control::{Request, ask};
use crate::daemon::places::Places;
use crate::daemon::{Failure, registry};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A path in a mount
    path: String,
}

pub fn run(args: &Args, places: &Places) -> Result<ExitCode, Failure> {
    let (mount, path) = registry::find(&places.run, &args.path)?;
    ask(&mount.socket, &Request::Refresh { path })?;
    Ok(ExitCode::SUCCESS)
}

//! `assetfs export`

use std::path::PathBuf;
use std::process::ExitCode;

use super::target::On;
use crate::daemon::Failure;
use crate::daemon::control::{Request, ask};
use crate::daemon::places::Places;
use crate::daemon::registry;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The number in `assetfs queue` or `assetfs queue --originals`, or the path of the file in the mount
    #[arg(value_name = "ID|PATH")]
    what: String,
    /// The file to write
    to: PathBuf,
    #[command(flatten)]
    on: On,
}

pub fn run(args: &Args, places: &Places) -> Result<ExitCode, Failure> {
    let to = std::path::absolute(&args.to).map_err(Failure::new)?;
    let (mount, id, path) = match args.what.parse() {
        Ok(id) => (args.on.find(places)?, Some(id), None),
        Err(_) => {
            let (mount, below) = registry::find(&places.run, &args.what)?;
            (mount, None, Some(below))
        }
    };
    ask(&mount.socket, &Request::Export { id, path, to })?;
    Ok(ExitCode::SUCCESS)
}

//! `assetfs export`

use std::path::PathBuf;
use std::process::ExitCode;

use super::target::On;
use crate::daemon::Failure;
use crate::daemon::control::{Request, ask};
use crate::daemon::places::Places;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The change's number in `assetfs queue`
    id: u64,
    /// The file to write
    to: PathBuf,
    #[command(flatten)]
    on: On,
}

pub fn run(args: &Args, places: &Places) -> Result<ExitCode, Failure> {
    let to = std::path::absolute(&args.to).map_err(Failure::new)?;
    ask(&args.on.find(places)?.socket, &Request::Export { id: args.id, to })?;
    Ok(ExitCode::SUCCESS)
}

//! `assetfs approve`

use std::process::ExitCode;

use super::output;
use super::target::On;
use crate::daemon::Failure;
use crate::daemon::control::{Request, ask};
use crate::daemon::places::Places;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The change's number in `assetfs queue` [default: all that are held]
    id: Option<u64>,
    #[command(flatten)]
    on: On,
}

pub fn run(args: &Args, places: &Places) -> Result<ExitCode, Failure> {
    let answer = ask(&args.on.find(places)?.socket, &Request::Approve { id: args.id })?;
    let changes = answer["changes"].as_u64().unwrap_or_default() as usize;
    output::line(format_args!(
        "{} will be carried out",
        output::count(changes, "deletion")
    ))?;
    Ok(ExitCode::SUCCESS)
}

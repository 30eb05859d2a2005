//! `assetfs man`

use std::path::PathBuf;
use std::process::ExitCode;

use super::output;
use crate::daemon::Failure;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write the pages of all commands into this folder
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub fn run(args: &Args, command: clap::Command) -> Result<ExitCode, Failure> {
    match &args.dir {
        Some(dir) => clap_mangen::generate_to(command, dir)
            .map_err(|e| Failure::new(format!("cannot write the manual to {}: {e}", dir.display())))?,
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page).map_err(Failure::new)?;
            output::raw(&page)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

//! `assetfs completions`

use std::process::ExitCode;

use super::output;
use crate::daemon::Failure;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// For which shell
    shell: clap_complete::Shell,
}

pub fn run(args: &Args, mut command: clap::Command) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    let name = command.get_name().to_owned();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    output::raw(&script)?;
    Ok(ExitCode::SUCCESS)
}

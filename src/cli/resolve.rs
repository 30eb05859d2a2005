//! `assetfs resolve`

use std::process::ExitCode;

use super::target::On;
use crate::daemon::Failure;
use crate::daemon::control::{Request, ask};
use crate::daemon::places::Places;
use crate::vfs::Keep;

/// Which side of a conflict stays.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum KeepChoice {
    /// The version made here replaces the store's
    Mine,
    /// The store's version stays; the one made here goes
    Theirs,
    /// Both: the one made here becomes a file of its own
    Both,
}

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The conflict's number in `assetfs queue`
    id: u64,
    /// What stays
    #[arg(long)]
    keep: KeepChoice,
    #[command(flatten)]
    on: On,
}

pub fn run(args: &Args, places: &Places) -> Result<ExitCode, Failure> {
    let request = Request::Resolve {
        id: args.id,
        keep: match args.keep {
            KeepChoice::Mine => Keep::Mine,
            KeepChoice::Theirs => Keep::Theirs,
            KeepChoice::Both => Keep::Both,
        },
    };
    ask(&args.on.find(places)?.socket, &request)?;
    Ok(ExitCode::SUCCESS)
}

//! `assetfs discard`

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use super::output;
use super::target::On;
use crate::daemon::Failure;
use crate::daemon::control::{Request, ask};
use crate::daemon::places::Places;
use crate::vfs::QueueItem;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The change's number in `assetfs queue`
    #[arg(required_unless_present = "held")]
    id: Option<u64>,
    /// All deletions that are held: what was to be deleted shows again
    #[arg(long, conflicts_with = "id")]
    held: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    on: On,
}

pub fn run(args: &Args, places: &Places) -> Result<ExitCode, Failure> {
    let mount = args.on.find(places)?;
    let Some(id) = args.id else {
        // Nothing is lost by that, so nobody is asked.
        let answer = ask(&mount.socket, &Request::DiscardHeld)?;
        let changes = answer["changes"].as_u64().unwrap_or_default() as usize;
        output::line(format_args!("{} taken back", output::count(changes, "deletion")))?;
        return Ok(ExitCode::SUCCESS);
    };
    if !args.yes {
        let queue: Vec<QueueItem> =
            serde_json::from_value(ask(&mount.socket, &Request::Queue)?).map_err(Failure::new)?;
        let item = queue
            .iter()
            .find(|item| item.id == id)
            .ok_or_else(|| Failure::new(format!("there is no change {id} in the queue: see `assetfs queue`")))?;
        if !is_wanted(item)? {
            return Err(Failure::new("nothing was discarded"));
        }
    }
    ask(&mount.socket, &Request::Discard { id })?;
    Ok(ExitCode::SUCCESS)
}

/// Asks a person: what is discarded is gone.
fn is_wanted(item: &QueueItem) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage("nobody can be asked here: add --yes"));
    }
    let mut terminal = std::io::stderr().lock();
    write!(
        terminal,
        "Give up {} {} ({})? It cannot be got back. [y/N] ",
        item.what,
        item.path,
        output::size(item.bytes)
    )
    .and_then(|()| terminal.flush())
    .map_err(Failure::new)?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(Failure::new)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

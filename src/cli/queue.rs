//! `assetfs queue`

use std::process::ExitCode;

use serde_json::json;

use super::{kept, output, target, users};
use crate::daemon::control::{Request, ask};
use crate::daemon::places::Places;
use crate::daemon::{Failure, Status};
use crate::vfs::QueueItem;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A path in a mount, or a store [default: all mounts]
    #[arg(value_name = "PATH|STORE")]
    target: Option<String>,
    /// Instead of what waits: what was sent of files that the store changed on arrival, and is kept for 30 days
    #[arg(long)]
    originals: bool,
    /// For programs
    #[arg(long)]
    json: bool,
    /// Whether anything is not in its store yet, of stores that are not mounted too: one line each, and exit status 1
    #[arg(long, conflicts_with_all = ["target", "json", "originals"])]
    kept: bool,
    /// With --kept: of every user of this machine, which only root can tell
    #[arg(long, requires = "kept")]
    everybody: bool,
}

pub fn run(args: &Args, places: &Places) -> Result<ExitCode, Failure> {
    if args.kept {
        return tell_kept(places, args.everybody);
    }
    let mut needs_somebody = false;
    let mut listed = Vec::new();
    for (mount, below) in target::all_or(places, args.target.as_deref())? {
        let request = if args.originals {
            Request::Originals
        } else {
            Request::Queue
        };
        let items: Vec<QueueItem> = serde_json::from_value(ask(&mount.socket, &request)?).map_err(Failure::new)?;
        for item in items.into_iter().filter(|item| is_below(&item.path, &below)) {
            needs_somebody |= item.state.starts_with("parked") || item.state.starts_with("held");
            if args.json {
                listed.push(json!({ "mountpoint": mount.mountpoint, "store": mount.store, "change": item }));
            } else {
                output::line(row(&item))?;
            }
        }
    }
    if args.json {
        output::object(json!({ "changes": listed }))?;
    }
    Ok(if needs_somebody {
        ExitCode::from(Status::Failed.code())
    } else {
        ExitCode::SUCCESS
    })
}

/// Says which stores have something here that they do not have there.
fn tell_kept(places: &Places, everybody: bool) -> Result<ExitCode, Failure> {
    let mut any = false;
    if everybody {
        for line in users::kept()? {
            any = true;
            output::line(line)?;
        }
    }
    for (mount, _) in target::all_or(places, None).unwrap_or_default() {
        let items: Vec<QueueItem> =
            serde_json::from_value(ask(&mount.socket, &Request::Queue)?).map_err(Failure::new)?;
        if !items.is_empty() {
            any = true;
            let changes = output::count(items.len(), "change");
            output::line(format_args!(
                "{}: {changes}, mounted at {}",
                mount.store,
                mount.mountpoint.display()
            ))?;
        }
    }
    for kept in kept::all(places, None)? {
        if let Some(changes @ 1..) = kept.changes {
            any = true;
            let changes = output::count(changes, "change");
            output::line(format_args!(
                "{}: {changes}, kept in {}",
                kept.store(),
                kept.folder.display()
            ))?;
        }
    }
    Ok(ExitCode::from(if any { Status::Failed.code() } else { 0 }))
}

fn is_below(path: &str, folder: &str) -> bool {
    let path = path.trim_start_matches('/');
    folder.is_empty()
        || path
            .strip_prefix(folder)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn row(item: &QueueItem) -> String {
    let size = match (item.bytes, item.sent_bytes) {
        (0, _) => String::new(),
        (bytes, 0) => format!(" {}", output::size(bytes)),
        (bytes, sent) => format!(" {} of {}", output::size(sent), output::size(bytes)),
    };
    let next = item
        .next_try
        .as_ref()
        .map(|at| format!(", next try {at}"))
        .unwrap_or_default();
    let error = item
        .error
        .as_ref()
        .map(|error| format!("\n      {error}{next}"))
        .unwrap_or_default();
    format!(
        "{:>5} {:<10} {} {}{size}{error}",
        item.id, item.state, item.what, item.path
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_below_the_folder_are_listed() {
        assert!(is_below("/a/b.jpg", "a"));
        assert!(is_below("a", "a"));
        assert!(!is_below("ab/c", "a"));
        assert!(is_below("anything", ""));
    }
}

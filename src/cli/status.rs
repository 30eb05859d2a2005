//! `assetfs status`

use std::process::ExitCode;

use serde_json::{Value, json};

use super::{output, target};
use crate::daemon::control::{Request, ask};
use crate::daemon::places::Places;
use crate::daemon::{Failure, Status};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A path in a mount, or a store [default: all mounts]
    #[arg(value_name = "PATH|STORE")]
    target: Option<String>,
    /// For programs
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args, places: &Places) -> Result<ExitCode, Failure> {
    let mut mounts = Vec::new();
    for (mount, below) in target::all_or(places, args.target.as_deref())? {
        let path = Some(below).filter(|below| !below.is_empty());
        let status = ask(&mount.socket, &Request::Status { path: path.clone() })?;
        mounts.push(json!({
            "mountpoint": mount.mountpoint,
            "store": mount.store,
            "pid": mount.pid,
            "path": path,
            "status": status,
        }));
    }
    let needs_somebody = mounts.iter().any(|mount| needs_somebody(&mount["status"]));
    if args.json {
        output::object(json!({ "mounts": mounts }))?;
    } else {
        for mount in &mounts {
            output::line(format_args!(
                "{}  {}",
                plain(&mount["store"]),
                plain(&mount["mountpoint"])
            ))?;
            output::line(output::tree(&mount["status"], 1).trim_end())?;
        }
    }
    Ok(if needs_somebody {
        ExitCode::from(Status::Failed.code())
    } else {
        ExitCode::SUCCESS
    })
}

/// Whether a change waits for a person.
fn needs_somebody(status: &Value) -> bool {
    ["parked", "held"]
        .iter()
        .any(|what| status[what].as_u64().is_some_and(|number| number > 0))
}

fn plain(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parked_and_held_changes_need_somebody() {
        assert!(needs_somebody(&json!({"pending": 3, "parked": 1, "held": 0})));
        assert!(!needs_somebody(&json!({"pending": 3, "parked": 0})));
    }
}

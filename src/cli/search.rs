//! `assetfs search`

use std::process::ExitCode;

use serde_json::json;

use super::{assets, output, path};
use crate::daemon::control::AssetRequest;
use crate::daemon::places::Places;
use crate::daemon::{Failure, registry};
use crate::vfs::{Found, parse_query};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A folder in a mount: what is below it is searched
    path: String,
    /// Words, and filters of the store as NAME=VALUE, joined by `&` (`old ship&tag=sea`); with `recursive=false` in this
    /// folder alone. Values may be percent-encoded
    query: String,
    /// For programs
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args, places: &Places) -> Result<ExitCode, Failure> {
    let (mount, below) = registry::find(&places.run, &args.path)?;
    parse_query(&args.query).map_err(|e| Failure::usage(e.to_string()))?;
    let request = AssetRequest::Search {
        path: below,
        query: args.query.clone(),
    };
    let found: Vec<Found> = assets::ask(&mount, request)?;
    if args.json {
        let found: Vec<_> = found
            .iter()
            .map(|item| {
                let shown = path::at(&mount.mountpoint, &item.path);
                json!({ "path": shown, "id": item.id, "name": item.name })
            })
            .collect();
        output::object(json!({ "found": found }))?;
    } else {
        for item in &found {
            output::line(path::at(&mount.mountpoint, &item.path).display())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

//! `assetfs url`

use std::process::ExitCode;

use serde::Deserialize;

use super::{assets, output};
use crate::daemon::control::AssetRequest;
use crate::daemon::places::Places;
use crate::daemon::{Failure, registry};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A file or folder in a mount
    path: String,
}

#[derive(Deserialize)]
struct Address {
    url: Option<String>,
    store: String,
}

pub fn run(args: &Args, places: &Places) -> Result<ExitCode, Failure> {
    let (mount, path) = registry::find(&places.run, &args.path)?;
    let address: Address = assets::ask(&mount, AssetRequest::Url { path })?;
    let url = address.url.ok_or_else(|| {
        Failure::new(format!(
            "{}: {} has no web address for it that is known",
            args.path, address.store
        ))
    })?;
    output::line(url)?;
    Ok(ExitCode::SUCCESS)
}

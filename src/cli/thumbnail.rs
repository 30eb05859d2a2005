//! `assetfs thumbnail`

use std::path::PathBuf;
use std::process::ExitCode;

use crate::daemon::control::{Request, ask};
use crate::daemon::places::Places;
use crate::daemon::{Failure, registry};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A file in a mount
    file: String,
    /// A JPEG or PNG
    image: PathBuf,
}

pub fn run(args: &Args, places: &Places) -> Result<ExitCode, Failure> {
    let (mount, path) = registry::find(&places.run, &args.file)?;
    let image = std::path::absolute(&args.image).map_err(Failure::new)?;
    if !image.is_file() {
        return Err(Failure::new(format!("{}: there is no such file", image.display())));
    }
    ask(&mount.socket, &Request::Thumbnail { path, image })?;
    Ok(ExitCode::SUCCESS)
}

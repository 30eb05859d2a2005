//! `assetfs logout`

use std::path::Path;
use std::process::ExitCode;

use super::login::own_secret_file;
use super::{kept, output};
use crate::daemon::config::Config;
use crate::daemon::credentials::secrets_of;
use crate::daemon::keyring::{self, Label};
use crate::daemon::places::{Places, expand_home};
use crate::daemon::source::Source;
use crate::daemon::{Failure, registry};
use crate::disk::remove_if_there;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The store, as `login` called it
    name: String,
}

pub fn run(args: &Args, places: &Places) -> Result<ExitCode, Failure> {
    let config = Config::load(&places.config)?;
    if config.section(&args.name).is_none() {
        return Err(Failure::usage(format!(
            "there is no store `{}` in {}",
            args.name,
            places.config.display()
        )));
    }
    let source = Source::parse(&args.name, &config)?;
    let mut removed = 0;
    for secret in secrets_of(source.kind) {
        let own = own_secret_file(&places.config, &args.name, secret.key);
        if remove_if_there(&own)? {
            removed += 1;
        }
        if source
            .section
            .get(&format!("{}_keyring", secret.key))
            .is_some_and(|owner| owner == "true")
            && keyring::forget(&Label::new(&args.name, secret.key))?
        {
            removed += 1;
        }
        for suffix in ["_file", "_command", ""] {
            let key = format!("{}{suffix}", secret.key);
            let elsewhere = source
                .section
                .get(&key)
                .is_some_and(|value| suffix != "_file" || expand_home(Path::new(value)) != own);
            if elsewhere {
                output::say(format_args!(
                    "`{key}` in {} was not made by `assetfs login` and stays",
                    places.config.display()
                ));
            }
        }
    }
    output::say(match removed {
        0 => "there was no secret to remove".to_owned(),
        _ => format!("{} removed", output::count(removed, "secret")),
    });
    if registry::all(&places.run)?.iter().any(|mount| mount.store == args.name) {
        output::say("it is still mounted, with the secret in memory: `assetfs unmount` ends that");
    }
    tell_pending(&args.name, places)?;
    Ok(ExitCode::SUCCESS)
}

/// Says what waits to be uploaded: it stays, and goes on after the next login.
fn tell_pending(name: &str, places: &Places) -> Result<(), Failure> {
    for kept in kept::all(places, Some(name))? {
        match kept.changes {
            Some(0) => {}
            Some(changes) => output::say(format_args!(
                "{} not in the store yet: kept in {}, and sent after the next login and mount",
                output::count(changes, "change"),
                kept.folder.display()
            )),
            None => output::say(format_args!(
                "what is not in the store yet is kept in {}: see `assetfs queue`",
                kept.folder.display()
            )),
        }
    }
    Ok(())
}

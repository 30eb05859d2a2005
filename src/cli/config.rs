//! `assetfs config`

use std::process::ExitCode;

use clap::Subcommand;

use super::output;
use crate::daemon::config::Config;
use crate::daemon::places::Places;
use crate::daemon::source::Source;
use crate::daemon::{Failure, credentials};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Where it is
    Path,
    /// What it says, without secrets
    Show,
    /// Whether each store of it could be mounted, short of asking the server
    Check,
}

pub fn run(args: &Args, places: &Places) -> Result<ExitCode, Failure> {
    match args.what {
        What::Path => output::line(places.config.display())?,
        What::Show => show(&Config::load(&places.config)?)?,
        What::Check => check(&Config::load(&places.config)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn show(config: &Config) -> Result<(), Failure> {
    for name in config.names() {
        let source = Source::parse(name, config)?;
        let secrets = credentials::secrets_of(source.kind);
        output::line(format_args!(
            "[{name}]\nkind = \"{}\"\nurl = \"{}\"",
            source.kind, source.url
        ))?;
        for (key, value) in source.section.iter().filter(|(key, _)| *key != "kind" && *key != "url") {
            let value = if secrets.iter().any(|secret| secret.key == key) {
                "[redacted]"
            } else {
                value
            };
            output::line(format_args!("{key} = {value:?}"))?;
        }
        output::line("")?;
    }
    Ok(())
}

fn check(config: &Config) -> Result<(), Failure> {
    let mut faults = 0;
    for name in config.names() {
        let checked = Source::parse(name, config).and_then(|source| {
            credentials::collect(source.kind, name, &source.section, |variable| {
                std::env::var(variable).ok()
            })
        });
        match checked {
            Ok(_) => output::line(format_args!("{name}: ok"))?,
            Err(failure) => {
                faults += 1;
                output::line(format_args!("{name}: {failure}"))?;
            }
        }
    }
    match faults {
        0 => Ok(()),
        _ => Err(Failure::new(format!(
            "{} cannot be mounted",
            output::count(faults, "store")
        ))),
    }
}

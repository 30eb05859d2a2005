//! `assetfs search`

use std::process::ExitCode;

use serde_json::json;

use super::{assets, output, path};
use crate::daemon::control::AssetRequest;
use crate::daemon::places::Places;
use crate::daemon::{Failure, registry};
use crate::vfs::Found;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A folder in a mount: what is below it is searched
    path: String,
    /// Words, and filters of the store as NAME=VALUE, joined by `&` (`old ship&tag=sea`)
    query: String,
    /// For programs
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args, places: &Places) -> Result<ExitCode, Failure> {
    let (mount, below) = registry::find(&places.run, &args.path)?;
    let (words, filters) = parse(&args.query)?;
    let request = AssetRequest::Search {
        path: below,
        words,
        filters,
    };
    let found: Vec<Found> = assets::ask(&mount, request)?;
    if args.json {
        let found: Vec<_> = found
            .iter()
            .map(|item| {
                let shown = item.path.as_ref().map(|below| path::at(&mount.mountpoint, below));
                json!({ "path": shown, "id": item.id, "name": item.name })
            })
            .collect();
        output::object(json!({ "found": found }))?;
    } else {
        for item in &found {
            match &item.path {
                Some(below) => output::line(path::at(&mount.mountpoint, below).display())?,
                None => output::line(format_args!("{}  {}", item.id, item.name))?,
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Words and filters of a query.
fn parse(query: &str) -> Result<(String, Vec<(String, String)>), Failure> {
    let (mut words, mut filters) = (Vec::new(), Vec::new());
    for part in query.split('&').map(str::trim).filter(|part| !part.is_empty()) {
        match part.split_once('=') {
            Some((name, value)) if !name.trim().is_empty() => {
                filters.push((name.trim().to_owned(), value.trim().to_owned()));
            }
            Some(_) => return Err(Failure::usage(format!("`{part}` is not NAME=VALUE"))),
            None => words.push(part),
        }
    }
    if words.is_empty() && filters.is_empty() {
        return Err(Failure::usage("say what to search for: words, or NAME=VALUE"));
    }
    Ok((words.join(" "), filters))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_filters_are_told_apart() {
        let filter = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            parse("old ship & tag=sea&Dublin Core.Title=a=b").unwrap(),
            (
                "old ship".to_owned(),
                vec![filter("tag", "sea"), filter("Dublin Core.Title", "a=b")]
            )
        );
        assert_eq!(parse("tag=").unwrap(), (String::new(), vec![filter("tag", "")]));
        assert!(parse(" & ").is_err());
        assert!(parse("=x").is_err());
    }
}

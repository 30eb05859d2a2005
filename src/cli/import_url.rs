//! `assetfs import-url`

use std::process::ExitCode;

use crate::daemon::control::{Request, ask};
use crate::daemon::places::Places;
use crate::daemon::{Failure, registry};
use crate::model::{FieldChanges, Value};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the store fetches the file from; `-` reads it from standard input, which no list of processes shows
    url: String,
    /// The new file, in a mount
    dest: String,
    /// Its type, by id
    #[arg(long, value_name = "ID")]
    file_type: Option<String>,
    /// A term and its value
    #[arg(long = "term", value_name = "NAME=VALUE", value_parser = pair)]
    terms: Vec<(String, String)>,
    /// A tag
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
}

pub fn run(args: Args, places: &Places) -> Result<ExitCode, Failure> {
    let (mount, dest) = registry::find(&places.run, &args.dest)?;
    if dest.is_empty() {
        return Err(Failure::usage("the destination must be a file in the mount"));
    }
    let fields = fields(&args);
    let url = if args.url == "-" {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map_err(Failure::new)?;
        line.trim().to_owned()
    } else {
        args.url
    };
    ask(&mount.socket, &Request::ImportUrl { url, dest, fields })?;
    Ok(ExitCode::SUCCESS)
}

fn fields(args: &Args) -> FieldChanges {
    let mut fields = FieldChanges::new();
    if let Some(file_type) = &args.file_type {
        fields.insert("file_type".into(), vec![Value::from(file_type.as_str())]);
    }
    for (name, value) in &args.terms {
        let values = fields.entry(format!("term.{name}")).or_default();
        values.push(Value::from(value.as_str()));
    }
    if !args.tags.is_empty() {
        fields.insert(
            "tags".into(),
            args.tags.iter().map(|tag| Value::from(tag.as_str())).collect(),
        );
    }
    fields
}

fn pair(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| format!("`{text}` is not NAME=VALUE"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_may_have_several_values() {
        assert_eq!(pair("Credit=Ada = Co"), Ok(("Credit".into(), "Ada = Co".into())));
        assert!(pair("Credit").is_err());
        let fields = fields(&Args {
            url: "-".into(),
            dest: "x".into(),
            file_type: Some("6001".into()),
            terms: vec![("Credit".into(), "a".into()), ("Credit".into(), "b".into())],
            tags: vec!["Spring".into()],
        });
        assert_eq!(fields["term.Credit"].len(), 2);
        assert_eq!(fields["file_type"], [Value::from("6001")]);
        assert_eq!(fields["tags"], [Value::from("Spring")]);
    }
}

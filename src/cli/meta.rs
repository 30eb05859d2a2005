//! `assetfs meta`

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

mod table;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::progress::Progress;
use super::{assets, output};
use crate::daemon::control::AssetRequest;
use crate::daemon::places::Places;
use crate::daemon::registry::{self, MountRecord};
use crate::daemon::{Failure, Status};
use crate::model::{Access, Fields, Value};
use crate::vfs::{Asset, AssetPage, AssetRef, FieldDiff, FieldEdit};

/// What is counted while a file is applied.
const ASSETS: &str = "assets";

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files and folders in a mount; with --from the mount that its lines are about
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<String>,
    /// For programs
    #[arg(long)]
    json: bool,
    /// Give a field this value alone; several times: these values
    #[arg(long, value_name = "FIELD=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
    /// Give a field one more value
    #[arg(long, value_name = "FIELD=VALUE", value_parser = pair)]
    add: Vec<(String, String)>,
    /// Take all values of a field away
    #[arg(long, value_name = "FIELD")]
    remove: Vec<String>,
    /// Apply lines as --export prints them (`-`: from standard input), or a table: the columns are `path` and fields, an
    /// empty cell leaves a field as it is. What is right already costs nothing, so after a break just say it again
    #[arg(long, value_name = "FILE.jsonl|FILE.csv", conflicts_with_all = ["set", "add", "remove"])]
    from: Option<PathBuf>,
    /// Print the writable fields of everything below as lines of JSON, as far as it is known: the store is not asked
    #[arg(long, conflicts_with_all = ["json", "set", "add", "remove", "from", "dry_run"])]
    export: bool,
    /// Only tell what would change
    #[arg(long)]
    dry_run: bool,
}

pub fn run(args: &Args, places: &Places) -> Result<ExitCode, Failure> {
    if args.export {
        return export(&args.paths, places);
    }
    if let Some(file) = &args.from {
        return apply(file, args, places);
    }
    let edits = edits_of(args);
    if edits.is_empty() && args.dry_run {
        return Err(Failure::usage("--dry-run goes with --set, --add, --remove or --from"));
    }
    if edits.is_empty() {
        show(args, places)
    } else {
        edit(args, &edits, places)
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| format!("`{text}` is not FIELD=VALUE"))
}

/// What the options ask for: clearing first, then setting, then adding.
fn edits_of(args: &Args) -> Vec<FieldEdit> {
    let clear = args.remove.iter().map(|field| FieldEdit::Exactly {
        field: field.clone(),
        values: Vec::new(),
    });
    let mut set: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (field, value) in &args.set {
        set.entry(field).or_default().push(value.clone());
    }
    let set = set.into_iter().map(|(field, texts)| FieldEdit::Texts {
        field: field.to_owned(),
        texts,
    });
    let add = args.add.iter().map(|(field, value)| FieldEdit::Add {
        field: field.clone(),
        text: value.clone(),
    });
    clear.chain(set).chain(add).collect()
}

fn show(args: &Args, places: &Places) -> Result<ExitCode, Failure> {
    let mut shown = Vec::new();
    for path in &args.paths {
        let (mount, below) = registry::find(&places.run, path)?;
        let asset: Asset = assets::ask(&mount, AssetRequest::Fields { path: below })?;
        if args.json {
            shown.push(json!({ "path": path, "id": asset.id, "fields": all_fields(&asset.fields) }));
        } else {
            output::line(format_args!("{path}\n{}", rendered(&asset).trim_end()))?;
        }
    }
    if args.json {
        output::object(json!({ "assets": shown }))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Fields for programs, with those that cannot be written marked.
fn all_fields(fields: &Fields) -> serde_json::Value {
    fields
        .iter()
        .map(|(name, field)| {
            let read_only = field.access == Access::ReadOnly;
            (name.clone(), json!({ "values": field.values, "read_only": read_only }))
        })
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// Fields for people: one value a line, further lines of a value further in.
fn rendered(asset: &Asset) -> String {
    let mut out = format!("  id: {}\n", asset.id.as_deref().unwrap_or("not in the store yet"));
    for (name, field) in &asset.fields {
        let mark = match field.access {
            Access::ReadWrite => "",
            Access::ReadOnly => " (read-only)",
            Access::WriteOnly => " (write-only)",
        };
        for value in &field.values {
            let form = if value.html { " (HTML)" } else { "" };
            let text = value.text.replace('\n', "\n      ");
            out.push_str(&format!("  {name}{mark}{form}: {text}\n"));
        }
    }
    out
}

/// Changes the same fields of every path.
fn edit(args: &Args, edits: &[FieldEdit], places: &Places) -> Result<ExitCode, Failure> {
    let mut outcome = Outcome::new(args);
    for path in &args.paths {
        let (mount, below) = registry::find(&places.run, path)?;
        let asset = AssetRef { path: below, id: None };
        outcome.note(path, change(&mount, asset, edits.to_vec(), args.dry_run))?;
    }
    outcome.end()
}

fn change(mount: &MountRecord, asset: AssetRef, edits: Vec<FieldEdit>, rehearse: bool) -> Result<FieldDiff, Failure> {
    assets::ask(mount, AssetRequest::Edit { asset, edits, rehearse })
}

/// What became of the changes, told as it goes.
struct Outcome {
    json: bool,
    dry_run: bool,
    changed: usize,
    failed: usize,
    rows: Vec<serde_json::Value>,
}

impl Outcome {
    fn new(args: &Args) -> Self {
        Self {
            json: args.json,
            dry_run: args.dry_run,
            changed: 0,
            failed: 0,
            rows: Vec::new(),
        }
    }

    /// Notes what became of one asset. One that cannot be changed does not keep the others from it.
    fn note(&mut self, about: &str, outcome: Result<FieldDiff, Failure>) -> Result<(), Failure> {
        match outcome {
            Ok(diff) if diff.changes.is_empty() => {}
            Ok(diff) => {
                self.changed += 1;
                if self.json {
                    self.rows.push(json!({ "path": diff.path, "changes": diff.changes }));
                } else if self.dry_run {
                    for (field, values) in &diff.changes {
                        output::line(format_args!("{}: {field}: {}", diff.path, in_short(values)))?;
                    }
                }
            }
            Err(failure) if failure.status == Status::NotMounted => return Err(failure),
            Err(failure) => {
                self.failed += 1;
                if self.json {
                    self.rows.push(json!({ "path": about, "error": failure.message }));
                } else {
                    output::say(format_args!("{about}: {failure}"));
                }
            }
        }
        Ok(())
    }

    fn end(self) -> Result<ExitCode, Failure> {
        if self.json {
            output::object(
                json!({ "dry_run": self.dry_run, "changed": self.changed, "failed": self.failed,
                "assets": self.rows }),
            )?;
        }
        Ok(match self.failed {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::from(Status::Failed.code()),
        })
    }
}

/// Values on one line.
fn in_short(values: &[Value]) -> String {
    if values.is_empty() {
        return "cleared".into();
    }
    let texts: Vec<String> = values.iter().map(|value| format!("{:?}", value.text)).collect();
    texts.join(", ")
}

/// A line of an export: the writable fields of one asset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    /// In the mount, without a slash at the beginning.
    path: String,
    /// Who it is; without it whatever is at the path is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    fields: BTreeMap<String, Vec<Value>>,
    /// Other fields of it are not known without asking the store.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    partial: bool,
}

impl Line {
    fn of(asset: &Asset) -> Self {
        let writable = asset.fields.iter().filter(|(_, f)| f.access == Access::ReadWrite);
        Self {
            path: asset.path.clone(),
            id: asset.id.clone(),
            fields: writable.map(|(name, f)| (name.clone(), f.values.clone())).collect(),
            partial: !asset.complete,
        }
    }
}

/// What has been printed, and what is not known well enough to be.
#[derive(Default)]
struct Export {
    /// Assets in several folders that were met already, by id.
    seen: HashSet<String>,
    /// Folders that were never read.
    unread: usize,
    /// Assets of which some fields are not known.
    partial: usize,
}

fn export(paths: &[String], places: &Places) -> Result<ExitCode, Failure> {
    let mut export = Export::default();
    for path in paths {
        let (mount, below) = registry::find(&places.run, path)?;
        export_below(&mount, below, &mut export)?;
    }
    if export.unread > 0 {
        output::say(format_args!(
            "not read so far, so what is in there is missing: {}; `ls -R` reads all",
            output::count(export.unread, "folder")
        ));
    }
    if export.partial > 0 {
        output::say(format_args!(
            "not known with all fields, and marked \"partial\": {}; `assetfs meta` or `refresh` of them reads all",
            output::count(export.partial, "asset")
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints everything at and below a path.
fn export_below(mount: &MountRecord, below: String, export: &mut Export) -> Result<(), Failure> {
    let top: Asset = assets::ask(mount, AssetRequest::Fields { path: below })?;
    export.print(&top)?;
    let mut folders = if top.is_folder { vec![top.path] } else { Vec::new() };
    while let Some(folder) = folders.pop() {
        let mut after = None;
        loop {
            let request = AssetRequest::Children {
                path: folder.clone(),
                after,
            };
            let page: AssetPage = assets::ask(mount, request)?;
            for asset in &page.assets {
                export.print(asset)?;
                if asset.is_folder {
                    folders.push(asset.path.clone());
                }
            }
            after = page.next;
            if after.is_none() {
                export.unread += usize::from(!page.listed);
                break;
            }
        }
    }
    Ok(())
}

impl Export {
    /// Prints an asset, once: one that is in several folders is met several times.
    fn print(&mut self, asset: &Asset) -> Result<(), Failure> {
        if asset.places > 1
            && let Some(id) = &asset.id
            && !self.seen.insert(id.clone())
        {
            return Ok(());
        }
        self.partial += usize::from(!asset.complete);
        output::line(serde_json::to_string(&Line::of(asset)).map_err(Failure::new)?)
    }
}

/// Applies an export's lines, whichever of them say something else than what is there.
fn apply(file: &Path, args: &Args, places: &Places) -> Result<ExitCode, Failure> {
    let [about] = args.paths.as_slice() else {
        return Err(Failure::usage(
            "--from takes one PATH: the mount that its lines are about",
        ));
    };
    let (mount, _) = registry::find(&places.run, about)?;
    let mut outcome = Outcome::new(args);
    if table::is_table(file) {
        let mut progress = Progress::of_things(None, ASSETS);
        for row in table::rows(file, open(file)?)? {
            let table::Row { at, asset, edits } = row?;
            let shown = format!("{at}: {}", asset.path);
            let changed = change(&mount, asset, edits, args.dry_run);
            progress.beside(|| outcome.note(&shown, changed))?;
            progress.one_more();
        }
        progress.end();
        return outcome.end();
    }
    let (reader, lines): (Box<dyn BufRead>, _) = if file == Path::new("-") {
        (Box::new(std::io::stdin().lock()), None)
    } else {
        (Box::new(open(file)?), Some(open(file)?.split(b'\n').count() as u64))
    };
    let mut progress = Progress::of_things(lines, ASSETS);
    for (number, text) in reader.lines().enumerate() {
        let at = format!("{}:{}", file.display(), number + 1);
        let text = text.map_err(|e| Failure::new(format!("{at}: {e}")))?;
        progress.one_more();
        if text.trim().is_empty() {
            continue;
        }
        let line: Line = serde_json::from_str(&text).map_err(|e| Failure::usage(format!("{at}: {e}")))?;
        let (asset, edits) = edits_in(line);
        let shown = format!("{at}: {}", asset.path);
        let changed = change(&mount, asset, edits, args.dry_run);
        progress.beside(|| outcome.note(&shown, changed))?;
    }
    progress.end();
    outcome.end()
}

fn open(file: &Path) -> Result<BufReader<std::fs::File>, Failure> {
    let opened = std::fs::File::open(file).map_err(|e| Failure::new(format!("{}: {e}", file.display())))?;
    Ok(BufReader::new(opened))
}

fn edits_in(line: Line) -> (AssetRef, Vec<FieldEdit>) {
    let edits = line
        .fields
        .into_iter()
        .map(|(field, values)| FieldEdit::Exactly { field, values })
        .collect();
    let asset = AssetRef {
        path: line.path,
        id: line.id,
    };
    (asset, edits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Field;
    use clap::Parser;

    #[derive(Parser)]
    struct Whole {
        #[command(flatten)]
        args: Args,
    }

    fn parsed(words: &[&str]) -> Result<Args, clap::Error> {
        Whole::try_parse_from([&["meta"], words].concat()).map(|whole| whole.args)
    }

    fn asset() -> Asset {
        let field = |values: Vec<Value>, access| Field { values, access };
        let html = Value {
            text: "<p>a</p>".into(),
            html: true,
        };
        Asset {
            path: "Press/a.jpg".into(),
            id: Some("file:7".into()),
            is_folder: false,
            places: 1,
            fields: [
                ("size".to_owned(), field(vec!["9".into()], Access::ReadOnly)),
                (
                    "title".to_owned(),
                    field(vec!["one\ntwo\\".into(), html], Access::ReadWrite),
                ),
            ]
            .into(),
            complete: true,
        }
    }

    #[test]
    fn options_become_edits_in_a_fixed_order() {
        let args = parsed(&["x", "--add", "b=2", "--set", "a=1", "--set", "a=x=y", "--remove", "c"]).unwrap();
        let edits = edits_of(&args);
        assert_eq!(
            edits,
            [
                FieldEdit::Exactly {
                    field: "c".into(),
                    values: vec![]
                },
                FieldEdit::Texts {
                    field: "a".into(),
                    texts: vec!["1".into(), "x=y".into()]
                },
                FieldEdit::Add {
                    field: "b".into(),
                    text: "2".into()
                },
            ]
        );
        assert!(parsed(&["x", "--set", "a"]).is_err());
        assert!(parsed(&["x", "--export", "--from", "f"]).is_err());
        assert!(parsed(&[]).is_err());
    }

    #[test]
    fn a_line_holds_what_can_be_written_and_reads_back_as_it_was() {
        let line = Line::of(&asset());
        let text = serde_json::to_string(&line).unwrap();
        assert_eq!(
            text,
            r#"{"path":"Press/a.jpg","id":"file:7","fields":{"title":[{"text":"one\ntwo\\"},{"text":"<p>a</p>","html":true}]}}"#
        );
        assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line);
        assert!(serde_json::from_str::<Line>(r#"{"path":"a","feilds":{}}"#).is_err());
    }

    #[test]
    fn people_see_one_value_a_line() {
        let text = rendered(&asset());
        assert!(text.contains("  size (read-only): 9\n"), "{text}");
        assert!(text.contains("  title: one\n      two\\\n"), "{text}");
        assert!(text.contains("  title (HTML): <p>a</p>\n"), "{text}");
    }
}

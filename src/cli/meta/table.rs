//! Metadata from a spreadsheet: `--from FILE.csv`.
//!
//! The first row names the columns: `path` (in the mount), perhaps `id` and `partial`, and fields by their own names, as
//! `--export` has them. In a cell several values stand one a line, as in an extended attribute: `\` as `\\`, a line feed
//! within a value as `\n`. **An empty cell leaves the field as it is**: spreadsheets cannot tell "nothing" from "not said".

use std::io::Read;
use std::path::Path;

use crate::daemon::Failure;
use crate::model::{Encoding, decode_values};
use crate::vfs::{AssetRef, FieldEdit};

/// One row.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// Where it stands, for messages (`sheet.csv:3`).
    pub at: String,
    /// What it is about.
    pub asset: AssetRef,
    /// What it says.
    pub edits: Vec<FieldEdit>,
}

/// Whether a file is read as a table.
pub fn is_table(file: &Path) -> bool {
    file.extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("csv"))
}

/// Reads the rows one after the other. A first row that makes no sense fails at once.
pub fn rows(file: &Path, from: impl Read) -> Result<impl Iterator<Item = Result<Row, Failure>>, Failure> {
    let shown = file.display().to_string();
    // Ends of lines as Windows has them are taken off below: read as such they make the line numbers wrong.
    let mut reader = csv::ReaderBuilder::new()
        .terminator(csv::Terminator::Any(b'\n'))
        .from_reader(from);
    let head = reader.headers().map_err(|e| about(&shown, &e))?;
    // Spreadsheets begin a file with a byte order mark.
    let columns: Vec<String> = head
        .iter()
        .map(|name| name.trim_start_matches('\u{feff}').trim().to_owned())
        .collect();
    if !columns.iter().any(|name| name == "path") {
        return Err(Failure::usage(format!("{shown}:1: one column must be called `path`")));
    }
    if let Some(at) = columns.iter().position(String::is_empty) {
        return Err(Failure::usage(format!("{shown}:1: column {} has no name", at + 1)));
    }
    if let Some((at, twice)) = columns
        .iter()
        .enumerate()
        .find(|(at, name)| columns[..*at].contains(name))
    {
        return Err(Failure::usage(format!(
            "{shown}:1: column {} is `{twice}` once more",
            at + 1
        )));
    }
    Ok(reader.into_records().map(move |record| {
        let record = record.map_err(|e| about(&shown, &e))?;
        row(&shown, &columns, &record)
    }))
}

fn row(shown: &str, columns: &[String], record: &csv::StringRecord) -> Result<Row, Failure> {
    let line = record.position().map_or(0, csv::Position::line);
    let at = format!("{shown}:{line}");
    let mut asset = AssetRef {
        path: String::new(),
        id: None,
    };
    let mut edits = Vec::new();
    let cells = record.iter().map(|cell| cell.strip_suffix('\r').unwrap_or(cell));
    for (column, cell) in columns.iter().zip(cells).filter(|(_, cell)| !cell.is_empty()) {
        match column.as_str() {
            "path" => asset.path = cell.trim_start_matches('/').to_owned(),
            "id" => asset.id = Some(cell.to_owned()),
            "partial" => {}
            field => {
                // Some programs end lines within a cell as Windows does.
                let text = cell.replace("\r\n", "\n");
                let values =
                    decode_values(text.as_bytes(), Encoding::Lines).map_err(|e| Failure::new(format!("{at}: {e}")))?;
                edits.push(FieldEdit::Texts {
                    field: field.to_owned(),
                    texts: values.into_iter().map(|value| value.text).collect(),
                });
            }
        }
    }
    if asset.path.is_empty() && asset.id.is_none() {
        return Err(Failure::usage(format!(
            "{at}: neither `path` nor `id` says which asset is meant"
        )));
    }
    Ok(Row { at, asset, edits })
}

fn about(shown: &str, error: &csv::Error) -> Failure {
    let line = error.position().map(|at| format!(":{}", at.line())).unwrap_or_default();
    Failure::usage(format!("{shown}{line}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Row>, Failure> {
        rows(Path::new("a.csv"), text.as_bytes())?.collect()
    }

    #[test]
    fn cells_hold_values_and_empty_ones_say_nothing() {
        let rows = read("\u{feff}path,term.Credit,tags,id\r\nPress/a.jpg,\"Ada, \"\"A\"\"\",\"Spring\r\nwith\\nfeed\",7\r\n/b.jpg,,x,\r\n").unwrap();
        let texts = |field: &str, texts: &[&str]| FieldEdit::Texts {
            field: field.into(),
            texts: texts.iter().map(|text| (*text).to_owned()).collect(),
        };
        assert_eq!(rows[0].asset.path, "Press/a.jpg");
        assert_eq!(rows[0].asset.id.as_deref(), Some("7"));
        assert_eq!(
            rows[0].edits,
            [
                texts("term.Credit", &["Ada, \"A\""]),
                texts("tags", &["Spring", "with\nfeed"])
            ]
        );
        assert_eq!((rows[1].asset.path.as_str(), &rows[1].asset.id), ("b.jpg", &None));
        assert_eq!(rows[1].edits, [texts("tags", &["x"])]);
        // A cell of two lines counts as two.
        assert_eq!((rows[0].at.as_str(), rows[1].at.as_str()), ("a.csv:2", "a.csv:4"));
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        for (text, part) in [
            ("name,tags\nx,y\n", "called `path`"),
            ("path,tags,tags\nx,y,z\n", "`tags` once more"),
            ("path,\nx,y\n", "column 2 has no name"),
            ("path,tags\nx\n", "a.csv:2"),
            ("path,tags\n,y\n", "a.csv:2: neither"),
        ] {
            let failure = read(text).unwrap_err();
            assert!(failure.message.contains(part), "{text}: {failure}");
        }
    }
}

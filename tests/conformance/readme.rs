//! The table of the README that says what each store can do says what [`Capabilities`] say.

use std::collections::BTreeMap;

use assetfs::store::{
    Capabilities, ChangeFeed, CreateFile, CreateFolder, MoveFile, MoveFolder, Overwrite, Reads, RenameFile, Support,
};

use crate::fixture::Fixture;
use crate::stores;

/// Cells by row and column, as the README has them.
type Table = BTreeMap<String, BTreeMap<String, String>>;

fn table() -> Table {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(path).expect("the README");
    let section = readme
        .split_once("## What each store can do")
        .and_then(|(_, rest)| rest.split_once("\n## "))
        .map(|(section, _)| section.to_owned())
        .expect("the section");
    let cells = |line: &str| -> Vec<String> {
        let inner = line.trim().trim_start_matches('|').trim_end_matches('|');
        inner.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let mut lines = section.lines().filter(|line| line.starts_with('|'));
    let columns = cells(lines.next().expect("the head of the table"));
    lines
        .skip(1)
        .map(|line| {
            let row = cells(line);
            let by_column = columns.iter().cloned().zip(row.iter().cloned()).skip(1).collect();
            (row[0].clone(), by_column)
        })
        .collect()
}

/// A row and whether a cell of it is true of a store.
type Rule = (&'static str, fn(&Capabilities, &str) -> bool);

fn yes_or_dash(support: Support, cell: &str) -> bool {
    (cell == "–") == (support == Support::No)
}

const RULES: &[Rule] = &[
    ("folders", |c, cell| match c.create_folder {
        CreateFolder::Anywhere => cell == "any depth",
        CreateFolder::AboveDepth(_) => cell != "any depth" && !cell.contains("cannot be made"),
        CreateFolder::Nowhere => cell.contains("cannot be made"),
    }),
    ("new files", |c, cell| match c.create_file {
        CreateFile::Anywhere => cell.starts_with("anywhere"),
        CreateFile::FromDepth(_) => cell.starts_with("in "),
    }),
    ("empty files", |c, cell| {
        cell == if c.empty_files.is_yes() {
            "yes"
        } else {
            "stay on this machine until they have bytes"
        }
    }),
    ("overwrite", |c, cell| match c.overwrite {
        Overwrite::Replace => !cell.contains("anew"),
        Overwrite::Reupload => cell.starts_with("uploaded anew"),
    }),
    ("rename a file", |c, cell| match c.rename_file {
        RenameFile::Relocate => cell == "yes",
        RenameFile::Replace => cell == "as an overwrite with the same bytes",
        RenameFile::Reupload => cell.starts_with("uploaded anew"),
    }),
    ("move a file", |c, cell| match c.move_file {
        MoveFile::Relocate => cell == "yes" || cell.starts_with("to another"),
        MoveFile::Reupload => cell.starts_with("uploaded anew"),
    }),
    ("rename a folder", |c, cell| yes_or_dash(c.rename_folder, cell)),
    ("move a folder", |c, cell| {
        (cell == "–") == (c.move_folder == MoveFolder::Unsupported)
    }),
    ("remove an empty folder", |c, cell| yes_or_dash(c.remove_folder, cell)),
    ("one file in several folders (`ln`)", |c, cell| {
        yes_or_dash(c.links, cell)
    }),
    ("copies made by the server", |c, cell| yes_or_dash(c.server_copy, cell)),
    ("partial reads", |c, cell| match c.reads {
        Reads::Ranged => cell == "yes",
        Reads::Whole => cell == "whole files",
        Reads::Bundle => cell.starts_with("whole categories"),
    }),
    ("bytes as they were sent", |c, cell| (cell == "yes") != c.alters_content),
    ("changes made by others", |c, cell| match c.change_feed {
        ChangeFeed::Feed => cell == "told in few requests",
        ChangeFeed::Relist => cell == "folders in use are listed again",
    }),
    ("`assetfs search`", |c, cell| yes_or_dash(c.search, cell)),
    ("trash", |c, cell| (cell == "none") == c.trash.is_none()),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_readme_says_of_each_store_what_it_can_do() {
    let stores: [Box<dyn Fixture>; 4] = [
        Box::new(stores::imagerelay::service().await),
        Box::new(stores::omeka::site().await),
        Box::new(stores::flextype::latest().await),
        Box::new(stores::im4::shape_a().await),
    ];
    let columns = ["Image Relay", "Omeka Classic", "Flextype", "im4"];
    let table = table();
    for (fixture, column) in stores.iter().zip(columns) {
        let store = fixture.store();
        for (row, is_true) in RULES {
            let cells = table
                .get(*row)
                .unwrap_or_else(|| panic!("the README has no row {row:?}"));
            let cell = &cells[column];
            assert!(
                is_true(store.capabilities(), cell),
                "README: {row} of {column} is not {cell:?}"
            );
        }
    }
}

fn sources(folder: &std::path::Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).expect("readable folder") {
        let path = entry.expect("readable entry").path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|e| e == "rs") {
            text.push_str(&std::fs::read_to_string(&path).expect("readable source"));
        }
    }
}

#[test]
fn every_promise_of_the_readme_names_a_test_that_exists() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).expect("the README");
    let section = readme
        .split_once("## Semantics")
        .and_then(|(_, rest)| rest.split_once("\n## "))
        .map(|(section, _)| section.to_owned())
        .expect("the section");
    let mut code = String::new();
    sources(&root.join("src"), &mut code);
    sources(&root.join("tests"), &mut code);
    let promises: Vec<&str> = section.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(promises.len() >= 13, "{section}");
    for promise in promises {
        let name = promise
            .trim_end_matches([' ', '|'])
            .rsplit('`')
            .nth(1)
            .unwrap_or_default();
        assert!(
            !name.is_empty() && code.contains(&format!("fn {name}(")),
            "no test shows: {promise}"
        );
    }
}

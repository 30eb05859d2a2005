//! The floors of the crate, and the house rules that a machine can see.
//!
//! A module imports only from lower floors, and siblings do not import each other: what lies below can be understood,
//! tested and replaced without what lies above.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Every top-level module with its floor; `main.rs` and `lib.rs` stand above all.
const FLOORS: &[(&str, u32)] = &[
    ("model", 0),
    ("telemetry", 0),
    ("disk", 1),
    ("http", 1),
    ("store", 2),
    ("catalog", 3),
    ("cache", 3),
    ("journal", 3),
    ("vfs", 4),
    ("fuse", 5),
    ("daemon", 6),
    ("emulator", 6),
    ("cli", 7),
];

/// The emulators are the other side of the wire: sharing code with the stores would hide what both get wrong.
const EMULATOR_MAY_IMPORT: &[&str] = &["model"];

/// The longest source file, in lines.
const FILE_LINES_MAX: usize = 700;

fn floor(module: &str) -> Option<u32> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

/// Why `from` must not import `to`, if it must not.
fn objection(from: &str, to: &str) -> Option<String> {
    if from == to || from == "main" || from == "lib" {
        return None;
    }
    let (Some(above), Some(below)) = (floor(from), floor(to)) else {
        return Some(format!(
            "`{from}` or `{to}` has no floor: add it to the table and to the design"
        ));
    };
    if from == "emulator" && !EMULATOR_MAY_IMPORT.contains(&to) {
        return Some("the emulator imports nothing but model/".to_owned());
    }
    (below >= above).then(|| format!("{from} (floor {above}) imports {to} (floor {below})"))
}

fn sources() -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("readable folder") {
            let path = entry.expect("readable entry").path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    found.sort();
    found
}

fn relative(path: &Path) -> &Path {
    path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap_or(path)
}

/// The top-level module that a file belongs to (`store` for `src/store/memory/mod.rs`).
fn module_of(path: &Path) -> String {
    let below_src = relative(path).strip_prefix("src").expect("below src");
    let first = below_src
        .components()
        .next()
        .expect("a file")
        .as_os_str()
        .to_string_lossy()
        .into_owned();
    first.strip_suffix(".rs").map_or(first.clone(), str::to_owned)
}

/// Test code of its own: a file named `tests.rs`, or one below a `tests/` folder.
fn is_test_file(path: &Path) -> bool {
    relative(path)
        .components()
        .any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs")
}

/// Source text with comments and the contents of literals blanked out, line breaks kept.
fn code_only(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if c == '"' {
            string_len(rest)
        } else if let Some(hashes) = raw_string_hashes(rest, &code) {
            let close = format!("\"{}", "#".repeat(hashes));
            let open = hashes + 2;
            rest[open..]
                .find(&close)
                .map_or(rest.len(), |end| open + end + close.len())
        } else if c == '\'' {
            char_len(rest)
        } else {
            code.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        let (blank, tail) = rest.split_at(skipped);
        code.extend(blank.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = tail;
    }
    code
}

fn string_len(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

fn raw_string_hashes(text: &str, before: &str) -> Option<usize> {
    let in_word = before
        .chars()
        .next_back()
        .is_some_and(|c| c.is_alphanumeric() && c != 'b' || c == '_');
    let after = text.strip_prefix('r').filter(|_| !in_word)?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].starts_with('"').then_some(hashes)
}

/// The length of a character literal; of a lifetime, only its quote.
fn char_len(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next(), chars.next()) {
        (Some((_, '\\')), Some(_), _) => text[2..].find('\'').map_or(1, |end| if end == 0 { 4 } else { end + 3 }),
        (Some(_), Some((at, '\'')), _) => at + 1,
        _ => 1,
    }
}

/// Code without the items under `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    let mut kept = String::new();
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        kept.push_str(&rest[..at]);
        rest = &rest[at + "#[cfg(test)]".len()..];
        let end = match (rest.find(';'), rest.find('{')) {
            (Some(semicolon), Some(brace)) if semicolon < brace => semicolon + 1,
            (_, Some(brace)) => block_end(rest, brace),
            (Some(semicolon), None) => semicolon + 1,
            (None, None) => rest.len(),
        };
        rest = &rest[end..];
    }
    kept.push_str(rest);
    kept
}

fn block_end(code: &str, open: usize) -> usize {
    let mut depth = 0usize;
    for (at, c) in code[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return open + at + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

/// The top-level modules that code names: `crate::x`, `crate::{x, y::z}`.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, prefix) in code.match_indices("crate::") {
        let after = &code[at + prefix.len()..];
        match after.strip_prefix('{') {
            Some(group) => found.extend(group_heads(group)),
            None => found.extend([word(after)]),
        }
    }
    found.retain(|name| name.chars().next().is_some_and(char::is_lowercase));
    found
}

/// The first words of the branches of a `{a::b, c}` group.
fn group_heads(group: &str) -> Vec<String> {
    let (mut heads, mut depth, mut fresh) = (Vec::new(), 0usize, true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            c if fresh && !c.is_whitespace() => {
                heads.push(word(&group[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    heads
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn nothing_is_imported_from_above_or_beside() {
    let mut wrong = Vec::new();
    for path in sources().into_iter().filter(|path| !is_test_file(path)) {
        let code = without_tests(&code_only(&fs::read_to_string(&path).expect("readable source")));
        let from = module_of(&path);
        for to in imports(&code) {
            if let Some(why) = objection(&from, &to) {
                wrong.push(format!("{}: {why}", relative(&path).display()));
            }
        }
    }
    assert!(wrong.is_empty(), "imports against the floors:\n{}", wrong.join("\n"));
}

#[test]
fn every_module_has_a_floor() {
    let modules: BTreeSet<String> = sources().iter().map(|path| module_of(path)).collect();
    let without: Vec<_> = modules
        .iter()
        .filter(|m| !["main", "lib"].contains(&m.as_str()) && floor(m).is_none())
        .collect();
    assert!(without.is_empty(), "no floor for {without:?}");
    let gone: Vec<_> = FLOORS.iter().filter(|(name, _)| !modules.contains(*name)).collect();
    assert!(gone.is_empty(), "the table names what is not there: {gone:?}");
}

#[test]
fn nothing_is_left_to_be_done() {
    // Put together here, so that this file does not find itself.
    let marks = [
        ["TO", "DO"].concat(),
        ["FIX", "ME"].concat(),
        ["todo", "!("].concat(),
        ["unimplemented", "!("].concat(),
    ];
    let mut wrong = Vec::new();
    for path in sources() {
        let source = fs::read_to_string(&path).expect("readable source");
        for (number, line) in source.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                wrong.push(format!("{}:{}: {}", relative(&path).display(), number + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "left to be done:\n{}", wrong.join("\n"));
}

#[test]
fn no_file_is_too_long_to_be_read() {
    let mut wrong = Vec::new();
    for path in sources() {
        let lines = fs::read_to_string(&path).expect("readable source").lines().count();
        if lines > FILE_LINES_MAX {
            wrong.push(format!(
                "{}: {lines} lines, {FILE_LINES_MAX} allowed",
                relative(&path).display()
            ));
        }
    }
    assert!(wrong.is_empty(), "split these by noun or verb:\n{}", wrong.join("\n"));
}

#[test]
fn only_disk_may_hold_unsafe_code() {
    let mut wrong = Vec::new();
    for path in sources().into_iter().filter(|path| module_of(path) != "disk") {
        let code = code_only(&fs::read_to_string(&path).expect("readable source"));
        let unsafe_words = code
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .filter(|word| *word == "unsafe");
        if unsafe_words.count() > 0 {
            wrong.push(relative(&path).display().to_string());
        }
    }
    assert!(wrong.is_empty(), "unsafe code outside disk/: {wrong:?}");
}

mod the_checks_themselves {
    use super::*;

    #[test]
    fn see_imports_of_every_form() {
        let code = "use crate::model::{A, B}; use crate::{disk, store::{self, x}, http::Client}; crate::vfs::f(); crate::Thing";
        let want = ["disk", "http", "model", "store", "vfs"];
        assert_eq!(imports(code), want.iter().map(|s| (*s).to_owned()).collect());
    }

    #[test]
    fn do_not_see_comments_literals_and_tests() {
        let source = r##"
            // use crate::fuse;
            /* crate::cli */
            const A: &str = "crate::daemon \" crate::daemon";
            const B: &str = r#"crate::vfs " crate::vfs"#;
            const C: char = '"'; const D: char = '\''; const E: char = '\\';
            fn f<'a>(x: &'a str) { crate::disk::g(x) }
            #[cfg(test)]
            mod tests { use crate::store::memory; fn f() { if true {} } }
            #[cfg(test)]
            mod more;
            use crate::model::Name;
        "##;
        let found = imports(&without_tests(&code_only(source)));
        assert_eq!(found, ["disk", "model"].iter().map(|s| (*s).to_owned()).collect());
    }

    #[test]
    fn object_to_what_is_above_or_beside() {
        assert!(objection("catalog", "journal").is_some(), "siblings");
        assert!(objection("store", "vfs").is_some(), "upward");
        assert!(objection("emulator", "store").is_some(), "the other side of the wire");
        assert!(objection("store", "unheard_of").is_some(), "without a floor");
        assert!(objection("vfs", "catalog").is_none());
        assert!(objection("cli", "emulator").is_none());
        assert!(objection("store", "store").is_none());
    }
}

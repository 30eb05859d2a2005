//! `docs/errors.md` has a row for every error that a person can see, with the number that goes with it.
//!
//! Two looks at it. One reads the sources: every message that is written there is in the document, and every message in
//! the document is written there. The other makes an error of every kind and compares the number; its matches are
//! exhaustive, so a new kind does not compile before it has a place here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use assetfs::cache::CacheError;
use assetfs::disk::DiskError;
use assetfs::journal::JournalError;
use assetfs::model::{ItemId, Timestamp};
use assetfs::store::{ErrorKind, StoreError};
use assetfs::vfs::Error;

/// What stands in a message for what changes.
const GAP: &str = "…";

/// A row of a table: its messages, and the cell behind them.
struct Row {
    messages: Vec<String>,
    code: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rows() -> Vec<Row> {
    let text = std::fs::read_to_string(root().join("docs/errors.md")).expect("the document");
    text.lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once(" | "))
        .map(|(messages, rest)| Row {
            messages: format!("`{messages}").split("<br>").map(unquoted).collect(),
            code: rest.split(" | ").next().unwrap_or_default().to_owned(),
        })
        .collect()
}

/// The text of a code span.
fn unquoted(span: &str) -> String {
    let inner = match span.strip_prefix("`` ").and_then(|rest| rest.strip_suffix(" ``")) {
        Some(inner) => inner,
        None => span
            .strip_prefix('`')
            .and_then(|rest| rest.strip_suffix('`'))
            .expect(span),
    };
    one_gap(inner)
}

fn one_gap(text: &str) -> String {
    let mut text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    while text.contains("……") {
        text = text.replace("……", GAP);
    }
    text
}

/// Whether `text` is `pattern` with something in its gaps.
fn fits(text: &str, pattern: &str) -> bool {
    let mut parts = pattern.split(GAP);
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// Where messages are made: in which files, what stands before them, and what the document must say beside them.
const SPRINGS: &[(&str, &str, &str)] = &[
    ("", "#[error(", ""),
    ("vfs/", "Error::NotPermitted(", "EPERM"),
    ("vfs/", "Error::Invalid(", "EINVAL"),
    ("vfs/", "Error::TooBig(", "EFBIG"),
    ("vfs/", "Error::Unsupported(", "EOPNOTSUPP"),
    ("vfs/", "Error::NotStored(", "EIO"),
    ("vfs/", "let why = ", ""),
    ("vfs/", "let rule = ", "EPERM"),
    ("", "Failure::new(", "1"),
    ("", "Failure::usage(", "2"),
    ("", "Failure::with(", ""),
    ("daemon/stores.rs", "format!(", ""),
    ("daemon/stores.rs", ".then_some(", "EACCES"),
    ("daemon/assemble.rs", "Ok(Some(", "EACCES"),
    ("store/error.rs", "f.write_str(", ""),
    ("store/error.rs", "write!(f, ", ""),
    ("", ".because(", ""),
    ("store/", "let why = ", ""),
    ("store/", " refuse(", ""),
    ("store/", "refused(", ""),
    ("store/", " unsupported(", ""),
    ("store/", "invalid(", ""),
];

/// Literals at such places that are no messages: what was being done, and to what.
const NO_MESSAGES: &[&str] = &["name a file", "name a folder", "days, agency"];

/// Every message of the sources, with where it is and the code that goes with it.
fn written() -> Vec<(String, String, &'static str)> {
    let mut found = Vec::new();
    for path in sources(&root().join("src")) {
        let shown = path
            .strip_prefix(root().join("src"))
            .expect("below src")
            .to_string_lossy()
            .into_owned();
        // Neither the servers nor the store of the tests speak to people.
        if shown.contains("tests") || shown.starts_with("emulator/") || shown.starts_with("store/memory/") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("readable source");
        let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        for (_, before, code) in SPRINGS.iter().filter(|spring| shown.starts_with(spring.0)) {
            for (at, _) in text.match_indices(before) {
                // A definition of such a function, or another function whose name ends alike.
                if text[..at].ends_with("fn ") || text[..at].ends_with("StoreError::") || text[..at].ends_with('_') {
                    continue;
                }
                let literals = literals(&text[at + before.len()..]);
                // Several where the reason is chosen on the spot; a call names its one reason first.
                let several = matches!(
                    *before,
                    "let why = " | " refuse(" | "refused(" | " unsupported(" | "invalid("
                );
                let messages = literals
                    .iter()
                    .map(|text| message(text))
                    .filter(|text| is_message(text));
                let messages = messages.take(if several { usize::MAX } else { 1 });
                found.extend(messages.map(|message| (message, shown.clone(), *code)));
            }
        }
    }
    assert!(found.len() > 250, "the sources are not found: {}", found.len());
    found
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("readable folder") {
        let path = entry.expect("readable entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}

/// A literal with its placeholders as gaps.
fn message(literal: &str) -> String {
    let mut text = String::new();
    let mut chars = literal.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '{' if chars.next_if_eq(&'{').is_some() => text.push('{'),
            '{' => {
                chars.by_ref().find(|c| *c == '}');
                text.push_str(GAP);
            }
            c => text.push(c),
        }
    }
    one_gap(&text)
}

/// Whether there are words of ours in it, and not only somebody else's.
fn is_message(text: &str) -> bool {
    let has_word = text
        .split(|c: char| !c.is_ascii_lowercase())
        .any(|word| word.len() >= 3);
    has_word && text.contains(' ') && !NO_MESSAGES.contains(&text)
}

/// The string literals up to the end of the call, or of the statement, that `text` begins inside.
fn literals(text: &str) -> Vec<String> {
    let (mut found, mut depth, mut rest) = (Vec::new(), 1, text);
    while let Some(c) = rest.chars().next() {
        match c {
            '"' => {
                let (literal, len) = literal(rest);
                found.push(literal);
                rest = &rest[len..];
                continue;
            }
            '\'' if rest.chars().nth(2) == Some('\'') => {
                rest = &rest[1..];
                rest = &rest[rest.chars().next().map_or(0, char::len_utf8) + 1..];
                continue;
            }
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ';' if depth == 1 => break,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        rest = &rest[c.len_utf8()..];
    }
    found
}

/// The literal that `text` begins with, and how long it is written.
fn literal(text: &str) -> (String, usize) {
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, at + 1),
            '\\' => match chars.next() {
                // A line that goes on.
                Some((_, '\n')) => while chars.next_if(|(_, c)| c.is_whitespace()).is_some() {},
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped)) => value.push(escaped),
                None => break,
            },
            c => value.push(c),
        }
    }
    (value, text.len())
}

#[test]
fn every_message_of_the_sources_is_in_the_document() {
    let rows = rows();
    let missing: BTreeSet<String> = written()
        .into_iter()
        .filter(|(message, _, code)| {
            !rows
                .iter()
                .filter(|row| row.messages.contains(message))
                .any(|row| row.code.split(", ").any(|c| code.is_empty() || c == *code))
        })
        .map(|(message, file, code)| format!("{file}: `{message}` {code}"))
        .collect();
    assert!(missing.is_empty(), "not in docs/errors.md:\n{missing:#?}");
}

#[test]
fn every_message_of_the_document_is_in_the_sources() {
    let written: BTreeSet<String> = written().into_iter().map(|(message, ..)| message).collect();
    let stale: Vec<String> = rows()
        .into_iter()
        .flat_map(|row| row.messages)
        .filter(|message| !written.contains(message))
        .collect();
    assert!(stale.is_empty(), "no longer written anywhere:\n{stale:#?}");
}

/// The symbol of an error's number.
fn symbol(errno: i32) -> &'static str {
    const SYMBOLS: &[(i32, &str)] = &[
        (libc::ENOENT, "ENOENT"),
        (libc::EEXIST, "EEXIST"),
        (libc::ENOTDIR, "ENOTDIR"),
        (libc::EISDIR, "EISDIR"),
        (libc::ENOTEMPTY, "ENOTEMPTY"),
        (libc::EINVAL, "EINVAL"),
        (libc::ENAMETOOLONG, "ENAMETOOLONG"),
        (libc::EPERM, "EPERM"),
        (libc::EACCES, "EACCES"),
        (libc::EROFS, "EROFS"),
        (libc::EXDEV, "EXDEV"),
        (libc::EFBIG, "EFBIG"),
        (libc::ENOSPC, "ENOSPC"),
        (libc::ESTALE, "ESTALE"),
        (libc::EBADF, "EBADF"),
        (libc::ENODATA, "ENODATA"),
        (libc::E2BIG, "E2BIG"),
        (libc::EOPNOTSUPP, "EOPNOTSUPP"),
        (libc::ENXIO, "ENXIO"),
        (libc::EDQUOT, "EDQUOT"),
        (libc::EBUSY, "EBUSY"),
        (libc::EAGAIN, "EAGAIN"),
        (libc::EIO, "EIO"),
    ];
    SYMBOLS
        .iter()
        .find(|(number, _)| *number == errno)
        .map_or_else(|| panic!("{errno} has no name here"), |(_, name)| name)
}

/// Walks through the kinds: what comes after each. The match is exhaustive: a new kind needs its place.
fn next_error(error: &Error) -> Option<Error> {
    Some(match error {
        Error::NotFound => Error::Exists,
        Error::Exists => Error::NotDir,
        Error::NotDir => Error::IsDir,
        Error::IsDir => Error::NotEmpty,
        Error::NotEmpty => Error::Invalid("a program is still writing it".into()),
        Error::Invalid(_) => Error::NameTooLong,
        Error::NameTooLong => Error::NotPermitted("folders have one name".into()),
        Error::NotPermitted(_) => Error::LoginMayNot("the login may read the store, but change nothing in it"),
        Error::LoginMayNot(_) => Error::ReadOnly,
        Error::ReadOnly => Error::CrossDevice,
        Error::CrossDevice => Error::TooBig("more than 20000 assets: narrow the search".into()),
        Error::TooBig(_) => Error::NoSpace,
        Error::NoSpace => Error::Stale,
        Error::Stale => Error::BadHandle,
        Error::BadHandle => Error::NoData,
        Error::NoData => Error::AttrTooBig,
        Error::AttrTooBig => Error::Unsupported("only user.* attributes are kept".into()),
        Error::Unsupported(_) => Error::PastEnd,
        Error::PastEnd => Error::TimedOut(30),
        Error::TimedOut(_) => Error::NotStored("held back".into()),
        Error::NotStored(_) => Error::QuotaWhileWaiting,
        Error::QuotaWhileWaiting => Error::Store(Arc::new(StoreError::new(ErrorKind::NotFound, "read", "7"))),
        Error::Store(_) => Error::Cache(CacheError::Stopped),
        Error::Cache(_) => Error::Journal(Arc::new(JournalError::Closed)),
        Error::Journal(_) => Error::Catalog("the catalog is busy; try again".into()),
        Error::Catalog(_) => Error::Internal,
        Error::Internal => return None,
    })
}

fn next_kind(kind: &ErrorKind) -> Option<ErrorKind> {
    Some(match kind {
        ErrorKind::NotFound => ErrorKind::Unauthenticated,
        ErrorKind::Unauthenticated => ErrorKind::Denied,
        ErrorKind::Denied => ErrorKind::Invalid,
        ErrorKind::Invalid => ErrorKind::Exists,
        ErrorKind::Exists => ErrorKind::NotEmpty,
        ErrorKind::NotEmpty => ErrorKind::Busy,
        ErrorKind::Busy => ErrorKind::TooLarge,
        ErrorKind::TooLarge => ErrorKind::Full,
        ErrorKind::Full => ErrorKind::Throttled { until: None },
        ErrorKind::Throttled { .. } => ErrorKind::QuotaExhausted {
            until: Timestamp::from_secs(0),
        },
        ErrorKind::QuotaExhausted { .. } => ErrorKind::Unsupported,
        ErrorKind::Unsupported => ErrorKind::Conflict,
        ErrorKind::Conflict => ErrorKind::NotReady,
        ErrorKind::NotReady => ErrorKind::Expired,
        ErrorKind::Expired => ErrorKind::Network,
        ErrorKind::Network => ErrorKind::Timeout,
        ErrorKind::Timeout => ErrorKind::Server,
        ErrorKind::Server => ErrorKind::Protocol,
        ErrorKind::Protocol => ErrorKind::Local,
        ErrorKind::Local => ErrorKind::Cancelled,
        ErrorKind::Cancelled => return None,
    })
}

fn next_cache(error: &CacheError) -> Option<CacheError> {
    let item = || ItemId::new("7");
    let waited = Duration::from_secs(30);
    Some(match error {
        CacheError::Store(_) => {
            let source = std::io::Error::other("the disk says no");
            CacheError::Disk(Arc::new(DiskError::new("write", Path::new("/x"), source)))
        }
        CacheError::Disk(_) => CacheError::Full,
        CacheError::Full => CacheError::Index(Arc::new(rusqlite::Error::InvalidQuery)),
        CacheError::Index(_) => CacheError::Stalled { item: item(), waited },
        CacheError::Stalled { .. } => CacheError::Changed { item: item() },
        CacheError::Changed { .. } => CacheError::Corrupt { item: item() },
        CacheError::Corrupt { .. } => CacheError::Short { item: item() },
        CacheError::Short { .. } => CacheError::SizeUnknown { item: item() },
        CacheError::SizeUnknown { .. } => CacheError::Incomplete { waited },
        CacheError::Incomplete { .. } => CacheError::Discarded,
        CacheError::Discarded => CacheError::Stopped,
        CacheError::Stopped => return None,
    })
}

fn next_journal(error: &JournalError) -> Option<JournalError> {
    Some(match error {
        JournalError::Database { .. } => JournalError::Write("the disk says no".into()),
        JournalError::Write(_) => JournalError::Full,
        JournalError::Full => JournalError::Closed,
        JournalError::Closed => JournalError::Io {
            what: "begin",
            source: std::io::Error::other("the disk says no"),
        },
        JournalError::Io { .. } => JournalError::Newer {
            path: "/x".into(),
            found: 9,
            known: 8,
        },
        JournalError::Newer { .. } => JournalError::OtherAccount {
            pending: 2,
            url: "https://example.org".into(),
            account: "somebody".into(),
        },
        JournalError::OtherAccount { .. } => return None,
    })
}

/// `first` and all that comes after it.
fn walk<T>(first: T, next: fn(&T) -> Option<T>) -> Vec<T> {
    let mut all = vec![first];
    while let Some(another) = next(all.last().expect("one at least")) {
        all.push(another);
    }
    all
}

#[test]
fn every_kind_of_error_has_its_number_in_the_document() {
    let rows = rows();
    let check = |error: &Error, text: &str| {
        let code = symbol(error.errno());
        let told = rows
            .iter()
            .filter(|row| row.messages.iter().any(|message| fits(text, message)))
            .any(|row| row.code.split(", ").any(|c| c == code));
        assert!(told, "docs/errors.md does not say that `{text}` is {code}");
    };
    let mut numbers = BTreeSet::new();
    for error in walk(Error::NotFound, next_error) {
        numbers.insert(error.errno());
        let text = error.to_string();
        check(&error, text.strip_prefix("read 7: ").unwrap_or(&text));
    }
    for kind in walk(ErrorKind::NotFound, next_kind) {
        let error = Error::from(StoreError::new(kind, "", ""));
        numbers.insert(error.errno());
        check(&error, error.to_string().trim_start_matches(": "));
    }
    let database = JournalError::Database {
        what: "open",
        path: "/x".into(),
        source: rusqlite::Error::InvalidQuery,
    };
    for error in walk(database, next_journal).into_iter().map(Error::from) {
        check(&error, &error.to_string());
    }
    let store = CacheError::from(StoreError::new(ErrorKind::Network, "", ""));
    for error in walk(store, next_cache).into_iter().map(Error::from) {
        check(&error, error.to_string().trim_start_matches(": "));
    }
    assert!(numbers.len() > 20, "{numbers:?}");
}

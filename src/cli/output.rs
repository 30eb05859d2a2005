//! What commands print. The only place that does.

use std::io::{self, IsTerminal, Write};

use serde_json::{Value, json};

use crate::daemon::Failure;

/// The version of everything that `--json` prints.
const SCHEMA: u32 = 1;

/// Prints a line. A reader that has gone (`| head`) is no error.
pub fn line(text: impl std::fmt::Display) -> Result<(), Failure> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(format!("cannot print: {e}"))),
        _ => Ok(()),
    }
}

/// Prints bytes as they are.
pub fn raw(bytes: &[u8]) -> Result<(), Failure> {
    match io::stdout().lock().write_all(bytes) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(format!("cannot print: {e}"))),
        _ => Ok(()),
    }
}

/// Prints bytes as they are. Answers whether somebody still reads: who prints without an end stops otherwise.
pub fn raw_while_read(bytes: &[u8]) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(Failure::new(format!("cannot print: {e}"))),
    }
}

/// Prints an object for programs, with the version of its form.
pub fn object(mut fields: Value) -> Result<(), Failure> {
    let mut document = json!({ "schema": SCHEMA });
    if let (Some(document), Some(fields)) = (document.as_object_mut(), fields.as_object_mut()) {
        document.append(fields);
    }
    line(format_args!("{document:#}"))
}

/// Says something to people, beside what is printed.
pub fn say(text: impl std::fmt::Display) {
    if writeln!(io::stderr().lock(), "assetfs: {text}").is_err() {
        tracing::debug!("nobody reads standard error");
    }
}

/// Whether a person looks on.
pub fn is_watched() -> bool {
    io::stderr().is_terminal()
}

/// Whether what is printed goes to a terminal.
pub fn is_read_by_a_person() -> bool {
    io::stdout().is_terminal()
}

/// Bytes as people read them.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut number = bytes as f64;
    let mut unit = 0;
    while number >= 1024.0 && unit + 1 < UNITS.len() {
        number /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ => format!("{number:.1} {}", UNITS[unit]),
    }
}

/// `1 change`, `3 changes`.
pub fn count(number: usize, word: &str) -> String {
    if number == 1 {
        format!("1 {word}")
    } else {
        format!("{number} {word}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        assert_eq!(size(17), "17 B");
        assert_eq!(size(7_340_032), "7.0 MiB");
    }
}

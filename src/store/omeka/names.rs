//! Which names the site takes.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::model::{FieldChanges, Kind, Name, SharedClock};
use crate::store::{ErrorKind, Result, StoreError};

use super::fields;

/// Extensions that a site refuses unless its owner says otherwise.
const REFUSED: &[&str] = &["bin", "csv", "htm", "html", "json", "md", "svg", "xhtml", "xml"];

/// Extensions that a web server might run: they are refused whatever the site would do.
const SCRIPTS: &[&str] = &[
    "cgi", "phar", "php", "php3", "php4", "php5", "php7", "php8", "phps", "pht", "phtml",
];

/// How long an extension that the site refused is not tried again.
const REFUSAL_LASTS: Duration = Duration::from_secs(24 * 60 * 60);

/// Refusals that are kept in memory at most.
const REFUSALS_MAX: usize = 1000;

/// The rules, and what the site itself has refused.
pub(super) struct Names {
    all_extensions: bool,
    clock: SharedClock,
    refused: Mutex<HashMap<String, Duration>>,
}

impl Names {
    pub(super) fn new(all_extensions: bool, clock: SharedClock) -> Self {
        Self {
            all_extensions,
            clock,
            refused: Mutex::default(),
        }
    }

    /// Whether a new record may have this name.
    pub(super) fn check(&self, name: &Name, kind: Kind) -> Result<()> {
        let refuse = |why: String| Err(StoreError::new(ErrorKind::Invalid, "name", name.as_str()).because(why));
        fields::check_text("name", name.as_str())?;
        match kind {
            Kind::Folder => return Ok(()),
            Kind::File => {}
        }
        if name.as_str().contains(['\\', '\r', '\n']) {
            return refuse("the site cuts names at a backslash and at line ends".to_owned());
        }
        let extension = name.extension();
        if SCRIPTS.contains(&extension.as_str()) {
            return refuse(format!(
                "files that a web server might run (.{extension}) are never uploaded"
            ));
        }
        if self.all_extensions {
            return Ok(());
        }
        if extension.is_empty() || !extension.chars().all(|c| c.is_ascii_alphanumeric()) {
            return refuse("the site takes no file without a plain extension".to_owned());
        }
        if REFUSED.contains(&extension.as_str()) || self.was_refused(&extension) {
            return refuse(format!(
                "the site takes no .{extension} files; its owner can allow them"
            ));
        }
        Ok(())
    }

    /// Whether the name is refused the moment a file gets it. Names without an extension, and with one that nobody knows,
    /// are what programs give to files that they rename when they are done: those have time until they are uploaded.
    pub(super) fn refuses_at_once(&self, name: &Name) -> Result<()> {
        let extension = name.extension();
        let known = SCRIPTS.contains(&extension.as_str()) || REFUSED.contains(&extension.as_str());
        let bare = extension.is_empty() && !looks_temporary(name.as_str());
        if known || bare || name.as_str().chars().any(|c| c.len_utf8() > 3) || self.was_refused(&extension) {
            return self.check(name, Kind::File);
        }
        Ok(())
    }

    fn was_refused(&self, extension: &str) -> bool {
        let now = self.clock.elapsed();
        self.refused
            .lock()
            .get(extension)
            .is_some_and(|at| now.saturating_sub(*at) < REFUSAL_LASTS)
    }

    /// The site has refused the extension of `name`.
    pub(super) fn remember(&self, name: &Name) {
        let now = self.clock.elapsed();
        let mut refused = self.refused.lock();
        if refused.len() >= REFUSALS_MAX {
            refused.retain(|_, at| now.saturating_sub(*at) < REFUSAL_LASTS);
        }
        if refused.len() < REFUSALS_MAX {
            refused.insert(name.extension(), now);
        }
    }
}

/// Whether a name without an extension is one that a program made up, for `sed -i`, an editor's trial or a library's
/// temporary file, and not one that a person gave.
fn looks_temporary(name: &str) -> bool {
    let made_up =
        |rest: &str| rest.len() >= 6 && rest.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let marked = name.starts_with(['.', '#', '~']) || name.ends_with(['~', '#']);
    let digits = !name.is_empty() && name.chars().all(|c| c.is_ascii_digit());
    marked
        || digits
        || ["sed", "tmp", "temp"]
            .iter()
            .any(|mark| name.strip_prefix(mark).is_some_and(made_up))
}

/// The title that a folder's name stands for.
pub(super) fn title_of(name: &str) -> FieldChanges {
    [(super::decode::TITLE.to_owned(), vec![name.into()])].into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ManualClock, Timestamp};

    #[test]
    fn names_are_refused_before_anything_is_sent() {
        let clock = ManualClock::starting(Timestamp::from_secs(0));
        let names = Names::new(false, clock.clone());
        let takes = |names: &Names, name: &str| names.check(&Name::from_store(name), Kind::File).is_ok();
        for name in [
            "note.txt",
            "UPPER.TXT",
            ".hidden.txt",
            "dots..txt",
            "été.jpg",
            "note.tar.gz",
        ] {
            assert!(takes(&names, name), "{name}");
        }
        for name in [
            "Makefile",
            ".hidden",
            "page.html",
            "pic.svg",
            "x.md",
            "x.json",
            "t.csv",
            "e.php",
            "E.PHP",
            "x.txt.",
            "trailing.txt ",
            "x.été",
            "emoji😀.txt",
            "back\\slash.txt",
        ] {
            assert!(!takes(&names, name), "{name}");
        }
        let open = Names::new(true, clock);
        assert!(takes(&open, "Makefile") && takes(&open, "page.html"));
        assert!(!takes(&open, "evil.php") && !takes(&open, "emoji😀.txt"));
    }

    #[test]
    fn only_what_no_program_makes_up_is_refused_at_once() {
        let clock = ManualClock::starting(Timestamp::from_secs(0));
        let names = Names::new(false, clock.clone());
        let refused = |names: &Names, name: &str| names.refuses_at_once(&Name::from_store(name)).is_err();
        for name in [
            "page.html",
            "pic.SVG",
            "x.md",
            "x.json",
            "t.csv",
            "e.php",
            "Makefile",
            "README",
            "sedan",
            "tmp",
            "emoji😀.txt",
        ] {
            assert!(refused(&names, name), "{name}");
        }
        for name in [
            "note.txt",
            "scene.blend",
            "sedAbC123",
            "4913",
            "tmpab_12-x9",
            ".hidden",
            ".note.txt.Ab12Cd",
            "photo.jpg_exiftool_tmp",
            "x.tmp",
        ] {
            assert!(!refused(&names, name), "{name}");
        }
        let open = Names::new(true, clock);
        assert!(!refused(&open, "page.html") && !refused(&open, "Makefile") && refused(&open, "e.php"));
    }

    #[test]
    fn a_refused_extension_is_remembered_for_a_day() {
        let clock = ManualClock::starting(Timestamp::from_secs(0));
        let names = Names::new(false, clock.clone());
        let name = Name::from_store("scene.blend");
        assert!(names.check(&name, Kind::File).is_ok());
        names.remember(&name);
        assert!(names.check(&Name::from_store("other.BLEND"), Kind::File).is_err());
        clock.advance(REFUSAL_LASTS);
        assert!(names.check(&name, Kind::File).is_ok());
    }
}

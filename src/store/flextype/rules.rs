//! What the site would refuse, spoil or run: refused here first, with the rule as reason.

use crate::model::{Kind, Name};
use crate::store::{ErrorKind, Result, StoreError};

use super::config::{FlextypeConfig, Images};

/// Longest name in bytes: the site keeps metadata in a file of the same name with `.yaml` behind it.
const NAME_BYTES_MAX: usize = 250;

/// Extensions that a web server with PHP runs, or obeys.
const RUN_BY_SERVERS: [&str; 11] = [
    "php", "php3", "php4", "php5", "php7", "php8", "phps", "pht", "phtml", "phar", "htaccess",
];

/// Extensions under which the site encodes pictures anew.
const PICTURES: [&str; 4] = ["jpg", "jpeg", "png", "gif"];

/// What the site makes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    /// It is kept as it was sent.
    Kept,
    /// It is decoded and encoded anew: size and bytes differ afterwards.
    Encoded,
}

fn refused(name: &str, why: impl Into<String>) -> StoreError {
    StoreError::new(ErrorKind::Invalid, "check the name", name).because(why.into())
}

/// Whether the site can hold an item of this name.
pub(super) fn check_name(config: &FlextypeConfig, name: &Name, kind: Kind) -> Result<()> {
    let name = name.as_str();
    if name.starts_with('.') {
        return Err(refused(name, "the site hides names with a leading dot"));
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(refused(
            name,
            format!("the site takes names of at most {NAME_BYTES_MAX} bytes"),
        ));
    }
    match kind {
        Kind::Folder => Ok(()),
        Kind::File => check_extension(config, name),
    }
}

/// Whether a name is one that new content must not have even for a while: what a web server would run, and pictures when
/// the store is set to refuse them.
pub(super) fn refuses_at_once(config: &FlextypeConfig, name: &Name) -> Result<()> {
    let name = name.as_str();
    if is_run_by_servers(name) {
        return Err(refused(name, "a web server might run a file of this name"));
    }
    if config.images == Images::Refuse && has_pictures_extension(name) {
        return Err(pictures_refused("check the name", name));
    }
    Ok(())
}

/// Servers may look at every part behind a dot, so `a.php.txt` is as dangerous as `a.php`.
fn is_run_by_servers(name: &str) -> bool {
    let mut parts = name.split('.').skip(1).map(str::to_lowercase);
    parts.any(|part| RUN_BY_SERVERS.contains(&part.as_str()))
}

fn has_pictures_extension(name: &str) -> bool {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    PICTURES.contains(&extension.to_lowercase().as_str())
}

fn pictures_refused(operation: &'static str, name: &str) -> StoreError {
    StoreError::new(ErrorKind::Denied, operation, name).because(
        "the site would encode this picture anew, and the mount is set to refuse that (images=refuse)".to_owned(),
    )
}

fn check_extension(config: &FlextypeConfig, name: &str) -> Result<()> {
    // A trailing dot does not survive the upload, and a stored name without a dot spoils every listing above it.
    let Some((_, extension)) = name.rsplit_once('.').filter(|(_, extension)| !extension.is_empty()) else {
        return Err(refused(name, "the site needs a name with an extension"));
    };
    let extension = extension.to_lowercase();
    if is_run_by_servers(name) {
        return Err(refused(name, "a web server might run a file of this name"));
    }
    if extension == "md" {
        return Err(refused(name, "the site takes .md files but never gives them back"));
    }
    if !config.extensions.iter().any(|accepted| accepted.contains(&extension)) {
        return Err(refused(name, format!("the site does not accept .{extension} files")));
    }
    Ok(())
}

/// Whether the site takes these bytes under this name, and what it makes of them. `head` are the first bytes.
pub(super) fn check_content(config: &FlextypeConfig, name: &str, size_bytes: u64, head: &[u8]) -> Result<Treatment> {
    let about = |kind| StoreError::new(kind, "check the content", name);
    if size_bytes > config.file_bytes_max {
        let max = config.file_bytes_max;
        return Err(about(ErrorKind::TooLarge).because(format!("the site takes at most {max} bytes a file")));
    }
    if !is_picture(head) {
        return Ok(Treatment::Kept);
    }
    if !has_pictures_extension(name) {
        return Err(about(ErrorKind::Invalid).because("the site fails on a picture whose extension is not a picture's"));
    }
    match config.images {
        Images::Accept => Ok(Treatment::Encoded),
        Images::Refuse => Err(pictures_refused("check the content", name)),
    }
}

/// How many first bytes tell a picture.
pub(super) const HEAD_BYTES: usize = 12;

fn is_picture(head: &[u8]) -> bool {
    let webp = head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP");
    webp || [&b"\xff\xd8\xff"[..], b"\x89PNG\r\n", b"GIF87a", b"GIF89a"]
        .iter()
        .any(|magic| head.starts_with(magic))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Secret;

    fn config() -> FlextypeConfig {
        let token = || Secret::new("t");
        FlextypeConfig::new("http://127.0.0.1/".parse().unwrap(), token(), token(), None)
    }

    fn check(name: &str, kind: Kind) -> Result<()> {
        check_name(&config(), &Name::new(name).unwrap(), kind)
    }

    #[test]
    fn names_that_break_or_endanger_the_site_are_refused() {
        let long = format!("{}.txt", "n".repeat(248));
        for bad in [
            "Makefile",
            ".hidden.txt",
            "notes.md",
            "shell.php",
            "a.PhP",
            "a.php.txt",
            "x.phtml",
            "main.rs",
            "makefile.",
            &long,
        ] {
            let error = check(bad, Kind::File).expect_err(bad);
            assert_eq!(error.kind, ErrorKind::Invalid, "{bad}");
        }
        for good in ["a.txt", "Photo (1).JPG", "backup.tar.gz", "ü 😀.pdf"] {
            assert!(check(good, Kind::File).is_ok(), "{good}");
        }
    }

    #[test]
    fn new_content_never_has_a_name_that_a_server_runs() {
        let mut config = config();
        let kind = |config: &FlextypeConfig, name: &str| {
            refuses_at_once(config, &Name::new(name).unwrap()).map_err(|e| e.kind)
        };
        for bad in ["shell.php", "a.PHP.txt", ".htaccess", "x.php."] {
            assert_eq!(kind(&config, bad), Err(ErrorKind::Invalid), "{bad}");
        }
        for fleeting in ["Makefile", ".a.txt.swp", "notes.md", "a.jpg", "php"] {
            assert_eq!(kind(&config, fleeting), Ok(()), "{fleeting}");
        }
        config.images = Images::Refuse;
        assert_eq!(kind(&config, "a.JPG"), Err(ErrorKind::Denied));
        assert_eq!(kind(&config, "a.txt"), Ok(()));
    }

    #[test]
    fn folders_need_no_extension_but_must_show() {
        assert!(check("season 1", Kind::Folder).is_ok());
        assert!(check("v1.2", Kind::Folder).is_ok());
        assert!(check(".git", Kind::Folder).is_err());
    }

    #[test]
    fn content_is_judged_by_size_and_first_bytes() {
        let mut config = config();
        let jpeg = b"\xff\xd8\xff\xe0\0\x10JFIF";
        let kind = |result: Result<Treatment>| result.map_err(|e| e.kind);
        assert_eq!(kind(check_content(&config, "a.jpg", 10, jpeg)), Ok(Treatment::Encoded));
        assert_eq!(kind(check_content(&config, "a.jpg", 10, b"hello")), Ok(Treatment::Kept));
        assert_eq!(kind(check_content(&config, "a.txt", 10, jpeg)), Err(ErrorKind::Invalid));
        assert_eq!(
            kind(check_content(&config, "a.txt", 8_000_000, b"")),
            Ok(Treatment::Kept)
        );
        assert_eq!(
            kind(check_content(&config, "a.txt", 8_000_001, b"")),
            Err(ErrorKind::TooLarge)
        );
        config.images = Images::Refuse;
        assert_eq!(kind(check_content(&config, "a.jpg", 10, jpeg)), Err(ErrorKind::Denied));
    }
}

//! The configuration file: one section a store.
//!
//! ```toml
//! [studio]
//! kind = "imagerelay"
//! api_key_file = "~/.config/assetfs/studio.key"
//! quiet = "5s"
//! ```
//!
//! Besides `kind`, `url` and the secrets (`<key>_file`, `<key>_command`), a section takes every mount option by its long
//! name. An unknown key is an error that names the line and the nearest known key.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Failure;
use super::credentials::{Exposure, check_exposure, secrets_of};
use super::options::MountOptions;
use super::source::StoreKind;
use super::words::suggestion;

/// The stores of the configuration, each as its keys and values.
#[derive(Clone, Debug, Default)]
pub struct Config {
    path: PathBuf,
    sections: BTreeMap<String, BTreeMap<String, String>>,
}

impl Config {
    /// Reads the file; a missing one is an empty one.
    pub fn load(path: &Path) -> Result<Self, Failure> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(Failure::new(format!("cannot read {}: {e}", path.display()))),
        };
        let config = Self::parse(path.to_owned(), &text)?;
        if config.holds_secrets() {
            check_exposure(path, Exposure::Refuse)?;
        }
        Ok(config)
    }

    /// No stores.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Reads the text of a configuration.
    pub fn parse(path: PathBuf, text: &str) -> Result<Self, Failure> {
        let at = |offset: usize, what: String| {
            let line = text[..offset.min(text.len())].matches('\n').count() + 1;
            Failure::usage(format!("{}:{line}: {what}", path.display()))
        };
        let table =
            DeTable::parse(text).map_err(|e| at(e.span().map_or(0, |span| span.start), e.message().to_owned()))?;
        let mut sections = BTreeMap::new();
        for (name, value) in table.get_ref() {
            let DeValue::Table(keys) = value.get_ref() else {
                let what = format!("`{}` stands outside a section: begin one with [name]", name.get_ref());
                return Err(at(name.span().start, what));
            };
            check_name(name.get_ref()).map_err(|what| at(name.span().start, what))?;
            let section = read_section(keys, &at)?;
            sections.insert(name.get_ref().to_string(), section);
        }
        Ok(Self { path, sections })
    }

    /// Where it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The keys and values of one store.
    pub fn section(&self, name: &str) -> Option<&BTreeMap<String, String>> {
        self.sections.get(name)
    }

    /// The names of all stores.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.sections.keys().map(String::as_str)
    }

    fn holds_secrets(&self) -> bool {
        let secrets = all_secrets();
        self.sections
            .values()
            .any(|section| section.keys().any(|key| secrets.contains(&key.as_str())))
    }
}

/// A store's name is a folder's name on this machine, and stands before a colon.
pub fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
        return Err(format!(
            "`{name}` is no name for a store: use letters, digits, `-`, `_` and `.`"
        ));
    }
    Ok(())
}

fn all_secrets() -> Vec<&'static str> {
    StoreKind::ALL
        .into_iter()
        .flat_map(secrets_of)
        .map(|secret| secret.key)
        .collect()
}

/// Every key that a section may have, with `_` where options have `-`.
fn known_keys() -> Vec<String> {
    let mut known: Vec<String> = vec!["kind".into(), "url".into()];
    for secret in all_secrets() {
        known.extend(["", "_file", "_command", "_keyring"].map(|suffix| format!("{secret}{suffix}")));
    }
    known.extend(MountOptions::names().into_iter().map(|name| name.replace('-', "_")));
    known
}

fn read_section(
    keys: &DeTable<'_>,
    at: &impl Fn(usize, String) -> Failure,
) -> Result<BTreeMap<String, String>, Failure> {
    let known = known_keys();
    let mut section = BTreeMap::new();
    for (key, value) in keys {
        let name = key.get_ref().replace('-', "_");
        if !known.contains(&name) {
            let near = suggestion(&name, known.iter().map(String::as_str));
            return Err(at(key.span().start, format!("unknown key `{}`{near}", key.get_ref())));
        }
        let text = plain(value).ok_or_else(|| at(value.span().start, format!("`{name}` must be one value")))?;
        section.insert(name, text);
    }
    let options = MountOptions::from_section(&section);
    match (options, keys.iter().next()) {
        (Err(failure), Some((first, _))) => Err(at(first.span().start, failure.message)),
        (Err(failure), None) => Err(failure),
        (Ok(_), _) => Ok(section),
    }
}

/// A single value as text.
fn plain(value: &Spanned<DeValue<'_>>) -> Option<String> {
    match value.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .ok()
            .map(|number| number.to_string()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(yes) => Some(yes.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, Failure> {
        Config::parse("/etc/assetfs/config.toml".into(), text)
    }

    #[test]
    fn values_of_every_kind_are_read() {
        let config =
            parse("[studio]\nkind = \"imagerelay\"\nrate = 0\nread_only = true\ncache-size = \"10G\"\n# a remark\n")
                .unwrap();
        let section = config.section("studio").unwrap();
        assert_eq!(section["rate"], "0");
        assert_eq!(section["read_only"], "true");
        assert_eq!(section["cache_size"], "10G");
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest_one() {
        let failure = parse("[studio]\nkind = \"imagerelay\"\napi_key_flie = \"x\"\n").unwrap_err();
        assert_eq!(
            failure.message,
            "/etc/assetfs/config.toml:3: unknown key `api_key_flie` (did you mean `api_key_file`?)"
        );
    }

    #[test]
    fn the_example_is_a_configuration_with_every_kind_of_store() {
        let text = include_str!("../../examples/config.toml");
        let config = parse(text).unwrap();
        let kind = |name| crate::daemon::source::Source::parse(name, &config).unwrap().kind;
        let shown: Vec<StoreKind> = config.names().map(kind).collect();
        for known in StoreKind::ALL {
            assert!(shown.contains(&known), "{known} has no section");
        }
        // What is commented out must be right as well.
        let remarks = text
            .lines()
            .filter_map(|line| line.strip_prefix("# ")?.split_once(" = "));
        let keys: Vec<&str> = remarks
            .map(|(key, _)| key)
            .filter(|key| key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
            .collect();
        assert!(keys.contains(&"file_type"), "{keys:?}");
        for key in keys {
            assert!(known_keys().contains(&key.to_owned()), "{key} is no key");
        }
    }

    #[test]
    fn mistakes_are_errors() {
        for (text, part) in [
            ("kind = \"omeka\"\n", "outside a section"),
            ("[\"a b\"]\n", "`a b` is no name"),
            ("[\"../x\"]\nkind = \"omeka\"\n", "no name for a store"),
            ("[a]\nurl = [1, 2]\n", "must be one value"),
            ("[a]\nquiet = \"soon\"\n", "quiet"),
            ("[a\n", "config.toml:1"),
        ] {
            let failure = parse(text).unwrap_err();
            assert!(failure.message.contains(part), "{text}: {failure}");
        }
    }

    #[test]
    fn a_configuration_with_a_key_inside_must_be_private() {
        use std::io::Write;
        use std::os::unix::fs::PermissionsExt;
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"[a]\nkind = \"imagerelay\"\napi_key = \"k\"\n")
            .unwrap();
        let mode = |mode| {
            file.as_file()
                .set_permissions(std::fs::Permissions::from_mode(mode))
                .unwrap()
        };
        mode(0o640);
        assert!(Config::load(file.path()).unwrap_err().message.contains("chmod 600"));
        mode(0o600);
        assert!(Config::load(file.path()).is_ok());
    }

    #[test]
    fn a_missing_file_is_an_empty_one() {
        assert_eq!(Config::load(Path::new("/no/such/file")).unwrap().names().count(), 0);
    }
}

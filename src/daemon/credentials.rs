//! Keys and tokens: from the environment, a file that only its owner may read, or a command.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::Failure;
use super::keyring::{self, Label};
use super::places::expand_home;
use super::source::StoreKind;
use crate::http::Secret;

/// The longest secret, in bytes: a file larger than this is the wrong file.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// One secret that a kind of store takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecretName {
    /// Its key in the configuration (`api_key`), also with `_file` and `_command`.
    pub key: &'static str,
    /// Its variable in the environment, also with `_FILE`.
    pub variable: &'static str,
    /// Whether the store does nothing without it.
    pub required: bool,
}

const fn secret(key: &'static str, variable: &'static str, required: bool) -> SecretName {
    SecretName {
        key,
        variable,
        required,
    }
}

/// What `kind` wants.
pub fn secrets_of(kind: StoreKind) -> &'static [SecretName] {
    const IMAGE_RELAY: &[SecretName] = &[secret("api_key", "ASSETFS_API_KEY", true)];
    // Public items can be read without a key.
    const OMEKA: &[SecretName] = &[secret("key", "ASSETFS_KEY", false)];
    // Reading takes the first two; every change takes the third as well.
    const FLEXTYPE: &[SecretName] = &[
        secret("files_token", "ASSETFS_FILES_TOKEN", true),
        secret("folders_token", "ASSETFS_FOLDERS_TOKEN", true),
        secret("access_token", "ASSETFS_ACCESS_TOKEN", false),
    ];
    const IM4: &[SecretName] = &[
        secret("client_id", "ASSETFS_CLIENT_ID", true),
        secret("client_secret", "ASSETFS_CLIENT_SECRET", true),
    ];
    match kind {
        StoreKind::ImageRelay => IMAGE_RELAY,
        StoreKind::Omeka => OMEKA,
        StoreKind::Flextype => FLEXTYPE,
        StoreKind::Im4 => IM4,
    }
}

/// The secrets of one store, by key.
#[derive(Clone, Debug, Default)]
pub struct Credentials(BTreeMap<&'static str, Secret>);

impl Credentials {
    /// Credentials that are known already.
    pub fn of(known: impl IntoIterator<Item = (&'static str, Secret)>) -> Self {
        Self(known.into_iter().collect())
    }

    /// One of them.
    pub fn get(&self, key: &str) -> Option<&Secret> {
        self.0.get(key)
    }

    /// One that [`collect`] has made sure of.
    pub fn require(&self, key: &str) -> Result<Secret, Failure> {
        self.get(key)
            .cloned()
            .ok_or_else(|| Failure::new(format!("the credential `{key}` is missing")))
    }
}

/// Finds every secret of a store: the environment first, then what the service manager handed to the unit
/// (`$CREDENTIALS_DIRECTORY/assetfs.<store>.<key>`, `<store>.<key>` or `<key>`), then what its section of the configuration says
/// (`<key>`, `<key>_file`, `<key>_command`, `<key>_keyring`).
pub fn collect(
    kind: StoreKind,
    store: &str,
    section: &BTreeMap<String, String>,
    env: impl Fn(&str) -> Option<String>,
) -> Result<Credentials, Failure> {
    let mut found = BTreeMap::new();
    for name in secrets_of(kind) {
        match find(name, store, section, &env)? {
            Some(secret) => {
                found.insert(name.key, secret);
            }
            None if name.required => {
                return Err(Failure::usage(format!(
                    "no {key} for {store}: `assetfs login NAME` asks for it once and keeps it; or set {variable} or \
                     {variable}_FILE, or put {key}_file or {key}_command into its section of the configuration",
                    key = name.key,
                    variable = name.variable,
                )));
            }
            None => {}
        }
    }
    Ok(Credentials(found))
}

fn find(
    name: &SecretName,
    store: &str,
    section: &BTreeMap<String, String>,
    env: &impl Fn(&str) -> Option<String>,
) -> Result<Option<Secret>, Failure> {
    if let Some(value) = env(name.variable).filter(|value| !value.is_empty()) {
        return tidy(&value, name.variable).map(Some);
    }
    let file_variable = format!("{}_FILE", name.variable);
    if let Some(path) = env(&file_variable).filter(|value| !value.is_empty()) {
        // Systems that hand out secrets as files choose the mode themselves.
        return read(Path::new(&path), Exposure::Warn).map(Some);
    }
    if let Some(folder) = env("CREDENTIALS_DIRECTORY").filter(|folder| !folder.is_empty()) {
        let folder = Path::new(&folder);
        let files = [
            folder.join(format!("assetfs.{store}.{}", name.key)),
            folder.join(format!("{store}.{}", name.key)),
            folder.join(name.key),
        ];
        if let Some(file) = files.iter().find(|file| file.is_file()) {
            return read(file, Exposure::Warn).map(Some);
        }
    }
    if let Some(path) = section.get(&format!("{}_file", name.key)) {
        return read(&expand_home(Path::new(path)), Exposure::Refuse).map(Some);
    }
    if let Some(command) = section.get(&format!("{}_command", name.key)) {
        return ask(command, name.key).map(Some);
    }
    if let Some(wanted) = section
        .get(&format!("{}_keyring", name.key))
        .filter(|word| *word != "false")
    {
        // `true` is the store's own entry; another name shares that store's.
        let owner = if wanted == "true" { store } else { wanted };
        let found = keyring::find(&Label::new(owner, name.key))?;
        return found.map(Some).ok_or_else(|| {
            Failure::new(format!(
                "the desktop's keyring has no {} of {owner}: `assetfs login {owner}` puts it there",
                name.key
            ))
        });
    }
    section.get(name.key).map(|value| tidy(value, name.key)).transpose()
}

/// What to do about a file that others can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// Say so and go on.
    Warn,
    /// Do not use it.
    Refuse,
}

/// Fails, or warns, when others than its owner can read the file.
pub fn check_exposure(path: &Path, exposure: Exposure) -> Result<(), Failure> {
    let about = |e: std::io::Error| Failure::new(format!("cannot read {}: {e}", path.display()));
    let mode = std::fs::metadata(path).map_err(about)?.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let what = format!(
        "others can read {path} (mode {mode:03o}): chmod 600 {path}",
        path = path.display()
    );
    match exposure {
        Exposure::Warn => {
            tracing::warn!("{what}");
            Ok(())
        }
        Exposure::Refuse => Err(Failure::new(what)),
    }
}

fn read(path: &Path, exposure: Exposure) -> Result<Secret, Failure> {
    if std::fs::metadata(path).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
        return Err(Failure::new(format!(
            "{} with the secret is missing: `assetfs login NAME` asks for it again",
            path.display()
        )));
    }
    check_exposure(path, exposure)?;
    let about = |e: &dyn std::fmt::Display| Failure::new(format!("cannot read {}: {e}", path.display()));
    let bytes = std::fs::metadata(path).map_err(|e| about(&e))?.len();
    if bytes > SECRET_BYTES_MAX {
        return Err(about(&"it is too large for a key"));
    }
    let text = std::fs::read_to_string(path).map_err(|e| about(&e))?;
    tidy(&text, &path.display().to_string())
}

/// Runs the user's command and takes the first line that it prints.
fn ask(command: &str, key: &str) -> Result<Secret, Failure> {
    let output = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| Failure::new(format!("{key}_command cannot be run: {e}")))?;
    if !output.status.success() {
        return Err(Failure::new(format!("{key}_command failed: {}", output.status)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    tidy(text.lines().next().unwrap_or_default(), &format!("{key}_command"))
}

/// A secret without the line feed that editors add.
fn tidy(text: &str, origin: &str) -> Result<Secret, Failure> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Failure::new(format!("{origin} is empty")));
    }
    if text.contains(|c: char| c.is_control()) {
        return Err(Failure::new(format!("{origin} holds more than one line")));
    }
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing(_: &str) -> Option<String> {
        None
    }

    fn section(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()
    }

    fn key_file(mode: u32) -> tempfile::NamedTempFile {
        use std::io::Write;
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"from-file\n").unwrap();
        file.as_file()
            .set_permissions(std::fs::Permissions::from_mode(mode))
            .unwrap();
        file
    }

    #[test]
    fn the_environment_comes_before_the_configuration() {
        let env = |name: &str| (name == "ASSETFS_API_KEY").then(|| "from-env".to_owned());
        let found = collect(StoreKind::ImageRelay, "studio", &section(&[("api_key", "inline")]), env).unwrap();
        assert_eq!(found.get("api_key").unwrap().expose(), "from-env");
    }

    #[test]
    fn a_key_file_must_be_private_when_the_configuration_names_it() {
        let file = key_file(0o600);
        let named = section(&[("api_key_file", file.path().to_str().unwrap())]);
        let found = collect(StoreKind::ImageRelay, "studio", &named, nothing).unwrap();
        assert_eq!(found.get("api_key").unwrap().expose(), "from-file");

        let file = key_file(0o644);
        let named = section(&[("api_key_file", file.path().to_str().unwrap())]);
        let refused = collect(StoreKind::ImageRelay, "studio", &named, nothing).unwrap_err();
        assert!(refused.message.contains("chmod 600"), "{refused}");
    }

    #[test]
    fn a_unit_finds_what_its_manager_handed_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str| crate::disk::write_atomic(&folder.path().join(name), b"handed\n").unwrap();
        let env = |name: &str| (name == "CREDENTIALS_DIRECTORY").then(|| folder.path().display().to_string());
        let inline = section(&[("api_key", "inline")]);
        let found = |store: &str| {
            let found = collect(StoreKind::ImageRelay, store, &inline, env).unwrap();
            found.get("api_key").unwrap().expose().to_owned()
        };
        put("studio.api_key");
        assert_eq!(
            (found("studio").as_str(), found("other").as_str()),
            ("handed", "inline")
        );
        put("api_key");
        assert_eq!(found("other"), "handed");
    }

    #[test]
    fn a_command_gives_its_first_line() {
        let named = section(&[("key_command", "printf 'secret\\nrest\\n'")]);
        let found = collect(StoreKind::Omeka, "archive", &named, nothing).unwrap();
        assert_eq!(found.get("key").unwrap().expose(), "secret");
        let broken = section(&[("key_command", "exit 3")]);
        assert!(collect(StoreKind::Omeka, "archive", &broken, nothing).is_err());
    }

    #[test]
    fn a_missing_key_is_named_with_the_ways_to_give_it() {
        let failure = collect(StoreKind::ImageRelay, "studio", &section(&[]), nothing).unwrap_err();
        assert!(failure.message.contains("ASSETFS_API_KEY"), "{failure}");
        assert!(collect(StoreKind::Omeka, "archive", &section(&[]), nothing).is_ok());
    }
}

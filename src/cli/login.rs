//! `assetfs login`

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::output;
use crate::daemon::config::{Config, check_name};
use crate::daemon::credentials::{Credentials, SecretName, secrets_of};
use crate::daemon::keyring::{self, Label};
use crate::daemon::options::MountOptions;
use crate::daemon::places::{Places, expand_home, is_root};
use crate::daemon::run::Plan;
use crate::daemon::source::{Source, StoreKind};
use crate::daemon::{Failure, assemble};
use crate::disk::{create_private_dir, write_atomic};
use crate::http::Secret;

/// The longest line that is read as an answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to call the store on this machine
    name: String,
    /// What it is; asked for when it is not said
    #[arg(long, value_name = "KIND")]
    kind: Option<StoreKind>,
    /// Its address; asked for when it is not said
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Read the secrets from standard input, one a line
    #[arg(long)]
    stdin: bool,
    /// Keep the secrets in the desktop's keyring [default: where there is one]
    #[arg(long, conflicts_with = "file")]
    keyring: bool,
    /// Keep the secrets in files of mode 0600 beside the configuration
    #[arg(long)]
    file: bool,
    /// Also over plain http to another machine
    #[arg(long)]
    allow_http: bool,
}

pub fn run(args: &Args, places: &Places) -> Result<ExitCode, Failure> {
    check_name(&args.name).map_err(Failure::usage)?;
    let config = Config::load(&places.config)?;
    let text = read_config(&places.config)?;
    let known = config.section(&args.name).is_some();
    if known && (args.kind.is_some() || args.url.is_some()) {
        return Err(Failure::usage(format!(
            "[{}] in {} says already what and where it is: leave --kind and --url out, or choose another name",
            args.name,
            places.config.display()
        )));
    }
    let lines = if known { Vec::new() } else { description(args)? };
    // What is to be known of the store, without its secrets yet: they are asked for once the rest makes sense.
    let described = with_lines(&text, &args.name, &lines);
    let config = Config::parse(places.config.clone(), &described)?;
    let source = Source::parse(&args.name, &config)?;
    let by_choice = where_to(args);
    let mut homes = Vec::new();
    for secret in secrets_of(source.kind) {
        homes.push((secret, home_of(secret, &source, by_choice, places)?));
    }
    let given = ask_secrets(args, source.kind)?;
    prove(&source, &given, places)?;

    keep(&homes, &given, &described, &source, places)?;
    output::say("it can be mounted now; to look around first:");
    output::line(format_args!("assetfs mount --read-only {}", args.name))?;
    output::say("and to work:");
    output::line(format_args!("assetfs mount {}", args.name))?;
    Ok(ExitCode::SUCCESS)
}

fn read_config(path: &Path) -> Result<String, Failure> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(e) => Err(Failure::new(format!("cannot read {}: {e}", path.display()))),
    }
}

/// The lines of a new section.
fn description(args: &Args) -> Result<Vec<String>, Failure> {
    let kind = match args.kind {
        Some(kind) => kind,
        None => {
            let known = StoreKind::ALL.map(StoreKind::word).join(", ");
            let answer = ask(args, "--kind", &format!("Kind of store ({known}): "))?;
            StoreKind::parse(&answer)?
        }
    };
    let mut lines = vec![format!("kind = {}", quoted(kind.word()))];
    let url = match (&args.url, kind) {
        (Some(url), _) => Some(url.clone()),
        // There is one service, whose address is known; some have an address of their own there.
        (None, StoreKind::ImageRelay) if somebody_can_be_asked(args) => {
            let question = format!("Address [{}]: ", kind.address_example());
            Some(ask(args, "--url", &question)?).filter(|answer| !answer.is_empty())
        }
        (None, StoreKind::ImageRelay) => None,
        (None, StoreKind::Omeka | StoreKind::Flextype | StoreKind::Im4) => Some(ask(args, "--url", "Address: ")?),
    };
    lines.extend(url.map(|url| format!("url = {}", quoted(&url))));
    if args.allow_http {
        lines.push("allow_http = true".into());
    }
    Ok(lines)
}

fn somebody_can_be_asked(args: &Args) -> bool {
    !args.stdin && std::io::stdin().is_terminal()
}

/// Asks a person for something that is no secret.
fn ask(args: &Args, option: &str, question: &str) -> Result<String, Failure> {
    let input = std::io::stdin();
    if !somebody_can_be_asked(args) {
        return Err(Failure::usage(format!("say {option}: nobody can be asked")));
    }
    let mut prompt = std::io::stderr();
    prompt
        .write_all(question.as_bytes())
        .and_then(|()| prompt.flush())
        .map_err(Failure::new)?;
    let mut answer = String::new();
    std::io::Read::take(input.lock(), ANSWER_BYTES_MAX)
        .read_line(&mut answer)
        .map_err(Failure::new)?;
    Ok(answer.trim().to_owned())
}

/// Asks for every secret of a kind of store.
fn ask_secrets(args: &Args, kind: StoreKind) -> Result<Vec<(&'static str, Secret)>, Failure> {
    let mut lines = std::io::BufReader::new(std::io::Read::take(std::io::stdin(), ANSWER_BYTES_MAX)).lines();
    let mut given = Vec::new();
    for secret in secrets_of(kind) {
        let answer = if args.stdin {
            lines.next().transpose().map_err(Failure::new)?.unwrap_or_default()
        } else {
            let question = question_for(secret);
            rpassword::prompt_password(question).map_err(|_| {
                let what = secret.key.replace('_', " ");
                Failure::usage(format!("there is no terminal to ask for the {what}: use --stdin"))
            })?
        };
        let answer = answer.trim();
        match (answer.is_empty(), secret.required) {
            (true, true) => return Err(Failure::usage(format!("the {} is empty", secret.key))),
            (true, false) => {}
            (false, _) => given.push((secret.key, Secret::new(answer))),
        }
    }
    Ok(given)
}

fn question_for(secret: &SecretName) -> String {
    let what = secret.key.replace('_', " ");
    if secret.required {
        format!("{what}: ")
    } else {
        format!("{what} (none: read-only): ")
    }
}

/// Asks the store whether it knows us.
fn prove(source: &Source, given: &[(&'static str, Secret)], places: &Places) -> Result<(), Failure> {
    let plan = Plan {
        source: source.clone(),
        credentials: Credentials::of(given.iter().cloned()),
        mountpoint: PathBuf::new(),
        options: MountOptions::from_section(&source.section)?,
        places: places.clone(),
    };
    let proof = super::runtime()?.block_on(assemble::prove(&plan))?;
    output::say(format_args!("{} knows you as {}", source.url, proof.account));
    Ok(())
}

/// Where a secret of a store is kept by `login`, when it is a file.
pub fn own_secret_file(config: &Path, name: &str, key: &str) -> PathBuf {
    config.with_file_name(format!("{name}.{key}"))
}

/// Where a secret goes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Home {
    File(PathBuf),
    Keyring(Label),
}

/// Which kind of place new secrets get. Root's mounts come up without a desktop.
fn where_to(args: &Args) -> Choice {
    if args.keyring || (!args.file && !is_root() && keyring::is_there()) {
        Choice::Keyring
    } else {
        Choice::File
    }
}

/// A kind of place for secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    File,
    Keyring,
}

/// Where a secret goes: where the section says, or a new place.
fn home_of(secret: &SecretName, source: &Source, choice: Choice, places: &Places) -> Result<Home, Failure> {
    let named = |suffix: &str| source.section.get(&format!("{}{suffix}", secret.key));
    if let Some(file) = named("_file") {
        return Ok(Home::File(expand_home(Path::new(file))));
    }
    if named("_keyring").is_some_and(|owner| owner == "true") {
        return Ok(Home::Keyring(Label::new(&source.name, secret.key)));
    }
    for suffix in ["_keyring", "_command", ""] {
        if named(suffix).is_some() {
            return Err(Failure::usage(format!(
                "[{}] has its own `{}{suffix}`: change it there, or take it out first",
                source.name, secret.key
            )));
        }
    }
    Ok(match choice {
        Choice::Keyring => Home::Keyring(Label::new(&source.name, secret.key)),
        Choice::File => Home::File(own_secret_file(&places.config, &source.name, secret.key)),
    })
}

/// Writes the secrets first and then what names them: a crash between the two leaves nothing that is wrong.
fn keep(
    homes: &[(&SecretName, Home)],
    given: &[(&'static str, Secret)],
    described: &str,
    source: &Source,
    places: &Places,
) -> Result<(), Failure> {
    if let Some(folder) = places.config.parent().filter(|folder| !folder.is_dir()) {
        create_private_dir(folder)?;
    }
    let mut lines = Vec::new();
    for (secret, home) in homes {
        let Some((_, value)) = given.iter().find(|(key, _)| *key == secret.key) else {
            continue;
        };
        let (key, named) = match home {
            Home::File(file) => {
                write_atomic(file, format!("{}\n", value.expose()).as_bytes())?;
                (format!("{}_file", secret.key), file.display().to_string())
            }
            Home::Keyring(label) => {
                keyring::keep(label, value)?;
                (format!("{}_keyring", secret.key), "true".to_owned())
            }
        };
        if !source.section.contains_key(&key) {
            lines.push(format!("{key} = {}", quoted(&named)));
        }
    }
    let text = with_lines(described, &source.name, &lines);
    Config::parse(places.config.clone(), &text)?;
    if text != read_config(&places.config)? {
        // A link to where the configuration is really kept stays one.
        let file = std::fs::canonicalize(&places.config).unwrap_or_else(|_| places.config.clone());
        write_atomic(&file, text.as_bytes())?;
    }
    Ok(())
}

/// `text` with `lines` in the section `name`, which is added at the end when there is none; all else stays as it is.
fn with_lines(text: &str, name: &str, lines: &[String]) -> String {
    if lines.is_empty() {
        return text.to_owned();
    }
    let block = format!("{}\n", lines.join("\n"));
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        at += line.len();
        if heads(line, name) {
            let gap = if line.ends_with('\n') { "" } else { "\n" };
            return format!("{}{gap}{block}{}", &text[..at], &text[at..]);
        }
    }
    let gap = match text {
        "" => "",
        _ if text.ends_with('\n') => "\n",
        _ => "\n\n",
    };
    let head = if name.contains('.') {
        quoted(name)
    } else {
        name.to_owned()
    };
    format!("{text}{gap}[{head}]\n{block}")
}

/// Whether a line of the configuration begins the section `name`.
fn heads(line: &str, name: &str) -> bool {
    let line = line.split('#').next().unwrap_or_default().trim();
    line.strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .is_some_and(|head| head.trim().trim_matches(['"', '\'']) == name)
}

/// A string as TOML writes it.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_can_be_described() {
        for kind in StoreKind::ALL {
            let args = Args {
                name: "a.b".into(),
                kind: Some(kind),
                url: Some("https://a.example/\"api".into()),
                stdin: true,
                keyring: false,
                file: true,
                allow_http: true,
            };
            let text = with_lines("", &args.name, &description(&args).unwrap());
            let config = Config::parse("/c.toml".into(), &text).unwrap();
            let section = config.section("a.b").unwrap();
            assert_eq!(
                (section["kind"].as_str(), section["allow_http"].as_str()),
                (kind.word(), "true")
            );
            assert_eq!(section["url"], "https://a.example/\"api");
        }
    }

    #[test]
    fn the_rest_of_the_configuration_stays_to_the_letter() {
        let text = "# mine\n[studio]  # first\nquiet = \"5s\"\n\n[archive]\nkind = \"omeka\"";
        let line = ["key_file = \"/k\"".to_owned()];
        assert_eq!(
            with_lines(text, "studio", &line),
            "# mine\n[studio]  # first\nkey_file = \"/k\"\nquiet = \"5s\"\n\n[archive]\nkind = \"omeka\""
        );
        assert_eq!(
            with_lines(text, "other", &line),
            format!("{text}\n\n[other]\nkey_file = \"/k\"\n")
        );
        assert_eq!(with_lines("", "other", &line), "[other]\nkey_file = \"/k\"\n");
        assert_eq!(with_lines(text, "other", &[]), text);
    }
}

//! `assetfs doctor`

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::{kept, output};
use crate::daemon::config::Config;
use crate::daemon::control::{self, Request};
use crate::daemon::credentials::{self, Credentials};
use crate::daemon::options::MountOptions;
use crate::daemon::places::{Places, is_root};
use crate::daemon::registry::{self, MountRecord};
use crate::daemon::run::Plan;
use crate::daemon::source::Source;
use crate::daemon::{Failure, Status, assemble, mountpoint};
use crate::disk::free_space;
use crate::fuse::mounts::{self, Mounted};

/// Less free space than this, in bytes, and writing will soon fail.
const FREE_BYTES_MIN: u64 = 512 << 20;

/// The first kernel that reads files past the daemon.
const PASSTHROUGH_SINCE: (u32, u32) = (6, 9);

/// How long a store may take to answer.
const STORE_DEADLINE: Duration = Duration::from_secs(20);

/// Beyond this many seconds a clock is wrong: dates in names, links that end, and "changed since" go astray.
const CLOCK_OFF_MAX_S: i64 = 60;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// For programs
    #[arg(long)]
    json: bool,
    /// Ask no server; else each store of the configuration is sent one request
    #[arg(long)]
    offline: bool,
}

/// How serious a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    /// As it should be.
    Ok,
    /// Everything works, though something could be better.
    Note,
    /// Something does not work.
    Wrong,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Check {
    about: String,
    verdict: Verdict,
    found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

impl Check {
    fn ok(about: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            about: about.into(),
            verdict: Verdict::Ok,
            found: found.into(),
            fix: None,
        }
    }

    fn note(about: impl Into<String>, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Note,
            fix: Some(fix.into()),
            ..Self::ok(about, found)
        }
    }

    fn wrong(about: impl Into<String>, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Wrong,
            ..Self::note(about, found, fix)
        }
    }
}

pub fn run(args: &Args, places: &Places) -> Result<ExitCode, Failure> {
    let mut checks = vec![device(), unmounter(), others()];
    checks.extend(kernel());
    checks.extend(stores(places, args.offline));
    checks.extend(
        [&places.cache, &places.state]
            .into_iter()
            .flat_map(|folder| disk(folder)),
    );
    checks.extend(standing_mounts());
    checks.extend(allowances(places));
    checks.extend(kept_changes(places)?);
    let wrong = checks.iter().filter(|check| check.verdict == Verdict::Wrong).count();
    if args.json {
        output::object(json!({ "ok": wrong == 0, "checks": checks }))?;
    } else {
        for check in &checks {
            output::line(row(check))?;
        }
    }
    Ok(match wrong {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(Status::Failed.code()),
    })
}

fn row(check: &Check) -> String {
    let verdict = match check.verdict {
        Verdict::Ok => "ok",
        Verdict::Note => "note",
        Verdict::Wrong => "WRONG",
    };
    let fix = check.fix.as_ref().map(|fix| format!("; {fix}")).unwrap_or_default();
    format!("{verdict:<6} {}: {}{fix}", check.about, check.found)
}

fn device() -> Check {
    const DEVICE: &str = "/dev/fuse";
    match std::fs::File::options().read(true).write(true).open(DEVICE) {
        Ok(_) => Check::ok(DEVICE, "can be opened"),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Check::wrong(
            DEVICE,
            "is missing",
            "`modprobe fuse`, or start the container with `--device /dev/fuse --cap-add SYS_ADMIN`",
        ),
        Err(e) => Check::wrong(
            DEVICE,
            e.to_string(),
            "`chmod 666 /dev/fuse` as root, or start the container with `--device /dev/fuse`",
        ),
    }
}

fn unmounter() -> Check {
    const PROGRAM: &str = "fusermount3";
    match (mountpoint::has_unmounter(), is_root()) {
        (true, _) => Check::ok(PROGRAM, "is installed"),
        (false, true) => Check::note(PROGRAM, "is missing; root mounts without it", "`apt install fuse3`"),
        (false, false) => Check::wrong(PROGRAM, "is missing", "`apt install fuse3`"),
    }
}

fn others() -> Check {
    const LINE: &str = "user_allow_other";
    if is_root() || mountpoint::users_may_allow_others() {
        Check::ok(LINE, "mounts may be opened to other users")
    } else {
        Check::note(
            LINE,
            "other users cannot be let in (`--allow-other`)",
            format!("if they must, an administrator puts the line `{LINE}` into /etc/fuse.conf"),
        )
    }
}

/// The kernel's age, and what follows from it.
fn kernel() -> Vec<Check> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let about = format!("Linux {release}");
    vec![match version(release) {
        None => Check::note(about, "its version cannot be read", "nothing needs to be done"),
        Some(known) if known < PASSTHROUGH_SINCE => Check::note(
            about,
            "local copies are read through the page cache",
            "6.9 or later reads them at the disk's own speed (passthrough)",
        ),
        Some(_) if !is_root() => Check::note(
            about,
            "local copies are read through the page cache",
            "a mount by root reads them at the disk's own speed (passthrough)",
        ),
        Some(_) => Check::ok(about, "local copies are read at the disk's own speed (passthrough)"),
    }]
}

/// `6.9.3-generic` as numbers.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The configuration, and whether each store of it has what it needs and takes it.
fn stores(places: &Places, offline: bool) -> Vec<Check> {
    let about = places.config.display().to_string();
    let config = match Config::load(&places.config) {
        Ok(config) => config,
        Err(failure) => return vec![Check::wrong(about, failure.message, "correct that line")],
    };
    if config.names().next().is_none() {
        return vec![Check::note(
            about,
            "no store is configured",
            "`assetfs login NAME` adds one; mounts by address work without",
        )];
    }
    let mut checks = vec![Check::ok(about, "can be read")];
    for name in config.names() {
        match store(name, &config) {
            Ok((check, source, credentials)) if !offline => {
                checks.push(check);
                checks.extend(ask(&source, credentials, places));
            }
            Ok((check, ..)) | Err(check) => checks.push(check),
        }
    }
    checks
}

/// Whether a store has its credentials, and they.
fn store(name: &str, config: &Config) -> Result<(Check, Source, Credentials), Check> {
    let about = format!("store {name}");
    let source =
        Source::parse(name, config).map_err(|failure| Check::wrong(&about, failure.message, "correct its section"))?;
    let env = |variable: &str| std::env::var(variable).ok();
    let found = credentials::collect(source.kind, name, &source.section, env)
        .map_err(|failure| Check::wrong(&about, failure.message, format!("or `assetfs login {name}`")))?;
    let all = credentials::secrets_of(source.kind)
        .iter()
        .all(|s| found.get(s.key).is_some());
    let check = if all {
        Check::ok(about, "has its credentials")
    } else {
        Check::note(
            about,
            "can be read; changing it takes one more key",
            format!("`assetfs login {name}` adds it"),
        )
    };
    Ok((check, source, found))
}

/// Sends a store one request.
fn ask(source: &Source, credentials: Credentials, places: &Places) -> Vec<Check> {
    let about = format!("store {}", source.name);
    let asked = MountOptions::from_section(&source.section).and_then(|options| {
        let plan = Plan {
            source: source.clone(),
            credentials,
            mountpoint: PathBuf::new(),
            options,
            places: places.clone(),
        };
        let late = || {
            Failure::new(format!(
                "no answer from {} within {} s",
                source.url,
                STORE_DEADLINE.as_secs()
            ))
        };
        super::runtime()?.block_on(async {
            let asking = tokio::time::timeout(STORE_DEADLINE, assemble::prove(&plan));
            asking.await.unwrap_or_else(|_| Err(late()))
        })
    });
    match asked {
        Err(failure) => vec![Check::wrong(
            about,
            failure.message,
            format!(
                "`assetfs login {}` takes a new key; is the address right, and the line up?",
                source.name
            ),
        )],
        Ok(proof) => {
            let mut checks = vec![Check::ok(
                &about,
                format!("{} knows this login as {}", source.url, proof.account),
            )];
            checks.extend(proof.server_clock_ahead_s.map(|ahead| clock(&source.name, ahead)));
            checks
        }
    }
}

/// Compares the server's clock with ours.
fn clock(store: &str, ahead_s: i64) -> Check {
    let about = "clock";
    match ahead_s {
        off if off.abs() <= CLOCK_OFF_MAX_S => Check::ok(about, format!("agrees with that of {store}")),
        off => Check::wrong(
            about,
            format!(
                "{} s {} that of {store}",
                off.unsigned_abs(),
                if off > 0 { "behind" } else { "ahead of" }
            ),
            "`timedatectl set-ntp true` keeps this machine's right",
        ),
    }
}

/// Request allowances that are used up, as far as running daemons know.
fn allowances(places: &Places) -> Vec<Check> {
    let mounts = registry::all(&places.run).unwrap_or_default();
    let status_of = |mount: &MountRecord| control::ask(&mount.socket, &Request::Status { path: None }).ok();
    mounts
        .iter()
        .filter_map(|mount| {
            let status = status_of(mount)?;
            Some(match status["http"]["budget"]["exhausted_until"].as_str() {
                None => Check::ok(format!("requests to {}", mount.store), "the store still takes some"),
                Some(until) => Check::wrong(
                    format!("requests to {}", mount.store),
                    format!("today's allowance is used up until {until}"),
                    "what is known can be read and changes wait here; `assetfs status` tells what used it",
                ),
            })
        })
        .collect()
}

/// Changes of stores that nobody has mounted: they wait for ever.
fn kept_changes(places: &Places) -> Result<Vec<Check>, Failure> {
    let kept = kept::all(places, None)?;
    Ok(kept
        .iter()
        .filter_map(|kept| {
            let changes @ 1.. = kept.changes? else { return None };
            Some(Check::note(
                format!("changes of {}", kept.store()),
                format!(
                    "{} not in the store yet, and it is not mounted",
                    output::count(changes, "change")
                ),
                "mount it again: they are sent then",
            ))
        })
        .collect())
}

/// Whether one of our folders is private and has room.
fn disk(folder: &Path) -> Vec<Check> {
    let about = folder.display().to_string();
    let mut checks = Vec::new();
    if let Ok(metadata) = std::fs::metadata(folder)
        && metadata.permissions().mode() & 0o077 != 0
    {
        checks.push(Check::wrong(
            &about,
            "other users can look into it",
            format!("chmod 700 {about}"),
        ));
    }
    let Some(there) = folder.ancestors().find(|path| path.is_dir()) else {
        return checks;
    };
    checks.push(match free_space(there) {
        Err(error) => Check::wrong(about, error.to_string(), "check the disk"),
        Ok(space) if space.free_bytes < FREE_BYTES_MIN => Check::wrong(
            about,
            format!("only {} are free", output::size(space.free_bytes)),
            "make room, or choose another disk with --cache-dir and --state-dir",
        ),
        Ok(space) => Check::ok(about, format!("{} are free", output::size(space.free_bytes))),
    });
    checks
}

/// Mounts of ours, and whether they answer.
fn standing_mounts() -> Vec<Check> {
    let mounted = match mounts::all() {
        Ok(mounted) => mounted,
        Err(e) => return vec![Check::wrong("mounts", e.to_string(), "is /proc mounted?")],
    };
    mounted.iter().filter(|m| m.is_ours()).map(standing).collect()
}

fn standing(mounted: &Mounted) -> Check {
    let place = mounted.mountpoint.display();
    let about = format!("mount {place}");
    match mountpoint::look(&mounted.mountpoint) {
        Some(Ok(())) => Check::ok(about, "answers"),
        Some(Err(e)) if e.raw_os_error() == Some(libc::ENOTCONN) => Check::wrong(
            about,
            "its daemon has died; what was not uploaded is kept",
            format!("mount it again, or `fusermount3 -u {place}`"),
        ),
        // Somebody else's mount, which is not for us to judge.
        Some(Err(e)) if e.kind() == io::ErrorKind::PermissionDenied => Check::ok(about, "belongs to another user"),
        Some(Err(e)) => Check::wrong(about, e.to_string(), "`assetfs logs` may tell why"),
        None => Check::wrong(
            about,
            "does not answer",
            format!("`assetfs logs` may tell why; `assetfs unmount --lazy {place}` takes it away"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_told_apart_by_number() {
        assert_eq!(version("6.9.3-generic"), Some((6, 9)));
        assert_eq!(version("6.10-rc1"), Some((6, 10)));
        assert!(version("6.10.0").unwrap() > PASSTHROUGH_SINCE);
        assert_eq!(version("unheard of"), None);
    }

    #[test]
    fn a_finding_is_one_line_with_its_fix() {
        let check = Check::wrong("fusermount3", "is missing", "`apt install fuse3`");
        assert_eq!(row(&check), "WRONG  fusermount3: is missing; `apt install fuse3`");
        assert_eq!(
            row(&Check::ok("/dev/fuse", "can be opened")),
            "ok     /dev/fuse: can be opened"
        );
    }

    #[test]
    fn a_store_without_its_key_is_wrong_and_the_fix_names_login() {
        let text = "[archive]\nkind = \"omeka\"\n[flat]\nkind = \"flextype\"\nurl = \"https://a.example\"\n";
        let config = Config::parse("/c.toml".into(), text).unwrap();
        let without_url = store("archive", &config).err().unwrap();
        assert_eq!(without_url.verdict, Verdict::Wrong);
        assert!(without_url.found.contains("`url` is missing"), "{without_url:?}");
        let without_key = store("flat", &config).err().unwrap();
        assert_eq!(without_key.verdict, Verdict::Wrong);
        assert!(without_key.fix.unwrap().contains("assetfs login flat"));
    }

    #[test]
    fn a_clock_that_is_off_is_told_with_the_direction() {
        assert_eq!(clock("studio", -2).verdict, Verdict::Ok);
        assert_eq!(clock("studio", 600).found, "600 s behind that of studio");
        assert_eq!(clock("studio", -600).found, "600 s ahead of that of studio");
    }

    #[test]
    fn a_folder_that_others_can_read_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |mode| std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        let told = |checks: Vec<Check>| checks.iter().any(|check| check.found.contains("other users"));
        mode(0o755);
        assert!(told(disk(dir.path())));
        mode(0o700);
        assert!(!told(disk(dir.path())));
    }
}

//! `assetfs mount`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{Global, output};
use crate::daemon::config::Config;
use crate::daemon::options::MountOptions;
use crate::daemon::places::{Places, is_root};
use crate::daemon::run::{Plan, run as run_mount};
use crate::daemon::service::ServiceManager;
use crate::daemon::source::Source;
use crate::daemon::{Failure, credentials, detach, mountpoint};
use crate::fuse::mounts;
use crate::telemetry::{LogTarget, journal_socket};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A store of the configuration with an optional folder (`studio`, `studio:/Campaigns`), or an address
    /// (`imagerelay+https://host/api/v2`, `omeka+https://…`, `flextype+https://…`, `im4+https://…`; `imagerelay:` is the
    /// public service)
    source: String,
    /// An empty folder [default: ~/NAME, as root /mnt/NAME; made when missing]
    mountpoint: Option<PathBuf>,
    /// Mount options as a list: every long option by its name, and `ro`
    #[arg(short = 'o', value_name = "OPTIONS")]
    lists: Vec<String>,
    /// Stay in the foreground and log to standard error
    #[arg(long, short)]
    foreground: bool,
    #[command(flatten)]
    options: MountOptions,
}

pub fn run(args: Args, global: &Global, places: Places) -> Result<ExitCode, Failure> {
    let outcome = prepare(args, places).and_then(|(plan, foreground)| {
        if foreground || detach::is_detached() {
            stay(plan, global)
        } else {
            leave(&plan, global)
        }
    });
    if let Err(failure) = &outcome {
        detach::report(Err(failure));
    }
    outcome
}

/// What is asked for, checked as far as it can be without touching the network.
fn prepare(args: Args, places: Places) -> Result<(Plan, bool), Failure> {
    let config = Config::load(&places.config)?;
    let source = Source::parse(&args.source, &config)?;
    let options = args
        .options
        .over(MountOptions::from_lists(&args.lists)?)
        .over(MountOptions::from_section(&source.section)?);
    mountpoint::check_system(options.allow_other.unwrap_or(false))?;
    let mountpoint = match args.mountpoint {
        Some(folder) => std::path::absolute(folder).map_err(Failure::new)?,
        None => default_mountpoint(source.short_name())?,
    };
    let plan = Plan {
        source,
        credentials: credentials::Credentials::default(),
        mountpoint,
        options,
        places,
    };
    Ok((plan, args.foreground))
}

/// A place for a store that was given none.
fn default_mountpoint(store: &str) -> Result<PathBuf, Failure> {
    let base = match std::env::var_os("HOME") {
        _ if is_root() => PathBuf::from("/mnt"),
        Some(home) => PathBuf::from(home),
        None => return Err(Failure::usage("say where to mount: HOME is not set")),
    };
    let folder = base.join(store);
    // A mount whose daemon has died cannot be looked into: it is taken away later.
    if mounts::at(&folder).map_err(Failure::new)?.is_none() {
        std::fs::create_dir_all(&folder).map_err(|e| Failure::new(format!("{}: {e}", folder.display())))?;
    }
    Ok(folder)
}

/// Mounts in the background and returns when the mount answers.
fn leave(plan: &Plan, global: &Global) -> Result<ExitCode, Failure> {
    global.log_to(LogTarget::Stderr)?;
    detach::detach(&plan.mountpoint, global.words.iter().skip(1))?;
    if output::is_watched() {
        output::say(format_args!(
            "{} is mounted at {}",
            plan.source.name,
            plan.mountpoint.display()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// To the system's journal, or to a file where there is none.
fn log_in_the_background(plan: &Plan, global: &Global) -> Result<(), Failure> {
    if let Some(socket) = journal_socket() {
        let store = plan.source.name.clone();
        if global.log_to(LogTarget::Journal { socket, store }).is_ok() {
            return Ok(());
        }
    }
    let log = plan.places.store(&plan.source.state_name())?.log();
    global.log_to(LogTarget::File(log))
}

/// Mounts and serves until the mount ends.
fn stay(mut plan: Plan, global: &Global) -> Result<ExitCode, Failure> {
    if detach::is_detached() {
        log_in_the_background(&plan, global)?;
    } else {
        global.log_to(LogTarget::Stderr)?;
    }
    let (kind, name) = (plan.source.kind, plan.source.name.clone());
    plan.credentials = credentials::collect(kind, &name, &plan.source.section, |name| std::env::var(name).ok())?;
    let runtime = super::runtime()?;
    let mountpoint = plan.mountpoint.clone();
    let service = match detach::is_detached() {
        true => ServiceManager::default(),
        false => ServiceManager::of_this_process(),
    };
    let ending = runtime.block_on(run_mount(plan, service, |place: &Path| {
        if detach::is_detached() {
            detach::report(Ok(()));
            // The folder that the command was started in must not be kept busy.
            if let Err(error) = std::env::set_current_dir("/") {
                tracing::debug!(%error, "the current folder stays");
            }
        } else {
            output::say(format_args!("{name} is mounted at {}", place.display()));
        }
    }))?;
    Ok(super::tell(&mountpoint, &ending.report))
}

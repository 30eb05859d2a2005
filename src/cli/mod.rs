//! The command line: one file a command.

mod approve;
mod assets;
mod builtin;
mod completions;
mod config;
mod demo;
mod discard;
mod doctor;
mod export;
mod helper;
mod import_url;
mod kept;
mod login;
mod logout;
mod logs;
mod man;
mod meta;
mod mount;
mod output;
mod path;
mod pin;
mod progress;
mod queue;
mod refresh;
mod resolve;
mod retry;
mod search;
mod serve;
mod status;
mod sync;
mod target;
mod thumbnail;
mod tour;
mod unmount;
mod url;
mod users;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::daemon::detach;
use crate::daemon::places::{Places, PlacesArgs};
use crate::daemon::{Failure, Status};
use crate::telemetry::{LogConfig, LogFormat, LogLevel, LogTarget, under_systemd};

/// Mount a digital-asset library, an archive or a CMS's uploads as a drive
#[derive(Debug, Parser)]
#[command(name = "assetfs", version, propagate_version = true, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, clap::Args)]
struct Global {
    #[command(flatten)]
    places: PlacesArgs,
    /// Say more; twice: even more
    #[arg(long, short, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
    /// What is worth a line in the log [default: warn; of a daemon without a terminal: info]
    #[arg(long, value_name = "LEVEL", global = true)]
    log_level: Option<LogLevel>,
    /// How a line of the log is written [default: text]
    #[arg(long, value_name = "FORMAT", global = true)]
    log_format: Option<LogFormat>,
    /// The whole command line, to start this program with once more.
    #[arg(skip)]
    words: Vec<OsString>,
}

/// Stands under every command's help.
const EXIT_STATUS: &str = "Exit status: 0 done; 1 failed, or something is parked or held; 2 asked in the wrong way; \
                           3 not mounted; 4 timed out.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Mount a store
    Mount(Box<mount::Args>),
    /// Take a mount away when its changes are in the store
    #[command(visible_alias = "umount")]
    Unmount(unmount::Args),
    /// Wait until changes are in the store
    Sync(sync::Args),
    /// Show how mounts, or a file, are
    Status(status::Args),
    /// List the changes that the store does not have yet
    Queue(queue::Args),
    /// Try a parked change again
    Retry(retry::Args),
    /// Copy the bytes of a change to a file
    Export(export::Args),
    /// Give a change up
    Discard(discard::Args),
    /// Let held deletions go on
    Approve(approve::Args),
    /// Settle a conflict
    Resolve(resolve::Args),
    /// Ask the store anew
    Refresh(refresh::Args),
    /// Show or change metadata
    Meta(meta::Args),
    /// Let the store search
    Search(search::Args),
    /// Show where an asset is
    Path(path::Args),
    /// Keep files on this machine
    Pin(pin::Args),
    /// No longer keep files on this machine
    Unpin(pin::Args),
    /// Show where a browser finds a file
    Url(url::Args),
    /// Let the store fetch a file from an address by itself
    ImportUrl(import_url::Args),
    /// Give a file another thumbnail
    Thumbnail(thumbnail::Args),
    /// Look for what keeps mounts from working, and say what to do
    Doctor(doctor::Args),
    /// Print what the daemons logged
    Logs(logs::Args),
    /// Run a server that speaks a store's API, for demonstrations and tests
    Serve(serve::Args),
    /// Mount a built-in store and say what to try
    Demo(demo::Args),
    /// Keep the address and the secrets of a store under a name
    Login(login::Args),
    /// Forget the secrets of a store
    Logout(logout::Args),
    /// Show or check the configuration
    Config(config::Args),
    /// Print completions for a shell
    Completions(completions::Args),
    /// Print the manual, or write all its pages
    Man(man::Args),
}

/// Runs the command that this process was started with.
pub fn run() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    if helper::is_helper(words.first()) {
        let places = |words: &[OsString]| Places::find(&parse(words.to_vec()).global.places);
        return helper::run(words.into_iter(), |words| dispatch(parse(words)), places);
    }
    match dispatch(parse(words)) {
        Ok(code) => code,
        Err(failure) => {
            output::say(&failure);
            ExitCode::from(failure.status.code())
        }
    }
}

/// The command line as it is told to people: with the exit status under every command.
fn command() -> clap::Command {
    Cli::command()
        .after_help(EXIT_STATUS)
        .mut_subcommands(|command| command.after_help(EXIT_STATUS))
}

/// Reads a command line, or ends the program with what is wrong with it.
fn parse(words: Vec<OsString>) -> Cli {
    let matches = command().get_matches_from(&words);
    let mut cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    cli.global.words = words;
    cli
}

fn dispatch(cli: Cli) -> Result<ExitCode, Failure> {
    let places = Places::find(&cli.global.places)?;
    let global = &cli.global;
    if !matches!(cli.command, Command::Mount(_)) {
        global.log_to(LogTarget::Stderr)?;
    }
    match cli.command {
        Command::Mount(args) => mount::run(*args, global, places),
        Command::Unmount(args) => unmount::run(&args, &places),
        Command::Sync(args) => sync::run(&args, &places),
        Command::Status(args) => status::run(&args, &places),
        Command::Queue(args) => queue::run(&args, &places),
        Command::Retry(args) => retry::run(&args, &places),
        Command::Export(args) => export::run(&args, &places),
        Command::Discard(args) => discard::run(&args, &places),
        Command::Approve(args) => approve::run(&args, &places),
        Command::Resolve(args) => resolve::run(&args, &places),
        Command::Refresh(args) => refresh::run(&args, &places),
        Command::Meta(args) => meta::run(&args, &places),
        Command::Search(args) => search::run(&args, &places),
        Command::Path(args) => path::run(&args, &places),
        Command::Pin(args) => pin::run(&args, true, &places),
        Command::Unpin(args) => pin::run(&args, false, &places),
        Command::Url(args) => url::run(&args, &places),
        Command::ImportUrl(args) => import_url::run(args, &places),
        Command::Thumbnail(args) => thumbnail::run(&args, &places),
        Command::Doctor(args) => doctor::run(&args, &places),
        Command::Logs(args) => logs::run(&args, &places),
        Command::Serve(args) => serve::run(args),
        Command::Demo(args) => demo::run(args, &places),
        Command::Login(args) => login::run(&args, &places),
        Command::Logout(args) => logout::run(&args, &places),
        Command::Config(args) => config::run(&args, &places),
        Command::Completions(args) => completions::run(&args, command()),
        Command::Man(args) => man::run(&args, command()),
    }
}

impl Global {
    fn log_to(&self, target: LogTarget) -> Result<(), Failure> {
        // A daemon's log is read when something went wrong, so it tells what happened.
        let usual = match detach::is_detached() || under_systemd() {
            true => LogLevel::Info,
            false => LogLevel::Warn,
        };
        let config = LogConfig {
            level: self.log_level.unwrap_or(usual).raised(self.verbose),
            format: self.log_format.unwrap_or_default(),
            target,
        };
        crate::telemetry::init(&config).map_err(|e| Failure::new(format!("cannot open the log: {e}")))
    }
}

/// The engine of long-running commands.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    /// Threads for local disks, which may be slow, each.
    const BLOCKING_THREADS_MAX: usize = 64;
    crate::disk::keep_memory_together();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 8)))
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_name("assetfs")
        .build()
        .map_err(|e| Failure::new(format!("cannot start: {e}")))
}

/// The exit status for what is left after a wait.
fn status_of(report: &crate::vfs::SyncReport) -> Option<Status> {
    if report.pending > 0 {
        Some(Status::TimedOut)
    } else if report.parked + report.held > 0 || !report.problems.is_empty() {
        Some(Status::Failed)
    } else {
        None
    }
}

/// Says what is left, and gives the exit status for it.
fn tell(mountpoint: &Path, report: &crate::vfs::SyncReport) -> ExitCode {
    for problem in &report.problems {
        output::say(problem);
    }
    for what in left(report) {
        output::say(format_args!("{}: {what}", mountpoint.display()));
    }
    status_of(report).map_or(ExitCode::SUCCESS, |status| ExitCode::from(status.code()))
}

/// What is left after a wait, a sentence each.
fn left(report: &crate::vfs::SyncReport) -> Vec<String> {
    let left = [
        (
            report.pending,
            "not in the store yet: kept on this machine, and sent when the store is mounted",
        ),
        // The store need not be the reason: a program may have died while it wrote.
        (report.parked, "parked until you decide: `assetfs queue` shows why"),
        (report.held, "held until `assetfs approve`"),
    ];
    left.into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| format!("{} {what}", output::count(number, "change")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_commands_help_tells_its_exit_status() {
        for mut command in command().get_subcommands().cloned() {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Exit status: 0 done"), "{help}");
        }
    }

    /// Every parked change was called "refused by the store", also one whose program was killed while it wrote: people
    /// then looked for the fault in the wrong place.
    #[test]
    fn what_is_parked_is_not_said_to_be_refused_by_the_store() {
        let report = crate::vfs::SyncReport {
            parked: 2,
            ..Default::default()
        };
        assert_eq!(
            left(&report),
            ["2 changes parked until you decide: `assetfs queue` shows why"]
        );
        assert_eq!(status_of(&report), Some(Status::Failed));
    }

    #[test]
    fn both_spellings_of_unmount_work() {
        for word in ["unmount", "umount"] {
            assert!(Cli::try_parse_from(["assetfs", word, "/mnt", "--wait", "5"]).is_ok());
        }
    }
}

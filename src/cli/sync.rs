//! `assetfs sync`

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::progress::Progress;
use super::{output, target};
use crate::daemon::config::Config;
use crate::daemon::control::{Answer, Request, ask_with_progress};
use crate::daemon::options::MountOptions;
use crate::daemon::places::Places;
use crate::daemon::run::Plan;
use crate::daemon::source::Source;
use crate::daemon::{Failure, Status, credentials, offline};
use crate::vfs::SyncReport;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A path in a mount, or a store, mounted or not [default: all mounts]
    #[arg(value_name = "PATH|STORE")]
    target: Option<String>,
    /// How long to wait [default: until it is done]
    #[arg(long, value_name = "SECS")]
    wait: Option<u64>,
}

pub fn run(args: &Args, places: &Places) -> Result<ExitCode, Failure> {
    let mounts = match target::all_or(places, args.target.as_deref()) {
        Ok(mounts) => mounts,
        Err(failure) if failure.status == Status::NotMounted => {
            return match &args.target {
                Some(store) => without_a_mount(store, args.wait, places, failure),
                None => Err(failure),
            };
        }
        Err(failure) => return Err(failure),
    };
    let mut worst = ExitCode::SUCCESS;
    for (mount, below) in mounts {
        let request = Request::Sync {
            path: Some(below).filter(|below| !below.is_empty()),
            wait_ms: args.wait.map(|seconds| seconds.saturating_mul(1000)),
        };
        let answer = ask_with_bar(&mount.socket, &request)?;
        let report = serde_json::from_value(answer).map_err(Failure::new)?;
        let code = super::tell(&mount.mountpoint, &report);
        if code != ExitCode::SUCCESS {
            worst = code;
        }
    }
    Ok(worst)
}

/// Sends what waits for a store that is not mounted: the configuration or the address says how.
fn without_a_mount(store: &str, wait: Option<u64>, places: &Places, unmounted: Failure) -> Result<ExitCode, Failure> {
    let config = Config::load(&places.config)?;
    let source = match Source::parse(store, &config) {
        Ok(source) => source,
        // What looks like a path was probably one.
        Err(_) if Path::new(store).components().count() > 1 => return Err(unmounted),
        Err(failure) => return Err(Failure::with(Status::NotMounted, format!("{unmounted}; {failure}"))),
    };
    let (kind, name) = (source.kind, source.name.clone());
    let plan = Plan {
        credentials: credentials::collect(kind, &name, &source.section, |name| std::env::var(name).ok())?,
        options: MountOptions {
            // Nobody looks, so nobody wants to know what others changed.
            poll: Some(Duration::ZERO),
            ..MountOptions::from_section(&source.section)?
        },
        source,
        mountpoint: std::path::PathBuf::new(),
        places: places.clone(),
    };
    let mut bar = Bar::new();
    let wait = wait.map(Duration::from_secs);
    let sent = super::runtime()?.block_on(offline::send(&plan, wait, |under_way| bar.show(under_way)));
    bar.end();
    let report: SyncReport = sent?;
    Ok(super::tell(Path::new(&name), &report))
}

/// Asks a daemon, and shows meanwhile how far it is.
pub fn ask_with_bar(socket: &Path, request: &Request) -> Result<serde_json::Value, Failure> {
    let mut bar = Bar::new();
    let answer = ask_with_progress(socket, request, |under_way| bar.show(under_way));
    bar.end();
    answer
}

/// How far it is.
struct Bar {
    progress: Progress,
    /// What is done by now has left the list, so the most that was ever to do counts as the whole.
    most: u64,
}

impl Bar {
    /// One that shows nothing yet.
    pub fn new() -> Self {
        Self {
            progress: Progress::of_bytes(),
            most: 0,
        }
    }

    /// Moves it.
    pub fn show(&mut self, under_way: &Answer) {
        match under_way {
            Answer::Progress {
                changes,
                bytes,
                sent_bytes,
            } => {
                let (done, whole) = self.moved(*bytes, *sent_bytes);
                let left = output::count(*changes as usize, "change");
                self.progress.at(done, whole, &left);
            }
            Answer::Fetching {
                files,
                bytes,
                here_bytes,
            } => {
                let left = output::count(*files as usize, "file");
                self.progress.at(*here_bytes, *bytes, &left);
            }
            // These end it.
            Answer::Done { .. } | Answer::Failed { .. } => {}
        }
    }

    fn moved(&mut self, bytes: u64, sent_bytes: u64) -> (u64, u64) {
        let left = bytes.saturating_sub(sent_bytes);
        self.most = self.most.max(left);
        (self.most - left, self.most)
    }

    /// Takes it away.
    pub fn end(self) {
        self.progress.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_never_goes_back_while_files_arrive() {
        let mut bar = Bar::new();
        assert_eq!(bar.moved(100, 0), (0, 100));
        assert_eq!(bar.moved(100, 60), (60, 100));
        assert_eq!(bar.moved(30, 0), (70, 100), "a file of 70 has arrived");
        assert_eq!(bar.moved(0, 0), (100, 100));
        assert_eq!(bar.moved(300, 0), (0, 300), "and more came to be sent");
    }
}

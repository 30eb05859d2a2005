//! `assetfs sync`

use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};

use super::{output, target};
use crate::daemon::Failure;
use crate::daemon::control::{Answer, Request, ask_with_progress};
use crate::daemon::places::Places;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A path in a mount, or a store [default: all mounts]
    #[arg(value_name = "PATH|STORE")]
    target: Option<String>,
    /// How long to wait
    #[arg(long, value_name = "SECS")]
    wait: Option<u64>,
}

pub fn run(args: &Args, places: &Places) -> Result<ExitCode, Failure> {
    let mut worst = ExitCode::SUCCESS;
    for (mount, below) in target::all_or(places, args.target.as_deref())? {
        let request = Request::Sync {
            path: Some(below).filter(|below| !below.is_empty()),
            wait_ms: args.wait.map(|seconds| seconds.saturating_mul(1000)),
        };
        let bar = bar();
        let answer = ask_with_progress(&mount.socket, &request, |under_way| show(&bar, under_way));
        bar.finish_and_clear();
        let report = serde_json::from_value(answer?).map_err(Failure::new)?;
        let code = super::tell(&mount.mountpoint, &report);
        if code != ExitCode::SUCCESS {
            worst = code;
        }
    }
    Ok(worst)
}

fn bar() -> ProgressBar {
    if !output::is_watched() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {msg}") {
        bar.set_style(style);
    }
    bar
}

fn show(bar: &ProgressBar, under_way: &Answer) {
    if let Answer::Progress {
        changes,
        bytes,
        sent_bytes,
    } = under_way
    {
        bar.set_length(*bytes);
        bar.set_position(*sent_bytes);
        bar.set_message(output::count(*changes as usize, "change"));
    }
}

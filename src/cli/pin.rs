//! `assetfs pin`, `assetfs unpin`

use std::process::ExitCode;

use super::{assets, output};
use crate::daemon::control::AssetRequest;
use crate::daemon::places::Places;
use crate::daemon::{Failure, Status, registry};
use crate::vfs::PinReport;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A file in a mount, or a folder with everything in it
    path: String,
}

/// Keeps files on this machine, or no longer.
pub fn run(args: &Args, keep: bool, places: &Places) -> Result<ExitCode, Failure> {
    let (mount, path) = registry::find(&places.run, &args.path)?;
    let report: PinReport = assets::ask_with_bar(&mount, AssetRequest::Pin { path, keep })?;
    for problem in &report.problems {
        output::say(problem);
    }
    output::line(summary(&report, keep))?;
    Ok(match report.failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(Status::Failed.code()),
    })
}

fn summary(report: &PinReport, keep: bool) -> String {
    let files = output::count(report.files, "file");
    let what = if keep {
        "kept on this machine"
    } else {
        "no longer kept for good"
    };
    let failed = match report.failed {
        0 => String::new(),
        failed => format!("; {failed} failed"),
    };
    let gone = match report.gone {
        0 => String::new(),
        1 => "; 1 pinned path that is there no more is forgotten".to_owned(),
        gone => format!("; {gone} pinned paths that are there no more are forgotten"),
    };
    format!("{files} ({}) {what}{failed}{gone}", output::size(report.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_what_is_kept_and_what_is_not() {
        let report = PinReport {
            files: 2,
            bytes: 2048,
            failed: 1,
            ..PinReport::default()
        };
        assert_eq!(
            summary(&report, true),
            "2 files (2.0 KiB) kept on this machine; 1 failed"
        );
        let report = PinReport {
            files: 1,
            ..PinReport::default()
        };
        assert_eq!(summary(&report, false), "1 file (0 B) no longer kept for good");
        let report = PinReport {
            gone: 1,
            ..PinReport::default()
        };
        assert_eq!(
            summary(&report, false),
            "0 files (0 B) no longer kept for good; 1 pinned path that is there no more is forgotten"
        );
    }
}

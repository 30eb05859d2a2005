//! Leaving the terminal: the command starts itself once more in the background and waits until the mount answers.
//!
//! A process with threads cannot fork, so nothing is forked: the second process is this program with the same arguments
//! and one variable in its environment. Its standard output is a pipe to the first, over which it sends one line: `ready`,
//! or the failure as JSON. The first then asks the mount for its figures once, so that exit status 0 means usable.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::{Failure, Status};
use crate::disk::free_space;

/// Tells the second process that it is one.
const VARIABLE: &str = "ASSETFS_DETACHED";

/// How long the mount may take to answer its first question.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// How long the second process may take to mount: it may have to wait for an earlier daemon's uploads.
const START_DEADLINE: Duration = Duration::from_secs(180);

/// Whether this process is the one in the background.
pub fn is_detached() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// Starts this program again in the background with `arguments`, and returns when its mount at `mountpoint` answers.
pub fn detach(mountpoint: &Path, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<(), Failure> {
    let start = |e: std::io::Error| Failure::new(format!("cannot start in the background: {e}"));
    let mut child = Command::new(std::env::current_exe().map_err(start)?)
        .args(arguments)
        .env(VARIABLE, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // Not ours: whoever reads our standard error would wait for the daemon's end.
        .stderr(Stdio::null())
        // The terminal's signals are not for it.
        .process_group(0)
        .spawn()
        .map_err(start)?;
    match first_line(&mut child)?.trim() {
        "ready" => answers(mountpoint),
        line => Err(serde_json::from_str(line).unwrap_or_else(|_| {
            Failure::new("the daemon ended before the mount was ready; `assetfs mount -f` shows why")
        })),
    }
}

/// Reads what the second process says; nothing when it died without a word.
fn first_line(child: &mut Child) -> Result<String, Failure> {
    let Some(output) = child.stdout.take() else {
        return Err(Failure::new("the daemon has no output"));
    };
    let (sender, line) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        if BufReader::new(output).read_line(&mut line).is_ok() && sender.send(line).is_err() {
            tracing::debug!("the daemon spoke too late");
        }
    });
    line.recv_timeout(START_DEADLINE).map_err(|_| {
        Failure::with(
            Status::TimedOut,
            "the daemon does not come up; `assetfs mount -f` shows why",
        )
    })
}

/// Asks the mount for its figures.
fn answers(mountpoint: &Path) -> Result<(), Failure> {
    let (sender, answered) = mpsc::channel();
    let path = mountpoint.to_owned();
    std::thread::spawn(move || {
        if sender.send(free_space(&path)).is_err() {
            tracing::debug!("the mount answered too late");
        }
    });
    match answered.recv_timeout(ANSWER_DEADLINE) {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(Failure::new(format!("the mount does not answer: {error}"))),
        Err(_) => Err(Failure::with(Status::TimedOut, "the mount does not answer")),
    }
}

/// Tells the first process how it went; without one, nobody.
pub fn report(outcome: Result<(), &Failure>) {
    if !is_detached() {
        return;
    }
    let line = match outcome {
        Ok(()) => "ready".to_owned(),
        Err(failure) => serde_json::to_string(failure).unwrap_or_default(),
    };
    let mut output = std::io::stdout().lock();
    if writeln!(output, "{line}").and_then(|()| output.flush()).is_err() {
        tracing::debug!("who started the mount has gone");
    }
}

//! The commands' end of the socket. Blocking: a command does one thing.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;

use super::protocol::{Answer, LINE_BYTES_MAX, Request};
use crate::daemon::{Failure, Status};

/// Asks, and waits for the result.
pub fn ask(socket: &Path, request: &Request) -> Result<Value, Failure> {
    ask_with_progress(socket, request, |_| {})
}

/// Asks, and shows what is under way while it waits.
pub fn ask_with_progress(
    socket: &Path,
    request: &Request,
    mut progress: impl FnMut(&Answer),
) -> Result<Value, Failure> {
    let lost = |e: &dyn std::fmt::Display| Failure::new(format!("the daemon does not answer: {e}"));
    let mut stream = UnixStream::connect(socket).map_err(|e| {
        Failure::with(
            Status::NotMounted,
            format!("the daemon behind {} cannot be reached: {e}", socket.display()),
        )
    })?;
    let mut line = serde_json::to_vec(request).map_err(|e| lost(&e))?;
    line.push(b'\n');
    if line.len() as u64 > LINE_BYTES_MAX {
        return Err(Failure::new(format!(
            "that is more than {} MiB at once",
            LINE_BYTES_MAX >> 20
        )));
    }
    stream.write_all(&line).map_err(|e| lost(&e))?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        let read = (&mut reader)
            .take(LINE_BYTES_MAX * 64)
            .read_line(&mut line)
            .map_err(|e| lost(&e))?;
        if read == 0 {
            return Err(lost(
                &"it closed the connection; `assetfs status` tells whether it still runs",
            ));
        }
        match serde_json::from_str(&line).map_err(|e| lost(&e))? {
            Answer::Done { value } => return Ok(value),
            Answer::Failed { status, message } => return Err(Failure::with(status, message)),
            under_way @ (Answer::Progress { .. } | Answer::Fetching { .. }) => progress(&under_way),
        }
    }
}

//! What the other users of this machine have not in their stores yet, for root: before the program is taken away.

use std::collections::HashSet;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::daemon::Failure;
use crate::daemon::places::is_root;
use crate::fuse::mounts;

/// How long one user's daemons may take to answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// A user who may have mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
struct User {
    name: String,
    uid: u32,
    gid: u32,
    home: PathBuf,
}

/// A line for each store of another user with changes that it does not have yet.
///
/// Each user is asked by this program as that user: nobody's files are opened, and nobody's links followed, as root.
pub fn kept() -> Result<Vec<String>, Failure> {
    if !is_root() {
        return Err(Failure::usage("only root may look at everybody's changes"));
    }
    let owners: HashSet<u32> = mounts::all()
        .map_err(Failure::new)?
        .iter()
        .filter(|mounted| mounted.is_ours())
        .filter_map(|mounted| mounted.user)
        .collect();
    let mut lines = Vec::new();
    for user in users()? {
        // Where the state lies unless the user has moved it.
        let has_state = user.home.join(".local/state/assetfs").is_dir();
        if user.uid != 0 && (has_state || owners.contains(&user.uid)) {
            lines.extend(told(&user.name, ask(&user)));
        }
    }
    Ok(lines)
}

/// Everybody whom the system can list.
fn users() -> Result<Vec<User>, Failure> {
    let listed = Command::new("getent").arg("passwd").stdin(Stdio::null()).output();
    let text = match listed {
        Ok(output) if output.status.success() => output.stdout,
        Ok(_) | Err(_) => std::fs::read("/etc/passwd").map_err(|e| Failure::new(format!("/etc/passwd: {e}")))?,
    };
    Ok(String::from_utf8_lossy(&text).lines().filter_map(user).collect())
}

/// A line of passwd(5).
fn user(line: &str) -> Option<User> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, gid, _, home, ..] = fields[..] else {
        return None;
    };
    Some(User {
        name: name.to_owned(),
        uid: uid.parse().ok()?,
        gid: gid.parse().ok()?,
        home: PathBuf::from(home),
    })
}

fn ask(user: &User) -> std::io::Result<Option<Output>> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["queue", "--kept"])
        .env_clear()
        .env("HOME", &user.home)
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .uid(user.uid)
        .gid(user.gid)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let session = PathBuf::from(format!("/run/user/{}", user.uid));
    if session.is_dir() {
        command.env("XDG_RUNTIME_DIR", session);
    }
    let mut child = command.spawn()?;
    let since = Instant::now();
    while child.try_wait()?.is_none() {
        if since.elapsed() > ANSWER_DEADLINE {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().map(Some)
}

/// What an answer says. One that cannot be had is told too: unknown is not nothing.
fn told(name: &str, answer: std::io::Result<Option<Output>>) -> Vec<String> {
    match answer {
        Ok(Some(output)) => {
            let printed = String::from_utf8_lossy(&output.stdout);
            let mut lines: Vec<String> = printed.lines().map(|line| format!("{name}: {line}")).collect();
            if lines.is_empty() && !output.status.success() {
                let why = String::from_utf8_lossy(&output.stderr);
                let why = why.trim();
                lines.push(format!("{name}: cannot be told: {why} ({})", output.status));
            }
            lines
        }
        Ok(None) => vec![format!("{name}: cannot be told: no answer")],
        Err(error) => vec![format!("{name}: cannot be told: {error}")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_read_as_the_system_lists_them() {
        let ada = user("ada:x:1001:1002:Ada,,,:/home/ada:/bin/bash").expect("a user");
        assert_eq!((ada.name.as_str(), ada.uid, ada.gid), ("ada", 1001, 1002));
        assert_eq!(ada.home, PathBuf::from("/home/ada"));
        assert_eq!(user("+::::::"), None);
        assert_eq!(user(""), None);
    }

    #[test]
    fn who_cannot_be_asked_is_told() {
        let failed = told("ada", Err(std::io::ErrorKind::PermissionDenied.into()));
        assert_eq!(failed, ["ada: cannot be told: permission denied"]);
        assert_eq!(told("ada", Ok(None)), ["ada: cannot be told: no answer"]);
    }
}

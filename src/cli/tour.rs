//! `assetfs demo --tour`: one minute that shows what the drive does, with real commands on a real mount.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use super::builtin::BuiltIn;
use super::output;
use crate::daemon::control::{Request, ask};
use crate::daemon::credentials::secrets_of;
use crate::daemon::registry::{self, MountRecord};
use crate::daemon::source::StoreKind;
use crate::daemon::{Failure, registry::is_gone};

/// Between two steps, where somebody reads along.
const PACE: Duration = Duration::from_millis(2500);

/// How long a daemon that was killed or unmounted may take to be gone.
const DEATH_DEADLINE: Duration = Duration::from_secs(60);

/// Lines that a command shows at most.
const LINES_MAX: usize = 14;

/// What is shown where.
pub struct Tour<'a> {
    server: &'a BuiltIn,
    place: &'a Path,
    /// Folder for everything that the mount keeps.
    scratch: &'a Path,
    pace: Duration,
}

impl<'a> Tour<'a> {
    /// A tour of `server` at `place`, in step with a reader if there is one.
    pub fn new(server: &'a BuiltIn, place: &'a Path, scratch: &'a Path) -> Self {
        Self {
            server,
            place,
            scratch,
            pace: if output::is_read_by_a_person() {
                PACE
            } else {
                Duration::ZERO
            },
        }
    }

    /// Shows everything, and takes the mount away again whatever happens.
    pub fn run(&self) -> Result<ExitCode, Failure> {
        let outcome = self.steps();
        let daemon = self.record();
        let unmounted = self.sh(&format!("assetfs unmount --lazy {} 2>&1", quoted(self.place)), true);
        // It writes into the folder that is about to go until its last moment.
        let ended = daemon.and_then(|daemon| self.until_dead(daemon.pid));
        outcome.and(unmounted.map(drop)).and(ended)?;
        Ok(ExitCode::SUCCESS)
    }

    fn steps(&self) -> Result<(), Failure> {
        let kind = self.server.kind();
        let place = quoted(self.place);
        let mount = format!("assetfs mount {kind}+{} {place} -o quiet=1s", self.server.url());
        self.say(&format!(
            "A server that speaks the API of {} runs on this machine. It becomes a drive:",
            label(kind)
        ))?;
        self.show(&mount)?;
        self.show(&format!("ls -R {place}"))?;
        let listed = self.requests()?;
        self.say(&format!(
            "That cost {}. A second look costs none:",
            output::count(listed, "request")
        ))?;
        self.show(&format!("ls -lR {place} | wc -l"))?;
        self.say(&format!("{} so far.", output::count(self.requests()?, "request")))?;

        let file = self.some_text()?;
        let shown = quoted(&file);
        self.say("A file is fetched when somebody reads it:")?;
        self.show(&format!("head -c 60 {shown}; echo"))?;
        self.say(&format!(
            "An editor saves by writing another file and renaming it. In the store that is {}:",
            saved(kind)
        ))?;
        self.show(&format!("sed -i '1s/^/Edited. /' {shown}"))?;
        self.show("assetfs queue")?;
        self.say("The save is safe on this machine from the moment the editor is done. Now it is also in the store:")?;
        self.show("assetfs sync && assetfs queue")?;
        self.say("Metadata are attributes, for programs and for people:")?;
        let (field, value) = field(kind);
        self.show(&format!("assetfs meta {shown} --set '{field}={value}'"))?;
        self.show(&format!("assetfs meta {shown} | grep -i '{field}'"))?;

        self.say("And now a disaster. A save, and the daemon is killed before it could upload anything:")?;
        let pid = self.record()?.pid;
        self.show(&format!("sed -i '1s/^/Twice. /' {shown} && kill -9 {pid}"))?;
        self.until_dead(pid)?;
        self.show(&format!("ls {place} 2>&1"))?;
        self.say("Mounted again, the save is there, and goes on to the store by itself:")?;
        self.show(&mount)?;
        self.show(&format!("head -c 60 {shown}; echo"))?;
        self.show("assetfs sync && assetfs queue && echo everything is in the store")?;
        self.say(&format!(
            "This mount has sent {} since. `scripts/demo` without --tour leaves the drive to you.",
            output::count(self.requests()?, "request")
        ))
    }

    fn say(&self, text: &str) -> Result<(), Failure> {
        std::thread::sleep(self.pace);
        output::line(format_args!("\n# {text}"))
    }

    /// Shows a command and what it prints. It must succeed.
    fn show(&self, script: &str) -> Result<(), Failure> {
        output::line(format_args!("$ {script}"))?;
        std::thread::sleep(self.pace / 4);
        // Shown in full, and looked at through a window.
        let printed = self.sh(script, script.contains("2>&1"))?;
        let lines: Vec<&str> = printed.lines().collect();
        for line in lines.iter().take(LINES_MAX) {
            output::line(line)?;
        }
        if lines.len() > LINES_MAX {
            output::line(format_args!("… {} more lines", lines.len() - LINES_MAX))?;
        }
        Ok(())
    }

    fn sh(&self, script: &str, may_fail: bool) -> Result<String, Failure> {
        let about = |e: std::io::Error| Failure::new(format!("`{script}` cannot be run: {e}"));
        let own = std::env::current_exe().map_err(about)?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = own
            .parent()
            .map(PathBuf::from)
            .into_iter()
            .chain(std::env::split_paths(&path));
        let mut command = Command::new("sh");
        command
            .args(["-c", script])
            .env("PATH", std::env::join_paths(folders).map_err(Failure::new)?)
            .env("ASSETFS_CONFIG", self.scratch.join("config.toml"))
            .env("ASSETFS_CACHE_DIR", self.scratch.join("cache"))
            .env("ASSETFS_STATE_DIR", self.scratch.join("state"))
            .env("ASSETFS_RUNTIME_DIR", self.run_dir())
            .current_dir(self.scratch)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit());
        let secrets = self.server.secrets();
        for name in secrets_of(self.server.kind()) {
            if let Some((_, value)) = secrets.iter().find(|(key, _)| *key == name.key) {
                command.env(name.variable, value);
            }
        }
        let output = command.output().map_err(about)?;
        if !output.status.success() && !may_fail {
            return Err(Failure::new(format!("`{script}` failed: {}", output.status)));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn run_dir(&self) -> PathBuf {
        self.scratch.join("run")
    }

    fn record(&self) -> Result<MountRecord, Failure> {
        registry::all(&self.run_dir())?
            .pop()
            .ok_or_else(|| Failure::new("the mount of the tour is gone"))
    }

    /// Requests that the mount has sent.
    fn requests(&self) -> Result<usize, Failure> {
        let status = ask(&self.record()?.socket, &Request::Status { path: None })?;
        let sent = status["http"]["requests"].as_u64().unwrap_or_default();
        usize::try_from(sent).map_err(Failure::new)
    }

    /// A text in the library that can be edited: the first one by name.
    fn some_text(&self) -> Result<PathBuf, Failure> {
        let found = self.sh(
            &format!("find {} -name '*.txt' -size +0 | LC_ALL=C sort", quoted(self.place)),
            false,
        )?;
        let first = found.lines().next().map(PathBuf::from);
        first.ok_or_else(|| Failure::new("the built-in library holds no text"))
    }

    /// Waits until a daemon is gone.
    fn until_dead(&self, pid: u32) -> Result<(), Failure> {
        let step = Duration::from_millis(20);
        let mut waited = Duration::ZERO;
        while !is_gone(pid) {
            if waited > DEATH_DEADLINE {
                return Err(Failure::new(format!("process {pid} does not end")));
            }
            std::thread::sleep(step);
            waited += step;
        }
        Ok(())
    }
}

/// What people call it.
fn label(kind: StoreKind) -> &'static str {
    match kind {
        StoreKind::ImageRelay => "Image Relay",
        StoreKind::Omeka => "Omeka Classic",
        StoreKind::Flextype => "Flextype",
        StoreKind::Im4 => "im4",
    }
}

/// What an overwrite is in such a store.
fn saved(kind: StoreKind) -> &'static str {
    match kind {
        StoreKind::ImageRelay => "a new version of the same asset",
        StoreKind::Flextype => "the same file, with its fields",
        StoreKind::Omeka | StoreKind::Im4 => "one file as before, with its metadata; it has no versions",
    }
}

/// A field that every file of such a store has, and something for it.
fn field(kind: StoreKind) -> (&'static str, &'static str) {
    match kind {
        StoreKind::ImageRelay => ("term.Credit", "Ada Lovelace"),
        StoreKind::Omeka => ("Dublin Core.Creator", "Ada Lovelace"),
        StoreKind::Flextype => ("title", "As Ada wrote it"),
        StoreKind::Im4 => ("caption", "As Ada wrote it"),
    }
}

/// A path as one word of a shell.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.');
    if text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word() {
        assert_eq!(quoted(Path::new("/tmp/a-b_c.txt")), "/tmp/a-b_c.txt");
        assert_eq!(quoted(Path::new("/tmp/Bob's notes")), r"'/tmp/Bob'\''s notes'");
    }
}

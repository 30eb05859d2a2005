//! A built-in server, a mount of it by the real program, and the tools of the system.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use assetfs::emulator::common::Counters;
use assetfs::emulator::imagerelay::{self, ImageRelayOptions, Running, Seed};
use tempfile::TempDir;

/// How long any command may take: a mount that hangs must fail a test, not the machine.
const COMMAND_DEADLINE: Duration = Duration::from_secs(120);

/// How long a mount may take to come up.
const MOUNT_DEADLINE: Duration = Duration::from_secs(30);

/// What most tests mount with: as fast as the server goes, and nothing in the background that would be counted.
pub const QUICK: &str = "rate=0,poll=0,quiet=200ms,quiet_empty=200ms";

/// The folders of a mount, its configuration and its mountpoint among them.
#[derive(Clone)]
pub struct Place(PathBuf);

impl Place {
    /// A folder beside the mount.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn mountpoint(&self) -> PathBuf {
        self.path("mnt")
    }

    /// The program with these folders, and the key of a built-in server.
    pub fn assetfs(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_assetfs"));
        command
            .env("ASSETFS_CONFIG", self.path("config.toml"))
            .env("ASSETFS_CACHE_DIR", self.path("cache"))
            .env("ASSETFS_STATE_DIR", self.path("state"))
            .env("ASSETFS_RUNTIME_DIR", self.path("run"))
            .env("ASSETFS_API_KEY", "emulator")
            .stdin(Stdio::null());
        command
    }

    fn is_mounted(&self) -> bool {
        let mountpoint = format!(" {} ", self.mountpoint().display());
        std::fs::read_to_string("/proc/self/mountinfo").is_ok_and(|mounts| mounts.contains(&mountpoint))
    }
}

/// A server, and the folders for mounts of it.
pub struct World {
    runtime: tokio::runtime::Runtime,
    server: Option<Running>,
    place: Place,
    _dir: TempDir,
}

impl std::ops::Deref for World {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

impl World {
    /// A server with this library.
    pub fn new(seed: Seed) -> Self {
        Self::with(ImageRelayOptions {
            seed,
            ..ImageRelayOptions::default()
        })
    }

    /// A server as described.
    pub fn with(options: ImageRelayOptions) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let server = runtime.block_on(imagerelay::serve(options)).expect("a server");
        let dir = tempfile::Builder::new()
            .prefix("assetfs-test-")
            .tempdir()
            .expect("a folder");
        let place = Place(dir.path().to_owned());
        std::fs::create_dir(place.mountpoint()).expect("a mountpoint");
        Self {
            runtime,
            server: Some(server),
            place,
            _dir: dir,
        }
    }

    pub fn server(&self) -> &Running {
        self.server.as_ref().expect("the server runs")
    }

    /// Ends the server: nobody listens from then on.
    pub fn stop_server(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.shutdown());
        }
    }

    pub fn counters(&self) -> Counters {
        self.server().counters()
    }

    pub fn source(&self) -> String {
        format!("imagerelay+{}", self.server().url)
    }

    /// Mounts with these options, and waits until the mount answers.
    pub fn mount(&self, options: &str) -> Mount {
        let mut command = self.assetfs();
        command
            .arg("mount")
            .arg(self.source())
            .arg(self.mountpoint())
            .args(["-o", options]);
        let output = finish(command, MOUNT_DEADLINE);
        assert!(output.status.success(), "mount: {}", text(&output));
        Mount(self.place.clone())
    }

    /// What the server counted while `work` ran, up to the last upload.
    pub fn requests(&self, mount: &Mount, work: impl FnOnce()) -> Counters {
        mount.sync();
        self.server().reset_counters();
        work();
        mount.sync();
        self.counters()
    }
}

/// A mount; taken away when dropped, whatever happened.
pub struct Mount(Place);

impl Mount {
    pub fn path(&self) -> PathBuf {
        self.0.mountpoint()
    }

    /// A path in the mount.
    pub fn at(&self, below: &str) -> PathBuf {
        self.path().join(below)
    }

    /// Waits until everything is in the store.
    pub fn sync(&self) {
        let output = self.run(&["sync", "--wait", "60"]);
        assert!(output.status.success(), "sync: {}", text(&output));
    }

    /// Runs a command of the program about this mount.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.0.assetfs();
        command.args(arguments);
        finish(command, COMMAND_DEADLINE)
    }

    /// Takes the mount away in order.
    pub fn unmount(self) {
        let mountpoint = self.path();
        let output = self.run(&["unmount", "--wait", "60", mountpoint.to_str().expect("UTF-8")]);
        assert!(output.status.success(), "unmount: {}", text(&output));
    }

    /// The daemon dies without a word, as in a crash.
    pub fn kill_daemon(&self) {
        let output = self.run(&["status", "--json"]);
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        shell(&self.0.path("."), &format!("kill -9 {}", status["mounts"][0]["pid"]));
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if !self.0.is_mounted() {
            return;
        }
        let mut polite = self.0.assetfs();
        polite.args(["unmount", "--wait", "5"]).arg(self.path());
        finish(polite, Duration::from_secs(60));
        if self.0.is_mounted() {
            let mut rude = Command::new("fusermount3");
            rude.args(["-u", "-z"]).arg(self.path());
            finish(rude, Duration::from_secs(20));
        }
    }
}

/// Runs a command to its end, or kills it at the deadline.
pub fn finish(mut command: Command, deadline: Duration) -> Output {
    let shown = format!("{command:?}");
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{shown}: {e}"));
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let stdout = std::thread::spawn(move || read(stdout));
    let stderr = std::thread::spawn(move || read(stderr));
    let since = Instant::now();
    let status: ExitStatus = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        if since.elapsed() > deadline {
            child.kill().expect("a child");
            panic!("{shown} did not end within {deadline:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    Output {
        status,
        stdout: stdout.join().expect("a reader"),
        stderr: stderr.join().expect("a reader"),
    }
}

fn read(from: Option<impl std::io::Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut from) = from {
        from.read_to_end(&mut bytes).expect("readable output");
    }
    bytes
}

/// Runs a script in `folder`, which must succeed; answers what it printed.
pub fn shell(folder: &Path, script: &str) -> String {
    let output = try_shell(folder, script);
    assert!(output.status.success(), "{script}\n{}", text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The same, which may fail.
pub fn try_shell(folder: &Path, script: &str) -> Output {
    let mut command = Command::new("bash");
    command
        .args(["-euo", "pipefail", "-c", script])
        .current_dir(folder)
        .stdin(Stdio::null());
    finish(command, COMMAND_DEADLINE)
}

/// Everything that a command printed.
pub fn text(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

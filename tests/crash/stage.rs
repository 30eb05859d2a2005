//! A server, a daemon that can be killed, and the folders that outlive it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use assetfs::emulator::imagerelay::{self, ImageRelayOptions, Running, Seed};
use parking_lot::Mutex;

use crate::work::{Stored, Wanted, text};

/// How long the mount may take to come up.
const MOUNT_DEADLINE: Duration = Duration::from_secs(30);
/// How long any command may take.
const COMMAND_DEADLINE: Duration = Duration::from_secs(400);
/// How long everything may take to be sent, in seconds: what may have been made by a request that was never answered is
/// looked for until a listing is older than the store's lag, and only then made again.
const SYNC_SECS: &str = "360";
/// How long the server may work on what it was sent.
const QUEUE_DEADLINE: Duration = Duration::from_secs(15);
/// Nothing in the background that would be counted, and uploads that begin while the work goes on.
const OPTIONS: &str = "rate=0,poll=0,quiet=200ms,quiet_empty=200ms";

pub struct Stage {
    runtime: tokio::runtime::Runtime,
    pub server: Running,
    dir: tempfile::TempDir,
    /// Where the cache and the state are.
    places: PathBuf,
}

/// A daemon in the foreground; killed and taken away when dropped.
pub struct Daemon<'a> {
    pid: u32,
    /// Killed from another thread, too.
    child: Mutex<Child>,
    pub stage: &'a Stage,
}

impl Stage {
    /// With these files in the library, in a folder that the work is done in.
    pub fn new(files: &[&str]) -> (Self, Wanted) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let options = ImageRelayOptions {
            seed: Seed::None,
            ..ImageRelayOptions::default()
        };
        let server = runtime.block_on(imagerelay::serve(options)).expect("a server");
        let remote = server.remote();
        let folder = remote.create_folder(remote.root(), "work").expect("a folder");
        remote.create_folder(folder, "sub").expect("a folder");
        let mut wanted = Wanted::new();
        for (seed, name) in files.iter().enumerate() {
            let bytes = text(seed as u8 + 10, 1000);
            let id = remote.create_file(folder, name, bytes.clone()).expect("a file");
            wanted.insert((*name).to_owned(), (bytes, Some(id)));
        }
        let dir = tempfile::Builder::new()
            .prefix("assetfs-crash-")
            .tempdir()
            .expect("a folder");
        std::fs::create_dir(dir.path().join("mnt")).expect("a mountpoint");
        let places = dir.path().to_owned();
        let stage = Self {
            runtime,
            server,
            dir,
            places,
        };
        (stage, wanted)
    }

    /// Puts the cache and the state into another folder.
    pub fn keep_in(&mut self, places: &Path) {
        self.places = places.to_owned();
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn work_folder(&self) -> PathBuf {
        self.mountpoint().join("work")
    }

    pub fn shut_down(self) {
        self.runtime.block_on(self.server.shutdown());
    }

    pub fn mountpoint(&self) -> PathBuf {
        self.dir.path().join("mnt")
    }

    pub fn assetfs(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_assetfs"));
        command
            .env("ASSETFS_CONFIG", self.dir.path().join("config.toml"))
            .env("ASSETFS_CACHE_DIR", self.places.join("cache"))
            .env("ASSETFS_STATE_DIR", self.places.join("state"))
            .env("ASSETFS_RUNTIME_DIR", self.dir.path().join("run"))
            .env("ASSETFS_API_KEY", "emulator")
            .stdin(Stdio::null());
        command
    }

    fn is_mounted(&self) -> bool {
        let mountpoint = format!(" {} ", self.mountpoint().display());
        std::fs::read_to_string("/proc/self/mountinfo").is_ok_and(|mounts| mounts.contains(&mountpoint))
    }

    pub fn mount(&self) -> Daemon<'_> {
        let daemon = self.start();
        let since = Instant::now();
        // The kernel knows the mount a moment before commands find it.
        while !self.log().contains("is mounted at") {
            assert!(since.elapsed() < MOUNT_DEADLINE, "no mount: {}", self.log());
            assert!(
                daemon.child.lock().try_wait().expect("a child").is_none(),
                "ended: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        daemon
    }

    /// Starts a daemon that may not come to its mount.
    pub fn start(&self) -> Daemon<'_> {
        let log = std::fs::File::create(self.dir.path().join("daemon.log")).expect("a log");
        let mut command = self.assetfs();
        command
            .args(["mount", "-f", "-o", OPTIONS])
            .arg(format!("imagerelay+{}", self.server.url))
            .arg(self.mountpoint())
            .stdout(Stdio::null())
            .stderr(log);
        let child = command.spawn().expect("the program");
        Daemon {
            pid: child.id(),
            child: Mutex::new(child),
            stage: self,
        }
    }

    /// What the journal's log and the staged bodies look like at the moment.
    pub fn traces(&self) -> Vec<(PathBuf, u64)> {
        let mut found = Vec::new();
        let mut folders = vec![self.places.join("state")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.metadata() {
                    Ok(data) if data.is_dir() => folders.push(entry.path()),
                    Ok(data) => found.push((entry.path(), data.len())),
                    Err(_) => {}
                }
            }
        }
        found.sort();
        found
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("daemon.log")).unwrap_or_default()
    }

    /// Waits until everything is sent. Answers the exit status, and what was said with it.
    pub fn sync(&self) -> (Option<i32>, String) {
        let mut sync = self.assetfs();
        sync.args(["sync", "--wait", SYNC_SECS]);
        let output = finish(sync);
        let said = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
        (output.status.code(), said.concat())
    }

    /// What is stored as soon as nothing is `wrong` with it, or what then still is.
    pub fn stored_at_last<W>(&self, wrong: impl Fn(&Stored) -> Option<W>) -> (Stored, Option<W>) {
        let since = Instant::now();
        loop {
            let stored = self.stored();
            let found = wrong(&stored);
            if found.is_none() || since.elapsed() > QUEUE_DEADLINE {
                return (stored, found);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Everything that the library holds below the folder of the work.
    pub fn stored(&self) -> Stored {
        let remote = self.server.remote();
        let root = remote.tree(false);
        let work = root.folders.iter().find(|f| f.name == "work").expect("the folder");
        let below = work
            .folders
            .iter()
            .flat_map(|f| f.files.iter().map(|file| (format!("{}/", f.name), file)));
        let files = work.files.iter().map(|file| (String::new(), file)).chain(below);
        files
            .map(|(folder, file)| {
                let bytes = remote.bytes(file.id).expect("its bytes");
                (format!("{folder}{}", file.name), bytes.to_vec(), file.id)
            })
            .collect()
    }
}

impl Daemon<'_> {
    /// Kills it and does not wait. No program is started for that: it would have to close this one's files first.
    pub fn strike(&self) {
        self.child.lock().kill().expect("a signal");
    }

    /// Whether it still runs.
    pub fn is_alive(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    }

    /// After [`Daemon::strike`]. In an unlucky moment the system keeps the daemon for a thread that tells of a change, which
    /// waits for whoever waits for the daemon: the program's own `unmount` is the way out.
    pub fn let_go(&self) {
        let since = Instant::now();
        while threads_of(self.pid) > 1 {
            if since.elapsed() > Duration::from_secs(2) {
                let mut unmount = self.stage.assetfs();
                unmount.arg("unmount").arg(self.stage.mountpoint());
                finish(unmount);
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn kill(&self) {
        self.strike();
        self.let_go();
        self.child.lock().wait().expect("a child");
        self.detach();
    }

    fn detach(&self) {
        if self.stage.is_mounted() {
            let mut command = Command::new("fusermount3");
            command.args(["-u", "-z"]).arg(self.stage.mountpoint());
            finish(command);
        }
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        self.child.lock().kill().ok();
        self.let_go();
        self.child.lock().wait().ok();
        self.detach();
    }
}

/// Runs a command to its end, or kills it at the deadline.
pub fn finish(mut command: Command) -> Output {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a command");
    let since = Instant::now();
    while child.try_wait().expect("a child").is_none() {
        if since.elapsed() > COMMAND_DEADLINE {
            child.kill().expect("a child");
            panic!("{command:?} did not end within {COMMAND_DEADLINE:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().expect("its output")
}

fn threads_of(pid: u32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let threads = status.lines().find_map(|line| line.strip_prefix("Threads:"));
    threads.and_then(|n| n.trim().parse().ok()).unwrap_or(0)
}

//! A built-in server of any kind, a mount of it by the real program, and the tools of the system.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use assetfs::emulator::common::{Counters, Faults, Gate};
use assetfs::emulator::imagerelay::{self, ImageRelayOptions, Seed};
use assetfs::emulator::{flextype, im4, omeka};
use tempfile::TempDir;

/// How long any command may take: a mount that hangs must fail a test, not the machine.
const COMMAND_DEADLINE: Duration = Duration::from_secs(120);

/// How long a mount may take to come up.
const MOUNT_DEADLINE: Duration = Duration::from_secs(30);

/// What most tests mount with: as fast as the server goes, and nothing in the background that would be counted.
pub const QUICK: &str = "rate=0,poll=0,quiet=200ms,quiet_empty=200ms";

/// The key that the built-in Image Relay of the tests wants to see: nowhere else does that word occur.
pub const API_KEY: &str = "k3y-0f-the-built-in-image-relay";

/// A built-in server that can be mounted.
pub trait BuiltIn: 'static {
    /// What `assetfs mount` is told.
    fn source(&self) -> String;

    /// Environment variables with what the server wants to see, and their values.
    fn secrets() -> Vec<(&'static str, String)>;

    /// Its counters, log and faults.
    fn gate(&self) -> &Arc<Gate>;

    /// Ends it: nobody listens from then on.
    fn end(self) -> impl Future<Output = ()>;
}

impl BuiltIn for imagerelay::Running {
    fn source(&self) -> String {
        format!("imagerelay+{}", self.url)
    }

    fn secrets() -> Vec<(&'static str, String)> {
        vec![("ASSETFS_API_KEY", API_KEY.to_owned())]
    }

    fn gate(&self) -> &Arc<Gate> {
        self.gate()
    }

    async fn end(self) {
        self.shutdown().await;
    }
}

impl BuiltIn for omeka::Running {
    fn source(&self) -> String {
        format!("omeka+{}", self.api_url())
    }

    fn secrets() -> Vec<(&'static str, String)> {
        vec![("ASSETFS_KEY", omeka::Keys::default().super_user)]
    }

    fn gate(&self) -> &Arc<Gate> {
        self.gate()
    }

    async fn end(self) {
        self.shutdown().await;
    }
}

impl BuiltIn for flextype::Running {
    fn source(&self) -> String {
        format!("flextype+{}", self.base_url())
    }

    fn secrets() -> Vec<(&'static str, String)> {
        vec![
            ("ASSETFS_FILES_TOKEN", flextype::FILES_TOKEN.to_owned()),
            ("ASSETFS_FOLDERS_TOKEN", flextype::FOLDERS_TOKEN.to_owned()),
            ("ASSETFS_ACCESS_TOKEN", flextype::ACCESS_TOKEN.to_owned()),
        ]
    }

    fn gate(&self) -> &Arc<Gate> {
        self.gate()
    }

    async fn end(self) {
        self.shutdown().await;
    }
}

impl BuiltIn for im4::Running {
    fn source(&self) -> String {
        format!("im4+{}", self.base_url())
    }

    fn secrets() -> Vec<(&'static str, String)> {
        vec![
            ("ASSETFS_CLIENT_ID", im4::CLIENT_ID.to_owned()),
            ("ASSETFS_CLIENT_SECRET", im4::CLIENT_SECRET.to_owned()),
        ]
    }

    fn gate(&self) -> &Arc<Gate> {
        self.gate()
    }

    async fn end(self) {
        self.shutdown().await;
    }
}

/// The folders of a mount, its configuration and its mountpoint among them, and the credentials for it.
#[derive(Clone)]
pub struct Place {
    folder: PathBuf,
    secrets: Vec<(&'static str, String)>,
}

impl Place {
    /// A folder beside the mount.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub fn mountpoint(&self) -> PathBuf {
        self.path("mnt")
    }

    /// The program with these folders, and what the built-in server wants to see.
    pub fn assetfs(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_assetfs"));
        command
            .env("ASSETFS_CONFIG", self.path("config.toml"))
            .env("ASSETFS_CACHE_DIR", self.path("cache"))
            .env("ASSETFS_STATE_DIR", self.path("state"))
            .env("ASSETFS_RUNTIME_DIR", self.path("run"))
            // Neither the desktop nor the journal of who runs the tests is to hear of them.
            .env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent")
            .env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent")
            .env("ASSETFS_JOURNAL_SOCKET", "")
            .env_remove("NOTIFY_SOCKET")
            .env_remove("JOURNAL_STREAM")
            .env("XDG_CACHE_HOME", self.path("xdg-cache"))
            .envs(self.secrets.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    fn is_mounted(&self) -> bool {
        let mountpoint = format!(" {} ", self.mountpoint().display());
        std::fs::read_to_string("/proc/self/mountinfo").is_ok_and(|mounts| mounts.contains(&mountpoint))
    }
}

/// A server, and the folders for mounts of it.
pub struct World<S: BuiltIn = imagerelay::Running> {
    runtime: tokio::runtime::Runtime,
    server: Option<S>,
    place: Place,
    _dir: TempDir,
}

impl<S: BuiltIn> std::ops::Deref for World<S> {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

impl World {
    /// An Image Relay with this library.
    pub fn new(seed: Seed) -> Self {
        Self::with(ImageRelayOptions {
            seed,
            ..ImageRelayOptions::default()
        })
    }

    /// An Image Relay as described.
    pub fn with(mut options: ImageRelayOptions) -> Self {
        if options.api_key == ImageRelayOptions::default().api_key {
            options.api_key = API_KEY.into();
        }
        Self::start(async move { imagerelay::serve(options).await.expect("a server") })
    }
}

impl World<omeka::Running> {
    /// An Omeka Classic with this archive.
    pub fn omeka(seed: omeka::Seed) -> Self {
        Self::omeka_with(omeka::OmekaOptions {
            seed,
            ..omeka::OmekaOptions::default()
        })
    }

    /// An Omeka Classic as described.
    pub fn omeka_with(options: omeka::OmekaOptions) -> Self {
        Self::start(async move { omeka::serve(options).await.expect("a server") })
    }
}

impl World<flextype::Running> {
    /// A Flextype site as described.
    pub fn flextype(options: flextype::FlextypeOptions) -> Self {
        Self::start(async move { flextype::serve(options).await.expect("a server") })
    }
}

impl World<im4::Running> {
    /// An im4 as described.
    pub fn im4(options: im4::Im4Options) -> Self {
        Self::start(async move { im4::serve(options).await.expect("a server") })
    }
}

impl<S: BuiltIn> World<S> {
    /// The server that `serve` starts, and empty folders.
    fn start(serve: impl Future<Output = S>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let server = runtime.block_on(serve);
        let dir = tempfile::Builder::new()
            .prefix("assetfs-test-")
            .tempdir()
            .expect("a folder");
        let place = Place {
            folder: dir.path().to_owned(),
            secrets: S::secrets(),
        };
        std::fs::create_dir(place.mountpoint()).expect("a mountpoint");
        Self {
            runtime,
            server: Some(server),
            place,
            _dir: dir,
        }
    }

    pub fn server(&self) -> &S {
        self.server.as_ref().expect("the server runs")
    }

    /// Runs a future of the server's to its end.
    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Ends the server: nobody listens from then on.
    pub fn stop_server(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.end());
        }
    }

    /// What was asked of the server so far.
    pub fn counters(&self) -> Counters {
        self.server().gate().traffic().counters()
    }

    /// The rules that break answers.
    pub fn faults(&self) -> &Faults {
        self.server().gate().faults()
    }

    pub fn source(&self) -> String {
        self.server().source()
    }

    /// Presents this instead of what the server would accept; `None` presents nothing.
    pub fn present(&mut self, variable: &'static str, value: Option<&str>) {
        self.place.secrets.retain(|(name, _)| *name != variable);
        self.place
            .secrets
            .extend(value.map(|value| (variable, value.to_owned())));
    }

    /// Mounts with these options, and waits until the mount answers.
    pub fn mount(&self, options: &str) -> Mount {
        self.mount_source(&self.source(), options)
    }

    /// The same for a source that the configuration names, or a folder of it.
    pub fn mount_source(&self, source: &str, options: &str) -> Mount {
        let mut command = self.assetfs();
        command
            .arg("mount")
            .arg(source)
            .arg(self.mountpoint())
            .args(["-o", options]);
        let output = finish(command, MOUNT_DEADLINE);
        assert!(output.status.success(), "mount: {}", text(&output));
        Mount(self.place.clone())
    }

    /// Mounts with options that are refused, or a server that is; answers what the program said.
    pub fn mount_fails(&self, options: &str) -> Output {
        let mut command = self.assetfs();
        command
            .arg("mount")
            .arg(self.source())
            .arg(self.mountpoint())
            .args(["-o", options]);
        let output = finish(command, MOUNT_DEADLINE);
        assert!(!output.status.success(), "it must not mount: {}", text(&output));
        output
    }

    /// What the server counted while `work` ran, whatever is still to be sent.
    pub fn requests_meanwhile(&self, work: impl FnOnce()) -> Counters {
        self.server().gate().traffic().reset();
        work();
        self.counters()
    }

    /// What the server counted while `work` ran, up to the last upload.
    pub fn requests(&self, mount: &Mount, work: impl FnOnce()) -> Counters {
        mount.sync();
        self.server().gate().traffic().reset();
        work();
        mount.sync();
        self.counters()
    }
}

impl<S: BuiltIn> Drop for World<S> {
    /// Nothing that any test has let the program write may hold a secret: journals, catalogs, logs, records of mounts, bodies.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        for (name, secret) in S::secrets()
            .into_iter()
            .filter(|(name, _)| *name != "ASSETFS_CLIENT_ID")
        {
            let script = format!(
                "grep -rlaF -- '{secret}' state cache run xdg-cache home/.local home/.cache 2> /dev/null || true"
            );
            assert_eq!(shell(&self.path("."), &script), "", "{name} is in there");
        }
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
        shell(&self.0.path("."), &format!("kill -9 {}", self.daemon()));
    }

    /// The daemon's process.
    pub fn daemon(&self) -> u64 {
        let output = self.run(&["status", "--json"]);
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        status["mounts"][0]["pid"].as_u64().expect("a number")
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

/// Runs `script` in the mount, which must fail and say `reason`.
pub fn fails(mount: &Mount, script: &str, reason: &str) {
    let output = try_shell(&mount.path(), script);
    let told = text(&output);
    assert!(!output.status.success(), "{script} must fail: {told}");
    assert!(told.contains(reason), "{script}: {told}");
}

/// Waits for something that must come true; how long it takes is not measured.
pub fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < COMMAND_DEADLINE, "it does not happen: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
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

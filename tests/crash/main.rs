//! The daemon is killed in the middle of its work, mounted again, and everything whose `close` returned 0 is in the store:
//! byte for byte, once, and as the asset that it was.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use assetfs::emulator::imagerelay::{self, ImageRelayOptions, Item, Running, Seed};

/// Points in an ordinary run, which stays under a minute.
const POINTS: usize = 40;
/// Points when everything is to be tested.
const POINTS_FULL: usize = 400;
/// Daemons that work and die at the same time: each waits for most of its life.
const SIDE_BY_SIDE: usize = 6;
/// How long the mount may take to come up.
const MOUNT_DEADLINE: Duration = Duration::from_secs(30);
/// How long any command may take.
const COMMAND_DEADLINE: Duration = Duration::from_secs(90);
/// Nothing in the background that would be counted, and uploads that begin while the work goes on.
const OPTIONS: &str = "rate=0,poll=0,quiet=200ms,quiet_empty=200ms";
/// Longer than the quiet time: uploads begin while the work goes on.
const PAUSE: Duration = Duration::from_millis(350);
/// How long the server may work on what it was sent.
const QUEUE_DEADLINE: Duration = Duration::from_secs(15);

/// When the daemon is killed.
#[derive(Clone, Copy, Debug)]
enum Point {
    /// Not at all.
    Never,
    /// When the server has seen so many requests.
    Request(u64),
    /// When the journal and the folder of the staged bodies have changed so often, as far as that can be watched.
    Disk(u64),
    /// After so many operations.
    Operation(usize),
}

/// One operation that a program sees as done or failed.
#[derive(Clone, Debug)]
enum Act {
    Save(&'static str, Vec<u8>),
    Rename(&'static str, &'static str),
    Unlink(&'static str),
    Pause,
}

/// What the library is to hold: name → bytes, and the asset where it must be a certain one.
type Wanted = BTreeMap<String, (Vec<u8>, Option<u64>)>;

fn text(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|i| b'a' + ((i + usize::from(seed)) % 23) as u8).collect()
}

/// Every way in which programs save, and what else they do.
fn work() -> Vec<Act> {
    vec![
        Act::Save("new.txt", text(1, 2000)),
        Act::Save("report.txt", text(2, 3000)),
        Act::Save("logo.tmp.txt", text(3, 1500)),
        Act::Rename("logo.tmp.txt", "logo.txt"),
        Act::Pause,
        Act::Rename("plan.txt", "plan.txt~"),
        Act::Save("plan.txt", text(4, 2500)),
        Act::Unlink("plan.txt~"),
        Act::Pause,
        Act::Rename("old.txt", "sub/old.txt"),
        Act::Unlink("gone.txt"),
        Act::Save("large.txt", text(5, 700_000)),
        Act::Pause,
        Act::Save("report.txt", text(6, 100)),
        Act::Rename("new.txt", "sub/renamed.txt"),
    ]
}

impl Act {
    fn carry_out(&self, folder: &Path) -> std::io::Result<()> {
        match self {
            Act::Save(path, bytes) => {
                use std::io::Write;
                let mut file = std::fs::File::create(folder.join(path))?;
                file.write_all(bytes)?;
                drop(file);
                // What close said is hidden by the drop: a daemon that still opens the file has answered it.
                std::fs::File::open(folder.join(path)).map(drop)
            }
            Act::Rename(from, to) => std::fs::rename(folder.join(from), folder.join(to)),
            Act::Unlink(path) => std::fs::remove_file(folder.join(path)),
            Act::Pause => {
                std::thread::sleep(PAUSE);
                Ok(())
            }
        }
    }

    fn note(&self, wanted: &mut Wanted) {
        match self {
            Act::Save(path, bytes) => {
                let aside = wanted.get(&format!("{path}~")).and_then(|(_, id)| *id);
                let id = wanted.get(*path).and_then(|(_, id)| *id).or(aside);
                wanted.insert((*path).to_owned(), (bytes.clone(), id));
            }
            Act::Rename(from, to) => {
                if let Some((bytes, id)) = wanted.remove(*from) {
                    let replaced = wanted.get(*to).and_then(|(_, id)| *id);
                    wanted.insert((*to).to_owned(), (bytes, id.or(replaced)));
                }
            }
            Act::Unlink(path) => {
                wanted.remove(*path);
            }
            Act::Pause => {}
        }
    }
}

struct Stage {
    runtime: tokio::runtime::Runtime,
    server: Running,
    dir: tempfile::TempDir,
}

/// A daemon in the foreground; killed and taken away when dropped.
struct Daemon<'a> {
    child: Child,
    stage: &'a Stage,
}

impl Stage {
    fn new() -> (Self, Wanted) {
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
        for (seed, name) in ["report.txt", "logo.txt", "plan.txt", "old.txt", "gone.txt"]
            .iter()
            .enumerate()
        {
            let bytes = text(seed as u8 + 10, 1000);
            let id = remote.create_file(folder, name, bytes.clone()).expect("a file");
            wanted.insert((*name).to_owned(), (bytes, Some(id)));
        }
        let dir = tempfile::Builder::new()
            .prefix("assetfs-crash-")
            .tempdir()
            .expect("a folder");
        std::fs::create_dir(dir.path().join("mnt")).expect("a mountpoint");
        (Self { runtime, server, dir }, wanted)
    }

    fn mountpoint(&self) -> PathBuf {
        self.dir.path().join("mnt")
    }

    fn assetfs(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_assetfs"));
        command
            .env("ASSETFS_CONFIG", self.dir.path().join("config.toml"))
            .env("ASSETFS_CACHE_DIR", self.dir.path().join("cache"))
            .env("ASSETFS_STATE_DIR", self.dir.path().join("state"))
            .env("ASSETFS_RUNTIME_DIR", self.dir.path().join("run"))
            .env("ASSETFS_API_KEY", "emulator")
            .stdin(Stdio::null());
        command
    }

    fn is_mounted(&self) -> bool {
        let mountpoint = format!(" {} ", self.mountpoint().display());
        std::fs::read_to_string("/proc/self/mountinfo").is_ok_and(|mounts| mounts.contains(&mountpoint))
    }

    fn mount(&self) -> Daemon<'_> {
        let log = std::fs::File::create(self.dir.path().join("daemon.log")).expect("a log");
        let mut command = self.assetfs();
        command
            .args(["mount", "-f", "-o", OPTIONS])
            .arg(format!("imagerelay+{}", self.server.url))
            .arg(self.mountpoint())
            .stdout(Stdio::null())
            .stderr(log);
        let mut daemon = Daemon {
            child: command.spawn().expect("the program"),
            stage: self,
        };
        let since = Instant::now();
        // The kernel knows the mount a moment before commands find it.
        while !self.log().contains("is mounted at") {
            assert!(since.elapsed() < MOUNT_DEADLINE, "no mount: {}", self.log());
            assert!(
                daemon.child.try_wait().expect("a child").is_none(),
                "ended: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        daemon
    }

    /// What the journal's log and the staged bodies look like at the moment.
    fn traces(&self) -> Vec<(PathBuf, u64)> {
        let mut found = Vec::new();
        let mut folders = vec![self.dir.path().join("state")];
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

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("daemon.log")).unwrap_or_default()
    }

    /// After a kill. In an unlucky moment the system keeps the daemon for a thread that tells of a change, which waits for
    /// whoever waits for the daemon: the program's own `unmount` is the way out.
    fn let_go(&self, pid: u32) {
        let since = Instant::now();
        while threads_of(pid) > 1 {
            if since.elapsed() > Duration::from_secs(2) {
                let mut unmount = self.assetfs();
                unmount.arg("unmount").arg(self.mountpoint());
                finish(unmount);
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Everything that the library holds below the folder of the work.
    fn stored(&self) -> Vec<(String, Vec<u8>, u64)> {
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
    fn kill(&mut self) {
        self.child.kill().expect("a signal");
        self.stage.let_go(self.child.id());
        self.child.wait().expect("a child");
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
        self.child.kill().ok();
        self.stage.let_go(self.child.id());
        self.child.wait().ok();
        self.detach();
    }
}

/// Runs a command to its end, or kills it at the deadline.
fn finish(mut command: Command) -> Output {
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

/// What was done before a crash.
struct Worked {
    /// What is wanted after the last operation that succeeded.
    wanted: Wanted,
    /// And after the one that was cut, if one was.
    cut: Option<Wanted>,
    /// How often the journal and the staged bodies were seen to change.
    changes: u64,
}

/// Works until the daemon is dead or the work is done.
fn work_until(daemon: &mut Daemon<'_>, point: Point, mut wanted: Wanted) -> Worked {
    let folder = daemon.stage.mountpoint().join("work");
    let stage = daemon.stage;
    let base = stage.server.counters().api;
    let over = AtomicBool::new(false);
    let pid = daemon.child.id().to_string();
    let mut cut = None;
    let mut changes = 0;
    std::thread::scope(|scope| {
        let (killer, over) = (pid.clone(), &over);
        let watch = scope.spawn(move || {
            let (mut changes, mut seen) = (0, stage.traces());
            while !over.load(Ordering::Relaxed) {
                let now = stage.traces();
                changes += u64::from(now != seen);
                seen = now;
                let reached = match point {
                    Point::Request(k) => stage.server.counters().api >= base + k,
                    Point::Disk(k) => changes >= k,
                    Point::Never | Point::Operation(_) => false,
                };
                if reached {
                    let mut kill = Command::new("kill");
                    kill.args(["-9", &killer]);
                    finish(kill);
                    stage.let_go(killer.parse().expect("a number"));
                    break;
                }
                std::thread::sleep(Duration::from_micros(300));
            }
            changes
        });
        for (number, act) in work().iter().enumerate() {
            if matches!(point, Point::Operation(k) if k == number) {
                break;
            }
            let done = act.carry_out(&folder);
            if done.is_err() {
                let mut after = wanted.clone();
                act.note(&mut after);
                cut = Some(after);
                break;
            }
            act.note(&mut wanted);
        }
        if matches!(point, Point::Request(_) | Point::Disk(_)) {
            // The last uploads are killed too.
            let since = Instant::now();
            while daemon_is_alive(&pid) && since.elapsed() < Duration::from_secs(4) {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        over.store(true, Ordering::Relaxed);
        changes = watch.join().expect("the watch ends");
    });
    Worked { wanted, cut, changes }
}

fn threads_of(pid: u32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let threads = status.lines().find_map(|line| line.strip_prefix("Threads:"));
    threads.and_then(|n| n.trim().parse().ok()).unwrap_or(0)
}

fn daemon_is_alive(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// Whether the library holds what is wanted. A backup beside a saved file may stay on this machine.
fn differs(stored: &[(String, Vec<u8>, u64)], wanted: &Wanted) -> Option<String> {
    for (name, (bytes, id)) in wanted {
        let there: Vec<_> = stored.iter().filter(|(stored, ..)| stored == name).collect();
        match there.as_slice() {
            [] if name.ends_with('~') => {}
            [] => return Some(format!("{name} is missing")),
            [(_, stored, of)] => {
                if stored != bytes {
                    return Some(format!(
                        "{name} has {} bytes, not the {} saved",
                        stored.len(),
                        bytes.len()
                    ));
                }
                if id.is_some_and(|id| id != *of) && !name.ends_with('~') {
                    return Some(format!("{name} is asset {of}, not {id:?}"));
                }
            }
            several => return Some(format!("{name} is there {} times", several.len())),
        }
    }
    let stray = stored.iter().find(|(name, ..)| !wanted.contains_key(name));
    stray.map(|(name, ..)| format!("{name} is too much"))
}

/// One crash; answers how many requests and changes of the disk there were.
fn crash_at(point: Point) -> (u64, u64) {
    let (stage, before) = Stage::new();
    let mut daemon = stage.mount();
    let base = stage.server.counters().api;
    let Worked { wanted, cut, changes } = work_until(&mut daemon, point, before);
    if !matches!(point, Point::Never) {
        daemon.kill();
        drop(daemon);
        daemon = stage.mount();
    }
    let mut sync = stage.assetfs();
    sync.args(["sync", "--wait", "60"]);
    let output = finish(sync);
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    // A file that was cut while it was written is kept aside, and that is said.
    let fine = output.status.success() || (cut.is_some() && output.status.code() == Some(1));
    assert!(fine, "{point:?}: sync: {} {said}\n{}", output.status, stage.log());
    let since = Instant::now();
    let (stored, wrong) = loop {
        let stored = stage.stored();
        let wrong = differs(&stored, &wanted);
        let wrong = match (&wrong, &cut) {
            (Some(_), Some(cut)) => differs(&stored, cut).and(wrong),
            (_, _) => wrong,
        };
        if wrong.is_none() || since.elapsed() > QUEUE_DEADLINE {
            break (stored, wrong);
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let names: Vec<_> = stored.iter().map(|(name, _, id)| (name, id)).collect();
    assert_eq!(wrong, None, "{point:?}: {names:?}\n{said}\n{}", stage.log());
    let requests = stage.server.counters().api - base;
    drop(daemon);
    let Stage { runtime, server, .. } = stage;
    runtime.block_on(server.shutdown());
    (requests, changes)
}

#[test]
fn what_was_closed_is_in_the_store_once_whenever_the_daemon_dies() {
    let full = std::env::var("ASSETFS_TEST_FULL").is_ok_and(|v| v == "1");
    let points = if full { POINTS_FULL } else { POINTS };
    let (requests, changes) = crash_at(Point::Never);
    let operations = (points / 4).min(work().len());
    let rest = (points - operations) as u64;
    let (by_request, by_disk) = (rest / 2, rest - rest / 2);
    let mut queue: Vec<Point> = (0..by_request)
        .map(|i| Point::Request(1 + requests * i / by_request))
        .chain((0..by_disk).map(|i| Point::Disk(1 + changes * i / by_disk)))
        .chain((0..operations).map(|i| Point::Operation(1 + i * work().len() / operations)))
        .collect();
    queue.reverse();
    let queue = std::sync::Mutex::new(queue);
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                let next = || queue.lock().expect("nobody panics with it").pop();
                while let Some(point) = next() {
                    crash_at(point);
                }
            });
        }
    });
}

#[test]
fn the_library_knows_its_items_by_path() {
    let (stage, wanted) = Stage::new();
    assert!(matches!(stage.server.remote().find("work/sub"), Some(Item::Folder(_))));
    assert_eq!(differs(&stage.stored(), &wanted), None);
    assert!(differs(&[], &wanted).is_some(), "the check itself can fail");
}

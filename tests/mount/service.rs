//! The daemon as a service: its logs, what a service manager hears, and what becomes of changes when it ends.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use assetfs::emulator::common::{Action, FaultRule, When};
use assetfs::emulator::imagerelay::{ImageRelayOptions, Item, Seed};

use crate::support::{Place, QUICK, World, finish, shell, text, wait_for};

const SOON: Duration = Duration::from_secs(60);

fn is_stored(world: &World, path: &str) -> bool {
    matches!(world.server().remote().find(path), Some(Item::File(_)))
}

/// What was sent to a socket of datagrams so far.
fn heard(socket: &UnixDatagram) -> Vec<String> {
    socket.set_nonblocking(true).expect("a socket");
    let mut buffer = vec![0; 1 << 20];
    let mut messages = Vec::new();
    while let Ok(got) = socket.recv(&mut buffer) {
        messages.push(String::from_utf8_lossy(&buffer[..got]).into_owned());
    }
    messages
}

/// A daemon in the foreground; killed when dropped.
struct Foreground(Child);

impl Foreground {
    fn start(mut command: Command) -> Self {
        Self(command.spawn().expect("the program"))
    }

    fn signal(&self, name: &str) {
        shell(std::path::Path::new("/"), &format!("kill -{name} {}", self.0.id()));
    }

    fn ended(&mut self) -> Option<i32> {
        let since = Instant::now();
        while since.elapsed() < SOON {
            if let Some(status) = self.0.try_wait().expect("a child") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the daemon does not end");
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn in_the_foreground(world: &World, options: &str) -> Command {
    let mut command = world.assetfs();
    command
        .args(["mount", "--foreground"])
        .arg(world.source())
        .arg(world.mountpoint())
        .args(["-o", options]);
    command
}

fn log_of(place: &Place) -> String {
    let mut command = place.assetfs();
    command.arg("logs");
    text(&finish(command, SOON))
}

#[test]
fn a_daemon_without_a_terminal_logs_to_the_journal_where_there_is_one() {
    let mut world = World::new(Seed::Small);
    let path = world.path("journal");
    let journal = UnixDatagram::bind(&path).expect("a socket");
    world.present("ASSETFS_JOURNAL_SOCKET", path.to_str());
    let mount = world.mount(QUICK);
    world
        .faults()
        .add(FaultRule::new("POST /upload_jobs", When::Always, Action::status(422)));
    shell(&mount.path(), "echo x > Empty/x.txt");
    mount.run(&["sync", "--wait", "60"]);
    let lines = heard(&journal);
    let line = |part: &str| lines.iter().find(|line| line.contains(part)).cloned();
    let mounted = line("mounted").expect("it tells that it mounted");
    for field in [
        "SYSLOG_IDENTIFIER",
        "assetfs",
        "ASSETFS_STORE",
        "PRIORITY",
        "6\n",
        "MESSAGE",
    ] {
        assert!(mounted.contains(field), "{field} in {mounted:?}");
    }
    let parked = line("/Empty/x.txt").expect("it tells what needs somebody");
    assert!(parked.contains("4\n"), "a warning: {parked:?}");
    assert!(!parked.contains('\u{1b}'), "no colours: {parked:?}");
    assert_eq!(
        shell(&world.path("state"), "find . -name 'assetfs.log*'"),
        "",
        "and no file beside it"
    );

    // The journal is read by its own program.
    shell(
        &world.path("."),
        "mkdir bin && printf '#!/bin/sh\\necho \"journalctl $*\"\\n' > bin/journalctl && chmod +x bin/journalctl",
    );
    let mut logs = world.assetfs();
    let path = format!(
        "{}:{}",
        world.path("bin").display(),
        std::env::var("PATH").expect("a path")
    );
    logs.env("PATH", path).arg("logs").arg(mount.path());
    let said = text(&finish(logs, SOON));
    assert!(said.contains("--identifier assetfs ASSETFS_STORE="), "{said}");
    assert!(said.contains(" + _SYSTEMD_UNIT=assetfs@"), "units too: {said}");
}

#[test]
fn a_log_file_can_be_followed_and_hold_json() {
    let world = World::new(Seed::Small);
    let mut command = world.assetfs();
    command
        .args(["mount", "--log-format", "json", "--log-level", "debug"])
        .arg(world.source())
        .arg(world.mountpoint())
        .args(["-o", QUICK]);
    let mounted = finish(command, SOON);
    assert!(mounted.status.success(), "{}", text(&mounted));
    let mut follow = world.assetfs();
    follow.args(["logs", "--follow"]).stdout(Stdio::piped());
    let mut follower = Foreground::start(follow);
    let mut lines = BufReader::new(follower.0.stdout.take().expect("its output")).lines();
    let mut find = |part: &str| {
        loop {
            let line = lines.next().expect("a line").expect("text");
            let object: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line}: {e}"));
            if object["fields"].to_string().contains(part) {
                return object;
            }
        }
    };
    assert_eq!(find("\"mounted\"")["level"], "INFO");
    shell(&world.mountpoint(), "ls Press > /dev/null");
    assert_eq!(
        find("GET /folders/{id}/files")["level"],
        "DEBUG",
        "what comes later is followed"
    );
    let mut unmount = world.assetfs();
    unmount.arg("unmount").arg(world.mountpoint());
    assert!(finish(unmount, SOON).status.success());
}

#[test]
fn a_service_manager_hears_that_the_mount_is_ready_and_that_it_ends() {
    let world = World::new(Seed::Small);
    let path = world.path("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    let stderr = std::fs::File::create(world.path("stderr")).expect("a file");
    let own = stderr.metadata().expect("its number");
    let mut command = in_the_foreground(&world, QUICK);
    command
        .env("NOTIFY_SOCKET", &path)
        .env("JOURNAL_STREAM", format!("{}:{}", own.dev(), own.ino()))
        .stderr(stderr);
    let mut daemon = Foreground::start(command);
    let mut messages = Vec::new();
    wait_for("READY", || {
        messages.extend(heard(&manager));
        messages.iter().any(|message| message.contains("READY=1"))
    });
    assert!(shell(&world.mountpoint(), "ls").contains("Press"), "ready means usable");
    wait_for("a status", || {
        messages.extend(heard(&manager));
        messages
            .iter()
            .any(|message| message.contains("everything is in the store"))
    });
    daemon.signal("TERM");
    assert_eq!(daemon.ended(), Some(0));
    messages.extend(heard(&manager));
    assert!(
        messages.iter().any(|message| message.starts_with("STOPPING=1")),
        "{messages:?}"
    );
    let said = std::fs::read_to_string(world.path("stderr")).expect("text");
    let logged: Vec<&str> = said.lines().filter(|line| line.contains("assetfs::")).collect();
    assert!(!logged.is_empty(), "{said}");
    for line in logged {
        assert!(
            line.starts_with('<') && line[2..].starts_with(">assetfs::"),
            "a priority and no time: {line:?}"
        );
    }
}

#[test]
fn after_a_signal_uploads_go_on_for_a_while_and_the_log_tells_what_is_left_and_where() {
    let world = World::new(Seed::Small);
    let mut daemon = Foreground::start(in_the_foreground(&world, "rate=0,poll=0,quiet=60s"));
    wait_for("the mount", || world.mountpoint().join("Press").exists());
    shell(&world.mountpoint(), "echo x > Empty/sent.txt");
    daemon.signal("TERM");
    assert_eq!(daemon.ended(), Some(0), "the quiet time does not hold it up");
    assert!(is_stored(&world, "Empty/sent.txt"));

    let log = std::fs::File::create(world.path("stderr")).expect("a file");
    let mut command = in_the_foreground(&world, "rate=0,poll=0,quiet=60s,drain=0");
    command.stderr(log);
    let mut daemon = Foreground::start(command);
    wait_for("the mount", || world.mountpoint().join("Press").exists());
    shell(&world.mountpoint(), "echo x > Empty/left.txt");
    daemon.signal("TERM");
    assert_eq!(daemon.ended(), Some(4), "not everything is in the store");
    assert!(!is_stored(&world, "Empty/left.txt"));
    let said = std::fs::read_to_string(world.path("stderr")).expect("text");
    assert!(said.contains("left: upload /Empty/left.txt"), "{said}");
    assert!(
        said.contains(&format!("kept in {}", world.path("state").display())),
        "{said}"
    );
    assert!(said.contains("assetfs sync "), "{said}");
}

#[test]
fn after_a_plain_umount_the_daemon_sends_what_is_left() {
    let world = World::new(Seed::Small);
    let mount = world.mount("rate=0,poll=0,quiet=60s");
    shell(&mount.path(), "echo x > Empty/x.txt");
    shell(&world.path("."), "umount mnt 2> /dev/null || fusermount3 -u mnt");
    wait_for("the upload", || is_stored(&world, "Empty/x.txt"));
    wait_for("the end", || log_of(&world).contains("unmounted"));
}

#[test]
fn what_waits_is_sent_without_a_mount_by_the_stores_name() {
    let world = World::new(Seed::Small);
    let source = world.source();
    let sync = |arguments: &[&str]| {
        let mut command = world.assetfs();
        command.args(["sync"]).args(arguments);
        let output = finish(command, SOON);
        (output.status.code(), text(&output))
    };
    let (code, said) = sync(&[&source]);
    assert_eq!(code, Some(0), "nothing waits: {said}");
    assert_eq!(world.counters().api, 0, "so nothing is asked");
    let (code, said) = sync(&["/no/such/path"]);
    assert_eq!(code, Some(3), "{said}");

    let mount = world.mount("rate=0,poll=0,quiet=60s");
    shell(&mount.path(), "echo x > Empty/x.txt");
    mount.kill_daemon();
    shell(&world.path("."), "umount -l mnt 2> /dev/null || fusermount3 -u -z mnt");
    world
        .faults()
        .add(FaultRule::new("POST /upload_jobs", When::Always, Action::status(422)));
    let (code, said) = sync(&[&source, "--wait", "60"]);
    assert_eq!(code, Some(1), "parked: {said}");
    assert!(said.contains("/Empty/x.txt: "), "{said}");
    world.faults().clear();
    let again = world.mount("rate=0,poll=0,quiet=60s");
    assert!(again.run(&["retry"]).status.success());
    again.kill_daemon();
    shell(&world.path("."), "umount -l mnt 2> /dev/null || fusermount3 -u -z mnt");
    let (code, said) = sync(&[&source]);
    assert_eq!(code, Some(0), "{said}");
    assert!(is_stored(&world, "Empty/x.txt"));
}

/// The secret that no file and no output may hold.
const SECRET: &str = "k3y-that-nobody-may-see-5f2c";

#[test]
fn nothing_that_a_session_writes_holds_a_secret() {
    let mut world = World::with(ImageRelayOptions {
        seed: Seed::Small,
        api_key: SECRET.into(),
        ..ImageRelayOptions::default()
    });
    let mut said = String::new();
    world.present("ASSETFS_API_KEY", Some("wr0ng-key-that-nobody-may-see"));
    said += &text(&world.mount_fails(QUICK));
    world.present("ASSETFS_API_KEY", Some(SECRET));
    world.present("ASSETFS_LOG", Some("trace"));
    let mount = world.mount(QUICK);
    shell(
        &mount.path(),
        "cat Press/Report.txt > /dev/null; echo x > Empty/x.txt; mv Empty/x.txt Empty/y.txt; cat Archive/footage.bin > /dev/null",
    );
    mount.sync();
    world
        .faults()
        .add(FaultRule::new("*", When::Always, Action::status(401)));
    shell(&mount.path(), "echo x > Empty/z.txt");
    wait_for("the refused login is told", || {
        shell(&mount.path(), "cat .assetfs/problems.txt").contains("login")
    });
    for arguments in [
        &["status"][..],
        &["status", "--json"],
        &["queue", "--json"],
        &["logs"],
        &["config", "show"],
        &["doctor", "--json"],
    ] {
        said += &text(&mount.run(arguments));
    }
    said += &shell(
        &mount.path(),
        "cat .assetfs/problems.txt; getfattr -d -m - -R . 2>&1 | head -c 1M || true",
    );
    let pid = shell(&world.path("."), "pgrep -f \"$PWD/mnt\" | head -1");
    said += &shell(
        &world.path("."),
        &format!("tr '\\0' '\\n' < /proc/{}/cmdline", pid.trim()),
    );
    mount.run(&["unmount", "--wait", "0", mount.path().to_str().expect("UTF-8")]);
    assert!(
        said.contains("debug") || said.contains("DEBUG"),
        "the log was as talkative as can be"
    );
    for secret in [SECRET, "wr0ng-key-that-nobody-may-see"] {
        assert!(
            !said.contains(secret),
            "{}",
            &said[said.find(secret).unwrap_or(0).saturating_sub(200)..]
        );
        // Every file that was written: journal, catalog, log, records of mounts, bodies.
        let found = shell(
            &world.path("."),
            &format!("grep -rlaF {secret} state cache run || true"),
        );
        assert_eq!(found, "", "{secret}");
    }
}

//! Secrets that are kept under a name.

use std::os::unix::fs::PermissionsExt;
use std::process::Output;
use std::time::Duration;

use assetfs::emulator::imagerelay::Seed;

use crate::support::{API_KEY, World, finish, shell, text};

const SOON: Duration = Duration::from_secs(60);

fn run(world: &World, arguments: &[&str], secret: &str) -> Output {
    let answers = world.path("answers");
    shell(&world.path("."), &format!("printf '%s\\n' '{secret}' > answers"));
    let mut command = world.assetfs();
    command
        .env_remove("ASSETFS_API_KEY")
        .args(arguments)
        .stdin(std::fs::File::open(answers).expect("a file"));
    finish(command, SOON)
}

#[test]
fn a_login_that_the_store_accepts_is_kept_privately_and_forgotten_on_demand() {
    let world = World::new(Seed::Small);
    let (config, key) = (world.path("config.toml"), world.path("studio.api_key"));
    let before = "# mine\n[archive]\nkind = \"omeka\"\nurl = \"https://archive.example/api\"\n";
    shell(&world.path("."), &format!("printf '%s' '{before}' > config.toml"));
    let url = world.server().url.clone();
    let login = [
        "login",
        "studio",
        "--kind",
        "imagerelay",
        "--url",
        url.as_str(),
        "--stdin",
    ];

    let refused = run(&world, &login, "hunter2");
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    assert!(!text(&refused).contains("hunter2"), "{}", text(&refused));
    assert!(!key.exists(), "a key that the store refuses is not kept");
    assert_eq!(std::fs::read_to_string(&config).expect("a file"), before);

    let accepted = run(&world, &login, API_KEY);
    assert!(accepted.status.success(), "{}", text(&accepted));
    let said = String::from_utf8_lossy(&accepted.stdout).into_owned();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines, ["assetfs mount --read-only studio", "assetfs mount studio"]);
    let mode = std::fs::metadata(&key).expect("the key").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let after = std::fs::read_to_string(&config).expect("a file");
    assert!(after.starts_with(before) && !after.contains(API_KEY), "{after}");
    let again = run(&world, &login[..2], "x");
    assert_eq!(
        again.status.code(),
        Some(2),
        "without a terminal nobody can be asked: {}",
        text(&again)
    );

    let examined = run(&world, &["doctor"], "");
    assert!(text(&examined).contains("knows this login as"), "{}", text(&examined));
    assert!(
        text(&examined).contains("clock: agrees with that of studio"),
        "{}",
        text(&examined)
    );

    let mountpoint = world.mountpoint();
    let place = mountpoint.to_str().expect("UTF-8");
    let mounted = run(&world, &["mount", "studio", place, "-o", "ro,poll=0"], "");
    assert!(mounted.status.success(), "{}", text(&mounted));
    let seen = shell(&mountpoint, "ls");
    let unmounted = run(&world, &["unmount", place], "");
    assert!(unmounted.status.success(), "{}", text(&unmounted));
    assert!(seen.contains("Press"), "{seen}");

    let out = run(&world, &["logout", "studio"], "");
    assert!(out.status.success() && !key.exists(), "{}", text(&out));
    let mounted = run(&world, &["mount", "studio", place], "");
    assert_ne!(mounted.status.code(), Some(0), "there is no key any more");
}

/// Takes the secret away while a save waits: that is said, kept, and sent after the next login.
#[test]
fn a_logout_keeps_what_is_pending_and_says_so() {
    let world = World::new(Seed::Small);
    let url = world.server().url.clone();
    let login = [
        "login",
        "studio",
        "--kind",
        "imagerelay",
        "--url",
        &url,
        "--stdin",
        "--file",
    ];
    assert!(run(&world, &login, API_KEY).status.success());
    let mountpoint = world.mountpoint();
    let place = mountpoint.to_str().expect("UTF-8");
    let mounted = run(&world, &["mount", "studio", place, "-o", "rate=0,poll=0,quiet=1h"], "");
    assert!(mounted.status.success(), "{}", text(&mounted));
    shell(&mountpoint, "echo kept > Empty/kept.txt");
    let out = text(&run(&world, &["logout", "studio"], ""));
    assert!(out.contains("1 secret removed"), "{out}");
    assert!(out.contains("it is still mounted, with the secret in memory"), "{out}");
    assert!(out.contains("what is not in the store yet is kept in"), "{out}");
    let left = run(&world, &["unmount", place, "--wait", "0"], "");
    assert_eq!(left.status.code(), Some(4), "{}", text(&left));
    let out = run(&world, &["logout", "studio"], "");
    assert!(out.status.success(), "{}", text(&out));
    let out = text(&out);
    assert!(out.contains("there was no secret to remove"), "{out}");
    assert!(
        out.contains("1 change not in the store yet: kept in") && out.contains("sent after the next login and mount"),
        "{out}"
    );
    let kept = run(&world, &["queue", "--kept"], "");
    assert_eq!(kept.status.code(), Some(1), "{}", text(&kept));
    assert!(text(&kept).contains("studio: 1 change, kept in"), "{}", text(&kept));
    assert!(world.server().remote().find("Empty/kept.txt").is_none());

    let again = run(&world, &["login", "studio", "--stdin", "--file"], API_KEY);
    assert!(again.status.success(), "{}", text(&again));
    let sent = run(&world, &["sync", "studio"], "");
    assert!(sent.status.success(), "{}", text(&sent));
    assert!(world.server().remote().find("Empty/kept.txt").is_some());
    assert!(run(&world, &["queue", "--kept"], "").status.success());
}

/// Plays the person at a terminal: answers each question, and prints what was shown.
const PERSON: &str = r#"
import os, pty, sys, termios, time
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], [sys.argv[1], "login", "studio", "--file"])
shown = b""
def read():
    global shown
    try:
        part = os.read(terminal, 4096)
    except OSError:
        part = b""
    shown += part
    return part
for answer in sys.argv[2:]:
    before = len(shown)
    while not shown[before:].endswith(b": "):
        if not read():
            break
    # Nobody types a secret before the terminal has stopped to show what is typed; a program would.
    while answer == sys.argv[-1] and termios.tcgetattr(terminal)[3] & termios.ECHO:
        time.sleep(0.01)
    os.write(terminal, answer.encode() + b"\n")
while read():
    pass
sys.stdout.write(shown.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;

#[test]
fn a_person_at_a_terminal_is_asked_and_the_secret_is_not_shown() {
    let world = World::new(Seed::Small);
    let url = world.server().url.clone();
    let program = env!("CARGO_BIN_EXE_assetfs");
    let mut command = std::process::Command::new("python3");
    command
        .args(["-c", PERSON, program, "imagerelay", &url, API_KEY])
        .env("ASSETFS_CONFIG", world.path("config.toml"))
        .env("ASSETFS_STATE_DIR", world.path("state"))
        .env("ASSETFS_CACHE_DIR", world.path("cache"))
        .env("ASSETFS_RUNTIME_DIR", world.path("run"))
        .env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent");
    let output = finish(command, SOON);
    let shown = text(&output);
    assert!(output.status.success(), "{shown}");
    for question in [
        "Kind of store",
        "Address [https://api.imagerelay.com/api/v2]:",
        "api key:",
    ] {
        assert!(shown.contains(question), "{question} in {shown}");
    }
    assert!(shown.contains(&format!("{url} knows you as jdoe")), "{shown}");
    assert!(!shown.contains(API_KEY), "{shown}");
    let (first, second) = (
        shown.find("assetfs mount --read-only studio"),
        shown.find("assetfs mount studio"),
    );
    assert!(first.is_some() && first < second, "read-only first: {shown}");
}

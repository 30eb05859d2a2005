//! The units for systemd: that it understands them, and that what it would start works in the environment that it gives.

use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use assetfs::emulator::imagerelay::Seed;

use crate::support::{API_KEY, World, finish, shell, text, wait_for};

const SOON: Duration = Duration::from_secs(60);

fn unit(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(name);
    std::fs::read_to_string(path).expect("the unit")
}

/// Lets systemd read a unit as an instance named `studio`; answers what it has against it.
fn verified(name: &str, user: bool) -> String {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("assetfs@studio.service");
    // It looks whether the programs are there.
    let text_of_unit = unit(name).replace("/usr/bin/assetfs", env!("CARGO_BIN_EXE_assetfs"));
    let mut out = std::fs::File::create(&file).expect("a file");
    out.write_all(text_of_unit.as_bytes()).expect("room");
    let mut command = Command::new("systemd-analyze");
    command
        .args(["verify", "--man=no"])
        .args(user.then_some("--user"))
        .arg(&file)
        .env("XDG_RUNTIME_DIR", dir.path());
    let output = finish(command, SOON);
    assert!(output.status.success(), "{}", text(&output));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // Older ones pass over a key of 254: there the credentials are named by the administrator.
    let new = |line: &&str| !line.contains("Unknown key 'ImportCredential'");
    said.lines().filter(new).collect()
}

#[test]
fn systemd_understands_every_line_of_both_units() {
    assert_eq!(verified("assetfs@.service", false), "");
    assert_eq!(verified("assetfs-user@.service", true), "");
}

/// What a unit starts, with its names filled in.
fn started_by(unit: &str, world: &World, instance: &str) -> Vec<String> {
    let line = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="))
        .expect("ExecStart");
    let mountpoint = world.mountpoint().display().to_string();
    line.split(' ')
        .map(|word| match word {
            "/usr/bin/assetfs" => env!("CARGO_BIN_EXE_assetfs").to_owned(),
            "/mnt/%i" | "%h/%i" => mountpoint.clone(),
            word => word.replace("%i", instance),
        })
        .collect()
}

struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Runs what a unit starts until it is ready, uses it, and ends it as systemd does.
fn serves(world: &World, unit_file: &str, environment: &[(&str, PathBuf)], state: &Path, cache: &Path) {
    let unit = unit(unit_file);
    assert!(unit.contains("Type=notify\n"));
    let words = started_by(&unit, world, "studio");
    let manager = UnixDatagram::bind(world.path("notify")).expect("a socket");
    manager.set_read_timeout(Some(SOON)).expect("a socket");
    let mut command = Command::new(&words[0]);
    command
        .args(&words[1..])
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("NOTIFY_SOCKET", world.path("notify"))
        .envs(environment.iter().cloned())
        .stdin(Stdio::null())
        .current_dir("/");
    let mut service = Service(command.spawn().expect("the program"));
    let mut buffer = [0; 4096];
    // It may say how things are before.
    loop {
        let got = manager.recv(&mut buffer).expect("it tells that it is ready");
        if String::from_utf8_lossy(&buffer[..got]).contains("READY=1\n") {
            break;
        }
    }
    shell(&world.mountpoint(), "ls Press > /dev/null; echo x > Empty/x.txt");
    assert!(state.join("studio/journal.db").is_file(), "{}", state.display());
    assert!(cache.join("studio/catalog.db").is_file(), "{}", cache.display());
    shell(&world.path("."), &format!("kill -TERM {}", service.0.id()));
    wait_for("the end", || service.0.try_wait().expect("a child").is_some());
    assert!(
        service.0.wait().expect("a child").success(),
        "what was saved is in the store"
    );
    assert!(world.server().remote().find("Empty/x.txt").is_some());
}

#[test]
fn the_system_unit_works_with_the_folders_and_the_credentials_that_systemd_hands_over() {
    let world = World::new(Seed::Small);
    let unit = unit("assetfs@.service");
    for line in [
        "CacheDirectory=assetfs",
        "StateDirectory=assetfs",
        "ImportCredential=assetfs.%i.*",
    ] {
        assert!(unit.contains(&format!("\n{line}\n")), "{line}");
    }
    let credentials = world.path("credentials");
    shell(
        &world.path("."),
        &format!(
            "umask 077; mkdir credentials var && printf '{API_KEY}' > credentials/assetfs.studio.api_key
             printf '[studio]\nkind = \"imagerelay\"\nurl = \"%s\"\nquiet = \"200ms\"\n' '{}' > etc.toml",
            world.server().url
        ),
    );
    let (state, cache) = (world.path("var/state"), world.path("var/cache"));
    let environment = [
        // A service of the system has no HOME.
        ("CACHE_DIRECTORY", cache.clone()),
        ("STATE_DIRECTORY", state.clone()),
        ("RUNTIME_DIRECTORY", world.path("run")),
        ("ASSETFS_RUNTIME_DIR", world.path("run")),
        ("CREDENTIALS_DIRECTORY", credentials),
        ("ASSETFS_CONFIG", world.path("etc.toml")),
    ];
    serves(&world, "assetfs@.service", &environment, &state, &cache);
}

#[test]
fn the_users_unit_works_with_what_a_session_has() {
    let world = World::new(Seed::Small);
    let config = world.path("home/.config/assetfs/config.toml");
    shell(
        &world.path("."),
        &format!(
            "mkdir -p home/.config/assetfs session && cd home/.config/assetfs && umask 077 && printf '{API_KEY}' > studio.api_key
             printf '[studio]\nkind = \"imagerelay\"\nurl = \"%s\"\nquiet = \"200ms\"\napi_key_file = \"~/.config/assetfs/studio.api_key\"\n' '{}' > config.toml",
            world.server().url
        ),
    );
    let (state, cache) = (
        world.path("home/.local/state/assetfs"),
        world.path("home/.cache/assetfs"),
    );
    let mut environment = vec![
        ("HOME", world.path("home")),
        ("XDG_RUNTIME_DIR", world.path("session")),
        ("CACHE_DIRECTORY", cache.clone()),
    ];
    if is_root() {
        // Root has its own places, which are not the test's.
        environment.extend([("ASSETFS_CONFIG", config), ("ASSETFS_STATE_DIR", state.clone())]);
    }
    serves(&world, "assetfs-user@.service", &environment, &state, &cache);
}

fn is_root() -> bool {
    shell(Path::new("/"), "id -u").trim() == "0"
}

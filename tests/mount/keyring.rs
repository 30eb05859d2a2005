//! Secrets in the desktop's keyring: a real one, on a session bus of its own.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use assetfs::emulator::imagerelay::Seed;

use crate::support::{API_KEY, World, finish, shell, text};

const SOON: Duration = Duration::from_secs(60);

/// A session bus with a keyring that is open; both end with the value.
struct Desktop {
    bus: Child,
    keyring: Child,
    address: String,
}

impl Desktop {
    fn new(world: &World) -> Self {
        let mut bus = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--print-address=1"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("dbus-daemon");
        let mut address = String::new();
        BufReader::new(bus.stdout.take().expect("its output"))
            .read_line(&mut address)
            .expect("an address");
        let address = address.trim().to_owned();
        let home = world.path("home");
        std::fs::create_dir_all(&home).expect("a folder");
        let mut keyring = Command::new("gnome-keyring-daemon")
            .args(["--foreground", "--unlock", "--components=secrets"])
            .env("DBUS_SESSION_BUS_ADDRESS", &address)
            .env("HOME", &home)
            .env("XDG_DATA_HOME", home.join("data"))
            .env("XDG_RUNTIME_DIR", &home)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("gnome-keyring-daemon");
        let mut input = keyring.stdin.take().expect("its input");
        input.write_all(b"open sesame").expect("a password");
        drop(input);
        Self { bus, keyring, address }
    }

    fn run(&self, world: &World, arguments: &[&str], answer: &str) -> Output {
        shell(&world.path("."), &format!("printf '%s\\n' '{answer}' > answers"));
        let mut command = world.assetfs();
        command
            .env_remove("ASSETFS_API_KEY")
            .env("DBUS_SESSION_BUS_ADDRESS", &self.address)
            .args(arguments)
            .stdin(std::fs::File::open(world.path("answers")).expect("a file"));
        finish(command, SOON)
    }
}

impl Drop for Desktop {
    fn drop(&mut self) {
        for child in [&mut self.keyring, &mut self.bus] {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

#[test]
fn a_login_in_the_keyring_leaves_no_secret_on_the_disk_and_is_forgotten_on_demand() {
    let world = World::new(Seed::Small);
    let desktop = Desktop::new(&world);
    let url = world.server().url.clone();
    let login = [
        "login",
        "studio",
        "--kind",
        "imagerelay",
        "--url",
        url.as_str(),
        "--stdin",
        "--keyring",
    ];
    // The keyring takes a moment to appear on the bus.
    let since = Instant::now();
    let accepted = loop {
        let output = desktop.run(&world, &login, API_KEY);
        if output.status.success() {
            break output;
        }
        assert!(since.elapsed() < SOON, "{}", text(&output));
        std::thread::sleep(Duration::from_millis(100));
    };
    let config = std::fs::read_to_string(world.path("config.toml")).expect("a configuration");
    assert!(
        config.contains("api_key_keyring = \"true\""),
        "{config} {}",
        text(&accepted)
    );
    assert!(!world.path("studio.api_key").exists(), "no file is needed");

    let place = world.mountpoint();
    let place = place.to_str().expect("UTF-8");
    let mounted = desktop.run(&world, &["mount", "studio", place, "-o", "poll=0"], "");
    assert!(mounted.status.success(), "{}", text(&mounted));
    assert!(shell(&world.mountpoint(), "ls").contains("Press"));
    let unmounted = desktop.run(&world, &["unmount", place], "");
    assert!(unmounted.status.success(), "{}", text(&unmounted));

    let out = desktop.run(&world, &["logout", "studio"], "");
    assert!(text(&out).contains("1 secret removed"), "{}", text(&out));
    let refused = desktop.run(&world, &["mount", "studio", place], "");
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    assert!(text(&refused).contains("assetfs login studio"), "{}", text(&refused));
}

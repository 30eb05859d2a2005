//! Whatever happens around them, readers see the bytes of one version.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use assetfs::emulator::common::{Action, FaultRule, When};
use assetfs::emulator::imagerelay::{Remote, Seed};

use crate::support::{QUICK, World, finish, shell, text};

const READER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mount/reader.py");
const FILES: u64 = 6;
const READERS: u64 = 4;

/// The bytes of a version; `reader.py` knows the same rule.
fn content(file: u64, version: u64) -> Vec<u8> {
    let lines = 1 + (file * 7919 + version * 31_337) % 100_000;
    let mut text = String::with_capacity(lines as usize * 16);
    for line in 0..lines {
        writeln!(text, "{file:02}:{version:05}:{line:06}").expect("memory");
    }
    text.into_bytes()
}

/// The files, and which version each has.
struct Library {
    remote: Remote,
    versions: BTreeMap<u64, (u64, u64)>,
}

impl Library {
    fn new(remote: Remote) -> Self {
        let folder = remote.create_folder(remote.root(), "Changing").expect("a folder");
        let files = (0..FILES).map(|file| {
            let name = format!("file-{file:02}.txt");
            let id = remote.create_file(folder, &name, content(file, 0)).expect("a file");
            (file, (id, 0))
        });
        let versions = files.collect();
        Self { remote, versions }
    }

    /// Somebody else gives a file other bytes.
    fn change(&mut self, file: u64) {
        if let Some((id, version)) = self.versions.get_mut(&file) {
            *version += 1;
            self.remote.replace(*id, content(file, *version)).expect("replaced");
        }
    }
}

/// Starts readers that go on for `seconds`; each answers what it has to say at its end.
fn start_readers(world: &World, seconds: u64) -> Vec<std::thread::JoinHandle<String>> {
    let folder = world.mountpoint().join("Changing");
    let start = |reader| {
        let mut command = Command::new("python3");
        command
            .arg(READER)
            .arg(&folder)
            .args([FILES, seconds, reader].map(|number| number.to_string()));
        std::thread::spawn(move || {
            let output = finish(command, Duration::from_secs(seconds + 120));
            assert!(output.status.success(), "reader {reader}: {}", text(&output));
            String::from_utf8_lossy(&output.stdout).into_owned()
        })
    };
    (0..READERS).map(start).collect()
}

/// A figure of what a reader said.
fn figure(said: &str, name: &str) -> u64 {
    let mut words = said.split_whitespace().skip_while(|word| *word != name);
    words.nth(1).and_then(|number| number.parse().ok()).unwrap_or_default()
}

/// Reads by several processes while versions change, bodies are evicted, the store fails, and the daemon is killed.
fn readers_see_one_version(seconds: u64, options: &str) {
    let world = World::new(Seed::None);
    let mut library = Library::new(world.server().remote());
    let options = format!("rate=0,poll=500ms,list_ttl=500ms,deadline=5s,cache_size=5M,{options}");
    let mut mount = world.mount(&options);
    for (every, action) in [
        (9, Action::TruncateBody(40_000)),
        (13, Action::Reset),
        (17, Action::Html),
        (19, Action::status(503)),
    ] {
        world
            .faults()
            .add(FaultRule::new("GET cdn", When::Every(every), action));
    }
    let readers = start_readers(&world, seconds);
    let (since, rounds) = (Instant::now(), seconds * 4);
    for round in 0..rounds {
        library.change(round % FILES);
        if round == rounds / 2 {
            mount.kill_daemon();
            // The dead one must not take the new one away when it is dropped: both are at the same place.
            std::mem::forget(std::mem::replace(&mut mount, world.mount(&options)));
        }
        let due = Duration::from_millis(250) * (round as u32 + 1);
        std::thread::sleep(due.saturating_sub(since.elapsed()));
    }
    let said: Vec<String> = readers
        .into_iter()
        .map(|reader| reader.join().expect("a reader"))
        .collect();
    let sum = |name| said.iter().map(|said| figure(said, name)).sum::<u64>();
    // It must have been a test: files were read, through mappings too, and in more versions than there are files.
    assert!(
        sum("read") > 20 && sum("mapped") > 1 && sum("versions") > FILES,
        "{said:?}"
    );
    drop(mount);
}

/// How long it goes on.
fn seconds() -> u64 {
    if std::env::var_os("ASSETFS_TEST_FULL").is_some() {
        240
    } else {
        8
    }
}

#[test]
fn every_read_is_of_one_version_whatever_happens_around_it() {
    readers_see_one_version(seconds(), "quiet=1s");
}

#[test]
fn every_read_through_the_daemon_is_of_one_version_too() {
    readers_see_one_version(seconds(), "no_passthrough");
}

/// A library with one folder of files of so many bytes each.
fn shelf(files: u64, bytes: usize) -> World {
    let world = World::new(Seed::None);
    let remote = world.server().remote();
    let folder = remote.create_folder(remote.root(), "Shelf").expect("a folder");
    for number in 0..files {
        let body = vec![b'a' + (number % 26) as u8; bytes];
        remote
            .create_file(folder, &format!("{number:02}.bin"), body)
            .expect("a file");
    }
    world
}

#[test]
fn a_link_that_expires_in_the_middle_of_a_file_is_made_anew() {
    let world = shelf(1, 8 << 20);
    let mount = world.mount(QUICK);
    let file = File::open(mount.at("Shelf/00.bin")).expect("open");
    let mut bytes = vec![0; 4096];
    file.read_exact_at(&mut bytes, 0).expect("the beginning");
    world.server().reset_counters();
    world
        .faults()
        .add(FaultRule::new("GET cdn", When::First(1), Action::status(403)));
    file.read_exact_at(&mut bytes, 6 << 20).expect("what lies behind");
    assert!(bytes.iter().all(|byte| *byte == b'a'));
    let asked = world.counters();
    assert_eq!((asked.api, asked.of("POST /quick_links")), (1, 1), "{asked:?}");
}

#[test]
fn a_writer_beside_readers_of_a_whole_file_is_seen_by_all_of_them() {
    let world = shelf(1, 1 << 20);
    let mount = world.mount("rate=0,poll=0,quiet=60s");
    let path = mount.at("Shelf/00.bin");
    // Once it is all here, the kernel may read the local copy itself.
    assert_eq!(std::fs::read(&path).expect("read").len(), 1 << 20);
    let before = File::open(&path).expect("a reader");
    let mut bytes = [0; 4];
    before.read_exact_at(&mut bytes, 500_000).expect("read");
    let writer = File::options().write(true).open(&path).expect("a writer");
    writer.write_all_at(b"news", 500_000).expect("written");
    let after = File::open(&path).expect("another reader");
    for reader in [&before, &after] {
        reader.read_exact_at(&mut bytes, 500_000).expect("read");
        assert_eq!(&bytes, b"news");
        assert_eq!(reader.metadata().expect("fstat").len(), 1 << 20);
    }
    writer.set_len(600_000).expect("cut");
    drop(writer);
    for reader in [before, after] {
        assert_eq!(reader.metadata().expect("fstat").len(), 600_000);
        assert_eq!(reader.read_at(&mut bytes, 600_000).expect("its end"), 0);
    }
    let whole = std::fs::read(&path).expect("read");
    assert_eq!((whole.len(), &whole[500_000..500_004]), (600_000, &b"news"[..]));
}

#[test]
fn sixty_four_stuck_readers_slow_nobody_else() {
    const STUCK: u64 = 64;
    let world = shelf(STUCK + 1, 100_000);
    let mount = world.mount("rate=0,poll=0,deadline=30s");
    shell(&mount.path(), "ls -lR > /dev/null");
    world
        .faults()
        .add(FaultRule::new("GET cdn", When::First(STUCK), Action::Hang(None)));
    let start = |number: u64| {
        Command::new("cat")
            .arg(mount.at(&format!("Shelf/{number:02}.bin")))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a reader")
    };
    let mut readers: Vec<_> = (0..STUCK).map(start).collect();
    let since = Instant::now();
    while world.counters().content < STUCK {
        assert!(since.elapsed() < Duration::from_secs(60), "{:?}", world.counters());
        std::thread::sleep(Duration::from_millis(20));
    }
    let last = mount.at(&format!("Shelf/{STUCK:02}.bin"));
    assert_eq!(std::fs::read(last).expect("another file").len(), 100_000);
    shell(
        &mount.path(),
        "ls -lR > /dev/null; df . > /dev/null; mkdir New; echo x > New/note.txt; cat New/note.txt",
    );
    for reader in &mut readers {
        assert!(
            reader.try_wait().expect("a child").is_none(),
            "it was stuck all the time"
        );
        reader.kill().expect("it can be killed");
    }
    for mut reader in readers {
        reader.wait().expect("a child");
    }
}

#[test]
fn what_is_not_there_is_asked_of_the_daemon_once() {
    let world = shelf(1, 10);
    let mount = world.mount(QUICK);
    let lookups = || {
        let output = mount.run(&["status", "--json"]);
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        status["mounts"][0]["status"]["operations"]["lookup"]["answered"]
            .as_u64()
            .unwrap_or_default()
    };
    let absent = mount.at("Shelf/nothing.bin");
    assert!(!absent.exists());
    let before = lookups();
    for _ in 0..100 {
        assert!(!absent.exists());
    }
    // Once more, at most, when the notices of the first listing reach the kernel late.
    assert!(lookups() <= before + 1);
    shell(&mount.path(), "echo here > Shelf/nothing.bin");
    assert!(absent.exists(), "what was made shows at once");
}

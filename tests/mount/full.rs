//! A full disk under cache and state: told while the program can still hear it, and no reason to hang or to lose anything.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use assetfs::emulator::imagerelay::{Item, Seed};

use crate::support::{World, finish, shell, text, try_shell};

/// A small disk of its own for the cache and the state of a mount.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn under(world: &World, mib: u32) -> Self {
        let at = world.path("disk");
        std::fs::create_dir(&at).expect("a folder");
        let mut command = Command::new("mount");
        command
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"])
            .arg(&at);
        let output = finish(command, Duration::from_secs(20));
        assert!(output.status.success(), "tmpfs: {}", text(&output));
        for folder in ["cache", "state"] {
            std::fs::create_dir(at.join(folder)).expect("a folder");
            std::os::unix::fs::symlink(at.join(folder), world.path(folder)).expect("a link");
        }
        Self(at)
    }

    /// Leaves no byte free.
    fn fill(&self) {
        let full = try_shell(&self.0, "cat /dev/zero > filler");
        assert!(text(&full).contains("No space left"), "{}", text(&full));
    }

    fn relieve(&self) {
        std::fs::remove_file(self.0.join("filler")).expect("removable");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let mut command = Command::new("umount");
        command.arg("-l").arg(&self.0);
        finish(command, Duration::from_secs(20));
    }
}

/// Writes until it is refused, and proves that nothing was refused too late. Prints how many MiB were taken.
const UNTIL_FULL: &str = r#"
import errno, hashlib, os, sys
fd = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR, 0o644)
taken, begun = hashlib.sha256(), 0
try:
    while True:
        block = bytes([begun % 251]) * (1 << 20)
        size = os.write(fd, block)
        taken.update(block[:size])
        begun += 1
        assert begun < 200, 'never full'
except OSError as error:
    assert error.errno == errno.ENOSPC, error
os.close(fd)
with open(sys.argv[1], 'rb') as file:
    assert hashlib.sha256(file.read()).digest() == taken.digest(), 'other bytes than were taken'
print(begun)
"#;

fn write_until_full(at: &Path, name: &str) -> u32 {
    let mut command = Command::new("python3");
    command.args(["-c", UNTIL_FULL, name]).current_dir(at);
    let output = finish(command, Duration::from_secs(120));
    assert!(output.status.success(), "{}", text(&output));
    String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .expect("a number")
}

/// Tries until it succeeds: room that is given up comes a little later.
fn until(at: &Path, script: &str) {
    let since = std::time::Instant::now();
    loop {
        let output = try_shell(at, script);
        if output.status.success() {
            return;
        }
        assert!(since.elapsed() < Duration::from_secs(60), "{script}: {}", text(&output));
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_full_disk_is_told_by_the_write_and_loses_nothing_that_was_taken() {
    let world = World::new(Seed::Small);
    let disk = SmallDisk::under(&world, 160);
    let remote = world.server().remote();
    let Some(Item::Folder(press)) = remote.find("Press") else {
        panic!("no Press");
    };
    remote.create_file(press, "film.mov", vec![5; 60 << 20]).expect("made");
    let mount = world.mount("rate=0,poll=0,quiet=200ms,quiet_empty=200ms,cache_size=80M");
    let path = mount.path();
    let read_film = "test $(cat Press/film.mov | wc -c) = 62914560";
    shell(&path, read_film);

    // What was fetched makes room for what is written, and when that is used up the write says so.
    let taken = write_until_full(&path, "large.bin");
    assert!(taken > 110, "{taken} MiB");
    shell(&path, "rm large.bin");
    let refused = try_shell(&path, "fallocate -l 300M reserved.bin");
    assert!(text(&refused).contains("No space left"), "{}", text(&refused));
    shell(&path, "rm -f reserved.bin; mkdir Made; ls Made Press; df . > /dev/null");
    until(&path, "echo one > closed.txt");

    // Others leave not one byte: what is known can be seen, saves say no instead of half a yes, and soon what was fetched
    // makes room once more.
    mount.sync();
    shell(&path, read_film);
    disk.fill();
    shell(&path, "cat closed.txt; ls -R > /dev/null");
    until(&path, "mv closed.txt Made/ && mkdir Made/Below");
    let taken = write_until_full(&path, "later.bin");
    shell(&path, "cat Made/closed.txt; stat later.bin");
    disk.relieve();
    until(&path, "echo two > Made/two.txt");
    shell(&path, read_film);
    mount.sync();
    let stored = |path: &str| match world.server().remote().find(path) {
        Some(Item::File(id)) => world.server().remote().bytes(id).map(|bytes| bytes.len() as u64),
        _ => None,
    };
    assert_eq!(stored("Made/closed.txt"), Some(4));
    assert_eq!(stored("Made/two.txt"), Some(4));
    assert_eq!(stored("later.bin").unwrap_or(0), u64::from(taken) << 20);
    drop(mount);
    drop(disk);
}

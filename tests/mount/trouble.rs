//! Servers that fail, hang and lie; daemons that die.

use std::time::{Duration, Instant};

use assetfs::emulator::common::{Action, FaultRule, When};
use assetfs::emulator::imagerelay::Seed;

use crate::support::{Mount, QUICK, World, shell, text, try_shell};

/// With a deadline short enough for a test.
const IMPATIENT: &str = "rate=0,poll=0,quiet=200ms,deadline=4s";

/// What a program may wait beyond the deadline before it counts as hanging.
const HANGS: Duration = Duration::from_secs(45);

/// A mount that knows its tree, but not the bytes of `Archive/footage.bin`.
fn listed() -> (World, Mount) {
    let world = World::new(Seed::Small);
    let mount = world.mount(IMPATIENT);
    shell(&mount.path(), "ls -lR > /dev/null");
    (world, mount)
}

/// Reads a file whose bytes cannot be had, and looks around in the meantime.
fn reading_fails_in_time_while_the_rest_goes_on(mount: &Mount) {
    let reader = std::thread::spawn({
        let mountpoint = mount.path();
        move || {
            let since = Instant::now();
            (
                try_shell(&mountpoint, "cat Archive/footage.bin > /dev/null"),
                since.elapsed(),
            )
        }
    });
    std::thread::sleep(Duration::from_millis(300));
    let since = Instant::now();
    shell(
        &mount.path(),
        "ls -lR > /dev/null; stat Press/Report.txt > /dev/null; df . > /dev/null; echo x > Empty/note.txt",
    );
    assert!(
        since.elapsed() < Duration::from_secs(5),
        "known things took {:?}",
        since.elapsed()
    );
    let (output, took) = reader.join().expect("a reader");
    assert!(!output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("Input/output error"), "{}", text(&output));
    assert!(took < HANGS, "the reader waited {took:?}");
}

#[test]
fn a_server_that_is_gone_fails_reads_and_nothing_else() {
    let (mut world, mount) = listed();
    world.stop_server();
    reading_fails_in_time_while_the_rest_goes_on(&mount);
}

#[test]
fn a_server_that_misbehaves_fails_reads_in_time_and_nothing_else() {
    for action in [
        Action::Hang(None),
        Action::Reset,
        Action::Html,
        Action::TruncateBody(10),
        Action::status(500),
    ] {
        let (world, mount) = listed();
        for route in ["POST /quick_links", "GET cdn"] {
            world
                .server()
                .faults()
                .add(FaultRule::new(route, When::Always, action.clone()));
        }
        reading_fails_in_time_while_the_rest_goes_on(&mount);
        // All is well again, so the very same read works.
        world.server().faults().clear();
        shell(&mount.path(), "cat Archive/footage.bin | wc -c | grep -qx 67108864");
    }
}

/// A folder of a hundred thousand entries takes a minute to be listed; what counts is that it goes on.
#[test]
fn a_listing_may_take_longer_than_the_deadline_while_it_makes_progress() {
    let world = World::new(Seed::Files {
        folders: 1,
        files_per_folder: 2_000,
    });
    let mount = world.mount("rate=0,poll=0,deadline=5s");
    shell(&mount.path(), "ls > /dev/null");
    // Twenty pages, four at a time.
    world.server().faults().add(FaultRule::new(
        "GET /folders/{id}/files",
        When::Always,
        Action::Delay(1_300),
    ));
    let listed = shell(&mount.path(), "ls * | wc -l");
    assert_eq!(listed.trim(), "2000");
}

#[test]
fn a_listing_that_breaks_off_is_an_error_and_never_a_shorter_folder() {
    let world = World::new(Seed::Small);
    let mount = world.mount(IMPATIENT);
    world.server().faults().add(FaultRule::new(
        "GET /folders/{id}/files",
        When::Always,
        Action::TruncateBody(40),
    ));
    let output = try_shell(&mount.path(), "ls Press");
    assert!(!output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("Input/output error"), "{}", text(&output));
    world.server().faults().clear();
    assert!(shell(&mount.path(), "ls Press").contains("Report.txt"));
}

#[test]
fn a_daemon_that_was_killed_loses_nothing_that_was_closed() {
    let world = World::new(Seed::Small);
    let mount = world.mount("rate=0,poll=0,quiet=60s");
    shell(
        &mount.path(),
        "mkdir Empty/New; seq 100000 > Empty/New/numbers.txt; sha256sum Empty/New/numbers.txt > ../sums",
    );
    mount.kill_daemon();
    let stale = try_shell(&world.path("."), "ls mnt");
    // Aborted: it came while the system was still clearing away.
    let gone = ["not connected", "connection abort"];
    assert!(gone.iter().any(|why| text(&stale).contains(why)), "{}", text(&stale));

    // The dead mount is taken away, and what was pending goes on.
    let again = world.mount(QUICK);
    shell(&again.path(), "sha256sum --quiet -c ../sums");
    again.sync();
    again.unmount();
    shell(&world.path("."), "rm -r cache");
    let fresh = world.mount(QUICK);
    shell(&fresh.path(), "sha256sum --quiet -c ../sums");
    drop(mount);
}

/// The system cannot let go of a killed daemon while a thread of it waits for a reader, and readers wait for the daemon. Here
/// a bystander holds the connection in the place of that thread.
#[test]
fn a_mount_that_hangs_because_its_dead_daemon_is_not_let_go_is_mounted_again() {
    let world = World::new(Seed::Small);
    let dead = world.mount(QUICK);
    let keeper = r#"
import ctypes, os, sys
pid = int(sys.argv[1])
(number,) = [int(n) for n in os.listdir(f"/proc/{pid}/fd") if os.readlink(f"/proc/{pid}/fd/{n}") == "/dev/fuse"]
pidfd_getfd = 438
held = ctypes.CDLL(None, use_errno=True).syscall(pidfd_getfd, os.pidfd_open(pid), number, 0)
assert held >= 0, os.strerror(ctypes.get_errno())
print("held", flush=True)
sys.stdin.read()
"#;
    let mut keeper = std::process::Command::new("python3")
        .args(["-c", keeper, &dead.daemon().to_string()])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("python3");
    let mut said = String::new();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(keeper.stdout.take().expect("its output")),
        &mut said,
    )
    .expect("a line");
    assert_eq!(said, "held\n");
    dead.kill_daemon();
    let again = world.mount(QUICK);
    shell(&again.path(), "cat Press/Report.txt > /dev/null");
    again.unmount();

    drop(keeper.stdin.take());
    keeper.wait().expect("its end");
    drop(dead);
}

/// A program that starts another one holds a lock of the system while its files are closed, and that close asks the mount. A
/// mount that looks at the asking process through that lock stands still for ever, with everybody who uses it.
#[test]
fn a_file_that_is_closed_because_another_program_starts_is_kept_like_any_other() {
    let world = World::new(Seed::Small);
    let mount = world.mount(QUICK);
    let script =
        "open(F, '>', 'Empty/p.txt') or die; syswrite(F, 'x'); system('true'); syswrite(F, 'y'); close(F) or die";
    shell(&mount.path(), &format!("perl -e \"{script}\""));
    shell(&mount.path(), "grep -qx xy Empty/p.txt && ls -lR > /dev/null");
    mount.sync();
}

/// What a program had written when it was killed is kept, told, and not taken for a save.
#[test]
fn what_a_killed_program_was_writing_is_kept_aside_and_not_sent() {
    let world = World::new(Seed::Small);
    let mount = world.mount(QUICK);
    let before = shell(&mount.path(), "cat Press/Report.txt");
    let write = "
import os, sys, time
for path, flags in [('Press/Report.txt', os.O_WRONLY), ('Empty/new.txt', os.O_WRONLY | os.O_CREAT)]:
    os.write(os.open(path, flags), b'half of it')
print('written', flush=True)
time.sleep(600)
";
    let mut writer = std::process::Command::new("python3")
        .args(["-c", write])
        .current_dir(mount.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("python3");
    let mut said = String::new();
    let output = writer.stdout.take().expect("its output");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut said).expect("a line");
    assert_eq!(said, "written\n");
    writer.kill().expect("killed");
    writer.wait().expect("its end");
    let asked = world.requests_meanwhile(|| {
        let sync = mount.run(&["sync"]);
        assert_eq!(sync.status.code(), Some(1), "{}", text(&sync));
    });
    let sent = asked.of("POST /upload_jobs") + asked.of("POST /files/{id}/versions");
    assert_eq!(sent, 0, "{asked:?}");
    let queue = text(&mount.run(&["queue"]));
    assert_eq!(queue.matches("was killed before it finished").count(), 2, "{queue}");
    assert_eq!(shell(&mount.path(), "cat Empty/new.txt"), "half of it");
    let kept = shell(&mount.path(), "cat Press/Report.txt");
    assert_eq!(kept, format!("half of it{}", &before[10..]), "with the old rest");
    let problems = shell(&mount.path(), "cat .assetfs/problems.txt");
    assert!(problems.contains("Empty/new.txt"), "{problems}");
    mount.run(&["retry"]);
    mount.sync();
    let stored = world.server().remote().tree(false);
    let empty = stored.folders.iter().find(|folder| folder.name == "Empty").expect("it");
    assert_eq!(empty.files.len(), 1, "sent when the user says so");
}

//! What needs a person reaches one: on the desktop, in the mount, in words and as exit status. And the machine that falls
//! asleep.

use std::io::Read;
use std::time::Duration;

use assetfs::emulator::common::{Action, FaultRule, When};
use assetfs::emulator::imagerelay::Seed;

use crate::bus::{Bus, Desktop, FIRST, Logind, Notice};
use crate::support::{Mount, QUICK, World, shell, text, try_shell, wait_for};

/// The store takes no new files.
fn refuse_uploads(world: &World) {
    world
        .faults()
        .add(FaultRule::new("POST /upload_jobs", When::Always, Action::status(422)));
}

fn problems(mount: &Mount) -> String {
    shell(&mount.path(), "cat .assetfs/problems.txt")
}

#[test]
fn what_the_store_refuses_is_one_notification_and_a_file_in_the_mount_until_it_is_mended() {
    let mut world = World::new(Seed::Small);
    let (bus, desktop) = (Bus::start(), Desktop::default());
    let serving = world.wait(bus.serve(
        "org.freedesktop.Notifications",
        "/org/freedesktop/Notifications",
        desktop.clone(),
    ));
    world.present("DBUS_SESSION_BUS_ADDRESS", Some(&bus.address));
    let mount = world.mount(QUICK);
    assert!(problems(&mount).contains("nothing waits for you"));
    refuse_uploads(&world);
    shell(&mount.path(), "for n in 1 2 3; do echo $n > Empty/$n.txt; done");
    let synced = mount.run(&["sync", "--wait", "60"]);
    assert_eq!(synced.status.code(), Some(1), "{}", text(&synced));

    let listed = problems(&mount);
    assert!(listed.contains("3 things wait for you"), "{listed}");
    assert!(listed.contains("/Empty/1.txt\n  parked: "), "{listed}");
    assert!(
        listed.contains("way out: mend the reason and `assetfs retry "),
        "{listed}"
    );
    let seen = shell(&mount.path(), "ls -a; find . -name 'problems*'");
    assert!(!seen.contains("assetfs") && !seen.contains("problems"), "{seen}");
    for (script, why) in [
        ("echo x > .assetfs/problems.txt", "Operation not permitted"),
        ("rm -f .assetfs/problems.txt", "Operation not permitted"),
        ("mkdir .assetfs", "File exists"),
    ] {
        let refused = try_shell(&mount.path(), script);
        assert!(text(&refused).contains(why), "{script}: {}", text(&refused));
    }
    let copied = shell(
        &mount.path(),
        "cp .assetfs/problems.txt ../copy && wc -l < ../copy; ls -l .assetfs",
    );
    assert!(copied.contains("problems.txt"), "{copied}");

    let told = || desktop.0.lock().clone();
    let says_all =
        |notice: &Notice| matches!(notice, Notice::Shown { summary, .. } if summary.starts_with("3 files in "));
    wait_for("a notification about all three", || told().last().is_some_and(says_all));
    for (number, notice) in told().iter().enumerate() {
        let Notice::Shown { replaces, body, .. } = notice else {
            panic!("nothing is taken back yet: {notice:?}")
        };
        assert_eq!(
            *replaces,
            if number == 0 { 0 } else { FIRST },
            "one, and no second beside it"
        );
        assert!(body.contains(".assetfs/problems.txt"), "{body}");
    }
    let status = mount.run(&["status"]);
    assert_eq!(status.status.code(), Some(1), "{}", text(&status));
    assert!(
        text(&status).contains("3 parked") && text(&status).contains("3 things need you"),
        "{}",
        text(&status)
    );
    let state = shell(
        &mount.path(),
        "getfattr --only-values -n user.assetfs.state Empty/1.txt",
    );
    assert_eq!(state, "parked");
    assert!(
        shell(
            &mount.path(),
            "getfattr --only-values -n user.assetfs.error Empty/1.txt"
        )
        .len()
            > 5
    );

    world.faults().clear();
    let retried = mount.run(&["retry"]);
    assert!(retried.status.success(), "{}", text(&retried));
    mount.sync();
    assert!(problems(&mount).contains("nothing waits for you"));
    wait_for("the notification is taken away", || {
        told().last() == Some(&Notice::Closed(FIRST))
    });
    drop(serving);
}

#[test]
fn a_login_that_is_no_longer_taken_is_told_and_so_is_its_end() {
    let world = World::new(Seed::Small);
    let mount = world.mount(QUICK);
    shell(&mount.path(), "ls Press > /dev/null");
    world
        .faults()
        .add(FaultRule::new("*", When::Always, Action::status(401)));
    shell(&mount.path(), "echo x > Empty/x.txt");
    wait_for("the file tells", || {
        problems(&mount).contains("no longer takes the login")
    });
    assert!(
        problems(&mount).contains("mount again with a key"),
        "{}",
        problems(&mount)
    );
    let status = mount.run(&["status"]);
    assert_eq!(status.status.code(), Some(1), "{}", text(&status));
    assert!(text(&status).contains("login     refused since"), "{}", text(&status));
    world.faults().clear();
    let retried = mount.run(&["retry"]);
    assert!(retried.status.success(), "{}", text(&retried));
    mount.sync();
    wait_for("the file tells", || problems(&mount).contains("nothing waits for you"));
    let log = mount.run(&["logs"]);
    let told = text(&log).matches("no longer takes the login").count();
    assert_eq!(told, 1, "one line: {}", text(&log));
}

#[test]
fn before_the_machine_sleeps_chunks_under_way_finish_and_nothing_new_begins() {
    let mut world = World::new(Seed::Small);
    let (bus, logind) = (Bus::start(), Logind::default());
    let serving = world.wait(bus.serve("org.freedesktop.login1", "/org/freedesktop/login1", logind.clone()));
    world.present("DBUS_SYSTEM_BUS_ADDRESS", Some(&bus.address));
    let mount = world.mount(QUICK);
    let lock = || logind.locks.lock().pop();
    wait_for("a lock is asked for", || !logind.locks.lock().is_empty());
    let mut first = lock().expect("a lock");
    let chunk = "POST /upload_jobs/{id}/files/{id}/chunks/{n}";
    world
        .faults()
        .add(FaultRule::new(chunk, When::Always, Action::Delay(300)));
    let chunks = || world.counters().of(chunk);
    shell(&mount.path(), "head -c 64M /dev/urandom > Empty/big.bin");
    wait_for("a chunk is under way", || chunks() > 0);
    let tell = |asleep: bool| {
        world.wait(async {
            let emitter = zbus::object_server::SignalEmitter::new(&serving, "/org/freedesktop/login1").expect("a path");
            Logind::prepare_for_sleep(&emitter, asleep).await.expect("a signal");
        });
    };
    tell(true);
    // The other end of the lock is closed when nothing is under way any more.
    let mut nothing = Vec::new();
    first.read_to_end(&mut nothing).expect("the end of the lock");
    let asleep = world.counters().api;
    // Longer than a chunk takes: what were to begin now would be seen.
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(world.counters().api, asleep, "the machine sleeps");
    tell(false);
    wait_for("the next night is waited for as well", || {
        !logind.locks.lock().is_empty()
    });
    mount.sync();
    let sum = shell(&mount.path(), "sha256sum < Empty/big.bin");
    mount.unmount();
    shell(&world.path("."), "rm -r cache");
    let again = world.mount(QUICK);
    assert_eq!(shell(&again.path(), "sha256sum < Empty/big.bin"), sum);
    drop(serving);
}

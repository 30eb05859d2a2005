//! What others change shows by itself, and looking at what is known costs nothing.

use std::time::{Duration, Instant};

use assetfs::emulator::imagerelay::{Item, Seed};

use crate::support::{World, shell, try_shell};

/// As most tests mount, but with a poll every second.
const POLLING: &str = "rate=0,poll=1s,quiet=200ms,quiet_empty=200ms";

/// Waits until `script` succeeds.
fn until(world: &World, script: &str) {
    let since = Instant::now();
    while !try_shell(&world.mountpoint(), script).status.success() {
        assert!(since.elapsed() < Duration::from_secs(40), "never: {script}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn id_of(world: &World, path: &str) -> u64 {
    match world.server().remote().find(path) {
        Some(Item::File(id) | Item::Folder(id)) => id,
        None => panic!("{path} is not there"),
    }
}

#[test]
fn a_warm_mount_is_searched_without_a_request() {
    let world = World::new(Seed::Files {
        folders: 150,
        files_per_folder: 20,
    });
    let cold = world.mount("rate=0,poll=0");
    world.server().reset_counters();
    assert_eq!(shell(&cold.path(), "find . | wc -l").trim(), "3151");
    // Two pages of folders, and one of files in each of them.
    assert_eq!(world.counters().api, 2 + 150, "{:?}", world.counters());
    cold.unmount();
    let warm = world.mount("rate=0,poll=1h,list_ttl=0s");
    world.server().reset_counters();
    assert_eq!(shell(&warm.path(), "find . | wc -l").trim(), "3151");
    shell(&warm.path(), "getfattr -Rd -m - . > /dev/null");
    assert_eq!(world.counters().api, 0, "{:?}", world.counters());
}

/// Without a poll only the reader can notice: it is told so, the file is looked up once, and the next one gets it.
#[test]
fn a_file_that_others_made_shorter_is_read_anew_though_nothing_is_listed() {
    let world = World::new(Seed::Small);
    let mount = world.mount("rate=0,poll=0,list_ttl=1h");
    shell(&mount.path(), "ls -lR > /dev/null");
    world
        .server()
        .remote()
        .replace(id_of(&world, "Press/Report.txt"), b"short".to_vec())
        .expect("edited");
    world.server().reset_counters();
    until(
        &world,
        "test \"$(cat Press/Report.txt)\" = short && test $(stat -c %s Press/Report.txt) = 5",
    );
    let counters = world.counters();
    assert_eq!(counters.of("GET /files/{id}"), 1, "{counters:?}");
    assert_eq!(counters.of("GET /folders/{id}/files"), 0, "{counters:?}");
}

#[test]
fn attributes_after_a_cold_listing_ask_nothing() {
    let world = World::new(Seed::Small);
    let mount = world.mount("rate=0,poll=0,ro");
    shell(&mount.path(), "ls -lR > /dev/null");
    world.server().reset_counters();
    let fields = shell(&mount.path(), "getfattr -Rd .");
    assert!(fields.contains("user.imagerelay.term.Credit"), "{fields}");
    assert_eq!(world.counters().api, 0, "{:?}", world.counters());
}

#[test]
fn edits_and_creations_by_others_show_through_the_kernels_caches() {
    let world = World::new(Seed::Small);
    let mount = world.mount(POLLING);
    shell(&mount.path(), "ls -lR > /dev/null; cat Press/Report.txt > /dev/null");
    // Nobody asks the daemon for anything for a while: what the kernel remembers must become fresh all the same.
    let polls = || world.counters().of("GET /folders/{id}/files");
    let (before, since) = (polls(), Instant::now());
    while polls() < before + 8 {
        assert!(since.elapsed() < Duration::from_secs(60), "{:?}", world.counters());
        std::thread::sleep(Duration::from_millis(100));
    }
    let remote = world.server().remote();
    let (report, press) = (id_of(&world, "Press/Report.txt"), id_of(&world, "Press"));
    remote.replace(report, b"edited elsewhere".to_vec()).expect("edited");
    remote.create_file(press, "new.txt", b"new".to_vec()).expect("made");
    until(&world, "test \"$(cat Press/Report.txt)\" = 'edited elsewhere'");
    until(
        &world,
        "test $(stat -c %s Press/new.txt) = 3 && ls Press | grep -q new.txt",
    );
}

#[test]
fn deletions_moves_and_folders_changed_by_others_show_in_folders_in_use() {
    let world = World::new(Seed::Small);
    let mount = world.mount(POLLING);
    shell(&mount.path(), "ls -lR > /dev/null");
    let remote = world.server().remote();
    let (press, archive) = (id_of(&world, "Press"), id_of(&world, "Archive"));
    remote.delete_file(id_of(&world, "Press/Report.txt")).expect("deleted");
    remote
        .move_file(id_of(&world, "Press/Press kit.pdf"), &[archive])
        .expect("moved");
    remote.delete_folder(id_of(&world, "Empty")).expect("deleted");
    remote.create_folder(press, "Made elsewhere").expect("made");
    until(
        &world,
        "test ! -e Empty && test -e 'Archive/Press kit.pdf' && test -d 'Press/Made elsewhere'",
    );
    until(
        &world,
        "test $(ls Press | grep -c Report) = 1 && ! ls Press | grep -q kit",
    );
}

#[test]
fn a_page_that_is_lost_removes_nothing() {
    use assetfs::emulator::common::{Action, FaultRule, When};
    let world = World::new(Seed::Files {
        folders: 1,
        files_per_folder: 250,
    });
    let mount = world.mount("rate=0,poll=0");
    let count = || shell(&mount.path(), "ls folder-00000 | wc -l").trim().to_owned();
    assert_eq!(count(), "250");
    // The first page says that it was all; later, nothing says so.
    let nothing = Action::Status {
        code: 200,
        body: "[]".into(),
        headers: [("content-type".into(), "application/json".into())].into(),
    };
    for lost in [1, 2] {
        world.server().faults().add(FaultRule::new(
            "GET /folders/{id}/files",
            When::Nth(lost),
            nothing.clone(),
        ));
        mount.run(&["refresh", mount.at("folder-00000").to_str().expect("UTF-8")]);
        assert_eq!(count(), "250", "page {lost} was lost");
        world.server().faults().clear();
    }
}

#[test]
fn a_known_library_is_shown_before_the_store_has_said_a_word() {
    use assetfs::emulator::common::{Action, FaultRule, When};
    let world = World::new(Seed::Small);
    let mount = world.mount("rate=0,poll=0");
    let tree = shell(&mount.path(), "ls -lR");
    mount.unmount();
    // Whatever is asked, no answer comes.
    world
        .server()
        .faults()
        .add(FaultRule::new("*", When::Always, Action::Hang(None)));
    let mount = world.mount("rate=0,poll=0");
    assert_eq!(shell(&mount.path(), "ls -lR"), tree);
    world.server().faults().clear();
}

#[test]
fn a_damaged_catalog_is_set_aside_and_the_journal_stays() {
    let world = World::new(Seed::Small);
    let mount = world.mount("rate=0,poll=0");
    let tree = shell(&mount.path(), "ls -R; chmod 600 Press/Report.txt");
    mount.unmount();
    shell(
        &world.path("cache"),
        "for f in */catalog.db*; do dd if=/dev/urandom of=$f bs=4096 count=1 conv=notrunc status=none; done",
    );
    let mount = world.mount("rate=0,poll=0");
    assert_eq!(shell(&mount.path(), "ls -R"), tree);
    assert_eq!(shell(&mount.path(), "stat -c %a Press/Report.txt").trim(), "600");
    shell(&world.path("cache"), "ls */catalog.db.set-aside");
}

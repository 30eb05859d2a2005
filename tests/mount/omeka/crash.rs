//! The daemon is killed at every request of an overwrite, which the site can only do as a new file and a deletion.

use assetfs::emulator::common::{Action, FaultRule, When};
use assetfs::emulator::omeka::{Running, Seed};

use crate::support::{Mount, QUICK, World, shell};

const OLD: &[u8] = b"the old bytes\n";
const NEW: &[u8] = b"the new bytes, which are longer\n";

/// What is done, under which name the file is afterwards, and with which bytes.
struct Work {
    script: &'static str,
    name: &'static str,
    bytes: &'static [u8],
}

const OVERWRITE: Work = Work {
    script: "printf 'the new bytes, which are longer\\n' > Letters/1912/note.txt",
    name: "note.txt",
    bytes: NEW,
};

const RENAME: Work = Work {
    script: "mv Letters/1912/note.txt Letters/1912/renamed.txt",
    name: "renamed.txt",
    bytes: OLD,
};

fn archive() -> (World<Running>, Mount) {
    let world = World::omeka(Seed::Empty);
    let handle = world.server().handle();
    let item = handle.add_item(Some(handle.add_collection("Letters")), "1912");
    world.wait(handle.add_file(item, "note.txt", OLD)).expect("a file");
    let mount = world.mount(QUICK);
    shell(
        &mount.path(),
        "cat Letters/1912/note.txt; setfattr -n user.dublincore.title -v Kept Letters/1912/note.txt",
    );
    mount.sync();
    (world, mount)
}

/// The files that the site holds: names and bytes.
fn held(world: &World<Running>) -> Vec<(String, Vec<u8>)> {
    let handle = world.server().handle();
    let files = handle.tree().into_iter().filter(|node| node.kind == "file");
    files
        .map(|node| {
            let name = node.path.rsplit(" > ").next().unwrap_or_default().to_owned();
            (
                name,
                handle.original(node.id).map(|bytes| bytes.to_vec()).unwrap_or_default(),
            )
        })
        .collect()
}

/// The requests of the API that the work takes, in order.
fn requests_of(work: &Work) -> Vec<(String, u64)> {
    let (world, mount) = archive();
    world.requests(&mount, || {
        shell(&mount.path(), work.script);
    });
    let mut seen = std::collections::HashMap::new();
    let log = world.server().gate().traffic().log();
    let requests = log.into_iter().map(|request| {
        let nth = seen.entry(request.route.clone()).or_insert(0u64);
        *nth += 1;
        (request.route.to_string(), *nth)
    });
    requests.collect()
}

fn killed_at(work: &Work, route: &str, nth: u64, action: Action) {
    let at = format!("{route} {nth} {action:?}");
    let (world, mount) = archive();
    world.faults().add(FaultRule::new(route, When::Nth(nth), action));
    shell(&mount.path(), work.script);
    let mut waited = 0;
    while world.faults().struck() == 0 {
        assert!(waited < 3000, "{at}: it was never asked");
        std::thread::sleep(std::time::Duration::from_millis(10));
        waited += 1;
    }
    mount.kill_daemon();
    let left = held(&world);
    let whole = |(_, bytes): &(String, Vec<u8>)| bytes == OLD || bytes == NEW;
    assert!(!left.is_empty() && left.iter().all(whole), "{at}: {left:?}");
    world.faults().clear();

    let again = world.mount(QUICK);
    again.sync();
    assert_eq!(held(&world), [(work.name.to_owned(), work.bytes.to_vec())], "{at}");
    let shown = shell(
        &again.path(),
        "ls Letters/1912; getfattr --only-values -n user.dublincore.title Letters/1912/*",
    );
    assert_eq!(shown, format!("{}\nKept", work.name), "{at}");
    drop(mount);
}

fn killed_at_every_request(work: &Work) {
    let requests = requests_of(work);
    assert!(
        requests.iter().any(|(route, _)| route == "DELETE /api/files/{id}"),
        "{requests:?}"
    );
    for (route, nth) in requests {
        // Before the site did it, and after it did it.
        for action in [Action::Hang(None), Action::ApplyThenHang] {
            killed_at(work, &route, nth, action);
        }
    }
}

#[test]
fn an_overwrite_that_is_killed_at_any_request_leaves_the_old_or_the_new_file_and_then_exactly_one() {
    killed_at_every_request(&OVERWRITE);
}

#[test]
fn a_rename_that_is_killed_at_any_request_leaves_the_file_and_then_exactly_one() {
    if std::env::var("ASSETFS_TEST_FULL").is_ok_and(|v| v == "1") {
        killed_at_every_request(&RENAME);
    } else {
        killed_at(&RENAME, "POST /api/files", 1, Action::ApplyThenHang);
        killed_at(&RENAME, "DELETE /api/files/{id}", 1, Action::Hang(None));
    }
}

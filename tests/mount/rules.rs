//! What a person decides: conflicts, bursts of deletions, renames that cost.

use std::process::Output;

use assetfs::emulator::imagerelay::{Item, Seed};
use serde_json::Value;

use crate::support::{Mount, QUICK, World, shell, text, try_shell, wait_for};

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn changes(mount: &Mount) -> Vec<Value> {
    let output = mount.run(&["queue", "--json"]);
    let queue: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let changes = queue["changes"].as_array().expect("a list");
    changes.iter().map(|change| change["change"].clone()).collect()
}

fn file_id(world: &World, path: &str) -> u64 {
    match world.server().remote().find(path) {
        Some(Item::File(id)) => id,
        other => panic!("{path}: {other:?}"),
    }
}

/// Saves here, and somebody else in the store before it is sent.
fn collide(world: &World, mount: &Mount) {
    shell(&mount.path(), "echo mine > Press/Report.txt");
    let id = file_id(world, "Press/Report.txt");
    world.server().remote().replace(id, "theirs\n").expect("a new version");
}

#[test]
fn nobodys_version_is_lost_in_a_conflict_and_the_user_ends_it() {
    let world = World::new(Seed::Small);
    let mount = world.mount("rate=0,poll=0,quiet=60s");
    shell(&mount.path(), "cat Press/Report.txt > /dev/null");
    collide(&world, &mount);
    let synced = mount.run(&["sync", "--wait", "60"]);
    assert_eq!(code(&synced), Some(1), "{}", text(&synced));
    wait_for("the store's version shows under its name", || {
        shell(&mount.path(), "cat Press/Report.txt") == "theirs\n"
    });
    assert_eq!(shell(&mount.path(), "cat Press/Report\\ \\(conflict*"), "mine\n");
    let state = shell(
        &mount.path(),
        "getfattr --only-values -n user.assetfs.state Press/Report\\ \\(conflict*",
    );
    assert_eq!(state, "conflict");
    let listed = changes(&mount);
    let id = listed[0]["id"].as_u64().expect("a number").to_string();
    let wrong = mount.run(&["resolve", &id]);
    assert_eq!(code(&wrong), Some(2), "it is not guessed: {}", text(&wrong));
    let resolved = mount.run(&["resolve", &id, "--keep", "mine"]);
    assert!(resolved.status.success(), "{}", text(&resolved));
    mount.sync();
    assert_eq!(
        shell(
            &mount.path(),
            "cat Press/Report.txt; ls Press | grep -c conflict || true"
        ),
        "mine\n0\n"
    );
    let kept = file_id(&world, "Press/Report.txt");
    assert_eq!(world.server().remote().bytes(kept).as_deref(), Some(&b"mine\n"[..]));
}

#[test]
fn conflicts_upload_sends_the_version_made_here_beside_the_other() {
    let world = World::new(Seed::Small);
    let mount = world.mount("rate=0,poll=0,quiet=60s,conflicts=upload");
    shell(&mount.path(), "cat Press/Report.txt > /dev/null");
    collide(&world, &mount);
    mount.sync();
    let name = shell(&mount.path(), "ls Press | grep conflict");
    let copy = file_id(&world, &format!("Press/{}", name.trim()));
    assert_eq!(world.server().remote().bytes(copy).as_deref(), Some(&b"mine\n"[..]));
    let original = file_id(&world, "Press/Report.txt");
    assert_eq!(
        world.server().remote().bytes(original).as_deref(),
        Some(&b"theirs\n"[..])
    );
    assert_eq!(changes(&mount), Vec::<Value>::new());
}

#[test]
fn a_burst_of_deletions_waits_for_a_word() {
    let world = World::new(Seed::Small);
    let mount = world.mount(&format!("{QUICK},delete_max=2"));
    shell(&mount.path(), "for n in 1 2 3 4 5 6; do echo $n > Empty/$n.txt; done");
    mount.sync();
    shell(&mount.path(), "rm Empty/[1-6].txt; test -z \"$(ls Empty)\"");
    let synced = mount.run(&["sync", "--wait", "60"]);
    assert_eq!(code(&synced), Some(1), "{}", text(&synced));
    assert!(
        text(&synced).contains("4 changes held until `assetfs approve`"),
        "{}",
        text(&synced)
    );
    let held = changes(&mount);
    assert_eq!(held.len(), 4, "{held:?}");
    assert!(
        held.iter()
            .all(|change| change["state"] == "held" && change["what"] == "delete")
    );
    let queue = mount.run(&["queue"]);
    assert_eq!(code(&queue), Some(1), "{}", text(&queue));
    let one = held[0]["id"].as_u64().expect("a number").to_string();
    let approved = mount.run(&["approve", &one]);
    assert!(
        text(&approved).contains("1 deletion will be carried out"),
        "{}",
        text(&approved)
    );
    let back = mount.run(&["discard", "--held"]);
    assert!(text(&back).contains("3 deletions taken back"), "{}", text(&back));
    mount.sync();
    assert_eq!(shell(&mount.path(), "ls Empty | wc -l").trim(), "3");
    let stored = world.server().remote().tree(false);
    assert_eq!(
        stored.folders.iter().find(|f| f.name == "Empty").map(|f| f.files.len()),
        Some(3)
    );
    let log = mount.run(&["logs"]);
    assert_eq!(text(&log).matches("more than 2 deletions").count(), 1, "{}", text(&log));
}

/// `assetfs sync` waited for ever: the folder of what was held waited, too.
#[test]
fn a_whole_tree_beyond_the_brake_waits_for_one_word() {
    let world = World::new(Seed::Small);
    let mount = world.mount(&format!("{QUICK},delete_max=2"));
    shell(
        &mount.path(),
        "mkdir Empty/deep; for n in 1 2 3 4; do echo $n > Empty/deep/$n.txt; done",
    );
    mount.sync();
    shell(&mount.path(), "rm -r Empty/deep");
    let synced = mount.run(&["sync"]);
    assert_eq!(code(&synced), Some(1), "{}", text(&synced));
    assert!(
        text(&synced).contains("3 changes held until `assetfs approve`"),
        "{}",
        text(&synced)
    );
    let approved = mount.run(&["approve"]);
    assert!(
        text(&approved).contains("3 deletions will be carried out"),
        "{}",
        text(&approved)
    );
    mount.sync();
    assert!(world.server().remote().find("Empty/deep").is_none());
}

#[test]
fn a_mount_without_deletion_says_so() {
    let world = World::new(Seed::Small);
    let mount = world.mount(&format!("{QUICK},no_delete"));
    let refused = try_shell(&mount.path(), "rm Press/Report.txt");
    assert!(text(&refused).contains("Operation not permitted"), "{}", text(&refused));
    shell(&mount.path(), "echo new > Press/Report.txt");
    mount.sync();
    assert_eq!(shell(&mount.path(), "cat Press/Report.txt"), "new\n");
}

#[test]
fn a_rename_that_sends_the_file_again_shows_its_cost_and_is_refused_beyond_the_bound() {
    let world = World::new(Seed::Small);
    let mount = world.mount("rate=0,poll=0,quiet=60s,rename_max=1M");
    let size = shell(&mount.path(), "stat -c %s Press/Report.txt");
    shell(&mount.path(), "mv Press/Report.txt Press/Annual.txt");
    let listed = changes(&mount);
    assert_eq!(
        listed[0]["what"], "rename to Annual.txt (sends the whole file again)",
        "{listed:?}"
    );
    assert_eq!(listed[0]["bytes"].to_string(), size.trim());
    let refused = try_shell(&mount.path(), "mv Archive/footage.bin Archive/film.bin");
    assert!(text(&refused).contains("File too large"), "{}", text(&refused));
    mount.sync();
    shell(
        &mount.path(),
        "cat Press/Annual.txt > /dev/null; test -e Archive/footage.bin",
    );
}

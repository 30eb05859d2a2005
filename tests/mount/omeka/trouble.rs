//! A site that loses originals, serves other bytes, or hides behind a login page; a key that must stay secret.

use assetfs::emulator::common::{Action, FaultRule, When};
use assetfs::emulator::omeka::{Keys, Running, Seed};

use crate::support::{Mount, QUICK, World, shell, text, try_shell};

fn archive(bytes: &[u8]) -> (World<Running>, Mount, u64) {
    let world = World::omeka(Seed::Empty);
    let handle = world.server().handle();
    let item = handle.add_item(Some(handle.add_collection("Letters")), "1912");
    let file = world.wait(handle.add_file(item, "scan.txt", bytes)).expect("a file");
    let mount = world.mount("rate=0,poll=0,quiet=200ms,deadline=6s");
    shell(&mount.path(), "ls -lR > /dev/null");
    (world, mount, file)
}

fn reading_fails(mount: &Mount) {
    let output = try_shell(&mount.path(), "cat Letters/1912/scan.txt");
    assert!(text(&output).contains("Input/output error"), "{}", text(&output));
    assert!(
        !text(&output).contains("<html"),
        "a page is no content: {}",
        text(&output)
    );
}

#[test]
fn a_login_page_in_place_of_a_missing_original_never_becomes_content() {
    let (world, mount, file) = archive(&[b'x'; 4000]);
    world.server().handle().lose_original(file);
    reading_fails(&mount);
    let part = try_shell(
        &mount.path(),
        "dd if=Letters/1912/scan.txt bs=1 skip=100 count=10 status=none",
    );
    assert!(!part.status.success(), "{}", text(&part));
    // Nothing of it was kept: with the original back, its very bytes are read.
    world
        .wait(world.server().handle().damage_original(file, &[b'x'; 4000]))
        .expect("a file");
    shell(&mount.path(), "test \"$(tr -d x < Letters/1912/scan.txt | wc -c)\" = 0");
}

#[test]
fn other_bytes_than_the_sites_own_checksum_are_never_content() {
    let good: Vec<u8> = (0..200_000u32).map(|i| b'a' + (i % 23) as u8).collect();
    let (world, mount, file) = archive(&good);
    let mut bad = good.clone();
    bad[100_000] = b'!';
    world
        .wait(world.server().handle().damage_original(file, &bad))
        .expect("a file");
    reading_fails(&mount);
    world
        .wait(world.server().handle().damage_original(file, &good))
        .expect("a file");
    shell(
        &mount.path(),
        "test \"$(wc -c < Letters/1912/scan.txt)\" = 200000; ! grep -q '!' Letters/1912/scan.txt",
    );
}

#[test]
fn a_listing_that_is_a_page_is_an_error_and_no_empty_folder() {
    let world = World::omeka(Seed::Sample);
    let mount = world.mount("rate=0,poll=0,deadline=6s");
    for action in [
        Action::Html,
        Action::status(500),
        Action::TruncateBody(30),
        Action::Reset,
    ] {
        world
            .faults()
            .add(FaultRule::new("GET /api/items", When::Always, action));
        let output = try_shell(&mount.path(), "ls -A");
        assert!(text(&output).contains("Input/output error"), "{}", text(&output));
        world.faults().clear();
    }
    assert!(!shell(&mount.path(), "ls -A").is_empty());
}

#[test]
fn the_key_is_nowhere_but_in_requests() {
    let (world, mount, _) = archive(b"x\n");
    let key = Keys::default().super_user;
    world
        .faults()
        .add(FaultRule::new("PUT /api/items/{id}", When::Always, Action::status(500)));
    shell(
        &mount.path(),
        "echo new > Letters/1912/new.txt; echo no > Letters/1912/no.zzz; setfattr -n user.dublincore.creator -v Ada Letters/1912",
    );
    let sync = mount.run(&["sync", "--wait", "15"]);
    let said: Vec<String> = [&["status"][..], &["status", "--json"], &["queue", "--json"], &["logs"]]
        .iter()
        .map(|arguments| text(&mount.run(arguments)))
        .chain([text(&sync)])
        .collect();
    for said in &said {
        assert!(!said.contains(&key), "{said}");
    }
    assert!(
        said.concat().contains("PUT /items/{id}"),
        "what failed is told: {said:?}"
    );
    let left = try_shell(
        &world.path("."),
        &format!("grep -rlaF {key} state run cache; getfattr -d -m - -R mnt | grep -F {key}"),
    );
    assert!(left.stdout.is_empty(), "{}", text(&left));
}

/// The site answers with a failure and keeps the file all the same.
#[test]
fn an_upload_that_only_seems_to_fail_is_in_the_site_once() {
    let (world, mount, _) = archive(b"x\n");
    world.faults().add(FaultRule::new(
        "POST /api/files",
        When::First(1),
        Action::ApplyThenDropAnswer,
    ));
    shell(&mount.path(), "seq 1000 > Letters/1912/numbers.txt");
    mount.sync();
    let held = world.server().handle().tree();
    assert_eq!(
        held.iter().filter(|node| node.path.ends_with("numbers.txt")).count(),
        1,
        "{held:?}"
    );
    assert_eq!(shell(&mount.path(), "ls Letters/1912"), "numbers.txt\nscan.txt\n");
}

#[test]
fn uploads_of_one_name_into_many_items_take_turns() {
    let world = World::omeka(Seed::Empty);
    let handle = world.server().handle();
    let letters = handle.add_collection("Letters");
    for number in 0..8 {
        handle.add_item(Some(letters), &format!("item {number}"));
    }
    let mount = world.mount(QUICK);
    shell(
        &mount.at("Letters"),
        "for i in *; do head -c 200000 /dev/zero | tr '\\0' \"${i##* }\" > \"$i/page.txt\"; done",
    );
    mount.sync();
    let counters = world.counters();
    assert_eq!(
        counters.of("POST /api/files"),
        8,
        "none had to be sent twice: {counters:?}"
    );
    shell(
        &mount.at("Letters"),
        "sha256sum */page.txt | cut -c1-64 | sort -u | wc -l | grep -qx 8",
    );
}

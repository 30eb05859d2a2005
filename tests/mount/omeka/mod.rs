//! An archive as a drive: what an archivist does with it, and what it costs.

mod attributes;
mod crash;
mod programs;
mod refusals;
mod trouble;
mod views;

use assetfs::emulator::common::{Action, FaultRule, When};
use assetfs::emulator::omeka::{OmekaOptions, Seed};

use crate::support::{QUICK, World, shell, text};

#[test]
fn an_archive_is_listed_read_and_written() {
    let world = World::omeka(Seed::Empty);
    let mount = world.mount(QUICK);
    shell(
        &mount.path(),
        "mkdir Letters && mkdir Letters/1912 && seq 1000 > Letters/1912/numbers.txt",
    );
    mount.sync();
    let held: Vec<String> = world
        .server()
        .handle()
        .tree()
        .into_iter()
        .map(|node| node.path)
        .collect();
    assert_eq!(
        held,
        ["Letters", "Letters > 1912", "Letters > 1912 > numbers.txt"],
        "{held:?}"
    );
}

#[test]
fn a_site_that_does_not_take_the_key_or_has_no_api_is_not_mounted() {
    let mut world = World::omeka(Seed::Empty);
    world.present("ASSETFS_KEY", Some("not-a-key-of-this-site"));
    let said = text(&world.mount_fails(QUICK));
    assert!(said.contains("does not accept the credentials"), "{said}");
    assert!(!said.contains("not-a-key"), "{said}");

    let closed = World::omeka_with(OmekaOptions {
        api_enabled: false,
        ..OmekaOptions::default()
    });
    let said = text(&closed.mount_fails(QUICK));
    assert!(said.contains("API is disabled"), "{said}");
}

#[test]
fn an_upload_that_fails_for_now_goes_on_when_the_site_is_back() {
    let world = World::omeka(Seed::Empty);
    let handle = world.server().handle();
    let item = handle.add_item(Some(handle.add_collection("Letters")), "1912");
    world.wait(handle.add_file(item, "old.txt", b"old\n")).expect("a file");
    let mount = world.mount(QUICK);
    world
        .faults()
        .add(FaultRule::new("POST /api/files", When::First(1), Action::Reset));
    shell(&mount.at("Letters/1912"), "cat old.txt; seq 1000 > numbers.txt");
    mount.sync();
    let held = handle.tree();
    assert_eq!(
        held.iter().filter(|node| node.path.ends_with("numbers.txt")).count(),
        1,
        "{held:?}"
    );
}

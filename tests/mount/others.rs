//! What others change shows by itself, on stores with other ways of telling than Image Relay's.

use assetfs::emulator::flextype::FlextypeOptions;
use assetfs::emulator::im4::Im4Options;
use assetfs::emulator::omeka::Seed;

use crate::support::{Mount, World, shell, text, try_shell, wait_for};

/// As most tests mount, but with a poll every second.
const POLLING: &str = "rate=0,poll=1s,quiet=200ms,quiet_empty=200ms";

fn until(mount: &Mount, script: &str) {
    wait_for(script, || try_shell(&mount.path(), script).status.success());
}

#[test]
fn an_archive_tells_what_is_new_and_what_is_gone_shows_in_numbers() {
    let world = World::omeka(Seed::Empty);
    let handle = world.server().handle();
    let letters = handle.add_collection("Letters");
    let [y1912, y1913, y1914] = ["1912", "1913", "1914"].map(|title| handle.add_item(Some(letters), title));
    let add = |item, name: &str| world.wait(handle.add_file(item, name, b"text\n")).expect("a file");
    let old = add(y1912, "old.txt");
    add(y1912, "kept.txt");
    let mount = world.mount(POLLING);
    shell(&mount.path(), "ls -lR > /dev/null");
    // Only the feed looks at what nobody uses.
    let asked = world.requests_meanwhile(|| {
        add(y1912, "new.txt");
        handle.rename_item(y1913, "1913, revised");
        handle.remove_file(old);
        handle.remove_item(y1914);
        wait_for("a poll", || world.counters().of("GET /api/files") > 3);
    });
    assert!(asked.of("GET /api/items") > 0, "{asked:?}");
    until(
        &mount,
        "ls Letters/1912 | grep -qx new.txt && ! ls Letters/1912 | grep -q old.txt",
    );
    until(
        &mount,
        "test -d 'Letters/1913, revised' && test ! -e Letters/1913 && test ! -e Letters/1914",
    );
    assert_eq!(shell(&mount.path(), "ls Letters/1912"), "kept.txt\nnew.txt\n");
}

#[test]
fn folders_in_use_of_a_site_are_listed_again() {
    let world = World::flextype(FlextypeOptions::default());
    world.server().put_file("a/old.txt", "old");
    world.server().put_file("a/kept.txt", "kept");
    let mount = world.mount(POLLING);
    shell(&mount.path(), "ls -lR > /dev/null; cat a/kept.txt > /dev/null");
    world.server().put_file("a/new.txt", "new");
    world.server().put_file("a/kept.txt", "changed elsewhere");
    world.server().remove_file("a/old.txt");
    until(&mount, "ls a | grep -qx new.txt && test ! -e a/old.txt");
    until(&mount, "test \"$(cat a/kept.txt)\" = 'changed elsewhere'");
}

#[test]
fn folders_in_use_of_a_project_are_listed_again() {
    let world = World::im4(Im4Options {
        sample: true,
        ..Im4Options::default()
    });
    let mount = world.mount(POLLING);
    shell(&mount.path(), "ls -lR > /dev/null");
    world.server().put_file(101, 1, "new.jpg", "new").expect("a category");
    until(&mount, "test -s 'Lovelace, Ada (101)/Portraits/new.jpg'");
}

/// A pin on a path that was deleted elsewhere could not be taken back: the path led nowhere.
#[test]
fn what_was_pinned_and_is_gone_is_unpinned_by_its_path() {
    let world = World::flextype(FlextypeOptions::default());
    world.server().put_file("kept/old.txt", "old");
    let mount = world.mount(POLLING);
    let file = mount.at("kept/old.txt");
    let file = file.to_str().expect("UTF-8");
    assert!(mount.run(&["pin", file]).status.success());
    shell(&mount.path(), "ls kept");
    world.server().remove_file("kept/old.txt");
    until(&mount, "ls kept > /dev/null; test ! -e kept/old.txt");
    let unpinned = mount.run(&["unpin", file]);
    assert!(
        text(&unpinned).contains("1 pinned path that is there no more is forgotten"),
        "{}",
        text(&unpinned)
    );
    let again = mount.run(&["unpin", file]);
    assert_eq!(again.status.code(), Some(1), "{}", text(&again));
}

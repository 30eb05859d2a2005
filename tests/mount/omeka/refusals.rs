//! What an archive cannot hold or do is refused at once, with an errno that says why, and costs no request.

use std::fs;
use std::io::{Error, Result, Write};
use std::path::Path;

use assetfs::emulator::omeka::{Keys, OmekaOptions, Seed, Validation};

use crate::support::{QUICK, World, shell, text, try_shell};

const EPERM: i32 = 1;
const EACCES: i32 = 13;
const EINVAL: i32 = 22;
const ENOTEMPTY: i32 = 39;

/// Opens, writes and closes, as programs do.
fn save(path: impl AsRef<Path>, text: impl AsRef<[u8]>) -> Result<()> {
    fs::File::create(path)?.write_all(text.as_ref())
}

fn errno<T>(outcome: Result<T>) -> i32 {
    match outcome {
        Ok(_) => 0,
        Err(error) => error.raw_os_error().expect("an error of the system"),
    }
}

/// Two collections with an item each, a file in one of them, and an item without a collection.
fn seeded() -> World<assetfs::emulator::omeka::Running> {
    let world = World::omeka(Seed::Empty);
    let handle = world.server().handle();
    let (letters, maps) = (handle.add_collection("Letters"), handle.add_collection("Maps"));
    let item = handle.add_item(Some(letters), "1912");
    handle.add_item(Some(maps), "Nile");
    handle.add_item(None, "Loose");
    world
        .wait(handle.add_file(item, "note.txt", b"a note\n"))
        .expect("a file");
    world
}

#[test]
fn places_that_an_archive_does_not_have_are_eperm() {
    let world = seeded();
    let mount = world.mount(QUICK);
    shell(&mount.path(), "ls -lR > /dev/null");
    let at = |path: &str| mount.at(path);
    let asked = world.requests(&mount, || {
        for (what, got) in [
            ("a file at the top", errno(save(at("top.txt"), "x"))),
            ("a file in a collection", errno(save(at("Letters/x.txt"), "x"))),
            ("a folder in an item", errno(fs::create_dir(at("Letters/1912/sub")))),
            ("a folder in a loose item", errno(fs::create_dir(at("Loose/sub")))),
            (
                "an item out of its collection",
                errno(fs::rename(at("Letters/1912"), at("1912"))),
            ),
            (
                "a collection into a collection",
                errno(fs::rename(at("Letters"), at("Maps/Letters"))),
            ),
            (
                "a collection into an item",
                errno(fs::rename(at("Letters"), at("Maps/Nile/Letters"))),
            ),
            (
                "an item into an item",
                errno(fs::rename(at("Letters/1912"), at("Maps/Nile/1912"))),
            ),
            (
                "a file into a collection",
                errno(fs::rename(at("Letters/1912/note.txt"), at("Maps/note.txt"))),
            ),
            (
                "a file to the top",
                errno(fs::rename(at("Letters/1912/note.txt"), at("note.txt"))),
            ),
        ] {
            assert_eq!(got, EPERM, "{what}: {}", Error::from_raw_os_error(got));
        }
        assert_eq!(errno(fs::remove_dir(at("Letters"))), ENOTEMPTY);
        assert_eq!(errno(fs::remove_dir(at("Letters/1912"))), ENOTEMPTY);
    });
    assert_eq!(asked.api, 0, "{asked:?}");
    // A loose item may get into a collection; nothing brings it out again.
    fs::rename(at("Loose"), at("Maps/Loose")).expect("a move into a collection");
    mount.sync();
    assert_eq!(errno(fs::rename(at("Maps/Loose"), at("Loose"))), EPERM);
}

/// Rules about places once held only for folders that the site had already.
#[test]
fn folders_that_are_not_in_the_site_yet_have_the_same_rules() {
    let world = seeded();
    let mount = world.mount("rate=0,poll=0,quiet=60s");
    shell(&mount.path(), "mkdir New New/Item Other && echo x > New/Item/x.txt");
    for (what, got) in [
        ("a file", errno(save(mount.at("New/x.txt"), "x"))),
        ("a folder in an item", errno(fs::create_dir(mount.at("New/Item/sub")))),
        (
            "a collection with items in a collection",
            errno(fs::rename(mount.at("New"), mount.at("Other/New"))),
        ),
        (
            "an item with files at the top",
            errno(fs::rename(mount.at("New/Item"), mount.at("Item"))),
        ),
    ] {
        assert_eq!(got, EPERM, "{what}: {}", Error::from_raw_os_error(got));
    }
}

#[test]
fn below_the_mounted_folder_the_rules_are_those_of_the_site() {
    let world = seeded();
    let shelf = world.path("config.toml");
    let section = format!(
        "[archive]\nkind = \"omeka\"\nurl = \"{}\"\n",
        world.source().trim_start_matches("omeka+")
    );
    save(shelf, section).expect("a file");
    let mount = world.mount_source("archive:/Letters", QUICK);
    shell(
        &mount.path(),
        "mkdir 1913 && echo x > 1913/x.txt && echo y > 1912/y.txt",
    );
    assert_eq!(errno(save(mount.at("x.txt"), "x")), EPERM);
    assert_eq!(errno(fs::create_dir(mount.at("1913/sub"))), EPERM);
    mount.sync();
    mount.unmount();
    let mount = world.mount_source("archive:/Letters/1912", QUICK);
    shell(&mount.path(), "cat note.txt y.txt; echo z > z.txt");
    mount.sync();
    let files = world
        .server()
        .handle()
        .tree()
        .into_iter()
        .filter(|node| node.kind == "file");
    assert_eq!(files.count(), 4);
}

#[test]
fn names_that_the_site_refuses_are_einval_when_the_file_is_made() {
    let world = seeded();
    let mount = world.mount(QUICK);
    shell(&mount.path(), "ls -lR > /dev/null");
    let at = |name: &str| mount.at("Letters/1912").join(name);
    let asked = world.requests(&mount, || {
        for name in [
            "page.html",
            "pic.svg",
            "read.md",
            "data.json",
            "table.csv",
            "evil.php",
            "Makefile",
            "blob.bin",
        ] {
            assert_eq!(errno(save(at(name), "x")), EINVAL, "{name}");
            assert_eq!(errno(fs::rename(at("note.txt"), at(name))), EINVAL, "{name}");
        }
    });
    assert_eq!(asked.api, 0, "{asked:?}");
    assert_eq!(shell(&mount.at("Letters/1912"), "ls"), "note.txt\n");

    // What programs make up on the way to a good name is none of the site's business.
    let asked = world.requests(&mount, || {
        shell(&mount.at("Letters/1912"), "sed -i s/note/letter/ note.txt");
    });
    assert_eq!(asked.of("POST /api/files"), 1, "{asked:?}");
    assert_eq!(shell(&mount.at("Letters/1912"), "cat *"), "a letter\n");
}

#[test]
fn an_extension_that_the_site_refused_is_told_at_open_from_then_on() {
    let world = seeded();
    let mount = world.mount(QUICK);
    let item = mount.at("Letters/1912");
    save(item.join("scene.blend"), "BLENDER").expect("the first one is not known to be refused");
    let sync = mount.run(&["sync", "--wait", "60"]);
    assert_eq!(sync.status.code(), Some(1), "{}", text(&sync));
    assert!(
        text(&sync).contains("disallowed file extension (blend)"),
        "{}",
        text(&sync)
    );
    let asked = world.requests_meanwhile(|| {
        assert_eq!(errno(save(item.join("other.blend"), "BLENDER")), EINVAL);
    });
    assert_eq!(asked.api, 0, "{asked:?}");
    let state = "getfattr --only-values -n user.assetfs.state scene.blend; getfattr --only-values -n user.assetfs.error scene.blend";
    let said = shell(&item, state);
    assert!(
        said.starts_with("parked") && said.contains("disallowed file extension"),
        "{said}"
    );
    // It is the user's, and stays readable.
    assert_eq!(shell(&item, "cat scene.blend"), "BLENDER");
}

#[test]
fn a_site_without_validation_takes_what_the_configuration_says() {
    let world = World::omeka_with(OmekaOptions {
        seed: Seed::Empty,
        validation: Validation::Off,
        ..OmekaOptions::default()
    });
    let handle = world.server().handle();
    handle.add_item(Some(handle.add_collection("Web")), "Pages");
    let mount = world.mount(&format!("{QUICK},any_extension"));
    let item = mount.at("Web/Pages");
    shell(&item, "echo '<p>x' > page.html; echo x > Makefile; echo '{}' > d.json");
    assert_eq!(
        errno(save(item.join("evil.php"), "x")),
        EINVAL,
        "never where a server might run it"
    );
    mount.sync();
    let files: Vec<_> = handle.tree().into_iter().filter(|node| node.kind == "file").collect();
    assert_eq!(files.len(), 3, "{files:?}");
}

#[test]
fn an_empty_file_stays_here_and_hinders_nothing() {
    let world = seeded();
    let mount = world.mount(QUICK);
    let item = mount.at("Letters/1912");
    let asked = world.requests(&mount, || {
        shell(&item, ": > later.txt; touch also.txt");
        mount.sync();
    });
    assert_eq!(asked.of("POST /api/files"), 0, "{asked:?}");
    let state = "getfattr --only-values -n user.assetfs.state later.txt";
    assert_eq!(shell(&item, state), "local");
    let why = shell(&item, "getfattr --only-values -n user.assetfs.error later.txt");
    assert!(why.contains("empty"), "{why}");
    // With bytes it is a file like any other.
    shell(&item, "echo now > later.txt");
    mount.sync();
    assert_eq!(shell(&item, state), "synced");
    mount.unmount();
    let mount = world.mount(QUICK);
    assert_eq!(
        shell(&mount.at("Letters/1912"), "ls"),
        "also.txt\nlater.txt\nnote.txt\n"
    );
}

#[test]
fn values_that_the_site_cannot_keep_are_einval_before_a_request() {
    let world = seeded();
    let mount = world.mount(QUICK);
    shell(
        &mount.path(),
        "ls -lR > /dev/null; setfattr -n user.dublincore.creator -v Ada Letters/1912",
    );
    let asked = world.requests(&mount, || {
        for (script, why) in [
            (
                "setfattr -n user.dublincore.creator -v 'emoji 😀' Letters/1912",
                "Invalid argument",
            ),
            (
                "setfattr -n user.omeka.tags -v 'emoji 😀' Letters/1912",
                "Invalid argument",
            ),
            (
                "setfattr -n user.omeka.item_type -v 'No such type' Letters/1912",
                "Invalid argument",
            ),
            (
                "setfattr -n user.omeka.public -v perhaps Letters/1912",
                "Invalid argument",
            ),
            (
                "setfattr -n user.omeka.order -v -1 Letters/1912/note.txt",
                "Invalid argument",
            ),
            (
                "setfattr -n user.omeka.order -v 1 Letters/1912",
                "Operation not supported",
            ),
            (
                "setfattr -n user.omeka.tags -v sea Letters/1912/note.txt",
                "Operation not supported",
            ),
            (
                "setfattr -n user.omeka.mime_type -v text/x Letters/1912/note.txt",
                "Operation not permitted",
            ),
            ("mkdir 'Letters/emoji 😀'", "Invalid argument"),
            (
                "perl -e 'rename(\"Letters/1912\", \"Letters/emoji 😀\") or die $!'",
                "Invalid argument",
            ),
        ] {
            let output = try_shell(&mount.path(), script);
            assert!(
                !output.status.success() && text(&output).contains(why),
                "{script}: {}",
                text(&output)
            );
        }
    });
    assert_eq!(asked.api - asked.of("GET /api/elements"), 0, "{asked:?}");
}

/// Everything that changes something, tried with a login that may not.
fn every_change_is_eacces(world: &World<assetfs::emulator::omeka::Running>) {
    let mount = world.mount(QUICK);
    assert_eq!(shell(&mount.path(), "cat Letters/1912/note.txt"), "a note\n");
    let at = |path: &str| mount.at(path);
    let file = at("Letters/1912/note.txt");
    let open = fs::OpenOptions::new().append(true).open(&file);
    for (what, got) in [
        ("create", errno(save(at("Letters/1912/x.txt"), "x"))),
        ("open", errno(open)),
        ("mkdir", errno(fs::create_dir(at("New")))),
        ("rename", errno(fs::rename(at("Letters/1912"), at("Letters/1913")))),
        ("unlink", errno(fs::remove_file(&file))),
        ("rmdir", errno(fs::remove_dir(at("Maps/Nile")))),
    ] {
        assert_eq!(got, EACCES, "{what}: {}", Error::from_raw_os_error(got));
    }
    let set = try_shell(&mount.path(), "setfattr -n user.dublincore.creator -v Ada Letters/1912");
    assert!(text(&set).contains("Permission denied"), "{}", text(&set));
    mount.sync();
    assert_eq!(world.server().handle().tree().len(), 6, "nothing has changed");
}

#[test]
fn without_a_key_every_change_is_eacces() {
    let mut world = seeded();
    world.present("ASSETFS_KEY", None);
    every_change_is_eacces(&world);
}

#[test]
fn with_a_researchers_key_every_change_is_eacces_and_what_is_private_can_be_read() {
    let mut world = seeded();
    let handle = world.server().handle().clone();
    let nile = handle
        .tree()
        .into_iter()
        .find(|node| node.path == "Maps > Nile")
        .expect("an item")
        .id;
    handle.set_item_public(nile, false);
    world.present("ASSETFS_KEY", Some(&Keys::default().researcher));
    every_change_is_eacces(&world);
}

#[test]
fn a_contributor_changes_what_is_his_and_is_told_what_is_not() {
    let mut world = seeded();
    world.present("ASSETFS_KEY", Some(&Keys::default().contributor));
    let mount = world.mount(QUICK);
    shell(
        &mount.path(),
        "mkdir Mine Mine/Diary && echo dear > Mine/Diary/day.txt && mv Mine/Diary Mine/Journal",
    );
    mount.sync();
    shell(
        &mount.path(),
        "setfattr -n user.dublincore.creator -v Me Mine/Journal; rm Mine/Journal/day.txt",
    );
    mount.sync();
    save(mount.at("Letters/1912/mine.txt"), "x").expect("the site has the last word");
    let sync = mount.run(&["sync", "--wait", "60"]);
    assert_eq!(sync.status.code(), Some(1), "{}", text(&sync));
    assert!(text(&sync).contains("not allowed"), "{}", text(&sync));
    let files = world
        .server()
        .handle()
        .tree()
        .into_iter()
        .filter(|node| node.kind == "file");
    assert_eq!(files.count(), 1, "only the note that was there");
}

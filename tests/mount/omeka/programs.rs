//! The programs that people use, on an archive.

use assetfs::emulator::common::Counters;
use assetfs::emulator::omeka::{Handle, Node, Running, Seed};

use crate::support::{Mount, QUICK, World, shell, text};

/// A local tree of the shape that an archive allows.
const TREE: &str = "mkdir -p tree/Letters/1912 tree/Letters/1913 'tree/Maps/The Nile, 1∕2'
    seq 1000 > tree/Letters/1912/numbers.txt
    for i in $(seq 12); do echo page $i > \"tree/Letters/1913/page $i.txt\"; done
    printf '%%PDF-1.4 %s' \"$(seq 300)\" > 'tree/Maps/The Nile, 1∕2/carte d’été \"bleue\".pdf'
    touch -d '2001-02-03 04:05:06' tree/Letters/1912/numbers.txt";

/// A mount of an archive with `Letters/1912/note.txt`, which has fields, and a second item.
fn archive() -> (World<Running>, Mount) {
    let world = World::omeka(Seed::Empty);
    let handle = world.server().handle();
    let letters = handle.add_collection("Letters");
    let item = handle.add_item(Some(letters), "1912");
    handle.add_item(Some(letters), "1913");
    handle.add_item_text(item, "Creator", "<b>Ada</b>", true);
    world
        .wait(handle.add_file(item, "note.txt", b"a note\n"))
        .expect("a file");
    let mount = world.mount(QUICK);
    shell(
        &mount.path(),
        "ls -lR > /dev/null
         setfattr -n user.dublincore.title -v 'The note' Letters/1912/note.txt
         setfattr -n user.dublincore.creator -v $'Ada\\nBob' Letters/1912/note.txt
         setfattr -n user.omeka.order -v 7 Letters/1912/note.txt",
    );
    mount.sync();
    (world, mount)
}

fn files(handle: &Handle) -> Vec<Node> {
    handle.tree().into_iter().filter(|node| node.kind == "file").collect()
}

fn attributes(mount: &Mount, path: &str) -> String {
    let dumped = shell(&mount.path(), &format!("getfattr -d '{path}'"));
    dumped
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect::<Vec<_>>()
        .join("\n")
}

fn id(mount: &Mount, path: &str) -> String {
    shell(
        &mount.path(),
        &format!("getfattr --only-values -n user.assetfs.id '{path}'"),
    )
}

#[test]
fn a_tree_is_copied_in_and_out_and_stays_itself() {
    let world = World::omeka(Seed::Empty);
    let mount = world.mount(QUICK);
    shell(&world.path("."), TREE);
    shell(&world.path("."), "cp -a tree/. mnt/ && diff -r tree mnt");
    mount.sync();
    mount.unmount();
    shell(&world.path("."), "rm -r cache");
    let _mount = world.mount(QUICK);
    shell(&world.path("."), "cp -a mnt out && diff -r tree out");
    let titles: Vec<String> = world
        .server()
        .handle()
        .tree()
        .into_iter()
        .map(|node| node.path)
        .collect();
    let nile = "Maps > The Nile, 1/2 > carte d’été \"bleue\".pdf";
    assert!(titles.iter().any(|path| path == nile), "{titles:?}");
    assert_eq!(titles.len(), 2 + 3 + 14, "{titles:?}");
}

#[test]
fn rsync_carries_attributes_and_transfers_nothing_twice() {
    let (world, mount) = archive();
    shell(&world.path("."), TREE);
    shell(&world.path("."), "rsync -aX tree/ mnt/ && rsync -aX mnt/ out/");
    mount.sync();
    for (from, to) in [("tree", "mnt"), ("mnt", "out")] {
        let again = shell(&world.path("."), &format!("rsync -aX --stats {from}/ {to}/"));
        assert!(again.contains("Number of regular files transferred: 0"), "{again}");
    }
    let copied = shell(
        &world.path("out"),
        "getfattr --only-values -n 'user.omeka.Dublin Core.Creator' Letters/1912/note.txt",
    );
    assert_eq!(copied, "Ada\nBob");
    // And back in as something new, with everything that can be set.
    shell(
        &world.path("."),
        "cp -a out/Letters mnt/Again && rsync -aX out/Letters/ mnt/Again/",
    );
    mount.sync();
    assert_eq!(
        attributes(&mount, "Again/1912/note.txt"),
        attributes(&mount, "Letters/1912/note.txt")
    );
}

/// Does something to a file that the site cannot change, and compares what is left of it.
fn keeps_everything(world: &World<Running>, mount: &Mount, before: &str, script: &str, after: &str) -> Counters {
    let (fields, old) = (attributes(mount, before), id(mount, before));
    let count = files(world.server().handle()).len();
    let asked = world.requests(mount, || {
        shell(&mount.path(), script);
    });
    assert_eq!(attributes(mount, after), fields, "{script}");
    assert_ne!(id(mount, after), old, "the site gives a new file a new id");
    assert_eq!(
        files(world.server().handle()).len(),
        count,
        "{script}: neither lost nor doubled"
    );
    assert_eq!(
        (asked.of("POST /api/files"), asked.of("DELETE /api/files/{id}")),
        (1, 1),
        "{script}: {asked:?}"
    );
    asked
}

#[test]
fn saving_renaming_and_moving_a_file_keep_its_fields_and_its_place_in_the_order() {
    let (world, mount) = archive();
    let note = "Letters/1912/note.txt";
    for script in [
        "echo second > Letters/1912/note.txt",
        "echo third > Letters/1912/.note.txt.tmp && mv Letters/1912/.note.txt.tmp Letters/1912/note.txt",
        "cd Letters/1912 && perl -e 'rename(\"note.txt\", \"note.txt~\") or die $!;
            open(F, \">\", \"note.txt\") or die $!; print F \"fourth\\n\"; close(F) or die $!; unlink \"note.txt~\"'",
        "sed -i s/fourth/fifth/ Letters/1912/note.txt",
    ] {
        keeps_everything(&world, &mount, note, script, note);
    }
    assert_eq!(shell(&mount.path(), "cat Letters/1912/note.txt"), "fifth\n");
    let renamed = "Letters/1912/été.txt";
    keeps_everything(&world, &mount, note, &format!("mv {note} {renamed}"), renamed);
    let moved = "Letters/1913/été.txt";
    keeps_everything(&world, &mount, renamed, &format!("mv {renamed} Letters/1913/"), moved);
    let [file] = &files(world.server().handle())[..] else {
        panic!("one file")
    };
    assert_eq!(file.path, "Letters > 1913 > été.txt");
    assert_eq!(
        world.server().handle().original(file.id).as_deref(),
        Some(&b"fifth\n"[..])
    );
    assert!(attributes(&mount, moved).contains("user.omeka.order=\"7\""));
}

#[test]
fn a_save_that_changes_nothing_sends_nothing() {
    let (world, mount) = archive();
    let asked = world.requests(&mount, || {
        shell(
            &mount.path(),
            "cp Letters/1912/note.txt /dev/shm/ 2> /dev/null; echo 'a note' > Letters/1912/note.txt",
        );
    });
    assert_eq!(asked.of("POST /api/files"), 0, "{asked:?}");
}

#[test]
fn collections_and_items_are_renamed_by_their_title_and_keep_all_other_texts() {
    let (world, mount) = archive();
    shell(
        &mount.path(),
        "setfattr -n user.dublincore.description -v $'two\\nvalues' Letters Letters/1912
         setfattr -n user.omeka.tags -v $'old ship\\nSea' Letters/1912
         setfattr -n user.omeka.featured -v true Letters",
    );
    mount.sync();
    let before = attributes(&mount, "Letters/1912").replace("1912", "1912 to 1914");
    let asked = world.requests(&mount, || {
        shell(&mount.path(), "mv Letters/1912 'Letters/1912 to 1914'");
    });
    assert_eq!(
        (asked.of("PUT /api/items/{id}"), asked.of("GET /api/items/{id}")),
        (1, 1),
        "{asked:?}"
    );
    assert_eq!(attributes(&mount, "Letters/1912 to 1914"), before);
    shell(
        &mount.path(),
        "mv Letters Post; mkdir Maps; mv 'Post/1912 to 1914' Maps/",
    );
    mount.sync();
    assert_eq!(attributes(&mount, "Maps/1912 to 1914"), before);
    assert!(attributes(&mount, "Post").contains("user.omeka.featured=\"true\""));
    let html = world
        .server()
        .handle()
        .item_texts(id(&mount, "Maps/1912 to 1914").parse().expect("a number"));
    assert!(html.contains(&("Creator", "<b>Ada</b>".to_owned(), true)), "{html:?}");
}

#[test]
fn removing_a_tree_removes_it_and_a_folder_with_something_in_it_stays() {
    let (world, mount) = archive();
    shell(&mount.path(), "mkdir Maps Maps/Nile && echo x > Maps/Nile/x.txt");
    mount.sync();
    shell(
        &mount.path(),
        "! rmdir Maps/Nile 2> /dev/null; ! rmdir Maps 2> /dev/null; rm -r Letters",
    );
    mount.sync();
    let left: Vec<String> = world
        .server()
        .handle()
        .tree()
        .into_iter()
        .map(|node| node.path)
        .collect();
    assert_eq!(left, ["Maps", "Maps > Nile", "Maps > Nile > x.txt"]);
}

#[test]
fn a_folder_that_somebody_filled_meanwhile_is_not_removed() {
    let (world, mount) = archive();
    shell(&mount.path(), "ls Letters/1913");
    let handle = world.server().handle();
    let item = handle
        .tree()
        .into_iter()
        .find(|node| node.path.ends_with("1913"))
        .expect("an item")
        .id;
    world
        .wait(handle.add_file(item, "late.txt", b"late\n"))
        .expect("a file");
    shell(&mount.path(), "rmdir Letters/1913");
    mount.sync();
    let nothing_is_lost = handle.tree().iter().any(|node| node.path.ends_with("late.txt"));
    assert!(nothing_is_lost, "{:?}", handle.tree());
    // It is shown again, with what was found in it, and the reason is told.
    shell(
        &mount.path(),
        "for try in $(seq 300); do cat Letters/1913/late.txt 2> /dev/null && exit 0; sleep 0.1; done; exit 1",
    );
    let status = text(&mount.run(&["status"]));
    assert!(status.contains("not empty"), "{status}");
}

#[test]
fn two_thousand_files_are_listed_page_by_page_and_once() {
    let world = World::omeka(Seed::Bulk {
        collections: 1,
        items_each: 1,
        files_each: 2000,
    });
    let mount = world.mount(QUICK);
    let item = shell(&mount.path(), "find . -mindepth 2 -maxdepth 2 -type d");
    let folder = mount.at(item.trim());
    let asked = world.requests(&mount, || {
        assert_eq!(shell(&folder, "ls -l | wc -l"), "2001\n");
    });
    // 50 a page, as the site gives them.
    assert_eq!((asked.api, asked.of("GET /api/files")), (40, 40), "{asked:?}");
    let again = world.requests(&mount, || {
        shell(&folder, "ls -l > /dev/null; getfattr -d * > /dev/null");
    });
    assert_eq!((again.api, again.content), (0, 0), "{again:?}");
}

/// `ls -R` of many items with a file each cost a request for each.
#[test]
fn a_walk_through_many_items_lists_all_files_in_pages() {
    let world = World::omeka(Seed::Bulk {
        collections: 3,
        items_each: 100,
        files_each: 1,
    });
    let empty = world.server().handle().add_collection("Empty items");
    for number in 0..40 {
        world
            .server()
            .handle()
            .add_item(Some(empty), &format!("nothing {number}"));
    }
    let mount = world.mount(QUICK);
    let asked = world.requests(&mount, || {
        assert_eq!(shell(&mount.path(), "find . -type f | wc -l"), "300\n");
    });
    // One page of collections, one of loose items, two of items in each of three collections and one in the last; three
    // items to begin with; six pages of files.
    assert_eq!(asked.api, 2 + 7 + 3 + 6, "{asked:?}");
    shell(&mount.path(), "test \"$(find . -mindepth 2 -type d | wc -l)\" = 340");
}

#[test]
fn a_file_in_a_collection_gets_an_item_of_its_own_where_that_is_wanted() {
    let world = World::omeka(Seed::Empty);
    world.server().handle().add_collection("Photos");
    let mount = world.mount(&format!("{QUICK},item_per_file,public"));
    shell(
        &world.path("."),
        "seq 100 > first.txt; seq 200 > second.txt; cp first.txt second.txt mnt/Photos/; cp first.txt mnt/",
    );
    mount.sync();
    let mut held: Vec<String> = world
        .server()
        .handle()
        .tree()
        .into_iter()
        .map(|node| node.path)
        .collect();
    held.sort();
    assert_eq!(
        held,
        [
            "Photos",
            "Photos > first.txt",
            "Photos > first.txt > first.txt",
            "Photos > second.txt",
            "Photos > second.txt > second.txt",
            "first.txt",
            "first.txt > first.txt",
        ]
    );
    // What the drive shows is what a fresh mount shows, too.
    for folder in ["", "Photos"] {
        let folder = mount.at(folder);
        let refreshed = mount.run(&["refresh", folder.to_str().expect("UTF-8")]);
        assert!(refreshed.status.success(), "{}", text(&refreshed));
    }
    assert_eq!(shell(&mount.path(), "find . | wc -l"), "8\n");
    let shown = shell(&mount.path(), "find . | sort");
    mount.unmount();
    shell(&world.path("."), "rm -r cache");
    let mount = world.mount(&format!("{QUICK},item_per_file"));
    assert_eq!(shell(&mount.path(), "find . | sort"), shown);
    shell(&world.path("."), "cmp first.txt mnt/Photos/first.txt/first.txt");
    let public = shell(
        &mount.path(),
        "getfattr --only-values -n user.omeka.public Photos/first.txt",
    );
    assert_eq!(public, "true");
}

//! Requests are the scarcest thing of this store: what each operation costs, on the wire.

use assetfs::emulator::imagerelay::Seed;

use crate::support::{QUICK, World, shell};

#[test]
fn a_warm_mount_costs_at_most_two_requests() {
    let world = World::new(Seed::Small);
    world.mount(QUICK).unmount();
    world.server().reset_counters();
    let _mount = world.mount(QUICK);
    let asked = world.counters();
    assert!((1..=2).contains(&asked.api), "{asked:?}");
}

#[test]
fn a_second_look_at_the_tree_asks_nothing() {
    let world = World::new(Seed::Small);
    let mount = world.mount(QUICK);
    let first = shell(&mount.path(), "ls -lR");
    world.server().reset_counters();
    assert_eq!(shell(&mount.path(), "ls -lR"), first);
    shell(
        &mount.path(),
        "find . -printf '%p %s %T@\\n' > /dev/null; df . > /dev/null",
    );
    assert_eq!(world.counters().api, 0, "{:?}", world.counters());
}

#[test]
fn reading_a_file_mints_one_link_and_reading_it_again_asks_nothing() {
    let world = World::new(Seed::Small);
    let mount = world.mount(QUICK);
    shell(&mount.path(), "ls -lR > /dev/null");
    let first = world.requests(&mount, || {
        shell(
            &mount.path(),
            "cat Campaigns/Logo.png > ../logo; cmp ../logo Campaigns/Logo.png",
        );
    });
    assert_eq!((first.api, first.of("POST /quick_links")), (1, 1), "{first:?}");
    let second = world.requests(&mount, || {
        shell(&mount.path(), "cmp ../logo Campaigns/Logo.png");
    });
    assert_eq!((second.api, second.content), (0, 0), "{second:?}");
}

#[test]
fn a_new_file_costs_its_job_and_its_chunks() {
    let world = World::new(Seed::Small);
    let mount = world.mount(QUICK);
    shell(&mount.path(), "ls -lR > /dev/null");
    let asked = world.requests(&mount, || {
        shell(&mount.path(), "head -c 11000000 /dev/urandom > Empty/three-chunks.bin");
    });
    assert_eq!(asked.of("POST /upload_jobs"), 1, "{asked:?}");
    assert_eq!(asked.of("POST /upload_jobs/{id}/files/{id}/chunks/{n}"), 3, "{asked:?}");
    assert_eq!(asked.api, 4, "{asked:?}");
}

/// A new file is not looked at after its upload. So the first listing tells more of it than is known, which must not pass
/// for another version: not under who has it open, not for what is kept of it, and not for the next save.
#[test]
fn new_files_cost_two_requests_each_and_are_known_again_when_they_are_listed() {
    let world = World::new(Seed::Small);
    let mut mount = world.mount(QUICK);
    shell(&mount.path(), "ls -lR > /dev/null");
    let files = "mkdir ../src; for n in $(seq 20); do seq $n > ../src/$n.txt; done";
    shell(&mount.path(), files);
    let asked = world.requests(&mount, || {
        shell(&mount.path(), "cp ../src/*.txt Empty/");
    });
    assert_eq!(asked.api, 40, "{asked:?}");
    let inodes = "stat -c '%i %Y' Empty/*.txt";
    let mut before = shell(&mount.path(), inodes);
    let asked = world.requests(&mount, || {
        shell(&mount.path(), "for f in Empty/*.txt; do getfattr -d $f; done");
    });
    assert_eq!(asked.api, 1, "their attributes come together: {asked:?}");
    for remounted in [false, true] {
        if remounted {
            mount.unmount();
            mount = world.mount(QUICK);
        }
        mount.run(&["refresh", &mount.at("Empty").to_string_lossy()]);
        assert_eq!(shell(&mount.path(), inodes), before);
        let asked = world.requests(&mount, || {
            shell(
                &mount.path(),
                "for n in $(seq 20); do cmp ../src/$n.txt Empty/$n.txt; done",
            );
        });
        assert_eq!((asked.api, asked.content), (0, 0), "{asked:?}");
        let asked = world.requests(&mount, || {
            shell(&mount.path(), "echo more >> Empty/7.txt");
        });
        assert_eq!(asked.of("POST /files/{id}/versions"), 1, "{asked:?}");
        assert_eq!(shell(&mount.path(), "ls Empty | wc -l").trim(), "20", "no conflict");
        shell(&mount.path(), "cp Empty/7.txt ../src/7.txt");
        before = shell(&mount.path(), inodes);
    }
}

/// The answer to a second save of a new file is the first look at it, and still tells of other bytes.
#[test]
fn a_new_file_that_is_saved_again_with_as_many_bytes_shows_the_later_ones() {
    let world = World::new(Seed::Small);
    let mut mount = world.mount(QUICK);
    shell(&mount.path(), "ls -lR > /dev/null");
    let saves = [
        "printf 1111 > Empty/new.txt",
        "printf 2222 > Empty/new.txt",
        "printf 3333 > Empty/other.tmp; mv Empty/other.tmp Empty/new.txt",
    ];
    for (number, save) in saves.into_iter().enumerate() {
        world.requests(&mount, || {
            shell(&mount.path(), save);
        });
        let shown = shell(&mount.path(), "cat Empty/new.txt");
        assert_eq!(shown, (number + 1).to_string().repeat(4));
    }
    mount.unmount();
    mount = world.mount(QUICK);
    assert_eq!(shell(&mount.path(), "cat Empty/new.txt"), "3333", "after a restart");
}

#[test]
fn an_overwrite_is_one_version_of_the_same_asset() {
    let world = World::new(Seed::Small);
    let mount = world.mount(QUICK);
    shell(&mount.path(), "ls -lR > /dev/null");
    let id = shell(
        &mount.path(),
        "getfattr --only-values -n user.assetfs.id Press/Report.txt",
    );
    let asked = world.requests(&mount, || {
        shell(&mount.path(), "seq 1000 > Press/Report.txt");
    });
    assert_eq!(asked.of("POST /files/{id}/versions"), 1, "{asked:?}");
    assert_eq!(asked.of("POST /upload_jobs"), 0, "{asked:?}");
    assert!(asked.api <= 5, "{asked:?}");
    let after = shell(
        &mount.path(),
        "getfattr --only-values -n user.assetfs.id Press/Report.txt",
    );
    assert_eq!(after, id);
}

#[test]
fn an_editors_save_by_rename_is_an_overwrite() {
    let world = World::new(Seed::Small);
    let mount = world.mount(QUICK);
    shell(&mount.path(), "ls -lR > /dev/null");
    let asked = world.requests(&mount, || {
        shell(
            &mount.path(),
            "seq 500 > Press/.Report.txt.tmp && mv Press/.Report.txt.tmp Press/Report.txt",
        );
    });
    assert_eq!(asked.of("POST /files/{id}/versions"), 1, "{asked:?}");
    assert_eq!(
        asked.of("POST /upload_jobs"),
        0,
        "the temporary file must not reach the store: {asked:?}"
    );
    assert!(asked.api <= 5, "{asked:?}");
}

#[test]
fn folders_cost_one_request_each() {
    let world = World::new(Seed::Small);
    let mount = world.mount(QUICK);
    shell(&mount.path(), "ls -lR > /dev/null");
    for (script, route) in [
        ("mkdir Empty/New", "POST /folders/{id}/children"),
        ("mv Empty/New Empty/Newer", "PUT /folders/{id}"),
        ("mv Empty/Newer Press/Newer", "PUT /folders/{id}"),
    ] {
        let asked = world.requests(&mount, || {
            shell(&mount.path(), script);
        });
        assert_eq!((asked.api, asked.of(route)), (1, 1), "{script}: {asked:?}");
    }
}

#[test]
fn moving_linking_and_removing_a_file_cost_one_or_two() {
    let world = World::new(Seed::Small);
    let mount = world.mount(QUICK);
    shell(&mount.path(), "ls -lR > /dev/null");
    for (script, route) in [
        ("mv 'Press/Press kit.pdf' Empty/", "POST /files/{id}/move"),
        (
            "ln 'Empty/Press kit.pdf' 'Press/Press kit.pdf'",
            "POST /files/{id}/synced_file",
        ),
        ("rm Archive/'Old things'/'data (1).csv'", "DELETE /files/{id}"),
    ] {
        let asked = world.requests(&mount, || {
            shell(&mount.path(), script);
        });
        assert_eq!(asked.of(route), 1, "{script}: {asked:?}");
        // The names of terms are read once a mount, by whoever needs them first.
        let once = asked.of("GET /file_types");
        assert!(asked.api - once <= 2, "{script}: {asked:?}");
    }
}

/// `cp` to another folder leaves the copy to the server. What is copied may change, or go, as soon as `cp` has ended: the
/// copy is made first, and of what there was.
#[test]
fn a_copy_to_another_folder_sends_no_bytes_and_is_one_of_what_was_copied() {
    let world = World::new(Seed::Small);
    let mount = world.mount(QUICK);
    shell(&mount.path(), "ls -lR > /dev/null");
    let sum = |path: &str| shell(&mount.path(), &format!("sha256sum < '{path}'"));
    let (here, there) = ("Press/Press kit.pdf", "Empty/Press kit.pdf");
    let copied = sum(here);
    for (script, versions) in [
        (format!("cp '{here}' '{there}'; rm '{here}'"), 0),
        (format!("cp '{there}' '{here}'; echo other > '{there}'"), 1),
    ] {
        let asked = world.requests(&mount, || {
            shell(&mount.path(), &script);
        });
        assert_eq!(asked.of("POST /files/{id}/duplicate"), 1, "{script}: {asked:?}");
        assert_eq!(asked.of("POST /upload_jobs"), 0, "{script}: {asked:?}");
        assert_eq!(asked.of("POST /files/{id}/versions"), versions, "{script}: {asked:?}");
        assert_eq!(asked.content, 0, "{script}: {asked:?}");
    }
    assert_eq!(sum(here), copied);
    assert_eq!(shell(&mount.path(), &format!("cat '{there}'")), "other\n");
}

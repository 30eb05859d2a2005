//! The projects of an im4 as a drive.

use assetfs::emulator::im4::Im4Options;

use crate::support::{QUICK, World, shell, text, try_shell};

#[test]
fn a_project_is_listed_read_and_written() {
    let world = World::im4(Im4Options {
        sample: true,
        ..Im4Options::default()
    });
    let mount = world.mount(QUICK);
    let category = shell(&mount.path(), "find . -mindepth 2 -maxdepth 2 -type d -print -quit");
    shell(
        &mount.at(category.trim()),
        "seq 1000 > numbers.txt && sha256sum numbers.txt > ../../../sums",
    );
    mount.unmount();
    shell(&world.path("."), "rm -r cache");
    let mount = world.mount(QUICK);
    shell(&mount.at(category.trim()), "sha256sum --quiet -c ../../../sums");
}

#[test]
fn categories_are_filled_changed_and_emptied_and_the_rest_is_refused() {
    let world = World::im4(Im4Options {
        sample: true,
        ..Im4Options::default()
    });
    let mount = world.mount(QUICK);
    // Every name of the project's own folder, from the top.
    let at = |script: &str| {
        let below = |text: String, name: &&str| text.replace(name, &format!("'Lovelace, Ada (101)'/{name}"));
        let names = ["Ceremony", "Portraits", "stray", "Party"];
        names.iter().fold(script.replace("../../", "../"), below)
    };
    shell(
        &mount.path(),
        "mkdir ../set && seq 500 > ../set/a.txt && seq 900 > ../set/b.txt",
    );
    shell(
        &mount.path(),
        &at("cp -a ../../set/. Ceremony/ && rsync -aX ../../set/ Ceremony/"),
    );
    mount.sync();
    shell(
        &mount.path(),
        &at("cmp Ceremony/a.txt ../../set/a.txt && cp -a Portraits ../../out"),
    );
    shell(
        &mount.path(),
        &at("setfattr -n user.im4.byline -v 'With love' Ceremony/a.txt"),
    );
    mount.sync();
    let moved = world.requests(&mount, || {
        shell(&mount.path(), &at("mv Ceremony/a.txt Portraits/"));
    });
    assert_eq!(
        moved.of("POST /api/project/{id}/files/{id}/set-metadata"),
        1,
        "{moved:?}"
    );
    shell(&mount.path(), &at("mv Portraits/a.txt Portraits/renamed.txt"));
    shell(
        &mount.path(),
        &at("echo new > Ceremony/.b.txt.new && mv Ceremony/.b.txt.new Ceremony/b.txt"),
    );
    mount.sync();
    let byline = at("getfattr --only-values -n user.im4.byline Portraits/renamed.txt");
    assert_eq!(
        shell(&mount.path(), &byline),
        "With love",
        "a rename takes the metadata along"
    );
    assert_eq!(shell(&mount.path(), &at("cat Ceremony/b.txt")), "new\n");
    for (script, why) in [
        ("mkdir Ceremony/below", "Operation not permitted"),
        ("echo x > stray.txt", "Operation not permitted"),
        ("mv Ceremony Party", "Operation not permitted"),
        ("setfattr -n user.im4.priority -v 7 Ceremony/b.txt", "Invalid argument"),
    ] {
        let output = try_shell(&mount.path(), &at(script));
        assert!(!output.status.success(), "{script} must fail");
        assert!(text(&output).contains(why), "{script}: {}", text(&output));
    }
    shell(&mount.path(), &at("rm -r Ceremony/* Portraits/renamed.txt"));
    mount.sync();
    let project = world.server().project(101).expect("the project");
    assert!(
        project.files.values().all(|file| file.category != 2),
        "the category is empty"
    );
}

#[test]
fn two_thousand_files_of_a_project_are_listed_in_one_request() {
    let world = World::im4(Im4Options {
        sample: true,
        ..Im4Options::default()
    });
    for number in 0..2_000 {
        let name = format!("file-{number:04}.txt");
        assert!(world.server().put_file(101, 1, &name, "x").is_some());
    }
    let mount = world.mount(QUICK);
    let asked = world.requests(&mount, || {
        let listed = shell(&mount.path(), "ls -l > /dev/null && ls -l */Portraits | grep -c file-");
        assert_eq!(listed.trim(), "2000");
    });
    assert_eq!(
        asked.of("GET /api/project/{id}"),
        0,
        "no request for a project: {asked:?}"
    );
    assert_eq!(
        asked.of("GET /api/project/{id}/files/all"),
        3,
        "one for each project: {asked:?}"
    );
}

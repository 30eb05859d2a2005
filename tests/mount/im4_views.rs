//! Searches and other views of the projects of an im4, and of a store that cannot search.

use assetfs::emulator::flextype::FlextypeOptions;
use assetfs::emulator::im4::{Im4Options, Project};

use crate::support::{Mount, QUICK, World, fails, shell, text, try_shell};

/// The names in a folder, joined by `|`.
fn names(mount: &Mount, path: &str) -> String {
    let listed = shell(&mount.path(), &format!("ls \"{path}\""));
    listed.lines().collect::<Vec<_>>().join("|")
}

fn refused(mount: &Mount, path: &str, why: &str) {
    fails(mount, &format!("ls \"{path}\""), why);
}

fn id_of(mount: &Mount, path: &str) -> String {
    shell(
        &mount.path(),
        &format!("getfattr --only-values -n user.assetfs.id \"{path}\""),
    )
}

#[test]
fn projects_and_files_are_found_by_every_filter() {
    let world = World::im4(Im4Options {
        sample: true,
        ..Im4Options::default()
    });
    let mount = world.mount(QUICK);
    let (ada, alan, grace) = ("Lovelace, Ada (101)", "Turing, Alan (102)", "Hopper, Grace (103)");
    for (query, found) in [
        ("Ada", ada.to_owned()),
        ("search=Turing", alan.to_owned()),
        ("search=%54uring", alan.to_owned()),
        ("2026-10", format!("{grace}|{ada}|{alan}")),
        ("days=30", ada.to_owned()),
        ("days=50&agency=1", alan.to_owned()),
        ("agency=2", format!("{grace}|{ada}")),
        ("search=a&days=30", ada.to_owned()),
        ("nobody", String::new()),
    ] {
        assert_eq!(names(&mount, &format!(".search/{query}")), found, "{query}");
    }
    for (path, found) in [
        ("portrait", "portrait-black-white.jpg|portrait.jpg"),
        ("search=black", "portrait-black-white.jpg"),
        ("b%6Cack", "portrait-black-white.jpg"),
        ("portrait&recursive=false", ""),
    ] {
        assert_eq!(names(&mount, &format!("{ada}/.search/{path}")), found, "{path}");
    }
    assert_eq!(names(&mount, &format!("{ada}/Ceremony/.search/portrait")), "");
    assert_eq!(
        names(&mount, &format!("{ada}/Ceremony/.search/flowers&recursive=false")),
        "flowers.jpg"
    );
    shell(
        &mount.path(),
        &format!("setfattr -n user.im4.caption -v 'The whole family' '{ada}/Ceremony/group.jpg'"),
    );
    mount.sync();
    assert_eq!(names(&mount, &format!("{ada}/.search/family")), "group.jpg");
    for path in [
        ".search/colour=red".to_owned(),
        ".search/days=many".to_owned(),
        ".search/x&recursive=perhaps".to_owned(),
        format!("{ada}/.search/days=5"),
    ] {
        refused(&mount, &path, "Invalid argument");
    }
}

#[test]
fn views_show_the_assets_themselves() {
    let world = World::im4(Im4Options {
        sample: true,
        ..Im4Options::default()
    });
    let new = Project {
        firstname: "Emmy".into(),
        lastname: "Noether".into(),
        age_days: 1,
        ..world.server().project(101).expect("a project")
    };
    world.server().put_project(104, new);
    let mount = world.mount(QUICK);
    assert_eq!(names(&mount, ".recent"), "Noether, Emmy (104)");
    let ada = "Lovelace, Ada (101)";
    let file = id_of(&mount, &format!("{ada}/Portraits/portrait.jpg"));
    shell(
        &mount.path(),
        &format!(
            "test .search/Ada/'{ada}' -ef '{ada}'
             test '{ada}/.search/portrait/portrait.jpg' -ef '{ada}/Portraits/portrait.jpg'
             cmp '{ada}/.search/portrait/portrait.jpg' '{ada}/Portraits/portrait.jpg'
             test .id/101 -ef '{ada}'
             test '.id/{file}' -ef '{ada}/Portraits/portrait.jpg'
             test ! -e .id/999"
        ),
    );
    refused(&mount, ".tags/family", "Operation not supported");
    refused(&mount, ".collections", "Operation not supported");
    let output = try_shell(&mount.at(ada), "rm .search/portrait/portrait.jpg");
    assert!(text(&output).contains("Operation not permitted"), "{}", text(&output));
    let place = mount.at(ada);
    let found = text(&mount.run(&["search", place.to_str().expect("UTF-8"), "flowers"]));
    assert!(found.contains(&format!("{ada}/Ceremony/flowers.jpg")), "{found}");
    let key = file.rsplit(':').next().unwrap_or_default();
    let found = text(&mount.run(&["path", key]));
    assert!(found.contains(&format!("{ada}/Portraits/portrait.jpg")), "{found}");
}

#[test]
fn a_store_that_cannot_search_says_so_and_finds_by_id() {
    let world = World::flextype(FlextypeOptions::default());
    world.server().put_file("a/b.txt", "b");
    let mount = world.mount(QUICK);
    refused(&mount, ".search/words", "Operation not supported");
    refused(&mount, "a/.search/words", "Operation not supported");
    refused(&mount, ".tags/x", "Operation not supported");
    refused(&mount, ".recent", "Operation not supported");
    let id = id_of(&mount, "a/b.txt").replace('/', "%2F");
    shell(
        &mount.path(),
        &format!("test '.id/{id}' -ef a/b.txt && test .id/a -ef a && test ! -e .id/nowhere"),
    );
    let found = text(&mount.run(&["path", "a/b.txt"]));
    assert!(found.contains("mnt/a/b.txt\n"), "{found}");
    let file = mount.at("a/b.txt");
    let address = text(&mount.run(&["url", file.to_str().expect("UTF-8")]));
    assert!(address.contains("/project/uploads/a/b.txt"), "{address}");
}

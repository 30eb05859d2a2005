//! Virtual folders, as programs see them.

use assetfs::emulator::imagerelay::Seed;

use crate::support::{QUICK, World, fails, shell, text, try_shell};

#[test]
fn views_are_there_for_who_names_them_and_for_nobody_else() {
    let world = World::new(Seed::Small);
    let mount = world.mount(QUICK);
    let all = shell(&mount.path(), "find . | sort; find . -name '.*' -mindepth 1 | wc -l");
    assert!(all.trim().ends_with('0'), "no view is met by accident: {all}");

    // The same inode, found by a search in its folder: one request.
    let before = world.counters().api;
    let found = shell(
        &mount.path(),
        "ls -i 'Campaigns/.search/hero'; ls -i 'Campaigns/Spring 2026' | grep Hero",
    );
    let lines: Vec<&str> = found.lines().map(str::trim).collect();
    assert_eq!(lines.len(), 2, "{found}");
    assert_eq!(lines[0], lines[1]);
    assert_eq!(world.counters().api - before, 1, "a hundred hits a request");
    shell(
        &mount.path(),
        "cmp 'Campaigns/.search/hero/Spring Hero.jpg' 'Campaigns/Spring 2026/Spring Hero.jpg'",
    );

    let refused = try_shell(&mount.path(), "ls .search/colour=red");
    assert!(text(&refused).contains("Invalid argument"), "{}", text(&refused));
    shell(
        &mount.path(),
        "ls .search/uploaded_after=2014-06-10 .search/updated_after=2014-06-10 > /dev/null",
    );
    shell(
        &mount.path(),
        "ls '.search/file_type_id=6001&query=hero' | grep -qx 'Spring Hero.jpg'",
    );
    assert_eq!(shell(&mount.path(), "ls 'Campaigns/.search/hero&recursive=false'"), "");
    assert_eq!(shell(&mount.path(), "ls .tags/Spring").trim(), "Spring Hero.jpg");
    shell(&mount.path(), "ls .recent > /dev/null");
}

#[test]
fn names_in_a_view_stay_and_content_and_attributes_change() {
    let world = World::new(Seed::Small);
    let mount = world.mount(QUICK);
    for script in [
        "rm '.tags/Spring/Spring Hero.jpg'",
        "mv '.tags/Spring/Spring Hero.jpg' Empty/",
        "touch .tags/Spring/new.txt",
        "mkdir .search/hero/folder",
        "rmdir .recent",
        "ln Press/'Press kit.pdf' .search/hero/'Press kit.pdf'",
    ] {
        fails(&mount, script, "Operation not permitted");
    }
    shell(
        &mount.path(),
        "seq 100 > '.search/Bob/Bob'\"'\"'s notes.txt'
         setfattr -n user.imagerelay.term.Credit -v 'Through a view' '.tags/Spring/Spring Hero.jpg'",
    );
    mount.sync();
    let seen = shell(
        &mount.path(),
        "tail -n1 \"Press/Bob's notes.txt\"; getfattr --only-values -n user.imagerelay.term.Credit 'Campaigns/Spring 2026/Spring Hero.jpg'",
    );
    assert_eq!(seen, "100\nThrough a view");
}

#[test]
fn collections_take_files_and_ids_lead_to_them() {
    let world = World::new(Seed::Small);
    let mount = world.mount(QUICK);
    assert_eq!(shell(&mount.path(), "ls .collections").trim(), "Favourites");
    shell(
        &mount.path(),
        "test $(ls .collections/Favourites | wc -l) = 3
         ln 'Press/Press kit.pdf' .collections/Favourites/
         ls .collections/Favourites | grep -qx 'Press kit.pdf'",
    );
    let id = shell(
        &mount.path(),
        "getfattr --only-values -n user.assetfs.id 'Press/Press kit.pdf'",
    );
    shell(
        &mount.path(),
        &format!("test .id/{id} -ef 'Press/Press kit.pdf'; cmp .id/{id} 'Press/Press kit.pdf'; test ! -e .id/1"),
    );
    let path = mount.run(&["path", &id]);
    assert!(text(&path).contains("Press/Press kit.pdf"), "{}", text(&path));
    let mountpoint = mount.path();
    let found = mount.run(&["search", "--json", mountpoint.to_str().expect("UTF-8"), "query=kit"]);
    let found: serde_json::Value = serde_json::from_slice(&found.stdout).expect("JSON");
    let shown = found["found"][0]["path"].as_str().expect("a path");
    assert!(shown.ends_with("Press/Press kit.pdf"), "{found}");
}

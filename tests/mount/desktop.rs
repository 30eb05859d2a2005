//! What file managers and their helpers do.

use assetfs::emulator::imagerelay::Seed;

use crate::support::{QUICK, World, shell, text, try_shell};

const HERO: &str = "Campaigns/Spring 2026/Spring Hero.jpg";

/// A program of that name that reads a file: what a thumbnailer does first.
const THUMBNAILER: &str = "cp \"$(command -v cat)\" ../gdk-pixbuf-thumbnailer";

#[test]
fn a_thumbnailer_gets_the_stores_thumbnail_and_no_original() {
    let world = World::new(Seed::Small);
    let mount = world.mount(QUICK);
    shell(&mount.path(), THUMBNAILER);
    shell(&mount.path(), "ls -lR > /dev/null");
    let read = format!("../gdk-pixbuf-thumbnailer '{HERO}' > /dev/null");
    let asked = world.requests(&mount, || {
        let refused = try_shell(&mount.path(), &read);
        assert!(!refused.status.success(), "an original was read");
        assert!(text(&refused).contains("not permitted"), "{}", text(&refused));
    });
    assert_eq!(asked.of("GET original"), 0, "{asked:?}");
    let size = shell(&mount.path(), &format!("stat -c %s '{HERO}'"));
    let size: u64 = size.trim().parse().expect("a number");
    assert!(asked.content_bytes < size, "{asked:?}");
    // The desktop finds it, and takes it for valid: its time is the file's.
    let found = shell(
        &mount.path(),
        &format!("XDG_CACHE_HOME=\"$PWD/../xdg-cache\" gio info -a 'thumbnail::*' '{HERO}'"),
    );
    assert!(found.contains("xdg-cache/thumbnails/"), "{found}");
    assert!(found.contains("thumbnail::is-valid: TRUE"), "{found}");
    shell(
        &world.path("xdg-cache/thumbnails"),
        "test \"$(stat -c %a . normal large | sort -u)\" = 700; test \"$(ls normal)\" = \"$(ls large)\"
         test \"$(stat -c %a normal/*)\" = 600",
    );

    // What is here anyway may be read by anybody.
    shell(&mount.path(), &format!("cat '{HERO}' > /dev/null"));
    shell(&mount.path(), &read);
}

#[test]
fn a_file_managers_look_at_a_cold_folder_fetches_no_content() {
    let world = World::new(Seed::Small);
    let mount = world.mount(QUICK);
    let asked = world.requests(&mount, || {
        let listed = shell(
            &mount.path(),
            "gio list -l -a 'standard::*,time::*,unix::*,access::*,thumbnail::*,xattr::*' 'Campaigns/Spring 2026'
             gio info \"$(dirname 'Campaigns/Spring 2026/x')\"
             getfattr -n user.mime_type --only-values 'Campaigns/Spring 2026/Spring Hero.jpg'",
        );
        assert!(listed.contains("image/jpeg"), "{listed}");
    });
    assert_eq!(asked.content, 0, "{asked:?}");
}

#[test]
fn files_are_copied_moved_tagged_and_deleted_for_good_by_the_desktop() {
    let world = World::new(Seed::Small);
    let mount = world.mount(&format!("{QUICK},keyword_set=Campaign"));
    shell(
        &mount.path(),
        "mkdir Desk && echo hello > Desk/a.txt && cd Desk
         gio copy a.txt b.txt && cmp a.txt b.txt
         gio move b.txt c.txt && gio rename c.txt d.txt && gio mkdir sub && gio move d.txt sub/
         test \"$(gio cat sub/d.txt)\" = hello && echo new | gio save a.txt && test \"$(cat a.txt)\" = new
         gio info -f . > /dev/null",
    );
    let trash = try_shell(&mount.at("Desk"), "gio trash a.txt");
    assert!(!trash.status.success(), "there is no trash: {}", text(&trash));
    shell(
        &mount.at("Desk"),
        "test -e a.txt && gio remove a.txt && test ! -e a.txt && test ! -e ../.Trash-0",
    );
    mount.sync();
    // As Dolphin tags it, through the desktop's own name.
    shell(
        &mount.path(),
        &format!(
            "gio set -t string '{HERO}' xattr::xdg.tags Spring
             gio info -a 'xattr::xdg.tags' '{HERO}' | grep -q 'xattr::xdg.tags: Spring'"
        ),
    );
    mount.sync();
}

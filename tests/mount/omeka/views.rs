//! Searches and other views of an archive, as programs see them.

use std::io::Cursor;

use assetfs::emulator::omeka::{Running, Seed};

use crate::support::{Mount, QUICK, World, fails, shell, text, try_shell};

/// Ids in the archive of [`archive`].
pub(super) struct Ids {
    letters: u64,
    y1912: u64,
    y1913: u64,
    nile: u64,
    loose: u64,
}

fn png() -> Vec<u8> {
    let mut bytes = Vec::new();
    image::DynamicImage::new_rgb8(32, 32)
        .write_to(&mut Cursor::new(&mut bytes), image::ImageFormat::Png)
        .expect("a picture");
    bytes
}

/// `Letters/1912/{note.txt,scan.png}`, `Letters/1913` (private, with `draft.txt`), `Maps/The Nile/nile.png`, `Loose/loose.txt`.
pub(super) fn archive() -> (World<Running>, Mount, Ids) {
    let world = World::omeka(Seed::Empty);
    let handle = world.server().handle();
    let (letters, maps) = (handle.add_collection("Letters"), handle.add_collection("Maps"));
    let y1912 = handle.add_item(Some(letters), "1912");
    handle.tag_item(y1912, "sea");
    handle.tag_item(y1912, "Beta two");
    handle.set_item_type(y1912, "Text");
    handle.add_item_text(y1912, "Creator", "Ada & Bob", false);
    let y1913 = handle.add_item(Some(letters), "1913");
    handle.set_item_public(y1913, false);
    let nile = handle.add_item(Some(maps), "The Nile");
    handle.set_item_type(nile, "Still Image");
    handle.tag_item(nile, "river");
    let loose = handle.add_item(None, "Loose");
    for (item, name, bytes) in [
        (y1912, "note.txt", b"a note\n".to_vec()),
        (y1912, "scan.png", png()),
        (y1913, "draft.txt", b"not yet\n".to_vec()),
        (nile, "nile.png", png()),
        (loose, "loose.txt", vec![b'x'; 3000]),
    ] {
        world.wait(handle.add_file(item, name, &bytes)).expect("a file");
    }
    let mount = world.mount(QUICK);
    let ids = Ids {
        letters,
        y1912,
        y1913,
        nile,
        loose,
    };
    (world, mount, ids)
}

/// The names in a folder, joined by `|`.
fn names(mount: &Mount, path: &str) -> String {
    let listed = shell(&mount.path(), &format!("ls '{path}'"));
    listed.lines().collect::<Vec<_>>().join("|")
}

fn refused(mount: &Mount, path: &str, why: &str) {
    let output = try_shell(&mount.path(), &format!("ls '{path}'"));
    assert!(!output.status.success(), "{path}");
    assert!(text(&output).contains(why), "{path}: {}", text(&output));
}

#[test]
fn every_filter_of_the_lists_can_be_searched_by() {
    let (_world, mount, ids) = archive();
    let Ids {
        letters,
        y1912,
        y1913,
        nile,
        loose,
    } = ids;
    for (query, found) in [
        // Items.
        ("tags=sea", "1912"),
        ("tag=Beta%20two", "1912"),
        ("tags=s%65a&item_type=Text", "1912"),
        ("excludeTags=sea&public=true", "Loose|The Nile"),
        ("item_type=Still%20Image", "The Nile"),
        (&format!("collection={letters}"), "1912|1913"),
        ("collection=0", "Loose"),
        ("public=false", "1913"),
        ("featured=true", ""),
        ("featured=false", "1912|1913|Loose|The Nile"),
        ("owner=1", "1912|1913|Loose|The Nile"),
        ("owner=999", ""),
        ("hasImage=true", "1912|The Nile"),
        (&format!("range={y1913}-{nile}"), "1913|The Nile"),
        ("added_since=2001-02-03T04:05:06%2B00:00&public=false", "1913"),
        ("added_since=2999-01-01", ""),
        ("modified_since=2999-01-01T00:00:00Z", ""),
        ("Nile", "The Nile"),
        ("search=loose", "Loose"),
        ("Dublin Core.Creator=Ada%20%26%20Bob", "1912"),
        ("Dublin Core.Creator=nobody", ""),
        // Files.
        ("mime_type=image%2Fpng", "nile.png|scan.png"),
        ("has_derivative_image=true", "nile.png|scan.png"),
        ("has_derivative_image=false&size_greater_than=2999", "loose.txt"),
        ("size_greater_than=3000", ""),
        (&format!("item={y1912}"), "note.txt|scan.png"),
        (&format!("item={loose}&added_since=2001-01-01"), "loose.txt"),
        ("mime_type=text%2Fplain&modified_since=2999-01-01", ""),
        ("kind=files&note", "note.txt"),
        // Collections.
        ("kind=collections&public=true", "Letters|Maps"),
        ("kind=collections&featured=true", ""),
    ] {
        assert_eq!(names(&mount, &format!(".search/{query}")), found, "{query}");
    }
    shell(
        &mount.path(),
        "ls Letters Letters/1912 > /dev/null && setfattr -n user.omeka.order -v 7 Letters/1912/scan.png",
    );
    mount.sync();
    assert_eq!(names(&mount, ".search/order=7"), "scan.png");
    for query in [
        "colour=red",
        "size_greater_than=large",
        "tags=sea&kind=files",
        "item_type=Unheard%20of",
        "Dublin Core.Unheard=x",
        "note&recursive=perhaps",
        "recursive=false",
        "=x",
    ] {
        refused(&mount, &format!(".search/{query}"), "Invalid argument");
    }
}

#[test]
fn a_search_keeps_to_its_folder_and_below_or_to_it_alone() {
    let (_world, mount, _) = archive();
    for (path, found) in [
        ("Letters/.search/public=true", "1912"),
        ("Letters/.search/mime_type=image%2Fpng", "scan.png"),
        ("Letters/.search/mime_type=image%2Fpng&recursive=false", ""),
        ("Letters/.search/tags=sea&recursive=false", "1912"),
        ("Letters/1912/.search/note", "note.txt"),
        ("Letters/1912/.search/kind=files&note&recursive=false", "note.txt"),
        ("Maps/.search/tags=sea", ""),
        (".search/public=true&recursive=false", "Loose"),
        (".search/mime_type=image%2Fpng&recursive=false", ""),
    ] {
        assert_eq!(names(&mount, path), found, "{path}");
    }
}

#[test]
fn views_show_the_assets_themselves() {
    let (world, mount, ids) = archive();
    assert_eq!(
        shell(&mount.path(), "find . -mindepth 1 -name '.*' | wc -l").trim(),
        "0",
        "nobody meets a view by accident"
    );
    assert_eq!(names(&mount, ".tags/sea"), "1912");
    assert_eq!(names(&mount, ".tags/Beta%20two"), "1912");
    assert_eq!(names(&mount, ".tags/unheard"), "");
    let recent = names(&mount, ".recent");
    for name in ["1912", "The Nile", "note.txt", "nile.png", "loose.txt"] {
        assert!(recent.split('|').any(|shown| shown == name), "{name} in {recent}");
    }
    refused(&mount, ".collections", "Operation not supported");

    let file = shell(
        &mount.path(),
        "getfattr --only-values -n user.assetfs.id Letters/1912/note.txt",
    );
    let asked = world.requests(&mount, || {
        shell(
            &mount.path(),
            &format!(
                "test .tags/sea/1912 -ef Letters/1912
                 test '.search/mime_type=image%2Fpng/scan.png' -ef Letters/1912/scan.png
                 test .recent/note.txt -ef Letters/1912/note.txt
                 test '.id/{file}' -ef Letters/1912/note.txt
                 test ! -e .id/999999
                 cmp .tags/sea/1912/note.txt Letters/1912/note.txt"
            ),
        );
    });
    assert_eq!(
        asked.of("GET /api/items"),
        0,
        "an answer serves for half a minute: {asked:?}"
    );
    shell(
        &mount.path(),
        &format!("test .id/item:{} -ef 'Maps/The Nile'", ids.nile),
    );

    for script in [
        "rm '.search/mime_type=image%2Fpng/scan.png'",
        "mv .recent/note.txt Letters/1913/",
        "touch .recent/new.txt",
        "mkdir .tags/sea/new",
    ] {
        fails(&mount, script, "Operation not permitted");
    }
    shell(
        &mount.path(),
        "echo 'through a view' > .recent/note.txt
         setfattr -n user.omeka.order -v 3 '.search/mime_type=image%2Fpng/scan.png'",
    );
    mount.sync();
    assert_eq!(
        shell(
            &mount.path(),
            "cat Letters/1912/note.txt; getfattr --only-values -n user.omeka.order Letters/1912/scan.png"
        ),
        "through a view\n3"
    );
}

#[test]
fn commands_find_assets_and_their_addresses() {
    let (world, mount, ids) = archive();
    let place = mount.path();
    let place = place.to_str().expect("UTF-8");
    let found = mount.run(&["search", "--json", place, "mime_type=image/png"]);
    let found: serde_json::Value = serde_json::from_slice(&found.stdout).expect("JSON");
    let mut paths: Vec<&str> = found["found"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["name"].as_str().expect("a name"))
        .collect();
    paths.sort_unstable();
    assert_eq!(paths, ["nile.png", "scan.png"], "{found}");
    assert_eq!(found["schema"], 1);
    let found = text(&mount.run(&["path", &format!("item:{}", ids.y1912)]));
    assert!(found.contains("mnt/Letters/1912\n"), "{found}");
    let nile = mount.at("Maps/The Nile");
    let address = text(&mount.run(&["url", nile.to_str().expect("UTF-8")]));
    let site = world.server().api_url();
    let site = site.trim_end_matches("/api");
    assert!(
        address.contains(&format!("{site}/items/show/{}", ids.nile)),
        "{address}"
    );
}

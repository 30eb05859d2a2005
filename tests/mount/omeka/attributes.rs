//! What the site says of records, as extended attributes.

use super::views::archive;
use crate::support::{Mount, shell, try_shell};

fn told(mount: &Mount, path: &str, name: &str) -> String {
    shell(&mount.path(), &format!("getfattr --only-values -n '{name}' '{path}'"))
}

#[test]
fn what_the_site_found_out_about_a_file_can_be_read_and_not_set() {
    let (world, mount, _) = archive();
    let scan = "Letters/1912/scan.png";
    for (name, what) in [("mime_type", "image/png"), ("has_derivative_image", "true")] {
        assert_eq!(told(&mount, scan, &format!("user.omeka.{name}")), what, "{name}");
    }
    assert_eq!(told(&mount, scan, "user.mime_type"), "image/png");
    assert!(told(&mount, scan, "user.omeka.type_os").contains("PNG"));
    assert!(told(&mount, scan, "user.omeka.filename").ends_with(".png"));
    let added = told(&mount, scan, "user.omeka.added");
    assert!(added.ends_with("+00:00") && added.len() == 25, "{added}");
    let metadata: serde_json::Value =
        serde_json::from_str(&told(&mount, scan, "user.omeka.metadata")).expect("metadata are JSON");
    assert!(metadata.is_object(), "{metadata}");
    let site = world.server().api_url().trim_end_matches("/api").to_owned();
    for which in ["original", "fullsize", "thumbnail", "square_thumbnail"] {
        for name in [
            format!("user.omeka.{which}_url"),
            format!("user.omeka.file_urls.{which}"),
        ] {
            let url = told(&mount, scan, &name);
            assert!(url.starts_with(&format!("{site}/files/")), "{name}: {url}");
        }
    }
    for name in [
        "mime_type",
        "type_os",
        "filename",
        "added",
        "metadata",
        "has_derivative_image",
        "thumbnail_url",
    ] {
        let output = try_shell(&mount.path(), &format!("setfattr -n user.omeka.{name} -v x {scan}"));
        assert!(
            crate::support::text(&output).contains("Operation not permitted"),
            "{name}"
        );
    }
}

/// A field under either of its names, of a file, an item and a collection; and the rest that can be written.
#[test]
fn a_field_is_one_under_both_of_its_names_on_files_items_and_collections() {
    let (_world, mount, _) = archive();
    for path in ["Letters/1912/note.txt", "Letters/1912", "Letters"] {
        let set = format!(
            "setfattr -n user.dublincore.subject -v $'Sea\\nShips' '{path}' &&
             setfattr -n 'user.omeka.Dublin Core.Rights' -v none '{path}'"
        );
        shell(&mount.path(), &set);
        mount.sync();
        assert_eq!(
            told(&mount, path, "user.omeka.Dublin Core.Subject"),
            "Sea\nShips",
            "{path}"
        );
        assert_eq!(told(&mount, path, "user.dublincore.rights"), "none", "{path}");
        let listed = shell(&mount.path(), &format!("getfattr -d '{path}'"));
        assert_eq!(listed.matches("Sea").count(), 1, "listed under one name: {listed}");
    }
    shell(
        &mount.path(),
        "cd Letters && setfattr -n user.omeka.tags -v $'one\\ntwo words' 1912 && setfattr -n user.omeka.public -v false 1912 &&
         setfattr -n user.omeka.featured -v true 1912 && setfattr -n user.omeka.item_type -v 'Still Image' 1912 &&
         setfattr -n user.omeka.order -v 3 1912/note.txt",
    );
    mount.sync();
    let refreshed = mount.run(&["refresh", mount.at("Letters").to_str().expect("UTF-8")]);
    assert!(refreshed.status.success(), "{}", crate::support::text(&refreshed));
    let mut tags: Vec<String> = told(&mount, "Letters/1912", "user.omeka.tags")
        .lines()
        .map(str::to_owned)
        .collect();
    tags.sort();
    assert_eq!(tags, ["one", "two words"]);
    for (path, name, value) in [
        ("Letters/1912", "public", "false"),
        ("Letters/1912", "featured", "true"),
        ("Letters/1912", "item_type", "Still Image"),
        ("Letters/1912/note.txt", "order", "3"),
    ] {
        assert_eq!(told(&mount, path, &format!("user.omeka.{name}")), value, "{name}");
    }
    shell(&mount.path(), "mkdir New New/Item");
    mount.sync();
    for path in ["New", "New/Item"] {
        assert_eq!(
            told(&mount, path, "user.omeka.public"),
            "false",
            "{path}: nothing is published by itself"
        );
    }
}

//! Files on their way in.

use super::*;

#[tokio::test]
async fn what_is_uploaded_is_there_under_its_very_name_with_its_fields() {
    let site = fixture(Seed::Sample).await;
    let item = site.at(&["Uncollected item"]).await;
    let mut wanted = fields(&[
        ("Dublin Core.Title", &["A photo"]),
        ("Dublin Core.Creator", &["me", "you"]),
        ("order", &["5"]),
    ]);
    wanted.insert(
        "Dublin Core.Description".to_owned(),
        vec![Value {
            text: "<b>big</b>".to_owned(),
            html: true,
        }],
    );
    let progress = UploadProgress::default();
    let odd = name("Ünïcødé \"日本\" 100%;a=b.txt");
    let made = site
        .store
        .create(&item.id, &odd, &body(b"some text\n"), &wanted, &progress)
        .await
        .expect("uploaded");
    assert_eq!((made.name.as_str(), made.size), (odd.as_str(), Some(10)));
    assert_eq!(made.parents, std::slice::from_ref(&item.id));
    assert_eq!(progress.sent_bytes(), 10);
    for (field, values) in &wanted {
        assert_eq!(made.fields[field].values, *values, "{field}");
    }
    assert_eq!(site.count("PUT /api/files/{id}"), 0);
    assert_eq!(site.read(&made, 0..10).await.expect("content"), "some text\n");
    assert_eq!(site.store.stat(&made.id).await.expect("the file"), made);
}

/// A rename of a file is an upload under the new name with everything carried over.
#[tokio::test]
async fn all_fields_of_a_file_can_be_given_to_another() {
    let site = fixture(Seed::Sample).await;
    let item = site.at(&["Uncollected item"]).await;
    let old = site.at(&["Uncollected item", "note.txt"]).await;
    let old = site
        .store
        .set_fields(
            &[old],
            &fields(&[("Dublin Core.Creator", &["a", "b"]), ("order", &["3"])]),
        )
        .await
        .expect("set")
        .remove(0);
    let all: FieldChanges = old
        .fields
        .iter()
        .map(|(name, field)| (name.clone(), field.values.clone()))
        .collect();
    assert!(old.fields.values().any(|field| field.access == Access::ReadOnly));
    let content = site.read(&old, 0..26).await.expect("content");
    let progress = UploadProgress::default();
    let new = site
        .store
        .create(&item.id, &name("renamed.txt"), &body(&content), &all, &progress)
        .await
        .expect("uploaded");
    assert_eq!((&new.checksum, &new.version), (&old.checksum, &old.version));
    let writable = |entry: &Entry| -> Vec<_> {
        entry
            .fields
            .iter()
            .filter(|(_, field)| field.access == Access::ReadWrite)
            .map(|(name, field)| (name.clone(), field.values.clone()))
            .collect()
    };
    assert_eq!(writable(&new), writable(&old));
    site.store.remove(&old).await.expect("removed");
    assert_eq!(kind_of(site.store.stat(&old.id).await), Some(ErrorKind::NotFound));
}

/// The site had kept the file, and its answer was lost: sending it again would have made a second one.
#[tokio::test]
async fn a_lost_answer_makes_no_second_file() {
    let site = fixture(Seed::Sample).await;
    let item = site.at(&["Uncollected item"]).await;
    site.fault("POST /api/files", When::First(1), Action::ApplyThenDropAnswer);
    let made = site.upload(&item.id, "once.txt", b"once\n").await.expect("found");
    assert_eq!(made.name, "once.txt");
    let names = site
        .list(&item)
        .await
        .into_iter()
        .filter(|entry| entry.name == "once.txt");
    assert_eq!(names.count(), 1);
    assert_eq!(site.count("POST /api/files"), 1);
}

#[tokio::test]
async fn an_upload_that_was_never_taken_is_tried_again_and_settled_first() {
    let site = fixture(Seed::Sample).await;
    let item = site.at(&["Uncollected item"]).await;
    // The same bytes under the same name are there already: they must not be taken for ours.
    site.upload(&item.id, "twin.txt", b"twin\n").await.expect("uploaded");
    site.fault("POST /api/files", When::First(1), Action::status(502));
    let progress = UploadProgress::default();
    let (twin, bytes, none) = (name("twin.txt"), body(b"twin\n"), FieldChanges::new());
    let failed = site.store.create(&item.id, &twin, &bytes, &none, &progress).await;
    let failed: StoreError = failed.expect_err("the fault");
    assert!(matches!(failed.retry, Retry::After(_)), "{failed:?}");
    site.store
        .create(&item.id, &twin, &bytes, &none, &progress)
        .await
        .expect("the second attempt");
    let twins = site
        .list(&item)
        .await
        .into_iter()
        .filter(|entry| entry.name == "twin.txt");
    assert_eq!(twins.count(), 2);
}

#[tokio::test]
async fn uploads_of_one_name_take_turns() {
    let site = fixture(Seed::Sample).await;
    let letters = site.at(&["Letters and notes", "Letter to Mary"]).await;
    let harbour = site.at(&["Photographs", "Harbour"]).await;
    let uploads = futures_util::future::join_all((0..6).map(|n| {
        let parent = if n % 2 == 0 { &letters.id } else { &harbour.id };
        site.upload(parent, "same.txt", b"the same name\n")
    }));
    for made in uploads.await {
        assert_eq!(made.expect("uploaded").name, "same.txt");
    }
}

#[tokio::test]
async fn what_the_site_would_refuse_is_not_sent() {
    let site = fixture(Seed::Sample).await;
    let item = site.at(&["Uncollected item"]).await;
    for (file, bytes) in [
        ("empty.txt", &b""[..]),
        ("page.html", b"x"),
        ("Makefile", b"all:\n"),
        ("evil.php", b"<?php"),
        ("emoji 😀.txt", b"x"),
    ] {
        assert_eq!(
            kind_of(site.upload(&item.id, file, bytes).await),
            Some(ErrorKind::Invalid),
            "{file}"
        );
    }
    let progress = UploadProgress::default();
    let smile = fields(&[("Dublin Core.Title", &["😀"])]);
    let made = site
        .store
        .create(&item.id, &name("a.txt"), &body(b"x"), &smile, &progress)
        .await;
    assert_eq!(kind_of(made), Some(ErrorKind::Invalid));
    assert_eq!(site.count("POST /api/files"), 0);
}

#[tokio::test]
async fn an_extension_that_the_site_refused_is_remembered() {
    let site = fixture(Seed::Sample).await;
    let item = site.at(&["Uncollected item"]).await;
    assert!(site.store.check_name(&name("scene.blend"), Kind::File).is_ok());
    assert_eq!(
        kind_of(site.upload(&item.id, "scene.blend", b"text\n").await),
        Some(ErrorKind::Invalid)
    );
    assert_eq!(
        kind_of(site.store.check_name(&name("other.blend"), Kind::File)),
        Some(ErrorKind::Invalid)
    );
    assert_eq!(site.count("POST /api/files"), 1);
}

#[tokio::test]
async fn a_site_without_validation_takes_any_extension_but_scripts() {
    let options = OmekaOptions {
        validation: Validation::Off,
        ..OmekaOptions::default()
    };
    let site = fixture_with(options, |config| config.allow_all_extensions = true).await;
    let item = site.at(&["Uncollected item"]).await;
    let made = site.upload(&item.id, "Makefile", b"all:\n").await.expect("uploaded");
    assert_eq!(site.read(&made, 0..5).await.expect("content"), "all:\n");
    assert_eq!(
        kind_of(site.upload(&item.id, "evil.php", b"<?php").await),
        Some(ErrorKind::Invalid)
    );
}

/// Over its limit on bodies the server throws the key away with all the rest, and complains about the missing key.
#[tokio::test]
async fn a_file_over_the_servers_limit_is_told_apart_from_a_missing_right() {
    let options = OmekaOptions {
        upload_bytes_max: 1 << 20,
        ..OmekaOptions::default()
    };
    let site = fixture_with(options, |_| {}).await;
    let item = site.at(&["Uncollected item"]).await;
    for bytes in [(1 << 20) + 1, 4 << 20] {
        let made = site.upload(&item.id, "large.txt", &vec![b'x'; bytes]).await;
        assert_eq!(kind_of(made), Some(ErrorKind::TooLarge), "{bytes}");
    }
    let reader = store_at(&site.server.api_url(), &"b".repeat(40), |_| {});
    let progress = UploadProgress::default();
    let large = body(&vec![b'x'; 4 << 20]);
    let made = reader
        .create(&item.id, &name("large.txt"), &large, &FieldChanges::new(), &progress)
        .await;
    assert_eq!(kind_of(made), Some(ErrorKind::Denied));
}

#[tokio::test]
async fn files_are_only_possible_in_items_and_folders_only_above_them() {
    let site = fixture(Seed::Sample).await;
    let (root, collection) = (site.root().await, site.at(&["Photographs"]).await);
    let item = site.at(&["Photographs", "Harbour"]).await;
    for (folder, kind, fits) in [
        (&root, Kind::File, false),
        (&root, Kind::Folder, true),
        (&collection, Kind::File, false),
        (&collection, Kind::Folder, true),
        (&item, Kind::File, true),
        (&item, Kind::Folder, false),
    ] {
        assert_eq!(
            site.store.may_hold(folder, kind).is_ok(),
            fits,
            "{} {kind:?}",
            folder.name
        );
    }
    assert_eq!(
        kind_of(site.upload(&collection.id, "a.txt", b"x").await),
        Some(ErrorKind::Denied)
    );
    assert_eq!(
        kind_of(site.upload(&root.id, "a.txt", b"x").await),
        Some(ErrorKind::Denied)
    );
    let made = site.store.create_folder(&item.id, &name("sub")).await;
    assert_eq!(kind_of(made), Some(ErrorKind::Denied));
}

#[tokio::test]
async fn a_parent_that_is_gone_is_not_found() {
    let site = fixture(Seed::Sample).await;
    let made = site.upload(&ItemId::of("item", 99_999), "a.txt", b"text\n").await;
    assert_eq!(kind_of(made), Some(ErrorKind::NotFound));
    let made = site
        .store
        .create_folder(&ItemId::of("collection", 99_999), &name("x"))
        .await;
    assert_eq!(kind_of(made), Some(ErrorKind::NotFound));
}

//! Folders, fields, changes made by others, searches, keys.

use super::*;

#[tokio::test]
async fn a_file_in_a_collection_can_make_its_own_item() {
    let site = fixture_with(OmekaOptions::default(), |config| config.item_per_file = true).await;
    let collection = site.at(&["Empty collection"]).await;
    assert!(site.store.may_hold(&collection, Kind::File).is_ok());
    let made = site.upload(&collection.id, "a.txt", b"text\n").await.expect("uploaded");
    let item = site.at(&["Empty collection", "a.txt"]).await;
    assert_eq!(made.parents, [item.id]);
    // An item is not left behind for a file that the site refuses.
    assert_eq!(
        kind_of(site.upload(&collection.id, "b.blend", b"x").await),
        Some(ErrorKind::Invalid)
    );
    assert_eq!(site.list(&collection).await.len(), 1);
}

#[tokio::test]
async fn folders_are_made_renamed_moved_and_removed() {
    let site = fixture(Seed::Sample).await;
    let root = site.root().await;
    let collection = site
        .store
        .create_folder(&root.id, &name("New ones"))
        .await
        .expect("made");
    assert_eq!(
        (collection.name.as_str(), &texts(&collection, "public")[..]),
        ("New ones", &["false".to_owned()][..])
    );
    let item = site
        .store
        .create_folder(&collection.id, &name("AC\u{2215}DC"))
        .await
        .expect("made");
    assert_eq!(item.name, "AC/DC");
    assert_eq!(item.parents, std::slice::from_ref(&collection.id));

    let letter = site.at(&["Letters and notes", "Letter to Mary"]).await;
    let to = Placement {
        name: "Letter to Jane".to_owned(),
        parents: vec![collection.id.clone()],
    };
    let moved = site.store.relocate(&letter, &to).await.expect("moved");
    assert_eq!((moved.name.as_str(), &moved.id), ("Letter to Jane", &letter.id));
    assert_eq!(moved.parents, std::slice::from_ref(&collection.id));
    for field in [
        "Dublin Core.Creator",
        "Dublin Core.Description",
        "Item Type Metadata.Text",
        "tags",
    ] {
        assert_eq!(moved.fields[field], letter.fields[field], "{field}");
    }
    let out = Placement {
        name: moved.name.clone(),
        parents: vec![root.id.clone()],
    };
    assert_eq!(
        kind_of(site.store.relocate(&moved, &out).await),
        Some(ErrorKind::Unsupported)
    );

    assert_eq!(kind_of(site.store.remove(&collection).await), Some(ErrorKind::NotEmpty));
    assert_eq!(kind_of(site.store.remove(&moved).await), Some(ErrorKind::NotEmpty));
    site.store.remove(&item).await.expect("an empty item");
    assert_eq!(kind_of(site.store.remove(&item).await), Some(ErrorKind::NotFound));
    assert_eq!(kind_of(site.store.remove(&root).await), Some(ErrorKind::Denied));
}

#[tokio::test]
async fn a_change_of_one_field_keeps_all_others() {
    let site = fixture(Seed::Sample).await;
    let letter = site.at(&["Letters and notes", "Letter to Mary"]).await;
    let changes = fields(&[
        ("Dublin Core.Description", &["<i>Changed</i>"]),
        ("Dublin Core.Subject", &[]),
        ("tags", &["gamma", " alpha "]),
        ("public", &["false"]),
        ("item_type", &["Still Image"]),
    ]);
    site.store.check_fields(&letter, &changes).await.expect("allowed");
    let items = site
        .store
        .set_fields(std::slice::from_ref(&letter), &changes)
        .await
        .expect("set");
    let [changed] = items.as_slice() else {
        panic!("one entry")
    };
    let description = &changed.fields["Dublin Core.Description"].values;
    assert_eq!(
        description
            .iter()
            .map(|v| (v.text.as_str(), v.html))
            .collect::<Vec<_>>(),
        [("<i>Changed</i>", true)]
    );
    assert!(!changed.fields.contains_key("Dublin Core.Subject"));
    assert_eq!(texts(changed, "tags"), ["alpha", "gamma"]);
    assert_eq!(texts(changed, "item_type"), ["Still Image"]);
    assert_eq!(
        changed.fields["Dublin Core.Creator"],
        letter.fields["Dublin Core.Creator"]
    );
    assert_eq!(changed.name, letter.name);
    assert_ne!(changed.revision, letter.revision);
}

#[tokio::test]
async fn fields_are_checked_before_anything_is_sent() {
    let site = fixture(Seed::Sample).await;
    let letter = site.at(&["Letters and notes", "Letter to Mary"]).await;
    let note = site.at(&["Uncollected item", "note.txt"]).await;
    for (item, field, values, kind) in [
        (&letter, "Dublin Core.Nonsense", &["x"][..], ErrorKind::Invalid),
        (&letter, "Dublin Core.Title", &["😀"], ErrorKind::Invalid),
        (&letter, "Dublin Core.Title", &["a", ""], ErrorKind::Invalid),
        (&letter, "public", &["maybe"], ErrorKind::Invalid),
        (&letter, "item_type", &["No such type"], ErrorKind::Invalid),
        (&letter, "owner", &["2"], ErrorKind::Denied),
        (&letter, "order", &["1"], ErrorKind::Unsupported),
        (&note, "tags", &["x"], ErrorKind::Unsupported),
        (&note, "order", &["-1"], ErrorKind::Invalid),
        (&note, "mime_type", &["a/b"], ErrorKind::Denied),
    ] {
        let changes = fields(&[(field, values)]);
        assert_eq!(
            kind_of(site.store.check_fields(item, &changes).await),
            Some(kind),
            "{field} {values:?}"
        );
    }
    assert_eq!(site.count("PUT /api/items/{id}") + site.count("PUT /api/files/{id}"), 0);
}

#[test]
fn fields_have_the_names_that_desktops_use() {
    let store = store_at("http://127.0.0.1:9/api", KEY, |_| {});
    for (xattr, kind, field) in [
        ("omeka.Dublin Core.Title", Kind::Folder, Some("Dublin Core.Title")),
        ("omeka.tags", Kind::Folder, Some("tags")),
        ("omeka.dublincore.creator", Kind::File, Some("Dublin Core.Creator")),
        ("dublincore.title", Kind::File, Some("Dublin Core.Title")),
        ("xdg.tags", Kind::Folder, Some("tags")),
        ("xdg.tags", Kind::File, None),
        ("xdg.comment", Kind::File, Some("Dublin Core.Description")),
        ("omeka.nonsense", Kind::File, None),
        ("something.else", Kind::File, None),
    ] {
        let found = store.field_name(xattr, kind).map(|found| found.field);
        assert_eq!(found.as_deref(), field, "{xattr}");
    }
    assert_eq!(store.xattr_name("Dublin Core.Title"), "omeka.Dublin Core.Title");
}

#[tokio::test]
async fn changes_made_by_others_are_found() {
    let site = fixture(Seed::Sample).await;
    let archive = site.server.handle();
    let letter = site.at(&["Letters and notes", "Letter to Mary"]).await;
    let letters = site.at(&["Letters and notes"]).await;
    let now = Timestamp::from_secs(0);
    let cursor = site.store.changes(None, now).await.expect("a start").cursor;

    let item: u64 = letter.id.key().parse().expect("a number");
    archive.rename_item(item, "Letter to Ann");
    let file = archive.add_file(item, "new.txt", b"new\n").await.expect("kept");
    let changes = site.store.changes(Some(&cursor), now).await.expect("changes");
    let name_of = |id: &ItemId| {
        changes
            .changed
            .iter()
            .find(|entry| entry.id == *id)
            .map(|entry| entry.name.as_str())
    };
    assert_eq!(name_of(&letter.id), Some("Letter to Ann"));
    assert_eq!(name_of(&ItemId::of("file", file)), Some("new.txt"));

    // A deleted file shows in numbers only.
    site.list(&letters).await;
    let cursor = site.store.changes(None, now).await.expect("a start").cursor;
    archive.remove_file(file);
    let changes = site.store.changes(Some(&cursor), now).await.expect("changes");
    assert!(changes.stale.contains(&letter.id), "{:?}", changes.stale);

    // A deleted item, too.
    archive.remove_item(item);
    let changes = site.store.changes(Some(&changes.cursor), now).await.expect("changes");
    assert!(changes.stale.contains(&letters.id), "{:?}", changes.stale);
    assert_eq!(kind_of(site.stat("item", item).await), Some(ErrorKind::NotFound));
}

#[tokio::test]
async fn a_file_that_was_deleted_before_this_run_is_noticed() {
    let site = fixture(Seed::Sample).await;
    let note = site.at(&["Uncollected item", "note.txt"]).await;
    let now = Timestamp::from_secs(0);
    let cursor = site.store.changes(None, now).await.expect("a start").cursor;
    site.server
        .handle()
        .remove_file(note.id.key().parse().expect("a number"));
    let restarted = store_at(&site.server.api_url(), KEY, |_| {});
    let changes = restarted.changes(Some(&cursor), now).await.expect("changes");
    assert!(
        note.parents.iter().all(|item| changes.stale.contains(item)),
        "{:?}",
        changes.stale
    );
}

#[tokio::test]
async fn searches_use_the_lists_filters() {
    let site = fixture(Seed::Sample).await;
    let names = async |words: &str, filters: &[(&str, &str)], scope: Option<&Entry>| -> Vec<String> {
        let query = Query {
            words: words.to_owned(),
            filters: filters
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect(),
            scope: scope.map(|entry| entry.id.clone()),
            recursive: true,
        };
        let hits = site.store.search(&query).await.expect("hits");
        hits.into_iter().map(|entry| entry.name).collect()
    };
    assert_eq!(names("mary", &[], None).await, ["Letter to Mary"]);
    assert_eq!(names("", &[("tag", "sea")], None).await, ["Harbour"]);
    assert_eq!(
        names("", &[("Dublin Core.Creator", "writer")], None).await,
        ["Letter to Mary"]
    );
    assert_eq!(names("", &[("item_type", "Still Image")], None).await, ["Harbour"]);
    assert_eq!(
        names("", &[("mime_type", "application/pdf")], None).await,
        ["letter.pdf"]
    );
    let photographs = site.at(&["Photographs"]).await;
    assert_eq!(
        names("", &[("public", "false")], Some(&photographs)).await,
        ["Not published yet"]
    );
    let letter = site.at(&["Letters and notes", "Letter to Mary"]).await;
    assert_eq!(names("scan", &[], Some(&letter)).await, ["scan.png"]);
}

#[tokio::test]
async fn a_picture_has_a_thumbnail() {
    let site = fixture(Seed::Sample).await;
    let scan = site.at(&["Letters and notes", "Letter to Mary", "scan.png"]).await;
    let thumbnail = site.store.thumbnail(&scan).await.expect("a picture");
    assert!(thumbnail.starts_with(b"\xff\xd8\xff"));
    let note = site.at(&["Uncollected item", "note.txt"]).await;
    assert_eq!(kind_of(site.store.thumbnail(&note).await), Some(ErrorKind::Unsupported));
}

#[tokio::test]
async fn a_wrong_key_is_told_and_never_shown() {
    let site = fixture(Seed::Sample).await;
    let stranger = store_at(&site.server.api_url(), "a-secret-and-wrong-key", |_| {});
    let error = stranger.account().await.expect_err("refused");
    assert_eq!(error.kind, ErrorKind::Unauthenticated);
    assert!(!format!("{error} {error:?}").contains("secret-and-wrong"));
    let account = site.store.account().await.expect("an account");
    assert!(!format!("{account:?}").contains(KEY));
    let text = format!("{:?}", site.server.gate().traffic().log());
    assert!(!text.contains(KEY));
}

/// A page of some web server says nothing about records.
#[tokio::test]
async fn a_404_of_another_program_is_not_an_absence() {
    let site = fixture(Seed::Sample).await;
    let elsewhere = store_at(&format!("{}/elsewhere/api", site.server.origin()), KEY, |_| {});
    assert_eq!(
        kind_of(elsewhere.stat(&ItemId::of("item", 1)).await),
        Some(ErrorKind::Protocol)
    );
    assert_eq!(kind_of(site.stat("item", 99_999).await), Some(ErrorKind::NotFound));
    site.fault("GET /api/items/{id}", When::Always, Action::Html);
    assert_eq!(kind_of(site.stat("item", 1).await), Some(ErrorKind::Protocol));
}

#[tokio::test]
async fn without_a_key_the_site_is_read_only() {
    let site = fixture(Seed::Sample).await;
    let guest = store_at(&site.server.api_url(), KEY, |config| config.key = None);
    let hidden: Vec<Vec<Entry>> = guest
        .list(&site.at(&["Photographs"]).await)
        .try_collect()
        .await
        .expect("a listing");
    assert_eq!(hidden.concat().len(), 1);
    let root = guest.root().await.expect("the root");
    let made = guest.create_folder(&root.id, &name("x")).await;
    assert_eq!(kind_of(made), Some(ErrorKind::Denied));
}

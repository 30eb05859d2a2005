//! Folders and bytes.

use super::*;

#[tokio::test]
async fn collections_and_loose_items_are_at_the_top_and_files_in_items() {
    let site = fixture(Seed::Sample).await;
    let mut top: Vec<String> = site
        .list(&site.root().await)
        .await
        .into_iter()
        .map(|e| e.name)
        .collect();
    top.sort();
    assert_eq!(
        top,
        [
            "",
            "",
            "Empty collection",
            "Letters and notes",
            "Photographs",
            "Uncollected item"
        ]
    );
    let letters = site.at(&["Letters and notes"]).await;
    let titles = site.list(&letters).await;
    assert_eq!(titles.iter().filter(|entry| entry.name == "Same title").count(), 2);
    assert!(
        titles
            .iter()
            .any(|entry| entry.name == "A/B testing / notes" && entry.kind == Kind::Folder)
    );
    let letter = site.at(&["Letters and notes", "Letter to Mary"]).await;
    assert_eq!(texts(&letter, "Dublin Core.Creator"), ["A. Writer", "B. Writer"]);
    assert_eq!(
        letter.fields["Dublin Core.Description"]
            .values
            .iter()
            .map(|v| v.html)
            .collect::<Vec<_>>(),
        [true, false]
    );
    assert_eq!(texts(&letter, "tags"), ["alpha", "Beta two"]);
    assert_eq!(texts(&letter, "item_type"), ["Text"]);
    let note = site.at(&["Uncollected item", "note.txt"]).await;
    assert_eq!((note.size, note.mime.as_deref()), (Some(26), Some("text/plain")));
    assert_eq!(
        note.checksum,
        Some(Checksum::Md5("caed0faacc79a96e622e1b0bdee86464".to_owned()))
    );
    assert_eq!(site.store.stat(&note.id).await.expect("the file"), note);
}

#[tokio::test]
async fn long_lists_come_page_by_page_whatever_the_site_gives_a_page() {
    let options = OmekaOptions {
        seed: Seed::Bulk {
            collections: 1,
            items_each: 130,
            files_each: 0,
        },
        per_page_max: 50,
        ..OmekaOptions::default()
    };
    let site = fixture_with(options, |_| {}).await;
    let collection = site.at(&["Collection 0001"]).await;
    let before = site.count("GET /api/items");
    let mut items: Vec<String> = site.list(&collection).await.into_iter().map(|e| e.name).collect();
    items.sort();
    items.dedup();
    assert_eq!(items.len(), 130);
    assert_eq!(site.count("GET /api/items") - before, 3);
}

#[tokio::test]
async fn a_broken_page_is_an_error_and_no_shorter_folder() {
    let options = OmekaOptions {
        seed: Seed::Bulk {
            collections: 1,
            items_each: 60,
            files_each: 0,
        },
        ..OmekaOptions::default()
    };
    let site = fixture_with(options, |_| {}).await;
    let collection = site.at(&["Collection 0001"]).await;
    site.fault("GET /api/items", When::Every(2), Action::status(500));
    let all: Result<Vec<Vec<Entry>>> = site.store.list(&collection).try_collect().await;
    assert_eq!(kind_of(all), Some(ErrorKind::Server));
}

#[tokio::test]
async fn any_range_of_a_file_can_be_read() {
    let site = fixture(Seed::Sample).await;
    let note = site.at(&["Uncollected item", "note.txt"]).await;
    assert_eq!(
        site.read(&note, 0..26).await.expect("all"),
        "Hello plain text\nline two\n"
    );
    assert_eq!(site.read(&note, 6..11).await.expect("a part"), "plain");
    assert_eq!(site.read(&note, 25..26).await.expect("the end"), "\n");
    assert!(site.read(&note, 5..5).await.expect("nothing").is_empty());
}

/// The site compresses texts whole, ranges or not, for every client that does not forbid it.
#[tokio::test]
async fn texts_are_asked_for_as_they_are() {
    let site = fixture(Seed::Sample).await;
    let note = site.at(&["Uncollected item", "note.txt"]).await;
    let url: Url = texts(&note, "original_url")[0].parse().expect("a URL");
    let clock = SystemClock::shared();
    let config = OmekaConfig::new(url.clone(), None);
    let client = Client::new(config.client(LocalBudget::unlimited(clock.clone())), clock).expect("a client");
    let careless = client
        .call(Request::get(url, "GET").range(&(6..11)))
        .await
        .expect("an answer");
    assert_eq!(careless.body, "Hello plain text\nline two\n");
    assert_eq!(site.read(&note, 6..11).await.expect("a part"), "plain");
}

#[tokio::test]
async fn a_page_in_place_of_a_missing_original_never_becomes_content() {
    let site = fixture(Seed::Sample).await;
    let note = site.at(&["Uncollected item", "note.txt"]).await;
    let id = note.id.key().parse().expect("a number");
    site.server.handle().lose_original(id);
    assert_eq!(kind_of(site.read(&note, 0..26).await), Some(ErrorKind::Protocol));
    assert_eq!(kind_of(site.read(&note, 0..10).await), Some(ErrorKind::Protocol));
    site.server.handle().remove_file(id);
    assert_eq!(kind_of(site.read(&note, 0..10).await), Some(ErrorKind::NotFound));
}

/// What came ahead on a walk once showed an item as it was before a change of ours.
#[tokio::test]
async fn files_of_many_items_come_ahead_until_something_is_changed() {
    let site = fixture(Seed::Bulk {
        collections: 1,
        items_each: 60,
        files_each: 1,
    })
    .await;
    let items = site.list(&site.at(&["Collection 0001"]).await).await;
    let asked = || site.count("GET /api/files");
    let before = asked();
    for item in &items[..20] {
        assert_eq!(site.list(item).await.len(), 1);
    }
    assert_eq!(
        asked() - before,
        3 + 2,
        "three items by themselves, then two pages for all"
    );
    assert_eq!(site.list(&items[0]).await.len(), 1);
    assert_eq!(asked() - before, 6, "who asks a second time is told what is there now");
    site.upload(&items[30].id, "second.txt", b"2").await.expect("an upload");
    let before = asked();
    assert_eq!(site.list(&items[30]).await.len(), 2);
    site.store
        .remove(&site.list(&items[31]).await[0])
        .await
        .expect("a removal");
    assert_eq!(site.list(&items[31]).await, []);
    assert_eq!(asked() - before, 3);
    // An item of which fewer files came than it has is asked for.
    let handle = site.server.handle();
    let items = site.list(&site.at(&["Collection 0001"]).await).await;
    for item in &items[..10] {
        site.list(item).await;
    }
    let (_, number) = items[40].id.as_str().split_once(':').expect("an id");
    handle
        .add_file(number.parse().expect("a number"), "theirs.txt", b"x")
        .await
        .expect("a file");
    let collection = site.at(&["Collection 0001"]).await;
    let items = site.list(&collection).await;
    assert_eq!(site.list(&items[40]).await.len(), 2);
}

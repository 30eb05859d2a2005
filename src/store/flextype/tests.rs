//! The store against the built-in site.

mod cut_off;
mod quirks;

use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;

use super::*;
use crate::emulator::common::{Action, FaultRule, When};
use crate::emulator::flextype::{
    ACCESS_TOKEN, FILES_TOKEN, FOLDERS_TOKEN, FlextypeOptions, Running, TokenKind, TokenState, Version, serve,
};
use crate::http::{Client, LocalBudget, Secret};
use crate::model::{ContentVersion, Entry, FieldChanges, ItemId, Kind, ManualClock, Name, SystemClock, Timestamp};
use crate::store::{Body, ErrorKind, Placement, Result, Store, StoreError, UploadProgress};

struct Setup {
    site: Running,
    store: FlextypeStore,
    /// Moves the site's time, so that two uploads are never of the same second.
    time: Arc<ManualClock>,
}

async fn setup_with(change: impl FnOnce(&mut FlextypeOptions, &mut Vec<Images>)) -> Setup {
    let time = ManualClock::starting(SystemClock::shared().now());
    let mut options = FlextypeOptions {
        clock: time.clone(),
        ..FlextypeOptions::default()
    };
    let mut images = Vec::new();
    change(&mut options, &mut images);
    let site = serve(options).await.unwrap();
    let store = store_for(&site, images.pop().unwrap_or_default());
    Setup { site, store, time }
}

async fn setup() -> Setup {
    setup_with(|_, _| {}).await
}

fn store_for(site: &Running, images: Images) -> FlextypeStore {
    let clock = SystemClock::shared();
    let mut config = FlextypeConfig::new(
        site.base_url().parse().unwrap(),
        Secret::new(FILES_TOKEN),
        Secret::new(FOLDERS_TOKEN),
        Some(Secret::new(ACCESS_TOKEN)),
    );
    config.images = images;
    let client = Client::new(config.client(LocalBudget::unlimited(clock.clone())), clock.clone()).unwrap();
    FlextypeStore::new(client, config, clock)
}

fn body(bytes: &[u8]) -> Body {
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, bytes).unwrap();
    Body::new(Arc::new(file), bytes.len() as u64)
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn id(text: &str) -> ItemId {
    ItemId::new(text.to_owned())
}

fn to(folder: &str, name: &str) -> Placement {
    Placement {
        name: name.to_owned(),
        parents: vec![id(folder)],
    }
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.expect_err("an error").kind
}

impl Setup {
    async fn names(&self, folder: &str) -> Result<Vec<String>> {
        let folder = Entry::folder(id(folder), "", Vec::new());
        let entries: Vec<Vec<Entry>> = self.store.list(&folder).try_collect().await?;
        let mut names: Vec<String> = entries
            .into_iter()
            .flatten()
            .map(|e| format!("{}{}", e.name, if e.kind == Kind::Folder { "/" } else { "" }))
            .collect();
        names.sort();
        Ok(names)
    }

    async fn create(&self, folder: &str, file: &str, bytes: &[u8]) -> Result<Entry> {
        let progress = UploadProgress::default();
        self.store
            .create(&id(folder), &name(file), &body(bytes), &FieldChanges::new(), &progress)
            .await
    }

    async fn bytes(&self, file: &str) -> Vec<u8> {
        let entry = self.store.stat(&id(file)).await.unwrap();
        let download = self.store.read(&entry, 0..entry.size.unwrap()).await.unwrap();
        let pieces: Vec<bytes::Bytes> = download.stream.try_collect().await.unwrap();
        pieces.concat()
    }

    fn paths(&self) -> Vec<String> {
        self.site.snapshot().files.into_keys().collect()
    }
}

#[tokio::test]
async fn a_folder_shows_its_direct_children_although_the_collection_is_recursive() {
    let s = setup().await;
    s.site.put_file("root.txt", "r");
    s.site.put_file("docs/a.txt", "a");
    s.site.put_file("docs/deep/er/b.txt", "b");
    s.site.put_folder("docs/empty");
    assert_eq!(s.names("folder:/").await.unwrap(), ["docs/", "root.txt"]);
    assert_eq!(s.names("folder:/docs").await.unwrap(), ["a.txt", "deep/", "empty/"]);
    assert_eq!(s.names("folder:/docs/deep").await.unwrap(), ["er/"]);
    assert_eq!(s.names("folder:/docs/empty").await.unwrap(), [""; 0]);
    assert_eq!(kind(s.names("folder:/nowhere").await), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_file_that_a_nested_namesake_hides_is_shown() {
    let s = setup().await;
    s.site.put_file("same.txt", "direct");
    s.site.put_file("a/same.txt", "nested");
    s.site.put_file("a/other.txt", "other");
    assert_eq!(s.names("folder:/").await.unwrap(), ["a/", "same.txt"]);
    assert_eq!(s.bytes("file:/same.txt").await, b"direct");
    let before = s.site.counters();
    assert_eq!(s.names("folder:/").await.unwrap(), ["a/", "same.txt"]);
    let heads = |c: &crate::emulator::common::Counters| c.of("HEAD /project/uploads/{path}");
    assert_eq!(
        heads(&s.site.counters()) - heads(&before),
        1,
        "what was not hidden is not asked for at once again"
    );
}

#[tokio::test]
async fn a_listing_that_the_site_fails_is_an_error_and_never_shorter() {
    let s = setup().await;
    s.site.put_file("docs/a.txt", "a");
    s.site.put_file("docs/Makefile", "all:");
    assert_eq!(kind(s.names("folder:/docs").await), ErrorKind::Server);
    assert_eq!(kind(s.names("folder:/").await), ErrorKind::Server);
    s.site.remove_file("docs/Makefile");
    assert_eq!(s.names("folder:/docs").await.unwrap(), ["a.txt"]);
}

#[tokio::test]
async fn a_file_gets_the_exact_name_and_can_be_read_in_parts() {
    let s = setup().await;
    s.site.put_folder("docs");
    for file in ["Hello World_1.TXT", "w%20 #?&'+\\ ü😀.txt", "My Archive.v2.tar.gz"] {
        let entry = s.create("folder:/docs", file, b"hello world\n").await.unwrap();
        assert_eq!(entry.id, id(&format!("file:/docs/{file}")));
        assert_eq!((entry.name.as_str(), entry.size), (file, Some(12)));
        let part = s.store.read(&entry, 2..6).await.unwrap();
        assert_eq!((part.range.clone(), part.total), (2..6, Some(12)));
        assert!(part.validator.is_some());
        let pieces: Vec<bytes::Bytes> = part.stream.try_collect().await.unwrap();
        assert_eq!(pieces.concat(), b"llo ");
        assert_eq!(s.bytes(entry.id.as_str()).await, b"hello world\n");
        let title = file.rsplit_once('.').unwrap().0;
        assert_eq!(s.site.field(&format!("docs/{file}"), "title"), Some(title.into()));
    }
    assert_eq!(s.paths().len(), 3, "no temporary is left: {:?}", s.paths());
    assert_eq!(
        kind(s.create("folder:/docs", "Hello World_1.TXT", b"x").await),
        ErrorKind::Exists
    );
    assert_eq!(
        kind(s.create("folder:/nowhere", "a.txt", b"x").await),
        ErrorKind::NotFound
    );
    assert_eq!(s.create("folder:/", "empty.txt", b"").await.unwrap().size, Some(0));
    assert_eq!(s.bytes("file:/empty.txt").await, b"");
}

#[tokio::test]
async fn pictures_come_back_as_the_site_made_them() {
    let s = setup().await;
    let mut jpeg = std::io::Cursor::new(Vec::new());
    let picture = image::RgbImage::from_fn(1_800, 90, |x, y| image::Rgb([x as u8, y as u8, (x ^ y) as u8]));
    picture.write_to(&mut jpeg, image::ImageFormat::Jpeg).unwrap();
    let jpeg = jpeg.into_inner();
    let entry = s.create("folder:/", "Photo.jpg", &jpeg).await.unwrap();
    let stored = &s.site.snapshot().files["Photo.jpg"];
    assert_eq!(entry.size, Some(stored.len() as u64));
    assert_ne!(entry.size, Some(jpeg.len() as u64));
    assert!(entry.fields.contains_key("altered"));
    assert!(!s.store.stat(&entry.id).await.unwrap().fields.contains_key("altered"));
    assert_eq!(s.bytes("file:/Photo.jpg").await, stored.to_vec());
    let refusing = store_for(&s.site, Images::Refuse);
    let progress = UploadProgress::default();
    let refused = refusing
        .create(
            &id("folder:/"),
            &name("b.jpg"),
            &body(&jpeg),
            &FieldChanges::new(),
            &progress,
        )
        .await;
    assert_eq!(kind(refused), ErrorKind::Denied);
    assert_eq!(kind(s.create("folder:/", "b.txt", &jpeg).await), ErrorKind::Invalid);
    assert_eq!(s.paths(), ["Photo.jpg"]);
}

#[tokio::test]
async fn new_content_keeps_the_metadata_and_never_overwrites_a_newer_version() {
    let s = setup().await;
    let old = s.create("folder:/", "Price List.txt", b"one").await.unwrap();
    s.site.put_field("Price List.txt", "tags", "a, b".into());
    s.site
        .put_field("Price List.txt", "custom", serde_json::json!({"mtime": "17"}));
    s.time.advance(Duration::from_secs(5));
    let progress = UploadProgress::default();
    let replace = |base: ContentVersion, text: &'static [u8]| {
        let (store, progress, old) = (&s.store, &progress, &old);
        async move { store.replace(old, Some(&base), None, &body(text), progress).await }
    };
    let new = replace(old.version.clone(), b"two!").await.unwrap();
    assert_eq!((new.id.clone(), new.size), (old.id.clone(), Some(4)));
    assert_ne!(new.version, old.version);
    assert_eq!(s.bytes("file:/Price List.txt").await, b"two!");
    assert_eq!(new.fields["tags"].values[0].text, "a, b");
    assert_eq!(new.fields["custom.mtime"].values[0].text, "17");
    assert_eq!(s.paths(), ["Price List.txt"]);
    let late = replace(old.version.clone(), b"three").await;
    assert_eq!(kind(late), ErrorKind::Conflict);
    assert_eq!(s.bytes("file:/Price List.txt").await, b"two!");
    assert_eq!(s.paths(), ["Price List.txt"], "a refused upload leaves nothing");
    let renamed = name("Prices.txt");
    let both = s
        .store
        .replace(&new, None, Some(&renamed), &body(b"four"), &progress)
        .await
        .unwrap();
    assert_eq!(both.id, id("file:/Prices.txt"));
    assert_eq!(s.paths(), ["Prices.txt"]);
}

#[tokio::test]
async fn files_and_folders_move_with_new_ids_and_never_over_others() {
    let s = setup().await;
    s.site.put_file("docs/a.txt", "a");
    s.site.put_file("docs/b.txt", "b");
    s.site.put_folder("other/docs");
    let a = s.store.stat(&id("file:/docs/a.txt")).await.unwrap();
    let moved = s.store.relocate(&a, &to("folder:/other", "A 2.txt")).await.unwrap();
    assert_eq!(moved.id, id("file:/other/A 2.txt"));
    assert_eq!((moved.size, &moved.version), (a.size, &a.version));
    let b = s.store.stat(&id("file:/docs/b.txt")).await.unwrap();
    assert_eq!(
        kind(s.store.relocate(&b, &to("folder:/other", "A 2.txt")).await),
        ErrorKind::Exists
    );
    assert_eq!(
        kind(s.store.relocate(&b, &to("folder:/nowhere", "b.txt")).await),
        ErrorKind::NotFound
    );
    assert_eq!(
        kind(s.store.relocate(&b, &to("folder:/docs", "Makefile")).await),
        ErrorKind::Invalid
    );
    assert_eq!(
        kind(s.store.relocate(&a, &to("folder:/docs", "c.txt")).await),
        ErrorKind::NotFound
    );
    let docs = s.store.stat(&id("folder:/docs")).await.unwrap();
    assert_eq!(
        kind(s.store.relocate(&docs, &to("folder:/docs", "in")).await),
        ErrorKind::Invalid
    );
    assert_eq!(
        kind(s.store.relocate(&docs, &to("folder:/other", "docs")).await),
        ErrorKind::Exists
    );
    let moved = s.store.relocate(&docs, &to("folder:/other", "Docs (2)")).await.unwrap();
    assert_eq!(moved.id, id("folder:/other/Docs (2)"));
    assert_eq!(
        s.names("folder:/other").await.unwrap(),
        ["A 2.txt", "Docs (2)/", "docs/"]
    );
}

#[tokio::test]
async fn a_move_whose_answer_was_lost_is_settled_by_looking() {
    let s = setup().await;
    s.site.put_file("a.txt", "a");
    let a = s.store.stat(&id("file:/a.txt")).await.unwrap();
    s.site.faults().add(FaultRule::new(
        "PUT /api/files",
        When::First(1),
        Action::ApplyThenDropAnswer,
    ));
    let moved = s.store.relocate(&a, &to("folder:/", "b.txt")).await.unwrap();
    assert_eq!(moved.id, id("file:/b.txt"));
    s.site.faults().clear();
    s.site.faults().add(FaultRule::new(
        "DELETE /api/files",
        When::First(1),
        Action::ApplyThenDropAnswer,
    ));
    s.store.remove(&moved).await.unwrap();
    assert_eq!(kind(s.store.remove(&moved).await), ErrorKind::NotFound);
}

#[tokio::test]
async fn the_server_copies_files_and_folders() {
    let s = setup().await;
    s.site.put_file("docs/a.txt", "a");
    let a = s.store.stat(&id("file:/docs/a.txt")).await.unwrap();
    let copy = s.store.copy(&a, &id("folder:/"), &name("Copy of a.txt")).await.unwrap();
    assert_eq!(copy.id, id("file:/Copy of a.txt"));
    assert_eq!(
        kind(s.store.copy(&a, &id("folder:/"), &name("Copy of a.txt")).await),
        ErrorKind::Exists
    );
    let docs = s.store.stat(&id("folder:/docs")).await.unwrap();
    s.store.copy(&docs, &id("folder:/"), &name("docs2")).await.unwrap();
    assert_eq!(
        kind(s.store.copy(&docs, &id("folder:/docs"), &name("in")).await),
        ErrorKind::Invalid
    );
    assert_eq!(s.paths(), ["Copy of a.txt", "docs/a.txt", "docs2/a.txt"]);
}

#[tokio::test]
async fn only_empty_folders_go_and_the_root_never() {
    let s = setup().await;
    s.site.put_file("docs/deep/a.txt", "a");
    s.site.put_folder("docs/empty");
    let root = s.store.root().await.unwrap();
    assert_eq!(kind(s.store.remove(&root).await), ErrorKind::Denied);
    for full in ["folder:/docs", "folder:/docs/deep"] {
        let folder = s.store.stat(&id(full)).await.unwrap();
        assert_eq!(kind(s.store.remove(&folder).await), ErrorKind::NotEmpty);
    }
    let empty = s.store.stat(&id("folder:/docs/empty")).await.unwrap();
    s.store.remove(&empty).await.unwrap();
    assert_eq!(kind(s.store.remove(&empty).await), ErrorKind::NotFound);
    assert_eq!(s.paths(), ["docs/deep/a.txt"]);
}

#[tokio::test]
async fn folders_are_made_in_folders_that_are_there() {
    let s = setup().await;
    let made = s.store.create_folder(&id("folder:/"), &name("Season 1")).await.unwrap();
    assert_eq!(made.id, id("folder:/Season 1"));
    assert_eq!(
        kind(s.store.create_folder(&id("folder:/"), &name("Season 1")).await),
        ErrorKind::Exists
    );
    assert_eq!(
        kind(s.store.create_folder(&id("folder:/no"), &name("x")).await),
        ErrorKind::NotFound
    );
    assert_eq!(
        kind(s.store.create_folder(&id("folder:/"), &name(".git")).await),
        ErrorKind::Invalid
    );
    assert_eq!(s.site.snapshot().folders, ["Season 1"]);
}

#[tokio::test]
async fn fields_are_changed_added_and_removed() {
    let s = setup().await;
    s.site.put_file("a.txt", "a");
    let a = s.store.stat(&id("file:/a.txt")).await.unwrap();
    let changes = FieldChanges::from([
        ("title".to_owned(), vec!["New".into()]),
        ("tags".to_owned(), vec!["a, b".into()]),
        ("custom.mtime".to_owned(), vec!["17".into()]),
        ("notes".to_owned(), vec!["one".into(), "two".into()]),
    ]);
    let set = s.store.set_fields(std::slice::from_ref(&a), &changes).await.unwrap();
    assert_eq!(set[0].fields["title"].values, ["New".into()]);
    assert_eq!(set[0].fields["custom.mtime"].values, ["17".into()]);
    assert_eq!(set[0].fields["notes"].values, ["one\ntwo".into()]);
    assert_eq!(set[0].version, a.version, "metadata is not content");
    assert_ne!(set[0].revision, a.revision);
    let cleared = FieldChanges::from([("tags".to_owned(), Vec::new()), ("never".to_owned(), Vec::new())]);
    let set = s.store.set_fields(&set, &cleared).await.unwrap();
    assert!(!set[0].fields.contains_key("tags"));
    assert_eq!(s.site.field("a.txt", "tags"), None);
    let told = FieldChanges::from([("filesize".to_owned(), vec!["1".into()])]);
    assert_eq!(kind(s.store.check_fields(&a, &told).await), ErrorKind::Denied);
}

#[tokio::test]
async fn no_path_that_climbs_and_no_empty_one_is_ever_sent() {
    let s = setup().await;
    s.site.put_file("a.txt", "a");
    for bad in [
        "file:/../a.txt",
        "file:/x/../../a.txt",
        "file:/./a.txt",
        "file:/.meta/a.txt",
        "file:/a\0b",
        "file:",
    ] {
        let item = Entry::file(id(bad), "x", vec![id("folder:/")], 1, ContentVersion::new("1"));
        for result in [
            s.store.stat(&item.id).await.map(|_| ()),
            s.store.remove(&item).await,
            s.store.relocate(&item, &to("folder:/", "b.txt")).await.map(|_| ()),
            s.store
                .replace(&item, None, None, &body(b"x"), &UploadProgress::default())
                .await
                .map(|_| ()),
        ] {
            assert!(result.is_err(), "{bad}");
        }
    }
    let a = s.store.stat(&id("file:/a.txt")).await.unwrap();
    for bad in ["..", ".", "", "../b.txt"] {
        let moved = s.store.relocate(&a, &to("folder:/", bad)).await;
        assert_eq!(kind(moved), ErrorKind::Invalid, "{bad}");
    }
    let root = s.store.root().await.unwrap();
    assert!(s.store.relocate(&root, &to("folder:/", "x")).await.is_err());
    assert!(s.store.copy(&root, &id("folder:/"), &name("x")).await.is_err());
    assert_eq!(s.site.escapes(), 0);
    assert_eq!(s.paths(), ["a.txt"]);
}

#[tokio::test]
async fn refusals_come_before_anything_is_sent() {
    let s = setup().await;
    s.store.root().await.unwrap();
    let before = s.site.counters().api;
    for bad in ["Makefile", "notes.md", "x.php", ".hidden.txt", "main.rs"] {
        assert_eq!(kind(s.create("folder:/", bad, b"x").await), ErrorKind::Invalid, "{bad}");
    }
    assert_eq!(
        kind(s.create("folder:/", "big.zip", &vec![0; 8_000_001]).await),
        ErrorKind::TooLarge
    );
    assert_eq!(s.site.counters().api, before);
}

/// A site that takes more than its web server: the server throws the body away, with the tokens in it, and the site then asks
/// for them. That was taken for a refused login, which was asked for again and again.
#[tokio::test]
async fn a_body_over_the_web_servers_limit_is_too_large_and_no_wrong_login() {
    let s = setup_with(|options, _| options.max_file_size = 40_000_000).await;
    let mut config = FlextypeConfig::new(
        s.site.base_url().parse().unwrap(),
        Secret::new(FILES_TOKEN),
        Secret::new(FOLDERS_TOKEN),
        Some(Secret::new(ACCESS_TOKEN)),
    );
    config.file_bytes_max = 40_000_000;
    let clock = SystemClock::shared();
    let client = Client::new(config.client(LocalBudget::unlimited(clock.clone())), clock.clone()).unwrap();
    let s = Setup {
        store: FlextypeStore::new(client, config, clock),
        ..s
    };
    let big = vec![0; 17 << 20];
    assert_eq!(kind(s.create("folder:/", "big.zip", &big).await), ErrorKind::TooLarge);
    s.create("folder:/", "small.zip", &big[..2 << 20]).await.unwrap();
}

#[tokio::test]
async fn what_is_gone_is_not_found_and_what_fails_is_not() {
    let s = setup().await;
    s.site.put_file("a.txt", "a");
    let a = s.store.stat(&id("file:/a.txt")).await.unwrap();
    s.site.remove_file("a.txt");
    assert_eq!(kind(s.store.stat(&a.id).await), ErrorKind::NotFound);
    assert_eq!(kind(s.store.read(&a, 0..1).await.map(|_| ())), ErrorKind::NotFound);
    s.site.put_file("a.txt", "a");
    s.site
        .faults()
        .add(FaultRule::new("GET /api/files", When::First(1), Action::status(404)));
    assert_eq!(
        kind(s.store.stat(&a.id).await),
        ErrorKind::Protocol,
        "a 404 that is not the site's own proves nothing"
    );
    s.site.faults().clear();
    s.site
        .faults()
        .add(FaultRule::new("GET /project/*", When::Always, Action::Html));
    assert_eq!(
        kind(s.store.read(&a, 0..1).await.map(|_| ())),
        ErrorKind::Protocol,
        "a portal's page is no content"
    );
    s.site.set_token(TokenKind::Files, FILES_TOKEN, TokenState::Disabled);
    assert_eq!(kind(s.store.stat(&a.id).await), ErrorKind::Unauthenticated);
    s.site
        .set_token(TokenKind::Folders, FOLDERS_TOKEN, TokenState::Disabled);
    assert_eq!(kind(s.store.stat(&id("folder:/x")).await), ErrorKind::Unauthenticated);
}

#[tokio::test]
async fn parallel_calls_share_a_session_and_none_trips_over_the_token() {
    let s = setup_with(|options, _| options.token_rewrite = Duration::from_millis(3)).await;
    s.site.put_file("a.txt", "a");
    s.store.account().await.unwrap();
    let a = id("file:/a.txt");
    let stats = (0..60).map(|_| s.store.stat(&a));
    let failed: Vec<StoreError> = futures_util::future::join_all(stats)
        .await
        .into_iter()
        .filter_map(Result::err)
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
}

#[tokio::test]
async fn before_0_9_12_files_beside_a_subfolder_are_reached_by_name() {
    let s = setup_with(|options, _| options.version = Version::V0_9_11).await;
    s.site.put_file("flat/a.txt", "a");
    s.site.put_file("b.txt", "b");
    assert_eq!(s.names("folder:/flat").await.unwrap(), ["a.txt"]);
    assert_eq!(s.names("folder:/").await.unwrap(), ["flat/"]);
    let root = s.store.root().await.unwrap();
    let found = s.store.lookup_unlisted(&root, &name("b.txt")).await.unwrap().unwrap();
    assert_eq!(found.id, id("file:/b.txt"));
    assert_eq!(s.store.lookup_unlisted(&root, &name("c.txt")).await.unwrap(), None);
    assert_eq!(s.store.lookup_unlisted(&root, &name("noext")).await.unwrap(), None);
    assert_eq!(
        s.names("folder:/").await.unwrap(),
        ["b.txt", "flat/"],
        "what was found once stays"
    );
    let made = s.create("folder:/", "New One.txt", b"new").await.unwrap();
    assert_eq!(made.size, Some(3));
    assert_eq!(s.names("folder:/").await.unwrap(), ["New One.txt", "b.txt", "flat/"]);
    let moved = s.store.relocate(&made, &to("folder:/flat", "c.txt")).await.unwrap();
    assert_eq!(moved.id, id("file:/flat/c.txt"));
    assert_eq!(s.names("folder:/").await.unwrap(), ["b.txt", "flat/"]);
    assert_eq!(kind(s.names("folder:/nowhere").await), ErrorKind::NotFound);
    let flat = s.store.stat(&id("folder:/flat")).await.unwrap();
    assert_eq!(kind(s.store.remove(&flat).await), ErrorKind::NotEmpty);
}

#[tokio::test]
async fn the_account_is_the_site_and_proves_both_tokens() {
    let s = setup().await;
    let account = s.store.account().await.unwrap();
    assert!(account.id.starts_with("flextype:127.0.0.1:"), "{account:?}");
    let second = setup().await;
    second
        .site
        .set_token(TokenKind::Files, FILES_TOKEN, TokenState::Disabled);
    assert_eq!(kind(second.store.account().await), ErrorKind::Unauthenticated);
}

#[tokio::test]
async fn sizes_that_the_site_does_not_tell_are_asked_for() {
    let s = setup().await;
    s.site.put_file("a.txt", "hello");
    s.site.put_field("a.txt", "filesize", serde_json::Value::Null);
    assert_eq!(s.store.stat(&id("file:/a.txt")).await.unwrap().size, Some(5));
    assert_eq!(
        s.store
            .stat(&id("file:/a.txt"))
            .await
            .unwrap()
            .modified
            .map(|t| t > Timestamp::from_secs(0)),
        Some(true)
    );
}

use assetfs::model::{FieldChanges, Kind};
use assetfs::store::{
    CreateFile, CreateFolder, ErrorKind, Progress, Resume, SiblingNames, Sizes, Support, UploadProgress,
};

use crate::fixture::Fixture;
use crate::support::{body, content, create, field, hollow_body, kind, list, listed_names, name, pattern};

pub async fn a_new_file_holds_what_was_sent(f: &dyn Fixture) {
    let (store, room) = (f.store(), &f.rooms()[0]);
    let bytes = pattern(10_000);
    let entry = create(&store, room, "a.txt", &bytes).await.expect("a new file");
    assert_eq!((entry.kind, entry.name.as_str()), (Kind::File, "a.txt"));
    assert!(
        entry.parents.is_empty() || entry.parents == [room.id.clone()],
        "{:?}",
        entry.parents
    );
    assert!(
        f.held(&entry.id).await.expect("the file") == bytes,
        "other bytes are held"
    );
    let told = store.stat(&entry.id).await.expect("a stat");
    assert_eq!(
        (&told.id, &told.name, &told.version),
        (&entry.id, &entry.name, &entry.version)
    );
    if store.capabilities().sizes == Sizes::Known {
        assert_eq!((entry.size, told.size), (Some(10_000), Some(10_000)));
    }
    f.settle().await;
    assert_eq!(listed_names(&store, room).await, ["a.txt"]);
    assert!(
        content(&store, &told).await.expect("content") == bytes,
        "other bytes came back"
    );
}

pub async fn a_big_file_arrives_whole(f: &dyn Fixture) {
    // More than one chunk of every store, and not a whole number of them.
    let bytes = pattern(6_500_001);
    let progress = UploadProgress::default();
    let room = &f.rooms()[0];
    let entry = f
        .store()
        .create(
            &room.id,
            &name("big.txt"),
            &body(&bytes),
            &FieldChanges::new(),
            &progress,
        )
        .await;
    let held = f.held(&entry.expect("a new file").id).await.expect("the file");
    assert!(held == bytes, "other bytes are held: {} of {}", held.len(), bytes.len());
    assert_eq!(progress.sent_bytes(), bytes.len() as u64);
}

pub async fn an_empty_file_is_kept_or_refused(f: &dyn Fixture) {
    let (store, room) = (f.store(), &f.rooms()[0]);
    let outcome = create(&store, room, "empty.txt", b"").await;
    match store.capabilities().empty_files {
        Support::Yes => {
            let entry = outcome.expect("an empty file");
            assert_eq!(f.held(&entry.id).await, Some(vec![]));
        }
        Support::No => {
            assert_eq!(kind(outcome), ErrorKind::Invalid);
            f.settle().await;
            assert_eq!(list(&store, room).await.expect("a listing"), []);
        }
    }
}

pub async fn a_file_over_the_limit_is_refused(f: &dyn Fixture) {
    let (store, room) = (f.store(), &f.rooms()[0]);
    let Some(max) = store.capabilities().file_bytes_max else {
        // Without a declared limit, a size beyond every page, part and chunk passes.
        let big = create(&store, room, "big.txt", &pattern(9_000_000))
            .await
            .expect("a new file");
        assert_eq!(f.held(&big.id).await.map(|bytes| bytes.len()), Some(9_000_000));
        return;
    };
    let progress = UploadProgress::default();
    let outcome = store
        .create(
            &room.id,
            &name("huge.txt"),
            &hollow_body(max + 1),
            &FieldChanges::new(),
            &progress,
        )
        .await;
    assert_eq!(kind(outcome), ErrorKind::TooLarge);
    f.settle().await;
    assert_eq!(list(&store, room).await.expect("a listing"), []);
}

pub async fn odd_names_arrive_or_are_refused(f: &dyn Fixture) {
    let (store, room) = (f.store(), &f.rooms()[0]);
    for odd in f.odd_names() {
        store.check_name(&name(odd), Kind::File).expect("an allowed name");
        let entry = create(&store, room, odd, odd.as_bytes()).await.expect(odd);
        assert_eq!(entry.name, f.spelled(odd));
        assert_eq!(store.stat(&entry.id).await.expect("a stat").name, entry.name);
        assert_eq!(content(&store, &entry).await.expect("content"), odd.as_bytes());
    }
    f.settle().await;
    let mut want: Vec<_> = f.odd_names().into_iter().map(|odd| f.spelled(odd)).collect();
    want.sort();
    assert_eq!(listed_names(&store, room).await, want);
}

pub async fn a_name_that_is_taken(f: &dyn Fixture) {
    let (store, room) = (f.store(), &f.rooms()[0]);
    let first = create(&store, room, "same.txt", b"first").await.expect("a new file");
    let outcome = create(&store, room, "same.txt", b"second").await;
    match store.capabilities().sibling_names {
        SiblingNames::Shared => {
            let second = outcome.expect("a namesake");
            assert_ne!(first.id, second.id);
            assert_eq!(f.held(&second.id).await.as_deref(), Some(&b"second"[..]));
        }
        SiblingNames::Unique => assert_eq!(kind(outcome), ErrorKind::Exists),
    }
    assert_eq!(
        f.held(&first.id).await.as_deref(),
        Some(&b"first"[..]),
        "never overwritten by a create"
    );
}

pub async fn a_name_against_the_stores_rule_is_refused(f: &dyn Fixture) {
    let (store, room) = (f.store(), &f.rooms()[0]);
    let Some(refused) = f.refused_name() else {
        let entry = create(&store, room, "no rule", b"x").await.expect("a new file");
        assert_eq!(entry.name, "no rule");
        return;
    };
    let verdict = store
        .check_name(&name(refused), Kind::File)
        .expect_err("the store's rule");
    assert_eq!(verdict.kind, ErrorKind::Invalid);
    assert!(
        std::error::Error::source(&verdict).is_some(),
        "the rule is told: {verdict}"
    );
    assert_eq!(kind(create(&store, room, refused, b"x").await), ErrorKind::Invalid);
    f.settle().await;
    assert_eq!(list(&store, room).await.expect("a listing"), []);
}

/// An upload whose bytes have been overtaken by newer ones.
struct Overtaken;

#[async_trait::async_trait]
impl Progress for Overtaken {
    fn resume(&self) -> Option<Resume> {
        None
    }

    fn save(&self, _: &Resume) {}

    fn sent(&self, _: u64) {}

    async fn may_publish(&self) -> bool {
        false
    }
}

pub async fn an_upload_that_was_overtaken_publishes_nothing(f: &dyn Fixture) {
    let (store, room) = (f.store(), &f.rooms()[0]);
    let outcome = store
        .create(
            &room.id,
            &name("a.txt"),
            &body(b"old"),
            &FieldChanges::new(),
            &Overtaken,
        )
        .await;
    assert_eq!(kind(outcome), ErrorKind::Cancelled);
    f.settle().await;
    assert_eq!(list(&store, room).await.expect("a listing"), []);
}

pub async fn files_are_made_only_where_they_may_be(f: &dyn Fixture) {
    let store = f.store();
    let root = store.root().await.expect("the root");
    let outcome = create(&store, &root, "top.txt", b"x").await;
    assert_eq!(
        store.may_hold(&root, Kind::File).is_ok(),
        outcome.is_ok(),
        "told beforehand"
    );
    match store.capabilities().create_file {
        CreateFile::Anywhere | CreateFile::FromDepth(0) => {
            let entry = outcome.expect("a new file");
            assert_eq!(f.held(&entry.id).await.as_deref(), Some(&b"x"[..]));
        }
        CreateFile::FromDepth(_) => assert_eq!(kind(outcome), ErrorKind::Denied),
    }
    create(&store, &f.rooms()[0], "deep.txt", b"x")
        .await
        .expect("files are allowed in the rooms");
}

pub async fn folders_are_made_only_where_they_may_be(f: &dyn Fixture) {
    let store = f.store();
    let [home, _] = f.homes();
    let [room, _] = f.rooms();
    for (parent, depth) in [(store.root().await.expect("the root"), 0), (home, 1), (room, 2)] {
        let outcome = store.create_folder(&parent.id, &name("made here")).await;
        let allowed = match store.capabilities().create_folder {
            CreateFolder::Anywhere => true,
            CreateFolder::AboveDepth(below) => depth < below,
            CreateFolder::Nowhere => false,
        };
        assert_eq!(
            store.may_hold(&parent, Kind::Folder).is_ok(),
            allowed,
            "told beforehand, depth {depth}"
        );
        if !allowed {
            assert_eq!(kind(outcome), ErrorKind::Denied, "depth {depth}");
            continue;
        }
        let folder = outcome.expect("a new folder");
        assert_eq!(
            (folder.kind, folder.name.as_str()),
            (Kind::Folder, "made here"),
            "depth {depth}"
        );
        let told = store.stat(&folder.id).await.expect("a stat");
        assert_eq!((&told.name, told.kind), (&folder.name, Kind::Folder));
        assert_eq!(list(&store, &told).await.expect("a listing"), []);
        f.settle().await;
        let listed = list(&store, &parent).await.expect("a listing");
        assert!(listed.iter().any(|e| e.id == folder.id), "depth {depth}: {listed:?}");
    }
}

pub async fn altered_content_is_told_as_it_is_held(f: &dyn Fixture) {
    let (store, room) = (f.store(), &f.rooms()[0]);
    let sent = picture();
    let entry = create(&store, room, "picture.png", &sent).await.expect("a new file");
    let held = f.held(&entry.id).await.expect("the file");
    assert_eq!(held != sent, store.capabilities().alters_content, "declared as it is");
    let told = store.stat(&entry.id).await.expect("a stat");
    assert_eq!(&told.version, &entry.version);
    for size in [entry.size, told.size].into_iter().flatten() {
        assert_eq!(
            size,
            held.len() as u64,
            "the size of what is held, not of what was sent"
        );
    }
    assert!(
        content(&store, &told).await.expect("content") == held,
        "other bytes came back"
    );
}

/// A real picture, for servers that look into it, and wider than any that they keep as it is.
fn picture() -> Vec<u8> {
    let mut png = std::io::Cursor::new(Vec::new());
    let pixels = image::RgbImage::from_fn(2000, 16, |x, y| image::Rgb([x as u8, y as u8 * 5, (x * y) as u8]));
    pixels.write_to(&mut png, image::ImageFormat::Png).expect("a picture");
    png.into_inner()
}

pub async fn fields_travel_with_the_upload(f: &dyn Fixture) {
    let (store, room) = (f.store(), &f.rooms()[0]);
    let wanted = field(f.text_field().name(), &["from the start"]);
    let progress = UploadProgress::default();
    let entry = store
        .create(&room.id, &name("a.txt"), &body(b"x"), &wanted, &progress)
        .await
        .expect("a new file");
    let told = store.stat(&entry.id).await.expect("a stat");
    let values = told.fields.get(f.text_field().name()).map(|field| field.values.clone());
    assert_eq!(values, wanted.get(f.text_field().name()).cloned());
}

pub async fn a_name_that_is_refused_at_once_is_never_taken(f: &dyn Fixture) {
    let (store, room) = (f.store(), &f.rooms()[0]);
    for odd in [
        "page.html",
        "pic.svg",
        "read.md",
        "data.json",
        "table.csv",
        "evil.php",
        "Makefile",
        "sedAbC123",
        "4913",
        ".hidden",
        "plain.txt",
        "x.tmp",
        "photo.jpg_exiftool_tmp",
        "emoji \u{1f600}.txt",
    ] {
        let taken = store.check_name(&name(odd), Kind::File);
        if let Err(verdict) = store.refuses_at_once(&name(odd)) {
            assert_eq!(verdict.kind, ErrorKind::Invalid, "{odd}");
            assert!(taken.is_err(), "{odd}: a name that would be taken must not be refused");
            assert_eq!(kind(create(&store, room, odd, b"x").await), ErrorKind::Invalid, "{odd}");
        }
    }
    assert!(store.refuses_at_once(&name("plain.txt")).is_ok());
    f.settle().await;
    assert_eq!(list(&store, room).await.expect("a listing"), []);
}

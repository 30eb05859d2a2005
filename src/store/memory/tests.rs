use std::time::Duration;

use futures_util::{FutureExt, TryStreamExt};

use super::*;
use crate::model::{Availability, Clock, Entry, FieldChanges, ItemId, ManualClock, Name, Timestamp};
use crate::store::{Body, ErrorKind, Placement, Query, Result, Retry, Store, UploadProgress};

fn store(capabilities: crate::store::Capabilities) -> (MemoryStore, Arc<ManualClock>) {
    let clock = ManualClock::starting(Timestamp::from_secs(1000));
    (MemoryStore::new(capabilities, clock.clone()), clock)
}

fn body(bytes: &[u8]) -> Body {
    let mut file = tempfile::tempfile().expect("temporary file");
    std::io::Write::write_all(&mut file, bytes).expect("write");
    Body::new(Arc::new(file), bytes.len() as u64)
}

fn name(text: &str) -> Name {
    Name::new(text).expect("valid")
}

async fn create(store: &MemoryStore, text: &str, bytes: &[u8]) -> Result<Entry> {
    let root = store.remote().root();
    store
        .create(
            &root,
            &name(text),
            &body(bytes),
            &FieldChanges::new(),
            &UploadProgress::default(),
        )
        .await
}

async fn listed(store: &MemoryStore, folder: &ItemId) -> Result<Vec<String>> {
    let folder = store.remote().entry(folder).expect("folder");
    let pages: Vec<Vec<Entry>> = store.list(&folder).try_collect().await?;
    Ok(pages.into_iter().flatten().map(|entry| entry.name).collect())
}

#[tokio::test]
async fn a_listing_lags_behind_writes_and_stat_does_not() {
    let (store, clock) = store(like_imagerelay());
    store.turn(|knobs| knobs.listing_lag = Duration::from_secs(60));
    clock.advance(Duration::from_secs(100));
    let root = store.remote().root();
    let entry = create(&store, "new.txt", b"x").await.expect("create");
    assert_eq!(listed(&store, &root).await.expect("list"), [""; 0]);
    assert_eq!(store.stat(&entry.id).await.expect("stat"), entry);
    clock.advance(Duration::from_secs(60));
    assert_eq!(listed(&store, &root).await.expect("list"), ["new.txt"]);
    store.remove(&entry).await.expect("remove");
    assert_eq!(
        listed(&store, &root).await.expect("list"),
        ["new.txt"],
        "a ghost, until the index has caught up"
    );
    clock.advance(Duration::from_secs(60));
    assert_eq!(listed(&store, &root).await.expect("list"), [""; 0]);
}

#[tokio::test]
async fn the_nth_call_fails_and_the_others_do_not() {
    let (store, _) = store(whole());
    store
        .faults()
        .inject(Op::Create, 2, Fault::Fail(ErrorKind::Full, Retry::Never));
    assert!(create(&store, "a", b"1").await.is_ok());
    assert_eq!(
        create(&store, "b", b"2").await.map_err(|e| e.kind),
        Err(ErrorKind::Full)
    );
    assert!(create(&store, "c", b"3").await.is_ok());
    assert_eq!(store.faults().calls(Op::Create), 3);
    assert!(store.remote().find("b").is_none());
}

#[tokio::test]
async fn a_lost_answer_is_ambiguous_and_the_change_is_there() {
    let (store, _) = store(whole());
    store.faults().inject(Op::Create, 1, Fault::LoseAnswer);
    let error = create(&store, "a", b"1").await.expect_err("lost");
    assert_eq!((error.kind, error.retry), (ErrorKind::Network, Retry::Ambiguous));
    assert!(store.remote().find("a").is_some());
}

#[tokio::test]
async fn a_hanging_call_never_answers_and_others_do() {
    let (store, _) = store(whole());
    store.faults().always(Op::Stat, Fault::Hang);
    let root = store.remote().root();
    assert!(store.stat(&root).now_or_never().is_none());
    assert!(store.root().await.is_ok());
    store.faults().clear();
    assert!(store.stat(&root).await.is_ok());
}

#[tokio::test]
async fn a_pulled_cable_fails_everything() {
    let (store, _) = store(whole());
    store
        .faults()
        .everything(Some(Fault::Fail(ErrorKind::Network, Retry::After(Duration::ZERO))));
    assert!(store.account().await.is_err() && create(&store, "a", b"1").await.is_err());
    assert!(listed(&store, &store.remote().root()).await.is_err());
    store.faults().everything(None);
    assert!(create(&store, "a", b"1").await.is_ok());
}

#[tokio::test]
async fn an_upload_goes_on_after_the_last_acknowledged_chunk() {
    let (store, _) = store(whole());
    store.turn(|knobs| knobs.chunk_bytes = 4);
    store
        .faults()
        .inject(Op::Chunk, 3, Fault::Fail(ErrorKind::Network, Retry::Ambiguous));
    let progress = UploadProgress::default();
    let (root, bytes) = (store.remote().root(), body(b"0123456789"));
    let (to, fields) = (name("a.txt"), FieldChanges::new());
    let again = || store.create(&root, &to, &bytes, &fields, &progress);
    assert!(again().await.is_err());
    assert_eq!(progress.sent_bytes(), 8);
    let entry = again().await.expect("create");
    assert_eq!((progress.sent_bytes(), store.faults().calls(Op::Chunk)), (10, 4));
    assert_eq!(store.remote().bytes(&entry.id).as_deref(), Some(&b"0123456789"[..]));
}

#[tokio::test]
async fn a_download_may_break_off() {
    let (store, _) = store(whole());
    let entry = create(&store, "a", b"0123456789").await.expect("create");
    store.faults().inject(Op::Read, 1, Fault::CutAfter(3));
    let download = store.read(&entry, 2..9).await.expect("read");
    assert_eq!((download.range.clone(), download.total), (2..9, Some(10)));
    let parts: Vec<_> = futures_util::StreamExt::collect::<Vec<_>>(download.stream).await;
    assert_eq!(parts[0].as_ref().expect("first part").as_ref(), b"234");
    assert!(parts[1].is_err());
}

#[tokio::test]
async fn a_folder_whose_id_is_its_path_takes_everything_below_along() {
    let (store, _) = store(like_flextype());
    let remote = store.remote();
    let folder = remote.mkdir(&remote.root(), "a").expect("mkdir");
    let inner = remote.mkdir(&folder.id, "b").expect("mkdir");
    remote.put(&inner.id, "c.txt", "x").expect("put");
    let to = Placement {
        name: "z".into(),
        parents: folder.parents.clone(),
    };
    let moved = store.relocate(&folder, &to).await.expect("relocate");
    assert_eq!(moved.id.as_str(), "folder:z");
    let file = remote.find("z/b/c.txt").expect("there");
    assert_eq!(
        (file.id.as_str(), file.parents),
        ("file:z/b/c.txt", vec![ItemId::new("folder:z/b")])
    );
    assert!(remote.entry(&folder.id).is_none());
}

#[tokio::test]
async fn the_feed_tells_what_others_did() {
    let (store, clock) = store(whole());
    let remote = store.remote();
    let (kept, gone) = (
        remote.put(&remote.root(), "a", "1"),
        remote.put(&remote.root(), "b", "2"),
    );
    let (kept, gone) = (kept.expect("put"), gone.expect("put"));
    let start = store.changes(None, clock.now()).await.expect("changes").cursor;
    remote.write(&kept.id, "changed").expect("write");
    remote.remove(&gone.id).expect("remove");
    let changes = store.changes(Some(&start), clock.now()).await.expect("changes");
    assert_eq!(changes.changed.iter().map(|e| &e.id).collect::<Vec<_>>(), [&kept.id]);
    assert_eq!(changes.removed, [gone.id]);
    let none = store
        .changes(Some(&changes.cursor), clock.now())
        .await
        .expect("changes");
    assert!(none.changed.is_empty() && none.removed.is_empty());
}

#[tokio::test]
async fn a_search_keeps_to_its_scope_and_filters() {
    let (store, _) = store(whole());
    let remote = store.remote();
    let folder = remote.mkdir(&remote.root(), "f").expect("mkdir");
    let deep = remote.put(&folder.id, "Spring Hero.jpg", "1").expect("put");
    remote.put(&remote.root(), "spring.txt", "2").expect("put");
    let query = Query {
        words: "spring".into(),
        scope: Some(folder.id.clone()),
        recursive: true,
        filters: vec![],
    };
    let found = store.search(&query).await.expect("search");
    assert_eq!(found.iter().map(|e| &e.id).collect::<Vec<_>>(), [&deep.id]);
    let filtered = Query {
        filters: vec![("season".into(), "Spring".into())],
        ..Query::default()
    };
    assert!(store.search(&filtered).await.expect("search").is_empty());
    remote
        .set_fields(&deep.id, &[("season".to_owned(), vec!["Spring".into()])].into())
        .expect("set");
    assert_eq!(store.search(&filtered).await.expect("search").len(), 1);
}

#[tokio::test]
async fn what_is_not_ready_is_not_read() {
    let (store, _) = store(whole());
    let entry = create(&store, "a", b"1").await.expect("create");
    for (availability, kind) in [
        (Availability::Processing, ErrorKind::NotReady),
        (Availability::Expired, ErrorKind::Expired),
    ] {
        store.remote().set_availability(&entry.id, availability).expect("set");
        assert_eq!(store.read(&entry, 0..1).await.err().map(|e| e.kind), Some(kind));
    }
}

#[tokio::test]
async fn a_removed_folder_leaves_files_that_are_elsewhere_too() {
    let (store, _) = store(whole());
    let remote = store.remote();
    let folder = remote.mkdir(&remote.root(), "f").expect("mkdir");
    let (both, only) = (remote.put(&folder.id, "both", "1"), remote.put(&folder.id, "only", "2"));
    let (both, only) = (both.expect("put"), only.expect("put"));
    store.link(&both, &remote.root()).await.expect("link");
    remote.remove(&folder.id).expect("remove");
    assert_eq!(remote.entry(&both.id).map(|e| e.parents), Some(vec![remote.root()]));
    assert!(remote.entry(&only.id).is_none());
}

use std::time::Duration;

use assetfs::model::Timestamp;
use assetfs::store::{ChangeFeed, ErrorKind, Query, Support};

use crate::fixture::Fixture;
use crate::support::{create, kind};

pub async fn the_feed_tells_what_changed(f: &dyn Fixture) {
    let (store, room) = (f.store(), &f.rooms()[0]);
    let now = store
        .root()
        .await
        .expect("the root")
        .modified
        .unwrap_or(Timestamp::from_secs(1_777_716_060));
    let start = store.changes(None, now).await;
    if store.capabilities().change_feed == ChangeFeed::Relist {
        assert_eq!(kind(start), ErrorKind::Unsupported);
        return;
    }
    let start = start.expect("a cursor");
    assert!(
        start.changed.is_empty() && start.removed.is_empty(),
        "nothing is new yet"
    );
    let id = f.put(room, "new.txt", b"new").await;
    f.settle().await;
    let later = now.plus(Duration::from_secs(3600));
    let changes = store.changes(Some(&start.cursor), later).await.expect("changes");
    let told = changes.changed.iter().any(|e| e.id == id) || changes.stale.contains(&room.id);
    assert!(told, "{changes:?}");
    assert!(!changes.removed.contains(&id));
}

pub async fn a_search_finds_by_name(f: &dyn Fixture) {
    let (store, [room, other]) = (f.store(), f.rooms());
    let wanted = create(&store, &room, "needle.txt", b"1").await.expect("a new file");
    create(&store, &room, "hay.txt", b"2").await.expect("a new file");
    let elsewhere = create(&store, &other, "needle two.txt", b"3")
        .await
        .expect("a new file");
    f.settle().await;
    let query = Query {
        words: "needle".into(),
        scope: Some(room.id.clone()),
        recursive: true,
        filters: vec![],
    };
    let outcome = store.search(&query).await;
    match store.capabilities().search {
        Support::Yes => {
            let found: Vec<_> = outcome.expect("an answer").into_iter().map(|e| e.id).collect();
            assert_eq!(found, [wanted.id]);
            assert!(!found.contains(&elsewhere.id), "outside of the scope");
        }
        Support::No => assert_eq!(kind(outcome), ErrorKind::Unsupported),
    }
}

pub async fn an_account_is_told_without_a_secret(f: &dyn Fixture) {
    let first = f.store().account().await.expect("an account");
    assert!(!first.id.is_empty() && !first.label.is_empty());
    assert_eq!(f.store().account().await.expect("an account"), first, "stable");
    for secret in f.secrets() {
        assert!(
            !format!("{first:?}").contains(secret.as_str()),
            "a secret in the account"
        );
    }
}

use std::collections::BTreeSet;

use assetfs::model::{Entry, Kind};
use assetfs::store::{ErrorKind, Sizes};

use crate::fixture::{Break, Call, Fixture};
use crate::support::{create, kind, list, listed_names};

pub async fn an_empty_folder_lists_nothing(f: &dyn Fixture) {
    assert_eq!(list(&f.store(), &f.rooms()[0]).await.expect("a listing"), []);
}

pub async fn every_child_is_listed_over_many_pages(f: &dyn Fixture) {
    let room = &f.rooms()[0];
    let mut put = BTreeSet::new();
    for n in 0..230 {
        put.insert(
            f.put(room, &format!("file {n:03}.txt"), format!("{n}").as_bytes())
                .await,
        );
    }
    f.settle().await;
    let entries = list(&f.store(), room).await.expect("a listing");
    assert_eq!(entries.len(), 230, "each once");
    assert_eq!(entries.iter().map(|e| e.id.clone()).collect::<BTreeSet<_>>(), put);
    let other = list(&f.store(), &f.rooms()[1]).await.expect("a listing");
    assert_eq!(other, [], "and nowhere else");
}

pub async fn the_root_is_a_folder_without_parents(f: &dyn Fixture) {
    let root = f.store().root().await.expect("the root");
    assert_eq!((root.kind, root.parents.len()), (Kind::Folder, 0));
    let homes: BTreeSet<_> = f.homes().map(|home| home.id).into();
    let listed: BTreeSet<_> = list(&f.store(), &root)
        .await
        .expect("a listing")
        .into_iter()
        .map(|e| e.id)
        .collect();
    assert!(listed.is_superset(&homes), "{listed:?} lacks some of {homes:?}");
    let rooms = list(&f.store(), &f.homes()[0]).await.expect("a listing");
    let is_room = |child: &Entry| child.id == f.rooms()[0].id && child.kind == Kind::Folder;
    assert!(rooms.iter().any(is_room), "{rooms:?}");
}

pub async fn a_listing_agrees_with_stat(f: &dyn Fixture) {
    let room = &f.rooms()[0];
    let id = f.put(room, "a.txt", b"twelve bytes").await;
    f.settle().await;
    let entries = list(&f.store(), room).await.expect("a listing");
    let [listed] = &entries[..] else {
        panic!("one file, not {entries:?}")
    };
    let told = f.store().stat(&id).await.expect("a stat");
    let core = |e: &Entry| (e.id.clone(), e.kind, e.name.clone(), e.version.clone());
    assert_eq!(core(listed), core(&told));
    assert_eq!((told.kind, told.name.as_str()), (Kind::File, "a.txt"));
    assert!(
        told.parents.is_empty() || told.parents == [room.id.clone()],
        "{:?}",
        told.parents
    );
    match f.store().capabilities().sizes {
        Sizes::Known => assert_eq!((listed.size, told.size), (Some(12), Some(12))),
        Sizes::Late => assert!(listed.size.is_none_or(|size| size == 12)),
    }
}

pub async fn what_is_missing_is_not_found(f: &dyn Fixture) {
    for missing in [Kind::File, Kind::Folder] {
        let outcome = f.store().stat(&f.absent(missing)).await;
        assert_eq!(kind(outcome), ErrorKind::NotFound, "{missing:?}");
    }
}

pub async fn a_missing_folder_is_no_empty_one(f: &dyn Fixture) {
    let missing = Entry::folder(f.absent(Kind::Folder), "missing", vec![f.homes()[0].id.clone()]);
    assert_eq!(kind(list(&f.store(), &missing).await), ErrorKind::NotFound);
}

pub async fn a_listing_that_fails_is_an_error(f: &dyn Fixture) {
    let room = &f.rooms()[0];
    f.put(room, "a.txt", b"1").await;
    f.settle().await;
    f.break_calls(Call::List, Break::Overloaded);
    let error = list(&f.store(), room).await.expect_err("no listing");
    assert!(error.is_transient(), "{error}");
    f.mend();
    assert_eq!(listed_names(&f.store(), room).await, ["a.txt"]);
}

pub async fn what_was_written_is_listed_in_the_end(f: &dyn Fixture) {
    let room = &f.rooms()[0];
    f.delay_listings();
    let entry = create(&f.store(), room, "late.txt", b"late").await.expect("a new file");
    let told = f.store().stat(&entry.id).await.expect("a direct read is never late");
    assert_eq!(told.id, entry.id);
    f.settle().await;
    let entries = list(&f.store(), room).await.expect("a listing");
    assert_eq!(entries.iter().map(|e| &e.id).collect::<Vec<_>>(), [&entry.id]);
}

pub async fn what_was_removed_is_not_listed_in_the_end(f: &dyn Fixture) {
    let room = &f.rooms()[0];
    let id = f.put(room, "a.txt", b"1").await;
    f.settle().await;
    f.delay_listings();
    let entry = f.store().stat(&id).await.expect("a stat");
    f.store().remove(&entry).await.expect("a removal");
    assert_eq!(
        kind(f.store().stat(&id).await),
        ErrorKind::NotFound,
        "a direct read is never late"
    );
    f.settle().await;
    assert_eq!(list(&f.store(), room).await.expect("a listing"), []);
}

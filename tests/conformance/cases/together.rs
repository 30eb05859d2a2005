//! Several files in one call: what `Batches` declares works for each of the files, and what it does not declare is refused
//! for each of them.

use assetfs::model::{Entry, FieldChanges};
use assetfs::store::{Batches, ErrorKind, NewFile, Result, UploadProgress};

use crate::fixture::Fixture;
use crate::support::{body, create, field, kind, list, listed_names, name, pattern};

const NAMES: [&str; 3] = ["a.txt", "b.txt", "c.txt"];

fn batches(f: &dyn Fixture) -> Batches {
    f.store().capabilities().batches
}

async fn made(f: &dyn Fixture) -> Vec<Entry> {
    let mut entries = Vec::new();
    for name in NAMES {
        let entry = create(&f.store(), &f.rooms()[0], name, name.as_bytes()).await;
        entries.push(entry.expect("a new file"));
    }
    entries
}

fn all_unsupported<T: std::fmt::Debug>(outcomes: Vec<Result<T>>) {
    assert_eq!(outcomes.len(), NAMES.len(), "one for each");
    for outcome in outcomes {
        assert_eq!(kind(outcome), ErrorKind::Unsupported);
    }
}

fn all<T>(outcomes: Vec<Result<T>>) -> Vec<T> {
    assert_eq!(outcomes.len(), NAMES.len(), "one for each");
    outcomes.into_iter().map(|outcome| outcome.expect("success")).collect()
}

pub async fn new_files_in_one_call(f: &dyn Fixture) {
    let (store, room) = (f.store(), &f.rooms()[0]);
    let names = NAMES.map(name);
    let contents: Vec<Vec<u8>> = (1..=NAMES.len()).map(|n| pattern(n * 1_000)).collect();
    let bodies: Vec<_> = contents.iter().map(|bytes| body(bytes)).collect();
    let progress: Vec<_> = NAMES.iter().map(|_| UploadProgress::default()).collect();
    let parts = names.iter().zip(&bodies).zip(&progress);
    let files: Vec<NewFile<'_>> = parts
        .map(|((name, body), progress)| NewFile { name, body, progress })
        .collect();
    let several = batches(f).create_files_max > 1;
    let fields = match several {
        true => field(f.text_field().name(), &["the same"]),
        false => FieldChanges::new(),
    };
    let outcomes = store.create_together(&room.id, &files, &fields).await;
    f.settle().await;
    if !several {
        all_unsupported(outcomes);
        assert_eq!(list(&store, room).await.expect("a listing"), []);
        return;
    }
    let entries = all(outcomes);
    for ((entry, bytes), progress) in entries.iter().zip(&contents).zip(&progress) {
        let held = f.held(&entry.id).await.expect("the file");
        assert!(held == *bytes, "{}: other bytes are held", entry.name);
        assert_eq!(progress.sent_bytes(), bytes.len() as u64);
        assert_eq!(
            entry.fields[f.text_field().name()].values[0].text,
            "the same",
            "{}",
            entry.name
        );
    }
    assert_eq!(listed_names(&store, room).await, NAMES);
    assert_eq!(entries.iter().map(|entry| &*entry.name).collect::<Vec<_>>(), NAMES);
}

pub async fn moves_in_one_call(f: &dyn Fixture) {
    let (store, entries) = (f.store(), made(f).await);
    let [from, to] = f.neighbours();
    let outcomes = store.relocate_together(&entries, &to.id).await;
    f.settle().await;
    let possible = batches(f).relocate_files_max > 1 && !store.crosses(&entries[0], &to);
    if !possible {
        all_unsupported(outcomes);
        assert_eq!(listed_names(&store, &from).await, NAMES);
        return;
    }
    for (moved, entry) in all(outcomes).iter().zip(&entries) {
        assert_eq!((&moved.id, &moved.name), (&entry.id, &entry.name));
        assert_eq!(moved.parents, std::slice::from_ref(&to.id));
    }
    assert_eq!(listed_names(&store, &to).await, NAMES);
    assert_eq!(list(&store, &from).await.expect("a listing"), []);
}

pub async fn removals_in_one_call(f: &dyn Fixture) {
    let (store, entries) = (f.store(), made(f).await);
    let outcomes = store.remove_together(&entries).await;
    f.settle().await;
    if batches(f).remove_files_max <= 1 {
        all_unsupported(outcomes);
        assert_eq!(listed_names(&store, &f.rooms()[0]).await, NAMES);
        return;
    }
    all(outcomes);
    for entry in &entries {
        assert_eq!(f.held(&entry.id).await, None);
    }
    for outcome in store.remove_together(&entries).await {
        assert_eq!(kind(outcome), ErrorKind::NotFound, "what is gone is gone");
    }
}

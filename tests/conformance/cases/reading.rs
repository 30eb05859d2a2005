use std::collections::BTreeMap;

use assetfs::model::{Entry, ItemId};
use assetfs::store::{BundlePart, ErrorKind, Overwrite, Reads, UploadProgress};
use futures_util::TryStreamExt;

use crate::fixture::{Break, Call, Fixture};
use crate::support::{body, content, pattern};

/// A file of known bytes, put there by somebody else.
async fn given(f: &dyn Fixture, name: &str, bytes: &[u8]) -> Entry {
    let id = f.put(&f.rooms()[0], name, bytes).await;
    f.settle().await;
    f.store().stat(&id).await.expect("a stat")
}

pub async fn content_comes_back_whole(f: &dyn Fixture) {
    let bytes = pattern(300_000);
    let entry = given(f, "a.txt", &bytes).await;
    assert!(
        content(&f.store(), &entry).await.expect("content") == bytes,
        "other bytes came back"
    );
}

pub async fn a_range_is_exactly_what_was_asked_for(f: &dyn Fixture) {
    let bytes = pattern(200_000);
    let entry = given(f, "a.txt", &bytes).await;
    let store = f.store();
    for range in [0..1, 0..200_000, 65_535..65_537, 199_999..200_000, 12_345..178_901] {
        let download = store.read(&entry, range.clone()).await.expect("content");
        let covered = match store.capabilities().reads {
            Reads::Ranged => range.clone(),
            Reads::Whole | Reads::Bundle => 0..200_000,
        };
        assert_eq!(download.range, covered);
        assert!(
            download.total.is_none_or(|total| total == 200_000),
            "{:?}",
            download.total
        );
        let sent: Vec<_> = download.stream.try_collect().await.expect("content");
        assert!(
            sent.concat() == bytes[covered.start as usize..covered.end as usize],
            "{range:?}: other bytes"
        );
    }
}

pub async fn a_bundle_carries_the_file_and_its_neighbours(f: &dyn Fixture) {
    let entry = given(f, "a.txt", b"first").await;
    let neighbour = given(f, "b.txt", b"second").await;
    let outcome = f.store().read_bundle(&entry).await;
    if f.store().capabilities().reads != Reads::Bundle {
        assert_eq!(outcome.err().map(|e| e.kind), Some(ErrorKind::Unsupported));
        return;
    }
    let mut parts = outcome.expect("a bundle");
    let mut members: BTreeMap<ItemId, Vec<u8>> = BTreeMap::new();
    let mut current: Option<(ItemId, Vec<u8>)> = None;
    while let Some(part) = parts.try_next().await.expect("a part") {
        match (part, &mut current) {
            (BundlePart::Begin { item, .. }, None) => current = Some((item, Vec::new())),
            (BundlePart::Data(data), Some((_, bytes))) => bytes.extend_from_slice(&data),
            (BundlePart::End, Some(_)) => members.extend(current.take()),
            (BundlePart::Begin { .. }, Some(_)) => panic!("a member begins before the last one ended"),
            (BundlePart::Data(_) | BundlePart::End, None) => panic!("data of no member"),
        }
    }
    assert!(current.is_none(), "the last member has no end");
    let want = BTreeMap::from([(entry.id, b"first".to_vec()), (neighbour.id, b"second".to_vec())]);
    assert_eq!(members, want);
}

pub async fn a_broken_download_is_an_error(f: &dyn Fixture) {
    let bytes = pattern(400_000);
    let entry = given(f, "a.txt", &bytes).await;
    let store = f.store();
    f.break_calls(Call::Read, Break::CutAfter(100_000));
    let outcome = match store.read(&entry, 0..400_000).await {
        Ok(download) => download.stream.try_collect::<Vec<_>>().await,
        Err(error) => Err(error),
    };
    let error = outcome.expect_err("a part must not pass for the whole");
    assert!(error.is_transient(), "{error}");
    f.mend();
    assert!(
        content(&store, &entry).await.expect("content") == bytes,
        "other bytes came back"
    );
}

pub async fn equal_content_has_equal_validators(f: &dyn Fixture) {
    let entry = given(f, "a.txt", b"one content").await;
    let store = f.store();
    let first = store.read(&entry, 0..5).await.expect("content").validator;
    let second = store.read(&entry, 5..11).await.expect("content").validator;
    assert_eq!(first, second);
    if store.capabilities().overwrite == Overwrite::Replace && first.is_some() {
        let progress = UploadProgress::default();
        let newer = store
            .replace(&entry, None, None, &body(b"another one!"), &progress)
            .await
            .expect("a new version");
        assert_ne!(store.read(&newer, 0..5).await.expect("content").validator, first);
        assert_ne!(newer.version, entry.version);
    }
}

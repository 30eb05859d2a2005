//! Stores without ranges, and stores that send a folder at once.

use super::double::Fault;
use super::*;
use crate::cache::CacheError;
use crate::model::ItemId;
use crate::store::ErrorKind;

#[tokio::test(start_paused = true)]
async fn a_store_without_ranges_streams_once_and_serves_as_it_arrives() {
    let rig = Rig::new(Reads::Whole).await;
    rig.store.set_speed(Duration::ZERO, Duration::from_millis(10));
    let bytes = pattern(1, 2 * MIB);
    let body = rig.cache.body(&rig.store.put("1", &bytes));
    let began = tokio::time::Instant::now();
    let late = tokio::spawn({
        let body = body.clone();
        async move { read(&body, 2 * MIB - 10, 10).await.unwrap() }
    });
    read(&body, 0, 4096).await.unwrap();
    assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
    assert_eq!(late.await.unwrap(), bytes.slice((2 << 20) - 10..));
    assert_eq!(read_all(&body, 128 * KIB).await.unwrap(), bytes);
    body.complete(LONG).await.unwrap();
    assert_eq!(rig.store.take_requests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_whole_that_breaks_begins_anew_and_keeps_what_came() {
    let rig = Rig::new(Reads::Whole).await;
    let bytes = pattern(2, 2 * MIB);
    let body = rig.cache.body(&rig.store.put("1", &bytes));
    rig.store.next(Fault::Break(MIB));
    assert_eq!(read_all(&body, 128 * KIB).await.unwrap(), bytes);
    assert_eq!(rig.store.take_requests().len(), 2);
    assert_eq!(rig.cache.usage(), 2 * MIB);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_size_is_known_when_all_has_come() {
    let rig = Rig::new(Reads::Whole).await;
    let bytes = pattern(3, 700 * KIB + 5);
    let entry = Entry {
        size: None,
        ..rig.store.put("1", &bytes)
    };
    let body = rig.cache.body(&entry);
    rig.store.next(Fault::Break(300 * KIB));
    assert_eq!(read_all(&body, 128 * KIB).await.unwrap(), bytes);
    assert_eq!((body.size(), rig.cache.usage()), (Some(700 * KIB + 5), 700 * KIB + 5));
    assert!(body.is_complete());
}

#[tokio::test(start_paused = true)]
async fn one_bundle_fills_all_its_members() {
    let rig = Rig::new(Reads::Bundle).await;
    rig.store.set_speed(Duration::from_millis(50), Duration::from_millis(1));
    let contents: Vec<Bytes> = (0..5).map(|i| pattern(i, 100 * KIB + i * 77 * KIB)).collect();
    let entries: Vec<Entry> = contents
        .iter()
        .enumerate()
        .map(|(i, c)| rig.store.put(&i.to_string(), c))
        .collect();
    // Two want different members at once; the size of one is not known to its reader.
    let (first, last) = (
        rig.cache.body(&entries[0]),
        rig.cache.body(&Entry {
            size: None,
            ..entries[4].clone()
        }),
    );
    let (a, b) = tokio::join!(read_all(&first, 64 * KIB), read_all(&last, 64 * KIB));
    assert_eq!((a.unwrap(), b.unwrap()), (contents[0].to_vec(), contents[4].to_vec()));
    for i in [1, 2, 3] {
        let body = rig.cache.body(&entries[i]);
        assert_eq!(read_all(&body, 64 * KIB).await.unwrap(), contents[i]);
    }
    assert_eq!(rig.store.take_requests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_changed_member_gets_the_rest_of_its_base_from_the_bundle() {
    let rig = Rig::new(Reads::Bundle).await;
    let bytes = pattern(1, 400 * KIB);
    let entry = rig.store.put("1", &bytes);
    let neighbour = rig.store.put("2", &pattern(2, 10 * KIB));
    let body = rig.cache.body(&entry);
    body.write(200 * KIB, Bytes::from_static(b"new")).await.unwrap();
    body.complete(LONG).await.unwrap();
    let mut expected = bytes.to_vec();
    expected[200 << 10..(200 << 10) + 3].copy_from_slice(b"new");
    assert_eq!(read_all(&body, 64 * KIB).await.unwrap(), expected);
    assert_eq!(
        read_all(&rig.cache.body(&neighbour), KIB).await.unwrap(),
        pattern(2, 10 * KIB)
    );
    assert_eq!(rig.store.take_requests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_bundle_without_the_file_is_an_error_and_not_an_empty_file() {
    let rig = Rig::new(Reads::Bundle).await;
    rig.store.put("1", &pattern(1, KIB));
    let other = Entry {
        size: None,
        ..version(&rig.store.put("2", &pattern(2, KIB)), "moved on")
    };
    let error = read(&rig.cache.body(&other), 0, 10).await.unwrap_err();
    assert!(
        matches!(&error, CacheError::Changed { .. }),
        "it is told as what it is: {error}"
    );
    let missing = Entry {
        id: ItemId::of("file", "3"),
        ..other
    };
    let error = read(&rig.cache.body(&missing), 0, 10).await.unwrap_err();
    assert!(
        matches!(&error, CacheError::Store(error) if error.kind == ErrorKind::Protocol),
        "{error}"
    );
}

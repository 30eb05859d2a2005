//! Bodies that are changed.

use std::os::unix::fs::MetadataExt;

use super::double::Fault;
use super::*;
use crate::cache::{BodyState, CacheError, Keep};
use crate::disk::Allocate;
use crate::model::ContentVersion;
use crate::store::ErrorKind;

fn with(bytes: &[u8], at: usize, new: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().max(at + new.len()), 0);
    bytes[at..at + new.len()].copy_from_slice(new);
    bytes
}

#[tokio::test(start_paused = true)]
async fn a_writer_and_the_readers_share_one_file_while_the_rest_comes_in() {
    let rig = Rig::new(Reads::Ranged).await;
    rig.store.set_speed(Duration::from_millis(50), Duration::from_millis(1));
    let bytes = pattern(1, 4 * MIB);
    let entry = rig.store.put("1", &bytes);
    let body = rig.cache.body(&entry);
    read(&body, 0, 4096).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let before = body.file().await.unwrap();

    let id = body.make_dirty(Keep::All).await.unwrap();
    assert_eq!(body.path().await.unwrap(), rig.cache.staging_path(id));
    assert_eq!(
        before.metadata().unwrap().ino(),
        body.file().await.unwrap().metadata().unwrap().ino()
    );
    let missing_bytes = 4 * MIB - 256 * KIB;
    assert_eq!(
        body.state(),
        BodyState::Dirty {
            base: Some(entry.version.clone()),
            missing_bytes
        }
    );
    assert_eq!(rig.cache.usage(), 0, "it is no longer the cache's");

    // Written where the base has not arrived yet: what arrives must not undo it.
    body.write(3 * MIB + 1000, Bytes::from_static(b"new")).await.unwrap();
    let expected = with(&bytes, (3 << 20) + 1000, b"new");
    assert_eq!(
        read(&body, 3 * MIB + 998, 7).await.unwrap(),
        expected[(3 << 20) + 998..(3 << 20) + 1005]
    );
    body.complete(LONG).await.unwrap();
    assert!(body.is_complete());
    body.sync().await.unwrap();
    assert!(std::fs::read(body.path().await.unwrap()).unwrap() == expected);
    let requests = rig.store.take_requests();
    let fetched: u64 = requests.iter().map(|range| range.end - range.start).sum();
    assert_eq!(fetched, 4 * MIB, "each block once: {requests:?}");
    assert!(rig.names("content").is_empty());
}

#[tokio::test(start_paused = true)]
async fn opening_to_write_anew_fetches_nothing() {
    let rig = Rig::new(Reads::Ranged).await;
    let body = rig.cache.body(&rig.store.put("1", &pattern(1, 4 * MIB)));
    body.make_dirty(Keep::Nothing).await.unwrap();
    assert_eq!((body.size(), body.is_complete()), (Some(0), true));
    body.write(0, Bytes::from_static(b"hello")).await.unwrap();
    body.complete(Duration::ZERO).await.unwrap();
    assert_eq!(read(&body, 0, 100).await.unwrap(), "hello");
    assert!(rig.store.take_requests().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_was_cut_off_reads_as_zeros_when_the_file_grows_again() {
    let rig = Rig::new(Reads::Ranged).await;
    rig.store.set_speed(Duration::from_secs(1), Duration::ZERO);
    let bytes = pattern(2, 2 * MIB);
    let body = rig.cache.body(&rig.store.put("1", &bytes));
    body.truncate(MIB + 100).await.unwrap();
    body.truncate(2 * MIB + 50).await.unwrap();
    let mut expected = bytes[..(1 << 20) + 100].to_vec();
    expected.resize((2 << 20) + 50, 0);
    assert!(read_all(&body, 256 * KIB).await.unwrap() == expected);
    body.complete(LONG).await.unwrap();
    assert!(std::fs::read(body.path().await.unwrap()).unwrap() == expected);
}

#[tokio::test(start_paused = true)]
async fn ranges_are_punched_zeroed_and_reserved_over_a_base_that_is_not_here() {
    let rig = Rig::new(Reads::Ranged).await;
    rig.store.set_speed(Duration::from_secs(1), Duration::ZERO);
    let bytes = pattern(3, 2 * MIB);
    let body = rig.cache.body(&rig.store.put("1", &bytes));
    body.allocate(Allocate::PunchHole, 100 * KIB, 200 * KIB).await.unwrap();
    body.allocate(Allocate::KeepSize, MIB, 4 * MIB).await.unwrap();
    assert_eq!(body.size(), Some(2 * MIB));
    body.allocate(Allocate::Extend, MIB, 2 * MIB).await.unwrap();
    let mut expected = bytes.to_vec();
    expected[100 << 10..300 << 10].fill(0);
    expected.resize(3 << 20, 0);
    assert!(read_all(&body, 256 * KIB).await.unwrap() == expected);
}

#[tokio::test(start_paused = true)]
async fn a_base_that_cannot_be_completed_is_told_and_tried_again() {
    let rig = Rig::new(Reads::Ranged).await;
    let bytes = pattern(4, 400 * KIB);
    let body = rig.cache.body(&rig.store.put("1", &bytes));
    for _ in 0..2 {
        rig.store.next(Fault::Refuse(ErrorKind::Denied));
    }
    body.write(0, Bytes::from_static(b"new")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let error = body.complete(LONG).await.unwrap_err();
    assert!(
        matches!(&error, CacheError::Store(error) if error.kind == ErrorKind::Denied),
        "{error}"
    );
    assert!(!body.is_complete());
    assert_eq!(
        read(&body, 0, 3).await.unwrap(),
        "new",
        "what was written can be read all the same"
    );
    body.complete(LONG).await.unwrap();
    assert_eq!(read_all(&body, 128 * KIB).await.unwrap(), with(&bytes, 0, b"new"));
}

#[tokio::test(start_paused = true)]
async fn waiting_for_the_base_has_a_deadline() {
    let rig = Rig::new(Reads::Ranged).await;
    let entry = rig.store.put("1", &pattern(4, 400 * KIB));
    rig.store.stick(&entry);
    let body = rig.cache.body(&entry);
    body.write(0, Bytes::from_static(b"new")).await.unwrap();
    let error = body.complete(Duration::from_secs(5)).await.unwrap_err();
    assert!(matches!(error, CacheError::Incomplete { .. }), "{error}");
}

/// Over a slow line no large file could be changed in place: its close failed while the rest of it was coming.
#[tokio::test(start_paused = true)]
async fn a_slow_base_is_waited_for_as_long_as_it_comes() {
    let rig = Rig::new(Reads::Ranged).await;
    let bytes = pattern(4, 400 * KIB);
    let entry = rig.store.put("1", &bytes);
    rig.store.set_speed(Duration::ZERO, Duration::from_secs(1));
    let body = rig.cache.body(&entry);
    let began = tokio::time::Instant::now();
    body.write(0, Bytes::from_static(b"new")).await.unwrap();
    body.complete(Duration::from_secs(5)).await.unwrap();
    assert!(began.elapsed() > Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(body.is_complete());
}

#[tokio::test(start_paused = true)]
async fn a_new_file_is_complete_dirty_and_found_again_after_a_restart() {
    let mut rig = Rig::new(Reads::Ranged).await;
    let body = rig.cache.new_dirty().await.unwrap();
    assert_eq!(
        body.state(),
        BodyState::Dirty {
            base: None,
            missing_bytes: 0
        }
    );
    let generation = body.generation();
    body.write(5, Bytes::from_static(b"abc")).await.unwrap();
    assert!(body.generation() > generation);
    body.sync().await.unwrap();
    let id = body.id().unwrap();
    drop(body);
    rig.restart().await;
    assert_eq!(rig.cache.staged().await.unwrap(), vec![id]);
    let body = rig.cache.reopen_dirty(id, None).await.unwrap();
    assert_eq!(read_all(&body, 100).await.unwrap(), b"\0\0\0\0\0abc");
    assert!(body.is_complete());
}

#[tokio::test(start_paused = true)]
async fn a_discarded_body_is_gone_but_read_on_by_who_has_it_open() {
    let rig = Rig::new(Reads::Ranged).await;
    let body = rig.cache.new_dirty().await.unwrap();
    body.write(0, Bytes::from_static(b"abc")).await.unwrap();
    rig.cache.discard(&body).await.unwrap();
    assert!(rig.names("staging").is_empty());
    assert_eq!(read(&body, 0, 10).await.unwrap(), "abc");
    assert!(matches!(
        body.write(0, Bytes::from_static(b"x")).await,
        Err(CacheError::Discarded)
    ));
    assert_eq!(body.state(), BodyState::Discarded);
}

#[tokio::test(start_paused = true)]
async fn holes_are_told_only_of_what_is_here() {
    let rig = Rig::new(Reads::Ranged).await;
    let clean = rig.cache.body(&rig.store.put("1", &pattern(5, MIB)));
    assert_eq!(
        clean.seek_hole(10).await.unwrap(),
        Some(MIB),
        "what was not fetched is no hole"
    );
    assert_eq!(clean.seek_data(10).await.unwrap(), Some(10));
    assert_eq!(clean.seek_data(MIB).await.unwrap(), None);
    let new = rig.cache.new_dirty().await.unwrap();
    new.write(MIB, Bytes::from(vec![1; 4096])).await.unwrap();
    assert_eq!(new.seek_data(0).await.unwrap(), Some(MIB));
    assert_eq!(new.seek_hole(0).await.unwrap(), Some(0));
    let blocks = rig.cache.staged_blocks(new.id().unwrap()).unwrap();
    assert!((8..200).contains(&blocks), "{blocks}");
}

#[tokio::test(start_paused = true)]
async fn writes_behind_the_back_count_as_changes() {
    let rig = Rig::new(Reads::Ranged).await;
    let body = rig.cache.new_dirty().await.unwrap();
    let generation = body.generation();
    std::os::unix::fs::FileExt::write_all_at(&*body.file().await.unwrap(), b"by the kernel", 0).unwrap();
    body.absorb_outside_writes().await.unwrap();
    assert_eq!(body.size(), Some(13));
    assert!(body.generation() > generation);
}

#[tokio::test(start_paused = true)]
async fn a_store_without_ranges_completes_a_changed_file_too() {
    let rig = Rig::new(Reads::Whole).await;
    rig.store.set_speed(Duration::from_millis(10), Duration::from_millis(1));
    let bytes = pattern(6, 2 * MIB);
    let entry = Entry {
        size: None,
        ..rig.store.put("1", &bytes)
    };
    let body = rig.cache.body(&entry);
    body.write(MIB, Bytes::from_static(b"new")).await.unwrap();
    body.complete(LONG).await.unwrap();
    assert!(read_all(&body, 256 * KIB).await.unwrap() == with(&bytes, 1 << 20, b"new"));
    assert_eq!(
        body.state(),
        BodyState::Dirty {
            base: Some(ContentVersion::new("1")),
            missing_bytes: 0
        }
    );
}

/// The system tells of a failed sync once, and whoever hears of it need not be who wrote the bytes: their own sync found
/// nothing left to do, and their save counted as safe.
#[tokio::test(start_paused = true)]
async fn after_a_failed_sync_all_fail_until_the_body_is_cut_to_nothing() {
    let rig = Rig::new(Reads::Ranged).await;
    let body = rig.cache.new_dirty().await.unwrap();
    body.write(0, Bytes::from_static(b"bytes")).await.unwrap();
    fails_to_sync(&body).await;
    body.write(0, Bytes::from_static(b"more")).await.unwrap();
    for _ in 0..2 {
        let error = body.sync().await.unwrap_err().to_string();
        assert!(error.contains("save it anew as a whole"), "{error}");
    }
    body.truncate(0).await.unwrap();
    body.write(0, Bytes::from_static(b"anew")).await.unwrap();
    body.sync().await.unwrap();
    fails_to_sync(&body).await;
    body.write_anew(b"once more").unwrap();
    body.sync().await.unwrap();
    assert_eq!(read(&body, 0, 100).await.unwrap(), "once more");
}

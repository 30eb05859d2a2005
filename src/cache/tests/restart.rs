//! What is left after a `kill -9`.

use std::os::unix::fs::FileExt;

use super::*;
use crate::cache::BodyState;

fn body_path(rig: &Rig) -> std::path::PathBuf {
    let names = rig.names("content");
    assert_eq!(names.len(), 1);
    rig.dir.path().join("content").join(&names[0])
}

#[tokio::test(start_paused = true)]
async fn what_was_fetched_is_not_fetched_again() {
    let mut rig = Rig::new(Reads::Ranged).await;
    let bytes = pattern(1, 4 * MIB);
    let entry = rig.store.put("1", &bytes);
    read(&rig.cache.body(&entry), MIB, 100 * KIB).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    rig.restart().await;
    rig.store.take_requests();
    let body = rig.cache.body(&entry);
    assert_eq!(
        read(&body, MIB, 1000).await.unwrap(),
        bytes.slice(1 << 20..(1 << 20) + 1000)
    );
    assert!(rig.store.take_requests().is_empty());
    assert!(read_all(&body, 128 * KIB).await.unwrap() == bytes);
    let fetched: u64 = rig
        .store
        .take_requests()
        .iter()
        .map(|range| range.end - range.start)
        .sum();
    assert_eq!(fetched, 4 * MIB - 256 * KIB);
}

#[tokio::test(start_paused = true)]
async fn a_complete_body_is_complete_at_once() {
    let mut rig = Rig::new(Reads::Ranged).await;
    let (large, small) = (pattern(2, 4 * MIB), pattern(3, 40 * KIB));
    let entries = [rig.store.put("large", &large), rig.store.put("small", &small)];
    for entry in &entries {
        rig.cache.body(entry).complete(LONG).await.unwrap();
    }
    rig.restart().await;
    assert!(rig.cache.usage() >= 4 * MIB, "{}", rig.cache.usage());
    rig.store.take_requests();
    for (entry, bytes) in entries.iter().zip([large, small]) {
        let body = rig.cache.body(entry);
        body.file().await.unwrap();
        assert_eq!(body.state(), BodyState::Complete);
        assert!(read_all(&body, 128 * KIB).await.unwrap() == bytes);
    }
    assert!(rig.store.take_requests().is_empty());
}

/// A file that was here as a whole and has a damaged block after a restart.
async fn damaged(size: u64) -> (Rig, Bytes, Entry) {
    let mut rig = Rig::new(Reads::Ranged).await;
    let bytes = pattern(4, size);
    let entry = rig.store.put("1", &bytes);
    rig.cache.body(&entry).complete(LONG).await.unwrap();
    let path = body_path(&rig);
    rig.restart().await;
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(b"damage", 200 << 10).unwrap();
    rig.store.take_requests();
    (rig, bytes, entry)
}

#[tokio::test(start_paused = true)]
async fn a_damaged_block_is_fetched_again() {
    for size in [400 * KIB, 4 * MIB] {
        let (rig, bytes, entry) = damaged(size).await;
        let body = rig.cache.body(&entry);
        assert!(read_all(&body, 64 * KIB).await.unwrap() == bytes);
        let requests = rig.store.take_requests();
        assert_eq!(requests, vec![128 * KIB..256 * KIB], "size {size}");
        assert_eq!(rig.cache.stats().healed, 1);
        body.complete(LONG).await.unwrap();
        assert!(rig.store.take_requests().is_empty());
    }
}

/// After a loss of power a file was shown as zeros: the check of the whole had found the damage while a read was about to
/// check the same block, which then took the silence about it for a yes. Whoever comes second hears of it too.
#[tokio::test(start_paused = true)]
async fn a_damaged_block_is_not_served_because_somebody_else_has_found_it() {
    let (rig, bytes, entry) = damaged(4 * MIB).await;
    let body = rig.cache.body(&entry);
    body.file().await.unwrap();
    let (damaged, other) = (128 * KIB..256 * KIB, 0..128 * KIB);
    for who in ["first", "second"] {
        assert!(!body.check_before_serving(&damaged).unwrap(), "{who}");
        assert!(body.check_before_serving(&other).unwrap(), "{who}");
    }
    assert!(read_all(&body, 64 * KIB).await.unwrap() == bytes);
}

#[tokio::test(start_paused = true)]
async fn a_torn_map_costs_a_fetch_and_nothing_else() {
    let mut rig = Rig::new(Reads::Ranged).await;
    let bytes = pattern(5, 400 * KIB);
    let entry = rig.store.put("1", &bytes);
    rig.cache.body(&entry).complete(LONG).await.unwrap();
    let map = body_path(&rig).with_extension("map");
    for len in [0, 10, 24 + 16 + 5] {
        rig.restart().await;
        let file = std::fs::OpenOptions::new().write(true).open(&map).unwrap();
        file.set_len(len).unwrap();
        let body = rig.cache.body(&entry);
        assert_eq!(read_all(&body, 64 * KIB).await.unwrap(), bytes, "cut at {len}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_file_or_a_lost_index_costs_a_fetch_and_nothing_else() {
    let mut rig = Rig::new(Reads::Ranged).await;
    let bytes = pattern(6, 400 * KIB);
    let entry = rig.store.put("1", &bytes);
    rig.cache.body(&entry).complete(LONG).await.unwrap();
    std::fs::remove_file(body_path(&rig)).unwrap();
    rig.restart().await;
    assert_eq!(read_all(&rig.cache.body(&entry), 64 * KIB).await.unwrap(), bytes);
    let Rig {
        dir,
        store,
        config,
        clock,
        cache,
    } = rig;
    drop(cache);
    for damaged in ["index.db", "index.db-wal"] {
        let path = dir.path().join("content").join(damaged);
        let file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
            .unwrap();
        file.write_all_at(&[0x5a; 9000], 0).unwrap();
    }
    let cache = Cache::open(config, store, clock).await.unwrap();
    assert_eq!(cache.usage(), 0);
    assert_eq!(read_all(&cache.body(&entry), 64 * KIB).await.unwrap(), bytes);
}

#[tokio::test(start_paused = true)]
async fn files_that_nobody_knows_are_tidied_away() {
    let mut rig = Rig::new(Reads::Ranged).await;
    let entry = rig.store.put("1", &pattern(7, KIB));
    rig.cache.body(&entry).complete(LONG).await.unwrap();
    let stray = rig.dir.path().join("content").join("00000000deadbeef");
    let other = rig.dir.path().join("content").join("README");
    for path in [&stray, &other] {
        std::fs::File::create(path).unwrap();
    }
    rig.restart().await;
    rig.cache.shared.sweep().unwrap();
    assert!(!stray.exists() && other.exists());
    assert_eq!(rig.names("content").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn partial_bodies_of_changed_content_stay_refused_after_a_restart() {
    let mut rig = Rig::new(Reads::Ranged).await;
    let entry = rig.store.put("1", &pattern(8, 2 * MIB));
    rig.store.set_validator(&entry, "old");
    read(&rig.cache.body(&entry), 0, 4096).await.unwrap();
    rig.restart().await;
    rig.store.replace_bytes(&entry, &pattern(9, 2 * MIB));
    rig.store.set_validator(&entry, "new");
    read(&rig.cache.body(&entry), MIB, 4096).await.unwrap_err();
}

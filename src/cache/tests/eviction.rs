//! The bounds.

use super::*;

/// Reads a file of `size` bytes completely and closes it.
async fn visit(rig: &Rig, id: &str, size: u64) -> Entry {
    let entry = rig.store.put(id, &pattern(size, size));
    rig.cache.body(&entry).complete(LONG).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    entry
}

async fn is_cached(rig: &Rig, entry: &Entry) -> bool {
    rig.store.take_requests();
    read(&rig.cache.body(entry), 0, 10).await.unwrap();
    rig.store.take_requests().is_empty()
}

#[tokio::test(start_paused = true)]
async fn the_longest_unused_go_first_and_the_limit_holds() {
    let rig = Rig::with(Reads::Ranged, |config| config.limit_bytes = Some(3 * MIB)).await;
    let entries = [
        visit(&rig, "a", MIB).await,
        visit(&rig, "b", MIB).await,
        visit(&rig, "c", MIB).await,
    ];
    assert!(is_cached(&rig, &entries[0]).await);
    tokio::time::sleep(Duration::from_secs(1)).await;
    visit(&rig, "d", MIB).await;
    assert!(rig.cache.evict_to_limit().await.unwrap() <= 3 * MIB);
    assert_eq!(rig.names("content").len(), 3);
    assert!(is_cached(&rig, &entries[0]).await, "used since");
    assert!(!is_cached(&rig, &entries[1]).await);
}

#[tokio::test(start_paused = true)]
async fn open_pinned_dirty_and_just_uploaded_bodies_stay() {
    let rig = Rig::new(Reads::Ranged).await;
    let open_entry = visit(&rig, "open", MIB).await;
    let open = rig.cache.body(&open_entry);
    let pinned = visit(&rig, "pinned", MIB).await;
    drop(rig.cache.pin(&pinned).await.unwrap());
    let dirty = rig.cache.new_dirty().await.unwrap();
    dirty.write(0, pattern(1, MIB)).await.unwrap();
    let uploaded = rig.cache.new_dirty().await.unwrap();
    uploaded.write(0, pattern(2, MIB)).await.unwrap();
    let uploaded_entry = rig.store.put("uploaded", &pattern(2, MIB));
    rig.cache
        .publish(&uploaded, &uploaded_entry, uploaded.generation())
        .await
        .unwrap();
    drop(uploaded);
    let other = visit(&rig, "other", MIB).await;

    rig.cache.set_limit(0);
    rig.cache.evict_to_limit().await.unwrap();
    assert!(!is_cached(&rig, &other).await);
    rig.cache.evict_to_limit().await.unwrap();
    for entry in [&open_entry, &pinned, &uploaded_entry] {
        assert!(is_cached(&rig, entry).await, "{:?}", entry.id);
    }
    assert_eq!(rig.names("staging").len(), 1);

    drop(open);
    rig.cache.unpin(&pinned.id).await.unwrap();
    tokio::time::sleep(Duration::from_secs(25 * 3600)).await;
    assert_eq!(rig.cache.evict_to_limit().await.unwrap(), 0);
    assert!(rig.names("content").is_empty());
    assert_eq!(read(&dirty, 0, 10).await.unwrap(), pattern(1, 10));
}

#[tokio::test(start_paused = true)]
async fn a_body_in_use_can_be_read_while_everything_else_goes() {
    let rig = Rig::with(Reads::Ranged, |config| config.limit_bytes = Some(MIB)).await;
    let bytes = pattern(9, 8 * MIB);
    let body = rig.cache.body(&rig.store.put("large", &bytes));
    let reader = Reader::new();
    for (round, offset) in (0..8 * MIB).step_by(256 << 10).enumerate() {
        let part = body.read(&reader, offset, 256 << 10).await.unwrap();
        assert!(part == bytes.slice(offset as usize..offset as usize + (256 << 10)));
        visit(&rig, &round.to_string(), 100 * KIB).await;
    }
    drop(body);
    assert!(rig.cache.evict_to_limit().await.unwrap() <= MIB);
}

#[tokio::test(start_paused = true)]
async fn on_a_full_disk_reads_go_on_and_writes_are_refused_after_evicting() {
    // A floor that no disk can keep: as if it were full.
    let rig = Rig::with(Reads::Ranged, |config| config.free_floor_bytes = Some(u64::MAX / 2)).await;
    let bytes = pattern(10, 24 * MIB);
    let body = rig.cache.body(&rig.store.put("large", &bytes));
    let reader = Reader::new();
    let mut all = Vec::new();
    while (all.len() as u64) < 24 * MIB {
        all.extend_from_slice(&body.read(&reader, all.len() as u64, 1 << 20).await.unwrap());
    }
    assert!(all == bytes);
    assert!(rig.cache.usage() < 24 * MIB);
    let closed = rig.cache.clone();
    drop(body);
    let new = closed.new_dirty().await.unwrap();
    let huge = crate::disk::Allocate::Extend;
    // A download that has just ended may hold the body for a moment longer.
    for _ in 0..1000 {
        let error = new.allocate(huge, 0, 1 << 60).await.unwrap_err();
        assert!(error.is_full(), "{error}");
        if rig.cache.usage() == 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    assert_eq!(new.size(), Some(0));
    assert_eq!(rig.cache.usage(), 0, "clean bodies were evicted first");
    new.write(0, Bytes::from_static(b"small ones fit")).await.unwrap();
}

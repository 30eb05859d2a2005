//! Confirmed uploads, saves without a change, and versions that turn out to be the same bytes.

use md5::Digest;

use super::double::Fault;
use super::*;
use crate::cache::{BodyState, Keep, Published};
use crate::model::ItemId;
use crate::store::ErrorKind;

#[tokio::test(start_paused = true)]
async fn a_confirmed_body_is_the_clean_one_of_its_version_and_survives() {
    let mut rig = Rig::new(Reads::Ranged).await;
    let bytes = pattern(1, 3 * MIB);
    let body = rig.cache.new_dirty().await.unwrap();
    body.write(0, bytes.clone()).await.unwrap();
    let entry = rig.store.put("1", &bytes);
    let published = rig.cache.publish(&body, &entry, body.generation()).await.unwrap();
    assert_eq!((published, body.state()), (Published::Clean, BodyState::Complete));
    assert!(Arc::ptr_eq(&body, &rig.cache.body(&entry)));
    assert!(rig.names("staging").is_empty());
    assert_eq!(rig.cache.usage(), 3 * MIB);
    drop(body);
    rig.restart().await;
    let body = rig.cache.body(&entry);
    assert!(read_all(&body, MIB).await.unwrap() == bytes);
    assert!(rig.store.take_requests().is_empty());
    // And it can be written again.
    body.write(0, Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(rig.cache.usage(), 0);
}

#[tokio::test(start_paused = true)]
async fn bytes_that_came_after_the_upload_began_stay_dirty_on_the_new_base() {
    let rig = Rig::new(Reads::Ranged).await;
    let body = rig.cache.new_dirty().await.unwrap();
    body.write(0, Bytes::from_static(b"first")).await.unwrap();
    let generation = body.generation();
    body.write(0, Bytes::from_static(b"FIRST")).await.unwrap();
    let entry = rig.store.put("1", &Bytes::from_static(b"first"));
    assert_eq!(
        rig.cache.publish(&body, &entry, generation).await.unwrap(),
        Published::Newer
    );
    assert_eq!(
        body.state(),
        BodyState::Dirty {
            base: Some(entry.version.clone()),
            missing_bytes: 0
        }
    );
    assert_eq!(read(&body, 0, 10).await.unwrap(), "FIRST");
    assert!(!body.same_as_base(&entry).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_the_store_altered_is_not_taken_for_the_stores() {
    let rig = Rig::new(Reads::Ranged).await;
    let body = rig.cache.new_dirty().await.unwrap();
    body.write(0, Bytes::from_static(b"as sent")).await.unwrap();
    let entry = rig.store.put("1", &Bytes::from_static(b"re-encoded"));
    assert_eq!(
        rig.cache.publish(&body, &entry, body.generation()).await.unwrap(),
        Published::Altered
    );
    assert_eq!(read(&rig.cache.body(&entry), 0, 100).await.unwrap(), "re-encoded");
    assert_eq!(read(&body, 0, 100).await.unwrap(), "as sent");
}

#[tokio::test(start_paused = true)]
async fn a_save_of_the_same_bytes_is_recognised() {
    let rig = Rig::new(Reads::Ranged).await;
    let bytes = pattern(2, MIB + 5);
    let entry = rig.store.put("1", &bytes);
    let body = rig.cache.body(&entry);
    body.complete(LONG).await.unwrap();
    body.make_dirty(Keep::Nothing).await.unwrap();
    assert!(!body.same_as_base(&entry).await.unwrap());
    body.write(0, bytes.slice(..1000)).await.unwrap();
    body.write(1000, bytes.slice(1000..)).await.unwrap();
    assert!(body.same_as_base(&entry).await.unwrap());
    body.write(MIB, Bytes::from_static(b"other")).await.unwrap();
    assert!(!body.same_as_base(&entry).await.unwrap());
    body.write(MIB, bytes.slice(1 << 20..)).await.unwrap();
    assert!(body.same_as_base(&entry).await.unwrap());
    let back = rig.cache.publish(&body, &entry, body.generation()).await.unwrap();
    assert_eq!((back, body.state()), (Published::Clean, BodyState::Complete));
}

/// It was kept as something to be checked, and the next who wrote to it was told of the old error for ever.
#[tokio::test(start_paused = true)]
async fn what_the_disk_fails_to_keep_is_not_kept_for_the_stores() {
    let rig = Rig::new(Reads::Ranged).await;
    let bytes = pattern(1, MIB);
    let body = rig.cache.new_dirty().await.unwrap();
    body.write(0, bytes.clone()).await.unwrap();
    let id = body.id().unwrap();
    rig.cache.shared.unsound.add(id);
    let entry = rig.store.put("1", &bytes);
    let kept = rig.cache.publish(&body, &entry, body.generation()).await;
    assert!(kept.unwrap_err().to_string().contains("an earlier sync of it failed"));
    rig.cache.discard(&body).await.unwrap();
    assert!(!rig.cache.is_unsound(id));
    let stored = rig.cache.body(&entry);
    stored.complete(LONG).await.unwrap();
    stored.make_dirty(Keep::All).await.unwrap();
    stored.sync().await.unwrap();
}

/// A server that has not yet done its work on what was sent may call it by the version that it replaced.
#[tokio::test(start_paused = true)]
async fn of_what_was_sent_meanwhile_nothing_is_known_but_its_name() {
    let rig = Rig::new(Reads::Ranged).await;
    let bytes = pattern(2, MIB);
    let entry = rig.store.put("1", &bytes);
    let body = rig.cache.body(&entry);
    body.complete(LONG).await.unwrap();
    body.make_dirty(Keep::Nothing).await.unwrap();
    body.write(0, bytes.clone()).await.unwrap();
    assert!(body.same_as_base(&entry).await.unwrap());
    body.follow(&entry);
    assert!(!body.same_as_base(&entry).await.unwrap());
}

/// Where ids are paths, a folder above was moved: what had been saved below it no longer counted as what it was based on.
#[tokio::test(start_paused = true)]
async fn bytes_below_a_moved_folder_are_still_those_that_they_were() {
    let rig = Rig::new(Reads::Ranged).await;
    let bytes = pattern(2, MIB);
    let entry = Entry {
        id: ItemId::new("file:/old/a.txt"),
        ..rig.store.with_md5(&rig.store.put("1", &bytes))
    };
    let moved = Entry {
        id: ItemId::new("file:/new/a.txt"),
        ..entry.clone()
    };
    let body = rig.cache.body(&entry);
    body.make_dirty(Keep::Nothing).await.unwrap();
    body.write(0, bytes.clone()).await.unwrap();
    assert!(!body.same_as_base(&moved).await.unwrap());
    body.rekey(&ItemId::new("folder:/old"), &ItemId::new("folder:/new"));
    assert!(body.same_as_base(&moved).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn the_stores_checksum_tells_as_well_when_the_base_was_never_here() {
    let mut rig = Rig::new(Reads::Ranged).await;
    let bytes = pattern(3, MIB);
    rig.store.put("1", &bytes);
    let entry = rig.store.with_md5(&rig.store.put("1", &bytes));
    let body = rig.cache.body(&entry);
    let id = body.make_dirty(Keep::Nothing).await.unwrap();
    body.write(0, bytes.clone()).await.unwrap();
    assert!(body.same_as_base(&entry).await.unwrap());
    drop(body);
    rig.restart().await;
    let body = rig.cache.reopen_dirty(id, Some(&entry)).await.unwrap();
    assert!(body.same_as_base(&entry).await.unwrap());
    body.write(7, Bytes::from_static(b"other")).await.unwrap();
    assert!(!body.same_as_base(&entry).await.unwrap());
    assert!(rig.store.take_requests().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_version_that_moved_with_the_metadata_keeps_its_bytes() {
    let mut rig = Rig::new(Reads::Ranged).await;
    let bytes = pattern(4, 12 * MIB);
    let entry = rig.store.put("1", &bytes);
    rig.store.set_validator(&entry, "etag");
    rig.cache.body(&entry).complete(LONG).await.unwrap();
    rig.restart().await;
    rig.store.take_requests();
    let newer = version(&entry, "2");
    let body = rig.cache.body(&newer);
    assert!(read_all(&body, MIB).await.unwrap() == bytes);
    body.complete(LONG).await.unwrap();
    assert_eq!(rig.store.take_requests().len(), 1, "the first read is the look");
    assert_eq!(rig.cache.usage(), 12 * MIB, "the older body has gone");
    drop(body);
    rig.restart().await;
    assert!(read_all(&rig.cache.body(&newer), MIB).await.unwrap() == bytes);
    assert!(rig.store.take_requests().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_here_in_parts_is_taken_over_too_and_its_readers_keep_it() {
    let rig = Rig::new(Reads::Ranged).await;
    let bytes = pattern(4, 12 * MIB);
    let entry = rig.store.put("1", &bytes);
    rig.store.set_validator(&entry, "etag");
    let old = rig.cache.body(&entry);
    read(&old, 0, 10).await.unwrap();
    read(&old, 8 * MIB, 10).await.unwrap();
    rig.store.take_requests();
    let body = rig.cache.body(&version(&entry, "2"));
    read(&body, 8 * MIB, 10).await.unwrap();
    read(&body, 0, 10).await.unwrap();
    assert_eq!(rig.store.take_requests(), vec![8 * MIB..8 * MIB + 256 * KIB]);
    assert_eq!(
        read(&body, 4 * MIB, 10).await.unwrap(),
        bytes.slice(4 << 20..(4 << 20) + 10)
    );
    assert_eq!(read(&old, 0, 10).await.unwrap(), bytes.slice(..10));
    assert_eq!(rig.store.take_requests(), vec![4 * MIB..4 * MIB + 256 * KIB]);
}

#[tokio::test(start_paused = true)]
async fn other_bytes_of_the_same_size_are_fetched() {
    let rig = Rig::new(Reads::Ranged).await;
    let entry = rig.store.put("1", &pattern(5, 2 * MIB));
    rig.store.set_validator(&entry, "one");
    rig.cache.body(&entry).complete(LONG).await.unwrap();
    let other = pattern(6, 2 * MIB);
    rig.store.replace_bytes(&entry, &other);
    rig.store.set_validator(&entry, "two");
    let newer = version(&entry, "2");
    assert!(read_all(&rig.cache.body(&newer), MIB).await.unwrap() == other);
    // Neither does a body that nobody has named on the wire stand for another.
    let unnamed = rig.store.put("unnamed", &pattern(7, 2 * MIB));
    rig.cache.body(&unnamed).complete(LONG).await.unwrap();
    rig.store.replace_bytes(&unnamed, &other);
    rig.store.set_validator(&unnamed, "three");
    assert!(read_all(&rig.cache.body(&version(&unnamed, "2")), MIB).await.unwrap() == other);
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_from_here_is_known_again_by_its_md5() {
    let rig = Rig::new(Reads::Ranged).await;
    let bytes = pattern(8, 3 * MIB);
    let body = rig.cache.new_dirty().await.unwrap();
    body.write(0, bytes.clone()).await.unwrap();
    let entry = rig.store.put("1", &bytes);
    rig.cache.publish(&body, &entry, body.generation()).await.unwrap();
    drop(body);
    let etag = format!("\"{}\"", crate::model::hex(&md5::Md5::digest(&bytes)));
    rig.store.set_validator(&entry, &etag);
    let newer = rig.cache.body(&version(&entry, "2"));
    assert!(read_all(&newer, MIB).await.unwrap() == bytes);
    assert_eq!(rig.store.take_requests().len(), 1, "the first read is the look");
}

#[tokio::test(start_paused = true)]
async fn a_block_of_an_older_version_that_is_damaged_is_fetched() {
    let rig = Rig::new(Reads::Ranged).await;
    let bytes = pattern(9, 3 * MIB);
    let entry = rig.store.put("1", &bytes);
    rig.store.set_validator(&entry, "etag");
    let body = rig.cache.body(&entry);
    body.complete(LONG).await.unwrap();
    let path = body.path().await.unwrap();
    drop(body);
    let file = crate::disk::open_private(&path, false).unwrap();
    crate::disk::write_at(&file, &path, MIB + 3, b"damage").unwrap();
    rig.store.take_requests();
    let newer = rig.cache.body(&version(&entry, "2"));
    assert!(read_all(&newer, MIB).await.unwrap() == bytes);
    assert_eq!(rig.cache.stats().healed, 1);
    assert_eq!(rig.store.take_requests().len(), 2, "the look and the block");
}

#[tokio::test(start_paused = true)]
async fn a_version_whose_first_download_failed_is_still_looked_at_first() {
    let mut rig = Rig::new(Reads::Ranged).await;
    let bytes = pattern(4, 12 * MIB);
    let entry = rig.store.put("1", &bytes);
    rig.store.set_validator(&entry, "etag");
    rig.cache.body(&entry).complete(LONG).await.unwrap();
    let newer = version(&entry, "2");
    rig.store.next(Fault::Refuse(ErrorKind::Denied));
    read(&rig.cache.body(&newer), 0, MIB).await.unwrap_err();
    rig.restart().await;
    rig.store.take_requests();
    assert!(read_all(&rig.cache.body(&newer), MIB).await.unwrap() == bytes);
    assert_eq!(rig.store.take_requests().len(), 1, "the look");
}

#[tokio::test(start_paused = true)]
async fn on_two_file_systems_bodies_move_by_copy() {
    let memory = std::path::Path::new("/dev/shm");
    let rig = Rig::with(Reads::Ranged, |_| {}).await;
    let device = |path: &std::path::Path| std::os::unix::fs::MetadataExt::dev(&std::fs::metadata(path).unwrap());
    if !memory.is_dir() || device(memory) == device(rig.dir.path()) {
        return; // This machine has only one.
    }
    let staging = tempfile::tempdir_in(memory).unwrap();
    let rig = Rig::with(Reads::Ranged, |config| {
        config.staging_dir = staging.path().join("staging")
    })
    .await;
    assert!(!rig.cache.moves_by_rename());
    rig.store.set_speed(Duration::from_millis(50), Duration::ZERO);
    let bytes = pattern(8, 3 * MIB);
    let body = rig.cache.body(&rig.store.put("1", &bytes));
    read(&body, MIB, 10).await.unwrap();
    body.write(2 * MIB, Bytes::from_static(b"new")).await.unwrap();
    assert!(body.path().await.unwrap().starts_with(staging.path()));
    assert!(rig.names("content").is_empty());
    body.complete(LONG).await.unwrap();
    let mut expected = bytes.to_vec();
    expected[2 << 20..(2 << 20) + 3].copy_from_slice(b"new");
    assert!(read_all(&body, MIB).await.unwrap() == expected);
    let entry = version(&rig.store.put("1", &expected.clone().into()), "2");
    assert_eq!(
        rig.cache.publish(&body, &entry, body.generation()).await.unwrap(),
        Published::Clean
    );
    assert_eq!(rig.cache.staged().await.unwrap(), vec![]);
    assert!(read_all(&body, MIB).await.unwrap() == expected);
}

//! Files that are kept on this machine for good.

use std::sync::Arc;
use std::time::Duration;

use super::rig::Rig;
use crate::model::{Clock, Entry};
use crate::store::memory::{self as presets, Fault, Op};
use crate::store::{ErrorKind, Retry};
use crate::vfs::PinProgress;

/// `pin` was silent until all of it was there, which takes hours for a large folder.
#[tokio::test(flavor = "multi_thread")]
async fn a_pin_tells_how_far_it_is() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    let root = rig.store.remote().root();
    let folder = rig.store.remote().mkdir(&root, "kept").expect("mkdir").id;
    for (name, bytes) in [("a.txt", &b"four"[..]), ("b.txt", &b"sevenfo"[..])] {
        rig.store.remote().put(&folder, name, bytes).expect("put");
    }
    rig.store.faults().always(Op::Read, Fault::Wait);
    let progress = Arc::new(PinProgress::default());
    let (vfs, told) = (rig.vfs.clone(), progress.clone());
    let pin = tokio::spawn(async move { vfs.pin("kept", &told).await });
    for _ in 0..6000 {
        if rig.store.faults().calls(Op::Read) == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(progress.told(), (2, 11, 0), "both are asked for, and nothing has come");
    while !pin.is_finished() {
        // What was only just asked for waits for the next time.
        rig.store.faults().release();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let report = pin.await.expect("no panic").expect("pinned");
    assert_eq!((report.files, report.bytes, report.failed), (2, 11, 0));
    assert_eq!(progress.told(), (0, 11, 11));
    assert_eq!(rig.store.faults().calls(Op::Read), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_had_is_not_waited_for() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    let root = rig.store.remote().root();
    rig.store.remote().put(&root, "a.txt", &b"kept"[..]).expect("put");
    rig.store
        .faults()
        .always(Op::Read, Fault::Fail(ErrorKind::NotFound, Retry::Never));
    let progress = PinProgress::default();
    let report = rig.vfs.pin("", &progress).await.expect("answered");
    assert_eq!((report.files, report.failed), (0, 1));
    assert_eq!(progress.told(), (0, 0, 0));
}

/// A drive whose store has `kept/a.txt`, pinned as a whole; one file was read for it.
async fn pinned() -> (Rig, Entry, Entry) {
    let rig = Rig::new(presets::like_imagerelay()).await;
    let root = rig.store.remote().root();
    let folder = rig.store.remote().mkdir(&root, "kept").expect("mkdir");
    let file = rig.store.remote().put(&folder.id, "a.txt", &b"first"[..]).expect("put");
    let report = rig.vfs.pin("kept", &PinProgress::default()).await.expect("pinned");
    assert_eq!((report.files, report.failed), (1, 0));
    assert_eq!(rig.store.faults().calls(Op::Read), 1);
    (rig, folder, file)
}

/// What is read without the store.
async fn read_offline(rig: &Rig, path: &str) -> Vec<u8> {
    rig.store
        .faults()
        .always(Op::Read, Fault::Fail(ErrorKind::NotFound, Retry::Never));
    let bytes = rig.read(path).await.expect("it is here");
    rig.store.faults().clear();
    bytes
}

async fn is_kept(rig: &Rig, entry: &Entry) -> bool {
    // What was just fetched counts once its body is closed.
    for _ in 0..200 {
        if rig.vfs.cache.is_kept(entry).await.expect("the index is read") {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    false
}

/// Only the versions that were there at that moment were kept: a library that was pinned for a journey was out of date the
/// next day. What is new in a pinned folder is kept too.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_new_in_a_pinned_folder_is_kept_in_place_of_what_is_old() {
    let (rig, folder, old) = pinned().await;
    let remote = rig.store.remote();
    rig.clock.advance(Duration::from_secs(100));
    let new = remote.write(&old.id, &b"second version"[..]).expect("written");
    remote.put(&folder.id, "b.txt", &b"another"[..]).expect("put");
    let below = remote.mkdir(&folder.id, "below").expect("mkdir");
    remote.put(&below.id, "c.txt", &b"deep"[..]).expect("put");
    rig.vfs.refresh("kept").await.expect("refreshed");
    let lists = rig.store.faults().calls(Op::List);
    assert!(rig.vfs.keep_pinned().await);
    assert_eq!(rig.store.faults().calls(Op::Read), 1 + 3);
    assert_eq!(rig.store.faults().calls(Op::List), lists + 1, "the new folder");
    assert!(is_kept(&rig, &new).await);
    assert!(!is_kept(&rig, &old).await);
    for (path, bytes) in [
        ("kept/a.txt", &b"second version"[..]),
        ("kept/b.txt", b"another"),
        ("kept/below/c.txt", b"deep"),
    ] {
        assert_eq!(read_offline(&rig, path).await, bytes);
    }
    let total = rig.store.faults().calls_total();
    assert!(rig.vfs.keep_pinned().await);
    assert_eq!(rig.store.faults().calls_total(), total, "it is all here");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_outlives_a_restart_and_the_loss_of_the_cache() {
    let (mut rig, _, file) = pinned().await;
    rig.crash().await;
    let total = rig.store.faults().calls_total();
    assert!(rig.vfs.keep_pinned().await);
    assert_eq!(rig.store.faults().calls_total(), total, "nothing was lost");
    rig.vfs.stop().await;
    std::fs::remove_dir_all(rig.dir().join("cache")).expect("removed");
    rig.crash().await;
    let calls = |op| rig.store.faults().calls(op);
    let (stats, lists) = (calls(Op::Stat), calls(Op::List));
    assert!(rig.vfs.keep_pinned().await);
    assert_eq!((calls(Op::Stat), calls(Op::List)), (stats + 1, lists + 1));
    assert_eq!(calls(Op::Read), 2);
    assert!(is_kept(&rig, &file).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pinned_stays_when_room_is_made() {
    let (rig, _, file) = pinned().await;
    rig.clock.advance(Duration::from_secs(100));
    let new = rig.store.remote().write(&file.id, &b"second"[..]).expect("written");
    rig.vfs.refresh("kept").await.expect("refreshed");
    assert!(rig.vfs.keep_pinned().await);
    rig.vfs.cache.set_limit(0);
    rig.vfs.cache.evict_to_limit().await.expect("evicted");
    assert!(is_kept(&rig, &new).await);
    assert_eq!(read_offline(&rig, "kept/a.txt").await, b"second");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_unpinned_is_not_followed() {
    let (mut rig, folder, file) = pinned().await;
    let below = rig.store.remote().mkdir(&folder.id, "below").expect("mkdir");
    rig.store.remote().put(&below.id, "c.txt", &b"deep"[..]).expect("put");
    rig.vfs.refresh("kept").await.expect("refreshed");
    rig.vfs.unpin("kept/below").await.expect("unpinned");
    assert!(rig.vfs.keep_pinned().await);
    assert_eq!(rig.store.faults().calls(Op::Read), 1, "left out of what is pinned");
    rig.vfs.unpin("kept").await.expect("unpinned");
    assert!(!is_kept(&rig, &file).await);
    rig.clock.advance(Duration::from_secs(100));
    rig.store.remote().write(&file.id, &b"second"[..]).expect("written");
    rig.vfs.refresh("kept").await.expect("refreshed");
    rig.crash().await;
    assert!(rig.vfs.keep_pinned().await);
    assert_eq!(rig.store.faults().calls(Op::Read), 1);
}

/// What arrives wakes who follows, and what fails is tried again, later each time.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_followed_by_itself_and_a_failure_tried_again_later() {
    let (rig, folder, _) = pinned().await;
    let upkeep = tokio::spawn(rig.vfs.clone().run_upkeep());
    rig.store
        .faults()
        .always(Op::Read, Fault::Fail(ErrorKind::NotFound, Retry::Never));
    let new = rig.store.remote().put(&folder.id, "b.txt", &b"new"[..]).expect("put");
    rig.clock.advance(Duration::from_secs(1));
    rig.vfs.refresh("kept").await.expect("refreshed");
    let reads = || rig.store.faults().calls(Op::Read);
    until(&rig, Duration::from_secs(1), async || reads() >= 2).await;
    // The first pause is longer than this.
    rig.clock.advance(Duration::from_secs(5));
    tokio::task::yield_now().await;
    assert_eq!(reads(), 2);
    rig.store.faults().clear();
    until(&rig, Duration::from_secs(5), async || reads() == 3).await;
    assert!(is_kept(&rig, &new).await);
    assert_eq!(reads(), 3);
    upkeep.abort();
}

async fn until(rig: &Rig, step: Duration, done: impl AsyncFn() -> bool) {
    for _ in 0..6000 {
        if done().await {
            return;
        }
        rig.clock.advance(step);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it never comes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_that_is_given_up_goes_on_in_the_background() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    let root = rig.store.remote().root();
    let file = rig.store.remote().put(&root, "a.txt", &b"kept"[..]).expect("put");
    let upkeep = tokio::spawn(rig.vfs.clone().run_upkeep());
    rig.store.faults().inject(Op::Read, 1, Fault::Hang);
    let vfs = rig.vfs.clone();
    let pin = tokio::spawn(async move { vfs.pin("a.txt", &PinProgress::default()).await });
    until(&rig, Duration::ZERO, async || rig.store.faults().calls(Op::Read) == 1).await;
    pin.abort();
    until(&rig, Duration::from_secs(5), async || {
        rig.vfs.cache.is_kept(&file).await.expect("the index is read")
    })
    .await;
    upkeep.abort();
}

/// On a store without a change feed a pinned folder was only looked at while somebody had it open: what was pinned for a
/// journey was as old as the last look. Now pinned folders are looked at by themselves, slowly.
#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_folder_that_nobody_opens_is_looked_at_slowly() {
    for capabilities in [
        presets::like_flextype(),
        presets::like_im4(),
        presets::like_imagerelay(),
    ] {
        let label = capabilities.label;
        let rig = Rig::new(capabilities).await;
        let remote = rig.store.remote();
        let folder = remote.mkdir(&remote.root(), "kept").expect("mkdir");
        let below = remote.mkdir(&folder.id, "below").expect("mkdir");
        remote.mkdir(&remote.root(), "other").expect("mkdir");
        remote.put(&below.id, "a.txt", &b"first"[..]).expect("put");
        rig.vfs.pin("kept", &PinProgress::default()).await.expect("pinned");
        let upkeep = tokio::spawn(rig.vfs.clone().run_upkeep());
        // Nobody uses the mount any more.
        pass(&rig, Duration::from_secs(1000)).await;
        let looks = || rig.store.faults().calls(Op::List) + rig.store.faults().calls(Op::Stat);
        let before = looks();
        let began = rig.clock.elapsed();
        pass(&rig, Duration::from_secs(3600)).await;
        let rounds = (rig.clock.elapsed() - began).as_secs() / 300 + 1;
        let looked = looks() - before;
        assert!(
            looked >= 6 && looked <= 2 * rounds,
            "{label}: {looked} looks in an hour at two folders"
        );
        let new = remote.put(&below.id, "b.txt", &b"second"[..]).expect("put");
        let deeper = remote.mkdir(&below.id, "deeper").expect("mkdir");
        let deep = remote.put(&deeper.id, "c.txt", &b"third"[..]).expect("put");
        until(&rig, Duration::from_secs(5), async || {
            let kept = async |entry| rig.vfs.cache.is_kept(entry).await.expect("the index is read");
            kept(&new).await && kept(&deep).await
        })
        .await;
        upkeep.abort();
    }
}

/// Lets time pass in small steps, so that what waits for it can go on in between.
async fn pass(rig: &Rig, span: Duration) {
    for _ in 0..span.as_secs().div_ceil(10) {
        rig.clock.advance(Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_pinned_and_is_gone_is_unpinned_by_its_path_and_not_kept() {
    let (mut rig, folder, file) = pinned().await;
    let remote = rig.store.remote();
    let alone = remote.put(&remote.root(), "alone.txt", &b"alone"[..]).expect("put");
    rig.vfs.refresh("").await.expect("refreshed");
    rig.vfs
        .pin("/alone.txt", &PinProgress::default())
        .await
        .expect("pinned");
    rig.vfs
        .pin("kept/a.txt", &PinProgress::default())
        .await
        .expect("pinned");
    for id in [&file.id, &folder.id, &alone.id] {
        remote.remove(id).expect("removed");
    }
    rig.clock.advance(Duration::from_secs(1000));
    rig.vfs.refresh("").await.expect("refreshed");
    rig.crash().await;
    assert_eq!(rig.names("").await, Vec::<String>::new());
    rig.vfs.keep_pinned().await;
    // Another one of that name is pinned by itself.
    let again = rig
        .store
        .remote()
        .put(&rig.store.remote().root(), "alone.txt", &b"new"[..])
        .expect("put");
    rig.clock.advance(Duration::from_secs(100));
    rig.vfs.refresh("").await.expect("refreshed");
    rig.vfs.pin("alone.txt", &PinProgress::default()).await.expect("pinned");
    assert!(is_kept(&rig, &again).await);
    let report = rig.vfs.unpin("alone.txt").await.expect("unpinned");
    assert_eq!((report.files, report.gone), (1, 1));
    assert!(!is_kept(&rig, &alone).await);
    let report = rig.vfs.unpin("kept").await.expect("unpinned, though nothing is there");
    assert_eq!((report.files, report.gone), (0, 2), "the folder and the file in it");
    rig.vfs
        .unpin("kept")
        .await
        .expect_err("nothing is pinned there any more");
    for gone in [&file, &alone] {
        assert!(!is_kept(&rig, gone).await);
    }
}

/// What was kept of a file in a pinned folder stayed on the disk for ever once the file was deleted elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_in_a_pinned_folder_is_not_kept_any_longer() {
    let (rig, _, file) = pinned().await;
    rig.store.remote().remove(&file.id).expect("removed");
    rig.clock.advance(Duration::from_secs(1000));
    rig.vfs.refresh("kept").await.expect("refreshed");
    assert_eq!(rig.names("kept").await, Vec::<String>::new());
    assert!(rig.vfs.keep_pinned().await);
    assert!(!is_kept(&rig, &file).await);
}

//! What `stat` says, above all of a file that is being written.

use std::time::Duration;

use bytes::Bytes;

use super::rig::{ME, Rig, name};
use crate::model::{Ino, Timestamp};
use crate::store::memory as presets;
use crate::vfs::{OpenHow, PinProgress, SetAttr, SetTime};

/// A program that truncated or wrote a file and looked at its times before closing it saw the times of its creation:
/// `make` and `tail -F` took it for unchanged. The times of what is written through an open handle show at once.
#[tokio::test(flavor = "multi_thread")]
async fn times_move_while_a_file_is_being_written() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    let how = OpenHow {
        read: true,
        write: true,
        ..OpenHow::default()
    };
    let (born, opened) = rig
        .vfs
        .create(ME, Ino::ROOT, &name("a.txt"), 0o644, how)
        .await
        .expect("create");
    let fh = opened.fh;

    rig.clock.advance(Duration::from_secs(5));
    rig.vfs
        .write_at(fh, 0, Bytes::from_static(b"abc"))
        .await
        .expect("write");
    let written = rig.vfs.getattr(born.ino, Some(fh)).await.expect("stat");
    assert!(written.mtime > born.mtime && written.ctime > born.ctime);

    rig.clock.advance(Duration::from_secs(5));
    let cut = SetAttr {
        size: Some(1),
        ..SetAttr::default()
    };
    let cut = rig.vfs.setattr(ME, born.ino, Some(fh), cut).await.expect("ftruncate");
    assert!(cut.mtime > written.mtime && cut.ctime > written.ctime);

    rig.clock.advance(Duration::from_secs(5));
    let early = SetAttr {
        mtime: Some(SetTime::At(born.mtime)),
        ..SetAttr::default()
    };
    let set = rig.vfs.setattr(ME, born.ino, Some(fh), early).await.expect("futimens");
    assert_eq!(set.mtime, born.mtime, "a time that was set is the last word");
    assert!(set.ctime > cut.ctime);

    rig.vfs.flush(ME, fh).await.expect("flush");
    rig.vfs.release(fh).await;
    let closed = rig.at("a.txt").await.expect("stat");
    assert_eq!((closed.mtime, closed.ctime), (set.mtime, set.ctime));

    rig.clock.advance(Duration::from_secs(5));
    let same = SetAttr {
        size: Some(closed.size),
        ..SetAttr::default()
    };
    let same = rig.vfs.setattr(ME, born.ino, None, same).await.expect("truncate");
    assert!(
        same.mtime > closed.mtime && same.ctime > closed.ctime,
        "to the length that it has"
    );
}

/// `df` showed a drive of 1 PiB that was 100 % full, and installers refused to copy to it. No store tells its size, so
/// the figures are those of the disk that what is written goes to first.
#[tokio::test(flavor = "multi_thread")]
async fn the_room_is_that_of_the_staging_disk() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    let space = crate::disk::free_space(rig.dir()).expect("the disk is there");
    let shown = rig.vfs.statfs();
    assert_eq!(shown.total_bytes, space.total_bytes);
    assert!(shown.free_bytes > 0 && shown.free_bytes < shown.total_bytes);
}

/// `rsync -a` set a folder's time, but the store's time of its creation was later and showed instead: the next run set
/// it again, and so for ever. What a program set is shown until somebody changes the folder in the store.
#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_a_folder_stays_as_a_program_set_it() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    let early = Timestamp::from_secs(1_500_000_000);
    let set = SetAttr {
        mtime: Some(SetTime::At(early)),
        ..SetAttr::default()
    };
    let made = rig.mkdir("copied").await.expect("mkdir");
    rig.vfs.setattr(ME, made.ino, None, set).await.expect("utimensat");
    let shown = rig.at("copied").await.expect("stat").mtime;
    assert_eq!(shown, early, "before it is in the store");
    rig.settle().await;
    assert_eq!(
        rig.at("copied").await.expect("stat").mtime,
        early,
        "after its creation in the store"
    );

    rig.rename("copied", "moved").await.expect("rename");
    rig.settle().await;
    assert_eq!(
        rig.at("moved").await.expect("stat").mtime,
        early,
        "after a rename in the store"
    );

    rig.write("moved/a.txt", b"a").await.expect("write");
    assert!(
        rig.at("moved").await.expect("stat").mtime > early,
        "a new file moves it"
    );
    rig.vfs.setattr(ME, made.ino, None, set).await.expect("utimensat");
    assert_eq!(
        rig.at("moved").await.expect("stat").mtime,
        early,
        "of a published folder"
    );
}

/// `user.assetfs.pinned` was documented and never there.
#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_file_says_so_also_after_a_restart() {
    let mut rig = Rig::new(presets::like_imagerelay()).await;
    let root = rig.store.remote().root();
    rig.store.remote().put(&root, "a.txt", &b"kept"[..]).expect("put");
    let ino = rig.at("a.txt").await.expect("there").ino;
    let pinned = "user.assetfs.pinned";
    assert!(rig.vfs.getxattr(ino, pinned).await.is_err());
    let report = rig.vfs.pin("a.txt", &PinProgress::default()).await.expect("pinned");
    assert_eq!((report.files, report.failed), (1, 0));
    assert_eq!(rig.vfs.getxattr(ino, pinned).await.expect("pinned"), b"yes");
    rig.crash().await;
    assert_eq!(rig.vfs.getxattr(ino, pinned).await.expect("still"), b"yes");
    rig.vfs.unpin("a.txt").await.expect("unpinned");
    assert!(rig.vfs.getxattr(ino, pinned).await.is_err());
}

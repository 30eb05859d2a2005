//! Folders, names, moves: what is seen here and what the store gets.

use std::time::Duration;

use super::rig::{ME, Rig, name};
use crate::store::memory::{self as presets, Op};
use crate::vfs::{Error, IoMode, OpenHow, RenameMode};

#[tokio::test(flavor = "multi_thread")]
async fn a_new_tree_is_seen_at_once_and_in_the_store_later() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    rig.mkdir("a").await.expect("mkdir");
    rig.mkdir("a/b").await.expect("mkdir");
    rig.write("a/b/hero.jpg", b"bytes").await.expect("write");
    assert_eq!(rig.read("a/b/hero.jpg").await.expect("read"), b"bytes");
    assert!(rig.stored().is_empty(), "nothing is sent before the quiet time is over");
    rig.settle().await;
    assert_eq!(rig.stored(), rig.tree().await);
    assert_eq!(rig.store.faults().calls(Op::Create), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_and_removed_within_the_quiet_time_costs_nothing() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    rig.names("").await;
    let before = rig.store.faults().calls_total();
    rig.mkdir("x").await.expect("mkdir");
    rig.write("x/4913", b"probe").await.expect("write");
    rig.unlink("x/4913").await.expect("unlink");
    rig.rmdir("x").await.expect("rmdir");
    rig.settle().await;
    rig.clock.advance(Duration::from_secs(10));
    rig.settle().await;
    assert_eq!(rig.store.faults().calls_total(), before);
    assert!(rig.names("").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn renames_within_the_quiet_time_collapse() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    rig.write("a.jpg", b"1").await.expect("write");
    rig.settle().await;
    let id = rig.store.remote().find("a.jpg").expect("stored").id;
    let before = rig.store.faults().calls_total();
    rig.rename("a.jpg", "b.jpg").await.expect("rename");
    rig.rename("b.jpg", "a.jpg").await.expect("rename");
    rig.settle().await;
    assert_eq!(rig.store.faults().calls_total(), before);
    rig.rename("a.jpg", "b.jpg").await.expect("rename");
    rig.rename("b.jpg", "c.jpg").await.expect("rename");
    rig.settle().await;
    assert_eq!(rig.store.remote().find("c.jpg").expect("renamed").id, id);
    assert_eq!(rig.store.faults().calls(Op::Replace), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_moves_with_what_is_still_pending_inside() {
    for capabilities in [presets::like_imagerelay(), presets::like_flextype(), presets::whole()] {
        let rig = Rig::new(capabilities).await;
        rig.mkdir("a").await.expect("mkdir");
        rig.mkdir("b").await.expect("mkdir");
        rig.settle().await;
        rig.write("a/one.txt", b"1").await.expect("write");
        rig.rename("a", "b/c").await.expect("rename");
        rig.write("b/c/two.txt", b"2").await.expect("write");
        rig.settle().await;
        assert_eq!(rig.stored(), rig.tree().await);
        assert_eq!(rig.names("b/c").await, ["one.txt", "two.txt"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_may_be_swapped_where_they_are_unique() {
    for capabilities in [presets::like_flextype(), presets::like_imagerelay()] {
        let rig = Rig::new(capabilities).await;
        rig.write("a.txt", b"a").await.expect("write");
        rig.write("b.txt", b"b").await.expect("write");
        rig.settle().await;
        rig.rename_as(ME, "a.txt", "b.txt", RenameMode::Exchange)
            .await
            .expect("exchange");
        assert_eq!(rig.read("a.txt").await.expect("read"), b"b");
        rig.settle().await;
        assert_eq!(rig.stored(), rig.tree().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_not_empty_is_not_removed() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    rig.mkdir("a").await.expect("mkdir");
    rig.write("a/x.txt", b"x").await.expect("write");
    assert!(matches!(rig.rmdir("a").await, Err(Error::NotEmpty)));
    rig.settle().await;
    assert!(matches!(rig.rmdir("a").await, Err(Error::NotEmpty)));
    rig.unlink("a/x.txt").await.expect("unlink");
    rig.rmdir("a").await.expect("rmdir");
    rig.settle().await;
    assert!(rig.stored().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_two_folders_is_one_inode_and_one_asset() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    rig.mkdir("a").await.expect("mkdir");
    rig.mkdir("b").await.expect("mkdir");
    let ino = rig.write("a/x.txt", b"x").await.expect("write");
    rig.settle().await;
    let b = rig.at("b").await.expect("there").ino;
    let linked = rig.vfs.link(ME, ino, b, &name("x.txt")).await.expect("link");
    assert_eq!((linked.ino, linked.nlink), (ino, 2));
    assert!(matches!(
        rig.vfs.link(ME, ino, b, &name("y.txt")).await,
        Err(Error::NotPermitted(_))
    ));
    rig.settle().await;
    assert_eq!(
        rig.store.remote().find("a/x.txt").expect("a").id,
        rig.store.remote().find("b/x.txt").expect("b").id
    );
    rig.unlink("a/x.txt").await.expect("unlink");
    rig.settle().await;
    assert_eq!(rig.read("b/x.txt").await.expect("read"), b"x");
    assert!(rig.store.remote().find("a/x.txt").is_none());
    assert_eq!(rig.at("b/x.txt").await.expect("there").nlink, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn late_listings_neither_hide_what_was_made_nor_bring_back_what_was_removed() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    rig.write("old.txt", b"old").await.expect("write");
    rig.settle().await;
    rig.clock.advance(Duration::from_secs(3600));
    rig.store.turn(|knobs| knobs.listing_lag = Duration::from_secs(300));
    rig.write("new.txt", b"new").await.expect("write");
    rig.unlink("old.txt").await.expect("unlink");
    rig.settle().await;
    for _ in 0..8 {
        rig.clock.advance(Duration::from_secs(70));
        rig.vfs.refresh("/").await.expect("refresh");
        assert_eq!(rig.names("").await, ["new.txt"]);
    }
    assert_eq!(rig.read("new.txt").await.expect("read"), b"new");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_listing_is_an_error_and_never_an_empty_folder() {
    use crate::store::ErrorKind;
    use crate::store::memory::Fault;
    let rig = Rig::new(presets::like_imagerelay()).await;
    rig.store
        .faults()
        .always(Op::List, Fault::Fail(ErrorKind::Server, crate::store::Retry::Never));
    assert!(rig.vfs.lookup(ME, crate::model::Ino::ROOT, &name("x")).await.is_err());
    assert!(rig.vfs.opendir(ME, crate::model::Ino::ROOT).await.is_err());
    rig.store.faults().clear();
    assert!(rig.names("").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_shows_the_tree_that_was_there_before() {
    let mut rig = Rig::new(presets::like_imagerelay()).await;
    rig.mkdir("a").await.expect("mkdir");
    rig.write("a/one.txt", b"1").await.expect("write");
    rig.settle().await;
    rig.write("a/two.txt", b"2").await.expect("write");
    rig.rename("a/one.txt", "a/uno.txt").await.expect("rename");
    let ino = rig.at("a/two.txt").await.expect("there").ino;
    let before = rig.tree().await;
    rig.crash().await;
    assert_eq!(rig.tree().await, before);
    assert_eq!(rig.at("a/two.txt").await.expect("there").ino, ino);
    rig.settle().await;
    assert_eq!(rig.stored(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn deletions_beyond_the_brake_are_held_until_they_are_approved() {
    use crate::journal::UploaderConfig;
    use crate::vfs::VfsConfig;
    let uploader = UploaderConfig { delete_max: 2 };
    let rig = Rig::with(presets::like_imagerelay(), VfsConfig::default(), uploader).await;
    for i in 0..4 {
        rig.write(&format!("{i}.txt"), b"x").await.expect("write");
    }
    rig.settle().await;
    for i in 0..4 {
        rig.unlink(&format!("{i}.txt")).await.expect("unlink");
    }
    rig.settle().await;
    assert!(rig.names("").await.is_empty(), "gone here");
    assert_eq!(rig.stored().len(), 2, "but not all in the store");
    let report = rig.vfs.sync(None, Some(Duration::ZERO)).await.expect("report");
    assert_eq!(report.held, 2);
    assert_eq!(rig.vfs.approve(None).await.expect("approve"), 2);
    rig.settle().await;
    assert!(rig.stored().is_empty());
}

/// `cp -a tree copy; rm -r copy` now and then left folders that waited for ever for a removal inside them: it had got
/// through between the look at it and the beginning of the wait. Whoever waits has seen what it waits for.
#[tokio::test(flavor = "multi_thread")]
async fn nested_folders_that_are_removed_together_are_all_removed() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    for round in 0..8 {
        for path in ["a", "a/b", "a/b/c", "a/b/c/d"] {
            rig.mkdir(path).await.expect("mkdir");
            rig.write(&format!("{path}/{round}.txt"), b"x").await.expect("write");
        }
        rig.settle().await;
        for path in ["a/b/c/d", "a/b/c", "a/b", "a"] {
            rig.unlink(&format!("{path}/{round}.txt")).await.expect("unlink");
            rig.rmdir(path).await.expect("rmdir");
        }
        rig.settle().await;
        assert!(rig.stored().is_empty());
    }
}

/// A move to another folder under another name is two requests where the name travels with the bytes; the second one was
/// forgotten, and the store kept the old name for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_move_under_another_name_reaches_the_store_whole() {
    for capabilities in [presets::like_imagerelay(), presets::like_flextype(), presets::whole()] {
        let rig = Rig::new(capabilities).await;
        rig.mkdir("sub").await.expect("mkdir");
        rig.write("new.txt", b"new").await.expect("write");
        rig.settle().await;
        let id = rig.store.remote().find("new.txt").expect("stored").id;
        rig.rename("new.txt", "sub/renamed.txt").await.expect("rename");
        rig.settle().await;
        let stored = rig.store.remote().find("sub/renamed.txt").expect("moved and renamed");
        assert!(stored.id == id || id.as_str().contains('/') || id.as_str().contains(".txt"));
        assert_eq!(rig.stored(), rig.tree().await);
    }
}

/// The end of a removal that waits for what moves out of the folder, which takes the folder's own name: each waited for the
/// other.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_may_be_replaced_by_what_was_in_it() {
    let rig = Rig::new(presets::like_flextype()).await;
    rig.mkdir("d").await.expect("mkdir");
    rig.mkdir("d/e").await.expect("mkdir");
    rig.settle().await;
    rig.rename("d/e", "e").await.expect("rename");
    rig.rmdir("d").await.expect("rmdir");
    rig.rename("e", "d").await.expect("rename");
    rig.settle().await;
    assert_eq!(rig.stored(), rig.tree().await);
    assert_eq!(rig.names("").await, ["d"]);
}

// An asset's body was asked whether it is complete before it was opened, which only then finds out what is on the disk.
// So every reader went through the daemon for ever. A complete file is passed through by whoever opens it next.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_here_is_passed_through_from_its_next_open_on() {
    let mut rig = Rig::new(presets::like_imagerelay()).await;
    let root = rig.store.remote().root();
    rig.store
        .remote()
        .put(&root, "film.mov", vec![7; 3 << 20])
        .expect("stored");
    rig.read("film.mov").await.expect("read");
    let passes = async |rig: &Rig| {
        let (ino, how) = (
            rig.at("film.mov").await.expect("there").ino,
            OpenHow {
                read: true,
                ..OpenHow::default()
            },
        );
        let opened = rig.vfs.open(ME, ino, how).await.expect("open");
        rig.vfs.release(opened.fh).await;
        matches!(opened.io, IoMode::Passthrough(_))
    };
    let mut tries = 0;
    while !passes(&rig).await {
        tries += 1;
        assert!(tries < 500, "never counts as complete");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    rig.crash().await;
    assert!(passes(&rig).await, "the next daemon knows it from the first open on");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_folders_of_a_file_can_be_set_as_an_attribute() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    for folder in ["a", "b", "c"] {
        rig.mkdir(folder).await.expect("mkdir");
    }
    let ino = rig.write("a/x.txt", b"x").await.expect("write");
    rig.settle().await;
    let set = |value: &'static [u8]| {
        rig.vfs
            .setxattr(ME, ino, "user.memory.folders", value, Default::default())
    };
    set(b"/b\n/c").await.expect("set");
    assert_eq!(
        rig.vfs.getxattr(ino, "user.memory.folders").await.expect("get"),
        b"/b\n/c"
    );
    rig.settle().await;
    assert_eq!(rig.stored(), rig.tree().await);
    assert!(rig.names("a").await.is_empty());
    assert_eq!(rig.names("b").await, ["x.txt"]);
    assert_eq!(rig.names("c").await, ["x.txt"]);
    assert_eq!(rig.store.faults().calls(Op::Relocate), 1, "a move with several folders");
    assert!(matches!(set(b"").await, Err(Error::Invalid(_))));
    assert!(matches!(set(b"/nowhere").await, Err(Error::NotFound)));
}

/// The file was only linked into its new folder, because the old one counted as gone already: it stayed there, and the
/// store refused to remove a folder that is not empty.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_leaves_a_folder_that_is_removed_before_the_move_is_sent() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    rig.mkdir("old").await.expect("mkdir");
    rig.mkdir("new").await.expect("mkdir");
    rig.write("old/a.jpg", b"bytes").await.expect("write");
    rig.settle().await;
    rig.rename("old/a.jpg", "new/a.jpg").await.expect("rename");
    rig.rmdir("old").await.expect("rmdir");
    rig.settle().await;
    assert_eq!(rig.names("").await, ["new"]);
    assert_eq!(rig.stored(), rig.tree().await);
    assert_eq!(rig.store.remote().find("new/a.jpg").expect("stored").parents.len(), 1);
}

/// The old file's folders were thought to keep it: the new one was shown in the folder that the old one had been moved out of.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_made_anew_where_another_was_moved_and_removed_is_in_no_other_folder() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    rig.mkdir("old").await.expect("mkdir");
    rig.write("old/a.txt", b"bytes").await.expect("write");
    rig.settle().await;
    rig.rename("old/a.txt", "b.txt").await.expect("rename");
    rig.unlink("b.txt").await.expect("unlink");
    rig.write("b.txt", b"others").await.expect("write");
    assert!(rig.names("old").await.is_empty());
    rig.settle().await;
    assert!(rig.names("old").await.is_empty());
    assert_eq!(rig.stored(), rig.tree().await);
    assert_eq!(rig.store.remote().find("b.txt").expect("stored").parents.len(), 1);
}

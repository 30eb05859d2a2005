//! Saves: durable here, one version of the same asset there, nothing lost.

use std::time::Duration;

use bytes::Bytes;

use super::rig::{ME, Rig, all_stores};
use crate::model::{Clock, Timestamp};
use crate::store::memory::{self as presets, Fault, Op};
use crate::store::{ErrorKind, Retry};
use crate::vfs::{Aim, Caller, Error, Keep, OpenHow, Result, SetAttr, SetTime};

/// A process of its own, as far as the drive can tell.
const OTHER: Caller = Caller { uid: 0, gid: 0, pid: 1 };

#[tokio::test(flavor = "multi_thread")]
async fn one_save_is_one_version_of_the_same_asset() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    rig.write("hero.jpg", b"one").await.expect("write");
    rig.settle().await;
    let id = rig.store.remote().find("hero.jpg").expect("stored").id;
    // In place, by truncation.
    rig.write("hero.jpg", b"two").await.expect("write");
    rig.settle().await;
    // By a temporary file and a rename.
    rig.write("hero.tmp.jpg", b"three").await.expect("write");
    rig.rename("hero.tmp.jpg", "hero.jpg").await.expect("rename");
    rig.settle().await;
    // By moving the old one aside, writing anew, and deleting the old one.
    rig.rename("hero.jpg", "hero.jpg~").await.expect("rename");
    rig.write("hero.jpg", b"four").await.expect("write");
    rig.unlink("hero.jpg~").await.expect("unlink");
    rig.settle().await;
    // By deleting and writing anew.
    rig.unlink("hero.jpg").await.expect("unlink");
    rig.write("hero.jpg", b"five").await.expect("write");
    rig.settle().await;
    let stored = rig.store.remote().find("hero.jpg").expect("stored");
    assert_eq!(stored.id, id);
    assert_eq!(rig.read("hero.jpg").await.expect("read"), b"five");
    assert_eq!(rig.stored(), rig.tree().await);
    assert_eq!(rig.store.faults().calls(Op::Create), 1);
    assert_eq!(rig.store.faults().calls(Op::Replace), 4);
    assert_eq!(rig.store.faults().calls(Op::Remove), 0);
}

/// A change of our own gives the version another name (and the item, where its id is a path), and the bytes are what they were.
#[tokio::test(flavor = "multi_thread")]
async fn a_save_of_the_same_bytes_after_a_rename_sends_no_more_than_that() {
    for store in all_stores() {
        let label = store.label;
        let mut uploads = Vec::new();
        for saves in [false, true] {
            let rig = Rig::new(store.clone()).await;
            rig.write("a.txt", b"as it is").await.expect(label);
            rig.settle().await;
            rig.rename("a.txt", "b.txt").await.expect(label);
            if saves {
                rig.write("b.txt", b"as it is").await.expect(label);
            }
            rig.settle().await;
            assert_eq!(rig.stored()["/b.txt"], Some(b"as it is".to_vec()), "{label}");
            uploads.push([Op::Create, Op::Replace].map(|op| rig.store.faults().calls(op)));
        }
        assert_eq!(uploads[0], uploads[1], "{label}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_stays_becomes_a_file_of_this_machine() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    rig.write("hero.jpg", b"one").await.expect("write");
    rig.settle().await;
    let id = rig.store.remote().find("hero.jpg").expect("stored").id;
    rig.rename("hero.jpg", "hero.jpg~").await.expect("rename");
    rig.write("hero.jpg", b"two").await.expect("write");
    rig.settle().await;
    assert_eq!(rig.store.remote().find("hero.jpg").expect("stored").id, id);
    assert_eq!(rig.read("hero.jpg").await.expect("read"), b"two");
    assert_eq!(rig.read("hero.jpg~").await.expect("read"), b"one");
    assert_eq!(rig.stored().len(), 1, "the backup never reaches the store");
}

/// The removal waited for the writer, and nobody told it that the file had been closed.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_removed_while_it_is_written_to_goes_when_it_is_closed() {
    for store in all_stores() {
        let rig = Rig::new(store).await;
        let label = rig.store.shared().capabilities().label;
        rig.write("a.txt", b"one").await.expect(label);
        rig.settle().await;
        let how = OpenHow {
            write: true,
            ..OpenHow::default()
        };
        let ino = rig.at("a.txt").await.expect(label).ino;
        let fh = rig.vfs.open(ME, ino, how).await.expect(label).fh;
        rig.vfs.write_at(fh, 0, Bytes::from("two")).await.expect(label);
        rig.unlink("a.txt").await.expect(label);
        rig.pass(20).await;
        rig.vfs.flush(ME, fh).await.expect(label);
        rig.vfs.release(fh).await;
        rig.settle().await;
        assert_eq!(rig.stored(), [].into(), "{label}");
    }
}

/// The asset's name went with the backup when the save was given up; and the backup could not get a name of its own as long as
/// the save was under way.
#[tokio::test(flavor = "multi_thread")]
async fn an_asset_and_the_backup_of_it_are_two_from_the_moment_of_the_save() {
    let saved_beside_a_backup = async |fault: Fault| {
        let rig = Rig::new(presets::like_imagerelay()).await;
        rig.write("hero.jpg", b"one").await.expect("write");
        rig.settle().await;
        rig.store.faults().always(Op::Replace, fault);
        rig.rename("hero.jpg", "hero.jpg~").await.expect("rename");
        rig.write("hero.jpg", b"two").await.expect("write");
        rig.pass(20).await;
        assert!(rig.store.faults().calls(Op::Replace) > 0, "it is being sent");
        rig
    };
    let rig = saved_beside_a_backup(Fault::Fail(ErrorKind::Denied, Retry::Never)).await;
    let parked = rig.vfs.attention().await.expect("a list");
    rig.vfs
        .discard(parked[0].id.expect("a number"))
        .await
        .expect("given up");
    assert_eq!(rig.read("hero.jpg").await.expect("the asset is there"), b"one");
    assert_eq!(rig.read("hero.jpg~").await.expect("and the backup"), b"one");

    let down = Fault::Fail(ErrorKind::Network, Retry::After(Duration::from_secs(1)));
    let rig = saved_beside_a_backup(down).await;
    rig.rename("hero.jpg~", "old.jpg").await.expect("rename");
    rig.pass(20).await;
    assert!(rig.stored().contains_key("/old.jpg"));
    let waiting = rig.vfs.attention().await.expect("a list");
    assert!(waiting.is_empty(), "{waiting:?}");
    rig.store.faults().clear();
    rig.settle().await;
    assert_eq!(rig.read("hero.jpg").await.expect("read"), b"two");
    assert_eq!(rig.tree().await, rig.stored());
}

#[tokio::test(flavor = "multi_thread")]
async fn separate_programs_keep_the_identities_of_posix() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    rig.mkdir("archive").await.expect("mkdir");
    rig.write("hero.jpg", b"one").await.expect("write");
    rig.settle().await;
    let id = rig.store.remote().find("hero.jpg").expect("stored").id;
    rig.rename("hero.jpg", "archive/hero.jpg").await.expect("mv");
    rig.write_as(OTHER, "hero.jpg", b"new").await.expect("cp");
    rig.settle().await;
    assert_eq!(rig.store.remote().find("archive/hero.jpg").expect("moved").id, id);
    let new = rig.store.remote().find("hero.jpg").expect("new").id;
    assert_ne!(new, id);
    rig.unlink("hero.jpg").await.expect("rm");
    rig.write_as(OTHER, "hero.jpg", b"newer").await.expect("cp");
    rig.settle().await;
    assert_ne!(rig.store.remote().find("hero.jpg").expect("newest").id, new);
    assert_eq!(rig.stored(), rig.tree().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_bytes_send_nothing() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    rig.write("a.txt", b"the same").await.expect("write");
    rig.settle().await;
    rig.write("a.txt", b"the same").await.expect("write");
    rig.settle().await;
    rig.write("tmp.txt", b"the same").await.expect("write");
    rig.rename("tmp.txt", "a.txt").await.expect("rename");
    rig.settle().await;
    assert_eq!(rig.store.faults().calls(Op::Replace), 0);
    assert_eq!(rig.read("a.txt").await.expect("read"), b"the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_store_ends_with_the_tree_that_people_see() {
    for capabilities in all_stores() {
        let label = capabilities.label;
        let rig = Rig::new(capabilities).await;
        rig.write("a.txt", b"a").await.expect(label);
        rig.write("b.txt", b"b").await.expect(label);
        rig.settle().await;
        rig.write("a.txt", b"a, second").await.expect(label);
        rig.rename("b.txt", "c.txt").await.expect(label);
        rig.settle().await;
        rig.write("tmp.txt", b"c, second").await.expect(label);
        rig.rename("tmp.txt", "c.txt").await.expect(label);
        rig.settle().await;
        assert_eq!(rig.stored(), rig.tree().await, "{label}");
        assert_eq!(rig.stored().len(), 2, "{label}");
        rig.rename("a.txt", "c.txt").await.expect(label);
        rig.settle().await;
        assert_eq!(rig.stored(), rig.tree().await, "{label}");
        assert_eq!(rig.stored().len(), 1, "{label}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_to_a_part_keeps_the_rest() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    let root = rig.store.remote().root();
    let bytes: Vec<u8> = (0..1_000_000u32).map(|i| (i % 251) as u8).collect();
    rig.store.remote().put(&root, "big.bin", bytes.clone()).expect("put");
    let ino = rig.at("big.bin").await.expect("there").ino;
    let opened = rig
        .vfs
        .open(
            ME,
            ino,
            OpenHow {
                read: true,
                write: true,
                ..OpenHow::default()
            },
        )
        .await
        .expect("open");
    rig.vfs
        .write_at(opened.fh, 500_000, Bytes::from_static(b"HERE"))
        .await
        .expect("write");
    rig.vfs.flush(ME, opened.fh).await.expect("flush");
    rig.vfs.release(opened.fh).await;
    rig.settle().await;
    let mut want = bytes;
    want[500_000..500_004].copy_from_slice(b"HERE");
    assert_eq!(rig.stored().get("/big.bin"), Some(&Some(want)));
}

/// Also: a file that was closed between two looks of the uploader was parked as if its program had died.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_overtaken_by_newer_bytes_never_ends_with_the_older() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    for round in 0..25u8 {
        rig.write("a.txt", &[round; 100]).await.expect("write");
        rig.clock.advance(Duration::from_secs(2));
        tokio::task::yield_now().await;
    }
    rig.settle().await;
    assert_eq!(rig.stored().get("/a.txt"), Some(&Some(vec![24; 100])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_by_somebody_else_is_never_overwritten() {
    for capabilities in all_stores() {
        let label = capabilities.label;
        let rig = Rig::new(capabilities).await;
        rig.write("plan.txt", b"base").await.expect(label);
        rig.settle().await;
        let id = rig.store.remote().find("plan.txt").expect(label).id;
        rig.write("plan.txt", b"mine").await.expect(label);
        rig.store.remote().write(&id, &b"theirs"[..]).expect(label);
        rig.settle().await;
        assert_eq!(
            rig.stored().get("/plan.txt"),
            Some(&Some(b"theirs".to_vec())),
            "{label}"
        );
        assert_eq!(rig.read("plan.txt").await.expect(label), b"theirs", "{label}");
        let names = rig.names("").await;
        let copy = names
            .iter()
            .find(|n| n.starts_with("plan (conflict "))
            .expect(label)
            .clone();
        assert_eq!(rig.read(&copy).await.expect(label), b"mine", "{label}");
        let queue = rig.vfs.queue(None).await.expect(label);
        rig.vfs.resolve(queue[0].id, Keep::Mine).await.expect(label);
        rig.settle().await;
        assert_eq!(rig.stored().get("/plan.txt"), Some(&Some(b"mine".to_vec())), "{label}");
        assert_eq!(rig.names("").await, ["plan.txt"], "{label}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_a_create_is_looked_for_and_never_sent_twice() {
    for capabilities in all_stores() {
        let label = capabilities.label;
        let rig = Rig::new(capabilities).await;
        rig.store.faults().inject(Op::Create, 1, Fault::LoseAnswer);
        rig.write("a.txt", b"once").await.expect(label);
        rig.settle().await;
        assert_eq!(rig.stored().len(), 1, "{label}");
        assert_eq!(rig.store.faults().calls(Op::Create), 1, "{label}");
        assert_eq!(rig.stored(), rig.tree().await, "{label}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_store_refuses_for_good_stays_readable_with_its_reason() {
    let mut rig = Rig::new(presets::like_imagerelay()).await;
    rig.store
        .faults()
        .always(Op::Create, Fault::Fail(ErrorKind::Denied, Retry::Never));
    rig.write("a.txt", b"mine").await.expect("write");
    rig.settle().await;
    rig.crash().await;
    assert_eq!(rig.read("a.txt").await.expect("read"), b"mine");
    let report = rig.vfs.sync(None, Some(Duration::ZERO)).await.expect("report");
    assert_eq!(report.parked, 1);
    let ino = rig.at("a.txt").await.expect("there").ino;
    assert_eq!(
        rig.vfs.getxattr(ino, "user.assetfs.state").await.expect("state"),
        b"parked"
    );
    rig.store.faults().clear();
    assert_eq!(rig.vfs.retry(None).await.expect("retry"), 1);
    rig.settle().await;
    assert_eq!(rig.stored(), rig.tree().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_being_written_when_the_daemon_dies_is_kept_aside_and_not_sent() {
    let mut rig = Rig::new(presets::like_imagerelay()).await;
    let how = OpenHow {
        write: true,
        ..OpenHow::default()
    };
    let (_, opened) = rig
        .vfs
        .create(ME, crate::model::Ino::ROOT, &super::rig::name("half.bin"), 0o644, how)
        .await
        .expect("create");
    rig.vfs
        .write_at(opened.fh, 0, Bytes::from_static(b"half"))
        .await
        .expect("write");
    rig.write("whole.bin", b"whole").await.expect("write");
    rig.crash().await;
    rig.settle().await;
    assert_eq!(rig.stored().keys().collect::<Vec<_>>(), ["/whole.bin"]);
    assert_eq!(rig.read("half.bin").await.expect("read"), b"half");
    assert_eq!(
        rig.vfs.sync(None, Some(Duration::ZERO)).await.expect("report").parked,
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unlinked_open_file_lives_until_its_last_close() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    let ino = rig.write("a.txt", b"bytes").await.expect("write");
    let how = OpenHow {
        read: true,
        write: true,
        ..OpenHow::default()
    };
    let opened = rig.vfs.open(ME, ino, how).await.expect("open");
    rig.unlink("a.txt").await.expect("unlink");
    assert_eq!(rig.vfs.getattr(ino, Some(opened.fh)).await.expect("fstat").nlink, 0);
    rig.vfs
        .write_at(opened.fh, 5, Bytes::from_static(b"!"))
        .await
        .expect("write");
    assert_eq!(&rig.vfs.read(opened.fh, 0, 100).await.expect("read")[..], b"bytes!");
    let time = Timestamp::from_secs(1_000_000_000);
    let set = SetAttr {
        mode: Some(0o600),
        mtime: Some(SetTime::At(time)),
        ..SetAttr::default()
    };
    rig.vfs
        .setattr(ME, ino, Some(opened.fh), set)
        .await
        .expect("fchmod, futimens");
    let now = rig.vfs.getattr(ino, Some(opened.fh)).await.expect("fstat");
    assert_eq!((now.perm, now.mtime, now.nlink, now.size), (0o600, time, 0, 6));
    rig.vfs.release(opened.fh).await;
    assert!(matches!(rig.vfs.getattr(ino, None).await, Err(Error::Stale)));
    rig.settle().await;
    assert!(rig.stored().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_set_before_the_upload_travel_in_it_and_later_ones_in_one_request() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    let ino = rig.write("a.txt", b"x").await.expect("write");
    let set = |name: &'static str, value: &'static [u8]| rig.vfs.setxattr(ME, ino, name, value, Default::default());
    set("user.memory.credit", b"Anna").await.expect("set");
    rig.settle().await;
    assert_eq!(rig.store.faults().calls(Op::SetFields), 0);
    set("user.memory.credit", b"Berta").await.expect("set");
    set("user.memory.caption", b"two\\nlines").await.expect("set");
    assert_eq!(
        rig.vfs.getxattr(ino, "user.memory.caption").await.expect("get"),
        b"two\\nlines"
    );
    rig.settle().await;
    assert_eq!(rig.store.faults().calls(Op::SetFields), 1);
    assert_eq!(
        rig.vfs.getxattr(ino, "user.memory.credit").await.expect("get"),
        b"Berta"
    );
    let mut names = rig.vfs.listxattr(ino).await.expect("list");
    names.sort();
    assert_eq!(names, ["user.memory.caption", "user.memory.credit"]);
}

/// The answer to a create was lost, and before the store was asked again the user saved other bytes of the same length, or
/// gave the file another name, or removed it: the look for the lost file went by what the file had become. Bytes were lost
/// in the first case, a second copy was made in the next, and a removed file came back in the last.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_create_is_recognised_whatever_became_of_the_file_since() {
    for capabilities in all_stores() {
        let label = capabilities.label;
        let rig = Rig::new(capabilities).await;
        rig.store.faults().inject(Op::Create, 1, Fault::LoseAnswer);
        rig.write("a.txt", b"first").await.expect(label);
        rig.vfs.sync(None, Some(Duration::ZERO)).await.expect(label);
        wait_for(|| rig.store.faults().calls(Op::Create) == 1).await;
        rig.write("a.txt", b"other").await.expect(label);
        rig.rename("a.txt", "b.txt").await.expect(label);
        rig.settle().await;
        let want = [("/b.txt".to_owned(), Some(b"other".to_vec()))].into();
        assert_eq!(rig.stored(), want, "{label}");
        rig.store.faults().inject(Op::Create, 1, Fault::LoseAnswer);
        let creates = rig.store.faults().calls(Op::Create);
        rig.write("c.txt", b"c").await.expect(label);
        rig.vfs.sync(None, Some(Duration::ZERO)).await.expect(label);
        wait_for(|| rig.store.faults().calls(Op::Create) > creates).await;
        rig.unlink("c.txt").await.expect(label);
        rig.settle().await;
        assert_eq!(rig.stored(), want, "{label}");
    }
}

/// A listing came between a create whose answer was lost and the look for it: the file was then taken for somebody
/// else's, shown beside ours, and made a second time.
#[tokio::test(flavor = "multi_thread")]
async fn a_listing_does_not_take_a_lost_create_for_somebody_elses_file() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    rig.store.faults().inject(Op::Create, 1, Fault::LoseAnswer);
    rig.write("a.txt", b"once").await.expect("write");
    rig.vfs.sync(None, Some(Duration::ZERO)).await.expect("sync");
    wait_for(|| rig.store.faults().calls(Op::Create) == 1).await;
    rig.vfs.refresh("/").await.expect("a listing");
    assert_eq!(rig.names("").await, ["a.txt"]);
    rig.settle().await;
    assert_eq!(rig.names("").await, ["a.txt"]);
    assert_eq!(rig.stored().len(), 1);
}

/// A second save within the store's lag ended the protection that the first had: a listing from before both hid the file.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_save_does_not_end_the_wait_for_late_listings() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    rig.names("").await;
    rig.store.turn(|knobs| knobs.listing_lag = Duration::from_secs(300));
    rig.write("a.txt", b"one").await.expect("write");
    rig.settle().await;
    rig.write("a.txt", b"second").await.expect("write");
    rig.settle().await;
    rig.clock.advance(Duration::from_secs(100));
    rig.vfs.refresh("/").await.expect("a listing");
    assert_eq!(rig.names("").await, ["a.txt"]);
    assert_eq!(rig.read("a.txt").await.expect("read"), b"second");
}

async fn wait_for(done: impl Fn() -> bool) {
    for _ in 0..2000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it does not happen");
}

/// Eight programs appended to one log, and lines were lost: a flush took the size while another program wrote, and then
/// said that nothing was left to be flushed. Whatever was written before a flush began is durable when it ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_flush_leaves_nothing_out_that_another_program_writes_meanwhile() {
    let rig = Rig::new(presets::whole()).await;
    let how = OpenHow {
        write: true,
        ..OpenHow::default()
    };
    for round in 0..30 {
        let ino = rig.write(&format!("log {round}.txt"), b"0").await.expect("write");
        let one = rig.vfs.open(ME, ino, how).await.expect("open").fh;
        let other = rig.vfs.open(ME, ino, how).await.expect("open").fh;
        rig.vfs.write_at(one, 1, Bytes::from_static(b"1")).await.expect("write");
        let (vfs, later) = (rig.vfs.clone(), rig.vfs.clone());
        let first = tokio::spawn(async move { vfs.flush(ME, one).await });
        let second = tokio::spawn(async move {
            later.write_at(other, 2, Bytes::from_static(b"2")).await?;
            later.flush(ME, other).await
        });
        first.await.expect("runs").expect("flush");
        second.await.expect("runs").expect("flush");
        let journaled = rig.vfs.journal.change(ino).and_then(|c| c.staged.clone());
        assert_eq!(journaled.map(|staged| staged.size), Some(3), "round {round}");
        rig.vfs.release(one).await;
        rig.vfs.release(other).await;
        assert_eq!(rig.vfs.getattr(ino, None).await.expect("attributes").size, 3);
    }
    rig.settle().await;
    assert_eq!(rig.stored(), rig.tree().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_unlinked_while_open_is_opened_again_and_a_removed_folder_is_empty() {
    let rig = Rig::new(presets::whole()).await;
    let ino = rig.write("f.txt", b"kept").await.expect("write");
    let how = OpenHow {
        read: true,
        ..OpenHow::default()
    };
    let held = rig.vfs.open(ME, ino, how).await.expect("open").fh;
    rig.unlink("f.txt").await.expect("unlink");
    // As through /proc/self/fd.
    let again = rig.vfs.open(ME, ino, how).await.expect("opened again").fh;
    rig.vfs.release(held).await;
    assert_eq!(&rig.vfs.read(again, 0, 10).await.expect("read")[..], b"kept");
    assert_eq!(rig.vfs.getattr(ino, None).await.expect("attributes").nlink, 0);
    rig.vfs.release(again).await;
    assert!(matches!(rig.vfs.open(ME, ino, how).await, Err(Error::Stale)));

    let folder = rig.mkdir("d").await.expect("mkdir").ino;
    rig.rmdir("d").await.expect("rmdir");
    assert_eq!(rig.vfs.getattr(folder, None).await.expect("attributes").nlink, 0);
    let fh = rig.vfs.opendir(ME, folder).await.expect("opens");
    assert!(rig.vfs.readdir(fh, 0, 10).await.expect("lists").is_empty());
    rig.vfs.releasedir(fh).await;
}

/// Opened for writing, replaced by somebody else, then written: the bytes went to a file that nobody would ever see, and
/// every call said that all is well.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_to_what_somebody_else_has_replaced_meanwhile_is_refused() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    rig.write("a.txt", b"one").await.expect("write");
    rig.settle().await;
    let stored = rig.store.remote().find("a.txt").expect("stored");
    let how = OpenHow {
        read: true,
        write: true,
        ..OpenHow::default()
    };
    let ino = rig.at("a.txt").await.expect("there").ino;
    let opened = rig.vfs.open(ME, ino, how).await.expect("open");
    rig.clock.advance(Duration::from_secs(100));
    rig.store.remote().write(&stored.id, &b"theirs"[..]).expect("written");
    rig.vfs.refresh("/").await.expect("a listing");
    let written = rig.vfs.write_at(opened.fh, 0, Bytes::from_static(b"mine")).await;
    assert!(matches!(written, Err(Error::Stale)), "{written:?}");
    rig.vfs.flush(ME, opened.fh).await.expect("nothing is left to be said");
    rig.vfs.release(opened.fh).await;
    rig.settle().await;
    assert_eq!(rig.read("a.txt").await.expect("read"), b"theirs");
    assert_eq!(rig.tree().await, rig.stored());
}

/// A listing that was asked for before our own version was stored took the open file for an old one: what was written to
/// it next was lost.
#[tokio::test(flavor = "multi_thread")]
async fn news_that_are_older_than_our_own_version_leave_an_open_file_alone() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    rig.write("a.txt", b"one").await.expect("write");
    rig.settle().await;
    let (old, asked) = (rig.store.remote().find("a.txt").expect("stored"), rig.clock.now());
    rig.clock.advance(Duration::from_secs(1));
    rig.write("a.txt", b"two").await.expect("write");
    rig.settle().await;
    let ino = rig.at("a.txt").await.expect("there").ino;
    let how = OpenHow {
        write: true,
        ..OpenHow::default()
    };
    let opened = rig.vfs.open(ME, ino, how).await.expect("open");
    let shown = rig.vfs.blocking(move |vfs| vfs.inode_for(ino, &old, asked)).await;
    assert_eq!(shown.expect("an inode"), ino);
    rig.vfs
        .write_at(opened.fh, 0, Bytes::from_static(b"new"))
        .await
        .expect("write");
    rig.vfs.flush(ME, opened.fh).await.expect("flush");
    rig.vfs.release(opened.fh).await;
    rig.settle().await;
    assert_eq!(rig.stored()["/a.txt"], Some(b"new".to_vec()));
}

/// What the journal cannot take has not happened: it is said to be refused, not shown, and not sent.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_journaled_has_not_happened() {
    for capabilities in all_stores() {
        let label = capabilities.label;
        let mut rig = Rig::new(capabilities).await;
        rig.write("a.txt", b"one").await.expect(label);
        rig.write("b.txt", b"two").await.expect(label);
        rig.settle().await;
        let (tree, calls) = (rig.tree().await, rig.store.faults().calls_total());
        let disk = rusqlite::Connection::open(rig.dir().join("state/journal.db")).expect(label);
        for (name, event) in [("on_put", "INSERT"), ("on_drop", "DELETE")] {
            let trigger =
                format!("CREATE TRIGGER {name} BEFORE {event} ON changes BEGIN SELECT RAISE(ABORT, 'broken'); END");
            disk.execute_batch(&trigger).expect(label);
        }
        let refused = |result: Result<()>| matches!(result, Err(Error::Journal(_)));
        assert!(refused(rig.rename("a.txt", "c.txt").await), "{label}");
        assert!(refused(rig.unlink("b.txt").await), "{label}");
        assert!(refused(rig.write("new.txt", b"new").await.map(drop)), "{label}");
        rig.clock.advance(Duration::from_secs(30));
        rig.rest().await;
        assert_eq!(rig.tree().await, tree, "{label}");
        assert_eq!(rig.stored(), tree, "{label}");
        assert_eq!(rig.store.faults().calls_total(), calls, "{label}");
        disk.execute_batch("DROP TRIGGER on_put; DROP TRIGGER on_drop")
            .expect(label);
        rig.rename("a.txt", "c.txt").await.expect(label);
        rig.settle().await;
        rig.crash().await;
        assert_eq!(rig.tree().await, rig.stored(), "{label}");
        assert!(rig.stored().contains_key("/c.txt"), "{label}");
    }
}

/// The catalog had taken the new file for the asset's next version before the journal refused that: the asset was seen no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_stays_that_another_could_not_be_renamed_over() {
    for capabilities in all_stores() {
        let label = capabilities.label;
        let rig = Rig::new(capabilities).await;
        rig.write("a.txt", b"one").await.expect(label);
        rig.settle().await;
        rig.write("tmp.txt", b"new").await.expect(label);
        let disk = rusqlite::Connection::open(rig.dir().join("state/journal.db")).expect(label);
        let trigger = "CREATE TRIGGER on_put BEFORE INSERT ON changes BEGIN SELECT RAISE(ABORT, 'broken'); END";
        disk.execute_batch(trigger).expect(label);
        let renamed = rig.rename("tmp.txt", "a.txt").await;
        assert!(matches!(renamed, Err(Error::Journal(_))), "{label}");
        disk.execute_batch("DROP TRIGGER on_put").expect(label);
        assert_eq!(rig.read("a.txt").await.expect(label), b"one", "{label}");
        rig.settle().await;
        assert_eq!(rig.names("").await, ["a.txt", "tmp.txt"], "{label}");
        assert_eq!(rig.tree().await, rig.stored(), "{label}");
    }
}

/// The truncation counted as the work of a program that never finished: the old bytes were shown again.
#[tokio::test(flavor = "multi_thread")]
async fn truncation_through_a_descriptor_for_reading_stays() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    let ino = rig.write("a.txt", b"bytes").await.expect("write");
    rig.settle().await;
    let how = OpenHow {
        read: true,
        truncate: true,
        ..OpenHow::default()
    };
    let fh = rig.vfs.open(ME, ino, how).await.expect("open").fh;
    rig.vfs.flush(ME, fh).await.expect("flush");
    rig.vfs.release(fh).await;
    assert_eq!(rig.at("a.txt").await.expect("there").size, 0);
    assert_eq!(rig.read("a.txt").await.expect("read"), b"");
    rig.settle().await;
    assert_eq!(
        rig.vfs.sync(None, Some(Duration::ZERO)).await.expect("report").parked,
        0
    );
}

/// The kernel appends where it takes the end to be, which is the beginning where a store does not tell sizes: what was
/// appended overwrote the file.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_appended_to_a_file_of_unknown_size_goes_to_its_end() {
    let rig = Rig::new(presets::like_im4()).await;
    let root = rig.store.remote().root();
    rig.store.remote().put(&root, "a.txt", &b"old"[..]).expect("put");
    let attr = rig.at("a.txt").await.expect("there");
    assert_eq!(attr.size, 0, "nobody tells");
    let how = OpenHow {
        write: true,
        append: true,
        ..OpenHow::default()
    };
    let fh = rig.vfs.open(ME, attr.ino, how).await.expect("open").fh;
    for (at, part) in [(0, &b" and"[..]), (4, &b" new"[..])] {
        let part = Bytes::from_static(part);
        if rig
            .vfs
            .write_quickly(fh, at, &part, Aim::End)
            .expect("written")
            .is_none()
        {
            rig.vfs.write_at(fh, at, part).await.expect("written");
        }
    }
    rig.vfs.flush(ME, fh).await.expect("flush");
    rig.vfs.release(fh).await;
    assert_eq!(rig.read("a.txt").await.expect("read"), b"old and new");
}

//! Lost answers and late listings: each was a way to lose a save, to double it, or to see an old state again.

use std::time::Duration;

use super::rig::{ME, Rig};
use crate::store::memory::{self as presets, Fault, Op};
use crate::store::{Capabilities, CreateFile, Overwrite};
use crate::vfs::{OpenHow, RenameMode};

fn stores_with_versions() -> [Capabilities; 3] {
    [presets::whole(), presets::like_imagerelay(), presets::like_flextype()]
}

/// A stored file whose next version reaches the store while the answer does not reach us.
async fn after_a_lost_answer(capabilities: Capabilities) -> Rig {
    let label = capabilities.label;
    assert_eq!(capabilities.overwrite, Overwrite::Replace, "{label}");
    let rig = Rig::new(capabilities).await;
    rig.write("a.txt", b"one").await.expect(label);
    rig.settle().await;
    rig.store.faults().inject(Op::Replace, 1, Fault::LoseAnswer);
    rig.write("a.txt", b"second").await.expect(label);
    rig.vfs.sync(None, Some(Duration::ZERO)).await.expect(label);
    for _ in 0..2000 {
        if rig.store.faults().calls(Op::Replace) == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    rig.rest().await;
    assert_eq!(
        rig.stored()["/a.txt"],
        Some(b"second".to_vec()),
        "{label}: it was taken"
    );
    rig
}

async fn ends_with(rig: &Rig, bytes: &[u8], replaces: u64) {
    let label = rig.store.shared().capabilities().label;
    rig.settle().await;
    assert_eq!(rig.tree().await, rig.stored(), "{label}");
    assert_eq!(
        rig.stored(),
        [("/a.txt".to_owned(), Some(bytes.to_vec()))].into(),
        "{label}"
    );
    assert_eq!(rig.store.faults().calls(Op::Replace), replaces, "{label}");
    assert_eq!(rig.store.faults().calls(Op::Create), 1, "{label}");
}

/// Our own version, of which we had not heard, was taken for somebody else's: the save became a conflict copy.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_whose_answer_was_lost_is_no_conflict() {
    for capabilities in stores_with_versions() {
        let rig = after_a_lost_answer(capabilities).await;
        ends_with(&rig, b"second", 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_whose_answer_was_lost_is_known_after_a_crash_and_under_newer_bytes() {
    for capabilities in stores_with_versions() {
        let label = capabilities.label;
        let mut rig = after_a_lost_answer(capabilities).await;
        rig.crash().await;
        rig.write("a.txt", b"the third").await.expect(label);
        ends_with(&rig, b"the third", 2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_whose_answer_was_lost_is_known_to_the_file_that_takes_its_place() {
    for capabilities in stores_with_versions() {
        let label = capabilities.label;
        let rig = after_a_lost_answer(capabilities).await;
        rig.write("tmp.txt", b"by rename").await.expect(label);
        rig.rename("tmp.txt", "a.txt").await.expect(label);
        ends_with(&rig, b"by rename", 2).await;
    }
}

/// Somebody else's bytes of the same length, right after a lost answer of ours, must still be told from ours.
#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_version_after_a_lost_answer_is_a_conflict() {
    let rig = after_a_lost_answer(presets::like_imagerelay()).await;
    let id = rig.store.remote().find("a.txt").expect("stored").id;
    rig.store.remote().write(&id, &b"theirs"[..]).expect("written");
    rig.settle().await;
    assert_eq!(rig.stored(), [("/a.txt".to_owned(), Some(b"theirs".to_vec()))].into());
    let tree = rig.tree().await;
    assert_eq!(tree.len(), 2, "{tree:?}");
    assert!(
        tree.values().any(|bytes| bytes.as_deref() == Some(&b"second"[..])),
        "{tree:?}"
    );
}

/// A create is looked for by its bytes: somebody else's file of the same name and length was taken for ours, and our bytes
/// were dropped.
#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_file_is_not_taken_for_a_lost_create() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    rig.names("").await;
    rig.store.faults().inject(
        Op::Create,
        1,
        Fault::Fail(crate::store::ErrorKind::Network, crate::store::Retry::Ambiguous),
    );
    rig.write("a.txt", b"mine").await.expect("write");
    rig.vfs.sync(None, Some(Duration::ZERO)).await.expect("sync");
    rig.rest().await;
    let root = rig.store.remote().root();
    rig.store.remote().put(&root, "a.txt", &b"his!"[..]).expect("put");
    rig.settle().await;
    let mut bytes: Vec<_> = rig
        .store
        .remote()
        .children(&root)
        .iter()
        .filter_map(|e| rig.store.remote().bytes(&e.id))
        .collect();
    bytes.sort();
    assert_eq!(bytes, [&b"his!"[..], b"mine"]);
}

/// The same where the store encodes images anew, and so need not have the bytes that it was sent: of any other file it has.
#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_file_is_not_taken_for_a_lost_create_where_only_images_are_altered() {
    let rig = Rig::new(presets::like_flextype()).await;
    rig.names("").await;
    let lost = Fault::Fail(crate::store::ErrorKind::Network, crate::store::Retry::Ambiguous);
    rig.store.faults().inject(Op::Create, 1, lost);
    rig.write("a.txt", b"mine").await.expect("write");
    rig.vfs.sync(None, Some(Duration::ZERO)).await.expect("sync");
    rig.rest().await;
    let root = rig.store.remote().root();
    rig.store.remote().put(&root, "a.txt", &b"his!"[..]).expect("put");
    rig.settle().await;
    assert_eq!(rig.stored()["/a.txt"], Some(b"his!".to_vec()));
    let waiting = rig.vfs.attention().await.expect("a list");
    assert_eq!(waiting.len(), 1, "ours waits for a person: {waiting:?}");
    assert_eq!(rig.read("a.txt").await.expect("read"), b"mine");
}

/// Where ids are paths, a move that was carried out takes the old id away: the file was then said to be gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_move_whose_answer_was_lost_is_found_at_its_new_place() {
    let rig = Rig::new(presets::like_flextype()).await;
    rig.write("a.txt", b"a").await.expect("write");
    rig.mkdir("d").await.expect("mkdir");
    rig.settle().await;
    for (from, to) in [("a.txt", "b.txt"), ("d", "e")] {
        rig.store.faults().inject(Op::Relocate, 1, Fault::LoseAnswer);
        rig.rename(from, to).await.expect("rename");
        rig.settle().await;
        rig.vfs.refresh("/").await.expect("a listing");
        assert_eq!(rig.tree().await, rig.stored());
    }
    assert_eq!(rig.names("").await, ["b.txt", "e"]);
}

/// A scratch file that changed places with a stored one stayed on this machine although its name was no scratch any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_scratch_file_that_is_exchanged_for_another_reaches_the_store() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    rig.write("b.txt", b"b").await.expect("write");
    rig.write("a.txt~", b"scratch").await.expect("write");
    rig.rename_as(ME, "a.txt~", "b.txt", RenameMode::Exchange)
        .await
        .expect("exchange");
    rig.settle().await;
    assert_eq!(rig.stored()["/b.txt"], Some(b"scratch".to_vec()));
}

/// The name of a stored file that had just taken over an identity was thought to be free, and the file that came under it
/// was refused by the store.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_free_when_the_node_that_took_the_identity_has_left_it() {
    let rig = Rig::new(presets::like_flextype()).await;
    rig.write("a.txt", b"old").await.expect("write");
    rig.settle().await;
    rig.write("b.txt", b"new").await.expect("write");
    rig.rename("b.txt", "a.txt").await.expect("rename");
    rig.write("c.txt", b"other").await.expect("write");
    rig.rename_as(ME, "c.txt", "a.txt", RenameMode::Exchange)
        .await
        .expect("exchange");
    rig.settle().await;
    assert_eq!(rig.tree().await, rig.stored());
    assert_eq!(rig.stored()["/a.txt"], Some(b"other".to_vec()));
    assert_eq!(rig.stored()["/c.txt"], Some(b"new".to_vec()));
}

/// Where ids are paths, a removed file's id is given anew: what was remembered of the removal hid the new file after a
/// restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_is_used_again_is_not_hidden_by_its_last_owners_removal() {
    let mut rig = Rig::new(presets::like_flextype()).await;
    rig.write("b.txt", b"old").await.expect("write");
    rig.settle().await;
    rig.unlink("b.txt").await.expect("unlink");
    rig.write_as(crate::vfs::Caller { pid: 1, ..ME }, "b.txt", b"new")
        .await
        .expect("write");
    rig.settle().await;
    rig.vfs.refresh("/").await.expect("a listing");
    rig.crash().await;
    assert_eq!(rig.names("").await, ["b.txt"]);
    assert_eq!(rig.read("b.txt").await.expect("read"), b"new");
}

/// A listing whose index was late named the file by its old name, or told its old bytes: both were shown again.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_listing_brings_back_neither_old_names_nor_old_bytes() {
    let mut rig = Rig::new(presets::like_imagerelay()).await;
    rig.write("a.txt", b"one").await.expect("write");
    rig.settle().await;
    rig.clock.advance(Duration::from_secs(2000));
    rig.vfs.refresh("/").await.expect("a listing");
    rig.store.turn(|knobs| knobs.listing_lag = Duration::from_secs(300));
    rig.write("a.txt", b"two").await.expect("write");
    rig.settle().await;
    rig.clock.advance(Duration::from_secs(70));
    rig.vfs.refresh("/").await.expect("a listing");
    assert_eq!(rig.read("a.txt").await.expect("read"), b"two");
    rig.rename("a.txt", "b.txt").await.expect("rename");
    rig.settle().await;
    rig.clock.advance(Duration::from_secs(70));
    rig.vfs.refresh("/").await.expect("a listing");
    rig.crash().await;
    rig.vfs.refresh("/").await.expect("a listing");
    assert_eq!(rig.names("").await, ["b.txt"]);
    assert_eq!(rig.read("b.txt").await.expect("read"), b"two");
}

/// Listings of this store tell no sizes: a file that was found by one, after a lost answer, had none.
#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_is_found_by_a_listing_without_sizes_has_its_size() {
    let rig = Rig::new(Capabilities {
        create_file: CreateFile::Anywhere,
        ..presets::like_im4()
    })
    .await;
    rig.store.faults().inject(Op::Create, 1, Fault::LoseAnswer);
    rig.write("a.txt", b"four").await.expect("write");
    rig.settle().await;
    assert_eq!(rig.at("a.txt").await.expect("there").size, 4);
    assert_eq!(rig.stored().len(), 1);
}

/// A file was opened after a restart, while nobody knew yet whether the store had its bytes. It stayed a file with bytes of
/// its own for as long as it was open: new versions did not show, and what was written to it was lost with the next restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_open_when_its_lost_answer_is_found_is_like_any_other() {
    for writes in [false, true] {
        let mut rig = Rig::new(presets::like_imagerelay()).await;
        rig.store.faults().inject(Op::Create, 1, Fault::LoseAnswer);
        rig.write("a.txt", b"first").await.expect("write");
        for _ in 0..3000 {
            if rig.store.faults().calls(Op::Create) > 0 {
                break;
            }
            rig.clock.advance(Duration::from_secs(1));
            rig.rest().await;
        }
        rig.crash().await;
        let ino = rig.at("a.txt").await.expect("there").ino;
        let how = OpenHow {
            read: true,
            ..OpenHow::default()
        };
        let reader = rig.vfs.open(ME, ino, how).await.expect("open").fh;
        rig.settle().await;
        assert_eq!(rig.store.faults().calls(Op::Create), 1);
        if writes {
            rig.write("a.txt", b"second").await.expect("write");
            rig.crash().await;
            rig.settle().await;
            assert_eq!(rig.stored()["/a.txt"], Some(b"second".to_vec()));
        } else {
            let stored = rig.store.remote().find("a.txt").expect("stored");
            rig.clock.advance(Duration::from_secs(2000));
            rig.store.remote().write(&stored.id, &b"theirs"[..]).expect("written");
            rig.clock.advance(Duration::from_secs(2000));
            rig.vfs.refresh("/").await.expect("a listing");
            assert_eq!(rig.read("a.txt").await.expect("read"), b"theirs");
            assert_eq!(&rig.vfs.read(reader, 0, 100).await.expect("read")[..], b"first");
        }
    }
}

/// A machine that has slept, or whose clock was set: the uploader took what was saved for something that is due later than it
/// would look by itself, which was late by as long as the machine had slept.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_saved_after_the_machine_has_slept_is_sent_as_soon_as_ever() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    rig.write("before.txt", b"one").await.expect("written");
    rig.settle().await;
    rig.clock.jump(Duration::from_secs(14 * 3600));
    rig.write("after.txt", b"two").await.expect("written");
    rig.pass(15).await;
    assert_eq!(rig.stored()["/after.txt"], Some(b"two".to_vec()));
}

//! What somebody removed in the store while something here waited to be sent there.

use std::time::Duration;

use super::rig::{Rig, all_stores};
use crate::store::memory::{self as presets, Fault, Op};
use crate::store::{Capabilities, CreateFolder, ErrorKind, Retry};

/// All of them, with folders anywhere.
fn stores() -> [Capabilities; 5] {
    all_stores().map(|capabilities| Capabilities {
        create_folder: CreateFolder::Anywhere,
        ..capabilities
    })
}

async fn parked(rig: &Rig) -> Vec<String> {
    let report = rig.vfs.sync(None, Some(Duration::ZERO)).await.expect("a report");
    assert_eq!(report.parked, report.problems.len(), "{:?}", report.problems);
    report.problems
}

/// One look at the store a minute, for some minutes.
async fn minutes(rig: &Rig, count: u64) {
    for _ in 0..count {
        rig.clock.advance(Duration::from_secs(61));
        rig.rest().await;
        // A folder may be gone itself.
        rig.vfs.refresh("/").await.expect("the root is there");
    }
}

/// A folder with something in it that waits is removed by somebody: it is not made again, and what waits stays to be read.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_file_of_a_folder_that_was_removed_in_the_store_is_parked_and_readable() {
    for looked in [false, true] {
        for capabilities in stores() {
            let label = capabilities.label;
            let mut rig = Rig::new(capabilities).await;
            rig.mkdir("d").await.expect(label);
            rig.settle().await;
            minutes(&rig, 7).await;
            rig.names("d").await;
            let folder = rig.store.remote().find("d").expect(label).id;
            rig.write("d/new.txt", b"mine").await.expect(label);
            rig.store.remote().remove(&folder).expect(label);
            if looked {
                minutes(&rig, 7).await;
            }
            rig.settle().await;
            minutes(&rig, 7).await;
            let problems = parked(&rig).await;
            assert_eq!(problems.len(), 1, "{label}: {problems:?}");
            assert!(problems[0].contains("d/new.txt"), "{label}: {problems:?}");
            assert!(rig.stored().is_empty(), "{label}: it is not made again");
            assert_eq!(rig.read("d/new.txt").await.expect(label), b"mine", "{label}");
            rig.crash().await;
            assert_eq!(rig.read("d/new.txt").await.expect(label), b"mine", "{label}");
            rig.rename("d/new.txt", "new.txt").await.expect(label);
            rig.settle().await;
            minutes(&rig, 7).await;
            assert_eq!(rig.stored()["/new.txt"], Some(b"mine".to_vec()), "{label}");
            assert_eq!(rig.tree().await, rig.stored(), "{label}");
        }
    }
}

/// The same with the next version of a file that is gone with its folder, or by itself.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_version_of_a_file_that_was_removed_in_the_store_is_parked_and_readable() {
    for whole_folder in [false, true] {
        for capabilities in stores() {
            let label = capabilities.label;
            let rig = Rig::new(capabilities).await;
            rig.mkdir("d").await.expect(label);
            rig.write("d/old.txt", b"old").await.expect(label);
            rig.settle().await;
            minutes(&rig, 7).await;
            rig.names("d").await;
            let gone = if whole_folder { "d" } else { "d/old.txt" };
            let gone = rig.store.remote().find(gone).expect(label).id;
            rig.write("d/old.txt", b"mine").await.expect(label);
            rig.store.remote().remove(&gone).expect(label);
            let creates = rig.store.faults().calls(Op::Create);
            rig.settle().await;
            minutes(&rig, 7).await;
            let problems = parked(&rig).await;
            assert_eq!(problems.len(), 1, "{label}: {problems:?}");
            assert!(problems[0].contains("d/old.txt"), "{label}: {problems:?}");
            assert_eq!(rig.read("d/old.txt").await.expect(label), b"mine", "{label}");
            assert_eq!(rig.store.faults().calls(Op::Create), creates, "{label}");
        }
    }
}

/// A service that is busy says now and then that something is not there. Once is no proof, of nothing.
#[tokio::test(flavor = "multi_thread")]
async fn not_found_is_believed_only_when_it_is_said_again_a_minute_later() {
    let not_found = || Fault::Fail(ErrorKind::NotFound, Retry::Never);
    for op in [
        Op::Replace,
        Op::Remove,
        Op::Relocate,
        Op::SetFields,
        Op::Create,
        Op::CreateFolder,
    ] {
        let rig = Rig::new(presets::like_imagerelay()).await;
        rig.mkdir("d").await.expect("mkdir");
        let ino = rig.write("a.txt", b"a").await.expect("write");
        rig.settle().await;
        rig.store.faults().inject(op, 1, not_found());
        match op {
            Op::Replace => rig.write("a.txt", b"next").await.map(drop).expect("write"),
            Op::Remove => rig.unlink("a.txt").await.expect("unlink"),
            Op::Relocate => rig.rename("a.txt", "d/a.txt").await.expect("rename"),
            Op::SetFields => rig
                .vfs
                .setxattr(super::rig::ME, ino, "user.memory.credit", b"Anna", Default::default())
                .await
                .expect("set"),
            Op::Create => rig.write("b.txt", b"b").await.map(drop).expect("write"),
            _ => rig.mkdir("e").await.map(drop).expect("mkdir"),
        }
        let calls = rig.store.faults().calls(op);
        rig.settle().await;
        minutes(&rig, 10).await;
        assert_eq!(rig.store.faults().calls(op), calls + 2, "{op:?}: asked once more");
        assert_eq!(parked(&rig).await, Vec::<String>::new(), "{op:?}");
        assert_eq!(rig.tree().await, rig.stored(), "{op:?}");
        assert_eq!(
            rig.stored().contains_key("/a.txt"),
            !matches!(op, Op::Remove | Op::Relocate)
        );
    }
}

/// Somebody had moved a file to another folder when its removal here was sent: it was removed from there, too.
#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_moved_elsewhere_is_not_removed_from_there() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    rig.mkdir("d").await.expect("mkdir");
    rig.mkdir("e").await.expect("mkdir");
    rig.write("d/a.txt", b"a").await.expect("write");
    rig.settle().await;
    rig.names("d").await;
    minutes(&rig, 7).await;
    let (file, folder) = (rig.store.remote().find("d/a.txt"), rig.store.remote().find("e"));
    let (file, folder) = (file.expect("stored").id, folder.expect("stored").id);
    rig.unlink("d/a.txt").await.expect("unlink");
    rig.store.remote().place(&file, &[folder]).expect("moved");
    rig.settle().await;
    rig.vfs.refresh("e").await.expect("a listing");
    assert_eq!(rig.stored()["/e/a.txt"], Some(b"a".to_vec()));
    assert_eq!(rig.tree().await, rig.stored());
}

/// The catalog heard of the inode that an item moves to before the journal moved what waits for it, and a removal in between
/// was overwritten by that: the file came back.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_removed_while_it_gets_another_inode_stays_removed() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    rig.write("a.txt", b"bytes").await.expect("saved");
    rig.settle().await;
    let ino = rig.at("a.txt").await.expect("there").ino;
    let set = rig
        .vfs
        .setxattr(super::rig::ME, ino, "user.memory.credit", b"Anna", Default::default());
    set.await.expect("set");
    let id = rig.vfs.node(ino).expect("known").id.expect("stored");
    let new = rig.vfs.journal.allocate().expect("an inode");
    rig.vfs.catalog.set_ino(&id, new).expect("moved");
    rig.unlink("a.txt").await.expect("removed");
    let change = rig.vfs.journal.change(ino).expect("it waits for the item");
    assert!(change.is_removal(), "{change:?}");
    assert!(rig.vfs.journal.change(new).is_none());
    rig.settle().await;
    assert!(rig.stored().is_empty());
}

//! Copies that the store is to make by itself: what they are copies of may change before it has.

use std::time::Duration;

use bytes::Bytes;

use super::rig::{ME, Rig, all_stores};
use crate::journal::World;
use crate::model::ItemId;
use crate::store::memory as presets;
use crate::store::memory::{Fault, Op};
use crate::store::{Capabilities, ErrorKind, Retry};
use crate::vfs::{OpenHow, RenameMode};

/// The stores that make copies by themselves.
fn copying_stores() -> impl Iterator<Item = Capabilities> {
    all_stores().into_iter().filter(|store| store.server_copy.is_yes())
}

/// A file in a folder, and another folder.
async fn rig(store: Capabilities) -> Rig {
    let rig = Rig::new(store).await;
    rig.mkdir("d").await.expect("mkdir");
    rig.mkdir("e").await.expect("mkdir");
    rig.write("d/a.txt", b"old bytes").await.expect("write");
    rig.settle().await;
    rig
}

async fn id_of(rig: &Rig, path: &str) -> ItemId {
    let ino = rig.at(path).await.expect("there").ino;
    let node = rig.vfs.node(ino).expect("known");
    node.id.expect("in the store")
}

async fn ends_with(rig: &Rig, files: &[(&str, &[u8])]) {
    rig.settle().await;
    let problems = rig.vfs.attention().await.expect("a list");
    assert!(problems.is_empty(), "{problems:?}");
    let stored = rig.stored();
    let stored: Vec<(&str, &[u8])> = stored
        .iter()
        .filter_map(|(path, bytes)| Some((path.as_str(), bytes.as_deref()?)))
        .collect();
    assert_eq!(stored, files);
    for (path, bytes) in files {
        assert_eq!(
            rig.read(path.trim_start_matches('/')).await.expect("read"),
            *bytes,
            "{path}"
        );
    }
}

/// The removal could reach the store before the copy was asked for, and nobody had the bytes any more.
#[tokio::test]
async fn what_is_copied_is_removed_only_afterwards() {
    for store in copying_stores() {
        let rig = rig(store).await;
        rig.copy("d/a.txt", "e/a.txt").await.expect("copied");
        rig.unlink("d/a.txt").await.expect("unlinked");
        ends_with(&rig, &[("/e/a.txt", b"old bytes")]).await;
        assert_eq!(rig.store.faults().calls(Op::Copy), 1, "no bytes were sent for it");
        assert_eq!(rig.store.faults().calls(Op::Create), 1, "no bytes were sent for it");
    }
}

#[tokio::test]
async fn a_copy_is_one_of_what_there_was_when_it_was_made() {
    for store in copying_stores() {
        let rig = rig(store).await;
        // What is written later has every chance to be sent first.
        let refused = Fault::Fail(ErrorKind::Network, Retry::After(Duration::from_secs(30)));
        rig.store.faults().inject(Op::Copy, 1, refused);
        rig.copy("d/a.txt", "e/a.txt").await.expect("copied");
        rig.write("d/a.txt", b"new bytes, more of them").await.expect("write");
        assert_eq!(rig.read("e/a.txt").await.expect("read"), b"old bytes");
        ends_with(
            &rig,
            &[("/d/a.txt", b"new bytes, more of them"), ("/e/a.txt", b"old bytes")],
        )
        .await;
        assert_eq!(rig.store.faults().calls(Op::Copy), 2);
    }
}

/// It read from the very file that was written to.
#[tokio::test]
async fn who_has_a_copy_open_does_not_see_what_is_written_to_the_other() {
    for store in copying_stores() {
        let rig = rig(store).await;
        rig.copy("d/a.txt", "e/a.txt").await.expect("copied");
        let how = OpenHow {
            read: true,
            ..OpenHow::default()
        };
        let copy = rig.at("e/a.txt").await.expect("there");
        let copy = rig.vfs.open(ME, copy.ino, how).await.expect("opens").fh;
        let how = OpenHow { write: true, ..how };
        let other = rig.at("d/a.txt").await.expect("there");
        let other = rig.vfs.open(ME, other.ino, how).await.expect("opens").fh;
        rig.vfs.write_at(other, 0, Bytes::from("NEW")).await.expect("written");
        assert_eq!(rig.vfs.read(copy, 0, 100).await.expect("read"), "old bytes");
        rig.vfs.flush(ME, other).await.expect("flushed");
        rig.vfs.release(other).await;
        rig.settle().await;
        assert_eq!(rig.vfs.read(copy, 0, 100).await.expect("read"), "old bytes");
        rig.vfs.release(copy).await;
        ends_with(&rig, &[("/d/a.txt", b"NEW bytes"), ("/e/a.txt", b"old bytes")]).await;
    }
}

/// The copy waited for its name, which the file that it is a copy of was to leave, and that one waited for the copy.
#[tokio::test]
async fn a_copy_that_comes_back_to_the_name_of_the_file_takes_bytes_of_its_own() {
    for store in copying_stores() {
        let rig = rig(store).await;
        rig.copy("d/a.txt", "e/a.txt").await.expect("copied");
        rig.unlink("d/a.txt").await.expect("unlinked");
        rig.rename_as(ME, "e/a.txt", "d/a.txt", RenameMode::Replace)
            .await
            .expect("renamed");
        ends_with(&rig, &[("/d/a.txt", b"old bytes")]).await;
    }
}

/// The folder that the copy is to be in is made under the name that the file leaves: three wait in a circle.
#[tokio::test]
async fn a_copy_below_the_name_of_the_file_takes_bytes_of_its_own() {
    for store in copying_stores() {
        let rig = rig(store).await;
        rig.copy("d/a.txt", "e/a.txt").await.expect("copied");
        rig.unlink("d/a.txt").await.expect("unlinked");
        rig.mkdir("d/a.txt").await.expect("mkdir");
        rig.rename_as(ME, "e/a.txt", "d/a.txt/a.txt", RenameMode::Replace)
            .await
            .expect("renamed");
        ends_with(&rig, &[("/d/a.txt/a.txt", b"old bytes")]).await;
    }
}

/// Moved aside, copied to the name, and the one aside removed: the copy is the next version of that asset. Nothing was
/// sent for it, and the old bytes stayed.
#[tokio::test]
async fn a_copy_that_is_a_save_becomes_the_next_version() {
    for store in copying_stores() {
        let rig = rig(store).await;
        rig.write("e/a.txt", b"what is saved").await.expect("write");
        rig.settle().await;
        let before = id_of(&rig, "d/a.txt").await;
        rig.rename_as(ME, "d/a.txt", "d/a.txt~", RenameMode::Replace)
            .await
            .expect("renamed");
        rig.copy("e/a.txt", "d/a.txt").await.expect("copied");
        rig.unlink("d/a.txt~").await.expect("unlinked");
        assert_eq!(rig.read("d/a.txt").await.expect("read"), b"what is saved");
        ends_with(&rig, &[("/d/a.txt", b"what is saved"), ("/e/a.txt", b"what is saved")]).await;
        assert_eq!(id_of(&rig, "d/a.txt").await, before);
    }
}

/// It is a file that was never published, renamed over one that was: the same asset, with another version.
#[tokio::test]
async fn a_copy_renamed_over_a_file_becomes_its_next_version() {
    for store in copying_stores() {
        let rig = rig(store).await;
        rig.write("e/b.txt", b"to be replaced").await.expect("write");
        rig.settle().await;
        let before = id_of(&rig, "e/b.txt").await;
        rig.copy("d/a.txt", "e/a.txt").await.expect("copied");
        rig.rename_as(ME, "e/a.txt", "e/b.txt", RenameMode::Replace)
            .await
            .expect("renamed");
        ends_with(&rig, &[("/d/a.txt", b"old bytes"), ("/e/b.txt", b"old bytes")]).await;
        assert_eq!(id_of(&rig, "e/b.txt").await, before);
    }
}

/// Others were faster. The bytes that were copied are still here.
#[tokio::test]
async fn a_copy_of_what_others_have_changed_is_one_of_what_was_here() {
    for store in copying_stores() {
        for removed in [false, true] {
            let rig = rig(store.clone()).await;
            rig.read("d/a.txt").await.expect("read");
            let id = id_of(&rig, "d/a.txt").await;
            rig.copy("d/a.txt", "e/a.txt").await.expect("copied");
            match removed {
                true => rig.store.remote().remove(&id).is_ok(),
                false => rig.store.remote().write(&id, Bytes::from("theirs, longer")).is_ok(),
            };
            rig.vfs.refresh("d").await.expect("listed");
            rig.settle().await;
            let stored = rig.stored();
            assert_eq!(
                stored["/e/a.txt"].as_deref(),
                Some(&b"old bytes"[..]),
                "removed: {removed}"
            );
        }
    }
}

/// Nobody has the bytes any more: it is said, and no other ones are passed off as those.
#[tokio::test]
async fn a_copy_of_what_nobody_has_any_more_is_parked() {
    let theirs = ["theirs, longer", "new bytes"];
    for (store, theirs) in copying_stores().flat_map(|store| theirs.map(|theirs| (store.clone(), theirs))) {
        let mut rig = rig(store).await;
        rig.crash_without_cache().await;
        rig.names("d").await;
        let id = id_of(&rig, "d/a.txt").await;
        rig.copy("d/a.txt", "e/a.txt").await.expect("copied");
        rig.store.remote().write(&id, Bytes::from(theirs)).expect("written");
        rig.vfs.refresh("d").await.expect("listed");
        rig.settle().await;
        let waiting = rig.vfs.attention().await.expect("a list");
        assert_eq!(waiting.len(), 1, "{waiting:?}");
        assert!(waiting[0].reason.contains("copy it again"), "{waiting:?}");
        assert!(!rig.stored().contains_key("/e/a.txt"));
        let time = async {
            loop {
                rig.clock.advance(Duration::from_secs(1));
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let replaced = tokio::select! {
            replaced = rig.rename_as(ME, "e/a.txt", "d/a.txt", RenameMode::Replace) => replaced,
            () = time => unreachable!(),
        };
        assert!(replaced.is_err(), "what it would replace stays");
        rig.unlink("d/a.txt").await.expect("unlinked");
        rig.settle().await;
        assert!(
            !rig.stored().contains_key("/d/a.txt"),
            "what cannot be copied holds nothing up"
        );
    }
}

/// It cannot be made for now. What it is a copy of is removed all the same, once its bytes are here.
#[tokio::test]
async fn a_copy_that_is_parked_holds_nothing_up() {
    let rig = rig(presets::like_imagerelay()).await;
    let fault = Fault::Fail(ErrorKind::Denied, Retry::Never);
    rig.store.faults().inject(Op::Copy, 1, fault);
    rig.copy("d/a.txt", "e/a.txt").await.expect("copied");
    rig.settle().await;
    assert_eq!(rig.vfs.attention().await.expect("a list").len(), 1);
    rig.unlink("d/a.txt").await.expect("unlinked");
    rig.settle().await;
    assert!(!rig.stored().contains_key("/d/a.txt"));
    assert_eq!(rig.read("e/a.txt").await.expect("read"), b"old bytes");
    assert_eq!(rig.vfs.retry(None).await.expect("retried"), 1);
    ends_with(&rig, &[("/e/a.txt", b"old bytes")]).await;
}

/// The journal is all that tells of it: a close makes that durable.
#[tokio::test]
async fn a_copy_survives_a_crash_and_knows_its_length() {
    for store in copying_stores() {
        let mut rig = rig(store).await;
        rig.copy("d/a.txt", "e/a.txt").await.expect("copied");
        assert_eq!(rig.at("e/a.txt").await.expect("there").size, 9);
        rig.crash().await;
        assert_eq!(rig.at("e/a.txt").await.expect("there").size, 9);
        ends_with(&rig, &[("/d/a.txt", b"old bytes"), ("/e/a.txt", b"old bytes")]).await;
    }
}

/// Made elsewhere and moved to a name that the same program has just freed: nothing was sent, and the old bytes came back.
#[tokio::test]
async fn a_copy_that_takes_a_name_up_again_is_the_next_version() {
    for store in copying_stores() {
        for aside in [false, true] {
            let rig = rig(store.clone()).await;
            rig.mkdir("f").await.expect("mkdir");
            rig.write("e/a.txt", b"what is saved").await.expect("write");
            rig.settle().await;
            let before = id_of(&rig, "d/a.txt").await;
            let first = async || match aside {
                true => rig.rename("d/a.txt", "d/a.txt~").await,
                false => rig.unlink("d/a.txt").await,
            };
            if aside {
                first().await.expect("done");
                rig.copy("e/a.txt", "f/a.txt").await.expect("copied");
            } else {
                rig.copy("e/a.txt", "f/a.txt").await.expect("copied");
                rig.unlink("e/a.txt").await.expect("unlinked");
                first().await.expect("done");
            }
            rig.rename("f/a.txt", "d/a.txt").await.expect("renamed");
            if aside {
                rig.unlink("d/a.txt~").await.expect("unlinked");
                rig.unlink("e/a.txt").await.expect("unlinked");
            }
            ends_with(&rig, &[("/d/a.txt", b"what is saved")]).await;
            assert_eq!(id_of(&rig, "d/a.txt").await, before, "aside: {aside}");
        }
    }
}

/// Its bytes are on the disk before what it is a copy of may go.
#[tokio::test]
async fn a_copy_that_is_written_to_keeps_its_bytes_when_the_daemon_dies() {
    for store in copying_stores() {
        let mut rig = rig(store).await;
        rig.copy("d/a.txt", "e/a.txt").await.expect("copied");
        rig.unlink("d/a.txt").await.expect("unlinked");
        let ino = rig.at("e/a.txt").await.expect("there").ino;
        let how = OpenHow {
            write: true,
            ..OpenHow::default()
        };
        let copy = rig.vfs.open(ME, ino, how).await.expect("opens").fh;
        rig.vfs.write_at(copy, 9, Bytes::from(", more")).await.expect("written");
        rig.crash().await;
        rig.settle().await;
        assert_eq!(rig.read("e/a.txt").await.expect("read"), b"old bytes, more");
        assert_eq!(rig.vfs.retry(None).await.expect("retried"), 1);
        ends_with(&rig, &[("/e/a.txt", b"old bytes, more")]).await;
    }
}

/// It had begun to fetch bytes for the copy when a program wrote to that: the body was changed under the program.
#[tokio::test]
async fn a_copy_that_is_written_to_is_left_alone() {
    for store in copying_stores() {
        let rig = rig(store).await;
        rig.copy("d/a.txt", "e/a.txt").await.expect("copied");
        let ino = rig.at("e/a.txt").await.expect("there").ino;
        let source = rig.vfs.journal.change(ino).and_then(|change| change.copy_of.clone());
        let how = OpenHow {
            write: true,
            ..OpenHow::default()
        };
        let copy = rig.vfs.open(ME, ino, how).await.expect("opens").fh;
        rig.vfs.write_at(copy, 0, Bytes::from("OLD")).await.expect("written");
        let taken = World::take_bytes(&rig.vfs, ino, &source.expect("a copy")).await;
        taken.expect("nothing to be done");
        rig.vfs.write_at(copy, 9, Bytes::from(", more")).await.expect("written");
        rig.vfs.flush(ME, copy).await.expect("flushed");
        rig.vfs.release(copy).await;
        ends_with(&rig, &[("/d/a.txt", b"old bytes"), ("/e/a.txt", b"OLD bytes, more")]).await;
    }
}

#[tokio::test]
async fn a_copy_is_written_anew_without_a_look_at_what_it_was_to_be() {
    for store in copying_stores() {
        let mut rig = rig(store).await;
        rig.crash_without_cache().await;
        rig.names("d").await;
        rig.copy("d/a.txt", "e/a.txt").await.expect("copied");
        rig.write("e/a.txt", b"another").await.expect("written");
        assert_eq!(rig.store.faults().calls(Op::Read), 0);
        ends_with(&rig, &[("/d/a.txt", b"old bytes"), ("/e/a.txt", b"another")]).await;
        assert_eq!(rig.store.faults().calls(Op::Copy), 0);
    }
}

/// Others had removed it, and nobody had heard of that here: the uploader asked for its bytes without end.
#[tokio::test]
async fn what_others_have_removed_before_it_was_copied_holds_nothing_up() {
    for store in copying_stores() {
        let mut rig = rig(store).await;
        rig.crash_without_cache().await;
        rig.names("d").await;
        let id = id_of(&rig, "d/a.txt").await;
        rig.copy("d/a.txt", "e/a.txt").await.expect("copied");
        rig.store.remote().remove(&id).expect("removed");
        rig.settle().await;
        rig.unlink("d/a.txt").await.expect("unlinked");
        rig.settle().await;
        let asked = rig.store.faults().calls_total();
        assert!(asked < 60, "{asked} requests");
        assert_eq!(rig.vfs.attention().await.expect("a list").len(), 1, "the copy");
        assert!(rig.stored().keys().all(|path| !path.ends_with("a.txt")));
    }
}

/// Where ids are paths, what is copied may be on its way to another one.
#[tokio::test]
async fn a_copy_of_what_is_being_moved_is_one_of_what_it_becomes() {
    for store in copying_stores() {
        let mut rig = rig(store).await;
        rig.crash_without_cache().await;
        rig.names("d").await;
        let faults = rig.store.faults();
        let before = faults.calls(Op::Relocate) + faults.calls(Op::Replace);
        faults.inject(Op::Relocate, 1, Fault::Wait);
        faults.inject(Op::Replace, 1, Fault::Wait);
        rig.rename("d/a.txt", "d/b.txt").await.expect("renamed");
        for _ in 0..1000 {
            if rig.store.faults().calls(Op::Relocate) + rig.store.faults().calls(Op::Replace) > before {
                break;
            }
            rig.clock.advance(Duration::from_millis(100));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        rig.copy("d/b.txt", "e/b.txt").await.expect("copied");
        rig.unlink("d/b.txt").await.expect("unlinked");
        rig.store.faults().clear();
        rig.store.faults().release();
        ends_with(&rig, &[("/e/b.txt", b"old bytes")]).await;
    }
}

/// Its folder waits for the user, and so did every save of the file that was copied into it.
#[tokio::test]
async fn a_copy_behind_what_is_parked_holds_nothing_up() {
    let folders = ["p", "p/q"];
    for (store, folder) in copying_stores().flat_map(|store| folders.map(|folder| (store.clone(), folder))) {
        let rig = rig(store).await;
        let refused = Fault::Fail(ErrorKind::Denied, Retry::Never);
        rig.store.faults().inject(Op::CreateFolder, 1, refused);
        rig.mkdir("p").await.expect("mkdir");
        rig.mkdir("p/q").await.expect("mkdir");
        let copy = format!("{folder}/a.txt");
        rig.copy("d/a.txt", &copy).await.expect("copied");
        rig.write("d/a.txt", b"new").await.expect("written");
        rig.settle().await;
        assert_eq!(rig.stored()["/d/a.txt"].as_deref(), Some(&b"new"[..]), "{folder}");
        rig.vfs.retry(None).await.expect("retried");
        ends_with(&rig, &[("/d/a.txt", b"new"), (&format!("/{copy}"), b"old bytes")]).await;
    }
}

/// A copy that was removed before it was made, and is still read: a write to what it is a copy of was refused.
#[tokio::test]
async fn who_reads_a_removed_copy_hinders_nobody_and_reads_on() {
    for store in copying_stores() {
        let rig = rig(store).await;
        rig.copy("d/a.txt", "e/a.txt").await.expect("copied");
        let how = OpenHow {
            read: true,
            ..OpenHow::default()
        };
        let ino = rig.at("e/a.txt").await.expect("there").ino;
        let copy = rig.vfs.open(ME, ino, how).await.expect("opens").fh;
        rig.unlink("e/a.txt").await.expect("unlinked");
        rig.write("d/a.txt", b"new bytes").await.expect("written");
        assert_eq!(rig.vfs.read(copy, 0, 100).await.expect("read"), "old bytes");
        rig.vfs.release(copy).await;
        ends_with(&rig, &[("/d/a.txt", b"new bytes")]).await;
    }
}

/// Only where it becomes the next version of another file does it take bytes: not because a name was free once.
#[tokio::test]
async fn a_copy_is_renamed_without_its_bytes() {
    for store in copying_stores() {
        let mut rig = rig(store).await;
        rig.write("d/b.txt", b"to be removed").await.expect("write");
        rig.settle().await;
        rig.crash_without_cache().await;
        rig.names("d").await;
        rig.unlink("d/b.txt").await.expect("unlinked");
        rig.clock.advance(Duration::from_secs(100));
        rig.rest().await;
        rig.copy("d/a.txt", "e/a.txt").await.expect("copied");
        let other = crate::vfs::Caller { pid: 1, ..ME };
        rig.rename_as(other, "e/a.txt", "d/b.txt", RenameMode::NoReplace)
            .await
            .expect("renamed");
        assert_eq!(rig.store.faults().calls(Op::Read), 0);
        ends_with(&rig, &[("/d/a.txt", b"old bytes"), ("/d/b.txt", b"old bytes")]).await;
    }
}

/// The store made it while a program began to write to it: the save is based on what was made.
#[tokio::test]
async fn a_copy_that_is_made_while_it_is_written_to_is_saved_as_its_next_version() {
    for store in copying_stores() {
        let mut rig = rig(store).await;
        rig.crash_without_cache().await;
        rig.names("d").await;
        rig.store.faults().inject(Op::Copy, 1, Fault::Wait);
        rig.copy("d/a.txt", "e/a.txt").await.expect("copied");
        for _ in 0..1000 {
            if rig.store.faults().calls(Op::Copy) > 0 {
                break;
            }
            rig.clock.advance(Duration::from_millis(100));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let ino = rig.at("e/a.txt").await.expect("there").ino;
        let how = OpenHow {
            write: true,
            ..OpenHow::default()
        };
        let copy = rig.vfs.open(ME, ino, how).await.expect("opens").fh;
        rig.store.faults().inject(Op::Read, 1, Fault::Wait);
        let write = rig.vfs.write_at(copy, 9, Bytes::from(", more"));
        let made = async {
            // While the bytes are on their way the answer comes.
            rig.store.faults().release();
            for _ in 0..200 {
                rig.rest().await;
                rig.store.faults().release();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let (written, ()) = tokio::join!(write, made);
        written.expect("written");
        rig.vfs.flush(ME, copy).await.expect("flushed");
        rig.vfs.release(copy).await;
        let change = rig.vfs.journal.change(ino).expect("to be sent");
        if let (Some(_), Some(staged)) = (&change.id, &change.staged) {
            assert!(staged.base.is_some(), "others' changes would not be noticed");
        }
        ends_with(&rig, &[("/d/a.txt", b"old bytes"), ("/e/a.txt", b"old bytes, more")]).await;
    }
}

//! What others do to a file that has changes waiting here: ours follow the item, and only bytes can be in conflict.

use std::collections::BTreeMap;
use std::time::Duration;

use super::rig::{ME, Rig, all_stores};
use crate::model::Entry;
use crate::store::memory::{self as presets, Fault, Op};
use crate::store::{Capabilities, IdScheme, Sizes, Support};
use crate::vfs::{Fh, Keep, OpenHow};

const OLD: &[u8] = b"old";
const NEW: &[u8] = b"new and longer";

/// Somebody reads `a.txt`, in a drive that has nothing to send.
async fn being_read(capabilities: Capabilities) -> (Rig, Entry, Fh) {
    let rig = Rig::new(capabilities).await;
    let remote = rig.store.remote();
    let file = remote.put(&remote.root(), "a.txt", OLD).expect("put");
    remote.mkdir(&remote.root(), "d").expect("a folder");
    let ino = rig.at("a.txt").await.expect("there").ino;
    let how = OpenHow {
        read: true,
        ..OpenHow::default()
    };
    let reader = rig.vfs.open(ME, ino, how).await.expect("open").fh;
    assert_eq!(&rig.vfs.read(reader, 0, 100).await.expect("read")[..], OLD);
    (rig, file, reader)
}

/// Somebody else writes a new version, and the drive hears of it, before anything of ours is sent.
async fn others_write(rig: &Rig, file: &Entry) {
    rig.clock.advance(Duration::from_secs(1));
    rig.store.remote().write(&file.id, NEW).expect("written");
    rig.vfs.refresh("/").await.expect("a listing");
}

/// Everything is in the store, and looks there as it does here.
async fn ends_with(rig: &Rig, label: &str, files: &[(&str, &[u8])]) {
    rig.settle().await;
    let report = rig.vfs.sync(None, Some(Duration::ZERO)).await.expect("a report");
    assert_eq!((report.parked, report.held), (0, 0), "{label}: {:?}", report.problems);
    rig.clock.advance(Duration::from_secs(2000));
    rig.vfs.refresh("/").await.expect("a listing");
    let mut wanted: BTreeMap<String, Option<Vec<u8>>> = BTreeMap::from([("/d".to_owned(), None)]);
    wanted.extend(
        files
            .iter()
            .map(|(path, bytes)| ((*path).to_owned(), Some(bytes.to_vec()))),
    );
    assert_eq!(rig.stored(), wanted, "{label}");
    assert_eq!(rig.tree().await, wanted, "{label}");
}

async fn still_reads_the_old_version(rig: &Rig, reader: Fh, label: &str) {
    assert_eq!(&rig.vfs.read(reader, 0, 100).await.expect(label)[..], OLD, "{label}");
}

/// The pending rename stayed with the inode that the reader keeps: the file came back under its old name, and the rename
/// ended as a conflict copy without any bytes of ours.
#[tokio::test(flavor = "multi_thread")]
async fn a_rename_follows_the_item_to_the_new_version_of_an_open_file() {
    for capabilities in all_stores() {
        let label = capabilities.label;
        let (rig, file, reader) = being_read(capabilities).await;
        rig.rename("a.txt", "b.txt").await.expect(label);
        others_write(&rig, &file).await;
        assert_eq!(rig.names("").await, ["b.txt", "d"], "{label}");
        assert_eq!(rig.read("b.txt").await.expect(label), NEW, "{label}");
        still_reads_the_old_version(&rig, reader, label).await;
        ends_with(&rig, label, &[("/b.txt", NEW)]).await;
        still_reads_the_old_version(&rig, reader, label).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_follows_the_item_to_the_new_version_of_an_open_file() {
    for capabilities in all_stores() {
        let label = capabilities.label;
        let (rig, file, reader) = being_read(capabilities).await;
        rig.rename("a.txt", "d/c.txt").await.expect(label);
        others_write(&rig, &file).await;
        ends_with(&rig, label, &[("/d/c.txt", NEW)]).await;
        still_reads_the_old_version(&rig, reader, label).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_follow_the_item_to_the_new_version_of_an_open_file() {
    for capabilities in all_stores() {
        let label = capabilities.label;
        let (rig, file, reader) = being_read(capabilities).await;
        let ino = rig.at("a.txt").await.expect(label).ino;
        let set = rig
            .vfs
            .setxattr(ME, ino, "user.memory.credit", b"me", Default::default());
        set.await.expect(label);
        others_write(&rig, &file).await;
        ends_with(&rig, label, &[("/a.txt", NEW)]).await;
        let stored = rig.store.remote().find("a.txt").expect(label);
        assert_eq!(stored.fields["credit"].values, ["me".into()], "{label}");
        still_reads_the_old_version(&rig, reader, label).await;
    }
}

/// The name is free for others at once, and what it stood for goes, whatever bytes it has got.
#[tokio::test(flavor = "multi_thread")]
async fn a_removal_follows_the_item_to_the_new_version_of_an_open_file() {
    for capabilities in all_stores() {
        let label = capabilities.label;
        let (rig, file, reader) = being_read(capabilities).await;
        rig.unlink("a.txt").await.expect(label);
        others_write(&rig, &file).await;
        assert_eq!(rig.names("").await, ["d"], "{label}");
        ends_with(&rig, label, &[]).await;
        still_reads_the_old_version(&rig, reader, label).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_save_does_not_follow_but_is_a_conflict() {
    for capabilities in all_stores() {
        let label = capabilities.label;
        let (rig, file, _reader) = being_read(capabilities).await;
        rig.write("a.txt", b"ours").await.expect(label);
        others_write(&rig, &file).await;
        rig.settle().await;
        let names = rig.names("").await;
        assert_eq!(names.len(), 3, "{label}: {names:?}");
        let copy = names.iter().find(|name| name.starts_with("a (conflict ")).expect(label);
        assert_eq!(rig.read(copy).await.expect(label), b"ours", "{label}");
        assert_eq!(rig.read("a.txt").await.expect(label), NEW, "{label}");
        assert_eq!(rig.stored()["/a.txt"], Some(NEW.to_vec()), "{label}");
    }
}

/// A rename that sends the bytes again was told that they are not the newest, and ended as a conflict copy, or parked.
#[tokio::test(flavor = "multi_thread")]
async fn a_rename_of_what_others_have_written_unseen_takes_their_bytes_along() {
    for capabilities in all_stores() {
        for is_cached in [false, true] {
            let label = format!("{} {is_cached}", capabilities.label);
            let rig = Rig::new(capabilities.clone()).await;
            let remote = rig.store.remote();
            let file = remote.put(&remote.root(), "a.txt", OLD).expect("put");
            remote.mkdir(&remote.root(), "d").expect("a folder");
            rig.names("").await;
            if is_cached {
                assert_eq!(rig.read("a.txt").await.expect(&label), OLD);
            }
            rig.rename("a.txt", "b.txt").await.expect(&label);
            remote.write(&file.id, NEW).expect("written");
            ends_with(&rig, &label, &[("/b.txt", NEW)]).await;
        }
    }
}

/// The request for the rename is under way for the old inode when the new version gets its own.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_for_the_old_inode_is_not_sent_a_second_time_for_the_new_one() {
    for (capabilities, op) in [
        (presets::whole(), Op::Relocate),
        (presets::like_imagerelay(), Op::Replace),
        (presets::like_flextype(), Op::Relocate),
    ] {
        let label = capabilities.label;
        let (rig, file, reader) = being_read(capabilities).await;
        rig.store.faults().inject(op, 1, Fault::Wait);
        rig.rename("a.txt", "b.txt").await.expect(label);
        for _ in 0..3000 {
            if rig.store.faults().calls(op) > 0 {
                break;
            }
            rig.clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        others_write(&rig, &file).await;
        for _ in 0..20 {
            rig.clock.advance(Duration::from_secs(1));
            rig.rest().await;
        }
        assert_eq!(rig.store.faults().calls(op), 1, "{label}");
        rig.store.faults().release();
        ends_with(&rig, label, &[("/b.txt", NEW)]).await;
        still_reads_the_old_version(&rig, reader, label).await;
    }
}

/// What was pending for an item that the catalog did not know was taken for removed by somebody, and parked: the catalog may
/// be deleted at any time, and nobody need have looked at the drive since.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_sent_after_the_cache_was_lost_and_nobody_has_looked() {
    for capabilities in all_stores() {
        let label = capabilities.label;
        let mut rig = Rig::new(capabilities).await;
        let remote = rig.store.remote();
        remote.mkdir(&remote.root(), "d").expect("a folder");
        for name in ["saved.txt", "renamed.txt", "gone.txt"] {
            rig.write(name, OLD).await.expect(label);
        }
        rig.settle().await;
        rig.write("saved.txt", NEW).await.expect(label);
        rig.write("d/new.txt", NEW).await.expect(label);
        rig.rename("renamed.txt", "d/named.txt").await.expect(label);
        rig.unlink("gone.txt").await.expect(label);
        rig.crash_without_cache().await;
        let renamed = rig.at("d/named.txt").await.expect(label);
        if rig.vfs.store().capabilities().sizes == Sizes::Known {
            assert_eq!(renamed.size, OLD.len() as u64, "{label}");
        }
        assert_eq!(rig.read("d/named.txt").await.expect(label), OLD, "{label}");
        rig.crash_without_cache().await;
        let all: [(&str, &[u8]); 3] = [("/saved.txt", NEW), ("/d/new.txt", NEW), ("/d/named.txt", OLD)];
        ends_with(&rig, label, &all).await;
    }
}

/// Others renamed a file while a new version of it waited here: where a save is a new file that takes the old one's place,
/// it took the old name back; elsewhere the old name went on to be shown here.
#[tokio::test(flavor = "multi_thread")]
async fn a_save_goes_where_others_have_put_the_file_meanwhile() {
    for capabilities in all_stores() {
        if capabilities.ids == IdScheme::Path {
            // What is renamed there is another file.
            continue;
        }
        let label = capabilities.label;
        for seen in [false, true] {
            let rig = Rig::new(capabilities.clone()).await;
            let remote = rig.store.remote();
            let file = remote.put(&remote.root(), "a.txt", OLD).expect("put");
            let folder = remote.mkdir(&remote.root(), "d").expect("a folder");
            rig.names("").await;
            rig.names("d").await;
            rig.write("a.txt", NEW).await.expect(label);
            rig.clock.advance(Duration::from_secs(1));
            remote.rename(&file.id, "theirs.txt").expect("renamed");
            remote.place(&file.id, &[folder.id]).expect("moved");
            if seen {
                rig.vfs.refresh("/").await.expect("a listing");
                rig.vfs.refresh("/d").await.expect("a listing");
            }
            rig.settle().await;
            rig.clock.advance(Duration::from_secs(2000));
            rig.vfs.refresh("/d").await.expect("a listing");
            ends_with(&rig, label, &[("/d/theirs.txt", NEW)]).await;
        }
    }
}

/// A removal takes a file out of the folders that it was in here, and not out of one that others have put it into since.
#[tokio::test(flavor = "multi_thread")]
async fn what_others_have_moved_out_of_our_folders_stays_where_they_put_it() {
    for capabilities in all_stores() {
        if capabilities.links == Support::No {
            continue;
        }
        let label = capabilities.label;
        let rig = Rig::new(capabilities).await;
        let remote = rig.store.remote();
        let file = remote.put(&remote.root(), "a.txt", OLD).expect("put");
        let folder = remote.mkdir(&remote.root(), "d").expect("a folder");
        rig.names("").await;
        // Longer than its folders are taken as known.
        rig.clock.advance(Duration::from_secs(100));
        rig.unlink("a.txt").await.expect(label);
        remote.place(&file.id, &[folder.id]).expect("moved");
        rig.settle().await;
        rig.clock.advance(Duration::from_secs(2000));
        rig.vfs.refresh("/d").await.expect("a listing");
        ends_with(&rig, label, &[("/d/a.txt", OLD)]).await;
    }
}

/// What was parked because somebody had removed the file showed its old entry again when it was given up.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_of_a_file_that_others_removed_is_gone() {
    for capabilities in all_stores() {
        let label = capabilities.label;
        let rig = Rig::new(capabilities).await;
        let remote = rig.store.remote();
        remote.mkdir(&remote.root(), "d").expect("a folder");
        rig.write("a.txt", OLD).await.expect(label);
        rig.settle().await;
        rig.write("a.txt", NEW).await.expect(label);
        let file = rig.store.remote().find("a.txt").expect("stored");
        rig.store.remote().remove(&file.id).expect("removed");
        rig.settle().await;
        assert_eq!(
            rig.read("a.txt").await.expect(label),
            NEW,
            "{label}: parked with its bytes"
        );
        let parked = rig.at("a.txt").await.expect(label).ino;
        rig.vfs.discard(parked.0).await.expect(label);
        assert_eq!(rig.names("").await, ["d"], "{label}");
        ends_with(&rig, label, &[]).await;
    }
}

/// Bytes of an upload that had failed were shown again under the next file of that path, although they had been given up.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_is_not_shown_for_another_file_of_that_path() {
    let rig = Rig::new(presets::like_flextype()).await;
    rig.write("a.txt", OLD).await.expect("write");
    rig.settle().await;
    let remote = rig.store.remote();
    rig.write("a.txt", NEW).await.expect("write");
    let file = remote.find("a.txt").expect("stored");
    let elsewhere = remote.rename(&file.id, "theirs.txt").expect("renamed");
    rig.settle().await;
    let parked = rig.at("a.txt").await.expect("parked").ino;
    rig.vfs.discard(parked.0).await.expect("discarded");
    remote.rename(&elsewhere.id, "a.txt").expect("renamed back");
    rig.clock.advance(Duration::from_secs(2000));
    rig.vfs.refresh("/").await.expect("a listing");
    assert_eq!(rig.read("a.txt").await.expect("read"), OLD);
}

/// Where ids are paths, our version of a file was put over another that had got the path since.
#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_is_about_the_file_wherever_that_is_moved() {
    let rig = Rig::new(presets::like_flextype()).await;
    rig.mkdir("d").await.expect("mkdir");
    rig.write("d/a.txt", OLD).await.expect("write");
    rig.settle().await;
    let remote = rig.store.remote();
    rig.write("d/a.txt", NEW).await.expect("write");
    let file = remote.find("d/a.txt").expect("stored");
    remote.write(&file.id, &b"theirs"[..]).expect("written");
    rig.settle().await;
    let conflict = rig.vfs.attention().await.expect("a list")[0].id.expect("a number");
    rig.rename("d/a.txt", "d/b.txt").await.expect("renamed");
    rig.settle().await;
    rig.rename("d", "e").await.expect("renamed");
    rig.settle().await;
    rig.mkdir("d").await.expect("mkdir");
    rig.write("d/a.txt", b"another").await.expect("write");
    rig.settle().await;
    rig.vfs.resolve(conflict, Keep::Mine).await.expect("resolved");
    rig.settle().await;
    let ours = [
        ("/d/a.txt", Some(b"another".to_vec())),
        ("/e/b.txt", Some(NEW.to_vec())),
    ];
    let folders = [("/d", None), ("/e", None)];
    let wanted: BTreeMap<_, _> = ours.into_iter().chain(folders).collect();
    let stored = rig.stored();
    let held: BTreeMap<_, _> = stored
        .iter()
        .map(|(path, held)| (path.as_str(), held.clone()))
        .collect();
    assert_eq!(held, wanted);
    assert_eq!(rig.tree().await, stored);
}

/// The answer to our own rename was the first to tell of somebody else's new version: the bytes that were cached of the old
/// one were taken for it, where both have one length, and a reader went on with them under the new name.
#[tokio::test(flavor = "multi_thread")]
async fn the_answer_to_a_rename_may_tell_of_others_bytes() {
    const AS_LONG: &[u8] = b"odd";
    for capabilities in all_stores() {
        for is_read in [false, true] {
            let label = format!("{} {is_read}", capabilities.label);
            let (rig, file, reader) = being_read(capabilities.clone()).await;
            if !is_read {
                rig.vfs.release(reader).await;
            }
            rig.rename("a.txt", "b.txt").await.expect(&label);
            rig.store.remote().write(&file.id, AS_LONG).expect("written");
            rig.settle().await;
            assert_eq!(rig.read("b.txt").await.expect(&label), AS_LONG, "{label}");
            ends_with(&rig, &label, &[("/b.txt", AS_LONG)]).await;
            if is_read {
                still_reads_the_old_version(&rig, reader, &label).await;
            }
        }
    }
}

/// The same answer, to the rename of a file that was saved too, counted as the version that the save was based on: the save
/// then replaced theirs, which nobody had seen.
#[tokio::test(flavor = "multi_thread")]
async fn a_save_after_a_rename_that_told_of_others_bytes_is_a_conflict() {
    for capabilities in all_stores() {
        let label = capabilities.label;
        let (rig, file, reader) = being_read(capabilities).await;
        rig.vfs.release(reader).await;
        rig.write("a.txt", b"ours").await.expect(label);
        rig.rename("a.txt", "b.txt").await.expect(label);
        rig.store.remote().write(&file.id, NEW).expect("written");
        rig.settle().await;
        let report = rig.vfs.sync(None, Some(Duration::ZERO)).await.expect("a report");
        assert_eq!(report.parked, 1, "{label}: {:?}", report.problems);
        let stored: Vec<_> = rig.stored().into_values().flatten().collect();
        assert_eq!(stored, [NEW.to_vec()], "{label}");
        let shown: Vec<_> = rig.tree().await.into_values().flatten().collect();
        assert!(
            shown.contains(&b"ours".to_vec()) && shown.contains(&NEW.to_vec()),
            "{label}: {shown:?}"
        );
    }
}
